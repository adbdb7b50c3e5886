//! One object: from its tree to a checked value.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde_json::Value;

use super::facts::{Facts, Source};
use super::json;
use super::problem::{Finding, Problem, escape, field_path, segments};
use super::yaml::Node;
use super::{base64, limits, rules, schema, secret, support};
use crate::model::{Kind, ObjectKey, Packed, Places, PodPreset, Severity};

/// Fields of `metadata` that only an API server writes; they come along when an object is copied out of a cluster.
const SERVER_OWNED: [&str; 8] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

/// An object of a file.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) key: ObjectKey,
    /// Index of its document in the file.
    pub(super) document: u32,
    /// Line and column where it begins.
    pub(super) at: (u32, u32),
    pub(super) facts: Facts,
    /// What stages compute on; `None` for an object with errors, and once it was handed over.
    pub(super) body: Option<Body>,
}

/// The content of a valid object.
#[derive(Clone, Debug)]
pub(super) struct Body {
    /// `None` once a pod is packed.
    pub(super) value: Option<Arc<Value>>,
    pub(super) places: Arc<Places>,
    pub(super) typed: Typed,
}

/// An object as the type its kind is computed on.
#[derive(Clone, Debug)]
pub(super) enum Typed {
    Pod(Arc<Pod>),
    Packed(Packed<Pod>),
    Preset(Arc<PodPreset>),
    /// Carried as a value.
    Carried,
}

impl Object {
    /// Makes a pod small, for who keeps it: its JSON value goes, and what it is typed as is packed.
    pub(super) fn pack(&mut self) {
        let Some(body) = &mut self.body else { return };
        if let Typed::Pod(pod) = &body.typed {
            (body.value, body.typed) = (None, Typed::Packed(Packed::new(&**pod)));
        }
    }
}

/// Reads one object of a document. It is `None` when it has no usable name. Its problems are bounded; the number of those
/// that are left out comes with them.
pub(super) fn read(kind: Kind, document: u32, node: &Node) -> (Option<Object>, Vec<Problem>, usize) {
    let (mut value, places) = json::to_json(node);
    fill_kind(kind, &mut value);
    let mut findings = drop_server_owned(&mut value);
    findings.extend(schema::check(kind, &value));
    findings.extend(rules::check(kind, &value));
    findings.extend(support::check(kind, &value));
    fill_namespace(kind, &mut value);
    spell_base64(kind, &mut value);
    let key = key(kind, &value);
    let typed = if findings.iter().any(|finding| finding.severity == Severity::Error) {
        None
    } else {
        typed(kind, &value, &mut findings)
    };
    let (problems, unlisted) = place_all(findings, node, &value);
    let facts = Source { kind, value: &value, node }.facts();
    let content = |typed| Body { value: Some(Arc::new(value)), places: Arc::new(places), typed };
    let body = typed.map(content);
    let object = key.map(|key| Object { key, document, at: (node.span.line, node.span.column), facts, body });
    (object, problems, unlisted)
}

/// The findings at their places, each once: schema and rules may say the same. Of too many, errors are kept first.
fn place_all(mut findings: Vec<Finding>, node: &Node, value: &Value) -> (Vec<Problem>, usize) {
    findings.sort_by_key(|finding| finding.severity);
    let unlisted = findings.len().saturating_sub(limits::PROBLEMS);
    findings.truncate(limits::PROBLEMS);
    let mut problems: Vec<Problem> = Vec::new();
    for problem in findings.into_iter().map(|finding| place(finding, node, value)) {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    (problems, unlisted)
}

/// A finding at its place in the file.
fn place(finding: Finding, root: &Node, value: &Value) -> Problem {
    // A key that is no name may be a value of a Secret.
    let is_secret = value.get("kind").is_some_and(|kind| kind == Kind::Secret.as_str());
    let is_told = !is_secret || segments(&finding.pointer).all(|segment| secret::may_be_told(&segment));
    let field = Some(field_path(value, &finding.pointer)).filter(|field| is_told && !field.is_empty());
    let message = if is_secret { secret::masked(&finding.message, secret::may_be_told) } else { finding.message };
    Problem {
        severity: finding.severity,
        rule: finding.rule,
        span: json::locate(root, &finding.pointer, finding.part),
        message,
        help: finding.help,
        field,
    }
}

/// Takes out `status` and what the API server owns, with a warning for each that says something.
fn drop_server_owned(value: &mut Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut warn = |pointer: String, name: &str| {
        let message = format!("`{name}` is written by an API server, not by a manifest: it is left out");
        findings.push(Finding::warning("server-owned", &pointer, message).at_key().help("remove it"));
    };
    let Some(object) = value.as_object_mut() else { return findings };
    if let Some(status) = object.remove("status") {
        // `kubectl create --dry-run` prints an empty one.
        if status.as_object().is_none_or(|status| !status.is_empty()) {
            warn("/status".to_owned(), "status");
        }
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in SERVER_OWNED {
            if metadata.remove(field).is_some() {
                warn(format!("/metadata/{}", escape(field)), field);
            }
        }
    }
    findings
}

/// An item of a list of one kind need not say what it is.
fn fill_kind(kind: Kind, value: &mut Value) {
    let Some(object) = value.as_object_mut() else { return };
    for (field, text) in [("apiVersion", kind.api_version()), ("kind", kind.as_str())] {
        object.entry(field).or_insert_with(|| Value::from(text));
    }
}

fn fill_namespace(kind: Kind, value: &mut Value) {
    let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let is_empty = metadata.get("namespace").is_none_or(|namespace| namespace == "");
    if kind.namespaced() && is_empty {
        metadata.insert("namespace".to_owned(), Value::from("default"));
    }
}

/// Kubernetes takes base64 in more spellings than its types here do.
fn spell_base64(kind: Kind, value: &mut Value) {
    let field = match kind {
        Kind::Secret => "data",
        Kind::ConfigMap => "binaryData",
        _ => return,
    };
    for (_, text) in value.get_mut(field).and_then(Value::as_object_mut).into_iter().flatten() {
        if let Value::String(text) = text
            && let Some(canonical) = base64::canonical(text)
        {
            *text = canonical;
        }
    }
}

fn key(kind: Kind, value: &Value) -> Option<ObjectKey> {
    let metadata = value.get("metadata")?;
    let name = metadata.get("name")?.as_str().filter(|name| !name.is_empty())?.to_owned();
    let namespace = match kind.namespaced() {
        true => metadata.get("namespace")?.as_str()?.to_owned(),
        false => String::new(),
    };
    Some(ObjectKey { kind, namespace, name })
}

fn typed(kind: Kind, value: &Value, findings: &mut Vec<Finding>) -> Option<Typed> {
    let made = match kind {
        Kind::Pod => Pod::deserialize(value).map(|pod| Typed::Pod(Arc::new(pod))),
        Kind::PodPreset => PodPreset::deserialize(value).map(|preset| Typed::Preset(Arc::new(preset))),
        _ => Ok(Typed::Carried),
    };
    made.map_err(|error| {
        let message = format!("the object does not have the form of a {kind}: {error}");
        findings.push(Finding::error("not-readable", "", message));
    })
    .ok()
}
