//! The agent dies between any two steps, and another one takes over what runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use podwright::backend::fake::{Behaviour, Fault};
use podwright::control::Verdict;
use podwright::model::ContainerState;
use serde_json::{Value, json};

use super::rig::{Rig, broken, id, key, pod, pod_with};

fn fleet(variant: usize) -> Vec<Value> {
    let image = format!("i:{variant}");
    let mut web = pod_with(
        "web",
        json!({
            "initContainers": [{"name": "init", "image": "i:1"}],
            "containers": [{"name": "app", "image": image}, {"name": "other", "image": "i:1"}],
            "volumes": [{"name": "v", "configMap": {"name": "m"}}],
            "terminationGracePeriodSeconds": 3,
        }),
    );
    if variant == 3 {
        web["spec"]["hostname"] = json!("another");
    }
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "v"}});
    let mut all = vec![web, map];
    if variant != 2 {
        all.push(pod("db", "i:1"));
    }
    all
}

/// Kills whoever makes the `n`th call, before or after it is done. Returns whether that came to pass.
pub(super) fn kill_at(rig: &Rig, n: usize, after: bool) -> Arc<AtomicBool> {
    let (count, killed) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
    let told = killed.clone();
    rig.fake.on_call(move |_| {
        let at = count.fetch_add(1, Ordering::SeqCst);
        if at >= n {
            told.store(true, Ordering::SeqCst);
        }
        match at {
            at if at < n => None,
            at if at == n && after => Some(Fault::HangAfter),
            _ => Some(Fault::Hang),
        }
    });
    killed
}

/// From one commit to another with an agent that dies at the `n`th call. Returns whether it did.
async fn die_at(from: usize, to: usize, n: usize, after: bool) -> bool {
    let rig = Rig::new(&fleet(from));
    rig.fake.behave("init", Behaviour::exits(Duration::from_secs(1), 0));
    if from != to {
        let mut first = rig.start();
        first.done(&id(1)).await;
        first.stop().await;
        rig.directory.commit(&fleet(to));
    }
    let head = if from == to { id(1) } else { id(2) };
    let killed = kill_at(&rig, n, after);
    let dying = rig.start();
    rig.pass(60).await;
    dying.task.abort();
    drop(dying.kubelet);
    rig.fake.heal();
    // The world as the dead agent left it.
    let before = rig.fake.processes();
    rig.fake.forget_calls();
    let mut agent = rig.start();
    agent.done(&head).await;
    let what = format!("{from} to {to}, dead at call {n} (done: {after})");
    if from == to {
        let now = rig.fake.processes();
        for (name, process) in &before {
            assert_eq!(now.get(name), Some(process), "{what}: {name} was restarted; {:?}", rig.changes());
        }
    }
    let image = if to == 3 { "i:3" } else { &format!("i:{to}") };
    assert_eq!(rig.pod("web").latest("app").unwrap().record.image, image, "{what}");
    assert_eq!(rig.fake.pod(&key("db")).is_some(), to != 2, "{what}");
    // It settled: nothing is done any more.
    rig.pass(30).await;
    rig.fake.forget_calls();
    rig.pass(3600).await;
    assert_eq!(rig.changes(), [""; 0], "{what}");
    agent.stop().await;
    killed.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_dies_between_any_two_steps_is_replaced_without_a_restart() {
    for after in [false, true] {
        let mut n = 0;
        while die_at(1, 1, n, after).await {
            n += 1;
        }
        assert!(n > 15, "only {n} calls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_cut_short_anywhere_is_carried_through() {
    for (from, to) in [(1, 2), (1, 3), (2, 1)] {
        for after in [false, true] {
            let mut n = 0;
            while die_at(from, to, n, after).await {
                n += 1;
            }
            assert!(n > 8, "only {n} calls");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_agent_is_not_the_end_of_the_pods() {
    let rig = Rig::new(&fleet(1));
    rig.fake.behave("init", Behaviour::exits(Duration::from_secs(1), 0));
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let running = rig.fake.processes();
    assert_eq!(running.len(), 5);
    agent.stop().await;
    assert_eq!(rig.fake.processes(), running);
    rig.fake.forget_calls();
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    assert_eq!(rig.fake.processes(), running);
    // What is on disk is not known to the new agent, so the files are synced once.
    assert_eq!(rig.changes(), ["SyncVolumes default/web"]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_ends_waits_for_its_steps_but_not_for_ever() {
    let rig = Rig::new(&[pod("web", "i:1")]);
    rig.fake.on_call(|call| {
        let start = call.verb == podwright::backend::fake::Verb::StartContainer;
        start.then_some(Fault::Slow(Duration::from_secs(4)))
    });
    let agent = rig.start();
    rig.pass(1).await;
    let begun = rig.now();
    agent.stop().await;
    assert!(matches!(rig.pod("web").latest("app").unwrap().state, ContainerState::Running { .. }), "the step ended");
    assert!(rig.now().duration_since(begun).as_secs() <= 4);
    rig.fake.on_call(|call| call.verb.changes().then_some(Fault::Hang));
    let agent = rig.start();
    rig.directory.commit(&[]);
    agent.hint();
    rig.pass(1).await;
    let begun = rig.now();
    agent.stop().await;
    assert_eq!(rig.now().duration_since(begun).as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_start_with_an_invalid_head_goes_on_with_the_last_applied_revision() {
    let rig = Rig::new(&[pod("web", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    agent.stop().await;
    let running = rig.fake.processes();
    rig.directory.commit(&[pod("web", "i:2"), broken()]);
    let mut agent = rig.start();
    let progress = agent.until("refused", |p| matches!(p.verdict, Verdict::Refused(_))).await;
    assert_eq!(progress.applied.as_ref().unwrap().id, id(1));
    rig.pass(10).await;
    assert_eq!(rig.fake.processes(), running);
    // The kept revision is alive: what crashes is restarted, what vanishes comes back.
    rig.fake.exit(&key("web"), "app", 1);
    rig.pass(10).await;
    assert!(rig.pod("web").latest("app").unwrap().is_live());
}

#[tokio::test(start_paused = true)]
async fn pods_are_kept_by_their_records_when_no_valid_revision_can_be_read() {
    let rig = Rig::new(&[pod("web", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    agent.stop().await;
    let running = rig.fake.processes();
    *rig.directory.shallow.lock().unwrap() = true;
    rig.directory.commit(&[broken()]);
    let mut agent = rig.start();
    agent.until("refused", |p| matches!(p.verdict, Verdict::Refused(_))).await;
    rig.pass(10).await;
    assert_eq!(rig.fake.processes(), running);
    rig.fake.exit(&key("web"), "app", 1);
    rig.pass(10).await;
    assert!(rig.pod("web").latest("app").unwrap().is_live());
    let third = rig.commit(&agent, &[pod("web", "i:3")]);
    agent.done(&third).await;
}

#[tokio::test(start_paused = true)]
async fn pods_are_kept_when_the_directory_is_gone_at_the_start() {
    let rig = Rig::new(&[pod("web", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    agent.stop().await;
    let running = rig.fake.processes();
    *rig.directory.vanished.lock().unwrap() = true;
    let mut agent = rig.start();
    agent.until("told", |p| matches!(p.verdict, Verdict::Failed(_))).await;
    rig.pass(600).await;
    assert_eq!(rig.fake.processes(), running);
    *rig.directory.vanished.lock().unwrap() = false;
    agent.done(&id(1)).await;
    assert_eq!(rig.fake.processes(), running);
}
