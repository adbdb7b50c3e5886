//! `secret` and `configmap`: objects of this machine alone, provisioned below the root and layered under what the manifests
//! say. An agent that runs sees a change at once; one that does not needs none to be told.

use serde_json::Value;

use super::args::{Global, LocalConfigmapVerb, LocalLsArgs, LocalRmArgs, LocalSecretVerb};
use super::error::{CliError, Ending};
use super::layout::Layout;
use super::{create, printer};
use crate::manifest::Reader;
use crate::model::{Desired, Kind, ObjectKey, Revision, RevisionKind, Snapshot};
use crate::report::{self, tabs};
use crate::source::{self, Limits};

/// Runs `secret`.
pub fn secret(verb: &LocalSecretVerb, global: &Global) -> Result<Ending, CliError> {
    match verb {
        LocalSecretVerb::Create(verb) => create::secret(verb, global),
        LocalSecretVerb::Ls(args) => list(&super::layout(global)?, Kind::Secret, args),
        LocalSecretVerb::Rm(args) => remove(&super::layout(global)?, Kind::Secret, args),
    }
}

/// Runs `configmap`.
pub fn config_map(verb: &LocalConfigmapVerb, global: &Global) -> Result<Ending, CliError> {
    match verb {
        LocalConfigmapVerb::Create { sources, common } => create::config_map(sources, common, global),
        LocalConfigmapVerb::Ls(args) => list(&super::layout(global)?, Kind::ConfigMap, args),
        LocalConfigmapVerb::Rm(args) => remove(&super::layout(global)?, Kind::ConfigMap, args),
    }
}

/// Provisions an object that the reader takes.
///
/// # Errors
/// When there is one already and it is not to be replaced, and when it cannot be written.
pub fn provision(layout: &Layout, kind: Kind, object: &Value, replace: bool) -> Result<Ending, CliError> {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let key = ObjectKey { kind, namespace: text("namespace"), name: text("name") };
    layout.prepare()?;
    let bytes = serde_json::to_vec(object).map_err(|e| CliError::new(format!("cannot write the object: {e}")))?;
    let was_there = source::provision(&layout.local(), &key, &bytes, replace)?;
    let done = if was_there { "replaced" } else { "created" };
    printer::out(&format!("{}/{} {done}\n", kind.as_str().to_lowercase(), key.name))?;
    Ok(Ending::Success)
}

/// What is provisioned, as the agent reads it.
fn read(layout: &Layout) -> Desired {
    let local = source::read_local(&layout.local(), &Limits::default());
    let revision = Revision { kind: RevisionKind::Content, id: String::new(), subject: None, branch: None };
    Reader::new().read(&Snapshot { revision, files: vec![], local, uncommitted: vec![], ignored: vec![] })
}

fn list(layout: &Layout, kind: Kind, args: &LocalLsArgs) -> Result<Ending, CliError> {
    let desired = read(layout);
    for found in desired.diagnostics.0.iter().filter(|found| found.rule == "local-object") {
        printer::note(&format!("warning: {}", found.message));
    }
    let is_asked = |key: &ObjectKey| args.all_namespaces || key.namespace == args.namespace.namespace;
    let found = desired.others.iter().filter(|(key, _)| key.kind == kind && is_asked(key));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (key, object) in found {
        let value = object.value.as_deref().unwrap_or(&Value::Null);
        let entries = |field: &str| value[field].as_object().map_or(0, serde_json::Map::len);
        let mut row = vec![key.name.clone()];
        if args.all_namespaces {
            row.insert(0, key.namespace.clone());
        }
        if kind == Kind::Secret {
            row.push(report::secret_type(value["type"].as_str()).to_owned());
        }
        row.push((entries("data") + entries("binaryData")).to_string());
        rows.push(row);
    }
    if rows.is_empty() {
        printer::note(&format!("no {} are provisioned on this machine", kind.plural()));
        return Ok(Ending::Success);
    }
    let mut header = vec!["NAME", "DATA"];
    if kind == Kind::Secret {
        header.insert(1, "TYPE");
    }
    if args.all_namespaces {
        header.insert(0, "NAMESPACE");
    }
    rows.insert(0, header.into_iter().map(str::to_owned).collect());
    printer::out(&tabs::table(&rows))?;
    Ok(Ending::Success)
}

fn remove(layout: &Layout, kind: Kind, args: &LocalRmArgs) -> Result<Ending, CliError> {
    let mut ending = Ending::Success;
    for name in &args.names {
        let key = ObjectKey { kind, namespace: args.namespace.namespace.clone(), name: name.clone() };
        if is_name(&key) && source::withdraw(&layout.local(), &key)? {
            printer::out(&format!("{} \"{name}\" deleted\n", kind.as_str().to_lowercase()))?;
        } else {
            printer::failure(&CliError::not_found(kind.plural(), name));
            ending = Ending::Failed;
        }
    }
    Ok(ending)
}

/// Whether it can be the name of a file, and of an object that is there.
fn is_name(key: &ObjectKey) -> bool {
    [&key.namespace, &key.name]
        .into_iter()
        .all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains('/'))
}
