//! Directories without git, and paths named on a command line.

use std::path::{Path, PathBuf};

use podwright::model::RevisionKind;
use podwright::port::{ErrorKind, ReadError};
use podwright::source::{Directory, read_paths};

use super::repo::{failed, options, paths, rejected, text};

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    for (path, text) in files {
        write(temp.path(), path, text);
    }
    temp
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn without_git_the_content_is_the_revision() {
    let temp = tree(&[("pod.yaml", "a: 1\n"), ("sub/b.json", "{}"), (".x.yaml", ""), ("notes.txt", "")]);
    let directory = Directory::open(temp.path(), options()).unwrap();
    assert!(!directory.is_git());
    let first = directory.read_now().unwrap();
    assert_eq!(paths(&first), ["pod.yaml", "sub/b.json"]);
    assert_eq!(first.revision.kind, RevisionKind::Content);
    assert_eq!(first.revision.id.len(), "sha256:".len() + 64);
    assert_eq!(first.files[0].blob.to_string(), "a8926a52d8dcba5c4386945476ab6a2ad008afd4", "as git names it");
    write(temp.path(), "notes.txt", "more");
    write(temp.path(), "status.yaml", "ours");
    assert_eq!(directory.read_now().unwrap().revision, first.revision, "nothing that is read has changed");
    write(temp.path(), "pod.yaml", "a: 2\n");
    let second = directory.read_now().unwrap();
    assert_ne!(second.revision, first.revision);
    assert!(directory.read_now_at(&first.revision.id).unwrap().is_none());
    assert!(directory.read_now_at(&second.revision.id).unwrap().is_some());
}

#[test]
fn the_revision_tells_names_from_contents() {
    let a = tree(&[("a.yaml", "x"), ("b.yaml", "y")]);
    let b = tree(&[("a.yaml", "y"), ("b.yaml", "x")]);
    let revision =
        |dir: &tempfile::TempDir| Directory::open(dir.path(), options()).unwrap().read_now().unwrap().revision;
    assert_ne!(revision(&a), revision(&b));
}

#[test]
fn paths_are_shown_as_they_were_typed() {
    let temp = tree(&[("deploy/pod.yaml", "a: 1\n"), ("deploy/sub/b.yaml", "b: 1\n"), ("deploy/odd.txt", "c: 1\n")]);
    let typed = temp.path().join("deploy");
    let slash = PathBuf::from(format!("{}/", typed.display()));
    let shown = |rest: &str| format!("{}/{rest}", typed.display());
    for dir in [&typed, &slash] {
        let snapshot = read_paths(std::slice::from_ref(dir)).unwrap();
        assert_eq!(paths(&snapshot), [shown("pod.yaml"), shown("sub/b.yaml")]);
    }
    let both = read_paths(&[typed.join("odd.txt"), typed.clone(), typed.join("pod.yaml")]).unwrap();
    assert_eq!(
        paths(&both),
        [shown("odd.txt"), shown("pod.yaml"), shown("sub/b.yaml")],
        "a named file once, whatever its name"
    );
    assert_eq!(text(&both, &shown("odd.txt")), "c: 1\n");
}

#[test]
fn uncommitted_files_are_read_by_path() {
    let repo = super::repo::Repo::with(&[("a.yaml", "a: 1\n")]);
    repo.write("a.yaml", "a: 2\n");
    repo.write("b.yaml", "b: 1\n");
    let snapshot = read_paths(std::slice::from_ref(&repo.root)).unwrap();
    assert_eq!(snapshot.files.len(), 2);
    assert_eq!(&*snapshot.files[0].bytes, b"a: 2\n");
    assert_eq!(snapshot.revision.kind, RevisionKind::Content);
}

#[test]
fn a_path_that_cannot_be_read_is_named() {
    let temp = tree(&[("empty/notes.txt", "")]);
    let missing = failed(read_paths(&[temp.path().join("nowhere")]));
    assert_eq!(missing.kind, ErrorKind::NotFound);
    assert!(missing.to_string().contains("nowhere"), "{missing}");
    let Err(ReadError::Rejected(empty)) = read_paths(&[temp.path().join("empty")]) else { panic!("it was read") };
    let message = &empty.0[0].message;
    assert!(message.ends_with("empty: there are no manifests (.yaml, .yml, .json)"), "{message}");
    let device = rejected(read_paths(&[PathBuf::from("/dev/null")]));
    assert_eq!(device, ["/dev/null:1:1: no-file: this is no regular file"]);
}

#[test]
fn a_status_file_is_never_taken_for_a_manifest() {
    let mark = "# Written by podwright, never read back.\napiVersion: podwright.dev/v1alpha1\n";
    let temp = tree(&[("status.yaml", mark), ("old/state.yaml", mark), ("pod.yaml", "a: 1\n")]);
    let snapshot = read_paths(&[temp.path().to_owned()]).unwrap();
    assert_eq!(snapshot.files.len(), 1);
    let snapshot = Directory::open(temp.path(), options()).unwrap().read_now().unwrap();
    assert_eq!(paths(&snapshot), ["pod.yaml"]);
}

#[cfg(unix)]
#[test]
fn a_directory_behind_a_link_follows_where_the_link_points() {
    let temp = tree(&[("one/pod.yaml", "a: 1\n"), ("two/pod.yaml", "a: 2\n")]);
    let link = temp.path().join("current");
    std::os::unix::fs::symlink("one", &link).unwrap();
    let directory = Directory::open(&link, options()).unwrap();
    assert_eq!(text(&directory.read_now().unwrap(), "pod.yaml"), "a: 1\n");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("two", &link).unwrap();
    assert_eq!(text(&directory.read_now().unwrap(), "pod.yaml"), "a: 2\n");
}
