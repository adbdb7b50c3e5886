//! After rounds in which nothing changed, what changes is seen: nothing that an agent keeps from one round to the next
//! outlives what it was made of.

use std::sync::Arc;
use std::time::Duration;

use podwright::model::{Kind, ObjectKey, Packed, PodEntry, PodKey, PodUid, Projected};
use podwright::port::{ContainerBackend, ErrorKind, PortError};
use serde_json::{Value, json};

use super::rig::{Rig, Running, key, pod, pod_with};
use podwright::backend::fake::{Fault, Verb};

const QUIET: usize = 3;

fn preset(name: &str, value: &str) -> Value {
    json!({"apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "env": [{"name": "PORT", "value": value}]}})
}

fn map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"app.conf": value}})
}

/// A pod with a file of the ConfigMap `m`.
fn reader(name: &str) -> Value {
    pod_with(
        name,
        json!({
            "containers": [{"name": "app", "image": "i:1", "volumeMounts": [{"name": "v", "mountPath": "/m"}]}],
            "volumes": [{"name": "v", "configMap": {"name": "m"}}],
        }),
    )
}

/// An agent that has done everything and looked a few times since, in vain.
async fn quiet(rig: &Rig) -> Running {
    let mut agent = rig.start();
    agent.done(&super::rig::id(1)).await;
    look(rig, &agent, QUIET).await;
    rig.fake.forget_calls();
    agent
}

async fn look(rig: &Rig, agent: &Running, rounds: usize) {
    for _ in 0..rounds {
        agent.hint();
        rig.pass(120).await;
    }
}

fn entry(rig: &Rig, name: &str) -> PodEntry {
    rig.sink
        .last()
        .pods
        .iter()
        .map(Packed::open)
        .find(|entry| entry.name == name)
        .unwrap_or_else(|| panic!("no entry of {name}"))
}

fn served(agent: &Running, kind: Kind, name: &str) -> Projected {
    let key = ObjectKey { kind, ..key(name).object() };
    agent.projection.borrow().objects[&key].clone()
}

#[tokio::test(start_paused = true)]
async fn a_preset_that_changed_reaches_its_pods_and_no_other() {
    let rig = Rig::new(&[pod("web", "i:1"), pod("db", "i:1"), preset("p", "1")]);
    let mut agent = quiet(&rig).await;
    let (uids, version) = (rig.uids(), entry(&rig, "web").applied_presets[0].version.clone());
    let second = rig.commit(&agent, &[pod("web", "i:1"), pod("db", "i:1"), preset("p", "2")]);
    agent.done(&second).await;
    look(&rig, &agent, 1).await;
    assert_ne!(rig.uids()["web"], uids["web"]);
    assert_eq!(rig.uids()["db"], uids["db"]);
    assert_eq!(rig.fake.started(&key("web"), "app").unwrap().env[0].value.reveal(), "2");
    assert_ne!(entry(&rig, "web").applied_presets[0].version, version);
    assert_eq!(served(&agent, Kind::PodPreset, "p").value["spec"]["env"][0]["value"], "2");
}

#[tokio::test(start_paused = true)]
async fn presets_that_conflict_from_now_on_are_told_of_a_pod_that_stays_as_it_is() {
    let rig = Rig::new(&[pod("web", "i:1")]);
    let mut agent = quiet(&rig).await;
    let uids = rig.uids();
    let second = rig.commit(&agent, &[pod("web", "i:1"), preset("a", "1"), preset("b", "2")]);
    agent.done(&second).await;
    look(&rig, &agent, 1).await;
    assert_eq!(rig.uids(), uids);
    assert_eq!(entry(&rig, "web").skipped_presets.len(), 2);
    assert!(agent.projection.borrow().events.iter().any(|event| event.reason == "PodPresetConflict"));
}

#[tokio::test(start_paused = true)]
async fn a_config_map_that_changed_reaches_the_files_of_pods_that_did_not() {
    let rig = Rig::new(&[reader("web"), map("m", "old")]);
    let mut agent = quiet(&rig).await;
    let (before, version) = (rig.fake.volumes(&key("web")), served(&agent, Kind::ConfigMap, "m").resource_version);
    let second = rig.commit(&agent, &[reader("web"), map("m", "new, and longer")]);
    agent.done(&second).await;
    look(&rig, &agent, 1).await;
    assert_ne!(rig.fake.volumes(&key("web")), before);
    assert_eq!(served(&agent, Kind::ConfigMap, "m").value["data"]["app.conf"], "new, and longer");
    assert!(served(&agent, Kind::ConfigMap, "m").resource_version > version);
}

#[tokio::test(start_paused = true)]
async fn one_pod_that_changed_is_shown_anew_and_the_others_are_the_same_values() {
    let rig = Rig::new(&[pod("db", "i:1"), pod("web", "i:1"), pod("zoo", "i:1")]);
    let agent = quiet(&rig).await;
    let before = ["db", "web", "zoo"].map(|name| (served(&agent, Kind::Pod, name), entry(&rig, name)));
    rig.fake.exit(&key("web"), "app", 1);
    look(&rig, &agent, QUIET).await;
    let after = ["db", "web", "zoo"].map(|name| (served(&agent, Kind::Pod, name), entry(&rig, name)));
    assert_eq!(after[1].1.restarts, 1);
    assert_eq!(after[1].0.value["status"]["containerStatuses"][0]["restartCount"], 1);
    assert!(after[1].0.resource_version > before[1].0.resource_version);
    for other in [0, 2] {
        assert!(Arc::ptr_eq(&after[other].0.value, &before[other].0.value));
        assert_eq!(after[other].1, before[other].1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_the_same_name_is_another_one() {
    let objects = [pod("db", "i:1"), pod("web", "i:1")];
    let rig = Rig::new(&objects);
    let mut agent = quiet(&rig).await;
    let (uid, served_before) = (entry(&rig, "web").uid.clone(), served(&agent, Kind::Pod, "web"));
    let second = rig.commit(&agent, &objects[..1]);
    agent.done(&second).await;
    look(&rig, &agent, QUIET).await;
    assert_eq!(rig.sink.last().pods.len(), 1);
    let third = rig.commit(&agent, &objects);
    agent.done(&third).await;
    look(&rig, &agent, QUIET).await;
    let new = rig.pod("web").record.uid;
    assert_ne!(new.0, uid);
    assert_eq!(entry(&rig, "web").uid, new.0);
    let now = served(&agent, Kind::Pod, "web");
    assert_eq!(now.value["metadata"]["uid"], new.0.as_str());
    assert!(now.resource_version > served_before.resource_version);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_appears_behind_the_agents_back_is_seen_by_the_next_resync() {
    let mut rig = Rig::new(&[pod("web", "i:1")]);
    rig.resync = Duration::from_secs(60);
    let agent = quiet(&rig).await;
    let mut record = rig.pod("web").record;
    record.key = PodKey::new("default", "stranger");
    record.uid = PodUid("0b2d5a1e-0000-4000-8000-000000000001".to_owned());
    rig.fake.put_record(&record).await.unwrap();
    look(&rig, &agent, 1).await;
    assert_eq!(rig.fake.keys().into_iter().collect::<Vec<_>>(), [key("web")]);
}

#[tokio::test(start_paused = true)]
async fn a_round_that_failed_is_not_taken_for_one_that_was_done() {
    let mut rig = Rig::new(&[pod("web", "i:1")]);
    rig.resync = Duration::from_secs(60);
    let mut agent = quiet(&rig).await;
    rig.fake.on_call(|call| {
        let error = PortError::new(ErrorKind::Unavailable, "list pods", "the machine", "told to");
        (call.verb == Verb::List).then_some(Fault::Fail(error))
    });
    // All pods are looked at by the resync, not because of a hint.
    let second = rig.directory.commit(&[pod("web", "i:2")]);
    rig.pass(61).await;
    assert_ne!(rig.pod("web").latest("app").unwrap().record.image, "i:2");
    rig.fake.heal();
    agent.done(&second).await;
    assert_eq!(rig.pod("web").latest("app").unwrap().record.image, "i:2");
    // Back to what it was before: another revision, whatever it says.
    let third = rig.commit(&agent, &[pod("web", "i:1")]);
    agent.done(&third).await;
    assert_eq!(rig.pod("web").latest("app").unwrap().record.image, "i:1");
}
