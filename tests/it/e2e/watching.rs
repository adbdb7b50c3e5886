//! What wakes the agent: commits and refs by notify, the periodic resync without it.

use std::time::{Duration, Instant};

use super::harness::{World, run};

fn pod(name: &str, label: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  labels: {{v: \"{label}\"}}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  - name: c\n    image: podwright.invalid/host\n    command: [sleep, \"100000\"]\n"
    )
}

fn label(world: &World, name: &str) -> Option<String> {
    world.pod(name)?["metadata"]["labels"]["v"].as_str().map(str::to_owned)
}

#[test]
fn e2e_every_way_a_ref_moves_is_seen_with_the_resync_off() {
    let Some(world) = World::new() else { return };
    let mut world = world.with_flags(&["--allow-host-image", "--resync", "0"]);
    world.commit(&[("a.yaml", &pod("web", "0"))]);
    world.start();
    world.wait_row("web", "1/1", "Running");
    let identity = world.identities();
    let seen = |world: &World, value: &str| {
        world.wait(&format!("label {value}"), || (label(world, "web").as_deref() == Some(value)).then_some(()));
    };
    // Commit.
    world.commit(&[("a.yaml", &pod("web", "1"))]);
    seen(&world, "1");
    // Reset.
    run(world.git().args(["reset", "-q", "--hard", "HEAD~1"]));
    seen(&world, "0");
    // Checkout of another branch.
    run(world.git().args(["checkout", "-q", "-b", "other"]));
    world.commit(&[("a.yaml", &pod("web", "2"))]);
    seen(&world, "2");
    run(world.git().args(["checkout", "-q", "main"]));
    seen(&world, "0");
    // Packed refs, then a merge of what the other branch has.
    run(world.git().args(["pack-refs", "--all"]));
    run(world.git().args(["merge", "-q", "--ff-only", "other"]));
    seen(&world, "2");
    // Pull from another repository.
    let upstream = world.scratch().join("upstream");
    run(world.git().args(["clone", "-q", ".", upstream.to_str().unwrap()]));
    std::fs::write(upstream.join("a.yaml"), pod("web", "3")).unwrap();
    run(world.git().current_dir(&upstream).args(["commit", "-q", "-a", "-m", "upstream"]));
    run(world.git().args(["pull", "-q", "--ff-only", upstream.to_str().unwrap(), "HEAD"]));
    seen(&world, "3");
    assert_eq!(world.identities(), identity, "labels change in place");
}

#[test]
fn e2e_the_resync_finds_what_no_event_told() {
    let Some(world) = World::new() else { return };
    let mut world = world.with_flags(&["--allow-host-image", "--no-watch", "--resync", "1"]);
    world.commit(&[("a.yaml", &pod("web", "0"))]);
    world.start();
    world.wait_row("web", "1/1", "Running");
    world.commit(&[("a.yaml", &pod("web", "1"))]);
    world.wait("the label", || (label(&world, "web").as_deref() == Some("1")).then_some(()));
}

#[test]
fn e2e_the_status_file_does_not_wake_the_watcher_and_stays_out_of_git_status() {
    let Some(mut world) = World::new() else { return };
    world.commit(&[("a.yaml", &pod("web", "0"))]);
    world.start();
    world.wait_row("web", "1/1", "Running");
    let path = world.repo().join("status.yaml");
    world.wait("Ready in the status file", || {
        std::fs::read_to_string(&path).ok().filter(|t| t.contains("type: Ready\n") && t.contains("1/1"))
    });
    assert_eq!(run(world.git().args(["status", "--porcelain"])), "");
    // Nothing changes, so nothing is written: the file keeps its inode and its time.
    let before = std::fs::metadata(&path).unwrap().modified().unwrap();
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), before);
}

#[test]
fn e2e_an_invalid_commit_changes_nothing_and_the_next_good_one_is_applied() {
    let Some(mut world) = World::new() else { return };
    world.commit(&[("a.yaml", &pod("web", "0"))]);
    world.start();
    world.wait_row("web", "1/1", "Running");
    let before = world.identities();
    world.commit(&[
        ("a.yaml", &pod("web", "1")),
        ("b.yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: b\nspec:\n  contaners: []\n"),
    ]);
    let path = world.repo().join("status.yaml");
    let status = world.wait("the refusal in the status file", || {
        std::fs::read_to_string(&path).ok().filter(|t| t.contains("b.yaml:6:3"))
    });
    assert!(status.contains("contaners"), "{status}");
    assert_eq!(label(&world, "web").as_deref(), Some("0"));
    assert_eq!(world.identities(), before);
    // The last good revision is still healed, by a new agent too.
    world.kill();
    world.start();
    world.wait_row("web", "1/1", "Running");
    assert_eq!(world.identities(), before);
    run(world.git().args(["rm", "-q", "b.yaml"]));
    world.commit(&[]);
    world.wait("the good commit", || (label(&world, "web").as_deref() == Some("1")).then_some(()));
    assert_eq!(world.identities(), before);
}
