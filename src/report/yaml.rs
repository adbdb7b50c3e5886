//! Objects as YAML, byte for byte as kubectl 1.32 writes them (`-o yaml`, also of a dry run).
//!
//! kubectl turns an object into JSON and hands that to sigs.k8s.io/yaml 1.4, whose emitter is go-yaml 2: keys in its own
//! order ([`order`]), plain scalars where a reader would not take them for something else ([`scalar`]), literal blocks
//! for text of several lines, long lines folded after column 80. Two differences are meant, for kubectl's bytes would not
//! come back as what went in. Characters that its own reader refuses ("control characters are not allowed"), so that it
//! prints nothing, are escaped; so is U+0085, which it turns into a space. And U+2028 and U+2029 are escaped: go-yaml writes
//! them as line breaks with indentation that a reader of YAML 1.2, ours too, takes for text. kubectl reads the escapes.

mod order;
pub(super) mod scalar;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use scalar::Style;

/// The column after which a line is folded at its next space.
const WIDTH: usize = 80;
/// The longest key that stands on the line of its value, in bytes.
const SIMPLE_KEY: usize = 128;

/// An object as kubectl prints it, with a line end after the last line.
pub fn object_yaml(value: &Value) -> String {
    noted_yaml(value, &BTreeMap::new())
}

/// The same with comments. A note is about a field without fields of its own, by its JSON pointer, and stands where the
/// field's value ends, or behind the sign of a block: a reader takes the same object from both texts.
pub fn noted_yaml(value: &Value, notes: &BTreeMap<String, String>) -> String {
    let mut writer = Writer { out: String::new(), column: 0, notes, pointer: String::new() };
    writer.node(value, Place { indent: 0, opened: true });
    // A literal block may have ended its line already.
    if !writer.out.ends_with('\n') {
        writer.out.push('\n');
    }
    writer.out
}

/// Where a node goes.
#[derive(Clone, Copy)]
struct Place {
    /// The column of the collection the node would be.
    indent: usize,
    /// Whether the cursor stands at that column already, so that the first entry needs no line of its own.
    opened: bool,
}

struct Writer<'a> {
    out: String,
    /// Characters since the last line end.
    column: usize,
    notes: &'a BTreeMap<String, String>,
    /// Where in the object the writer is, while there are notes.
    pointer: String,
}

impl Writer<'_> {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn put_char(&mut self, c: char) {
        self.out.push(c);
        self.column += 1;
    }

    /// Goes to the start of an entry. A literal block has ended its line already.
    fn line(&mut self, indent: usize) {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
        self.column = 0;
        self.put(&" ".repeat(indent));
    }

    /// Writes what is below `segment`.
    fn below(&mut self, segment: std::fmt::Arguments<'_>, write: impl FnOnce(&mut Self)) {
        let length = self.pointer.len();
        if !self.notes.is_empty() {
            let _ = write!(self.pointer, "/{segment}");
        }
        write(self);
        self.pointer.truncate(length);
    }

    /// The comment on the field that was written last, at the end of its line.
    fn note(&mut self) {
        let Some(note) = self.notes.get(&self.pointer) else { return };
        self.out.push_str(" # ");
        // A line end would end the comment, and there are characters that no document may hold.
        for c in note.chars() {
            if scalar::is_break(c) || scalar::escaped(c, false).is_some_and(|_| !matches!(c, '"' | '\\')) {
                self.out.extend(c.escape_unicode());
            } else {
                self.out.push(c);
            }
        }
    }

    fn node(&mut self, value: &Value, place: Place) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (index, key) in order::sorted(members.keys().map(String::as_str)).into_iter().enumerate() {
                    if index > 0 || !place.opened {
                        self.line(place.indent);
                    }
                    let segment = key.replace('~', "~0").replace('/', "~1");
                    self.below(format_args!("{segment}"), |w| w.member(key, &members[key], place.indent));
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 || !place.opened {
                        self.line(place.indent);
                    }
                    self.put("-");
                    let inner = Place { indent: place.indent + 2, opened: true };
                    self.below(format_args!("{index}"), |w| w.value(item, place.indent, inner));
                }
            }
            Value::String(text) => match scalar::style(text) {
                Style::Literal => self.literal(text, place.indent),
                style => {
                    self.text(text, place.indent, style, true);
                    self.note();
                }
            },
            leaf => {
                // An empty collection is written as in JSON, like everything that is no text.
                self.put(&leaf.to_string());
                self.note();
            }
        }
    }

    fn member(&mut self, key: &str, value: &Value, indent: usize) {
        let style = scalar::key_style(key);
        if key.len() <= SIMPLE_KEY && !key.contains(scalar::is_break) {
            self.text(key, indent, style, false);
            self.put(":");
            // A list stands under its key, a mapping further in.
            let further = if value.is_array() { indent } else { indent + 2 };
            self.value(value, indent, Place { indent: further, opened: false });
        } else {
            self.put("? ");
            self.text(key, indent + 2, style, true);
            self.line(indent);
            self.put(":");
            self.value(value, indent, Place { indent: indent + 2, opened: true });
        }
    }

    /// What follows a key or a dash.
    fn value(&mut self, value: &Value, indent: usize, place: Place) {
        let collection = match value {
            Value::Object(members) => !members.is_empty(),
            Value::Array(items) => !items.is_empty(),
            _ => false,
        };
        if collection && !place.opened {
            self.node(value, place);
        } else {
            self.put(" ");
            let place = if collection { place } else { Place { indent: indent + 2, opened: true } };
            self.node(value, place);
        }
    }

    fn text(&mut self, text: &str, indent: usize, style: Style, folds: bool) {
        match style {
            Style::Plain => self.folded(text, indent, folds, |_| None),
            Style::Single => {
                self.put_char('\'');
                self.folded(text, indent, folds, |c| (c == '\'').then(|| "''".to_owned()));
                self.put_char('\'');
            }
            Style::Double => {
                self.put_char('"');
                self.double(text, indent, folds);
                self.put_char('"');
            }
            Style::Literal => self.literal(text, indent),
        }
    }

    /// One line of text, broken at single spaces beyond [`WIDTH`].
    fn folded(&mut self, text: &str, indent: usize, folds: bool, escape: fn(char) -> Option<String>) {
        let chars: Vec<char> = text.chars().collect();
        let mut after_space = false;
        for (index, &c) in chars.iter().enumerate() {
            if c == ' ' {
                let inner = index > 0 && index + 1 < chars.len() && chars[index + 1] != ' ';
                if folds && !after_space && self.column > WIDTH && inner {
                    self.line(indent);
                } else {
                    self.put_char(' ');
                }
                after_space = true;
            } else {
                match escape(c) {
                    Some(escaped) => self.put(&escaped),
                    None => self.put_char(c),
                }
                after_space = false;
            }
        }
    }

    fn double(&mut self, text: &str, indent: usize, folds: bool) {
        let chars: Vec<char> = text.chars().collect();
        let every = text.starts_with('\u{feff}');
        let mut after_space = false;
        for (index, &c) in chars.iter().enumerate() {
            if c == ' ' && !every {
                if folds && !after_space && self.column > WIDTH && index > 0 && index + 1 < chars.len() {
                    self.line(indent);
                    if chars[index + 1] == ' ' {
                        self.put_char('\\');
                    }
                } else {
                    self.put_char(' ');
                }
                after_space = true;
            } else {
                match scalar::escaped(c, every) {
                    Some(escaped) => self.put(&escaped),
                    None => self.put_char(c),
                }
                after_space = false;
            }
        }
    }

    fn literal(&mut self, text: &str, indent: usize) {
        let body = text.strip_suffix('\n');
        self.out.push_str(&scalar::header(text));
        self.note();
        self.out.push('\n');
        for line in body.unwrap_or(text).split('\n') {
            if !line.is_empty() {
                let _ = write!(self.out, "{}{line}", " ".repeat(indent));
            }
            self.out.push('\n');
        }
        // Without a line end of its own the text ends with its last character; the next entry makes the line end.
        if body.is_none() {
            self.out.pop();
        }
        self.column = 0;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn collections_stand_as_kubectl_puts_them() {
        let value = json!({
            "spec": {"list": [{"b": [1, [2, 3]], "a": {}}, "x", []], "none": null, "yes": true},
            "kind": "Pod",
        });
        let expected = "kind: Pod
spec:
  list:
  - a: {}
    b:
    - 1
    - - 2
      - 3
  - x
  - []
  none: null
  \"yes\": true
";
        assert_eq!(object_yaml(&value), expected);
    }

    #[test]
    fn text_of_several_lines_is_a_literal_block_unless_that_would_lose_something() {
        for (text, expected) in [
            ("a\nb\n", "k: |\n  a\n  b\n"),
            ("a\nb", "k: |-\n  a\n  b\n"),
            ("a\n\n", "k: |+\n  a\n\n"),
            ("\n", "k: |2+\n\n"),
            ("  a\nb\n", "k: |2\n    a\n  b\n"),
            ("a\n\nb\n", "k: |\n  a\n\n  b\n"),
            ("a\r\nb\r\n", "k: \"a\\r\\nb\\r\\n\"\n"),
            ("a \nb\n", "k: \"a \\nb\\n\"\n"),
            ("a\tb\n", "k: \"a\\tb\\n\"\n"),
            ("a\nb ", "k: \"a\\nb \"\n"),
        ] {
            assert_eq!(object_yaml(&json!({ "k": text })), expected, "{text:?}");
        }
        assert_eq!(object_yaml(&json!({"a": "x\ny", "b": "z"})), "a: |-\n  x\n  y\nb: z\n");
    }

    #[test]
    fn a_long_line_is_folded_at_a_single_space() {
        let words = ["abcdefghi"; 12].join(" ");
        let plain = object_yaml(&json!({ "k": words }));
        let lines: Vec<&str> = plain.lines().collect();
        assert_eq!(lines.len(), 2, "{plain}");
        assert_eq!(lines[1], "  abcdefghi abcdefghi abcdefghi abcdefghi");
        let quoted = object_yaml(&json!({ "k": format!("# {words}") }));
        assert!(quoted.starts_with("k: '# abcdefghi"), "{quoted}");
        let wide = object_yaml(&json!({ "k": format!("\t{}", words.replace(' ', "  ")) }));
        assert!(wide.contains("\n  \\ abcdefghi"), "{wide}");
    }

    #[test]
    fn a_long_key_stands_on_a_line_of_its_own() {
        let key = "k".repeat(129);
        assert_eq!(object_yaml(&json!({ &*key: "v" })), format!("? {key}\n: v\n"));
        assert_eq!(object_yaml(&json!({"m": { &*key: ["v"] }})), format!("m:\n  ? {key}\n  : - v\n"));
    }
}
