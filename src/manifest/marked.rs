//! One YAML document that is no manifest: podwright's own files, read by the same rules and with the same places.

use std::sync::Arc;

use serde_json::Value;

use super::json::{locate, to_json};
use super::problem::{Part, Problem};
use super::text::{self, Text};
use super::yaml::{self, Node, Span};
use crate::model::{Diagnostic, Diagnostics, Place, Severity, SourceRef};

/// A document whose every key and value knows where it was written.
#[derive(Debug)]
pub struct MarkedDocument {
    path: Arc<str>,
    text: String,
    root: Node,
    value: Value,
}

impl MarkedDocument {
    /// The document as JSON, nulls dropped.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Where the key of a JSON pointer was written.
    pub fn key_place(&self, pointer: &str) -> Place {
        place(&self.path, &self.text, locate(&self.root, pointer, Part::Key))
    }

    /// Where the value of a JSON pointer was written; of one that is not there, where it could be.
    pub fn value_place(&self, pointer: &str) -> Place {
        place(&self.path, &self.text, locate(&self.root, pointer, Part::Value))
    }
}

/// Reads a file of at most one document; `None` when it holds none. `path` is what its diagnostics are called after.
///
/// # Errors
/// Everything that makes it no single YAML document.
pub fn read_document(path: &str, bytes: &[u8]) -> Result<Option<MarkedDocument>, Diagnostics> {
    let path: Arc<str> = path.into();
    let text = text::decode(bytes).map_err(|problem| refused(&path, "", &[problem]))?;
    let (mut first, mut second) = (None, None);
    let found = yaml::read(text, &mut |document| match first {
        None => first = Some(document.clone()),
        Some(_) => second = second.or(Some(document.root.span.start())),
    });
    let mut problems: Vec<Problem> = found.into_iter().map(|(_, problem)| problem).collect();
    if let Some(second) = second {
        let help = "remove the line `---` and what follows it";
        problems.push(Problem::error("one-document", second, "a second document", help));
    }
    if !problems.is_empty() {
        return Err(refused(&path, text, &problems));
    }
    Ok(first.map(|document| {
        let (value, _) = to_json(&document.root);
        MarkedDocument { path, text: text.to_owned(), root: document.root, value }
    }))
}

fn refused(path: &Arc<str>, text: &str, problems: &[Problem]) -> Diagnostics {
    let diagnostic = |problem: &Problem| Diagnostic {
        severity: Severity::Error,
        rule: problem.rule,
        message: problem.message.clone(),
        help: Some(problem.help.clone()),
        place: Some(place(path, text, problem.span)),
        object: None,
        field: None,
    };
    Diagnostics(problems.iter().map(diagnostic).collect())
}

fn place(path: &Arc<str>, text: &str, span: Span) -> Place {
    let (shown, width) = Text::new(text).shown(span, &[]);
    let at = SourceRef { path: Arc::clone(path), document: 0, line: span.line, column: span.column };
    Place { at, text: shown.into(), width }
}
