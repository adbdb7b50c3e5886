//! Floor 2: planning. What differs becomes ordered actions with reasons.

mod failure;
mod fleet;

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{AdmittedPod, DataObjects, NodeInfo, ObservedPod, PodKey, PodMemory, PodPlan, Reason};

pub use failure::{note_failure, note_success, note_synced};
pub use fleet::{converged, fleet};

/// What one pod should be.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// This admitted pod, from this revision.
    Run { pod: &'a Arc<AdmittedPod>, revision: &'a str, reason: &'a Reason },
    /// No pod of that name.
    Gone { reason: &'a Reason },
}

/// Everything the next steps of one pod depend on.
#[derive(Clone, Copy, Debug)]
pub struct PodInput<'a> {
    pub key: &'a PodKey,
    pub target: Target<'a>,
    pub observed: Option<&'a ObservedPod>,
    pub data: &'a DataObjects,
    pub memory: &'a PodMemory,
    pub node: &'a NodeInfo,
    /// The root's instance id: makes uids and digests of this root its own.
    pub instance: &'a str,
    pub now: Timestamp,
}

/// The next steps of one pod.
///
/// A step for the pod itself (record, volumes, sandbox) that fails ends the round; a failed `EnsureImage` or
/// `StartContainer` ends the round for that container only.
pub fn pod(input: &PodInput<'_>) -> PodPlan {
    let _ = input;
    PodPlan::default()
}
