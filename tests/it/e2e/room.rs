//! Room: what pods ask for is given out once.

use super::harness::World;

#[test]
fn e2e_a_pod_waits_until_there_is_room_for_it() {
    let Some(world) = World::new() else { return };
    let config = world.scratch().join("config.yaml");
    std::fs::write(&config, "nodeName: edge-7\nallocatable: {cpu: \"1\"}\n").unwrap();
    let flag = config.to_str().unwrap().to_owned();
    let mut world = world.with_flags(&["--config", &flag]);
    world.load("busybox");
    let pod = |name: &str, cpu: &str, more: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 0\n{more}  \
             containers:\n  - name: c\n    image: busybox\n    command: [sleep, \"100000\"]\n    resources: {{requests: {{cpu: \
             {cpu}}}}}\n"
        )
    };
    world.commit(&[
        ("named.yaml", &pod("named", "600m", "  nodeName: edge-7\n")),
        ("second.yaml", &pod("second", "600m", "")),
        ("small.yaml", &pod("small", "400m", "")),
        // By its name it would be the last.
        ("urgent.yaml", &pod("urgent", "600m", "  priority: 5\n")),
    ]);
    world.start();
    world.wait_row("urgent", "1/1", "Running");
    world.wait_row("small", "1/1", "Running");
    world.wait_row("second", "0/1", "Pending");
    world.wait_row("named", "0/1", "OutOfcpu");
    world.wait_described("second", "0/1 nodes are available: 1 Insufficient cpu.");
    world.wait_described("named", "Node didn't have enough resource: cpu, requested: 600");
    let waiting = world.pod("second").unwrap()["metadata"]["uid"].clone();

    std::fs::remove_file(world.repo().join("named.yaml")).unwrap();
    std::fs::remove_file(world.repo().join("urgent.yaml")).unwrap();
    world.commit(&[]);
    world.wait_row("second", "1/1", "Running");
    assert_eq!(world.pod("second").unwrap()["metadata"]["uid"], waiting);
}
