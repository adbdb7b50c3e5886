//! Where each object of many files stands, by namespace and name. Made for every comparison and asked a few times, so
//! making it must cost little: one look-up serves files of the same namespace that stand together, and their names are
//! sorted, which they often are already.

use std::collections::{BTreeSet, HashMap};

use super::Unread;
use crate::model::Kind;

/// An object by its name, with the index of its file.
pub(super) type Entry<'a> = (&'a str, usize);

/// The objects of files.
pub(super) struct Index<'a> {
    groups: HashMap<(Kind, &'a str), usize>,
    /// The objects of one kind and namespace each, sorted by name.
    entries: Vec<Vec<Entry<'a>>>,
}

impl<'a> Index<'a> {
    pub(super) fn new(files: &'a [Unread<'a>]) -> Self {
        let mut groups = HashMap::new();
        let mut entries: Vec<Vec<Entry<'a>>> = Vec::new();
        let mut last = None;
        for (file, unread) in files.iter().enumerate() {
            for object in unread.objects.iter() {
                let key = (object.kind, object.namespace);
                let at = match last {
                    Some((known, at)) if known == key => at,
                    _ => *groups.entry(key).or_insert_with(|| {
                        entries.push(Vec::new());
                        entries.len() - 1
                    }),
                };
                last = Some((key, at));
                entries[at].push((object.name, file));
            }
        }
        // Files stand in the order of their paths, and with them often their names: a sort that sees what is in order already.
        entries.iter_mut().for_each(|entries| entries.sort());
        Self { groups, entries }
    }

    /// Files with an object that another of them, or the same one, defines too.
    pub(super) fn duplicates(&self) -> BTreeSet<usize> {
        let pairs = self.entries.iter().flat_map(|entries| entries.windows(2));
        pairs.filter(|pair| pair[0].0 == pair[1].0).flatten().map(|(_, file)| *file).collect()
    }

    /// The objects of a kind in a namespace.
    pub(super) fn group(&self, kind: Kind, namespace: &str) -> &[Entry<'a>] {
        self.groups.get(&(kind, namespace)).map_or(&[], |at| &self.entries[*at])
    }
}

/// Those of a group that have a name.
pub(super) fn named<'g, 'a>(group: &'g [Entry<'a>], name: &str) -> &'g [Entry<'a>] {
    let rest = &group[group.partition_point(|(other, _)| *other < name)..];
    &rest[..rest.iter().take_while(|(other, _)| *other == name).count()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::outline::Named;
    use Kind::{ConfigMap, Pod};

    fn object(kind: Kind, namespace: &'static str, name: &'static str) -> Named<'static> {
        Named { kind, namespace, name }
    }

    #[test]
    fn each_object_is_found_with_its_files() {
        let file = |objects: Vec<Named<'static>>| Unread {
            bytes: b"",
            objects: objects.into_iter().collect(),
            obscure: false,
        };
        let files = [
            file(vec![object(Pod, "x", "b"), object(Pod, "x", "a"), object(Pod, "x", "b")]),
            file(vec![object(Pod, "y", "a"), object(ConfigMap, "x", "a")]),
            file(vec![]),
            file(vec![object(Pod, "x", "c"), object(Pod, "y", "a")]),
            file(vec![object(Pod, "x", "aa")]),
        ];
        let index = Index::new(&files);
        let rows: [(Kind, &str, &[Entry<'_>]); 4] = [
            (Pod, "x", &[("a", 0), ("aa", 4), ("b", 0), ("b", 0), ("c", 3)]),
            (Pod, "y", &[("a", 1), ("a", 3)]),
            (ConfigMap, "x", &[("a", 1)]),
            (ConfigMap, "y", &[]),
        ];
        for (kind, namespace, entries) in rows {
            let group = index.group(kind, namespace);
            assert_eq!(group, entries, "{kind} {namespace}");
            for name in ["", "a", "aa", "b", "bb", "c", "d"] {
                let found: Vec<_> = entries.iter().copied().filter(|entry| entry.0 == name).collect();
                assert_eq!(named(group, name), found, "{kind} {namespace} {name}");
            }
        }
        assert_eq!(index.duplicates(), BTreeSet::from([0, 1, 3]));
        assert_eq!(Index::new(&files[2..]).duplicates(), BTreeSet::new());
    }
}
