//! An object as YAML, a line at a time, each with the field it belongs to.
//!
//! Quotes are kubectl's ([`super::super::yaml`]); the layout is not, for three things a reader of a diff needs: what tells
//! an object apart comes first, a field takes one line however long it is, and each line knows its field, to tell whose it
//! is. Control characters never come out raw.

use serde_json::{Map, Value};

use super::super::yaml::scalar::{self, Style};
use super::escape;

/// One line and its field, such as `spec.containers[0].env[2].name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) field: String,
}

/// The lines of a mapping.
pub(super) fn lines(value: &Value) -> Vec<Line> {
    let mut writer = Writer { lines: Vec::new(), field: String::new() };
    match value {
        Value::Object(map) if !map.is_empty() => writer.members(map, 0, None),
        other => writer.value(String::new(), other, 0),
    }
    writer.lines
}

/// Writes lines. It is asked for every field of every pod that changed, so it makes two texts a line and no more.
struct Writer {
    lines: Vec<Line>,
    /// The field that is being written.
    field: String,
}

impl Writer {
    fn push(&mut self, text: String) {
        self.lines.push(Line { text, field: self.field.clone() });
    }

    /// The members of a mapping, the first behind `lead` where the mapping is an item of a list.
    fn members(&mut self, map: &Map<String, Value>, indent: usize, mut lead: Option<String>) {
        let length = self.field.len();
        let mut members: Vec<(&String, &Value)> = map.iter().collect();
        members.sort_by_key(|(name, _)| (rank(name, length == 0), *name));
        for (name, value) in members {
            if length > 0 {
                self.field.push('.');
            }
            self.field.push_str(name);
            let mut start = lead.take().unwrap_or_else(|| blank(indent));
            push_one_line(&mut start, name);
            start.push(':');
            self.value(start, value, indent);
            self.field.truncate(length);
        }
    }

    /// A value behind `line`, which is `key:`, `-` or nothing, on a line of the given indentation.
    fn value(&mut self, mut line: String, value: &Value, indent: usize) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                self.push(line);
                self.members(map, indent + 2, None);
            }
            Value::Array(items) if !items.is_empty() => {
                self.push(line);
                self.items(items, indent);
            }
            Value::String(text) if is_block(text) => self.block(line, text, indent),
            value => {
                if !line.is_empty() {
                    line.push(' ');
                }
                match value {
                    Value::Object(_) => line.push_str("{}"),
                    Value::Array(_) => line.push_str("[]"),
                    Value::String(text) => push_one_line(&mut line, text),
                    scalar => line.push_str(&scalar.to_string()),
                }
                self.push(line);
            }
        }
    }

    fn items(&mut self, items: &[Value], indent: usize) {
        let length = self.field.len();
        for (index, item) in items.iter().enumerate() {
            self.field.push('[');
            self.field.push_str(&index.to_string());
            self.field.push(']');
            let mut line = blank(indent);
            line.push('-');
            match item {
                Value::Object(map) if !map.is_empty() => {
                    line.push(' ');
                    self.members(map, indent + 2, Some(line));
                }
                // A list in a list begins on the next line.
                Value::Array(inner) if !inner.is_empty() => {
                    self.push(line);
                    self.items(inner, indent + 2);
                }
                other => self.value(line, other, indent),
            }
            self.field.truncate(length);
        }
    }

    /// A text in block style.
    fn block(&mut self, mut line: String, text: &str, indent: usize) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&scalar::header(text));
        self.push(line);
        // What ends the text is no line of its own.
        for piece in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            let mut line = String::new();
            if !piece.is_empty() {
                line = blank(indent + 2);
                line.push_str(piece);
            }
            self.push(line);
        }
    }
}

/// The beginning of a line, with room for what most lines hold.
fn blank(indent: usize) -> String {
    const ROOM: usize = 40;
    let mut line = String::with_capacity(indent + ROOM);
    line.extend(std::iter::repeat_n(' ', indent));
    line
}

/// Whether a text stands in block style: where kubectl's does, and where only tabs or blanks at the end of a line keep
/// kubectl from it, for a reviewer reads such a text line by line too. Nothing that must be escaped can stand there.
fn is_block(text: &str) -> bool {
    let lines = text.trim_end_matches('\n').contains('\n') && !text.starts_with([' ', '\t', '\n']);
    (lines || scalar::style(text) == Style::Literal)
        && text.chars().all(|c| matches!(c, '\n' | '\t') || !escape::is_special(c))
        && !escape::is_command(text)
}

/// What tells an object apart comes first, the rest by name.
fn rank(name: &str, top: bool) -> u8 {
    match name {
        "apiVersion" if top => 0,
        "kind" if top => 1,
        "metadata" if top => 2,
        "name" => 3,
        "namespace" => 4,
        _ => 5,
    }
}

/// Adds a text on one line, quoted as kubectl quotes it; what a terminal or a runner of pipelines would act on is escaped.
fn push_one_line(line: &mut String, text: &str) {
    if scalar::is_plain_word(text) {
        return line.push_str(text);
    }
    let command = escape::is_command(text);
    if command || text.chars().any(escape::is_special) {
        let special = |c| escape::is_special(c) || (command && c == '#');
        return line.push_str(&scalar::double_quoted(text, special));
    }
    line.push_str(&scalar::one_line(text));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::super::object_yaml;
    use super::*;

    fn text(value: &Value) -> String {
        lines(value).into_iter().map(|line| line.text + "\n").collect()
    }

    #[test]
    fn names_come_first_and_long_texts_line_by_line() {
        let value = json!({
            "spec": {"containers": [{"image": "nginx:1", "name": "web", "args": ["-c", "sleep 1"], "ports": []}]},
            "kind": "Pod",
            "data": {"a": "x: 1\ny\n", "b": "0644", "c": "\u{1b}[31m", "d": "yes", "e": "it's #1", "f": "a\n\nb\n\n"},
            "metadata": {"labels": {}, "name": "p"},
            "apiVersion": "v1",
            "lists": [[1, 2], [], [{"a": null}]],
        });
        let expected = "\
apiVersion: v1
kind: Pod
metadata:
  name: p
  labels: {}
data:
  a: |
    x: 1
    y
  b: \"0644\"
  c: \"\\e[31m\"
  d: \"yes\"
  e: it's #1
  f: |+
    a

    b

lists:
-
  - 1
  - 2
- []
-
  - a: null
spec:
  containers:
  - name: web
    args:
    - -c
    - sleep 1
    image: nginx:1
    ports: []
";
        assert_eq!(text(&value), expected.replace("  e: it's #1", "  e: 'it''s #1'"));
    }

    #[test]
    fn a_value_is_quoted_as_in_what_kubectl_prints() {
        for text in
            ["6379", "yes", "", "- a", "a: b", "it's", "#", "0x1f", "2026-11-25", " a", "a\u{7f}", "plain", "日本"]
        {
            let value = json!({ "k": text, text: "v" });
            let sorted = |text: String| {
                let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            assert_eq!(sorted(self::text(&value)), sorted(object_yaml(&value)), "{text:?}");
        }
    }

    #[test]
    fn a_text_that_kubectl_writes_line_by_line_is_shown_line_by_line() {
        for (text, expected) in [
            ("a\n", "k: |\n  a\n"),
            ("\n", "k: |2+\n\n"),
            ("  a\nb", "k: |2-\n    a\n  b\n"),
            ("a\tb\nc \nd\n", "k: |\n  a\tb\n  c \n  d\n"),
            ("\ta\nb\n", "k: \"\\ta\\nb\\n\"\n"),
        ] {
            assert_eq!(self::text(&json!({ "k": text })), expected, "{text:?}");
        }
    }

    #[test]
    fn each_line_knows_its_field() {
        let value = json!({"spec": {"containers": [{"name": "web", "env": [{"name": "A", "value": "1\n2"}]}]}});
        let fields: Vec<String> = lines(&value).into_iter().map(|line| line.field).collect();
        let env = "spec.containers[0].env";
        assert_eq!(
            fields,
            [
                "spec".to_owned(),
                "spec.containers".to_owned(),
                "spec.containers[0].name".to_owned(),
                env.to_owned(),
                format!("{env}[0].name"),
                format!("{env}[0].value"),
                format!("{env}[0].value"),
                format!("{env}[0].value"),
            ]
        );
    }

    fn value() -> impl Strategy<Value = Value> {
        let word = prop::sample::select(vec![
            "",
            " ",
            "a",
            "- a",
            "a: b",
            "a #b",
            "#",
            "'",
            "\"",
            "\\",
            "yes",
            "NULL",
            "~",
            "0x1f",
            "1e3",
            ".inf",
            "|",
            ">",
            "a\nb",
            "a\n",
            "\na",
            " a\nb",
            "a\n b\n\n",
            "a \nb",
            "\t",
            "a\tb\nc",
            "\r\n",
            "a\r\nb",
            "---\na",
            "...",
            "a\n---\nb",
            "%",
            "&a",
            "*a",
            "!t",
            "@",
            "`",
            "{",
            "[a]",
            "? a",
            ": a",
            "a:",
            "\u{0}",
            "\u{85}",
            "\u{2028}",
            "\u{feff}x",
            "é",
            "日本\n語",
            "\u{1f600}",
            "$(VAR)",
            "<<",
        ]);
        let text = prop_oneof![word.prop_map(str::to_owned), "\\PC{0,12}", any::<String>()];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((text.clone(), inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_the_same_value(value in value()) {
            let shown = text(&value);
            let read: Value = serde_yaml::from_str(&shown).map_err(|e| TestCaseError::fail(format!("{e}: {shown}")))?;
            prop_assert_eq!(read, value, "{}", shown);
        }

        #[test]
        fn nothing_special_is_shown_raw(value in value()) {
            for line in lines(&value) {
                prop_assert!(!line.text.chars().any(|c| c != '\t' && escape::is_special(c)), "{:?}", line.text);
            }
        }
    }
}
