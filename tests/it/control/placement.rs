//! Pods that do not run here: what they are shown as, and what a machine with other labels makes of them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use podwright::control::PodStanding;
use podwright::model::{EventRecord, Kind, ObjectKey, Packed, PodEntry};
use podwright::report::{TableOptions, describe_pod, pod_row, pods_table};
use serde_json::{Value, json};

use super::rig::{Rig, Running, id, key, pod, pod_with};
use crate::admit::placement::taint;
use podwright::backend::fake::Verb;

fn asking(name: &str, mut more: Value) -> Value {
    more["containers"] = json!([{"name": "app", "image": "i:1"}]);
    pod_with(name, more)
}

fn ssd(name: &str) -> Value {
    asking(name, json!({"nodeSelector": {"disktype": "ssd"}}))
}

pub(super) fn served(agent: &Running, name: &str) -> Pod {
    let key = ObjectKey { kind: Kind::Pod, ..key(name).object() };
    let value = (**agent.projection.borrow().objects[&key].value).clone();
    serde_json::from_value(value).unwrap()
}

fn events(agent: &Running, name: &str) -> Vec<EventRecord> {
    let projection = agent.projection.borrow().clone();
    projection.events.iter().filter(|event| event.object.name == name).map(|event| (**event).clone()).collect()
}

pub(super) fn told(agent: &Running, name: &str) -> Vec<String> {
    let line = |event: EventRecord| format!("{} {}: {}", event.component, event.reason, event.message);
    events(agent, name).into_iter().map(line).collect()
}

fn entry(rig: &Rig, name: &str) -> PodEntry {
    let last = rig.sink.last();
    last.pods.iter().map(Packed::open).find(|entry| entry.name == name).unwrap_or_else(|| panic!("no entry of {name}"))
}

pub(super) fn standing(agent: &Running, name: &str) -> (PodStanding, String, String) {
    let progress = agent.progress.borrow().clone();
    let pod = progress.pods.iter().find(|pod| pod.key.name == name).unwrap();
    (pod.standing, pod.status.clone(), pod.message.clone())
}

async fn settled(rig: &Rig) -> Running {
    let mut agent = rig.start();
    agent.until("read", |p| p.attempted.as_ref().is_some_and(|r| r.id == id(1))).await;
    rig.pass(5).await;
    agent
}

const WORDING: &str = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/1 nodes \
                       are available: 1 Preemption is not helpful for scheduling.";

#[tokio::test(start_paused = true)]
async fn a_pod_that_no_machine_fits_is_pending_until_the_label_is_there() {
    let mut rig = Rig::new(&[ssd("fast"), pod("web", "i:1")]);
    let agent = settled(&rig).await;
    assert_eq!(rig.sink.condition(), "Reconciling");
    let message = format!("Unschedulable: {WORDING}");
    assert_eq!(standing(&agent, "fast"), (PodStanding::Progressing, "Pending".into(), message));
    assert_eq!(standing(&agent, "web").0, PodStanding::Ready);
    assert!(agent.progress.borrow().pods.iter().any(|pod| pod.stuck));

    let shown = served(&agent, "fast");
    let status = shown.status.clone().unwrap();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Pending"), None));
    let conditions = status.conditions.unwrap();
    let [scheduled] = conditions.as_slice() else { panic!("{conditions:?}") };
    assert_eq!((scheduled.type_.as_str(), scheduled.status.as_str()), ("PodScheduled", "False"));
    assert_eq!((scheduled.reason.as_deref(), scheduled.message.as_deref()), (Some("Unschedulable"), Some(WORDING)));
    assert_eq!((status.container_statuses, status.start_time, status.host_ip), (None, None, None));
    assert_eq!(shown.spec.unwrap().node_name, None, "it is on no machine");
    let row = pod_row(&served(&agent, "fast"), Timestamp::UNIX_EPOCH);
    assert_eq!((row.ready.as_str(), row.status.as_str(), row.node.as_str()), ("0/1", "Pending", "<none>"));
    assert_eq!((entry(&rig, "fast").phase.as_str(), entry(&rig, "fast").containers.len()), ("Pending", 0));
    assert_eq!(told(&agent, "fast"), [format!("default-scheduler FailedScheduling: {WORDING}")]);
    let description = describe_pod(&served(&agent, "fast"), &events(&agent, "fast"), rig.now());
    assert!(description.contains("Node:             <none>"), "{description}");
    assert!(description.contains("FailedScheduling"), "{description}");
    let calls = rig.fake.calls();
    let calls: Vec<_> =
        calls.iter().filter(|c| c.verb.changes() && c.pod == Some(key("fast"))).map(|c| c.verb).collect();
    assert_eq!(calls, [Verb::PutRecord]);

    // The machine gets the label, as it does with another configuration and a new agent.
    let uid = rig.uids()["fast"].clone();
    agent.stop().await;
    rig.node.labels.insert("disktype".into(), "ssd".into());
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(5).await;
    assert_eq!(rig.uids()["fast"], uid, "the same pod");
    assert_eq!(rig.sink.condition(), "Ready");
    let told = told(&agent, "fast");
    for event in [
        "default-scheduler Scheduled: Successfully assigned default/fast to edge-1",
        "podwright Placed: spec.nodeSelector[disktype] fits this machine now (node labels)",
    ] {
        assert!(told.iter().any(|found| found == event), "{told:#?}");
    }
    let action = rig.sink.last().last_actions.into_iter().find(|action| action.pod == "default/fast").unwrap();
    assert_eq!(action.action, "create");
    assert_eq!(action.reason, "changed in place: spec.nodeSelector[disktype] (node labels)");
    assert_eq!(served(&agent, "fast").spec.unwrap().node_name.as_deref(), Some("edge-1"));

    // It goes again: what runs runs on, through a new agent, too.
    agent.stop().await;
    rig.node.labels.clear();
    rig.fake.forget_calls();
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(5).await;
    assert_eq!(rig.changes(), [] as [&str; 0]);
    assert_eq!(standing(&agent, "fast").0, PodStanding::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_names_this_machine_and_does_not_fit_it_failed() {
    let mut rig = Rig::new(&[asking("fast", json!({"nodeName": "edge-1", "nodeSelector": {"disktype": "ssd"}}))]);
    let agent = settled(&rig).await;
    assert_eq!(rig.sink.condition(), "Stalled");
    assert_eq!(standing(&agent, "fast").0, PodStanding::Failed);
    let status = served(&agent, "fast").status.unwrap();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("NodeAffinity")));
    let words = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    assert_eq!(status.message.as_deref(), Some(format!("Pod was rejected: {words}").as_str()));
    assert!(status.start_time.is_some() && status.conditions.is_none() && status.container_statuses.is_none());
    assert_eq!(pod_row(&served(&agent, "fast"), Timestamp::UNIX_EPOCH).status, "NodeAffinity");
    assert_eq!(told(&agent, "fast"), [format!("kubelet NodeAffinity: {words}")]);
    let description = describe_pod(&served(&agent, "fast"), &events(&agent, "fast"), rig.now());
    assert!(description.contains("Reason:           NodeAffinity"), "{description}");
    assert_eq!(entry(&rig, "fast").status, "NodeAffinity");

    // Ended for good: a new agent says the same, and with the label another pod takes its place.
    let uid = rig.uids()["fast"].clone();
    agent.stop().await;
    rig.fake.forget_calls();
    let agent = settled(&rig).await;
    assert_eq!((standing(&agent, "fast").0, rig.changes().len()), (PodStanding::Failed, 0));
    agent.stop().await;
    rig.node.labels.insert("disktype".into(), "ssd".into());
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(5).await;
    assert_ne!(rig.uids()["fast"], uid);
    let action = rig.sink.last().last_actions[0].clone();
    assert_eq!(action.reason, "recreated: spec.nodeSelector[disktype] (node labels) changed");
}

#[tokio::test(start_paused = true)]
async fn other_machines_pods_are_listed_and_left_alone() {
    let mut rig = Rig::new(&[asking("away", json!({"nodeName": "edge-2"})), ssd("fast"), pod("web", "i:1")]);
    rig.node.fleet = true;
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(5).await;
    let ready = rig.sink.last().conditions.into_iter().find(|condition| condition.kind == "Ready").unwrap();
    assert_eq!(ready.status, "True");
    assert_eq!(ready.message.as_deref(), Some("1 pod ready or complete, 2 not for this machine"));
    for name in ["away", "fast"] {
        assert_eq!(standing(&agent, name), (PodStanding::Elsewhere, "NotForThisMachine".into(), String::new()));
        assert_eq!(entry(&rig, name).status, "NotForThisMachine");
        assert_eq!(told(&agent, name), [] as [&str; 0]);
    }
    assert_eq!(rig.fake.keys(), [key("web")].into(), "nothing of them is here");
    let rows: Vec<_> = ["away", "fast", "web"].map(|name| pod_row(&served(&agent, name), rig.now())).into();
    let table = pods_table(&rows, TableOptions { wide: true, ..TableOptions::default() });
    let nodes: Vec<_> = rows.iter().map(|row| (row.status.as_str(), row.node.as_str())).collect();
    let expected = [("NotForThisMachine", "edge-2"), ("NotForThisMachine", "<none>"), ("Running", "edge-1")];
    assert_eq!(nodes, expected, "{table}");
    let description = describe_pod(&served(&agent, "fast"), &[], rig.now());
    let words = "Message:          `nodeSelector` asks for disktype=ssd, this machine has no such label";
    assert!(
        description.contains("Reason:           NotForThisMachine") && description.contains(words),
        "{description}"
    );

    // Rounds in which nothing changes write nothing.
    let (count, version) = (rig.sink.count(), agent.projection.borrow().resource_version);
    for _ in 0..3 {
        agent.hint();
        rig.pass(90).await;
    }
    assert_eq!((rig.sink.count(), agent.projection.borrow().resource_version), (count, version));

    // A commit that gives one of them to this machine, and takes one away.
    let second = rig.commit(
        &agent,
        &[asking("away", json!({"nodeName": "edge-1"})), ssd("fast"), asking("web", json!({"nodeName": "edge-2"}))],
    );
    agent.done(&second).await;
    rig.pass(5).await;
    assert_eq!(rig.fake.keys(), [key("away")].into());
    assert_eq!(standing(&agent, "web").0, PodStanding::Elsewhere);
    let actions: Vec<String> =
        rig.sink.last().last_actions.iter().map(|a| format!("{} {}: {}", a.action, a.pod, a.reason)).collect();
    let gone = "delete default/web: not for this machine: spec.nodeName changed";
    assert!(actions.iter().any(|action| action == gone), "{actions:#?}");
}

#[tokio::test(start_paused = true)]
async fn another_machines_pod_comes_with_a_label_and_stays_when_it_goes() {
    let mut rig = Rig::new(&[ssd("fast")]);
    rig.node.fleet = true;
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    agent.stop().await;
    rig.node.labels.insert("disktype".into(), "ssd".into());
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(5).await;
    assert_eq!(standing(&agent, "fast").0, PodStanding::Ready);
    agent.stop().await;
    rig.node.labels.clear();
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(5).await;
    assert_eq!(standing(&agent, "fast").0, PodStanding::Ready);
    assert_eq!(rig.fake.keys(), [key("fast")].into());
}

#[tokio::test(start_paused = true)]
async fn a_taint_of_effect_no_execute_ends_what_runs_and_lets_it_come_back() {
    let tolerations = json!({"tolerations": [{"key": "out", "operator": "Exists", "effect": "NoExecute"}]});
    let mut rig = Rig::new(&[asking("goes", json!({})), asking("stays", tolerations)]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(5).await;
    assert_eq!(rig.fake.keys(), [key("goes"), key("stays")].into());
    agent.stop().await;
    rig.node.taints.push(taint("out", None, "NoExecute"));
    let agent = settled(&rig).await;
    rig.pass(60).await;
    assert_eq!(standing(&agent, "stays").0, PodStanding::Ready);
    let shown = served(&agent, "goes");
    assert_eq!((shown.spec.unwrap().node_name, shown.status.unwrap().container_statuses), (None, None));
    let (is, word, why) = standing(&agent, "goes");
    assert_ne!(is, PodStanding::Ready);
    assert_eq!((word.as_str(), why.contains("1 node(s) had untolerated taint(s)")), ("Pending", true), "{why}");
    agent.stop().await;
    rig.node.taints.clear();
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(5).await;
    assert_eq!(standing(&agent, "goes").0, PodStanding::Ready);
}
