//! What was seen of a pod is seen again without being read, as long as none of its files has changed: an agent at rest looks at
//! all pods each minute, and what reading them takes of its memory would be most that it has.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::observe::{self, Seen};
use super::paths::{InstanceName, Paths};
use super::records::{CONTAINER, EXIT, LOCK, POD, SANDBOX, STARTED};
use crate::model::{ObservedPod, PodUid};
use crate::sys::infra::Infra;
use crate::sys::lock;

/// A file that has changed so short a time before may change once more and look the same: the times of files have the grain of
/// the kernel's clock, 10 ms at most.
const FRESH: Duration = Duration::from_secs(1);

/// What a pod looks like from outside.
#[derive(Debug)]
pub(super) struct Marks {
    instances: Vec<InstanceName>,
    /// Of the pod's records, then of each instance's; `None` for one that is not there.
    files: Vec<Option<Mark>>,
    /// Whether the monitor of each instance lives.
    held: Vec<bool>,
    /// No file has changed within [`FRESH`].
    at_rest: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Mark {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Marks {
    /// Those of a pod; `None` when they cannot be told.
    pub(super) fn of(paths: &Paths, uid: &PodUid) -> Option<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let instances = observe::instances(paths, uid).ok()?;
        let (mut files, mut held) = (Vec::new(), Vec::new());
        for name in [POD, SANDBOX] {
            files.push(Mark::of(&paths.pod(uid).join(name)).ok()?);
        }
        for instance in &instances {
            let dir = paths.instance_dir(instance);
            for name in [CONTAINER, STARTED, EXIT] {
                files.push(Mark::of(&dir.join(name)).ok()?);
            }
            held.push(lock::is_held(&dir.join(LOCK)).ok()?);
        }
        let at_rest = files.iter().flatten().all(|mark| mark.is_at_rest(now));
        Some(Self { instances, files, held, at_rest })
    }

    fn are_those_of(&self, other: &Self) -> bool {
        self.at_rest
            && other.at_rest
            && (&self.instances, &self.files, &self.held) == (&other.instances, &other.files, &other.held)
    }
}

impl Mark {
    fn of(path: &Path) -> io::Result<Option<Self>> {
        match path.symlink_metadata() {
            Ok(of) => Ok(Some(Self {
                inode: of.ino(),
                size: of.size(),
                modified: (of.mtime(), of.mtime_nsec()),
                changed: (of.ctime(), of.ctime_nsec()),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One that a clock put into the future may change within its grain as well.
    fn is_at_rest(&self, now: Duration) -> bool {
        let changed = u64::try_from(self.changed.0).map_or(Duration::ZERO, Duration::from_secs);
        changed.saturating_add(FRESH).saturating_add(Duration::from_secs(1)) <= now
    }
}

#[derive(Debug)]
struct Sight {
    marks: Marks,
    /// The infra process that lived: number and start time.
    infra: Option<(i32, u64)>,
    pod: Arc<ObservedPod>,
}

/// What was seen last of each pod.
#[derive(Debug, Default)]
pub(super) struct Sights(Mutex<BTreeMap<PodUid, Sight>>);

impl Sights {
    /// What a pod with these marks is known to be.
    pub(super) fn known(&self, uid: &PodUid, marks: &Marks) -> Option<Arc<ObservedPod>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sight = all.get(uid).filter(|sight| sight.marks.are_those_of(marks))?;
        let lives = |(pid, start_ticks)| Infra { pid, start_ticks }.check().is_ok();
        sight.infra.is_none_or(lives).then(|| Arc::clone(&sight.pod))
    }

    /// Keeps what was seen of a pod that had these marks before it was read. What is the same as before stays the same.
    pub(super) fn keep(&self, uid: &PodUid, marks: Option<Marks>, seen: Seen) -> Arc<ObservedPod> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.remove(uid).map(|sight| sight.pod).filter(|before| **before == seen.pod);
        let pod = before.unwrap_or_else(|| Arc::new(seen.pod));
        if let Some(marks) = marks.filter(|_| seen.is_whole && !seen.in_flight) {
            all.insert(uid.clone(), Sight { marks, infra: seen.infra, pod: Arc::clone(&pod) });
        }
        pod
    }

    /// Forgets all pods but these.
    pub(super) fn retain(&self, uids: &[PodUid]) {
        let uids: BTreeSet<&PodUid> = uids.iter().collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| uids.contains(uid));
    }

    pub(super) fn forget(&self, uid: &PodUid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_just_changed_tells_nothing() {
        let at = |seconds, nanos| Mark { inode: 1, size: 1, modified: (0, 0), changed: (seconds, nanos) };
        let rests = |mark: &Mark| mark.is_at_rest(Duration::from_millis(1_000_500));
        assert!(rests(&at(998, 999_999_999)) && rests(&at(-5, 0)));
        assert!(!rests(&at(999, 0)) && !rests(&at(1_000, 0)) && !rests(&at(2_000, 0)));
        let marks = |inode, at_rest| Marks {
            instances: Vec::new(),
            files: vec![Some(Mark { inode, ..at(1, 0) }), None],
            held: Vec::new(),
            at_rest,
        };
        assert!(marks(1, true).are_those_of(&marks(1, true)));
        assert!(!marks(1, true).are_those_of(&marks(2, true)));
        assert!(!marks(1, false).are_those_of(&marks(1, true)) && !marks(1, true).are_those_of(&marks(1, false)));
    }
}
