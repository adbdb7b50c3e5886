//! Pods that keep more on the disk than they may.

use podwright::backend::fake::{Call, Fault, Verb};
use podwright::model::{ContainerState, Sandbox, VolumeUse};
use podwright::port::{ErrorKind, PortError};
use serde_json::{Value, json};

use super::rig::{Rig, Running, eventually, id, key, pod, pod_with};

fn web() -> Value {
    let volumes = json!([{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}, {"name": "free", "emptyDir": {}}]);
    pod_with(
        "web",
        json!({"terminationGracePeriodSeconds": 30, "volumes": volumes, "containers": [{"name": "app", "image": "i:1"}]}),
    )
}

fn looks(rig: &Rig) -> usize {
    rig.fake.calls().iter().filter(|call| call.verb == Verb::VolumeUse).count()
}

/// How often it was told of an eviction that it takes too long.
fn exceeded(agent: &Running) -> Vec<u32> {
    let events = agent.projection.borrow().events.clone();
    events.iter().filter(|event| event.reason == "ExceededGracePeriod").map(|event| event.count).collect()
}

/// Has these calls fail.
fn refuse(rig: &Rig, which: impl Fn(&Call) -> bool + Send + 'static) {
    rig.fake.on_call(move |call| {
        let error = || PortError::new(ErrorKind::Exhausted, "write", "the test", "told to");
        which(call).then(|| Fault::Fail(error()))
    });
}

#[tokio::test(start_paused = true)]
async fn a_pod_above_its_limit_is_evicted_for_good_and_told_so() {
    for done in [&[][..], &[Verb::RemovePod], &[Verb::RemovePod, Verb::PutRecord]] {
        evicted_and_replaced(done).await;
    }
}

/// The first call of each of these verbs for the replacement is told to have failed, and is done.
async fn evicted_and_replaced(done: &[Verb]) {
    let rig = Rig::new(&[web(), pod("other", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.fill(&key("web"), "data", 1 << 20);
    rig.fake.fill(&key("web"), "free", 1 << 30);
    rig.fake.forget_calls();
    rig.pass(100).await;
    assert!((9..=11).contains(&looks(&rig)), "{} looks in 100 s", looks(&rig));
    assert_eq!((rig.changes(), rig.pod("web").record.terminal), (vec![], None));
    rig.fake.fill(&key("web"), "data", (1 << 20) + 1);
    rig.pass(15).await;
    let seen = rig.pod("web");
    let cause = seen.record.terminal_cause.clone().unwrap();
    let message = "Usage of EmptyDir volume \"data\" exceeds the limit \"1Mi\". ";
    assert_eq!((cause.reason.as_str(), cause.message.as_str()), ("Evicted", message));
    assert_eq!((seen.record.terminal.as_deref(), &seen.sandbox), (Some("Failed"), &Sandbox::Absent));
    let stopping = seen.latest("app").unwrap().record.stopping.clone().unwrap();
    assert_eq!(stopping.grace_seconds, 2, "what comes after the stop signal");
    let events = agent.projection.borrow().events.clone();
    let told: Vec<_> = events.iter().filter(|e| e.reason == "Evicted").map(|e| (e.message.as_str(), e.count)).collect();
    assert_eq!(told, [(message, 1)]);
    assert!(exceeded(&agent).is_empty());
    // It stays, and nobody looks any more.
    rig.fake.forget_calls();
    rig.pass(600).await;
    assert_eq!((looks(&rig), rig.changes()), (0, vec![]));
    assert!(rig.pod("other").record.terminal.is_none());
    // The remedy: a pod with a higher limit takes its place, and runs.
    // Although its own removal and the creation of that one are told to have failed, and were done.
    let mut left = done.to_vec();
    rig.fake.on_call(move |call| {
        left.remove(left.iter().position(|verb| *verb == call.verb)?);
        Some(Fault::FailAfter(PortError::new(ErrorKind::Exhausted, "write", "the test", "told to")))
    });
    let mut remedy = web();
    remedy["spec"]["volumes"][0]["emptyDir"]["sizeLimit"] = "10Mi".into();
    rig.commit(&agent, &[remedy, pod("other", "i:1")]);
    rig.pass(60).await;
    let next = rig.pod("web");
    assert_ne!(next.record.uid, seen.record.uid);
    assert_eq!((next.record.terminal.as_deref(), next.record.terminal_cause.as_ref()), (None, None));
    assert!(matches!(next.latest("app").unwrap().state, ContainerState::Running { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_eviction_that_takes_too_long_is_told_once() {
    let rig = Rig::new(&[web()]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    refuse(&rig, |call| call.verb == Verb::SignalContainer);
    rig.fake.fill(&key("web"), "data", 1 << 30);
    eventually("an eviction", || rig.pod("web").record.terminal_cause.is_some()).await;
    rig.pass(8).await;
    assert!(exceeded(&agent).is_empty());
    rig.pass(4).await;
    assert_eq!(exceeded(&agent), [1]);
    rig.pass(600).await;
    assert_eq!(exceeded(&agent), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_fails_is_tried_again_and_evicts_nobody() {
    let rig = Rig::new(&[web()]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    refuse(&rig, |call| call.verb == Verb::VolumeUse);
    rig.fake.fill(&key("web"), "data", 1 << 30);
    rig.fake.forget_calls();
    rig.pass(200).await;
    assert!((2..=6).contains(&looks(&rig)), "{} looks in 200 s", looks(&rig));
    assert!(rig.pod("web").record.terminal.is_none());
    rig.fake.heal();
    rig.pass(300).await;
    assert_eq!(rig.pod("web").record.terminal.as_deref(), Some("Failed"));
}

#[tokio::test(start_paused = true)]
async fn an_eviction_that_another_agent_began_is_finished_without_a_restart() {
    let rig = Rig::new(&[web()]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    refuse(&rig, |call| call.verb == Verb::SignalContainer);
    rig.fake.fill(&key("web"), "data", 1 << 30);
    rig.pass(15).await;
    assert!(matches!(rig.pod("web").latest("app").unwrap().state, ContainerState::Running { .. }));
    agent.stop().await;
    // Whatever the volume takes by now, and however its container ends.
    rig.fake.fill(&key("web"), "data", 0);
    rig.fake.exit(&key("web"), "app", 0);
    rig.fake.heal();
    rig.fake.forget_calls();
    let _agent = rig.start();
    rig.pass(60).await;
    let seen = rig.pod("web");
    assert_eq!((seen.containers.len(), seen.record.terminal.as_deref()), (1, Some("Failed")));
    let cause = seen.record.terminal_cause.unwrap();
    let message = "Usage of EmptyDir volume \"data\" exceeds the limit \"1Mi\". ";
    assert_eq!((cause.reason.as_str(), cause.message.as_str(), looks(&rig)), ("Evicted", message, 0));
}

#[tokio::test(start_paused = true)]
async fn an_eviction_that_another_agent_began_kills_what_cannot_be_told_to_stop() {
    let rig = Rig::new(&[web()]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    refuse(&rig, |call| call.verb == Verb::SignalContainer);
    rig.fake.fill(&key("web"), "data", 1 << 30);
    rig.pass(15).await;
    assert!(rig.pod("web").record.terminal_cause.is_some());
    agent.stop().await;
    refuse(&rig, |call| call.verb == Verb::SignalContainer && call.subject.ends_with("Stop"));
    let _agent = rig.start();
    rig.pass(60).await;
    let seen = rig.pod("web");
    let exit = seen.latest("app").unwrap().exit().map(|exit| exit.exit_code);
    assert_eq!((exit, seen.record.terminal.as_deref()), (Some(137), Some("Failed")));
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_evicted_from_a_disk_that_takes_no_record() {
    let rig = Rig::new(&[web()]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    refuse(&rig, |call| match call.verb {
        Verb::PutRecord | Verb::StartContainer => true,
        // A stop has to be on record, a kill need not.
        Verb::SignalContainer => call.subject.ends_with("Stop"),
        _ => false,
    });
    rig.fake.fill(&key("web"), "data", 1 << 30);
    rig.pass(60).await;
    let seen = rig.pod("web");
    let exit = seen.latest("app").unwrap().exit().map(|exit| exit.exit_code);
    assert_eq!((exit, seen.containers.len(), seen.record.terminal), (Some(137), 1, None));
    rig.fake.heal();
    rig.pass(400).await;
    let record = rig.pod("web").record;
    assert_eq!(
        (record.terminal.as_deref(), record.terminal_cause.unwrap().reason.as_str()),
        (Some("Failed"), "Evicted")
    );
}

#[tokio::test(start_paused = true)]
async fn a_look_that_takes_long_keeps_nothing_waiting_and_has_an_end() {
    let pods = ["a", "b", "c"].map(|name| {
        let mut pod = web();
        pod["metadata"]["name"] = name.into();
        pod
    });
    let rig = Rig::new(&pods);
    rig.fake.on_call(|call| (call.verb == Verb::VolumeUse).then_some(Fault::Hang));
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(20).await;
    assert_eq!(looks(&rig), 2, "the third waits for its turn");
    for name in ["a", "b", "c"] {
        rig.fake.exit(&key(name), "app", 1);
    }
    rig.pass(1).await;
    for name in ["a", "b", "c"] {
        assert_eq!(rig.pod(name).latest("app").unwrap().record.attempt, 1, "{name}");
    }
    rig.pass(300).await;
    assert!(looks(&rig) >= 3, "each was given up after five minutes");
    // It ends with its pod.
    let second = rig.commit(&agent, &[pod("db", "i:1")]);
    agent.done(&second).await;
    rig.fake.forget_calls();
    rig.pass(1000).await;
    assert_eq!((looks(&rig), rig.fake.keys().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_known_in_part_is_told_once_and_counts() {
    let rig = Rig::new(&[web()]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let part = |bytes| VolumeUse { bytes, entries: 7, is_part: true };
    rig.fake.fill_with(&key("web"), "data", part(1 << 19));
    rig.pass(100).await;
    let events = agent.projection.borrow().events.clone();
    let told: Vec<_> = events.iter().filter(|e| e.reason == "VolumeUsageIncomplete").collect();
    let [event] = &told[..] else { panic!("{told:?}") };
    assert_eq!(
        (event.count, event.message.as_str()),
        (
            1,
            "Usage of EmptyDir volume \"data\" is known in part: it has more or deeper files than are looked at. 7 of them take 524288 bytes; the limit \"1Mi\" may be exceeded unseen"
        )
    );
    assert!(rig.pod("web").record.terminal.is_none());
    rig.fake.fill_with(&key("web"), "data", part(1 << 21));
    rig.pass(60).await;
    assert_eq!(rig.pod("web").record.terminal.as_deref(), Some("Failed"));
}
