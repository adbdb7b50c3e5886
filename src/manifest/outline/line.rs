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

    /// Passes over blank lines and those indented deeper than `parent`: the rest of a text that began above.
    pub(super) fn skip_deeper(&mut self, parent: usize) {
        let mut ahead = *self;
        while let Some(line) = ahead.next()
            && (line.content.is_empty() || line.indent > parent)
        {
            *self = ahead;
        }
    }

    /// Whether the value above is complete: nothing deeper than `parent` follows it.
    pub(super) fn is_complete(self, parent: usize) -> bool {
        let mut ahead = self;
        loop {
            match ahead.next() {
                Some(line) if line.says_nothing() => {}
                Some(line) => return line.indent <= parent,
                None => return true,
            }
        }
    }
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
