//! A problem before it is a diagnostic: first at a pointer into an object, then at a place in its file.

use std::borrow::Cow;

use serde_json::Value;

use super::limits::QUOTED;
use super::yaml::Span;
use crate::model::{Rule, Severity};

/// A problem of a file, at a place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Problem {
    pub(super) severity: Severity,
    pub(super) rule: &'static str,
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) help: String,
    pub(super) field: Option<String>,
}

impl Problem {
    /// An error with its way out.
    pub(super) fn error(rule: &'static str, span: Span, message: impl Into<String>, help: impl Into<String>) -> Self {
        let (message, help) = (message.into(), help.into());
        Self { severity: Severity::Error, rule, span, message, help, field: None }
    }
}

/// Which part of a field a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The key: a field that should not be there.
    Key,
    /// The value.
    Value,
}

/// A problem of an object, at a JSON pointer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) rule: &'static str,
    pub(super) pointer: String,
    pub(super) part: Part,
    pub(super) message: String,
    pub(super) help: String,
}

impl Finding {
    /// An error about a value.
    pub(super) fn error(rule: &'static str, pointer: &str, message: impl Into<String>) -> Self {
        let pointer = pointer.to_owned();
        let message = message.into();
        let help = Rule::named(rule).map_or("correct the value", |rule| rule.way_out).to_owned();
        Self { severity: Severity::Error, rule, pointer, part: Part::Value, message, help }
    }

    /// A warning about a value.
    pub(super) fn warning(rule: &'static str, pointer: &str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(rule, pointer, message) }
    }

    /// The same about the field's key.
    pub(super) fn at_key(self) -> Self {
        Self { part: Part::Key, ..self }
    }

    /// The same with a better way out than its rule has.
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: help.into(), ..self }
    }
}

/// Foreign text as a message shows it: in double quotes, of which it holds none itself, on one line, and shortened.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| match c {
        '"' => '\'',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    let mut short: String = text.chars().take(QUOTED).map(plain).collect();
    if text.chars().nth(QUOTED).is_some() {
        short.push_str("...");
    }
    format!("\"{short}\"")
}

/// `a`, `a or b`, `a, b or c`.
pub(super) fn alternatives(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// One segment of a JSON pointer, escaped.
pub(super) fn escape(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

/// The segments of a JSON pointer, unescaped.
pub(super) fn segments(pointer: &str) -> impl Iterator<Item = Cow<'_, str>> {
    pointer.split('/').skip(1).map(|segment| match segment.contains('~') {
        true => segment.replace("~1", "/").replace("~0", "~").into(),
        false => segment.into(),
    })
}

/// A pointer as Kubernetes writes field paths: `/spec/containers/0/image` → `spec.containers[0].image`. Keys of maps
/// stand in brackets when they hold more than letters and digits.
pub(super) fn field_path(root: &Value, pointer: &str) -> String {
    let mut path = String::new();
    let mut here = Some(root);
    for segment in segments(pointer) {
        let is_index = here.is_some_and(Value::is_array);
        if is_index || !segment.bytes().all(|b| b.is_ascii_alphanumeric()) {
            path.push('[');
            path.extend(segment.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }));
            path.push(']');
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&segment);
        }
        here = here.and_then(|value| match value {
            Value::Array(items) => segment.parse::<usize>().ok().and_then(|index| items.get(index)),
            Value::Object(map) => map.get(&*segment),
            _ => None,
        });
    }
    path
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn field_paths_are_written_as_kubernetes_writes_them() {
        let root = json!({"spec": {"containers": [{"image": "x"}]}, "metadata": {"labels": {"a/b": ""}}});
        let rows = [
            ("/spec/containers/0/image", "spec.containers[0].image"),
            ("/metadata/labels/a~1b", "metadata.labels[a/b]"),
            ("/spec/nope/0", "spec.nope.0"),
            ("", ""),
        ];
        for (pointer, path) in rows {
            assert_eq!(field_path(&root, pointer), path);
        }
    }

    #[test]
    fn foreign_text_is_shortened() {
        assert_eq!(quoted("a"), "\"a\"");
        assert_eq!(quoted(&"x".repeat(100)).len(), QUOTED + 5);
    }
}
