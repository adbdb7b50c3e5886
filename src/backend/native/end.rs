//! How instances and pods end: signals, cleaning up after lost ones, forgetting.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::leavings::Leaving;
use super::observe::{self, State};
use super::paths::{InstanceName, REMOVING, shown};
use super::records::{self, CONTAINER, EXIT, LOCK, STARTED, Stored};
use super::{Inner, blocking, sandbox, signal};
use crate::model::{ContainerRecord, ExitRecord, PodKey, PodRecord, PodUid, Signal, SignalOrder, Stopping};
use crate::port::{ErrorKind, PortError};
use crate::shim::Started;
use crate::sys::beneath::Dir;
use crate::sys::{cgroup, effect, lock, pidfd};

const SIGNAL: &str = "signal container";
/// How long a shim or monitor may take to end after its container was killed.
const MONITOR_PATIENCE: Duration = Duration::from_secs(5);
/// How many damaged pods are kept for people to look at.
const MOST_DAMAGED: usize = 10;

/// Records a signal and sends it. What is on record and could not be sent nobody orders again: it is sent later.
pub(super) fn signal(inner: &Arc<Inner>, uid: &PodUid, order: &SignalOrder) -> Result<(), PortError> {
    let name = InstanceName::new(uid, &order.name, order.attempt)?;
    let sent = note_and_send(inner, &name, order);
    if sent.is_err() && may_be_noted(inner, &name, order) {
        inner.later(Leaving::Signal(name));
    }
    sent
}

/// Whether an order is on record, or nobody can tell.
fn may_be_noted(inner: &Inner, name: &InstanceName, order: &SignalOrder) -> bool {
    match records::read::<ContainerRecord>(&inner.paths.instance_dir(name), CONTAINER) {
        Ok(record) => {
            let told = record.ok().and_then(|record| record.stopping);
            told.is_some() && told == Some(note(told.clone(), order, Timestamp::now()))
        }
        Err(_) => true,
    }
}

/// What is on record once an order was added to it.
fn note(told: Option<Stopping>, order: &SignalOrder, now: Timestamp) -> Stopping {
    let new = || Stopping {
        pre_stop: order.signal == Signal::PreStop,
        ..Stopping::new(now, order.grace_seconds, order.reason.clone())
    };
    match (order.signal, told) {
        // The hook is over: what is left of the time counts from the signal on.
        (Signal::Stop, Some(told)) if told.pre_stop => {
            let grace_seconds = told.grace_seconds.min(order.grace_seconds);
            Stopping { since: now, grace_seconds, pre_stop: false, hook_since: Some(told.since), ..told }
        }
        // Told twice is told once; only the time it has may shrink.
        (Signal::Stop | Signal::PreStop, Some(told)) => {
            Stopping { grace_seconds: told.grace_seconds.min(order.grace_seconds), ..told }
        }
        (Signal::Stop | Signal::PreStop, None) => new(),
        (Signal::Kill, told) => {
            let told = told.unwrap_or_else(new);
            Stopping { pre_stop: false, killed_at: told.killed_at.or(Some(now)), ..told }
        }
    }
}

fn note_and_send(inner: &Inner, name: &InstanceName, order: &SignalOrder) -> Result<(), PortError> {
    let dir = inner.paths.instance_dir(name);
    let failed = |e: io::Error| PortError::io(SIGNAL, subject(name), &e);
    let state = observe::state(&dir).map_err(failed)?;
    if matches!(state, State::Exited(_)) {
        return Ok(());
    }
    let Some(record) = records::read::<ContainerRecord>(&dir, CONTAINER).map_err(failed)?.ok() else {
        return Err(PortError::new(ErrorKind::NotFound, SIGNAL, subject(name), "it has no record"));
    };
    let image = record.image.clone();
    let stopping = Some(note(record.stopping.clone(), order, Timestamp::now()));
    let noted = if record.stopping == stopping {
        Ok(())
    } else {
        records::write(&dir, CONTAINER, &ContainerRecord { stopping, ..record }).map_err(failed)
    };
    if order.signal != Signal::Kill {
        noted.clone()?;
    }
    match (order.signal, state) {
        (Signal::Kill, _) => {
            // Also without a record: nothing makes room on a full disk but the end of what fills it. Whoever ordered it is told,
            // and does not order it again at once.
            inner.paths.container_cgroup(name).and_then(|group| cgroup::kill_all(&group)).map_err(failed)?;
            noted
        }
        (Signal::Stop, State::Running(started)) => {
            let signal = stop_signal(inner, name, &image);
            let sent = pidfd::open_same(started.pid, started.start_ticks).and_then(|fd| pidfd::send(&fd, signal));
            match sent {
                // It ended by itself just now.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(()),
                other => other.map_err(failed),
            }
        }
        (Signal::PreStop | Signal::Stop, _) => Ok(()),
    }
}

/// Sends the signals on record to the containers of a pod again: whoever wrote them down may have ended before they were
/// sent, and a container that was killed by its record alone would be waited for for ever. As the kubelet does when it
/// begins again.
pub(super) fn signal_all_again(inner: &Arc<Inner>, uid: &PodUid) -> Result<(), PortError> {
    let names = observe::instances(&inner.paths, uid)?;
    for (name, error) in unsent(names, |name| signal_again(inner, name)) {
        tracing::warn!("{error}; it is tried again until it is done");
        inner.later(Leaving::Signal(name));
    }
    Ok(())
}

/// Sends to each, whatever becomes of the others. Returns those that it could not be sent to.
fn unsent(
    names: Vec<InstanceName>,
    send: impl Fn(&InstanceName) -> Result<(), PortError>,
) -> Vec<(InstanceName, PortError)> {
    names.into_iter().filter_map(|name| send(&name).err().map(|error| (name, error))).collect()
}

/// Sends the signal on record to one container again, if there is one.
pub(super) fn signal_again(inner: &Inner, name: &InstanceName) -> Result<(), PortError> {
    let record = records::read::<ContainerRecord>(&inner.paths.instance_dir(name), CONTAINER);
    let record = record.map_err(|e| PortError::io(SIGNAL, subject(name), &e))?;
    let Some(stopping) = record.ok().and_then(|record| record.stopping) else { return Ok(()) };
    let order = SignalOrder {
        name: name.container.clone(),
        attempt: name.attempt,
        signal: match stopping.killed_at {
            Some(_) => Signal::Kill,
            None if stopping.pre_stop => Signal::PreStop,
            None => Signal::Stop,
        },
        grace_seconds: stopping.grace_seconds,
        reason: stopping.reason,
    };
    note_and_send(inner, name, &order)
}

/// The stop signal of the container, or else of its image. An image that is gone by now had none that could be known.
fn stop_signal(inner: &Inner, name: &InstanceName, image: &str) -> i32 {
    let of_image = || inner.images.resolve(image).ok().flatten().and_then(|i| i.config.stop_signal);
    let wanted = stop_signal_of(inner, name).or_else(of_image);
    wanted.and_then(|s| signal::parse(&s)).unwrap_or(signal::TERM)
}

/// `lifecycle.stopSignal` of a container.
fn stop_signal_of(inner: &Inner, name: &InstanceName) -> Option<String> {
    let record = observe::record(&inner.paths, &name.uid).ok()?.ok()?;
    let spec = record.realised.effective.open().spec?;
    let mut all = spec.init_containers.into_iter().flatten().chain(spec.containers);
    all.find(|container| container.name == name.container)?.lifecycle?.stop_signal
}

/// Kills what is left of an instance without a monitor and writes its exit record. An instance that never ran is removed
/// instead: it is started as the one it was to be, and counts as no restart.
pub(super) fn reap(
    inner: &Arc<Inner>,
    (key, uid): (&PodKey, &PodUid),
    container: &str,
    attempt: u32,
) -> Result<(), PortError> {
    const OPERATION: &str = "clean up after container";
    let name = InstanceName::new(uid, container, attempt)?;
    let dir = inner.paths.instance_dir(&name);
    let failed = |e: io::Error| PortError::io(OPERATION, subject(&name), &e);
    match observe::state(&dir).map_err(failed)? {
        State::Exited(_) => return Ok(()),
        State::Running(_) => {
            return Err(PortError::new(ErrorKind::Conflict, OPERATION, subject(&name), "its monitor is alive"));
        }
        State::InFlight | State::Lost | State::Created => {}
    }
    if !dir.exists() {
        return Ok(());
    }
    let cgroup = inner.paths.container_cgroup(&name).map_err(failed)?;
    cgroup::kill_all(&cgroup).map_err(failed)?;
    if !is_free_soon(&dir).map_err(failed)? {
        let message = "the process that started it holds its lock and does not end";
        return Err(PortError::new(ErrorKind::Unavailable, OPERATION, subject(&name), message));
    }
    // Whoever held the lock may have brought it to an end after all.
    match observe::state(&dir).map_err(failed)? {
        State::Exited(_) => return Ok(()),
        State::Created => {
            cgroup::remove(&cgroup).map_err(failed)?;
            remove_log(&inner.paths.log(key, &name)).map_err(failed)?;
            return forget(inner, &dir).map_err(failed);
        }
        State::Running(_) | State::InFlight | State::Lost => {}
    }
    let started = match records::read_of_shim::<Started>(&dir, STARTED).map_err(failed)? {
        Stored::There(started) => Some(started.started_at),
        // It did run, or may have before the machine was started; when is lost.
        Stored::Missing | Stored::Damaged(_) => {
            records::read::<ContainerRecord>(&dir, CONTAINER).map_err(failed)?.ok().map(|r| r.created_at)
        }
    };
    cgroup::remove(&cgroup).map_err(failed)?;
    let exit = ExitRecord {
        exit_code: 137,
        signal: None,
        oom_killed: false,
        started_at: started,
        finished_at: Timestamp::now(),
        reason: Some("ContainerStatusUnknown".to_owned()),
        message: Some("The container's monitor is gone and left no exit record".to_owned()),
    };
    records::write(&dir, EXIT, &exit).map_err(failed)
}

/// Waits until nobody holds the lock of an instance; whether it came to that.
fn is_free_soon(dir: &Path) -> io::Result<bool> {
    let deadline = Instant::now() + MONITOR_PATIENCE;
    while lock::is_held(&dir.join(LOCK))? {
        if Instant::now() > deadline {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(true)
}

/// Whether an instance and its monitor have ended. A monitor lives a little longer than its exit record takes to write.
fn is_over(dir: &Path) -> io::Result<bool> {
    match observe::state(dir)? {
        State::Exited(_) => is_free_soon(dir),
        State::Running(_) | State::InFlight => Ok(false),
        // The cgroup tells what is left of it.
        State::Lost | State::Created => Ok(!lock::is_held(&dir.join(LOCK))?),
    }
}

/// Refuses while a container of the pod runs.
pub(super) fn all_over(inner: &Inner, uid: &PodUid, operation: &'static str) -> Result<(), PortError> {
    for name in observe::instances(&inner.paths, uid)? {
        let over = is_over(&inner.paths.instance_dir(&name));
        if !over.map_err(|e| PortError::io(operation, uid.to_string(), &e))? {
            let message = format!("container {} runs", name.container);
            return Err(PortError::new(ErrorKind::Conflict, operation, uid.to_string(), message));
        }
    }
    Ok(())
}

/// Removes an ended instance: writable layer, log, record.
pub(super) fn remove_container(
    inner: &Arc<Inner>,
    (key, uid): (&PodKey, &PodUid),
    container: &str,
    attempt: u32,
) -> Result<(), PortError> {
    const OPERATION: &str = "remove container";
    let name = InstanceName::new(uid, container, attempt)?;
    let dir = inner.paths.instance_dir(&name);
    let failed = |e: io::Error| PortError::io(OPERATION, subject(&name), &e);
    if !is_over(&dir).map_err(failed)? {
        return Err(PortError::new(ErrorKind::Conflict, OPERATION, subject(&name), "it runs"));
    }
    let cgroup = inner.paths.container_cgroup(&name).map_err(failed)?;
    cgroup::kill_all(&cgroup).map_err(failed)?;
    cgroup::remove(&cgroup).map_err(failed)?;
    remove_log(&inner.paths.log(key, &name)).map_err(failed)?;
    forget(inner, &dir).map_err(failed)
}

/// Removes a log and its older parts, `<log>.<number>`, and what a rotation that was cut short has left.
fn remove_log(log: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (log.parent(), log.file_name()) else { return Ok(()) };
    let dir = match Dir::open(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let part = [name.as_encoded_bytes(), b"."].concat();
    let is_part = |file: &OsStr| file == name || file.as_encoded_bytes().starts_with(&part);
    dir.names()?.iter().filter(|file| is_part(file)).try_for_each(|file| dir.remove_tree(file))
}

/// Takes a directory out of sight in one step and then deletes it, with what earlier calls may have left. Once it is out of
/// sight nobody asks for it again: then what cannot be deleted is left to later tries.
fn forget(inner: &Arc<Inner>, dir: &Path) -> io::Result<()> {
    let (Some(place), Some(name)) = (dir.parent(), dir.file_name()) else { return Ok(()) };
    let parent = match Dir::open(place) {
        Ok(parent) => parent,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut aside = std::ffi::OsString::from(REMOVING);
    aside.push(name);
    parent.remove_tree(&aside)?;
    let removed = match effect::rename_at(&parent, name, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if parent.stat(Path::new(name))?.is_some() => return Err(error),
        other => other.and(parent.remove_tree(&aside)),
    };
    if let Err(error) = removed {
        tracing::warn!(place = %dir.display(), %error, "what is left of it is removed later");
        inner.later(Leaving::Removed(place.to_owned()));
    }
    Ok(())
}

/// Removes everything of a pod, its directory with the record last.
pub(super) async fn remove_pod(inner: Arc<Inner>, key: PodKey) -> Result<(), PortError> {
    let Some(uid) = inner.find(&key).await? else { return Ok(()) };
    let (check, pod) = (inner.clone(), uid.clone());
    blocking(move || all_over(&check, &pod, "remove pod")).await?;
    clear(&inner, &uid, Some(&key)).await?;
    let (forgotten, pod) = (inner.clone(), uid.clone());
    blocking(move || {
        let dir = forgotten.paths.pod(&pod);
        forget(&forgotten, &dir).map_err(|e| PortError::io("remove", shown(&dir), &e))
    })
    .await?;
    inner.forget(&key, &uid);
    Ok(())
}

/// Ends every process of a pod and gives back all it has outside its directory.
pub(super) async fn clear(inner: &Arc<Inner>, uid: &PodUid, key: Option<&PodKey>) -> Result<(), PortError> {
    let (paths, pod) = (inner.paths.clone(), uid.clone());
    blocking(move || {
        let failed = |e: io::Error| PortError::io("end the processes of pod", pod.to_string(), &e);
        paths.pod_cgroup(&pod).and_then(|group| cgroup::kill_all(&group)).map_err(failed)
    })
    .await?;
    sandbox::release(inner, uid).await?;
    let (inner, uid, key) = (inner.clone(), uid.clone(), key.cloned());
    blocking(move || {
        let failed = |e: io::Error| PortError::io("remove what belongs to pod", uid.to_string(), &e);
        inner.levels.leave(&inner.paths, &uid).map_err(failed)?;
        inner.volumes.remove(&uid)?;
        if let (Some(key), Ok(logs)) = (key, Dir::open(&inner.paths.logs())) {
            let dir = inner.paths.pod_logs(&key, &uid);
            logs.remove_tree(dir.file_name().unwrap_or(OsStr::new(""))).map_err(failed)?;
        }
        Ok(())
    })
    .await
}

/// Ends and puts away a pod whose record cannot be read: nobody can say what it is, and its successor needs its ports.
/// Its data goes with it: whoever mends the record may want both.
pub(super) async fn quarantine(inner: &Arc<Inner>, uid: &PodUid, why: &str) -> Result<(), PortError> {
    let (from, kept) = (inner.paths.pod(uid), inner.clone());
    let (pod, place) = (uid.clone(), from.join("volumes"));
    let saved = blocking(move || kept.volumes.set_aside(&pod, &place)).await;
    if let Err(error) = saved {
        // It cannot stay: the pod's name and ports are wanted. But this must not pass unseen.
        tracing::error!(pod = %uid, "the data of a damaged pod is lost: {error}");
    }
    clear(inner, uid, None).await?;
    let (own, uid, why) = (inner.clone(), uid.clone(), why.to_owned());
    blocking(move || {
        let damaged = own.paths.state.join("damaged");
        let to = damaged.join(format!("{uid}-{}", Timestamp::now().as_second()));
        let failed = |e: io::Error| PortError::io("set aside", shown(&from), &e);
        let dir = Dir::make(&damaged, 0o700).map_err(failed)?;
        effect::move_path(&from, &to).map_err(failed)?;
        own.forget_uid(&uid);
        tracing::error!(pod = %uid, place = %to.display(), why, "a pod's record was damaged: the pod was ended and set aside");
        if let Err(error) = keep_newest(&dir) {
            tracing::warn!(place = %damaged.display(), %error, "old damaged pods could not be removed");
        }
        Ok(())
    })
    .await
}

/// Removes all but the newest of the pods that were set aside, named `<uid>-<second>`.
fn keep_newest(damaged: &Dir) -> io::Result<()> {
    let second = |name: &std::ffi::OsString| -> Option<i64> { name.to_str()?.rsplit('-').next()?.parse().ok() };
    let mut names = damaged.names()?;
    names.sort_by_key(|name| std::cmp::Reverse(second(name)));
    names.iter().skip(MOST_DAMAGED).try_for_each(|name| damaged.remove_tree(name))
}

/// Marks a pod as going away.
pub(super) fn mark(record: PodRecord, deletion: &crate::model::Deletion) -> PodRecord {
    PodRecord { deletion: Some(deletion.clone()), ..record }
}

pub(super) fn subject(name: &InstanceName) -> String {
    format!("{}.{} of pod {}", name.container, name.attempt, name.uid)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_signal_that_cannot_be_sent_keeps_no_other() {
        let uid = PodUid("uid".to_owned());
        let name = |container: &str| InstanceName::new(&uid, container, 0).unwrap();
        let told = RefCell::new(Vec::new());
        let left = unsent(vec![name("a"), name("b")], |name| {
            told.borrow_mut().push(name.container.clone());
            let refused = || PortError::new(ErrorKind::Internal, SIGNAL, subject(name), "it cannot be sent");
            if name.container == "a" { Err(refused()) } else { Ok(()) }
        });
        assert_eq!(told.into_inner(), ["a", "b"]);
        assert_eq!(left.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), [name("a")], "it alone is told again");
    }

    #[test]
    fn an_order_that_is_noted_changes_nothing() {
        let order = |signal, grace_seconds| SignalOrder {
            name: "a".into(),
            attempt: 0,
            signal,
            grace_seconds,
            reason: "a test".into(),
        };
        let (first, later) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        let told = note(None, &order(Signal::Stop, 30), first);
        assert_eq!((told.since, told.grace_seconds, told.killed_at), (first, 30, None));
        assert_eq!(note(Some(told.clone()), &order(Signal::Stop, 40), later), told);
        assert_eq!(note(Some(told.clone()), &order(Signal::Stop, 20), later).grace_seconds, 20);
        let begun = note(None, &order(Signal::PreStop, 30), first);
        assert_eq!((begun.since, begun.grace_seconds, begun.pre_stop), (first, 30, true));
        assert_eq!(note(Some(begun.clone()), &order(Signal::PreStop, 30), later), begun);
        assert_eq!(note(Some(begun.clone()), &order(Signal::PreStop, 10), later).grace_seconds, 10);
        let signalled = note(Some(begun.clone()), &order(Signal::Stop, 20), later);
        assert_eq!((signalled.since, signalled.grace_seconds, signalled.pre_stop), (later, 20, false));
        assert_eq!((begun.hook_since, signalled.hook_since), (None, Some(first)));
        assert_eq!(note(Some(signalled.clone()), &order(Signal::PreStop, 30), later), signalled, "never back");
        let ended = note(Some(begun), &order(Signal::Kill, 0), later);
        assert_eq!((ended.since, ended.pre_stop, ended.killed_at), (first, false, Some(later)));
        let killed = note(Some(told), &order(Signal::Kill, 0), later);
        assert_eq!((killed.since, killed.grace_seconds, killed.killed_at), (first, 30, Some(later)));
        assert_eq!(note(Some(killed.clone()), &order(Signal::Kill, 0), first), killed);
    }
}
