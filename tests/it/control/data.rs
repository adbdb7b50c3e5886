//! Data of ConfigMaps and Secrets that changes under running pods.

use podwright::control::Verdict;
use serde_json::{Value, json};

use super::rig::{Rig, Running, broken, id, key, pod_with};

fn web() -> Value {
    let from = json!({"secretKeyRef": {"name": "s", "key": "pass"}});
    pod_with(
        "web",
        json!({
            "containers": [{"name": "app", "image": "i:1", "env": [{"name": "PASS", "valueFrom": from}]}],
            "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
        }),
    )
}

fn secret(value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"pass": value}})
}

fn updates(agent: &Running) -> Vec<String> {
    let actions = agent.kubelet.fleet().actions;
    actions.into_iter().filter(|entry| entry.action == "update in place").map(|entry| entry.reason).collect()
}

#[tokio::test(start_paused = true)]
async fn changed_data_is_told_once_and_by_no_later_agent_again() {
    let rig = Rig::new(&[web(), secret("first-value")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let running = rig.fake.processes();
    let second = rig.commit(&agent, &[web(), secret("second-value")]);
    agent.done(&second).await;
    let expected = "changed in place: spec.containers[0].env[PASS] (Secret default/s: pass), \
                    spec.volumes[v] (Secret default/s: pass); takes effect when container app starts again";
    rig.pass(200).await;
    agent.hint();
    rig.pass(1).await;
    assert_eq!(updates(&agent), [expected]);
    assert_eq!(rig.fake.processes(), running);
    agent.stop().await;
    let mut agent = rig.start();
    agent.done(&second).await;
    rig.pass(200).await;
    assert_eq!(updates(&agent), [""; 0]);
    assert_eq!(rig.fake.processes(), running);
    // It takes effect then.
    rig.fake.exit(&key("web"), "app", 1);
    rig.pass(10).await;
    assert_eq!(rig.fake.started(&key("web"), "app").unwrap().env[0].value.reveal(), "second-value");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_asks_has_the_container_that_takes_changed_data_restarted_once() {
    let asking = || {
        let mut pod = web();
        pod["metadata"]["annotations"] = json!({"podwright.dev/restart-on-data-change": "true"});
        pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "other", "image": "i:1"}));
        pod
    };
    let rig = Rig::new(&[asking(), secret("first-value")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let before = rig.pod("web");
    let second = rig.commit(&agent, &[asking(), secret("second-value")]);
    agent.done(&second).await;
    rig.pass(200).await;
    let after = rig.pod("web");
    assert_eq!((&after.record.uid, &after.sandbox), (&before.record.uid, &before.sandbox));
    let attempts = ["app", "other"].map(|name| after.latest(name).unwrap().record.attempt);
    assert_eq!(attempts, [1, 0]);
    assert_eq!(rig.fake.started(&key("web"), "app").unwrap().env[0].value.reveal(), "second-value");
    let events = agent.projection.borrow().events.clone();
    let told = "Container app takes data that changed, will be restarted";
    assert!(events.iter().any(|event| event.reason == "Killing" && event.message == told), "{events:?}");
    agent.stop().await;
    // A later agent finds nothing to do.
    let mut agent = rig.start();
    agent.done(&second).await;
    rig.pass(200).await;
    assert_eq!(rig.pod("web").latest("app").unwrap().record.attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_revision_nothing_is_concluded_about_data() {
    let rig = Rig::new(&[web(), secret("first-value")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    agent.stop().await;
    let (running, record) = (rig.fake.processes(), rig.pod("web").record);
    *rig.directory.shallow.lock().unwrap() = true;
    rig.directory.commit(&[broken()]);
    rig.fake.forget_calls();
    let mut agent = rig.start();
    agent.until("refused", |p| matches!(p.verdict, Verdict::Refused(_))).await;
    rig.pass(200).await;
    assert_eq!(rig.fake.processes(), running);
    assert_eq!(rig.changes(), [""; 0], "neither its record nor its files are touched");
    assert_eq!(rig.pod("web").record, record);
    // What would need the data says that it is not known.
    rig.fake.exit(&key("web"), "app", 1);
    rig.pass(10).await;
    let why = agent.kubelet.fleet().why(&key("web"));
    assert!(why.contains("secret \"s\" not found (no revision could be read"), "{why}");
    let third = rig.commit(&agent, &[web(), secret("first-value")]);
    agent.done(&third).await;
    assert_eq!(updates(&agent), [""; 0], "it is what it was");
}

#[tokio::test(start_paused = true)]
async fn a_value_in_a_file_is_waited_for_and_taken_anew_with_each_start() {
    let reference = json!({"volumeName": "v", "path": "f", "key": "K"});
    let spec = json!({
        "containers": [{"name": "app", "image": "i:1", "env": [{"name": "A", "valueFrom": {"fileKeyRef": reference}}]}],
        "volumes": [{"name": "v", "emptyDir": {}}],
    });
    let rig = Rig::new(&[pod_with("web", spec)]);
    let mut agent = rig.start();
    rig.pass(5).await;
    let told = agent.progress.borrow().pods[0].message.clone();
    assert!(told.contains("couldn't parse env file \"f\" of volume v: there is no such file"), "{told}");
    // However long it was waited for, it is tried again as soon as at the beginning.
    rig.pass(1000).await;
    rig.fake.write_file(&key("web"), "v", "f", "K='first'");
    rig.pass(15).await;
    assert!(rig.fake.started(&key("web"), "app").is_some());
    agent.done(&id(1)).await;
    let value = || rig.fake.started(&key("web"), "app").unwrap().env[0].value.reveal().clone();
    assert_eq!(value(), "first");
    rig.fake.write_file(&key("web"), "v", "f", "K='second'");
    rig.pass(200).await;
    assert_eq!(value(), "first", "what runs keeps what it has");
    rig.fake.exit(&key("web"), "app", 1);
    rig.pass(60).await;
    assert_eq!(value(), "second");
}
