//! JSON as Go's encoding/json writes it: `<`, `>`, `&`, U+2028 and U+2029 escaped, four spaces of indentation.

use serde::Serialize as _;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

/// On one line, without spaces.
pub(super) fn compact(value: &Value) -> String {
    escaped(&value.to_string())
}

/// As kubectl prints it, with a line end.
pub(super) fn indented(value: &Value) -> String {
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b"    "));
    value.serialize(&mut serializer).expect("invariant: a JSON value can be written to memory");
    escaped(&String::from_utf8_lossy(&out)) + "\n"
}

/// These characters stand in strings only, so the text can be treated as a whole.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            other => out.push(other),
        }
    }
    out
}
