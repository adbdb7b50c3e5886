//! Lines, and the pieces of one.

/// One line: how far it is indented, and what follows.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) indent: usize,
    pub(super) content: &'a str,
}

impl Line<'_> {
    /// Blank, or a comment.
    pub(super) fn says_nothing(&self) -> bool {
        self.content.is_empty() || self.content.starts_with('#')
    }
}

/// The lines of a file that have not been taken yet.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    rest: &'a str,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    pub(super) fn next(&mut self) -> Option<Line<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        // Lines are short: looking at each byte is quicker here than what is made for long texts.
        let length = self.rest.bytes().position(|b| b == b'\n');
        let (line, rest) = length.map_or((self.rest, ""), |end| (&self.rest[..end], &self.rest[end + 1..]));
        self.rest = rest;
        let line = line.strip_suffix('\r').unwrap_or(line);
        let content = without_spaces(line);
        Some(Line { indent: line.len() - content.len(), content })
    }

    /// How far the next line is indented, told without looking for its end; `None` when it says nothing or there is none.
    fn indent(&self) -> Option<usize> {
        let bytes = self.rest.as_bytes();
        let indent = bytes.iter().position(|b| *b != b' ')?;
        (!matches!(bytes[indent], b'\n' | b'\r' | b'#')).then_some(indent)
    }

    /// Passes over blank lines and those indented deeper than `parent`: the rest of a text that began above.
    pub(super) fn skip_deeper(&mut self, parent: usize) {
        let mut ahead = *self;
        while ahead.indent().is_none_or(|indent| indent > parent)
            && let Some(line) = ahead.next()
            && (line.content.is_empty() || line.indent > parent)
        {
            *self = ahead;
        }
    }

    /// Whether the value above is complete: nothing deeper than `parent` follows it.
    pub(super) fn is_complete(self, parent: usize) -> bool {
        let mut ahead = self;
        loop {
            if let Some(indent) = ahead.indent() {
                return indent <= parent;
            }
            if ahead.next().is_none() {
                return true;
            }
        }
    }

    /// Passes over lines below the left edge without looking into them, up to one at the left edge or one with a sign
    /// ([`tells`]) that may make it reach over others. Such a line may continue a text that begins on the line above;
    /// then it stops in front of that.
    pub(super) fn skip_plain(&mut self) {
        let bytes = self.rest.as_bytes();
        if bytes.first().is_none_or(|first| is_at_edge(*first)) {
            return;
        }
        let Some(found) = find_telling(bytes) else {
            self.rest = "";
            return;
        };
        if bytes[found] == b'\n' {
            self.rest = &self.rest[found + 1..];
            return;
        }
        let start_of_line = |end: usize| bytes[..end].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let start = start_of_line(found);
        let indent = |start: usize| bytes[start..].iter().take_while(|b| **b == b' ').count();
        let mut above = start;
        while above > 0 {
            above = start_of_line(above - 1);
            if !matches!(bytes[above + indent(above)], b'\n' | b'\r') {
                break;
            }
        }
        let continues = indent(above) < indent(start);
        self.rest = &self.rest[if continues { above } else { start }..];
    }
}

/// Whether a byte at the beginning of a line makes it one at the left edge.
fn is_at_edge(first: u8) -> bool {
    !matches!(first, b' ' | b'\n' | b'\r' | b'#')
}

/// Whether a sign may begin what reaches over the end of its line, or hides a text: quotes, brackets, the heads of block
/// texts, tags.
fn tells(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'[' | b'{' | b'|' | b'>' | b'!')
}

/// How many bytes are compared at a time.
const STEP: usize = 64;

/// Where the first such sign stands, or the end of the line before one at the left edge. There is at least one byte.
fn find_telling(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let (Some(here), Some(next)) = (bytes[at..].first_chunk(), bytes[at + 1..].first_chunk()) {
        if let Some(found) = first_telling(here, next) {
            return Some(at + found);
        }
        at += STEP;
    }
    // The rest, filled up with what tells nothing.
    let (mut here, mut next) = ([b' '; STEP], [b' '; STEP]);
    let rest = &bytes[at..];
    here[..rest.len()].copy_from_slice(rest);
    next[..rest.len() - 1].copy_from_slice(&rest[1..]);
    first_telling(&here, &next).map(|found| at + found)
}

/// The same of a few bytes, each with the one that follows it. Without a way out of the loop it takes many at a time.
fn first_telling(here: &[u8; STEP], next: &[u8; STEP]) -> Option<usize> {
    let mut found = [0_u8; STEP];
    for at in 0..STEP {
        let is_end = (here[at] == b'\n') & is_at_edge(next[at]);
        found[at] = u8::from(tells(here[at]) | is_end);
    }
    let (words, _) = found.as_chunks();
    let first = |(index, word): (usize, &[u8; 8])| {
        let word = u64::from_le_bytes(*word);
        (word != 0).then(|| index * 8 + word.trailing_zeros() as usize / 8)
    };
    words.iter().enumerate().find_map(first)
}

/// A text without the spaces in front of it.
pub(super) fn without_spaces(text: &str) -> &str {
    &text[text.bytes().take_while(|b| *b == b' ').count()..]
}

/// Whether a line at the left edge parts two documents.
pub(super) fn is_separator(content: &str) -> bool {
    content.strip_prefix("---").is_some_and(is_nothing)
}

/// Whether the rest of a line is blank or a comment.
pub(super) fn is_nothing(rest: &str) -> bool {
    let trimmed = without_spaces(rest);
    trimmed.is_empty() || (trimmed.starts_with('#') && trimmed.len() < rest.len())
}

/// A plain key with its colon, and what follows. Keys of fewer characters than YAML allows: others have no outline.
pub(super) fn key(content: &str) -> Option<(&str, &str)> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
    let end = content.bytes().position(|b| !inner(b))?;
    let (key, rest) = content.split_at(end);
    let rest = rest.strip_prefix(':').filter(|rest| rest.is_empty() || rest.starts_with(' '))?;
    (key.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/'))).then_some((key, rest))
}

/// A short text without a doubt: letters, digits, `.`, `-` and `/`, in quotes or beginning with a letter and no word that
/// YAML takes for something else. A comment may follow it.
pub(super) fn word(rest: &str) -> Option<&str> {
    let rest = without_spaces(rest.strip_prefix(' ')?);
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
    let text = &rest[quote.map_or(0, char::len_utf8)..];
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '/'))).unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    let after = match quote {
        Some(quote) => after.strip_prefix(quote)?,
        None if word.starts_with(|c: char| c.is_ascii_alphabetic()) && !means_something_else(word) => after,
        None => return None,
    };
    is_nothing(after).then_some(word)
}

/// The booleans and nulls of YAML 1.1, in any case.
fn means_something_else(word: &str) -> bool {
    ["y", "n", "yes", "no", "on", "off", "true", "false", "null"].iter().any(|other| word.eq_ignore_ascii_case(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_is_found_wherever_it_stands() {
        for length in 1..4 * STEP {
            for at in 0..length {
                for (sign, after) in [(b'"', b'x'), (b'!', b' '), (b'\n', b'k'), (b'\n', b'\t'), (b'\n', b'-')] {
                    let mut bytes = vec![b' '; length];
                    bytes[at] = sign;
                    if let Some(next) = bytes.get_mut(at + 1) {
                        *next = after;
                    }
                    let found = (sign != b'\n' || at + 1 < length).then_some(at);
                    assert_eq!(find_telling(&bytes), found, "{length} {at} {sign} {after}");
                }
            }
        }
        let silent = "a: b - c\n  #\n\n \n\r\n#\n".repeat(20);
        for length in 1..silent.len() {
            let is_end = |at: usize| silent.as_bytes()[at..length].starts_with(b"\na");
            assert_eq!(find_telling(&silent.as_bytes()[..length]), (0..length).find(|at| is_end(*at)), "{length}");
        }
    }

    #[test]
    fn plain_lines_are_passed_over_to_one_that_must_be_read() {
        let left = |text| {
            let mut lines = Lines::new(text);
            lines.skip_plain();
            lines.rest
        };
        for (text, rest) in [
            ("", ""),
            ("kind: a\n", "kind: a\n"),
            ("\tb\n", "\tb\n"),
            ("  a: b\n  c: d\n", ""),
            ("  a: b\n\n# c\n  c: d\nkind: e\n", "kind: e\n"),
            ("  a: b\n---\n", "---\n"),
            ("  a: b\n  c: [d]\n", "  c: [d]\n"),
            // Only the line above begins what a line continues.
            ("  a: b\n  c: d\n\n    \n    it's\nkind: e\n", "  c: d\n\n    \n    it's\nkind: e\n"),
            ("  a: b\r\n  c: d\r\n\r\n    it's\r\n", "  c: d\r\n\r\n    it's\r\n"),
            ("  a: 'b'\n", "  a: 'b'\n"),
        ] {
            assert_eq!(left(text), rest, "{text:?}");
        }
    }
}
