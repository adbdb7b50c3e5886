//! Problems between objects: the same one twice, ports taken twice, names that lead nowhere.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::facts::{Facts, Reference};
use super::object::Object;
use super::problem::{Finding, quoted};
use super::rules::{HostPort, Taken, selects};
use super::secret;
use crate::model::{Kind, ObjectKey, SourceRef};

/// How many volumes or keys a misspelt name is compared with.
const COMPARED: usize = 100;

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
        let (line, column) = self.object.places.get(pointer).unwrap_or(self.object.at);
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
        let mut findings = Vec::new();
        open_mounts(placed, &presets, &mut findings);
        out.extend(findings.into_iter().map(|finding| (*placed, finding)));
    }
    host_ports(objects, &mut out);
    out
}

fn duplicate(second: &Placed<'_>, first: &Placed<'_>) -> Finding {
    let message = format!("{} is already defined at {}", second.object.key, first.at("/metadata/name"));
    Finding::error("duplicate-object", "/metadata/name", message).help("remove one of the two, or rename it")
}

/// Names that lead nowhere: warnings, for the pod waits until they lead somewhere.
fn references<'b>(
    placed: &'b Placed<'_>,
    index: &'b HashMap<&ObjectKey, Placed<'_>>,
) -> impl Iterator<Item = Finding> + 'b {
    placed.object.facts.references.iter().flat_map(|reference| {
        let namespace = placed.object.key.namespace.clone();
        let key = ObjectKey { kind: reference.kind, namespace, name: reference.name.clone() };
        match index.get(&key) {
            Some(found) => missing_keys(reference, &key, &found.object.facts),
            None => vec![missing_object(reference, &key)],
        }
    })
}

fn missing_object(reference: &Reference, key: &ObjectKey) -> Finding {
    let pulls = reference.pointer.contains("/imagePullSecrets/");
    let help = match reference.kind {
        Kind::ServiceAccount => "the pod waits until it is there; add it, or remove the line to use `default`",
        _ if pulls => "add it, or remove the line: images are pulled without it",
        _ => "the pod waits until it is there; add it, or write `optional: true`",
    };
    Finding::warning("missing-object", &reference.pointer, format!("{key} is not among the manifests")).help(help)
}

fn missing_keys(reference: &Reference, key: &ObjectKey, facts: &Facts) -> Vec<Finding> {
    let missing = reference.keys.iter().filter(|(key, _)| !facts.keys.contains(key));
    let told = missing.map(|(name, pointer)| {
        let message = format!("{key} has no key {}", quoted(name));
        let slips = (name.chars().count() / 3).max(1);
        let mut known = facts.keys.iter().filter(|key| secret::may_be_told(key)).take(COMPARED);
        let help = match known.find(|known| strsim::damerau_levenshtein(known, name) <= slips) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "the pod waits until it is there; add it, or write `optional: true`".to_owned(),
        };
        Finding::warning("missing-key", pointer, message).help(help)
    });
    told.collect()
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
fn open_mounts(placed: &Placed<'_>, presets: &BTreeMap<&str, Vec<&Object>>, out: &mut Vec<Finding>) {
    let pod = placed.object;
    if pod.facts.open_mounts.is_empty() {
        return;
    }
    let labels = pod.value.pointer("/metadata/labels").and_then(Value::as_object);
    let selected =
        |preset: &&&Object| preset.value.pointer("/spec/selector").is_some_and(|selector| selects(selector, labels));
    let in_namespace = presets.get(pod.key.namespace.as_str()).map_or(&[][..], Vec::as_slice);
    let givers: Vec<&Object> = in_namespace.iter().filter(selected).copied().collect();
    for (volume, pointer) in &pod.facts.open_mounts {
        if givers.iter().any(|preset| preset.facts.volumes.contains(volume)) {
            continue;
        }
        let slips = (volume.chars().count() / 3).max(1);
        let mut own = pod.facts.volumes.iter().take(COMPARED);
        let help = match own.find(|name| strsim::damerau_levenshtein(name, volume) <= slips) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "add it to `volumes`, or select the pod with a PodPreset that brings it".to_owned(),
        };
        let message = format!("the pod has no volume {}", quoted(volume));
        out.push(Finding::error("unknown-volume", pointer, message).help(help));
    }
}

/// Ports of the machine that two pods want.
fn host_ports<'a>(objects: &[Placed<'a>], out: &mut Vec<(Placed<'a>, Finding)>) {
    let mut taken: Taken<'a, (Placed<'a>, &'a HostPort)> = Taken::new();
    for placed in objects {
        let ports = &placed.object.facts.host_ports;
        for port in ports {
            let Some((other, held)) = taken.clash(port).filter(|(other, _)| other.object.key != placed.object.key)
            else {
                continue;
            };
            let place = other.at(&held.pointer);
            let message = format!("host port {} is already taken by {} at {place}", port.shown(), other.object.key);
            let finding = Finding::error("host-port", &port.pointer, message);
            out.push((*placed, finding.help("choose another port: both pods run on this machine")));
        }
        ports.iter().for_each(|port| taken.take(port, (*placed, port)));
    }
}
