//! What admission makes of the manifests: presets merged, defaults beside them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::account::{TOKEN_VOLUME, mount_token, without_token};
use super::{
    Accounts, DataObject, Diagnostics, Fillings, Kind, ObjectKey, Outcome, Packed, PendingResize, PodKey, Revision,
    SourceRef, Unplaced,
};

/// A preset that was merged into a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedPreset {
    pub name: String,
    /// Digest of the preset's content: the value of the annotation
    /// `podpreset.admission.kubernetes.io/podpreset-<name>`, in place of a resourceVersion.
    pub version: String,
}

/// One key that two sides define differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresetConflict {
    /// Where in the pod, such as `spec.containers[0].env[DB_PORT]`.
    pub field: String,
    /// What both sides define, such as `DB_PORT`.
    pub key: String,
    /// Who has the key already: the pod, or a preset whose name sorts first.
    pub existing: ConflictSide,
    /// The preset that could not be merged.
    pub wanted: ConflictSide,
}

impl fmt::Display for PresetConflict {
    /// `spec.containers[0].env[A] is "1" in the pod (pod.yaml:9:5) and "2" in PodPreset b (preset.yaml:8:5)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {} and {}", self.field, self.existing, self.wanted)
    }
}

/// What one side of a conflict says. Values of Secrets are never in a spec: only references to them are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictSide {
    /// The preset that says so; the pod itself when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The value as compact JSON, cut to 200 characters.
    pub value: String,
    /// Where it is written.
    pub at: SourceRef,
}

impl ConflictSide {
    /// `the pod` or `PodPreset name`.
    pub fn owner(&self) -> String {
        self.preset.as_ref().map_or_else(|| "the pod".to_owned(), |name| format!("PodPreset {name}"))
    }
}

impl fmt::Display for ConflictSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} ({})", self.value, self.owner(), self.at)
    }
}

/// A preset that matched and was not merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedPreset {
    pub name: String,
    /// Why, in one sentence.
    pub reason: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "conflicts_of_any_version")]
    pub conflicts: Vec<PresetConflict>,
}

/// The conflicts of a record, without those that an older version wrote in another form: they only explain, and the next
/// admission tells them anew. A record must not be lost, nor its pod ended, for their sake.
fn conflicts_of_any_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PresetConflict>, D::Error> {
    let written = Vec::<serde_json::Value>::deserialize(deserializer)?;
    Ok(written.into_iter().filter_map(|conflict| serde_json::from_value(conflict).ok()).collect())
}

/// Who wrote a field that the pod's author did not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    Authored(SourceRef),
    Preset { name: String, at: SourceRef },
    Default,
    Admission,
}

/// The origin of one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldOrigin {
    /// As Kubernetes writes paths, such as `spec.containers[0].env[0]`.
    pub field: String,
    pub origin: Origin,
}

/// One pod after admission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmittedPod {
    pub key: PodKey,
    pub source: SourceRef,
    /// Authored + presets + their annotations: what digest and diff see. Shared with the manifests where no preset was
    /// merged.
    pub spec: Packed<Pod>,
    /// `spec` with Kubernetes' defaults and what its account brings: what runs.
    #[serde(serialize_with = "write_effective", deserialize_with = "read_effective")]
    pub effective: Packed<Pod>,
    pub applied: Vec<AppliedPreset>,
    pub skipped: Vec<SkippedPreset>,
    /// Origin of every entry of `spec` that was not authored; `admit::origins` has that of each field.
    pub provenance: Vec<FieldOrigin>,
    /// SHA-256 of `spec` as canonical JSON, hexadecimal: a shortcut for equality, never more.
    pub digest: String,
    /// Why it does not run here; `None` for a pod that does, and where nothing is known of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unplaced: Option<Box<Unplaced>>,
    /// Why it keeps the amounts of cpu and memory that it runs with and is not given the ones that were written; never in a
    /// record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_resize: Option<Box<PendingResize>>,
}

impl AdmittedPod {
    /// The pod that takes the place of another one while its containers run: with the volume for its token that this one was
    /// given, or without one. Volumes of a pod never change, whatever its account says by now.
    pub fn keeping_token_of(self: Arc<Self>, before: &AdmittedPod) -> Arc<Self> {
        let (old, new) = (before.given_token(), self.given_token());
        if old == new {
            return self;
        }
        let mut pod = self.effective.open();
        let mut spec = pod.spec.unwrap_or_default();
        if let Some((without, _)) = new.and_then(|_| without_token(&spec)) {
            spec = without;
        }
        if let Some(name) = old {
            mount_token(&mut spec, &name);
        }
        pod.spec = Some(spec);
        Arc::new(AdmittedPod { effective: Packed::new(&pod), ..AdmittedPod::clone(&self) })
    }

    /// The name of the volume with its token, if admission has given it one.
    fn given_token(&self) -> Option<String> {
        if !self.effective.text().contains(TOKEN_VOLUME) {
            return None;
        }
        let (_, name) = without_token(self.effective.open().spec.as_ref()?)?;
        let own = self.spec.open().spec.unwrap_or_default();
        (!own.volumes.iter().flatten().any(|volume| volume.name == name)).then_some(name)
    }

    /// Whether it is another machine's pod.
    pub fn is_elsewhere(&self) -> bool {
        self.unplaced.as_ref().is_some_and(|unplaced| unplaced.outcome == Outcome::NotForThisMachine)
    }
}

/// The member of a pod on record that names the volume with its token, which is written in no other way: an agent of before
/// knows no such volume, could not start the pod with it, and reads past this.
const TOKEN_MEMBER: &str = "tokenVolume";

fn write_effective<S: Serializer>(effective: &Packed<Pod>, serializer: S) -> Result<S::Ok, S::Error> {
    match of_before(effective) {
        Some(pod) => pod.serialize(serializer),
        None => effective.serialize(serializer),
    }
}

/// The pod as an agent of before has it, if admission has added such a volume.
fn of_before(effective: &Packed<Pod>) -> Option<Value> {
    if !effective.text().contains(TOKEN_VOLUME) {
        return None;
    }
    let mut pod = effective.open();
    let (spec, name) = without_token(pod.spec.as_ref()?)?;
    pod.spec = Some(spec);
    let mut value = Packed::new(&pod).value();
    value.as_object_mut()?.insert(TOKEN_MEMBER.to_owned(), Value::String(name));
    Some(value)
}

fn read_effective<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Packed<Pod>, D::Error> {
    let mut value = Value::deserialize(deserializer)?;
    let name = value.as_object_mut().and_then(|pod| pod.remove(TOKEN_MEMBER));
    let mut pod: Pod = serde_json::from_value(value).map_err(D::Error::custom)?;
    if let (Some(Value::String(name)), Some(spec)) = (name, &mut pod.spec) {
        mount_token(spec, &name);
    }
    Ok(Packed::new(&pod))
}

/// What a pod may refer to, by namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataObjects {
    pub config_maps: BTreeMap<(String, String), Arc<DataObject>>,
    pub secrets: BTreeMap<(String, String), Arc<DataObject>>,
    /// Service accounts of the manifests; `default` is in every namespace, listed or not.
    pub accounts: Accounts,
    /// What Secrets for accounts hold beside what the manifests say. It is data that nobody wrote: files follow it, and no pod is
    /// told of it or restarted for it. Empty where no pod runs.
    pub filled: Fillings,
}

/// A whole revision after admission: what the fleet should be.
#[derive(Clone, Debug)]
pub struct Admitted {
    pub revision: Revision,
    pub pods: BTreeMap<PodKey, Arc<AdmittedPod>>,
    pub data: Arc<DataObjects>,
    /// Every object of the revision that is no pod, as authored JSON, for the API and `get`.
    pub objects: BTreeMap<ObjectKey, Arc<serde_json::Value>>,
    /// Where each object that is no pod was written; pods know it themselves.
    pub sources: BTreeMap<ObjectKey, SourceRef>,
    /// As in [`Desired::unread`](super::Desired::unread).
    pub unread: BTreeMap<Kind, usize>,
    /// Where a pod of it runs depends on what nobody told of the machine: such pods count as ones that it fits.
    pub is_untold: bool,
    /// What the log of an agent has to say of its pods, and nobody else.
    pub audits: Diagnostics,
    /// Warnings of reading and admission. An admitted revision has no errors.
    pub diagnostics: Diagnostics,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_in_the_form_of_an_older_version_cost_no_record() {
        let at = r#"{"path": "p.yaml", "document": 0, "line": 3, "column": 5}"#;
        let side = format!(r#"{{"value": "1", "at": {at}}}"#);
        let text = format!(
            r#"{{"name": "p", "reason": "conflict", "conflicts": [
                {{"preset": "p", "field": "spec.containers[0].env[A]", "message": "\"1\" there, \"2\" wanted"}},
                {{"field": "spec.containers[0].env[A]", "key": "A", "existing": {side}, "wanted": {side}}}]}}"#
        );
        let skipped: SkippedPreset = serde_json::from_str(&text).unwrap();
        let keys: Vec<&str> = skipped.conflicts.iter().map(|conflict| conflict.key.as_str()).collect();
        assert_eq!(keys, ["A"]);
        // What is written now comes back whole.
        let again: SkippedPreset = serde_json::from_str(&serde_json::to_string(&skipped).unwrap()).unwrap();
        assert_eq!(again, skipped);
    }
}
