//! The status file.
#![cfg(target_os = "linux")]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use podwright::port::{ErrorKind, StatusSink};
use podwright::source::{Directory, Options, StatusFile, Trust};

use super::repo::{Repo, git, options, paths, status as document, trust};
use crate::support;

fn file(path: &Path) -> StatusFile {
    StatusFile::new(path, trust())
}

fn names(dir: &Path) -> Vec<String> {
    let mut all: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

#[test]
fn it_is_written_when_it_changes_and_never_otherwise() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("status.yaml");
    let status = file(&path);
    assert!(status.publish_now(&document("a")).unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.starts_with(
            "# Written by podwright, never read back.\napiVersion: podwright.dev/v1alpha1\nkind: Status\n"
        ),
        "{text}"
    );
    let first = path.metadata().unwrap();
    assert_eq!(first.permissions().mode() & 0o7777, 0o644);
    for sink in [status.clone(), status.clone(), file(&path)] {
        assert!(!sink.publish_now(&document("a")).unwrap());
        let now = path.metadata().unwrap();
        assert_eq!(
            (now.ino(), now.mtime_nsec(), now.ctime_nsec()),
            (first.ino(), first.mtime_nsec(), first.ctime_nsec())
        );
    }
    assert!(status.publish_now(&document("b")).unwrap());
    assert_ne!(path.metadata().unwrap().ino(), first.ino(), "replaced, not overwritten");
    assert_eq!(names(temp.path()), ["status.yaml"], "no temporary file is left");
}

#[test]
fn what_somebody_did_to_it_is_repaired() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("status.yaml");
    let status = file(&path);
    status.publish_now(&document("a")).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(status.publish_now(&document("a")).unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    let others = ["scribble", "", &text[..text.len() - 1], &format!("{text}\n"), &text.replacen('a', "b", 1)];
    for other in others {
        std::fs::write(&path, other).unwrap();
        assert!(status.publish_now(&document("a")).unwrap(), "{other:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    std::fs::write(temp.path().join(".status.yaml.podwright-tmp"), "left by a power cut").unwrap();
    assert!(status.publish_now(&document("b")).unwrap());
    assert_eq!(names(temp.path()), ["status.yaml"]);
}

#[test]
fn git_does_not_see_it() {
    let repo = Repo::with(&[("deploy/pod.yaml", "a: 1\n"), (".gitignore", "x\n")]);
    let exclude = repo.path(".git/info/exclude");
    std::fs::write(&exclude, "# mine, without a line end").unwrap();
    let directory = repo.open("deploy");
    let status = StatusFile::of(&directory);
    assert_eq!(status.path(), repo.path("deploy/status.yaml"));
    for revision in ["a", "b", "c"] {
        assert!(status.publish_now(&document(revision)).unwrap());
    }
    assert!(file(status.path()).publish_now(&document("d")).unwrap());
    repo.write("deploy/.status.yaml.podwright-tmp", "left by a power cut");
    assert_eq!(repo.git(&["status", "--porcelain", "--untracked-files=all"]), "");
    assert_eq!(
        std::fs::read_to_string(&exclude).unwrap(),
        "# mine, without a line end\n# the status file of podwright\n/deploy/status.yaml\n\
         /deploy/.status.yaml.podwright-tmp\n"
    );
    repo.write("status.yaml", "a manifest of another directory\n");
    assert_eq!(repo.git(&["status", "--porcelain"]), "?? status.yaml\n", "the pattern is anchored");
    let snapshot = directory.read_now().unwrap();
    assert_eq!(paths(&snapshot), ["pod.yaml"]);
    assert!(snapshot.uncommitted.is_empty());
}

#[test]
fn odd_names_are_excluded_exactly() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    repo.write("a b/[x]/keep", "");
    repo.commit("second");
    let status = file(&repo.path("a b/[x]/st*tus?.yaml "));
    status.publish_now(&document("a")).unwrap();
    assert_eq!(repo.git(&["status", "--porcelain", "--untracked-files=all"]), "");
    repo.write("a b/[x]/status1.yaml ", "");
    assert_ne!(repo.git(&["status", "--porcelain", "--untracked-files=all"]), "");
}

#[test]
fn what_git_ignores_anyway_is_not_entered() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n"), (".gitignore", "status.yaml\n.status.*\n")]);
    let before = std::fs::read_to_string(repo.path(".git/info/exclude")).unwrap_or_default();
    file(&repo.path("status.yaml")).publish_now(&document("a")).unwrap();
    assert_eq!(std::fs::read_to_string(repo.path(".git/info/exclude")).unwrap_or_default(), before);
    assert_eq!(repo.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_linked_worktree_uses_the_common_exclude_file() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    repo.git(&["worktree", "add", "--quiet", "-b", "edge", "../linked"]);
    std::fs::remove_dir_all(repo.path(".git/info")).unwrap();
    let linked = repo.temp.path().join("linked");
    file(&linked.join("status.yaml")).publish_now(&document("a")).unwrap();
    assert_eq!(git(&linked, &["status", "--porcelain"]), "");
}

#[test]
fn a_link_in_the_repository_is_not_written_through() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    let victim = repo.temp.path().join("victim");
    std::fs::write(&victim, "keep").unwrap();
    let exclude = repo.path(".git/info/exclude");
    std::fs::remove_file(&exclude).unwrap();
    symlink(&victim, &exclude).unwrap();
    let status = file(&repo.path("status.yaml"));
    let error = status.publish_now(&document("a")).unwrap_err();
    assert!(error.to_string().contains("info/exclude") && error.to_string().contains("--status-file"), "{error}");
    std::fs::remove_dir_all(repo.path(".git/info")).unwrap();
    std::fs::create_dir(repo.temp.path().join("info")).unwrap();
    symlink(repo.temp.path().join("info"), repo.path(".git/info")).unwrap();
    status.publish_now(&document("a")).unwrap_err();
    assert_eq!(names(&repo.temp.path().join("info")), Vec::<String>::new());
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "keep");
    assert!(!repo.path("status.yaml").exists(), "better none than one that git sees");
}

#[test]
fn what_root_makes_in_a_users_repository_is_the_users() {
    if !support::is_root() {
        return;
    }
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    std::fs::remove_dir_all(repo.path(".git/info")).unwrap();
    for path in ["", ".git"] {
        std::os::unix::fs::lchown(repo.path(path), Some(4711), Some(4711)).unwrap();
    }
    let sudo = Trust { sudo_uid: Some(4711), ..trust() };
    StatusFile::new(&repo.path("status.yaml"), sudo).publish_now(&document("a")).unwrap();
    for path in [".git/info", ".git/info/exclude"] {
        assert_eq!(repo.path(path).metadata().unwrap().uid(), 4711, "{path}");
    }
}

#[test]
fn a_tracked_file_is_not_touched() {
    let repo = Repo::with(&[("status.yaml", "a manifest: 1\n")]);
    let status = file(&repo.path("status.yaml"));
    let check = || {
        let error = status.publish_now(&document("a")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert!(
            error.to_string().contains("git tracks a file") && error.to_string().contains("--status-file"),
            "{error}"
        );
    };
    check();
    repo.git(&["rm", "--quiet", "--cached", "status.yaml"]);
    check();
    assert_eq!(std::fs::read_to_string(repo.path("status.yaml")).unwrap(), "a manifest: 1\n");
    repo.commit("no longer tracked");
    repo.remove("status.yaml");
    repo.commit("gone");
    assert!(status.publish_now(&document("a")).unwrap());
}

#[test]
fn a_link_in_its_place_is_not_followed() {
    let temp = tempfile::tempdir().unwrap();
    let victim = temp.path().join("victim");
    std::fs::write(&victim, "keep").unwrap();
    let path = temp.path().join("status.yaml");
    symlink(&victim, &path).unwrap();
    let error = file(&path).publish_now(&document("a")).unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
    std::fs::remove_file(&path).unwrap();
    symlink(&victim, temp.path().join(".status.yaml.podwright-tmp")).unwrap();
    file(&path).publish_now(&document("a")).unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "keep");
    assert!(!path.symlink_metadata().unwrap().is_symlink());
    std::fs::create_dir(temp.path().join("dir.yaml")).unwrap();
    let error = file(&temp.path().join("dir.yaml")).publish_now(&document("a")).unwrap_err();
    assert!(error.to_string().contains("no regular file"), "{error}");
}

#[test]
fn a_place_that_cannot_be_written_is_named_with_the_way_out() {
    let error = file(Path::new("/proc/self/status.yaml")).publish_now(&document("a")).unwrap_err();
    assert!(
        error.to_string().contains("/proc/self/status.yaml") && error.to_string().contains("--status-file"),
        "{error}"
    );
    let error = file(Path::new("/nowhere/at/all.yaml")).publish_now(&document("a")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.to_string().contains("its directory does not exist"), "{error}");
}

#[test]
fn a_named_status_file_is_no_manifest_either() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    repo.write("out/state.yaml", "not even marked as ours\n");
    for status_file in
        [repo.path("out/state.yaml"), PathBuf::from(format!("{}/./out/../out/state.yaml", repo.root.display()))]
    {
        let status_file = Some(status_file);
        let directory = Directory::open(&repo.root, Options { worktree: true, status_file, ..options() }).unwrap();
        assert_eq!(paths(&directory.read_now().unwrap()), ["pod.yaml"]);
    }
}

/// A thread with mounts of its own, which end with it.
fn with_a_full_disk(test: impl FnOnce(&Path) + Send) {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    std::thread::scope(|scope| {
        let done = scope.spawn(|| {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
            let temp = tempfile::tempdir().unwrap();
            mount(Some("podwright"), temp.path(), Some("tmpfs"), MsFlags::empty(), Some("size=64k")).unwrap();
            test(temp.path());
            nix::mount::umount2(temp.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
        });
        done.join().unwrap();
    });
}

#[test]
fn e2e_a_full_or_read_only_disk_is_named_and_leaves_the_old_file() {
    use nix::mount::{MsFlags, mount};
    if !support::e2e() {
        return;
    }
    with_a_full_disk(|dir| {
        let path = dir.join("status.yaml");
        let status = file(&path);
        status.publish_now(&document("a")).unwrap();
        let before = std::fs::read(&path).unwrap();
        let mut full = std::fs::File::create(dir.join("ballast")).unwrap();
        while std::io::Write::write_all(&mut full, &[0; 1024]).is_ok() {}
        let error = status.publish_now(&document("b")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Exhausted, "{error}");
        assert!(error.to_string().contains("--status-file"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(names(dir), ["ballast", "status.yaml"], "no half file is left");
        drop(full);
        std::fs::remove_file(dir.join("ballast")).unwrap();
        let none: Option<&str> = None;
        mount(none, dir, none, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none).unwrap();
        let error = status.publish_now(&document("b")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
        assert!(!status.publish_now(&document("a")).unwrap(), "nothing to write, nothing to fail");
        mount(none, dir, none, MsFlags::MS_REMOUNT, none).unwrap();
        assert!(status.publish_now(&document("b")).unwrap());
    });
}

#[tokio::test]
async fn the_port_writes_too() {
    let temp = tempfile::tempdir().unwrap();
    let sink: Box<dyn StatusSink> = Box::new(file(&temp.path().join("status.yaml")));
    assert!(sink.publish(&document("a")).await.unwrap());
    assert!(!sink.publish(&document("a")).await.unwrap());
}
