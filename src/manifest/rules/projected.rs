//! Rules for volumes that are put together: `projected`, and the files of `downwardAPI`.

use std::collections::BTreeSet;

use super::volumes::{file_path, items};
use super::{Subject, View, names, shape};
use crate::manifest::problem::{Finding, alternatives};

/// What a source of a projected volume may be.
const SOURCES: [&str; 6] =
    ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];

pub(super) fn sources(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for projected in subject.volumes().iter().filter_map(|volume| volume.get("projected")) {
        let mut seen = BTreeSet::new();
        projected.list("sources").iter().for_each(|source| one(source, &mut seen, out));
    }
}

/// A source; `seen` has the paths of those before it.
fn one<'v>(source: &View<'v>, seen: &mut BTreeSet<&'v str>, out: &mut Vec<Finding>) {
    let present: Vec<View<'_>> = SOURCES.iter().filter_map(|field| source.get(field)).collect();
    if present.len() != 1 && source.value.is_object() {
        let message = format!("a source has exactly one of {}", alternatives(&SOURCES));
        out.push(source.error("one-of", message));
    }
    for field in ["secret", "configMap"] {
        let Some(data) = source.get(field) else { continue };
        match data.get("name").filter(|name| name.text() != Some("")) {
            Some(name) => shape(&name, "the name", names::subdomain, out),
            None if data.value.is_object() => out.push(data.missing("name")),
            None => {}
        }
        items(&data, seen, out);
    }
    if let Some(downward) = source.get("downwardAPI") {
        files(&downward, seen, out);
    }
    if let Some(token) = source.get("serviceAccountToken") {
        file_path(&token, seen, out);
    }
}

pub(super) fn downward(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let sources = subject.volumes().iter().filter_map(|volume| volume.get("downwardAPI"));
    sources.for_each(|source| files(&source, &mut BTreeSet::new(), out));
}

/// Each file shows one field, of the pod or of a container's resources.
fn files<'v>(source: &View<'v>, seen: &mut BTreeSet<&'v str>, out: &mut Vec<Finding>) {
    items(source, seen, out);
    for item in source.list("items") {
        match (item.get("fieldRef"), item.get("resourceFieldRef")) {
            (Some(field), None) => super::env::file_field(&field, out),
            (None, Some(resource)) => super::env::resource(&resource, true, out),
            (None, None) => out.push(item.error("one-of", "a file needs one of fieldRef and resourceFieldRef")),
            (Some(_), Some(second)) => {
                out.push(second.error("one-of", "a file has either `fieldRef` or `resourceFieldRef`").at_key());
            }
        }
    }
}
