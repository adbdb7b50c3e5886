//! Files of variables, as the kubelet reads them (pkg/kubelet/util/env/env_util.go of 1.36): a part of what a POSIX shell takes.
//!
//! ```text
//! # a comment
//! NAME='a value, which may have # and lines of its own' # a comment
//! ```
//!
//! A value is between single quotes, and means what it says. What is read of a file ends with the variable that is asked for: what
//! is wrong behind it is not seen.

/// The longest line (`MaxScanTokenSize` of Go's bufio).
const LINE: usize = 64 << 10;

/// The value of a variable; `None` when there is none, or it is empty.
///
/// # Errors
/// What is wrong with a line. It holds nothing of a value.
pub fn value(text: &str, name: &str) -> Result<Option<String>, String> {
    let mut lines = lines(text).zip(1_usize..);
    while let Some((line, number)) = lines.next() {
        let wrong = |what: &str| Err(format!("invalid environment variable format at line {number}: {what}"));
        if line.len() >= LINE {
            return wrong("it is too long");
        }
        let line = line.trim_start_matches(BLANKS);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((own, value)) = line.split_once('=') else { return wrong("missing '='") };
        if own.trim_end_matches(BLANKS).is_empty() {
            return wrong("empty variable name");
        }
        if own.ends_with(BLANKS) {
            return wrong("whitespace before '=' is not allowed");
        }
        // To a shell this is an empty value, and a command.
        if value.starts_with(BLANKS) {
            if own == name {
                return Ok(None);
            }
            continue;
        }
        let Some(value) = value.strip_prefix('\'') else { return wrong("value must be enclosed in single quotes") };
        let value = quoted(value, number, lines.by_ref().map(|(line, _)| line))?;
        if own == name {
            return Ok(Some(value).filter(|value| !value.is_empty()));
        }
    }
    Ok(None)
}

const BLANKS: [char; 2] = [' ', '\t'];

/// A value up to its closing quote, which may be lines further on.
fn quoted<'a>(first: &'a str, number: usize, mut more: impl Iterator<Item = &'a str>) -> Result<String, String> {
    let (mut value, mut rest, mut at) = (String::new(), first, number);
    loop {
        let Some((end, behind)) = rest.split_once('\'') else {
            value.push_str(rest);
            value.push('\n');
            at += 1;
            rest = more.next().filter(|line| line.len() < LINE).ok_or_else(|| {
                format!("invalid environment variable format starting at line {number}: unclosed single quote")
            })?;
            continue;
        };
        value.push_str(end);
        let behind = behind.trim_start_matches(BLANKS);
        if !behind.is_empty() && !behind.starts_with('#') {
            return Err(format!(
                "invalid environment variable format at line {at}: unexpected content after closing quote"
            ));
        }
        return Ok(value);
    }
}

/// Lines as Go has them: without a carriage return at their end.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_the_kubelet_reads_it() {
        let at = |line: usize, what: &str| Err(format!("invalid environment variable format at line {line}: {what}"));
        let open = |line: usize| {
            Err(format!("invalid environment variable format starting at line {line}: unclosed single quote"))
        };
        let some = |value: &str| Ok(Some(value.to_owned()));
        let rows = [
            ("", Ok(None)),
            ("\n \t\n# A='x'\n", Ok(None)),
            ("A='x'", some("x")),
            ("A='x'\n", some("x")),
            ("A='x'\r\nB='y'\r\n", some("x")),
            (" \tA='x' \t# why", some("x")),
            ("A='x'#y", some("x")),
            ("A='x'\nA='y'", some("x")),
            ("B='y'\nA='x'", some("x")),
            ("AB='y'\nA.b='z'\nA='x'", some("x")),
            ("A=''", Ok(None)),
            ("A= 'x'", Ok(None)),
            ("A=\t", Ok(None)),
            ("B= 'y'\nA='x'", some("x")),
            ("A='$B \\n \"q\" # = y'", some("$B \\n \"q\" # = y")),
            ("A='one\n  two\n\nthree'\nB='y'", some("one\n  two\n\nthree")),
            ("B='one\nA=two'\nA='x'", some("x")),
            ("A='one\r\ntwo'", some("one\ntwo")),
            // What is wrong behind it is not seen.
            ("A='x'\nnothing", some("x")),
            ("nothing\nA='x'", at(1, "missing '='")),
            ("='x'", at(1, "empty variable name")),
            (" ='x'", at(1, "empty variable name")),
            ("\n\nA ='x'", at(3, "whitespace before '=' is not allowed")),
            ("A=x", at(1, "value must be enclosed in single quotes")),
            ("A=", at(1, "value must be enclosed in single quotes")),
            ("A=\"x\"", at(1, "value must be enclosed in single quotes")),
            ("A='x''y'", at(1, "unexpected content after closing quote")),
            ("A='x' y", at(1, "unexpected content after closing quote")),
            ("B='y\n\n' z\nA='x'", at(3, "unexpected content after closing quote")),
            ("A='x", open(1)),
            ("A='x\n", open(1)),
            ("\nB='y\nA=x\n", open(2)),
        ];
        for (text, expected) in rows {
            assert_eq!(value(text, "A"), expected, "{text:?}");
        }
        let long = |length: usize| format!("A='{}'", "x".repeat(length));
        assert!(value(&long(LINE - 5), "A").unwrap().is_some());
        assert_eq!(value(&long(LINE - 4), "A"), at(1, "it is too long"));
        assert_eq!(value(&format!("A='x\n{}", long(LINE)), "A"), open(1));
    }
}
