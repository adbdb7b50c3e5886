//! Diagnostics for people and for the programs that show them: text, JSON, GitHub's annotations, SARIF.
//!
//! What is shown is foreign: paths, keys, values, source lines. Nothing of it may steer a terminal or be taken for a
//! command by whoever reads the output; each format sees to that in its own way, after [`plain`].

mod github;
mod json;
mod sarif;
mod text;

use std::collections::BTreeSet;

use super::foreign::is_special;
use crate::model::{Diagnostics, Kind};

pub use github::github_annotations;
pub use json::validation_json;
pub use sarif::sarif;
pub use text::{diagnostics_text, validation_text};

/// What became of a set of manifests.
#[derive(Clone, Copy, Debug)]
pub struct Validation<'a> {
    /// Whether the revision would be taken.
    pub valid: bool,
    /// Files read.
    pub files: usize,
    /// Objects of each kind that has any, in the order of [`Kind::ALL`]; none when it is not valid.
    pub objects: &'a [(Kind, usize)],
    pub diagnostics: &'a Diagnostics,
}

/// `2 errors, 1 warning in 2 files`.
pub fn counts_line(diagnostics: &Diagnostics) -> String {
    let (errors, warnings) = diagnostics.counts();
    let files: BTreeSet<&str> = diagnostics.0.iter().filter_map(|d| d.place.as_ref()).map(|p| &*p.at.path).collect();
    let place = if files.is_empty() { String::new() } else { format!(" in {}", plural(files.len(), "file")) };
    match (errors, warnings) {
        (0, _) => format!("{}{place}", plural(warnings, "warning")),
        (_, 0) => format!("{}{place}", plural(errors, "error")),
        _ => format!("{}, {}{place}", plural(errors, "error"), plural(warnings, "warning")),
    }
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Foreign text on one line, without what moves the cursor, turns the direction of writing or cannot be seen. As many
/// characters as before, so that a caret stays under its place.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if is_special(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// How many characters a mark at a column spans.
fn end_column(place: &crate::model::Place) -> u32 {
    place.at.column.saturating_add(place.width.max(1))
}
