//! `--worktree`: as if everything had been committed.

use podwright::model::RevisionKind;

use super::repo::{Repo, paths, text};

#[test]
fn edits_are_laid_over_head() {
    let repo = Repo::with(&[
        ("deploy/edited.yaml", "a: 1\n"),
        ("deploy/deleted.yaml", "a: 1\n"),
        ("deploy/same.yaml", "a: 1\n"),
        (".gitignore", "scratch*\n"),
    ]);
    repo.write("deploy/edited.yaml", "a: 2\n");
    repo.write("deploy/new/deep/x.yaml", "a: 3\n");
    repo.write("deploy/scratch.yaml", "a: 4\n");
    repo.remove("deploy/deleted.yaml");
    let directory = repo.open_worktree("deploy");
    let snapshot = directory.read_now().unwrap();
    assert_eq!(paths(&snapshot), ["edited.yaml", "new/deep/x.yaml", "same.yaml"]);
    assert_eq!(text(&snapshot, "edited.yaml"), "a: 2\n");
    assert_eq!(snapshot.files[0].blob.to_string(), repo.git(&["hash-object", "deploy/edited.yaml"]).trim());
    assert!(snapshot.uncommitted.is_empty(), "they are read");
    assert_eq!(snapshot.revision.kind, RevisionKind::Worktree);
    let (commit, digest) = snapshot.revision.id.split_once('+').unwrap();
    assert_eq!((commit, digest.len()), (repo.id("HEAD").as_str(), 64));
    assert_eq!(snapshot.revision.branch.as_deref(), Some("main"));

    assert_eq!(directory.read_now().unwrap().revision, snapshot.revision);
    repo.write("deploy/edited.yaml", "a: 5\n");
    assert_ne!(directory.read_now().unwrap().revision, snapshot.revision);
}

#[test]
fn without_edits_the_revision_is_the_commit() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    let directory = repo.open_worktree("");
    repo.write("README.md", "not a manifest\n");
    repo.write("status.yaml", "our own\n");
    repo.write("pod.yaml", "a: 1\n");
    let snapshot = directory.read_now().unwrap();
    assert_eq!((snapshot.revision.kind, snapshot.revision.id), (RevisionKind::Commit, repo.id("HEAD")));
    repo.write("pod.yaml", "a: 2\n");
    repo.git(&["add", "pod.yaml"]);
    repo.write("pod.yaml", "a: 1\n");
    assert_eq!(directory.read_now().unwrap().revision.kind, RevisionKind::Commit, "staged, and taken back on disk");
}

#[test]
fn ignore_rules_are_the_worktrees() {
    let repo = Repo::with(&[("a.yaml", "a: 1\n"), ("b.yaml", "a: 1\n"), (".podwrightignore", "a.yaml\n")]);
    let directory = repo.open_worktree("");
    assert_eq!(paths(&directory.read_now().unwrap()), ["b.yaml"]);
    repo.write(".podwrightignore", "b.yaml\n");
    let snapshot = directory.read_now().unwrap();
    assert_eq!(paths(&snapshot), ["a.yaml"]);
    assert_eq!(snapshot.ignored, ["b.yaml"]);
    assert_eq!(repo.open("").read_now().unwrap().uncommitted, [".podwrightignore"]);
}

#[test]
fn files_and_directories_may_change_places() {
    let repo = Repo::with(&[("x.yaml", "a: 1\n"), ("y/in.yaml", "a: 1\n"), ("z.yaml", "a: 1\n")]);
    repo.remove("x.yaml");
    repo.write("x.yaml/in.yaml", "a: 2\n");
    std::fs::remove_dir_all(repo.path("y")).unwrap();
    repo.write("y", "no manifest\n");
    assert_eq!(paths(&repo.open_worktree("").read_now().unwrap()), ["x.yaml/in.yaml", "z.yaml"]);
}

#[cfg(unix)]
#[test]
fn a_link_in_the_worktree_is_not_followed() {
    use std::os::unix::fs::symlink;
    let repo = Repo::with(&[("a.yaml", "a: 1\n"), ("sub/b.yaml", "a: 1\n")]);
    let outside = repo.temp.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("b.yaml"), "secret: 1\n").unwrap();
    std::fs::remove_dir_all(repo.path("sub")).unwrap();
    symlink(&outside, repo.path("sub")).unwrap();
    let directory = repo.open_worktree("");
    let told = |name: &str| format!("{name}:1:1: symbolic-link: this is a symbolic link, and links are not followed");
    assert_eq!(super::repo::rejected(directory.read_now()), [told("sub")]);
    repo.remove("a.yaml");
    symlink(outside.join("b.yaml"), repo.path("a.yaml")).unwrap();
    symlink("sub/b.yaml", repo.path("to-a-file")).unwrap();
    assert_eq!(super::repo::rejected(directory.read_now()), [told("a.yaml"), told("sub")]);
    repo.write(".podwrightignore", "a.yaml\nsub/\n");
    repo.write("c.yaml", "a: 1\n");
    assert_eq!(paths(&directory.read_now().unwrap()), ["c.yaml"]);
    // What git ignores is no part of the worktree.
    repo.write(".podwrightignore", "a.yaml\n");
    repo.write(".gitignore", "/made\n/sub\n");
    repo.git(&["rm", "--quiet", "-r", "--cached", "sub"]);
    repo.commit("links are ignored");
    symlink(&outside, repo.path("made")).unwrap();
    assert_eq!(paths(&directory.read_now().unwrap()), ["c.yaml"]);
}

#[test]
fn another_repository_in_the_worktree_is_told_unless_git_ignores_it() {
    let repo = Repo::with(&[("a.yaml", "a: 1\n")]);
    repo.git(&["init", "--quiet", "other"]);
    repo.write("other/b.yaml", "b: 1\n");
    let told = ["other:1:1: submodule: this is another git repository, and its manifests are not read"];
    assert_eq!(super::repo::rejected(repo.open_worktree("").read_now()), told);
    assert_eq!(paths(&repo.open("").read_now().unwrap()), ["a.yaml"], "HEAD does not have it");
    repo.write(".gitignore", "/other/\n");
    assert_eq!(paths(&repo.open_worktree("").read_now().unwrap()), ["a.yaml"]);
}

/// git's racy entries: a file that was changed again in the instant the index was written looks as the index says.
#[cfg(unix)]
#[test]
fn the_index_vouches_for_older_files_only() {
    use std::os::unix::fs::MetadataExt;
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    repo.write("pod.yaml", "a: 2\n");
    let file = repo.path("pod.yaml").metadata().unwrap();
    let time = |seconds: i64, nanoseconds: i64| git2::IndexTime::new(seconds as i32, nanoseconds as u32);
    let mut index = git2::Index::open(&repo.path(".git/index")).unwrap();
    let mut entry = index.get_path("pod.yaml".as_ref(), 0).unwrap();
    entry.mtime = time(file.mtime(), file.mtime_nsec());
    entry.ctime = time(file.ctime(), file.ctime_nsec());
    entry.ino = file.ino() as u32;
    index.add(&entry).unwrap();
    index.write().unwrap();
    let written_at = |when| {
        let index = std::fs::File::options().write(true).open(repo.path(".git/index")).unwrap();
        index.set_modified(when).unwrap();
    };
    let directory = repo.open_worktree("");
    let changed = file.modified().unwrap();
    written_at(changed);
    assert_eq!(text(&directory.read_now().unwrap(), "pod.yaml"), "a: 2\n", "as old as the index: read");
    written_at(changed + std::time::Duration::from_secs(1));
    assert_eq!(text(&directory.read_now().unwrap(), "pod.yaml"), "a: 1\n", "older than the index: believed");
}
