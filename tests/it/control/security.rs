//! Pods that Pod Security refuses: none of the revision starts, and what runs goes on.

use std::io;
use std::sync::{Arc, Mutex};

use podwright::control::Verdict;
use podwright::model::{ContainerState, PodSecurityLevel};
use serde_json::{Value, json};

use super::rig::{Rig, Running, id, key, pod, pod_with};

fn namespace(level: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "default", "labels": {"pod-security.kubernetes.io/enforce": level}}})
}

/// A pod that shares the processes of the machine.
fn shared(name: &str, image: &str) -> Value {
    pod_with(name, json!({"hostPID": true, "containers": [{"name": "app", "image": image}]}))
}

const WORDS: &str = "error: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)";

async fn refused(agent: &mut Running, revision: &str) {
    let wanted = revision.to_owned();
    agent
        .until("refused", move |p| {
            matches!(p.verdict, Verdict::Refused(_)) && p.attempted.as_ref().is_some_and(|r| r.id == wanted)
        })
        .await;
}

async fn is_healed(rig: &Rig, name: &str) {
    rig.fake.exit(&key(name), "app", 1);
    rig.pass(30).await;
    assert!(matches!(rig.pod(name).latest("app").unwrap().state, ContainerState::Running { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_refused_pod_is_not_started_and_what_runs_is_not_touched() {
    let rig = Rig::new(&[namespace("baseline"), pod("web", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let (uids, running) = (rig.uids(), rig.fake.processes());
    rig.fake.forget_calls();
    // One that is new, and one that runs and changes into what it may not be.
    for objects in [
        [namespace("baseline"), pod("web", "i:1"), shared("agent", "i:1")].to_vec(),
        [namespace("baseline"), shared("web", "i:2")].to_vec(),
    ] {
        let revision = rig.commit(&agent, &objects);
        refused(&mut agent, &revision).await;
        rig.pass(5).await;
        assert_eq!((rig.fake.processes(), rig.changes()), (running.clone(), vec![]));
        let status = rig.sink.last();
        assert!(status.errors.iter().all(|error| error.ends_with(WORDS)) && status.errors.len() == 1, "{status:?}");
        assert_eq!((rig.sink.condition().as_str(), status.last_applied_revision), ("Stalled", Some(id(1))));
    }
    is_healed(&rig, "web").await;
    // Without the label both are taken.
    let revision = rig.commit(&agent, &[namespace("privileged"), shared("web", "i:2"), shared("agent", "i:1")]);
    agent.done(&revision).await;
    assert_ne!(rig.uids()["web"], uids["web"]);
}

#[tokio::test(start_paused = true)]
async fn a_label_or_a_ceiling_that_comes_later_ends_no_pod_that_runs() {
    let mut rig = Rig::new(&[namespace("privileged"), shared("agent", "i:1")]);
    let mut agent = rig.start();
    agent.done(&id(1)).await;
    let uids = rig.uids();
    let revision = rig.commit(&agent, &[namespace("baseline"), shared("agent", "i:1")]);
    refused(&mut agent, &revision).await;
    is_healed(&rig, "agent").await;

    // The ceiling of the machine refuses the revision that was applied, too: the pod is kept by its record.
    agent.stop().await;
    rig.node.pod_security = PodSecurityLevel::Baseline;
    let mut agent = rig.start();
    refused(&mut agent, &revision).await;
    rig.pass(5).await;
    is_healed(&rig, "agent").await;
    assert_eq!(rig.uids(), uids);
    assert!(rig.sink.last().errors[0].ends_with(WORDS), "{:?}", rig.sink.last().errors);
    // A commit that keeps to it is followed.
    let revision = rig.commit(&agent, &[namespace("baseline"), pod("agent", "i:1")]);
    agent.done(&revision).await;
    assert_ne!(rig.uids()["agent"], uids["agent"]);
}

/// What is logged, kept.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_namespace_audits_stands_in_the_log_and_nowhere_else() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut audited = namespace("privileged");
    audited["metadata"]["labels"] = json!({"pod-security.kubernetes.io/audit": "baseline"});
    let many = (0..25).map(|n| shared(&format!("p{n}"), "i:1"));
    let rig = Rig::new(&many.chain([audited]).collect::<Vec<_>>());
    let mut agent = rig.start();
    let progress = agent.done(&id(1)).await;
    assert!(progress.warnings.0.is_empty(), "{:?}", progress.warnings);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = "WARN podwright::control::round: audit: 0.yaml:";
    assert!(text.contains(line), "{text}");
    let words = "warning: would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)";
    assert_eq!(text.lines().filter(|line| line.ends_with(words)).count(), 20);
    assert!(text.contains("audit: 5 more; "), "{text}");
}
