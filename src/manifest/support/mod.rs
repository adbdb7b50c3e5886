//! Which fields of an object are honoured. Every field of every kind stands in the table: a field that is accepted and
//! silently ignored would be a lie.

mod probes;
mod table;
mod values;

use std::collections::HashMap;
use std::sync::OnceLock;

use foldhash::fast::RandomState;
use serde_json::Value;

use super::problem::{Finding, segments};
use super::rules::View;
use super::schema::{self, Shape, Walk};
use crate::model::Kind;

/// What this version does about a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It does what Kubernetes says. The name of a test function that shows it.
    Honoured(&'static str),
    /// It is accepted with a warning, for it cannot change what runs. Why.
    NoEffect(&'static str),
    /// It is refused, for Kubernetes itself does, or this runtime has nothing to honour it with. What to do instead.
    Never(&'static str),
}

/// Every field path of a kind's schema with what is done about it; `None` would be a hole in the table.
pub fn fields(kind: Kind) -> Vec<(String, Option<Support>)> {
    let mut out = Vec::new();
    list(schema::walk(kind), &mut String::new(), &mut |path| out.push((path.to_owned(), lookup(kind, path))));
    out
}

/// The paths of the table as they are written there: each must be a field of some kind.
pub fn entries() -> impl Iterator<Item = &'static str> {
    let covering = table::NO_EFFECT.iter().chain(table::NEVER);
    let honoured = table::HONOURED.iter().chain(probes::HONOURED);
    honoured.chain(covering).chain(table::HARMLESS).map(|(path, _)| *path)
}

/// Whether an entry of the table is about this path of this kind.
pub fn is_about(kind: Kind, entry: &str, path: &str) -> bool {
    spelled_out(kind, entry).iter().any(|own| own == path)
}

fn list(walk: Walk<'_>, path: &mut String, out: &mut impl FnMut(&str)) {
    match walk.shape() {
        Shape::Object => {
            for (name, field) in walk.properties() {
                let length = path.len();
                push(path, name);
                out(path);
                list(field, path, out);
                path.truncate(length);
            }
        }
        Shape::List => {
            let length = path.len();
            path.push_str("[]");
            if let Some(items) = walk.items() {
                list(items, path, out);
            }
            path.truncate(length);
        }
        Shape::Map | Shape::Leaf => {}
    }
}

fn push(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// An entry's path with `@` replaced by what it stands for in a kind.
fn spelled_out(kind: Kind, path: &str) -> Vec<String> {
    match (path.strip_prefix('@'), kind) {
        (None, _) => vec![path.to_owned()],
        (Some(rest), Kind::PodPreset) => vec![format!("spec{rest}")],
        (Some(rest), Kind::Pod) => vec![format!("spec.containers[]{rest}"), format!("spec.initContainers[]{rest}")],
        (Some(_), _) => vec![],
    }
}

/// What is made of a kind when it is first asked for: few runs see every kind.
type PerKind<T> = [OnceLock<T>; Kind::ALL.len()];

/// Entries of a kind by path.
struct Index {
    support: HashMap<String, Support>,
    harmless: HashMap<String, Value>,
}

fn index(kind: Kind) -> &'static Index {
    static ALL: PerKind<Index> = [const { OnceLock::new() }; Kind::ALL.len()];
    ALL[kind as usize].get_or_init(|| Index::of(kind))
}

impl Index {
    fn of(kind: Kind) -> Self {
        let mut support = HashMap::new();
        let mut add = |rows: &[(&str, &'static str)], make: fn(&'static str) -> Support| {
            for (path, text) in rows {
                support.extend(spelled_out(kind, path).into_iter().map(|path| (path, make(text))));
            }
        };
        add(table::HONOURED, Support::Honoured);
        add(probes::HONOURED, Support::Honoured);
        add(table::NO_EFFECT, Support::NoEffect);
        add(table::NEVER, Support::Never);
        let mut harmless = HashMap::new();
        for (path, text) in table::HARMLESS {
            let value: Value = serde_json::from_str(text).expect("invariant: harmless values are JSON");
            harmless.extend(spelled_out(kind, path).into_iter().map(|path| (path, value.clone())));
        }
        Self { support, harmless }
    }
}

/// What is done about a path: its own entry, or one that covers it from above.
fn lookup(kind: Kind, path: &str) -> Option<Support> {
    let support = &index(kind).support;
    if let Some(own) = support.get(path) {
        return Some(*own);
    }
    let mut above = path;
    while let Some(at) = above.rfind(['.', '[']) {
        above = &above[..at];
        if let Some(covering @ (Support::NoEffect(_) | Support::Never(_))) = support.get(above) {
            return Some(*covering);
        }
    }
    None
}

/// The fields of a kind as a tree, each with what is done about it: looked up field by field as an object is walked.
#[derive(Default)]
struct Branch {
    support: Option<Support>,
    harmless: Option<&'static Value>,
    /// Of an object, or of the items of a list.
    fields: HashMap<String, Branch, RandomState>,
    is_list: bool,
}

fn tree(kind: Kind) -> &'static Branch {
    static ALL: PerKind<Branch> = [const { OnceLock::new() }; Kind::ALL.len()];
    ALL[kind as usize].get_or_init(|| Branch::grow(index(kind), schema::walk(kind), &mut String::new()))
}

impl Branch {
    fn grow(index: &'static Index, walk: Walk<'_>, path: &mut String) -> Self {
        let length = path.len();
        let mut branch = Self { is_list: walk.shape() == Shape::List, ..Self::default() };
        let mut inner = walk;
        // Lists of lists have no place in the table.
        if branch.is_list
            && let Some(items) = walk.items()
        {
            path.push_str("[]");
            inner = items;
        }
        if inner.shape() == Shape::Object {
            for (name, field) in inner.properties() {
                let length = path.len();
                push(path, name);
                let (support, harmless) = (index.support.get(path.as_str()), index.harmless.get(path.as_str()));
                let grown = Self { support: support.copied(), harmless, ..Self::grow(index, field, path) };
                branch.fields.insert(name.to_owned(), grown);
                path.truncate(length);
            }
        }
        path.truncate(length);
        branch
    }
}

/// Makes what [`check`] would make for the first object of a kind.
pub(super) fn prepare(kind: Kind) {
    tree(kind);
}

/// What this version says about the fields of an object.
pub(super) fn check(kind: Kind, object: &Value) -> Vec<Finding> {
    let mut out = Vec::new();
    let root = View::root(object);
    Visit { kind, out: &mut out }.descend(tree(kind), &root);
    values::check(kind, &root, &mut out);
    out
}

struct Visit<'a> {
    kind: Kind,
    out: &'a mut Vec<Finding>,
}

impl Visit<'_> {
    fn descend(&mut self, branch: &Branch, view: &View<'_>) {
        if branch.fields.is_empty() {
            return;
        }
        if branch.is_list {
            view.items().for_each(|item| self.fields(branch, &item));
        } else {
            self.fields(branch, view);
        }
    }

    fn fields(&mut self, branch: &Branch, view: &View<'_>) {
        for (name, child) in view.entries() {
            if let Some(field) = branch.fields.get(name) {
                self.field(field, &child);
            }
        }
    }

    fn field(&mut self, branch: &Branch, view: &View<'_>) {
        let passes = || is_empty(view.value) || branch.harmless == Some(view.value);
        match branch.support {
            Some(Support::Honoured(_)) | None => self.descend(branch, view),
            Some(_) if passes() => {}
            Some(Support::NoEffect(why)) => {
                let message = format!("`{}` has no effect here: {why}", name(view));
                let finding = Finding::warning("no-effect", &view.pointer(), message).at_key();
                self.out.push(finding.help("remove it"));
            }
            Some(Support::Never(instead)) => {
                self.out.push(never(self.kind, view, &format!("`{}`", name(view)), instead));
            }
        }
    }
}

fn name(view: &View<'_>) -> String {
    segments(&view.pointer()).last().unwrap_or_default().into_owned()
}

/// Nothing is asked for with an empty value.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The refusal of something that would be ignored.
fn never(kind: Kind, view: &View<'_>, what: &str, instead: &str) -> Finding {
    let message = format!("{what} cannot be honoured by this runtime");
    Finding::error("cannot-be-honoured", &view.pointer(), message).at_key().help(help(kind, instead))
}

fn help(kind: Kind, instead: &str) -> String {
    format!("remove it ({instead}), or exclude the {kind} with the annotation podwright.dev/ignore: \"true\"")
}
