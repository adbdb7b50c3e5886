//! A disk that pods fill.

use super::harness::World;

/// The machine has 1 GiB. One pod takes 90 MiB of it when it is begun for the first time; another one, which has a higher priority,
/// takes 100.
const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: hog}
spec:
  terminationGracePeriodSeconds: 300
  volumes:
  - {name: data, emptyDir: {}}
  - {name: once, hostPath: {path: "@ONCE@", type: DirectoryOrCreate}}
  containers:
  - name: hog
    image: podwright.invalid/host
    command: [sh, -c, "trap '' TERM; [ -e /once/done ] || { touch /once/done; head -c 90M /dev/zero >/data/much; }; while :; do sleep 0.1; done"]
    volumeMounts: [{name: data, mountPath: /data}, {name: once, mountPath: /once}]
---
apiVersion: v1
kind: Pod
metadata: {name: dear}
spec:
  priority: 1000
  volumes: [{name: data, emptyDir: {}}]
  containers:
  - name: dear
    image: podwright.invalid/host
    command: [sh, -c, "head -c 100M /dev/zero >/data/more; exec sleep 100000"]
    volumeMounts: [{name: data, mountPath: /data}]
"#;

const SETTINGS: &str = "evictionHard: {nodefs.available: 850Mi}\nevictionPressureTransitionPeriod: 5s\n";

#[test]
fn e2e_a_full_disk_is_made_good_by_the_pod_of_the_lower_priority_which_comes_back() {
    let Some(world) = World::in_memory() else { return };
    let settings = world.scratch().join("pressure.yaml");
    std::fs::write(&settings, SETTINGS).unwrap();
    let mut world = world.with_flags(&["--allow-host-image", "--config", settings.to_str().unwrap()]);
    let once = world.scratch().join("once").display().to_string();
    world.commit(&[("pods.yaml", &PODS.replace("@ONCE@", &once))]);
    world.start();
    world.wait_row("dear", "1/1", "Running");
    let dear = |world: &World| {
        let mut all = world.identities();
        all.retain(|name, _| name.contains("/dear/"));
        all
    };
    let before = dear(&world);
    assert_eq!(before.len(), 1, "{before:?}");
    let gone = world.wait("the eviction", || {
        let pod = world.pod("hog")?;
        (pod["status"]["phase"] == "Failed").then_some(pod)
    });
    let status = &gone["status"];
    assert_eq!(status["reason"], "Evicted");
    let message = status["message"].as_str().unwrap();
    let start = "The node was low on resource: ephemeral-storage. Threshold quantity: 850Mi, available: ";
    assert!(message.starts_with(start), "{message}");
    let disrupted = |condition: &serde_json::Value| condition["type"] == "DisruptionTarget";
    assert!(status["conditions"].as_array().unwrap().iter().any(disrupted), "{status}");
    // What it kept is given back, so that the condition goes, and it is begun again.
    let uid = &gone["metadata"]["uid"];
    world.wait("another pod in its place", || {
        let pod = world.pod("hog")?;
        (pod["status"]["phase"] == "Running" && pod["metadata"]["uid"] != *uid).then_some(())
    });
    assert_eq!(dear(&world), before);
    let described = world.ok(&["describe", "node"]);
    for words in ["EvictionThresholdMet", "NodeHasDiskPressure", "DiskPressure"] {
        assert!(described.contains(words), "{words}: {described}");
    }
}

#[test]
fn e2e_a_container_that_writes_more_than_it_may_is_evicted_with_its_pod() {
    let Some(mut world) = World::new() else { return };
    let pod = r#"
apiVersion: v1
kind: Pod
metadata: {name: layer}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: app
    image: podwright.invalid/host
    command: [sh, -c, "head -c 8M /dev/zero >/much; sleep 100000"]
    resources: {limits: {ephemeral-storage: 4Mi}}
"#;
    world.commit(&[("pod.yaml", pod)]);
    world.start();
    let status = world.wait("the eviction", || {
        let status = world.pod("layer")?["status"].clone();
        (status["phase"] == "Failed").then_some(status)
    });
    assert_eq!(status["reason"], "Evicted");
    let message = "Pod ephemeral local storage usage exceeds the total limit of containers 4Mi. ";
    assert_eq!(status["message"], message);
}
