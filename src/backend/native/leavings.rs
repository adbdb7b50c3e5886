//! What could not be cleared away when its turn came. The agent tries it again, less and less often, until it is gone: it
//! keeps nobody waiting, and needs no new agent.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::observe::{self, State};
use super::paths::{InstanceName, Paths, REMOVING, is_uid, shown};
use super::{Inner, blocking, end, lock, open, subpath};
use crate::model::PodUid;
use crate::port::PortError;
use crate::sys::beneath::Dir;
use crate::sys::cgroup;

/// How long each thing that is left waits for its next try: at first, and at most. In between it doubles.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// So many are tried at a time: one that takes long keeps no other waiting.
const AT_ONCE: usize = 8;

/// One thing that is to be cleared away. Doing so again is fine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Leaving {
    /// What was given a name in this directory to be removed by.
    Removed(PathBuf),
    /// Everything that a pod without a record has.
    Pod(PodUid),
    /// The logs of pods that are gone.
    Logs,
    /// What an agent that ended amid its work has left within a pod that stays.
    Parts(PodUid),
    /// The cgroup of an instance that ended without a monitor.
    Ended(InstanceName),
    /// Signals on record to the containers of a pod, which may not have been sent.
    Signals(PodUid),
    /// The signal on record to one container, which could not be sent.
    Signal(InstanceName),
    /// Links and addresses of these pods, and links of nobody.
    Network(BTreeSet<PodUid>),
}

/// What a try came to that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Somebody is at work there who needs it.
    NotYet,
}

/// What waits for its next try.
#[derive(Debug, Default)]
pub(super) struct Leavings {
    waiting: Mutex<Waiting>,
    /// Wakes the task that has them tried.
    added: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Waiting {
    all: BTreeMap<Leaving, Wait>,
    /// What is being tried, each by one task.
    tried: BTreeSet<Leaving>,
    /// A task is there that has them tried.
    watched: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait {
    due: Instant,
    pause: Duration,
}

/// What there is to do now.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// With the pause it had before.
    Try(Leaving, Duration),
    WaitUntil(Instant),
    Nothing,
}

impl Wait {
    fn new(now: Instant, pause: Duration) -> Self {
        Self { due: now + pause, pause }
    }
}

impl Waiting {
    /// Takes one in. One that waits already has its next try soon, too: there may be more of it.
    fn add(&mut self, leaving: Leaving, now: Instant) {
        self.all.insert(leaving, Wait::new(now, FIRST));
    }

    /// Notes the end of a try. One that is not done is taken back, with the pause it had before; if it was added meanwhile, that
    /// counts.
    fn end_try(&mut self, leaving: Leaving, again: Option<Duration>, now: Instant) {
        self.tried.remove(&leaving);
        if let Some(pause) = again {
            self.all.entry(leaving).or_insert(Wait::new(now, LONGEST.min(pause * 2)));
        }
    }

    /// Takes out the one that has been due the longest.
    fn next(&mut self, now: Instant) -> Next {
        let waits = self.all.iter().filter(|(leaving, _)| !self.tried.contains(*leaving));
        let Some((leaving, wait)) = waits.min_by_key(|(_, wait)| wait.due).filter(|_| self.tried.len() < AT_ONCE)
        else {
            // The end of a try is told.
            return if self.tried.is_empty() { Next::Nothing } else { Next::WaitUntil(now + LONGEST) };
        };
        let (leaving, wait) = (leaving.clone(), *wait);
        if wait.due > now {
            return Next::WaitUntil(wait.due);
        }
        self.all.remove(&leaving);
        self.tried.insert(leaving.clone());
        Next::Try(leaving, wait.pause)
    }
}

impl Leavings {
    /// Takes one in. Whether there is no task yet that has it tried; one that is there is woken.
    fn add(&self, leaving: Leaving, now: Instant) -> bool {
        let mut waiting = lock(&self.waiting);
        waiting.add(leaving, now);
        let is_watched = std::mem::replace(&mut waiting.watched, true);
        self.added.notify_one();
        !is_watched
    }

    /// What is to be done now. Without anything the task that asks is to end.
    fn next(&self, now: Instant) -> Next {
        let mut waiting = lock(&self.waiting);
        let next = waiting.next(now);
        waiting.watched = next != Next::Nothing;
        next
    }

    fn end_try(&self, leaving: Leaving, again: Option<Duration>, now: Instant) {
        lock(&self.waiting).end_try(leaving, again, now);
        self.added.notify_one();
    }
}

impl Inner {
    /// Clears something away. What does not go is told, and tried again until it does: it must not keep pods from running.
    pub(super) async fn clear(self: &Arc<Self>, leaving: Leaving) {
        match leaving.clear(self).await {
            Ok(Outcome::Done) => {}
            Ok(Outcome::NotYet) => self.later(leaving),
            Err(error) => {
                tracing::warn!("{error}; it is tried again until it is done");
                self.later(leaving);
            }
        }
    }

    /// Has something cleared away that could not be now.
    pub(super) fn later(self: &Arc<Self>, leaving: Leaving) {
        if self.leavings.add(leaving, Instant::now()) {
            tokio::spawn(clear_later(Arc::downgrade(self), self.leavings.added.clone()));
        }
    }
}

/// Has what is left tried until nothing is, or the backend is gone.
async fn clear_later(inner: Weak<Inner>, added: Arc<Notify>) {
    loop {
        let Some(inner) = inner.upgrade() else { return };
        match inner.leavings.next(Instant::now()) {
            Next::Nothing => return,
            Next::Try(leaving, pause) => drop(tokio::spawn(clear_again(inner, leaving, pause))),
            Next::WaitUntil(due) => {
                // The backend may go meanwhile.
                drop(inner);
                wait(&added, due).await;
            }
        }
    }
}

/// Waits until it is time, or something changed.
async fn wait(added: &Notify, due: Instant) {
    // Either way there may be something to do.
    let _ = tokio::time::timeout_at(due, added.notified()).await;
}

/// One more try.
async fn clear_again(inner: Arc<Inner>, leaving: Leaving, pause: Duration) {
    let again = match leaving.clear(&inner).await {
        Ok(Outcome::Done) => {
            tracing::info!("done at a later try: {leaving:?}");
            None
        }
        Ok(Outcome::NotYet) => Some(pause),
        Err(error) => {
            tracing::debug!("{error}");
            Some(pause)
        }
    };
    inner.leavings.end_try(leaving, again, Instant::now());
}

impl Leaving {
    async fn clear(&self, inner: &Arc<Inner>) -> Result<Outcome, PortError> {
        let own = inner.clone();
        let done = match self.clone() {
            Self::Removed(place) => blocking(move || remove_removed(&place)).await,
            Self::Pod(uid) => remove_pod(inner, &uid).await,
            Self::Logs => blocking(move || remove_logs(&own.paths)).await,
            Self::Parts(uid) => {
                let Some(record) = observe::record(&inner.paths, &uid)?.ok() else { return Ok(Outcome::Done) };
                // A start holds such parts too, and may take long.
                let Ok(_turn) = inner.turn(&record.key).try_lock_owned() else { return Ok(Outcome::NotYet) };
                return blocking(move || {
                    clear_parts(&own.paths, &uid)?;
                    release_parts(&own.paths, &uid)
                })
                .await;
            }
            Self::Ended(name) => blocking(move || clear_ended(&own.paths, &name)).await,
            Self::Signals(uid) => blocking(move || end::signal_all_again(&own, &uid)).await,
            Self::Signal(name) => blocking(move || end::signal_again(&own, &name)).await,
            Self::Network(gone) => inner.network.release(&gone).await,
        };
        done.map(|()| Outcome::Done)
    }
}

/// Removes the cgroup of an instance, if it has ended: otherwise its next start needs it.
pub(super) fn clear_ended(paths: &Paths, name: &InstanceName) -> Result<(), PortError> {
    let failed = |e: std::io::Error| PortError::io("remove the cgroup of", end::subject(name), &e);
    if !matches!(observe::state(&paths.instance_dir(name)).map_err(failed)?, State::Exited(_)) {
        return Ok(());
    }
    let cgroup = paths.container_cgroup(name).map_err(failed)?;
    cgroup::kill_all(&cgroup).and_then(|()| cgroup::remove(&cgroup)).map_err(failed)
}

/// Removes what was on its way out of a directory.
fn remove_removed(place: &Path) -> Result<(), PortError> {
    let removed = Dir::open(place).and_then(|dir| {
        let names = dir.names()?;
        let removing = names.iter().filter(|name| name.to_str().is_some_and(|n| n.starts_with(REMOVING)));
        removing.map(|name| dir.remove_tree(name)).fold(Ok(()), Result::and)
    });
    match removed {
        // Gone as a whole.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|e| PortError::io("clear", shown(place), &e)),
    }
}

fn clear_parts(paths: &Paths, uid: &PodUid) -> Result<(), PortError> {
    let containers = paths.containers(uid);
    let names = open::pod_directories(&containers)?;
    names.iter().map(|name| remove_removed(&containers.join(name))).fold(Ok(()), Result::and)
}

/// Gives up the parts of volumes that an agent held for a start when it ended; not yet while a shim is still at it, which
/// needs them.
fn release_parts(paths: &Paths, uid: &PodUid) -> Result<Outcome, PortError> {
    let failed = |e: std::io::Error| PortError::io("release parts of volumes of", uid.to_string(), &e);
    for name in observe::instances(paths, uid)? {
        if matches!(observe::state(&paths.instance_dir(&name)).map_err(failed)?, State::InFlight) {
            return Ok(Outcome::NotYet);
        }
    }
    subpath::release_all(&paths.run_pod(uid)).map(|()| Outcome::Done).map_err(failed)
}

/// Removes the logs of pods that are gone: a pod that was set aside could not name its own.
fn remove_logs(paths: &Paths) -> Result<(), PortError> {
    let logs = paths.logs();
    // In this order: a pod has its directory before it has logs.
    let names = open::pod_directories(&logs)?;
    let known = observe::uids(paths)?;
    let is_stray = |name: &&String| {
        let uid = name.rsplit('_').next().unwrap_or_default();
        is_uid(uid) && !known.iter().any(|known| known.0 == uid)
    };
    let remove = |name: &String| {
        let removed = Dir::open(&logs).and_then(|dir| dir.remove_tree(OsStr::new(name)));
        removed.map_err(|e| PortError::io("remove", shown(&logs.join(name)), &e))
    };
    names.iter().filter(is_stray).map(remove).fold(Ok(()), Result::and)
}

async fn remove_pod(inner: &Arc<Inner>, uid: &PodUid) -> Result<(), PortError> {
    end::clear(inner, uid, None).await?;
    let (pods, uid) = (inner.paths.pods(), uid.clone());
    blocking(move || {
        let removed = Dir::open(&pods).and_then(|dir| dir.remove_tree(OsStr::new(&uid.0)));
        removed.map_err(|e| PortError::io("remove", shown(&pods.join(&uid.0)), &e))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn parts(uid: &str) -> Leaving {
        Leaving::Parts(PodUid(uid.to_owned()))
    }

    #[test]
    fn each_waits_for_itself() {
        let start = Instant::now();
        let mut waiting = Waiting::default();
        assert_eq!(waiting.next(start), Next::Nothing);
        waiting.add(parts("old"), start);
        assert_eq!(waiting.next(start), Next::WaitUntil(start + FIRST));
        let (mut now, mut pauses) = (start, Vec::new());
        for _ in 0..12 {
            let Next::WaitUntil(due) = waiting.next(now) else { panic!("it is due before its time") };
            pauses.push((due - now).as_secs());
            now = due;
            let Next::Try(leaving, pause) = waiting.next(now) else { panic!("it is not due at its time") };
            waiting.end_try(leaving, Some(pause), now);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        // What is new does not wait as long as what fails for good.
        waiting.add(parts("new"), now);
        assert_eq!(waiting.next(now), Next::WaitUntil(now + FIRST));
        assert_eq!(waiting.next(now + FIRST), Next::Try(parts("new"), FIRST));
        waiting.end_try(parts("new"), None, now);
        // It is done: the old one waits as it did.
        assert_eq!(waiting.next(now + FIRST), Next::WaitUntil(now + LONGEST));
    }

    #[test]
    fn what_has_been_due_the_longest_is_first_and_nothing_that_is_added_gets_lost() {
        let start = Instant::now();
        let mut waiting = Waiting::default();
        waiting.add(parts("b"), start);
        waiting.add(parts("a"), start + SECOND);
        let late = start + 10 * SECOND;
        assert_eq!(waiting.next(late), Next::Try(parts("b"), FIRST));
        // Added amid its try: whatever comes of that, it is tried once more, and soon.
        waiting.add(parts("b"), late);
        waiting.end_try(parts("b"), Some(64 * SECOND), late);
        assert_eq!(waiting.next(late), Next::Try(parts("a"), FIRST));
        waiting.end_try(parts("a"), None, late);
        assert_eq!(waiting.next(late), Next::WaitUntil(late + FIRST));
        assert_eq!(waiting.next(late + FIRST), Next::Try(parts("b"), FIRST));
        waiting.end_try(parts("b"), None, late + FIRST);
        assert_eq!(waiting.next(late + FIRST), Next::Nothing);
    }

    #[test]
    fn one_that_takes_long_keeps_no_other_waiting() {
        let start = Instant::now();
        let (mut waiting, late) = (Waiting::default(), start + FIRST);
        waiting.add(parts("slow"), start);
        assert_eq!(waiting.next(late), Next::Try(parts("slow"), FIRST));
        waiting.add(parts("other"), start);
        assert_eq!(waiting.next(late), Next::Try(parts("other"), FIRST));
        // Nobody else tries the same meanwhile.
        waiting.add(parts("slow"), start);
        assert_eq!(waiting.next(late), Next::WaitUntil(late + LONGEST));
        waiting.end_try(parts("slow"), None, late);
        assert_eq!(waiting.next(late), Next::Try(parts("slow"), FIRST));
        // No more than so many tasks.
        for number in 2..AT_ONCE + 1 {
            waiting.add(parts(&number.to_string()), start);
        }
        for _ in 2..AT_ONCE {
            assert!(matches!(waiting.next(late), Next::Try(..)));
        }
        assert_eq!(waiting.next(late), Next::WaitUntil(late + LONGEST));
        waiting.end_try(parts("other"), None, late);
        assert!(matches!(waiting.next(late), Next::Try(..)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_new_or_done_wakes_the_task_that_waits() {
        let (leavings, start) = (Leavings::default(), Instant::now());
        assert!(leavings.add(parts("old"), start), "a task is to be started");
        wait(&leavings.added, start + LONGEST).await;
        assert!(!leavings.add(parts("new"), start), "a task is there");
        wait(&leavings.added, start + LONGEST).await;
        assert_eq!(leavings.next(start + FIRST), Next::Try(parts("new"), FIRST));
        leavings.end_try(parts("new"), None, start + FIRST);
        wait(&leavings.added, start + LONGEST).await;
        assert_eq!(Instant::now(), start, "it was not woken");
        assert_eq!(leavings.next(start + FIRST), Next::Try(parts("old"), FIRST));
        leavings.end_try(parts("old"), None, start + FIRST);
        assert_eq!(leavings.next(start + FIRST), Next::Nothing);
        assert!(leavings.add(parts("later"), start), "the task has ended");
    }
}
