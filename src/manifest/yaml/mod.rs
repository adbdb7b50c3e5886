//! YAML as kubectl reads it, with the place of every key and value. JSON is read by the same rules: it is YAML. Since 1.33
//! kubectl takes a file that begins with `{` and is no JSON (`{a: b,}`, comments, bare line ends in texts) for YAML, too.

mod compose;
mod mapping;
mod marker;
mod scalar;
mod stream;
mod tab;
mod tree;

pub(super) use tree::{Content, Entry, Node, Span};

use super::problem::Problem;

/// One document that is not empty.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Document {
    /// Its index in the file; empty documents count.
    pub(super) index: u32,
    pub(super) root: Node,
}

/// Reads all documents of a file, each handed over as soon as it is complete. `text` has no byte-order mark. Returns what is
/// wrong with it, each with the index of its document: when there is anything, what was handed over is not all that was
/// written.
pub(super) fn read(text: &str, take: &mut dyn FnMut(&Document)) -> Vec<(u32, Problem)> {
    compose::compose(text, take)
}
