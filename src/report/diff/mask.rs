//! What must not be seen is replaced before anything is compared line by line: values of Secrets, and the copy of an
//! object that `kubectl apply` leaves in an annotation. Lengths and digests tell about a value too, so there are none.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::model::{Cause, FieldChange, Kind};
use crate::report::secret;

/// In place of a value that only one side has, or that is the same on both.
const MASK: &str = "***";
/// In place of a value that differs, as kubectl prints it.
const BEFORE: &str = "*** (before)";
const AFTER: &str = "*** (after)";

/// A whole object, its Secret values included, as JSON.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum KeyChange {
    Added,
    Changed,
    Removed,
    Unchanged,
}

/// One key of a ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DataKey {
    pub name: String,
    pub change: KeyChange,
}

/// Two states of one object, `None` where it does not exist.
pub(super) type Pair = [Option<Value>; 2];

/// Whether there may be something to mask in a pod, by its JSON. The name of the annotation is written without an escape.
pub(super) fn may_be_masked(pod: &str) -> bool {
    pod.contains(LAST_APPLIED)
}

/// Masks both states alike and names what becomes of their keys.
pub(super) fn mask(kind: Kind, mut pair: Pair) -> (Pair, Vec<DataKey>) {
    mask_annotation(&mut pair);
    match kind {
        Kind::Secret => {
            let keys = mask_data(&mut pair);
            (pair, keys)
        }
        Kind::ConfigMap => {
            let keys = keys(&[members(&pair[0]), members(&pair[1])]);
            (pair, keys)
        }
        _ => (pair, Vec::new()),
    }
}

/// Whether two states of an object mean the same: a Secret's `stringData` is its `data` in another spelling, an empty map is
/// as good as none, and a Secret without a type is opaque.
pub(super) fn same(kind: Kind, pair: &Pair) -> bool {
    match (kind, pair) {
        (Kind::Secret, [Some(a), Some(b)]) => secret_data(a) == secret_data(b) && rest(kind, a) == rest(kind, b),
        (_, [Some(a), Some(b)]) => a == b || rest(kind, a) == rest(kind, b),
        (_, [a, b]) => a == b,
    }
}

/// The maps of ConfigMaps and Secrets that the API server drops when they are empty.
const MAPS: [&str; 3] = ["data", "binaryData", "stringData"];

/// An object to compare, without what says nothing; a Secret also without its data.
fn rest(kind: Kind, value: &Value) -> Value {
    let mut value = value.clone();
    let is_empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, value| !(is_empty(value) && matches!(key.as_str(), "labels" | "annotations")));
    }
    if let Some(map) = value.as_object_mut() {
        let is_data = |key: &String| kind == Kind::Secret && matches!(key.as_str(), "data" | "stringData");
        map.retain(|key, value| !(is_data(key) || is_empty(value) && MAPS.contains(&key.as_str())));
        let is_opaque = |name: &Value| name.as_str().is_some_and(|name| secret::type_of(Some(name)) == secret::OPAQUE);
        if kind == Kind::Secret && map.get("type").is_some_and(is_opaque) {
            map.remove("type");
        }
    }
    value
}

/// The value of one key: bytes where they can be decoded, else the text that could not.
#[derive(PartialEq)]
enum Datum<'a> {
    Bytes(Vec<u8>),
    Other(&'a Value),
}

/// `data` decoded, with `stringData` over it.
fn secret_data(value: &Value) -> BTreeMap<&str, Datum<'_>> {
    let mut found = BTreeMap::new();
    for (name, value) in value.get("data").and_then(Value::as_object).into_iter().flatten() {
        let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok());
        found.insert(name.as_str(), bytes.map_or(Datum::Other(value), Datum::Bytes));
    }
    for (name, value) in value.get("stringData").and_then(Value::as_object).into_iter().flatten() {
        let bytes = value.as_str().map(|text| text.as_bytes().to_vec());
        found.insert(name.as_str(), bytes.map_or(Datum::Other(value), Datum::Bytes));
    }
    found
}

/// The keys of a ConfigMap.
fn members(value: &Option<Value>) -> BTreeMap<&str, Datum<'_>> {
    let parts = ["data", "binaryData"].into_iter().filter_map(|part| value.as_ref()?.get(part)?.as_object());
    parts.flatten().map(|(name, value)| (name.as_str(), Datum::Other(value))).collect()
}

fn keys(sides: &[BTreeMap<&str, Datum<'_>>; 2]) -> Vec<DataKey> {
    let mut names: Vec<&str> = sides.iter().flat_map(|side| side.keys().copied()).collect();
    names.sort_unstable();
    names.dedup();
    let change = |name| match (sides[0].get(name), sides[1].get(name)) {
        (None, _) => KeyChange::Added,
        (_, None) => KeyChange::Removed,
        (before, after) if before == after => KeyChange::Unchanged,
        _ => KeyChange::Changed,
    };
    names.into_iter().map(|name| DataKey { name: name.to_owned(), change: change(name) }).collect()
}

fn mask_data(pair: &mut Pair) -> Vec<DataKey> {
    let none = Value::Null;
    let data = [0, 1].map(|side| secret_data(pair[side].as_ref().unwrap_or(&none)));
    let keys = keys(&data);
    let masked = [0, 1].map(|side| -> Map<String, Value> {
        let here = keys.iter().filter(|key| data[side].contains_key(key.name.as_str()));
        here.map(|key| (key.name.clone(), Value::from(shown(key.change, side)))).collect()
    });
    drop(data);
    for (value, masked) in pair.iter_mut().zip(masked) {
        let Some(map) = value.as_mut().and_then(Value::as_object_mut) else { continue };
        let had_data = map.contains_key("data") || map.contains_key("stringData");
        map.retain(|key, _| key != "stringData");
        if had_data {
            map.insert("data".to_owned(), Value::Object(masked));
        }
    }
    keys
}

fn shown(change: KeyChange, side: usize) -> &'static str {
    match (change, side) {
        (KeyChange::Changed, 0) => BEFORE,
        (KeyChange::Changed, _) => AFTER,
        _ => MASK,
    }
}

fn mask_annotation(pair: &mut Pair) {
    let get = |value: &Option<Value>| value.as_ref()?.get("metadata")?.get("annotations")?.get(LAST_APPLIED).cloned();
    let change = match [get(&pair[0]), get(&pair[1])] {
        [Some(a), Some(b)] if a != b => KeyChange::Changed,
        _ => KeyChange::Unchanged,
    };
    for (side, value) in pair.iter_mut().enumerate() {
        let annotation = value.as_mut().and_then(|v| v.pointer_mut("/metadata/annotations"));
        if let Some(annotation) = annotation.and_then(|a| a.get_mut(LAST_APPLIED)) {
            *annotation = Value::from(shown(change, side));
        }
    }
}

/// The change of a field without values that must not be seen.
pub(super) fn change(change: &FieldChange) -> FieldChange {
    let secret = matches!(&change.cause, Cause::Data { object, .. } if object.kind == Kind::Secret);
    let mut shown = change.clone();
    let copy = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains(LAST_APPLIED));
    if secret || change.field.contains(LAST_APPLIED) || copy(&change.before) || copy(&change.after) {
        for value in [&mut shown.before, &mut shown.after].into_iter().flatten() {
            *value = format!("{MASK:?}");
        }
    }
    shown
}
