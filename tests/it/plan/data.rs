//! Data of ConfigMaps and Secrets: which pods it touches, what is told about it, and for how long.

use podwright::model::{Cause, FieldChange, FleetAction, FleetPlan, Reason, Verb};
use podwright::plan::{converged, fleet};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::world::{World, at};
use crate::admit::without_tokens::{admitted, pod_of};

const SECRET: &str = "hunter2-SECRET";

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn secret(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
}

fn pod(spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "app", "image": "i"}]);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
}

fn container(more: Value) -> Value {
    let mut container = json!({"name": "app", "image": "i"});
    container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    pod(json!({"containers": [container]}))
}

fn volume(source: Value) -> Value {
    let mut volume = json!({"name": "v"});
    volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
    pod(json!({"volumes": [volume]}))
}

fn line(change: &FieldChange) -> String {
    assert_eq!((change.effect, &change.before, &change.after), (Verb::UpdateInPlace, &None, &None), "{change:?}");
    let Cause::Data { object, keys } = &change.cause else { panic!("{change:?}") };
    let note = change.note.as_ref().map_or(String::new(), |note| format!(": {note}"));
    let container = change.container.as_ref().map_or(String::new(), |name| format!(" of {name}"));
    format!("{}{container} by {object} [{}]{note}", change.field, keys.join(" "))
}

fn lines(plan: &FleetPlan) -> Vec<String> {
    match &plan.actions[..] {
        [] => Vec::new(),
        [FleetAction::Apply { reason: Reason::UpdatedInPlace(changes), .. }] => changes.iter().map(line).collect(),
        other => panic!("{other:?}"),
    }
}

fn offline(pod: &Value, before: &[Value], after: &[Value]) -> FleetPlan {
    let all = |data: &[Value]| admitted(&[std::slice::from_ref(pod), data].concat());
    fleet(&all(after), &converged(&all(before), at(0)))
}

/// The pod, the objects before and after, and what is told.
type Row = (&'static str, Value, Vec<Value>, Vec<Value>, Vec<&'static str>);

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let one = || vec![map("m", json!({"a": "1", "b": "2"}))];
    let other = || vec![map("m", json!({"a": "9", "b": "2"}))];
    let passwords = |value: &str| vec![secret("s", json!({"user": "x", "password": value}))];
    let from = |key: &str| container(json!({"env": [{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "m", "key": key, "optional": true}}}]}));
    vec![
        ("not used", pod(json!({})), one(), other(), vec![]),
        ("another object", volume(json!({"configMap": {"name": "n", "optional": true}})), one(), other(), vec![]),
        ("the same data in another order", volume(json!({"configMap": {"name": "m"}})), one(), vec![map("m", json!({"b": "2", "a": "1"}))], vec![]),
        ("labels of the object", volume(json!({"configMap": {"name": "m"}})), one(), vec![{
            let mut map = one().remove(0);
            map["metadata"]["labels"] = json!({"x": "y"});
            map
        }], vec![]),
        ("a volume", volume(json!({"configMap": {"name": "m"}})), one(), other(), vec!["spec.volumes[v] by ConfigMap default/m [a]"]),
        ("a key that comes and one that goes", volume(json!({"configMap": {"name": "m"}})), one(), vec![map("m", json!({"a": "1", "c": "3"}))],
            vec!["spec.volumes[v] by ConfigMap default/m [b c]"]),
        ("binary data of a volume", volume(json!({"configMap": {"name": "m"}})), vec![], vec![
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "binaryData": {"x": "AA=="}}),
        ], vec!["spec.volumes[v] by ConfigMap default/m [x]"]),
        ("items: a key that is used", volume(json!({"configMap": {"name": "m", "items": [{"key": "a", "path": "x"}]}})), one(), other(),
            vec!["spec.volumes[v] by ConfigMap default/m [a]"]),
        ("items: a key that is not", volume(json!({"configMap": {"name": "m", "items": [{"key": "b", "path": "x"}]}})), one(), other(), vec![]),
        ("an empty list of items is every key", volume(json!({"configMap": {"name": "m", "items": []}})), one(), other(),
            vec!["spec.volumes[v] by ConfigMap default/m [a]"]),
        ("a part of a volume", pod(json!({
            "containers": [{"name": "app", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/x", "subPath": "a"}]},
                {"name": "more", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/x", "subPathExpr": "a"}]},
                {"name": "whole", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/x"}]}],
            "volumes": [{"name": "v", "configMap": {"name": "m"}}],
        })), one(), other(), vec!["spec.volumes[v] by ConfigMap default/m [a]: mounted by subPath: takes effect when containers app and more start again"]),
        ("a part for one container", pod(json!({
            "containers": [{"name": "app", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/x", "subPath": "a"}]}],
            "volumes": [{"name": "v", "configMap": {"name": "m"}}],
        })), one(), other(), vec!["spec.volumes[v] by ConfigMap default/m [a]: mounted by subPath: takes effect when container app starts again"]),
        ("projected", volume(json!({"projected": {"sources": [{"configMap": {"name": "m"}}, {"secret": {"name": "s"}}]}})),
            [one(), passwords("1")].concat(), [other(), passwords("2")].concat(),
            vec!["spec.volumes[v] by ConfigMap default/m [a]", "spec.volumes[v] by Secret default/s [password]"]),
        ("a Secret", volume(json!({"secret": {"secretName": "s"}})), passwords(SECRET), passwords("2"), vec!["spec.volumes[v] by Secret default/s [password]"]),
        ("a ConfigMap that comes", volume(json!({"configMap": {"name": "m"}})), vec![], one(), vec!["spec.volumes[v] by ConfigMap default/m [a b]"]),
        ("a ConfigMap that goes", volume(json!({"configMap": {"name": "m", "optional": true}})), one(), vec![], vec!["spec.volumes[v] by ConfigMap default/m [a b]"]),
        ("an empty ConfigMap that comes", volume(json!({"configMap": {"name": "m"}})), vec![], vec![map("m", json!({}))], vec!["spec.volumes[v] by ConfigMap default/m []"]),
        ("a variable", from("a"), one(), other(), vec!["spec.containers[0].env[V] of app by ConfigMap default/m [a]: takes effect when container app starts again"]),
        ("a variable of another key", from("b"), one(), other(), vec![]),
        ("an optional key that comes", from("c"), one(), vec![map("m", json!({"a": "1", "b": "2", "c": "3"}))],
            vec!["spec.containers[0].env[V] of app by ConfigMap default/m [c]: takes effect when container app starts again"]),
        ("an object that comes without the key", from("c"), vec![], one(), vec![]),
        ("a variable of a Secret", container(json!({"env": [{"name": "V", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}}]})),
            passwords(SECRET), passwords("2"), vec!["spec.containers[0].env[V] of app by Secret default/s [password]: takes effect when container app starts again"]),
        ("every key as a variable", container(json!({"envFrom": [{"secretRef": {"name": "s"}}, {"configMapRef": {"name": "m"}}]})),
            [one(), passwords(SECRET)].concat(), [other(), passwords(SECRET)].concat(),
            vec!["spec.containers[0].envFrom[1] of app by ConfigMap default/m [a]: takes effect when container app starts again"]),
        ("every key of a Secret as a variable", container(json!({"envFrom": [{"secretRef": {"name": "s"}}]})), passwords(SECRET), passwords("2"),
            vec!["spec.containers[0].envFrom[0] of app by Secret default/s [password]: takes effect when container app starts again"]),
        ("binary data is no variable", container(json!({"envFrom": [{"configMapRef": {"name": "m"}}]})), one(), vec![
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1", "b": "2"}, "binaryData": {"x": "AA=="}}),
        ], vec![]),
        ("an init container", pod(json!({
            "initContainers": [{"name": "init", "image": "i", "envFrom": [{"configMapRef": {"name": "m"}}]}], "containers": [{"name": "app", "image": "i"}],
        })), one(), other(), vec!["spec.initContainers[0].envFrom[0] of init by ConfigMap default/m [a]: takes effect when container init starts again"]),
    ]
}

#[test]
fn the_data_behind_variables_and_volumes_is_compared_key_by_key() {
    let mut wrong = Vec::new();
    for (name, pod, before, after, expected) in rows() {
        let got = lines(&offline(&pod, &before, &after));
        if got != expected {
            wrong.push(format!("{name}: {got:#?}, expected {expected:#?}"));
        }
        let same = offline(&pod, &after, &after);
        assert!(same.actions.is_empty(), "{name}: the same data is a change: {same:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What runs follows the data, and a plan of the fleet made afterwards has nothing to do.
#[test]
fn changed_data_is_told_once_and_not_again_when_the_pod_follows() {
    for (name, pod, before, after, expected) in rows() {
        let admit = |data: &[Value]| admitted(&[std::slice::from_ref(&pod), data].concat());
        let [before, after] = [admit(&before), admit(&after)];
        let mut world = World::new(&pod_of(&before, "default", "p"), &before.data);
        world.settle();
        let observed = |world: &World| vec![world.pod.clone().unwrap()];
        assert!(fleet(&before, &observed(&world)).actions.is_empty(), "{name}");
        let plan = fleet(&after, &observed(&world));
        assert_eq!(lines(&plan), expected, "{name}");
        world.data = (*after.data).clone();
        world.settle();
        let plan = fleet(&after, &observed(&world));
        assert!(plan.actions.is_empty(), "{name}: {plan:?}");
        assert_eq!(plan.unchanged.len(), 1);
        let record = serde_json::to_string(&world.pod.as_ref().unwrap().record).unwrap();
        assert!(!record.contains(SECRET), "{name}: {record}");
    }
}

#[test]
fn equal_values_have_other_digests_in_the_record_of_another_pod() {
    let objects = [
        volume(json!({"secret": {"secretName": "s"}})),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q"}, "spec": {
            "containers": [{"name": "app", "image": "i"}], "volumes": [{"name": "v", "secret": {"secretName": "s"}}]}}),
        secret("s", json!({"k": SECRET})),
    ];
    let admitted = admitted(&objects);
    let digests: Vec<_> = ["p", "q"]
        .map(|name| {
            let mut world = World::new(&pod_of(&admitted, "default", name), &admitted.data);
            world.settle();
            world.pod.unwrap().record.data_digests.unwrap().open()["Secret s"]["k"].clone()
        })
        .into();
    assert_ne!(digests[0], digests[1]);
    assert!(digests.iter().all(|digest| digest.len() == 32 && digest.bytes().all(|b| b.is_ascii_hexdigit())));
}

#[test]
fn an_ended_pod_and_a_record_without_digests_say_nothing_about_data() {
    let pod = volume(json!({"configMap": {"name": "m"}}));
    let before = admitted(&[pod.clone(), map("m", json!({"a": "1"}))]);
    let after = admitted(&[pod, map("m", json!({"a": "2"}))]);
    let mut observed = converged(&before, at(0));
    assert_eq!(fleet(&after, &observed).actions.len(), 1);
    observed[0].record.terminal = Some("Succeeded".into());
    assert!(fleet(&after, &observed).actions.is_empty());
    observed[0].record.terminal = None;
    observed[0].record.data_digests = None;
    assert!(fleet(&after, &observed).actions.is_empty());
}

#[test]
fn so_many_keys_that_they_are_not_named_are_compared_all_the_same() {
    let keys = |last: &str| -> Value {
        (0..1001)
            .map(|i| (format!("k{i}"), json!(if i == 500 { last } else { "x" })))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    for pod in
        [volume(json!({"configMap": {"name": "m"}})), container(json!({"envFrom": [{"configMapRef": {"name": "m"}}]}))]
    {
        let plan = offline(&pod, &[map("m", keys("1"))], &[map("m", keys("2"))]);
        assert!(lines(&plan)[0].contains("by ConfigMap default/m []"), "{plan:?}");
        assert!(offline(&pod, &[map("m", keys("1"))], &[map("m", keys("1"))]).actions.is_empty());
    }
    let few: Value = (0..1000).map(|i| (format!("k{i}"), json!("x"))).collect::<serde_json::Map<_, _>>().into();
    let plan = offline(&volume(json!({"configMap": {"name": "m"}})), &[map("m", json!({}))], &[map("m", few)]);
    assert!(lines(&plan)[0].contains(" k999]"), "{plan:?}");
}

#[test]
fn a_configmap_of_the_manifests_is_data_whatever_its_name() {
    let pod = volume(json!({"projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}}));
    let map = |value: &str| map("kube-root-ca.crt", json!({"a": value}));
    let plan = offline(&pod, &[map("1")], &[map("2")]);
    assert!(lines(&plan)[0].contains("by ConfigMap default/kube-root-ca.crt [a]"), "{plan:?}");
}

#[test]
fn data_of_another_namespace_is_none_of_the_pods_business() {
    let pod = volume(json!({"configMap": {"name": "m", "optional": true}}));
    let mut far = map("m", json!({"a": "1"}));
    far["metadata"]["namespace"] = json!("other");
    assert!(offline(&pod, &[], &[far]).actions.is_empty());
}

#[test]
fn with_a_recreation_the_data_is_no_reason_of_its_own() {
    let mut after = volume(json!({"configMap": {"name": "m"}}));
    let before = converged(&admitted(&[after.clone(), map("m", json!({"a": "1"}))]), at(0));
    after["spec"]["hostname"] = json!("h");
    let plan = fleet(&admitted(&[after, map("m", json!({"a": "2"}))]), &before);
    assert_eq!(plan.actions[0].verb(), Verb::Recreate);
    assert_eq!(plan.actions[0].changes().iter().map(|c| c.field.as_str()).collect::<Vec<_>>(), ["spec.hostname"]);
}

#[test]
fn data_and_labels_that_change_together_are_both_told_and_both_done() {
    let mut after = volume(json!({"configMap": {"name": "m"}}));
    let before = admitted(&[after.clone(), map("m", json!({"a": "1"}))]);
    after["metadata"]["labels"] = json!({"x": "y"});
    let after = admitted(&[after, map("m", json!({"a": "2"}))]);
    let mut world = World::new(&pod_of(&before, "default", "p"), &before.data);
    world.settle();
    world.target = Some(pod_of(&after, "default", "p"));
    world.data = (*after.data).clone();
    world.log.clear();
    world.settle();
    assert_eq!(world.log, ["update to 2", "volumes v"]);
    assert!(
        world.story.iter().any(
            |line| line.ends_with("changed in place: metadata.labels[x], spec.volumes[v] (ConfigMap default/m: a)")
        )
    );
    assert!(fleet(&after, &[world.pod.clone().unwrap()]).actions.is_empty());
}

/// As agents before this one wrote them: an upgrade is no change of anybody's data.
#[test]
fn digests_on_record_are_keyed_with_the_uid_and_are_of_the_values_alone() {
    let mut object = volume(json!({"configMap": {"name": "m"}}));
    object["spec"]["containers"][0]["envFrom"] = json!([{"secretRef": {"name": "s"}}]);
    let mut data = map("m", json!({"a": "1"}));
    data["binaryData"] = json!({"b": "Mg=="});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "v"}});
    let admitted = admitted(&[object, data, secret]);
    let mut world = World::new(&pod_of(&admitted, "default", "p"), &admitted.data);
    world.settle();
    let record = &world.pod.as_ref().unwrap().record;
    let digest = |value: &str| -> String {
        let whole = Sha256::new().chain_update(&record.uid.0).chain_update([0]).chain_update(Sha256::digest(value));
        whole.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let expected = json!({
        "ConfigMap m": {"a": digest("1"), "b": digest("2")},
        "Secret s": {"k": digest("v")},
    });
    assert_eq!(record.data_digests.as_ref().unwrap().text(), expected.to_string());
}
