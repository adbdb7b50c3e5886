//! What the manifests say: objects as written, with the place each came from.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, Pod, Volume, VolumeMount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Diagnostics, Kind, ObjectKey, Packed, Places, PodKey, Revision, SourceRef};

/// One object of the manifests. `value` is the authored object as JSON: nulls dropped, YAML 1.1 scalars read as
/// kubectl reads them, the namespace filled in, nothing else defaulted; `None` for a pod, which is kept as what it is typed
/// as. Cheap to clone: rounds share what was read once.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredObject {
    pub key: ObjectKey,
    pub source: SourceRef,
    pub value: Option<Arc<Value>>,
    /// Where each field was written.
    pub places: Arc<Places>,
}

/// An object that was left out on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excluded {
    pub source: SourceRef,
    /// `kind name`, as far as they were readable.
    pub what: String,
    /// Why: the annotation.
    pub why: String,
}

/// Everything one revision asks for. When `diagnostics` has an error the objects are incomplete and must not be
/// acted on.
#[derive(Clone, Debug)]
pub struct Desired {
    pub revision: Revision,
    pub pods: BTreeMap<PodKey, (DesiredObject, Packed<Pod>)>,
    /// Presets by namespace and name.
    pub presets: BTreeMap<ObjectKey, (DesiredObject, Arc<PodPreset>)>,
    /// ConfigMaps, Secrets, ServiceAccounts and Namespaces.
    pub others: BTreeMap<ObjectKey, DesiredObject>,
    pub excluded: Vec<Excluded>,
    /// Objects that the manifests have and that are not here, because nothing that was asked for depends on them. Empty
    /// after a full reading.
    pub unread: BTreeMap<Kind, usize>,
    pub diagnostics: Diagnostics,
}

/// `settings.k8s.io/v1alpha1` PodPreset, removed from Kubernetes in 1.20 and defined here for that reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PodPreset {
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: PodPresetSpec,
}

/// What a preset adds to every pod its selector matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodPresetSpec {
    /// An empty selector matches every pod of the namespace.
    #[serde(default)]
    pub selector: LabelSelector,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<EnvVar>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_from: Option<Vec<EnvFromSource>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Vec<Volume>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_mounts: Option<Vec<VolumeMount>>,
}
