//! Once per start: what runs is taken over, and what belongs to no pod any more is cleared away.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::de::IgnoredAny;

use super::leavings::Leaving;
use super::paths::{InstanceName, POINTS, Paths, is_uid, shown};
use super::{Inner, blocking, levels, observe, open, records};
use crate::model::PodUid;
use crate::port::{ErrorKind, PortError};
use crate::sys::beneath::Dir;
use crate::sys::{cgroup, effect, lock, mount};

/// Clears away the leavings of pods other than `keep`, before any verb begins.
pub(super) async fn sweep(inner: &Arc<Inner>, keep: &BTreeSet<PodUid>) {
    let (paths, known) = (inner.paths.clone(), keep.clone());
    let strays = blocking(move || strays(&paths, &known)).await.unwrap_or_else(|error| {
        tracing::warn!("{error}; what is left of pods without a record stays until the next start");
        BTreeSet::new()
    });
    if !strays.is_empty() {
        tracing::info!(count = strays.len(), "clearing away what is left of pods without a record");
    }
    let (paths, known) = (inner.paths.clone(), keep.clone());
    let removed = blocking(move || {
        known
            .iter()
            .map(|uid| remove_half_written(&paths, uid).and(remove_returned(&paths, uid)))
            .fold(Ok(()), Result::and)
    });
    if let Err(error) = removed.await {
        tracing::warn!("{error}; what an agent before was writing or removing stays until the next start");
    }
    let gone = inner.network.strangers(keep).await;
    let mut all = vec![Leaving::Removed(inner.paths.pods()), Leaving::Logs];
    all.extend(keep.iter().cloned().map(Leaving::Parts));
    all.extend(strays.into_iter().map(Leaving::Pod));
    all.push(Leaving::Network(gone));
    all.extend(keep.iter().cloned().map(Leaving::Signals));
    for leaving in all {
        inner.clear(leaving).await;
    }
}

/// Removes records that an agent before, a shim or a monitor was writing when it ended, under the names that these have before
/// their own. No verb has begun; where a shim or a monitor is at work the lock is held.
fn remove_half_written(paths: &Paths, uid: &PodUid) -> Result<(), PortError> {
    let remove = |dir: &Path, name: &str| {
        let place = dir.join(effect::temporary(name));
        match place.symlink_metadata().is_ok() {
            true => effect::remove_file(&place).map_err(|e| PortError::io("remove", shown(&place), &e)),
            false => Ok(()),
        }
    };
    remove(&paths.pod(uid), records::POD)?;
    for name in observe::instances(paths, uid)? {
        let dir = paths.instance_dir(&name);
        remove(&dir, records::CONTAINER)?;
        if !lock::is_held(&dir.join(records::LOCK)).unwrap_or(true) {
            remove(&dir, records::STARTED)?;
            remove(&dir, records::EXIT)?;
        }
    }
    Ok(())
}

/// Removes what a power cut has brought back of instances that were removed, since nobody waits for the disk then: directories
/// without any record, as starts leave them that were cut short before they began, and logs of no instance. No verb has begun.
fn remove_returned(paths: &Paths, uid: &PodUid) -> Result<(), PortError> {
    for name in observe::instances(paths, uid)? {
        let dir = paths.instance_dir(&name);
        let failed = |e: io::Error| PortError::io("remove what is left in", shown(&dir), &e);
        let is_bare = matches!(observe::state(&dir).map_err(failed)?, observe::State::Created)
            && matches!(
                records::read::<IgnoredAny>(&dir, records::CONTAINER).map_err(failed)?,
                records::Stored::Missing
            );
        if is_bare {
            remove_tree(&dir).map_err(failed)?;
        }
    }
    let logs = paths.logs();
    let suffix = format!("_{uid}");
    for pod in open::pod_directories(&logs)?.into_iter().filter(|name| name.ends_with(&suffix)) {
        for container in open::pod_directories(&logs.join(&pod))? {
            remove_logs(paths, &logs.join(pod.as_str()).join(&container), (uid, &container))?;
        }
    }
    Ok(())
}

/// Removes logs, `<attempt>.log` and their older parts, of instances of a container that are not there.
fn remove_logs(paths: &Paths, place: &Path, (uid, container): (&PodUid, &str)) -> Result<(), PortError> {
    let failed = |e: io::Error| PortError::io("remove old logs in", shown(place), &e);
    let dir = Dir::open(place).map_err(failed)?;
    for file in dir.names().map_err(failed)? {
        let attempt =
            file.to_str().and_then(|name| name.split_once(".log")).and_then(|(attempt, _)| attempt.parse().ok());
        let Some(name) = attempt.and_then(|attempt| InstanceName::new(uid, container, attempt).ok()) else { continue };
        if !paths.instance_dir(&name).try_exists().map_err(failed)? {
            dir.remove_tree(&file).map_err(failed)?;
        }
    }
    Ok(())
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Dir::open(parent)?.remove_tree(name),
        _ => Ok(()),
    }
}

/// The uids that something on the machine is named after, but for those that are known.
fn strays(paths: &Paths, known: &BTreeSet<PodUid>) -> Result<BTreeSet<PodUid>, PortError> {
    let mut found = BTreeSet::new();
    for place in [paths.pods(), paths.run_pods(), paths.state.join("volumes"), paths.run.join("volumes")] {
        found.extend(open::pod_directories(&place)?.into_iter().filter(|n| is_uid(n)).map(PodUid));
    }
    let cgroups = levels::standing(paths).map_err(|e| PortError::io("list cgroups in", paths.root_cgroup(), &e))?;
    found.extend(cgroups.into_keys());
    found.retain(|uid| !known.contains(uid));
    Ok(found)
}

/// Removes everything that is left of a root without pods, but for its images and settings.
pub(super) async fn teardown(inner: &Arc<Inner>) -> Result<(), PortError> {
    let (seen, known) = (inner.clone(), inner.paths.clone());
    let pods = blocking(move || observe::uids(&seen.paths)).await?;
    if !pods.is_empty() {
        let message = format!("{} pods are still on record", pods.len());
        return Err(PortError::new(ErrorKind::Conflict, "take down", shown(&known.state), message)
            .with_help("remove the pods first"));
    }
    inner.hub.close();
    inner.network.down().await?;
    blocking(move || {
        let failed = |place: String| move |e: std::io::Error| PortError::io("remove", place, &e);
        let top = known.root_cgroup();
        cgroup::kill_all(&top).map_err(failed(top.clone()))?;
        cgroup::remove(&top).map_err(failed(top.clone()))?;
        let volumes = known.run.join("volumes");
        mount::unmount(&volumes).map_err(failed(shown(&volumes)))?;
        let state = Dir::open(&known.state).map_err(failed(shown(&known.state)))?;
        state.remove_tree(OsStr::new(POINTS)).map_err(failed(shown(&known.points())))?;
        let run = match Dir::open(&known.run) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(failed(shown(&known.run)))?,
        };
        for name in ["pods", "empty", "cgroup", "volumes"] {
            run.remove_tree(OsStr::new(name)).map_err(failed(shown(&known.run.join(name))))?;
        }
        // Only if nothing else is in it: the socket, say, is another's.
        match effect::remove_dir(&known.run) {
            Err(error) if !matches!(error.raw_os_error(), Some(code) if in_use(code)) => {
                Err(failed(shown(&known.run))(error))
            }
            _ => Ok(()),
        }
    })
    .await
}

fn in_use(code: i32) -> bool {
    use rustix::io::Errno;
    [Errno::NOTEMPTY, Errno::EXIST, Errno::BUSY, Errno::NOENT].iter().any(|e| e.raw_os_error() == code)
}
