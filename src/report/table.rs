//! `get` tables: columns and cells of every kind, as kubectl prints them and as the API's Table carries them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::duration::age;
use super::row::{PodRow, pod_row};
use super::tabs;
use crate::model::{Kind, ORIGIN};

/// Which columns a table shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// `-o wide`.
    pub wide: bool,
    /// NAMESPACE comes first: `-A`.
    pub namespaces: bool,
    pub no_headers: bool,
}

/// The kinds that can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    Kind(Kind),
    Event,
    Node,
}

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// As in the API's Table: `Nominated Node`. The command line prints it in capitals.
    pub name: &'static str,
    /// Only shown with `-o wide`.
    pub wide: bool,
}

const fn column(name: &'static str) -> Column {
    Column { name, wide: false }
}

const fn wide(name: &'static str) -> Column {
    Column { name, wide: true }
}

const POD: &[Column] = &[
    column("Name"),
    column("Ready"),
    column("Status"),
    column("Restarts"),
    column("Age"),
    wide("IP"),
    wide("Node"),
    wide("Nominated Node"),
    wide("Readiness Gates"),
];
const NODE: &[Column] = &[
    column("Name"),
    column("Status"),
    column("Roles"),
    column("Age"),
    column("Version"),
    wide("Internal-IP"),
    wide("External-IP"),
    wide("OS-Image"),
    wide("Kernel-Version"),
    wide("Container-Runtime"),
];
const EVENT: &[Column] = &[
    column("Last Seen"),
    column("Type"),
    column("Reason"),
    column("Object"),
    wide("Subobject"),
    wide("Source"),
    column("Message"),
    wide("First Seen"),
    wide("Count"),
    wide("Name"),
];
const NAMESPACE: &[Column] = &[column("Name"), column("Status"), column("Age")];
const SECRET: &[Column] = &[column("Name"), column("Type"), column("Data"), column("Age"), wide("Origin")];
const CONFIG_MAP: &[Column] = &[column("Name"), column("Data"), column("Age"), wide("Origin")];
const NAME_AGE: &[Column] = &[column("Name"), column("Age")];

/// The columns of a kind, in kubectl's order.
pub fn columns(listed: Listed) -> &'static [Column] {
    match listed {
        Listed::Kind(Kind::Pod) => POD,
        Listed::Kind(Kind::Namespace) => NAMESPACE,
        Listed::Kind(Kind::Secret) => SECRET,
        Listed::Kind(Kind::ConfigMap) => CONFIG_MAP,
        Listed::Kind(Kind::ServiceAccount | Kind::PodPreset | Kind::Node) => NAME_AGE,
        Listed::Event => EVENT,
        Listed::Node => NODE,
    }
}

/// The cells of one object, one per column; numbers where kubectl's columns are integers.
pub fn cells(listed: Listed, object: &Value, now: Timestamp) -> Vec<Value> {
    let name = object["metadata"]["name"].clone();
    let created = age(timestamp(&object["metadata"]["creationTimestamp"]), now);
    match listed {
        Listed::Kind(Kind::Pod) => {
            let pod: Pod = serde_json::from_value(object.clone()).unwrap_or_default();
            pod_cells(&pod_row(&pod, now)).into_iter().map(Value::String).collect()
        }
        Listed::Kind(Kind::Namespace) => vec![name, object["status"]["phase"].clone(), json!(created)],
        Listed::Kind(Kind::Secret) => {
            vec![name, object["type"].clone(), json!(entries(object)), json!(created), json!(origin(object))]
        }
        Listed::Kind(Kind::ConfigMap) => vec![name, json!(entries(object)), json!(created), json!(origin(object))],
        Listed::Kind(Kind::ServiceAccount | Kind::PodPreset | Kind::Node) => vec![name, json!(created)],
        Listed::Event => event_cells(object, now),
        Listed::Node => node_cells(object, created),
    }
}

/// Where the object is from: podwright's own column, for kubectl knows one origin alone.
fn origin(object: &Value) -> &str {
    object["metadata"]["annotations"][ORIGIN].as_str().unwrap_or("manifests")
}

fn timestamp(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn entries(object: &Value) -> usize {
    ["data", "binaryData"].iter().filter_map(|m| object[*m].as_object()).map(serde_json::Map::len).sum()
}

fn pod_cells(row: &PodRow) -> Vec<String> {
    [
        &row.name,
        &row.ready,
        &row.status,
        &row.restarts,
        &row.age,
        &row.ip,
        &row.node,
        &row.nominated_node,
        &row.readiness_gates,
    ]
    .into_iter()
    .cloned()
    .collect()
}

fn event_cells(event: &Value, now: Timestamp) -> Vec<Value> {
    let object = &event["involvedObject"];
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let target = format!("{}/{}", text(&object["kind"]).to_lowercase(), text(&object["name"]));
    let (first, last) = (timestamp(&event["firstTimestamp"]), timestamp(&event["lastTimestamp"]));
    let (component, host) = (text(&event["source"]["component"]), text(&event["source"]["host"]));
    let source = if host.is_empty() { component } else { format!("{component}, {host}") };
    vec![
        json!(age(last, now)),
        event["type"].clone(),
        event["reason"].clone(),
        json!(target),
        json!(text(&object["fieldPath"])),
        json!(source),
        json!(text(&event["message"]).trim()),
        json!(age(first, now)),
        event["count"].clone(),
        event["metadata"]["name"].clone(),
    ]
}

/// What a node is labelled as, each once and in order: `findNodeRoles` of kubectl and of the API server.
pub(super) fn node_roles(labels: &Value) -> Vec<String> {
    let of_label = |(key, value): (&String, &Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()),
        None if key == "kubernetes.io/role" => value.as_str().map(str::to_owned),
        None => None,
    };
    let roles = labels.as_object().into_iter().flatten().filter_map(of_label).filter(|role| !role.is_empty());
    roles.collect::<BTreeSet<_>>().into_iter().collect()
}

fn node_cells(node: &Value, created: String) -> Vec<Value> {
    let conditions = node["status"]["conditions"].as_array();
    let ready = conditions.and_then(|c| c.iter().find(|c| c["type"] == "Ready")).map(|c| &c["status"]);
    // As `printNode` in pkg/printers/internalversion/printers.go of Kubernetes 1.36 has it.
    let status = match ready.and_then(Value::as_str) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let roles = node_roles(&node["metadata"]["labels"]);
    let disabled = if node["spec"]["unschedulable"] == true { ",SchedulingDisabled" } else { "" };
    let address = |kind: &str| {
        let found = node["status"]["addresses"].as_array().and_then(|a| a.iter().find(|a| a["type"] == kind));
        found.map_or_else(|| json!("<none>"), |a| a["address"].clone())
    };
    let info = |member: &str| match node["status"]["nodeInfo"][member].as_str() {
        None | Some("") => json!("<unknown>"),
        Some(text) => json!(text),
    };
    vec![
        node["metadata"]["name"].clone(),
        json!(format!("{status}{disabled}")),
        json!(if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }),
        json!(created),
        info("kubeletVersion"),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

/// `get pods`: header and one line per pod.
pub fn pods_table(rows: &[PodRow], options: TableOptions) -> String {
    let lines = rows.iter().map(|row| (row.namespace.clone(), pod_cells(row)));
    lay_out(Listed::Kind(Kind::Pod), lines.collect(), options)
}

/// `get` of any kind, from the objects as the API serves them.
pub fn objects_table(listed: Listed, objects: &[Value], options: TableOptions, now: Timestamp) -> String {
    let line = |object: &Value| {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        (namespace, cells(listed, object, now).iter().map(plain).collect())
    };
    lay_out(listed, objects.iter().map(line).collect(), options)
}

fn plain(cell: &Value) -> String {
    match cell {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn lay_out(listed: Listed, lines: Vec<(String, Vec<String>)>, options: TableOptions) -> String {
    let columns = columns(listed);
    let pick = |cells: Vec<String>, first: String| {
        let first = options.namespaces.then_some(first);
        let shown = cells.into_iter().zip(columns).filter(|(_, c)| options.wide || !c.wide).map(|(cell, _)| cell);
        first.into_iter().chain(shown).collect::<Vec<String>>()
    };
    let header = pick(columns.iter().map(|c| c.name.to_uppercase()).collect(), "NAMESPACE".into());
    let rows = lines.into_iter().map(|(namespace, cells)| pick(cells, namespace));
    let all: Vec<Vec<String>> = (!options.no_headers).then_some(header).into_iter().chain(rows).collect();
    tabs::table(&all)
}
