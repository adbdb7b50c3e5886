//! Pods outlive the agent: restarts, SIGKILL at any moment, and a service manager that clears its cgroup.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::harness::{World, run, signal};

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: a, image: busybox, command: [sleep, "100000"]}
  - {name: b, image: busybox, command: [sleep, "100000"]}
---
apiVersion: v1
kind: Pod
metadata: {name: two}
spec:
  terminationGracePeriodSeconds: 1
  hostNetwork: true
  containers:
  - {name: a, image: busybox, command: [sh, -c, "while true; do date; sleep 0.2; done"]}
"#;

/// A world with three running containers.
fn running() -> Option<World> {
    let mut world = World::new()?;
    world.load("busybox");
    world.commit(&[("pods.yaml", PODS)]);
    world.start();
    world.wait_row("one", "2/2", "Running");
    world.wait_row("two", "1/1", "Running");
    Some(world)
}

#[test]
fn e2e_a_stopped_agent_leaves_its_pods_and_the_next_one_adopts_them() {
    let Some(mut world) = running() else { return };
    let before = world.identities();
    assert_eq!(before.len(), 3);
    assert_eq!(world.stop(), Some(0));
    assert_eq!(world.identities(), before);
    let table = world.output(&["get", "pods"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("Unknown") && !table.contains("Running"), "{table}");
    world.start();
    world.wait_row("one", "2/2", "Running");
    assert_eq!(world.identities(), before);
    assert_eq!(world.row("one").unwrap().2, "0");
}

#[test]
fn e2e_an_agent_killed_at_fifty_random_moments_restarts_nothing() {
    let Some(mut world) = running() else { return };
    let before = world.identities();
    assert_eq!(before.len(), 3);
    let seed = u64::from(std::process::id());
    println!("moments from seed {seed}");
    let mut state = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    for round in 0..50 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        world.kill();
        world.spawn();
        std::thread::sleep(Duration::from_millis((state >> 33) % 250));
        assert_eq!(world.identities(), before, "after kill {round}");
    }
    world.wait_row("one", "2/2", "Running");
    world.wait_row("two", "1/1", "Running");
    assert_eq!(world.identities(), before);
    assert_eq!(world.row("one").unwrap().2, "0");
}

#[test]
fn e2e_clearing_the_agents_cgroup_stops_no_pod() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    world.commit(&[("pods.yaml", PODS)]);
    // The agent in a cgroup of its own, in every hierarchy, as a service manager would have it.
    let name = format!("pwt-agent-{}", std::process::id());
    let hierarchies = hierarchies();
    assert!(!hierarchies.is_empty());
    world.spawn();
    for hierarchy in &hierarchies {
        let group = format!("{hierarchy}/{name}");
        std::fs::create_dir_all(&group).unwrap();
        if hierarchy.ends_with("cpuset") {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let value = std::fs::read_to_string(format!("{hierarchy}/{file}")).unwrap();
                std::fs::write(format!("{group}/{file}"), value).unwrap();
            }
        }
        std::fs::write(format!("{group}/cgroup.procs"), world.agent_pid().to_string()).unwrap();
    }
    world.wait_row("one", "2/2", "Running");
    world.wait_row("two", "1/1", "Running");
    let before = world.identities();
    assert_eq!(before.len(), 3);
    for hierarchy in &hierarchies {
        let group = format!("{hierarchy}/{name}");
        for pid in std::fs::read_to_string(format!("{group}/cgroup.procs")).unwrap().lines() {
            // Ends every process that a service manager would end.
            signal(pid.parse().unwrap(), Signal::KILL);
        }
    }
    world.kill();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(world.identities(), before);
    world.start();
    world.wait_row("one", "2/2", "Running");
    assert_eq!(world.identities(), before);
    for hierarchy in &hierarchies {
        let group = format!("{hierarchy}/{name}");
        world.wait("the cgroup to empty", || std::fs::remove_dir(&group).ok());
    }
}

/// Mount points of every cgroup hierarchy of the machine.
fn hierarchies() -> Vec<String> {
    run(Command::new("cat").arg("/proc/self/mountinfo"))
        .lines()
        .filter(|l| l.contains(" - cgroup"))
        .map(|l| l.split_whitespace().nth(4).unwrap().to_owned())
        .collect()
}

#[test]
fn e2e_a_second_agent_on_the_same_root_is_refused() {
    let Some(world) = running() else { return };
    let repo = world.repo();
    let second = world.output(&["run", repo.to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(1));
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(message.contains(&world.agent_pid().to_string()), "names the holder: {message}");
    assert_eq!(world.identities().len(), 3);
}

#[test]
fn e2e_two_roots_work_side_by_side() {
    let Some(mut first) = running() else { return };
    let Some(mut second) = running() else { return };
    assert_eq!(first.identities().len(), 3);
    assert_eq!(second.identities().len(), 3);
    second.ok(&["get", "pods"]);
    second.stop();
    second.ok(&["down"]);
    assert!(second.identities().is_empty());
    assert_eq!(first.identities().len(), 3);
    first.stop();
}
