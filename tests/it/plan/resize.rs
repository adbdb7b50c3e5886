//! Other amounts of cpu and memory, by row and by every combination: what they take, what is told of it, and that doing it
//! leaves nothing to be done.

use podwright::model::{PodRecord, Verb};
use podwright::plan::{converged, fleet};
use serde_json::{Value, json};

use super::change::set;
use super::table::{base, compare, objects};
use super::world::{World, at};
use crate::admit::without_tokens::{admitted, pod_of};

const KEPT: &str = "(instead: another amount is changed in place: only one that is removed takes a new pod)";
const CLASS: &str = "(instead: the QoS class of the pod would be another: amounts that keep it are changed in place)";
const POLICY: &str = "(instead: with resizePolicy NotRequired it changes without a restart)";
const NO_RESTART: &str = "(instead: an init container without resizePolicy RestartContainer is changed in place)";
const HAS_RUN: &str = "(note: an init container that has run does not run again)";

fn policy(cpu: &str, memory: &str) -> Value {
    json!([{"resourceName": "cpu", "restartPolicy": cpu}, {"resourceName": "memory", "restartPolicy": memory}])
}

/// The row, what both sides have in place of the table's pod, what the changed one has, and what is told.
type Row = (&'static str, Edits, Edits, String);

const A: &str = "/spec/containers/0/resources";
const LIMIT: &str = "/spec/containers/0/resources/limits/memory";

type Edits = Vec<(&'static str, Value)>;

/// `a` alone: what it has decides over the class of the pod.
fn alone() -> Edits {
    vec![("/spec/containers/1", Value::Null), ("/spec/initContainers", Value::Null)]
}

fn with(policies: Value) -> Edits {
    vec![("/spec/containers/0/resizePolicy", policies)]
}

#[rustfmt::skip]
fn of_init(at: usize, policies: Value) -> Edits {
    vec![
        (["/spec/initContainers/0/resizePolicy", "/spec/initContainers/1/resizePolicy"][at], policies),
        (["/spec/initContainers/0/resources", "/spec/initContainers/1/resources"][at], json!({"limits": {"memory": "1Mi"}})),
    ]
}

fn limit(value: &str) -> Edits {
    vec![(LIMIT, json!(value))]
}

fn in_place(field: &str) -> String {
    format!("update in place: spec.containers[0].resources.{field} of a")
}

fn recreated(field: &str, why: &str) -> String {
    format!("recreate: spec.containers[0].resources.{field} of a {why}").trim_end().to_owned()
}

/// What changes, is removed, or makes another class of the pod.
#[rustfmt::skip]
fn amounts() -> Vec<Row> {
    vec![
        ("memory", vec![], limit("65Mi"), in_place("limits.memory")),
        ("less memory", vec![], limit("1Mi"), in_place("limits.memory")),
        ("cpu", vec![], vec![("/spec/containers/0/resources/limits/cpu", json!("2"))], in_place("limits.cpu")),
        ("both", vec![], vec![(A, json!({"limits": {"cpu": "2", "memory": "1Gi"}}))],
            "update in place: spec.containers[0].resources.limits.cpu of a, spec.containers[0].resources.limits.memory of a".into()),
        ("a limit of nothing", vec![], vec![("/spec/containers/0/resources/limits/cpu", json!("0"))], in_place("limits.cpu")),
        ("a request that is not the limit", vec![], vec![("/spec/containers/0/resources/requests", json!({"cpu": "1000m", "memory": "65535Ki"}))],
            in_place("requests.memory")),
        ("the request is the limit again", vec![], vec![("/spec/containers/0/resources/requests", json!({"cpu": "1000m", "memory": "65535Ki"}))],
            in_place("requests.memory")),
        ("a label, too", vec![], vec![("/metadata/labels/app", json!("x")), (LIMIT, json!("65Mi"))],
            "update in place: metadata.labels[app], spec.containers[0].resources.limits.memory of a".into()),
        ("a command, too", vec![], vec![("/spec/containers/0/command", json!(["x"])), (LIMIT, json!("65Mi"))],
            "recreate: spec.containers[0].command of a".into()),
        ("a limit where none was", vec![], vec![("/spec/containers/1/resources", json!({"limits": {"memory": "1Gi"}}))],
            "update in place: spec.containers[1].resources.limits.memory of b".into()),
        ("a request where none was", vec![], vec![("/spec/containers/1/resources", json!({"requests": {"cpu": "1"}}))],
            "update in place: spec.containers[1].resources.requests.cpu of b".into()),
        ("of a sidecar", vec![], vec![("/spec/initContainers/1/resources", json!({"limits": {"cpu": "1"}}))],
            "update in place: spec.initContainers[1].resources.limits.cpu of side".into()),
        ("of an init container", vec![], vec![("/spec/initContainers/0/resources", json!({"limits": {"cpu": "1"}}))],
            format!("update in place: spec.initContainers[0].resources.limits.cpu of init {HAS_RUN}")),
        // Nothing is removed.
        ("a limit removed", vec![], vec![(LIMIT, Value::Null)], recreated("limits.memory", KEPT)),
        ("all removed", vec![], vec![(A, Value::Null)], format!(
            "recreate: spec.containers[0].resources.limits.cpu of a {KEPT}, spec.containers[0].resources.limits.memory of a {KEPT}")),
        ("limits removed, requests stay", vec![], vec![(A, json!({"requests": {"cpu": "1", "memory": "64Mi"}}))], format!(
            "recreate: spec.containers[0].resources.limits.cpu of a {KEPT}, spec.containers[0].resources.limits.memory of a {KEPT}")),
        ("a request removed", vec![(A, json!({"requests": {"cpu": "1", "memory": "64Mi"}}))], vec![("/spec/containers/0/resources/requests/cpu", Value::Null)],
            recreated("requests.cpu", KEPT)),
        ("an init container's removed", of_init(0, Value::Null), vec![("/spec/initContainers/0/resources", Value::Null)],
            format!("recreate: spec.initContainers[0].resources.limits.memory of init {KEPT}")),
        // Nor is the class of the pod another.
        ("Guaranteed stays", alone(), limit("65Mi"), in_place("limits.memory")),
        ("Guaranteed to Burstable", alone(), vec![("/spec/containers/0/resources/requests", json!({"cpu": "500m"}))], recreated("requests.cpu", CLASS)),
        ("Guaranteed to Burstable, more than one", alone(), vec![(A, json!({"limits": {"cpu": "2", "memory": "65Mi"}, "requests": {"cpu": "1"}}))], format!(
            "recreate: spec.containers[0].resources.limits.cpu of a {CLASS}, spec.containers[0].resources.limits.memory of a {CLASS}")),
        ("Burstable to Guaranteed", [alone(), vec![(A, json!({"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "500m"}}))]].concat(),
            vec![("/spec/containers/0/resources/requests/cpu", json!("1"))], recreated("requests.cpu", CLASS)),
        ("BestEffort to Burstable", vec![(A, Value::Null)], vec![(A, json!({"requests": {"memory": "1Mi"}}))], recreated("requests.memory", CLASS)),
        ("Burstable to BestEffort, all of nothing", vec![(A, json!({"limits": {"cpu": "1"}}))], vec![(A, json!({"limits": {"cpu": "0"}}))], recreated("limits.cpu", CLASS)),
        // Of what else a container may have nothing changes in place.
        ("other storage", vec![("/spec/containers/0/resources/limits/ephemeral-storage", json!("1Gi"))],
            vec![("/spec/containers/0/resources/limits/ephemeral-storage", json!("2Gi"))], recreated("limits.ephemeral-storage", "")),
        ("storage", vec![], vec![("/spec/containers/0/resources/limits/ephemeral-storage", json!("1Gi"))], recreated("limits.ephemeral-storage", "")),
        ("huge pages", vec![], vec![("/spec/containers/0/resources/limits/hugepages-2Mi", json!("4Mi"))], recreated("limits.hugepages-2Mi", "")),
        ("a device", vec![], vec![(A, json!({"limits": {"cpu": "1", "memory": "64Mi", "example.com/cpu": "1"}}))], recreated("limits.example.com/cpu", "")),
        ("claims", vec![], vec![("/spec/containers/0/resources/claims", json!([{"name": "cpu"}]))], recreated("claims", "")),
        ("storage beside memory", vec![], vec![("/spec/containers/0/resources/limits/ephemeral-storage", json!("1Gi")), (LIMIT, json!("65Mi"))],
            recreated("limits.ephemeral-storage", "")),
        ("of the pod", vec![], vec![("/spec/resources", json!({"limits": {"cpu": "1"}}))], "recreate: spec.resources".into()),
    ]
}

/// The container says which of them it takes without a restart.
#[rustfmt::skip]
fn policies() -> Vec<Row> {
    vec![
        ("NotRequired", with(policy("NotRequired", "NotRequired")), limit("65Mi"), in_place("limits.memory")),
        ("RestartContainer", with(policy("NotRequired", "RestartContainer")), limit("65Mi"),
            format!("restart container: spec.containers[0].resources.limits.memory of a {POLICY}")),
        ("RestartContainer, a request", with(policy("NotRequired", "RestartContainer")), vec![("/spec/containers/0/resources/requests", json!({"memory": "1Mi"}))],
            format!("restart container: spec.containers[0].resources.requests.memory of a {POLICY}")),
        ("RestartContainer, the other one", with(policy("NotRequired", "RestartContainer")), vec![("/spec/containers/0/resources/limits/cpu", json!("2"))], in_place("limits.cpu")),
        ("RestartContainer, both", with(policy("NotRequired", "RestartContainer")), vec![(A, json!({"limits": {"cpu": "2", "memory": "65Mi"}}))],
            format!("restart container: spec.containers[0].resources.limits.cpu of a, spec.containers[0].resources.limits.memory of a {POLICY}")),
        ("RestartContainer, another container", with(policy("RestartContainer", "RestartContainer")), vec![("/spec/containers/1/resources", json!({"limits": {"memory": "1Gi"}}))],
            "update in place: spec.containers[1].resources.limits.memory of b".into()),
        ("RestartContainer, removed", with(policy("RestartContainer", "RestartContainer")), vec![(LIMIT, Value::Null)], recreated("limits.memory", KEPT)),
        ("RestartContainer, the same in other words", with(policy("RestartContainer", "RestartContainer")), limit("65536Ki"), "unchanged".into()),
        ("RestartContainer, a sidecar", of_init(1, policy("NotRequired", "RestartContainer")), vec![("/spec/initContainers/1/resources/limits/memory", json!("2Mi"))],
            format!("restart container: spec.initContainers[1].resources.limits.memory of side {POLICY}")),
        ("RestartContainer, an init container", of_init(0, policy("NotRequired", "RestartContainer")), vec![("/spec/initContainers/0/resources/limits/memory", json!("2Mi"))],
            format!("recreate: spec.initContainers[0].resources.limits.memory of init {NO_RESTART}")),
        ("NotRequired, an init container", of_init(0, policy("RestartContainer", "NotRequired")), vec![("/spec/initContainers/0/resources/limits/memory", json!("2Mi"))],
            format!("update in place: spec.initContainers[0].resources.limits.memory of init {HAS_RUN}")),
        ("another policy", with(policy("NotRequired", "NotRequired")), vec![("/spec/containers/0/resizePolicy", policy("NotRequired", "RestartContainer"))],
            "recreate: spec.containers[0].resizePolicy[1].restartPolicy of a".into()),
        ("another policy and another amount", vec![], vec![("/spec/containers/0/resizePolicy", policy("NotRequired", "RestartContainer")), (LIMIT, json!("65Mi"))],
            "recreate: spec.containers[0].resizePolicy of a".into()),
    ]
}

fn edited(edits: &[&[(&'static str, Value)]]) -> Value {
    let mut pod = base();
    edits.iter().copied().flatten().for_each(|(pointer, value)| set(&mut pod, pointer, value.clone()));
    pod
}

#[test]
fn each_row_of_the_resize_rules_is_the_verb_of_the_plan() {
    let mut wrong = Vec::new();
    for (title, both, after, expected) in [amounts(), policies()].concat() {
        // The way back is a row of its own.
        let turned = title == "the request is the limit again";
        let mut sides = [edited(&[&both]), edited(&[&both, &after])].map(objects);
        if turned {
            sides.reverse();
        }
        let got = compare(&sides[0], &sides[1]);
        if got != expected {
            wrong.push(format!("{title}: {got}\n  expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The rules once more, in Kubernetes' own order and words: of one amount that goes from `before` to `after` in a pod whose
/// class the rest keeps or does not.
fn expected(
    (kind, resource, policy): (&str, &str, &str),
    before: Option<u32>,
    after: Option<u32>,
    class: bool,
) -> Verb {
    if before == after {
        return Verb::Unchanged;
    }
    let forbidden = resource == "ephemeral-storage" || after.is_none() || class;
    match (kind, policy) {
        _ if forbidden => Verb::Recreate,
        ("init", "RestartContainer") => Verb::Recreate,
        ("init", _) => Verb::UpdateInPlace,
        (_, "RestartContainer") => Verb::RestartContainer,
        _ => Verb::UpdateInPlace,
    }
}

/// A pod of one container of each kind; the one of this kind has this amount. `others` have something, too, so that the pod
/// is Burstable whatever it has.
fn pod((kind, list, resource, policy): (&str, &str, &str, &str), amount: Option<u32>, others: bool) -> Value {
    let mut containers = [("init", false), ("side", true), ("app", false)].map(|(name, always)| {
        let mut container = json!({"name": name, "image": "i:1"});
        if always {
            container["restartPolicy"] = json!("Always");
        }
        if others && name != kind {
            container["resources"] = json!({"requests": {"cpu": "1m"}});
        }
        if name == kind {
            if policy != "none" && resource != "ephemeral-storage" {
                container["resizePolicy"] = json!([{"resourceName": resource, "restartPolicy": policy}]);
            }
            container["resources"] = json!({list: amount.map_or(json!({}), |a| json!({resource: format!("{a}Mi")}))});
        }
        container
    });
    let app = containers[2].take();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"initContainers": &containers[..2], "containers": [app]}})
}

#[test]
fn every_amount_changed_alone_gives_the_verb_of_the_resize_rules_and_doing_it_leaves_nothing() {
    let amounts = [None, Some(1), Some(2)];
    let mut count = 0;
    for kind in ["init", "side", "app"] {
        for (list, resource) in
            ["limits", "requests"].iter().flat_map(|l| ["cpu", "memory", "ephemeral-storage"].map(|r| (*l, r)))
        {
            for (policy, others) in
                ["none", "NotRequired", "RestartContainer"].iter().flat_map(|p| [true, false].map(|o| (*p, o)))
            {
                for (before, after) in amounts.iter().flat_map(|b| amounts.map(|a| (*b, a))) {
                    let what = (kind, list, resource, policy);
                    let sides = [before, after].map(|amount| admitted(&[pod(what, amount, others)]));
                    let plan = fleet(&sides[1], &converged(&sides[0], at(0)));
                    let verb = plan.actions.first().map_or(Verb::Unchanged, |action| action.verb());
                    // Without the others the pod is BestEffort exactly when this one has no cpu and no memory.
                    let class = !others && before.is_none() != after.is_none();
                    let wanted = expected((kind, resource, policy), before, after, class);
                    assert_eq!(verb, wanted, "{what:?}, others {others}: {before:?} -> {after:?}");
                    let mut world = World::new(&pod_of(&sides[0], "default", "p"), &sides[0].data);
                    world.exits.insert("init".into(), 0);
                    world.settle();
                    let uid = |world: &World| world.pod.as_ref().unwrap().record.uid.clone();
                    let (first, started) = (uid(&world), world.log.len());
                    world.target = Some(pod_of(&sides[1], "default", "p"));
                    // A uid derives from the moment, which has to be another one.
                    world.now = at(50);
                    world.settle();
                    assert_eq!(uid(&world) == first, verb != Verb::Recreate, "{what:?}");
                    let stopped = world.log[started..].iter().any(|word| word.starts_with("stop"));
                    assert_eq!(stopped, verb.is_disruptive(), "{what:?}: {:?}", &world.log[started..]);
                    let left = fleet(&sides[1], &[world.pod.clone().unwrap()]);
                    assert!(left.actions.is_empty(), "{what:?}: {left:?}");
                    count += 1;
                }
            }
        }
    }
    assert_eq!(count, 3 * 6 * 6 * 9);
}

#[test]
fn the_record_tells_when_cpu_or_memory_last_changed() {
    let of = |label: &str, memory: &str| {
        let mut pod = base();
        set(&mut pod, "/metadata/labels/app", json!(label));
        set(&mut pod, LIMIT, json!(memory));
        admitted(&objects(pod))
    };
    let first = of("x", "64Mi");
    let mut world = World::new(&pod_of(&first, "default", "p"), &first.data);
    world.exits.insert("init".into(), 0);
    world.settle();
    let mut at_second = |second: i64, label: &str, memory: &str| -> PodRecord {
        world.now = at(second);
        world.target = Some(pod_of(&of(label, memory), "default", "p"));
        world.settle();
        world.pod.clone().unwrap().record
    };
    assert_eq!(at_second(10, "y", "64Mi").resized_at, None);
    assert_eq!(at_second(20, "y", "65Mi").resized_at, Some(at(20)));
    let last = at_second(30, "z", "65Mi");
    assert_eq!((last.resized_at, last.generation), (Some(at(20)), 4));
    // Another image of the same container is none.
    let mut image = base();
    set(&mut image, "/spec/containers/0/image", json!("nginx:2"));
    let mut world = World::new(&pod_of(&first, "default", "p"), &first.data);
    world.exits.insert("init".into(), 0);
    world.settle();
    world.target = Some(pod_of(&admitted(&objects(image)), "default", "p"));
    world.settle();
    let record = world.pod.unwrap().record;
    assert_eq!((record.resized_at, record.generation), (None, 2));
}
