//! The JSON view and its schema: what is written is allowed, and what is allowed is written by someone.

use std::collections::BTreeSet;

use podwright::model::{Cause, Diagnostic, Kind, ObjectKey, PodKey, Rename, Severity, Verb};
use podwright::report::{DiffReport, diff_json};
use serde_json::{Value, json};

use super::{between, data, pod, preset};

pub fn schema() -> Value {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/diff.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The document, which must be what the schema says.
pub fn checked(report: &DiffReport) -> Value {
    let value = serde_json::from_str(&diff_json(report)).unwrap();
    fits(&value);
    value
}

/// A document must be what the schema says.
pub fn fits(value: &Value) {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let errors: Vec<String> = validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert_eq!(errors, [""; 0], "{value:#}");
}

/// Reports that between them have something everywhere.
fn all() -> Vec<DiffReport> {
    let mut own = pod("web", "x");
    own["spec"]["containers"][0]["env"] = json!([{"name": "DB_PORT", "value": "1"}]);
    let secret = |value: &str| data("Secret", "s", json!({"password": value, "user": "eA=="}));
    let base = [pod("a", "x"), pod("b", "x"), own.clone(), secret("eA=="), data("ConfigMap", "m", json!({"k": "v"}))];
    let mut conflicting = preset("p", "2");
    conflicting["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
    let head = [pod("a", "y"), pod("c", "x"), own, secret("eQ=="), conflicting];
    let mut full = between(&base, &head);
    full.head.revision.as_mut().unwrap().subject = Some("a subject".into());
    full.renames = vec![Rename { from: PodKey::new("default", "b"), to: PodKey::new("default", "c") }];
    let web = full.objects.iter().position(|o| o.key.kind == Kind::Pod && o.verb == Verb::RestartContainer).unwrap();
    let object = &mut full.objects[web];
    object.renamed_from = Some(PodKey::new("default", "b"));
    object.renamed_to = Some(PodKey::new("default", "c"));
    object.used_by = vec![PodKey::new("default", "c")];
    let secret = ObjectKey { kind: Kind::Secret, namespace: "default".into(), name: "s".into() };
    object.changes[0].cause = Cause::Data { object: secret, keys: vec!["password".into()] };
    let mut head = crate::admit::admitted(&[pod("a", "x")]);
    head.diagnostics.0.push(Diagnostic {
        severity: Severity::Warning,
        rule: "reference",
        message: "there is no ConfigMap m".into(),
        help: Some("add it".into()),
        place: None,
        object: None,
        field: Some("spec".into()),
    });
    let mut invalid = crate::admit::admitted(&[]);
    let error = Diagnostic { severity: Severity::Error, message: "a tab".into(), ..head.diagnostics.0[0].clone() };
    invalid.diagnostics.0.push(error);
    let mended = super::compare(&invalid, &crate::admit::admitted(&[]));
    let warned = super::compare(&crate::admit::admitted(&[]), &head);
    let presets = between(&[pod("a", "x")], &[pod("a", "x"), preset("p", "2")]);
    full.counts[0].not_for_this_machine = 1;
    let mut placed = between(&[pod("a", "x")], &[pod("a", "y")]);
    let change = placed.objects[0].changes[0].clone();
    for cause in [Cause::NodeName, Cause::NodeLabels, Cause::NodeTaints, Cause::NodeResources] {
        placed.objects[0].changes.push(podwright::model::FieldChange { cause, ..change.clone() });
    }
    vec![placed, full, warned, mended, presets, between(&[], &[])]
}

#[test]
fn every_document_is_what_the_schema_says() {
    let documents: Vec<Value> = all().iter().map(checked).collect();
    let mut surprised = documents[1].clone();
    surprised["objects"][0]["surprise"] = json!(1);
    let validator = jsonschema::validator_for(&schema()).unwrap();
    assert!(!validator.is_valid(&surprised), "the schema is strict");
}

/// Every member of an object, anywhere.
fn members(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            out.insert(key.clone());
            members(value, out);
        }),
        Value::Array(list) => list.iter().for_each(|v| members(v, out)),
        _ => {}
    }
}

/// Every property a schema names.
fn properties(schema: &Value, out: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            if key == "properties" {
                out.extend(value.as_object().unwrap().keys().cloned());
            }
            properties(value, out);
        }),
        Value::Array(list) => list.iter().for_each(|v| properties(v, out)),
        _ => {}
    }
}

#[test]
fn the_schema_names_no_member_that_is_never_written() {
    let (mut named, mut written) = (BTreeSet::new(), BTreeSet::new());
    properties(&schema(), &mut named);
    all().iter().for_each(|report| members(&checked(report), &mut written));
    assert_eq!(named.difference(&written).collect::<Vec<_>>(), [""; 0] as [&str; 0]);
}
