//! Every problem of a snapshot whose files were read: those of each file, and those between objects. Contents of objects are
//! not looked at, so it makes no difference whether they are still there.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use super::cross::{self, Placed};
use super::file::{File, Located};
use super::limits;
use super::text::{self, Text};
use crate::model::{Diagnostic, Diagnostics, Severity, Snapshot, SourceFile};

/// All problems. `files` are those of the snapshot, in its order; then what is layered under them.
pub(super) fn diagnostics<F: Borrow<File>>(
    snapshot: &Snapshot,
    files: &[(&SourceFile, F)],
    threads: usize,
) -> Diagnostics {
    let mut diagnostics = Diagnostics::default();
    for (source, file) in files {
        of_file(source, file.borrow(), &mut diagnostics);
    }
    across(files, threads, &mut diagnostics);
    let files = || files.iter().take(snapshot.files.len()).map(|(_, file)| file);
    if files().all(|file| file.borrow().objects.is_empty()) && !diagnostics.has_errors() {
        let excluded = files().map(|file| file.borrow().excluded.len()).sum();
        diagnostics.0.push(nothing(snapshot, excluded));
    }
    diagnostics.sort();
    diagnostics
}

/// The problems of one file.
fn of_file(source: &SourceFile, file: &File, diagnostics: &mut Diagnostics) {
    if file.problems.is_empty() {
        return;
    }
    let text = text::decode(&source.bytes).ok().map(Text::new);
    diagnostics.0.extend(file.problems.iter().map(|problem| file.diagnostic(&source.path, text.as_ref(), problem)));
    unlisted(source, file.unlisted, diagnostics);
}

/// The problems between objects.
fn across<F: Borrow<File>>(files: &[(&SourceFile, F)], threads: usize, diagnostics: &mut Diagnostics) {
    let placed: Vec<Placed<'_>> = files
        .iter()
        .enumerate()
        .flat_map(|(index, (source, file))| {
            file.borrow().objects.iter().map(move |object| Placed { file: index, path: &source.path, object })
        })
        .collect();
    let mut by_file: BTreeMap<usize, Vec<Located>> = BTreeMap::new();
    for (Placed { file, object, .. }, problem) in cross::check(&placed, threads) {
        let located = Located { document: object.document, object: Some(object.key.clone()), problem };
        by_file.entry(file).or_default().push(located);
    }
    for (index, mut problems) in by_file {
        let (source, file) = (files[index].0, files[index].1.borrow());
        // Errors before warnings, in the order found.
        problems.sort_by_key(|located| located.problem.severity);
        unlisted(source, problems.len().saturating_sub(limits::PROBLEMS), diagnostics);
        problems.truncate(limits::PROBLEMS);
        let text = text::decode(&source.bytes).ok().map(Text::new);
        let diagnostic = |located: &Located| file.diagnostic(&source.path, text.as_ref(), located);
        diagnostics.0.extend(problems.iter().map(diagnostic));
    }
}

fn unlisted(source: &SourceFile, count: usize, diagnostics: &mut Diagnostics) {
    if count > 0 {
        let message = format!("{}: {count} more problems are not listed", source.path);
        let found = bare("too-many-problems", message, "correct the listed ones first");
        // Errors come first: with an unlisted error there are listed ones, which refuse the revision.
        diagnostics.0.push(Diagnostic { severity: Severity::Warning, ..found });
    }
}

/// A snapshot without an object would remove every pod: more likely the directory is the wrong one.
fn nothing(snapshot: &Snapshot, excluded: usize) -> Diagnostic {
    let (message, help) = match (snapshot.files.len(), excluded, snapshot.ignored.len()) {
        (_, 1.., _) => (
            format!("no manifests: all {excluded} objects are excluded by their annotation"),
            "remove the annotation from what shall run",
        ),
        (0, _, 1..) => (
            format!("no manifests: .podwrightignore excludes all {} files", snapshot.ignored.len()),
            "exclude less in .podwrightignore",
        ),
        (0, ..) => (
            "no manifests: there is no .yaml, .yml or .json file".to_owned(),
            "name the directory that holds the manifests; to remove every pod, use `podwright delete` or `down`",
        ),
        (files, ..) => (
            format!("no manifests: {files} file{} without an object", if files == 1 { "" } else { "s" }),
            "write an object with `apiVersion`, `kind` and `metadata`; to remove every pod, use `podwright delete` or `down`",
        ),
    };
    bare("no-manifests", message, help)
}

fn bare(rule: &'static str, message: String, help: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        rule,
        message,
        help: Some(help.to_owned()),
        place: None,
        object: None,
        field: None,
    }
}
