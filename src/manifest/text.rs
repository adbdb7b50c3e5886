//! The text of a file: decoding, its lines, and what a place shows of them.

use super::limits;
use super::problem::Problem;
use super::yaml::Span;

/// A file's text with the start of every line.
pub(super) struct Text<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Text<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// Line `number`, counted from 1, without its line end.
    pub(super) fn line(&self, number: u32) -> &'a str {
        let index = (number as usize).saturating_sub(1);
        let Some(start) = self.starts.get(index) else { return "" };
        let end = self.starts.get(index + 1).map_or(self.text.len(), |next| next - 1);
        let line = &self.text[*start..end];
        line.strip_suffix('\r').unwrap_or(line)
    }

    /// What to show of a line, and how far a mark on `span` reaches. Of a masked value, and of what follows it on its
    /// line, nothing is shown.
    pub(super) fn shown(&self, span: Span, masks: &[Span]) -> (String, u32) {
        let line = self.line(span.line);
        if line.len() > limits::LINE * 4 || line.chars().count() > limits::LINE {
            return (String::new(), 1);
        }
        let hides = |mask: &&Span| mask.line <= span.line && span.line <= mask.end_line;
        let starts_at = |mask: &Span| if mask.line == span.line { mask.column } else { 1 };
        let Some(first) = masks.iter().filter(hides).map(starts_at).min() else {
            return (line.to_owned(), span.width());
        };
        if span.column > first {
            return (String::new(), 1);
        }
        let kept: String = line.chars().take(first as usize - 1).collect();
        let width = if span.column == first { 3 } else { span.width() };
        (format!("{kept}***"), width)
    }
}

/// The text of a file without its byte-order mark, or why it is none.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, Problem> {
    let start = Span::at(1, 1);
    if bytes.len() > limits::FILE_BYTES {
        let message = format!("the file is larger than {} MiB", limits::FILE_BYTES >> 20);
        return Err(Problem::error("too-large", start, message, "split it, or exclude it with .podwrightignore"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        Problem::error("not-text", end_of(&before), "the file is not UTF-8 text", "save it as UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let control = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    if let Some(at) = text.find(control) {
        let code = text[at..].chars().next().map_or(0, u32::from);
        let message = format!("the control character U+{code:04X} cannot stand in a manifest");
        let help = "remove it, or write it as an escape in double quotes";
        return Err(Problem::error("not-text", end_of(&text[..at]), message, help));
    }
    Ok(text)
}

/// The place right after a text.
fn end_of(text: &str) -> Span {
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    Span::at(u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(line: u32, column: u32, end_line: u32, end_column: u32) -> Span {
        Span { line, column, end_line, end_column }
    }

    #[test]
    fn lines_are_found_with_either_line_end() {
        let text = Text::new("a\r\nb\nc");
        assert_eq!([1, 2, 3, 4].map(|n| text.line(n)), ["a", "b", "c", ""]);
        assert_eq!(Text::new("a\n").line(2), "");
    }

    #[test]
    fn nothing_of_a_masked_value_or_behind_it_is_shown() {
        let text = Text::new("data:\n  pass: hunter2 # x\n  key: |\n    more\n    lines\n  after: {a: b, c: d}");
        let masks = [span(2, 9, 2, 16), span(3, 8, 5, 10), span(6, 14, 6, 15), span(6, 20, 6, 21)];
        let shown = |line, from, to| text.shown(span(line, from, line, to), &masks);
        assert_eq!(shown(1, 1, 5), ("data:".to_owned(), 4));
        assert_eq!(shown(2, 3, 7), ("  pass: ***".to_owned(), 4));
        assert_eq!(shown(2, 9, 16), ("  pass: ***".to_owned(), 3));
        assert_eq!(shown(2, 17, 18), (String::new(), 1));
        assert_eq!(shown(4, 1, 2).0, "***");
        assert_eq!(shown(4, 5, 9).0, "");
        assert_eq!(shown(6, 11, 12), ("  after: {a: ***".to_owned(), 1));
    }

    #[test]
    fn what_is_no_text_is_refused_at_its_place() {
        assert_eq!(decode(b"\xef\xbb\xbfa: 1").unwrap(), "a: 1");
        let place = |bytes: &[u8]| decode(bytes).err().map(|problem| (problem.span.line, problem.span.column));
        assert_eq!(place(b"a\nb\xff"), Some((2, 2)));
        assert_eq!(place(b"a\n\x00"), Some((2, 1)));
        assert_eq!(place("a\tb\u{85}\r\n".as_bytes()), None);
        assert!(decode(&vec![b' '; limits::FILE_BYTES + 1]).is_err());
    }
}
