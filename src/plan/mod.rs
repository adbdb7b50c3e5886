//! Floor 2: planning. What differs becomes ordered actions with reasons.
//!
//! Two planners over plain values. [`fleet`] says which pods to touch, [`pod`] says the next steps of one of them; both
//! compare with the same function, [`change`]. Before them [`room`] says for which pods the machine has any. Nothing here performs, waits or remembers: the executor performs the steps,
//! observes, and plans again, until a plan has no steps; then it waits for `wake_at` or a hint.

mod change;
mod data;
mod draft;
mod env;
mod eviction;
mod expand;
mod failure;
mod field;
mod fleet;
mod go;
mod hook;
mod images;
mod marks;
mod mounts;
mod opened;
mod pairs;
mod payload;
mod placement;
mod pod;
mod pressure;
mod probe;
mod quantities;
mod rename;
mod resize;
mod restart;
mod room;
mod rules;
mod start;
mod sync;
mod teardown;
mod together;
mod token;
mod walk;

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{AdmittedPod, DataObjects, NodeInfo, ObservedPod, PodKey, PodMemory, Reason};

pub use change::{Change, change};
pub use eviction::{disk_parts, disk_use, eviction, next_look};
pub use failure::{
    TOKENS, note_failed_pull, note_failure, note_step, note_success, note_synced, note_unsynced, note_wait,
};
pub use fleet::{converged, converged_on, fleet, fleet_on};
pub use pairs::{Act, Why};
pub use pod::pod;
pub use pressure::{
    Met, PodUse, PressureWatch, is_evictable, is_in_vain, is_out_of_reach, low_cause, thresholds_met, victim,
};
pub use probe::{Tally, probed};
pub use room::{Judged, holders, room, room_at_last};
pub use token::secret_claims;

/// What one pod should be.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// This admitted pod, from this revision.
    Run { pod: &'a Arc<AdmittedPod>, revision: &'a str, reason: &'a Reason },
    /// No pod of that name.
    Gone { reason: &'a Reason },
}

/// Everything the next steps of one pod depend on. Not `Debug`: `data` holds Secrets.
#[derive(Clone, Copy)]
pub struct PodInput<'a> {
    pub key: &'a PodKey,
    pub target: Target<'a>,
    pub observed: Option<&'a ObservedPod>,
    /// `None` as long as no revision could be read: then nothing is known about ConfigMaps and Secrets.
    pub data: Option<&'a DataObjects>,
    pub memory: &'a PodMemory,
    pub node: &'a NodeInfo,
    /// The root's instance id: makes uids and digests of this root its own.
    pub instance: &'a str,
    pub now: Timestamp,
}
