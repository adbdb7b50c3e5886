//! The objects of a file without parsing it: kind, namespace and name of each, from its lines.
//!
//! An unchanged file matters to a comparison by what it holds, seldom by what it says. This reads the plain form that
//! nearly every manifest has: block mappings with `apiVersion`, `kind` and `metadata` at the left edge and a simple name.
//! It knows just enough YAML ([`value`]) to be sure where a key stands and where a text, a list or a quoted value only
//! looks like one. Of what names nothing, only lines are looked into whose signs may make them reach over others.
//! Whatever is out of the ordinary (a tag, a quote over two lines, JSON, a List, a template, the annotation that excludes an
//! object, ...) has no outline, and the file is parsed.
//!
//! The promise: when there is an outline and the file is valid YAML, reading it finds exactly these objects, none excluded.

mod line;
mod named;
mod value;

use super::limits;
use crate::model::{IGNORE, Kind};
use line::{Line, Lines};
pub use named::{Named, Names};

/// The objects of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline<'a> {
    pub objects: Names<'a>,
    /// Whether a value is written with escapes, so that it may hold a text that the file's bytes do not show.
    pub escapes: bool,
}

/// What a file holds, or `None` when it must be parsed to know.
pub fn outline(bytes: &[u8]) -> Option<Outline<'_>> {
    let (text, has_tabs) = ordinary(bytes).filter(|(text, _)| !text.contains(IGNORE))?;
    let (lines, outline, document) = (Lines::new(text), Outline::default(), Document::default());
    let mut scan = Scan { lines, has_tabs, outline, document, separators: 0 };
    loop {
        if scan.is_outside_of_metadata() {
            scan.lines.skip_plain();
        }
        let Some(line) = scan.lines.next() else { break };
        if !line.says_nothing() {
            scan.line(line)?;
        }
    }
    scan.finish()?;
    Some(scan.outline)
}

/// The text of a file without control characters, with line ends of `\n` or `\r\n` only, without a byte-order mark; and
/// whether it has tabs.
fn ordinary(bytes: &[u8]) -> Option<(&str, bool)> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= limits::FILE_BYTES)?;
    // To the end whatever is found: without a way out of the loop it takes many bytes at a time.
    let is_plain = bytes.iter().fold(true, |plain, b| plain & ((*b == b'\n') | ((*b >= b' ') & (*b < 0x7f))));
    if is_plain {
        return Some((text, false));
    }
    let blank = |c: char| matches!(c, '\n' | '\r' | '\t');
    let odd = |c: char| matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') || (c.is_control() && !blank(c));
    let mut returns = text.match_indices('\r');
    let is_clean = !text.contains(odd) && returns.all(|(at, _)| bytes.get(at + 1) == Some(&b'\n'));
    is_clean.then(|| (text, text.contains('\t')))
}

/// What one document has shown so far.
#[derive(Default)]
struct Document<'a> {
    began: bool,
    api_version: Option<&'a str>,
    kind: Option<&'a str>,
    metadata: Metadata,
    name: Option<&'a str>,
    namespace: Option<&'a str>,
}

/// Where the scan is with `metadata`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Metadata {
    #[default]
    NotSeen,
    /// The key was just read.
    Opened,
    /// Its fields are indented this far.
    Within(usize),
    Passed,
}

struct Scan<'a> {
    lines: Lines<'a>,
    has_tabs: bool,
    outline: Outline<'a>,
    document: Document<'a>,
    separators: usize,
}

impl<'a> Scan<'a> {
    /// Whether what stands below the left edge names nothing.
    fn is_outside_of_metadata(&self) -> bool {
        self.document.began && matches!(self.document.metadata, Metadata::NotSeen | Metadata::Passed)
    }

    /// Takes a line that begins something. What belongs to its value on the lines below is passed over with it.
    fn line(&mut self, line: Line<'a>) -> Option<()> {
        match (line.indent, self.document.metadata) {
            (0, _) if line::is_separator(line.content) => {
                self.separators += 1;
                // There may be one document more than separators; with too many of them the file is refused.
                (self.separators < limits::DOCUMENTS).then(|| self.finish())?
            }
            (0, _) => self.top(line),
            (indent, Metadata::Opened) => {
                self.document.metadata = Metadata::Within(indent);
                self.field(line)
            }
            (indent, Metadata::Within(own)) if indent == own => self.field(line),
            _ if self.document.began => self.element(line),
            _ => None,
        }
    }

    /// A key at the left edge.
    fn top(&mut self, line: Line<'a>) -> Option<()> {
        let (key, rest) = line::key(line.content)?;
        let document = &mut self.document;
        document.began = true;
        if matches!(document.metadata, Metadata::Opened | Metadata::Within(_)) {
            document.metadata = Metadata::Passed;
        }
        match key {
            "apiVersion" | "kind" => {
                let field = if key == "kind" { &mut document.kind } else { &mut document.api_version };
                let text = line::word(rest).filter(|_| field.is_none() && self.lines.is_complete(0))?;
                *field = Some(text);
                Some(())
            }
            "metadata" => {
                let is_first = document.metadata == Metadata::NotSeen;
                document.metadata = Metadata::Opened;
                match line::is_nothing(rest) {
                    true => is_first.then_some(()),
                    false => self.metadata_on_its_line(rest).filter(|()| is_first),
                }
            }
            _ => self.value(rest, 0),
        }
    }

    /// `metadata: {name: a, namespace: b}`.
    fn metadata_on_its_line(&mut self, rest: &'a str) -> Option<()> {
        let (inner, after) = rest.trim_start_matches(' ').strip_prefix('{')?.split_once('}')?;
        for pair in inner.split(',') {
            let (key, rest) = line::key(pair.trim_start_matches(' '))?;
            self.set(key, line::word(rest)?)?;
        }
        line::is_nothing(after).then_some(())
    }

    /// Takes in what matters of `metadata`.
    fn set(&mut self, key: &str, text: &'a str) -> Option<()> {
        let field = match key {
            "name" => &mut self.document.name,
            "namespace" => &mut self.document.namespace,
            _ => return Some(()),
        };
        field.is_none().then(|| *field = Some(text))
    }

    /// A field of `metadata`.
    fn field(&mut self, line: Line<'a>) -> Option<()> {
        let (key, rest) = line::key(line.content)?;
        if !matches!(key, "name" | "namespace") {
            return self.value(rest, line.indent);
        }
        let text = line::word(rest).filter(|_| self.lines.is_complete(line.indent))?;
        self.set(key, text)
    }

    /// The end of a document.
    fn finish(&mut self) -> Option<()> {
        let document = std::mem::take(&mut self.document);
        if !document.began {
            return Some(());
        }
        let kind = Kind::from_manifest(document.api_version?, document.kind?)?;
        let name = document.name.filter(|name| !name.is_empty())?;
        let namespace = document.namespace.filter(|namespace| !namespace.is_empty()).unwrap_or("default");
        let namespace = if kind.namespaced() { namespace } else { "" };
        self.outline.objects.push(Named { kind, namespace, name });
        Some(())
    }
}
