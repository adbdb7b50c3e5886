//! Rules for environment variables.

use super::{Subject, View, names, shape};
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
    if let Some(version) = reference.get("apiVersion").filter(|version| !matches!(version.text(), Some("v1" | ""))) {
        out.push(version.error("choice", "`apiVersion` of a field reference must be v1").help("remove the line"));
    }
    let Some(path) = reference.get("fieldPath") else { return };
    let Some(text) = path.text() else { return };
    let subscript = text.strip_suffix("']").and_then(|text| text.split_once("['"));
    match subscript {
        Some(("metadata.labels" | "metadata.annotations", key)) => {
            if let Err(wrong) = names::qualified(&key.to_ascii_lowercase()) {
                out.push(path.error("field-path", format!("the key {} must {wrong}", quoted(key))));
            }
        }
        None if FIELDS.contains(&text) => {}
        _ => {
            let known = format!("{}, metadata.labels['key'] and metadata.annotations['key']", FIELDS.join(", "));
            let message = format!("a variable cannot show the field {}", quoted(text));
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
