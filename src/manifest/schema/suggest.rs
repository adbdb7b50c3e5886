//! What an unknown field was meant to be: another spelling, or a field of another level.

use std::borrow::Cow;

use serde_json::Value;

use super::walk::{Shape, Walk};
use crate::manifest::problem::{alternatives, escape, field_path, segments};

/// How many places are named for a field that could stand in several.
const SHOWN: usize = 4;

/// What can be said about an unknown field.
pub(super) enum Advice {
    /// It is a field of another level: of which, and what to do.
    Elsewhere { whose: String, help: String },
    /// What to do.
    Here(String),
}

/// What was meant by an unknown field `name` in the mapping at `pointer`.
pub(super) fn advice(root: Walk<'_>, object: &Value, pointer: &str, name: &str) -> Advice {
    let path: Vec<String> = segments(pointer).map(Cow::into_owned).collect();
    let here = root.at(path.iter().cloned());
    if let Some(same) = here.and_then(|here| similar(here, name, 0)) {
        return Advice::Here(format!("did you mean `{same}`?"));
    }
    if let Some(whose) = above(root, object, &path, name) {
        return Advice::Elsewhere { help: format!("indent it less, as a field of {whose}"), whose };
    }
    if let Some(whose) = here.and_then(|here| below(here, object.pointer(pointer), name)) {
        return Advice::Elsewhere { help: format!("indent it one level more, as a field of {whose}"), whose };
    }
    if let Some(near) = here.and_then(|here| similar(here, name, limit(name))) {
        return Advice::Here(format!("did you mean `{near}`?"));
    }
    let known: Vec<&str> = here.into_iter().flat_map(Walk::properties).map(|(name, _)| name).collect();
    Advice::Here(match known.as_slice() {
        [] => "remove it".to_owned(),
        few if few.len() <= 8 => format!("remove it; known fields are {}", few.join(", ")),
        _ => "remove it, or check its spelling in the Kubernetes API reference".to_owned(),
    })
}

/// How many slips a misspelt name may have.
fn limit(name: &str) -> usize {
    (name.chars().count() / 3).clamp(1, 3)
}

/// The field of this level that is nearest to `name`; with `most` 0 only another spelling of the same letters.
fn similar<'a>(here: Walk<'a>, name: &str, most: usize) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let wanted = plain(name);
    here.properties()
        .map(|(field, _)| (strsim::damerau_levenshtein(&plain(field), &wanted), field))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, field)| field)
}

/// The nearest level above that has the field.
fn above(root: Walk<'_>, object: &Value, path: &[String], name: &str) -> Option<String> {
    for length in (0..path.len()).rev() {
        let level = root.at(path[..length].iter().cloned())?;
        if level.shape() != Shape::Object || level.property(name).is_none() {
            continue;
        }
        let pointer: String = path[..length].iter().map(|segment| format!("/{}", escape(segment))).collect();
        let path = field_path(object, &pointer);
        return Some(if path.is_empty() { "the object itself".to_owned() } else { format!("`{path}`") });
    }
    None
}

/// Fields of this level that have `name` as a field of their own; a list's items count. Those that are written come
/// before those that could be.
fn below(here: Walk<'_>, written: Option<&Value>, name: &str) -> Option<String> {
    let has = |child: Walk<'_>| child.items().unwrap_or(child).property(name).is_some();
    let all: Vec<(&str, Walk<'_>)> = here.properties().filter(|(_, child)| has(*child)).collect();
    let is_written = |field: &str| written.is_some_and(|value| value.get(field).is_some());
    let (there, other): (Vec<_>, Vec<_>) = all.into_iter().partition(|(field, _)| is_written(field));
    let chosen = if there.is_empty() { other } else { there };
    let shown: Vec<String> = chosen.iter().take(SHOWN).map(|(field, child)| of_field(field, *child)).collect();
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    (!shown.is_empty()).then(|| alternatives(&shown))
}

fn of_field(field: &str, child: Walk<'_>) -> String {
    match child.shape() {
        Shape::List => format!("an item of `{field}`"),
        _ => format!("`{field}`"),
    }
}
