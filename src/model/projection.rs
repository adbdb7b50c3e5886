//! What the API serves: objects with their status, as Kubernetes would show them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::{ObjectKey, Packed, PodEntry, PodKey};

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

/// One pod as everything shows it, made once for each change of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownPod {
    pub key: PodKey,
    /// Effective spec and full status.
    pub object: Packed<Pod>,
    /// Whether it was begun: its object has a creationTimestamp.
    pub begun: bool,
    /// Whether it is going away: its object has a deletionTimestamp.
    pub ending: bool,
    /// The same for the status document, made from the object.
    pub entry: Arc<PodEntry>,
}

/// What an object as served was made of: the same again needs no second look.
#[derive(Clone, Debug, PartialEq)]
pub enum MadeOf {
    Pod(Arc<ShownPod>),
    /// An object of the manifests.
    Authored(Arc<Value>),
    /// Nothing that is kept.
    Own,
}

impl MadeOf {
    /// Whether both are the very same value.
    pub fn is(&self, other: &MadeOf) -> bool {
        match (self, other) {
            (MadeOf::Pod(a), MadeOf::Pod(b)) => Arc::ptr_eq(a, b),
            (MadeOf::Authored(a), MadeOf::Authored(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// An object as JSON, made when somebody first looks at it and kept from then on: most are never asked for.
#[derive(Clone)]
pub struct Served(Arc<LazyLock<Arc<Value>, Make>>);

type Make = Box<dyn FnOnce() -> Arc<Value> + Send>;

impl Served {
    /// What `make` will give; it is called once at most.
    pub fn when_asked(make: impl FnOnce() -> Value + Send + 'static) -> Self {
        Self(Arc::new(LazyLock::new(Box::new(|| Arc::new(make())))))
    }
}

impl Deref for Served {
    type Target = Arc<Value>;

    fn deref(&self) -> &Arc<Value> {
        &self.0
    }
}

impl PartialEq for Served {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || **self == **other
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// One object as served, complete with metadata.uid, creationTimestamp and resourceVersion.
#[derive(Clone, Debug, PartialEq)]
pub struct Projected {
    pub value: Served,
    pub resource_version: u64,
    pub made_of: MadeOf,
}

/// Everything the API serves at one moment.
#[derive(Clone, Debug, Default)]
pub struct Projection {
    /// Grows with every change.
    pub resource_version: u64,
    /// The same value as long as no object changes.
    pub objects: Arc<BTreeMap<ObjectKey, Projected>>,
    pub events: Vec<Arc<EventRecord>>,
    /// The machine as a Node object.
    pub node: Option<Projected>,
}
