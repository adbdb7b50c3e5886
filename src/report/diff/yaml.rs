//! An object as YAML, a line at a time, each with the field it belongs to.
//!
//! Quotes are kubectl's ([`super::super::yaml`]); the layout is not, for three things a reader of a diff needs: what tells
//! an object apart comes first, a field takes one line however long it is, and each line knows its field, to tell whose it
//! is. Control characters never come out raw.

use super::super::yaml::scalar::{self, Style};
use super::escape;
use crate::model::{Json, Members};

/// One line and its field, such as `spec.containers[0].env[2].name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'l> {
    pub(super) text: &'l str,
    pub(super) field: &'l str,
}

/// Lines, one behind the other in two texts: each field of each pod that changed has one, and is there for a moment only.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    texts: String,
    fields: String,
    /// Where each ends.
    ends: Vec<(usize, usize)>,
}

impl Lines {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn line(&self, at: usize) -> Line<'_> {
        let (start, field) = self.end(at);
        let (end, field_end) = self.ends[at];
        Line { text: &self.texts[start..end], field: &self.fields[field..field_end] }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Line<'_>> {
        (0..self.len()).map(|at| self.line(at))
    }

    /// Where so many lines end.
    fn end(&self, lines: usize) -> (usize, usize) {
        if lines == 0 { (0, 0) } else { self.ends[lines - 1] }
    }

    /// Adds to the line that has begun, or begins one.
    pub(super) fn write(&mut self, text: &str) {
        self.texts.push_str(text);
    }

    /// Ends the line.
    pub(super) fn push(&mut self, field: &str) {
        self.fields.push_str(field);
        self.ends.push((self.texts.len(), self.fields.len()));
    }

    /// Whether something was written since the last line.
    fn has_begun(&self) -> bool {
        self.texts.len() > self.end(self.len()).0
    }
}

/// The lines of a mapping.
pub(super) fn lines(value: &Json<'_>) -> Lines {
    let mut writer = Writer { lines: Lines::default(), field: String::new() };
    match value {
        Json::Object(map) if !map.is_empty() => writer.members(map, 0),
        other => writer.value(other, 0),
    }
    writer.lines
}

struct Writer {
    lines: Lines,
    /// The field that is being written.
    field: String,
}

impl Writer {
    /// Writes something on the line.
    fn write(&mut self, text: &str) {
        self.lines.write(text);
    }

    fn blank(&mut self, indent: usize) {
        self.lines.texts.extend(std::iter::repeat_n(' ', indent));
    }

    fn end_line(&mut self) {
        self.lines.push(&self.field);
    }

    /// Sets apart what follows on a line that has begun.
    fn space(&mut self) {
        if self.lines.has_begun() {
            self.write(" ");
        }
    }

    /// The members of a mapping. The first goes on with a line that has begun, where the mapping is an item of a list.
    fn members(&mut self, map: &Members<'_>, indent: usize) {
        let length = self.field.len();
        let mut members: Vec<(&str, &Json<'_>)> = map.iter().collect();
        members.sort_by_key(|(name, _)| (rank(name, length == 0), *name));
        for (name, value) in members {
            if length > 0 {
                self.field.push('.');
            }
            self.field.push_str(name);
            if !self.lines.has_begun() {
                self.blank(indent);
            }
            push_one_line(&mut self.lines.texts, name);
            self.write(":");
            self.value(value, indent);
            self.field.truncate(length);
        }
    }

    /// A value behind `key:`, `-` or nothing, on a line of the given indentation.
    fn value(&mut self, value: &Json<'_>, indent: usize) {
        match value {
            Json::Object(map) if !map.is_empty() => {
                self.end_line();
                self.members(map, indent + 2);
            }
            Json::Array(items) if !items.is_empty() => {
                self.end_line();
                self.items(items, indent);
            }
            Json::String(text) if is_block(text) => self.block(text, indent),
            value => {
                self.space();
                match value {
                    Json::Object(_) => self.write("{}"),
                    Json::Array(_) => self.write("[]"),
                    Json::String(text) => push_one_line(&mut self.lines.texts, text),
                    scalar => self.write(&scalar.to_string()),
                }
                self.end_line();
            }
        }
    }

    fn items(&mut self, items: &[Json<'_>], indent: usize) {
        let length = self.field.len();
        for (index, item) in items.iter().enumerate() {
            self.field.push('[');
            self.field.push_str(&index.to_string());
            self.field.push(']');
            self.blank(indent);
            self.write("-");
            match item {
                Json::Object(map) if !map.is_empty() => {
                    self.write(" ");
                    self.members(map, indent + 2);
                }
                // A list in a list begins on the next line.
                Json::Array(inner) if !inner.is_empty() => {
                    self.end_line();
                    self.items(inner, indent + 2);
                }
                other => self.value(other, indent),
            }
            self.field.truncate(length);
        }
    }

    /// A text in block style.
    fn block(&mut self, text: &str, indent: usize) {
        self.space();
        self.write(&scalar::header(text));
        self.end_line();
        // What ends the text is no line of its own.
        for piece in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            if !piece.is_empty() {
                self.blank(indent + 2);
                self.write(piece);
            }
            self.end_line();
        }
    }
}

/// Whether a text stands in block style: where kubectl's does, and where only tabs or blanks at the end of a line keep
/// kubectl from it, for a reviewer reads such a text line by line too. Nothing that must be escaped can stand there.
fn is_block(text: &str) -> bool {
    // Nearly every text is a single line.
    if !text.contains('\n') {
        return false;
    }
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
    use serde_json::{Value, json};

    use super::super::super::object_yaml;
    use super::*;

    fn text(value: &Value) -> String {
        lines(&value.into()).iter().map(|line| line.text.to_owned() + "\n").collect()
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
        let fields: Vec<String> = lines(&Json::from(&value)).iter().map(|line| line.field.to_owned()).collect();
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
            for line in lines(&Json::from(&value)).iter() {
                prop_assert!(!line.text.chars().any(|c| c != '\t' && escape::is_special(c)), "{:?}", line.text);
            }
        }
    }
}
