//! Where each field of an object comes from, worked out when somebody asks: nothing of it is stored with a pod.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::chain::{self, Draft, Subject};
use super::preset::{self, Candidate};
use super::source_of;
use crate::model::{Desired, DesiredObject, Diagnostics, FieldOrigin, Kind, ObjectKey, Origin, PodKey};

/// Members of a pod that are maps with keys of the author's choice.
const MAPS: [&str; 7] = ["annotations", "labels", "limits", "matchLabels", "nodeSelector", "overhead", "requests"];

/// A field that has no fields of its own: a scalar, or an empty list or mapping.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeafOrigin {
    /// The field as a JSON pointer.
    pub pointer: String,
    #[serde(flatten)]
    pub origin: FieldOrigin,
}

/// Answers for the objects of one revision where their fields come from.
pub struct Origins<'a> {
    desired: &'a Desired,
    presets: BTreeMap<&'a str, Vec<Candidate<'a>>>,
}

impl<'a> Origins<'a> {
    /// For objects that were read or admitted from `desired`.
    pub fn new(desired: &'a Desired) -> Self {
        // What is wrong with the presets was told when the pods were admitted.
        Self { desired, presets: preset::candidates(desired, &mut Diagnostics::default()) }
    }

    /// Every leaf of `shown` with its one origin, in its own order. `shown` is the object as JSON: of a pod the admitted
    /// `spec` or `effective`, else the authored value. Nothing for an object of another revision.
    pub fn of(&self, key: &ObjectKey, shown: &Value) -> Vec<LeafOrigin> {
        let Some((object, draft)) = self.find(key) else { return Vec::new() };
        let mut found = Vec::new();
        leaves(shown, Path::default(), &mut |path: Path| {
            let origin = origin(&path.pointer, object, draft.as_ref());
            found.push(LeafOrigin { pointer: path.pointer, origin: FieldOrigin { field: path.field, origin } });
        });
        found
    }

    /// The object as it was written, and for a pod what admission made of it.
    fn find(&self, key: &ObjectKey) -> Option<(&'a DesiredObject, Option<Draft<'_>>)> {
        if key.kind != Kind::Pod {
            let presets = || self.desired.presets.get(key).map(|(object, _)| object);
            return Some((self.desired.others.get(key).or_else(presets)?, None));
        }
        let (object, pod) = self.desired.pods.get(&PodKey::new(key.namespace.as_str(), key.name.as_str()))?;
        let presets = self.presets.get(key.namespace.as_str()).map_or(&[][..], Vec::as_slice);
        let spec = pod.spec.clone().unwrap_or_default();
        let subject = Subject { metadata: &pod.metadata, spec: &spec, object, root: "", presets };
        Some((object, Some(chain::run(&subject))))
    }
}

/// The first that applies: put there by admission, written in the manifest, given by a preset, a default.
fn origin(pointer: &str, object: &DesiredObject, draft: Option<&Draft<'_>>) -> Origin {
    // A mark is admission's even where the manifest has it too: copied out of a cluster, or rendered before.
    if draft.is_some_and(|draft| draft.is_mark(pointer)) {
        return Origin::Admission;
    }
    if is_written(object, pointer) {
        return Origin::Authored(source_of(object, pointer));
    }
    for (draft, added) in draft.iter().flat_map(|draft| draft.added.iter().map(move |added| (draft, added))) {
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
