//! Parser events become a marked tree: anchors and aliases, merge keys, duplicate keys, bounds.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span as ScanSpan, Tag};

use super::mapping::{self, Mapping, NextKey};
use super::stream::Piece;
use super::tab::Tabs;
use super::tree::{Content, Key, Node, Span};
use super::{Document, marker, scalar, stream};
use crate::manifest::limits;
use crate::manifest::problem::{Problem, quoted};

/// Why the rest of a file cannot be read.
type Stop = Problem;

/// A collection whose end has not come yet.
struct Open {
    span: Span,
    anchor: usize,
    body: Body,
    size: usize,
    depth: usize,
}

enum Body {
    Sequence(Vec<Node>),
    Mapping(Mapping),
}

/// Reads a whole stream; each document is handed over when it is complete. Returns the problems, each with the index of its
/// document.
pub(super) fn compose(text: &str, take: &mut dyn FnMut(&Document)) -> Vec<(u32, Problem)> {
    let mut composer = Composer {
        take,
        problems: Vec::new(),
        base: Base::default(),
        open: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        nodes: 0,
        aliased: 0,
        documents: 0,
    };
    for piece in stream::pieces(text) {
        composer.base.pass_gap(piece.gap);
        if let Err((document, stop)) = composer.as_kubectl(piece) {
            composer.problems.push((document, stop));
            break;
        }
        composer.base.pass(piece.text);
    }
    composer.problems
}

/// Where a piece of the text begins.
#[derive(Clone, Default)]
struct Base {
    lines: usize,
    /// Characters before the piece on its first line.
    columns: usize,
}

impl Base {
    fn pass(&mut self, piece: &str) {
        let (lines, last) = match piece.rsplit_once('\n') {
            None => (0, piece),
            Some((before, last)) => (before.matches('\n').count() + 1, last),
        };
        self.lines += lines;
        self.columns = last.chars().count() + if lines == 0 { self.columns } else { 0 };
    }

    /// A byte-order mark at the end of a gap takes no column.
    fn pass_gap(&mut self, gap: &str) {
        self.pass(gap);
        if gap.ends_with('\u{feff}') {
            self.columns = 0;
        }
    }

    /// Line and column of a mark within the piece, both from 1.
    fn place(&self, mark: &Marker) -> (u32, u32) {
        let shift = if mark.line() == 1 { self.columns } else { 0 };
        (number(mark.line() + self.lines), number(mark.col() + 1 + shift))
    }

    fn span(&self, span: &ScanSpan) -> Span {
        let ((line, column), (end_line, end_column)) = (self.place(&span.start), self.place(&span.end));
        Span { line, column, end_line, end_column }
    }
}

struct Composer<'a> {
    take: &'a mut dyn FnMut(&Document),
    problems: Vec<(u32, Problem)>,
    base: Base,
    open: Vec<Open>,
    /// Finished nodes with an anchor, of the current document.
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    /// Values so far, and how many of them came from aliases.
    nodes: usize,
    aliased: usize,
    documents: usize,
}

impl Composer<'_> {
    /// Reads a piece up to the first line that kubectl refuses. Of two reasons to stop the first one is told, with the index
    /// of its document.
    fn as_kubectl(&mut self, piece: Piece<'_>) -> Result<(), (u32, Stop)> {
        let refused = marker::refused(piece.text);
        let read = refused.as_ref().map_or(piece.text, |refused| &piece.text[..refused.start]);
        self.piece(read, piece.is_json).map_err(|stop| (self.document(), stop))?;
        let Some(refused) = refused else { return Ok(()) };
        let column = refused.column + if refused.line == 0 { self.base.columns } else { 0 };
        let span = Span::at(number(self.base.lines + refused.line + 1), number(column + 1));
        Err((number(self.documents), Problem::error("yaml-syntax", span, refused.message, refused.help)))
    }

    fn piece(&mut self, text: &str, is_json: bool) -> Result<(), Stop> {
        let options = granit_parser::options! {
            emit_comments: false,
            emit_unresolved_aliases: true,
            flow_nesting_limit: limits::DEPTH,
            block_nesting_limit: limits::DEPTH,
        };
        // JSON takes tabs for spaces.
        let has_tabs = !is_json && text.contains('\t');
        let mut tabs = has_tabs.then(|| Tabs::new(text));
        for step in Parser::new_from_str_with_options(text, options) {
            let (event, span) = step.map_err(|error| self.syntax(&error))?;
            if let Some(at) = tabs.as_mut().and_then(|tabs| tabs.refused(&event, &span)) {
                return Err(self.refused_tab(&text[..at]));
            }
            self.event(event, &span)?;
        }
        Ok(())
    }

    /// A tab behind `above`.
    fn refused_tab(&self, above: &str) -> Stop {
        let mut place = self.base.clone();
        place.pass(&above.replace("\r\n", "\n").replace('\r', "\n"));
        let span = Span::at(number(place.lines + 1), number(place.columns + 1));
        let message = "not valid YAML for kubectl: a tab where an indentation space is expected";
        let help = "indent with spaces, and leave blank lines empty; a text that begins with a tab goes in quotes";
        Problem::error("yaml-syntax", span, message, help)
    }

    /// The index of the current document.
    fn document(&self) -> u32 {
        number(self.documents.saturating_sub(1))
    }

    fn event(&mut self, event: Event<'_>, source: &ScanSpan) -> Result<(), Stop> {
        let span = self.base.span(source);
        let tag_span = source.tag_span().map_or(span, |tag| self.base.span(&tag));
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > limits::DOCUMENTS {
                    return Err(too_much(span, &format!("more than {} documents", limits::DOCUMENTS)));
                }
                self.anchors.clear();
                self.root = None;
                Ok(())
            }
            Event::DocumentEnd => {
                if let Some(root) = self.root.take().filter(|root| root.content != Content::Null) {
                    let index = self.document();
                    (self.take)(&Document { index, root });
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref();
                let is_merge = text == "<<"
                    && tag.map_or(style == ScalarStyle::Plain, |tag| meaning(tag).as_deref() == Some("merge"));
                let content = if is_merge {
                    Content::String(text.into_owned())
                } else {
                    self.scalar(text, style, tag, tag_span)?
                };
                self.add(Node::scalar(span, content), anchor, is_merge)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", tag_span)?;
                self.start(span, anchor, Body::Sequence(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", tag_span)?;
                self.start(span, anchor, Body::Mapping(Mapping::default()))
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => self.alias(id, span),
            Event::UnresolvedAlias(name) => Err(Problem::error(
                "yaml-alias",
                span,
                format!("alias {} has no anchor before it in this document", quoted(&format!("*{name}"))),
                "define it with `&name`, or quote the value if it is meant as text",
            )),
            _ => Ok(()),
        }
    }

    fn scalar(&self, text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Result<Content, Stop> {
        let suffix = match tag {
            None if style == ScalarStyle::Plain => Cow::Borrowed(""),
            None => Cow::Borrowed("str"),
            Some(tag) => meaning(tag).unwrap_or(Cow::Borrowed("?")),
        };
        let suffix = suffix.as_ref();
        let content = match suffix {
            "str" | "timestamp" => return Ok(Content::String(text.into_owned())),
            "binary" => return scalar::binary(&text).map(Content::String).ok_or_else(|| no_text(span)),
            "?" => return Err(unknown_tag(span)),
            _ => scalar::plain(&text).ok_or_else(|| {
                Problem::error(
                    "yaml-number",
                    span,
                    format!("{} is no number that JSON can hold", quoted(&text)),
                    "quote it if it is meant as text",
                )
            })?,
        };
        let fits = match suffix {
            "" => true,
            "null" => content == Content::Null,
            "bool" => matches!(content, Content::Bool(_)),
            "int" => matches!(&content, Content::Number(n) if !n.is_f64()),
            "float" => matches!(content, Content::Number(_)),
            _ => return Err(unknown_tag(span)),
        };
        if fits {
            return Ok(content);
        }
        let message = format!("{} does not fit its tag `!!{suffix}`", quoted(&text));
        Err(Problem::error("yaml-tag", span, message, "remove the tag, or write a value of that type"))
    }

    fn check_tag(&self, tag: Option<&Tag>, expected: &str, span: Span) -> Result<(), Stop> {
        match tag {
            Some(tag) if tag.core_suffix() != Some(expected) => Err(unknown_tag(span)),
            _ => Ok(()),
        }
    }

    fn start(&mut self, span: Span, anchor: usize, body: Body) -> Result<(), Stop> {
        if let Some(Open { body: Body::Mapping(mapping), .. }) = self.open.last()
            && mapping.key.is_none()
        {
            return Err(Problem::error(
                "yaml-key",
                span,
                "a mapping or list cannot be a key here",
                "quote the key; text with `{{ }}` of a template must be filled in first",
            ));
        }
        if self.open.len() >= limits::DEPTH {
            return Err(too_deep(span));
        }
        self.open.push(Open { span, anchor, body, size: 1, depth: 1 });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Stop> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let content = match open.body {
            Body::Sequence(items) => Content::Sequence(items),
            Body::Mapping(mapping) => Content::Mapping(mapping.into_entries()),
        };
        self.add(Node { span: open.span, content, size: open.size, depth: open.depth }, open.anchor, false)
    }

    /// Applies a `<<` of the mapping that is open.
    fn merge(&mut self, node: Node) -> Result<(), Stop> {
        let Some(Open { body: Body::Mapping(mapping), size, depth, .. }) = self.open.last_mut() else { return Ok(()) };
        let aliased = &mut self.aliased;
        mapping.merge(node, &mut |entry| {
            let added = entry.value.size + 1 + entry.key.text.len() / 64;
            (*size, *depth) = (*size + added, (*depth).max(entry.value.depth + 1));
            count_aliased(aliased, added, entry.key.span)
        })
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), Stop> {
        let Some(node) = self.anchors.get(&id) else {
            return Err(Problem::error(
                "yaml-alias",
                span,
                "this alias stands inside its own anchor",
                "an alias repeats what was written before it; it cannot contain itself",
            ));
        };
        let size = node.size;
        if self.open.len() + node.depth > limits::DEPTH {
            return Err(too_deep(span));
        }
        if let Some(Open { body: Body::Mapping(Mapping { key: Some(NextKey::Merge), .. }), .. }) = self.open.last()
            && !matches!(node.content, Content::Mapping(_))
        {
            return Err(mapping::no_mapping(span));
        }
        // Counted before it is copied: a bomb is refused, not built.
        count_aliased(&mut self.aliased, size, span)?;
        let node = self.anchors[&id].clone();
        self.add(node, 0, false)
    }

    /// Puts a finished value into the collection that is open, as its next key or value.
    fn add(&mut self, node: Node, anchor: usize, is_merge: bool) -> Result<(), Stop> {
        let document = self.document();
        // An anchor keeps a copy, which counts: anchors within anchors multiply.
        self.nodes += if anchor > 0 { 1 + node.size } else { 1 };
        if self.nodes > limits::NODES {
            return Err(too_much(node.span, &format!("more than {} values", limits::NODES)));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.size += node.size;
        open.depth = open.depth.max(node.depth + 1);
        let mapping = match &mut open.body {
            Body::Sequence(items) => {
                items.push(node);
                return Ok(());
            }
            Body::Mapping(mapping) => mapping,
        };
        match mapping.key.take() {
            None => {
                mapping.key = Some(if is_merge { NextKey::Merge } else { NextKey::Field(key(node)?) });
            }
            Some(NextKey::Merge) => self.merge(node)?,
            Some(NextKey::Field(key)) => {
                if let Err(problem) = mapping.write(key, node) {
                    let span = problem.span;
                    self.problems.push((document, problem));
                    if self.problems.len() >= limits::PROBLEMS {
                        return Err(too_much(span, &format!("more than {} duplicate keys", limits::PROBLEMS)));
                    }
                }
            }
        }
        Ok(())
    }

    fn syntax(&self, error: &ScanError) -> Problem {
        use granit_parser::ErrorKind;
        let (line, column) = self.base.place(error.marker());
        let span = Span::at(line, column);
        let help = match error.kind() {
            ErrorKind::RecursionLimitExceeded => return too_deep(span),
            ErrorKind::TabInIndentation
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabNotAllowed
            | ErrorKind::TabInPlainScalar => "indent with spaces: YAML does not allow tabs there",
            ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => {
                "quote a text that contains `: `, or check the indentation of this line"
            }
            ErrorKind::UnclosedQuotedScalar => "close the quote",
            ErrorKind::UnclosedFlowCollection { .. } => "close the bracket",
            _ => "check the indentation and the quotes of this line and the one above",
        };
        Problem::error("yaml-syntax", span, format!("not valid YAML: {}", error.info()), help)
    }
}

/// What a tag says: the name of one that YAML defines, `str` for a lone `!`.
fn meaning(tag: &Tag) -> Option<Cow<'_, str>> {
    match tag.parts() {
        ("" | "!", "" | "!") => Some(Cow::Borrowed("str")),
        _ => tag.suffix_in_namespace("tag:yaml.org,2002:"),
    }
}

fn count_aliased(aliased: &mut usize, size: usize, span: Span) -> Result<(), Stop> {
    *aliased += size;
    if *aliased > limits::ALIAS_NODES {
        return Err(too_much(span, &format!("aliases that repeat more than {} values", limits::ALIAS_NODES)));
    }
    Ok(())
}

fn key(node: Node) -> Result<Key, Stop> {
    let span = node.span;
    let text = scalar::key_text(node.content).ok_or_else(|| {
        Problem::error("yaml-key", span, "a key cannot be empty or a collection", "write the name of a field")
    })?;
    Ok(Key { text, span })
}

fn unknown_tag(span: Span) -> Problem {
    Problem::error("yaml-tag", span, "this YAML tag has no meaning in a manifest", "remove the tag")
}

fn no_text(span: Span) -> Problem {
    let help = "write text without the tag; bytes that are no text go into `binaryData` or `data`, as base64";
    Problem::error("yaml-tag", span, "the value is not base64 of UTF-8 text", help)
}

fn too_deep(span: Span) -> Problem {
    let message = format!("more than {} levels of nesting", limits::DEPTH);
    Problem::error("too-large", span, message, "no field of a manifest stands that deep: check the brackets")
}

fn too_much(span: Span, what: &str) -> Problem {
    Problem::error("too-large", span, format!("{what} in one file"), "split the file, or write the manifests out")
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
