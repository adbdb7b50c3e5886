//! Pods that keep more on the disk than they may.

use podwright::backend::fake::{Fault, Verb};
use podwright::model::{ContainerState, Sandbox};
use podwright::port::{ErrorKind, PortError};
use serde_json::{Value, json};

use super::rig::{Rig, id, key, pod, pod_with};

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

#[tokio::test(start_paused = true)]
async fn a_pod_above_its_limit_is_evicted_for_good_and_told_so() {
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
    assert_eq!(stopping.grace_seconds, 1);
    let events = agent.projection.borrow().events.clone();
    let told: Vec<_> = events.iter().filter(|e| e.reason == "Evicted").map(|e| (e.message.as_str(), e.count)).collect();
    assert_eq!(told, [(message, 1)]);
    // It stays, and nobody looks any more.
    rig.fake.forget_calls();
    rig.pass(600).await;
    assert_eq!((looks(&rig), rig.changes()), (0, vec![]));
    assert!(rig.pod("other").record.terminal.is_none());
    // The remedy: a pod with a higher limit takes its place, and runs.
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
async fn a_look_that_fails_is_tried_again_and_evicts_nobody() {
    let rig = Rig::new(&[web()]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.on_call(|call| {
        let error = || PortError::new(ErrorKind::Unavailable, "look at", "the test", "told to");
        (call.verb == Verb::VolumeUse).then(|| Fault::Fail(error()))
    });
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
    agent.stop().await;
    rig.fake.fill(&key("web"), "data", 1 << 30);
    rig.fake.exit(&key("web"), "app", 137);
    let _agent = rig.start();
    rig.pass(60).await;
    let seen = rig.pod("web");
    assert_eq!((seen.containers.len(), seen.record.terminal.as_deref()), (1, Some("Failed")));
    assert_eq!(seen.record.terminal_cause.unwrap().reason, "Evicted");
}
