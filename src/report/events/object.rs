//! Events as objects of the API, and back.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::SCHEDULER;
use crate::model::{EventRecord, EventType, Kind, ObjectKey, stable_uid};
use crate::report::similar;

/// What is the same of two events that are one and are counted.
pub fn event_subject(event: &EventRecord) -> String {
    let path = event.field_path.as_deref().unwrap_or_default();
    format!("{}|{path}|{}|{}", event.uid, event.reason, similar::told_as(&event.message))
}

/// The event as an API object. Its name is stable over counts; its version follows its last time and is never newer
/// than `newest`, the version of the projection. `node` is the machine that tells it, unless it is the scheduler that does.
pub fn event_object(event: &EventRecord, newest: u64, node: &str) -> Value {
    let (path, subject) = (event.field_path.as_deref().unwrap_or_default(), event_subject(event));
    let digest: String = stable_uid(&subject).chars().filter(|c| *c != '-').take(16).collect();
    let version = u64::try_from(event.last.as_millisecond()).unwrap_or(1).min(newest).max(1);
    let time = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut object = json!({
        "kind": event.object.kind.as_str(),
        "namespace": event.object.namespace,
        "name": event.object.name,
        "uid": event.uid,
        "apiVersion": event.object.kind.api_version(),
    });
    if !path.is_empty() {
        object["fieldPath"] = json!(path);
    }
    let mut source = json!({"component": event.component});
    let node = if event.component == SCHEDULER { "" } else { node };
    if !node.is_empty() {
        source["host"] = json!(node);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": format!("{}.{digest}", event.object.name),
            "namespace": if event.object.namespace.is_empty() { "default" } else { &event.object.namespace },
            "uid": stable_uid(&format!("Event|{subject}")),
            "resourceVersion": version.to_string(),
            "creationTimestamp": time(event.first),
        },
        "involvedObject": object,
        "reason": event.reason,
        "message": event.message,
        "source": source,
        "firstTimestamp": time(event.first),
        "lastTimestamp": time(event.last),
        "count": event.count,
        "type": match event.kind { EventType::Normal => "Normal", EventType::Warning => "Warning" },
        "eventTime": null,
        "reportingComponent": event.component,
        "reportingInstance": node,
    })
}

/// An event back from its API object, for `describe`; `None` when it is none.
pub fn event_record(object: &Value) -> Option<EventRecord> {
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let involved = &object["involvedObject"];
    let (api, kind) = (involved["apiVersion"].as_str().unwrap_or("v1"), involved["kind"].as_str()?);
    let of_the_machine = || Some(Kind::Node).filter(|node| (api, kind) == (node.api_version(), node.as_str()));
    Some(EventRecord {
        object: ObjectKey {
            kind: Kind::from_manifest(api, kind).or_else(of_the_machine)?,
            namespace: text(&involved["namespace"]).unwrap_or_default(),
            name: text(&involved["name"])?,
        },
        uid: text(&involved["uid"]).unwrap_or_default(),
        field_path: text(&involved["fieldPath"]),
        kind: if object["type"] == "Warning" { EventType::Warning } else { EventType::Normal },
        reason: text(&object["reason"]).unwrap_or_default(),
        message: text(&object["message"]).unwrap_or_default(),
        component: text(&object["source"]["component"]).unwrap_or_default(),
        first: object["firstTimestamp"].as_str()?.parse().ok()?,
        last: object["lastTimestamp"].as_str()?.parse().ok()?,
        count: object["count"].as_u64().and_then(|c| u32::try_from(c).ok()).unwrap_or(1),
    })
}
