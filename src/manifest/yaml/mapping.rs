//! A mapping while it is read: keys once, merges as kubectl does them.

use std::collections::{BTreeMap, HashMap};

use super::tree::{Content, Entry, Key, Node, Span};
use crate::manifest::problem::{Problem, quoted};

/// Up to this many keys are compared one by one; only larger mappings are worth an index.
const FEW: usize = 16;

/// What the key was whose value comes next.
pub(super) enum NextKey {
    Field(Key),
    Merge,
}

/// The entries so far.
#[derive(Default)]
pub(super) struct Mapping {
    entries: Vec<Entry>,
    /// Entries that are merged ones, with where their key was written in this mapping itself, if it was.
    merged: BTreeMap<usize, Option<Span>>,
    /// Where each key stands among many entries.
    index: HashMap<String, usize>,
    pub(super) key: Option<NextKey>,
}

impl Mapping {
    fn find(&self, key: &str) -> Option<usize> {
        if self.index.is_empty() {
            return self.entries.iter().position(|entry| entry.key.text == key);
        }
        self.index.get(key).copied()
    }

    /// Where the key of an entry was written in this mapping, and not only merged into it.
    fn written(&self, at: usize) -> Option<Span> {
        self.merged.get(&at).copied().unwrap_or(Some(self.entries[at].key.span))
    }

    fn push(&mut self, entry: Entry) {
        if self.entries.len() == FEW {
            self.index = self.entries.iter().map(|entry| entry.key.text.clone()).zip(0..).collect();
        }
        if self.entries.len() >= FEW {
            self.index.insert(entry.key.text.clone(), self.entries.len());
        }
        self.entries.push(entry);
    }

    /// Adds a key that was written here. A merged one gives way; one that was written before stays, and is a problem.
    pub(super) fn write(&mut self, key: Key, value: Node) -> Result<(), Problem> {
        match self.find(&key.text) {
            None => self.push(Entry { key, value }),
            Some(at) => match self.written(at) {
                Some(first) => return Err(duplicate(&key, first)),
                None => {
                    self.entries[at] = Entry { key, value };
                    self.merged.remove(&at);
                }
            },
        }
        Ok(())
    }

    /// Applies `<<` where it stands, as go-yaml 2 does: what is merged replaces what stands above, and gives way to what
    /// stands below. Of several mappings in one `<<` the earlier wins. `count` sees every value that is added.
    pub(super) fn merge(
        &mut self,
        node: Node,
        count: &mut dyn FnMut(&Entry) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let before = self.entries.len();
        let mut replaced = Vec::new();
        for donor in donors(node) {
            let Content::Mapping(donated) = donor.content else { return Err(no_mapping(donor.span)) };
            for entry in donated {
                match self.find(&entry.key.text) {
                    None => {
                        count(&entry)?;
                        self.merged.insert(self.entries.len(), None);
                        self.push(entry);
                    }
                    Some(at) if at < before && !replaced.contains(&at) => {
                        count(&entry)?;
                        replaced.push(at);
                        self.merged.insert(at, self.written(at));
                        self.entries[at] = entry;
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }
}

/// The mappings of one `<<`.
fn donors(node: Node) -> Vec<Node> {
    match node.content {
        Content::Sequence(items) => items,
        _ => vec![node],
    }
}

/// What `<<` cannot merge.
pub(super) fn no_mapping(span: Span) -> Problem {
    let help = "write `<<: *anchor` with the anchor at a mapping";
    Problem::error("yaml-merge", span, "`<<` merges a mapping or a list of mappings", help)
}

fn duplicate(key: &Key, first: Span) -> Problem {
    let message =
        format!("key {} is already written at line {}, column {}", quoted(&key.text), first.line, first.column);
    Problem::error("duplicate-key", key.span, message, "remove one of the two")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(line: u32) -> Key {
        Key { text: "a".to_owned(), span: Span::at(line, 1) }
    }

    fn node(line: u32) -> Node {
        Node::scalar(Span::at(line, 4), Content::Null)
    }

    fn donor(line: u32) -> Node {
        Node::scalar(Span::at(line, 1), Content::Mapping(vec![Entry { key: key(line), value: node(line) }]))
    }

    #[test]
    fn a_key_is_written_once_whatever_was_merged_between() {
        let mut mapping = Mapping::default();
        let merge = |mapping: &mut Mapping, line| mapping.merge(donor(line), &mut |_| Ok(())).unwrap();
        merge(&mut mapping, 1);
        mapping.write(key(2), node(2)).unwrap();
        merge(&mut mapping, 3);
        merge(&mut mapping, 4);
        let problem = mapping.write(key(5), node(5)).unwrap_err();
        assert_eq!((problem.rule, problem.span.line), ("duplicate-key", 5));
        assert!(problem.message.contains("line 2, column 1"), "{}", problem.message);
        assert_eq!(mapping.into_entries(), [Entry { key: key(4), value: node(4) }]);
    }
}
