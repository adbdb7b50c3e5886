//! The death of what stands beside a container, its monitor and its pod's infra process: while the agent lives, and while
//! it is dead too. And that of the process that the agent has its shims forked from.

use podwright::sys::process::start_ticks;
use rustix::process::Signal;
use serde_json::Value;

use super::harness::{World, run, signal, walk};

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

/// A pod whose hook notes that it has begun, and does not end.
fn with_hook(world: &World, name: &str, kind: &str) -> String {
    let volume = world.scratch().join("v");
    let hook = format!("echo begun >> /v/{name}; exec sleep {}", sleep_of(name));
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 6000\n  \
         volumes: [{{name: v, hostPath: {{path: {}}}}}]\n  containers:\n  - name: c\n    image: podwright.invalid/host\n    \
         command: [sleep, \"100000\"]\n    volumeMounts: [{{name: v, mountPath: /v}}]\n    \
         lifecycle: {{{kind}: {{exec: {{command: [sh, -c, {hook:?}]}}}}}}\n",
        volume.display()
    )
}

/// For how long the hook of a pod sleeps: no other process of this machine does for the same time.
fn sleep_of(name: &str) -> String {
    let letters: u32 = name.bytes().map(u32::from).sum();
    format!("{}{letters:04}", std::process::id())
}

/// How often the hook of a pod has begun, and how many of its processes there are.
fn hook(world: &World, name: &str) -> (usize, usize) {
    let told = std::fs::read_to_string(world.scratch().join("v").join(name)).unwrap_or_default();
    let line = format!("sleep\0{}\0", sleep_of(name)).into_bytes();
    let pids = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path().join("cmdline"));
    (told.lines().count(), pids.filter(|path| std::fs::read(path).is_ok_and(|own| own == line)).count())
}

#[test]
fn e2e_a_hook_ends_with_its_container_and_is_begun_once_for_each() {
    let Some(mut world) = World::new() else { return };
    std::fs::create_dir(world.scratch().join("v")).unwrap();
    let [starting, going] = ["postStart", "preStop"]
        .map(|kind| ["container", "monitor", "agent"].map(|who| (format!("{who}-{}", kind.to_lowercase()), kind)));
    let all = starting.iter().chain(&going);
    let files: Vec<_> = all.map(|(name, kind)| (format!("{name}.yaml"), with_hook(&world, name, kind))).collect();
    world.commit(&files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect::<Vec<_>>());
    world.start();
    let comes_to = |world: &World, name: &str, expected: (usize, usize)| {
        world.wait(&format!("the hook of {name}: {expected:?}"), || (hook(world, name) == expected).then_some(()));
    };
    for (name, _) in &starting {
        comes_to(&world, name, (1, 1));
        assert_eq!(world.row(name).unwrap().1, "ContainerCreating", "{name}");
    }
    for (name, _) in &going {
        world.wait_row(name, "1/1", "Running");
        run(world.git().args(["rm", "-q", &format!("{name}.yaml")]));
    }
    let other = ("other.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n");
    world.commit(&[other]);
    going.iter().for_each(|(name, _)| comes_to(&world, name, (1, 1)));
    let kill = |world: &World, name: &str, who: &str| {
        signal(u32::try_from(number(&record(world, name, "started.json"), who)).unwrap(), Signal::KILL);
    };
    for list in [&starting, &going] {
        kill(&world, &list[0].0, "pid");
        kill(&world, &list[1].0, "monitorPid");
    }
    // The next instance has a hook of its own; a pod that goes is gone, long before its time.
    starting[..2].iter().for_each(|(name, _)| comes_to(&world, name, (2, 1)));
    for (name, _) in &going[..2] {
        world.wait_gone(name);
        assert_eq!(hook(&world, name), (1, 0), "{name}");
    }
    // An agent's death ends the hooks it waits for. Of one that follows a start nothing is known to the next agent; a stop goes
    // on with a hook anew, and with what is left of its time.
    let (post, pre) = (&starting[2].0, &going[2].0);
    let stopping = |world: &World| record(world, pre, "c/0/record.json")["stopping"].clone();
    let before = stopping(&world);
    assert_eq!((&before["graceSeconds"], &before["preStop"]), (&6000.into(), &true.into()));
    world.kill();
    comes_to(&world, post, (1, 0));
    comes_to(&world, pre, (1, 0));
    world.start();
    comes_to(&world, pre, (2, 1));
    world.wait_row(post, "1/1", "Running");
    assert_eq!(stopping(&world), before, "no second has come back");
    assert_eq!(hook(&world, post), (1, 0), "it is not run again");
    // Somebody asks for less time: it is over, for the hook too.
    world.kill();
    let deleted = world.ok(&["down", "--grace-period", "0"]);
    assert!(deleted.contains(&format!("pod \"{pre}\" deleted")), "{deleted}");
    assert_eq!((hook(&world, pre).1, world.identities().len()), (0, 0));
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
