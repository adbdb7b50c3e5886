//! Pods for which there is no room: what they are shown as, and when they are looked at again although nobody hints at it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use podwright::backend::fake::{Behaviour, Fault, Verb};
use podwright::control::{PodStanding, Progress, Verdict};
use podwright::model::{LimitRangeItem, LimitType, PodSecurityLevel, Sandbox};
use serde_json::{Value, json};

use super::placement::{served, standing, told};
use super::rig::{Rig, Running, broken, failed, id, key, pod_with};

/// A pod that asks for cpu, with a container of its own name.
fn asking(name: &str, cpu: &str, mut more: Value) -> Value {
    let resources = json!({"requests": {"cpu": cpu}});
    more["containers"] = json!([{"name": name, "image": "i:1", "resources": resources}]);
    pod_with(name, more)
}

fn job(cpu: &str) -> Value {
    asking("job", cpu, json!({"restartPolicy": "Never"}))
}

/// A machine with two cores. The container `job` ends after a minute.
fn two_cores(objects: &[Value]) -> Rig {
    let mut rig = Rig::new(objects);
    rig.node.allocatable = [("cpu".to_owned(), "2".to_owned())].into();
    rig.fake.behave("job", Behaviour::exits(Duration::from_secs(60), 0));
    rig
}

async fn until_runs(agent: &mut Running, name: &str) {
    let is_ready = |p: &podwright::control::Progress| {
        p.pods.iter().any(|pod| pod.key.name == name && pod.standing == PodStanding::Ready)
    };
    agent.until(name, is_ready).await;
}

const WAITS: &str = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims \
                     found for incoming pod.";

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_room_and_comes_when_another_one_ends() {
    let rig = two_cores(&[job("1500m"), asking("web", "1", json!({})), asking("xs", "500m", json!({}))]);
    let mut agent = rig.start();
    until_runs(&mut agent, "job").await;
    until_runs(&mut agent, "xs").await;
    rig.pass(5).await;
    let why = format!("Unschedulable: {WAITS}");
    assert_eq!(standing(&agent, "web"), (PodStanding::Progressing, "Pending".into(), why));
    let conditions = served(&agent, "web").status.unwrap().conditions.unwrap();
    let [scheduled] = conditions.as_slice() else { panic!("{conditions:?}") };
    assert_eq!((scheduled.reason.as_deref(), scheduled.message.as_deref()), (Some("Unschedulable"), Some(WAITS)));
    assert_eq!(told(&agent, "web"), [format!("default-scheduler FailedScheduling: {WAITS}")]);
    let (uid, reads) = (rig.uids()["web"].clone(), rig.directory.reads.load(Ordering::SeqCst));

    // Nobody hints at anything: the end of the job is enough.
    until_runs(&mut agent, "web").await;
    assert_eq!(rig.pod("job").record.terminal.as_deref(), Some("Succeeded"));
    assert_eq!(rig.uids()["web"], uid, "the same pod");
    assert_eq!(rig.directory.reads.load(Ordering::SeqCst), reads, "the directory is not read for that");
    let told = told(&agent, "web");
    for event in [
        "default-scheduler Scheduled: Successfully assigned default/web to edge-1",
        "podwright Placed: spec.containers fits this machine now (node resources)",
    ] {
        assert!(told.iter().any(|found| found == event), "{told:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_goes_leaves_its_room_once_it_is_gone() {
    let rig = two_cores(&[asking("first", "2", json!({})), asking("web", "1", json!({}))]);
    rig.fake.behave("first", Behaviour { stops_after: Duration::from_secs(20), ..Behaviour::default() });
    let mut agent = rig.start();
    until_runs(&mut agent, "first").await;
    rig.commit(&agent, &[asking("web", "1", json!({}))]);
    rig.pass(10).await;
    assert_eq!(standing(&agent, "web").1, "Pending", "the other one is still going");
    until_runs(&mut agent, "web").await;
    assert_eq!(rig.fake.keys(), [key("web")].into());
}

#[tokio::test(start_paused = true)]
async fn a_successor_keeps_its_place_where_more_runs_than_there_is_room_for() {
    let pods = |hostname: &str| {
        let a = asking("a", "1", json!({"hostname": hostname, "nodeName": "edge-1"}));
        [a, asking("b", "1", json!({})), asking("c", "1", json!({})), asking("web", "1", json!({}))]
    };
    let mut rig = Rig::new(&pods("x")[..3]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    agent.stop().await;
    rig.node.allocatable = [("cpu".to_owned(), "2".to_owned())].into();
    let mut agent = rig.start();
    rig.commit(&agent, &pods("x"));
    agent.until("web waits", |p| p.pods.iter().any(|pod| pod.key.name == "web" && pod.stuck)).await;
    let uid = rig.uids()["a"].clone();
    // Its record cannot be written for a while, and all is looked at meanwhile.
    let mut left = 3;
    rig.fake.on_call(move |call| {
        let is_new = call.verb == Verb::PutRecord && call.pod == Some(key("a")) && left > 0;
        left -= i32::from(is_new);
        is_new.then(|| Fault::Fail(failed("put record")))
    });
    rig.commit(&agent, &pods("y"));
    rig.pass(5).await;
    assert!(!rig.uids().contains_key("a"), "{:#?}", rig.changes());
    agent.hint();
    until_runs(&mut agent, "a").await;
    assert_ne!(rig.uids()["a"], uid);
    assert_eq!(standing(&agent, "web").1, "Pending");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_waited_for_another_ones_end_is_not_told_of_what_it_waited_for_when_that_is_gone() {
    for (more, before) in [(json!({}), "Pending"), (json!({"nodeName": "edge-1"}), "OutOfcpu")] {
        let rig = two_cores(&[asking("first", "2", json!({}))]);
        rig.fake.behave("first", Behaviour { stops_after: Duration::from_secs(20), ..Behaviour::default() });
        let mut agent = rig.start();
        until_runs(&mut agent, "first").await;
        rig.commit(&agent, &[asking("web", "1", more)]);
        rig.pass(10).await;
        assert_eq!(standing(&agent, "web").1, before);
        let of_web = |p: &Progress| p.pods.iter().find(|pod| pod.key.name == "web").map(|web| (web.stuck, web.past));
        // Nothing is told in which the other one is gone and this one waits on.
        let mut seen = Vec::new();
        let is_under_way = |p: &Progress| {
            if p.pods.iter().all(|pod| pod.key.name == "web") {
                seen.extend(of_web(p));
            }
            p.is_done()
        };
        agent.until("done", is_under_way).await;
        assert_eq!((seen.first(), seen.iter().any(|(stuck, _)| *stuck)), (Some(&(false, true)), false), "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_applied_is_gone_on_with_beyond_new_bounds_but_not_beyond_a_new_ceiling() {
    let volumes = json!([{"name": "v", "configMap": {"name": "c"}}]);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}});
    let web = asking("web", "1", json!({"hostNetwork": true, "volumes": volumes}));
    let mut rig = Rig::new(&[web, map]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    agent.stop().await;
    let most = LimitRangeItem {
        max: [("cpu".to_owned(), "500m".to_owned())].into(),
        ..LimitRangeItem::new(LimitType::Container)
    };
    rig.node.limit_range = vec![most];
    for (level, is_begun) in [(PodSecurityLevel::Privileged, true), (PodSecurityLevel::Baseline, false)] {
        rig.node.pod_security = level;
        // As after a boot: nothing of it runs any more.
        rig.fake.kill_sandbox(&key("web"));
        rig.fake.forget_calls();
        let mut agent = rig.start();
        agent.until("refused", |p| matches!(p.verdict, Verdict::Refused(_))).await;
        rig.pass(100).await;
        let has_begun = rig.changes().iter().any(|call| call.starts_with("StartContainer"));
        assert_eq!(has_begun, is_begun, "{level:?}: {:#?}", rig.changes());
        agent.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_new_ceiling_refuses_is_not_begun_when_there_is_room() {
    for (level, is_begun) in [(PodSecurityLevel::Privileged, true), (PodSecurityLevel::Baseline, false)] {
        let mut rig = two_cores(&[job("1500m"), asking("web", "1", json!({"hostNetwork": true}))]);
        let mut agent = rig.start();
        until_runs(&mut agent, "job").await;
        rig.pass(5).await;
        assert_eq!(rig.pod("web").sandbox, Sandbox::Absent);
        agent.stop().await;
        rig.node.pod_security = level;
        let agent = rig.start();
        rig.pass(200).await;
        let has_begun = matches!(rig.pod("web").sandbox, Sandbox::Ready { .. });
        assert_eq!(has_begun, is_begun, "{level:?}: {:#?}", agent.progress.borrow());
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_revision_a_pod_on_record_has_the_room_that_comes_to_be_free() {
    let rig = two_cores(&[job("1500m"), asking("web", "1", json!({}))]);
    let mut agent = rig.start();
    until_runs(&mut agent, "job").await;
    rig.pass(5).await;
    agent.stop().await;
    *rig.directory.shallow.lock().unwrap() = true;
    rig.directory.commit(&[broken()]);
    let agent = rig.start();
    rig.pass(5).await;
    assert_eq!(rig.pod("web").sandbox, Sandbox::Absent);
    let uid = rig.uids()["web"].clone();
    rig.pass(120).await;
    assert!(matches!(rig.pod("web").sandbox, Sandbox::Ready { .. }), "{:#?}", agent.progress.borrow());
    assert_eq!(rig.uids()["web"], uid);
}

#[tokio::test(start_paused = true)]
async fn of_what_runs_nobody_is_told_that_it_waits() {
    let mut rig = Rig::new(&[asking("web", "1", json!({}))]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    agent.stop().await;
    rig.node.allocatable = [("cpu".to_owned(), "500m".to_owned())].into();
    let mut agent = rig.start();
    let warnings = agent.done(&id(1)).await.warnings.clone();
    assert!(warnings.0.is_empty(), "{warnings:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_names_its_machine_fails_without_room_and_is_made_anew_with_it() {
    let rig = two_cores(&[job("1500m"), asking("web", "1", json!({"nodeName": "edge-1"}))]);
    let mut agent = rig.start();
    until_runs(&mut agent, "job").await;
    rig.pass(5).await;
    let status = served(&agent, "web").status.unwrap();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("OutOfcpu")));
    let words = "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000";
    assert_eq!(status.message, Some(format!("Pod was rejected: {words}")));
    assert_eq!(told(&agent, "web"), [format!("kubelet OutOfcpu: {words}")]);
    let uid = rig.uids()["web"].clone();
    until_runs(&mut agent, "web").await;
    assert_ne!(rig.uids()["web"], uid);
}

#[tokio::test(start_paused = true)]
async fn other_amounts_wait_for_room_and_are_given_when_there_is_some() {
    let rig = two_cores(&[job("1500m"), asking("web", "500m", json!({}))]);
    let mut agent = rig.start();
    until_runs(&mut agent, "job").await;
    until_runs(&mut agent, "web").await;
    rig.fake.forget_calls();
    let pending = |agent: &Running| {
        let conditions = served(agent, "web").status.unwrap().conditions.unwrap();
        let found = conditions.into_iter().find(|condition| condition.type_ == "PodResizePending")?;
        assert_eq!(found.status, "True");
        Some((found.reason.unwrap(), found.message.unwrap()))
    };
    let words = "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000";
    rig.commit(&agent, &[job("1500m"), asking("web", "1", json!({}))]);
    rig.pass(5).await;
    assert_eq!(pending(&agent), Some(("Deferred".to_owned(), words.to_owned())));
    assert_eq!(rig.changes(), [""; 0], "it keeps what it has");
    let event = format!("kubelet ResizeDeferred: Pod resize Deferred: {{\"generation\":1,\"error\":\"{words}\"}}");
    assert!(told(&agent, "web").contains(&event), "{:#?}", told(&agent, "web"));
    assert!(agent.progress.borrow().pods.iter().any(|pod| pod.key.name == "web" && pod.stuck));

    rig.commit(&agent, &[job("1500m"), asking("web", "3", json!({}))]);
    rig.pass(5).await;
    let never = "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000";
    assert_eq!(pending(&agent), Some(("Infeasible".to_owned(), never.to_owned())));

    let last = rig.commit(&agent, &[job("1500m"), asking("web", "1", json!({}))]);
    agent.done(&last).await;
    assert_eq!(pending(&agent), None);
    let resized = rig.changes();
    assert!(resized.iter().any(|call| call == "ResizeContainer default/web web#0"), "{resized:#?}");
    assert_eq!(rig.pod("web").record.realised.pending_resize, None);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_costs_nothing_while_nothing_happens() {
    let rig = two_cores(&[asking("first", "2", json!({})), asking("web", "1", json!({}))]);
    let mut agent = rig.start();
    until_runs(&mut agent, "first").await;
    rig.pass(120).await;
    let (count, version) = (rig.sink.count(), agent.projection.borrow().resource_version);
    rig.fake.forget_calls();
    rig.pass(24 * 3600).await;
    assert_eq!(rig.fake.calls().len(), 0, "nobody looks");
    for _ in 0..3 {
        agent.hint();
        rig.pass(90).await;
    }
    assert_eq!(rig.changes(), [""; 0]);
    assert_eq!((rig.sink.count(), agent.projection.borrow().resource_version), (count, version));
    // A new agent finds it as it was.
    let uid = rig.uids()["web"].clone();
    agent.stop().await;
    let agent = rig.start();
    rig.pass(10).await;
    assert_eq!((standing(&agent, "web").1, &rig.uids()["web"]), ("Pending".to_owned(), &uid));
    assert_eq!(rig.changes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn in_a_fleet_what_has_no_room_is_another_machines_until_it_has() {
    let mut rig = two_cores(&[job("1500m"), asking("web", "1", json!({}))]);
    rig.node.fleet = true;
    let mut agent = rig.start();
    until_runs(&mut agent, "job").await;
    rig.pass(5).await;
    assert_eq!(standing(&agent, "web"), (PodStanding::Elsewhere, "NotForThisMachine".into(), String::new()));
    assert_eq!(rig.fake.keys(), [key("job")].into());
    let message = served(&agent, "web").status.unwrap().message;
    assert_eq!(message.as_deref(), Some("it asks for 1 of cpu, and too much of 2 is taken"));
    agent.done(&id(1)).await;
    until_runs(&mut agent, "web").await;
}
