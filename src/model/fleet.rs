//! The plan for the whole fleet as data: what happens to each pod, the fields that make it necessary and what is behind
//! them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AdmittedPod, ObjectKey, PodKey, Reason};

/// What one pod needs; ordered by how much it disturbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    Unchanged,
    /// No process is stopped.
    UpdateInPlace,
    /// Containers are stopped and started again; the pod and its other containers run on.
    RestartContainer,
    Create,
    /// The pod is stopped, and a new one takes its place.
    Recreate,
    Delete,
}

impl Verb {
    /// The verb as people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Unchanged => "unchanged",
            Verb::UpdateInPlace => "update in place",
            Verb::RestartContainer => "restart container",
            Verb::Create => "create",
            Verb::Recreate => "recreate",
            Verb::Delete => "delete",
        }
    }

    /// Whether processes are stopped for it.
    pub fn is_disruptive(self) -> bool {
        matches!(self, Verb::RestartContainer | Verb::Recreate | Verb::Delete)
    }
}

/// What is behind a difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Cause {
    /// The pod's own manifest.
    Manifest,
    /// A PodPreset that came, went, changed, or matches the pod no longer.
    Preset { name: String },
    /// Data of a ConfigMap or Secret that the pod uses: the keys that differ, never their values.
    Data { object: ObjectKey, keys: Vec<String> },
    /// The name of the machine.
    NodeName,
    /// Labels of the machine.
    NodeLabels,
    /// Taints of the machine.
    NodeTaints,
    /// What the machine has for pods, or has left of it.
    NodeResources,
}

impl Cause {
    /// What of the machine is behind it, as people read it, if something is.
    pub fn of_node(&self) -> Option<&'static str> {
        match self {
            Cause::NodeName => Some("node name"),
            Cause::NodeLabels => Some("node labels"),
            Cause::NodeTaints => Some("node taints"),
            Cause::NodeResources => Some("node resources"),
            Cause::Manifest | Cause::Preset { .. } | Cause::Data { .. } => None,
        }
    }
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// As Kubernetes writes paths, such as `spec.containers[0].image`.
    pub field: String,
    /// The old value as compact JSON; `None` when the field is new, and for data behind a field.
    pub before: Option<String>,
    /// The new value as compact JSON; `None` when the field goes, and for data behind a field.
    pub after: Option<String>,
    /// What this field alone would take.
    pub effect: Verb,
    pub cause: Cause,
    /// The container the field belongs to, if it belongs to one.
    pub container: Option<String>,
    /// How the restart or recreation could be avoided; `None` when nothing avoids it or there is none.
    pub avoidable: Option<String>,
    /// What the effect alone does not tell, such as when changed data is seen.
    pub note: Option<String>,
}

impl FieldChange {
    /// The preset behind it, if one is.
    pub fn preset(&self) -> Option<&str> {
        match &self.cause {
            Cause::Preset { name } => Some(name),
            _ => None,
        }
    }
}

/// What happens to one pod as a whole.
#[derive(Clone, Debug, PartialEq)]
pub enum FleetAction {
    /// Bring the pod to this admitted state: create it, change it in place or recreate it, as `reason` says.
    Apply { pod: Arc<AdmittedPod>, reason: Reason },
    /// Stop and remove the pod.
    Remove { key: PodKey, reason: Reason },
}

impl FleetAction {
    /// The pod it is about.
    pub fn key(&self) -> &PodKey {
        match self {
            FleetAction::Apply { pod, .. } => &pod.key,
            FleetAction::Remove { key, .. } => key,
        }
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        match self {
            FleetAction::Apply { reason, .. } | FleetAction::Remove { reason, .. } => reason,
        }
    }

    /// The fields that make it necessary; none for a pod that comes or goes with its manifest.
    pub fn changes(&self) -> &[FieldChange] {
        match self.reason() {
            Reason::UpdatedInPlace(changes)
            | Reason::Recreated(changes)
            | Reason::Placed(changes)
            | Reason::NotForThisMachine(changes) => changes,
            _ => &[],
        }
    }

    /// What it is for the pod: the heaviest of what its fields take.
    pub fn verb(&self) -> Verb {
        match self {
            FleetAction::Remove { .. } => Verb::Delete,
            FleetAction::Apply { reason, .. } => match reason {
                Reason::Recreated(_) => Verb::Recreate,
                Reason::UpdatedInPlace(changes) => {
                    changes.iter().map(|change| change.effect).max().unwrap_or(Verb::UpdateInPlace)
                }
                Reason::Unchanged => Verb::Unchanged,
                _ => Verb::Create,
            },
        }
    }
}

/// A pod that goes and one that comes with the same content under another name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rename {
    pub from: PodKey,
    pub to: PodKey,
}

/// Which pods to touch: removals first, then the others, each by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FleetPlan {
    pub actions: Vec<FleetAction>,
    /// Pods that are as they should be.
    pub unchanged: Vec<PodKey>,
    /// Pods of other machines: nothing of them is here.
    pub elsewhere: Vec<PodKey>,
    /// Removals and additions among `actions` that belong together, by name.
    pub renames: Vec<Rename>,
}
