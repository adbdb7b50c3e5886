//! From commits to pods.

use std::sync::atomic::Ordering;

use podwright::backend::fake::Verb;
use podwright::control::{PodStanding, Verdict};
use podwright::model::{ContainerState, Kind, ObjectKey};
use serde_json::{Value, json};

use super::rig::{Rig, broken, id, key, pod, pod_with};

pub(super) fn preset(name: &str, value: &str) -> Value {
    json!({"apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "env": [{"name": "DB_PORT", "value": value}]}})
}

#[tokio::test(start_paused = true)]
async fn a_commit_becomes_pods() {
    let rig = Rig::new(&[pod("web", "nginx:1"), pod("db", "pg:1")]);
    let mut agent = rig.start();
    let progress = agent.done(&id(1)).await;
    assert_eq!(progress.pods.iter().map(|p| p.standing).collect::<Vec<_>>(), [PodStanding::Ready; 2]);
    let web: Vec<String> = rig.changes().into_iter().filter(|c| c.contains("web")).collect();
    assert_eq!(web, ["PutRecord default/web", "RunSandbox default/web #0", "StartContainer default/web app#0"]);
    assert_eq!(rig.pod("web").record.revision, id(1));
    let projection = agent.projection.borrow().clone();
    let served = &projection.objects[&ObjectKey { kind: Kind::Pod, ..key("web").object() }];
    assert_eq!(served.value["status"]["phase"], "Running");
    assert!(projection.events.iter().any(|e| e.reason == "Started" && e.object.name == "web"));
    assert_eq!(projection.node.as_ref().unwrap().value["metadata"]["name"], "edge-1");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_kubernetes_makes_in_place_keeps_the_pod() {
    let rig = Rig::new(&[pod("web", "nginx:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let before = rig.pod("web");
    let second = rig.commit(&agent, &[pod("web", "nginx:2")]);
    agent.done(&second).await;
    let after = rig.pod("web");
    assert_eq!(after.record.uid, before.record.uid);
    assert_eq!((after.sandbox.clone(), after.record.generation), (before.sandbox.clone(), 2));
    let latest = after.latest("app").unwrap();
    assert_eq!((latest.record.attempt, latest.record.image.as_str()), (1, "nginx:2"));
    let actions = agent.kubelet.fleet().actions;
    let told: Vec<(&str, &str)> = actions.iter().map(|a| (a.action.as_str(), a.reason.as_str())).collect();
    assert_eq!(told[1], ("update in place", "changed in place: spec.containers[0].image"));
    assert_eq!(told[2], ("restart container", "app: image changed from nginx:1 to nginx:2"));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_needs_a_new_pod_recreates_it_and_says_why() {
    let rig = Rig::new(&[pod("web", "nginx:1"), pod("db", "pg:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let before = rig.uids();
    // A uid derives from the moment, which has to be another one.
    rig.pass(1).await;
    let mut changed = pod("web", "nginx:1");
    changed["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "1"}]);
    let second = rig.commit(&agent, &[changed, pod("db", "pg:1")]);
    agent.done(&second).await;
    let after = rig.uids();
    assert_ne!(after["web"], before["web"]);
    assert_eq!(after["db"], before["db"]);
    let actions = agent.kubelet.fleet().actions;
    let last = actions.last().unwrap();
    assert_eq!((last.action.as_str(), last.pod.as_str()), ("recreate", "default/web"));
    assert!(last.reason.starts_with("recreated: spec.containers[0].env"), "{}", last.reason);
}

#[tokio::test(start_paused = true)]
async fn a_preset_recreates_exactly_the_pods_it_matches() {
    let rig = Rig::new(&[pod("web", "nginx:1"), pod("db", "pg:1"), preset("allow-database", "6379")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let before = rig.uids();
    // A uid derives from the moment, which has to be another one.
    rig.pass(1).await;
    let second = rig.commit(&agent, &[pod("web", "nginx:1"), pod("db", "pg:1"), preset("allow-database", "6380")]);
    agent.done(&second).await;
    let after = rig.uids();
    assert_ne!(after["web"], before["web"]);
    assert_eq!(after["db"], before["db"]);
    let start = rig.fake.started(&key("web"), "app").unwrap();
    assert_eq!(start.env.iter().find(|v| v.name == "DB_PORT").unwrap().value.reveal(), "6380");
    let reason = agent.kubelet.fleet().actions.last().unwrap().reason.clone();
    assert!(reason.contains("(PodPreset allow-database)"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn presets_that_conflict_are_told_by_an_event_and_the_status_and_the_pod_stays() {
    let rig = Rig::new(&[pod("web", "nginx:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let uids = rig.uids();
    let told = |agent: &super::rig::Running| -> Vec<(String, u32)> {
        let events = agent.projection.borrow().events.clone();
        let conflicts = events.iter().filter(|e| e.reason == "PodPresetConflict" && e.object.name == "web");
        conflicts.map(|e| (e.message.clone(), e.count)).collect()
    };
    // The pod's own spec does not change: nothing would be done to it.
    let objects = [pod("web", "nginx:1"), preset("a", "1"), preset("b", "2")];
    let second = rig.commit(&agent, &objects);
    agent.done(&second).await;
    rig.pass(5).await;
    assert_eq!(rig.uids(), uids);
    let expected = "none of the PodPresets a, b is merged: spec.containers[0].env[DB_PORT] is \"1\" in PodPreset a \
                    (1.yaml:12:1) and \"2\" in PodPreset b (2.yaml:12:1)";
    assert_eq!(told(&agent), [(expected.to_owned(), 1)]);
    let status = rig.sink.last();
    let skipped = status.pods[0].open().skipped_presets;
    assert_eq!(skipped.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let conflict = &skipped[1].conflicts[0];
    assert_eq!((conflict.key.as_str(), conflict.wanted.value.as_str()), ("DB_PORT", "\"2\""));
    // Once, however often the directory is looked at and whatever else is committed.
    rig.commit(&agent, &[&objects[..], &[pod("db", "pg:1")]].concat());
    rig.pass(600).await;
    assert_eq!(told(&agent), [(expected.to_owned(), 1)]);
    // Resolved, it is forgotten; back again, it is told again.
    rig.commit(&agent, &[pod("web", "nginx:1"), preset("a", "1")]);
    rig.pass(5).await;
    assert!(rig.sink.last().pods[0].open().skipped_presets.is_empty());
    rig.commit(&agent, &objects);
    rig.pass(60).await;
    assert_eq!(told(&agent).len(), 2, "the pod is another one");
}

#[tokio::test(start_paused = true)]
async fn conflicts_are_told_too_of_a_pod_that_says_the_same_in_other_words() {
    let pod = |cpu: &str| {
        let limits = json!({"limits": {"cpu": cpu, "memory": "1Gi"}});
        pod_with("web", json!({"containers": [{"name": "app", "image": "nginx:1", "resources": limits}]}))
    };
    let rig = Rig::new(&[pod("1000m")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let uids = rig.uids();
    let second = rig.commit(&agent, &[pod("1"), preset("a", "1"), preset("b", "2")]);
    agent.done(&second).await;
    rig.pass(5).await;
    assert_eq!(rig.uids(), uids);
    let events = agent.projection.borrow().events.clone();
    assert_eq!(events.iter().filter(|event| event.reason == "PodPresetConflict").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_the_manifests_lose_is_removed() {
    let rig = Rig::new(&[pod("web", "nginx:1"), pod("db", "pg:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let second = rig.commit(&agent, &[pod("db", "pg:1")]);
    agent.done(&second).await;
    assert_eq!(rig.uids().into_keys().collect::<Vec<_>>(), ["db"]);
    assert_eq!(agent.kubelet.fleet().actions.last().unwrap().reason, "removed from the manifests");
    let third = rig.commit(&agent, &[]);
    agent.done(&third).await;
    assert!(rig.fake.processes().is_empty() && rig.fake.keys().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_invalid_revision_changes_nothing_and_the_last_valid_one_is_healed() {
    let rig = Rig::new(&[pod("web", "nginx:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let running = rig.fake.processes();
    rig.fake.forget_calls();
    let second = rig.commit(&agent, &[pod("web", "nginx:2"), broken(), pod("new", "x:1")]);
    let progress = agent.until("refused", |p| matches!(p.verdict, Verdict::Refused(_))).await;
    assert_eq!(progress.attempted.as_ref().unwrap().id, second);
    assert_eq!(progress.applied.as_ref().unwrap().id, id(1));
    assert!(progress.is_hopeless());
    rig.pass(5).await;
    assert_eq!(rig.fake.processes(), running);
    assert_eq!(rig.changes(), [""; 0]);
    let status = rig.sink.last();
    assert_eq!(rig.sink.condition(), "Stalled");
    assert_eq!(status.errors, ["1.yaml:3:5: error: unknown field \"broken\""]);
    assert_eq!(status.last_applied_revision, Some(id(1)));
    // Still healed.
    rig.fake.exit(&key("web"), "app", 1);
    rig.pass(5).await;
    assert!(matches!(rig.pod("web").latest("app").unwrap().state, ContainerState::Running { .. }));
    assert_eq!(rig.pod("web").latest("app").unwrap().record.image, "nginx:1");
    // And a good one gets things going again.
    let third = rig.commit(&agent, &[pod("web", "nginx:2")]);
    agent.done(&third).await;
    rig.pass(5).await;
    assert_eq!((rig.sink.condition().as_str(), rig.sink.last().errors.len()), ("Ready", 0));
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_panics_refuses_the_revision() {
    let rig = Rig::new(&[pod("web", "nginx:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    // The rig's reader knows no such kind, and unwraps.
    rig.commit(&agent, &[json!({"apiVersion": "v9", "kind": "Surprise", "metadata": {"name": "x"}})]);
    let progress = agent.until("refused", |p| matches!(p.verdict, Verdict::Refused(_))).await;
    let Verdict::Refused(told) = &progress.verdict else { panic!("not refused") };
    assert_eq!(told.0[0].rule, "internal");
    assert_eq!(progress.applied.as_ref().unwrap().id, id(1));
}

#[tokio::test(start_paused = true)]
async fn of_two_commits_in_quick_succession_the_newest_wins() {
    let rig = Rig::new(&[pod("web", "nginx:1"), pod("old", "x:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.behave(
        "app",
        podwright::backend::fake::Behaviour { stops_after: std::time::Duration::from_secs(9), ..Default::default() },
    );
    let mut other = pod("web", "nginx:1");
    other["spec"]["hostname"] = json!("other");
    rig.commit(&agent, &[other, pod("briefly", "x:1")]);
    rig.pass(1).await;
    // The first is still under way when the second comes.
    let third = rig.commit(
        &agent,
        &[pod_with("web", json!({"hostname": "newest", "containers": [{"name": "app", "image": "nginx:3"}]}))],
    );
    agent.done(&third).await;
    let spec = rig.pod("web").record.realised.spec.open().spec.unwrap();
    assert_eq!((spec.hostname.as_deref(), spec.containers[0].image.as_deref()), (Some("newest"), Some("nginx:3")));
    assert_eq!(rig.uids().into_keys().collect::<Vec<_>>(), ["web"]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_came_and_went_before_it_was_begun_is_never_begun() {
    let rig = Rig::new(&[pod("web", "nginx:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    // Two rounds without a pause between them: workers come second.
    rig.directory.commit(&[pod("web", "nginx:1"), pod("briefly", "x:1")]);
    rig.fake.on_call(|call| {
        let first = call.verb == podwright::backend::fake::Verb::Observe && call.pod == Some(key("briefly"));
        first.then_some(podwright::backend::fake::Fault::Slow(std::time::Duration::from_secs(30)))
    });
    agent.hint();
    rig.pass(1).await;
    let third = rig.commit(&agent, &[pod("web", "nginx:1")]);
    agent.until("at the third", |p| p.attempted.as_ref().is_some_and(|r| r.id == third)).await;
    rig.pass(100).await;
    assert!(!rig.changes().iter().any(|c| c.contains("briefly")), "{:?}", rig.changes());
    agent.done(&third).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_hints_cause_one_round_and_nothing_is_parsed_twice() {
    let rig = Rig::new(&[pod("web", "nginx:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let reads = rig.directory.reads.load(Ordering::SeqCst);
    for _ in 0..1000 {
        agent.hint();
    }
    rig.pass(5).await;
    assert_eq!(rig.directory.reads.load(Ordering::SeqCst), reads + 1);
    assert_eq!(rig.parses.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_watcher_costs_only_the_resync() {
    let mut rig = Rig::new(&[pod("web", "nginx:1")]);
    rig.resync = std::time::Duration::from_secs(60);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let (dead, _) = tokio::sync::mpsc::channel(1);
    agent.hints = dead;
    let second = rig.directory.commit(&[pod("web", "nginx:2")]);
    rig.pass(30).await;
    assert_eq!(agent.progress.borrow().attempted.as_ref().unwrap().id, id(1));
    let begun = rig.now();
    agent.done(&second).await;
    assert!(rig.now().duration_since(begun).as_secs() <= 60);
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_followed_without_a_look_at_every_pod() {
    let rig = Rig::new(&[pod("web", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let lists = || rig.fake.calls().iter().filter(|call| call.verb == Verb::List).count();
    let before = lists();
    let second = rig.commit(&agent, &[pod("web", "i:1"), pod("other", "i:1")]);
    agent.done(&second).await;
    let third = rig.commit(&agent, &[pod("other", "i:2")]);
    agent.done(&third).await;
    assert_eq!(rig.uids().into_keys().collect::<Vec<_>>(), ["other"]);
    assert_eq!((before, lists()), (1, 1), "the workers look at their pods themselves");
    agent.stop().await;
}
