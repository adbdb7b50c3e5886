//! The objects of a file without parsing it: kind, namespace and name of each, from its lines.
//!
//! An unchanged file matters to a comparison by what it holds, seldom by what it says. This reads the plain form that
//! nearly every manifest has: block mappings with `apiVersion`, `kind` and `metadata` at the left edge and a simple name.
//! It knows just enough YAML ([`value`]) to be sure where a key stands and where a text, a list or a quoted value only
//! looks like one. Whatever is out of the ordinary (an anchor, a tag, a quote over two lines, a tab, JSON, a List, a
//! template, the annotation that excludes an object, ...) has no outline, and the file is parsed.
//!
//! The promise: when there is an outline and the file is valid YAML, reading it finds exactly these objects, none excluded.

mod line;
mod value;

use super::document::IGNORE;
use super::limits;
use crate::model::Kind;
use line::{Line, Lines};

/// The objects of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline<'a> {
    pub objects: Vec<Named<'a>>,
    /// Whether a value is written with escapes, so that it may hold a text that the file's bytes do not show.
    pub escapes: bool,
}

/// One object's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Named<'a> {
    pub kind: Kind,
    /// Empty for a Namespace.
    pub namespace: &'a str,
    pub name: &'a str,
}

/// What a file holds, or `None` when it must be parsed to know.
pub fn outline(bytes: &[u8]) -> Option<Outline<'_>> {
    let text = ordinary(bytes).filter(|text| !text.contains(IGNORE))?;
    let (outline, document) = (Outline::default(), Document::default());
    let (lines, has_tabs) = (Lines::new(text), text.contains('\t'));
    let mut scan = Scan { lines, has_tabs, outline, document, separators: 0 };
    while let Some(line) = scan.lines.next() {
        if !line.says_nothing() {
            scan.line(line)?;
        }
    }
    scan.finish()?;
    Some(scan.outline)
}

/// The text of a file without control characters, with line ends of `\n` or `\r\n` only, without a byte-order mark.
fn ordinary(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= limits::FILE_BYTES)?;
    let blank = |b: u8| matches!(b, b'\n' | b'\r' | b'\t');
    let odd = |c: char| matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') || c.is_control();
    let is_clean = match text.is_ascii() {
        // Counting, not searching: without a way out of the loop it takes many bytes at a time.
        true => bytes.iter().filter(|b| (**b < b' ' && !blank(**b)) || **b == 0x7f).count() == 0,
        false => !text.contains(|c: char| odd(c) && !(c.is_ascii() && blank(c as u8))),
    };
    let mut returns = text.match_indices('\r');
    (is_clean && returns.all(|(at, _)| bytes.get(at + 1) == Some(&b'\n'))).then_some(text)
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
