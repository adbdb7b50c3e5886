//! What an unknown field was meant to be: another spelling, or a field of another level.

use serde_json::Value;

use super::walk::{Shape, Walk};
use crate::manifest::problem::{field_path, segments};

/// The way out for an unknown field `name` in the mapping at `pointer`.
pub(super) fn help(root: Walk<'_>, object: &Value, pointer: &str, name: &str) -> String {
    let path: Vec<String> = segments(pointer).collect();
    let here = root.at(path.iter().cloned());
    if let Some(same) = here.and_then(|here| similar(here, name, 0)) {
        return format!("did you mean `{same}`?");
    }
    if let Some(place) = above(root, object, &path, name) {
        return place;
    }
    if let Some(child) = here.and_then(|here| below(here, name)) {
        return format!("`{name}` belongs under `{child}`: indent it one level more");
    }
    if let Some(near) = here.and_then(|here| similar(here, name, limit(name))) {
        return format!("did you mean `{near}`?");
    }
    let known: Vec<&str> = here.into_iter().flat_map(Walk::properties).map(|(name, _)| name.as_str()).collect();
    match known.as_slice() {
        [] => "remove it".to_owned(),
        few if few.len() <= 8 => format!("remove it; known fields are {}", few.join(", ")),
        _ => "remove it, or check its spelling in the Kubernetes API reference".to_owned(),
    }
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
        .map(|(field, _)| (strsim::damerau_levenshtein(&plain(field), &wanted), field.as_str()))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, field)| field)
}

/// The nearest level above that has the field.
fn above(root: Walk<'_>, object: &Value, path: &[String], name: &str) -> Option<String> {
    for length in (0..path.len()).rev() {
        let level = root.at(path[..length].iter().cloned())?;
        if level.shape() != Shape::Object || !level.properties().any(|(field, _)| field == name) {
            continue;
        }
        let pointer: String = path[..length].iter().map(|segment| format!("/{segment}")).collect();
        let path = field_path(object, &pointer);
        let whose = if path.is_empty() { "the object itself".to_owned() } else { format!("`{path}`") };
        return Some(format!("`{name}` is a field of {whose}: indent it less"));
    }
    None
}

/// A field of this level that has `name` as a field of its own; a list's items count.
fn below<'a>(here: Walk<'a>, name: &str) -> Option<&'a str> {
    here.properties()
        .find(|(_, child)| {
            let inner = child.items().unwrap_or(*child);
            inner.properties().any(|(field, _)| field == name)
        })
        .map(|(field, _)| field.as_str())
}
