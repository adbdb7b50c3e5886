//! Repositories that want something else than to be read.

use std::io::Write;
use std::process::{Command, Stdio};

use podwright::source::{Directory, Limits, Options};

use super::repo::{Repo, options, paths, rejected};

fn limited(repo: &Repo, limits: Limits) -> Directory {
    Directory::open(&repo.root, Options { limits, ..options() }).unwrap()
}

/// Stores an object that git itself would not make.
fn object(repo: &Repo, kind: &str, bytes: &[u8]) -> String {
    let mut child = Command::new("git")
        .current_dir(&repo.root)
        .args(["hash-object", "-t", kind, "-w", "--stdin", "--literally"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn entry(mode: &str, name: &[u8], id: &str) -> Vec<u8> {
    let mut out = format!("{mode} ").into_bytes();
    out.extend_from_slice(name);
    out.push(0);
    out.extend((0..20).map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).unwrap()));
    out
}

/// Makes HEAD a commit of this tree.
fn commit_tree(repo: &Repo, tree: &str) {
    let commit = repo.git(&["commit-tree", "-m", "forged", tree]);
    repo.git(&["update-ref", "HEAD", commit.trim()]);
}

#[test]
fn links_and_submodules_are_not_followed() {
    let repo = Repo::with(&[("real/pod.yaml", "a: 1\n")]);
    let target = object(&repo, "blob", b"/etc/passwd");
    let tree = [
        entry("120000", b"dir", &target),
        entry("120000", b"link.yaml", &target),
        entry("160000", b"module.yaml", &repo.id("HEAD")),
        entry("160000", b"module", &repo.id("HEAD")),
        entry("40000", b"real", &repo.id("HEAD:real")),
    ];
    commit_tree(&repo, &object(&repo, "tree", &tree.concat()));
    let bad = rejected(repo.open("").read_now());
    assert_eq!(
        bad,
        [
            "dir:1:1: symbolic-link: this is a symbolic link, and links are not followed",
            "link.yaml:1:1: symbolic-link: this is a symbolic link, and links are not followed",
            "module:1:1: submodule: this is another git repository, and its manifests are not read",
            "module.yaml:1:1: submodule: this is another git repository, and its manifests are not read",
        ]
    );
    let rules = object(&repo, "blob", b"dir/\nlink.yaml\nmodule\nmodule.yaml\n");
    let tree = [&entry("100644", b".podwrightignore", &rules), &tree.concat()[..]].concat();
    commit_tree(&repo, &object(&repo, "tree", &tree));
    repo.git(&["reset", "--quiet", "--mixed", "HEAD"]);
    let snapshot = repo.open("").read_now().unwrap();
    assert_eq!(paths(&snapshot), ["real/pod.yaml"]);
    assert_eq!(snapshot.ignored, ["dir/", "link.yaml", "module.yaml/", "module/"]);
}

#[test]
fn a_link_is_told_when_manifests_may_be_behind_it() {
    let repo = Repo::with(&[("in/real/pod.yaml", "a: 1\n"), ("out/pod.yaml", "a: 1\n"), ("README.md", "read me\n")]);
    let rows: [(&str, &[u8], bool); 12] = [
        ("a", b"real", true),
        ("b", b"./real/", true),
        ("c", b"../out", true),
        ("d", b"..", true),
        ("e", b"../..", true),
        ("f", b"/srv/manifests", true),
        ("g", b"b", true),
        ("h", b"h", false),
        ("i", b"../README.md", false),
        ("j", b"real/pod.yaml", false),
        ("k", b"nowhere", false),
        ("l", b"\xff", false),
    ];
    let mut tree = Vec::new();
    for (name, target, _) in rows {
        tree.extend(entry("120000", name.as_bytes(), &object(&repo, "blob", target)));
    }
    tree.extend(entry("40000", b"real", &repo.id("HEAD:in/real")));
    let whole = [
        entry("100644", b"README.md", &repo.id("HEAD:README.md")),
        entry("40000", b"in", &object(&repo, "tree", &tree)),
        entry("40000", b"out", &repo.id("HEAD:out")),
    ];
    commit_tree(&repo, &object(&repo, "tree", &whole.concat()));
    let told = rejected(repo.open("in").read_now());
    let expected = rows.iter().filter(|(.., is_told)| *is_told);
    let line = |name: &str| format!("{name}:1:1: symbolic-link: this is a symbolic link, and links are not followed");
    assert_eq!(told, expected.map(|(name, ..)| line(name)).collect::<Vec<_>>());
}

#[test]
fn a_tree_that_multiplies_is_not_walked_to_its_end() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    let blob = repo.id("HEAD:pod.yaml");
    let mut id = object(&repo, "tree", &entry("100644", b"x.yaml", &blob));
    for _ in 0..10 {
        let ten: Vec<u8> = (b'0'..=b'9').flat_map(|name| entry("40000", &[name], &id)).collect();
        id = object(&repo, "tree", &ten);
    }
    commit_tree(&repo, &id);
    let bad = rejected(repo.open("").read_now());
    assert_eq!(bad.len(), 1);
    assert!(bad[0].contains("too-many-files"), "{bad:?}");
}

#[test]
fn forged_names_lead_nowhere() {
    let repo = Repo::with(&[("pod.yaml", "a: 1\n")]);
    let blob = repo.id("HEAD:pod.yaml");
    let inner = object(&repo, "tree", &entry("100644", b"x.yaml", &blob));
    let tree = [
        entry("40000", b"..", &inner),
        entry("40000", b".git", &inner),
        entry("100644", b"a\x1b[31m.yaml", &blob),
        entry("100644", b"latin-\xe9.yaml", &blob),
        entry("100644", b"sub/x.yaml", &blob),
        entry("100644", b"twice.yaml", &blob),
        entry("100644", b"twice.yaml", &blob),
    ];
    commit_tree(&repo, &object(&repo, "tree", &tree.concat()));
    let bad = rejected(repo.open("").read_now());
    assert_eq!(
        bad,
        [
            "a\u{fffd}[31m.yaml:1:1: bad-file-name: the name is not plain UTF-8 text",
            "latin-\u{fffd}.yaml:1:1: bad-file-name: the name is not plain UTF-8 text",
            "sub/x.yaml:1:1: bad-file-name: the name is not plain UTF-8 text",
            "twice.yaml:1:1: bad-file-name: the name is in its directory twice",
        ]
    );
}

#[test]
fn sizes_counts_and_depth_are_bounded() {
    let files = [("a.yaml", "0123456789"), ("b.yaml", "0123456789"), ("x/y/z/c.yaml", "0123456789")];
    let repo = Repo::with(&files);
    let with = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        let committed = limited(&repo, limits.clone()).read_now();
        repo.write("b.yaml", "changed on disk");
        let options = Options { limits, worktree: true, ..options() };
        let edited = Directory::open(&repo.root, options).unwrap().read_now();
        repo.write("b.yaml", "0123456789");
        (committed, edited)
    };
    let (committed, edited) = with(|l| l.file_bytes = 10);
    assert_eq!(committed.unwrap().files.len(), 3);
    assert_eq!(rejected(edited), ["b.yaml:1:1: file-too-large: the file has 15 bytes, more than 10 are not read"]);
    assert_eq!(rejected(with(|l| l.file_bytes = 9).0).len(), 3, "each is named");
    assert!(rejected(with(|l| l.files = 2).0)[0].contains("there are more than 2 manifest files"));
    assert!(rejected(with(|l| l.total_bytes = 29).0)[0].contains("more than 29 bytes together"));
    let (committed, edited) = with(|l| l.depth = 2);
    assert_eq!(rejected(committed), ["x/y/z:1:1: too-deep: directories are nested more than 2 deep"]);
    rejected(edited);
    assert!(with(|l| l.depth = 3).0.is_ok());
    assert!(rejected(with(|l| l.entries = 5).0)[0].contains("more than 5 files and directories"));
    assert!(with(|l| l.entries = 6).0.is_ok());
}

#[test]
fn ignore_files_are_bounded() {
    let many = "x\n".repeat(2001);
    let repo = Repo::with(&[("a.yaml", ""), (".podwrightignore", &many)]);
    assert!(rejected(repo.open("").read_now())[0].contains("more than 2000 patterns"));
    repo.write(".podwrightignore", &"#".repeat(64 * 1024 + 1));
    repo.commit("long");
    assert!(rejected(repo.open("").read_now())[0].contains("bad-ignore-file: the file has 65537 bytes"));
    repo.remove(".podwrightignore");
    repo.write(".podwrightignore/a", "");
    repo.commit("directory");
    assert!(rejected(repo.open("").read_now())[0].contains("no regular file"));
}

#[test]
fn what_a_commit_says_steers_no_terminal() {
    let repo = Repo::empty();
    repo.write("pod.yaml", "a: 1\n");
    repo.commit(&format!("red \u{1b}[31m {}", "x".repeat(500)));
    let subject = repo.open("").read_now().unwrap().revision.subject.unwrap();
    assert!(subject.starts_with("red [31m x") && subject.chars().count() == 200, "{subject:?}");
}

#[cfg(unix)]
#[test]
fn special_files_on_disk_do_not_block() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("a.yaml"), "a: 1\n").unwrap();
    let status = Command::new("mkfifo").arg(temp.path().join("pipe.yaml")).status().unwrap();
    assert!(status.success());
    let bad = rejected(Directory::open(temp.path(), options()).unwrap().read_now());
    assert_eq!(bad, ["pipe.yaml:1:1: no-file: this is no regular file"]);
}

#[cfg(unix)]
#[test]
fn pipes_among_the_files_of_git_are_named_and_not_waited_for() {
    let repo = Repo::with(&[("a.yaml", "a: 1\n"), ("b/c.yaml", "a: 2\n")]);
    let compared = || match podwright::source::read_pair(&repo.root, "HEAD", Some("HEAD"), &options()) {
        Err(podwright::source::PairError { error: podwright::port::ReadError::Failed(error), .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let pipe = |path: &std::path::Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    for object in ["HEAD:a.yaml", "HEAD:b"] {
        let id = repo.id(object);
        let path = repo.path(&format!(".git/objects/{}/{}", &id[..2], &id[2..]));
        let kept = repo.temp.path().join("kept");
        std::fs::rename(&path, &kept).unwrap();
        pipe(&path);
        assert!(compared().contains(path.to_str().unwrap()), "{}", compared());
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(&kept, &path).unwrap();
    }
    for name in ["pack/pack-1.idx", "pack/multi-pack-index", "info/alternates", "info/commit-graph"] {
        let path = repo.path(".git/objects").join(name);
        pipe(&path);
        let said = compared();
        assert!(said.contains(path.to_str().unwrap()) && said.contains("no regular file"), "{said}");
        let alone = Directory::open(&repo.root, options()).map(|_| ()).unwrap_err().to_string();
        assert!(alone.contains(path.to_str().unwrap()), "{alone}");
        std::fs::remove_file(&path).unwrap();
    }
    assert_eq!(paths(&repo.open("").read_now().unwrap()), ["a.yaml", "b/c.yaml"]);
}

/// How libgit2 finds a repository, and a commit in it.
#[cfg(unix)]
#[test]
fn pipes_on_the_way_to_a_commit_are_named_and_not_waited_for() {
    let repo = Repo::with(&[("a.yaml", "a: 1\n"), ("deep/b.yaml", "a: 2\n")]);
    repo.git(&["tag", "old"]);
    repo.git(&["worktree", "add", "--quiet", "-b", "edge", "../linked"]);
    repo.git(&["clone", "--quiet", "--bare", ".", "../bare"]);
    let (linked, bare) = (repo.temp.path().join("linked"), repo.temp.path().join("bare"));
    let opened = |dir: &std::path::Path| Directory::open(dir, options()).map(|_| ());
    let compared = |dir: &std::path::Path| match podwright::source::read_pair(dir, "old", Some("HEAD"), &options()) {
        Err(podwright::source::PairError { error: podwright::port::ReadError::Failed(error), .. }) => Err(error),
        other => other.map(|_| ()).map_err(|error| panic!("{error:?}")),
    };
    let git = repo.path(".git");
    let rows = [
        (
            repo.root.clone(),
            git.clone(),
            &["HEAD", "config", "commondir", "index", "info/exclude", "packed-refs", "shallow"][..],
        ),
        (repo.path("deep"), git.clone(), &["HEAD", "refs/heads/main", "refs/tags/old", "refs/heads/team/x", "refs/x"]),
        (linked.clone(), git.join("worktrees/linked"), &["HEAD", "commondir", "config.worktree", "gitdir"]),
        (linked.clone(), git.clone(), &["config", "refs/heads/edge", "packed-refs"]),
        (bare.clone(), bare, &["HEAD", "config", "packed-refs"]),
        (repo.root.clone(), repo.root.clone(), &[".git", ".gitignore"]),
        (repo.path("deep"), repo.root.clone(), &[".gitignore", "deep/.gitignore"]),
        (linked.clone(), linked, &[".git"]),
    ];
    for (dir, place, names) in rows {
        for name in names {
            let path = place.join(name);
            let kept = repo.temp.path().join("kept");
            let is_kept = std::fs::rename(&path, &kept).is_ok();
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            for result in [opened(&dir), compared(&dir)] {
                let said = result.unwrap_err().to_string();
                let is_named = said.contains(path.canonicalize().unwrap().to_str().unwrap());
                assert!(is_named && said.contains("no regular file"), "{name}: {said}");
            }
            std::fs::remove_file(&path).unwrap();
            if is_kept {
                std::fs::rename(&kept, &path).unwrap();
            }
        }
        assert!(compared(&dir).is_ok(), "{}", dir.display());
    }
}

/// What is only looked at for some questions.
#[cfg(unix)]
#[test]
fn pipes_among_rules_and_logs_are_named_where_they_would_be_read() {
    let repo = Repo::with(&[("a.yaml", "a: 1\n"), ("deep/b.yaml", "a: 2\n")]);
    repo.write("deep/new.yaml", "a: 3\n");
    let pipe = |path: &std::path::Path| {
        std::fs::remove_file(path).ok();
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    let rules = repo.path("deep/.gitignore");
    pipe(&rules);
    assert_eq!(paths(&repo.open("").read_now().unwrap()), ["a.yaml", "deep/b.yaml"]);
    let podwright::port::ReadError::Failed(error) = repo.open_worktree("").read_now().unwrap_err() else {
        panic!("it was read and rejected");
    };
    assert!(error.to_string().contains(rules.to_str().unwrap()), "{error}");
    std::fs::remove_file(&rules).unwrap();
    assert_eq!(paths(&repo.open_worktree("").read_now().unwrap()), ["a.yaml", "deep/b.yaml", "deep/new.yaml"]);

    repo.commit("second");
    let logs = repo.path(".git/logs/HEAD");
    pipe(&logs);
    let at = |revision| repo.open("").read_now_at(revision);
    assert!(at("HEAD~1").unwrap().is_some());
    let podwright::port::ReadError::Failed(error) = at("HEAD@{1}").unwrap_err() else { panic!("it was read") };
    assert!(error.to_string().contains(logs.to_str().unwrap()), "{error}");
}

/// What one side alone has is what its name says, whatever reads it.
#[test]
fn an_object_under_the_name_of_another_is_told() {
    let repo = Repo::with(&[("a.yaml", "a: 1\n"), ("same.yaml", "a: 2\n")]);
    repo.write("a.yaml", "a: 3\n");
    repo.write("other.yaml", "a: 4\n");
    repo.commit("second");
    let file = |object: &str| {
        let id = repo.id(object);
        repo.path(&format!(".git/objects/{}/{}", &id[..2], &id[2..]))
    };
    let compared = || podwright::source::read_pair(&repo.root, "HEAD~1", Some("HEAD"), &options());
    let forged = file("HEAD:same.yaml");
    for (object, side) in [("HEAD~1:a.yaml", "Base"), ("HEAD:a.yaml", "Head"), ("HEAD:other.yaml", "Head")] {
        let (id, path) = (repo.id(object), file(object));
        let kept = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::copy(&forged, &path).unwrap();
        let Err(podwright::source::PairError { side: Some(found), error }) = compared() else { panic!("{object}") };
        let podwright::port::ReadError::Failed(error) = error else { panic!("{object}") };
        let said = error.to_string();
        let name = object.split(':').nth(1).unwrap();
        assert!(said.contains(name) && said.contains(&id) && said.contains("git fsck"), "{said}");
        assert_eq!((format!("{found:?}").as_str(), error.kind), (side, podwright::port::ErrorKind::Corrupt));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, kept).unwrap();
    }
    assert_eq!(compared().unwrap().head.files.len(), 3);
}

#[test]
fn a_pack_that_takes_too_much_work_is_an_error_with_the_way_out() {
    let text = |last: &str| (0..4_000).map(|n| format!("line{n}: {n}\n")).collect::<String>() + last;
    let repo = Repo::with(&[("a.yaml", &text("a: 1\n"))]);
    repo.write("a.yaml", &text("a: 2\n"));
    repo.commit("second");
    repo.git(&["repack", "-a", "-d", "-f", "--quiet"]);
    let compared = |total_bytes| {
        let options = Options { limits: Limits { total_bytes, ..Limits::default() }, ..options() };
        podwright::source::read_pair(&repo.root, "HEAD~1", Some("HEAD"), &options)
    };
    assert_eq!(compared(1 << 20).unwrap().head.files.len(), 1);
    let Err(podwright::source::PairError { side: None, error: podwright::port::ReadError::Failed(error) }) =
        compared(256)
    else {
        panic!("it was read");
    };
    let said = error.to_string();
    let objects = repo.path(".git/objects");
    for words in [objects.to_str().unwrap(), "its packs take too much work", "git repack -a -d -f", "git fsck"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(error.kind, podwright::port::ErrorKind::Exhausted);
}
