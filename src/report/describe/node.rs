//! `describe node`: layout, sums and percentages of `describeNode` and `describeNodeResource` in kubectl (pkg/describe).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::{annotations, events_section, long_time, map, texts};
use crate::model::{AmountList, EventRecord, pod_total, quantity};
use crate::report::duration::age;
use crate::report::table::node_roles;
use crate::report::tabs;

/// Resources that are always counted, however little the machine has of them.
const COUNTED: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// How billionths become what percentages are of: thousandths of a core, whole bytes.
const MILLI: i128 = 1_000_000;
const UNIT: i128 = 1_000_000_000;
/// Of the kernel and the programs: how they are called, and their member of `status.nodeInfo`.
const SYSTEM: [(&str, &str); 9] = [
    ("Machine ID", "machineID"),
    ("System UUID", "systemUUID"),
    ("Boot ID", "bootID"),
    ("Kernel Version", "kernelVersion"),
    ("OS Image", "osImage"),
    ("Operating System", "operatingSystem"),
    ("Architecture", "architecture"),
    ("Container Runtime Version", "containerRuntimeVersion"),
    ("Kubelet Version", "kubeletVersion"),
];

/// The description of a node as the API serves it, with the pods that run on it or are to: those that came to their end are
/// left out.
pub fn describe_node(node: &Value, pods: &[Pod], events: &[EventRecord], now: Timestamp) -> String {
    let mut out = String::new();
    head(&mut out, node);
    conditions(&mut out, node);
    out.push_str("Addresses:\n");
    for address in node["status"]["addresses"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "  {}:\t{}", plain(&address["type"]), plain(&address["address"]));
    }
    for (title, list) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        let Some(amounts) = node["status"][list].as_object().filter(|amounts| !amounts.is_empty()) else { continue };
        let _ = writeln!(out, "{title}:");
        for (resource, amount) in amounts.iter().collect::<BTreeMap<_, _>>() {
            let _ = writeln!(out, "  {resource}:\t{}", plain(amount));
        }
    }
    out.push_str("System Info:\n");
    for (title, member) in SYSTEM {
        let _ = writeln!(out, "  {title}:\t{}", plain(&node["status"]["nodeInfo"][member]));
    }
    let is_over = |pod: &&Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    let pods: Vec<&Pod> = pods.iter().filter(|pod| !is_over(pod)).collect();
    resources(&mut out, node, &pods, now);
    events_section(&mut out, events, now);
    tabs::align(&out, 0, 2)
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn head(out: &mut String, node: &Value) {
    let metadata = &node["metadata"];
    let _ = writeln!(out, "Name:\t{}", plain(&metadata["name"]));
    let roles = node_roles(&metadata["labels"]);
    let _ = writeln!(out, "Roles:\t{}", if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") });
    map(out, "Labels:", Some(&texts(&metadata["labels"])));
    annotations(out, Some(&texts(&metadata["annotations"])));
    let created = plain(&metadata["creationTimestamp"]).parse().map_or_else(|_| "<unknown>".to_owned(), long_time);
    let _ = writeln!(out, "CreationTimestamp:\t{created}");
    let taints = node["spec"]["taints"].as_array().filter(|taints| !taints.is_empty());
    match taints {
        None => out.push_str("Taints:\t<none>\n"),
        Some(taints) => {
            for (index, taint) in taints.iter().enumerate() {
                let title = if index == 0 { "Taints:" } else { "" };
                let value = plain(&taint["value"]);
                let value = if value.is_empty() { String::new() } else { format!("={value}") };
                let _ = writeln!(out, "{title}\t{}{value}:{}", plain(&taint["key"]), plain(&taint["effect"]));
            }
        }
    }
    let _ = writeln!(out, "Unschedulable:\t{}", node["spec"]["unschedulable"] == true);
}

fn conditions(out: &mut String, node: &Value) {
    let Some(conditions) = node["status"]["conditions"].as_array().filter(|c| !c.is_empty()) else { return };
    out.push_str("Conditions:\n  Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage\n");
    out.push_str("  ----\t------\t-----------------\t------------------\t------\t-------\n");
    let time = |value: &Value| plain(value).parse().map_or_else(|_| "<unknown>".to_owned(), long_time);
    for condition in conditions {
        let _ = writeln!(
            out,
            "  {} \t{} \t{} \t{} \t{} \t{}",
            plain(&condition["type"]),
            plain(&condition["status"]),
            time(&condition["lastHeartbeatTime"]),
            time(&condition["lastTransitionTime"]),
            plain(&condition["reason"]),
            plain(&condition["message"]),
        );
    }
}

/// What the pods ask for and may use, one by one and together.
fn resources(out: &mut String, node: &Value, pods: &[&Pod], now: Timestamp) {
    let status = &node["status"];
    let list = if status["allocatable"].is_object() { &status["allocatable"] } else { &status["capacity"] };
    let offered = |resource: &str| quantity::nanos(plain(&list[resource])).unwrap_or(0);
    let _ = writeln!(out, "Non-terminated Pods:\t({} in total)", pods.len());
    out.push_str("  Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge\n");
    out.push_str("  ---------\t----\t\t------------\t----------\t---------------\t-------------\t---\n");
    for pod in pods {
        let metadata = &pod.metadata;
        let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
        let _ = write!(out, "  {}\t{}\t", namespace.unwrap_or_default(), name.unwrap_or_default());
        for (resource, list) in ["cpu", "memory"].into_iter().flat_map(|r| AmountList::BOTH.map(|list| (r, list))) {
            let _ = write!(out, "\t{}", share(resource, &[pod], list, offered(resource)));
        }
        let _ = writeln!(out, "\t{}", age(metadata.creation_timestamp.as_ref().map(|t| t.0), now));
    }
    out.push_str("Allocated resources:\n  (Total limits may be over 100 percent, i.e., overcommitted.)\n");
    out.push_str("  Resource\tRequests\tLimits\n  --------\t--------\t------\n");
    let others = list.as_object().into_iter().flatten().map(|(resource, _)| resource.as_str());
    let others: BTreeSet<&str> = others.filter(|name| !COUNTED.contains(name) && *name != "pods").collect();
    for resource in COUNTED.into_iter().chain(others) {
        let [requests, limits] = AmountList::BOTH.map(|list| share(resource, pods, list, offered(resource)));
        let _ = writeln!(out, "  {resource}\t{requests}\t{limits}");
    }
}

/// What pods have of a resource, with its part of what is offered.
fn share(resource: &str, pods: &[&Pod], list: AmountList, offered: i128) -> String {
    let specs = || pods.iter().filter_map(|pod| pod.spec.as_ref());
    let total: i128 = specs().fold(0, |sum, spec| sum.saturating_add(pod_total(spec, list, resource)));
    // Kubernetes writes a sum as the first that was added to it.
    let binary = specs().find(|spec| pod_total(spec, list, resource) != 0).is_some_and(|spec| {
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let mut texts = containers.filter_map(|container| list.of(container)?.get(resource));
        texts.find(|text| quantity::nanos(&text.0) != Some(0)).is_some_and(|text| quantity::is_binary(&text.0))
    });
    let text = quantity::written(total, binary);
    let is_counted_plainly = !COUNTED.contains(&resource) && !resource.starts_with("hugepages-");
    if is_counted_plainly {
        return text;
    }
    let finest = if resource == "cpu" { MILLI } else { UNIT };
    let (part, whole) = (total / finest, offered / finest);
    format!("{text} ({}%)", if whole > 0 { part.saturating_mul(100) / whole } else { 0 })
}
