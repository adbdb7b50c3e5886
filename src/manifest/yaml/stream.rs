//! Where one text is several for kubectl: JSON values one after the other, in a file that begins with `{` (YAML wants `---`
//! between them), YAML files that were joined, each with its byte-order mark, and documents with a comment right behind the
//! `---` between them, which YAML wants a blank before.

use serde::de::IgnoredAny;

const MARK: char = '\u{feff}';

/// A piece of a file that is read on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// What stands between the piece before and this one.
    pub(super) gap: &'a str,
    pub(super) text: &'a str,
    /// kubectl reads it as JSON.
    pub(super) is_json: bool,
}

/// The pieces of a file, its whole text where nothing divides it.
pub(super) fn pieces(text: &str) -> Box<dyn Iterator<Item = Piece<'_>> + '_> {
    let piece = |text, is_json| Piece { gap: "", text, is_json };
    if let Some(values) = values(text) {
        return Box::new(values.into_iter().map(move |text| piece(text, true)));
    }
    if text.contains(MARK) || text.contains("\n---#") {
        return Box::new(joined(text));
    }
    Box::new(std::iter::once(piece(text, false)))
}

/// Divides a text at each `---` that kubectl takes for the end of a document and YAML does not: one that a byte-order mark
/// follows, for kubectl reads each document anew, and one with a comment right behind it. For kubectl a line of `---` ends
/// what stands above it; where nothing does, it is the first line of a document, in which `---#` is no `---`.
fn joined(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut lines = text.split_inclusive('\n');
    let (mut gap, mut begin, mut at) = ("", 0, 0);
    // Whether nothing stands above in the document, and where the line above begins if it is `---`.
    let (mut empty, mut divider) = (true, None);
    let mut is_over = false;
    std::iter::from_fn(move || {
        let piece = |gap, text| Some(Piece { gap, text, is_json: false });
        for line in lines.by_ref() {
            let (mut start, end) = (at, at + line.len());
            at = end;
            let mut found = None;
            if let Some(divider) = divider.filter(|_| line.starts_with(MARK)) {
                start += MARK.len_utf8();
                found = piece(gap, &text[begin..divider]);
                (gap, begin, empty) = (&text[divider..start], start, true);
            }
            let line = &text[start..end];
            let divides = !empty && line.starts_with("---");
            if divides && line.starts_with("---#") {
                found = piece(gap, &text[begin..start]);
                (gap, begin, empty, divider) = (&text[start..end], end, true, None);
            } else {
                (empty, divider) = (divides, (line.trim_end() == "---").then_some(start));
            }
            if found.is_some() {
                return found;
            }
        }
        let rest = (!is_over).then(|| Piece { gap, text: &text[begin..], is_json: false });
        is_over = true;
        rest
    })
}

/// The values of a file that is JSON; of YAML that begins with `{` there are none.
fn values(text: &str) -> Option<Vec<&str>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut found = Vec::new();
    let mut start = 0;
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    while let Some(Ok(_)) = values.next() {
        let end = values.byte_offset();
        found.push(&text[start..end]);
        start = end;
    }
    let rest = &text[start..];
    match (found.as_slice(), rest.trim_start().chars().next()) {
        // Not JSON from its first value on.
        ([], _) => None,
        ([_], None) => Some(vec![text]),
        (_, None) => Some(found),
        // A value that is broken is told where it is broken.
        (_, Some('{')) => {
            found.push(rest);
            Some(found)
        }
        // A comment, or `---`.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_several_json_values_are_taken_apart() {
        let three = vec!["{\"a\": 1}", "\n{\"b\": \"}{\"}", " {}"];
        assert_eq!(values("{\"a\": 1}\n{\"b\": \"}{\"} {}\n"), Some(three));
        assert_eq!(values("{\"a\": 1}\n{\"b\": [}\n"), Some(vec!["{\"a\": 1}", "\n{\"b\": [}\n"]));
        assert_eq!(values("{\"a\": 1}\n"), Some(vec!["{\"a\": 1}\n"]));
        for yaml in ["{a: 1}\n", "{\"a\": 1}\n---\n{\"b\": 1}\n", "{\"a\": 1} # c\n", "{", "a: 1\n", ""] {
            assert_eq!(values(yaml), None, "{yaml}");
        }
    }

    #[test]
    fn a_file_is_taken_apart_where_kubectl_does_and_yaml_does_not() {
        let gaps = |text| pieces(text).map(|piece| (piece.gap, piece.text)).collect::<Vec<_>>();
        for whole in
            ["", "a: 1\n---\nb: \u{feff}\n", "a: 1\n\u{feff}b: 2\n", "--- x\n\u{feff}b: 2\n", "---\u{feff}\nb: 2\n"]
        {
            assert_eq!(gaps(whole), [("", whole)]);
        }
        assert_eq!(
            gaps("a: 1\n--- \r\n\u{feff}b: 2\n---\n\u{feff}"),
            [("", "a: 1\n"), ("--- \r\n\u{feff}", "b: 2\n"), ("---\n\u{feff}", "")]
        );
        assert_eq!(gaps("---\n\u{feff}b: 2"), [("", ""), ("---\n\u{feff}", "b: 2")]);
        assert_eq!(gaps("a: 1\n---# x\nb: 2\n---#"), [("", "a: 1\n"), ("---# x\n", "b: 2\n"), ("---#", "")]);
        for whole in ["---# x\na: 1\n", "a: 1\n---\n---# x\nb: 1\n", "a: b\n ---# x\n", "a: 1\n--- # x\nb: 1\n"] {
            assert_eq!(gaps(whole), [("", whole)]);
        }
        assert_eq!(gaps("---\n---# x\na: 1\n"), [("", "---\n"), ("---# x\n", "a: 1\n")]);
        assert_eq!(
            gaps("---\n\u{feff}---#\nb: 2\n---#\n"),
            [("", ""), ("---\n\u{feff}", "---#\nb: 2\n"), ("---#\n", "")]
        );
        assert_eq!(gaps("{\"a\": 1}\n---#\n{}"), [("", "{\"a\": 1}\n"), ("---#\n", "{}")]);
        let json = "{\"a\": 1}\n{\"b\": 2}";
        assert_eq!(gaps(json), [("", "{\"a\": 1}"), ("", "\n{\"b\": 2}")]);
    }
}
