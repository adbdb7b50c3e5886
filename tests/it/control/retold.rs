//! Events over the end of an agent: a new one goes on counting, and tells what it finds only as far as it was not told.

use std::time::Duration;

use podwright::backend::fake::{Answered, Behaviour};
use serde_json::json;

use super::commits::preset;
use super::rig::{Rig, Running, id, pod, pod_with};

/// Reason, message and count of a pod's events, in the order in which they began.
fn events(agent: &Running, name: &str) -> Vec<(String, String, u32)> {
    let events = agent.projection.borrow().events.clone();
    let own = events.iter().filter(|event| event.object.name == name);
    own.map(|event| (event.reason.clone(), event.message.clone(), event.count)).collect()
}

fn counts(agent: &Running, name: &str) -> Vec<(String, u32)> {
    events(agent, name).into_iter().map(|(reason, _, count)| (reason, count)).collect()
}

/// The agent ends; the next one has its events, or none.
async fn next(rig: &Rig, agent: Running, has_events: bool) -> Running {
    let before = agent.kubelet.fleet().events;
    agent.stop().await;
    let agent = rig.start();
    if has_events {
        agent.kubelet.recall(before);
    }
    rig.pass(3).await;
    agent
}

#[tokio::test(start_paused = true)]
async fn a_new_agent_tells_nothing_again_that_was_told() {
    let rig = Rig::new(&[pod("web", "nginx:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let begun = ["Scheduled", "Pulled", "Created", "Started"];
    assert_eq!(counts(&agent, "web"), begun.map(|reason| (reason.to_owned(), 1)));
    let first = agent.projection.borrow().events.clone();
    rig.pass(600).await;
    let agent = next(&rig, agent, true).await;
    assert_eq!(agent.projection.borrow().events, first, "times too");
    // One that has no events of another finds the story in the records, as it was.
    let agent = next(&rig, agent, false).await;
    assert_eq!(agent.projection.borrow().events, first);
    // What comes is counted on.
    let second = rig.commit(&agent, &[pod("web", "nginx:2")]);
    let mut agent = next(&rig, agent, true).await;
    agent.done(&second).await;
    let agent = next(&rig, agent, true).await;
    let count = |reason: &str| events(&agent, "web").iter().filter(|e| e.0 == reason).map(|e| e.2).sum::<u32>();
    assert_eq!(["Scheduled", "Pulled", "Created", "Started", "Killing"].map(count), [1, 2, 2, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_new_agent_goes_on_counting() {
    let probe = json!({"exec": {"command": ["ready"]}, "periodSeconds": 5});
    let asked = pod_with("asked", json!({"containers": [{"name": "probed", "image": "i:1", "readinessProbe": probe}]}));
    let rig = Rig::new(&[asked, pod("crashing", "i:1")]);
    rig.fake.behave("app", Behaviour::exits(Duration::from_secs(1), 3));
    rig.fake.answer("probed", |_| Answered::failure("no"));
    let agent = rig.start();
    rig.pass(58).await;
    let before = [events(&agent, "asked"), events(&agent, "crashing")];
    let count = |events: &[(String, String, u32)], reason: &str| events.iter().find(|e| e.0 == reason).unwrap().2;
    // It waits for its fourth start.
    assert_eq!((count(&before[0], "Unhealthy"), count(&before[1], "BackOff")), (12, 3));
    let agent = next(&rig, agent, true).await;
    let after = [events(&agent, "asked"), events(&agent, "crashing")];
    assert!(count(&after[0], "Unhealthy") > 12, "{after:#?}");
    assert_eq!(after[1], before[1], "it is the same wait");
    rig.pass(60).await;
    let after = [events(&agent, "asked"), events(&agent, "crashing")];
    assert_eq!(count(&after[1], "BackOff"), 4);
    assert_eq!(["Created", "Started"].map(|reason| count(&after[1], reason)), [5, 5]);
}

#[tokio::test(start_paused = true)]
async fn what_a_pod_waits_for_and_the_presets_it_was_not_given_are_told_once() {
    let elsewhere = json!({"nodeSelector": {"disk": "ssd"}, "containers": [{"name": "app", "image": "i:1"}]});
    let objects = [pod_with("fast", elsewhere), pod("web", "i:1"), preset("a", "1"), preset("b", "2")];
    let rig = Rig::new(&objects);
    let agent = rig.start();
    rig.pass(5).await;
    let before = [events(&agent, "fast"), events(&agent, "web")];
    assert_eq!(before[0].iter().map(|e| (e.0.as_str(), e.2)).collect::<Vec<_>>(), [("FailedScheduling", 1)]);
    assert!(before[1].iter().any(|e| e.0 == "PodPresetConflict"), "{before:#?}");
    let agent = next(&rig, agent, true).await;
    assert_eq!([events(&agent, "fast"), events(&agent, "web")], before);
}
