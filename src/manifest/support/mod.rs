//! Which fields of an object are honoured. Every field of every kind stands in the table: a field that is accepted and
//! silently ignored would be a lie.

mod table;
mod values;

use std::collections::HashMap;
use std::sync::LazyLock;

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
    /// It is refused. What to do instead.
    NotYet(&'static str),
}

/// Every field path of a kind's schema with what is done about it; `None` would be a hole in the table.
pub fn fields(kind: Kind) -> Vec<(String, Option<Support>)> {
    let mut out = Vec::new();
    list(schema::walk(kind), &mut String::new(), &mut |path| out.push((path.to_owned(), lookup(kind, path))));
    out
}

/// The paths of the table as they are written there: each must be a field of some kind.
pub fn entries() -> impl Iterator<Item = &'static str> {
    let covering = table::NO_EFFECT.iter().chain(table::NOT_YET);
    let honoured = table::HONOURED.iter();
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

/// Entries of a kind by path.
struct Index {
    support: HashMap<String, Support>,
    harmless: HashMap<String, Value>,
}

fn index(kind: Kind) -> &'static Index {
    static ALL: LazyLock<HashMap<Kind, Index>> =
        LazyLock::new(|| Kind::ALL.into_iter().map(|kind| (kind, Index::of(kind))).collect());
    ALL.get(&kind).expect("invariant: every kind is indexed")
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
        add(table::NO_EFFECT, Support::NoEffect);
        add(table::NOT_YET, Support::NotYet);
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
        if let Some(covering @ (Support::NoEffect(_) | Support::NotYet(_))) = support.get(above) {
            return Some(*covering);
        }
    }
    None
}

/// What this version says about the fields of an object.
pub(super) fn check(kind: Kind, object: &Value) -> Vec<Finding> {
    let mut out = Vec::new();
    let root = View::root(object);
    Visit { kind, index: index(kind), out: &mut out }.descend(schema::walk(kind), &root, &mut String::new());
    values::check(kind, &root, &mut out);
    out
}

struct Visit<'a> {
    kind: Kind,
    index: &'static Index,
    out: &'a mut Vec<Finding>,
}

impl Visit<'_> {
    fn descend(&mut self, walk: Walk<'_>, view: &View<'_>, path: &mut String) {
        match walk.shape() {
            Shape::Object => {
                for (name, child) in view.entries() {
                    let Some(field) = walk.property(name) else { continue };
                    let length = path.len();
                    push(path, name);
                    self.field(field, &child, path);
                    path.truncate(length);
                }
            }
            Shape::List => {
                let Some(items) = walk.items() else { return };
                let length = path.len();
                path.push_str("[]");
                for child in view.items() {
                    self.descend(items, &child, path);
                }
                path.truncate(length);
            }
            Shape::Map | Shape::Leaf => {}
        }
    }

    fn field(&mut self, walk: Walk<'_>, view: &View<'_>, path: &mut String) {
        let support = self.index.support.get(path.as_str()).copied();
        let passes = || is_empty(view.value) || self.index.harmless.get(path.as_str()) == Some(view.value);
        match support {
            Some(Support::Honoured(_)) | None => self.descend(walk, view, path),
            Some(_) if passes() => {}
            Some(Support::NoEffect(why)) => {
                let message = format!("`{}` has no effect here: {why}", name(view));
                let finding = Finding::warning("no-effect", &view.pointer, message).at_key();
                self.out.push(finding.help("remove it"));
            }
            Some(Support::NotYet(instead)) => {
                self.out.push(not_yet(self.kind, view, &format!("`{}`", name(view)), instead));
            }
        }
    }
}

fn name(view: &View<'_>) -> String {
    segments(&view.pointer).last().unwrap_or_default()
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
fn not_yet(kind: Kind, view: &View<'_>, what: &str, instead: &str) -> Finding {
    let message = format!("{what} is not honoured yet");
    let help =
        format!("remove it ({instead}), or exclude the {kind} with the annotation podwright.dev/ignore: \"true\"");
    Finding::error("not-honoured-yet", &view.pointer, message).at_key().help(help)
}
