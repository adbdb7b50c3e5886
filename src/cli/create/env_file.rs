//! Lines of `KEY=VALUE`, as kubectl 1.32 reads them (k8s.io/kubectl/pkg/cmd/util/env_file.go).

/// One line that counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// The line, from 1.
    pub(super) line: usize,
    pub(super) key: &'a str,
    /// `None` asks for the environment's value.
    pub(super) value: Option<&'a str>,
}

/// A line that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) message: &'static str,
    pub(super) help: &'static str,
}

/// The entries of a file: blank lines and comments are skipped, also a byte-order mark at its start; white space before a
/// key is dropped, everything after `=` belongs to the value.
pub(super) fn entries(bytes: &[u8]) -> Result<Vec<Entry<'_>>, Fault> {
    let mut entries = Vec::new();
    for (index, raw) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = index + 1;
        let fault = |message, help| Fault { line, message, help };
        let text = std::str::from_utf8(raw)
            .map_err(|_| fault("the line has bytes that are not UTF-8", "save the file as UTF-8"))?;
        let text = text.strip_suffix('\r').unwrap_or(text);
        let text = if index == 0 { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text };
        let text = text.trim_start();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
        if !is_variable(key) {
            let message = "what stands before `=` is not a valid key name: it must consist of letters, digits, `_`, \
                           `-` or `.`, and must not start with a digit";
            return Err(fault(message, "write KEY=VALUE, and # before a comment"));
        }
        entries.push(Entry { line, key, value });
    }
    Ok(entries)
}

/// The name of an environment variable, in Kubernetes' older and narrower sense.
fn is_variable(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let start = !text.starts_with(|c: char| c.is_ascii_digit());
    !text.is_empty() && start && text.chars().all(inner) && text != "." && !text.starts_with("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_blank_lines_and_a_byte_order_mark_are_no_entries() {
        let text = "\u{feff}A=1\n# c\n\n  B= 2 \nC\r\n\t#x\nD=a=b\nE=";
        let read = entries(text.as_bytes()).expect("invariant: it is well-formed");
        let pairs: Vec<_> = read.iter().map(|e| (e.line, e.key, e.value)).collect();
        let expected =
            [(1, "A", Some("1")), (4, "B", Some(" 2 ")), (5, "C", None), (7, "D", Some("a=b")), (8, "E", Some(""))];
        assert_eq!(pairs, expected);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        for (bytes, line) in [
            (&b"A=1\n1x=2\n"[..], 2),
            (b"A B=1", 1),
            (b"\n\n=x", 3),
            (b"A=\xff", 1),
            (b"A=1\n\xef\xbb\xbfB=1", 2),
            (b"..=1", 1),
            (b"A =1", 1),
        ] {
            assert_eq!(entries(bytes).map_err(|f| f.line), Err(line), "{bytes:?}");
        }
    }
}
