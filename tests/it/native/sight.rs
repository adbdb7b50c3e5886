//! What is seen of a pod without reading it again.

use std::sync::Arc;
use std::time::Duration;

use podwright::model::{ContainerState, ObservedPod, Sandbox};
use podwright::port::ContainerBackend;
use podwright::sys::pidfd;
use serde_json::{Value, json};

use super::fixture::{TestPod, on_root, until};
use crate::support;

/// Longer than files that have changed may change once more and look the same.
const REST: Duration = Duration::from_millis(2_500);

#[test]
fn e2e_a_pod_at_rest_is_not_read_again_and_whatever_happens_to_it_is_seen() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::new(
            "web",
            json!({ "containers": [
                { "name": "app", "command": ["sleep", "1000"] }, { "name": "other", "command": ["sleep", "1000"] },
                { "name": "ended", "command": ["sh", "-c", "echo first; exit 1"],
                  "terminationMessagePolicy": "FallbackToLogsOnError" }
            ] }),
        );
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        pod.start(&native, "other", 0).await;
        pod.start(&native, "ended", 0).await;
        pod.exit(&native, "ended").await;
        let seen = async || -> Arc<ObservedPod> { native.observe(pod.key()).await.unwrap().unwrap() };
        let state = |seen: &ObservedPod, name: &str| seen.latest(name).unwrap().state.clone();
        tokio::time::sleep(REST).await;
        let first = seen().await;
        assert!(Arc::ptr_eq(&first, &seen().await));
        assert!(Arc::ptr_eq(&first, &native.list().await.unwrap()[0]));
        // Its last words are read from its log, which nobody has written to since it ended, and has no mark.
        let last_words = |seen: &ObservedPod| seen.latest("ended").unwrap().exit().unwrap().message.clone().unwrap();
        let log = first.latest("ended").unwrap().record.log_path.clone();
        let changed = std::fs::read_to_string(&log).unwrap().replace("first", "other");
        std::fs::write(&log, changed).unwrap();
        assert_eq!(last_words(&*seen().await), "first\n");
        assert_eq!(last_words(&pod.look(&root.open()).await), "other\n");

        // A record that has as many bytes as before.
        let path = root.instance_dir(&pod, "app", 0).join("record.json");
        let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let image = record["image"].as_str().unwrap().replace("host", "tsoh");
        record["image"] = json!(image);
        std::fs::write(&path, record.to_string()).unwrap();
        let second = seen().await;
        assert_ne!(second, first);
        assert_eq!(second.latest("app").unwrap().record.image, image);

        // Its files stay as they are when a monitor dies, and when the infra process does.
        tokio::time::sleep(REST).await;
        let third = seen().await;
        assert!(Arc::ptr_eq(&third, &seen().await));
        let started: Value =
            serde_json::from_slice(&std::fs::read(root.instance_dir(&pod, "other", 0).join("started.json")).unwrap())
                .unwrap();
        let monitor = pidfd::open(started["monitorPid"].as_i64().unwrap().try_into().unwrap()).unwrap();
        pidfd::send(&monitor, 9).unwrap();
        until("the monitor to be missed", async || {
            matches!(state(&*seen().await, "other"), ContainerState::Lost).then_some(())
        })
        .await;
        native.reap_container(pod.key(), "other", 0).await.unwrap();
        assert!(matches!(state(&*seen().await, "other"), ContainerState::Exited(_)));
        tokio::time::sleep(REST).await;
        assert!(Arc::ptr_eq(&seen().await, &seen().await));
        let infra = pidfd::open(pod.infra(&native).await).unwrap();
        pidfd::send(&infra, 9).unwrap();
        until("the infra process to be missed", async || {
            matches!(seen().await.sandbox, Sandbox::Dead { .. }).then_some(())
        })
        .await;
        pod.remove(&native).await;
        assert_eq!(native.observe(pod.key()).await.unwrap(), None);
        native.teardown_root().await.unwrap();
    });
}
