//! For which pods there is room, by row of what is there, what is wanted and what the machine has.

use podwright::admit::admit_on;
use podwright::model::{
    Admitted, Deletion, FleetAction, LIMIT_RANGER, LimitRangeItem, LimitType, NodeInfo, ObservedPod, PodUid, Resources,
    Taint, TerminalCause, UnderPressure, Verb,
};
use podwright::plan::{converged, fleet, holders, room, room_at_last};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::world::{World, at};
use crate::admit::placement::edge;
use crate::admit::{desired, pod_of};

/// `edge-1` with so much cpu, 1Gi of memory and three places.
fn machine(cpu: &str) -> NodeInfo {
    let all = [("cpu", cpu), ("memory", "1Gi"), ("pods", "3")];
    NodeInfo { allocatable: all.map(|(name, amount)| (name.to_owned(), amount.to_owned())).into(), ..edge() }
}

fn with(name: &str, cpu: &str, more: Value) -> Value {
    let container = json!({"name": "c", "image": "i:1", "resources": {"requests": {"cpu": cpu}}});
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}});
    pod["spec"] = json!({"containers": [container]});
    pod["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    pod
}

fn pod(name: &str, cpu: &str) -> Value {
    with(name, cpu, json!({}))
}

/// Another pod of the name is needed.
fn other(name: &str, cpu: &str) -> Value {
    with(name, cpu, json!({"hostname": "h"}))
}

fn urgent(name: &str, cpu: &str) -> Value {
    with(name, cpu, json!({"priority": 9}))
}

fn all_on(pods: &[Value], node: &NodeInfo) -> Admitted {
    admit_on(&desired(pods), Some(node)).unwrap()
}

/// These pods as they run on a machine that has room for all of them.
fn running(pods: &[Value]) -> Vec<ObservedPod> {
    let mut running = converged(&all_on(pods, &edge()), at(0));
    for pod in &mut running {
        pod.record.uid = PodUid(pod.record.key.name.clone());
    }
    running
}

fn with_room(pods: &[Value], running: &[ObservedPod], node: &NodeInfo) -> Admitted {
    let mut admitted = all_on(pods, node);
    room(&admitted, running, node, None).put_into(&mut admitted);
    admitted
}

/// Each pod by name, and why it does not run, or not with what is written.
fn told(admitted: &Admitted) -> String {
    let word = |pod: &podwright::model::AdmittedPod| match (&pod.unplaced, &pod.pending_resize) {
        (None, None) => pod.key.name.clone(),
        (Some(unplaced), _) => format!("{} {:?}", pod.key.name, unplaced.outcome),
        (None, Some(pending)) => format!("{} {}", pod.key.name, pending.reason()),
    };
    admitted.pods.values().map(|pod| word(pod)).collect::<Vec<_>>().join(", ")
}

/// What runs, what is wanted, the cpu of the machine, and what becomes of it.
type Row = (Vec<Value>, Vec<Value>, &'static str, &'static str);

#[rustfmt::skip]
fn of_those_that_come() -> Vec<Row> {
    let named = |name: &str, cpu: &str| with(name, cpu, json!({"nodeName": "edge-1"}));
    vec![
        (vec![], vec![pod("a", "1"), pod("b", "1")], "2", "a, b"),
        (vec![], vec![pod("a", "1"), pod("b", "1"), pod("c", "1")], "2", "a, b, c Pending"),
        // One that does not fit keeps out none that does.
        (vec![], vec![pod("a", "1500m"), pod("b", "1"), pod("c", "500m")], "2", "a, b Pending, c"),
        (vec![], vec![pod("a", "1"), urgent("b", "1500m"), urgent("c", "500m")], "2", "a Pending, b, c"),
        (vec![], vec![pod("a", "3"), pod("b", "2")], "2", "a Pending, b"),
        // Places are given out, too, also to those that ask for nothing.
        (vec![], vec![pod("a", "0"), pod("b", "0"), pod("c", "0"), pod("d", "0")], "2", "a, b, c, d Pending"),
        // The kubelet takes it or not, in its turn.
        (vec![], vec![named("a", "1"), pod("b", "1"), named("c", "1")], "2", "a, b, c Failed"),
        // What is placed elsewhere, or waits for another reason, takes none.
        (vec![], vec![with("a", "2", json!({"nodeName": "edge-2"})), with("b", "2", json!({"nodeSelector": {"no": "x"}})), pod("c", "2")],
            "2", "a NotForThisMachine, b Pending, c"),
    ]
}

#[rustfmt::skip]
fn beside_those_that_run() -> Vec<Row> {
    vec![
        // Who is there first stays, whatever the machine has by now.
        (vec![pod("b", "2")], vec![urgent("a", "1"), pod("b", "2")], "2", "a Pending, b"),
        (vec![pod("a", "2")], vec![pod("a", "2")], "1", "a"),
        (vec![pod("a", "1"), pod("b", "1")], vec![pod("a", "1"), pod("b", "1"), pod("c", "0")], "1", "a, b, c"),
        // One that goes takes its room until it is gone.
        (vec![pod("b", "2")], vec![pod("a", "1")], "2", "a Pending"),
        // A successor has the room of the one before, and no other one has.
        (vec![pod("b", "2")], vec![other("b", "2")], "2", "b"),
        (vec![pod("b", "2")], vec![urgent("a", "1"), other("b", "1")], "2", "a Pending, b"),
        (vec![pod("a", "1"), pod("b", "1")], vec![pod("a", "1"), other("b", "1500m")], "2", "a, b Pending"),
        // Also where more runs than there is room for, unless it asks for more.
        (vec![pod("a", "1"), pod("b", "1")], vec![pod("a", "1"), other("b", "1")], "1", "a, b"),
        (vec![pod("a", "1"), pod("b", "500m")], vec![pod("a", "1"), other("b", "600m")], "1", "a, b Pending"),
        // Other amounts.
        (vec![pod("a", "1"), pod("b", "500m")], vec![pod("a", "1"), pod("b", "1")], "2", "a, b"),
        (vec![pod("a", "1"), pod("b", "500m")], vec![pod("a", "1"), pod("b", "1500m")], "2", "a, b ResizeDeferred"),
        (vec![pod("a", "1"), pod("b", "500m")], vec![pod("a", "1"), pod("b", "3")], "2", "a, b ResizeInfeasible"),
        // What is waited for is kept free, unless it never comes.
        (vec![pod("a", "1"), pod("b", "500m")], vec![pod("a", "1"), pod("b", "1500m"), pod("c", "500m")], "2",
            "a, b ResizeDeferred, c Pending"),
        (vec![pod("a", "1"), pod("b", "500m")], vec![pod("a", "1"), pod("b", "3"), pod("c", "500m")], "2",
            "a, b ResizeInfeasible, c"),
        // But not from others that run: they are judged beside what is given out.
        (vec![pod("a", "500m"), pod("b", "500m")], vec![pod("a", "3600m"), pod("b", "1")], "4", "a ResizeDeferred, b"),
        (vec![pod("a", "500m"), pod("b", "500m")], vec![pod("a", "3600m"), pod("b", "1"), pod("c", "500m")], "4",
            "a ResizeDeferred, b, c Pending"),
        // Less is given at once, and free once it is.
        (vec![pod("a", "1"), pod("b", "1")], vec![pod("a", "1"), pod("b", "500m"), pod("c", "500m")], "2", "a, b, c Pending"),
        (vec![pod("a", "3")], vec![pod("a", "2500m")], "2", "a"),
    ]
}

#[test]
fn each_row_of_what_there_is_room_for() {
    for (before, wanted, cpu, expected) in [of_those_that_come(), beside_those_that_run()].concat() {
        let before = running(&before);
        let node = machine(cpu);
        let found = with_room(&wanted, &before, &node);
        assert_eq!(told(&found), expected, "{wanted:?}");
        // What waits is another machine's in a fleet, but for what names this one and what runs.
        let fleet = NodeInfo { fleet: true, ..node.clone() };
        let in_fleet = told(&with_room(&wanted, &before, &fleet));
        assert_eq!(in_fleet, expected.replace("Pending", "NotForThisMachine"), "{wanted:?}");
        // A machine of which nothing is told has room for all.
        let endless = told(&with_room(&wanted, &before, &edge()));
        assert!(!endless.contains("Resize") && !endless.contains("Failed"), "{endless}");
    }
}

#[test]
fn what_has_ended_takes_no_room_and_what_is_going_does() {
    let mut before = running(&[pod("b", "2")]);
    let wanted = [pod("a", "1"), pod("b", "2")];
    assert_eq!(told(&with_room(&wanted, &before, &machine("2"))), "a Pending, b");
    let deletion = Deletion { requested_at: at(0), grace_seconds: 30, reason: "x".into() };
    before[0].record.deletion = Some(deletion);
    assert_eq!(told(&with_room(&wanted, &before, &machine("2"))), "a Pending, b");
    assert_eq!(told(&with_room(&[pod("b", "1")], &before, &machine("2"))), "b", "its successor has its room");
    before[0].record.deletion = None;
    before[0].record.terminal = Some("Succeeded".into());
    assert_eq!(told(&with_room(&wanted, &before, &machine("2"))), "a, b");
    // One that comes back when the machine is no longer low on something keeps its room.
    let cause = |pressure| TerminalCause { pressure, ..TerminalCause::new("Evicted", "") };
    before[0].record.terminal_cause = Some(cause(Some(UnderPressure::Evicted)));
    assert_eq!(told(&with_room(&wanted, &before, &machine("2"))), "a Pending, b");
    before[0].record.terminal_cause = Some(cause(None));
    // A new one has to fit beside the others.
    assert_eq!(told(&with_room(&[pod("a", "1"), other("b", "2")], &before, &machine("2"))), "a, b Pending");
}

#[test]
fn what_was_let_in_before_comes_first_while_it_is_on_no_record() {
    let node = machine("1");
    let before = with_room(&[pod("b", "1")], &[], &node);
    let mut admitted = all_on(&[urgent("a", "1"), pod("b", "1")], &node);
    room(&admitted, &[] as &[ObservedPod], &node, Some(&before)).put_into(&mut admitted);
    assert_eq!(told(&admitted), "a Pending, b");
    // What had to wait before has no such right.
    let mut again = all_on(&[urgent("a", "1"), pod("b", "1"), urgent("c", "1")], &node);
    room(&again, &[] as &[ObservedPod], &node, Some(&admitted)).put_into(&mut again);
    assert_eq!(told(&again), "a Pending, b, c Pending");
}

#[test]
fn a_successor_keeps_its_place_between_two_records() {
    let node = machine("2");
    let ran = running(&[pod("a", "1"), pod("b", "1"), pod("c", "1")]);
    let judged = |pods: &[Value], before: &Admitted| {
        let mut admitted = all_on(pods, &node);
        room(&admitted, &ran[1..], &node, Some(before)).put_into(&mut admitted);
        told(&admitted)
    };
    let all = |a: Value| [a, pod("b", "1"), pod("c", "1")];
    let before = with_room(&all(other("a", "1")), &ran, &node);
    assert_eq!(told(&before), "a, b, c");
    // The old one is gone, the new one is not there yet.
    assert_eq!(judged(&all(other("a", "1")), &before), "a, b, c");
    assert_eq!(judged(&all(other("a", "500m")), &before), "a, b, c");
    assert_eq!(judged(&all(other("a", "1100m")), &before), "a Pending, b, c");
    // Nobody else has its place meanwhile, and of what it asks for no more others have some.
    let node = machine("3");
    let judged = |pods: &[Value]| {
        let mut admitted = all_on(pods, &node);
        room(&admitted, &ran[2..], &node, Some(&before)).put_into(&mut admitted);
        told(&admitted)
    };
    assert_eq!(judged(&[other("a", "1"), pod("c", "1"), urgent("d", "1500m")]), "a, c, d Pending");
    assert_eq!(judged(&[other("a", "500m"), pod("c", "1"), urgent("d", "1500m")]), "a, c, d");
}

#[test]
fn what_waits_for_what_goes_has_room_at_last() {
    let at_last = |before: &[Value], wanted: &[Value]| {
        let node = machine("2");
        let mut admitted = all_on(wanted, &node);
        let judged = room_at_last(&admitted, &running(before), &node);
        judged.put_into(&mut admitted);
        told(&admitted)
    };
    for (before, wanted, expected) in [
        // Under another name; in exchange; of one that is to have less.
        (vec![pod("old", "1500m")], vec![pod("new", "1500m")], "new"),
        (vec![pod("a", "1"), pod("b", "500m")], vec![other("a", "500m"), other("b", "1500m")], "a, b"),
        (vec![pod("a", "1500m"), pod("b", "500m")], vec![pod("a", "500m"), pod("b", "1500m")], "a, b"),
        (vec![pod("a", "1500m")], vec![pod("a", "500m"), pod("b", "1500m")], "a, b"),
        (
            vec![pod("a", "1500m")],
            vec![with("a", "1", json!({"nodeName": "edge-2"})), pod("b", "2")],
            "a NotForThisMachine, b",
        ),
        // For these there is none then, either.
        (vec![pod("a", "1500m")], vec![pod("a", "1500m"), pod("b", "1")], "a, b Pending"),
        (vec![pod("a", "1"), pod("b", "500m")], vec![pod("a", "1"), pod("b", "1500m")], "a, b ResizeDeferred"),
        (vec![pod("a", "3")], vec![pod("a", "3"), pod("b", "0")], "a, b"),
    ] {
        assert_eq!(at_last(&before, &wanted), expected, "{wanted:?}");
    }
    // What runs where it would not be placed any more has its room.
    let taint = Taint { key: "t".into(), value: None, effect: "NoSchedule".into() };
    let node = NodeInfo { taints: vec![taint], ..machine("2") };
    let wanted = [pod("a", "1500m"), with("b", "1", json!({"tolerations": [{"operator": "Exists"}]}))];
    let judged = room_at_last(&all_on(&wanted, &node), &running(&[pod("a", "1500m")]), &node);
    assert_eq!(judged.pods.keys().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn what_admission_said_of_a_pod_that_has_a_place_is_said_no_more() {
    let warnings = |wanted: &[Value], before: &[Value]| {
        let admitted = with_room(wanted, &running(before), &machine("2"));
        let told: Vec<String> = admitted.diagnostics.0.iter().map(|told| told.message.clone()).collect();
        told
    };
    let never = "the pod stays Pending: it asks for 3 of cpu, and this machine has 2 for pods";
    assert_eq!(warnings(&[pod("a", "3")], &[]), [never]);
    assert_eq!(warnings(&[pod("a", "3")], &[pod("a", "3")]), [""; 0], "it runs");
    assert_eq!(warnings(&[pod("a", "3"), pod("b", "3")], &[pod("a", "3")]), [never]);
    assert_eq!(warnings(&[pod("a", "3")], &[pod("a", "500m")]), [""; 0], "it runs, with what it has");
}

#[test]
fn nobody_looks_on_for_room_that_never_comes() {
    let is_waiting = |wanted: &[Value], before: &[Value]| {
        let node = machine("2");
        room(&all_on(wanted, &node), &running(before), &node, None).is_waiting
    };
    assert!(!is_waiting(&[pod("a", "3")], &[]));
    // It lacks something else beside that, too.
    let much = || with("z", "3", json!({"priority": -1}));
    assert!(!is_waiting(&[pod("a", "0"), pod("b", "0"), pod("c", "0"), much()], &[]));
    assert!(!is_waiting(&[pod("a", "3")], &[pod("a", "500m")]));
    assert!(is_waiting(&[pod("a", "1"), pod("b", "2")], &[]));
    assert!(is_waiting(&[pod("a", "2"), pod("b", "1")], &[pod("a", "1"), pod("b", "1")]));
}

#[test]
fn a_pod_that_failed_for_want_of_room_makes_way_for_a_new_one() {
    let node = machine("2");
    let named = with("b", "2", json!({"nodeName": "edge-1"}));
    let both = [pod("a", "2"), named.clone()];
    let before = converged(&with_room(&both, &[], &node), at(0));
    let failed = &before[1].record;
    assert_eq!(failed.terminal.as_deref(), Some("Failed"));
    assert_eq!(told(&with_room(&both, &before, &node)), "a, b Failed");
    assert!(fleet(&with_room(&both, &before, &node), &before).actions.is_empty());
    // With room it is recreated.
    let head = with_room(&[named], &before[1..], &node);
    let plan = fleet(&head, &before[1..]);
    let reasons: Vec<String> = plan.actions.iter().map(|action| action.reason().to_string()).collect();
    assert_eq!(reasons, ["recreated: spec.containers (node resources) changed"]);
}

#[test]
fn amounts_that_do_not_fit_keep_nothing_else_from_being_done() {
    let before = running(&[pod("a", "1"), pod("b", "500m")]);
    let head = with_room(&[pod("a", "1"), changed()], &before, &machine("2"));
    let plan = fleet(&head, &before);
    let [FleetAction::Apply { pod: held, .. }] = &plan.actions[..] else { panic!("{:?}", plan.actions) };
    let fields: Vec<&str> = plan.actions[0].changes().iter().map(|change| change.field.as_str()).collect();
    assert_eq!(fields, ["spec.containers[0].image"]);
    let message = "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000";
    assert_eq!(held.pending_resize.as_ref().unwrap().message, message);

    // It is told, the image is changed, and on record is nothing of the wait.
    let mut world = World::new(&pod_of(&all_on(&[pod("b", "500m")], &edge()), "default", "b"), &head.data);
    world.settle();
    let amounts = |world: &World| {
        let record = &world.pod.as_ref().unwrap().record;
        assert_eq!(record.realised.pending_resize, None);
        let spec = record.realised.effective.open().spec.unwrap();
        Resources::of(&spec.containers[0]).requests.cpu
    };
    world.target = Some(held.clone());
    let told = world.settle();
    let hold = &told.holds[0];
    assert_eq!((hold.reason.as_str(), hold.message.as_str(), hold.until), ("ResizeDeferred", message, None));
    assert_eq!(amounts(&world).as_deref(), Some("500m"));
    assert_eq!(world.pod.as_ref().unwrap().record.resized_at, None);
    assert!(world.log.iter().any(|step| step == "image i:2"), "{:?}", world.log);
    // With room it is given them, without another word.
    let whole = with_room(&[changed()], &[], &machine("2"));
    world.target = Some(pod_of(&whole, "default", "b"));
    assert!(world.settle().holds.is_empty());
    assert_eq!(amounts(&world).as_deref(), Some("1500m"));
    assert!(world.log.iter().any(|step| step == "resize c#1"), "{:?}", world.log);
}

/// `b` with another image, too.
fn changed() -> Value {
    let mut pod = pod("b", "1500m");
    pod["spec"]["containers"][0]["image"] = json!("i:2");
    pod
}

#[test]
fn what_the_machine_gave_a_pod_that_runs_it_keeps_until_it_asks_for_something_itself() {
    let giving = |cpu: &str| {
        let item = LimitRangeItem {
            default_request: [("cpu".to_owned(), cpu.to_owned())].into(),
            ..LimitRangeItem::new(LimitType::Container)
        };
        NodeInfo { limit_range: vec![item], ..edge() }
    };
    let pod = |label: &str, resources: Value| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": label}},
            "spec": {"containers": [{"name": "c", "image": "i:1", "resources": resources}]}})
    };
    let on = |pod: Value, node: &NodeInfo| pod_of(&all_on(&[pod], node), "default", "p");
    let (before, after) = (giving("500m"), giving("2"));
    let first = all_on(&[pod("x", json!({}))], &before);
    let mut world = World::new(&pod_of(&first, "default", "p"), &first.data);
    world.settle();
    let amount = |world: &World| {
        let effective = world.pod.as_ref().unwrap().record.realised.effective.open();
        let told = effective.metadata.annotations.unwrap()[LIMIT_RANGER].clone();
        assert_eq!(told, "LimitRanger plugin set: cpu request for container c");
        Resources::of(&effective.spec.unwrap().containers[0]).requests.cpu.unwrap()
    };
    assert_eq!(amount(&world), "500m");

    // Another gift is no change, and another change takes none.
    world.target = Some(on(pod("x", json!({})), &after));
    world.settle();
    assert_eq!((amount(&world), world.pod.as_ref().unwrap().record.generation), ("500m".to_owned(), 1));
    world.target = Some(on(pod("y", json!({})), &after));
    world.settle();
    assert_eq!((amount(&world), world.pod.as_ref().unwrap().record.generation), ("500m".to_owned(), 2));
    assert!(world.log.iter().all(|step| !step.starts_with("resize")), "{:?}", world.log);

    world.target = Some(on(pod("y", json!({"requests": {"cpu": "1"}})), &after));
    world.settle();
    assert_eq!(amount(&world), "1");
    assert!(world.log.iter().any(|step| step == "resize c#0"), "{:?}", world.log);
}

#[test]
fn a_pod_that_runs_is_given_no_limit_on_the_disk() {
    let item = LimitRangeItem {
        default: [("ephemeral-storage".to_owned(), "1Mi".to_owned())].into(),
        ..LimitRangeItem::new(LimitType::Container)
    };
    let giving = NodeInfo { limit_range: vec![item], ..edge() };
    let pod = |label: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": label}},
            "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
    };
    let first = all_on(&[pod("x")], &edge());
    let mut world = World::new(&pod_of(&first, "default", "p"), &first.data);
    world.settle();
    world.target = Some(pod_of(&all_on(&[pod("y")], &giving), "default", "p"));
    world.settle();
    let record = &world.pod.as_ref().unwrap().record;
    let limits = record.realised.effective.open().spec.unwrap().containers[0].resources.clone();
    assert_eq!(limits.and_then(|resources| resources.limits), None);
    assert_eq!((record.generation, world.plan().limits), (2, vec![]));
}

#[test]
fn what_the_machine_would_give_a_new_pod_makes_no_other_class_of_one_that_runs() {
    let limits = [("cpu", "1"), ("memory", "1Gi")].map(|(name, amount)| (name.to_owned(), amount.to_owned()));
    let item = LimitRangeItem { default: limits.into(), ..LimitRangeItem::new(LimitType::Container) };
    let giving = NodeInfo { limit_range: vec![item], ..edge() };
    let asking = |resources: Value| {
        let mut pod = pod("a", "100m");
        pod["spec"]["containers"][0]["resources"]["requests"] = resources;
        pod
    };
    let before = running(&[asking(json!({"cpu": "100m", "memory": "1Gi"}))]);
    // With the limits of a new one it would be Guaranteed; of memory it is given none.
    let plan = fleet(&all_on(&[asking(json!({"cpu": "1", "memory": "1Gi"}))], &giving), &before);
    assert_eq!(plan.actions.iter().map(FleetAction::verb).collect::<Vec<_>>(), [Verb::UpdateInPlace], "{plan:?}");
}

#[test]
fn holders_are_those_that_have_room_as_they_are() {
    let mut pods = running(&[pod("a", "1"), pod("b", "1")]);
    let [a, b] = ["a", "b"].map(|name| PodUid(name.into()));
    assert_eq!(holders(&pods), [(&a, 1), (&b, 1)].into());
    pods[0].record.generation = 2;
    pods[1].record.terminal = Some("Failed".into());
    assert_eq!(holders(&pods), [(&a, 2)].into());
    let waiting = with_room(&[pod("a", "2"), pod("b", "1")], &[], &machine("2"));
    assert_eq!(holders(&converged(&waiting, at(0))).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever runs and whatever comes: no more is given out than there is, what runs stays, and nothing waits that fits.
    #[test]
    fn no_more_is_given_out_than_there_is(
        sizes in prop::collection::vec((0..4_u32, 0..3_i32), 6),
        first in prop::collection::btree_set(0..6_usize, 0..6),
        second in prop::collection::btree_set(0..6_usize, 0..6),
    ) {
        let pods = |chosen: &std::collections::BTreeSet<usize>| -> Vec<Value> {
            let one = |index: &usize| {
                let (cpu, priority) = sizes[*index];
                with(&index.to_string(), &cpu.to_string(), json!({"priority": priority}))
            };
            chosen.iter().map(one).collect()
        };
        let size = |name: &str| i64::from(sizes[name.parse::<usize>().unwrap()].0);
        let node = machine("5");
        let before = with_room(&pods(&first), &[], &node);
        let ran = converged(&before, at(0));
        let runs = ran.iter().map(|pod| &pod.record).filter(|record| record.realised.unplaced.is_none());
        let runs: Vec<&str> = runs.map(|record| record.key.name.as_str()).collect();
        let after = with_room(&pods(&second), &ran, &node);
        let placed: Vec<&str> =
            after.pods.values().filter(|pod| pod.unplaced.is_none()).map(|pod| pod.key.name.as_str()).collect();
        let going = runs.iter().filter(|name| !after.pods.keys().any(|key| key.name == **name));
        let taken: Vec<&str> = placed.iter().chain(going).copied().collect();
        let cpu: i64 = taken.iter().map(|name| size(name)).sum();
        prop_assert!(cpu <= 5 && taken.len() <= 3, "{:?} of {:?}", taken, sizes);
        for key in after.pods.keys() {
            let name = key.name.as_str();
            prop_assert!(!runs.contains(&name) || placed.contains(&name), "{} had to make way", name);
            let fits = size(name) <= 5 - cpu && taken.len() < 3;
            prop_assert!(placed.contains(&name) || !fits, "{} waits in vain beside {:?}", name, taken);
        }
    }
}
