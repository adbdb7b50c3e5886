//! Other cpu and memory for pods that run: what is done, what is told, and what happens when it cannot be done or nobody is
//! left to do it.

use std::sync::atomic::Ordering;

use podwright::backend::fake::{Behaviour, Fault, Verb};
use podwright::model::{Kind, ObjectKey, Resources};
use podwright::port::{ErrorKind, PortError};
use serde_json::{Value, json};

use super::crash::kill_at;
use super::rig::{Rig, Running, id, key, pod_with};

fn web(cpu: &str, memory: &str, policy: &str) -> Value {
    let policy = json!([{"resourceName": "memory", "restartPolicy": policy}]);
    let resources = json!({"limits": {"cpu": cpu, "memory": memory}});
    pod_with(
        "web",
        json!({"terminationGracePeriodSeconds": 1, "containers": [
            {"name": "app", "image": "i:1", "resources": resources, "resizePolicy": policy}, {"name": "b", "image": "i:1"}]}),
    )
}

fn limits(resources: &Option<Resources>) -> [String; 2] {
    ["cpu", "memory"].map(|name| resources.as_ref().unwrap().limits.get(name).unwrap().clone())
}

fn status(agent: &Running) -> Value {
    let projection = agent.projection.borrow().clone();
    projection.objects[&ObjectKey { kind: Kind::Pod, ..key("web").object() }].value["status"].clone()
}

fn progress(agent: &Running) -> Option<(String, Option<String>)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let status = status(agent);
    let condition = status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "PodResizeInProgress")?;
    assert_eq!(condition["status"], "True");
    Some((text(&condition["reason"]).unwrap_or_default(), text(&condition["message"])))
}

/// Reason and message of the events of resizes, in order.
fn told(agent: &Running) -> Vec<(String, String)> {
    let events = agent.projection.borrow().events.clone();
    let own = events.iter().filter(|e| e.reason.starts_with("Resize"));
    own.map(|e| (e.reason.clone(), e.message.clone())).collect()
}

#[tokio::test(start_paused = true)]
async fn other_cpu_and_memory_reach_a_container_that_runs_on() {
    let rig = Rig::new(&[web("1", "64Mi", "NotRequired")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let running = rig.fake.processes();
    rig.fake.forget_calls();
    let second = rig.commit(&agent, &[web("2", "128Mi", "NotRequired")]);
    agent.done(&second).await;
    assert_eq!(rig.changes(), ["PutRecord default/web", "ResizeContainer default/web app#0"]);
    assert_eq!(rig.fake.processes(), running);
    assert_eq!(limits(&rig.pod("web").latest("app").unwrap().record.resources), ["2", "128Mi"]);
    let own = json!({"limits": {"cpu": "2", "memory": "128Mi"}, "requests": {"cpu": "2", "memory": "128Mi"}});
    let shown = &status(&agent)["containerStatuses"];
    assert_eq!((&shown[0]["resources"], &shown[0]["allocatedResources"]), (&own, &own["requests"]));
    assert_eq!((&shown[1]["resources"], &shown[1]["allocatedResources"]), (&json!({}), &Value::Null));
    assert_eq!(progress(&agent), None);
    let containers = format!(
        r#"{{"containers":[{{"name":"app","resources":{own}}},{{"name":"b","resources":{{}}}}],"generation":2}}"#
    );
    assert_eq!(
        told(&agent),
        [
            ("ResizeStarted".to_owned(), format!("Pod resize started: {containers}")),
            ("ResizeCompleted".to_owned(), format!("Pod resize completed: {containers}")),
        ]
    );
    // A crash later starts it with what it was given.
    rig.fake.exit(&key("web"), "app", 1);
    rig.pass(5).await;
    let latest = rig.pod("web").latest("app").unwrap().clone();
    assert_eq!((latest.record.attempt, limits(&latest.record.resources)), (1, ["2".to_owned(), "128Mi".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_container_that_asks_for_it_restarts_once() {
    let rig = Rig::new(&[web("1", "64Mi", "RestartContainer")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let before = rig.pod("web");
    let second = rig.commit(&agent, &[web("1", "128Mi", "RestartContainer")]);
    agent.done(&second).await;
    rig.pass(60).await;
    let after = rig.pod("web");
    assert_eq!((&after.record.uid, &after.sandbox), (&before.record.uid, &before.sandbox));
    let attempts = ["app", "b"].map(|name| after.latest(name).unwrap().record.attempt);
    assert_eq!(attempts, [1, 0]);
    assert_eq!(limits(&after.latest("app").unwrap().record.resources), ["1", "128Mi"]);
    let events = agent.projection.borrow().events.clone();
    assert!(events.iter().any(|e| e.reason == "Killing" && e.message == "Container app resize requires restart"));
    let reasons: Vec<String> = told(&agent).into_iter().map(|(reason, _)| reason).collect();
    assert_eq!((reasons, progress(&agent)), (vec!["ResizeStarted".to_owned(), "ResizeCompleted".to_owned()], None));
    let actions = agent.kubelet.fleet().actions;
    let reason = "app: resources changed: limits.memory from 64Mi to 128Mi, requests.memory from 64Mi to 128Mi";
    let last = actions.iter().find(|a| a.action == "restart container").unwrap();
    assert_eq!(last.reason, reason);
}

#[tokio::test(start_paused = true)]
async fn memory_in_use_is_not_taken_away_and_that_is_said_until_it_is_free() {
    let rig = Rig::new(&[web("1", "64Mi", "NotRequired")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.behave("app", Behaviour { memory: 50 << 20, ..Behaviour::default() });
    let running = rig.fake.processes();
    rig.commit(&agent, &[web("2", "32Mi", "NotRequired")]);
    rig.pass(5).await;
    let why = "cannot decrease memory limits: attempting to set container \"app\" memory limit (33554432) below current usage (52428800)";
    assert_eq!(progress(&agent), Some(("Error".to_owned(), Some(why.to_owned()))));
    let shown = &status(&agent)["containerStatuses"][0];
    assert_eq!(
        (&shown["resources"]["limits"]["memory"], &shown["allocatedResources"]["memory"]),
        (&json!("64Mi"), &json!("32Mi"))
    );
    assert_eq!(status(&agent)["phase"], "Running");
    let (reason, message) = told(&agent).pop().unwrap();
    assert_eq!(reason, "ResizeError");
    assert!(
        message.starts_with("Pod resize error: {\"containers\":[{\"name\":\"app\"") && message.ends_with("}"),
        "{message}"
    );
    assert!(message.contains(&format!("\"generation\":2,\"error\":{}", json!(why))), "{message}");
    // What else the pod is told happens all the same.
    rig.fake.exit(&key("web"), "b", 1);
    rig.pass(5).await;
    assert_eq!(rig.pod("web").latest("b").unwrap().record.attempt, 1);
    rig.fake.behave("app", Behaviour::default());
    rig.pass(600).await;
    assert_eq!(limits(&rig.pod("web").latest("app").unwrap().record.resources), ["2", "32Mi"]);
    assert_eq!((progress(&agent), rig.fake.processes()["default/web/app"]), (None, running["default/web/app"]));
    assert_eq!(told(&agent).pop().unwrap().0, "ResizeCompleted");
    rig.fake.forget_calls();
    rig.pass(3600).await;
    assert_eq!(rig.changes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_fails_a_few_times_gets_there_in_the_end() {
    for after in [false, true] {
        let rig = Rig::new(&[web("1", "64Mi", "NotRequired")]);
        let mut agent = rig.start();
        agent.done(&id(1)).await;
        let mut times = 3;
        rig.fake.on_call(move |call| {
            let hit = call.verb == Verb::ResizeContainer && times > 0;
            times -= u32::from(hit);
            let error = || PortError::new(ErrorKind::Unavailable, "do", "it", "told to");
            hit.then(|| if after { Fault::FailAfter(error()) } else { Fault::Fail(error()) })
        });
        let second = rig.commit(&agent, &[web("2", "64Mi", "NotRequired")]);
        agent.done(&second).await;
        assert_eq!(limits(&rig.pod("web").latest("app").unwrap().record.resources), ["2", "64Mi"]);
        assert_eq!(rig.pod("web").latest("app").unwrap().record.attempt, 0);
    }
}

/// An agent that dies at the `n`th call of a resize, and the next one. Returns whether it did.
async fn die_at(policy: &str, n: usize, after: bool) -> bool {
    let rig = Rig::new(&[web("1", "64Mi", policy)]);
    let mut first = rig.start();
    first.done(&id(1)).await;
    first.stop().await;
    rig.directory.commit(&[web("2", "128Mi", policy)]);
    let killed = kill_at(&rig, n, after);
    let dying = rig.start();
    rig.pass(60).await;
    dying.task.abort();
    drop(dying.kubelet);
    rig.fake.heal();
    let mut agent = rig.start();
    agent.done(&id(2)).await;
    rig.pass(30).await;
    let what = format!("{policy}, dead at call {n} (done: {after})");
    let latest = rig.pod("web").latest("app").unwrap().record.clone();
    assert_eq!(limits(&latest.resources), ["2", "128Mi"], "{what}");
    assert_eq!(latest.attempt, u32::from(policy == "RestartContainer"), "{what}");
    assert_eq!(progress(&agent), None, "{what}");
    rig.fake.forget_calls();
    rig.pass(3600).await;
    assert_eq!(rig.changes(), [""; 0], "{what}");
    agent.stop().await;
    killed.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn a_resize_that_is_cut_short_anywhere_is_carried_through_once() {
    for policy in ["NotRequired", "RestartContainer"] {
        for after in [false, true] {
            let mut n = 0;
            while die_at(policy, n, after).await {
                n += 1;
            }
            assert!(n > 4, "only {n} calls");
        }
    }
}
