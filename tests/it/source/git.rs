//! Reading the tree of HEAD.

use podwright::model::RevisionKind;
use podwright::port::{ErrorKind, Source};
use podwright::source::{Directory, Options, read_paths};

use super::repo::{Repo, failed, git, options, paths, rejected, text};

#[test]
fn manifests_come_from_the_tree_of_head() {
    let repo = Repo::with(&[
        ("pod.yaml", "a: 1\n"),
        ("sub/deep/b.yml", "b: 1\n"),
        ("sub/c.json", "{}\n"),
        ("README.md", "no\n"),
        (".hidden.yaml", "no\n"),
        (".github/workflow.yaml", "no\n"),
    ]);
    let id = repo.id("HEAD");
    let snapshot = repo.open("").read_now().unwrap();
    assert_eq!(paths(&snapshot), ["pod.yaml", "sub/c.json", "sub/deep/b.yml"]);
    assert_eq!(snapshot.revision.kind, RevisionKind::Commit);
    assert_eq!(snapshot.revision.id, id);
    assert_eq!(snapshot.revision.subject.as_deref(), Some("first"));
    assert_eq!(snapshot.revision.branch.as_deref(), Some("main"));
    assert_eq!(snapshot.files[0].blob.to_string(), repo.id("HEAD:pod.yaml"));
    assert!(snapshot.uncommitted.is_empty() && snapshot.ignored.is_empty());
}

#[test]
fn a_subdirectory_is_read_by_itself() {
    let repo = Repo::with(&[("other.yaml", "no\n"), ("deploy/edge/pod.yaml", "a: 1\n"), ("deploy/edge2/pod.yaml", "")]);
    repo.write("outside.yaml", "uncommitted, elsewhere\n");
    let snapshot = repo.open("deploy/edge").read_now().unwrap();
    assert_eq!(paths(&snapshot), ["pod.yaml"]);
    assert!(snapshot.uncommitted.is_empty());
    assert_eq!(snapshot.revision.id, repo.id("HEAD"));
}

#[test]
fn each_way_to_move_head_is_followed() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    let directory = repo.open("");
    let now = || text(&directory.read_now().unwrap(), "pod.yaml").to_owned();
    assert_eq!(now(), "a: 1\n");

    repo.write("pod.yaml", "a: 2\n");
    let second = repo.commit("second");
    assert_eq!(now(), "a: 2\n");

    repo.git(&["checkout", "--quiet", "-b", "side", "HEAD~1"]);
    assert_eq!(now(), "a: 1\n");
    assert_eq!(directory.read_now().unwrap().revision.branch.as_deref(), Some("side"));

    repo.git(&["reset", "--quiet", "--hard", &second]);
    assert_eq!(now(), "a: 2\n");

    repo.git(&["checkout", "--quiet", "--detach", "HEAD~1"]);
    assert_eq!(now(), "a: 1\n");
    assert_eq!(directory.read_now().unwrap().revision.branch, None);

    repo.git(&["checkout", "--quiet", "main"]);
    repo.git(&["pack-refs", "--all"]);
    repo.git(&["gc", "--quiet", "--prune=now"]);
    assert_eq!(now(), "a: 2\n");
}

#[test]
fn a_fetch_changes_nothing_until_it_is_merged() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    let clone = repo.temp.path().join("clone");
    git(repo.temp.path(), &["clone", "--quiet", "work", "clone"]);
    let directory = Directory::open(&clone, options()).unwrap();
    repo.write("pod.yaml", "a: 2\n");
    repo.commit("second");
    git(&clone, &["fetch", "--quiet"]);
    assert_eq!(text(&directory.read_now().unwrap(), "pod.yaml"), "a: 1\n");
    git(&clone, &["merge", "--quiet", "--ff-only", "origin/main"]);
    assert_eq!(text(&directory.read_now().unwrap(), "pod.yaml"), "a: 2\n");
}

#[test]
fn a_linked_worktree_has_its_own_head() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    repo.git(&["worktree", "add", "--quiet", "-b", "edge", "../linked"]);
    let linked = repo.temp.path().join("linked");
    let directory = Directory::open(&linked, options()).unwrap();
    repo.write("pod.yaml", "a: 2\n");
    repo.commit("on main");
    let snapshot = directory.read_now().unwrap();
    assert_eq!(text(&snapshot, "pod.yaml"), "a: 1\n");
    assert_eq!(snapshot.revision.branch.as_deref(), Some("edge"));
    git(&linked, &["merge", "--quiet", "--ff-only", "main"]);
    assert_eq!(text(&directory.read_now().unwrap(), "pod.yaml"), "a: 2\n");
}

#[test]
fn a_directory_within_a_submodule_reads_the_submodule() {
    let inner = Repo::with(&[("pod.yaml", "inner: 1\n")]);
    let outer = Repo::with(&[("top.yaml", "outer: 1\n")]);
    let url = inner.root.to_str().unwrap();
    outer.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", url, "module"]);
    outer.commit("module");
    let told = ["module:1:1: submodule: this is another git repository, and its manifests are not read"];
    assert_eq!(rejected(outer.open("").read_now()), told);
    assert_eq!(rejected(outer.open_worktree("").read_now()), told);
    assert_eq!(
        rejected(read_paths(std::slice::from_ref(&outer.root))),
        [format!("{}/{}", outer.root.display(), told[0])]
    );
    outer.write(".podwrightignore", "module/\n");
    outer.commit("ignored");
    assert_eq!(paths(&outer.open("").read_now().unwrap()), ["top.yaml"]);
    assert_eq!(paths(&outer.open("module").read_now().unwrap()), ["pod.yaml"]);
}

#[test]
fn uncommitted_paths_are_named_and_not_read() {
    let repo = Repo::with(&[
        ("deploy/edited.yaml", "a: 1\n"),
        ("deploy/deleted.yaml", "a: 1\n"),
        ("deploy/same.yaml", "a: 1\n"),
        ("deploy/staged.yaml", "a: 1\n"),
        ("deploy/notes.txt", "a\n"),
        (".gitignore", "scratch*\n"),
    ]);
    repo.write("deploy/edited.yaml", "a: 2\n");
    repo.write("deploy/staged.yaml", "a: 2\n");
    repo.git(&["add", "deploy/staged.yaml"]);
    repo.write("deploy/new/x.yaml", "a: 1\n");
    repo.write("deploy/notes.txt", "b\n");
    repo.write("deploy/scratch.yaml", "a: 1\n");
    repo.write("deploy/.swap.yaml", "a: 1\n");
    repo.write("deploy/status.yaml", "a: 1\n");
    repo.write("elsewhere.yaml", "a: 1\n");
    repo.remove("deploy/deleted.yaml");
    let snapshot = repo.open("deploy").read_now().unwrap();
    assert_eq!(snapshot.uncommitted, ["deleted.yaml", "edited.yaml", "new/x.yaml", "staged.yaml"]);
    assert_eq!(paths(&snapshot), ["deleted.yaml", "edited.yaml", "same.yaml", "staged.yaml"]);
    assert_eq!(text(&snapshot, "edited.yaml"), "a: 1\n");
    assert_eq!(snapshot.revision.kind, RevisionKind::Commit);
}

#[test]
fn a_read_writes_nothing_into_the_repository() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    repo.write("pod.yaml", "a: 1\n");
    let before = std::fs::metadata(repo.path(".git/index")).unwrap().modified().unwrap();
    let listing = |repo: &Repo| std::fs::read_dir(repo.path(".git")).unwrap().count();
    let entries = listing(&repo);
    repo.open_worktree("").read_now().unwrap();
    assert_eq!(std::fs::metadata(repo.path(".git/index")).unwrap().modified().unwrap(), before);
    assert_eq!(listing(&repo), entries);
}

#[test]
fn an_earlier_revision_is_read_by_any_name_git_knows() {
    let repo = Repo::with(&[("deploy/pod.yaml", "a: 1\n")]);
    let first = repo.id("HEAD");
    repo.write("deploy/pod.yaml", "a: 2\n");
    repo.commit("second");
    repo.git(&["tag", "-a", "-m", "a tag", "v1", &first]);
    let directory = repo.open("deploy");
    for name in [&first, &first[..10], "HEAD~1", "main^", "v1", "main@{1}", ":/first"] {
        let snapshot = directory.read_now_at(name).unwrap().unwrap_or_else(|| panic!("{name}"));
        assert_eq!(text(&snapshot, "pod.yaml"), "a: 1\n", "{name}");
        assert_eq!(snapshot.revision.id, first);
    }
    for name in ["no-such-branch", "HEAD~7", "1111111111111111111111111111111111111111", "sha256:0000"] {
        assert!(directory.read_now_at(name).unwrap().is_none(), "{name}");
    }
    let error = failed(directory.read_now_at("HEAD:deploy"));
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("does not name a commit"), "{error}");
}

#[test]
fn a_commit_before_the_directory_was_there_is_empty() {
    let repo = Repo::with(&[("README.md", "hello\n")]);
    repo.write("deploy/pod.yaml", "a: 1\n");
    repo.commit("second");
    let snapshot = repo.open("deploy").read_now_at("HEAD~1").unwrap().unwrap();
    assert_eq!(paths(&snapshot), Vec::<&str>::new());
}

#[test]
fn a_repository_without_a_commit_says_what_to_do() {
    let repo = Repo::empty();
    repo.write("pod.yaml", "a: 1\n");
    let error = failed(repo.open("").read_now()).to_string();
    assert!(error.contains("no commit yet") && error.contains("git commit") && error.contains("--worktree"), "{error}");
    let snapshot = repo.open_worktree("").read_now().unwrap();
    assert_eq!(paths(&snapshot), ["pod.yaml"]);
    assert_eq!(snapshot.revision.kind, RevisionKind::Content);
    assert!(snapshot.revision.id.starts_with("sha256:"));
}

#[test]
fn a_directory_without_manifests_says_what_to_do() {
    let repo = Repo::with(&[("README.md", "hello\n")]);
    let error = failed(repo.open("").read_now()).to_string();
    assert!(error.contains("no manifests (.yaml, .yml, .json) in commit"), "{error}");
    repo.write("pod.yaml", "a: 1\n");
    let error = failed(repo.open("").read_now()).to_string();
    assert!(error.contains("pod.yaml is not committed and not read: commit it, or use --worktree"), "{error}");
    repo.write(".podwrightignore", "*.yaml\n");
    repo.commit("second");
    let error = failed(repo.open("").read_now()).to_string();
    assert!(error.contains(".podwrightignore excludes every manifest"), "{error}");
}

#[test]
fn a_wrong_directory_is_named() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    let open = |path: &str| Directory::open(&repo.path(path), options()).map(|_| ()).unwrap_err();
    let missing = open("nowhere");
    assert_eq!(missing.kind, ErrorKind::NotFound);
    assert!(missing.to_string().contains("nowhere: there is no such directory"), "{missing}");
    let file = open("pod.yaml");
    assert_eq!(file.kind, ErrorKind::Invalid);
    assert!(file.to_string().contains("it is not a directory"), "{file}");
    let inside = open(".git/refs");
    assert!(inside.to_string().contains("inside of a git repository"), "{inside}");
    git(repo.temp.path(), &["clone", "--quiet", "--bare", "work", "bare"]);
    let bare = Directory::open(&repo.temp.path().join("bare"), options()).map(|_| ()).unwrap_err();
    assert!(bare.to_string().contains("clone it"), "{bare}");
}

#[test]
fn the_directory_may_be_missing_on_disk_but_not_the_repository() {
    let repo = Repo::with(&[("deploy/pod.yaml", "a: 1\n")]);
    let directory = repo.open("deploy");
    std::fs::remove_dir_all(repo.path("deploy")).unwrap();
    let snapshot = directory.read_now().unwrap();
    assert_eq!(paths(&snapshot), ["pod.yaml"]);
    assert_eq!(snapshot.uncommitted, ["pod.yaml"]);
    repo.write("deploy/other.yaml", "a: 1\n");
    std::fs::rename(repo.path(".git"), repo.path("away")).unwrap();
    let error = failed(directory.read_now());
    assert!(error.to_string().contains("the git repository it was in is gone"), "{error}");
    std::fs::rename(repo.path("away"), repo.path(".git")).unwrap();
    directory.read_now().unwrap();
}

#[test]
fn what_a_sparse_checkout_leaves_out_is_not_missing() {
    let repo = Repo::with(&[("deploy/pod.yaml", "a: 1\n"), ("other/pod.yaml", "a: 1\n")]);
    repo.git(&["sparse-checkout", "set", "--cone", "other"]);
    assert!(!repo.path("deploy").exists());
    let snapshot = repo.open("").read_now().unwrap();
    assert_eq!(paths(&snapshot), ["deploy/pod.yaml", "other/pod.yaml"]);
    assert!(snapshot.uncommitted.is_empty(), "{:?}", snapshot.uncommitted);
    let snapshot = repo.open_worktree("").read_now().unwrap();
    assert_eq!(paths(&snapshot), ["deploy/pod.yaml", "other/pod.yaml"]);
    assert_eq!(snapshot.revision.kind, RevisionKind::Commit);
}

#[test]
fn a_repository_with_its_worktree_elsewhere_says_so() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    let elsewhere = repo.temp.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    repo.git(&["config", "core.worktree", elsewhere.to_str().unwrap()]);
    let error = Directory::open(&repo.root, options()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("core.worktree"), "{error}");
}

#[test]
fn a_repository_of_a_kind_that_cannot_be_read_says_so() {
    let temp = tempfile::tempdir().unwrap();
    git(temp.path(), &["init", "--quiet", "--object-format=sha256", "."]);
    let error = Directory::open(temp.path(), options()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("SHA-1"), "{error}");
}

#[test]
fn a_damaged_repository_is_told_as_such() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    let directory = repo.open("");
    let blob = repo.id("HEAD:pod.yaml");
    repo.remove(&format!(".git/objects/{}/{}", &blob[..2], &blob[2..]));
    let error = failed(directory.read_now());
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("git fsck"), "{error}");
}

#[test]
fn a_broken_index_hides_no_commit() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    repo.write(".git/index", "rubbish");
    assert_eq!(paths(&repo.open("").read_now().unwrap()), ["pod.yaml"]);
}

#[test]
fn an_unchanged_tree_is_not_read_again() {
    let repo = Repo::with(&[("deploy/pod.yaml", "a: 1\n")]);
    let directory = repo.open("deploy");
    let first = directory.read_now().unwrap();
    repo.write("README.md", "changed\n");
    let id = repo.commit("second");
    let second = directory.read_now().unwrap();
    assert_eq!(second.revision.id, id);
    assert!(std::sync::Arc::ptr_eq(&first.files[0].bytes, &second.files[0].bytes));
}

#[tokio::test]
async fn the_port_reads_what_the_blocking_call_reads() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    let source: Box<dyn Source> = Box::new(repo.open(""));
    assert_eq!(paths(&source.read().await.unwrap()), ["pod.yaml"]);
    assert!(source.read_at("HEAD").await.unwrap().is_some());
    assert!(source.read_at("nothing").await.unwrap().is_none());
    let options = Options { worktree: true, ..options() };
    assert!(Directory::open(&repo.root, options).unwrap().is_git());
}
