//! Two revisions read together, and every way in which one of them cannot be.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use podwright::model::{RevisionKind, Snapshot};
use podwright::port::{ErrorKind, PortError, ReadError};
use podwright::source::{Limits, Options, Pair, PairError, Side, read_pair};

use super::repo::{Repo, git, options, paths, rejected, text};

/// Both sides, of which the base has no faults.
fn sides(pair: Pair) -> (Snapshot, Snapshot) {
    assert_eq!(pair.base_faults.0, []);
    (pair.base, pair.head)
}

fn pair(dir: &Path, base: &str, head: &str) -> Result<(Snapshot, Snapshot), PairError> {
    read_pair(dir, base, Some(head), &options()).map(sides)
}

fn failure<T: Debug>(result: Result<T, PairError>) -> (Option<Side>, PortError) {
    match result {
        Err(PairError { side, error: ReadError::Failed(error) }) => {
            assert!(error.help.is_some(), "a way out: {error}");
            (side, error)
        }
        other => panic!("no failure: {other:?}"),
    }
}

/// The error of a base that is named like this, in a sentence.
fn refused(dir: &Path, base: &str) -> String {
    let (side, error) = failure(pair(dir, base, "HEAD"));
    assert_eq!(side, Some(Side::Base), "{error}");
    format!("{}: {} ({})", error.subject, error.message, error.help.unwrap())
}

#[test]
fn both_sides_are_what_each_is_alone_and_share_what_is_the_same() {
    let repo = Repo::with(&[
        ("deploy/a/one.yaml", "a: 1\n"),
        ("deploy/a/two.yaml", "a: 2\n"),
        ("deploy/b/three.yaml", "a: 3\n"),
        ("deploy/b-c.yaml", "a: 3\n"),
        ("deploy/status.yaml", "a: 4\n"),
        ("other.yaml", "no\n"),
    ]);
    let first = repo.id("HEAD");
    repo.write("deploy/b/three.yaml", "a: 5\n");
    repo.write("deploy/c/four.yaml", "a: 4\n");
    repo.remove("deploy/b-c.yaml");
    let second = repo.commit("second");
    repo.write("deploy/b/.podwrightignore", "three*\n");
    let third = repo.commit("third");
    let directory = repo.open("deploy");
    for (base, head) in [(&first, &second), (&second, &first), (&first, &third), (&third, &second), (&third, &third)] {
        let (old, new) = pair(&repo.path("deploy"), base, head).unwrap();
        for (snapshot, id) in [(&old, base), (&new, head)] {
            let alone = directory.read_now_at(id).unwrap().unwrap();
            assert_eq!((&snapshot.files, &snapshot.ignored), (&alone.files, &alone.ignored), "{base} {head}");
            assert_eq!(snapshot.revision, alone.revision);
        }
        let bytes =
            |snapshot: &Snapshot| Arc::clone(&snapshot.files.iter().find(|f| &*f.path == "a/one.yaml").unwrap().bytes);
        assert!(Arc::ptr_eq(&bytes(&old), &bytes(&new)));
    }
}

#[test]
fn without_a_head_it_is_head_or_the_worktree() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    repo.write("pod.yaml", "a: 2\n");
    let second = repo.commit("second");
    repo.write("pod.yaml", "a: 3\n");
    let (old, new) = sides(read_pair(&repo.root, "HEAD~1", None, &options()).unwrap());
    assert_eq!((text(&old, "pod.yaml"), text(&new, "pod.yaml")), ("a: 1\n", "a: 2\n"));
    assert_eq!((new.revision.id.as_str(), new.revision.branch.as_deref()), (second.as_str(), Some("main")));
    let worktree = Options { worktree: true, ..options() };
    let (old, new) = sides(read_pair(&repo.root, "HEAD~1", None, &worktree).unwrap());
    assert_eq!((text(&old, "pod.yaml"), text(&new, "pod.yaml")), ("a: 1\n", "a: 3\n"));
    assert_eq!(new.revision.kind, RevisionKind::Worktree);
    repo.git(&["checkout", "--quiet", "--force", "--detach", "HEAD"]);
    let (_, new) = sides(read_pair(&repo.root, "HEAD~1", None, &options()).unwrap());
    assert_eq!((new.revision.id.as_str(), new.revision.branch), (second.as_str(), None));
}

#[test]
fn a_directory_may_be_on_one_side_only_and_not_on_disk() {
    let repo = Repo::with(&[("README.md", "hello\n")]);
    repo.write("deploy/edge/pod.yaml", "a: 1\n");
    repo.commit("second");
    let (old, new) = pair(&repo.path("deploy/edge"), "HEAD~1", "HEAD").unwrap();
    assert_eq!((paths(&old), paths(&new)), (vec![], vec!["pod.yaml"]));
    std::fs::remove_dir_all(repo.path("deploy")).unwrap();
    repo.commit("third");
    let (old, new) = pair(&repo.path("deploy/edge"), "HEAD~1", "HEAD").unwrap();
    assert_eq!((paths(&old), paths(&new)), (vec!["pod.yaml"], vec![]));
    let (side, error) = failure(pair(&repo.path("deploy/edge"), "HEAD~2", "HEAD"));
    assert_eq!((side, error.kind), (None, ErrorKind::NotFound));
    assert!(error.message.contains("no manifests (.yaml, .yml, .json) in either revision"), "{error}");
}

#[test]
fn a_bare_repository_has_revisions_too() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n"), ("deploy/pod.yaml", "a: 1\n")]);
    repo.write("deploy/pod.yaml", "a: 2\n");
    repo.commit("second");
    git(repo.temp.path(), &["clone", "--quiet", "--bare", "work", "bare.git"]);
    let bare = repo.temp.path().join("bare.git");
    let (old, new) = pair(&bare, "HEAD~1", "main").unwrap();
    assert_eq!((paths(&old), paths(&new)), (vec!["deploy/pod.yaml", "pod.yaml"], vec!["deploy/pod.yaml", "pod.yaml"]));
    let (old, new) = sides(read_pair(&bare.join("deploy"), "HEAD~1", None, &options()).unwrap());
    assert_eq!((text(&old, "pod.yaml"), text(&new, "pod.yaml")), ("a: 1\n", "a: 2\n"));
    let worktree = Options { worktree: true, ..options() };
    let (_, error) = failure(read_pair(&bare, "HEAD~1", None, &worktree));
    assert!(error.to_string().contains("--base REV --head REV"), "{error}");
}

#[test]
fn what_has_no_revisions_says_so() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("pod.yaml"), "a: 1\n").unwrap();
    let (side, error) = failure(pair(temp.path(), "HEAD~1", "HEAD"));
    assert_eq!(side, None);
    assert!(error.message.contains("no git repository"), "{error}");
    let (_, error) = failure(pair(&temp.path().join("nowhere"), "HEAD~1", "HEAD"));
    assert_eq!(error.kind, ErrorKind::NotFound);
    let (_, error) = failure(pair(&temp.path().join("pod.yaml"), "HEAD~1", "HEAD"));
    assert!(error.message.contains("not a directory"), "{error}");
    let unborn = Repo::empty();
    unborn.write("pod.yaml", "a: 1\n");
    assert!(refused(&unborn.root, "HEAD").contains("no commit yet"), "{}", refused(&unborn.root, "HEAD"));
}

#[test]
fn a_revision_that_is_not_there_is_named_with_the_way_out() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    repo.git(&["branch", "feature"]);
    let id = "1111111111111111111111111111111111111111";
    for name in ["nope", "HEAD~7", id, "1111", "nope@{yesterday}", "v1^{commit}"] {
        let said = refused(&repo.root, name);
        assert!(said.starts_with(name), "{said}");
        assert!(said.contains("git rev-parse"), "{said}");
    }
    git(repo.temp.path(), &["clone", "--quiet", "work", "clone"]);
    let said = refused(&repo.temp.path().join("clone"), "feature");
    assert!(said.contains("did you mean origin/feature?"), "{said}");
    let (side, error) = failure(pair(&repo.root, "HEAD", "nope"));
    assert_eq!((side, error.kind), (Some(Side::Head), ErrorKind::NotFound));
}

#[test]
fn a_revision_that_means_several_things_is_refused() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    let first = repo.id("HEAD");
    repo.write("pod.yaml", "a: 2\n");
    for number in 0..700 {
        repo.write(&format!("notes/{number}"), &format!("note {number}\n"));
    }
    repo.commit("second");
    repo.git(&["branch", "both", &first]);
    repo.git(&["tag", "both", "HEAD"]);
    let said = refused(&repo.root, "both");
    assert!(said.contains("both is a branch and a tag, which differ (write heads/both or tags/both)"), "{said}");
    assert!(refused(&repo.root, "both~1").contains("heads/both"));
    assert_eq!(pair(&repo.root, "heads/both", "tags/both").unwrap().0.revision.id, first);
    repo.git(&["branch", "same"]);
    repo.git(&["tag", "same"]);
    pair(&repo.root, "same", "HEAD").unwrap();
    let objects = repo.git(&["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"]);
    let ids: Vec<&str> = objects.lines().collect();
    let twins = ids.windows(2).find(|two| two[0][..4] == two[1][..4]).expect("of 700 objects two begin alike");
    let said = refused(&repo.root, &twins[0][..4]);
    assert!(said.contains("more than one object begins with it"), "{said}");
}

#[test]
fn a_revision_that_is_no_commit_is_refused() {
    let repo = Repo::with(&[("deploy/pod.yaml", "a: 1\n")]);
    for (name, kind) in [("HEAD:deploy", "tree"), ("HEAD:deploy/pod.yaml", "blob"), ("HEAD^{tree}", "tree")] {
        let said = refused(&repo.root, name);
        assert!(said.contains(&format!("it does not name a commit but a {kind}")), "{said}");
    }
}

#[test]
fn a_shallow_clone_says_how_to_get_the_base() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    let first = repo.id("HEAD");
    repo.write("pod.yaml", "a: 2\n");
    repo.commit("second");
    let url = format!("file://{}", repo.root.display());
    git(repo.temp.path(), &["clone", "--quiet", "--depth", "1", &url, "shallow"]);
    let shallow = repo.temp.path().join("shallow");
    for name in [first.as_str(), "HEAD~1"] {
        let said = refused(&shallow, name);
        assert!(said.contains("shallow") && said.contains("--unshallow") && said.contains("fetch-depth: 0"), "{said}");
    }
    pair(&shallow, "HEAD", "HEAD").unwrap();
}

#[test]
fn a_damaged_object_is_told_as_such() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n"), ("other.yaml", "b: 1\n")]);
    let blob = repo.id("HEAD:pod.yaml");
    let object = repo.path(&format!(".git/objects/{}/{}", &blob[..2], &blob[2..]));
    std::fs::remove_file(&object).unwrap();
    let (side, error) = failure(pair(&repo.root, "HEAD", "HEAD"));
    assert_eq!((side, error.kind), (Some(Side::Base), ErrorKind::Corrupt), "{error}");
    std::fs::write(&object, "rubbish").unwrap();
    let (_, error) = failure(pair(&repo.root, "HEAD", "HEAD"));
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("git fsck"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_head_that_breaks_a_rule_is_refused_and_a_base_is_read_as_far_as_it_goes() {
    use std::os::unix::ffi::OsStrExt;
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    std::os::unix::fs::symlink("/etc/passwd", repo.path("link.yaml")).unwrap();
    std::fs::write(repo.root.join(std::ffi::OsStr::from_bytes(b"latin-\xe9.yaml")), "a: 1\n").unwrap();
    repo.write("many/one.yaml", "a: 1\n");
    repo.write("many/two.yaml", "a: 2\n");
    repo.commit("second");
    let expected = [
        "latin-\u{fffd}.yaml:1:1: bad-file-name: the name is not plain UTF-8 text",
        "link.yaml:1:1: symbolic-link: this is a symbolic link, and links are not followed",
    ];
    for (base, head) in [("HEAD~1", "HEAD"), ("HEAD", "HEAD")] {
        let error = pair_of(&repo, base, head, &options()).unwrap_err();
        assert_eq!(error.side, Some(Side::Head), "{base}");
        assert_eq!(rejected::<()>(Err(error.error)), expected, "{base}");
    }
    let worktree = Options { worktree: true, ..options() };
    assert_eq!(read_pair(&repo.root, "HEAD~1", None, &worktree).unwrap_err().side, Some(Side::Head));
    let mended = pair_of(&repo, "HEAD", "HEAD~1", &options()).unwrap();
    assert_eq!(rejected::<()>(Err(ReadError::Rejected(mended.base_faults))), expected);
    assert_eq!(paths(&mended.base), ["many/one.yaml", "many/two.yaml", "pod.yaml"]);
    assert_eq!(paths(&mended.head), ["pod.yaml"]);
    // A bound ends the walk, of the base too.
    let limits = Limits { files: 1, ..Limits::default() };
    let few = pair_of(&repo, "HEAD", "HEAD~1", &Options { limits, ..options() }).unwrap();
    assert!(few.base_faults.0.len() > 2 && few.base.files.len() <= 1, "{:?}", few.base_faults);
}

#[cfg(unix)]
fn pair_of(repo: &Repo, base: &str, head: &str, options: &Options) -> Result<Pair, PairError> {
    read_pair(&repo.root, base, Some(head), options)
}

#[test]
fn a_thread_that_the_system_refuses_is_done_without() {
    let repo = Repo::empty();
    for index in 0..600 {
        let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{index}}}\n");
        repo.write(&format!("{index}.yaml"), &text);
    }
    repo.commit("first");
    repo.write("0.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c0}\ndata: {a: b}\n");
    repo.commit("second");
    let diff = |stack: Option<&str>| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_podwright"));
        command.args(["diff", ".", "--base", "HEAD~1"]).current_dir(&repo.root);
        // No system has room for a stack of this size.
        command.envs(stack.map(|size| ("RUST_MIN_STACK", size)));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let usual = diff(None);
    assert!(usual.1.contains("599 unchanged"), "{usual:?}");
    assert_eq!(diff(Some("4611686018427387904")), usual);
}

#[cfg(target_os = "linux")]
#[test]
fn the_repository_of_another_user_is_refused_for_a_comparison() {
    if !crate::support::is_root() {
        return;
    }
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    git(repo.temp.path(), &["clone", "--quiet", "--bare", "work", "bare.git"]);
    for name in ["work", "bare.git"] {
        let root = repo.temp.path().join(name);
        pair(&root, "HEAD", "HEAD").unwrap();
        std::os::unix::fs::lchown(&root, Some(54321), None).unwrap();
        let (side, error) = failure(pair(&root, "HEAD", "HEAD"));
        assert_eq!((side, error.kind), (None, ErrorKind::Denied));
        assert!(error.to_string().contains("safe.directory"), "{error}");
    }
}

#[test]
fn packed_objects_are_read_as_loose_ones_are() {
    let repo = Repo::empty();
    let manifest = |index: usize, tag: usize| {
        format!("name: pod-{index}\nimage: registry.example.com/app:{tag}\n{}", "command: [sleep]\n".repeat(index % 50))
    };
    for index in 0..600 {
        repo.write(&format!("d{}/pod-{index}.yaml", index % 7), &manifest(index, 1));
    }
    let first = repo.commit("first");
    for index in (0..600).step_by(5) {
        repo.write(&format!("d{}/pod-{index}.yaml", index % 7), &manifest(index, 2));
    }
    let second = repo.commit("second");
    let files = |base: &str, head: &str| {
        let (old, new) = pair(&repo.root, base, head).unwrap();
        (old.files, new.files)
    };
    let loose = files(&first, &second);
    assert_eq!((loose.0.len(), loose.1.len()), (600, 600));
    // Deltas by offset, deltas by name, and then a pack beside loose objects.
    for config in [&["-c", "repack.useDeltaBaseOffset=true"], &["-c", "repack.useDeltaBaseOffset=false"]] {
        repo.git(&[config, &["repack", "-adfq", "--depth=50"][..]].concat());
        assert_eq!(files(&first, &second), loose, "{config:?}");
    }
    repo.write("d0/pod-0.yaml", "name: other\n");
    let third = repo.commit("third");
    let (old, new) = pair(&repo.root, &first, &third).unwrap();
    assert_eq!((old.files, text(&new, "d0/pod-0.yaml")), (loose.0, "name: other\n"));
}
