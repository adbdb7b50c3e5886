//! The report for a terminal: a line per object with its causes, its hunks, and the counts last.

use std::fmt::Write as _;

use super::escape::line;
use super::{Attention, Concern, DataKey, DiffReport, KeyChange, KindCounts, ObjectDiff};
use crate::model::{Cause, FieldChange, Kind, ObjectKey, SourceRef, Verb};

/// The report as text; without differences it is the counts alone. Environment values in specs are shown: those of
/// Secrets are never part of a spec.
pub fn diff_text(report: &DiffReport) -> String {
    let mut out = String::new();
    for object in &report.objects {
        write_object(object, &mut out);
    }
    for item in &report.attention {
        match item.concern {
            Concern::InvalidBase => drop(writeln!(out, "! invalid base: {}", diagnostic(item))),
            Concern::Immutable => drop(writeln!(out, "! {}", refusal(item))),
            Concern::PresetConflict => drop(writeln!(out, "! {}", conflict(item))),
            _ => {}
        }
    }
    for row in &report.counts {
        let _ = writeln!(out, "{}", counts(row));
    }
    if report.objects.is_empty() {
        out.push_str("nothing changes\n");
    }
    for note in &report.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

fn write_object(object: &ObjectDiff, out: &mut String) {
    let sign = match object.verb {
        Verb::Create => '+',
        Verb::Delete => '-',
        _ => '~',
    };
    let _ = write!(out, "{sign} {}  {}", object.key, object.verb_text());
    let causes = causes(object);
    if !causes.is_empty() {
        let _ = write!(out, "  {causes}");
    }
    out.push('\n');
    for (label, text) in details(object) {
        let _ = writeln!(out, "    {label}: {}", line(&text));
    }
    if object.hunks.is_empty() {
        return;
    }
    let old = object.renamed_from.as_ref().map_or_else(|| object.key.clone(), |from| from.object());
    let _ = writeln!(out, "--- {}", side("a", &old, object.before.as_ref(), object.verb != Verb::Create));
    let _ = writeln!(out, "+++ {}", side("b", &object.key, object.after.as_ref(), object.verb != Verb::Delete));
    for hunk in &object.hunks {
        let _ = writeln!(out, "{}", hunk.header);
        for text in &hunk.lines {
            let _ = writeln!(out, "{text}");
        }
    }
}

/// The name of one side, with the place it was written at.
fn side(prefix: &str, key: &ObjectKey, at: Option<&SourceRef>, exists: bool) -> String {
    if !exists && at.is_none() {
        return "/dev/null".to_owned();
    }
    let name = [prefix, key.kind.as_str(), &key.namespace, &key.name];
    let name = name.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    match at {
        Some(at) => format!("{name}  {}:{}", line(&at.path), at.line),
        None => name,
    }
}

/// Fields and keys, on one line.
fn causes(object: &ObjectDiff) -> String {
    let mut all: Vec<String> = Vec::new();
    all.extend(object.renamed_from.as_ref().map(|from| format!("renamed from {from}")));
    all.extend(object.renamed_to.as_ref().map(|to| format!("renamed to {to}")));
    if object.verb == Verb::UpdateInPlace {
        all.extend(object.keys.iter().filter(|key| key.change != KeyChange::Unchanged).map(key_text));
    }
    all.extend(object.changes.iter().map(|change| line(&field(change))));
    all.dedup();
    all.join(", ")
}

fn key_text(key: &DataKey) -> String {
    match key.change {
        KeyChange::Added => format!("{} (new)", key.name),
        KeyChange::Removed => format!("{} (gone)", key.name),
        KeyChange::Changed | KeyChange::Unchanged => key.name.clone(),
    }
}

/// A field with what is behind it.
fn field(change: &FieldChange) -> String {
    match &change.cause {
        Cause::Preset { name } => format!("{} (PodPreset {name})", change.field),
        Cause::Data { object, keys } => format!("{} ({object}: {})", change.field, keys.join(", ")),
        other => match other.of_node() {
            Some(node) => format!("{} ({node})", change.field),
            None => change.field.clone(),
        },
    }
}

/// What is worth a line of its own, each sentence once.
fn details(object: &ObjectDiff) -> Vec<(&'static str, String)> {
    let mut all: Vec<(&'static str, String)> = Vec::new();
    if !object.used_by.is_empty() {
        let pods: Vec<String> = object.used_by.iter().map(ToString::to_string).collect();
        all.push(("used by", pods.join(", ")));
    }
    for preset in &object.presets {
        all.push(("preset", format!("{} {}", preset.name, preset.words())));
    }
    for change in &object.changes {
        let sentences = [("avoidable", &change.avoidable), ("note", &change.note)];
        for (label, text) in sentences.into_iter().filter_map(|(label, text)| Some((label, text.clone()?))) {
            if !all.contains(&(label, text.clone())) {
                all.push((label, text));
            }
        }
    }
    all
}

/// `path:line:column: message`, as far as it has a place.
fn diagnostic(item: &Attention) -> String {
    let at = item.at.as_ref().map_or(String::new(), |at| format!("{}:{}:{}: ", at.path, at.line, at.column));
    line(&format!("{at}{}", item.message.as_deref().unwrap_or_default()))
}

fn refusal(item: &Attention) -> String {
    let object = item.object.as_ref().map(ToString::to_string).unwrap_or_default();
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    line(&format!("{object}: {}: {}", part(&item.field), part(&item.message)))
}

fn conflict(item: &Attention) -> String {
    let object = item.object.as_ref().map(ToString::to_string).unwrap_or_default();
    let part = |text: &Option<String>| line(text.as_deref().unwrap_or_default());
    format!(
        "{object}: no PodPreset is merged: {} conflicts on {}: {}",
        part(&item.preset),
        part(&item.field),
        part(&item.message)
    )
}

fn counts(row: &KindCounts) -> String {
    let kind = row.kind;
    if kind == Kind::Pod {
        let elsewhere = match row.not_for_this_machine {
            0 => String::new(),
            count => format!(", {count} not for this machine"),
        };
        return format!(
            "{kind}: {} to create, {} to update in place, {} to restart, {} to recreate, {} to delete, {} unchanged{elsewhere}",
            row.create, row.update_in_place, row.restart_container, row.recreate, row.delete, row.unchanged
        );
    }
    format!(
        "{kind}: {} to create, {} to change, {} to delete, {} unchanged",
        row.create, row.update_in_place, row.delete, row.unchanged
    )
}
