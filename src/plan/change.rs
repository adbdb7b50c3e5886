//! Two admitted states of one pod compared: what changed, and whether that happens in place or needs a new pod.
//!
//! Compared is what was written and merged (`spec`). A difference that the defaults level out (`effective` is equal on
//! both sides) is none: writing a default down restarts nothing, and neither does a default that a newer version changed.

use serde_json::Value;

use crate::model::quantity;
use crate::model::{AdmittedPod, Cause, FieldChange, Origin, PodRecord, Verb};

enum Rule {
    Always(Verb),
    /// Decided by the values before and after.
    By(fn(Option<&Value>, Option<&Value>) -> Verb),
}

use Rule::{Always, By};
use Verb::{Recreate, RestartContainer, UpdateInPlace};

/// Field prefix → effect; the first row that fits counts. What Kubernetes updates in place happens in place, the rest
/// of the spec is immutable there and means a new pod here.
const RULES: &[(&str, Rule)] = &[
    // Labels and annotations (those that presets leave too): nothing restarts.
    ("metadata", Always(UpdateInPlace)),
    ("spec.containers[].image", Always(RestartContainer)),
    ("spec.initContainers[sidecar].image", Always(RestartContainer)),
    // An init container that has run does not run again for a new image.
    ("spec.initContainers[].image", Always(UpdateInPlace)),
    ("spec.activeDeadlineSeconds", By(active_deadline)),
    ("spec.tolerations", By(tolerations)),
    // Nothing is scheduled here, so a gate that goes holds nothing up.
    ("spec.schedulingGates", By(removed_only)),
    // Kubernetes resizes cpu and memory in place; no runtime of ours does yet.
    ("spec.containers[].resources", Always(Recreate)),
    // Immutable in a running pod; a deletion may shorten it.
    ("spec.terminationGracePeriodSeconds", Always(Recreate)),
    // resizePolicy, restartPolicy, probes, env, command, ports, mounts, securityContext, volumes, host namespaces, dns,
    // hostname, serviceAccountName, runtimeClassName, nodeName; containers added, removed or reordered.
    ("spec", Always(Recreate)),
];

/// May be set or lowered.
fn active_deadline(before: Option<&Value>, after: Option<&Value>) -> Verb {
    match (before.and_then(Value::as_i64), after.and_then(Value::as_i64)) {
        (None, Some(_)) => UpdateInPlace,
        (Some(before), Some(after)) if after <= before => UpdateInPlace,
        _ => Recreate,
    }
}

/// May be added to; of one that stays only `tolerationSeconds` may change.
fn tolerations(before: Option<&Value>, after: Option<&Value>) -> Verb {
    let bare = |value: Option<&Value>| -> Vec<Value> {
        let mut items = value.and_then(Value::as_array).cloned().unwrap_or_default();
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.shift_remove("tolerationSeconds");
        }
        items
    };
    let after = bare(after);
    if bare(before).iter().all(|kept| after.contains(kept)) { UpdateInPlace } else { Recreate }
}

fn removed_only(before: Option<&Value>, after: Option<&Value>) -> Verb {
    let items = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let before = items(before);
    if items(after).iter().all(|kept| before.contains(kept)) { UpdateInPlace } else { Recreate }
}

/// What it takes to get from one state of a pod to another.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Nothing that matters differs.
    None,
    /// Everything that differs changes in place.
    InPlace(Vec<FieldChange>),
    /// At least one field needs a new pod; those fields.
    Recreate(Vec<FieldChange>),
}

/// Compares a pod as it was realised with what it should be.
pub fn change(realised: &AdmittedPod, target: &AdmittedPod) -> Change {
    judge(realised, target, Recreate)
}

/// The same for a pod on record. An ended pod never starts again, so a change that would restart a container of it needs
/// a new pod.
pub(super) fn of_record(record: &PodRecord, target: &AdmittedPod) -> Change {
    judge(&record.realised, target, if record.terminal.is_some() { RestartContainer } else { Recreate })
}

/// Changes with an effect of `threshold` or more need a new pod.
fn judge(realised: &AdmittedPod, target: &AdmittedPod, threshold: Verb) -> Change {
    if realised.digest == target.digest && realised.spec == target.spec {
        return Change::None;
    }
    let found = differences(realised, target);
    let (heavy, light): (Vec<_>, Vec<_>) = found.into_iter().partition(|(effect, _)| *effect >= threshold);
    let changes = |list: Vec<(Verb, FieldChange)>| list.into_iter().map(|(_, change)| change).collect();
    match (heavy.is_empty(), light.is_empty()) {
        (true, true) => Change::None,
        (true, false) => Change::InPlace(changes(light)),
        (false, _) => Change::Recreate(changes(heavy)),
    }
}

fn differences(realised: &AdmittedPod, target: &AdmittedPod) -> Vec<(Verb, FieldChange)> {
    // Turning k8s-openapi values into JSON cannot fail: their maps have text keys.
    let json = |pod| serde_json::to_value(pod).unwrap_or(Value::Null);
    let values = [json(&realised.spec), json(&target.spec), json(&realised.effective), json(&target.effective)];
    let mut walk = Walk { realised, target, found: Vec::new() };
    let [a, b, c, d] = &values;
    for part in ["metadata", "spec"] {
        let node =
            Node { spec: [a.get(part), b.get(part)], effective: [c.get(part), d.get(part)], path: Path::root(part) };
        walk.visit(node);
    }
    walk.found
}

/// One field in its three spellings.
#[derive(Clone)]
struct Path {
    /// For people: list entries by their key, containers by index.
    shown: String,
    /// For [`RULES`]: without keys and indexes.
    rule: String,
    /// For provenance: by index, before and after.
    indexed: [String; 2],
}

impl Path {
    fn root(name: &str) -> Self {
        Self { shown: name.into(), rule: name.into(), indexed: [name.into(), name.into()] }
    }

    fn member(&self, name: &str) -> Self {
        let add = |base: &str| format!("{base}.{name}");
        Self { shown: add(&self.shown), rule: add(&self.rule), indexed: [add(&self.indexed[0]), add(&self.indexed[1])] }
    }

    /// An entry of a map, such as a label.
    fn key(&self, key: &str) -> Self {
        let add = |base: &str| format!("{base}[{key}]");
        Self {
            shown: add(&self.shown),
            rule: format!("{}[]", self.rule),
            indexed: [add(&self.indexed[0]), add(&self.indexed[1])],
        }
    }

    /// An entry of a list, at its index on either side.
    fn item(&self, shown: &str, rule: &str, at: [Option<usize>; 2]) -> Self {
        let add = |side: usize| match at[side] {
            Some(index) => format!("{}[{index}]", self.indexed[side]),
            None => String::new(),
        };
        Self {
            shown: format!("{}[{shown}]", self.shown),
            rule: format!("{}[{rule}]", self.rule),
            indexed: [add(0), add(1)],
        }
    }
}

/// A field on all sides.
struct Node<'a> {
    /// Before and after.
    spec: [Option<&'a Value>; 2],
    effective: [Option<&'a Value>; 2],
    path: Path,
}

struct Walk<'a> {
    realised: &'a AdmittedPod,
    target: &'a AdmittedPod,
    found: Vec<(Verb, FieldChange)>,
}

/// How the entries of a list are told apart.
fn list_key(field: &str) -> Option<&'static str> {
    match field {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        _ => None,
    }
}

impl Walk<'_> {
    fn visit(&mut self, node: Node<'_>) {
        if same(node.spec[0], node.spec[1]) || same(node.effective[0], node.effective[1]) {
            return;
        }
        let field = node.path.rule.rsplit('.').next().unwrap_or_default().to_owned();
        let is = |test: fn(&Value) -> bool| node.spec.iter().flatten().all(|v| test(v));
        let both = node.spec.iter().all(Option::is_some);
        if ["labels", "annotations"].contains(&field.as_str()) || (both && is(Value::is_object)) {
            self.visit_members(&node, ["labels", "annotations"].contains(&field.as_str()));
        } else if let Some(key) = list_key(&field) {
            self.visit_list(&node, key);
        } else if is(is_list_of_objects) && field != "tolerations" && (both || field == "envFrom") {
            // Presets add to envFrom, so its entries are told one by one even where there were none.
            self.visit_by_index(&node);
        } else {
            self.report(&node);
        }
    }

    fn visit_members(&mut self, node: &Node<'_>, map: bool) {
        let mut names: Vec<&String> =
            node.spec.iter().flatten().filter_map(|v| v.as_object()).flat_map(serde_json::Map::keys).collect();
        names.sort();
        names.dedup();
        for name in names {
            self.visit(Node {
                spec: node.spec.map(|v| v.and_then(|v| v.get(name))),
                effective: node.effective.map(|v| v.and_then(|v| v.get(name))),
                path: if map { node.path.key(name) } else { node.path.member(name) },
            });
        }
    }

    fn visit_list(&mut self, node: &Node<'_>, key: &str) {
        let keys = node.spec.map(|list| keys_of(list, key));
        let by_index = node.path.rule.ends_with("ontainers");
        let found = self.found.len();
        let mut seen: Vec<&str> = Vec::new();
        for name in keys[0].iter().chain(&keys[1]) {
            if seen.contains(name) {
                continue;
            }
            seen.push(name);
            let spec = node.spec.map(|list| entry(list, key, name));
            let at = spec.map(|entry| entry.map(|(index, _)| index));
            let spec = spec.map(|entry| entry.map(|(_, value)| value));
            let shown = match at[1].or(at[0]) {
                Some(index) if by_index => index.to_string(),
                _ => (*name).to_owned(),
            };
            let sidecar = by_index && spec[1].and_then(|c| c.get("restartPolicy")) == Some(&Value::from("Always"));
            let rule = if sidecar && node.path.rule.ends_with("initContainers") { "sidecar" } else { "" };
            let path = node.path.item(&shown, rule, at);
            let effective = node.effective.map(|list| entry(list, key, name).map(|(_, value)| value));
            self.visit(Node { spec, effective, path });
        }
        // Nothing but the order differs.
        if self.found.len() == found && keys[0] != keys[1] {
            self.report(node);
        }
    }

    fn visit_by_index(&mut self, node: &Node<'_>) {
        let length = node.spec.iter().flatten().filter_map(|v| v.as_array()).map(Vec::len).max().unwrap_or(0);
        for index in 0..length {
            let at = |v: Option<&'_ Value>| v.and_then(|v| v.get(index)).map(|_| index);
            self.visit(Node {
                spec: node.spec.map(|v| v.and_then(|v| v.get(index))),
                effective: node.effective.map(|v| v.and_then(|v| v.get(index))),
                path: node.path.item(&index.to_string(), "", node.spec.map(at)),
            });
        }
    }

    fn report(&mut self, node: &Node<'_>) {
        let is_quantity = [".limits", ".requests", ".sizeLimit"].iter().any(|part| node.path.rule.contains(part));
        if is_quantity && quantity::equal(node.spec[0], node.spec[1]) {
            return;
        }
        let rule = RULES.iter().find(|(prefix, _)| covers(prefix, &node.path.rule)).map(|(_, rule)| rule);
        let effect = match rule {
            Some(Always(effect)) => *effect,
            Some(By(decide)) => decide(node.spec[0], node.spec[1]),
            None => Recreate,
        };
        let compact = |value: Option<&Value>| value.map(Value::to_string);
        let change = FieldChange {
            field: node.path.shown.clone(),
            before: compact(node.spec[0]),
            after: compact(node.spec[1]),
            effect,
            cause: self.cause(node),
            container: None,
            avoidable: None,
            note: None,
        };
        self.found.push((effect, change));
    }

    /// The preset behind a difference: the one that provides the new value, or provided the old one when there is no new.
    fn cause(&self, node: &Node<'_>) -> Cause {
        let [before, after] = &node.path.indexed;
        let preset = match node.spec[1] {
            Some(_) => preset_of(self.target, after),
            None => preset_of(self.realised, before),
        };
        preset.map_or(Cause::Manifest, |name| Cause::Preset { name })
    }
}

/// The preset that provides a field, or whose mark an annotation is.
fn preset_of(pod: &AdmittedPod, field: &str) -> Option<String> {
    let marked = pod.applied.iter().find(|applied| {
        field == format!("metadata.annotations[podpreset.admission.kubernetes.io/podpreset-{}]", applied.name)
    });
    if let Some(applied) = marked {
        return Some(applied.name.clone());
    }
    pod.provenance.iter().find_map(|origin| match &origin.origin {
        Origin::Preset { name, .. } if covers(&origin.field, field) => Some(name.clone()),
        _ => None,
    })
}

/// Whether `field` is `prefix` or lies below it.
fn covers(prefix: &str, field: &str) -> bool {
    field.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn is_list_of_objects(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(Value::is_object))
}

fn keys_of<'a>(list: Option<&'a Value>, key: &str) -> Vec<&'a str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(|item| item.get(key)?.as_str()).collect()
}

fn entry<'a>(list: Option<&'a Value>, key: &str, name: &str) -> Option<(usize, &'a Value)> {
    let items = list.and_then(Value::as_array)?;
    items.iter().enumerate().find(|(_, item)| item.get(key).and_then(Value::as_str) == Some(name))
}

/// Equality as the API sees it: a missing member, null and an empty list are the same.
fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    let empty = |v: Option<&Value>| v.is_none_or(|v| v.is_null() || v.as_array().is_some_and(Vec::is_empty));
    match (a, b) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            a.iter().all(|(key, value)| same(Some(value), b.get(key)))
                && b.iter().all(|(key, value)| a.contains_key(key) || same(None, Some(value)))
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(Some(a), Some(b)))
        }
        (a, b) => a == b || (empty(a) && empty(b)),
    }
}
