//! Once per start: what runs is taken over, and what belongs to no pod any more is cleared away.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use super::leavings::Leaving;
use super::paths::{POINTS, Paths, is_uid, shown};
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
    let removed = blocking(move || remove_half_written(&paths, &known)).await;
    if let Err(error) = removed {
        tracing::warn!("{error}; what an agent before was writing stays until the next start");
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
fn remove_half_written(paths: &Paths, known: &BTreeSet<PodUid>) -> Result<(), PortError> {
    let remove = |dir: &Path, name: &str| {
        let place = dir.join(effect::temporary(name));
        match place.symlink_metadata().is_ok() {
            true => effect::remove_file(&place).map_err(|e| PortError::io("remove", shown(&place), &e)),
            false => Ok(()),
        }
    };
    let listed = |dir: &Path| records::directories(dir).map_err(|e| PortError::io("list", shown(dir), &e));
    let of_pod = |uid: &PodUid| {
        remove(&paths.pod(uid), records::POD)?;
        for container in listed(&paths.containers(uid))? {
            let instances = paths.containers(uid).join(container);
            for instance in listed(&instances)? {
                let dir = instances.join(instance);
                remove(&dir, records::CONTAINER)?;
                if !lock::is_held(&dir.join(records::LOCK)).unwrap_or(true) {
                    remove(&dir, records::STARTED)?;
                    remove(&dir, records::EXIT)?;
                }
            }
        }
        Ok(())
    };
    known.iter().map(of_pod).fold(Ok(()), Result::and)
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
