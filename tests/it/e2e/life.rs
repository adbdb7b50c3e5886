//! The life of containers: how they begin again, how they end, and in which order.

use std::path::Path;

use super::harness::World;

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A pod with a directory of the machine at `/v`; each container is the contents of a flow mapping.
fn pod(name: &str, spec: &str, shared: &Path, [inits, containers]: [&[&str]; 2]) -> String {
    let list = |containers: &[&str]| {
        let mounts = "image: busybox, volumeMounts: [{name: v, mountPath: /v}]";
        containers.iter().map(|c| format!("  - {{{mounts}, {c}}}\n")).collect::<String>()
    };
    let inits = if inits.is_empty() { String::new() } else { format!("  initContainers:\n{}", list(inits)) };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n  volumes: [{{name: v, hostPath: {{path: {}}}}}]\n{inits}  \
         containers:\n{}",
        shared.display(),
        list(containers)
    )
}

#[test]
fn e2e_containers_begin_anew_and_end_as_probes_hooks_and_their_order_say() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    let shared = world.scratch().join("v");
    std::fs::create_dir(&shared).unwrap();
    // Each fails the first time.
    let sidecar = |name: &str| {
        format!(
            "name: {name}, restartPolicy: Always, command: [sh, -c, \"test -e /v/{name} || {{ touch /v/{name}; exit 1; }}; \
             trap 'echo {name} >> /v/ends; exit 0' TERM; while :; do sleep 0.1; done\"]"
        )
    };
    let waits = "name: app, command: [sh, -c, \"until test -e /v/go; do sleep 0.1; done\"]";
    let order = pod(
        "order",
        "restartPolicy: Never\n  terminationGracePeriodSeconds: 20",
        &shared,
        [&[&sidecar("first"), &sidecar("second")], &[waits]],
    );
    let marks =
        "name: c, command: [sh, -c, \"test -e /mark && echo kept >> /v/anew || echo new >> /v/anew; touch /mark\"]";
    let anew = pod("anew", "terminationGracePeriodSeconds: 0", &shared, [&[], &[marks]]);
    let greets =
        "name: c, command: [sleep, \"100000\"], lifecycle: {postStart: {exec: {command: [sh, -c, \"exit 3\"]}}}";
    let greeted = pod("greeted", "restartPolicy: Never\n  terminationGracePeriodSeconds: 0", &shared, [&[], &[greets]]);
    // Nobody listens there. It does not end when it is told to, so that it is killed when the time of its probe is up, within
    // which its hook is asked.
    let asked = "name: c, command: [sh, -c, \"trap '' TERM; while :; do sleep 1; done\"], \
                 livenessProbe: {tcpSocket: {port: 9}, periodSeconds: 1, failureThreshold: 1, terminationGracePeriodSeconds: 3}, \
                 lifecycle: {preStop: {exec: {command: [sh, -c, \"echo asked >> /v/asked\"]}}}";
    let probed = pod("probed", "terminationGracePeriodSeconds: 1000", &shared, [&[], &[asked]]);
    let never = "name: c, command: [sleep, \"100000\"], startupProbe: {httpGet: {port: 9}, periodSeconds: 1, failureThreshold: 2, \
                 terminationGracePeriodSeconds: 1}";
    let slow = pod("slow", "terminationGracePeriodSeconds: 1000", &shared, [&[], &[never]]);
    world.commit(&[
        ("order.yaml", &order),
        ("anew.yaml", &anew),
        ("greeted.yaml", &greeted),
        ("probed.yaml", &probed),
        ("slow.yaml", &slow),
    ]);
    world.start();

    world.wait("the sidecars to be restarted, and nothing else", || {
        let status = world.pod("order")?["status"].clone();
        let restarts = |list: &str, at: usize| status[list][at]["restartCount"].as_i64();
        let all = [("initContainerStatuses", 0), ("initContainerStatuses", 1), ("containerStatuses", 0)];
        (all.map(|(list, at)| restarts(list, at)) == [Some(1), Some(1), Some(0)]).then_some(())
    });
    world.wait_row("order", "3/3", "Running");
    std::fs::write(shared.join("go"), "").unwrap();
    world.wait_phase("order", "Succeeded");
    world.wait("the sidecars to end", || (lines(&shared.join("ends")).len() == 2).then_some(()));
    assert_eq!(lines(&shared.join("ends")), ["second", "first"], "those that began last end first");

    world.wait("another instance", || (lines(&shared.join("anew")).len() >= 2).then_some(()));
    assert!(lines(&shared.join("anew")).iter().all(|l| l == "new"), "{:?}", lines(&shared.join("anew")));

    world.wait_phase("greeted", "Failed");
    world.wait_described("greeted", "PostStartHook failed");
    let ended = &world.pod("greeted").unwrap()["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(ended["exitCode"], 137, "it was killed: {ended}");

    let again = |name: &str| {
        world.wait(&format!("{name} to be started again"), || {
            let pod = world.pod(name)?;
            let status = &pod["status"]["containerStatuses"][0];
            (status["restartCount"].as_i64()? > 0).then(|| status["lastState"]["terminated"]["exitCode"].as_i64())
        })
    };
    assert_eq!(again("probed"), Some(137));
    assert!(!lines(&shared.join("asked")).is_empty(), "its hook is asked before it is told to end");
    world.wait_described("probed", "Container c failed liveness probe, will be restarted");
    world.wait_described("probed", "Liveness probe failed: dial tcp ");
    assert_eq!(again("slow"), Some(137));
    world.wait_described("slow", "Container c failed startup probe, will be restarted");
}
