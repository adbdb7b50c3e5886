//! What a pod may do on this machine, and what it may not, beside what would happen without it.

use serde_json::{Value, json};

use super::fixture::{TestPod, on_root};
use crate::support;

#[test]
fn e2e_a_pod_has_the_seccomp_profile_that_it_asks_for() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let container = |name: &str, security: Value| {
            let command = json!(["grep", "^Seccomp:", "/proc/self/status"]);
            json!({ "name": name, "command": command, "securityContext": security })
        };
        let of = |kind: &str| json!({ "seccompProfile": { "type": kind } });
        for (name, pod, expected) in [("plain", json!({}), "2"), ("open", of("Unconfined"), "0")] {
            let pod = TestPod::new(
                name,
                json!({ "securityContext": pod, "containers": [
                    container("silent", json!({})),
                    container("filtered", of("RuntimeDefault")),
                    container("free", of("Unconfined")),
                    container("privileged", json!({ "privileged": true }))
                ] }),
            );
            pod.create(&native).await;
            for (container, mode) in [("silent", expected), ("filtered", "2"), ("free", "0"), ("privileged", "0")] {
                pod.start(&native, container, 0).await;
                pod.exit(&native, container).await;
                assert_eq!(pod.log(&native, container).await, format!("Seccomp:\t{mode}\n"), "{container} of {name}");
            }
            pod.remove(&native).await;
        }
        native.teardown_root().await.unwrap();
    });
}
