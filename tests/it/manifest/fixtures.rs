//! The manifests of fixtures/manifests: each with the text that reading it gives, beside it.
//!
//! `bad/NAME.yaml`, or the files of a directory `bad/NAME`, have their errors in `bad/NAME.expected`; one whose name begins
//! with `warning-` is bad only for those who take warnings as errors. What stands in `ok` has no error, and its warnings in `NAME.expected` when it has any. With `UPDATE_EXPECTED=1` those files are written
//! anew, to be read in the diff.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use podwright::admit::admit;
use podwright::model::Desired;
use podwright::report::diagnostics_text;

use super::read;

fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/manifests").join(name)
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_none_or(|extension| extension != "expected"));
    paths.sort();
    paths
}

/// The manifests of an entry: one file, or every file of a directory.
fn files(path: &Path) -> Vec<(String, Vec<u8>)> {
    let paths = if path.is_dir() { entries(path) } else { vec![path.to_owned()] };
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
}

/// Compares, or writes, what is expected of an entry; no file stands for no text.
fn compare(path: &Path, text: &str, failures: &mut Vec<String>) {
    let expected = path.with_extension("expected");
    if std::env::var("UPDATE_EXPECTED").is_ok_and(|v| v == "1") {
        match text {
            "" => drop(std::fs::remove_file(&expected)),
            text => std::fs::write(&expected, text).unwrap(),
        }
    }
    let stored = std::fs::read_to_string(&expected).unwrap_or_default();
    if stored != text {
        failures.push(format!("{}:\n--- expected\n{stored}--- found\n{text}", path.display()));
    }
}

fn check_places(path: &Path, desired: &Desired) {
    for diagnostic in &desired.diagnostics.0 {
        assert!(diagnostic.help.is_some(), "{}: no way out: {diagnostic}", path.display());
        let place = diagnostic.place.as_ref().unwrap_or_else(|| panic!("{}: no place: {diagnostic}", path.display()));
        let width = u32::try_from(place.text.chars().count()).unwrap();
        let inside = place.text.is_empty() || place.at.column <= width + 1;
        assert!(inside, "{}: the mark is outside its line: {diagnostic}", path.display());
    }
}

#[test]
fn each_bad_manifest_is_told_as_expected() {
    let mut failures = Vec::new();
    let mut kinds: BTreeSet<Vec<(&str, String)>> = BTreeSet::new();
    for path in entries(&directory("bad")) {
        let desired = read(&files(&path));
        let is_warning = path.file_name().unwrap().to_str().unwrap().starts_with("warning-");
        assert_eq!(desired.diagnostics.has_errors(), !is_warning, "{}", path.display());
        assert!(!desired.diagnostics.0.is_empty(), "{}", path.display());
        check_places(&path, &desired);
        compare(&path, &diagnostics_text(&desired.diagnostics), &mut failures);
        kinds.insert(desired.diagnostics.0.iter().map(|d| (d.rule, d.message.clone())).collect());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(kinds.len() >= 45, "{} that differ", kinds.len());
}

#[test]
fn no_text_about_a_bad_manifest_shows_a_secret() {
    for path in entries(&directory("bad")) {
        let text = format!("{:?}", read(&files(&path)).diagnostics);
        for secret in ["hunter", "aHVudGVy", "1234"] {
            assert!(!text.contains(secret), "{}: {text}", path.display());
        }
    }
}

#[test]
fn each_good_manifest_is_read_and_admitted() {
    let mut failures = Vec::new();
    let all = entries(&directory("ok"));
    for path in &all {
        let desired = read(&files(path));
        check_places(path, &desired);
        compare(path, &diagnostics_text(&desired.diagnostics), &mut failures);
        if let Err(diagnostics) = admit(&desired) {
            failures.push(format!("{}: {}", path.display(), diagnostics_text(&diagnostics)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(all.len() >= 15, "{}", all.len());
}
