//! Tables: what kubectl asks for so that it need not know a kind's columns.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::Kind;
use crate::report::{Listed, cells, columns};

/// Whether a client's Accept header prefers a Table.
pub(super) fn wanted(accept: &str) -> bool {
    accept.split(',').map(str::trim).next().is_some_and(|first| {
        let mut parts = first.split(';').map(str::trim);
        parts.next() == Some("application/json")
            && parts.clone().any(|p| p == "as=Table")
            && parts.clone().all(|p| !p.starts_with("v=") || p == "v=v1")
    })
}

/// Which object a row carries: `includeObject`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

impl Include {
    pub fn parse(text: Option<&str>) -> Result<Self, String> {
        match text {
            None | Some("" | "Metadata") => Ok(Include::Metadata),
            Some("None") => Ok(Include::None),
            Some("Object") => Ok(Include::Object),
            Some(other) => Err(format!("includeObject must be None, Metadata or Object, not {other:?}")),
        }
    }
}

/// The objects as a Table.
pub(super) fn table(listed: Listed, objects: &[&Value], include: Include, version: &str, now: Timestamp) -> Value {
    let definitions: Vec<Value> = columns(listed).iter().map(|c| definition(c.name, c.wide)).collect();
    let rows: Vec<Value> = objects.iter().map(|object| row(listed, object, include, now)).collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version},
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn definition(name: &str, wide: bool) -> Value {
    let kind = if matches!(name, "Data" | "Count") { "integer" } else { "string" };
    let format = if name == "Name" { "name" } else { "" };
    json!({"name": name, "type": kind, "format": format, "description": name, "priority": i32::from(wide)})
}

fn row(listed: Listed, object: &Value, include: Include, now: Timestamp) -> Value {
    let mut row = json!({"cells": cells(listed, object, now)});
    match include {
        Include::None => {}
        Include::Object => row["object"] = object.clone(),
        Include::Metadata => {
            row["object"] = json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
            });
        }
    }
    if listed == Listed::Kind(Kind::Pod)
        && let Some(phase @ ("Succeeded" | "Failed")) = object["status"]["phase"].as_str()
    {
        let message = format!("The pod has {}.", if phase == "Failed" { "failed" } else { "completed successfully" });
        row["conditions"] = json!([{"type": "Completed", "status": "True", "reason": phase, "message": message}]);
    }
    row
}
