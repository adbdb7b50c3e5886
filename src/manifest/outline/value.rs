//! Values: nothing is kept of them, but where each ends must be certain. A text over several lines, in quotes or brackets,
//! may look like keys.
//!
//! In a block mapping or list every line begins a key or an item, unless it continues a plain or a block text above it
//! (then it is indented deeper than the key or dash of that text) or stands in open quotes or brackets.

use super::Scan;
use super::line::{self, Line};

impl<'a> Scan<'a> {
    /// A line below the left edge: dashes, then a key with its value, or an item.
    pub(super) fn element(&mut self, line: Line<'a>) -> Option<()> {
        let (mut column, mut rest) = (line.indent, line.content);
        let mut parent = None;
        while let Some(after) = rest.strip_prefix('-').filter(|after| after.is_empty() || after.starts_with(' ')) {
            parent = Some(column);
            let inner = line::without_spaces(after);
            column += rest.len() - inner.len();
            rest = inner;
        }
        if parent.is_some() && (rest.is_empty() || rest.starts_with('#')) {
            return Some(());
        }
        if let Some((_, value)) = line::key(rest).or_else(|| quoted_key(rest)) {
            return self.value(value, column);
        }
        // A text of its own line may continue one above; then its quotes mean nothing.
        let parent = parent?;
        let is_plain = !rest.starts_with(['"', '\'', '[', '{']);
        // A key in an unusual spelling, whose value is not seen.
        if is_plain && may_be_key(rest) {
            return None;
        }
        self.text(rest, parent)
    }

    /// What follows a key and its colon. `parent` is the column of the key.
    pub(super) fn value(&mut self, rest: &'a str, parent: usize) -> Option<()> {
        if line::is_nothing(rest) { Some(()) } else { self.text(line::without_spaces(rest), parent) }
    }

    /// A value that begins on the line of its key or dash, which stands in the column `parent`.
    fn text(&mut self, text: &'a str, parent: usize) -> Option<()> {
        if self.has_tabs && text.contains('\t') {
            return None;
        }
        match text.as_bytes().first()? {
            b'|' | b'>' => {
                let after = text[1..].trim_start_matches(['+', '-', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
                line::is_nothing(after).then(|| self.lines.skip_deeper(parent))
            }
            b'"' | b'\'' => {
                let (inner, after) = quoted(text)?;
                self.outline.escapes |= text.starts_with('"') && inner.contains('\\');
                line::is_nothing(after).then_some(())
            }
            b'[' | b'{' => self.brackets(text),
            b'&' | b'!' | b'@' | b'`' | b'%' | b',' | b']' | b'}' => None,
            b'-' | b'?' | b':' if matches!(text.as_bytes().get(1), None | Some(b' ')) => None,
            _ => {
                self.lines.skip_deeper(parent);
                Some(())
            }
        }
    }

    /// A list or mapping in brackets, to its end, which must come before the next line at the left edge.
    fn brackets(&mut self, text: &'a str) -> Option<()> {
        let mut open = 0_usize;
        let mut rest = text;
        let mut before = Before::Start;
        let mut after_space = true;
        loop {
            let Some(c) = rest.chars().next().filter(|c| *c != '#' || !after_space) else {
                let line = self.lines.next()?;
                if line.content.contains('\t') || (line.indent == 0 && !line.content.is_empty()) {
                    return None;
                }
                (rest, after_space) = (line.content, true);
                continue;
            };
            let mut next = &rest[c.len_utf8()..];
            before = match (c, before) {
                (' ', _) => before,
                ('[' | '{', _) => {
                    open += 1;
                    Before::Start
                }
                (']' | '}', _) if open == 1 => return line::is_nothing(next).then_some(()),
                (']' | '}', _) => {
                    open -= 1;
                    Before::Closed
                }
                (',', _) | (':', Before::Closed) => Before::Start,
                (':', _) if next.is_empty() || next.starts_with(' ') => Before::Start,
                ('"' | '\'', Before::Start) => {
                    next = self.quoted_in_brackets(rest)?;
                    Before::Closed
                }
                // Signs that may mean one thing or another here.
                ('"' | '\'', _) | ('#', Before::Start | Before::Closed) => return None,
                _ => Before::Plain,
            };
            (rest, after_space) = (next, c == ' ');
        }
    }

    /// What follows a text in quotes within brackets.
    fn quoted_in_brackets(&mut self, text: &'a str) -> Option<&'a str> {
        let (inner, after) = quoted(text)?;
        let escapes = inner.contains('\\');
        self.outline.escapes |= escapes;
        // An escape in a key would hide it from who searches the bytes. The colon of a key may stand on a line below.
        let may_be_key = after.trim_start_matches(' ').starts_with(':') || line::is_nothing(after);
        (!escapes || !may_be_key).then_some(after)
    }
}

/// What stands before a sign within brackets: a quote begins a text at a start only, elsewhere it may be part of one.
#[derive(Clone, Copy)]
enum Before {
    Start,
    Plain,
    Closed,
}

/// The inside of a text in quotes that ends on its line, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.as_bytes().first().copied()?;
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote == b'"' => at += 1,
            b'\'' if quote == b'\'' && bytes.get(at + 1) == Some(&b'\'') => at += 1,
            b if b == quote => return Some((&text[1..at], &text[at + 1..])),
            _ => {}
        }
        at += 1;
    }
    None
}

/// A key in quotes without escapes, and what follows its colon.
fn quoted_key(content: &str) -> Option<(&str, &str)> {
    let (key, after) = Some(content).filter(|content| content.starts_with(['"', '\''])).and_then(quoted)?;
    let rest = after.strip_prefix(':').filter(|rest| rest.is_empty() || rest.starts_with(' '))?;
    (!key.contains(['\\', '\t'])).then_some((key, rest))
}

/// Whether a colon in an item makes it a key, as far as one can tell without its quotes.
fn may_be_key(text: &str) -> bool {
    let text = text.split(" #").next().unwrap_or(text);
    text.contains(": ") || text.trim_end_matches(' ').ends_with(':')
}
