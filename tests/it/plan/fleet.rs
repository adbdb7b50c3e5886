//! Which pods are touched, in which order and why.

use podwright::model::{Deletion, FleetAction, FleetPlan, ObservedPod, Reason};
use podwright::plan::{converged, fleet};
use serde_json::{Value, json};

use super::world::at;
use crate::admit::without_tokens::admitted;

fn pod(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "containers": [{"name": "c", "image": image}],
            "initContainers": [{"name": "i", "image": "i"}, {"name": "s", "image": "s", "restartPolicy": "Always"}],
        },
    })
}

fn lines(plan: &FleetPlan) -> Vec<String> {
    let mut out: Vec<String> = plan
        .actions
        .iter()
        .map(|action| {
            let word = if matches!(action, FleetAction::Apply { .. }) { "apply" } else { "remove" };
            format!("{word} {}: {}", action.key(), action.reason())
        })
        .collect();
    out.extend(plan.unchanged.iter().map(|key| format!("unchanged {key}")));
    out
}

fn running(objects: &[Value]) -> Vec<ObservedPod> {
    converged(&admitted(objects), at(0))
}

#[test]
fn a_converged_fleet_needs_nothing() {
    let objects = [pod("a", "x"), pod("b", "x")];
    let plan = fleet(&admitted(&objects), &running(&objects));
    assert_eq!(lines(&plan), ["unchanged default/a", "unchanged default/b"]);
}

#[test]
fn removals_come_first_then_the_others_by_name() {
    let before = running(&[pod("b", "x"), pod("c", "x"), pod("z", "x"), pod("y", "x")]);
    let mut recreated = pod("c", "x");
    recreated["spec"]["hostname"] = json!("h");
    let plan = fleet(&admitted(&[pod("d", "x"), pod("a", "x"), pod("b", "y"), recreated]), &before);
    assert_eq!(
        lines(&plan),
        [
            "remove default/y: removed from the manifests",
            "remove default/z: removed from the manifests",
            "apply default/a: new in the manifests",
            "apply default/b: changed in place: spec.containers[0].image",
            "apply default/c: recreated: spec.hostname changed",
            "apply default/d: new in the manifests",
        ]
    );
}

#[test]
fn a_pod_that_is_going_and_wanted_again_is_new() {
    let objects = [pod("a", "x")];
    let mut before = running(&objects);
    before[0].record.deletion = Some(Deletion { requested_at: at(0), grace_seconds: 30, reason: "x".into() });
    let plan = fleet(&admitted(&objects), &before);
    assert_eq!(plan.actions[0].reason(), &Reason::PodAdded);
    assert_eq!(lines(&fleet(&admitted(&[]), &before)), ["remove default/a: removed from the manifests"]);
}

#[test]
fn an_ended_pod_with_a_new_image_is_recreated() {
    let mut before = running(&[pod("a", "x")]);
    before[0].record.terminal = Some("Succeeded".into());
    let plan = fleet(&admitted(&[pod("a", "y")]), &before);
    assert_eq!(lines(&plan), ["apply default/a: recreated: spec.containers[0].image changed"]);
}

#[test]
fn an_unrelated_object_touches_no_pod() {
    let before = running(&[pod("a", "x")]);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    let far = json!({"apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset", "metadata": {"name": "z"},
        "spec": {"selector": {"matchLabels": {"app": "other"}}, "env": [{"name": "A", "value": "1"}]}});
    assert_eq!(lines(&fleet(&admitted(&[map, far, pod("a", "x")]), &before)), ["unchanged default/a"]);
}

#[test]
fn the_cause_of_a_change_by_a_preset_is_told() {
    let preset = json!({"apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset", "metadata": {"name": "z"},
        "spec": {"selector": {}, "env": [{"name": "A", "value": "1"}]}});
    let plan = fleet(&admitted(&[pod("a", "x"), preset]), &running(&[pod("a", "x")]));
    assert_eq!(
        lines(&plan),
        [
            "apply default/a: recreated: spec.containers[0].env[A] (PodPreset z), spec.initContainers[0].env[A] (PodPreset z), \
          spec.initContainers[1].env[A] (PodPreset z) changed"
        ]
    );
}

#[test]
fn a_converged_pod_has_no_next_steps() {
    let admitted = admitted(&[pod("a", "x")]);
    let observed = &converged(&admitted, at(0))[0];
    let target = admitted.pods.values().next().unwrap();
    let plan = podwright::plan::pod(&podwright::plan::PodInput {
        key: &target.key,
        target: podwright::plan::Target::Run { pod: target, revision: "r", reason: &Reason::Unchanged },
        observed: Some(observed),
        data: Some(&admitted.data),
        memory: &podwright::model::PodMemory::default(),
        node: &super::world::node(),
        instance: "x",
        now: at(5),
    });
    assert_eq!(plan, podwright::model::PodPlan::default());
}
