//! Where each field of a pod comes from, worked out when somebody asks: nothing of it is stored with the pod.

use std::collections::BTreeMap;

use serde_json::Value;

use super::chain::{self, Draft, Subject};
use super::preset::{self, Candidate};
use super::source_of;
use crate::model::{AdmittedPod, Desired, DesiredObject, Diagnostics, FieldOrigin, Origin};

/// Members of a pod that are maps with keys of the author's choice.
const MAPS: [&str; 7] = ["annotations", "labels", "limits", "matchLabels", "nodeSelector", "overhead", "requests"];

/// One field of a pod's `effective` that has no fields of its own: a scalar, or an empty list or mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct LeafOrigin {
    /// The field as a JSON pointer.
    pub pointer: String,
    pub origin: FieldOrigin,
}

/// Answers for the pods of one revision where their fields come from.
pub struct Origins<'a> {
    desired: &'a Desired,
    presets: BTreeMap<&'a str, Vec<Candidate<'a>>>,
}

impl<'a> Origins<'a> {
    /// For pods that were admitted from `desired`.
    pub fn new(desired: &'a Desired) -> Self {
        // What is wrong with the presets was told when the pods were admitted.
        Self { desired, presets: preset::candidates(desired, &mut Diagnostics::default()) }
    }

    /// Every leaf of the pod's `effective` with its one origin, in the pod's own order; nothing for a pod of another
    /// revision.
    pub fn of(&self, pod: &AdmittedPod) -> Vec<LeafOrigin> {
        let Some((object, authored)) = self.desired.pods.get(&pod.key) else { return Vec::new() };
        let presets = self.presets.get(pod.key.namespace.as_str()).map_or(&[][..], Vec::as_slice);
        let spec = authored.spec.clone().unwrap_or_default();
        let draft = chain::run(&Subject { metadata: &authored.metadata, spec: &spec, object, root: "", presets });
        // Turning k8s-openapi values into JSON cannot fail: their maps have text keys.
        let effective = serde_json::to_value(&pod.effective).unwrap_or(Value::Null);
        let mut found = Vec::new();
        leaves(&effective, Path::default(), &mut |path: Path| {
            let origin = origin(&path.pointer, object, &draft);
            found.push(LeafOrigin { pointer: path.pointer, origin: FieldOrigin { field: path.field, origin } });
        });
        found
    }
}

/// The first that applies: put there by admission, written in the manifest, given by a preset, a default.
fn origin(pointer: &str, object: &DesiredObject, draft: &Draft<'_>) -> Origin {
    // A mark is admission's even where the manifest has it too: copied out of a cluster, or rendered before.
    if draft.applied().iter().any(|applied| pointer == preset::mark_pointer(&applied.name)) {
        return Origin::Admission;
    }
    if is_written(object, pointer) {
        return Origin::Authored(source_of(object, pointer));
    }
    for added in &draft.added {
        let Some(rest) = pointer.strip_prefix(&added.pointer).filter(|rest| rest.is_empty() || rest.starts_with('/'))
        else {
            continue;
        };
        let donor = draft.matching[added.donor];
        let source = format!("{}{rest}", added.source);
        // What the preset leaves out of an entry is a default like any other.
        if is_written(donor.object, &source) {
            return Origin::Preset { name: donor.name().to_owned(), at: source_of(donor.object, &source) };
        }
    }
    Origin::Default
}

/// Whether a field has a place of its own in the manifest: the namespace that reading fills in has none.
fn is_written(object: &DesiredObject, pointer: &str) -> bool {
    object.value.pointer(pointer).is_some() && object.places.get(pointer).is_some()
}

/// One field in two spellings.
#[derive(Clone, Default)]
struct Path {
    pointer: String,
    field: String,
}

impl Path {
    fn member(&self, name: &str, of_map: bool) -> Self {
        let escaped = name.replace('~', "~0").replace('/', "~1");
        let field = match (of_map, self.field.as_str()) {
            (true, field) => format!("{field}[{name}]"),
            (false, "") => name.to_owned(),
            (false, field) => format!("{field}.{name}"),
        };
        Self { pointer: format!("{}/{escaped}", self.pointer), field }
    }

    fn item(&self, index: usize) -> Self {
        Self { pointer: format!("{}/{index}", self.pointer), field: format!("{}[{index}]", self.field) }
    }

    fn is_map(&self) -> bool {
        MAPS.contains(&self.pointer.rsplit('/').next().unwrap_or_default())
    }
}

fn leaves(value: &Value, path: Path, each: &mut impl FnMut(Path)) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let of_map = path.is_map();
            members.iter().for_each(|(name, value)| leaves(value, path.member(name, of_map), each));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(index, value)| leaves(value, path.item(index), each));
        }
        _ => each(path),
    }
}
