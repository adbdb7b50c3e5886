//! Which unchanged files a comparison must read: those that can matter to what changed, or to whether it is valid.
//!
//! [`RULES`] is the whole of it. Where a rule cannot know without parsing, it says yes: a file read in vain costs time,
//! one that is missed would make the comparison wrong.

mod index;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use self::index::{Index, named};
use super::outline::Names;
use crate::model::{Kind, ObjectKey};

/// How much an object matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Something that matters more cannot be understood without it.
    Needed,
    /// Its file is the same on both sides, but what becomes of it may not be.
    Affected,
    /// Its file is on one side only.
    Changed,
}

/// The way from an object to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// To those of its namespace.
    Neighbours,
    /// To those of its namespace whose names stand in it.
    Named,
    /// To those of its namespace in whose files its name stands.
    Naming,
    /// To those of its own kind, namespace and name.
    Twins,
    /// From a pod with host ports to those in whose files one may stand, in every namespace.
    HostPorts,
    /// Between a pod and the account it has without naming one.
    DefaultAccount,
    /// To the object of its namespace.
    Home,
    /// From that object to those of its namespace.
    Inhabitants,
}

use Kind::{ConfigMap, Namespace, Pod, PodPreset, Secret, ServiceAccount};
use Weight::{Affected, Changed, Needed};

/// An object of one of these kinds with at least this weight, the way, the kinds it leads to, and the weight they get.
type Rule = (&'static [Kind], Weight, Way, &'static [Kind], Weight);

const RULES: &[Rule] = &[
    // Presets are merged into the pods of their namespace, and give them volumes.
    (&[Pod], Needed, Way::Neighbours, &[PodPreset], Needed),
    (&[PodPreset], Affected, Way::Neighbours, &[Pod], Affected),
    // Pods use data and accounts, by themselves or through a preset; accounts name secrets, and secrets of tokens accounts. As no
    // account names another, chains are short: the files of a namespace are searched for names a few times at most.
    (&[Pod, PodPreset], Needed, Way::Named, &[ConfigMap, Secret, ServiceAccount], Needed),
    (&[ServiceAccount], Needed, Way::Named, &[Secret], Needed),
    (&[Secret], Needed, Way::Named, &[ServiceAccount], Needed),
    (&[ConfigMap, Secret, ServiceAccount], Affected, Way::Naming, &[Pod, PodPreset], Affected),
    (&[Secret], Affected, Way::Naming, &[ServiceAccount], Affected),
    (&[ServiceAccount], Affected, Way::Naming, &[Secret], Affected),
    (&[Pod], Needed, Way::DefaultAccount, &[ServiceAccount], Needed),
    (&[ServiceAccount], Affected, Way::DefaultAccount, &[Pod], Affected),
    // A namespace says what its pods may ask for.
    (&[Pod], Affected, Way::Home, &[Namespace], Needed),
    (&[Namespace], Affected, Way::Inhabitants, &[Pod], Affected),
    // What may be there only once.
    (&Kind::ALL, Changed, Way::Twins, &Kind::ALL, Needed),
    (&[Pod], Changed, Way::HostPorts, &[Pod], Needed),
];

/// A file that both sides have and that is not read yet.
#[derive(Debug)]
pub(super) struct Unread<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) objects: Names<'a>,
    /// Whether more may be written in it than its bytes show.
    pub(super) obscure: bool,
}

/// An object that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read<'a> {
    pub(super) key: &'a ObjectKey,
    pub(super) content: Content<'a>,
    pub(super) has_host_ports: bool,
    pub(super) weight: Weight,
}

/// What is in an object.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    /// It has errors.
    None,
    Value(&'a Value),
    /// Compact JSON.
    Json(&'a str),
}

/// The unread files, by what they hold.
pub(super) struct Reach<'a> {
    files: &'a [Unread<'a>],
    weights: Vec<Option<Weight>>,
    index: Index<'a>,
    /// Rules that were followed from a kind, with the namespace and the name that they led to or came from: the same again
    /// would lead to the same files.
    followed: BTreeSet<(usize, Kind, String, String)>,
}

impl<'a> Reach<'a> {
    /// Nothing is reached yet.
    pub(super) fn new(files: &'a [Unread<'a>]) -> Self {
        Self { files, weights: vec![None; files.len()], index: Index::new(files), followed: BTreeSet::new() }
    }

    /// The files with an object that another of them, or the same one, defines too.
    pub(super) fn duplicates(&self) -> BTreeSet<usize> {
        self.index.duplicates()
    }

    /// The weight of each file that was reached.
    pub(super) fn weights(&self) -> &[Option<Weight>] {
        &self.weights
    }

    /// Gives a file its weight; whether it had less.
    pub(super) fn raise(&mut self, file: usize, weight: Weight) -> bool {
        let raised = self.weights[file] < Some(weight);
        if raised {
            self.weights[file] = Some(weight);
        }
        raised
    }

    /// The files that objects lead to in one step and that have more weight than before.
    pub(super) fn step(&mut self, objects: &[Read<'_>]) -> BTreeSet<usize> {
        let mut raised = BTreeSet::new();
        let mut naming: BTreeMap<(usize, &str), BTreeSet<&str>> = BTreeMap::new();
        for object in objects {
            for (rule, (from, at_least, way, ..)) in RULES.iter().enumerate() {
                if !from.contains(&object.key.kind) || object.weight < *at_least {
                    continue;
                }
                if *way != Way::Naming {
                    let found = self.follow(rule, object);
                    self.raise_all(found, rule, &mut raised);
                } else if self.once(rule, object.key.kind, &object.key.namespace, &object.key.name) {
                    naming.entry((rule, &object.key.namespace)).or_default().insert(&object.key.name);
                }
            }
        }
        for ((rule, namespace), names) in naming {
            let found = self.naming(rule, namespace, &names);
            self.raise_all(found, rule, &mut raised);
        }
        raised
    }

    /// Gives files the weight of a rule. At once, not at the end of a step: what many objects lead to is kept once.
    fn raise_all(&mut self, files: Vec<usize>, rule: usize, raised: &mut BTreeSet<usize>) {
        raised.extend(files.into_iter().filter(|file| self.raise(*file, RULES[rule].4)));
    }

    /// Whether a rule was not followed yet from a kind to a name, or from it.
    fn once(&mut self, rule: usize, from: Kind, namespace: &str, name: &str) -> bool {
        self.followed.insert((rule, from, namespace.to_owned(), name.to_owned()))
    }

    fn follow(&mut self, rule: usize, object: &Read<'_>) -> Vec<usize> {
        let (_, _, way, to, _) = RULES[rule];
        let Read { key, content, .. } = object;
        let (kind, namespace) = (key.kind, &*key.namespace);
        match way {
            Way::Neighbours if self.once(rule, kind, namespace, "") => self.of_namespace(namespace, to),
            Way::HostPorts if object.has_host_ports && self.once(rule, kind, "", "") => self.with_host_ports(),
            Way::DefaultAccount if kind == ServiceAccount => {
                match key.name == "default" && self.once(rule, kind, namespace, "") {
                    true => self.of_namespace(namespace, to),
                    false => vec![],
                }
            }
            Way::DefaultAccount if self.once(rule, kind, namespace, "") => self.named(to, namespace, "default"),
            Way::Home if self.once(rule, kind, namespace, "") => self.named(to, "", namespace),
            Way::Inhabitants if self.once(rule, kind, &key.name, "") => self.of_namespace(&key.name, to),
            Way::Twins if self.once(rule, kind, namespace, &key.name) => self.named(&[kind], namespace, &key.name),
            Way::Named => {
                let groups = to.iter().map(|kind| self.index.group(*kind, namespace));
                let groups: Vec<_> = groups.filter(|group| !group.is_empty()).collect();
                // Of all texts only those that are names here are remembered.
                let mut names = BTreeSet::new();
                let mut take = |text| {
                    if groups.iter().any(|group| !named(group, text).is_empty()) {
                        names.insert(text);
                    }
                };
                match content {
                    Content::None => {}
                    Content::Value(value) => each_text(value, &mut take),
                    Content::Json(text) => texts_of(text).for_each(take),
                }
                names.retain(|name| self.once(rule, kind, namespace, name));
                names.into_iter().flat_map(|name| self.named(to, namespace, name)).collect()
            }
            _ => vec![],
        }
    }

    fn of_namespace(&self, namespace: &str, kinds: &[Kind]) -> Vec<usize> {
        kinds.iter().flat_map(|kind| self.index.group(*kind, namespace)).map(|(_, file)| *file).collect()
    }

    fn named(&self, kinds: &[Kind], namespace: &str, name: &str) -> Vec<usize> {
        let group = |kind: &Kind| named(self.index.group(*kind, namespace), name);
        kinds.iter().flat_map(group).map(|(_, file)| *file).collect()
    }

    /// The files of a namespace in which one of some names stands, without those that weigh enough already.
    fn naming(&self, rule: usize, namespace: &str, names: &BTreeSet<&str>) -> Vec<usize> {
        let (_, _, _, to, weight) = RULES[rule];
        let mut found = self.of_namespace(namespace, to);
        found.retain(|index| self.weights[*index] < Some(weight));
        found.sort_unstable();
        found.dedup();
        found.retain(|index| {
            let file = &self.files[*index];
            file.obscure || words(file.bytes).any(|word| names.contains(word))
        });
        found
    }

    fn with_host_ports(&self) -> Vec<usize> {
        let may =
            |file: &Unread<'_>| file.obscure || words(file.bytes).any(|w| matches!(w, "hostPort" | "hostNetwork"));
        (0..self.files.len()).filter(|index| may(&self.files[*index])).collect()
    }
}

/// The pieces of a text that may be a name or a field: what is between other signs than those of names.
fn words(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let is_inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    bytes.split(move |b| !is_inner(b)).filter(|word| !word.is_empty()).filter_map(|word| std::str::from_utf8(word).ok())
}

/// The texts in compact JSON as they stand there, keys left out. One with an escape is no name.
fn texts_of(json: &str) -> impl Iterator<Item = &str> {
    let mut rest = json;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find('"')? + 1;
            let length = closing(&rest[start..])?;
            let text = &rest[start..start + length];
            rest = &rest[start + length + 1..];
            if !rest.starts_with(':') {
                return Some(text);
            }
        }
    })
}

/// Where the quote is that ends a text.
fn closing(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

/// Every text in a value.
fn each_text<'v>(value: &'v Value, take: &mut impl FnMut(&'v str)) {
    match value {
        Value::String(text) => take(text),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, take)),
        Value::Object(map) => map.values().for_each(|value| each_text(value, take)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::outline::Named;

    fn named(kind: Kind, name: &str) -> Named<'_> {
        Named { kind, namespace: "default", name }
    }

    fn key(kind: Kind, name: &str) -> ObjectKey {
        ObjectKey { kind, namespace: "default".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn a_file_is_listed_once_and_a_way_is_followed_once() {
        let objects = [named(ServiceAccount, "default"), named(Pod, "a"), named(Pod, "b"), named(Pod, "a")];
        let files = [
            Unread { bytes: b"", objects: objects.into_iter().collect(), obscure: false },
            Unread { bytes: b"", objects: [named(Pod, "c")].into_iter().collect(), obscure: false },
        ];
        let mut reach = Reach::new(&files);
        assert_eq!(reach.duplicates(), BTreeSet::from([0]));
        let account = key(ServiceAccount, "default");
        let read = Read { key: &account, content: Content::None, has_host_ports: false, weight: Changed };
        assert_eq!(reach.step(&[read; 3]), BTreeSet::from([0, 1]));
        assert_eq!(reach.weights(), [Some(Affected); 2]);
        let followed = reach.followed.len();
        assert_eq!(reach.step(&[read; 3]), BTreeSet::new());
        assert_eq!(reach.followed.len(), followed);
    }

    #[test]
    fn the_texts_of_compact_json_are_those_of_its_value() {
        let value = serde_json::json!({"a": "b", "c": ["d", "", {"e": "f"}], "g": 1, "h:": ":", "i": [[]], "j": "k"});
        let mut expected = BTreeSet::new();
        each_text(&value, &mut |text| {
            expected.insert(text);
        });
        assert_eq!(texts_of(&value.to_string()).collect::<BTreeSet<_>>(), expected);
        let escaped = serde_json::json!({"a\"": "b\"", "c\\": "d\\", "e": "f"}).to_string();
        assert_eq!(texts_of(&escaped).collect::<Vec<_>>(), ["b\\\"", "d\\\\", "f"]);
    }

    #[test]
    fn files_that_weigh_enough_are_not_searched_for_names() {
        let pod = |bytes| Unread { bytes, objects: [named(Pod, "a")].into_iter().collect(), obscure: false };
        let files = [pod(b"name: data"), pod(b"name: data"), pod(b"name: other")];
        let mut reach = Reach::new(&files);
        reach.raise(0, Affected);
        let rule = RULES.iter().position(|rule| rule.2 == Way::Naming).unwrap();
        assert_eq!(reach.naming(rule, "default", &BTreeSet::from(["data"])), [1]);
    }
}
