//! What the API serves: objects with their status, as Kubernetes would show them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::ObjectKey;

/// Normal or Warning, as Kubernetes tells events apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    Normal,
    Warning,
}

/// Something that happened to an object; equal ones are counted, not repeated.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRecord {
    pub object: ObjectKey,
    pub uid: String,
    /// `spec.containers{name}` for a container's event.
    pub field_path: Option<String>,
    pub kind: EventType,
    pub reason: String,
    pub message: String,
    /// `kubelet`, `default-scheduler` or `podwright`.
    pub component: String,
    pub first: Timestamp,
    pub last: Timestamp,
    pub count: u32,
}

/// One object as served, complete with metadata.uid, creationTimestamp and resourceVersion.
#[derive(Clone, Debug, PartialEq)]
pub struct Projected {
    pub value: Arc<Value>,
    pub resource_version: u64,
}

/// Everything the API serves at one moment.
#[derive(Clone, Debug, Default)]
pub struct Projection {
    /// Grows with every change.
    pub resource_version: u64,
    pub objects: BTreeMap<ObjectKey, Projected>,
    pub events: Vec<Arc<EventRecord>>,
    /// The machine as a Node object.
    pub node: Option<Projected>,
}
