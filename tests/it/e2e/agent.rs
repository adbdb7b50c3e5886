//! One agent per root, and what the other commands say while it runs and after it.

use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::harness::{World, run, signal, text};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  terminationGracePeriodSeconds: 0\n  \
                   containers:\n  - name: c\n    image: podwright.invalid/host\n    command: [sleep, \"100000\"]\n";

#[test]
fn e2e_whoever_else_wants_to_change_pods_is_told_who_does_and_the_way_out() {
    let Some(mut world) = World::new() else { return };
    world.commit(&[("pod.yaml", POD)]);
    world.start();
    world.wait_row("web", "1/1", "Running");
    let before = world.identities();
    let repo = world.repo().display().to_string();
    let agent = format!("process {}", world.agent_pid());
    for (args, way_out) in [
        (&["run", &repo, "--allow-host-image"][..], "kill "),
        (&["apply", &repo, "--allow-host-image"], "commit the change"),
        (&["delete", &repo], "systemctl stop podwright"),
        (&["down"], "systemctl stop podwright"),
    ] {
        let output = world.output(args);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains(&agent) && said.contains(way_out), "{args:?}: {said}");
    }
    assert_eq!(world.identities(), before);
    world.wait_row("web", "1/1", "Running");
}

/// The program's own code that the agent has mapped, in kB: sixteen of it at a time.
fn code(agent: u32) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{agent}/smaps")).unwrap();
    let (mut is_code, mut sum) = (false, 0);
    let kilobytes = |text: &str| text.trim_end_matches("kB").trim().parse::<u64>().unwrap();
    for line in maps.lines() {
        if line.contains(" r-xp ") || line.contains(" r--p ") || line.contains(" rw-p ") {
            is_code = line.contains(" r-xp ") && line.ends_with("/podwright");
        } else if let Some(size) = line.strip_prefix("Size:").filter(|_| is_code) {
            // The page at the end that is not whole has no mark: it may go with the part before it.
            assert!(kilobytes(size) <= 16 + 4, "{line}");
        } else if let Some(size) = line.strip_prefix("Rss:").filter(|_| is_code) {
            sum += kilobytes(size);
        }
    }
    sum
}

#[test]
fn e2e_an_agent_at_rest_gives_back_what_a_change_took() {
    let Some(mut world) = World::new() else { return };
    world.commit(&[("pod.yaml", POD)]);
    world.start();
    world.wait_row("web", "1/1", "Running");
    for name in ["one", "two"] {
        let most = code(world.agent_pid());
        world.wait("pages of the program to be given back", || (code(world.agent_pid()) < most / 2).then_some(()));
        world.commit(&[(&format!("{name}.yaml"), &POD.replace("name: web", &format!("name: {name}")))]);
        world.wait_row(name, "1/1", "Running");
    }
}

#[test]
fn e2e_down_leaves_the_roots_own_directory_and_nothing_else() {
    let Some(mut world) = World::new() else { return };
    world.commit(&[("pod.yaml", POD)]);
    world.start();
    world.wait_row("web", "1/1", "Running");
    assert_eq!(world.stop(), Some(0));
    assert!(world.ok(&["down"]).contains("pod \"web\" deleted\n"));
    assert!(world.identities().is_empty());
    assert!(!world.root().join("run").exists());
    let instance = std::fs::read_to_string(world.root().join("instance")).unwrap();
    let groups = run(Command::new("find")
        .args(["/sys/fs/cgroup", "-maxdepth", "3", "-name"])
        .arg(format!("podwright-{}", instance.trim())));
    assert_eq!(groups, "");
    let links = run(world.inside("ip").args(["-o", "link"]));
    assert!(!links.contains(instance.trim()), "{links}");
    // Nobody reports on pods that are gone.
    let said = text(&world.output(&["get", "pods"]));
    assert!(said.contains("no agent answers") && !said.contains("web"), "{said}");
    // Done twice it is done.
    assert_eq!(world.ok(&["down"]), "");
}

#[test]
fn e2e_apply_tells_what_it_did_to_each_pod() {
    let Some(world) = World::new() else { return };
    let repo = world.repo().display().to_string();
    let apply = || world.ok(&["apply", &repo, "--allow-host-image", "--wait", "--timeout", "60s"]);
    world.commit(&[("a.yaml", POD), ("b.yaml", &POD.replace("name: web", "name: other"))]);
    assert_eq!(apply(), "pod/other created\npod/web created\n");
    world.commit(&[("a.yaml", &POD.replace("name: web", "name: web\n  labels: {v: new}"))]);
    run(world.git().args(["rm", "-q", "b.yaml"]));
    world.commit(&[]);
    assert_eq!(apply(), "pod/other deleted\npod/web configured\n");
    assert_eq!(apply(), "pod/web unchanged\n");
    let deleted = world.ok(&["delete", &repo]);
    assert_eq!(deleted, "pod \"web\" deleted\n");
    let again = world.output(&["delete", &repo]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&again.stderr), "Error from server (NotFound): pods \"web\" not found\n");
}

#[test]
fn e2e_a_log_as_json_is_json_on_every_line() {
    let Some(world) = World::new() else { return };
    world.commit(&[("pod.yaml", POD)]);
    let repo = world.repo().display().to_string();
    let mut command = world.podwright(&["run", &repo, "--allow-host-image", "--log-format", "json", "-v"]);
    let agent = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    world.wait_row("web", "1/1", "Running");
    signal(agent.id(), Signal::INT);
    let output = agent.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.lines().count() > 2, "{log}");
    for line in log.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(entry["level"].is_string() && entry["timestamp"].is_string(), "{line}");
    }
}
