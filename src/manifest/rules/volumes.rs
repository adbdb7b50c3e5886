//! Rules for volumes.

use std::collections::BTreeSet;

use super::{Subject, View, choice, names, quantity, shape};
use crate::manifest::problem::{Finding, quoted};
use crate::manifest::schema;
use crate::model::Kind;

pub(super) fn names(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let mut seen = BTreeSet::new();
    for volume in subject.volumes() {
        let Some(name) = volume.get("name") else { continue };
        let Some(text) = name.text() else { continue };
        if text.is_empty() {
            out.push(volume.missing("name"));
            continue;
        }
        shape(&name, "the volume name", names::label, out);
        if !seen.insert(text) {
            let message = format!("volume name {} is already used", quoted(text));
            out.push(name.error("duplicate-name", message).help("give each volume a name of its own"));
        }
    }
}

/// At most one source; without any a volume is an emptyDir, as in Kubernetes.
pub(super) fn one_source(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for volume in subject.volumes() {
        let known = schema::walk(Kind::Pod).at(["spec", "volumes", "0"].iter());
        let is_source = |key: &str| key != "name" && known.is_some_and(|known| known.property(key).is_some());
        let sources: Vec<(&str, View<'_>)> = volume.entries().filter(|(key, _)| is_source(key)).collect();
        if let [(first, _), others @ ..] = sources.as_slice() {
            for (key, source) in others {
                let message = format!("a volume has one source: `{key}` stands beside `{first}`");
                out.push(source.error("one-of", message).at_key().help("remove one of the two"));
            }
        }
    }
}

pub(super) fn empty_dir(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for source in subject.volumes().iter().filter_map(|volume| volume.get("emptyDir")) {
        if let Some(medium) = source.get("medium") {
            let is_huge = medium.text().is_some_and(|text| text.starts_with("HugePages"));
            if !is_huge {
                choice(&medium, "emptyDir.medium", &["", "Memory"], out);
            }
        }
        if let Some(limit) = source.get("sizeLimit") {
            quantity::check(&limit, "`sizeLimit`", out);
        }
    }
}

pub(super) fn host_path(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for source in subject.volumes().iter().filter_map(|volume| volume.get("hostPath")) {
        let Some(path) = source.get("path") else { continue };
        let Some(text) = path.text() else { continue };
        if text.is_empty() {
            out.push(source.missing("path"));
        } else if !text.starts_with('/') {
            out.push(path.error("path", format!("the host path {} must be absolute", quoted(text))));
        } else if climbs(text) {
            out.push(path.error("path", format!("the host path {} must not contain `..`", quoted(text))));
        }
    }
}

/// Whether a path leads upwards.
pub(super) fn climbs(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

/// configMap and secret volumes: the object's name, and where each key goes.
pub(super) fn data(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for volume in subject.volumes() {
        for (field, name) in [("configMap", "name"), ("secret", "secretName")] {
            let Some(source) = volume.get(field) else { continue };
            match source.get(name).filter(|name| name.text() != Some("")) {
                Some(name) => shape(&name, "the name", names::subdomain, out),
                None if source.value.is_object() => out.push(source.missing(name)),
                None => {}
            }
            items(&source, &mut BTreeSet::new(), out);
        }
    }
}

/// The paths of files, each once in a volume: `seen` has those of other sources.
pub(super) fn items<'v>(source: &View<'v>, seen: &mut BTreeSet<&'v str>, out: &mut Vec<Finding>) {
    for item in &source.list("items") {
        if let Some(key) = item.get("key") {
            shape(&key, "the key", names::data_key, out);
        }
        file_path(item, seen, out);
    }
}

/// The path of one file, as [`items`] has those of several.
pub(super) fn file_path<'v>(file: &View<'v>, seen: &mut BTreeSet<&'v str>, out: &mut Vec<Finding>) {
    let Some(path) = file.get("path") else { return };
    let Some(text) = path.text() else { return };
    if text.is_empty() {
        out.push(file.missing("path"));
    } else if text.starts_with('/') || climbs(text) {
        let message = format!("the path {} must be relative, without `..`", quoted(text));
        out.push(path.error("path", message).help("it is a path inside the volume"));
    } else if text.starts_with("..") {
        out.push(path.error("path", format!("the path {} must not begin with `..`", quoted(text))));
    } else if !seen.insert(text) {
        out.push(path.error("duplicate-name", format!("the path {} is already used", quoted(text))));
    }
}
