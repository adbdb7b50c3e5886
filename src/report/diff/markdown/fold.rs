//! One object behind a fold: its causes, its hunks, and where it is written.

use std::fmt::Write as _;

use super::super::escape::{code_of, fence, html_code};
use super::super::{KeyChange, ObjectDiff};
use super::attention::{Detail, SENTENCE, causes, place, sentences};
use crate::model::{Kind, SourceRef, Verb};

/// The fold, with a line end.
pub(super) fn fold(object: &ObjectDiff) -> String {
    // A blank line ends the HTML block: what follows is Markdown again.
    let mut out = format!("\n<details><summary>{}</summary>\n\n", summary(object));
    let causes = causes(object, Detail::Full);
    let verb = object.verb_text();
    let _ = if causes.is_empty() { writeln!(out, "{verb}") } else { writeln!(out, "{verb}: {causes}") };
    for (label, text) in sentences(object) {
        let _ = writeln!(out, "- {label}: {}", code_of(text, SENTENCE));
    }
    out.push('\n');
    if !object.hunks.is_empty() {
        let body = body(object);
        let fence = fence(&body);
        let _ = writeln!(out, "{fence}diff\n{body}{fence}\n");
    }
    if let Some(written) = written(object.before.as_ref(), object.after.as_ref()) {
        let _ = writeln!(out, "{written}\n");
    }
    out.push_str("</details>\n");
    out
}

fn body(object: &ObjectDiff) -> String {
    let mut body = String::new();
    for hunk in &object.hunks {
        let _ = writeln!(body, "{}", hunk.header);
        for line in &hunk.lines {
            let _ = writeln!(body, "{line}");
        }
    }
    body
}

fn written(before: Option<&SourceRef>, after: Option<&SourceRef>) -> Option<String> {
    Some(match (before, after) {
        (None, None) => return None,
        (None, Some(at)) => format!("written at {}", place(at)),
        (Some(at), None) => format!("was written at {}", place(at)),
        (Some(a), Some(b)) if a.path == b.path => format!("written at {}", place(b)),
        (Some(a), Some(b)) => format!("written at {}, before at {}", place(b), place(a)),
    })
}

fn summary(object: &ObjectDiff) -> String {
    let key = &object.key;
    let name = if key.namespace.is_empty() { key.name.clone() } else { format!("{}/{}", key.namespace, key.name) };
    let mut out = format!("{} {} {}", icon(object), key.kind, html_code(&name));
    if !object.hunks.is_empty() {
        let _ = write!(out, " (+{} −{})", object.added, object.removed);
    }
    if object.verb == Verb::UpdateInPlace && !object.keys.is_empty() {
        let changed = object.keys.iter().filter(|key| key.change != KeyChange::Unchanged).count();
        let all = object.keys.len();
        let _ = write!(out, " — {changed} of {all} key{}", if all == 1 { "" } else { "s" });
    }
    for preset in &object.presets {
        let _ = write!(out, " — PodPreset {} {}", html_code(&preset.name), preset.words());
    }
    out
}

fn icon(object: &ObjectDiff) -> &'static str {
    match (object.verb, object.key.kind) {
        (Verb::Create, _) => "➕",
        (Verb::Delete, _) => "🗑️",
        (Verb::Recreate, _) => "🔁",
        (Verb::RestartContainer, _) => "🔄",
        (Verb::UpdateInPlace | Verb::Unchanged, Kind::Secret) => "🔑",
        (Verb::UpdateInPlace | Verb::Unchanged, _) => "✏️",
    }
}
