//! The table of rules: what the sources use is in it, what is in it is used, and each has a manifest that shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use podwright::admit::admit;
use podwright::manifest::read_document;
use podwright::model::{Diagnostics, RULES};
use podwright::port::ReadError;

use super::fixtures::{bad_entries, judged};
use super::read;

/// Rules that no fixture can show, with the test that does: a name that is not UTF-8 or a socket cannot be checked out
/// everywhere, a large file or 20,000 of them would be a burden to every clone, files of our own are no manifests, and
/// what another rule finds first (`schema`, `preset-selector`) or what must not happen (`internal`) needs a test that
/// reaches in.
const ELSEWHERE: &[(&str, &str)] = &[
    ("local-object", "what_is_wrong_on_the_machine_is_a_warning_and_refuses_nothing"),
    ("bad-file-name", "what_is_wrong_with_a_directory_is_told_by_rule"),
    ("config", "files_of_our_own_are_told_by_rule"),
    ("file-too-large", "what_is_wrong_with_a_directory_is_told_by_rule"),
    ("internal", "a_reading_that_panics_refuses_the_revision"),
    ("limit-below-request", "what_the_configuration_lets_containers_ask_for_is_an_error_at_its_line"),
    ("limit-range", "what_the_configuration_lets_containers_ask_for_is_an_error_at_its_line"),
    ("no-file", "what_is_wrong_with_a_directory_is_told_by_rule"),
    ("not-placed", "a_pod_that_does_not_run_here_is_a_warning_at_its_field"),
    ("one-document", "files_of_our_own_are_told_by_rule"),
    ("preset-selector", "an_unreadable_selector_refuses_the_revision_at_its_place"),
    ("schema", "what_the_schema_alone_refuses_is_told"),
    ("submodule", "what_is_wrong_with_a_directory_is_told_by_rule"),
    ("too-many-files", "a_tree_that_multiplies_is_not_walked_to_its_end"),
    ("too-much-for-an-agent", "more_than_an_agent_takes_is_a_warning_at_the_first_that_is_too_much"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, out: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            out.push((path, text));
        }
    }
}

/// What stands before a rule's name in the sources.
const BEFORE: [&str; 9] = [
    "Finding::error(",
    "Finding::warning(",
    "Problem::error(",
    ".error(",
    ".warning(",
    "about(",
    "diagnostic(",
    "bare(",
    "rule:",
];

/// The names of rules in a source, by the calls that take one.
fn used(text: &str) -> BTreeSet<String> {
    let production = text.split("#[cfg(test)]").next().unwrap();
    let mut found = BTreeSet::new();
    for before in BEFORE {
        for (at, _) in production.match_indices(before) {
            let rest = production[at + before.len()..].trim_start();
            let Some(name) = rest.strip_prefix('"').and_then(|rest| rest.split_once('"')).map(|(name, _)| name) else {
                continue;
            };
            found.insert(name.to_owned());
        }
    }
    found
}

#[test]
fn the_table_of_rules_is_that_of_the_sources() {
    let mut all = Vec::new();
    for folder in ["manifest", "admit", "source", "config", "control"] {
        sources(&root().join("src").join(folder), &mut all);
    }
    let mut by_name: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (path, text) in &all {
        by_name.extend(used(text).into_iter().map(|name| (name, path.clone())));
    }
    let table: BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
    let unlisted: Vec<_> = by_name.iter().filter(|(name, _)| !table.contains(name.as_str())).collect();
    assert!(unlisted.is_empty(), "not in the table of src/model/rule.rs: {unlisted:?}");
    let unused: Vec<_> = table.iter().filter(|name| !by_name.contains_key(**name)).collect();
    assert!(unused.is_empty(), "nobody uses: {unused:?}");
    assert!(by_name.len() > 60, "{}", by_name.len());
}

#[test]
fn each_rule_has_a_manifest_that_shows_it() {
    let mut shown: BTreeSet<&str> = BTreeSet::new();
    for path in bad_entries() {
        shown.extend(judged(&path).0.iter().map(|diagnostic| diagnostic.rule));
    }
    let elsewhere: BTreeSet<&str> = ELSEWHERE.iter().map(|(name, _)| *name).collect();
    let lacking: Vec<&str> =
        RULES.iter().map(|rule| rule.name).filter(|name| !shown.contains(name) && !elsewhere.contains(name)).collect();
    assert!(lacking.is_empty(), "no manifest of fixtures/manifests/bad shows {lacking:?}");
    let idle: Vec<&&str> = elsewhere.intersection(&shown).collect();
    assert!(idle.is_empty(), "a manifest shows {idle:?}: take them out of ELSEWHERE");
}

#[test]
fn rules_that_are_shown_elsewhere_name_their_test() {
    let mut tests = Vec::new();
    sources(&root().join("tests/it"), &mut tests);
    sources(&root().join("src"), &mut tests);
    for (rule, test) in ELSEWHERE {
        let bodies: Vec<&str> = tests.iter().filter_map(|(_, text)| body(text, test)).collect();
        let [body] = bodies[..] else { panic!("{rule}: {} tests of the name {test}", bodies.len()) };
        assert!(body.contains(&format!("\"{rule}\"")), "{rule}: the test {test} does not name it");
    }
}

/// What a test of this name does, if a source has one that runs.
fn body<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (before, after) = text.split_once(&format!("fn {name}()"))?;
    let marks = ["#[test]", "#[tokio::test"];
    let attributes = before.trim_end().trim_end_matches("async").trim_end().rsplit('\n').map(str::trim);
    let is_run =
        attributes.take_while(|line| line.starts_with("#[")).any(|line| marks.iter().any(|m| line.starts_with(m)));
    let end = marks.iter().filter_map(|mark| after.find(mark)).min().unwrap_or(after.len());
    is_run.then(|| &after[..end])
}

fn names(diagnostics: &Diagnostics) -> BTreeSet<&'static str> {
    diagnostics.0.iter().map(|diagnostic| diagnostic.rule).collect()
}

#[test]
fn what_is_wrong_with_a_directory_is_told_by_rule() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    std::fs::create_dir(dir.join("rules")).unwrap();
    std::fs::write(dir.join("rules/.podwrightignore"), "a\n[z-a\n").unwrap();
    std::fs::create_dir_all(dir.join("ruled/.podwrightignore")).unwrap();
    std::fs::write(dir.join(std::ffi::OsStr::from_bytes(b"b\xff.yaml")), "a: 1").unwrap();
    std::fs::File::create(dir.join("large.yaml")).unwrap().set_len(1 << 30).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", dir.join("link.yaml")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(dir.join("socket.yaml")).unwrap());
    std::fs::create_dir_all(dir.join("d/".repeat(40))).unwrap();
    std::fs::create_dir(dir.join(".git")).unwrap();
    std::fs::create_dir_all(dir.join("other/.git")).unwrap();
    let Err(ReadError::Rejected(told)) = podwright::source::read_paths(&[dir.to_owned()]) else {
        panic!("not refused")
    };
    let expected = [
        "bad-file-name",
        "bad-ignore-file",
        "bad-ignore-pattern",
        "file-too-large",
        "no-file",
        "submodule",
        "symbolic-link",
        "too-deep",
    ];
    assert_eq!(names(&told), expected.into());
    assert!(told.0.iter().all(|diagnostic| diagnostic.help.is_some() && diagnostic.place.is_some()), "{told:?}");
}

#[test]
fn files_of_our_own_are_told_by_rule() {
    assert_eq!(names(&read_document("c.yaml", b"a: 1\n---\nb: 2\n").unwrap_err()), ["one-document"].into());
    assert_eq!(names(&podwright::config::parse("c.yaml", b"subnet: 7\n").unwrap_err()), ["config"].into());
}

#[test]
fn an_object_that_its_kind_cannot_hold_is_refused() {
    // Reading refuses such a Secret by the rule `base64`; admission does not rely on it.
    let mut desired = read(&[("s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: aGk=}\n")]);
    let object = desired.others.values_mut().next().unwrap();
    let mut value = (**object.value.as_ref().unwrap()).clone();
    value["data"]["a"] = "hunter2!".into();
    object.value = Some(value.into());
    let told = admit(&desired).unwrap_err();
    assert_eq!(names(&told), ["not-readable"].into());
    assert!(!format!("{told:?}").contains("hunter2"), "{told:?}");
}
