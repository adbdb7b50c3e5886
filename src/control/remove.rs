//! Pods removed on request, by `delete` and `down`.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Kubelet;
use crate::model::{PodKey, Reason};
use crate::port::{PodBackend, PortError};

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The pods that are gone.
    pub gone: Vec<PodKey>,
    /// The pods that were still there at the deadline, each with the reason.
    pub left: Vec<(PodKey, String)>,
}

/// Removes the pods of the root, or those of them that `which` names, and waits until they are gone or `deadline` comes.
/// `grace` shortens their grace period, in seconds. Pods that do not exist are none of its business.
pub async fn remove_pods(
    kubelet: &Kubelet,
    which: Option<&BTreeSet<PodKey>>,
    grace: Option<i64>,
    deadline: Option<Timestamp>,
) -> Result<Removed, PortError> {
    let mut changes = kubelet.changes();
    let observed = kubelet.observe().await?;
    let keys: Vec<PodKey> = observed
        .iter()
        .map(|pod| pod.record.key.clone())
        .filter(|key| which.is_none_or(|which| which.contains(key)))
        .collect();
    for key in &keys {
        if let Some(seconds) = grace {
            kubelet.limit_grace(key, seconds);
        }
        kubelet.remove(key, &Reason::DeletionRequested).await?;
    }
    loop {
        changes.mark_unchanged();
        let fleet = kubelet.fleet();
        let (left, gone): (Vec<&PodKey>, Vec<&PodKey>) = keys.iter().partition(|key| fleet.pods.contains_key(*key));
        let over = deadline.is_some_and(|deadline| kubelet.now() >= deadline);
        if left.is_empty() || over {
            let left = left.into_iter().map(|key| (key.clone(), fleet.why(key))).collect();
            return Ok(Removed { gone: gone.into_iter().cloned().collect(), left });
        }
        // Cancel-safe: nothing is taken from the channel, and the next look finds everything.
        tokio::select! {
            biased;
            _ = changes.changed() => {}
            () = kubelet.sleep_until(deadline) => {}
        }
    }
}
