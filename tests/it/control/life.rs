//! The life of pods under the agent's eyes.

use std::time::Duration;

use podwright::backend::fake::Behaviour;
use podwright::control::PodStanding;
use podwright::model::{ContainerState, Sandbox};
use serde_json::json;

use super::rig::{Rig, eventually, id, key, pod, pod_with};

#[tokio::test(start_paused = true)]
async fn a_crashing_container_is_restarted_with_kubelets_back_off() {
    let rig = Rig::new(&[pod("web", "nginx:1")]);
    rig.fake.behave("app", Behaviour::exits(Duration::from_secs(1), 3));
    let agent = rig.start();
    let mut starts = Vec::new();
    let begun = rig.now();
    eventually("seven starts", || {
        if let Some(latest) = rig.fake.pod(&key("web")).and_then(|p| p.latest("app").cloned())
            && starts.len() == latest.record.attempt as usize
        {
            starts.push(latest.record.created_at.duration_since(begun).as_secs());
        }
        starts.len() == 7
    })
    .await;
    let waits: Vec<i64> = starts.windows(2).map(|pair| pair[1] - pair[0] - 1).collect();
    assert_eq!(waits, [0, 10, 20, 40, 80, 160]);
    rig.pass(5).await;
    let fleet = agent.kubelet.fleet();
    assert_eq!(fleet.pods[&key("web")].waiting["app"].0, "CrashLoopBackOff");
    let backoff = fleet.events.iter().find(|e| e.reason == "BackOff").expect("an event");
    assert!(backoff.count > 3, "equal events are counted: {backoff:?}");
    assert!(rig.pod("web").containers.len() <= 2, "no more than two instances are kept");
    let entry = rig.sink.last().pods[0].open();
    assert_eq!(entry.status, "CrashLoopBackOff");
}

#[tokio::test(start_paused = true)]
async fn init_containers_run_in_order_before_the_others() {
    let spec = json!({
        "initContainers": [
            {"name": "first", "image": "i:1"},
            {"name": "side", "image": "i:1", "restartPolicy": "Always"},
            {"name": "second", "image": "i:1"},
        ],
        "containers": [{"name": "app", "image": "i:1"}, {"name": "other", "image": "i:1"}],
    });
    let rig = Rig::new(&[pod_with("web", spec)]);
    for name in ["first", "second"] {
        rig.fake.behave(name, Behaviour::exits(Duration::from_secs(5), 0));
    }
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let starts: Vec<String> = rig.changes().into_iter().filter(|c| c.starts_with("Start")).collect();
    let names: Vec<&str> = starts.iter().filter_map(|c| c.split(' ').nth(2)).collect();
    assert_eq!(names, ["first#0", "side#0", "second#0", "app#0", "other#0"]);
    let created = |name: &str| rig.pod("web").latest(name).unwrap().record.created_at;
    assert!(created("app").duration_since(created("first")).as_secs() >= 10);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_ends_well_is_done() {
    let rig = Rig::new(&[pod_with(
        "job",
        json!({"restartPolicy": "Never", "containers": [{"name": "app", "image": "i:1"}]}),
    )]);
    rig.fake.behave("app", Behaviour::exits(Duration::from_secs(3), 0));
    let mut agent = rig.start();
    agent.until("succeeded", |p| p.is_done() && p.pods[0].standing == PodStanding::Succeeded).await;
    let job = rig.pod("job");
    assert_eq!((job.record.terminal.as_deref(), &job.sandbox), (Some("Succeeded"), &Sandbox::Absent));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_ends_badly_makes_waiting_hopeless() {
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "app", "image": "i:1"}]});
    let rig = Rig::new(&[pod_with("job", spec)]);
    rig.fake.behave("app", Behaviour::exits(Duration::from_secs(3), 7));
    let mut agent = rig.start();
    let progress = agent.until("hopeless", |p| p.is_hopeless()).await;
    assert_eq!(progress.pods[0].standing, PodStanding::Failed);
    assert_eq!(progress.pods[0].status, "Error");
}

#[tokio::test(start_paused = true)]
async fn changed_data_reaches_the_volumes_and_restarts_nothing() {
    let map =
        |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": value}});
    let spec = json!({
        "containers": [{"name": "app", "image": "i:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "volumes": [{"name": "v", "configMap": {"name": "m"}}],
    });
    let rig = Rig::new(&[pod_with("web", spec.clone())]);
    let mut agent = rig.start();
    // The map is missing: the pod says so and waits.
    let progress =
        agent.until("told", |p| p.pods.iter().any(|pod| pod.message.contains("configmap \"m\" not found"))).await;
    assert!(!progress.is_done());
    let second = rig.commit(&agent, &[pod_with("web", spec.clone()), map("1")]);
    agent.done(&second).await;
    let running = rig.fake.processes();
    let third = rig.commit(&agent, &[pod_with("web", spec), map("2")]);
    agent.done(&third).await;
    eventually("synced", || {
        let volumes = rig.fake.volumes(&key("web"));
        let podwright::model::VolumeMaterial::Files { files, .. } = &volumes[0].material else { panic!("{volumes:?}") };
        files[0].bytes.reveal() == b"2"
    })
    .await;
    assert_eq!(rig.fake.processes(), running);
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_its_account_and_starts_when_it_comes() {
    let spec = json!({"serviceAccountName": "robot", "containers": [{"name": "app", "image": "i:1"}]});
    let rig = Rig::new(&[pod_with("web", spec.clone()), pod("other", "i:1")]);
    let mut agent = rig.start();
    let missing = "serviceaccount \"robot\" not found";
    let waits = agent.until("told", |p| p.pods.iter().any(|pod| pod.message.contains(missing))).await;
    assert!(!waits.is_done());
    eventually("the other one runs", || rig.pod("other").latest("app").is_some_and(|c| c.is_live())).await;
    assert!(rig.pod("web").containers.is_empty() && matches!(rig.pod("web").sandbox, Sandbox::Absent));
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    let second = rig.commit(&agent, &[pod_with("web", spec.clone()), pod("other", "i:1"), account]);
    agent.done(&second).await;
    let running = rig.fake.processes();
    // Gone again: what runs runs on.
    let third = rig.commit(&agent, &[pod_with("web", spec), pod("other", "i:1")]);
    agent.done(&third).await;
    rig.pass(5).await;
    assert_eq!(rig.fake.processes(), running);
}

#[tokio::test(start_paused = true)]
async fn a_dead_infra_process_costs_the_pod_its_containers_and_nothing_else() {
    let rig = Rig::new(&[pod("web", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let uid = rig.uids();
    rig.fake.kill_sandbox(&key("web"));
    eventually("a new sandbox", || matches!(rig.pod("web").sandbox, Sandbox::Ready { attempt: 1, .. })).await;
    eventually("running", || rig.pod("web").latest("app").is_some_and(|c| c.is_live())).await;
    assert_eq!(rig.uids(), uid);
    assert!(agent.kubelet.fleet().events.iter().any(|e| e.reason == "SandboxChanged"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_monitor_is_cleaned_up_and_the_container_runs_again() {
    let rig = Rig::new(&[pod("web", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.lose_monitor(&key("web"), "app");
    eventually("running again", || rig.pod("web").latest("app").is_some_and(|c| c.record.attempt == 1 && c.is_live()))
        .await;
    let exit = rig.pod("web").previous("app").unwrap().exit().unwrap().clone();
    assert_eq!((exit.exit_code, exit.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
}

#[tokio::test(start_paused = true)]
async fn a_container_that_ignores_the_stop_signal_is_killed_after_its_grace_period() {
    let spec = json!({"terminationGracePeriodSeconds": 7, "containers": [{"name": "app", "image": "i:1"}]});
    let rig = Rig::new(&[pod_with("web", spec)]);
    rig.fake.behave("app", Behaviour { ignores_stop: true, ..Behaviour::default() });
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let begun = rig.now();
    let second = rig.commit(&agent, &[]);
    agent.done(&second).await;
    let took = rig.now().duration_since(begun).as_secs();
    assert!((7..=8).contains(&took), "{took}");
    let signals: Vec<String> = rig.changes().into_iter().filter(|c| c.starts_with("Signal")).collect();
    assert_eq!(signals, ["SignalContainer default/web app#0 Stop", "SignalContainer default/web app#0 Kill"]);
}

/// How often a crash and an image are told to be held back in 310 seconds.
async fn held_back(resync: u64) -> (u32, u32) {
    let mut rig =
        Rig::new(&[pod("web", "i:1"), pod_with("none", json!({"containers": [{"name": "a", "image": "none:1"}]}))]);
    rig.resync = Duration::from_secs(resync);
    rig.fake.behave("app", Behaviour::exits(Duration::from_secs(1), 3));
    rig.fake.set_image("none:1", false);
    let agent = rig.start();
    rig.pass(310).await;
    let events = agent.kubelet.fleet().events;
    let count = |said: &str| {
        events.iter().filter(|e| e.reason == "BackOff" && e.message.starts_with(said)).map(|e| e.count).sum()
    };
    (count("Back-off restarting failed container app in pod web_default("), count("Back-off pulling image \"none:1\""))
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_for_over_a_minute_is_told_again_by_the_resync() {
    // The longest waits for the crash begin at 75 s and 156 s, and the image is waited for all the time.
    assert_eq!((held_back(0).await, held_back(60).await), ((5, 1), (7, 6)));
}

#[tokio::test(start_paused = true)]
async fn lost_hints_are_repaired_by_the_resync() {
    let mut rig = Rig::new(&[pod("web", "i:1")]);
    rig.resync = Duration::from_secs(60);
    rig.fake.lose_hints(true);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(5).await;
    rig.fake.exit(&key("web"), "app", 1);
    rig.pass(1).await;
    assert!(!rig.pod("web").latest("app").unwrap().is_live(), "nobody told");
    rig.pass(61).await;
    let latest = rig.pod("web").latest("app").unwrap().clone();
    assert!(matches!(latest.state, ContainerState::Running { .. }) && latest.record.attempt == 1);
}
