//! Where each field of an object comes from, worked out when somebody asks: nothing of it is stored with a pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;
use serde_json::Value;

use super::account;
use super::chain::{self, Draft, Subject};
use super::preset::{self, NO_PRESETS, Presets};
use super::security::NO_POLICY;
use super::source_of;
use crate::model::{Desired, DesiredObject, Diagnostics, FieldOrigin, Origin};

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
    presets: BTreeMap<&'a str, Presets<'a>>,
}

impl<'a> Origins<'a> {
    /// For objects of revisions with these presets; nothing else of `desired` is looked at.
    pub fn new(desired: &'a Desired) -> Self {
        // What is wrong with the presets was told when the pods were admitted.
        Self { presets: preset::candidates(desired, &mut Diagnostics::default()) }
    }

    /// Every leaf of `shown` with its one origin, in its own order. `shown` is the object as JSON: of a pod the admitted
    /// `spec` or `effective`, else the authored value. `pod` is the pod the object is, if it is one.
    pub fn of(&self, object: &DesiredObject, pod: Option<&Pod>, shown: &Value) -> Vec<LeafOrigin> {
        let presets = self.presets.get(object.key.namespace.as_str()).unwrap_or(&NO_PRESETS);
        let subject = Subject { object, root: "", presets, policy: &NO_POLICY, budget: None, node: None };
        let draft = pod.map(|pod| chain::run(&subject, pod.metadata.clone(), pod.spec.clone().unwrap_or_default()));
        let typed = pod.filter(|_| object.value.is_none()).and_then(|pod| serde_json::to_value(pod).ok());
        let written = object.value.as_deref().or(typed.as_ref()).unwrap_or(&Value::Null);
        let given = draft.as_ref().map(|draft| account::places(shown, &draft.spec)).unwrap_or_default();
        let mut found = Vec::new();
        leaves(shown, Path::default(), &mut |path: Path| {
            let is_given = given.iter().any(|place| is_below(&path.pointer, place));
            let origin =
                if is_given { Origin::Admission } else { origin(&path.pointer, (object, written), draft.as_ref()) };
            found.push(LeafOrigin { pointer: path.pointer, origin: FieldOrigin { field: path.field, origin } });
        });
        found
    }
}

/// Whether a pointer leads to a place or to something in it.
fn is_below(pointer: &str, place: &str) -> bool {
    pointer.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The first that applies: put there by admission, written in the manifest, given by a preset, a default.
fn origin(pointer: &str, (object, value): (&DesiredObject, &Value), draft: Option<&Draft<'_>>) -> Origin {
    // A mark is admission's even where the manifest has it too: copied out of a cluster, or rendered before.
    if draft.is_some_and(|draft| draft.is_mark(pointer)) {
        return Origin::Admission;
    }
    if is_written((object, value), pointer) {
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
        let given = donor.object.value.as_deref().unwrap_or(&Value::Null);
        if is_written((donor.object, given), &source) {
            return Origin::Preset { name: donor.name().to_owned(), at: source_of(donor.object, &source) };
        }
    }
    Origin::Default
}

/// Whether a field has a place of its own in the manifest: the namespace that reading fills in has none.
fn is_written((object, value): (&DesiredObject, &Value), pointer: &str) -> bool {
    value.pointer(pointer).is_some() && object.places.get(pointer).is_some()
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
