//! When the status document is written, and when not.

use std::time::Duration;

use podwright::backend::fake::{Behaviour, Fault};

use super::rig::{Rig, id, pod};

#[tokio::test(start_paused = true)]
async fn ten_rounds_without_a_change_write_nothing() {
    let mut rig = Rig::new(&[pod("web", "i:1")]);
    rig.resync = Duration::from_secs(60);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(5).await;
    assert_eq!(rig.sink.condition(), "Ready");
    let count = rig.sink.count();
    assert!(count <= 3, "{count} writes for one commit");
    let projection = agent.projection.borrow_and_update().resource_version;
    rig.pass(600).await;
    for _ in 0..10 {
        agent.hint();
        rig.pass(1).await;
    }
    assert_eq!(rig.sink.count(), count);
    assert_eq!(agent.projection.borrow().resource_version, projection);
}

#[tokio::test(start_paused = true)]
async fn a_new_agent_with_nothing_to_do_writes_once_at_most() {
    let rig = Rig::new(&[pod("web", "i:1"), pod("db", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(5).await;
    agent.stop().await;
    let (count, last) = (rig.sink.count(), rig.sink.last());
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(60).await;
    // Only what was done before is not known to it.
    assert!(rig.sink.count() <= count + 1, "{:#?}", &rig.sink.written.lock().unwrap()[count..]);
    assert_eq!(rig.sink.last().pods, last.pods);
    assert_eq!(rig.sink.condition(), "Ready");
}

#[tokio::test(start_paused = true)]
async fn no_document_calls_a_revision_ready_before_its_pods_are() {
    let rig = Rig::new(&[pod("web", "i:1"), pod("db", "i:1")]);
    rig.fake.behave("app", Behaviour { stops_after: Duration::from_secs(4), ..Behaviour::default() });
    rig.fake.on_call(|call| call.verb.changes().then_some(Fault::Slow(Duration::from_secs(2))));
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let second = rig.commit(&agent, &[pod("web", "i:2"), pod("db", "i:1")]);
    agent.done(&second).await;
    rig.pass(10).await;
    let written = rig.sink.written.lock().unwrap().clone();
    let of_second = written.iter().filter(|d| d.last_applied_revision.as_ref() == Some(&second));
    let mut seen = (0, 0);
    for document in of_second {
        let ready = document.conditions.iter().any(|c| c.kind == "Ready" && c.status == "True");
        let image = &document.pods[1].open().containers[0].image;
        assert!(!ready || image == "i:2", "{document:#?}");
        seen = (seen.0 + usize::from(ready), seen.1 + usize::from(!ready));
    }
    assert!(seen.0 == 1 && seen.1 >= 1, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_writes_seldom() {
    let rig = Rig::new(&[pod("web", "i:1")]);
    rig.fake.behave("app", Behaviour::exits(Duration::from_secs(30), 1));
    let _agent = rig.start();
    rig.pass(3600).await;
    let before = rig.sink.count();
    rig.pass(3600).await;
    // A cycle of 330 s: it runs, and it waits.
    let writes = rig.sink.count() - before;
    assert!(writes <= 24, "{writes} writes in an hour");
}

#[tokio::test(start_paused = true)]
async fn a_status_file_that_cannot_be_written_costs_no_pod() {
    let rig = Rig::new(&[pod("web", "i:1")]);
    *rig.sink.full.lock().unwrap() = true;
    let mut agent = rig.start();
    let progress = agent.until("told", |p| p.is_done() && p.status_failure.is_some()).await;
    assert_eq!(progress.status_failure.as_deref(), Some("cannot write status the test: told to"));
    *rig.sink.full.lock().unwrap() = false;
    rig.pass(61).await;
    assert_eq!(rig.sink.condition(), "Ready");
    assert_eq!(agent.progress.borrow().status_failure, None);
}

#[tokio::test(start_paused = true)]
async fn a_status_file_that_somebody_changed_is_written_again_with_the_next_round() {
    let rig = Rig::new(&[pod("web", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    rig.pass(5).await;
    rig.sink.written.lock().unwrap().clear();
    agent.hint();
    rig.pass(2).await;
    assert_eq!(rig.sink.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_word_is_written_when_the_agent_ends() {
    let rig = Rig::new(&[pod("web", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let second = rig.commit(&agent, &[pod("web", "i:1"), pod("db", "i:1")]);
    agent.done(&second).await;
    agent.stop().await;
    assert_eq!((rig.sink.condition().as_str(), rig.sink.last().pods.len()), ("Ready", 2));
}
