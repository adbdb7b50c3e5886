//! `status.yaml`: what the agent says about itself and its pods. A projection; never an input.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Packed, PresetConflict};

/// The document. Timestamps are RFC 3339 with seconds, UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusDocument {
    /// Always `podwright.dev/v1alpha1`.
    pub api_version: String,
    /// Always `Status`.
    pub kind: String,
    pub node: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_attempted_revision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_applied_revision: Option<String>,
    /// Ready, Reconciling, Stalled; LedgerSetAside while a ledger is kept that this program cannot read.
    pub conditions: Vec<ConditionEntry>,
    /// `path:line:column: error: message` of a refused revision, all of them up to a bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// Uncommitted paths that were not read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncommitted: Vec<String>,
    /// Shared from one document to the next while nothing changes.
    pub pods: Vec<Packed<PodEntry>>,
    /// The newest last, bounded.
    pub last_actions: Vec<ActionEntry>,
}

/// A condition in Kubernetes' shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionEntry {
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
}

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodEntry {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub phase: String,
    /// The STATUS column of `kubectl get pods`.
    pub status: String,
    pub ready: String,
    pub restarts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    pub conditions: Vec<ConditionEntry>,
    pub containers: Vec<ContainerEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applied_presets: Vec<PresetEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped_presets: Vec<SkippedPresetEntry>,
}

/// One container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerEntry {
    pub name: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub init: bool,
    pub image: String,
    pub ready: bool,
    pub restart_count: u32,
    /// One of `waiting`, `running`, `terminated`, as Kubernetes writes it: a mapping of that one member.
    #[serde(with = "one_member")]
    pub state: Option<(String, ContainerStateEntry)>,
}

/// Of thousands of pods a map of one member each would take more memory than all the rest of their entries.
mod one_member {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{BTreeMap, ContainerStateEntry};

    type State = Option<(String, ContainerStateEntry)>;

    pub(super) fn serialize<S: Serializer>(state: &State, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(state.iter().map(|(name, entry)| (name, entry)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<State, D::Error> {
        BTreeMap::deserialize(deserializer).map(|map| map.into_iter().next())
    }
}

/// The members of a container state that are set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStateEntry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
}

/// A preset that was merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresetEntry {
    pub name: String,
    pub version: String,
}

/// A preset that matched and was not merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedPresetEntry {
    pub name: String,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<PresetConflict>,
}

/// Something that was done to a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionEntry {
    pub time: String,
    pub pod: String,
    /// `create`, `update in place`, `recreate`, `delete`, `restart container`.
    pub action: String,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}
