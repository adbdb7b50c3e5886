//! What becomes of pods when the machine, or what they ask of it, is another one than before.

use std::collections::BTreeSet;
use std::sync::Arc;

use podwright::admit::admit_on;
use podwright::model::{
    Admitted, AdmittedPod, ContainerState, FleetAction, NodeInfo, ObservedPod, Outcome, Reason, Sandbox, Verb,
};
use podwright::plan::{Act, Why, converged, fleet};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::world::{World, at};
use crate::admit::placement::{edge, pod, taint, terms};
use crate::admit::without_tokens::{desired, pod_of};

/// The machines that a pod may meet.
fn machine(name: &str) -> NodeInfo {
    let other = |label: &str, value: &str| {
        let mut node = edge();
        node.labels.insert(label.to_owned(), value.to_owned());
        node
    };
    match name {
        "edge-1" => edge(),
        "hdd" => other("disktype", "hdd"),
        "tainted" => NodeInfo { taints: vec![taint("a", None, "NoSchedule")], ..edge() },
        "out" => NodeInfo { taints: vec![taint("a", None, "NoExecute")], ..edge() },
        "out fleet" => NodeInfo { fleet: true, ..machine("out") },
        "edge-2" => NodeInfo { name: "edge-2".into(), ..edge() },
        "hdd fleet" => NodeInfo { fleet: true, ..other("disktype", "hdd") },
        "edge-1 fleet" => NodeInfo { fleet: true, ..edge() },
        other => panic!("{other}"),
    }
}

fn on(pod: &Value, node: &str) -> Admitted {
    admit_on(&desired(std::slice::from_ref(pod)), Some(&machine(node))).unwrap()
}

/// Each action as `verb: fields with causes`, and what is left alone.
fn lines(head: &Admitted, running: &[ObservedPod]) -> Vec<String> {
    let plan = fleet(head, running);
    let action = |action: &FleetAction| {
        let changes = action.changes().iter().map(|change| match change.cause.of_node() {
            Some(node) => format!(" {} ({node})", change.field),
            None => format!(" {}", change.field),
        });
        format!("{}:{}", action.verb().as_str(), changes.collect::<Vec<_>>().join(","))
    };
    let rest = [(&plan.unchanged, "unchanged"), (&plan.elsewhere, "not for this machine")];
    let rest = rest.iter().flat_map(|(pods, word)| pods.iter().map(|_| (*word).to_owned()));
    plan.actions.iter().map(action).chain(rest).collect()
}

fn named(name: &str, mut spec: Value) -> Value {
    spec["nodeName"] = json!(name);
    spec
}

/// The pod and its machine before, both now, and what happens.
type Row = (Value, &'static str, Value, &'static str, &'static str);

fn ssd() -> Value {
    json!({"nodeSelector": {"disktype": "ssd"}})
}

fn with(mut spec: Value, field: &str, value: Value) -> Value {
    spec[field] = value;
    spec
}

#[rustfmt::skip]
fn of_one_that_runs() -> Vec<Row> {
    let (plain, later) = (json!({}), with(ssd(), "activeDeadlineSeconds", json!(9)));
    let (hdd, host) = (json!({"nodeSelector": {"disktype": "hdd"}}), with(ssd(), "hostname", json!("h")));
    let deadline = "update in place: spec.activeDeadlineSeconds";
    let out = "recreate: spec.tolerations (node taints)";
    let tolerating = json!({"tolerations": [{"operator": "Exists", "effect": "NoExecute"}]});
    let for_a_time = with(tolerating.clone(), "tolerations", json!([{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]));
    vec![
        // It runs on whatever its machine became.
        (ssd(), "edge-1", ssd(), "edge-1", "unchanged"),
        (ssd(), "edge-1", ssd(), "hdd", "unchanged"),
        (ssd(), "edge-1", ssd(), "hdd fleet", "unchanged"),
        (ssd(), "edge-1", ssd(), "tainted", "unchanged"),
        (named("edge-1", ssd()), "edge-1", named("edge-1", ssd()), "hdd", "unchanged"),
        (plain.clone(), "edge-1", plain.clone(), "edge-2", "unchanged"),
        // Its successor is placed anew.
        (ssd(), "edge-1", host.clone(), "hdd", "recreate: spec.hostname"),
        (ssd(), "edge-1", host, "hdd fleet", "delete: spec.hostname"),
        (ssd(), "edge-1", hdd.clone(), "edge-1", "recreate: spec.nodeSelector[disktype]"),
        (ssd(), "edge-1", hdd, "edge-1 fleet", "delete: spec.nodeSelector[disktype]"),
        // A change in place leaves it where it is.
        (ssd(), "edge-1", later.clone(), "hdd", deadline),
        (ssd(), "edge-1", later, "hdd fleet", deadline),
        // Another machine's by its name.
        (plain.clone(), "edge-1", named("edge-2", plain.clone()), "edge-1", "delete: spec.nodeName"),
        // A taint that is for those that run, too.
        (plain.clone(), "edge-1", plain.clone(), "out", out),
        (named("edge-1", plain.clone()), "edge-1", named("edge-1", plain.clone()), "out", out),
        (plain.clone(), "edge-1", plain.clone(), "out fleet", "delete: spec.tolerations (node taints)"),
        (plain.clone(), "edge-1", json!({"activeDeadlineSeconds": 9}), "out", out),
        (tolerating.clone(), "edge-1", tolerating.clone(), "out", "unchanged"),
        (for_a_time.clone(), "edge-1", for_a_time, "out", "unchanged"),
        (plain.clone(), "edge-1", tolerating.clone(), "out", "update in place: spec.tolerations"),
        (tolerating, "edge-1", plain.clone(), "out", "recreate: spec.tolerations"),
        // A machine that is called otherwise after a boot has not lost its pods.
        (named("edge-1", plain.clone()), "edge-1", named("edge-1", plain), "edge-2", "unchanged"),
    ]
}

#[rustfmt::skip]
fn of_another_machines() -> Vec<Row> {
    let away = || named("edge-2", json!({}));
    let labels = "create: spec.nodeSelector[disktype] (node labels)";
    vec![
        (away(), "edge-1", away(), "edge-1", "not for this machine"),
        (away(), "edge-1", with(away(), "hostname", json!("h")), "edge-1", "not for this machine"),
        (away(), "edge-1", away(), "edge-2", "create: spec.nodeName (node name)"),
        (away(), "edge-1", named("edge-1", json!({})), "edge-1", "create: spec.nodeName"),
        (away(), "edge-1", json!({"hostname": "h"}), "edge-1", "create: spec.nodeName"),
        (named("edge-2", ssd()), "edge-1", ssd(), "hdd", "create: spec.nodeName"),
        (ssd(), "hdd fleet", ssd(), "edge-1", labels),
        (ssd(), "hdd fleet", ssd(), "hdd fleet", "not for this machine"),
        (ssd(), "hdd fleet", ssd(), "hdd", labels),
    ]
}

#[rustfmt::skip]
fn of_one_that_waits_or_failed() -> Vec<Row> {
    let labels = "recreate: spec.nodeSelector[disktype] (node labels)";
    let failed = || named("edge-1", ssd());
    let other = || with(ssd(), "containers", json!([{"name": "c", "image": "i:2"}]));
    let tolerating = json!({"tolerations": [{"operator": "Exists"}]});
    vec![
        (ssd(), "hdd", ssd(), "hdd", "unchanged"),
        (ssd(), "hdd", ssd(), "edge-1", "create: spec.nodeSelector[disktype] (node labels)"),
        (ssd(), "hdd", ssd(), "tainted", "update in place: spec.nodeSelector[disktype] (node labels)"),
        (ssd(), "hdd", ssd(), "hdd fleet", "delete: spec.nodeSelector[disktype] (node labels)"),
        (json!({}), "tainted", json!({}), "edge-1", "create: spec.tolerations (node taints)"),
        (json!({}), "tainted", tolerating, "tainted", "create: spec.tolerations"),
        (ssd(), "hdd", json!({}), "hdd", "recreate: spec.nodeSelector[disktype]"),
        (ssd(), "hdd", named("edge-2", ssd()), "hdd", "delete: spec.nodeName"),
        (ssd(), "hdd", other(), "hdd", "update in place: spec.containers[0].image"),
        (ssd(), "hdd", other(), "edge-1",
            "create: spec.containers[0].image, spec.nodeSelector[disktype] (node labels)"),
        (ssd(), "hdd", with(ssd(), "hostname", json!("h")), "edge-1", "recreate: spec.hostname"),
        (json!({}), "out", json!({}), "out", "unchanged"),
        (json!({}), "out", json!({}), "edge-1", "create: spec.tolerations (node taints)"),
        (named("edge-1", json!({})), "out", named("edge-1", json!({})), "out", "unchanged"),
        (named("edge-1", json!({})), "out", named("edge-1", json!({})), "edge-1", "recreate: spec.tolerations (node taints)"),
        // One that failed makes way for a new one.
        (failed(), "hdd", failed(), "hdd", "unchanged"),
        (failed(), "hdd", failed(), "edge-1", labels),
        (failed(), "hdd", failed(), "edge-2", "delete: spec.nodeName (node name)"),
        (failed(), "hdd", ssd(), "hdd", "recreate: spec.nodeName"),
        (failed(), "hdd", named("edge-1", json!({})), "hdd", "recreate: spec.nodeSelector[disktype]"),
        (failed(), "hdd", with(failed(), "activeDeadlineSeconds", json!(9)), "hdd",
            "update in place: spec.activeDeadlineSeconds"),
    ]
}

#[test]
fn each_row_of_a_pod_that_meets_another_machine() {
    let rows = [of_one_that_runs(), of_another_machines(), of_one_that_waits_or_failed()].concat();
    for (before, old, after, new, expected) in rows {
        let what = format!("{before} on {old} -> {after} on {new}");
        let running = converged(&on(&pod(before), old), at(0));
        assert_eq!(lines(&on(&pod(after), new), &running), [expected], "{what}");
    }
}

#[test]
fn each_action_of_a_fleet_has_a_row_with_each_reason_that_it_can_have() {
    let rows = [of_one_that_runs(), of_another_machines(), of_one_that_waits_or_failed()].concat();
    let mut found = BTreeSet::new();
    let mut note = |head: &Admitted, running: &[ObservedPod]| {
        let actions = fleet(head, running).actions;
        found.extend(actions.iter().map(|action| (Act::of_fleet(action), Why::of(action.reason()))));
    };
    for (before, old, after, new, _) in rows {
        note(&on(&pod(after), new), &converged(&on(&pod(before), old), at(0)));
    }
    // One that comes and one that goes with its manifest.
    let there = on(&pod(json!({})), "edge-1");
    note(&there, &[]);
    note(&admit_on(&desired(&[]), Some(&edge())).unwrap(), &converged(&there, at(0)));
    let of_fleets = [Act::Apply, Act::Remove];
    let possible = of_fleets.iter().flat_map(|act| act.reasons().into_iter().map(|why| (*act, why)));
    assert_eq!(found, possible.collect());
}

#[test]
fn a_pod_that_nobody_knew_comes_unless_it_is_another_machines() {
    let ssd = json!({"nodeSelector": {"disktype": "ssd"}});
    for (spec, node, expected) in [
        (ssd.clone(), "edge-1", "create:"),
        (ssd.clone(), "hdd", "create:"),
        (named("edge-1", ssd.clone()), "hdd", "create:"),
        (ssd.clone(), "hdd fleet", "not for this machine"),
        (named("edge-2", ssd), "edge-1", "not for this machine"),
    ] {
        assert_eq!(lines(&on(&pod(spec.clone()), node), &[]), [expected], "{spec} on {node}");
    }
}

#[test]
fn another_machines_pod_that_goes_from_the_manifests_is_nobodys_business() {
    let none = admit_on(&desired(&[]), Some(&edge())).unwrap();
    let away = converged(&on(&pod(json!({"nodeName": "edge-2"})), "edge-1"), at(0));
    assert_eq!(lines(&none, &away), [] as [&str; 0]);
    let waiting = converged(&on(&pod(json!({"nodeSelector": {"no": "x"}})), "edge-1"), at(0));
    assert_eq!(lines(&none, &waiting), ["delete:"]);
}

#[test]
fn removals_stay_first_and_by_name() {
    let called = |name: &str, spec: Value| {
        let mut pod = pod(spec);
        pod["metadata"]["name"] = json!(name);
        pod
    };
    let all = |objects: &[Value]| admit_on(&desired(objects), Some(&edge())).unwrap();
    let before = ["a", "b", "c", "d"].map(|name| called(name, json!({})));
    let away = || json!({"nodeName": "edge-2"});
    let after = [called("a", away()), called("c", away()), called("b", json!({"hostname": "h"}))];
    let plan = fleet(&all(&after), &converged(&all(&before), at(0)));
    let told: Vec<String> = plan.actions.iter().map(|a| format!("{} {}", a.key().name, a.reason())).collect();
    let expected = [
        "a not for this machine: spec.nodeName changed",
        "c not for this machine: spec.nodeName changed",
        "d removed from the manifests",
        "b recreated: spec.hostname changed",
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_became_of_a_placement_is_told_beside_its_field() {
    let note = |before: Value, old: &str, after: Value, new: &str| {
        let plan = fleet(&on(&pod(after), new), &converged(&on(&pod(before), old), at(0)));
        plan.actions[0].changes()[0].note.clone()
    };
    let lack = "`nodeSelector` asks for disktype=ssd, this machine has \"hdd\"";
    assert_eq!(note(ssd(), "hdd", ssd(), "edge-1"), None);
    assert_eq!(note(ssd(), "hdd", ssd(), "hdd fleet").as_deref(), Some(lack));
    let taint = "the taint a:NoSchedule of this machine is not tolerated";
    assert_eq!(note(ssd(), "hdd", ssd(), "tainted").as_deref(), Some(taint));
}

fn world(pod: &Value, node: &str) -> World {
    let admitted = on(pod, node);
    World::new(&pod_of(&admitted, "default", "p"), &admitted.data)
}

fn target(world: &mut World, pod: &Value, node: &str) -> Arc<AdmittedPod> {
    let target = pod_of(&on(pod, node), "default", "p");
    world.target = Some(Arc::clone(&target));
    target
}

#[test]
fn a_pod_that_waits_has_a_record_and_nothing_else_until_the_machine_fits() {
    let ssd = pod(json!({"nodeSelector": {"disktype": "ssd"}, "activeDeadlineSeconds": 5}));
    let mut world = world(&ssd, "hdd");
    let plan = world.settle();
    assert_eq!(world.log, ["create"]);
    let hold = &plan.holds[0];
    assert_eq!((hold.container.as_str(), hold.reason.as_str(), hold.until), ("", "Unschedulable", None));
    assert!(hold.message.starts_with("0/1 nodes are available: "), "{}", hold.message);
    assert!(plan.waiting.is_empty() && plan.wake_at.is_none(), "{plan:?}");
    let uid = world.pod.clone().unwrap().record.uid;

    // What changes in place changes its record, and it waits on.
    let mut labelled = ssd.clone();
    labelled["metadata"]["labels"] = json!({"c": "d"});
    let waiting = target(&mut world, &labelled, "hdd");
    world.settle();
    assert_eq!(world.log, ["create", "update to 2"]);
    assert_eq!(world.pod.clone().unwrap().record.realised, waiting);

    // Its deadline counts from when it is placed.
    world.now = at(60);
    target(&mut world, &ssd, "edge-1");
    world.settle();
    let running = world.pod.clone().unwrap();
    assert_eq!(running.record.uid, uid, "the same pod is placed");
    assert_eq!((running.record.created_at, running.record.placed_at), (at(0), Some(at(60))));
    assert_eq!(running.record.begun_at(), at(60));
    assert!(matches!(running.containers[0].state, ContainerState::Running { .. }), "{:?}", world.log);
    assert_eq!(running.record.realised.unplaced, None);

    // The label goes again: it runs on, whatever else changes in place.
    let mut changed = ssd.clone();
    changed["metadata"]["labels"] = json!({"a": "b"});
    target(&mut world, &changed, "hdd");
    world.settle();
    let still = world.pod.clone().unwrap();
    assert_eq!(still.containers, running.containers);
    assert_eq!((&still.record.uid, still.record.generation), (&uid, running.record.generation + 1));
    assert_eq!(still.record.realised.unplaced, None);
}

#[test]
fn a_pod_that_its_machine_does_not_take_fails_without_having_begun() {
    let ssd = pod(json!({"nodeSelector": {"disktype": "ssd"}, "nodeName": "edge-1"}));
    let mut world = world(&ssd, "hdd");
    let plan = world.settle();
    assert!(plan.holds.is_empty(), "{plan:?}");
    let failed = world.pod.clone().unwrap();
    assert_eq!(failed.record.terminal.as_deref(), Some("Failed"));
    let cause = failed.record.terminal_cause.clone().unwrap();
    assert_eq!(cause.reason, "NodeAffinity");
    let expected = "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    assert_eq!(cause.message, expected);
    assert_eq!((failed.sandbox, failed.containers), (Sandbox::Absent, vec![]));

    // With the label a new one takes its place.
    let uid = failed.record.uid;
    world.now = at(5);
    target(&mut world, &ssd, "edge-1");
    world.settle();
    let running = world.pod.unwrap();
    assert_ne!(running.record.uid, uid);
    assert_eq!(running.record.terminal, None);
    assert_eq!(running.containers.len(), 1);
}

#[test]
fn nothing_is_made_of_another_machines_pod() {
    let mut world = world(&pod(json!({"nodeName": "edge-2"})), "edge-1");
    assert_eq!(world.settle(), podwright::model::PodPlan::default());
    assert!(world.log.is_empty());
}

#[test]
fn a_pod_that_is_going_and_is_another_machines_now_does_not_come_again() {
    let mut running = converged(&on(&pod(json!({})), "edge-1"), at(0));
    let deletion = podwright::model::Deletion { requested_at: at(0), grace_seconds: 30, reason: "x".into() };
    running[0].record.deletion = Some(deletion);
    assert_eq!(lines(&on(&pod(json!({"hostname": "h"})), "edge-1"), &running), ["create:"]);
    let ssd = json!({"nodeSelector": {"disktype": "ssd"}});
    let mut selecting = converged(&on(&pod(ssd.clone()), "edge-1"), at(0));
    selecting[0].record.deletion = running[0].record.deletion.clone();
    let expected = "delete: spec.nodeSelector[disktype] (node labels)";
    assert_eq!(lines(&on(&pod(ssd), "hdd fleet"), &selecting), [expected]);
}

#[test]
fn reasons_are_told_in_words() {
    let change = |verb| {
        let before = converged(&on(&pod(json!({"nodeSelector": {"disktype": "ssd"}})), "hdd"), at(0));
        let mut change = fleet(&on(&pod(json!({"nodeSelector": {"disktype": "ssd"}})), "edge-1"), &before).actions[0]
            .changes()[0]
            .clone();
        change.effect = verb;
        vec![change]
    };
    let placed = Reason::Placed(change(Verb::Create)).to_string();
    assert_eq!(placed, "placed on this machine: spec.nodeSelector[disktype] (node labels)");
    let gone = Reason::NotForThisMachine(change(Verb::Delete)).to_string();
    assert_eq!(gone, "not for this machine: spec.nodeSelector[disktype] (node labels) changed");
}

const SPECS: [fn() -> Value; 8] = [
    || json!({}),
    || json!({"nodeSelector": {"disktype": "ssd"}}),
    || json!({"nodeSelector": {"disktype": "hdd"}}),
    || json!({"nodeSelector": {"disktype": "hdd"}, "nodeName": "edge-1"}),
    || json!({"nodeName": "edge-1"}),
    || json!({"nodeName": "edge-2"}),
    || json!({"tolerations": [{"operator": "Exists"}], "hostname": "h"}),
    || terms(json!([{"matchExpressions": [{"key": "disktype", "operator": "In", "values": ["ssd"]}]}])),
];
const MACHINES: [&str; 6] = ["edge-1", "hdd", "tainted", "edge-2", "hdd fleet", "edge-1 fleet"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever pods and machines follow each other: what a plan says is done comes to an end, and then nothing is left to
    /// plan; what runs is placed, and what is another machine's is not here.
    #[test]
    fn after_another_machine_nothing_is_left_to_plan(steps in prop::collection::vec((0..8_usize, 0..6_usize), 1..5)) {
        let (first, node) = steps[0];
        let mut world = world(&pod(SPECS[first]()), MACHINES[node]);
        for (spec, node) in steps {
            let head = on(&pod(SPECS[spec]()), MACHINES[node]);
            let observed: Vec<ObservedPod> = world.pod.clone().into_iter().collect();
            let plan = fleet(&head, &observed);
            let goes = plan.actions.iter().any(|action| matches!(action, FleetAction::Remove { .. }));
            let pod = pod_of(&head, "default", "p");
            world.target = (!goes && plan.elsewhere.is_empty()).then(|| Arc::clone(&pod));
            world.settle();
            world.now = world.now.checked_add(jiff::SignedDuration::from_secs(1)).unwrap();
            let observed: Vec<ObservedPod> = world.pod.clone().into_iter().collect();
            let left = fleet(&head, &observed);
            prop_assert!(left.actions.is_empty(), "{:?}", left);
            let Some(pod) = &world.pod else {
                prop_assert!(pod.is_elsewhere());
                continue;
            };
            let record = &pod.record;
            prop_assert!(!record.realised.is_elsewhere());
            let is_placed = record.realised.unplaced.is_none();
            prop_assert_eq!(is_placed, !pod.containers.is_empty());
            let failed = record.realised.unplaced.as_ref().is_some_and(|u| u.outcome == Outcome::Failed);
            prop_assert_eq!(failed, record.terminal.is_some());
        }
    }
}
