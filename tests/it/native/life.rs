//! Pods from their record to their removal, each verb more than once, and the agent changed in between.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use podwright::model::{ContainerState, Deletion, PodUid, Sandbox, Signal};
use podwright::port::{ContainerBackend, ErrorKind};
use podwright::sys::lock;
use serde_json::json;

use super::fixture::{TestPod, is_alive, on_root, until};
use crate::support;

#[test]
fn e2e_every_verb_of_a_pod_s_life_works_once_and_again() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::script("web", "echo hello; echo oops >&2; exit 3");
        let key = pod.key();
        assert_eq!(native.list().await.unwrap(), []);
        assert_eq!(native.observe(key).await.unwrap(), None);
        for _ in 0..2 {
            native.put_record(&pod.record).await.unwrap();
            native.sync_volumes(key, &[]).await.unwrap();
        }
        let made = pod.look(&native).await;
        assert_eq!((&made.record, &made.sandbox, made.containers.len()), (&pod.record, &Sandbox::Absent, 0));
        native.run_sandbox(key, 0).await.unwrap();
        let first = pod.look(&native).await;
        native.run_sandbox(key, 0).await.unwrap();
        assert_eq!(pod.look(&native).await, first);
        // And one of IPv6 where the machine has it.
        let ips = first.ips().iter().filter(|ip| ip.is_ipv4()).count();
        assert_eq!((first.record.sandbox_attempts, ips), (1, 1));

        let mut hints = native.hints();
        for _ in 0..2 {
            pod.start(&native, "app", 0).await;
        }
        let exit = pod.exit(&native, "app").await;
        assert_eq!((exit.exit_code, exit.signal, exit.reason.as_deref()), (3, None, None));
        assert!(exit.started_at.is_some_and(|s| s <= exit.finished_at));
        assert_eq!(hints.recv().await.unwrap().0, *key);
        assert_eq!(pod.log(&native, "app").await, "hello\noops\n");
        pod.start(&native, "app", 0).await;
        assert_eq!(pod.exit(&native, "app").await, exit, "an instance runs once");

        let ended = pod.container(&native, "app").await.record;
        assert!(std::path::Path::new(&ended.log_path).exists());
        for _ in 0..2 {
            native.reap_container(key, "app", 0).await.unwrap();
            pod.signal(&native, "app", Signal::Stop).await;
        }
        assert_eq!(pod.exit(&native, "app").await, exit);
        for _ in 0..2 {
            until("the monitor to go", async || native.remove_container(key, "app", 0).await.ok()).await;
            assert!(pod.look(&native).await.containers.is_empty());
        }
        assert!(!std::path::Path::new(&ended.log_path).exists());

        let deletion = Deletion { requested_at: pod.record.created_at, grace_seconds: 0, reason: "removed".to_owned() };
        for _ in 0..2 {
            native.mark_deleted(key, &deletion).await.unwrap();
            assert_eq!(pod.look(&native).await.record.deletion.as_ref(), Some(&deletion));
        }
        let infra = pod.infra(&native).await;
        for _ in 0..2 {
            native.stop_sandbox(key).await.unwrap();
            assert_eq!(pod.look(&native).await.sandbox, Sandbox::Absent);
            assert!(!is_alive(infra));
        }
        assert_eq!(native.teardown_root().await.unwrap_err().kind, ErrorKind::Conflict);
        for _ in 0..2 {
            native.remove_pod(key).await.unwrap();
            assert_eq!(native.observe(key).await.unwrap(), None);
        }
        assert!(!root.pod_dir(&pod).exists());
        for _ in 0..2 {
            native.teardown_root().await.unwrap();
        }
    });
}

#[test]
fn e2e_stop_is_the_container_s_to_answer_and_kill_is_not() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let polite = TestPod::script("polite", "trap 'echo bye; exit 42' TERM; echo up; while :; do sleep 0.05; done");
        let stubborn = TestPod::script("stubborn", "trap '' TERM; sleep 1000 & echo up; while :; do sleep 1; done");
        for pod in [&polite, &stubborn] {
            pod.create(&native).await;
            pod.start(&native, "app", 0).await;
            pod.wait_log(&native, "app", "up").await;
            pod.signal(&native, "app", Signal::Stop).await;
            let told = pod.container(&native, "app").await.record.stopping.unwrap();
            assert_eq!((told.grace_seconds, told.killed_at, told.reason.as_str()), (5, None, "test"));
        }
        assert_eq!(polite.exit(&native, "app").await.exit_code, 42);
        assert!(polite.log(&native, "app").await.contains("bye"));
        assert!(matches!(stubborn.container(&native, "app").await.state, ContainerState::Running { .. }));
        // Told again, the time it was first told stays.
        let first = stubborn.container(&native, "app").await.record.stopping;
        stubborn.signal(&native, "app", Signal::Stop).await;
        assert_eq!(stubborn.container(&native, "app").await.record.stopping, first);
        stubborn.signal(&native, "app", Signal::Kill).await;
        let exit = stubborn.exit(&native, "app").await;
        assert_eq!((exit.exit_code, exit.signal, exit.reason), (137, Some(9), None));
        let killed = stubborn.container(&native, "app").await.record.stopping.unwrap();
        assert!(killed.killed_at.is_some() && Some(killed.since) == first.map(|f| f.since));
        polite.remove(&native).await;
        stubborn.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_new_agent_adopts_what_runs_and_hears_of_its_end() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let pod = TestPod::script("web", "echo up; sleep 1000");
        let (before, pid) = {
            let native = root.open();
            pod.create(&native).await;
            pod.start(&native, "app", 0).await;
            (pod.look(&native).await, pod.pid(&native, "app").await)
        };
        let native = root.open();
        assert_eq!(native.list().await.unwrap(), [Arc::new(before.clone())]);
        assert_eq!(pod.look(&native).await, before);
        // What an agent does again when it does not know that it was done.
        native.run_sandbox(pod.key(), 0).await.unwrap();
        pod.start(&native, "app", 0).await;
        assert_eq!(pod.look(&native).await, before);
        let mut hints = native.hints();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        assert_eq!(hints.recv().await.unwrap().0, *pod.key());
        assert_eq!(pod.exit(&native, "app").await.exit_code, 137);
        let Sandbox::Ready { pid, .. } = before.sandbox else { panic!("{:?}", before.sandbox) };
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        assert_eq!(hints.recv().await.unwrap().0, *pod.key());
        assert_eq!(pod.look(&native).await.sandbox, Sandbox::Dead { attempt: 0 });
        native.stop_sandbox(pod.key()).await.unwrap();
        native.run_sandbox(pod.key(), 1).await.unwrap();
        assert!(matches!(pod.look(&native).await.sandbox, Sandbox::Ready { attempt: 1, .. }));
        assert_eq!(pod.look(&native).await.record.sandbox_attempts, 2);
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_pods_do_not_wait_for_each_other() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pods: Vec<TestPod> = (0..4).map(|n| TestPod::script(&format!("p{n}"), "echo up; sleep 1000")).collect();
        let mut tasks = tokio::task::JoinSet::new();
        for pod in pods.clone() {
            let native = native.clone();
            tasks.spawn(async move {
                pod.create(&native).await;
                pod.start(&native, "app", 0).await;
            });
        }
        while let Some(result) = tasks.join_next().await {
            result.unwrap();
        }
        let seen = native.list().await.unwrap();
        assert_eq!(seen.len(), 4);
        let mut ips: Vec<_> = seen.iter().flat_map(|p| p.ips().to_vec()).filter(IpAddr::is_ipv4).collect();
        ips.sort();
        ips.dedup();
        assert_eq!(ips.len(), 4, "each has an address of its own");
        for pod in &pods {
            pod.remove(&native).await;
        }
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_caller_that_goes_away_leaves_no_half_done_work() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::new("web", json!({ "containers": [{ "name": "app", "command": ["sleep", "1000"] }] }));
        native.put_record(&pod.record).await.unwrap();
        let key = pod.key();
        // Dropped after the first poll: the verb goes on by itself.
        let dropped = tokio::time::timeout(std::time::Duration::ZERO, native.run_sandbox(key, 0)).await;
        assert!(dropped.is_err());
        native.run_sandbox(key, 0).await.unwrap();
        let infra = pod.infra(&native).await;
        let plan = pod.plan("app", 0);
        let _ = tokio::time::timeout(std::time::Duration::ZERO, native.start_container(key, &plan)).await;
        native.start_container(key, &plan).await.unwrap();
        assert_eq!(pod.infra(&native).await, infra);
        let pid = pod.pid(&native, "app").await;
        assert!(is_alive(pid));
        pod.remove(&native).await;
        assert!(!is_alive(pid) && !is_alive(infra));
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_list_that_takes_long_brings_no_removed_pod_back() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let [removed, slow] = ["a-removed", "slow"].map(|name| TestPod::script(name, "sleep 1000"));
        for pod in [&removed, &slow] {
            native.put_record(&pod.record).await.unwrap();
        }
        // As if a container were just being started: whoever lists pods waits for it.
        let dir = root.instance_dir(&slow, "app", 0);
        std::fs::create_dir_all(&dir).unwrap();
        let held = lock::acquire(&dir.join("lock")).unwrap().unwrap();
        let listed = tokio::spawn({
            let native = native.clone();
            async move { native.list().await }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!listed.is_finished());
        native.remove_pod(removed.key()).await.unwrap();
        drop(held);
        assert_eq!(listed.await.unwrap().unwrap().len(), 2);
        assert_eq!(native.observe(removed.key()).await.unwrap(), None);
        let mut next = removed.clone();
        next.record.uid = PodUid("uid-next".into());
        native.put_record(&next.record).await.unwrap();
        for pod in [&next, &slow] {
            native.remove_pod(pod.key()).await.unwrap();
        }
        native.teardown_root().await.unwrap();
    });
}
