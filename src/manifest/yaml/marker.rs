//! What kubectl takes apart before it reads YAML: a file is divided at the lines that begin with `---`, and each part is one
//! document. So nothing but a comment may follow on such a line, and a directive (`%YAML 1.1`), which needs a `---` of its own
//! behind it, stands in a part without a document: kubectl refuses both, whatever the directive says.

/// A line of a text that kubectl refuses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Where the line begins, in bytes.
    pub(super) start: usize,
    /// How many lines stand before it, and how many characters before what is wrong.
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) message: &'static str,
    pub(super) help: &'static str,
}

/// The first such line.
pub(super) fn refused(text: &str) -> Option<Refused> {
    // Few files have either, and to find that out is cheap.
    let has = |first: &str, further: &str| text.starts_with(first) || text.contains(further);
    if !has("---", "\n---") && !has("%", "\n%") {
        return None;
    }
    let (mut start, mut began) = (0, false);
    for (line, whole) in text.split_inclusive('\n').enumerate() {
        let refused = |column, message, help| Some(Refused { start, line, column, message, help });
        if let Some(rest) = whole.strip_prefix("---") {
            let after = rest.trim();
            if !after.is_empty() && !after.starts_with('#') {
                let column = 3 + rest.chars().take_while(|c| c.is_whitespace()).count();
                let message = "not valid YAML for kubectl: something follows `---` on its line";
                return refused(column, message, "begin the document on the next line");
            }
            began = false;
        } else if !began && whole.starts_with('%') {
            let message = "not valid YAML for kubectl: a directive before the document";
            return refused(0, message, "remove it: manifests are read as YAML 1.1, and need no other");
        } else {
            let content = whole.trim_start();
            began |= !content.is_empty() && !content.starts_with('#');
        }
        start += whole.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubectl_refuses_is_found_at_its_place() {
        let place = |text| refused(text).map(|found| (found.start, found.line, found.column));
        for (text, expected) in [
            ("--- {a: 1}\n", (0, 0, 4)),
            ("--- |\n  text\n", (0, 0, 4)),
            ("---a: 1\n", (0, 0, 3)),
            ("----\n", (0, 0, 3)),
            ("a: 1\n---\t!!map\nb: 1\n", (5, 1, 4)),
            ("a: \"b\n---c\"\n", (6, 1, 3)),
            ("%YAML 1.1\n---\na: 1\n", (0, 0, 0)),
            ("%YAML 1.2\r\n---\r\na: 1\r\n", (0, 0, 0)),
            ("%TAG ! tag:a,2000:\n---\na: 1\n", (0, 0, 0)),
            ("# c\n\n%x\n---\na: 1\n", (5, 2, 0)),
            ("a: 1\n---\n%YAML 1.1\n---\nb: 1\n", (9, 2, 0)),
        ] {
            assert_eq!(place(text), Some(expected), "{text:?}");
        }
        for text in [
            "",
            "a: 1\n",
            "---\na: 1\n--- # c\nb: 1\n---   \r\nc: 1\n---",
            "a: |\n  ---x\n  %y\n",
            "a: 1\n...\n%YAML 1.2\n---\nb: 1\n",
            "a: b\n  %c\n",
            "a: \"b\n%c\"\n",
            "-- a\n",
        ] {
            assert_eq!(place(text), None, "{text:?}");
        }
    }
}
