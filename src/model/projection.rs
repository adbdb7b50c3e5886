//! What the API serves: objects with their status, as Kubernetes would show them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{NodeInfo, ObjectKey, Packed, PodEntry, PodKey};

/// Normal or Warning, as Kubernetes tells events apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventType {
    Normal,
    Warning,
}

/// Something that happened to an object; equal ones are counted, not repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventRecord {
    pub object: ObjectKey,
    pub uid: String,
    /// `spec.containers{name}` for a container's event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    pub object: ShownObject,
    /// Of this incarnation; empty for a pod that was not begun yet.
    pub uid: String,
    pub standing: Standing,
    /// The same for the status document, made from the object.
    pub entry: Packed<PodEntry>,
}

/// What others ask a shown pod often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it was begun: its object has a creationTimestamp.
    pub begun: bool,
    /// Whether it is going away: its object has a deletionTimestamp.
    pub ending: bool,
    /// Whether it is ready.
    pub ready: bool,
    /// When that changed last.
    pub ready_since: Option<Timestamp>,
    /// Its phase, if it is terminal.
    pub terminal: Option<Terminal>,
    /// It is another machine's pod, and nothing of it is here.
    pub elsewhere: bool,
    /// The STATUS column of `kubectl get pods`.
    pub status: Box<str>,
}

/// A phase that never changes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    Succeeded,
    Failed,
}

/// The object of a pod as it is kept: its spec, most of which never changes and which its manifest keeps anyway, is shared
/// with that, and the rest stands by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownObject {
    /// The pod that has the spec, all of it but the node's name; `None` when `own` has it.
    spec_of: Option<Packed<Pod>>,
    own: Packed<Pod>,
}

impl ShownObject {
    /// An object that shares nothing.
    pub fn whole(object: &Pod) -> Self {
        Self { spec_of: None, own: Packed::new(object) }
    }

    /// An object with the spec of `spec_of`, of which it has itself no more than the node's name.
    pub fn sharing(mut object: Pod, spec_of: &Packed<Pod>) -> Self {
        let node_name = object.spec.take().and_then(|spec| spec.node_name);
        object.spec = Some(PodSpec { node_name, ..PodSpec::default() });
        Self { spec_of: Some(spec_of.clone()), own: Packed::new(&object) }
    }

    /// The object as JSON. Never as its type: a record may tell of a time that is written and cannot be read again.
    pub fn value(&self) -> Value {
        let mut object = self.own.value();
        let wanted = self.spec_of.as_ref().map(Packed::value);
        if let Some(Value::Object(mut spec)) = wanted.and_then(|mut pod| pod.get_mut("spec").map(Value::take)) {
            if let Some(name) = object["spec"].get_mut("nodeName") {
                spec.insert("nodeName".to_owned(), name.take());
                spec.sort_keys();
            }
            object["spec"] = Value::Object(spec);
        }
        object
    }
}

/// What an object as served was made of: the same again needs no second look.
#[derive(Clone, Debug, PartialEq)]
pub enum MadeOf {
    Pod(Arc<ShownPod>),
    /// An object of the manifests.
    Authored(Arc<Value>),
    /// The machine.
    Node(Arc<NodeInfo>),
    /// Its certificate.
    Certificate(Arc<str>),
    /// Nothing that is kept.
    Own,
}

impl MadeOf {
    /// Whether both are the very same value.
    pub fn is(&self, other: &MadeOf) -> bool {
        match (self, other) {
            (MadeOf::Pod(a), MadeOf::Pod(b)) => Arc::ptr_eq(a, b),
            (MadeOf::Authored(a), MadeOf::Authored(b)) => Arc::ptr_eq(a, b),
            (MadeOf::Certificate(a), MadeOf::Certificate(b)) => a == b,
            _ => false,
        }
    }
}

/// An object as JSON. Most are never asked for, so it is made when somebody asks.
#[derive(Clone)]
pub struct Served(Form);

#[derive(Clone)]
enum Form {
    There(Arc<Value>),
    Made(Arc<(OnceLock<Arc<Value>>, Make)>),
}

type Make = Box<dyn Fn() -> Value + Send + Sync>;

impl Served {
    /// A value that is there.
    pub fn there(value: Value) -> Self {
        Self(Form::There(Arc::new(value)))
    }

    /// What `make` gives, always the same.
    pub fn when_asked(make: impl Fn() -> Value + Send + Sync + 'static) -> Self {
        Self(Form::Made(Arc::new((OnceLock::new(), Box::new(make)))))
    }

    /// The value for somebody who looks at each object once: it is not kept for the next one, who rarely comes.
    pub fn once(&self) -> Arc<Value> {
        match &self.0 {
            Form::There(value) => Arc::clone(value),
            Form::Made(made) => made.0.get().map_or_else(|| Arc::new((made.1)()), Arc::clone),
        }
    }
}

/// The value for somebody who will look again, as a watch does: it is kept.
impl Deref for Served {
    type Target = Arc<Value>;

    fn deref(&self) -> &Arc<Value> {
        match &self.0 {
            Form::There(value) => value,
            Form::Made(made) => made.0.get_or_init(|| Arc::new((made.1)())),
        }
    }
}

impl PartialEq for Served {
    fn eq(&self, other: &Self) -> bool {
        let is_same = match (&self.0, &other.0) {
            (Form::There(a), Form::There(b)) => Arc::ptr_eq(a, b),
            (Form::Made(a), Form::Made(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        is_same || self.once() == other.once()
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.once(), f)
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
