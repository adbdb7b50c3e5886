//! Whether a pod is this machine's, and what becomes of one that is not.

use serde::{Deserialize, Serialize};

use super::Cause;

/// What of the machine a pod does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Unmet {
    NodeName,
    NodeLabels,
    NodeTaints,
}

impl Unmet {
    /// The same as what is behind a change.
    pub fn cause(self) -> Cause {
        match self {
            Unmet::NodeName => Cause::NodeName,
            Unmet::NodeLabels => Cause::NodeLabels,
            Unmet::NodeTaints => Cause::NodeTaints,
        }
    }
}

/// What becomes of a pod that this machine does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Another machine's pod: it is listed, and nothing is done about it here.
    NotForThisMachine,
    /// It waits for a machine that fits, as a pod that the scheduler finds no node for.
    Pending,
    /// It names this machine, whose kubelet would not take it: it failed and never starts.
    Failed,
}

/// Why a pod does not run here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unplaced {
    pub outcome: Outcome,
    pub unmet: Unmet,
    /// The field that asks for it, such as `spec.nodeSelector[disktype]`.
    pub field: String,
    /// What it asks for, as a sentence.
    pub detail: String,
    /// The same for the status: the scheduler's or the kubelet's words where they have some.
    pub message: String,
}

impl Unplaced {
    /// The status of pods that are another machine's.
    pub const NOT_FOR_THIS_MACHINE: &'static str = "NotForThisMachine";

    /// `status.reason`: for a pod that failed the name of the scheduler's plugin, as the kubelet has it.
    pub fn reason(&self) -> Option<&'static str> {
        match (self.outcome, self.unmet) {
            (Outcome::NotForThisMachine, _) => Some(Self::NOT_FOR_THIS_MACHINE),
            (Outcome::Pending, _) => None,
            (Outcome::Failed, Unmet::NodeName) => Some("NodeName"),
            (Outcome::Failed, Unmet::NodeLabels) => Some("NodeAffinity"),
            (Outcome::Failed, Unmet::NodeTaints) => Some("TaintToleration"),
        }
    }
}
