//! Whose repository may be read.
#![cfg(target_os = "linux")]

use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

use podwright::port::{ErrorKind, PortError};
use podwright::source::{Directory, Options, Trust};

use super::repo::{Repo, git, options, trust};
use crate::support;

const STRANGER: u32 = 54321;

fn give(path: &Path, uid: u32) {
    lchown(path, Some(uid), Some(uid)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), uid);
        }
    }
}

fn open(dir: &Path, trust: Trust) -> Result<(), PortError> {
    let directory = Directory::open(dir, Options { trust, ..options() })?;
    directory.read_now().unwrap();
    Ok(())
}

fn with_config(dir: &Path, text: &str) -> Trust {
    let config = dir.join("config");
    std::fs::write(&config, text).unwrap();
    Trust { git_config: Some(vec![config]), sudo_uid: None, home: Some(dir.to_owned()) }
}

#[test]
fn a_checkout_of_another_user_is_refused_with_the_way_out() {
    if !support::is_root() {
        return;
    }
    let repo = Repo::with(&[("deploy/pod.yaml", "a: 1\n")]);
    open(&repo.path("deploy"), trust()).unwrap();
    give(&repo.root, STRANGER);
    let error = open(&repo.path("deploy"), trust()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    let command = format!("git config --global --add safe.directory '{}'", repo.root.display());
    assert!(error.to_string().contains(&command), "{error}");
    assert!(error.message.contains("belongs to another user"), "{error}");
}

#[test]
fn any_part_of_the_repository_that_is_not_ours_counts() {
    if !support::is_root() {
        return;
    }
    for part in ["", ".git"] {
        let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
        lchown(repo.path(part), Some(STRANGER), None).unwrap();
        assert!(open(&repo.root, trust()).is_err(), "{part:?}");
    }
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    repo.git(&["worktree", "add", "--quiet", "-b", "edge", "../linked"]);
    let linked = repo.temp.path().join("linked");
    open(&linked, trust()).unwrap();
    lchown(linked.join(".git"), Some(STRANGER), None).unwrap();
    assert!(open(&linked, trust()).is_err(), "the .git file of a linked worktree");
    lchown(linked.join(".git"), Some(0), None).unwrap();
    lchown(repo.path(".git"), Some(STRANGER), None).unwrap();
    assert!(open(&linked, trust()).is_err(), "the common directory");
}

#[test]
fn a_repository_planted_above_is_refused() {
    if !support::is_root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let mine = temp.path().join("mine");
    std::fs::create_dir(&mine).unwrap();
    std::fs::write(mine.join("pod.yaml"), "a: 1\n").unwrap();
    open(&mine, trust()).unwrap();
    git(temp.path(), &["init", "--quiet", "."]);
    give(&temp.path().join(".git"), STRANGER);
    assert!(open(&mine, trust()).is_err());
}

#[test]
fn safe_directory_is_honoured_as_git_does() {
    if !support::is_root() {
        return;
    }
    let repo = Repo::with(&[("deploy/pod.yaml", "a: 1\n")]);
    give(&repo.root, STRANGER);
    let root = repo.root.display().to_string();
    let above = repo.root.parent().unwrap().display().to_string();
    let cases = [
        (format!("directory = {root}"), true),
        (format!("directory = {root}/"), true),
        ("directory = *".to_owned(), true),
        (format!("directory = {above}/*"), true),
        ("directory = ~/work".to_owned(), true),
        (format!("directory = {above}"), false),
        (format!("directory = {root}/*"), false),
        (format!("directory = {root}/deploy"), false),
        ("directory = /somewhere/else".to_owned(), false),
        (format!("directory = {root}\ndirectory ="), false),
        (format!("directory =\ndirectory = {root}"), true),
        (format!("directory = {root}\ndirectory = /else"), true),
    ];
    for (lines, safe) in cases {
        let trust = with_config(repo.root.parent().unwrap(), &format!("[safe]\n{lines}\n"));
        assert_eq!(open(&repo.path("deploy"), trust).is_ok(), safe, "{lines}");
    }
    let inside = repo.path(".git/config");
    let old = std::fs::read_to_string(&inside).unwrap();
    std::fs::write(&inside, format!("{old}[safe]\n\tdirectory = *\n")).unwrap();
    assert!(open(&repo.path("deploy"), trust()).is_err(), "the repository does not vouch for itself");
}

#[test]
fn root_by_sudo_may_read_its_callers_checkout() {
    if !support::is_root() {
        return;
    }
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    give(&repo.root, STRANGER);
    open(&repo.root, Trust { sudo_uid: Some(STRANGER), ..trust() }).unwrap();
    assert!(open(&repo.root, Trust { sudo_uid: Some(STRANGER + 1), ..trust() }).is_err());
    give(&repo.root, 0);
    open(&repo.root, Trust { sudo_uid: Some(STRANGER), ..trust() }).unwrap();
}

#[test]
fn a_directory_without_git_has_no_owner_to_doubt() {
    if !support::is_root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("pod.yaml"), "a: 1\n").unwrap();
    give(temp.path(), STRANGER);
    open(temp.path(), trust()).unwrap();
    assert_eq!(temp.path().metadata().unwrap().uid(), STRANGER);
}
