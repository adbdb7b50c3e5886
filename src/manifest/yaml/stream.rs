//! JSON values one after the other, which kubectl reads from a file that begins with `{`; YAML wants `---` between them.

use serde::de::IgnoredAny;

/// The pieces of a file that are read on their own: its JSON values when there are several, otherwise the whole text.
pub(super) fn pieces(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    if !text.trim_start().starts_with('{') {
        return vec![text];
    }
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
        assert_eq!(pieces("{\"a\": 1}\n{\"b\": \"}{\"} {}\n"), ["{\"a\": 1}", "\n{\"b\": \"}{\"}", " {}"]);
        assert_eq!(pieces("{\"a\": 1}\n{\"b\": [}\n"), ["{\"a\": 1}", "\n{\"b\": [}\n"]);
        for whole in
            ["", "a: 1\n", "{a: 1}\n", "{\"a\": 1}\n", "{\"a\": 1}\n---\n{\"b\": 1}\n", "{\"a\": 1} # c\n", "{"]
        {
            assert_eq!(pieces(whole), [whole]);
        }
    }
}
