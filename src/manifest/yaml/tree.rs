//! The marked tree: every key and every value knows where it was written.

use serde_json::Number;

/// A piece of the file. Lines and columns count from 1, columns count characters; the end is exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::manifest) struct Span {
    pub(in crate::manifest) line: u32,
    pub(in crate::manifest) column: u32,
    pub(in crate::manifest) end_line: u32,
    pub(in crate::manifest) end_column: u32,
}

impl Span {
    /// One character.
    pub(in crate::manifest) fn at(line: u32, column: u32) -> Self {
        Self { line, column, end_line: line, end_column: column.saturating_add(1) }
    }

    /// The first character of this piece.
    pub(in crate::manifest) fn start(self) -> Self {
        Self::at(self.line, self.column)
    }

    /// How many characters of its first line it covers; at least 1.
    pub(in crate::manifest) fn width(self) -> u32 {
        if self.end_line == self.line { self.end_column.saturating_sub(self.column).max(1) } else { 1 }
    }
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::manifest) struct Node {
    pub(in crate::manifest) span: Span,
    pub(in crate::manifest) content: Content,
    /// Values in this one, itself included; every 64 bytes of text count as one more.
    pub(in crate::manifest) size: usize,
    /// Levels in this one: 1 for a scalar.
    pub(in crate::manifest) depth: usize,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::manifest) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Sequence(Vec<Node>),
    /// In the order written; no key twice.
    Mapping(Vec<Entry>),
}

/// One key with its value.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::manifest) struct Entry {
    pub(in crate::manifest) key: Key,
    pub(in crate::manifest) value: Node,
}

/// A key, always text: kubectl turns `1` into `"1"` and `yes` into `"true"`.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::manifest) struct Key {
    pub(in crate::manifest) text: String,
    pub(in crate::manifest) span: Span,
}

impl Node {
    /// A value without parts.
    pub(in crate::manifest) fn scalar(span: Span, content: Content) -> Self {
        let text = if let Content::String(text) = &content { text.len() } else { 0 };
        Self { span, content, size: 1 + text / 64, depth: 1 }
    }

    /// The value of `key`, when this is a mapping that has it.
    pub(in crate::manifest) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entry of `key`, when this is a mapping that has it.
    pub(in crate::manifest) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.content {
            Content::Mapping(entries) => entries.iter().find(|entry| entry.key.text == key),
            _ => None,
        }
    }

    /// The text, when this is a string.
    pub(in crate::manifest) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::String(text) => Some(text),
            _ => None,
        }
    }
}
