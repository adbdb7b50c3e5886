//! The little the planner must remember that the world does not show. Passed in, returned new.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{HookStates, PodKey, ProbeVerdicts, Revision, TerminalCause, TokenState};

/// What must survive a restart of the agent; fsynced before the action that depends on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Durable {
    /// The last revision that was valid and was handed to the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied: Option<Revision>,
    /// The last revision that was looked at, valid or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempted: Option<Revision>,
    /// Where the ledger of a later program is kept that this one cannot read: that one, when it runs again, may want it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<String>,
}

/// A step that failed and is to be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A waiting reason of Kubernetes, such as `ErrImagePull` or `CreateContainerConfigError`.
    pub reason: String,
    /// One sentence with the place and the way out.
    pub message: String,
    pub at: Timestamp,
    /// How often in a row it failed, from 1.
    pub count: u32,
    /// Not before `at` + this is it tried again.
    pub backoff: SignedDuration,
    /// The image that could not be had, if that is what failed.
    pub image: Option<String>,
}

/// An eviction that this agent has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    pub cause: TerminalCause,
    pub since: Timestamp,
}

/// What is remembered about one incarnation of a pod, in memory only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodMemory {
    /// By container name; the empty name stands for the pod itself (sandbox, volumes), and one that no container has for its
    /// tokens.
    pub failures: BTreeMap<String, Failure>,
    /// Digests of the projected files that were last written, by volume; none right after a start. Volumes with tokens are not
    /// among them.
    pub synced_volumes: BTreeMap<String, String>,
    /// The volumes with tokens that were written; none right after a start.
    pub tokens: Vec<TokenState>,
    /// The longest grace period a deletion may take, in seconds, when someone asked for less than the pod's own.
    pub grace_limit: Option<i64>,
    /// The pod is being evicted.
    pub evicted: Option<Eviction>,
    /// What the probes of its instances say.
    pub probes: ProbeVerdicts,
    /// How far the hooks of its instances came.
    pub hooks: HookStates,
    /// The image that is being made present for a container, by its name: what it comes to is asked for once that is over.
    pub pulls: BTreeMap<String, String>,
}

/// Both halves.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub durable: Durable,
    pub volatile: BTreeMap<PodKey, PodMemory>,
}
