//! The projection the API serves: every object with uid, creationTimestamp and a resource version that grows only
//! when the object changes.

use std::sync::Arc;

use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::secret;
use super::shown::time;
use crate::model::{
    Admitted, DEFAULT_ACCOUNT, EventRecord, Kind, MadeOf, NodeInfo, NodePressure, ORIGIN, ObjectKey, PodKey,
    PressureState, Projected, Projection, ROOT_CA, ROOT_CA_KEY, Served, ShownPod, Taint, node_uid,
};

/// What the API is to show.
#[derive(Clone, Debug)]
pub struct ProjectInput<'a> {
    /// The last valid revision, once there is one.
    pub admitted: Option<&'a Admitted>,
    /// Every pod, from [`super::shown_pod`].
    pub pods: &'a [Arc<ShownPod>],
    pub events: &'a [Arc<EventRecord>],
    pub node: &'a NodeInfo,
    pub now: Timestamp,
}

/// The next projection. An object with unchanged content keeps its resource version, uid and creationTimestamp; when
/// nothing changed at all the projection keeps its own version too.
pub fn project(input: &ProjectInput<'_>, previous: &Projection) -> Projection {
    // The first version is the time in milliseconds: larger than anything an agent before this one handed out.
    let fresh = u64::try_from(input.now.as_millisecond()).unwrap_or(1).max(1);
    let base = if previous.resource_version == 0 { fresh } else { previous.resource_version };
    let mut versions = Versions { next: base + 1, created: time(input.now), touched: false };
    let wanted = wanted(input);
    let objects = if is_shown(&wanted, previous) {
        Arc::clone(&previous.objects)
    } else {
        let next = |(key, made_of): (Key<'_>, MadeOf)| {
            let key = key.owned();
            let projected = match previous.objects.get(&key) {
                Some(before) if before.made_of.is(&made_of) => before.clone(),
                before => match made_of {
                    MadeOf::Pod(pod) => versions.stamp_pod(pod, before),
                    MadeOf::Authored(value) => {
                        let content = served(key.kind, Value::clone(&value));
                        versions.stamp(key.uid(), (content, MadeOf::Authored(value)), before)
                    }
                    // The machine is told of beside them.
                    made_of @ (MadeOf::Own | MadeOf::Certificate(_) | MadeOf::Node(_)) => {
                        versions.stamp(key.uid(), (own(&key, input.node), made_of), before)
                    }
                },
            };
            (key, projected)
        };
        Arc::new(wanted.into_iter().map(next).collect())
    };
    let gone = !Arc::ptr_eq(&objects, &previous.objects) && previous.objects.keys().any(|k| !objects.contains_key(k));
    let is_same = |node: &&Projected| matches!(&node.made_of, MadeOf::Node(of) if **of == *input.node);
    let node = previous.node.as_ref().filter(is_same).cloned().unwrap_or_else(|| {
        let made_of = MadeOf::Node(Arc::new(input.node.clone()));
        versions.stamp(node_uid(&input.node.name), (node_object(input.node), made_of), previous.node.as_ref())
    });
    let changed = gone || versions.touched || previous.events != input.events;
    Projection {
        resource_version: if changed { versions.next } else { base },
        objects,
        events: input.events.to_vec(),
        node: Some(node),
    }
}

struct Versions {
    next: u64,
    created: String,
    touched: bool,
}

impl Versions {
    /// Fills in the members of metadata that the API server owns.
    fn stamp(&mut self, uid: String, content: (Value, MadeOf), before: Option<&Projected>) -> Projected {
        let (mut value, made_of) = content;
        let old = before.map(|b| &b.value["metadata"]);
        let metadata = metadata(&mut value);
        if !metadata.contains_key("uid") {
            metadata.insert("uid".into(), Value::String(uid));
        }
        if !metadata.contains_key("creationTimestamp") {
            let same = old.filter(|o| o["uid"] == metadata["uid"]);
            let created = same.map_or_else(|| json!(self.created), |o| o["creationTimestamp"].clone());
            metadata.insert("creationTimestamp".into(), created);
        }
        if let Some(before) = before {
            metadata.insert("resourceVersion".into(), Value::String(before.resource_version.to_string()));
            if **before.value == value {
                return Projected { made_of, ..before.clone() };
            }
        }
        let version = self.touch();
        self::metadata(&mut value).insert("resourceVersion".into(), Value::String(version.to_string()));
        Projected { value: Served::there(value), resource_version: version, made_of }
    }

    /// The same for a pod: it is compared as it is, and its JSON waits until somebody asks for it.
    fn stamp_pod(&mut self, pod: Arc<ShownPod>, before: Option<&Projected>) -> Projected {
        let same = |before: &&Projected| matches!(&before.made_of, MadeOf::Pod(old) if old.object == pod.object);
        if let Some(same) = before.filter(same) {
            return Projected { made_of: MadeOf::Pod(pod), ..same.clone() };
        }
        let version = self.touch();
        let created = (!pod.standing.begun).then(|| {
            let old = before.map(|before| before.value.once());
            let old = old.as_ref().map(|old| &old["metadata"]).filter(|old| old["uid"] == uid(&pod));
            old.map_or_else(|| json!(self.created), |old| old["creationTimestamp"].clone())
        });
        let shown = Arc::clone(&pod);
        let value = Served::when_asked(move || {
            let mut value = shown.object.value();
            let metadata = metadata(&mut value);
            metadata.insert("uid".into(), Value::String(uid(&shown)));
            metadata.extend(created.clone().map(|created| ("creationTimestamp".to_owned(), created)));
            metadata.insert("resourceVersion".into(), Value::String(version.to_string()));
            value
        });
        Projected { value, resource_version: version, made_of: MadeOf::Pod(pod) }
    }

    /// The version of something that is new or changed.
    fn touch(&mut self) -> u64 {
        self.touched = true;
        self.next
    }
}

fn metadata(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    if !value["metadata"].is_object() {
        value["metadata"] = json!({});
    }
    value["metadata"].as_object_mut().expect("invariant: metadata was made an object above")
}

/// The uid of a pod; until it is begun it is made of its name.
fn uid(pod: &ShownPod) -> String {
    if !pod.uid.is_empty() {
        return pod.uid.clone();
    }
    pod.key.object().uid()
}

/// The name of an object to be shown, ordered as an [`ObjectKey`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    kind: Kind,
    namespace: &'a str,
    name: &'a str,
}

impl<'a> Key<'a> {
    fn of(key: &'a ObjectKey) -> Self {
        Self { kind: key.kind, namespace: &key.namespace, name: &key.name }
    }

    fn owned(self) -> ObjectKey {
        ObjectKey { kind: self.kind, namespace: self.namespace.to_owned(), name: self.name.to_owned() }
    }
}

/// Whether the projection shows these very objects, no more and no others.
fn is_shown(wanted: &[(Key<'_>, MadeOf)], projection: &Projection) -> bool {
    let same = |((key, made_of), (shown, object)): (&(Key<'_>, MadeOf), (&ObjectKey, &Projected))| {
        // What is made of nothing but its name stays the same under the same name.
        let by_name = *made_of == MadeOf::Own && object.made_of == MadeOf::Own;
        *key == Key::of(shown) && (by_name || object.made_of.is(made_of))
    };
    wanted.len() == projection.objects.len() && wanted.iter().zip(&*projection.objects).all(same)
}

/// Every object to be shown, by key: pods from what runs, the rest from the manifests, and the namespaces in use with what each
/// has without being asked.
fn wanted<'a>(input: &ProjectInput<'a>) -> Vec<(Key<'a>, MadeOf)> {
    let authored = input.admitted.iter().flat_map(|admitted| &admitted.objects);
    let mut objects: Vec<_> =
        authored.map(|(key, value)| (Key::of(key), MadeOf::Authored(Arc::clone(value)))).collect();
    objects.extend(input.pods.iter().map(|pod| {
        let PodKey { namespace, name } = &pod.key;
        (Key { kind: Kind::Pod, namespace, name }, MadeOf::Pod(Arc::clone(pod)))
    }));
    let mut namespaces: Vec<&str> = objects.iter().map(|(key, _)| key.namespace).collect();
    namespaces.dedup();
    namespaces.push("default");
    namespaces.retain(|name| !name.is_empty());
    let named = authored_namespaces(input);
    let in_use =
        namespaces.iter().copied().map(|name| (Key { kind: Kind::Namespace, namespace: "", name }, MadeOf::Own));
    let of_each = namespaces.iter().copied().chain(named).flat_map(|namespace| {
        let certificate = MadeOf::Certificate(Arc::clone(&input.node.root_ca));
        let own = [(Kind::ServiceAccount, DEFAULT_ACCOUNT, MadeOf::Own), (Kind::ConfigMap, ROOT_CA, certificate)];
        own.map(|(kind, name, made_of)| (Key { kind, namespace, name }, made_of))
    });
    objects.extend(in_use.chain(of_each));
    // The sort is stable, so what the manifests say of an object comes before what is there anyway.
    objects.sort_by_key(|(key, _)| *key);
    objects.dedup_by_key(|(key, _)| *key);
    objects
}

/// The namespaces that the manifests name as objects.
fn authored_namespaces<'a>(input: &ProjectInput<'a>) -> impl Iterator<Item = &'a str> {
    let keys = input.admitted.into_iter().flat_map(|admitted| admitted.objects.keys());
    keys.filter(|key| key.kind == Kind::Namespace).map(|key| key.name.as_str())
}

/// An object that is there although no manifest has it: a namespace in use, and what a controller of Kubernetes gives to each
/// namespace (`serviceaccounts_controller.go`, `rootcacertpublisher`).
fn own(key: &ObjectKey, node: &NodeInfo) -> Value {
    let ObjectKey { kind, namespace, name } = key;
    let mut value = json!({"apiVersion": "v1", "kind": kind.as_str(), "metadata": {"name": name}});
    if kind.namespaced() {
        value["metadata"]["namespace"] = json!(namespace);
    }
    if *kind == Kind::ConfigMap {
        let about = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the \
                     internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of \
                     Kubernetes clusters.";
        value["metadata"]["annotations"] = json!({"kubernetes.io/description": about, ORIGIN: "agent"});
        if !node.root_ca.is_empty() {
            value["data"] = json!({ROOT_CA_KEY: &*node.root_ca});
        }
    }
    served(*kind, value)
}

/// An authored object as an API server would return it.
fn served(kind: Kind, mut value: Value) -> Value {
    match kind {
        Kind::Namespace => value["status"] = json!({"phase": "Active"}),
        Kind::Secret => {
            value["type"] = json!(secret::type_of(value["type"].as_str()));
            let plain = value.as_object_mut().and_then(|o| o.remove("stringData"));
            for (key, text) in plain.as_ref().and_then(Value::as_object).into_iter().flatten() {
                let bytes = text.as_str().unwrap_or_default().as_bytes();
                let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
                if !value["data"].is_object() {
                    value["data"] = json!({});
                }
                value["data"][key] = Value::String(encoded);
            }
        }
        _ => {}
    }
    value
}

fn node_object(node: &NodeInfo) -> Value {
    let addresses = node.ips.iter().map(|ip| json!({"type": "InternalIP", "address": ip.to_string()}));
    let addresses: Vec<Value> = addresses.chain([json!({"type": "Hostname", "address": node.name})]).collect();
    let mut info = json!(node.system);
    info["operatingSystem"] = json!("linux");
    info["kubeletVersion"] = json!(concat!("v", env!("CARGO_PKG_VERSION")));
    info["containerRuntimeVersion"] = json!(concat!("podwright://", env!("CARGO_PKG_VERSION")));
    let mut value = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": node.labels},
        "spec": {},
        "status": {
            "addresses": addresses,
            "allocatable": node.allocatable,
            "capacity": node.capacity,
            "conditions": node_conditions(node),
            "nodeInfo": info,
        },
    });
    let taint = |pressure: NodePressure| Taint {
        key: pressure.taint().to_owned(),
        value: None,
        effect: "NoSchedule".to_owned(),
    };
    let taints: Vec<Taint> = node.taints.iter().cloned().chain(node.pressures.holding().map(taint)).collect();
    if !taints.is_empty() {
        value["spec"]["taints"] = json!(taints);
    }
    value
}

/// What the machine is low on, as far as somebody has looked, and that the agent is there. Without a heartbeat: it would change
/// the object although nothing changes.
fn node_conditions(node: &NodeInfo) -> Vec<Value> {
    let condition = |(pressure, state): (&NodePressure, &PressureState)| {
        let (reason, message) = pressure.told(state.holds);
        json!({
            "type": pressure.as_str(),
            "status": if state.holds { "True" } else { "False" },
            "lastTransitionTime": time(state.since),
            "reason": reason,
            "message": message,
        })
    };
    let ready = json!({"type": "Ready", "status": "True", "reason": "AgentReady"});
    node.pressures.0.iter().map(condition).chain([ready]).collect()
}
