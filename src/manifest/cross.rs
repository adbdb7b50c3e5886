//! Problems between objects: the same one twice, ports taken twice, names that lead nowhere.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::object::Object;
use super::problem::{Finding, quoted};
use super::rules::{HostPort, selects};
use crate::model::{Kind, ObjectKey, SourceRef};

/// An object with the file it stands in.
#[derive(Clone, Copy)]
pub(super) struct Placed<'a> {
    /// Index of the file in the snapshot.
    pub(super) file: usize,
    pub(super) path: &'a str,
    pub(super) object: &'a Object,
}

impl Placed<'_> {
    /// `path:line:column` of a field, or of the object when the field has no place of its own.
    fn at(&self, pointer: &str) -> String {
        let (line, column) = self.object.places.get(pointer).copied().unwrap_or(self.object.at);
        SourceRef { path: self.path.into(), document: self.object.document, line, column }.to_string()
    }
}

/// Every problem, with the object it is about.
pub(super) fn check<'a>(objects: &[Placed<'a>]) -> Vec<(Placed<'a>, Finding)> {
    let mut index: HashMap<&ObjectKey, Placed<'a>> = HashMap::new();
    let mut out = Vec::new();
    for placed in objects {
        match index.get(&placed.object.key) {
            Some(first) => out.push((*placed, duplicate(placed, first))),
            None => {
                index.insert(&placed.object.key, *placed);
            }
        }
    }
    let presets = presets(objects);
    for placed in objects {
        out.extend(references(placed, &index).map(|finding| (*placed, finding)));
        out.extend(open_mounts(placed, &presets).map(|finding| (*placed, finding)));
    }
    host_ports(objects, &mut out);
    out
}

fn duplicate(second: &Placed<'_>, first: &Placed<'_>) -> Finding {
    let message = format!("{} is already defined at {}", second.object.key, first.at("/metadata/name"));
    Finding::error("duplicate-object", "/metadata/name", message).help("remove one of the two, or rename it")
}

fn references<'b>(
    placed: &'b Placed<'_>,
    index: &'b HashMap<&ObjectKey, Placed<'_>>,
) -> impl Iterator<Item = Finding> + 'b {
    placed.object.facts.references.iter().filter_map(|reference| {
        let namespace = placed.object.key.namespace.clone();
        let key = ObjectKey { kind: reference.kind, namespace, name: reference.name.clone() };
        if index.contains_key(&key) {
            return None;
        }
        let message = format!("{key} is not among the manifests");
        let pointer = &reference.pointer;
        Some(match reference.kind {
            Kind::ServiceAccount => Finding::error("missing-object", pointer, message)
                .help("add the ServiceAccount, or remove the line to use `default`"),
            _ => Finding::warning("missing-object", pointer, message)
                .help("the pod waits until it is there; add it, or write `optional: true`"),
        })
    })
}

/// The presets of each namespace.
fn presets<'a>(objects: &[Placed<'a>]) -> BTreeMap<&'a str, Vec<&'a Object>> {
    let mut found: BTreeMap<&str, Vec<&Object>> = BTreeMap::new();
    for placed in objects.iter().filter(|placed| placed.object.key.kind == Kind::PodPreset) {
        found.entry(&placed.object.key.namespace).or_default().push(placed.object);
    }
    found
}

/// Mounts of volumes that neither the pod nor a preset that selects it defines.
fn open_mounts<'b>(
    placed: &'b Placed<'_>,
    presets: &'b BTreeMap<&str, Vec<&Object>>,
) -> impl Iterator<Item = Finding> + 'b {
    let object = placed.object;
    let in_namespace = presets.get(object.key.namespace.as_str()).map_or(&[][..], Vec::as_slice);
    object.facts.open_mounts.iter().filter(|(volume, _)| !in_namespace.iter().any(|p| gives(p, volume, object))).map(
        |(volume, pointer)| {
            let message = format!("the pod has no volume {}", quoted(volume));
            let own = object.value.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten();
            let near = own
                .filter_map(|volume| volume.get("name")?.as_str())
                .find(|name| strsim::damerau_levenshtein(name, volume) <= (volume.chars().count() / 3).max(1));
            Finding::error("unknown-volume", pointer, message).help(near.map_or_else(
                || "add it to `volumes`, or select the pod with a PodPreset that brings it".to_owned(),
                |near| format!("did you mean `{near}`?"),
            ))
        },
    )
}

fn gives(preset: &Object, volume: &str, pod: &Object) -> bool {
    let Some(spec) = preset.value.get("spec") else { return false };
    let volumes = spec.get("volumes").and_then(Value::as_array);
    let has = volumes.into_iter().flatten().any(|v| v.get("name").and_then(Value::as_str) == Some(volume));
    let labels = pod.value.pointer("/metadata/labels").and_then(Value::as_object);
    has && spec.get("selector").is_some_and(|selector| selects(selector, labels))
}

/// Ports of the machine that two pods want.
fn host_ports<'a>(objects: &[Placed<'a>], out: &mut Vec<(Placed<'a>, Finding)>) {
    let mut taken: BTreeMap<i64, Vec<(Placed<'a>, &'a HostPort)>> = BTreeMap::new();
    for placed in objects {
        for port in &placed.object.facts.host_ports {
            let holders = taken.entry(port.port).or_default();
            let other =
                holders.iter().find(|(other, held)| held.clashes(port) && other.object.key != placed.object.key);
            if let Some((other, held)) = other {
                let place = other.at(&held.pointer);
                let message = format!("host port {} is already taken by {} at {place}", port.shown(), other.object.key);
                let finding = Finding::error("host-port", &port.pointer, message);
                out.push((*placed, finding.help("choose another port: both pods run on this machine")));
            }
            holders.push((*placed, port));
        }
    }
}
