//! Tabs before what a line says. YAML 1.2 takes a tab on a line of its own, before a comment and behind `- ` for nothing, and
//! lets a block text begin with one; go-yaml, with which kubectl reads, refuses them. Its rules, found by trying
//! (kubectl 1.32.4): no tab where a key may begin, unless brackets are open; behind an unquoted text a tab passes as far to
//! the right as the text could go on.

use granit_parser::{Event, ScalarStyle, Span, StructureStyle};

/// A line ends with either, or with both.
const LINE_ENDS: [char; 2] = ['\n', '\r'];

/// Follows the events of a text and looks at what stands between them.
pub(super) struct Tabs<'a> {
    text: &'a str,
    /// What is known already, in bytes, and the characters before it on its line.
    at: usize,
    column: usize,
    before: Before,
    open: Vec<Open>,
    /// The column of the last `-` before the event that is looked at.
    dash: Option<usize>,
}

/// A collection that is open, with its column.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Mapping(usize),
    List(usize),
    Brackets,
}

/// What stands before a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// An unquoted text, and whether its line is over.
    Plain { over: bool },
    /// What a key may follow: the beginning of a line, a `-`.
    Start,
    /// The rest of a line on which no key can begin.
    Other,
}

impl<'a> Tabs<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Tabs { text, at: 0, column: 0, before: Before::Start, open: Vec::new(), dash: None }
    }

    /// Where the first tab stands, in bytes, that go-yaml refuses before the end of this event.
    pub(super) fn refused(&mut self, event: &Event<'_>, span: &Span) -> Option<usize> {
        let (Some(start), Some(end)) = (span.start.byte_offset(), span.end.byte_offset()) else { return None };
        self.dash = None;
        if let Some(found) = self.between(start) {
            return Some(found);
        }
        let is_there = end > self.at;
        match event {
            Event::MappingStart(StructureStyle::Block, ..) => self.open.push(Open::Mapping(span.start.col())),
            Event::SequenceStart(StructureStyle::Block, ..) => self.open.push(Open::List(self.list_column(span))),
            Event::MappingStart(..) | Event::SequenceStart(..) => self.open.push(Open::Brackets),
            Event::MappingEnd | Event::SequenceEnd => drop(self.open.pop()),
            Event::Scalar(_, ScalarStyle::Plain, ..) if is_there => {
                self.before = Before::Plain { over: false };
                return self.within(end);
            }
            Event::Scalar(value, ScalarStyle::Literal | ScalarStyle::Folded, ..) if is_there => {
                self.pass(span, Before::Start);
                let says_something = !value.trim_matches([' ', '\n']).is_empty();
                return says_something.then(|| in_block(self.text, span)).flatten();
            }
            _ => {}
        }
        if is_there {
            self.pass(span, Before::Other);
        }
        None
    }

    fn pass(&mut self, span: &Span, before: Before) {
        (self.at, self.column) = (span.end.byte_offset().unwrap_or(self.at), span.end.col());
        self.before = before;
    }

    /// What is written as one unquoted text, the lines of it.
    fn within(&mut self, end: usize) -> Option<usize> {
        let mut blank = false;
        while let Some(next) = self.next(end) {
            match next {
                '\n' | '\r' => blank = true,
                '\t' if blank && self.column < self.indent() => return Some(self.at),
                ' ' | '\t' => {}
                _ => blank = false,
            }
            self.step(next);
        }
        None
    }

    /// What stands between two events: blanks, comments and signs.
    fn between(&mut self, end: usize) -> Option<usize> {
        while let Some(next) = self.next(end) {
            match (next, self.before) {
                ('\t', Before::Plain { over: true }) if self.column < self.indent() => return Some(self.at),
                ('\t', Before::Start) if !self.in_brackets() => return Some(self.at),
                ('\n' | '\r', Before::Plain { .. }) => self.before = Before::Plain { over: true },
                ('\n' | '\r', _) => self.before = Before::Start,
                ('#', before) => {
                    self.skip_comment(end);
                    // The comment ends the text; its line break ends the line.
                    self.before = if before == Before::Start { before } else { Before::Other };
                    continue;
                }
                (' ' | '\t' | '\u{feff}', _) => {}
                (sign, before) => self.sign(sign, before),
            }
            self.step(next);
        }
        None
    }

    fn sign(&mut self, sign: char, before: Before) {
        let begins = matches!(before, Before::Start | Before::Plain { over: true });
        if begins && sign == '-' {
            self.dash = Some(self.column);
        }
        // Behind `:` only the value of a key that was written behind `?`.
        self.before = if begins && "-?:".contains(sign) { Before::Start } else { Before::Other };
    }

    fn skip_comment(&mut self, end: usize) {
        while let Some(next) = self.next(end).filter(|next| !LINE_ENDS.contains(next)) {
            self.step(next);
        }
    }

    fn next(&self, end: usize) -> Option<char> {
        self.text.get(self.at..end)?.chars().next()
    }

    fn step(&mut self, over: char) {
        self.at += over.len_utf8();
        self.column = if LINE_ENDS.contains(&over) { 0 } else { self.column + 1 };
    }

    fn in_brackets(&self) -> bool {
        self.open.last() == Some(&Open::Brackets)
    }

    /// A list begins at its first `-`; for the parser, one that stands as far left as its key begins behind it.
    fn list_column(&self, span: &Span) -> usize {
        self.dash.filter(|dash| self.open.last() == Some(&Open::Mapping(*dash))).unwrap_or(span.start.col())
    }

    /// The column from which on an unquoted text goes on.
    fn indent(&self) -> usize {
        let column = |open: &Open| match open {
            Open::Mapping(column) | Open::List(column) => Some(*column),
            Open::Brackets => None,
        };
        self.open.iter().rev().find_map(column).map_or(0, |column| column + 1)
    }
}

/// Where a tab stands, in bytes, before a line of a block text: at its beginning, or where it ends because of the tab.
fn in_block(file: &str, span: &Span) -> Option<usize> {
    let [start, end] = [span.start.byte_offset()?, span.end.byte_offset()?];
    let is_tab = |at: usize| file.get(at..).is_some_and(|rest| rest.starts_with('\t'));
    if is_tab(start) && !says_its_indentation(&file[..start]) {
        return Some(start);
    }
    (is_tab(end) && span.end.col() < span.start.col()).then_some(end)
}

/// Whether the header, which is the last line above that is not blank, has a number, as in `|2-`: then a tab is text.
fn says_its_indentation(above: &str) -> bool {
    let header = above.rsplit(LINE_ENDS).find(|line| !line.trim().is_empty()).unwrap_or_default();
    let header = header.split(" #").next().unwrap_or_default();
    header.rsplit(['|', '>']).next().is_some_and(|sign| sign.contains(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use crate::manifest::yaml;

    /// Line and column of the first problem.
    fn refused(text: &str) -> Option<(u32, u32)> {
        let problems = yaml::read(text, &mut |_| {});
        problems.first().map(|(_, problem)| (problem.span.line, problem.span.column))
    }

    #[test]
    fn a_tab_is_refused_where_go_yaml_refuses_it() {
        for (text, expected) in [
            // On a line of its own or before a comment, behind what is quoted, in brackets, a comment or nothing.
            ("a: 'b'\n\t\n", (2, 1)),
            ("a: 'b'\n      \t# c\nd: e\n", (2, 7)),
            ("a: {}\n\t\n", (2, 1)),
            ("a: b\n# c\n  \t\n", (3, 3)),
            ("\t\na: b\n", (1, 1)),
            ("---\n\t# c\na: b\n", (2, 1)),
            ("a: 1\n---\n \t\nb: 1\n", (3, 2)),
            ("a:\n\t\n  b: c\n", (2, 1)),
            ("a: &x b\nc: *x\n\t\nd: e\n", (3, 1)),
            ("a: !!map\n\t\n  b: c\n", (2, 1)),
            ("a: |\n  b\n# c\n\t\n", (4, 1)),
            ("a: b\n---# c\n\t\nd: e\n", (3, 1)),
            // Behind an unquoted text, to the left of where it could go on.
            ("a:\n  b: c\n  \t\n", (3, 3)),
            ("a:\n  b: c\n\n  \t# d\n", (4, 3)),
            ("a:\n  - b\n  \t\n  - c\n", (3, 3)),
            ("a:\n  - b: c\n    \t\n", (3, 5)),
            ("a:\n  - - b\n    \t\n", (3, 5)),
            ("a:\n- b\n\t\n- c\n", (3, 1)),
            ("a: b\n\t\n  c\n", (2, 1)),
            // Where a key may begin.
            ("a:\n-\tb\n", (2, 2)),
            ("a:\n- \tb: c\n", (2, 3)),
            ("?\ta\n: b\n", (1, 2)),
            ("? a\n:\tb\n", (2, 2)),
            // In a block text.
            ("a: |\n    \tx\n", (2, 5)),
            ("a1: >- # 1\n\n    \tx\n", (3, 5)),
            ("a: |\n    x\n\t\n", (3, 1)),
            ("a: |\r\n    x\r\n  \t# c\r\n", (3, 3)),
            // Line ends of one sign.
            ("a: 'b'\r\t\rc: d\r", (2, 1)),
            ("a: |\r    x\r  \t# c\r", (3, 3)),
            // Behind a value of JSON.
            ("{\"a\": 1}\n---\na: 'b'\n\t\n", (4, 1)),
            ("a: |\n    x\n\n   \ty\n", (4, 4)),
        ] {
            assert_eq!(refused(text), Some(expected), "{text:?}");
        }
        for text in [
            "a: b\t# c\n",
            "a: &x-\tb\n",
            "a: |\r  x\r  \ty\r",
            "a:\tb\n",
            "a\t: b\n",
            "a:\t\n  b: 'c'\t\nd: e\t\n",
            "a: b\n \t\nc: d\n",
            "a:\n  - b\n   \t\n  - c: d\n     \t# e\n",
            "a:\n- -1\n \t\nb:\n- - c\n- d\n \t\n",
            "a: b\n \tc\n",
            "a: 'b\n\tc'\n",
            "a: [b,\n\t\n c]\n",
            "a: {b: 'c'\n \t, d: e}\n",
            "a: |4\n    \tx\n",
            "a: |-4 # |\n\n    \tx\n",
            "a: |\n    x\n    \ty\n     \t\n",
            "a: |\n    x\nb: \"y\n\t\"\n",
            "a: |\n    x\ty\r\n\r\n    z",
            "---\t# c\na: b\n",
            "{\n\t\"a\": 1\n}\n\t\n{\"b\": 1}\n",
        ] {
            assert_eq!(refused(text), None, "{text:?}");
        }
    }
}
