//! A pod that keeps more on the disk than it may.

use super::harness::World;

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: full}
spec:
  terminationGracePeriodSeconds: 300
  volumes: [{name: data, emptyDir: {sizeLimit: 4096Ki}}]
  containers:
  - name: app
    image: podwright.invalid/host
    command: [sh, -c, "trap '' TERM; mkdir /data/d; for n in 1 2 3 4 5; do head -c 1048576 /dev/zero > /data/d/$n; done; while :; do sleep 0.1; done"]
    volumeMounts: [{name: data, mountPath: /data}]
---
apiVersion: v1
kind: Pod
metadata: {name: linked}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{name: data, emptyDir: {sizeLimit: 4Mi}}]
  containers:
  - name: app
    image: podwright.invalid/host
    command: [sh, -c, "ln -s / /data/root; head -c 2000000 /dev/zero > /data/one; for n in 2 3 4; do ln /data/one /data/$n; done; sleep 100000"]
    volumeMounts: [{name: data, mountPath: /data}]
"#;

#[test]
fn e2e_a_pod_that_keeps_too_much_on_the_disk_is_evicted() {
    let Some(mut world) = World::new() else { return };
    world.commit(&[("pods.yaml", PODS)]);
    world.start();
    world.wait_row("linked", "1/1", "Running");
    let status = world.wait("the eviction", || {
        let status = world.pod("full")?["status"].clone();
        (status["phase"] == "Failed").then_some(status)
    });
    assert_eq!(status["reason"], "Evicted");
    assert_eq!(status["message"], "Usage of EmptyDir volume \"data\" exceeds the limit \"4Mi\". ");
    // As kubectl has it: what became of its container, which ignored the signal.
    world.wait_row("full", "0/1", "Error");
    world.wait_described("full", "Evicted");
    // What other names and links lead to is not counted, and a new agent changes nothing.
    let identities = world.identities();
    assert_eq!(world.stop(), Some(0));
    world.start();
    world.wait_row("linked", "1/1", "Running");
    world.wait_row("full", "0/1", "Error");
    assert_eq!(world.identities(), identities);
}
