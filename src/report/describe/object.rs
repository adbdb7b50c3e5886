//! `describe` of what kubectl has no page of its own for: every field by its name, as its generic describer (pkg/describe) has
//! them.

use std::fmt::Write as _;

use serde_json::Value;

use super::{annotations, map, texts};
use crate::report::tabs;

/// Members of `metadata` that are told in other words, or not at all.
const TOLD: [&str; 5] = ["annotations", "labels", "managedFields", "name", "namespace"];
/// Words that are written in capitals.
const ACRONYMS: [&str; 5] = ["API", "URL", "UID", "OSB", "GUID"];

/// The description of an object as the API serves it, which nothing has happened to.
pub fn describe_object(object: &Value) -> String {
    let metadata = &object["metadata"];
    let mut out = String::new();
    for (title, member) in [("Name", "name"), ("Namespace", "namespace")] {
        let _ = writeln!(out, "{title}:\t{}", metadata[member].as_str().unwrap_or_default());
    }
    map(&mut out, "Labels:", Some(&texts(&metadata["labels"])));
    annotations(&mut out, Some(&texts(&metadata["annotations"])));
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|name, _| !TOLD.contains(&name.as_str()));
    }
    fields(&mut out, 0, &object);
    out.push_str("Events:\t<none>\n");
    tabs::align(&out, 0, 2)
}

fn fields(out: &mut String, level: usize, object: &Value) {
    let mut members: Vec<(&String, &Value)> = object.as_object().into_iter().flatten().collect();
    members.sort_by_key(|(name, _)| *name);
    let indent = "  ".repeat(level);
    for (name, value) in members {
        let label = label(name);
        match value {
            Value::Object(_) => {
                let _ = writeln!(out, "{indent}{label}:");
                fields(out, level + 1, value);
            }
            Value::Array(items) => {
                let _ = writeln!(out, "{indent}{label}:");
                for item in items {
                    match item {
                        Value::Object(_) => fields(out, level + 1, item),
                        _ => drop(writeln!(out, "{indent}  {}", plain(item))),
                    }
                }
            }
            _ => drop(writeln!(out, "{indent}{label}:\t{}", plain(value))),
        }
    }
}

/// A value as Go prints it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `firstTimestamp` as `First Timestamp`, `uid` as `UID`; a name with anything but letters and `-` as it is.
fn label(name: &str) -> String {
    if !name.chars().all(|c| c.is_alphabetic() || c == '-') {
        return name.to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    let characters: Vec<char> = name.chars().collect();
    for (index, c) in characters.iter().enumerate() {
        let before = index.checked_sub(1).map(|i| characters[i]);
        let after = characters.get(index + 1);
        // A capital begins a word, but within capitals only where small letters follow: `podIPs` is `pod`, `I`, `Ps`.
        let begins = match (before, c.is_uppercase()) {
            (None, _) => true,
            (Some(before), true) => !before.is_uppercase() || after.is_some_and(|next| next.is_lowercase()),
            (Some(_), false) => false,
        };
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(*c);
        }
    }
    let written = words.iter().map(|word| match ACRONYMS.contains(&word.to_uppercase().as_str()) {
        true => word.to_uppercase(),
        false => word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect(),
    });
    written.collect::<Vec<String>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::label;

    #[test]
    fn names_of_fields_become_words() {
        for (name, words) in [
            ("apiVersion", "API Version"),
            ("firstTimestamp", "First Timestamp"),
            ("uid", "UID"),
            ("reportingComponent", "Reporting Component"),
            ("hostIPC", "Host IPC"),
            ("app.kubernetes.io/name", "app.kubernetes.io/name"),
        ] {
            assert_eq!(label(name), words);
        }
    }
}
