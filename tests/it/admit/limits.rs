//! What the machine gives containers, and what it lets them ask for: the plugin LimitRanger.

use podwright::admit::{Admitter, admit_on};
use podwright::model::{AdmittedPod, LIMIT_RANGER, LimitRangeItem, NodeInfo, Severity, qos_class};
use serde_json::{Value, json};

use super::desired;
use super::placement::{edge, placed, pod};

/// `edge-1` with these items.
fn machine(items: &[Value]) -> NodeInfo {
    let item = |value: &Value| serde_json::from_value::<LimitRangeItem>(value.clone()).unwrap().filled();
    NodeInfo { limit_range: items.iter().map(item).collect(), ..edge() }
}

fn of_containers(mut item: Value) -> NodeInfo {
    item["type"] = json!("Container");
    machine(&[item])
}

fn asking(resources: Value) -> Value {
    pod(json!({"containers": [{"name": "c", "image": "i:1", "resources": resources}]}))
}

/// Resources of the first container as it runs, and what is told of them.
fn given(pod: &AdmittedPod) -> (Value, Option<String>) {
    let effective = pod.effective.value();
    let told = effective["metadata"]["annotations"][LIMIT_RANGER].as_str().map(str::to_owned);
    (effective["spec"]["containers"][0]["resources"].clone(), told)
}

/// The field and the message of each error.
fn refused(pod: &Value, node: &NodeInfo) -> Vec<(String, String)> {
    let desired = desired(std::slice::from_ref(pod));
    let (object, packed) = desired.pods.values().next().unwrap();
    assert!(!Admitter::new(&desired, Some(node)).says_nothing(object, Some(&packed.open())), "it is kept to be judged");
    let Err(diagnostics) = admit_on(&desired, Some(node)) else { return Vec::new() };
    let told = diagnostics.0.into_iter().map(|diagnostic| {
        let is_below = diagnostic.message.contains("must be less than or equal to");
        let rule = if is_below { "limit-below-request" } else { "limit-range" };
        assert_eq!((diagnostic.severity, diagnostic.rule), (Severity::Error, rule));
        assert!(diagnostic.place.is_some() && diagnostic.help.is_some(), "{diagnostic:?}");
        (diagnostic.field.unwrap(), diagnostic.message)
    });
    told.collect()
}

#[test]
fn each_row_of_what_a_container_is_given() {
    let node = of_containers(json!({"default": {"cpu": "1", "memory": "64Mi"}, "defaultRequest": {"cpu": "100m"}}));
    let all = "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c";
    for (asked, expected, told) in [
        (
            json!({}),
            json!({"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}}),
            Some(all),
        ),
        // A limit is its own request before anything is given.
        (
            json!({"limits": {"cpu": "500m"}}),
            json!({"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "500m", "memory": "64Mi"}}),
            Some("LimitRanger plugin set: memory request for container c; memory limit for container c"),
        ),
        (
            json!({"requests": {"cpu": "200m", "memory": "1Mi"}}),
            json!({"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "200m", "memory": "1Mi"}}),
            Some("LimitRanger plugin set: cpu, memory limit for container c"),
        ),
        (
            json!({"limits": {"cpu": "1", "memory": "1Mi"}}),
            json!({"limits": {"cpu": "1", "memory": "1Mi"}, "requests": {"cpu": "1", "memory": "1Mi"}}),
            None,
        ),
    ] {
        let written = asking(asked.clone());
        let found = placed(&written, &node);
        assert_eq!(given(&found), (expected, told.map(str::to_owned)), "{asked}");
        // What was written is the same on every machine.
        let elsewhere = placed(&written, &edge());
        assert_eq!((&found.spec, &found.digest), (&elsewhere.spec, &elsewhere.digest), "{asked}");
    }
}

#[test]
fn init_containers_are_given_the_same_and_the_class_follows() {
    let node = of_containers(json!({"max": {"cpu": "1", "memory": "64Mi"}}));
    let two = json!({"initContainers": [{"name": "a", "image": "i:1"}], "containers": [{"name": "c", "image": "i:1"}]});
    let found = placed(&pod(two.clone()), &node);
    let words = "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c; cpu, memory \
                 request for init container a; cpu, memory limit for init container a";
    assert_eq!(given(&found).1.as_deref(), Some(words));
    let class = |pod: &AdmittedPod| qos_class(&pod.effective.open().spec.unwrap());
    assert_eq!((class(&found), class(&placed(&pod(two), &edge()))), ("Guaranteed", "BestEffort"));
}

#[test]
fn another_machines_pod_is_given_nothing_and_may_ask_for_anything() {
    let node = of_containers(json!({"max": {"cpu": "1"}}));
    let mut away = asking(json!({"limits": {"cpu": "8"}}));
    away["spec"]["nodeName"] = json!("edge-2");
    let found = placed(&away, &node);
    assert!(found.is_elsewhere());
    assert_eq!(given(&found).1, None);
}

#[test]
fn what_is_given_takes_room() {
    let small = [("cpu".to_owned(), "500m".to_owned())];
    let node = NodeInfo { allocatable: small.into(), ..of_containers(json!({"defaultRequest": {"cpu": "1"}})) };
    let unplaced = placed(&asking(json!({})), &node).unplaced.clone().unwrap();
    assert_eq!(unplaced.detail, "it asks for 1 of cpu, and this machine has 500m for pods");
    assert_eq!(placed(&asking(json!({"requests": {"cpu": "500m"}})), &node).unplaced, None);
}

/// The items, what the container says, and what is wrong with it: the field below `resources`, and the message.
type Row = (Value, Value, Vec<(&'static str, &'static str)>);

#[rustfmt::skip]
fn bounds() -> Vec<Row> {
    let limits = |cpu: &str| json!({"limits": {"cpu": cpu}});
    let requests = |cpu: &str| json!({"requests": {"cpu": cpu}});
    vec![
        (json!({"min": {"cpu": "100m"}}), requests("100m"), vec![]),
        (json!({"min": {"cpu": "100m"}}), json!({}), vec![]),
        (json!({"min": {"cpu": "100m"}}), requests("50m"),
            vec![("requests.cpu", "minimum cpu usage per Container is 100m, but request is 50m")]),
        (json!({"min": {"cpu": "100m"}}), json!({"limits": {"cpu": "0.05"}}),
            vec![("requests.cpu", "minimum cpu usage per Container is 100m, but request is 50m")]),
        (json!({"max": {"cpu": "1"}}), limits("1000m"), vec![]),
        (json!({"max": {"cpu": "1"}}), limits("1001m"),
            vec![("limits.cpu", "maximum cpu usage per Container is 1, but limit is 1001m")]),
        // The limit that is given is below the request.
        (json!({"max": {"cpu": "1"}}), requests("2"), vec![
            ("requests.cpu", "maximum cpu usage per Container is 1, but request is 2"),
            ("requests.cpu", "Invalid value: \"2\": must be less than or equal to cpu limit of 1")]),
        (json!({"default": {"memory": "1Gi"}}), json!({"requests": {"memory": "2Gi"}}),
            vec![("requests.memory", "Invalid value: \"2Gi\": must be less than or equal to memory limit of 1Gi")]),
        (json!({"maxLimitRequestRatio": {"cpu": "2"}}), json!({"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}), vec![]),
        (json!({"maxLimitRequestRatio": {"cpu": "2"}}), json!({"limits": {"cpu": "2500m"}, "requests": {"cpu": "1"}}),
            vec![("limits.cpu", "cpu max limit to request ratio per Container is 2, but provided ratio is 2.500000")]),
        (json!({"maxLimitRequestRatio": {"cpu": "2"}}), requests("1"),
            vec![("limits.cpu", "cpu max limit to request ratio per Container is 2, but no limit is specified or limit is 0")]),
        (json!({"maxLimitRequestRatio": {"cpu": "2"}}), json!({}),
            vec![("requests.cpu", "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0")]),
    ]
}

#[test]
fn each_bound_has_a_row_that_passes_and_one_that_fails() {
    for (item, asked, expected) in bounds() {
        let found = refused(&asking(asked.clone()), &of_containers(item.clone()));
        let field = |below: &str| format!("spec.containers[0].resources.{below}");
        let expected: Vec<(String, String)> =
            expected.iter().map(|(below, message)| (field(below), (*message).to_owned())).collect();
        assert_eq!(found, expected, "{item} {asked}");
    }
}

#[test]
fn what_containers_have_together_is_bounded_by_an_item_for_pods() {
    let node = machine(&[json!({"type": "Pod", "max": {"cpu": "1"}})]);
    let both = |first: Value, second: Value| {
        pod(json!({"containers": [{"name": "a", "image": "i:1", "resources": first},
            {"name": "b", "image": "i:1", "resources": second}]}))
    };
    let limits = |cpu: &str| json!({"limits": {"cpu": cpu}});
    let error = |message: &str| vec![("spec.resources.limits.cpu".to_owned(), message.to_owned())];
    assert_eq!(refused(&both(limits("400m"), limits("600m")), &node), []);
    let found = refused(&both(limits("400m"), limits("601m")), &node);
    assert_eq!(found, error("maximum cpu usage per Pod is 1, but limit is 1001m"));
    assert_eq!(refused(&both(limits("400m"), json!({})), &node), [], "who says nothing has nothing");
    let found = refused(&both(json!({}), json!({})), &node);
    assert_eq!(found, error("maximum cpu usage per Pod is 1.  No limit is specified"));
}
