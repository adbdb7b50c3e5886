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
}

/// The pieces of a file, its whole text where nothing divides it.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    if text.trim_start().starts_with('{') {
        return values(text).into_iter().map(|text| Piece { gap: "", text }).collect();
    }
    let mut found = Vec::new();
    let (mut gap, mut rest) = ("", text);
    while let Some((before, between, after)) = joint(rest) {
        found.push(Piece { gap, text: before });
        (gap, rest) = (between, after);
    }
    found.push(Piece { gap, text: rest });
    found
}

/// Divides a text at the first `---` that kubectl takes for the end of a document and YAML does not.
fn joint(text: &str) -> Option<(&str, &str, &str)> {
    let (start, end) = match (marked(text), commented(text)) {
        (Some(marked), Some(commented)) => marked.min(commented),
        (marked, commented) => marked.or(commented)?,
    };
    Some((&text[..start], &text[start..end], &text[end..]))
}

/// The first `---` that a byte-order mark follows, with it: kubectl reads each document of a file anew.
fn marked(text: &str) -> Option<(usize, usize)> {
    text.match_indices(MARK).find_map(|(mark, _)| {
        let line = text[..mark].strip_suffix('\n')?;
        let start = line.rfind('\n').map_or(0, |before| before + 1);
        (line[start..].trim_end() == "---").then(|| (start, mark + MARK.len_utf8()))
    })
}

/// The first line that is `---#` with a comment. For kubectl a line of `---` ends what stands above it; where nothing does, it
/// is the first line of the document, in which `---#` is no `---`.
fn commented(text: &str) -> Option<(usize, usize)> {
    if !text.contains("\n---#") {
        return None;
    }
    let (mut start, mut empty) = (0, true);
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        let divides = !empty && line.starts_with("---");
        if divides && line.starts_with("---#") {
            return Some((start, end));
        }
        (start, empty) = (end, divides);
    }
    None
}

fn values(text: &str) -> Vec<&str> {
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
        // Not JSON from its first value on, or a single one.
        ([], _) | ([_], None) => vec![text],
        (_, None) => found,
        // A value that is broken is told where it is broken.
        (_, Some('{')) => {
            found.push(rest);
            found
        }
        // A comment, or `---`.
        _ => vec![text],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_several_json_values_are_taken_apart() {
        assert_eq!(values("{\"a\": 1}\n{\"b\": \"}{\"} {}\n"), ["{\"a\": 1}", "\n{\"b\": \"}{\"}", " {}"]);
        assert_eq!(values("{\"a\": 1}\n{\"b\": [}\n"), ["{\"a\": 1}", "\n{\"b\": [}\n"]);
        for whole in ["{a: 1}\n", "{\"a\": 1}\n", "{\"a\": 1}\n---\n{\"b\": 1}\n", "{\"a\": 1} # c\n", "{"] {
            assert_eq!(values(whole), [whole]);
        }
    }

    #[test]
    fn a_file_is_taken_apart_where_kubectl_does_and_yaml_does_not() {
        let gaps = |text| pieces(text).iter().map(|piece| (piece.gap, piece.text)).collect::<Vec<_>>();
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
        let json = "{\"a\": 1}\n{\"b\": 2}";
        assert_eq!(gaps(json), [("", "{\"a\": 1}"), ("", "\n{\"b\": 2}")]);
    }
}
