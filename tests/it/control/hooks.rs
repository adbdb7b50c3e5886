//! Hooks under the agent's eyes: what waits for them, and what does not.

use std::time::Duration;

use podwright::backend::fake::{Answered, Behaviour, Fault, Verb};
use podwright::control::PodStanding;
use podwright::model::{ContainerState, Signal};
use podwright::port::{ErrorKind, PortError};
use serde_json::{Value, json};

use super::rig::{Rig, Running, eventually, id, key, pod, pod_with};

fn spec(lifecycle: &Value) -> Value {
    json!({"terminationGracePeriodSeconds": 30, "containers": [{"name": "app", "image": "i:1", "lifecycle": lifecycle}]})
}

fn exec() -> Value {
    json!({"exec": {"command": ["true"]}})
}

fn calls(rig: &Rig) -> Vec<String> {
    let calls = rig.fake.calls();
    calls.iter().filter(|call| call.verb == Verb::CallHandler).map(|call| call.subject.clone()).collect()
}

/// Seconds from `begun` on at which the world was told to stop a container, with the signal.
async fn signals(rig: &Rig, until_gone: &str) -> Vec<(i64, String)> {
    let begun = rig.now();
    let mut seen = 0;
    let mut told = Vec::new();
    eventually("gone", || {
        let calls = rig.fake.calls();
        let new = calls.iter().filter(|call| call.verb == Verb::SignalContainer).skip(seen);
        for call in new {
            seen += 1;
            told.push((rig.now().duration_since(begun).as_secs(), call.subject.clone()));
        }
        rig.fake.pod(&key(until_gone)).is_none()
    })
    .await;
    told
}

fn events(agent: &Running, reason: &str) -> Vec<String> {
    let fleet = agent.kubelet.fleet();
    fleet.events.iter().filter(|e| e.reason == reason).map(|e| e.message.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_container_does_not_run_before_its_post_start_is_done() {
    let mut spec = spec(&json!({"postStart": exec()}));
    spec["containers"].as_array_mut().unwrap().push(json!({"name": "other", "image": "i:1"}));
    let rig = Rig::new(&[pod_with("web", spec)]);
    rig.fake.answer("app", |_| Answered::success().after(Duration::from_secs(20)));
    let mut agent = rig.start();
    eventually("the hook", || !calls(&rig).is_empty()).await;
    rig.pass(10).await;
    let fleet = agent.kubelet.fleet();
    assert_eq!(fleet.pods[&key("web")].waiting["app"].0, "ContainerCreating");
    assert!(matches!(rig.pod("web").latest("app").unwrap().state, ContainerState::Running { .. }), "it runs beside it");
    assert!(rig.pod("web").latest("other").is_none(), "others wait for it, as the kubelet has them");
    agent.done(&id(1)).await;
    assert!(rig.pod("web").latest("other").is_some());
    assert_eq!(calls(&rig), ["app#0 Hook exec"], "once");
}

#[tokio::test(start_paused = true)]
async fn a_post_start_that_fails_ends_its_container() {
    let rig = Rig::new(&[pod_with("web", spec(&json!({"postStart": exec()})))]);
    let mut times = 0;
    rig.fake.answer("app", move |_| {
        times += 1;
        if times < 3 { Answered::failure("secret") } else { Answered::success() }
    });
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    assert_eq!(calls(&rig), ["app#0 Hook exec", "app#1 Hook exec", "app#2 Hook exec"]);
    assert_eq!(events(&agent, "FailedPostStartHook"), ["PostStartHook failed"]);
    assert_eq!(events(&agent, "Killing"), ["FailedPostStartHook"]);
    let latest = rig.pod("web").latest("app").cloned().unwrap();
    assert_eq!((latest.record.attempt, latest.record.backoff.as_secs()), (2, 10), "a crash as others");
}

#[tokio::test(start_paused = true)]
async fn a_container_whose_post_start_failed_waits_with_the_kubelets_reason() {
    let rig = Rig::new(&[pod_with("web", spec(&json!({"postStart": exec()})))]);
    rig.fake.behave("app", Behaviour { stops_after: Duration::from_secs(20), ..Behaviour::default() });
    rig.fake.answer("app", |_| Answered::failure("secret").after(Duration::from_secs(1)));
    let agent = rig.start();
    rig.pass(10).await;
    let waiting = || agent.kubelet.fleet().pods[&key("web")].waiting["app"].clone();
    assert_eq!(waiting(), ("PostStartHookError".to_owned(), String::new()));
    // The second instance has failed, too: what follows is a back-off like others.
    rig.pass(35).await;
    assert_eq!((rig.pod("web").latest("app").unwrap().record.attempt, waiting().0.as_str()), (1, "CrashLoopBackOff"));
    assert!(events(&agent, "Failed").is_empty(), "{:?}", events(&agent, "Failed"));
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_has_failed() {
    let rig = Rig::new(&[pod_with("web", spec(&json!({"postStart": exec()})))]);
    let mut is_first = true;
    rig.fake.on_call(move |call| {
        let panics = call.verb == Verb::CallHandler && std::mem::take(&mut is_first);
        panics.then_some(Fault::Panic)
    });
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    assert_eq!(calls(&rig), ["app#0 Hook exec", "app#1 Hook exec"]);
    let pod = rig.pod("web");
    assert_eq!(pod.previous("app").unwrap().record.stopping.as_ref().unwrap().reason, "postStart hook failed");
}

#[tokio::test(start_paused = true)]
async fn a_post_start_is_run_although_another_target_came_during_the_start() {
    let web = |image: &str| {
        let mut spec = spec(&json!({"postStart": exec()}));
        spec["containers"][0]["image"] = image.into();
        pod_with("web", spec)
    };
    let rig = Rig::new(&[web("i:1")]);
    rig.fake.on_call(|call| (call.verb == Verb::StartContainer).then_some(Fault::Slow(Duration::from_secs(10))));
    let mut agent = rig.start();
    eventually("the start", || rig.fake.calls().iter().any(|call| call.verb == Verb::StartContainer)).await;
    let second = rig.commit(&agent, &[web("i:2")]);
    agent.done(&second).await;
    assert_eq!(calls(&rig), ["app#0 Hook exec", "app#1 Hook exec"]);
    let order: Vec<String> = rig.fake.calls().iter().map(ToString::to_string).collect();
    let at =
        |text: &str| order.iter().position(|call| call.contains(text)).unwrap_or_else(|| panic!("{text}: {order:#?}"));
    assert!(at("app#0 Hook") < at("SignalContainer default/web app#0"), "its own, before it has to go: {order:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_succeeded_otherwise_is_told() {
    let rig = Rig::new(&[pod_with("web", spec(&json!({"postStart": exec()})))]);
    rig.fake.answer("app", |_| Answered::warning("request to HTTPS lifecycle hook h:1 got HTTP response"));
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    assert_eq!(events(&agent, "LifecycleHTTPFallback"), ["request to HTTPS lifecycle hook h:1 got HTTP response"]);
    assert!(events(&agent, "FailedPostStartHook").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_post_start_that_fails_ends_a_pod_that_never_restarts() {
    let mut spec = spec(&json!({"postStart": {"httpGet": {"port": "gone"}}}));
    spec["restartPolicy"] = "Never".into();
    let rig = Rig::new(&[pod_with("job", spec)]);
    let mut agent = rig.start();
    let progress = agent.until("failed", |p| p.is_hopeless()).await;
    assert_eq!(progress.pods[0].standing, PodStanding::Failed);
    assert!(calls(&rig).is_empty(), "a port without a name cannot be called");
}

#[tokio::test(start_paused = true)]
async fn no_hook_is_run_of_a_stop_that_cannot_be_written_down() {
    let web = |image: &str| {
        let mut spec = spec(&json!({"preStop": exec()}));
        spec["containers"][0]["image"] = image.into();
        pod_with("web", spec)
    };
    let rig = Rig::new(&[web("i:1")]);
    rig.fake.answer("app", |_| Answered::success().after(Duration::from_secs(5)));
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.on_call(|call| {
        let error = || PortError::new(ErrorKind::Exhausted, "signal", "the test", "no room");
        (call.verb == Verb::SignalContainer).then(|| Fault::Fail(error()))
    });
    rig.fake.forget_calls();
    rig.commit(&agent, &[web("i:2")]);
    rig.pass(60).await;
    let tries = rig.fake.calls().iter().filter(|call| call.verb == Verb::SignalContainer).count();
    assert!((1..=5).contains(&tries), "{tries} tries in a minute");
    assert!(calls(&rig).is_empty(), "{:?}", calls(&rig));
    rig.fake.heal();
    agent.done(&id(2)).await;
    assert_eq!(calls(&rig), ["app#0 Hook exec"]);
}

#[tokio::test(start_paused = true)]
async fn a_post_start_is_not_run_again_by_the_next_agent() {
    let rig = Rig::new(&[pod_with("web", spec(&json!({"postStart": exec()})))]);
    rig.fake.answer("app", |_| Answered::success().after(Duration::from_secs(1000)));
    let agent = rig.start();
    eventually("the hook", || !calls(&rig).is_empty()).await;
    agent.stop().await;
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    assert_eq!(calls(&rig).len(), 1);
    assert_eq!(rig.pod("web").latest("app").unwrap().record.attempt, 0);
}

#[tokio::test(start_paused = true)]
async fn a_pre_stop_comes_before_the_stop_signal_and_takes_its_time_out_of_the_grace_period() {
    for (name, takes, stops, expected) in [
        ("short", 10_i64, true, vec![(0, "app#0 PreStop"), (10, "app#0 Stop")]),
        ("stubborn", 10, false, vec![(0, "app#0 PreStop"), (10, "app#0 Stop"), (30, "app#0 Kill")]),
        ("long", 29, false, vec![(0, "app#0 PreStop"), (29, "app#0 Stop"), (31, "app#0 Kill")]),
        ("endless", 1000, false, vec![(0, "app#0 PreStop"), (30, "app#0 Stop"), (32, "app#0 Kill")]),
        ("failing", -5, true, vec![(0, "app#0 PreStop"), (5, "app#0 Stop")]),
    ] {
        let rig = Rig::new(&[pod_with("web", spec(&json!({"preStop": exec()}))), pod("other", "i:1")]);
        rig.fake.behave("app", Behaviour { ignores_stop: !stops, ..Behaviour::default() });
        rig.fake.answer("app", move |_| match takes {
            0.. => Answered::success().after(Duration::from_secs(takes.unsigned_abs())),
            _ => Answered::failure("secret").after(Duration::from_secs(takes.unsigned_abs())),
        });
        let mut agent = rig.start();
        agent.done(&id(1)).await;
        rig.commit(&agent, &[pod("other", "i:1")]);
        let told = signals(&rig, "web").await;
        let expected: Vec<(i64, String)> = expected.into_iter().map(|(at, told)| (at, told.to_owned())).collect();
        let apart = |(a, b): (&(i64, String), &(i64, String))| a.1 == b.1 && (a.0 - b.0).abs() <= 1;
        assert!(told.len() == expected.len() && told.iter().zip(&expected).all(apart), "{name}: {told:?}");
        assert_eq!(calls(&rig), ["app#0 Hook exec"], "{name}");
        let failed = if !(0..=30).contains(&takes) { vec!["PreStopHook failed".to_owned()] } else { Vec::new() };
        assert_eq!(events(&agent, "FailedPreStopHook"), failed, "{name}");
        assert_eq!(events(&agent, "Killing"), ["Stopping container app"], "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_grace_period_can_be_shortened_while_a_pre_stop_runs() {
    for (limit, expected) in [(6, vec![(6, "Stop"), (8, "Kill")]), (0, vec![(3, "Stop"), (5, "Kill")])] {
        let rig =
            Rig::new(&[pod_with("web", spec(&json!({"preStop": {"sleep": {"seconds": 25}}}))), pod("other", "i:1")]);
        rig.fake.behave("app", Behaviour { ignores_stop: true, ..Behaviour::default() });
        let mut agent = rig.start();
        agent.done(&id(1)).await;
        rig.commit(&agent, &[pod("other", "i:1")]);
        let kubelet = agent.kubelet.clone();
        let shorten = async {
            rig.pass(3).await;
            kubelet.limit_grace(&key("web"), limit);
        };
        let (told, ()) = tokio::join!(signals(&rig, "web"), shorten);
        let word = |(at, text): &(i64, String)| (*at, text.trim_start_matches("app#0 ").to_owned());
        let told: Vec<(i64, String)> = told.iter().map(word).filter(|(_, text)| text != "PreStop").collect();
        let apart = |(a, b): (&(i64, String), &(i64, &str))| a.1 == b.1 && (a.0 - b.0).abs() <= 1;
        assert!(told.len() == expected.len() && told.iter().zip(&expected).all(apart), "{limit}: {told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_begins_anew_goes_on_with_a_pre_stop_and_what_is_left_of_its_time() {
    let rig = Rig::new(&[pod_with("web", spec(&json!({"preStop": exec()}))), pod("other", "i:1")]);
    rig.fake.behave("app", Behaviour { ignores_stop: true, ..Behaviour::default() });
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let timeouts = asked.clone();
    rig.fake.answer("app", move |call| {
        timeouts.lock().unwrap().push(call.timeout.as_secs());
        Answered::success().after(Duration::from_secs(1000))
    });
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.commit(&agent, &[pod("other", "i:1")]);
    eventually("the hook", || !calls(&rig).is_empty()).await;
    let begun = rig.now();
    rig.pass(10).await;
    let before = rig.pod("web").latest("app").unwrap().record.stopping.clone().unwrap();
    assert!(before.pre_stop && before.grace_seconds == 30);
    agent.stop().await;
    rig.pass(5).await;
    let _agent = rig.start();
    let told = signals(&rig, "web").await;
    let ended = rig.now().duration_since(begun).as_secs();
    assert!((31..=34).contains(&ended), "{ended}");
    assert!(told.last().unwrap().1.ends_with(&format!("{:?}", Signal::Kill)), "{told:?}");
    let asked = asked.lock().unwrap().clone();
    assert!(asked.len() == 2 && asked[0] >= 29 && (13..=16).contains(&asked[1]), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_ended_by_itself_has_no_pre_stop() {
    let rig = Rig::new(&[pod_with("web", spec(&json!({"preStop": exec()})))]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.exit(&key("web"), "app", 1);
    eventually("another instance", || rig.pod("web").latest("app").is_some_and(|c| c.record.attempt == 1)).await;
    assert!(calls(&rig).is_empty());
    // For another image it is stopped.
    let mut changed = spec(&json!({"preStop": exec()}));
    changed["containers"][0]["image"] = "i:2".into();
    let second = rig.commit(&agent, &[pod_with("web", changed)]);
    agent.done(&second).await;
    assert_eq!(calls(&rig), ["app#1 Hook exec"]);
}
