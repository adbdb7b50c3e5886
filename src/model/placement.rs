//! Whether a pod is this machine's, and what becomes of one that is not.

use serde::{Deserialize, Serialize};

use super::Cause;

/// The rule of diagnostics about pods that do not run, or not with what is written.
pub const NOT_PLACED: &str = "not-placed";

/// What of the machine a pod does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Unmet {
    NodeName,
    NodeLabels,
    NodeTaints,
    /// There is not enough room for it, or not now.
    NodeResources,
}

impl Unmet {
    /// The same as what is behind a change.
    pub fn cause(self) -> Cause {
        match self {
            Unmet::NodeName => Cause::NodeName,
            Unmet::NodeLabels => Cause::NodeLabels,
            Unmet::NodeTaints => Cause::NodeTaints,
            Unmet::NodeResources => Cause::NodeResources,
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
    /// The resource of which there is too little, the first that the kubelet would name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// It does not stay where it runs either: a taint of effect NoExecute is not tolerated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends_what_runs: bool,
}

impl Unplaced {
    /// The status of pods that are another machine's.
    pub const NOT_FOR_THIS_MACHINE: &'static str = "NotForThisMachine";

    /// `status.reason`: for a pod that failed the name of the scheduler's plugin or `OutOf` with that of a resource, as the
    /// kubelet has it.
    pub fn reason(&self) -> Option<String> {
        let plugin = match (self.outcome, self.unmet) {
            (Outcome::NotForThisMachine, _) => Self::NOT_FOR_THIS_MACHINE,
            (Outcome::Pending, _) => return None,
            (Outcome::Failed, Unmet::NodeName) => "NodeName",
            (Outcome::Failed, Unmet::NodeLabels) => "NodeAffinity",
            (Outcome::Failed, Unmet::NodeTaints) => "TaintToleration",
            (Outcome::Failed, Unmet::NodeResources) => {
                return Some(format!("OutOf{}", self.resource.as_deref().unwrap_or_default()));
            }
        };
        Some(plugin.to_owned())
    }

    /// What becomes of the pod and what may be done about it, as its author is told; `None` where it is as it is meant.
    pub fn advice(&self, is_fleet: bool) -> Option<(&'static str, &'static str)> {
        Some(match (self.outcome, self.unmet) {
            (Outcome::NotForThisMachine, Unmet::NodeName) if is_fleet => return None,
            (Outcome::NotForThisMachine, Unmet::NodeName) => {
                ("names another machine", "with `placement: fleet` in the configuration that is no warning")
            }
            (Outcome::NotForThisMachine, _) => {
                ("is left to another machine", "nothing is to be done if it is meant so")
            }
            (Outcome::Pending, Unmet::NodeResources) => ("stays Pending", "let it, or others, ask for less"),
            (Outcome::Pending, _) => {
                ("stays Pending", "`placement: fleet` in the configuration leaves it to another machine")
            }
            (Outcome::Failed, _) => ("fails on the machine that its `nodeName` is", "without `nodeName` it would wait"),
        })
    }
}

/// What the scheduler says of a pod that the one machine is not for, for these reasons by name; 1.34 and 1.35 have `no new claims
/// to deallocate, ` before the part about preemption.
pub fn no_node(reasons: &[String], preemption: &str) -> String {
    let reasons: Vec<String> = reasons.iter().map(|reason| format!("1 {reason}")).collect();
    format!("0/1 nodes are available: {}. preemption: {preemption}", reasons.join(", "))
}
