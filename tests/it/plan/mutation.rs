//! Every field of a pod, changed alone: the plan is never empty, and its verb is the one of Kubernetes' update rules.
//!
//! The fields are those of the schema of a Pod, all of them, whether this version honours them or not: a rule that waits
//! for a field is proven before the field is. The expected verb is written down here a second time, on purpose: as the
//! rules read in Kubernetes' own words, not as the planner has them.

use podwright::admit::admit_on;
use podwright::manifest::support;
use podwright::model::{Admitted, Kind, NodeInfo, ObservedPod, Outcome, Verb};
use podwright::plan::{converged, fleet};
use podwright::report::{DiffBase, compare};
use serde_json::{Value, json};

use super::schema::{Schema, put, taken};
use super::world::{World, at};
use crate::admit::placement::{edge, taint};
use crate::admit::without_tokens::{admitted, desired, pod_of};

/// Fields that say which object it is, and what the API server alone writes about a pod that runs.
#[rustfmt::skip]
const NOT_OF_A_POD: &[&str] = &[
    "apiVersion", "kind", "metadata", "metadata.name", "metadata.namespace", "spec", "status",
];

fn fields() -> Vec<String> {
    let all = support::fields(Kind::Pod).into_iter().map(|(path, _)| path);
    all.filter(|path| !NOT_OF_A_POD.contains(&path.as_str()) && !path.ends_with(".managedFields")).collect()
}

/// What the update rules say about `path` (indexes left out) when its value goes from `before` to `after`.
fn expected(path: &str, sidecar: bool, before: Option<&Value>, after: Option<&Value>) -> Verb {
    let below =
        |field: &str| path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    let items = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let (old, new) = (items(before), items(after));
    let in_place = match path {
        _ if below("metadata") => true,
        "spec.containers[].image" => return Verb::RestartContainer,
        "spec.initContainers[].image" if sidecar => return Verb::RestartContainer,
        "spec.initContainers[].image" => true,
        "spec.activeDeadlineSeconds" => match (before.and_then(Value::as_i64), after.and_then(Value::as_i64)) {
            (before, Some(after)) => before.is_none_or(|before| after <= before),
            (_, None) => false,
        },
        "spec.tolerations[].tolerationSeconds" => true,
        "spec.tolerations" => old.iter().all(|kept| new.contains(kept)),
        "spec.schedulingGates" => new.iter().all(|kept| old.contains(kept)),
        "spec.ephemeralContainers" => new.starts_with(&old),
        _ => false,
    };
    if in_place { Verb::UpdateInPlace } else { Verb::Recreate }
}

/// A pod and what admission makes of it.
struct Side {
    pod: Value,
    admitted: Admitted,
    running: Vec<ObservedPod>,
}

impl Side {
    fn new(pod: Value) -> Self {
        let admitted = admitted(std::slice::from_ref(&pod));
        let running = converged(&admitted, at(0));
        Self { pod, admitted, running }
    }
}

/// Flags that the API does not keep when they are false: to write that down is no change.
const NO_POINTERS: &[&str] = &["spec.hostNetwork", "spec.hostPID", "spec.hostIPC"];
/// The same of a container.
const NO_POINTERS_OF_CONTAINERS: &[&str] = &["stdin", "stdinOnce", "tty", "volumeMounts[].readOnly"];

/// Whether one side says nothing and the other what that means.
fn is_nothing(path: &str, old: Option<&Value>, new: Option<&Value>) -> bool {
    let lists = ["spec.containers[].", "spec.initContainers[]."];
    let of_container = lists.iter().find_map(|list| path.strip_prefix(list));
    let is_listed =
        NO_POINTERS.contains(&path) || of_container.is_some_and(|field| NO_POINTERS_OF_CONTAINERS.contains(&field));
    is_listed && matches!((old, new), (None, Some(Value::Bool(false))) | (Some(Value::Bool(false)), None))
}

/// What is wrong with the plan from one to the other, if anything is.
fn judge(path: &str, sidecar: bool, (before, after): (&Side, &Side), pointer: &str) -> Option<String> {
    let [old, new] = [before, after].map(|side| side.pod.pointer(pointer));
    let verb = expected(path, sidecar, old, new);
    let plan = fleet(&after.admitted, &before.running);
    if is_nothing(path, old, new) {
        let is_empty = plan.actions.iter().all(|action| action.verb() == Verb::Unchanged);
        return (!is_empty).then(|| format!("{path}: {old:?} -> {new:?}: a difference, expected none"));
    }
    let [action] = &plan.actions[..] else {
        return Some(format!("{path}: {old:?} -> {new:?}: no difference, expected {verb:?}"));
    };
    let told: Vec<String> = action.changes().iter().map(|c| format!("{} ({:?})", c.field, c.effect)).collect();
    if action.verb() != verb || told.is_empty() {
        return Some(format!("{path}: {old:?} -> {new:?}: {:?}, expected {verb:?}: {told:?}", action.verb()));
    }
    let report = compare(&plan, &DiffBase::Revision(&before.admitted), &after.admitted);
    match &report.objects[..] {
        [object] if !object.hunks.is_empty() => None,
        _ => Some(format!("{path}: {old:?} -> {new:?}: the diff shows no line of it")),
    }
}

/// A pod with a container, an init container and a sidecar; the first init container is the one that paths lead to.
fn bare(sidecar: bool) -> Value {
    let mut init = json!({"name": "first", "image": "i:1"});
    if sidecar {
        init["restartPolicy"] = json!("Always");
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i:1"}], "initContainers": [init]}})
}

/// One field in every state: it is there, it is not, it has another value; a list is longer, and turned around. Then what
/// becomes of what.
fn mutations(schema: &Schema, path: &str, sidecar: bool) -> (Vec<Value>, Vec<(usize, usize)>, String) {
    let with = |variant: u8| {
        let mut pod = bare(sidecar);
        let pointer = put(schema, &mut pod, path, variant);
        (pod, pointer)
    };
    let ((one, pointer), (other, _)) = (with(1), with(2));
    let mut without = one.clone();
    taken(&mut without, &pointer);
    let (mut pods, mut moves) = (vec![one.clone(), without, other.clone()], Vec::new());
    if path != "spec.containers" {
        moves.extend([(0, 1), (1, 0)]);
    }
    if one != other {
        moves.extend([(0, 2), (2, 0)]);
    }
    if let (Some(Value::Array(first)), Some(Value::Array(second))) = (one.pointer(&pointer), other.pointer(&pointer)) {
        for items in [[&first[..], second], [second, first]] {
            let mut pod = one.clone();
            *pod.pointer_mut(&pointer).unwrap() = Value::Array(items.concat());
            pods.push(pod);
        }
        moves.extend([(0, 3), (3, 0), (3, 4)]);
    }
    (pods, moves, pointer)
}

#[test]
fn every_field_of_a_pod_changed_alone_gives_the_verb_of_the_update_rules() {
    let schema = Schema::pod();
    let fields = fields();
    let mut wrong = Vec::new();
    let (mut paths, mut count) = (0, 0);
    for path in &fields {
        paths += 1;
        let sidecars: &[bool] = if path.starts_with("spec.initContainers[].") { &[false, true] } else { &[false] };
        for sidecar in sidecars {
            // It is what makes a sidecar of it.
            if *sidecar && path == "spec.initContainers[].restartPolicy" {
                continue;
            }
            let (pods, moves, pointer) = mutations(&schema, path, *sidecar);
            let sides: Vec<Side> = pods.into_iter().map(Side::new).collect();
            count += moves.len();
            for (before, after) in moves {
                wrong.extend(judge(path, *sidecar, (&sides[before], &sides[after]), &pointer));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(paths > 1000 && count > 4000, "{paths} fields, {count} mutations");
}

/// What happens on a machine, after what happens anywhere: a pod that it does not fit waits or is another machine's.
fn expected_on(machine: Verb, before: Option<Outcome>, after: Option<Outcome>) -> Option<Verb> {
    use Outcome::{Failed, NotForThisMachine, Pending};
    Some(match (before, after) {
        (Some(NotForThisMachine), Some(NotForThisMachine)) => return None,
        (Some(NotForThisMachine), _) => Verb::Create,
        (None, Some(NotForThisMachine)) if machine != Verb::Recreate => machine,
        (_, Some(NotForThisMachine)) => Verb::Delete,
        (Some(Failed), Some(Failed)) | (None, _) => machine,
        (Some(Failed), _) => Verb::Recreate,
        (Some(Pending), None) => machine.max(Verb::Create),
        (Some(Pending), _) => machine,
    })
}

#[test]
fn every_field_that_asks_for_a_machine_changed_alone_does_what_it_does_on_one() {
    let schema = Schema::pod();
    let asks = ["spec.nodeName", "spec.nodeSelector", "spec.affinity.nodeAffinity", "spec.tolerations"];
    let asking = |path: &&String| asks.iter().any(|own| path.starts_with(own));
    let tainted = |fleet| NodeInfo { taints: vec![taint("x", Some("x"), "NoSchedule")], fleet, ..edge() };
    let machines = [edge(), NodeInfo { fleet: true, ..edge() }, tainted(false), tainted(true)];
    let mut outcomes = std::collections::BTreeMap::new();
    for path in fields().iter().filter(asking) {
        let (pods, moves, pointer) = mutations(&schema, path, false);
        for (machine, (before, after)) in machines.iter().flat_map(|machine| moves.iter().map(move |m| (machine, *m))) {
            let sides = [before, after].map(|at| admit_on(&desired(&pods[at..=at]), Some(machine)).unwrap());
            let [old, new] =
                sides.each_ref().map(|side| pod_of(side, "default", "p").unplaced.as_ref().map(|u| u.outcome));
            let values = [before, after].map(|at| pods[at].pointer(&pointer));
            let anywhere = expected(path, false, values[0], values[1]);
            let plan = fleet(&sides[1], &converged(&sides[0], at(0)));
            let verbs: Vec<Verb> = plan.actions.iter().map(podwright::model::FleetAction::verb).collect();
            let wanted: Vec<Verb> = expected_on(anywhere, old, new).into_iter().collect();
            assert_eq!(verbs, wanted, "{path} {values:?} on {machine:?}: {old:?} -> {new:?}");
            *outcomes.entry(format!("{old:?} -> {new:?}")).or_insert(0) += 1;
        }
    }
    assert!(outcomes.len() >= 6, "{outcomes:?}");
}

/// The same for what the seed's pods really say.
#[test]
fn every_field_of_the_seeds_pods_changed_alone_gives_the_verb_of_the_update_rules() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for pod in seed_pods() {
        let mut pointers = Vec::new();
        walk(&pod, String::new(), &mut pointers);
        for pointer in pointers {
            let mut changed = pod.clone();
            let here = changed.pointer_mut(&pointer).unwrap();
            *here = other(here);
            let mut gone = pod.clone();
            taken(&mut gone, &pointer);
            let path = without_indexes(&pointer);
            for (before, after) in [(&pod, &changed), (&pod, &gone), (&gone, &pod)] {
                if before == after || is_default(&path, before.pointer(&pointer), after.pointer(&pointer)) {
                    continue;
                }
                count += 1;
                let found = judge(&path, false, (&Side::new(before.clone()), &Side::new(after.clone())), &pointer);
                wrong.extend(found.map(|text| format!("{}: {text}", pod["metadata"]["name"])));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 250, "{count}");
}

/// What the seed writes down although it is what happens anyway.
fn is_default(path: &str, before: Option<&Value>, after: Option<&Value>) -> bool {
    let defaults = [("spec.restartPolicy", json!("Always")), ("spec.volumes[].emptyDir", json!({}))];
    let absent = before.or(after).filter(|_| before.is_none() || after.is_none());
    absent.is_some_and(|value| defaults.iter().any(|(own, default)| *own == path && value == default))
}

fn seed_pods() -> Vec<Value> {
    let directory = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/seed");
    let mut pods = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.into_iter().filter(|file| file.extension().is_some_and(|e| e == "yaml")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for document in serde_yaml::Deserializer::from_str(&text) {
            let value: Value = serde::Deserialize::deserialize(document).unwrap();
            if value["kind"] == "Pod" && value["apiVersion"] == "v1" {
                pods.push(value);
            }
        }
    }
    assert!(pods.len() >= 8, "{}", pods.len());
    pods
}

/// Every place of a pod below metadata and spec.
fn walk(value: &Value, pointer: String, out: &mut Vec<String>) {
    let fixed =
        ["", "/apiVersion", "/kind", "/metadata", "/metadata/name", "/metadata/namespace", "/spec", "/spec/containers"];
    if !fixed.contains(&pointer.as_str()) && !pointer.starts_with("/status") {
        out.push(pointer.clone());
    }
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| walk(value, format!("{pointer}/{}", key.replace('/', "~1")), out));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| walk(value, format!("{pointer}/{at}"), out));
        }
        _ => {}
    }
}

fn without_indexes(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        if part.parse::<usize>().is_ok() {
            path.push_str("[]");
        } else {
            path.push_str(if path.is_empty() { "" } else { "." });
            path.push_str(part);
        }
    }
    path
}

/// Another value of the same type; objects and lists stay, their members have their turn.
fn other(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::from(format!("{text}x")),
        Value::Number(number) => json!(number.as_i64().unwrap() + 1),
        Value::Bool(flag) => Value::from(!flag),
        other => other.clone(),
    }
}

/// One value of each kind of field, performed: afterwards there is nothing left to plan.
#[test]
fn after_a_mutation_was_performed_nothing_is_left_to_plan() {
    let schema = Schema::pod();
    let fields = fields();
    let mut count = 0;
    for path in &fields {
        let (pods, moves, _) = mutations(&schema, path, true);
        let Some((before, after)) = moves.last() else { continue };
        let [before, after] = [before, after].map(|at| admitted(&pods[*at..=*at]));
        let mut world = World::new(&pod_of(&before, "default", "p"), &before.data);
        world.settle();
        assert!(fleet(&before, &[world.pod.clone().unwrap()]).actions.is_empty(), "{path}");
        world.target = Some(pod_of(&after, "default", "p"));
        world.data = (*after.data).clone();
        world.settle();
        let left = fleet(&after, &[world.pod.clone().unwrap()]);
        assert!(left.actions.is_empty(), "{path}: {left:?}");
        count += 1;
    }
    assert!(count > 1000, "{count}");
}
