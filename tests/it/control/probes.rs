//! Probes over the fake backend: what they lead to, what is told, and whom they hold up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use podwright::backend::fake::{Answered, Behaviour, Fault, Verb};
use podwright::model::{Caller, Handler, Kind, ObjectKey};
use podwright::port::{ErrorKind, PodBackend, PortError};
use serde_json::{Value, json};

use super::rig::{Rig, Running, eventually, id, key, pod, pod_with};

/// A probe with the command `word`, asked once in `period` seconds.
fn probe(word: &str, period: u32) -> Value {
    json!({"exec": {"command": [word]}, "periodSeconds": period})
}

fn with(name: &str, containers: Value) -> Value {
    pod_with(name, json!({"terminationGracePeriodSeconds": 1, "containers": containers}))
}

/// Answers of a container by the probe's command: those in `bad` fail while they are there.
fn answer(rig: &Rig, container: &str, fails: impl Fn(&str) -> bool + Send + 'static) {
    rig.fake.answer(container, move |call| {
        assert_eq!(call.caller, Caller::Probe);
        let Handler::Exec { command } = &call.handler else { panic!("{call:?}") };
        if fails(&command[0]) { Answered::failure(&format!("{} is bad", command[0])) } else { Answered::success() }
    });
}

/// A switch for [`answer`].
fn switch(rig: &Rig, container: &str, on: bool) -> Arc<AtomicBool> {
    let is_bad = Arc::new(AtomicBool::new(on));
    let own = is_bad.clone();
    answer(rig, container, move |_| own.load(Ordering::SeqCst));
    is_bad
}

fn status(agent: &Running, name: &str) -> Value {
    let projection = agent.projection.borrow().clone();
    projection.objects[&ObjectKey { kind: Kind::Pod, ..key(name).object() }].value["status"].clone()
}

/// Started and ready of a container.
fn standing(agent: &Running, name: &str, container: &str) -> (bool, bool) {
    let status = status(agent, name);
    let lists = ["initContainerStatuses", "containerStatuses"];
    let found = lists.iter().filter_map(|list| status[list].as_array()).flatten().find(|c| c["name"] == container);
    let found = found.unwrap_or_else(|| panic!("{status:#}"));
    (found["started"] == true, found["ready"] == true)
}

/// Reason, message and count of the events with this reason, in order.
fn told(agent: &Running, reason: &str) -> Vec<(String, u32)> {
    let events = agent.projection.borrow().events.clone();
    events.iter().filter(|e| e.reason == reason).map(|e| (e.message.clone(), e.count)).collect()
}

fn once(message: &str, count: u32) -> Vec<(String, u32)> {
    vec![(message.to_owned(), count)]
}

/// How often handlers were called.
fn calls(rig: &Rig) -> usize {
    rig.fake.calls().iter().filter(|call| call.verb == Verb::CallHandler).count()
}

fn attempt(rig: &Rig, name: &str, container: &str) -> u32 {
    rig.pod(name).latest(container).unwrap().record.attempt
}

#[tokio::test(start_paused = true)]
async fn a_liveness_probe_that_fails_three_times_restarts_its_container_and_no_more() {
    let mut liveness = probe("live", 5);
    liveness["initialDelaySeconds"] = json!(5);
    let app = json!({"name": "app", "image": "i:1", "livenessProbe": liveness});
    let rig = Rig::new(&[with("web", json!([app, {"name": "b", "image": "i:1"}]))]);
    let is_bad = switch(&rig, "app", false);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let uid = rig.uids();
    rig.pass(31).await;
    assert_eq!((told(&agent, "Unhealthy"), attempt(&rig, "web", "app")), (vec![], 0));
    is_bad.store(true, Ordering::SeqCst);
    // It fails at 35, 40 and 45 seconds.
    rig.pass(10).await;
    assert_eq!(
        (told(&agent, "Unhealthy"), attempt(&rig, "web", "app")),
        (once("Liveness probe failed: live is bad", 2), 0)
    );
    assert_eq!(status(&agent, "web")["phase"], "Running");
    rig.pass(5).await;
    assert_eq!(told(&agent, "Unhealthy"), once("Liveness probe failed: live is bad", 3));
    assert_eq!(told(&agent, "Killing"), once("Container app failed liveness probe, will be restarted", 1));
    assert_eq!(attempt(&rig, "web", "app"), 1, "the first restart is at once");
    // Each next one fails at 5, 10 and 15 seconds of its life. The second restart is at once, too, for there is no back-off yet;
    // so is the third, for its ten seconds have passed since the second. Of the twenty of the fourth fifteen have.
    for kills in 2..=3 {
        eventually("another kill", || told(&agent, "Killing")[0].1 == kills).await;
        rig.pass(2).await;
        assert_eq!((told(&agent, "Unhealthy")[0].1, attempt(&rig, "web", "app")), (3 * kills, kills));
    }
    // By now there is more to tell than a kubelet may.
    let ended = || rig.pod("web").latest("app").is_some_and(|app| app.exit().is_some());
    eventually("the fourth kill", ended).await;
    rig.pass(2).await;
    assert_eq!(attempt(&rig, "web", "app"), 3);
    let shown = status(&agent, "web");
    assert_eq!(
        (&shown["phase"], &shown["containerStatuses"][0]["state"]["waiting"]["reason"]),
        (&json!("Running"), &json!("CrashLoopBackOff"))
    );
    let last = &shown["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(143), &json!("Error")));
    is_bad.store(false, Ordering::SeqCst);
    rig.pass(600).await;
    assert_eq!(["app", "b"].map(|name| attempt(&rig, "web", name)), [4, 0]);
    assert_eq!(rig.uids(), uid);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_stop_for_its_probe_is_killed_after_the_grace_period_of_the_probe() {
    let mut liveness = probe("live", 1);
    (liveness["failureThreshold"], liveness["terminationGracePeriodSeconds"]) = (json!(1), json!(20));
    let rig = Rig::new(&[with("web", json!([{"name": "app", "image": "i:1", "livenessProbe": liveness}]))]);
    rig.fake.behave("app", Behaviour { ignores_stop: true, ..Behaviour::default() });
    let is_bad = switch(&rig, "app", false);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(5).await;
    is_bad.store(true, Ordering::SeqCst);
    rig.pass(19).await;
    let stopping = rig.pod("web").latest("app").unwrap().record.stopping.clone().unwrap();
    assert_eq!(
        (stopping.grace_seconds, stopping.killed_at, stopping.reason.as_str()),
        (20, None, "liveness probe failed")
    );
    is_bad.store(false, Ordering::SeqCst);
    rig.pass(5).await;
    let after = rig.pod("web");
    assert_eq!(after.latest("app").unwrap().record.attempt, 1);
    assert_eq!(after.previous("app").unwrap().exit().unwrap().exit_code, 137);
    assert_eq!(
        told(&agent, "Unhealthy"),
        once("Liveness probe failed: live is bad", 1),
        "it is not asked while it stops"
    );
}

#[tokio::test(start_paused = true)]
async fn readiness_follows_its_probe_and_restarts_nothing() {
    let mut readiness = probe("ready", 2);
    (readiness["successThreshold"], readiness["failureThreshold"]) = (json!(2), json!(3));
    let rig = Rig::new(&[with("web", json!([{"name": "app", "image": "i:1", "readinessProbe": readiness}]))]);
    let is_bad = switch(&rig, "app", true);
    let mut agent = rig.start();
    rig.pass(60).await;
    assert_eq!(standing(&agent, "web", "app"), (true, false));
    assert!(!agent.progress.borrow().is_done());
    is_bad.store(false, Ordering::SeqCst);
    agent.done(&id(1)).await;
    assert_eq!(standing(&agent, "web", "app"), (true, true));
    is_bad.store(true, Ordering::SeqCst);
    rig.pass(4).await;
    assert_eq!(standing(&agent, "web", "app"), (true, true), "twice is not three times");
    rig.pass(3).await;
    assert_eq!(standing(&agent, "web", "app"), (true, false));
    let ready = status(&agent, "web")["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").cloned();
    let ready = ready.unwrap();
    assert_eq!(
        (&ready["status"], &ready["reason"], &ready["message"]),
        (&json!("False"), &json!("ContainersNotReady"), &json!("containers with unready status: [app]"))
    );
    rig.pass(600).await;
    assert_eq!((attempt(&rig, "web", "app"), told(&agent, "Killing")), (0, vec![]));
}

#[tokio::test(start_paused = true)]
async fn nothing_else_is_asked_before_the_container_has_started() {
    let (mut startup, quick) = (probe("start", 1), |word| probe(word, 1));
    startup["failureThreshold"] = json!(30);
    let app = json!({"name": "app", "image": "i:1", "startupProbe": startup, "livenessProbe": quick("live"), "readinessProbe": quick("ready")});
    let rig = Rig::new(&[with("web", json!([app]))]);
    let (has_started, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (started, others) = (has_started.clone(), asked.clone());
    answer(&rig, "app", move |word| {
        if word != "start" {
            others.fetch_add(1, Ordering::SeqCst);
        }
        word == "start" && !started.load(Ordering::SeqCst)
    });
    let mut agent = rig.start();
    rig.pass(20).await;
    assert_eq!((standing(&agent, "web", "app"), asked.load(Ordering::SeqCst)), ((false, false), 0));
    has_started.store(true, Ordering::SeqCst);
    agent.done(&id(1)).await;
    assert_eq!(standing(&agent, "web", "app"), (true, true));
    // It is not asked again, whatever it would say.
    has_started.store(false, Ordering::SeqCst);
    rig.pass(60).await;
    assert_eq!((standing(&agent, "web", "app"), attempt(&rig, "web", "app")), ((true, true), 0));
    assert!(asked.load(Ordering::SeqCst) > 100, "{asked:?}");
    // The next instance has to start, too.
    rig.fake.exit(&key("web"), "app", 1);
    rig.pass(10).await;
    assert_eq!((standing(&agent, "web", "app"), attempt(&rig, "web", "app")), ((false, false), 1));
    rig.pass(25).await;
    assert_eq!(told(&agent, "Killing"), once("Container app failed startup probe, will be restarted", 1));
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_has_not_started_holds_up_what_follows() {
    let spec = json!({
        "initContainers": [
            {"name": "side", "image": "i:1", "restartPolicy": "Always", "startupProbe": probe("start", 1)},
            {"name": "init", "image": "i:1"},
        ],
        "containers": [{"name": "app", "image": "i:1"}],
    });
    let rig = Rig::new(&[pod_with("web", spec)]);
    rig.fake.behave("init", Behaviour::exits(Duration::from_secs(1), 0));
    let count = Arc::new(AtomicUsize::new(0));
    let own = count.clone();
    // It fails three times, starts again, and succeeds then.
    answer(&rig, "side", move |_| own.fetch_add(1, Ordering::SeqCst) < 4);
    let mut agent = rig.start();
    rig.pass(2).await;
    assert!(rig.pod("web").latest("init").is_none());
    agent.done(&id(1)).await;
    assert_eq!((attempt(&rig, "web", "side"), count.load(Ordering::SeqCst)), (1, 5));
    assert_eq!(told(&agent, "Killing"), once("Init container side failed startup probe", 1));
    assert_eq!(standing(&agent, "web", "side"), (true, true));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_delays_no_other_and_no_round() {
    let mut slow = probe("slow", 1);
    slow["timeoutSeconds"] = json!(3600);
    let app = json!({"name": "app", "image": "i:1", "livenessProbe": slow, "readinessProbe": probe("ready", 1)});
    let rig = Rig::new(&[with("web", json!([app, {"name": "b", "image": "i:1"}])), pod("db", "i:1")]);
    rig.fake.answer("app", |call| match &call.handler {
        Handler::Exec { command } if command[0] == "slow" => Answered::success().after(Duration::from_secs(7200)),
        _ => Answered::success(),
    });
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.fake.exit(&key("web"), "b", 1);
    rig.pass(5).await;
    assert_eq!(attempt(&rig, "web", "b"), 1);
    assert_eq!(standing(&agent, "web", "app"), (true, true));
    let second = rig.commit(&agent, &[pod("db", "i:1")]);
    agent.done(&second).await;
    assert!(rig.fake.pod(&key("web")).is_none());
    let asked = calls(&rig);
    rig.pass(600).await;
    assert_eq!(calls(&rig), asked, "nothing is asked of a pod that is gone");
}

#[tokio::test(start_paused = true)]
async fn a_prober_that_fails_is_asked_three_times_and_counts_for_nothing() {
    let mut liveness = probe("live", 10);
    liveness["failureThreshold"] = json!(1);
    let rig = Rig::new(&[with("web", json!([{"name": "app", "image": "i:1", "livenessProbe": liveness}]))]);
    rig.fake.answer("app", |_| Answered::error("no such luck"));
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(25).await;
    assert_eq!((calls(&rig), attempt(&rig, "web", "app")), (9, 0));
    let [(message, 3)] = &told(&agent, "Unhealthy")[..] else { panic!("{:?}", told(&agent, "Unhealthy")) };
    assert!(
        message.starts_with("Liveness probe errored and resulted in unknown state: ")
            && message.ends_with("no such luck"),
        "{message}"
    );
    // A port that the container does not name is one, too.
    let named = json!({"tcpSocket": {"port": "gone"}, "periodSeconds": 10});
    let third = rig.commit(&agent, &[with("web", json!([{"name": "app", "image": "i:1", "livenessProbe": named}]))]);
    agent.done(&third).await;
    let expected =
        "Liveness probe errored and resulted in unknown state: strconv.Atoi: parsing \"gone\": invalid syntax";
    assert!(
        told(&agent, "Unhealthy").iter().any(|(message, _)| message == expected),
        "{:?}",
        told(&agent, "Unhealthy")
    );
}

#[tokio::test(start_paused = true)]
async fn a_prober_that_panics_is_begun_anew() {
    let mut rig =
        Rig::new(&[with("web", json!([{"name": "app", "image": "i:1", "readinessProbe": probe("ready", 1)}]))]);
    rig.resync = Duration::from_secs(60);
    let panics = AtomicBool::new(true);
    rig.fake.on_call(move |call| {
        (call.verb == Verb::CallHandler && panics.swap(false, Ordering::SeqCst)).then_some(Fault::Panic)
    });
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    assert_eq!(standing(&agent, "web", "app"), (true, true));
    assert!(calls(&rig) > 1, "it was asked again");
}

#[tokio::test(start_paused = true)]
async fn a_warning_is_a_success_that_is_told() {
    let rig = Rig::new(&[with("web", json!([{"name": "app", "image": "i:1", "readinessProbe": probe("ready", 10)}]))]);
    rig.fake.answer("app", |_| Answered::warning("elsewhere"));
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    assert_eq!(told(&agent, "ProbeWarning"), once("Readiness probe warning: elsewhere", 1));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_goes_is_asked_for_its_readiness_alone() {
    let app =
        json!({"name": "app", "image": "i:1", "livenessProbe": probe("live", 1), "readinessProbe": probe("ready", 1)});
    let rig = Rig::new(&[pod_with("web", json!({"terminationGracePeriodSeconds": 20, "containers": [app]}))]);
    rig.fake.behave("app", Behaviour { ignores_stop: true, ..Behaviour::default() });
    let (live, ready) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = [live.clone(), ready.clone()];
    answer(&rig, "app", move |word| {
        counts[usize::from(word == "ready")].fetch_add(1, Ordering::SeqCst);
        false
    });
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.commit(&agent, &[pod("db", "i:1")]);
    rig.pass(2).await;
    let before = [&live, &ready].map(|count| count.load(Ordering::SeqCst));
    rig.pass(10).await;
    let after = [&live, &ready].map(|count| count.load(Ordering::SeqCst));
    assert_eq!((after[0], after[1] >= before[1] + 9), (before[0], true), "{before:?} {after:?}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_begins_anew_asks_at_once() {
    let app = json!({"name": "app", "image": "i:1", "readinessProbe": probe("ready", 30)});
    let rig = Rig::new(&[with("web", json!([app]))]);
    let mut first = rig.start();
    first.done(&id(1)).await;
    rig.pass(100).await;
    first.stop().await;
    rig.fake.forget_calls();
    rig.pass(100).await;
    assert_eq!(calls(&rig), 0, "without an agent nobody asks");
    let mut second = rig.start();
    let before = rig.now();
    second.done(&id(1)).await;
    assert!(rig.now().duration_since(before).as_secs() < 5);
    rig.pass(5).await;
    assert_eq!((calls(&rig), rig.changes()), (1, vec![]));
}

/// How often what the probes say was kept.
fn kept(rig: &Rig) -> usize {
    rig.fake.calls().iter().filter(|call| call.verb == Verb::KeepVerdicts).count()
}

#[tokio::test(start_paused = true)]
async fn what_probes_said_outlives_the_agent_and_not_the_instance() {
    let mut startup = probe("start", 1);
    startup["failureThreshold"] = json!(1);
    let mut readiness = probe("ready", 10);
    readiness["failureThreshold"] = json!(3);
    let app = json!({"name": "app", "image": "i:1", "startupProbe": startup, "readinessProbe": readiness});
    let mut rig = Rig::new(&[with("web", json!([app]))]);
    rig.resync = Duration::from_secs(60);
    let is_bad = switch(&rig, "app", false);
    let mut first = rig.start();
    first.done(&id(1)).await;
    first.stop().await;
    assert_eq!(kept(&rig), 2, "as often as something new was said");
    // Whoever has looked at the machine and planned nothing yet shows what was known last.
    let looks = rig.kubelet();
    looks.observe().await.unwrap();
    let seen = looks.fleet().pods[&key("web")].clone();
    assert!(!seen.planned);
    assert_eq!(seen.probed.get("app").map(|probed| (probed.started, probed.ready)), Some((true, true)));
    drop(looks);
    rig.pass(100).await;
    is_bad.store(true, Ordering::SeqCst);
    rig.fake.forget_calls();
    let mut second = rig.start();
    second.done(&id(1)).await;
    let since = |agent: &Running| {
        let status = status(agent, "web");
        let ready = status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").cloned().unwrap();
        (ready["status"].clone(), ready["lastTransitionTime"].clone())
    };
    let (ready, at) = since(&second);
    assert_eq!((standing(&second, "web", "app"), ready), ((true, true), json!("True")));
    assert!(at.as_str().unwrap() < "2023-11-14T22:14:20Z", "it is ready since before: {at}");
    rig.pass(15).await;
    assert_eq!((standing(&second, "web", "app"), kept(&rig)), ((true, true), 0), "two failures are not three");
    rig.pass(60).await;
    assert_eq!((standing(&second, "web", "app"), kept(&rig)), ((true, false), 1));
    assert_eq!((attempt(&rig, "web", "app"), told(&second, "Killing")), (0, vec![]), "startup is not asked again");
    // Another instance that began meanwhile has to start itself.
    second.stop().await;
    let third = rig.start();
    rig.fake.exit(&key("web"), "app", 1);
    third.stop().await;
    rig.fake.forget_calls();
    let fourth = rig.start();
    rig.pass(5).await;
    assert_eq!((standing(&fourth, "web", "app"), attempt(&rig, "web", "app")), ((false, false), 1));
    assert_eq!(told(&fourth, "Killing"), once("Container app failed startup probe, will be restarted", 1));
}

#[tokio::test(start_paused = true)]
async fn verdicts_that_cannot_be_kept_or_read_hold_up_nothing() {
    let rig = Rig::new(&[with("web", json!([{"name": "app", "image": "i:1", "readinessProbe": probe("ready", 1)}]))]);
    let refuse = |verb| {
        rig.fake.on_call(move |call| {
            let error = || PortError::new(ErrorKind::Unavailable, "keep", "the test", "told to");
            (call.verb == verb).then(|| Fault::Fail(error()))
        });
    };
    refuse(Verb::KeepVerdicts);
    let mut first = rig.start();
    first.done(&id(1)).await;
    rig.pass(60).await;
    assert!(kept(&rig) < 5, "{} tries", kept(&rig));
    rig.fake.heal();
    first.hint();
    first.stop().await;
    refuse(Verb::KeptVerdicts);
    let mut second = rig.start();
    second.done(&id(1)).await;
    assert_eq!(standing(&second, "web", "app"), (true, true));
}

#[tokio::test(start_paused = true)]
async fn ten_failing_probes_write_the_status_once_at_most() {
    let containers = |period: u32| {
        let container = |n| json!({"name": format!("c{n}"), "image": "i:1", "readinessProbe": probe("ready", period)});
        (0..5).map(container).collect::<Vec<_>>()
    };
    // Not in step: their failures are counted at different moments.
    let rig = Rig::new(&[with("a", json!(containers(1))), with("b", json!(containers(3)))]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(120).await;
    let (count, before, asked) = (rig.sink.count(), kept(&rig), calls(&rig));
    for n in 0..5 {
        switch(&rig, &format!("c{n}"), true);
    }
    rig.pass(60).await;
    assert!(calls(&rig) - asked >= 350, "{} answers", calls(&rig) - asked);
    let unhealthy: u32 = told(&agent, "Unhealthy").iter().map(|(_, count)| count).sum();
    assert!((20..=60).contains(&unhealthy), "they are told, and no more often than events may be: {unhealthy}");
    let writes = rig.sink.count() - count;
    assert!(writes <= 1, "{writes} writes");
    assert!(kept(&rig) - before <= 10, "each verdict is kept once: {}", kept(&rig) - before);
    assert_eq!((rig.sink.last().pods[0].open().ready.as_str(), rig.sink.condition().as_str()), ("0/5", "Reconciling"));
}

#[tokio::test(start_paused = true)]
async fn readiness_that_goes_to_and_fro_is_written_once_in_a_minute() {
    let mut readiness = probe("ready", 1);
    readiness["failureThreshold"] = json!(1);
    let rig = Rig::new(&[with("web", json!([{"name": "app", "image": "i:1", "readinessProbe": readiness}]))]);
    let count = AtomicUsize::new(0);
    answer(&rig, "app", move |_| count.fetch_add(1, Ordering::SeqCst) % 4 > 1);
    let _agent = rig.start();
    rig.pass(60).await;
    let before = rig.sink.count();
    rig.pass(600).await;
    let writes = rig.sink.count() - before;
    assert!((5..=11).contains(&writes), "{writes} writes in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn verdicts_that_are_long_in_coming_hold_up_no_other_pod() {
    let slow = with("slow", json!([{"name": "slow", "image": "i:1", "readinessProbe": probe("ready", 10)}]));
    let rig = Rig::new(&[slow.clone(), pod("web", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    agent.stop().await;
    rig.fake.on_call(|call| {
        let is_it = call.verb == Verb::KeptVerdicts && call.pod.as_ref().is_some_and(|pod| pod.name == "slow");
        is_it.then_some(Fault::Slow(Duration::from_secs(60)))
    });
    rig.directory.commit(&[slow, pod("web", "i:2")]);
    let agent = rig.start();
    rig.pass(5).await;
    assert_eq!(rig.pod("web").latest("app").unwrap().record.image, "i:2");
    agent.stop().await;
}
