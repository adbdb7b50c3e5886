//! YAML as kubectl reads it, with the place of every key and value. JSON is read by the same rules: it is YAML.

mod compose;
mod scalar;
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

/// What a file holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Stream {
    pub(super) documents: Vec<Document>,
    /// Each with the index of its document. When there is one, the documents do not hold all that was written.
    pub(super) problems: Vec<(u32, Problem)>,
}

/// Reads all documents of a file. `text` has no byte-order mark.
pub(super) fn read(text: &str) -> Stream {
    compose::compose(text)
}
