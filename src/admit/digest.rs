//! Digests over canonical JSON: equal content, equal digest, whatever the order of the keys.

use std::cell::RefCell;
use std::io;
use std::ops::Range;

use serde::Serialize;
use serde_json::ser::Formatter;
use sha2::{Digest, Sha256};

/// SHA-256 of a value as canonical JSON (keys sorted, no spaces), hexadecimal.
pub(super) fn of<T: Serialize>(value: &T) -> String {
    hex(&canonical(value))
}

/// The same of a value that is canonical JSON already, as one that is packed.
pub(super) fn of_text(text: &str) -> String {
    hex(text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibbles = |byte: u8| [byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)]));
    Sha256::digest(bytes).into_iter().flat_map(nibbles).collect()
}

/// The text is written once, as serde_json writes it; objects whose members come in another order are put in order as they
/// end. Kubernetes' types have theirs sorted already.
fn canonical<T: Serialize>(value: &T) -> Vec<u8> {
    let text = RefCell::new(Vec::with_capacity(4096));
    let sorted = Sorted { text: &text, members: Vec::new(), open: Vec::new() };
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(Text(&text), sorted));
    // Serialising k8s-openapi types into JSON cannot fail: their maps have text keys.
    written.map_or_else(|_| b"null".to_vec(), |()| text.into_inner())
}

/// Where the text is written; who sorts it has it, too.
struct Text<'a>(&'a RefCell<Vec<u8>>);

impl io::Write for Text<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// serde_json's compact form with the members of each object sorted by their keys as they are written.
struct Sorted<'a> {
    text: &'a RefCell<Vec<u8>>,
    /// Where the key of each member stands, of all objects that have not ended yet.
    members: Vec<Range<usize>>,
    /// For each of these objects the index of its first member.
    open: Vec<usize>,
}

impl Formatter for Sorted<'_> {
    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open.push(self.members.len());
        writer.write_all(b"{")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        let start = self.text.borrow().len();
        self.members.push(start..start);
        Ok(())
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        if let Some(key) = self.members.last_mut() {
            key.end = self.text.borrow().len();
        }
        Ok(())
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let first = self.open.pop().unwrap_or_default();
        sort(&mut self.text.borrow_mut(), &self.members[first..]);
        self.members.truncate(first);
        writer.write_all(b"}")
    }
}

/// Sorts the members at the end of a text, of which the last object consists.
fn sort(text: &mut Vec<u8>, keys: &[Range<usize>]) {
    // Without the quote at its end, lest it counts as a part of it; all have the one at the start.
    let key = |key: &Range<usize>| &text[key.start..key.end - 1];
    if keys.is_sorted_by(|a, b| key(a) <= key(b)) {
        return;
    }
    // A member ends where the comma before the next one stands.
    let ends = keys.iter().skip(1).map(|next| next.start - 1).chain([text.len()]);
    let mut members: Vec<_> = keys.iter().zip(ends).collect();
    members.sort_by(|(a, _), (b, _)| key(a).cmp(key(b)));
    let sorted = members.iter().map(|(key, end)| &text[key.start..*end]).collect::<Vec<_>>().join(&b","[..]);
    text.truncate(keys[0].start);
    text.extend(sorted);
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;
    use crate::model::Packed;

    #[test]
    fn the_order_of_keys_does_not_matter_and_the_order_of_items_does() {
        assert_eq!(of(&json!({"a": 1, "b": {"c": 2, "d": 3}})), of(&json!({"b": {"d": 3, "c": 2}, "a": 1})));
        assert_ne!(of(&json!({"a": [1, 2]})), of(&json!({"a": [2, 1]})));
    }

    #[test]
    fn members_are_sorted_at_every_depth_and_by_their_keys_alone() {
        let text = |value| String::from_utf8(canonical(&value)).unwrap();
        let nested = json!({"b": [{"z": 1, "a": {"y": {}, "x": "}"}}, {}], "a": null, "ab": true, "a!": 2, "": 0});
        let sorted = r#"{"":0,"a":null,"a!":2,"ab":true,"b":[{"a":{"x":"}","y":{}},"z":1},{}]}"#;
        assert_eq!(text(nested), sorted);
        assert_eq!(text(json!([])), "[]");
        assert_eq!(text(json!("\u{1}\"")), r#""\u0001\"""#);
    }

    #[test]
    fn what_is_packed_is_canonical() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "labels": {"b": "1", "a-b": "2", "a": "3", "B": "4"}, "annotations": {}},
            "spec": {
                "volumes": [{"name": "v", "nfs": {"server": "s", "path": "p"}, "hostPath": {"path": "/"}}],
                "hostname": "h", "hostUsers": true, "hostPID": true, "hostAliases": [{"ip": "::1", "hostnames": ["z", "a"]}],
                "containers": [{"name": "c", "tty": true, "image": "i", "env": [{"value": "", "name": "A"}]}],
            },
        }))
        .unwrap();
        let packed = Packed::new(&pod);
        assert_eq!(packed.text().as_bytes(), canonical(&packed.value()));
        assert_eq!(of_text(packed.text()), of(&pod));
    }

    #[test]
    fn the_digest_is_that_of_the_canonical_text() {
        // printf '{"a":1}' | sha256sum
        assert_eq!(of(&json!({"a": 1})), "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862");
        // printf '{"a":[1,2,3],"b":2,"c":3}' | sha256sum
        let several = "3f1b7cf092f0f03a53d9c2801b8a0ca2e1eb6f8eb50eb6983cf2488e61857820";
        assert_eq!(of(&json!({"c": 3, "b": 2, "a": [1, 2, 3]})), several);
        assert_eq!(of_text(r#"{"a":[1,2,3],"b":2,"c":3}"#), several);
    }
}
