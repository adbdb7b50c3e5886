//! What goes wrong on the way, and what it costs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use podwright::backend::fake::{Answered, Behaviour, Call, Fault, Verb, VirtualClock};
use podwright::control::{PodStanding, Verdict};
use podwright::model::{ContainerState, ImageNeed, ImageSource};
use podwright::port::{ContainerBackend, ErrorKind, PortError};
use serde_json::json;

use super::rig::{Rig, eventually, id, key, pod, pod_with};

fn error() -> PortError {
    PortError::new(ErrorKind::Unavailable, "do", "it", "told to")
}

/// Fails the first `times` calls of a verb; counts all of them.
fn failing(verb: Verb, times: usize, after: bool) -> (Arc<AtomicUsize>, impl FnMut(&Call) -> Option<Fault> + Send) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let fault = move |call: &Call| {
        let hit = call.verb == verb && counter.fetch_add(1, Ordering::SeqCst) < times;
        hit.then(|| if after { Fault::FailAfter(error()) } else { Fault::Fail(error()) })
    };
    (count, fault)
}

#[tokio::test(start_paused = true)]
async fn whatever_verb_fails_the_pod_gets_there_in_the_end() {
    let verbs = [
        Verb::List,
        Verb::Observe,
        Verb::PutRecord,
        Verb::SyncVolumes,
        Verb::RunSandbox,
        Verb::EnsureImage,
        Verb::StartContainer,
        Verb::MarkDeleted,
        Verb::SignalContainer,
        Verb::StopSandbox,
        Verb::RemovePod,
    ];
    for verb in verbs {
        for after in [false, true] {
            let spec =
                json!({"containers": [{"name": "app", "image": "i:1"}], "volumes": [{"name": "v", "emptyDir": {}}]});
            let rig = Rig::new(&[pod_with("web", spec)]);
            let (count, fault) = failing(verb, 3, after);
            rig.fake.on_call(fault);
            let mut agent = rig.start();
            agent.done(&id(1)).await;
            let second = rig.commit(&agent, &[pod("other", "i:1")]);
            agent.done(&second).await;
            let calls = count.load(Ordering::SeqCst);
            assert!(calls >= 4 || after, "{verb:?} was tried {calls} times only");
            assert_eq!(rig.uids().into_keys().collect::<Vec<_>>(), ["other"], "{verb:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_good_is_tried_rarely_and_told() {
    for verb in
        [Verb::Observe, Verb::PutRecord, Verb::SyncVolumes, Verb::RunSandbox, Verb::EnsureImage, Verb::StartContainer]
    {
        let spec = json!({"containers": [{"name": "app", "image": "i:1"}], "volumes": [{"name": "v", "emptyDir": {}}]});
        let rig = Rig::new(&[pod_with("web", spec)]);
        let (count, fault) = failing(verb, usize::MAX, false);
        rig.fake.on_call(fault);
        let agent = rig.start();
        rig.pass(3600).await;
        // 10, 20, 40, 80, 160 and then 300 s.
        let tries = count.load(Ordering::SeqCst);
        assert!((14..=18).contains(&tries), "{verb:?}: {tries} tries in an hour");
        let progress = agent.progress.borrow().clone();
        assert_eq!(progress.pods[0].standing, PodStanding::Progressing);
        if verb != Verb::Observe {
            assert!(progress.pods[0].message.contains("cannot do it: told to"), "{verb:?}: {:?}", progress.pods[0]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_teardown_that_fails_for_good_is_tried_rarely() {
    for verb in [Verb::MarkDeleted, Verb::SignalContainer, Verb::StopSandbox, Verb::RemovePod] {
        let rig = Rig::new(&[pod("web", "i:1")]);
        let mut agent = rig.start();
        agent.done(&id(1)).await;
        let (count, fault) = failing(verb, usize::MAX, false);
        rig.fake.on_call(fault);
        rig.commit(&agent, &[]);
        rig.pass(3600).await;
        let tries = count.load(Ordering::SeqCst);
        assert!((12..=40).contains(&tries), "{verb:?}: {tries} tries in an hour");
        let told = &agent.progress.borrow().pods[0];
        assert_eq!(told.standing, PodStanding::Leaving);
        assert!(told.message.contains("told to"), "{verb:?}: {told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_cannot_be_forgotten_does_not_hinder_the_next_one() {
    let rig = Rig::new(&[pod("web", "i:1")]);
    rig.fake.behave("app", Behaviour::exits(Duration::from_secs(1), 1));
    let (_, fault) = failing(Verb::RemoveContainer, usize::MAX, false);
    rig.fake.on_call(fault);
    let _agent = rig.start();
    eventually("a fifth instance", || rig.fake.pod(&key("web")).is_some_and(|p| p.containers.len() >= 5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_image_holds_up_its_own_container_only() {
    let spec = json!({"containers": [{"name": "bad", "image": "missing:1"}, {"name": "good", "image": "i:1"}]});
    let rig = Rig::new(&[pod_with("web", spec)]);
    rig.fake.set_image("missing:1", false);
    let mut agent = rig.start();
    let told = agent.until("told", |p| p.pods.iter().any(|pod| pod.message.contains("no such image"))).await;
    assert!(!told.is_done() && !told.is_hopeless());
    eventually("the good one runs", || rig.pod("web").latest("good").is_some_and(|c| c.is_live())).await;
    rig.pass(30).await;
    assert_eq!(rig.sink.last().pods[0].open().status, "ImagePullBackOff");
    let count = |reason: &str, words: &str| {
        let fleet = agent.kubelet.fleet();
        let event = fleet.events.iter().find(|e| e.reason == reason && e.message.contains(words));
        event.map_or(0, |event| event.count)
    };
    // At once, after 10 s, and after 20 s more.
    assert_eq!(count("Pulling", "Pulling image \"missing:1\""), 3);
    assert_eq!(count("Failed", "Failed to pull image \"missing:1\": "), 3);
    assert_eq!(count("Failed", "Error: ErrImagePull"), 3);
    assert_eq!(count("BackOff", "Back-off pulling image \"missing:1\""), 1, "it waits the whole time");
    rig.fake.set_image("missing:1", true);
    agent.done(&id(1)).await;
}

#[tokio::test(start_paused = true)]
async fn how_an_image_came_here_is_told_once_also_when_the_start_after_it_fails() {
    for told_by_the_first in [false, true] {
        let rig = Rig::new(&[pod("web", "far:1")]);
        rig.fake.set_remote("far:1");
        if told_by_the_first {
            rig.fake.behave("app", Behaviour { fails_to_start: Some("told to".into()), ..Behaviour::default() });
        } else {
            let (_, fault) = failing(Verb::StartContainer, 1, false);
            rig.fake.on_call(fault);
        }
        let mut agent = rig.start();
        if told_by_the_first {
            eventually("a start that failed", || rig.fake.pod(&key("web")).is_some_and(|p| p.latest("app").is_some()))
                .await;
            rig.fake.behave("app", Behaviour::default());
        }
        agent.done(&id(1)).await;
        let pod = rig.pod("web");
        let pulled = pod.containers.iter().filter(|c| !c.record.image_source.is_present()).count();
        assert_eq!(pulled, 1, "{:?}", pod.containers);
        let fleet = agent.kubelet.fleet();
        let told: Vec<_> = fleet.events.iter().filter(|e| e.message.starts_with("Successfully pulled image")).collect();
        assert_eq!(told.iter().map(|e| e.count).sum::<u32>(), 1);
    }
}

#[tokio::test]
async fn the_fake_goes_by_the_table_of_pull_policies() {
    let fake = podwright::backend::fake::Fake::new(Arc::new(VirtualClock::new(Timestamp::UNIX_EPOCH)));
    fake.set_image("nowhere:1", false);
    let ensure = async |image: &str, policy: &str| {
        let need = ImageNeed {
            container: "c".into(),
            volume: None,
            image: image.into(),
            policy: policy.into(),
            secrets: Vec::new(),
            missing_secrets: Vec::new(),
        };
        let begun = AtomicUsize::new(0);
        let pulling = || {
            begun.fetch_add(1, Ordering::Relaxed);
        };
        let outcome = match fake.ensure_image(&need, &pulling).await {
            Ok(status) => match status.source {
                ImageSource::Present => "present",
                ImageSource::Pulled { .. } => "pulled",
                ImageSource::Stale { .. } => "stale",
            },
            Err(error) => error.waiting_reason.unwrap(),
        };
        (outcome, begun.into_inner())
    };
    for (cut_off, strict, image, policy, expected) in [
        (false, false, "here:1", "IfNotPresent", ("present", 0)),
        (false, false, "here:1", "Never", ("present", 0)),
        (false, false, "here:1", "Always", ("pulled", 1)),
        (true, false, "here:1", "Always", ("stale", 1)),
        (true, true, "here:1", "Always", ("ErrImagePull", 1)),
        (true, true, "here:1", "IfNotPresent", ("present", 0)),
        (true, false, "podwright.invalid/host", "Always", ("present", 0)),
        (false, false, "far:1", "Never", ("ErrImageNeverPull", 0)),
        (true, false, "far:1", "IfNotPresent", ("ErrImagePull", 1)),
        (false, false, "far:1", "IfNotPresent", ("pulled", 1)),
        (false, false, "nowhere:1", "Always", ("ErrImagePull", 1)),
        (false, false, "nowhere:1", "IfNotPresent", ("ErrImagePull", 1)),
    ] {
        if image == "far:1" {
            fake.set_remote(image);
        }
        fake.cut_off(cut_off);
        fake.set_strict_offline(strict);
        assert_eq!(ensure(image, policy).await, expected, "{image} {policy}, cut off {cut_off}, strict {strict}");
    }
    assert_eq!(ensure("far:1", "IfNotPresent").await, ("present", 0), "it is here from then on");
}

#[tokio::test(start_paused = true)]
async fn each_image_of_a_container_is_asked_for_once_however_long_it_takes_and_told() {
    let spec = json!({
        "containers": [{"name": "app", "image": "app", "volumeMounts": [
            {"name": "v", "mountPath": "/v"}, {"name": "w", "mountPath": "/w"},
        ]}],
        "volumes": [{"name": "v", "image": {"reference": "files"}}, {"name": "w", "image": {"reference": "more:1"}}],
    });
    let object = |number: usize| {
        let mut pod = pod_with("web", spec.clone());
        pod["metadata"]["annotations"] = json!({"number": number.to_string()});
        pod
    };
    let rig = Rig::new(&[object(0)]);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    rig.fake.on_call(move |call| {
        if call.verb != Verb::EnsureImage {
            return None;
        }
        seen.lock().unwrap().push(call.subject.clone());
        Some(Fault::Slow(Duration::from_secs(30)))
    });
    let mut agent = rig.start();
    // Amid each of them the pod changes, and the worker has something else to do.
    let mut last = id(1);
    for number in 1..=3 {
        rig.pass(25).await;
        last = rig.commit(&agent, &[object(number)]);
    }
    agent.done(&last).await;
    assert_eq!(*asked.lock().unwrap(), ["files", "more:1", "app"]);
    let record = rig.pod("web").latest("app").unwrap().record.clone();
    assert_eq!(record.volume_images.keys().collect::<Vec<_>>(), ["v", "w"]);
    assert!(!record.image_source.is_present(), "how its own image came is the container's story");
    // What volumes show is told of the pod.
    let events = agent.kubelet.fleet().events;
    let told = |reason: &str, image: &str| {
        let is_it = |text: &str| text.contains(&format!("image {image:?}"));
        let found = events.iter().find(|event| event.reason == reason && is_it(&event.message));
        found.map(|event| event.field_path.is_some())
    };
    assert_eq!((told("Pulling", "files"), told("Pulled", "files")), (Some(false), Some(false)));
    assert_eq!((told("Pulling", "more:1"), told("Pulled", "more:1")), (None, Some(false)), "it was here");
    assert_eq!((told("Pulling", "app"), told("Pulled", "app")), (Some(true), Some(true)));
}

#[tokio::test(start_paused = true)]
async fn an_image_of_a_volume_that_cannot_be_had_is_told_by_its_name() {
    let spec = json!({
        "containers": [{"name": "app", "image": "app:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "volumes": [{"name": "v", "image": {"reference": "files:1"}}],
    });
    let rig = Rig::new(&[pod_with("web", spec)]);
    rig.fake.set_image("files:1", false);
    let agent = rig.start();
    rig.pass(60).await;
    let events = agent.kubelet.fleet().events;
    let told: Vec<(&str, bool)> = events
        .iter()
        .filter(|event| event.message.contains("files:1") || event.message.starts_with("Error: "))
        .map(|event| (event.message.as_str(), event.field_path.is_some()))
        .collect();
    let failed = told.iter().find(|(text, _)| text.starts_with("Failed to pull image \"files:1\": "));
    assert!(failed.is_some_and(|(_, of_container)| !of_container), "{told:?}");
    assert!(told.contains(&("Back-off pulling image \"files:1\"", false)), "{told:?}");
    assert!(told.contains(&("Error: ErrImagePull", true)), "{told:?}");
    rig.fake.set_image("files:1", true);
    rig.pass(600).await;
    assert!(rig.pod("web").latest("app").is_some(), "it starts when the image is there");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_to_go_or_to_change_waits_for_no_image() {
    let rig = Rig::new(&[pod("goes", "slow:1"), pod("changes", "slow:1"), pod("other", "i:1")]);
    rig.fake.on_call(|call| (call.verb == Verb::EnsureImage && call.subject == "slow:1").then_some(Fault::Hang));
    let mut agent = rig.start();
    eventually("the other one runs", || rig.fake.pod(&key("other")).is_some_and(|p| p.latest("app").is_some())).await;
    let id = rig.commit(&agent, &[pod("changes", "i:1"), pod("other", "i:1")]);
    agent.done(&id).await;
    assert!(rig.fake.pod(&key("goes")).is_none());
    assert_eq!(rig.pod("changes").latest("app").unwrap().record.image, "i:1");
    let told = agent.kubelet.fleet().events.iter().any(|e| e.reason == "Failed");
    assert!(!told, "a pull that nobody waits for any more is no failure");
}

#[tokio::test(start_paused = true)]
async fn a_long_pull_keeps_no_other_container_from_being_restarted() {
    let spec = |slow: &str, other: &str| {
        let containers = json!([{"name": "first", "image": "i:1"}, {"name": "slow", "image": slow}, {"name": "last", "image": other}]);
        pod_with("web", json!({"terminationGracePeriodSeconds": 1, "containers": containers}))
    };
    let rig = Rig::new(&[spec("slow:1", "i:1")]);
    rig.fake
        .on_call(|call| (call.verb == Verb::EnsureImage && call.subject.starts_with("slow:")).then_some(Fault::Hang));
    let mut agent = rig.start();
    let attempt = |name: &str| rig.fake.pod(&key("web")).and_then(|pod| Some(pod.latest(name)?.record.attempt));
    let restarted = async |name: &str, count: u32| {
        eventually(&format!("{name}#{count}"), || attempt(name) == Some(count)).await;
    };
    restarted("first", 0).await;
    rig.fake.exit(&key("web"), "first", 1);
    restarted("first", 1).await;
    assert_eq!(attempt("last"), None, "the first starts keep their order, as with the kubelet");
    let why = agent.kubelet.fleet().why(&key("web"));
    assert!(why.contains("slow: ContainerCreating"), "{why}");
    assert!(!agent.progress.borrow().pods[0].stuck, "it waits for what comes by itself");
    rig.fake.heal();
    let id = rig.commit(&agent, &[spec("i:1", "i:1")]);
    agent.done(&id).await;
    // Another image of a container that has run: what comes after it has run, too, and is not held up either.
    rig.fake
        .on_call(|call| (call.verb == Verb::EnsureImage && call.subject.starts_with("slow:")).then_some(Fault::Hang));
    rig.commit(&agent, &[spec("slow:2", "i:1")]);
    eventually("slow ends", || rig.pod("web").latest("slow").is_some_and(|latest| latest.exit().is_some())).await;
    rig.fake.exit(&key("web"), "last", 1);
    restarted("last", 1).await;
    let told = agent.kubelet.fleet().events.iter().any(|event| event.reason == "Failed");
    assert!(!told, "nothing has failed");
    // What goes waits for no image.
    rig.commit(&agent, &[pod("other", "i:1")]);
    eventually("it is gone", || rig.fake.pod(&key("web")).is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_pull_goes_on_while_its_container_waits_for_another() {
    let hook = json!({"postStart": {"exec": {"command": ["greet"]}}});
    let containers = json!([{"name": "first", "image": "i:1", "lifecycle": hook}, {"name": "slow", "image": "slow:1"}]);
    let rig = Rig::new(&[pod_with("web", json!({"containers": containers}))]);
    rig.fake.answer("first", |_| Answered::success().after(Duration::from_secs(15)));
    let pull = Duration::from_secs(60);
    rig.fake.on_call(move |call| {
        (call.verb == Verb::EnsureImage && call.subject.starts_with("slow:")).then_some(Fault::Slow(pull))
    });
    let _agent = rig.start();
    let attempt = |name: &str| rig.fake.pod(&key("web")).and_then(|pod| Some(pod.latest(name)?.record.attempt));
    eventually("the pull", || pulled(&rig) == 1).await;
    for count in 1..=2 {
        rig.pass(10).await;
        rig.fake.exit(&key("web"), "first", 1);
        eventually("the next instance", || attempt("first") == Some(count)).await;
        rig.pass(2).await;
    }
    // It ends while the hook of the next one runs, and what it came to is kept for as long.
    rig.pass(4).await;
    rig.fake.exit(&key("web"), "first", 1);
    rig.pass(24).await;
    assert_eq!((attempt("first"), attempt("slow"), pulled(&rig)), (Some(3), None, 1));
    rig.pass(20).await;
    assert_eq!((attempt("slow"), pulled(&rig)), (Some(0), 1));
}

/// What became of one that has run and whose image is asked for again while it waits for the hook of another one: its newest
/// instance, how often it was asked for, and whether that failed. First when the answer is there and the hook not done, then when
/// it is.
async fn pulled_while_held(is_there: bool) -> [(Option<u32>, usize, bool); 2] {
    let hook = json!({"postStart": {"exec": {"command": ["greet"]}}});
    let containers = json!([{"name": "first", "image": "i:1", "lifecycle": hook}, {"name": "slow", "image": "slow:1"}]);
    let rig = Rig::new(&[pod_with("web", json!({"containers": containers}))]);
    rig.fake.answer("first", |_| Answered::success().after(Duration::from_secs(15)));
    let agent = rig.start();
    let attempt = |name: &str| rig.fake.pod(&key("web")).and_then(|pod| Some(pod.latest(name)?.record.attempt));
    eventually("all run", || attempt("slow") == Some(0)).await;
    let pull = Duration::from_secs(60);
    rig.fake.on_call(move |call| {
        (call.verb == Verb::EnsureImage && call.subject.starts_with("slow:")).then_some(Fault::Slow(pull))
    });
    rig.fake.set_image("slow:1", is_there);
    rig.fake.forget_calls();
    rig.fake.exit(&key("web"), "slow", 1);
    eventually("the pull", || pulled(&rig) == 1).await;
    rig.pass(50).await;
    rig.fake.exit(&key("web"), "first", 1);
    eventually("the next instance", || attempt("first") == Some(1)).await;
    let has_failed = || agent.kubelet.fleet().why(&key("web")).contains("slow: ImagePullBackOff");
    let seen = || (attempt("slow"), pulled(&rig), has_failed());
    rig.pass(12).await;
    let while_held = seen();
    rig.pass(6).await;
    [while_held, seen()]
}

#[tokio::test(start_paused = true)]
async fn what_a_pull_came_to_is_kept_for_one_that_has_run_and_waits_for_another() {
    assert_eq!(pulled_while_held(true).await, [(Some(0), 1, false), (Some(1), 1, false)]);
    assert_eq!(pulled_while_held(false).await, [(Some(0), 1, false), (Some(0), 1, true)]);
}

/// How often the slow image was asked for.
fn pulled(rig: &Rig) -> usize {
    rig.fake.calls().iter().filter(|call| call.verb == Verb::EnsureImage && call.subject.starts_with("slow:")).count()
}

#[tokio::test(start_paused = true)]
async fn a_container_that_cannot_be_started_is_told_with_its_reason() {
    let rig = Rig::new(&[pod("web", "i:1")]);
    let behaviour = Behaviour { fails_to_start: Some("exec: no such file".into()), ..Behaviour::default() };
    rig.fake.behave("app", behaviour);
    let mut agent = rig.start();
    agent.until("told", |p| p.pods.iter().any(|pod| pod.message.contains("exec: no such file"))).await;
    rig.pass(120).await;
    assert!(rig.pod("web").latest("app").unwrap().record.attempt >= 2, "it is tried again");
    rig.fake.behave("app", Behaviour::default());
    agent.done(&id(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_panics_is_begun_anew_and_the_others_do_not_notice() {
    let rig = Rig::new(&[pod("web", "i:1"), pod("db", "i:1")]);
    let mut panics = 2;
    rig.fake.on_call(move |call| {
        let hit = call.verb == Verb::RunSandbox && call.pod == Some(key("web")) && panics > 0;
        panics -= i32::from(hit);
        hit.then_some(Fault::Panic)
    });
    let mut agent = rig.start();
    eventually("db runs", || rig.fake.pod(&key("db")).is_some_and(|p| p.latest("app").is_some())).await;
    assert!(rig.fake.pod(&key("web")).unwrap().containers.is_empty());
    agent.done(&id(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_pod_does_not_hold_up_the_others() {
    let rig = Rig::new(&[pod("slow", "i:1"), pod("web", "i:1")]);
    rig.fake.on_call(|call| (call.verb == Verb::EnsureImage).then_some(Fault::Slow(Duration::from_secs(1))));
    rig.fake.on_call(|call| {
        let hit = call.verb == Verb::PutRecord && call.pod == Some(key("slow"));
        hit.then_some(Fault::Slow(Duration::from_secs(3000)))
    });
    let mut agent = rig.start();
    let begun = rig.now();
    agent
        .until("web is ready", |p| p.pods.iter().any(|pod| pod.key == key("web") && pod.standing == PodStanding::Ready))
        .await;
    assert!(rig.now().duration_since(begun).as_secs() < 5);
}

#[tokio::test(start_paused = true)]
async fn no_more_containers_are_started_at_once_than_allowed() {
    let pods: Vec<_> = (0..8).map(|i| pod(&format!("web{i}"), "i:1")).collect();
    let rig = Rig::new(&pods);
    rig.fake.on_call(|call| (call.verb == Verb::StartContainer).then_some(Fault::Slow(Duration::from_secs(10))));
    let mut agent = rig.start();
    let begun = rig.now();
    agent.done(&id(1)).await;
    // Eight starts, two at a time.
    assert_eq!(rig.now().duration_since(begun).as_secs(), 40);
}

#[tokio::test(start_paused = true)]
async fn starts_that_never_end_do_not_hold_up_the_others_for_ever() {
    let rig = Rig::new(&[pod("a", "i:1"), pod("b", "i:1"), pod("c", "i:1")]);
    rig.fake.on_call(|call| {
        let stuck = call.verb == Verb::RunSandbox && call.pod != Some(key("c"));
        stuck.then_some(Fault::Hang)
    });
    let mut agent = rig.start();
    agent
        .until("c is ready", |p| p.pods.iter().any(|pod| pod.key == key("c") && pod.standing == PodStanding::Ready))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_vanishes_keeps_the_pods_and_is_told() {
    let rig = Rig::new(&[pod("web", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let running = rig.fake.processes();
    *rig.directory.vanished.lock().unwrap() = true;
    agent.hint();
    let progress = agent.until("told", |p| matches!(p.verdict, Verdict::Failed(_))).await;
    assert_eq!(progress.verdict, Verdict::Failed("cannot read directory the test: told to".into()));
    rig.pass(600).await;
    assert_eq!(rig.fake.processes(), running);
    assert_eq!((rig.sink.condition().as_str(), rig.sink.last().errors.len()), ("Stalled", 1));
    // It is looked for without a hint and without a resync.
    *rig.directory.vanished.lock().unwrap() = false;
    let second = rig.directory.commit(&[pod("web", "i:2")]);
    agent.done(&second).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_ledger_nothing_new_is_applied() {
    let rig = Rig::new(&[pod("web", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    *rig.ledger.full.lock().unwrap() = true;
    rig.commit(&agent, &[pod("web", "i:2")]);
    agent.until("told", |p| matches!(p.verdict, Verdict::Failed(_))).await;
    rig.pass(60).await;
    assert_eq!(rig.pod("web").latest("app").unwrap().record.image, "i:1");
    assert!(matches!(rig.pod("web").latest("app").unwrap().state, ContainerState::Running { .. }));
    *rig.ledger.full.lock().unwrap() = false;
    agent.done(&id(2)).await;
}

#[tokio::test(start_paused = true)]
async fn the_ledger_is_saved_before_anything_is_done() {
    let rig = Rig::new(&[pod("web", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let saves = rig.ledger.saves.lock().unwrap().clone();
    assert_eq!(saves.len(), 1);
    assert_eq!(saves[0].0.last_applied.as_ref().unwrap().id, id(1));
    assert_eq!(saves[0].1, 0, "saved before the first change");
    let done = rig.changes().len();
    let second = rig.commit(&agent, &[pod("web", "i:2")]);
    agent.done(&second).await;
    let saves = rig.ledger.saves.lock().unwrap().clone();
    assert_eq!((saves.len(), saves[1].1), (2, done));
}
