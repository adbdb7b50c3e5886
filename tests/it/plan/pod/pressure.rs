//! A machine that is low on something: thresholds, conditions, who is evicted, which pods are not begun, and who comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use podwright::model::{
    EvictionSettings, EvictionSignal, EvictionThreshold, NodePressure, NodePressures, ObservedPod, PressureState,
    SignalLevel, SignalLevels, Starved, TerminalCause, ThresholdValue, UnderPressure,
};
use podwright::plan::{
    Met, PodUse, PressureWatch, is_evictable, is_in_vain, is_out_of_reach, low_cause, thresholds_met, victim,
};
use serde_json::{Value, json};

use super::super::world::{World, at};
use super::{Row, Table, check, settled};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn levels(of: &[(EvictionSignal, u64, u64)]) -> SignalLevels {
    of.iter().map(|(signal, available, capacity)| (*signal, SignalLevel::new(*available, *capacity))).collect()
}

fn signals(levels: &SignalLevels) -> Vec<EvictionSignal> {
    thresholds_met(&EvictionSettings::of_the_kubelet(), levels).into_iter().map(|met| met.signal).collect()
}

#[test]
fn a_threshold_is_met_below_it_and_memory_comes_first() {
    use EvictionSignal::{ImagefsAvailable, MemoryAvailable, NodefsAvailable, NodefsInodesFree, PidAvailable};
    for (of, expected) in [
        (vec![], vec![]),
        (vec![(MemoryAvailable, 100 * MIB, GIB)], vec![]),
        (vec![(MemoryAvailable, 100 * MIB - 1, GIB)], vec![MemoryAvailable]),
        (vec![(NodefsAvailable, 10, 100), (ImagefsAvailable, 15, 100)], vec![]),
        (vec![(NodefsAvailable, 14, 100), (ImagefsAvailable, 14, 100)], vec![ImagefsAvailable]),
        (vec![(NodefsInodesFree, 4, 100), (MemoryAvailable, 0, GIB)], vec![MemoryAvailable, NodefsInodesFree]),
        // The kubelet has no threshold for them unless it is told one, and none of a file system without a bound.
        (vec![(PidAvailable, 0, 100), (NodefsAvailable, 0, 0)], vec![]),
    ] {
        assert_eq!(signals(&levels(&of)), expected, "{of:?}");
    }
}

#[test]
fn a_condition_stays_for_the_time_of_transition() {
    let settings = EvictionSettings { transition: Duration::from_secs(300), ..EvictionSettings::of_the_kubelet() };
    let full = thresholds_met(&settings, &levels(&[(EvictionSignal::NodefsAvailable, 1, 100)]));
    let holds = |watch: &PressureWatch| watch.pressures.holding().collect::<Vec<_>>();
    let since = |watch: &PressureWatch| watch.pressures.0.get(&NodePressure::Disk).map(|state| state.since);
    let (mut watch, none) = (PressureWatch::default(), Vec::new());
    assert_eq!(since(&watch), None, "nobody has looked");
    // Second, whether it is full, whether the condition holds then and since when.
    for (second, is_full, expected, from) in [
        (0, false, false, 0),
        (10, true, true, 10),
        (20, true, true, 10),
        (30, false, true, 10),
        (319, false, true, 10),
        (320, false, false, 320),
        (330, false, false, 320),
        (340, true, true, 340),
        // The clock was set back.
        (0, false, true, 340),
        (299, false, true, 340),
        (300, false, false, 300),
    ] {
        watch = watch.after(if is_full { &full } else { &none }, &settings, at(second));
        let expected = if expected { vec![NodePressure::Disk] } else { vec![] };
        assert_eq!((holds(&watch), since(&watch)), (expected, Some(at(from))), "at {second}");
    }
}

#[test]
fn what_a_pod_went_for_holds_for_an_agent_that_comes_later() {
    let went = |message: &str, pressure, second| {
        let mut world = settled(json!({"containers": [{"name": "c", "image": "i:1"}]}), &[]);
        world.ended("c", 137, second);
        let record = &mut world.pod.as_mut().unwrap().record;
        record.terminal = Some("Failed".into());
        record.terminal_cause = Some(TerminalCause { pressure, ..TerminalCause::new("Evicted", message) });
        world.pod.unwrap()
    };
    let settings = EvictionSettings::of_the_kubelet();
    let holds = |pods: &[ObservedPod], second| -> Vec<NodePressure> {
        let watch = PressureWatch::recalled(pods, at(second));
        watch.after(&[], &settings, at(second)).pressures.holding().collect()
    };
    let evicted = Some(UnderPressure::Evicted);
    let [memory, disk] = ["memory", "inodes"].map(|what| format!("The node was low on resource: {what}. More. "));
    let pods = [went(&memory, evicted, 50), went(&disk, evicted, 100), went(&disk, evicted, 70)];
    assert_eq!(holds(&pods, 200), [NodePressure::Memory, NodePressure::Disk]);
    assert_eq!(holds(&pods, 351), [NodePressure::Disk]);
    assert_eq!(holds(&pods, 400), []);
    assert_eq!(holds(&pods, 60), [NodePressure::Memory], "the clock was set back");
    assert_eq!(holds(&[went(&memory, None, 50), went("Other. ", evicted, 50)], 60), []);
    let mut going = went(&memory, evicted, 50);
    going.record.terminal = None;
    assert_eq!(holds(&[going], 900), [NodePressure::Memory], "it is not over yet");
}

#[test]
fn a_machine_at_ease_is_looked_at_less_often() {
    let settings = EvictionSettings::of_the_kubelet();
    let wait = |of: &[(EvictionSignal, u64, u64)], watch: &PressureWatch| {
        watch.next_look(&settings, &levels(of), at(0)).duration_since(at(0)).as_secs()
    };
    let easy = PressureWatch::default();
    assert_eq!(wait(&[], &easy), 30);
    assert_eq!(wait(&[(EvictionSignal::NodefsAvailable, 20, 100)], &easy), 30);
    assert_eq!(wait(&[(EvictionSignal::NodefsAvailable, 19, 100)], &easy), 10);
    assert_eq!(wait(&[(EvictionSignal::MemoryAvailable, 2 * GIB, 16 * GIB)], &easy), 30);
    assert_eq!(wait(&[(EvictionSignal::MemoryAvailable, GIB, 16 * GIB)], &easy), 10);
    let full = thresholds_met(&settings, &levels(&[(EvictionSignal::NodefsAvailable, 1, 100)]));
    assert_eq!(wait(&[(EvictionSignal::NodefsAvailable, 90, 100)], &easy.after(&full, &settings, at(0))), 10);
}

/// A pod that runs, with this in its spec; and what it takes.
fn pod(name: &str, own: &Value) -> ObservedPod {
    let mut spec = json!({"containers": [{"name": "c", "image": "i:1"}]});
    spec.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    let mut pod = settled(spec, &[]).pod.unwrap();
    pod.record.key.name = name.to_owned();
    pod
}

fn asks(resource: &str, amount: &str) -> Value {
    json!({"containers": [{"name": "c", "image": "i:1", "resources": {"requests": {resource: amount}}}]})
}

fn takes(total: u64) -> PodUse {
    PodUse { total: Some(total), containers: BTreeMap::from([("c".to_owned(), total)]), is_part: false }
}

/// The order in which these pods go, by name.
fn order(starved: Starved, pods: &[(ObservedPod, PodUse)]) -> String {
    let mut left: Vec<(&ObservedPod, &PodUse)> = pods.iter().map(|(pod, used)| (pod, used)).collect();
    let mut gone = Vec::new();
    while let Some(index) = victim(starved, &left) {
        gone.push(left.remove(index).0.record.key.name.clone());
    }
    gone.join(" ")
}

#[test]
fn who_goes_first_is_the_kubelets_order() {
    use Starved::{EphemeralStorage, Inodes, Memory, Pids};
    let plain = |name: &str| pod(name, &json!({}));
    let of = |name: &str, priority: i32| pod(name, &json!({"priority": priority}));
    let class = |name: &str| pod(name, &json!({"priorityClassName": "system-cluster-critical"}));
    let memory = |name: &str| pod(name, &asks("memory", "100Mi"));
    let disk = |name: &str| pod(name, &asks("ephemeral-storage", "100Mi"));
    for (starved, pods, expected) in [
        (Memory, vec![], ""),
        (Memory, vec![(plain("a"), takes(5)), (plain("b"), takes(7))], "b a"),
        // Above what they ask for come first, then by how much.
        (
            Memory,
            vec![(memory("a"), takes(99 * MIB)), (plain("b"), takes(1)), (memory("c"), takes(101 * MIB))],
            "c b a",
        ),
        (Memory, vec![(memory("a"), takes(100 * MIB)), (memory("b"), takes(10 * MIB))], "a b"),
        // The priority counts before the amount, but not before who is above.
        (Memory, vec![(of("a", 10), takes(9)), (of("b", -10), takes(1)), (plain("c"), takes(5))], "b c a"),
        (Memory, vec![(memory("a"), takes(1)), (of("b", 1000), takes(1))], "b a"),
        (Memory, vec![(class("a"), takes(9)), (of("b", 1000), takes(1))], "b a"),
        // Of whom nothing is known.
        (Memory, vec![(plain("a"), takes(5)), (of("b", 1000), PodUse::default())], "b a"),
        (Memory, vec![(plain("b"), takes(5)), (plain("a"), takes(5))], "a b"),
        (
            EphemeralStorage,
            vec![(disk("a"), takes(99 * MIB)), (plain("b"), takes(1)), (disk("c"), takes(GIB))],
            "c b a",
        ),
        (EphemeralStorage, vec![(memory("a"), takes(MIB)), (plain("b"), takes(2 * MIB))], "b a"),
        (Inodes, vec![(plain("a"), takes(10)), (plain("b"), takes(1000)), (of("c", 1), takes(5000))], "b a c"),
        // No request counts for processes.
        (Pids, vec![(plain("a"), takes(3)), (plain("b"), takes(9)), (of("c", 1), takes(99))], "b a c"),
        (Pids, vec![(plain("a"), takes(3)), (plain("b"), PodUse::default())], "b a"),
    ] {
        assert_eq!(order(starved, &pods), expected, "{starved:?}");
    }
}

#[test]
fn nobody_goes_where_all_together_have_less_on_the_disk_than_is_missing() {
    let settings = EvictionSettings::of_the_kubelet();
    let pod = pod("a", &json!({}));
    let in_vain = |starved, of: &[(EvictionSignal, u64, u64)], uses: &[PodUse]| {
        let pods: Vec<(&ObservedPod, &PodUse)> = uses.iter().map(|used| (&pod, used)).collect();
        is_in_vain(starved, &thresholds_met(&settings, &levels(of)), &pods)
    };
    // 9 are missing.
    let full = [(EvictionSignal::NodefsAvailable, 1, 100)];
    let part = PodUse { is_part: true, ..takes(1) };
    for (uses, expected) in [
        (vec![takes(4), takes(4)], true),
        (vec![takes(4), takes(5)], false),
        (vec![takes(4), PodUse::default()], false),
        (vec![takes(4), part], false),
    ] {
        assert_eq!(in_vain(Starved::EphemeralStorage, &full, &uses), expected, "{uses:?}");
    }
    // Not less than of the one of which least is missing, and of memory nobody knows.
    let both = [(EvictionSignal::NodefsAvailable, 9, 100), (EvictionSignal::ImagefsAvailable, 1, 100)];
    assert!(!in_vain(Starved::EphemeralStorage, &both, &[takes(1)]));
    assert!(!in_vain(Starved::Memory, &[(EvictionSignal::MemoryAvailable, 0, GIB)], &[takes(1)]));
}

#[test]
fn images_on_a_file_system_of_their_own_are_no_business_of_pods() {
    let settings = EvictionSettings::of_the_kubelet();
    let apart = |of: &[(EvictionSignal, u64, u64)]| {
        let mut levels = levels(of);
        levels.get_mut(&EvictionSignal::ImagefsAvailable).unwrap().is_apart = true;
        thresholds_met(&settings, &levels)
    };
    let images = apart(&[(EvictionSignal::ImagefsAvailable, 1, 100)]);
    assert!(is_out_of_reach(Starved::EphemeralStorage, &images));
    // Where both are low it is about the pods' own.
    let both = apart(&[(EvictionSignal::ImagefsAvailable, 14, 100), (EvictionSignal::NodefsAvailable, 1, 100)]);
    assert!(!is_out_of_reach(Starved::EphemeralStorage, &both));
    let pod = pod("a", &json!({}));
    assert!(is_in_vain(Starved::EphemeralStorage, &both, &[(&pod, &takes(8))]));
    assert!(!is_in_vain(Starved::EphemeralStorage, &both, &[(&pod, &takes(9))]));
    let images = thresholds_met(&settings, &levels(&[(EvictionSignal::ImagefsAvailable, 1, 100)]));
    assert!(!is_out_of_reach(Starved::EphemeralStorage, &images), "on one with the pods");
}

#[test]
fn what_runs_and_is_not_the_systems_own_may_be_evicted() {
    assert!(is_evictable(&pod("a", &json!({}))));
    assert!(is_evictable(&pod("a", &json!({"priority": 1_999_999_999}))));
    for own in [json!({"priority": 2_000_000_000}), json!({"priorityClassName": "system-node-critical"})] {
        assert!(!is_evictable(&pod("a", &own)), "{own}");
    }
    let cases: [fn(&mut ObservedPod); 3] = [
        |pod| pod.record.terminal = Some("Succeeded".into()),
        |pod| pod.record.terminal_cause = Some(TerminalCause::new("Evicted", "")),
        |pod| {
            pod.sandbox = podwright::model::Sandbox::Absent;
            pod.containers.clear();
        },
    ];
    for (index, case) in cases.iter().enumerate() {
        let mut pod = pod("a", &json!({}));
        case(&mut pod);
        assert!(!is_evictable(&pod), "{index}");
    }
}

#[test]
fn an_eviction_is_told_in_the_kubelets_words() {
    let settings = EvictionSettings::of_the_kubelet();
    let met = |of: &[(EvictionSignal, u64, u64)]| thresholds_met(&settings, &levels(of));
    let low = met(&[(EvictionSignal::MemoryAvailable, 50 * MIB, GIB)]);
    let says = |starved, met: &[Met], pod: &ObservedPod, used: &PodUse| low_cause(starved, met, pod, used).message;
    let cause = low_cause(Starved::Memory, &low, &pod("a", &asks("memory", "100Mi")), &takes(200 * MIB));
    assert_eq!((cause.reason.as_str(), cause.pressure), ("Evicted", Some(UnderPressure::Evicted)));
    let start = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. ";
    let container = "Container c was using 200Mi, request is 100Mi, has larger consumption of memory. ";
    assert_eq!(cause.message, format!("{start}{container}"));
    // One within what it asks for is not named; one that asks for nothing is.
    assert_eq!(says(Starved::Memory, &low, &pod("a", &asks("memory", "100Mi")), &takes(100 * MIB)), start);
    let nothing = "Container c was using 1500, request is 0, has larger consumption of memory. ";
    assert_eq!(says(Starved::Memory, &low, &pod("a", &json!({})), &takes(1500)), format!("{start}{nothing}"));
    let whole = json!({"resources": {"requests": {"memory": "1Gi"}}});
    let of_pod = "Pod a was using 1Ki, request is 1Gi, has larger consumption of memory. ";
    let used = PodUse { total: Some(1024), ..PodUse::default() };
    assert_eq!(says(Starved::Memory, &low, &pod("a", &whole), &used), format!("{start}{of_pod}"));

    let full =
        met(&[(EvictionSignal::NodefsAvailable, GIB, 20 * GIB), (EvictionSignal::ImagefsAvailable, GIB, 20 * GIB)]);
    let start = "The node was low on resource: ephemeral-storage. Threshold quantity: 2Gi, available: 1Gi. ";
    let container = "Container c was using 2Ki, request is 0, has larger consumption of ephemeral-storage. ";
    assert_eq!(
        says(Starved::EphemeralStorage, &full, &pod("a", &json!({})), &takes(2048)),
        format!("{start}{container}")
    );
    let files = met(&[(EvictionSignal::NodefsInodesFree, 40, 1000)]);
    assert_eq!(
        says(Starved::Inodes, &files, &pod("a", &json!({})), &takes(9)),
        "The node was low on resource: inodes. Threshold quantity: 50, available: 40. "
    );
}

/// The machine has these conditions, of all.
fn low(w: &mut World, holding: &[NodePressure]) {
    let state = |pressure: NodePressure| (pressure, PressureState { holds: holding.contains(&pressure), since: at(0) });
    w.node.eviction = EvictionSettings::of_the_kubelet();
    w.node.pressures = NodePressures(NodePressure::ALL.into_iter().map(state).collect());
}

/// Nothing of the pod is there yet.
fn wanted(own: &Value) -> World {
    let mut spec = json!({"containers": [{"name": "c", "image": "i:1"}]});
    spec.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    let mut world = settled(spec, &[]);
    world.nothing();
    world.log.clear();
    world
}

#[test]
fn pods_that_were_not_begun_are_not_taken_by_a_machine_that_is_low() {
    use NodePressure::{Disk, Memory, Pid};
    let tolerates = |toleration: Value| json!({"tolerations": [toleration]});
    let taint = "node.kubernetes.io/memory-pressure";
    for (holding, own, message) in [
        (vec![], json!({}), None),
        (vec![Memory], json!({}), Some("[MemoryPressure]")),
        (vec![Memory], asks("memory", "1Mi"), None),
        (vec![Memory], asks("cpu", "1m"), None),
        (vec![Memory], tolerates(json!({"operator": "Exists"})), None),
        (vec![Memory], tolerates(json!({"key": taint, "operator": "Exists", "effect": "NoSchedule"})), None),
        (vec![Memory], tolerates(json!({"key": taint})), None),
        (vec![Memory], tolerates(json!({"key": taint, "effect": "NoExecute"})), Some("[MemoryPressure]")),
        (vec![Memory], tolerates(json!({"key": taint, "value": "x"})), Some("[MemoryPressure]")),
        (vec![Disk], asks("memory", "1Mi"), Some("[DiskPressure]")),
        (vec![Disk], tolerates(json!({"operator": "Exists"})), Some("[DiskPressure]")),
        (vec![Pid], json!({}), Some("[PIDPressure]")),
        (vec![Memory, Disk], asks("memory", "1Mi"), Some("[MemoryPressure DiskPressure]")),
        (vec![Memory, Disk, Pid], json!({"priority": 2_000_000_000}), None),
    ] {
        let mut bound = own.clone();
        bound["nodeName"] = json!("edge-1");
        let mut world = wanted(&bound);
        low(&mut world, &holding);
        world.settle();
        let record = &world.pod.as_ref().unwrap().record;
        let told = record.terminal_cause.as_ref().map(|cause| (cause.message.clone(), cause.pressure));
        let expected = message.map(|names| format!("Pod was rejected: The node had condition: {names}. "));
        assert_eq!(told, expected.map(|message| (message, Some(UnderPressure::Rejected))), "{holding:?} {own}");
        let log: &[&str] = match message {
            Some(_) => &["create", "finish Failed (Evicted)"],
            None => &["create", "sandbox#0", "image i:1", "start c#0"],
        };
        assert_eq!(world.log, log, "{holding:?} {own}");
        // One that names no machine waits for the scheduler.
        let mut world = wanted(&own);
        low(&mut world, &holding);
        let holds = world.settle().holds;
        let told: Vec<(&str, &str)> = holds.iter().map(|hold| (hold.reason.as_str(), hold.message.as_str())).collect();
        let begun = ["create", "sandbox#0", "image i:1", "start c#0"];
        if message.is_some() {
            let words = "0/1 nodes are available: 1 node(s) had untolerated taint(s). preemption: 0/1 nodes are available: 1 \
                         Preemption is not helpful for scheduling.";
            assert_eq!((told, &world.log[..]), (vec![("Unschedulable", words)], &begun.map(str::to_owned)[..1]));
        }
        let record = &world.pod.as_ref().unwrap().record;
        assert_eq!((&record.terminal, &record.terminal_cause), (&None, &None), "{holding:?} {own}");
        assert_eq!(record.waits.is_some(), message.is_some(), "{holding:?} {own}");
        low(&mut world, &[]);
        world.now = at(500);
        world.settle();
        let record = &world.pod.as_ref().unwrap().record;
        assert_eq!((&record.waits, record.placed_at), (&None, message.map(|_| at(500))), "{holding:?} {own}");
        world.log.retain(|step| !step.starts_with("update"));
        assert_eq!(world.log, begun, "{holding:?} {own}");
    }
}

fn plain() -> World {
    wanted(&json!({"activeDeadlineSeconds": 100}))
}

/// On record, and nothing else, since second 100.
fn on_record(w: &mut World, holding: &[NodePressure]) {
    low(w, holding);
    let create = w.plan().steps.into_iter().next().unwrap();
    w.perform_steps(&[create]);
}

const TAINTED: &str = "hold pod Unschedulable: 0/1 nodes are available: 1 node(s) had untolerated taint(s). preemption: 0/1 nodes \
                       are available: 1 Preemption is not helpful for scheduling.";

#[rustfmt::skip]
const WAITING: &[Row] = &[
    ("low before it is on record", |w| low(w, &[NodePressure::Disk]), &["create: new in the manifests", TAINTED]),
    ("low when it is on record", |w| { on_record(w, &[]); low(w, &[NodePressure::Disk]); }, &[
        "update to 1: the machine is low on something", TAINTED,
    ]),
    ("it waits, for longer than it may run", |w| { on_record(w, &[NodePressure::Disk]); w.now = at(900); }, &[TAINTED]),
    ("no longer low: its deadline counts from then on", |w| { on_record(w, &[NodePressure::Disk]); low(w, &[]); w.now = at(900); }, &[
        "update to 1: the machine is no longer low on anything", "sandbox#0: no sandbox yet", "wake 1000", "c waits: ContainerCreating",
    ]),
    ("it names the machine meanwhile", |w| { on_record(w, &[NodePressure::Disk]); w.edit(|v| v["spec"]["nodeName"] = json!("edge-1")); }, &[
        "mark deleted 30s: recreated: spec.nodeName changed", "remove: recreated: spec.nodeName changed",
    ]),
];

pub(super) const TABLES: &[Table] = &[(plain, WAITING)];

#[test]
fn a_pod_waits_as_long_as_the_machine_is_low() {
    check(plain, WAITING);
}

#[test]
fn a_pod_that_was_begun_goes_on_while_the_machine_is_low() {
    let mut world = settled(json!({"containers": [{"name": "c", "image": "i:1"}]}), &[]);
    world.log.clear();
    low(&mut world, &[NodePressure::Disk]);
    world.settle();
    assert_eq!(world.log, [""; 0]);
    // Also after a start of the machine.
    world.sandbox(podwright::model::Sandbox::Dead { attempt: 0 });
    world.ended("c", 137, 99);
    world.settle();
    assert!(world.log.iter().any(|step| step == "sandbox#1"), "{:?}", world.log);
}

#[test]
fn a_pod_that_went_for_what_the_machine_was_low_on_comes_back_when_it_is_over() {
    let ended_with = |pressure: Option<UnderPressure>, policy: &str| {
        let mut world = settled(json!({"restartPolicy": policy, "containers": [{"name": "c", "image": "i:1"}]}), &[]);
        world.ended("c", 137, 99);
        let record = &mut world.pod.as_mut().unwrap().record;
        record.terminal = Some("Failed".into());
        record.terminal_cause = Some(TerminalCause { pressure, ..TerminalCause::new("Evicted", "") });
        low(&mut world, &[NodePressure::Memory]);
        world.settle();
        world.log.clear();
        world
    };
    let ended = |pressure: Option<UnderPressure>| ended_with(pressure, "Always");
    for (pressure, policy) in [
        (UnderPressure::Evicted, "Always"),
        (UnderPressure::Evicted, "OnFailure"),
        (UnderPressure::Rejected, "Always"),
        (UnderPressure::Rejected, "Never"),
    ] {
        let mut world = ended_with(Some(pressure), policy);
        world.settle();
        assert_eq!(world.log, [""; 0], "it still holds");
        // A new agent has not looked yet.
        world.node.pressures = NodePressures::default();
        world.settle();
        assert_eq!(world.log, [""; 0], "nobody has looked");
        low(&mut world, &[]);
        world.settle();
        assert_eq!(world.log, ["mark deleted 30s", "remove", "create", "sandbox#0", "image i:1", "start c#0"]);
        assert!(world.pod.as_ref().unwrap().record.terminal.is_none());
    }
    // What is never restarted was begun, and stays.
    let mut once = ended_with(Some(UnderPressure::Evicted), "Never");
    low(&mut once, &[]);
    once.settle();
    assert_eq!(once.log, [""; 0]);
    // One that keeps too much on the disk stays.
    let mut own = ended(None);
    low(&mut own, &[]);
    own.settle();
    assert_eq!(own.log, [""; 0]);
    // Where nobody looks any more nothing is waited for.
    let mut off = ended(Some(UnderPressure::Evicted));
    off.node.eviction.hard.clear();
    off.node.pressures = NodePressures::default();
    off.settle();
    assert!(off.pod.as_ref().unwrap().record.terminal.is_none());
}

#[test]
fn a_record_without_it_is_of_an_earlier_version() {
    let mut pod = pod("a", &json!({}));
    pod.record.terminal_cause = Some(TerminalCause::new("Evicted", "m"));
    let text = serde_json::to_value(&pod.record).unwrap();
    assert_eq!(text["terminalCause"], json!({"reason": "Evicted", "message": "m"}));
    let cause = TerminalCause { pressure: Some(UnderPressure::Rejected), ..TerminalCause::new("Evicted", "m") };
    assert_eq!(serde_json::to_value(&cause).unwrap()["pressure"], "rejected");
}

#[test]
fn a_pod_is_held_to_its_limits_on_the_disk_that_was_begun_with_them() {
    let limited =
        |name: &str| json!({"name": name, "image": "i:1", "resources": {"limits": {"ephemeral-storage": "1Mi"}}});
    let mut world = settled(json!({"containers": [limited("c"), limited("d")]}), &[]);
    assert_eq!(world.plan().limits.len(), 3, "the pod and its containers");
    // Its record is that of a version that did not.
    let mut record = serde_json::to_value(&world.pod.as_ref().unwrap().record).unwrap();
    assert_eq!(record.as_object_mut().unwrap().remove("boundsStorage"), Some(json!(true)));
    world.pod.as_mut().unwrap().record = serde_json::from_value(record).unwrap();
    assert_eq!(world.plan().limits, []);
    world.edit(|pod| pod["metadata"]["labels"]["app"] = json!("y"));
    world.settle();
    assert_eq!((world.pod.as_ref().unwrap().record.generation, world.plan().limits), (2, vec![]), "a change in place");
}

#[test]
fn a_threshold_of_ones_own_counts_like_those_of_the_kubelet() {
    let hard =
        vec![EvictionThreshold { signal: EvictionSignal::PidAvailable, value: ThresholdValue::Part(500_000_000) }];
    let settings = EvictionSettings { hard, ..EvictionSettings::default() };
    let met = thresholds_met(&settings, &levels(&[(EvictionSignal::PidAvailable, 49, 100)]));
    let pod = Arc::new(pod("a", &json!({})));
    assert_eq!(
        low_cause(Starved::Pids, &met, &pod, &takes(40)).message,
        "The node was low on resource: pids. Threshold quantity: 50, available: 49. "
    );
    assert_eq!(met.first().map(|met| met.signal.pressure()), Some(NodePressure::Pid));
}
