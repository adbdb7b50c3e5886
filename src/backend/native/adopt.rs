//! Once per start: what runs is taken over, and what belongs to no pod any more is cleared away.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use super::observe::{self, State};
use super::paths::{self, Paths, REMOVING, is_uid, shown};
use super::{Inner, blocking, end, open, subpath};
use crate::model::PodUid;
use crate::port::{ErrorKind, PortError};
use crate::sys::beneath::Dir;
use crate::sys::{cgroup, effect, mount};

/// Clears away the leavings of pods other than `keep`. What cannot be cleared is told and tried again at the next start:
/// it must not keep the pods that are there from running.
pub(super) async fn sweep(inner: &Arc<Inner>, keep: &BTreeSet<PodUid>) {
    let (paths, known) = (inner.paths.clone(), keep.clone());
    let strays = blocking(move || {
        let mut found = BTreeSet::new();
        let places = [paths.pods(), paths.run_pods(), paths.state.join("volumes"), paths.run.join("volumes")];
        for place in &places {
            found.extend(open::pod_directories(place)?.into_iter().filter(|n| is_uid(n)).map(PodUid));
        }
        let top = paths.root_cgroup();
        let cgroups = cgroup::children(&top).map_err(|e| PortError::io("list cgroups in", top, &e))?;
        let uids = cgroups.iter().filter_map(|name| paths::uid_of_cgroup(name));
        found.extend(uids.map(|uid| PodUid(uid.to_owned())));
        told(remove_removed(&paths.pods()));
        known.iter().for_each(|uid| told(clear_parts(&paths, uid)));
        told(remove_logs(&paths, &known));
        found.retain(|uid| !known.contains(uid));
        Ok(found)
    });
    match strays.await {
        Ok(strays) => {
            for uid in strays {
                tracing::info!(pod = %uid, "clearing away what is left of a pod without a record");
                told(remove(inner, &uid).await);
            }
        }
        Err(error) => told(Err(error)),
    }
    told(inner.network.sweep(keep).await);
    for uid in keep.clone() {
        let inner = inner.clone();
        told(blocking(move || end::signal_again(&inner, &uid)).await);
    }
}

/// Removes what was on its way out of a directory when an agent ended.
fn remove_removed(place: &Path) -> Result<(), PortError> {
    let removed = Dir::open(place).and_then(|dir| {
        let names = dir.names()?;
        let mut removing = names.iter().filter(|name| name.to_str().is_some_and(|n| n.starts_with(REMOVING)));
        removing.try_for_each(|name| dir.remove_tree(name))
    });
    removed.map_err(|e| PortError::io("clear", shown(place), &e))
}

/// What is left within a pod that stays.
fn clear_parts(paths: &Paths, uid: &PodUid) -> Result<(), PortError> {
    let containers = paths.containers(uid);
    for container in open::pod_directories(&containers)? {
        told(remove_removed(&containers.join(container)));
    }
    release_parts(paths, uid)
}

/// Gives up the parts of volumes that an agent held for a start when it ended; a shim that is still at it needs them.
fn release_parts(paths: &Paths, uid: &PodUid) -> Result<(), PortError> {
    let failed = |e: std::io::Error| PortError::io("release parts of volumes of", uid.to_string(), &e);
    for name in observe::instances(paths, uid)? {
        if matches!(observe::state(&paths.instance_dir(&name)).map_err(failed)?, State::InFlight) {
            return Ok(());
        }
    }
    subpath::release_all(&paths.run_pod(uid)).map_err(failed)
}

/// Removes the logs of pods that are gone: a pod that was set aside could not name its own.
fn remove_logs(paths: &Paths, known: &BTreeSet<PodUid>) -> Result<(), PortError> {
    let logs = paths.logs();
    for name in open::pod_directories(&logs)? {
        let uid = name.rsplit('_').next().unwrap_or_default();
        if is_uid(uid) && !known.contains(&PodUid(uid.to_owned())) {
            let removed = Dir::open(&logs).and_then(|dir| dir.remove_tree(OsStr::new(&name)));
            removed.map_err(|e| PortError::io("remove", shown(&logs.join(&name)), &e))?;
        }
    }
    Ok(())
}

fn told(result: Result<(), PortError>) {
    if let Err(error) = result {
        tracing::warn!("{error}");
    }
}

async fn remove(inner: &Arc<Inner>, uid: &PodUid) -> Result<(), PortError> {
    end::clear(inner, uid, None).await?;
    let (pods, uid) = (inner.paths.pods(), uid.clone());
    blocking(move || {
        let remove = Dir::open(&pods).and_then(|dir| dir.remove_tree(OsStr::new(&uid.0)));
        remove.map_err(|e| PortError::io("remove", shown(&pods.join(&uid.0)), &e))
    })
    .await
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
