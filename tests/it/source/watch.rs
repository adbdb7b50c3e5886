//! Hints. A test that expects none first does what would have given one, then something that surely gives one, and counts.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::time::Duration;

use podwright::source::{Directory, Options, StatusFile, Watch};
use tokio::sync::mpsc::Receiver;

use super::repo::{Repo, git, options};

/// Ample for a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(40);

async fn hinted(hints: &mut Receiver<()>, what: &str) {
    match tokio::time::timeout(PATIENCE, hints.recv()).await {
        Ok(Some(())) => {}
        other => panic!("no hint after {what}: {other:?}"),
    }
}

/// Takes hints until there was none for as long as several debounces.
async fn drain(hints: &mut Receiver<()>) -> usize {
    let mut count = 0;
    while let Ok(Some(())) = tokio::time::timeout(SHORT * 12, hints.recv()).await {
        count += 1;
    }
    count
}

#[tokio::test]
async fn every_way_to_move_head_is_seen() {
    let repo = Repo::with(&[("deploy/pod.yaml", "a: 1\n")]);
    let upstream = repo.temp.path().join("upstream");
    git(repo.temp.path(), &["clone", "--quiet", "work", "upstream"]);
    repo.git(&["remote", "add", "origin", "../upstream"]);
    let (_watch, mut hints) = Watch::start(&repo.open("deploy"), SHORT).unwrap();

    let mut step = 0;
    let mut edit = || {
        step += 1;
        repo.write("deploy/pod.yaml", &format!("a: 1{step}\n"));
    };
    edit();
    repo.commit("commit");
    hinted(&mut hints, "commit").await;
    drain(&mut hints).await;

    edit();
    repo.git(&["commit", "--quiet", "--all", "--amend", "-m", "amended"]);
    hinted(&mut hints, "amend").await;
    drain(&mut hints).await;

    repo.git(&["checkout", "--quiet", "-b", "topic/deep/branch", "HEAD~1"]);
    hinted(&mut hints, "checkout of a new branch").await;
    drain(&mut hints).await;

    edit();
    repo.commit("in a directory of branches that is new");
    hinted(&mut hints, "commit on the new branch").await;
    drain(&mut hints).await;

    repo.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    hinted(&mut hints, "reset").await;
    drain(&mut hints).await;

    repo.git(&["checkout", "--quiet", "main"]);
    hinted(&mut hints, "checkout").await;
    drain(&mut hints).await;

    repo.git(&["push", "--quiet", "--force", "origin", "main:incoming"]);
    std::fs::write(upstream.join("deploy/pod.yaml"), "a: upstream\n").unwrap();
    git(&upstream, &["checkout", "--quiet", "--force", "incoming"]);
    std::fs::write(upstream.join("deploy/pod.yaml"), "a: upstream\n").unwrap();
    git(&upstream, &["commit", "--quiet", "--all", "-m", "upstream"]);
    drain(&mut hints).await;
    repo.git(&["pull", "--quiet", "--ff-only", "origin", "incoming"]);
    hinted(&mut hints, "pull").await;
    drain(&mut hints).await;

    repo.git(&["pack-refs", "--all", "--prune"]);
    hinted(&mut hints, "packing refs").await;
    drain(&mut hints).await;

    edit();
    repo.commit("after packing");
    hinted(&mut hints, "commit after packing").await;
    drain(&mut hints).await;

    // What a mirror without a reflog does: the ref alone moves.
    repo.git(&["-c", "core.logAllRefUpdates=false", "update-ref", "refs/heads/main", "HEAD~1"]);
    hinted(&mut hints, "update-ref").await;
}

/// A debounce that no test waits for.
const FOR_EVER: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn another_commit_is_hinted_at_once_and_files_once_they_are_quiet() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    repo.git(&["branch", "other"]);
    let (watch, mut hints) = Watch::start(&repo.open(""), FOR_EVER).unwrap();
    for (what, step) in [
        ("commit", &["commit", "--quiet", "--allow-empty", "-m", "x"][..]),
        ("reset", &["reset", "--quiet", "--hard", "HEAD~1"]),
        ("checkout", &["checkout", "--quiet", "other"]),
        ("packing", &["pack-refs", "--all"]),
    ] {
        repo.git(step);
        hinted(&mut hints, what).await;
        while tokio::time::timeout(SHORT * 3, hints.recv()).await.is_ok() {}
    }
    drop(watch);
    // With files as well, which were written before.
    let (_watch, mut hints) = Watch::start(&repo.open_worktree(""), SHORT * 20).unwrap();
    let begun = std::time::Instant::now();
    repo.write("pod.yaml", "a: 2\n");
    repo.commit("both");
    hinted(&mut hints, "a commit of an edit").await;
    assert!(begun.elapsed() >= SHORT * 12, "the longest wait is half a second: {:?}", begun.elapsed());
}

#[tokio::test]
async fn revisions_amid_a_rebase_are_let_pass() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    repo.git(&["checkout", "--quiet", "-b", "topic"]);
    for n in 0..5 {
        repo.write(&format!("{n}.yaml"), "a: 1\n");
        repo.commit("topic");
    }
    repo.git(&["checkout", "--quiet", "main"]);
    repo.write("main.yaml", "a: 1\n");
    repo.commit("main");
    repo.git(&["checkout", "--quiet", "topic"]);
    let directory = repo.open("");
    let (_watch, mut hints) = Watch::start(&directory, SHORT * 12).unwrap();
    let root = repo.root.clone();
    let rebase = std::thread::spawn(move || git(&root, &["rebase", "--quiet", "main"]));
    // Whatever is read by a hint is where it started, or where it ends; or, on a machine that takes long over a step, what
    // stood still for half a second.
    let mut seen = Vec::new();
    while tokio::time::timeout(SHORT * 30, hints.recv()).await.is_ok() || !rebase.is_finished() {
        seen.push(directory.read_now().unwrap().files.len());
    }
    rebase.join().unwrap();
    assert_eq!(seen.last(), Some(&7), "{seen:?}");
    assert!(seen.len() <= 4, "{seen:?}");
}

#[tokio::test]
async fn a_linked_worktree_is_seen() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    repo.git(&["worktree", "add", "--quiet", "-b", "edge", "../linked"]);
    let linked = repo.temp.path().join("linked");
    let (_watch, mut hints) = Watch::start(&Directory::open(&linked, options()).unwrap(), SHORT).unwrap();
    git(&linked, &["commit", "--quiet", "--allow-empty", "-m", "there"]);
    hinted(&mut hints, "commit in the linked worktree").await;
    drain(&mut hints).await;
    git(&linked, &["checkout", "--quiet", "--detach"]);
    hinted(&mut hints, "checkout in the linked worktree").await;
}

#[tokio::test]
async fn the_first_commit_is_seen() {
    let repo = Repo::empty();
    std::fs::remove_dir_all(repo.path(".git/refs/heads")).unwrap();
    let (_watch, mut hints) = Watch::start(&repo.open(""), SHORT).unwrap();
    repo.write("pod.yaml", "a: 1\n");
    repo.commit("first");
    hinted(&mut hints, "first commit").await;
    drain(&mut hints).await;
    repo.commit("second");
    hinted(&mut hints, "second commit").await;
}

#[tokio::test]
async fn files_count_where_they_are_read_from_disk() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n"), ("sub/pod.yaml", "a: 1\n")]);
    let (_watch, mut hints) = Watch::start(&repo.open_worktree(""), SHORT).unwrap();
    let steps: &[(&str, &dyn Fn())] = &[
        ("edit", &|| repo.write("pod.yaml", "a: 2\n")),
        ("edit below", &|| repo.write("sub/pod.yaml", "a: 2\n")),
        ("new directory", &|| repo.write("new/deep/pod.yaml", "a: 2\n")),
        ("edit in it", &|| repo.write("new/deep/pod.yaml", "a: 3\n")),
        ("rules", &|| repo.write("new/.podwrightignore", "x\n")),
        ("removal", &|| repo.remove("new/deep/pod.yaml")),
        ("move of a directory", &|| std::fs::rename(repo.path("sub"), repo.path("moved")).unwrap()),
        ("edit after the move", &|| repo.write("moved/pod.yaml", "a: 4\n")),
        ("replacement", &|| {
            repo.write(".pod.yaml.swp", "a: 5\n");
            std::fs::rename(repo.path(".pod.yaml.swp"), repo.path("pod.yaml")).unwrap();
        }),
    ];
    for (what, step) in steps {
        step();
        hinted(&mut hints, what).await;
        drain(&mut hints).await;
    }
}

#[tokio::test]
async fn what_is_not_read_gives_no_hint() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    let directory = repo.open_worktree("");
    let (_watch, mut hints) = Watch::start(&directory, SHORT).unwrap();
    let status = StatusFile::of(&directory);
    for n in 0..3 {
        status.publish_now(&super::repo::status(&n.to_string())).unwrap();
    }
    repo.write("notes.txt", "not a manifest");
    repo.write(".pod.yaml.swp", "an editor's");
    repo.write(".idea/pod.yaml", "hidden");
    directory.read_now().unwrap();
    repo.git(&["status"]);
    repo.git(&["tag", "v1"]);
    assert_eq!(drain(&mut hints).await, 0);
    repo.write("pod.yaml", "a: 2\n");
    hinted(&mut hints, "an edit").await;
}

#[tokio::test]
async fn without_worktree_edits_give_no_hint() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    let (_watch, mut hints) = Watch::start(&repo.open(""), SHORT).unwrap();
    repo.write("pod.yaml", "a: 2\n");
    repo.git(&["add", "."]);
    assert_eq!(drain(&mut hints).await, 0);
}

#[tokio::test]
async fn a_thousand_events_give_few_hints() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("pod.yaml"), "a: 1\n").unwrap();
    let directory = Directory::open(temp.path(), options()).unwrap();
    let (_watch, mut hints) = Watch::start(&directory, SHORT * 2).unwrap();
    for n in 0..1000 {
        std::fs::write(temp.path().join(format!("{n}.yaml")), "a: 1\n").unwrap();
    }
    hinted(&mut hints, "a thousand files").await;
    let rest = drain(&mut hints).await;
    // A busy machine may stretch the writes over several debounces, never over one hint each.
    assert!(rest < 20, "{rest} more hints");
}

#[tokio::test]
async fn a_directory_that_goes_and_comes_back_is_seen() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("deploy");
    let make = |text: &str| {
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        std::fs::write(dir.join("sub/pod.yaml"), text).unwrap();
    };
    make("a: 1\n");
    let (_watch, mut hints) = Watch::start(&Directory::open(&dir, options()).unwrap(), SHORT).unwrap();
    for round in 0..3 {
        std::fs::remove_dir_all(&dir).unwrap();
        hinted(&mut hints, "removal").await;
        drain(&mut hints).await;
        make("a: 2\n");
        hinted(&mut hints, "return").await;
        drain(&mut hints).await;
        std::fs::write(dir.join("sub/pod.yaml"), format!("a: 3{round}\n")).unwrap();
        hinted(&mut hints, "edit after the return").await;
        drain(&mut hints).await;
    }
    std::fs::rename(&dir, temp.path().join("away")).unwrap();
    hinted(&mut hints, "move away").await;
    drain(&mut hints).await;
    std::fs::rename(temp.path().join("away"), &dir).unwrap();
    hinted(&mut hints, "move back").await;
    drain(&mut hints).await;
    std::fs::write(dir.join("sub/pod.yaml"), "a: 4\n").unwrap();
    hinted(&mut hints, "edit after the move back").await;
}

#[tokio::test]
async fn a_clone_in_the_old_ones_place_is_seen() {
    let repo = Repo::with(&[("deploy/pod.yaml", "a: 1\n")]);
    let clone = repo.temp.path().join("clone");
    let renew = || git(repo.temp.path(), &["clone", "--quiet", "work", "clone"]);
    renew();
    let (_watch, mut hints) = Watch::start(&Directory::open(&clone.join("deploy"), options()).unwrap(), SHORT).unwrap();
    std::fs::remove_dir_all(&clone).unwrap();
    drain(&mut hints).await;
    renew();
    hinted(&mut hints, "a new clone").await;
    drain(&mut hints).await;
    git(&clone, &["commit", "--quiet", "--allow-empty", "-m", "in the new one"]);
    hinted(&mut hints, "commit in the new clone").await;
}

#[tokio::test]
async fn a_link_that_is_pointed_elsewhere_is_seen() {
    let temp = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        std::fs::create_dir(temp.path().join(name)).unwrap();
        std::fs::write(temp.path().join(name).join("pod.yaml"), name).unwrap();
    }
    let link = temp.path().join("current");
    let point = |to: &str| {
        let new = temp.path().join("new");
        std::os::unix::fs::symlink(to, &new).unwrap();
        std::fs::rename(&new, &link).unwrap();
    };
    point("one");
    let (_watch, mut hints) = Watch::start(&Directory::open(&link, options()).unwrap(), SHORT).unwrap();
    point("two");
    hinted(&mut hints, "the switch").await;
    drain(&mut hints).await;
    std::fs::write(temp.path().join("two/pod.yaml"), "edited").unwrap();
    hinted(&mut hints, "edit behind the new target").await;
}

#[tokio::test]
async fn a_link_to_another_repository_is_seen_amid_commits_in_the_old_one() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    let top = repo.temp.path();
    git(top, &["clone", "--quiet", "work", "other"]);
    let link = top.join("current");
    std::os::unix::fs::symlink("work", &link).unwrap();
    let (_watch, mut hints) = Watch::start(&Directory::open(&link, options()).unwrap(), FOR_EVER).unwrap();
    std::os::unix::fs::symlink("other", top.join("new")).unwrap();
    std::fs::rename(top.join("new"), &link).unwrap();
    for (place, what) in [("work", "commit in the old one"), ("other", "commit in the new one")] {
        git(&top.join(place), &["commit", "--quiet", "--allow-empty", "-m", "x"]);
        hinted(&mut hints, what).await;
        while tokio::time::timeout(SHORT * 3, hints.recv()).await.is_ok() {}
    }
}

#[tokio::test]
async fn dropping_the_watch_ends_the_channel_and_the_other_way_round() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    let (watch, mut hints) = Watch::start(&repo.open(""), SHORT).unwrap();
    drop(watch);
    assert!(tokio::time::timeout(PATIENCE, hints.recv()).await.unwrap().is_none());
    let options = Options { worktree: true, ..options() };
    let (watch, hints) = Watch::start(&Directory::open(Path::new(&repo.root), options).unwrap(), SHORT).unwrap();
    drop(hints);
    drop(watch);
}

/// The body of the next test, in a process of its own.
#[test]
fn start_without_inotify() {
    if std::env::var_os("PODWRIGHT_TEST_NO_INOTIFY").is_none() {
        return;
    }
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    let error = Watch::start(&repo.open(""), SHORT).map(|_| ()).unwrap_err();
    assert_eq!(error.kind, podwright::port::ErrorKind::Exhausted, "{error}");
    assert!(error.to_string().contains("found by the resync only; raise fs.inotify"), "{error}");
}

#[test]
fn e2e_a_watch_that_cannot_start_is_a_value_with_the_way_out() {
    if !crate::support::e2e() {
        return;
    }
    let script =
        "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" --exact source::watch::start_without_inotify";
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("PODWRIGHT_TEST_NO_INOTIFY", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
