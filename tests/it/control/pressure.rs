//! A machine that is low on memory, on the disk or on processes.

use std::time::Duration;

use podwright::backend::fake::{Behaviour, Call, Fault, Verb};
use podwright::model::{
    ContainerState, DiskPart, EvictionSettings, EvictionSignal, EvictionThreshold, Kind, NodePressure, ObjectKey,
    ObservedPod, Sandbox, ThresholdValue, UnderPressure, VolumeLimit,
};
use podwright::port::{ContainerBackend, ErrorKind, PortError};
use serde_json::{Value, json};

use super::rig::{Rig, Running, eventually, id, key, pod, pod_with};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A machine with the kubelet's thresholds, and enough of everything.
fn machine(pods: &[Value]) -> Rig {
    let mut rig = Rig::new(pods);
    rig.node.eviction = EvictionSettings::of_the_kubelet();
    rig.fake.set_level(EvictionSignal::MemoryAvailable, 8 * GIB, 16 * GIB);
    disk(&rig, 50);
    rig
}

/// So many of 100 GiB are free.
fn disk(rig: &Rig, free: u64) {
    for signal in [EvictionSignal::NodefsAvailable, EvictionSignal::ImagefsAvailable] {
        rig.fake.set_level(signal, free * GIB, 100 * GIB);
    }
}

/// A pod of one container of this name.
fn of(name: &str, container: &str, own: &Value) -> Value {
    let mut container = json!({"name": container, "image": "i:1"});
    container.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    pod_with(name, json!({"terminationGracePeriodSeconds": 30, "containers": [container]}))
}

fn uses(rig: &Rig, container: &str, memory: u64) {
    rig.fake.behave(container, Behaviour { memory, ..Behaviour::default() });
}

/// The pods that are evicted or were not taken, by name.
fn gone(rig: &Rig) -> Vec<String> {
    let keys = rig.fake.keys().into_iter();
    keys.filter(|key| rig.pod(&key.name).record.terminal.is_some()).map(|key| key.name).collect()
}

/// Within so many seconds one pod goes: this one.
async fn first_gone(rig: &Rig, seconds: u64, name: &str) {
    for _ in 0..seconds {
        rig.pass(1).await;
        if !gone(rig).is_empty() {
            break;
        }
    }
    assert_eq!(gone(rig), [name]);
}

fn looks(rig: &Rig) -> usize {
    rig.fake.calls().iter().filter(|call| call.verb == Verb::SignalLevels).count()
}

fn events(agent: &Running, of: Kind) -> Vec<String> {
    let events = agent.projection.borrow().events.clone();
    let told = events.iter().filter(|event| event.object.kind == of);
    told.map(|event| format!("{} {} x{}", event.reason, event.message, event.count)).collect()
}

/// Type and status of the node's conditions, and its taints.
fn node(agent: &Running) -> (Vec<String>, Vec<String>) {
    fn pairs(list: &Value, [left, right]: [&str; 2], between: char) -> Vec<String> {
        let text = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
        let items = list.as_array().into_iter().flatten();
        items.map(|item| format!("{}{between}{}", text(item, left), text(item, right))).collect()
    }
    let node = agent.projection.borrow().node.clone().unwrap().value.clone();
    let conditions = pairs(&node["status"]["conditions"], ["type", "status"], '=');
    (conditions, pairs(&node["spec"]["taints"], ["key", "effect"], ':'))
}

/// A pod as the API serves it.
fn served(agent: &Running, name: &str) -> Value {
    let key = ObjectKey { kind: Kind::Pod, ..key(name).object() };
    (**agent.projection.borrow().objects[&key].value).clone()
}

#[tokio::test(start_paused = true)]
async fn a_machine_at_ease_is_looked_at_twice_a_minute_and_nothing_happens() {
    let rig = machine(&[pod("web", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(5).await;
    let expected = ["MemoryPressure=False", "DiskPressure=False", "PIDPressure=False", "Ready=True"];
    assert_eq!(node(&agent), (expected.map(str::to_owned).to_vec(), vec![]));
    rig.fake.forget_calls();
    rig.pass(600).await;
    assert!((19..=21).contains(&looks(&rig)), "{} looks in 600 s", looks(&rig));
    assert_eq!((rig.changes(), events(&agent, Kind::Node)), (vec![], vec![]));
    // Near a threshold it is looked at as often as by the kubelet.
    rig.fake.set_level(EvictionSignal::MemoryAvailable, 120 * MIB, 16 * GIB);
    rig.pass(30).await;
    rig.fake.forget_calls();
    rig.pass(600).await;
    assert!((59..=61).contains(&looks(&rig)), "{} looks in 600 s", looks(&rig));
    assert_eq!(rig.changes(), [""; 0]);
    // Without a threshold nobody looks.
    let rig = Rig::new(&[pod("web", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(600).await;
    assert_eq!(looks(&rig), 0);
    assert_eq!(node(&agent).0, ["Ready=True"]);
}

#[tokio::test(start_paused = true)]
async fn memory_is_made_good_by_the_pod_that_takes_most_above_what_it_asks_for() {
    let asks = json!({"resources": {"requests": {"memory": "1Gi"}}});
    let rig = machine(&[of("a", "big", &asks), of("b", "hog", &json!({})), of("c", "small", &json!({}))]);
    for (container, memory) in [("big", GIB), ("hog", 3 * GIB), ("small", MIB)] {
        uses(&rig, container, memory);
    }
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.set_level(EvictionSignal::MemoryAvailable, 50 * MIB, 16 * GIB);
    rig.pass(32).await;
    assert_eq!(gone(&rig), ["b"], "one at a time");
    rig.fake.set_level(EvictionSignal::MemoryAvailable, 3 * GIB, 16 * GIB);
    let seen = rig.pod("b");
    let cause = seen.record.terminal_cause.clone().unwrap();
    let message = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container hog was \
                   using 3Gi, request is 0, has larger consumption of memory. ";
    assert_eq!((cause.message.as_str(), cause.pressure), (message, Some(UnderPressure::Evicted)));
    assert_eq!((seen.record.terminal.as_deref(), &seen.sandbox), (Some("Failed"), &Sandbox::Absent));
    assert_eq!(seen.latest("hog").unwrap().record.stopping.clone().unwrap().grace_seconds, 2, "its own was 30");
    assert!(events(&agent, Kind::Pod).contains(&format!("Evicted {message} x1")));
    assert_eq!(
        events(&agent, Kind::Node),
        [
            "NodeHasInsufficientMemory Node edge-1 status is now: NodeHasInsufficientMemory x1",
            "EvictionThresholdMet Attempting to reclaim memory x1"
        ]
    );
    let taints = vec!["node.kubernetes.io/memory-pressure:NoSchedule".to_owned()];
    rig.pass(5).await;
    assert_eq!((node(&agent).0[0].as_str(), node(&agent).1), ("MemoryPressure=True", taints));
    let conditions = served(&agent, "b")["status"]["conditions"].as_array().unwrap().clone();
    let disrupted = conditions.iter().find(|condition| condition["type"] == "DisruptionTarget").unwrap();
    assert_eq!((&disrupted["status"], &disrupted["reason"]), (&json!("True"), &json!("TerminationByKubelet")));
    // Five minutes after it was last low the condition goes, and the pod comes back.
    let before = seen.record.uid;
    rig.pass(270).await;
    assert_eq!(gone(&rig), ["b"]);
    rig.pass(60).await;
    assert_eq!(gone(&rig), [""; 0]);
    let next = rig.pod("b");
    assert_ne!(next.record.uid, before);
    assert!(matches!(next.latest("hog").unwrap().state, ContainerState::Running { .. }));
    assert_eq!((node(&agent).0[0].as_str(), node(&agent).1), ("MemoryPressure=False", vec![]));
    assert_eq!(agent.kubelet.fleet().pressures.holding().collect::<Vec<NodePressure>>(), []);
}

#[tokio::test(start_paused = true)]
async fn one_pod_after_the_other_goes_as_long_as_it_is_not_enough_but_never_the_systems() {
    let mut critical = of("a", "hog", &json!({}));
    critical["spec"]["priority"] = 2_000_000_000.into();
    let rig = machine(&[critical, of("b", "small", &json!({})), of("c", "hog", &json!({}))]);
    for (container, memory) in [("hog", GIB), ("small", MIB)] {
        uses(&rig, container, memory);
    }
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.set_level(EvictionSignal::MemoryAvailable, 0, 16 * GIB);
    rig.pass(32).await;
    assert_eq!(gone(&rig), ["c"]);
    rig.pass(12).await;
    assert_eq!(gone(&rig), ["b", "c"]);
    rig.pass(600).await;
    assert_eq!(gone(&rig), ["b", "c"]);
    assert!(matches!(rig.pod("a").latest("hog").unwrap().state, ContainerState::Running { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_takes_long_to_end_keeps_the_others_for_a_while() {
    let rig = machine(&[of("a", "hog", &json!({})), of("b", "small", &json!({}))]);
    uses(&rig, "hog", GIB);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let refused = |call: &Call| call.verb == Verb::SignalContainer && call.subject.starts_with("hog");
    let error = || PortError::new(ErrorKind::Exhausted, "signal", "the test", "told to");
    rig.fake.on_call(move |call| refused(call).then(|| Fault::Fail(error())));
    rig.fake.set_level(EvictionSignal::MemoryAvailable, 0, 16 * GIB);
    rig.pass(50).await;
    assert!(rig.pod("a").record.terminal_cause.is_some(), "it is to go");
    assert_eq!((gone(&rig), rig.pod("b").record.terminal_cause), (vec![], None));
    rig.pass(30).await;
    assert_eq!(gone(&rig), ["b"], "half a minute is enough");
}

#[tokio::test(start_paused = true)]
async fn the_disk_is_made_good_by_images_first_and_by_what_the_evicted_kept() {
    let volume = |name: &str| {
        let mut pod = of(name, "app", &json!({}));
        pod["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
        pod
    };
    let rig = machine(&[volume("a"), volume("b")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.fill(&key("a"), "data", 2 * GIB);
    rig.fake.fill(&key("b"), "data", 20 * GIB);
    // Images are enough.
    rig.fake.set_unused_images(10 * GIB);
    disk(&rig, 9);
    rig.pass(32).await;
    assert_eq!(gone(&rig), [""; 0]);
    assert_eq!(node(&agent).0[1], "DiskPressure=True");
    // They are not any more: the one that takes most goes, and what it kept is given back before another one would.
    disk(&rig, 9);
    rig.pass(11).await;
    assert_eq!(gone(&rig), ["b"]);
    let cause = rig.pod("b").record.terminal_cause.unwrap();
    let message = "The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, available: 9Gi. ";
    assert_eq!(cause.message, message, "no container has more than it asks for");
    rig.pass(120).await;
    assert_eq!(gone(&rig), ["b"]);
    let told = events(&agent, Kind::Node);
    assert!(told.contains(&"EvictionThresholdMet Attempting to reclaim ephemeral-storage x1".to_owned()), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_no_record_is_made_good_all_the_same() {
    let rig = machine(&[of("a", "app", &json!({})), of("b", "app", &json!({}))]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.fill(&key("a"), "app", GIB);
    rig.fake.fill(&key("b"), "app", 50 * GIB);
    let error = || PortError::new(ErrorKind::Exhausted, "write", "the test", "told to");
    rig.fake.on_call(move |call| (call.verb == Verb::PutRecord).then(|| Fault::Fail(error())));
    disk(&rig, 0);
    rig.pass(120).await;
    // What is told nowhere is known to the agent that has begun it: the other one stays.
    let seen = rig.pod("b");
    assert_eq!((seen.record.terminal, seen.record.terminal_cause), (None, None));
    assert!(seen.containers.iter().all(|container| !container.is_live()));
    assert!(matches!(rig.pod("a").latest("app").unwrap().state, ContainerState::Running { .. }));
    rig.fake.heal();
    let before = seen.record.uid;
    eventually("another pod in its place", || {
        let is_live = |pod: ObservedPod| pod.latest("app").is_some_and(|container| container.is_live());
        rig.fake.pod(&key("b")).is_some_and(|pod| pod.record.uid != before && is_live(pod))
    })
    .await;
    assert_eq!(gone(&rig), [""; 0]);
}

/// A pull holds the lock of the images while it unpacks.
#[tokio::test(start_paused = true)]
async fn nobody_goes_for_the_disk_while_room_is_being_made() {
    let rig = machine(&[of("a", "app", &json!({}))]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.fill(&key("a"), "app", 20 * GIB);
    rig.fake.on_call(|call| (call.verb == Verb::Reclaim).then_some(Fault::Hang));
    disk(&rig, 9);
    rig.pass(500).await;
    assert_eq!(gone(&rig), [""; 0]);
    // Nobody waits for that without end.
    rig.pass(300).await;
    assert_eq!(gone(&rig), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn who_takes_long_to_be_looked_at_does_not_go_first() {
    // How long it takes to look at the first one, and who goes.
    let look = |seconds: Option<u64>| async move {
        let mut first = of("a", "app", &json!({}));
        first["spec"]["priority"] = 1000.into();
        let rig = machine(&[first, of("b", "app", &json!({}))]);
        let mut agent = rig.start();
        agent.done(&id(1)).await;
        for name in ["a", "b"] {
            rig.fake.fill(&key(name), "app", 20 * GIB);
        }
        let is_first = |call: &Call| call.verb == Verb::VolumeUse && call.pod == Some(key("a"));
        let fault = move || seconds.map_or(Fault::Hang, |seconds| Fault::Slow(Duration::from_secs(seconds)));
        rig.fake.on_call(move |call| is_first(call).then(fault));
        disk(&rig, 9);
        rig.pass(360).await;
        gone(&rig)
    };
    assert_eq!(look(Some(100)).await, ["b"]);
    assert_eq!(look(None).await, ["b"], "nothing was found out about it");
}

#[tokio::test(start_paused = true)]
async fn nobody_goes_for_what_was_too_little_before_all_were_looked_at() {
    // What happens while the first one is looked at, and who goes.
    let meanwhile = |change: fn(&Rig)| async move {
        let rig = machine(&[of("a", "app", &json!({})), of("b", "app", &json!({}))]);
        let mut agent = rig.start();
        agent.done(&id(1)).await;
        rig.fake.fill(&key("b"), "app", 20 * GIB);
        let is_first = |call: &Call| call.verb == Verb::VolumeUse && call.pod == Some(key("a"));
        rig.fake.on_call(move |call| is_first(call).then_some(Fault::Slow(Duration::from_secs(100))));
        disk(&rig, 9);
        rig.pass(60).await;
        assert_eq!(gone(&rig), [""; 0], "it is being looked at");
        change(&rig);
        rig.pass(100).await;
        gone(&rig)
    };
    assert_eq!(meanwhile(|_| {}).await, ["b"]);
    assert_eq!(meanwhile(|rig| disk(rig, 50)).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn memory_is_made_good_while_the_disk_is_still_being_measured() {
    let rig = machine(&[of("a", "app", &json!({})), of("b", "hog", &json!({}))]);
    uses(&rig, "hog", GIB);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.fill(&key("a"), "app", 20 * GIB);
    let is_first = |call: &Call| call.verb == Verb::VolumeUse && call.pod == Some(key("a"));
    rig.fake.on_call(move |call| is_first(call).then_some(Fault::Slow(Duration::from_secs(200))));
    disk(&rig, 9);
    rig.pass(40).await;
    rig.fake.set_level(EvictionSignal::MemoryAvailable, 50 * MIB, 16 * GIB);
    // The look at the first one takes 200 s.
    first_gone(&rig, 60, "b").await;
    assert_eq!(node(&agent).0[..2], ["MemoryPressure=True", "DiskPressure=True"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_goes_for_images_that_have_a_file_system_of_their_own() {
    let rig = machine(&[of("a", "app", &json!({})), of("b", "hog", &json!({}))]);
    uses(&rig, "hog", GIB);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.fill(&key("a"), "app", 20 * GIB);
    let images = |free: u64| {
        rig.fake.set_level(EvictionSignal::ImagefsAvailable, free * GIB, 100 * GIB);
        rig.fake.set_apart(EvictionSignal::ImagefsAvailable);
    };
    rig.fake.set_unused_images(GIB);
    images(9);
    rig.pass(120).await;
    assert_eq!((gone(&rig), node(&agent).0[1].as_str()), (vec![], "DiskPressure=True"));
    assert_eq!(rig.fake.calls().iter().filter(|call| call.verb == Verb::VolumeUse).count(), 0, "nor is it measured");
    // Something else is made good all the same: memory before it, files of the pods' own file system with it.
    rig.fake.set_level(EvictionSignal::MemoryAvailable, 50 * MIB, 16 * GIB);
    first_gone(&rig, 30, "b").await;
    rig.fake.set_level(EvictionSignal::MemoryAvailable, 8 * GIB, 16 * GIB);
    rig.fake.set_level(EvictionSignal::NodefsAvailable, 9 * GIB, 100 * GIB);
    rig.pass(60).await;
    assert_eq!(gone(&rig), ["a", "b"]);
    let cause = rig.pod("a").record.terminal_cause.unwrap();
    assert!(cause.message.contains("Threshold quantity: 10Gi, available: 9Gi. "), "{}", cause.message);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_makes_good_keeps_nothing_else_from_being_so() {
    let mut rig = machine(&[of("a", "app", &json!({}))]);
    let value = ThresholdValue::Quantity { amount: 100, shown: "100".into() };
    rig.node.eviction.hard.push(EvictionThreshold { signal: EvictionSignal::PidAvailable, value });
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    disk(&rig, 1);
    rig.pass(60).await;
    assert_eq!(gone(&rig), [""; 0]);
    rig.fake.set_level(EvictionSignal::PidAvailable, 99, 32_768);
    rig.pass(30).await;
    assert_eq!(gone(&rig), ["a"]);
    assert!(rig.pod("a").record.terminal_cause.unwrap().message.starts_with("The node was low on resource: pids. "));
}

/// Its worker cannot look at a pod.
fn refuse_to_observe(rig: &Rig, name: &'static str) {
    let error = || PortError::new(ErrorKind::Unavailable, "observe", "the test", "told to");
    let is_it = move |call: &Call| call.verb == Verb::Observe && call.pod == Some(key(name));
    rig.fake.on_call(move |call| is_it(call).then(|| Fault::Fail(error())));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_be_looked_at_is_evicted_as_soon_as_it_can_be() {
    let rig = machine(&[of("a", "app", &json!({})), of("b", "app", &json!({}))]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.fill(&key("b"), "app", 20 * GIB);
    refuse_to_observe(&rig, "b");
    disk(&rig, 9);
    rig.pass(34).await;
    assert_eq!(gone(&rig), [""; 0]);
    rig.fake.heal();
    rig.pass(20).await;
    assert_eq!(gone(&rig), ["b"], "before it would be measured anew");
}

#[tokio::test(start_paused = true)]
async fn a_pod_keeps_its_data_until_its_eviction_is_begun() {
    let rig = machine(&[of("b", "crash", &json!({}))]);
    rig.fake.behave("crash", Behaviour::exits(Duration::from_secs(1), 1));
    let _agent = rig.start();
    rig.pass(20).await;
    rig.fake.fill(&key("b"), "crash", 20 * GIB);
    refuse_to_observe(&rig, "b");
    disk(&rig, 9);
    rig.pass(120).await;
    assert!(rig.pod("b").containers.iter().all(|container| !container.is_live()));
    let all = VolumeLimit { of: DiskPart::Pod, name: String::new(), bytes: u64::MAX, shown: String::new() };
    let kept = || async { rig.fake.volume_use(&key("b"), std::slice::from_ref(&all)).await.unwrap()[0].bytes };
    assert_eq!((kept().await, gone(&rig)), (20 * GIB, vec![]));
    rig.fake.heal();
    rig.pass(150).await;
    assert_eq!((kept().await, gone(&rig)), (0, vec!["b".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn nobody_goes_in_vain() {
    let rig = machine(&[pod("a", "i:1"), pod("b", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.fill(&key("a"), "app", GIB);
    disk(&rig, 1);
    rig.pass(120).await;
    assert_eq!((gone(&rig), node(&agent).0[1].as_str()), (vec![], "DiskPressure=True"));
    // What freed nothing is not tried again while all is the same.
    let tries = |verb: Verb| rig.fake.calls().iter().filter(|call| call.verb == verb).count();
    rig.fake.forget_calls();
    rig.pass(600).await;
    assert!((1..=3).contains(&tries(Verb::Reclaim)), "{} tries in 600 s", tries(Verb::Reclaim));
    assert!((2..=6).contains(&tries(Verb::VolumeUse)), "{} looks at pods in 600 s", tries(Verb::VolumeUse));
    // What they have would be enough now.
    rig.fake.fill(&key("a"), "app", 20 * GIB);
    rig.pass(320).await;
    assert_eq!(gone(&rig), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_while_the_disk_is_full_waits_until_it_is_over() {
    let rig = machine(&[pod("old", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let error = || PortError::new(ErrorKind::Unavailable, "find", "the test", "told to");
    // Nobody is to be evicted: there is no way to find whom, and the one pod has the system's priority.
    let mut old = pod("old", "i:1");
    old["spec"]["priority"] = 2_000_000_000.into();
    let second = rig.commit(&agent, &[old.clone()]);
    agent.done(&second).await;
    rig.fake.on_call(move |call| (call.verb == Verb::Reclaim).then(|| Fault::Fail(error())));
    disk(&rig, 1);
    rig.pass(32).await;
    let mut bound = pod("bound", "i:1");
    bound["spec"]["nodeName"] = "edge-1".into();
    rig.commit(&agent, &[old.clone(), pod("new", "i:1"), bound]);
    rig.pass(10).await;
    let waits = rig.pod("new");
    assert_eq!((&waits.record.terminal, waits.containers.len()), (&None, 0));
    let why = agent.kubelet.fleet().why(&key("new"));
    assert!(why.starts_with("Unschedulable: 0/1 nodes are available: 1 node(s) had untolerated taint(s)."), "{why}");
    let shown = served(&agent, "new");
    let status = shown["status"].clone();
    assert_eq!(
        (&status["phase"], &status["startTime"], &shown["spec"]["nodeName"]),
        (&json!("Pending"), &Value::Null, &Value::Null)
    );
    let [scheduled] = status["conditions"].as_array().unwrap().as_slice() else { panic!("{status}") };
    let [kind, is, reason] = ["type", "status", "reason"].map(|name| scheduled[name].as_str().unwrap_or_default());
    assert_eq!([kind, is, reason], ["PodScheduled", "False", "Unschedulable"]);
    let seen = rig.pod("bound");
    let cause = seen.record.terminal_cause.clone().unwrap();
    assert_eq!(cause.message, "Pod was rejected: The node had condition: [DiskPressure]. ");
    assert!(seen.containers.is_empty() && seen.sandbox == Sandbox::Absent);
    let told = events(&agent, Kind::Pod);
    assert!(told.contains(&"Evicted The node had condition: [DiskPressure].  x1".to_owned()), "{told:?}");
    let of_new = |agent: &Running| -> Vec<String> {
        let events = agent.projection.borrow().events.clone();
        let own = events.iter().filter(|event| event.object.name == "new");
        own.map(|event| format!("{} {}", event.component, event.reason)).collect()
    };
    assert_eq!(of_new(&agent), ["default-scheduler FailedScheduling"]);
    disk(&rig, 50);
    rig.pass(340).await;
    assert_eq!(of_new(&agent)[..2], ["default-scheduler FailedScheduling", "default-scheduler Scheduled"]);
    let (created, begun) = (waits.record.created_at, rig.pod("new").record.begun_at());
    assert!(begun.duration_since(created).as_secs() > 300, "{created} {begun}: it was on no machine meanwhile");
    let next = rig.pod("new");
    assert_eq!(next.record.uid, waits.record.uid);
    assert!(matches!(next.latest("app").unwrap().state, ContainerState::Running { .. }));
    let next = rig.pod("bound");
    assert_ne!(next.record.uid, seen.record.uid);
    assert!(matches!(next.latest("app").unwrap().state, ContainerState::Running { .. }));
    assert!(rig.pod("old").record.terminal.is_none());
}

#[tokio::test(start_paused = true)]
async fn processes_are_looked_at_where_they_have_a_threshold() {
    let mut many = of("a", "one", &json!({}));
    let others = ["two", "three"].map(|name| json!({"name": name, "image": "i:1"}));
    many["spec"]["containers"].as_array_mut().unwrap().extend(others);
    let mut rig = machine(&[many, of("b", "one", &json!({}))]);
    let value = ThresholdValue::Quantity { amount: 100, shown: "100".into() };
    rig.node.eviction.hard = vec![EvictionThreshold { signal: EvictionSignal::PidAvailable, value }];
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.set_level(EvictionSignal::MemoryAvailable, 0, GIB);
    rig.fake.set_level(EvictionSignal::PidAvailable, 99, 32_768);
    rig.pass(32).await;
    assert_eq!(gone(&rig), ["a"]);
    let cause = rig.pod("a").record.terminal_cause.unwrap();
    assert_eq!(cause.message, "The node was low on resource: pids. Threshold quantity: 100, available: 99. ");
    assert_eq!(node(&agent).0[..3], ["MemoryPressure=False", "DiskPressure=False", "PIDPressure=True"]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_does_not_answer_evicts_nobody() {
    let rig = machine(&[pod("web", "i:1")]);
    rig.fake.on_call(|call| (call.verb == Verb::SignalLevels).then_some(Fault::Hang));
    rig.fake.set_level(EvictionSignal::MemoryAvailable, 0, GIB);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.forget_calls();
    rig.pass(700).await;
    assert!((9..=11).contains(&looks(&rig)), "{} looks in 700 s", looks(&rig));
    assert_eq!((gone(&rig), node(&agent).0), (vec![], vec!["Ready=True".to_owned()]));
    rig.fake.heal();
    rig.pass(120).await;
    assert_eq!(gone(&rig), ["web"]);
}

#[tokio::test(start_paused = true)]
async fn a_condition_runs_out_while_the_machine_does_not_answer() {
    let rig = machine(&[pod("web", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    disk(&rig, 1);
    rig.pass(40).await;
    assert_eq!(node(&agent).0[1], "DiskPressure=True");
    rig.fake.on_call(|call| (call.verb == Verb::SignalLevels).then_some(Fault::Hang));
    rig.pass(200).await;
    assert_eq!(node(&agent).0[1], "DiskPressure=True");
    rig.pass(240).await;
    assert_eq!((node(&agent).0[1].as_str(), gone(&rig)), ("DiskPressure=False", vec![]));
}

#[tokio::test(start_paused = true)]
async fn an_eviction_that_another_agent_began_is_finished_and_told_as_what_it_was() {
    let rig = machine(&[of("a", "hog", &json!({}))]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let error = || PortError::new(ErrorKind::Exhausted, "signal", "the test", "told to");
    rig.fake.on_call(move |call| (call.verb == Verb::SignalContainer).then(|| Fault::Fail(error())));
    rig.fake.set_level(EvictionSignal::MemoryAvailable, 0, GIB);
    rig.pass(32).await;
    assert_eq!(gone(&rig), [""; 0]);
    agent.stop().await;
    rig.fake.heal();
    rig.fake.set_level(EvictionSignal::MemoryAvailable, GIB, GIB);
    let before = rig.pod("a").record.uid;
    let agent = rig.start();
    rig.pass(60).await;
    // The new agent finishes it, looks, and finds nothing low: the condition holds for the time of transition.
    assert_eq!((gone(&rig), node(&agent).0[0].as_str()), (vec!["a".to_owned()], "MemoryPressure=True"));
    agent.stop().await;
    let _agent = rig.start();
    rig.pass(200).await;
    assert_eq!(gone(&rig), ["a"]);
    rig.pass(120).await;
    // Another pod takes its place.
    let next = rig.pod("a").record;
    assert_ne!(next.uid, before);
    assert_eq!((next.terminal, next.terminal_cause), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_pod_above_its_ephemeral_storage_is_evicted_for_good() {
    let limited = json!({"resources": {"limits": {"ephemeral-storage": "1Mi"}}});
    let rig = machine(&[of("a", "app", &limited), of("b", "app", &limited)]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.fill(&key("a"), "app", MIB);
    rig.fake.fill(&key("b"), "app", MIB + 1);
    rig.pass(30).await;
    assert_eq!(gone(&rig), ["b"]);
    let cause = rig.pod("b").record.terminal_cause.unwrap();
    let message = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ";
    assert_eq!((cause.message.as_str(), cause.pressure), (message, None));
    rig.pass(900).await;
    assert_eq!(gone(&rig), ["b"], "nobody was low on anything");
}
