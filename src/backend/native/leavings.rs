//! What could not be cleared away when its turn came. The agent tries it again, less and less often, until it is gone: it
//! keeps nobody waiting, and needs no new agent.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::observe::{self, State};
use super::paths::{InstanceName, Paths, REMOVING, is_uid, shown};
use super::{Inner, blocking, end, lock, open, subpath};
use crate::model::PodUid;
use crate::port::PortError;
use crate::sys::beneath::Dir;
use crate::sys::cgroup;

/// How long what is left waits for its next try: at first, and at most. In between it doubles.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

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
    /// Links and addresses of these pods, and links of nobody.
    Network(BTreeSet<PodUid>),
}

/// What waits for its next try.
#[derive(Debug, Default)]
pub(super) struct Leavings(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    all: BTreeSet<Leaving>,
    /// A task is there that tries them.
    watched: bool,
}

impl Inner {
    /// Clears something away. What does not go is told, and tried again until it does: it must not keep pods from running.
    pub(super) async fn clear(self: &Arc<Self>, leaving: Leaving) {
        if let Err(error) = leaving.clear(self).await {
            tracing::warn!("{error}; it is tried again until it is done");
            self.later(leaving);
        }
    }

    /// Has something cleared away that could not be now.
    pub(super) fn later(self: &Arc<Self>, leaving: Leaving) {
        let mut waiting = lock(&self.leavings.0);
        waiting.all.insert(leaving);
        if !std::mem::replace(&mut waiting.watched, true) {
            tokio::spawn(clear_later(Arc::downgrade(self)));
        }
    }
}

/// Tries what is left until nothing is, or the backend is gone.
async fn clear_later(inner: Weak<Inner>) {
    let mut pause = FIRST;
    loop {
        tokio::time::sleep(pause).await;
        let Some(inner) = inner.upgrade() else { return };
        let all = std::mem::take(&mut lock(&inner.leavings.0).all);
        let tried = all.len();
        let mut left = BTreeSet::new();
        for leaving in all {
            match leaving.clear(&inner).await {
                Ok(()) => tracing::info!("done at a later try: {leaving:?}"),
                Err(error) => {
                    tracing::debug!("{error}");
                    left.insert(leaving);
                }
            }
        }
        pause = if left.len() < tried { FIRST } else { LONGEST.min(pause * 2) };
        let mut waiting = lock(&inner.leavings.0);
        waiting.all.extend(left);
        if waiting.all.is_empty() {
            waiting.watched = false;
            return;
        }
    }
}

impl Leaving {
    async fn clear(&self, inner: &Arc<Inner>) -> Result<(), PortError> {
        let own = inner.clone();
        match self.clone() {
            Self::Removed(place) => blocking(move || remove_removed(&place)).await,
            Self::Pod(uid) => remove_pod(inner, &uid).await,
            Self::Logs => blocking(move || remove_logs(&own.paths)).await,
            Self::Parts(uid) => {
                let Some(record) = observe::record(&inner.paths, &uid)?.ok() else { return Ok(()) };
                // A start holds such parts too.
                let _turn = inner.turn(&record.key).lock_owned().await;
                blocking(move || {
                    clear_parts(&own.paths, &uid)?;
                    if !release_parts(&own.paths, &uid)? {
                        own.later(Self::Parts(uid));
                    }
                    Ok(())
                })
                .await
            }
            Self::Ended(name) => blocking(move || clear_ended(&own.paths, &name)).await,
            Self::Signals(uid) => blocking(move || end::signal_again(&own, &uid)).await,
            Self::Network(gone) => inner.network.release(&gone).await,
        }
    }
}

/// Removes the cgroup of an instance, if it has ended: otherwise its next start needs it.
pub(super) fn clear_ended(paths: &Paths, name: &InstanceName) -> Result<(), PortError> {
    let failed = |e: std::io::Error| PortError::io("remove the cgroup of", end::subject(name), &e);
    if !matches!(observe::state(&paths.instance_dir(name)).map_err(failed)?, State::Exited(_)) {
        return Ok(());
    }
    let cgroup = paths.container_cgroup(name);
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

/// Gives up the parts of volumes that an agent held for a start when it ended; `false` while a shim is still at it, which
/// needs them.
fn release_parts(paths: &Paths, uid: &PodUid) -> Result<bool, PortError> {
    let failed = |e: std::io::Error| PortError::io("release parts of volumes of", uid.to_string(), &e);
    for name in observe::instances(paths, uid)? {
        if matches!(observe::state(&paths.instance_dir(&name)).map_err(failed)?, State::InFlight) {
            return Ok(false);
        }
    }
    subpath::release_all(&paths.run_pod(uid)).map(|()| true).map_err(failed)
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
