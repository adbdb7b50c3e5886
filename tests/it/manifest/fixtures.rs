//! The manifests of fixtures/manifests: each with the text that reading it gives, beside it.
//!
//! `bad/NAME.yaml`, or the directory `bad/NAME`, read as `validate` reads it, have their errors in `bad/NAME.expected`; one whose name begins
//! with `warning-` is bad only for those who take warnings as errors. What stands in `ok` has no error, and its warnings in `NAME.expected` when it has any. With `UPDATE_EXPECTED=1` those files are written
//! anew, to be read in the diff.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use podwright::admit::admit;
use podwright::manifest::{Reader, show_lines};
use podwright::model::{Diagnostics, Snapshot};
use podwright::port::ReadError;
use podwright::report::diagnostics_text;
use podwright::source::read_paths;

use super::snapshot;

fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/manifests").join(name)
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_none_or(|extension| extension != "expected"));
    paths.sort();
    paths
}

/// The manifests of an entry: one file, or a directory with everything that may be wrong with one. Paths are those within
/// the entry.
fn files(path: &Path) -> Result<Snapshot, Diagnostics> {
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    if path.is_file() {
        return Ok(snapshot(&[(name, std::fs::read(path).unwrap())]));
    }
    let above = format!("{}/", path.display());
    let within = |shown: &str| shown.strip_prefix(&above).unwrap_or(shown).to_owned();
    match read_paths(&[path.to_owned()]) {
        Ok(read) => Ok(snapshot(&read.files.iter().map(|f| (within(&f.path), &f.bytes)).collect::<Vec<_>>())),
        Err(ReadError::Rejected(mut told)) => {
            told.0.iter_mut().filter_map(|d| d.place.as_mut()).for_each(|p| p.at.path = within(&p.at.path).into());
            Err(told)
        }
        Err(ReadError::Failed(error)) => panic!("{error}"),
    }
}

/// What reading and admission say about an entry, as `validate` does.
pub(crate) fn judged(path: &Path) -> Diagnostics {
    let snapshot = match files(path) {
        Ok(snapshot) => snapshot,
        Err(told) => return told,
    };
    let mut diagnostics = match admit(&Reader::new().read(&snapshot)) {
        Ok(admitted) => admitted.diagnostics,
        Err(diagnostics) => diagnostics,
    };
    show_lines(&snapshot, &mut diagnostics);
    diagnostics
}

/// The bad manifests: files, and directories of files that are read together.
pub(crate) fn bad_entries() -> Vec<PathBuf> {
    entries(&directory("bad"))
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

/// Rules about all files together: there is no place to show.
const WITHOUT_PLACE: [&str; 2] = ["no-manifests", "too-many-problems"];

fn check_places(path: &Path, diagnostics: &Diagnostics) {
    for diagnostic in &diagnostics.0 {
        assert!(diagnostic.help.is_some(), "{}: no way out: {diagnostic}", path.display());
        if WITHOUT_PLACE.contains(&diagnostic.rule) {
            continue;
        }
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
    for path in bad_entries() {
        let diagnostics = judged(&path);
        let is_warning = path.file_name().unwrap().to_str().unwrap().starts_with("warning-");
        assert_eq!(diagnostics.has_errors(), !is_warning, "{}", path.display());
        assert!(!diagnostics.0.is_empty(), "{}", path.display());
        check_places(&path, &diagnostics);
        compare(&path, &diagnostics_text(&diagnostics), &mut failures);
        kinds.insert(diagnostics.0.iter().map(|d| (d.rule, d.message.clone())).collect());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(kinds.len() >= 60, "{} that differ", kinds.len());
}

#[test]
fn no_text_about_a_bad_manifest_shows_a_secret() {
    for path in bad_entries() {
        let text = format!("{:?}", judged(&path));
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
        let diagnostics = judged(path);
        check_places(path, &diagnostics);
        compare(path, &diagnostics_text(&diagnostics), &mut failures);
        if diagnostics.has_errors() {
            failures.push(format!("{}: {}", path.display(), diagnostics_text(&diagnostics)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(all.len() >= 15, "{}", all.len());
}
