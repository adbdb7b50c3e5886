//! Rules for environment variables.

use std::collections::BTreeSet;

use super::volumes::climbs;
use super::{Subject, View, choice, names, quantity, shape};
use crate::manifest::problem::{Finding, alternatives, quoted};

/// Where a variable may take its value from.
const SOURCES: [&str; 5] = ["configMapKeyRef", "secretKeyRef", "fieldRef", "resourceFieldRef", "fileKeyRef"];

/// Fields a variable may show.
const FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

pub(super) fn variables(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for variable in subject.containers().iter().flat_map(|container| container.list("env")) {
        match variable.get("name") {
            Some(name) if name.text() == Some("") => out.push(variable.missing("name")),
            Some(name) => variable_name(&name, "the variable name", out),
            None => {}
        }
        let Some(from) = variable.get("valueFrom") else { continue };
        if variable.text_of("value").is_some_and(|value| !value.is_empty()) {
            let finding = from.error("one-of", "a variable has either `value` or `valueFrom`, not both").at_key();
            out.push(finding.help("remove one of the two"));
        }
        one_source(&from, out);
        for field in ["configMapKeyRef", "secretKeyRef"] {
            if let Some(reference) = from.get(field) {
                key_reference(&reference, out);
            }
        }
        if let Some(field) = from.get("fieldRef") {
            field_reference(&field, out);
        }
        if let Some(reference) = from.get("resourceFieldRef") {
            resource(&reference, false, out);
        }
        if let Some(reference) = from.get("fileKeyRef") {
            file_reference(&reference, out);
        }
    }
}

/// A key of a file in a volume (`validateFileKeySelector`).
fn file_reference(reference: &View<'_>, out: &mut Vec<Finding>) {
    let field = |name: &str| reference.get(name).filter(|view| view.text() != Some(""));
    for name in ["volumeName", "path", "key"] {
        if reference.value.is_object() && field(name).is_none() {
            out.push(reference.missing(name));
        }
    }
    if let Some(volume) = field("volumeName") {
        shape(&volume, "the volume name", names::label, out);
    }
    if let Some(key) = field("key") {
        variable_name(&key, "the key", out);
    }
    let Some(path) = field("path") else { return };
    let Some(text) = path.text() else { return };
    if text.starts_with('/') || text.starts_with("..") || climbs(text) {
        let message = format!("the path {} must be relative, without `..`", quoted(text));
        out.push(path.error("path", message).help("it is a path inside the volume"));
    }
}

/// Files of variables are in volumes that a container of the pod can have written them to (`validateFileKeyRefVolumes`).
pub(super) fn files(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let variables = subject.containers().iter().flat_map(|container| container.list("env"));
    for name in variables.filter_map(|variable| variable.path(&["valueFrom", "fileKeyRef", "volumeName"])) {
        let is_it = |volume: &&View<'_>| volume.text_of("name").is_some() && volume.text_of("name") == name.text();
        let Some(volume) = subject.volumes().iter().find(is_it) else { continue };
        let is_empty_dir = volume.has("emptyDir") || volume.entries().count() == 1;
        if !is_empty_dir {
            let text = quoted(name.text().unwrap_or(""));
            let message = format!("the volume {text} of `fileKeyRef` must be an emptyDir");
            out.push(name.error("contradiction", message).help("have a container write the file to an emptyDir"));
        }
    }
}

/// A variable that is defined twice: the second counts, which is rarely meant. One that builds on the first is.
pub(super) fn twice(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for container in subject.containers() {
        let mut seen = BTreeSet::new();
        for variable in container.list("env") {
            let Some(name) = variable.get("name") else { continue };
            let Some(text) = name.text().filter(|text| !text.is_empty()) else { continue };
            let own = format!("$({text})");
            let builds_on_it = variable.text_of("value").is_some_and(|value| value.contains(&own) && value != own);
            if !seen.insert(text) && !builds_on_it {
                let message = format!("the variable {} hides an earlier one of this name", quoted(text));
                out.push(Finding::warning("duplicate-variable", &name.pointer(), message));
            }
        }
    }
}

/// What a `resourceFieldRef` may show.
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
];

/// A limit or request, in units of a divisor. A file must say of which container.
pub(super) fn resource(reference: &View<'_>, is_file: bool, out: &mut Vec<Finding>) {
    if let Some(resource) = reference.get("resource")
        && let Some(text) = resource.text()
        && !text.starts_with("limits.hugepages-")
        && !text.starts_with("requests.hugepages-")
    {
        choice(&resource, "resource", &RESOURCES, out);
    }
    if is_file && reference.text_of("containerName").unwrap_or_default().is_empty() && reference.value.is_object() {
        out.push(reference.missing("containerName"));
    }
    if let Some(divisor) = reference.get("divisor") {
        quantity::check(&divisor, "`divisor`", out);
        self::divisor(reference, &divisor, out);
    }
}

/// Processors are counted whole or by thousandths, all else by powers of a thousand and of 1024
/// (`validateContainerResourceDivisor`). None, or 0, is 1.
fn divisor(reference: &View<'_>, divisor: &View<'_>, out: &mut Vec<Finding>) {
    const SIZES: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let (_, resource) = reference.text_of("resource").and_then(|text| text.split_once('.')).unwrap_or_default();
    let (allowed, what) = match resource {
        "cpu" => (&["1m", "1"][..], "cpu"),
        "memory" => (SIZES, "memory"),
        "ephemeral-storage" => (SIZES, "local ephemeral storage"),
        huge if huge.starts_with("hugepages-") => (SIZES, "hugepages"),
        _ => return,
    };
    let Some(shown) = quantity::shown(divisor.value) else { return };
    if shown != "0" && !shown.starts_with('-') && !allowed.contains(&shown.as_str()) {
        let words = if resource == "cpu" { allowed.join(" and ") } else { allowed.join(", ") };
        let message = format!("only divisor's values {words} are supported with the {what} resource");
        out.push(divisor.error("choice", message));
    }
}

/// A `resourceFieldRef` that names a container that the pod does not have: the API takes it, and nothing starts.
pub(super) fn named_containers(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let names: BTreeSet<&str> = subject.containers().iter().filter_map(|container| container.text_of("name")).collect();
    let variables = subject.containers().iter().flat_map(|container| container.list("env"));
    let variables = variables.filter_map(|variable| variable.path(&["valueFrom", "resourceFieldRef"]));
    let own = subject.volumes().iter().filter_map(|volume| volume.get("downwardAPI"));
    let projected = subject.volumes().iter().filter_map(|volume| volume.get("projected"));
    let projected = projected.flat_map(|projected| projected.list("sources"));
    let files = own.chain(projected.filter_map(|source| source.get("downwardAPI")));
    let files = files.flat_map(|files| files.list("items")).filter_map(|item| item.get("resourceFieldRef"));
    for name in variables.chain(files).filter_map(|reference| reference.get("containerName")) {
        let Some(text) = name.text().filter(|text| !text.is_empty() && !names.contains(text)) else { continue };
        let message = format!("the pod has no container {}", quoted(text));
        let finding = Finding::warning("unknown-container", &name.pointer(), message);
        out.push(finding.help("the pod waits for it in vain: write the name of one of its containers"));
    }
}

fn variable_name(view: &View<'_>, what: &str, out: &mut Vec<Finding>) {
    if let Some(text) = view.text()
        && let Err(wrong) = names::env_name(text)
    {
        out.push(view.error("name", format!("{what} {} must {wrong}", quoted(text))));
    }
}

fn one_source(from: &View<'_>, out: &mut Vec<Finding>) {
    let count = SOURCES.iter().filter(|source| from.has(source)).count();
    if count != 1 && from.value.is_object() {
        let message = format!("`valueFrom` needs exactly one of {}", alternatives(&SOURCES));
        out.push(from.error("one-of", message));
    }
}

fn key_reference(reference: &View<'_>, out: &mut Vec<Finding>) {
    match reference.get("name").filter(|name| name.text() != Some("")) {
        Some(name) => shape(&name, "the name", names::subdomain, out),
        None => out.push(reference.missing("name")),
    }
    if let Some(key) = reference.get("key") {
        shape(&key, "the key", names::data_key, out);
    }
}

fn field_reference(reference: &View<'_>, out: &mut Vec<Finding>) {
    field(reference, ("a variable", &FIELDS), out);
}

/// Fields that a file may show; all labels and all annotations are among them, addresses are not.
const FILE_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

pub(super) fn file_field(reference: &View<'_>, out: &mut Vec<Finding>) {
    field(reference, ("a file", &FILE_FIELDS), out);
}

fn field(reference: &View<'_>, (what, fields): (&str, &[&str]), out: &mut Vec<Finding>) {
    if let Some(version) = reference.get("apiVersion").filter(|version| !matches!(version.text(), Some("v1" | ""))) {
        out.push(version.error("choice", "`apiVersion` of a field reference must be v1").help("remove the line"));
    }
    let Some(path) = reference.get("fieldPath") else { return };
    let Some(text) = path.text() else { return };
    let subscript = text.strip_suffix("']").and_then(|text| text.split_once("['"));
    match subscript {
        Some(("metadata.labels" | "metadata.annotations", key)) => {
            // Keys of annotations are compared without regard to case.
            let folded = if text.starts_with("metadata.annotations") { key.to_lowercase() } else { key.to_owned() };
            if let Err(wrong) = names::qualified(&folded) {
                let finding = path.error("field-path", format!("the key {} must {wrong}", quoted(key)));
                out.push(finding.help("write the key of a label or an annotation"));
            }
        }
        None if fields.contains(&text) => {}
        _ => {
            let known = format!("{}, metadata.labels['key'] and metadata.annotations['key']", fields.join(", "));
            let message = format!("{what} cannot show the field {}", quoted(text));
            out.push(path.error("field-path", message).help(format!("the fields are {known}")));
        }
    }
}

/// `envFrom`: exactly one source each, with a name and a prefix that makes variable names.
pub(super) fn sources(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    for source in subject.containers().iter().flat_map(|container| container.list("envFrom")) {
        if let Some(prefix) = source.get("prefix").filter(|prefix| prefix.text() != Some("")) {
            variable_name(&prefix, "the prefix", out);
        }
        let references: Vec<View<'_>> =
            ["configMapRef", "secretRef"].into_iter().filter_map(|field| source.get(field)).collect();
        if references.len() != 1 && source.value.is_object() {
            out.push(source.error("one-of", "an `envFrom` item needs exactly one of configMapRef or secretRef"));
        }
        for reference in references {
            match reference.get("name").filter(|name| name.text() != Some("")) {
                Some(name) => shape(&name, "the name", names::subdomain, out),
                None => out.push(reference.missing("name")),
            }
        }
    }
}
