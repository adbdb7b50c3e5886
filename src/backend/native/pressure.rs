//! What the machine has left, what pods take of it, and what it holds for nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::observe::Found;
use super::paths::{InstanceName, Paths};
use super::{Inner, blocking, observe};
use crate::model::{
    DiskPart, EvictionSignal, ObservedContainer, ObservedPod, PodKey, PodUid, ProcessUse, Sandbox, SignalLevel,
    SignalLevels, Starved, VolumeLimit, VolumeUse, images_of,
};
use crate::port::{ErrorKind, PortError};
use crate::sys::beneath::Dir;
use crate::sys::left::{self, FileSystem};
use crate::sys::{limits, usage};

/// Work of which there is one at a time.
#[derive(Debug, Default)]
pub(super) struct Alone(Arc<Mutex<()>>);

impl Alone {
    /// Begins it; it has ended when this is dropped.
    ///
    /// # Errors
    /// `Unavailable` while the one before has not ended, as on a file system that does not answer: each would take a thread.
    pub(super) fn begin(&self, operation: &'static str) -> Result<OwnedMutexGuard<()>, PortError> {
        let busy = |_| {
            let message = "the time before has not come to its end";
            PortError::new(ErrorKind::Unavailable, operation, "the machine", message)
        };
        self.0.clone().try_lock_owned().map_err(busy)
    }
}

/// What these signals are about; asked is no more than they need. One that cannot be told is missing, as when somebody has removed
/// the images: that says nothing about the others.
///
/// # Errors
/// That of the first one, when nothing at all can be told.
pub(super) fn levels(paths: &Paths, signals: &[EvictionSignal]) -> io::Result<SignalLevels> {
    let mut found = SignalLevels::new();
    let mut failed = None;
    for signal in signals {
        match level(paths, *signal) {
            Ok(level) => found.extend(level.map(|level| (*signal, level))),
            Err(error) => {
                tracing::debug!("{signal:?} is not known: {error}");
                failed = failed.or(Some(error));
            }
        }
    }
    match failed {
        Some(error) if found.is_empty() => Err(error),
        Some(_) | None => Ok(found),
    }
}

fn level(paths: &Paths, signal: EvictionSignal) -> io::Result<Option<SignalLevel>> {
    match signal {
        EvictionSignal::MemoryAvailable => left::memory().map(Some),
        EvictionSignal::NodefsAvailable => file_system(&paths.state, |found| found.bytes),
        EvictionSignal::NodefsInodesFree => file_system(&paths.state, |found| found.files),
        EvictionSignal::ImagefsAvailable => of_images(paths, |found| found.bytes),
        EvictionSignal::ImagefsInodesFree => of_images(paths, |found| found.files),
        EvictionSignal::PidAvailable => left::processes().map(Some),
    }
}

fn file_system(place: &Path, of: fn(FileSystem) -> Option<SignalLevel>) -> io::Result<Option<SignalLevel>> {
    left::file_system(place).map(of)
}

/// The file system of the images. On one of their own is nothing of a pod: its layers are beside its record.
fn of_images(paths: &Paths, of: fn(FileSystem) -> Option<SignalLevel>) -> io::Result<Option<SignalLevel>> {
    let images = paths.state.join("images");
    let device = |place: &Path| std::fs::metadata(place).map(|found| found.dev());
    let is_apart = device(&images)? != device(&paths.state)?;
    Ok(file_system(&images, of)?.map(|level| SignalLevel { is_apart, ..level }))
}

/// What the cgroup of a pod counts, and those of its newest instances.
pub(super) fn process_use(paths: &Paths, uid: &PodUid) -> Result<ProcessUse, PortError> {
    let failed = |e: io::Error| PortError::io("ask what is used by pod", uid.to_string(), &e);
    let pod = paths.pod_cgroup(uid).map_err(failed)?;
    let mut found = ProcessUse {
        memory: limits::working_set(&pod).map_err(failed)?,
        processes: limits::tasks(&pod).map_err(failed)?,
        ..ProcessUse::default()
    };
    for name in newest(paths, uid)? {
        let cgroup = paths.container_cgroup(&name).map_err(failed)?;
        let memory = limits::working_set(&cgroup).map_err(failed)?;
        found.containers.extend(memory.map(|memory| (name.container, memory)));
    }
    Ok(found)
}

/// The newest instance of each container.
fn newest(paths: &Paths, uid: &PodUid) -> Result<Vec<InstanceName>, PortError> {
    let mut found: BTreeMap<String, InstanceName> = BTreeMap::new();
    for name in observe::instances(paths, uid)? {
        if found.get(&name.container).is_none_or(|other| other.attempt < name.attempt) {
            found.insert(name.container.clone(), name);
        }
    }
    Ok(found.into_values().collect())
}

/// What something of a pod takes of the disk, as far as it is found by then.
pub(super) fn disk_use(
    inner: &Inner,
    (key, uid): (&PodKey, &PodUid),
    (limit, until): (&VolumeLimit, Instant),
    is_off: &dyn Fn() -> bool,
) -> Result<VolumeUse, PortError> {
    let paths = &inner.paths;
    let failed = |e: io::Error| PortError::io("look at what is kept for", format!("{} of pod {uid}", limit.what()), &e);
    let logs = paths.pod_logs(key, uid);
    let dirs: Vec<PathBuf> = match limit.of {
        DiskPart::EmptyDir => return inner.volumes.taken(uid, (&limit.name, limit.bytes, until), is_off),
        DiskPart::Container => {
            let all = newest(paths, uid)?;
            let own = all.iter().find(|name| name.container == limit.name);
            let layer = own.map(|name| paths.instance_dir(name).join("upper"));
            layer.into_iter().chain([logs.join(&limit.name)]).collect()
        }
        DiskPart::Pod => vec![paths.pod(uid), logs, inner.volumes.of_pod_on_disk(uid)],
    };
    sum(&dirs, (limit.bytes, until), is_off).map_err(failed)
}

fn sum(dirs: &[PathBuf], (enough, until): (u64, Instant), is_off: &dyn Fn() -> bool) -> io::Result<VolumeUse> {
    let mut all = VolumeUse::default();
    for dir in dirs {
        let left = enough.saturating_sub(all.bytes);
        let found = match Dir::open(dir).and_then(|dir| usage::of(&dir, left, until, is_off)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        all.bytes = all.bytes.saturating_add(found.bytes);
        all.entries = all.entries.saturating_add(found.entries);
        all.is_part |= found.is_part;
        if all.bytes > enough {
            break;
        }
    }
    Ok(all)
}

/// How much of a pod is given back.
#[derive(Clone, Copy)]
struct Share {
    /// It has ended for good: its volumes go. Otherwise they are emptied, lest it is begun again by an agent that knows nothing.
    is_over: bool,
    /// Its writable layers as well.
    layers: bool,
}

/// Gives back what the machine holds for nobody.
pub(super) async fn reclaim(inner: Arc<Inner>, starved: Starved, evicted: BTreeSet<PodUid>) -> Result<(), PortError> {
    let pods = inner.look_at_all().await?;
    let layers = starved.is_of_disk();
    for pod in &pods {
        let is_over = pod.record.terminal.is_some() && pod.sandbox == Sandbox::Absent;
        let is_wanted = is_over || (layers && evicted.contains(&pod.record.uid));
        if !is_wanted || pod.containers.iter().any(ObservedContainer::is_live) {
            continue;
        }
        let turn = inner.turn(&pod.record.key).lock_owned().await;
        let (own, uid) = (inner.clone(), pod.record.uid.clone());
        let given_back = blocking(move || {
            let _turn = turn;
            if has_begun(&own.paths, &uid)? { Ok(()) } else { give_back(&own, &uid, Share { is_over, layers }) }
        });
        if let Err(error) = given_back.await {
            tracing::warn!(pod = %pod.record.key, "{error}");
        }
    }
    if !layers {
        return Ok(());
    }
    blocking(move || remove_images(&inner, &pods)).await
}

/// Whether something of a pod runs or is being started, or it is not known: before its turn another one may have begun it.
fn has_begun(paths: &Paths, uid: &PodUid) -> Result<bool, PortError> {
    Ok(match observe::look(paths, uid)? {
        Found::Pod(seen) => seen.in_flight || seen.pod.containers.iter().any(ObservedContainer::is_live),
        Found::Nothing | Found::Damaged(_) => true,
    })
}

/// Its containers keep their records and logs.
fn give_back(inner: &Inner, uid: &PodUid, share: Share) -> Result<(), PortError> {
    let failed = |e: io::Error| PortError::io("give back what is kept for pod", uid.to_string(), &e);
    if share.is_over {
        inner.volumes.remove(uid)?;
    } else {
        inner.volumes.empty(uid)?;
    }
    if !share.layers {
        return Ok(());
    }
    for name in observe::instances(&inner.paths, uid)? {
        let dir = match Dir::open(&inner.paths.instance_dir(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(failed)?,
        };
        ["upper", "work"].iter().try_for_each(|name| dir.remove_tree(OsStr::new(name))).map_err(failed)?;
    }
    Ok(())
}

/// Removes images that came from a registry and no pod on record needs; none as long as there is a pod of which it is not known
/// what it needs.
fn remove_images(inner: &Inner, pods: &[Arc<ObservedPod>]) -> Result<(), PortError> {
    let known: BTreeSet<&str> = pods.iter().map(|pod| pod.record.uid.0.as_str()).collect();
    if let Some(unknown) = observe::uids(&inner.paths)?.iter().find(|uid| !known.contains(uid.0.as_str())) {
        tracing::warn!(pod = %unknown, "no image is removed: it is not known which ones this pod needs");
        return Ok(());
    }
    let containers = pods.iter().flat_map(|pod| &pod.containers);
    let in_use: Vec<String> = containers.flat_map(|container| container.record.image_ids().cloned()).collect();
    let specs = pods.iter().filter_map(|pod| pod.record.realised.effective.open().spec);
    let wanted: Vec<String> = specs.flat_map(images_of).collect();
    for reference in inner.images.prune(&in_use, &wanted)?.references {
        tracing::info!(image = reference, "removed: no pod needs it, and the disk is nearly full");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_instances_are_found_and_what_is_none_is_left_out() {
        let temp = tempfile::tempdir().unwrap();
        let paths = Paths { state: temp.path().to_owned(), run: temp.path().join("run"), instance: "0123abcd".into() };
        let uid = PodUid("u-1".to_owned());
        assert_eq!(newest(&paths, &uid).unwrap(), []);
        for place in ["app/0", "app/2", "app/10", "app/.removing-11", "db/0", "empty", "Odd_name/0"] {
            std::fs::create_dir_all(paths.containers(&uid).join(place)).unwrap();
        }
        let name = |container: &str, attempt| InstanceName::new(&uid, container, attempt).unwrap();
        assert_eq!(newest(&paths, &uid).unwrap(), [name("app", 10), name("db", 0)]);
    }

    #[test]
    fn what_has_not_ended_is_not_begun_once_more() {
        let alone = Alone::default();
        let first = alone.begin("look at").unwrap();
        assert_eq!(alone.begin("look at").unwrap_err().kind, ErrorKind::Unavailable);
        drop(first);
        assert!(alone.begin("look at").is_ok());
    }

    #[test]
    fn directories_are_summed_up_to_what_is_enough() {
        let temp = tempfile::tempdir().unwrap();
        let dirs = ["a", "missing", "b"].map(|name| temp.path().join(name));
        for dir in [&dirs[0], &dirs[2]] {
            std::fs::create_dir(dir).unwrap();
            std::fs::write(dir.join("f"), vec![1; 100_000]).unwrap();
        }
        let later = Instant::now() + std::time::Duration::from_secs(600);
        let all = sum(&dirs, (u64::MAX, later), &|| false).unwrap();
        assert!(all.bytes >= 200_000 && all.entries == 4 && !all.is_part, "{all:?}");
        let some = sum(&dirs, (50_000, later), &|| false).unwrap();
        assert!(some.bytes > 50_000 && some.entries == 2, "{some:?}");
    }

    #[test]
    fn images_may_have_a_file_system_of_their_own() {
        let temp = tempfile::tempdir().unwrap();
        let paths = Paths { state: temp.path().into(), run: temp.path().into(), instance: "0123abcd".into() };
        let signal = EvictionSignal::ImagefsAvailable;
        let is_apart = || levels(&paths, &[signal]).unwrap()[&signal].is_apart;
        let images = temp.path().join("images");
        std::fs::create_dir(&images).unwrap();
        assert!(!is_apart());
        std::fs::remove_dir(&images).unwrap();
        std::os::unix::fs::symlink("/dev", &images).unwrap();
        assert!(is_apart());
    }

    #[test]
    fn no_more_is_asked_than_is_wanted() {
        let temp = tempfile::tempdir().unwrap();
        let paths = Paths { state: temp.path().join("none"), run: temp.path().into(), instance: "0123abcd".into() };
        let some = [EvictionSignal::MemoryAvailable, EvictionSignal::PidAvailable];
        assert_eq!(levels(&paths, &some).unwrap().into_keys().collect::<Vec<_>>(), some);
        assert!(levels(&paths, &[EvictionSignal::NodefsAvailable]).is_err(), "there is no such directory");
        let both = [EvictionSignal::ImagefsAvailable, EvictionSignal::MemoryAvailable];
        assert_eq!(levels(&paths, &both).unwrap().into_keys().collect::<Vec<_>>(), both[1..]);
    }
}
