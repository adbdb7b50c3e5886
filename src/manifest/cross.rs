//! Problems between objects: the same one twice, ports taken twice, names that lead nowhere. What it works on are the
//! facts of each object; trees and values are gone by then.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::facts::{Donor, Facts, Reference, Spot};
use super::object::Object;
use super::problem::{Problem, quoted};
use super::rules::{HostPort, Taken, selects};
use super::secret;
use crate::model::{Kind, ObjectKey, ROOT_CA, spread};

/// How many volumes or keys a misspelt name is compared with.
const COMPARED: usize = 100;

/// The first object of each key.
type Index<'a> = HashMap<&'a ObjectKey, Placed<'a>, RandomState>;

/// An object with the file it stands in.
#[derive(Clone, Copy)]
pub(super) struct Placed<'a> {
    /// Index of the file in the snapshot.
    pub(super) file: usize,
    pub(super) path: &'a str,
    pub(super) object: &'a Object,
}

impl Placed<'_> {
    /// `path:line:column` of a field.
    fn at(&self, spot: &Spot) -> String {
        format!("{}:{}:{}", self.path, spot.key.0, spot.key.1)
    }
}

/// Every problem, with the object it is about.
pub(super) fn check<'a>(objects: &[Placed<'a>], threads: usize) -> Vec<(Placed<'a>, Problem)> {
    let mut index = Index::with_capacity_and_hasher(objects.len(), RandomState::default());
    let mut out = Vec::new();
    for placed in objects {
        match index.get(&placed.object.key) {
            Some(first) => out.push((*placed, duplicate(placed, first))),
            None => {
                index.insert(&placed.object.key, *placed);
            }
        }
    }
    let donors = donors(objects);
    let of_each = spread::map(threads, objects, |placed| {
        let mut problems = Vec::new();
        references(placed, &index, &mut problems);
        open_mounts(placed, &donors, &mut problems);
        problems
    });
    for (placed, problems) in objects.iter().zip(of_each) {
        out.extend(problems.into_iter().map(|problem| (*placed, problem)));
    }
    host_ports(objects, &mut out);
    out
}

fn duplicate(second: &Placed<'_>, first: &Placed<'_>) -> Problem {
    let key = &second.object.key;
    let message = format!("{key} is already defined at {}", first.at(&first.object.facts.name));
    // A path is quoted text too.
    let message = if key.kind == Kind::Secret { secret::masked(&message, secret::may_be_told) } else { message };
    second.object.facts.name.error("duplicate-object", message, "remove one of the two, or rename it")
}

/// Names that lead nowhere: warnings, for the pod waits until they lead somewhere.
fn references(placed: &Placed<'_>, index: &Index<'_>, out: &mut Vec<Problem>) {
    for reference in &placed.object.facts.references {
        let namespace = placed.object.key.namespace.clone();
        let key = ObjectKey { kind: reference.kind, namespace, name: reference.name.clone() };
        match index.get(&key) {
            Some(found) => {
                out.extend(missing_keys(reference, &key, &found.object.facts));
            }
            // It is in every namespace.
            None if key.kind == Kind::ConfigMap && key.name == ROOT_CA => {}
            None => out.push(missing_object(reference, &key, placed.object.key.kind)),
        }
    }
}

fn missing_object(reference: &Reference, key: &ObjectKey, of: Kind) -> Problem {
    let help = match reference.kind {
        Kind::ServiceAccount if of == Kind::Secret => "the Secret has no token until it is there; add it",
        Kind::ServiceAccount => "the pod waits until it is there; add it, or remove the line to use `default`",
        _ if reference.pulls => "add it, or remove the line: images are pulled without it",
        Kind::Secret => {
            "the pod waits until it is there; add it, provision it on the machine (`podwright secret create ... --local`), or \
             write `optional: true`"
        }
        _ => "the pod waits until it is there; add it, or write `optional: true`",
    };
    reference.at.warning("missing-object", format!("{key} is not among the manifests"), help)
}

fn missing_keys<'r>(reference: &'r Reference, key: &'r ObjectKey, facts: &'r Facts) -> impl Iterator<Item = Problem> {
    reference.keys.iter().filter(|(name, _)| !facts.keys.contains(name)).map(move |(name, at)| {
        let message = format!("{key} has no key {}", quoted(name));
        let slips = (name.chars().count() / 3).max(1);
        let mut known = facts.keys.iter().filter(|key| secret::may_be_told(key)).take(COMPARED);
        let help = match known.find(|known| strsim::damerau_levenshtein(known, name) <= slips) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "the pod waits until it is there; add it, or write `optional: true`".to_owned(),
        };
        at.warning("missing-key", message, help)
    })
}

/// The presets of each namespace.
fn donors<'a>(objects: &[Placed<'a>]) -> BTreeMap<&'a str, Vec<&'a Donor>> {
    let mut found: BTreeMap<&str, Vec<&Donor>> = BTreeMap::new();
    for object in objects.iter().map(|placed| placed.object) {
        if let Some(donor) = &object.facts.donor {
            found.entry(&object.key.namespace).or_default().push(donor);
        }
    }
    found
}

/// Mounts of volumes that neither the pod nor a preset that selects it defines.
fn open_mounts(placed: &Placed<'_>, donors: &BTreeMap<&str, Vec<&Donor>>, out: &mut Vec<Problem>) {
    let Some(open) = &placed.object.facts.open_mounts else { return };
    let in_namespace = donors.get(placed.object.key.namespace.as_str()).map_or(&[][..], Vec::as_slice);
    let selected = |donor: &&&Donor| selects(&donor.selector, Some(&open.labels));
    let givers: Vec<&Donor> = in_namespace.iter().filter(selected).copied().collect();
    for (volume, at) in &open.mounts {
        if givers.iter().any(|donor| donor.volumes.contains(volume)) {
            continue;
        }
        let slips = (volume.chars().count() / 3).max(1);
        let mut own = open.volumes.iter().take(COMPARED);
        let help = match own.find(|name| strsim::damerau_levenshtein(name, volume) <= slips) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "add it to `volumes`, or select the pod with a PodPreset that brings it".to_owned(),
        };
        let message = format!("the pod has no volume {}", quoted(volume));
        out.push(at.error("unknown-volume", message, help));
    }
}

/// Ports of the machine that two pods want.
fn host_ports<'a>(objects: &[Placed<'a>], out: &mut Vec<(Placed<'a>, Problem)>) {
    let mut taken: Taken<'a, (Placed<'a>, &'a Spot)> = Taken::new();
    for placed in objects {
        let ports: &'a [(HostPort, Spot)] = &placed.object.facts.host_ports;
        for (port, at) in ports {
            let Some((other, held)) = taken.clash(port).filter(|(other, _)| other.object.key != placed.object.key)
            else {
                continue;
            };
            let place = other.at(held);
            let message = format!("host port {} is already taken by {} at {place}", port.shown(), other.object.key);
            out.push((*placed, at.error("host-port", message, "choose another port: both pods run on this machine")));
        }
        ports.iter().for_each(|(port, at)| taken.take(port, (*placed, at)));
    }
}
