//! The kubelet by itself: targets, removal on request, and whatever may happen in any order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use podwright::backend::fake::{Behaviour, Fault, Verb};
use podwright::control::remove_pods;
use podwright::model::{AdmittedPod, ContainerState, Reason, Sandbox};
use podwright::port::PodBackend;
use proptest::prelude::*;
use serde_json::json;

use super::rig::{Rig, eventually, key, pod, pod_with};
use crate::admit::without_tokens::{admitted, pod_of};

fn target(name: &str, spec: serde_json::Value) -> Arc<AdmittedPod> {
    pod_of(&admitted(&[pod_with(name, spec)]), "default", name)
}

fn simple(name: &str, image: &str) -> Arc<AdmittedPod> {
    pod_of(&admitted(&[pod(name, image)]), "default", name)
}

async fn runs(rig: &Rig, name: &str) {
    eventually("it runs", || {
        let pod = rig.fake.pod(&key(name));
        pod.is_some_and(|p| p.latest("app").is_some_and(|c| matches!(c.state, ContainerState::Running { .. })))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn only_the_named_pods_are_removed_and_others_are_not_touched() {
    let rig = Rig::new(&[]);
    let kubelet = rig.kubelet();
    for name in ["a", "b"] {
        kubelet.apply(simple(name, "i:1"), "r1", &Reason::PodAdded).await.unwrap();
        runs(&rig, name).await;
    }
    kubelet.shutdown(Duration::from_secs(1)).await;
    // Another process, as `delete` is one.
    let kubelet = rig.kubelet();
    rig.fake.forget_calls();
    let which = BTreeSet::from([key("a"), key("never-was")]);
    let removed = remove_pods(&kubelet, Some(&which), None, None).await.unwrap();
    assert_eq!((removed.gone, removed.left), (vec![key("a")], vec![]));
    assert!(rig.fake.pod(&key("a")).is_none());
    assert!(!rig.changes().iter().any(|call| call.contains("default/b")), "{:?}", rig.changes());
    let removed = remove_pods(&kubelet, None, None, None).await.unwrap();
    assert_eq!(removed.gone, [key("b")]);
    assert!(rig.fake.keys().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_go_in_time_is_named_with_its_reason() {
    let rig = Rig::new(&[]);
    rig.fake.behave("app", Behaviour { ignores_stop: true, ..Behaviour::default() });
    let kubelet = rig.kubelet();
    kubelet.apply(simple("a", "i:1"), "r1", &Reason::PodAdded).await.unwrap();
    runs(&rig, "a").await;
    let deadline = rig.now() + SignedDuration::from_secs(5);
    let removed = remove_pods(&kubelet, None, None, Some(deadline)).await.unwrap();
    assert_eq!(removed.left.len(), 1);
    assert!(removed.left[0].1.contains("told to stop"), "{removed:?}");
    // A second request with less patience shortens the grace period; it never grows again.
    let begun = rig.now();
    let removed = remove_pods(&kubelet, None, Some(0), None).await.unwrap();
    assert_eq!(removed.gone, [key("a")]);
    assert!(rig.now().duration_since(begun).as_secs() <= 1);
}

#[tokio::test(start_paused = true)]
async fn a_grace_period_only_ever_shrinks() {
    let rig = Rig::new(&[]);
    rig.fake.behave("app", Behaviour { ignores_stop: true, ..Behaviour::default() });
    let kubelet = rig.kubelet();
    kubelet.apply(simple("a", "i:1"), "r1", &Reason::PodAdded).await.unwrap();
    runs(&rig, "a").await;
    let begun = rig.now();
    kubelet.limit_grace(&key("a"), 12);
    kubelet.remove(&key("a"), &Reason::DeletionRequested).await.unwrap();
    rig.pass(1).await;
    kubelet.limit_grace(&key("a"), 500);
    rig.pass(1).await;
    assert_eq!(rig.pod("a").record.deletion.unwrap().grace_seconds, 12);
    eventually("gone", || rig.fake.pod(&key("a")).is_none()).await;
    assert!(rig.now().duration_since(begun).as_secs() <= 13);
}

#[tokio::test(start_paused = true)]
async fn a_newer_target_stops_what_is_left_of_an_older_plan() {
    let rig = Rig::new(&[]);
    let kubelet = rig.kubelet();
    rig.fake.on_call(|call| (call.verb == Verb::RunSandbox).then_some(Fault::Slow(Duration::from_secs(5))));
    kubelet.apply(simple("a", "i:1"), "r1", &Reason::PodAdded).await.unwrap();
    rig.pass(1).await;
    kubelet.remove(&key("a"), &Reason::PodRemoved).await.unwrap();
    eventually("gone", || kubelet.fleet().pods.is_empty()).await;
    assert!(rig.fake.keys().is_empty());
    assert!(!rig.changes().iter().any(|call| call.starts_with("Start")), "{:?}", rig.changes());
}

/// More pods than may have their rounds at the same time.
fn many() -> Vec<Arc<AdmittedPod>> {
    let names: Vec<String> = (0..300).map(|n| format!("pod-{n:03}")).collect();
    let all = admitted(&names.iter().map(|name| pod(name, "i:1")).collect::<Vec<_>>());
    names.iter().map(|name| pod_of(&all, "default", name)).collect()
}

#[tokio::test(start_paused = true)]
async fn of_many_pods_some_are_brought_to_their_end_before_others_are_begun() {
    let rig = Rig::new(&[]);
    let kubelet = rig.kubelet();
    let pods = many();
    for pod in &pods {
        kubelet.apply(Arc::clone(pod), "r1", &Reason::PodAdded).await.unwrap();
    }
    eventually("all run", || {
        let started = rig.changes().iter().filter(|call| call.starts_with("Start")).count();
        started == pods.len()
    })
    .await;
    let calls = rig.changes();
    let first = calls.iter().position(|call| call.starts_with("Start")).unwrap();
    let begun = calls[..first].iter().filter(|call| call.starts_with("PutRecord")).count();
    assert!((1..=256).contains(&begun), "{begun}");
}

#[tokio::test(start_paused = true)]
async fn pods_whose_steps_take_long_hold_no_other_pod_up() {
    let rig = Rig::new(&[]);
    rig.fake.on_call(|call| {
        let is_stuck = call.pod.as_ref().is_some_and(|pod| pod.name.starts_with("pod-"));
        (call.verb == Verb::PutRecord && is_stuck).then_some(Fault::Hang)
    });
    let kubelet = rig.kubelet();
    for pod in many() {
        kubelet.apply(pod, "r1", &Reason::PodAdded).await.unwrap();
    }
    // Every place is taken.
    tokio::task::yield_now().await;
    let begun = rig.now();
    kubelet.apply(simple("z", "i:1"), "r1", &Reason::PodAdded).await.unwrap();
    runs(&rig, "z").await;
    assert!(rig.now().duration_since(begun) <= SignedDuration::from_secs(3), "{}", rig.now());
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_not_wanted_any_more_when_its_turn_comes_is_left_out() {
    for ends in [true, false] {
        let rig = Rig::new(&[]);
        rig.fake.on_call(|call| (call.verb == Verb::RunSandbox).then_some(Fault::Slow(Duration::from_secs(10))));
        let kubelet = rig.kubelet();
        let pods: Vec<_> = ["a", "b", "c"].into_iter().map(|name| (key(name), simple(name, "i:1"))).collect();
        for (_, pod) in &pods {
            kubelet.apply(pod.clone(), "r1", &Reason::PodAdded).await.unwrap();
        }
        // Two at a time.
        let begun = || rig.changes().iter().filter(|call| call.starts_with("RunSandbox")).count();
        eventually("two of them start", || begun() == 2).await;
        if ends {
            kubelet.shutdown(Duration::from_secs(60)).await;
        } else {
            for (key, _) in &pods {
                kubelet.remove(key, &Reason::PodRemoved).await.unwrap();
            }
            eventually("all are gone", || rig.fake.keys().is_empty()).await;
        }
        assert_eq!(begun(), 2, "{:?}", rig.changes());
    }
}

#[tokio::test(start_paused = true)]
async fn a_kill_waits_neither_for_the_image_nor_for_the_turn_of_another_container() {
    for waits_for in [Verb::EnsureImage, Verb::RunSandbox] {
        let rig = Rig::new(&[]);
        rig.fake.behave("app", Behaviour { ignores_stop: true, ..Behaviour::default() });
        let kubelet = rig.kubelet();
        let with_image = |image: &str| {
            let containers = json!([{"name": "first", "image": image}, {"name": "app", "image": image}]);
            target("web", json!({"terminationGracePeriodSeconds": 5, "containers": containers}))
        };
        kubelet.apply(with_image("i:1"), "r1", &Reason::PodAdded).await.unwrap();
        runs(&rig, "web").await;
        // One of the two is what the first container waits for: its image, or others whose turn it is.
        rig.fake.on_call(move |call| (call.verb == waits_for).then_some(Fault::Slow(Duration::from_secs(50))));
        if waits_for == Verb::RunSandbox {
            for name in ["x", "y"] {
                kubelet.apply(simple(name, "i:1"), "r1", &Reason::PodAdded).await.unwrap();
            }
            let begun = || rig.changes().iter().filter(|call| call.starts_with("RunSandbox")).count();
            eventually("every turn is taken", || begun() == 3).await;
        }
        let begun = rig.now();
        kubelet.apply(with_image("i:2"), "r2", &Reason::PodAdded).await.unwrap();
        let image = |name: &str| rig.pod("web").latest(name).map(|c| c.record.image.clone()).unwrap_or_default();
        eventually("it is killed", || rig.pod("web").latest("app").is_some_and(|c| !c.is_live())).await;
        assert!(rig.now().duration_since(begun) <= SignedDuration::from_secs(6), "{waits_for:?}: {}", rig.now());
        assert_eq!(image("first"), "i:1", "{waits_for:?}: it did not wait");
        eventually("both are as targeted", || ["first", "app"].iter().all(|name| image(name) == "i:2")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_kill_waits_for_no_image_that_follows_its_stop_though_no_hint_comes() {
    let rig = Rig::new(&[]);
    rig.fake.behave("app", Behaviour { ignores_stop: true, ..Behaviour::default() });
    let kubelet = rig.kubelet();
    let with_image = |image: &str| {
        let containers = json!([{"name": "first", "image": "i:1"}, {"name": "app", "image": image}]);
        target("web", json!({"terminationGracePeriodSeconds": 5, "containers": containers}))
    };
    kubelet.apply(with_image("i:1"), "r1", &Reason::PodAdded).await.unwrap();
    runs(&rig, "web").await;
    // In one round the first is to be begun again, and the other one to stop.
    rig.fake.lose_hints(true);
    rig.fake.exit(&key("web"), "first", 1);
    rig.fake.on_call(|call| (call.verb == Verb::EnsureImage).then_some(Fault::Slow(Duration::from_secs(50))));
    kubelet.apply(with_image("i:2"), "r2", &Reason::PodAdded).await.unwrap();
    rig.pass(6).await;
    assert!(rig.pod("web").latest("first").is_some_and(|first| first.record.attempt == 0), "it waits for its image");
    assert!(rig.pod("web").latest("app").is_some_and(|app| !app.is_live()), "{:?}", rig.changes());
}

#[tokio::test(start_paused = true)]
async fn a_pod_wanted_again_while_it_goes_is_made_anew() {
    let rig = Rig::new(&[]);
    rig.fake.behave("app", Behaviour { stops_after: Duration::from_secs(8), ..Behaviour::default() });
    let kubelet = rig.kubelet();
    kubelet.apply(simple("a", "i:1"), "r1", &Reason::PodAdded).await.unwrap();
    runs(&rig, "a").await;
    let uid = rig.pod("a").record.uid;
    kubelet.remove(&key("a"), &Reason::PodRemoved).await.unwrap();
    rig.pass(2).await;
    kubelet.apply(simple("a", "i:1"), "r2", &Reason::PodAdded).await.unwrap();
    eventually("another pod", || rig.fake.pod(&key("a")).is_some_and(|p| p.record.uid != uid)).await;
    runs(&rig, "a").await;
    assert_eq!(rig.pod("a").record.revision, "r2");
}

/// What may happen to a pod between two looks.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Apply(usize),
    Remove,
    Exit(i32),
    LoseMonitor,
    KillSandbox,
    Fail(usize),
    Pass(u64),
    NewAgent,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (0..3_usize).prop_map(Happening::Apply),
        1 => Just(Happening::Remove),
        2 => (0..2).prop_map(Happening::Exit),
        1 => Just(Happening::LoseMonitor),
        1 => Just(Happening::KillSandbox),
        2 => (0..30_usize).prop_map(Happening::Fail),
        3 => (0..40_u64).prop_map(Happening::Pass),
        1 => Just(Happening::NewAgent),
    ]
}

fn variant(number: usize) -> Arc<AdmittedPod> {
    let image = format!("i:{}", usize::from(number == 1));
    let env = json!([{"name": "V", "value": format!("{}", number / 2)}]);
    let containers = json!([{"name": "app", "image": image, "env": env}, {"name": "side", "image": "i:0"}]);
    target("web", json!({"containers": containers, "terminationGracePeriodSeconds": 5}))
}

async fn play(happenings: &[Happening]) {
    let rig = Rig::new(&[]);
    let mut kubelet = rig.kubelet();
    let mut wanted = Some(0);
    let web = key("web");
    for happening in happenings {
        match *happening {
            Happening::Apply(number) => wanted = Some(number),
            Happening::Remove => wanted = None,
            Happening::Exit(code) => rig.fake.exit(&web, "app", code),
            Happening::LoseMonitor => rig.fake.lose_monitor(&web, "app"),
            Happening::KillSandbox => rig.fake.kill_sandbox(&web),
            Happening::Fail(skip) => {
                let mut left = skip;
                rig.fake.on_call(move |call| {
                    let hit = call.verb.changes() && left == 0;
                    left = left.saturating_sub(usize::from(call.verb.changes()));
                    let error =
                        podwright::port::PortError::new(podwright::port::ErrorKind::Unavailable, "do", "it", "told to");
                    hit.then_some(Fault::FailAfter(error))
                });
            }
            Happening::Pass(seconds) => rig.pass(seconds).await,
            Happening::NewAgent => {
                kubelet.shutdown(Duration::from_secs(1)).await;
                kubelet = rig.kubelet();
            }
        }
        match wanted {
            Some(number) => kubelet.apply(variant(number), "r", &Reason::PodAdded).await.unwrap(),
            None => kubelet.remove(&web, &Reason::PodRemoved).await.unwrap(),
        }
    }
    rig.fake.heal();
    rig.pass(2 * 3600).await;
    // Two hours later everything is as it should be, and nothing is done any more.
    rig.fake.forget_calls();
    rig.pass(3600).await;
    assert_eq!(rig.changes(), [""; 0], "it never comes to rest");
    match wanted {
        None => assert!(rig.fake.keys().is_empty() && kubelet.fleet().pods.is_empty()),
        Some(number) => {
            let pod = rig.pod("web");
            let (target, realised) = (variant(number), &pod.record.realised);
            assert_eq!(realised.spec, target.spec);
            assert!(matches!(pod.sandbox, Sandbox::Ready { .. }));
            for name in ["app", "side"] {
                assert!(matches!(pod.latest(name).unwrap().state, ContainerState::Running { .. }), "{name}");
            }
            let state = &kubelet.fleet().pods[&web];
            assert!(state.settled && state.holds.is_empty() && state.waiting.is_empty(), "{state:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_the_pod_comes_to_rest_as_it_was_targeted_last(happenings in prop::collection::vec(happening(), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(play(&happenings));
    }
}
