//! `.podwrightignore`.

use podwright::source::read_paths;

use super::repo::{Repo, paths, rejected};

/// Rules at the top, a path, and whether it is excluded; what git says to the same rules is asked as well.
const RULES: &[(&str, &str, bool)] = &[
    ("a.yaml", "a.yaml", true),
    ("a.yaml", "sub/a.yaml", true),
    ("/a.yaml", "sub/a.yaml", false),
    ("/a.yaml", "a.yaml", true),
    ("sub/", "sub/a.yaml", true),
    ("sub/", "deep/sub/a.yaml", true),
    ("sub/a.yaml", "deep/sub/a.yaml", false),
    ("a.yaml/", "a.yaml", false),
    ("*.json", "x/y.json", true),
    ("*.json", "x/y.yaml", false),
    ("**/gen/*", "x/gen/y.yaml", true),
    ("x/**/y.yaml", "x/1/2/y.yaml", true),
    ("x/*/y.yaml", "x/1/2/y.yaml", false),
    ("x/**", "x/1/2/y.yaml", true),
    ("?.yaml", "a.yaml", true),
    ("?.yaml", "ab.yaml", false),
    ("[a-c].yaml", "b.yaml", true),
    ("[!a-c].yaml", "b.yaml", false),
    ("*.yaml\n!keep.yaml", "keep.yaml", false),
    ("!keep.yaml\n*.yaml", "keep.yaml", true),
    ("x/\n!x/keep.yaml", "x/keep.yaml", true),
    ("x/*\n!x/keep.yaml", "x/keep.yaml", false),
    ("# a.yaml", "a.yaml", false),
    ("\\#a.yaml", "#a.yaml", true),
    ("\\!a.yaml", "!a.yaml", true),
    ("a.yaml   ", "a.yaml", true),
    ("{a,b}.yaml", "a.yaml", false),
    ("{a,b}.yaml", "{a,b}.yaml", true),
    ("\\{a.yaml", "{a.yaml", true),
    ("[{]a.yaml", "{a.yaml", true),
    ("a.yaml\r", "a.yaml", true),
    ("\u{feff}a.yaml", "a.yaml", true),
];

#[test]
fn rules_mean_what_they_mean_to_git() {
    for (rules, path, excluded) in RULES {
        let repo = Repo::empty();
        repo.write(path, "a: 1\n");
        repo.write("other-name.yml", "a: 1\n");
        // git keeps a carriage return for part of the pattern; ours come from all kinds of editors.
        repo.write(".gitignore", &rules.replace('\r', ""));
        let listed = repo.git(&["ls-files", "-z", "--others", "--exclude-standard"]);
        assert_eq!(!listed.split('\0').any(|p| p == *path), *excluded, "git: {rules:?} and {path:?}");
        repo.remove(".gitignore");
        repo.write(".podwrightignore", rules);
        repo.commit("first");
        let snapshot = repo.open("").read_now().unwrap();
        assert_eq!(!paths(&snapshot).contains(path), *excluded, "{rules:?} and {path:?}");
        assert_eq!(!snapshot.ignored.is_empty(), *excluded, "{rules:?} and {path:?}: {:?}", snapshot.ignored);
    }
}

#[test]
fn nested_rules_count_for_their_directory_and_win_over_those_above() {
    let repo = Repo::with(&[
        (".podwrightignore", "*.json\ncharts/\n"),
        ("a.json", "{}"),
        ("b.yaml", ""),
        ("charts/values.yaml", ""),
        ("sub/.podwrightignore", "/b.yaml\n!keep.json\n"),
        ("sub/b.yaml", ""),
        ("sub/keep.json", "{}"),
        ("sub/deep/b.yaml", ""),
        ("sub/deep/c.json", "{}"),
    ]);
    let snapshot = repo.open("").read_now().unwrap();
    assert_eq!(paths(&snapshot), ["b.yaml", "sub/deep/b.yaml", "sub/keep.json"]);
    assert_eq!(snapshot.ignored, ["a.json", "charts/", "sub/b.yaml", "sub/deep/c.json"]);
    repo.write("charts/new.yaml", "");
    repo.write("new.json", "{}");
    repo.write("sub/new.yaml", "");
    assert_eq!(repo.open("").read_now().unwrap().uncommitted, ["sub/new.yaml"], "excluded ones are not missed");
}

#[test]
fn a_pattern_that_does_not_work_is_named_with_its_line() {
    let repo = Repo::with(&[("a.yaml", ""), ("sub/.podwrightignore", "fine.yaml\n[z-a].yaml\n# comment\n[b\n")]);
    let bad = rejected(repo.open("").read_now());
    assert_eq!(bad.len(), 2, "{bad:?}");
    assert!(bad[0].starts_with("sub/.podwrightignore:2:1: bad-ignore-pattern: the pattern does not work: "), "{bad:?}");
    assert!(bad[1].starts_with("sub/.podwrightignore:4:1: bad-ignore-pattern: "), "{bad:?}");
}

#[test]
fn a_pattern_steers_no_terminal() {
    let repo = Repo::with(&[("a.yaml", ""), (".podwrightignore", "\u{1b}[2J[b\n")]);
    let Err(podwright::port::ReadError::Rejected(bad)) = repo.open("").read_now() else { panic!("not rejected") };
    let shown = format!("{} {}", bad.0[0], bad.0[0].place.as_ref().unwrap().text);
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn rules_count_on_disk_too() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join(".podwrightignore"), "b.yaml\n").unwrap();
    std::fs::write(temp.path().join("a.yaml"), "").unwrap();
    std::fs::write(temp.path().join("b.yaml"), "").unwrap();
    let snapshot = read_paths(&[temp.path().to_owned()]).unwrap();
    assert_eq!(snapshot.files.len(), 1);
    assert_eq!(snapshot.ignored, [temp.path().join("b.yaml").to_str().unwrap()]);
}
