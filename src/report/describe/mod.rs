//! `describe`, laid out as kubectl lays it out.

mod account;
mod container;
mod node;
mod object;
mod volume;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus, SeccompProfile, Toleration};

use serde_json::Value;

use super::duration::age;
use super::tabs;
use crate::model::{EventRecord, EventType};

pub use account::describe_account;
pub use node::describe_node;
pub use object::describe_object;

/// The longest line of an annotation (kubectl's `maxAnnotationLen`), and the annotation that is none for people.
const LONGEST: usize = 140;
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The description of a pod with its events, the oldest first. Values of Secrets are not part of it.
pub fn describe_pod(pod: &Pod, events: &[EventRecord], now: Timestamp) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let status = pod.status.clone().unwrap_or_default();
    let mut out = String::new();
    head(&mut out, pod, &spec, &status, now);
    let show = |out: &mut String, title, containers, statuses: Option<Vec<_>>| {
        container::section(out, title, containers, &statuses.unwrap_or_default(), pod);
    };
    if let Some(whole) = &spec.resources {
        out.push_str("Resources:\n");
        container::resources(&mut out, "  ", Some(whole));
    }
    if let Some(init) = spec.init_containers.as_deref().filter(|c| !c.is_empty()) {
        show(&mut out, "Init Containers", init, status.init_container_statuses.clone());
    }
    show(&mut out, "Containers", &spec.containers, status.container_statuses.clone());
    gates(&mut out, &spec, &status);
    conditions(&mut out, &status);
    volume::section(&mut out, spec.volumes.as_deref().unwrap_or_default());
    tail(&mut out, &spec, &status);
    events_section(&mut out, events, now);
    tabs::align(&out, 0, 2)
}

/// A time as kubectl describes it: RFC 1123 with a numeric zone.
fn long_time(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

fn or_none(text: Option<&str>) -> &str {
    text.filter(|t| !t.is_empty()).unwrap_or("<none>")
}

fn head(out: &mut String, pod: &Pod, spec: &PodSpec, status: &PodStatus, now: Timestamp) {
    let meta = &pod.metadata;
    let _ = writeln!(out, "Name:\t{}", meta.name.as_deref().unwrap_or_default());
    let _ = writeln!(out, "Namespace:\t{}", meta.namespace.as_deref().unwrap_or_default());
    if let Some(priority) = spec.priority {
        let _ = writeln!(out, "Priority:\t{priority}");
    }
    if let Some(class) = spec.priority_class_name.as_deref().filter(|c| !c.is_empty()) {
        let _ = writeln!(out, "Priority Class Name:\t{class}");
    }
    if let Some(account) = spec.service_account_name.as_deref().filter(|a| !a.is_empty()) {
        let _ = writeln!(out, "Service Account:\t{account}");
    }
    // What kubectl leaves out: with an account that has some they are in no manifest of the pod.
    let secrets: Vec<&str> = spec.image_pull_secrets.iter().flatten().map(|secret| secret.name.as_str()).collect();
    if !secrets.is_empty() {
        let _ = writeln!(out, "Image Pull Secrets:\t{}", secrets.join(", "));
    }
    match spec.node_name.as_deref().filter(|n| !n.is_empty()) {
        Some(node) => drop(writeln!(out, "Node:\t{node}/{}", status.host_ip.as_deref().unwrap_or_default())),
        None => out.push_str("Node:\t<none>\n"),
    }
    if let Some(start) = &status.start_time {
        let _ = writeln!(out, "Start Time:\t{}", long_time(start.0));
    }
    map(out, "Labels:", meta.labels.as_ref());
    annotations(out, meta.annotations.as_ref());
    let phase = status.phase.as_deref().unwrap_or_default();
    match &meta.deletion_timestamp {
        Some(at) if !matches!(phase, "Succeeded" | "Failed") => {
            let grace = meta.deletion_grace_period_seconds.unwrap_or(0);
            // As with kubectl since the moment at which it is to be gone, `<invalid>` before that.
            let _ = writeln!(out, "Status:\tTerminating (lasts {})", age(Some(at.0), now));
            let _ = writeln!(out, "Termination Grace Period:\t{grace}s");
        }
        _ => drop(writeln!(out, "Status:\t{phase}")),
    }
    for (title, text) in [("Reason", &status.reason), ("Message", &status.message)] {
        if let Some(text) = text.as_deref().filter(|t| !t.is_empty()) {
            let _ = writeln!(out, "{title}:\t{text}");
        }
    }
    seccomp(out, "", spec.security_context.as_ref().and_then(|context| context.seccomp_profile.as_ref()));
    let _ = writeln!(out, "IP:\t{}", status.pod_ip.as_deref().unwrap_or_default());
    match status.pod_ips.as_deref().filter(|ips| !ips.is_empty()) {
        Some(ips) => {
            out.push_str("IPs:\n");
            for ip in ips {
                let _ = writeln!(out, "  IP:\t{}", ip.ip);
            }
        }
        None => out.push_str("IPs:\t<none>\n"),
    }
}

/// A seccomp profile, if there is one. Of a container the name of a file stands further in.
fn seccomp(out: &mut String, indent: &str, profile: Option<&SeccompProfile>) {
    let Some(profile) = profile else { return };
    let _ = writeln!(out, "{indent}SeccompProfile:\t{}", profile.type_);
    if profile.type_ == "Localhost" {
        let further = if indent.is_empty() { "" } else { "  " };
        let name = profile.localhost_profile.as_deref().unwrap_or_default();
        let _ = writeln!(out, "{indent}{further}LocalhostProfile:\t{name}");
    }
}

/// The texts of an object of JSON, such as labels.
fn texts(object: &Value) -> BTreeMap<String, String> {
    let entries = object.as_object().into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// Entries of a map, one a line, the title before the first.
fn map(out: &mut String, title: &str, entries: Option<&BTreeMap<String, String>>) {
    let Some(entries) = entries.filter(|e| !e.is_empty()) else {
        let _ = writeln!(out, "{title}\t<none>");
        return;
    };
    for (index, (key, value)) in entries.iter().enumerate() {
        let title = if index == 0 { title } else { "" };
        let _ = writeln!(out, "{title}\t{key}={}", value.trim_end().replace('\n', " "));
    }
}

/// A value that is long, or has several lines, stands below its key, with no line longer than this (`printAnnotationsMultiline`).
fn annotations(out: &mut String, entries: Option<&BTreeMap<String, String>>) {
    let shown = entries.into_iter().flatten().filter(|(key, _)| *key != APPLIED);
    let mut title = "Annotations:";
    for (key, value) in shown {
        let value = value.strip_suffix('\n').unwrap_or(value).replace('\t', " ");
        if key.len() + value.len() + 2 > LONGEST || value.contains('\n') {
            let _ = writeln!(out, "{title}\t{key}:");
            for line in value.split('\n') {
                let _ = writeln!(out, "\t  {}", shortened(line, LONGEST - 2));
            }
        } else {
            let _ = writeln!(out, "{title}\t{key}: {value}");
        }
        title = "";
    }
    if !title.is_empty() {
        let _ = writeln!(out, "{title}\t<none>");
    }
}

fn shortened(text: &str, longest: usize) -> Cow<'_, str> {
    match text.len() > longest {
        true => format!("{}...", &text[..text.floor_char_boundary(longest)]).into(),
        false => text.into(),
    }
}

fn gates(out: &mut String, spec: &PodSpec, status: &PodStatus) {
    let Some(gates) = spec.readiness_gates.as_deref().filter(|gates| !gates.is_empty()) else { return };
    out.push_str("Readiness Gates:\n  Type\tStatus\n");
    for gate in gates {
        let met = status.conditions.iter().flatten().find(|condition| condition.type_ == gate.condition_type);
        let _ = writeln!(out, "  {} \t{} ", gate.condition_type, met.map_or("<none>", |condition| &condition.status));
    }
}

fn conditions(out: &mut String, status: &PodStatus) {
    let Some(conditions) = status.conditions.as_deref().filter(|c| !c.is_empty()) else { return };
    out.push_str("Conditions:\n  Type\tStatus\n");
    for condition in conditions {
        let _ = writeln!(out, "  {} \t{} ", condition.type_, condition.status);
    }
}

fn tail(out: &mut String, spec: &PodSpec, status: &PodStatus) {
    let _ = writeln!(out, "QoS Class:\t{}", or_none(status.qos_class.as_deref()));
    map(out, "Node-Selectors:", spec.node_selector.as_ref());
    let mut tolerations: Vec<&Toleration> = spec.tolerations.iter().flatten().collect();
    tolerations.sort_by_key(|entry| entry.key.as_deref().unwrap_or_default());
    if tolerations.is_empty() {
        out.push_str("Tolerations:\t<none>\n");
    }
    for (index, entry) in tolerations.iter().enumerate() {
        let title = if index == 0 { "Tolerations:" } else { "" };
        let _ = writeln!(out, "{title}\t{}", toleration(entry));
    }
}

fn toleration(entry: &Toleration) -> String {
    let mut text = entry.key.clone().unwrap_or_default();
    if let Some(value) = entry.value.as_deref().filter(|v| !v.is_empty()) {
        let _ = write!(text, "={value}");
    }
    if let Some(effect) = entry.effect.as_deref().filter(|e| !e.is_empty()) {
        let _ = write!(text, ":{effect}");
    }
    if entry.operator.as_deref() == Some("Exists") {
        text.push_str(if text.is_empty() { "op=Exists" } else { " op=Exists" });
    }
    if let Some(seconds) = entry.toleration_seconds {
        let _ = write!(text, " for {seconds}s");
    }
    text
}

/// How the events of a start follow each other; they often come in the same second, which is all the API tells.
fn order(reason: &str) -> usize {
    let start = ["Scheduled", "Pulling", "Pulled", "Created", "Started"];
    start.iter().position(|r| *r == reason).unwrap_or(start.len())
}

fn events_section(out: &mut String, events: &[EventRecord], now: Timestamp) {
    if events.is_empty() {
        out.push_str("Events:\t<none>\n");
        return;
    }
    out.push_str("Events:\n  Type\tReason\tAge\tFrom\tMessage\n  ----\t------\t----\t----\t-------\n");
    let mut sorted: Vec<&EventRecord> = events.iter().collect();
    sorted.sort_by_key(|e| (e.last.as_second(), order(&e.reason), e.last));
    for event in sorted {
        let kind = match event.kind {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        };
        let last = age(Some(event.last), now);
        let seen = match event.count {
            0 | 1 => last,
            n => format!("{last} (x{n} over {})", age(Some(event.first), now)),
        };
        let part = event.field_path.as_deref().filter(|path| !path.is_empty());
        let part = part.map(|path| format!("{path}: ")).unwrap_or_default();
        let message = event.message.trim().replace(['\n', '\t'], " ");
        let _ = writeln!(out, "  {kind}\t{}\t{seen}\t{}\t{part}{message}", event.reason, event.component);
    }
}
