//! The death of what stands beside a container, its monitor and its pod's infra process: while the agent lives, and while
//! it is dead too. And that of the process that the agent has its shims forked from.

use podwright::sys::process::start_ticks;
use rustix::process::Signal;
use serde_json::Value;

use super::harness::{World, signal, walk};

fn pod(name: &str, policy: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
         restartPolicy: {policy}\n  containers:\n  - {{name: c, image: podwright.invalid/host, command: [sleep, \"100000\"]}}\n"
    )
}

/// The newest record of that name below the directory of a pod, which is found by its uid.
fn record(world: &World, pod: &str, file: &str) -> Value {
    let uid = world.pod(pod).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let mut found: Vec<_> =
        walk(&world.root().join("pods").join(uid)).into_iter().filter(|p| p.ends_with(file)).collect();
    found.sort();
    serde_json::from_slice(&std::fs::read(found.last().unwrap()).unwrap()).unwrap()
}

fn number(record: &Value, member: &str) -> i64 {
    record[member].as_i64().unwrap()
}

/// Whether the first process of a container runs that was started so.
fn runs(started: &Value) -> bool {
    start_ticks(i32::try_from(number(started, "pid")).unwrap()) == started["startTicks"].as_u64()
}

/// Kills the monitors of two pods and the infra process of a third, and looks at what comes of it.
fn after_deaths(agent_is_dead: bool) {
    let Some(mut world) = World::new() else { return };
    let files = [("again", "Always"), ("once", "Never"), ("infra", "Always"), ("other", "Always")];
    let texts: Vec<(String, String)> = files.map(|(n, policy)| (format!("{n}.yaml"), pod(n, policy))).into();
    world.commit(&texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect::<Vec<_>>());
    world.start();
    for (name, _) in files {
        world.wait_row(name, "1/1", "Running");
    }
    let before = world.identities();
    let started: Vec<Value> = files.iter().map(|(name, _)| record(&world, name, "started.json")).collect();
    let sandbox = record(&world, "infra", "sandbox.json");
    if agent_is_dead {
        world.kill();
    }
    let kill = |pid: i64| signal(u32::try_from(pid).unwrap(), Signal::KILL);
    started[..2].iter().for_each(|s| kill(number(s, "monitorPid")));
    kill(number(&sandbox, "pid"));
    if agent_is_dead {
        // Nobody is there to see it: the containers run on, watched by no one.
        assert!(started[..2].iter().all(runs));
        world.start();
    }
    world.wait_row("once", "0/1", "ContainerStatusUnknown");
    world.wait("the restarts", || {
        let count = |name: &str| world.row(name).map(|row| row.2.chars().next());
        (count("again") == Some(Some('1')) && count("infra") == Some(Some('1'))).then_some(())
    });
    for name in ["again", "infra"] {
        world.wait_row(name, "1/1", "Running");
    }
    // None of the old ones runs on beside the new ones.
    for old in &started[..3] {
        assert!(!runs(old), "{old}");
    }
    let terminated = |name: &str, state: &str| {
        world.pod(name).unwrap()["status"]["containerStatuses"][0][state]["terminated"].clone()
    };
    for (name, state) in [("again", "lastState"), ("once", "state")] {
        let terminated = terminated(name, state);
        assert_eq!(terminated["reason"], "ContainerStatusUnknown", "{name}: {terminated}");
        assert_eq!(terminated["exitCode"], 137, "{name}: {terminated}");
    }
    world.wait_phase("once", "Failed");
    assert_ne!(number(&record(&world, "infra", "sandbox.json"), "pid"), number(&sandbox, "pid"), "a new sandbox");
    let same = |identities: &super::harness::Identity| {
        let uid = world.pod("other").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
        identities.iter().filter(|(name, _)| name.contains(&uid)).map(|(n, i)| (n.clone(), *i)).collect::<Vec<_>>()
    };
    assert_eq!(same(&world.identities()), same(&before), "the others are left alone");
}

#[test]
fn e2e_a_container_without_its_monitor_is_ended_recorded_and_restarted_by_policy() {
    after_deaths(false);
}

#[test]
fn e2e_deaths_that_a_dead_agent_did_not_see_are_made_good_by_the_next_one() {
    after_deaths(true);
}

/// The processes that an agent has its shims forked from.
fn zygotes(agent: u32) -> Vec<u32> {
    let numbers = std::fs::read_dir("/proc").unwrap().filter_map(|e| e.unwrap().file_name().to_str()?.parse().ok());
    let read = |pid: u32, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let is_one = |pid: &u32| {
        read(*pid, "cmdline").ends_with("internal-shim\0zygote\0")
            && read(*pid, "status").contains(&format!("\nPPid:\t{agent}\n"))
    };
    numbers.filter(is_one).collect()
}

#[test]
fn e2e_the_process_that_shims_are_forked_from_is_replaced_when_it_dies_and_ends_with_the_agent() {
    let Some(mut world) = World::new() else { return };
    let start = |world: &World, name: &str| {
        world.commit(&[(&format!("{name}.yaml"), &pod(name, "Always"))]);
        world.wait_row(name, "1/1", "Running");
        zygotes(world.agent_pid())
    };
    world.commit(&[("first.yaml", &pod("first", "Always"))]);
    world.start();
    world.wait_row("first", "1/1", "Running");
    let before = zygotes(world.agent_pid());
    assert_eq!(before.len(), 1);
    assert_eq!(start(&world, "second"), before, "one for all");
    signal(before[0], Signal::KILL);
    let after = start(&world, "third");
    assert!(after.len() == 1 && after != before, "{after:?}");
    assert_eq!(start(&world, "fourth"), after);
    // What the one was made with does not reach the next.
    let held = |name: &str| {
        let monitor = format!("/proc/{}", number(&record(&world, name, "started.json"), "monitorPid"));
        assert_eq!(std::fs::read(format!("{monitor}/environ")).unwrap(), b"", "{name}");
        std::fs::read_dir(format!("{monitor}/fd")).unwrap().count()
    };
    assert_eq!(["second", "third", "fourth"].map(held), [held("first"); 3]);
    world.kill();
    world.wait("the end of it", || (!std::fs::exists(format!("/proc/{}", after[0])).unwrap()).then_some(()));
}
