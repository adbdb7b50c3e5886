//! One file: its objects and its problems. Depends on the bytes alone, so it is read once per blob.

use super::object::{self, Object};
use super::problem::Problem;
use super::text::{self, Text};
use super::yaml::{self, Document, Span};
use super::{document, limits, secret};
use crate::model::{Diagnostic, ObjectKey, Place, SourceRef};

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) objects: Vec<Object>,
    pub(super) excluded: Vec<Excluded>,
    pub(super) problems: Vec<Located>,
    /// Problems beyond the bound.
    pub(super) unlisted: usize,
    /// What must not be shown of it.
    pub(super) masks: Masks,
}

/// An object left out on purpose.
#[derive(Debug)]
pub(super) struct Excluded {
    pub(super) document: u32,
    pub(super) at: (u32, u32),
    pub(super) what: String,
    pub(super) why: String,
}

/// A problem with its document and object.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) document: u32,
    pub(super) object: Option<ObjectKey>,
    pub(super) problem: Problem,
}

/// Which pieces of a file hold secrets.
#[derive(Debug, Default)]
pub(super) enum Masks {
    #[default]
    None,
    Pieces(Vec<Span>),
    /// It could not be read: no line of it is shown.
    Everything,
}

impl File {
    /// Reads the bytes of a file.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut file = Self::default();
        let text = match text::decode(bytes) {
            Ok(text) => text,
            Err(problem) => {
                file.masks = Masks::Everything;
                file.problems.push(Located { document: 0, object: None, problem });
                return file;
            }
        };
        let may_hold_a_secret = secret::may_hold_one(text);
        let mut masked = Vec::new();
        // One tree at a time: it is dropped with its document.
        let problems = yaml::read(text, &mut |document| {
            secret::masks(&document.root, may_hold_a_secret, &mut masked);
            file.add(document);
        });
        file.masks = match (problems.is_empty(), masked.is_empty()) {
            (false, _) if !secret::is_open(text) => Masks::Everything,
            (_, true) => Masks::None,
            (_, false) => Masks::Pieces(masked),
        };
        file.bound(limits::PROBLEMS);
        // What ends the reading is told whatever else there is.
        file.problems.extend(problems.into_iter().map(|(document, mut problem)| {
            if matches!(file.masks, Masks::Everything) {
                // Names of keys may be told, pieces of the text not.
                let passes = if problem.rule == "duplicate-key" { secret::may_be_told } else { |_: &str| false };
                problem.message = secret::masked(&problem.message, passes);
            }
            Located { document, object: None, problem }
        }));
        file.problems.sort_by_key(|located| (located.problem.severity, located.problem.span));
        file.problems.shrink_to_fit();
        file.objects.shrink_to_fit();
        file
    }

    /// The same for who keeps it.
    pub(super) fn kept(bytes: &[u8]) -> Self {
        let mut file = Self::read(bytes);
        file.objects.iter_mut().for_each(Object::pack);
        file
    }

    /// Of too many problems, errors are kept before warnings; the rest is counted.
    fn bound(&mut self, most: usize) {
        self.unlisted += self.problems.len().saturating_sub(most);
        self.problems.sort_by_key(|located| (located.problem.severity, located.problem.span));
        self.problems.truncate(most);
    }

    /// Adds the objects of a document.
    fn add(&mut self, document: &Document) {
        let mut found = document::Found::default();
        document::sort_out(&document.root, &mut found);
        let index = document.index;
        for (span, what, why) in found.excluded {
            self.excluded.push(Excluded { document: index, at: (span.line, span.column), what, why });
        }
        let unplaced = found.problems.into_iter().map(|problem| Located { document: index, object: None, problem });
        self.problems.extend(unplaced);
        for (kind, node) in found.objects {
            let (object, problems, unlisted) = object::read(kind, index, node);
            self.unlisted += unlisted;
            let key = object.as_ref().map(|object| &object.key);
            self.problems.extend(problems.into_iter().map(|problem| Located {
                document: index,
                object: key.cloned(),
                problem,
            }));
            self.objects.extend(object);
        }
        // A file may have thousands of documents, each with problems.
        if self.problems.len() > 16 * limits::PROBLEMS {
            self.bound(limits::PROBLEMS);
        }
    }

    /// A problem as people read it. `text` is the file's.
    pub(super) fn diagnostic(
        &self,
        path: &std::sync::Arc<str>,
        text: Option<&Text<'_>>,
        located: &Located,
    ) -> Diagnostic {
        let Located { document, object, problem } = located;
        let span = problem.span;
        let (shown, width) = match (text, &self.masks) {
            (Some(text), Masks::None) => text.shown(span, &[]),
            (Some(text), Masks::Pieces(pieces)) => text.shown(span, pieces),
            _ => (String::new(), 1),
        };
        let at = SourceRef { path: path.clone(), document: *document, line: span.line, column: span.column };
        Diagnostic {
            severity: problem.severity,
            rule: problem.rule,
            message: problem.message.clone(),
            help: Some(problem.help.clone()),
            place: Some(Place { at, text: shown.into(), width }),
            object: object.clone(),
            field: problem.field.clone(),
        }
    }
}
