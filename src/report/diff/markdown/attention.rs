//! The Attention part: errors of the base, what is recreated, restarted or deleted, data that changes, presets that conflict, new warnings.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::super::escape::{code, code_of};
use super::super::{Attention, Concern, DataKey, DiffReport, KeyChange, ObjectDiff};
use crate::model::{Cause, FieldChange, Kind, ObjectKey, PodKey, SourceRef};

/// The longest foreign sentence that is repeated, in characters.
pub(super) const SENTENCE: usize = 300;

/// How much of each item is told, the fullest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Every field with its cause, and how it could be avoided.
    Full,
    /// A line per item with its first fields.
    Short,
    /// A line per concern with the first names.
    Named,
    /// A line per concern.
    Counted,
}

/// How much is told of what changes, and of what is wrong or cannot be, which the tables and folds do not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Details {
    changes: Detail,
    warnings: Detail,
}

impl Details {
    /// The fullest first: what is wrong stays whole as long as it fits.
    pub(super) const ALL: [Details; 7] = [
        Details::new(Detail::Full, Detail::Full),
        Details::new(Detail::Short, Detail::Full),
        Details::new(Detail::Named, Detail::Full),
        Details::new(Detail::Counted, Detail::Full),
        Details::new(Detail::Counted, Detail::Short),
        Details::new(Detail::Counted, Detail::Named),
        Details::LEAST,
    ];
    pub(super) const LEAST: Details = Details::new(Detail::Counted, Detail::Counted);

    const fn new(changes: Detail, warnings: Detail) -> Self {
        Self { changes, warnings }
    }

    fn of(self, concern: Concern) -> Detail {
        if is_change(concern) { self.changes } else { self.warnings }
    }
}

/// Whether a concern is about an object that changes.
fn is_change(concern: Concern) -> bool {
    match concern {
        Concern::Delete | Concern::Recreate | Concern::Restart | Concern::Secret | Concern::Data => true,
        Concern::InvalidBase | Concern::Immutable | Concern::PresetConflict | Concern::Warning => false,
    }
}

impl Detail {
    /// How many fields, keys or names a line has; the others are counted.
    fn limit(self) -> usize {
        match self {
            Detail::Full => 20,
            Detail::Short => 2,
            Detail::Named => 10,
            Detail::Counted => 0,
        }
    }
}

/// The whole part; nothing without items.
pub(super) fn section(report: &DiffReport, details: Details) -> String {
    if report.attention.is_empty() {
        return String::new();
    }
    let mut out = String::from("\n### ⚠️ Attention\n\n");
    let objects: BTreeMap<&ObjectKey, &ObjectDiff> = report.objects.iter().map(|o| (&o.key, o)).collect();
    for concern in Concern::ALL {
        let items: Vec<&Attention> = report.attention.iter().filter(|item| item.concern == concern).collect();
        match details.of(concern) {
            _ if items.is_empty() => {}
            detail @ (Detail::Full | Detail::Short) => {
                items.into_iter().for_each(|item| write_item(item, &objects, detail, &mut out));
            }
            detail @ (Detail::Named | Detail::Counted) => write_group(concern, &items, detail, &mut out),
        }
    }
    out
}

/// A line for a concern, with as many names as the detail allows.
fn write_group(concern: Concern, items: &[&Attention], detail: Detail, out: &mut String) {
    let _ = write!(out, "- **{}**: {}", word(concern), items.len());
    let mut names: Vec<String> = items.iter().filter_map(|item| Some(name(item.object.as_ref()?))).collect();
    names.dedup();
    if detail.limit() > 0 && !names.is_empty() {
        let _ = write!(out, ": {}", listed(&names, detail.limit()));
    }
    out.push('\n');
}

fn word(concern: Concern) -> &'static str {
    match concern {
        Concern::InvalidBase => "invalid base",
        Concern::Delete => "delete",
        Concern::Recreate => "recreate",
        Concern::Restart => "restart container",
        Concern::Secret => "secret",
        Concern::Data => "data",
        Concern::Immutable => "immutable",
        Concern::PresetConflict => "preset conflict",
        Concern::Warning => "warning",
    }
}

fn write_item(item: &Attention, objects: &BTreeMap<&ObjectKey, &ObjectDiff>, detail: Detail, out: &mut String) {
    // What is known of an object that changes says nothing about what else is wrong with it.
    let object = item.object.as_ref().filter(|_| is_change(item.concern)).and_then(|key| objects.get(key)).copied();
    let _ = write!(out, "- **{}**", word(item.concern));
    if let Some(key) = &item.object {
        let _ = write!(out, " {}", name(key));
    }
    let told = match item.concern {
        Concern::PresetConflict => conflict(item),
        Concern::Immutable => {
            format!("{}: {}", code_of(item.field.as_deref().unwrap_or_default(), SENTENCE), diagnostic(item))
        }
        Concern::Warning | Concern::InvalidBase => diagnostic(item),
        Concern::Delete | Concern::Recreate | Concern::Restart | Concern::Secret | Concern::Data => {
            object.map(|object| causes(object, detail)).unwrap_or_default()
        }
    };
    if !told.is_empty() {
        let _ = write!(out, ": {told}");
    }
    out.push('\n');
    if detail == Detail::Full {
        let help = item.help.as_deref().map(|help| ("way out", help));
        for (label, text) in object.into_iter().flat_map(sentences).chain(help) {
            let _ = writeln!(out, "  - {label}: {}", code_of(text, SENTENCE));
        }
        if let Some(data) = object {
            write_users(data, objects, out);
        }
    }
}

/// What changed data means for the pods that use it, where the planner has something to say about that.
fn write_users(data: &ObjectDiff, objects: &BTreeMap<&ObjectKey, &ObjectDiff>, out: &mut String) {
    let of_data = |change: &&FieldChange| matches!(&change.cause, Cause::Data { object, .. } if *object == data.key);
    let mut lines: Vec<String> = Vec::new();
    for user in data.used_by.iter().filter_map(|pod| objects.get(&pod.object())) {
        let notes: BTreeSet<&str> = user.changes.iter().filter(of_data).filter_map(|c| c.note.as_deref()).collect();
        lines.extend(notes.iter().map(|note| format!("{}: {}", name(&user.key), code_of(note, SENTENCE))));
    }
    let limit = Detail::Full.limit();
    for line in lines.iter().take(limit) {
        let _ = writeln!(out, "  - {line}");
    }
    if lines.len() > limit {
        let _ = writeln!(out, "  - and {} more", lines.len() - limit);
    }
}

/// Kind and full name. Names are DNS names by validation, and escaped all the same.
pub(super) fn name(key: &ObjectKey) -> String {
    if key.namespace.is_empty() {
        format!("{} {}", key.kind, code(&key.name))
    } else {
        format!("{} {}", key.kind, code(&format!("{}/{}", key.namespace, key.name)))
    }
}

/// Why an object is here: renames, keys, fields, and who uses it.
pub(super) fn causes(object: &ObjectDiff, detail: Detail) -> String {
    let mut parts: Vec<String> = Vec::new();
    let pod = |key: &PodKey| code(&key.to_string());
    parts.extend(object.renamed_from.as_ref().map(|from| format!("renamed from {}", pod(from))));
    parts.extend(object.renamed_to.as_ref().map(|to| format!("renamed to {}", pod(to))));
    let mut told: Vec<String> = Vec::new();
    if matches!(object.key.kind, Kind::Secret | Kind::ConfigMap) {
        told.extend(object.keys.iter().filter_map(|key| key_words(object.key.kind, key)));
    }
    told.extend(object.changes.iter().map(field));
    told.dedup();
    if !told.is_empty() {
        parts.push(listed(&told, detail.limit()));
    }
    if !object.used_by.is_empty() {
        let pods: Vec<String> = object.used_by.iter().map(pod).collect();
        parts.push(format!("used by {}", listed(&pods, detail.limit())));
    }
    parts.join("; ")
}

/// What becomes of a key; a value of a Secret is only ever a mask.
fn key_words(kind: Kind, key: &DataKey) -> Option<String> {
    let name = code(&key.name);
    let secret = kind == Kind::Secret;
    Some(match key.change {
        KeyChange::Unchanged => return None,
        KeyChange::Changed if secret => code(&format!("{}: *** (before) → *** (after)", key.name)),
        KeyChange::Changed => name,
        KeyChange::Added => format!("{name} new"),
        KeyChange::Removed => format!("{name} gone"),
    })
}

/// A field with what is behind it.
fn field(change: &FieldChange) -> String {
    let field = code_of(&change.field, SENTENCE);
    match &change.cause {
        Cause::Preset { name } => format!("{field} (PodPreset {})", code(name)),
        Cause::Data { object, keys } => {
            let keys: Vec<String> = keys.iter().map(|key| code(key)).collect();
            format!("{field} ({}: {})", name(object), listed(&keys, 5))
        }
        other => match other.of_node() {
            Some(node) => format!("{field} ({node})"),
            None => field,
        },
    }
}

/// How the changes could be avoided and what else is to be known, each sentence once.
pub(super) fn sentences(object: &ObjectDiff) -> Vec<(&'static str, &str)> {
    let mut all = Vec::new();
    for change in &object.changes {
        let of = [("avoidable", change.avoidable.as_deref()), ("note", change.note.as_deref())];
        for (label, text) in of.into_iter().filter_map(|(label, text)| Some((label, text?))) {
            if !all.contains(&(label, text)) {
                all.push((label, text));
            }
        }
    }
    all.truncate(20);
    all
}

fn conflict(item: &Attention) -> String {
    let part = |text: &Option<String>, most| code_of(text.as_deref().unwrap_or_default(), most);
    let (preset, field) = (part(&item.preset, SENTENCE), part(&item.field, SENTENCE));
    // Two values, which admission has cut, and where they were written.
    let message = part(&item.message, 4 * SENTENCE);
    let places = match (&item.existing_at, &item.at) {
        (Some(existing), Some(wanted)) => format!("; written at {} and {}", place(existing), place(wanted)),
        _ => String::new(),
    };
    format!("no preset is merged: PodPreset {preset} conflicts on {field}: {message}{places}")
}

fn diagnostic(item: &Attention) -> String {
    let message = code_of(item.message.as_deref().unwrap_or_default(), SENTENCE);
    match &item.at {
        Some(at) => format!("{message} at {}", place(at)),
        None => message,
    }
}

/// A file and a line.
pub(super) fn place(at: &SourceRef) -> String {
    code_of(&format!("{}:{}", at.path, at.line), SENTENCE)
}

/// The first of a list; the others are counted.
fn listed(parts: &[String], limit: usize) -> String {
    let shown = parts.iter().take(limit).map(String::as_str).collect::<Vec<_>>().join(", ");
    match parts.len().saturating_sub(limit) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
