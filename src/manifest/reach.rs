//! Which unchanged files a comparison must read: those that can matter to what changed, or to whether it is valid.
//!
//! [`RULES`] is the whole of it. Where a rule cannot know without parsing, it says yes: a file read in vain costs time,
//! one that is missed would make the comparison wrong.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::outline::Named;
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
}

use Kind::{ConfigMap, Namespace, Pod, PodPreset, Secret, ServiceAccount};
use Weight::{Affected, Changed, Needed};

/// An object of one of these kinds with at least this weight, the way, the kinds it leads to, and the weight they get.
type Rule = (&'static [Kind], Weight, Way, &'static [Kind], Weight);

const RULES: &[Rule] = &[
    // Presets are merged into the pods of their namespace, and give them volumes.
    (&[Pod], Needed, Way::Neighbours, &[PodPreset], Needed),
    (&[PodPreset], Affected, Way::Neighbours, &[Pod], Affected),
    // Pods use data and accounts, by themselves or through a preset; accounts name secrets.
    (&[Pod, PodPreset, ServiceAccount], Needed, Way::Named, &[ConfigMap, Secret, ServiceAccount], Needed),
    (&[ConfigMap, Secret, ServiceAccount], Affected, Way::Naming, &[Pod, PodPreset, ServiceAccount], Affected),
    (&[Pod], Needed, Way::DefaultAccount, &[ServiceAccount], Needed),
    (&[ServiceAccount], Affected, Way::DefaultAccount, &[Pod], Affected),
    (&[Pod], Changed, Way::Home, &[Namespace], Needed),
    // What may be there only once.
    (&Kind::ALL, Changed, Way::Twins, &Kind::ALL, Needed),
    (&[Pod], Changed, Way::HostPorts, &[Pod], Needed),
];

/// A file that both sides have and that is not read yet.
#[derive(Debug)]
pub(super) struct Unread<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) objects: Vec<Named<'a>>,
    /// Whether more may be written in it than its bytes show.
    pub(super) obscure: bool,
}

/// An object that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read<'a> {
    pub(super) key: &'a ObjectKey,
    /// `None` for an object with errors.
    pub(super) value: Option<&'a Value>,
    pub(super) has_host_ports: bool,
    pub(super) weight: Weight,
}

/// The unread files, by what they hold.
pub(super) struct Reach<'a> {
    files: &'a [Unread<'a>],
    weights: Vec<Option<Weight>>,
    /// The first file with an object, and the others: more than one is rare.
    by_name: HashMap<Named<'a>, (usize, Vec<usize>)>,
    by_namespace: HashMap<(Kind, &'a str), Vec<usize>>,
    /// Namespaces and rules that were followed: the same again would lead to the same files.
    followed: BTreeSet<(String, usize)>,
}

impl<'a> Reach<'a> {
    /// Nothing is reached yet.
    pub(super) fn new(files: &'a [Unread<'a>]) -> Self {
        let mut by_name: HashMap<Named<'a>, (usize, Vec<usize>)> = HashMap::with_capacity(files.len());
        let mut by_namespace: HashMap<(Kind, &'a str), Vec<usize>> = HashMap::new();
        for (index, file) in files.iter().enumerate() {
            for object in &file.objects {
                match by_name.entry(*object) {
                    Entry::Occupied(mut known) => known.get_mut().1.push(index),
                    Entry::Vacant(free) => drop(free.insert((index, Vec::new()))),
                }
                by_namespace.entry((object.kind, object.namespace)).or_default().push(index);
            }
        }
        Self { files, weights: vec![None; files.len()], by_name, by_namespace, followed: BTreeSet::new() }
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
        let mut found = Vec::new();
        let mut named: BTreeMap<(usize, &str), BTreeSet<&str>> = BTreeMap::new();
        for object in objects {
            for (index, (from, at_least, way, ..)) in RULES.iter().enumerate() {
                if !from.contains(&object.key.kind) || object.weight < *at_least {
                    continue;
                }
                if *way == Way::Naming {
                    named.entry((index, &object.key.namespace)).or_default().insert(&object.key.name);
                } else {
                    found.extend(self.follow(index, object).into_iter().map(|file| (file, RULES[index].4)));
                }
            }
        }
        for ((index, namespace), names) in named {
            let files = self.naming(index, namespace, &names);
            found.extend(files.into_iter().map(|file| (file, RULES[index].4)));
        }
        found.into_iter().filter(|(file, weight)| self.raise(*file, *weight)).map(|(file, _)| file).collect()
    }

    fn follow(&mut self, rule: usize, object: &Read<'_>) -> Vec<usize> {
        let (_, _, way, to, _) = RULES[rule];
        let Read { key, value, .. } = object;
        let once = |followed: &mut BTreeSet<(String, usize)>| followed.insert((key.namespace.clone(), rule));
        match way {
            Way::Neighbours => match once(&mut self.followed) {
                true => self.of_namespace(&key.namespace, to),
                false => vec![],
            },
            Way::HostPorts if object.has_host_ports && self.followed.insert((String::new(), rule)) => {
                self.with_host_ports()
            }
            Way::DefaultAccount if key.kind == ServiceAccount && key.name == "default" => {
                self.of_namespace(&key.namespace, to)
            }
            Way::DefaultAccount if key.kind == Pod => self.named(to, &key.namespace, "default"),
            Way::Home => self.named(to, "", &key.namespace),
            Way::Twins => self.named(&[key.kind], &key.namespace, &key.name),
            Way::Named => {
                let mut texts = BTreeSet::new();
                value.iter().for_each(|value| add_texts(value, &mut texts));
                texts.into_iter().flat_map(|text| self.named(to, &key.namespace, text)).collect()
            }
            Way::HostPorts | Way::DefaultAccount | Way::Naming => vec![],
        }
    }

    fn of_namespace(&self, namespace: &str, kinds: &[Kind]) -> Vec<usize> {
        kinds.iter().filter_map(|kind| self.by_namespace.get(&(*kind, namespace))).flatten().copied().collect()
    }

    fn named(&self, kinds: &[Kind], namespace: &str, name: &str) -> Vec<usize> {
        let found = |kind: &Kind| self.by_name.get(&Named { kind: *kind, namespace, name });
        kinds
            .iter()
            .filter_map(found)
            .flat_map(|(first, others)| std::iter::once(first).chain(others))
            .copied()
            .collect()
    }

    /// The files of a namespace in which one of some names stands.
    fn naming(&self, rule: usize, namespace: &str, names: &BTreeSet<&str>) -> Vec<usize> {
        let mut found = self.of_namespace(namespace, RULES[rule].3);
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

/// Every text in a value.
fn add_texts<'v>(value: &'v Value, texts: &mut BTreeSet<&'v str>) {
    match value {
        Value::String(text) => drop(texts.insert(text)),
        Value::Array(items) => items.iter().for_each(|item| add_texts(item, texts)),
        Value::Object(map) => map.values().for_each(|value| add_texts(value, texts)),
        _ => {}
    }
}
