//! From a snapshot to `Desired`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::cross::{self, Placed};
use super::file::{self, File, Located};
use super::limits;
use super::object::{self, Object, Typed};
use super::problem::Finding;
use super::text::{self, Text};
use crate::model::{
    BlobId, Desired, DesiredObject, Diagnostic, Diagnostics, Excluded, PodKey, Severity, Snapshot, SourceFile,
    SourceRef,
};

/// Reads snapshots. A blob that the previous snapshot had is not parsed again.
#[derive(Debug, Default)]
pub struct Reader {
    cache: HashMap<BlobId, Arc<File>>,
}

impl Reader {
    /// A reader that knows no file yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything the snapshot asks for, and every problem of every file.
    pub fn read(&mut self, snapshot: &Snapshot) -> Desired {
        let files = self.files(snapshot);
        let mut desired = Desired {
            revision: snapshot.revision.clone(),
            pods: BTreeMap::new(),
            presets: BTreeMap::new(),
            others: BTreeMap::new(),
            excluded: vec![],
            unread: BTreeMap::new(),
            diagnostics: Diagnostics::default(),
        };
        for (source, file) in snapshot.files.iter().zip(&files) {
            file.objects.iter().for_each(|object| add(object, source, &mut desired));
            desired.excluded.extend(file.excluded.iter().map(|excluded| Excluded {
                source: at(source, excluded.document, excluded.at),
                what: excluded.what.clone(),
                why: excluded.why.clone(),
            }));
            diagnose(source, file, &mut desired.diagnostics);
        }
        across(snapshot, &files, &mut desired.diagnostics);
        if files.iter().all(|file| file.objects.is_empty()) && !desired.diagnostics.has_errors() {
            desired.diagnostics.0.push(nothing(snapshot, &desired.excluded));
        }
        desired.diagnostics.sort();
        desired
    }

    /// How many files are known.
    pub fn cached(&self) -> usize {
        self.cache.len()
    }

    /// What each file of the snapshot holds. Blobs that are no longer there are forgotten.
    fn files(&mut self, snapshot: &Snapshot) -> Vec<Arc<File>> {
        let mut old = std::mem::take(&mut self.cache);
        let mut files = Vec::with_capacity(snapshot.files.len());
        for source in &snapshot.files {
            let file = match self.cache.get(&source.blob) {
                Some(file) => file.clone(),
                None => old.remove(&source.blob).unwrap_or_else(|| Arc::new(File::read(&source.bytes))),
            };
            self.cache.insert(source.blob.clone(), file.clone());
            files.push(file);
        }
        files
    }
}

fn at(source: &SourceFile, document: u32, (line, column): (u32, u32)) -> SourceRef {
    SourceRef { path: source.path.clone(), document, line, column }
}

/// Adds a valid object. Of two with the same key the first counts: the second is an error.
fn add(object: &Object, source: &SourceFile, desired: &mut Desired) {
    let Some(typed) = &object.typed else { return };
    let made = DesiredObject {
        key: object.key.clone(),
        source: at(source, object.document, object.at),
        value: Arc::clone(&object.value),
        places: Arc::clone(&object.places),
    };
    let key = object.key.clone();
    match typed {
        Typed::Pod(pod) => {
            let key = PodKey::new(key.namespace, key.name);
            desired.pods.entry(key).or_insert_with(|| (made, Arc::clone(pod)));
        }
        Typed::Preset(preset) => {
            desired.presets.entry(key).or_insert_with(|| (made, Arc::clone(preset)));
        }
        Typed::Carried => {
            desired.others.entry(key).or_insert(made);
        }
    }
}

/// The problems of one file.
fn diagnose(source: &SourceFile, file: &File, diagnostics: &mut Diagnostics) {
    if file.problems.is_empty() {
        return;
    }
    let text = text::decode(&source.bytes).ok().map(Text::new);
    diagnostics.0.extend(file.problems.iter().map(|problem| file.diagnostic(&source.path, text.as_ref(), problem)));
    unlisted(source, file.unlisted, diagnostics);
}

/// The problems between objects.
fn across(snapshot: &Snapshot, files: &[Arc<File>], diagnostics: &mut Diagnostics) {
    let placed: Vec<Placed<'_>> = snapshot
        .files
        .iter()
        .zip(files)
        .enumerate()
        .flat_map(|(index, (source, file))| {
            file.objects.iter().map(move |object| Placed { file: index, path: &source.path, object })
        })
        .collect();
    let mut by_file: BTreeMap<usize, Vec<(&Object, Finding)>> = BTreeMap::new();
    for (placed, finding) in cross::check(&placed) {
        by_file.entry(placed.file).or_default().push((placed.object, finding));
    }
    for (index, findings) in by_file {
        diagnose_across(&snapshot.files[index], &files[index], findings, diagnostics);
    }
}

fn diagnose_across(
    source: &SourceFile,
    file: &File,
    mut findings: Vec<(&Object, Finding)>,
    diagnostics: &mut Diagnostics,
) {
    // Errors before warnings, in the order found.
    findings.sort_by_key(|(_, finding)| finding.severity);
    unlisted(source, findings.len().saturating_sub(limits::PROBLEMS), diagnostics);
    findings.truncate(limits::PROBLEMS);
    let Ok(text) = text::decode(&source.bytes) else { return };
    let lines = Text::new(text);
    file::with_trees(text, |trees| {
        for (object, finding) in findings {
            let Some(tree) = trees.get(object.ordinal) else { continue };
            let problem = object::place(finding, tree, &object.value);
            let located = Located { document: object.document, object: Some(object.key.clone()), problem };
            diagnostics.0.push(file.diagnostic(&source.path, Some(&lines), &located));
        }
    });
}

fn unlisted(source: &SourceFile, count: usize, diagnostics: &mut Diagnostics) {
    if count > 0 {
        let message = format!("{}: {count} more problems are not listed", source.path);
        diagnostics.0.push(bare("too-many-problems", message, "correct the listed ones first"));
    }
}

/// A snapshot without an object would remove every pod: more likely the directory is the wrong one.
fn nothing(snapshot: &Snapshot, excluded: &[Excluded]) -> Diagnostic {
    let (message, help) = match (snapshot.files.len(), excluded.len(), snapshot.ignored.len()) {
        (_, 1.., _) => (
            format!("no manifests: all {} objects are excluded by their annotation", excluded.len()),
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
