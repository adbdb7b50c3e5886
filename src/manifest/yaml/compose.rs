//! Parser events become a marked tree: anchors and aliases, merge keys, duplicate keys, bounds.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span as ScanSpan, Tag};

use super::Document;
use super::scalar;
use super::tree::{Content, Entry, Key, Node, Span};
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

#[derive(Default)]
struct Mapping {
    entries: Vec<Entry>,
    /// Where each key stands among the entries.
    seen: HashMap<String, usize>,
    /// The key whose value comes next.
    key: Option<NextKey>,
    /// Values of `<<`, in the order written.
    merges: Vec<Node>,
}

enum NextKey {
    Field(Key),
    Merge,
}

/// Reads a whole stream; each document is handed over when it is complete. Returns the problems, each with the index of its
/// document.
pub(super) fn compose(text: &str, take: &mut dyn FnMut(&Document)) -> Vec<(u32, Problem)> {
    let options = granit_parser::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        block_scalar_eof_without_line_feed: true,
        flow_nesting_limit: limits::DEPTH,
        block_nesting_limit: limits::DEPTH,
    };
    let mut composer = Composer {
        take,
        problems: Vec::new(),
        open: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        nodes: 0,
        aliased: 0,
        documents: 0,
    };
    for step in Parser::new_from_str_with_options(text, options) {
        let outcome = match step {
            Ok((event, span)) => composer.event(event, &span),
            Err(error) => Err(syntax(&error)),
        };
        if let Err(stop) = outcome {
            let document = composer.document();
            composer.problems.push((document, stop));
            break;
        }
    }
    composer.problems
}

struct Composer<'a> {
    take: &'a mut dyn FnMut(&Document),
    problems: Vec<(u32, Problem)>,
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
    /// The index of the current document.
    fn document(&self) -> u32 {
        number(self.documents.saturating_sub(1))
    }

    fn event(&mut self, event: Event<'_>, source: &ScanSpan) -> Result<(), Stop> {
        let span = to_span(source);
        let tag_span = source.tag_span().map_or(span, |tag| to_span(&tag));
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
                let content = self.scalar(&text, style, tag.as_deref(), tag_span)?;
                let is_merge = style == ScalarStyle::Plain && tag.is_none() && text == "<<";
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

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Result<Content, Stop> {
        let suffix = match tag {
            None if style == ScalarStyle::Plain => "",
            None => "str",
            Some(tag) if tag.handle() == "!" && tag.suffix().is_empty() => "str",
            Some(tag) => tag.core_suffix().unwrap_or("?"),
        };
        let content = match suffix {
            "str" | "timestamp" => return Ok(Content::String(text.to_owned())),
            "?" => return Err(unknown_tag(span)),
            _ => scalar::plain(text).ok_or_else(|| {
                Problem::error(
                    "yaml-number",
                    span,
                    format!("{} is no number that JSON can hold", quoted(text)),
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
        let message = format!("{} does not fit its tag `!!{suffix}`", quoted(text));
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
        let (content, size, depth) = match open.body {
            Body::Sequence(items) => (Content::Sequence(items), open.size, open.depth),
            Body::Mapping(mapping) => {
                let (entries, size, depth) = self.merged(mapping, open.size, open.depth)?;
                (Content::Mapping(entries), size, depth)
            }
        };
        self.add(Node { span: open.span, content, size, depth }, open.anchor, false)
    }

    /// Applies `<<`: what is written in the mapping wins, then the earlier of several.
    fn merged(
        &mut self,
        mapping: Mapping,
        mut size: usize,
        mut depth: usize,
    ) -> Result<(Vec<Entry>, usize, usize), Stop> {
        let Mapping { mut entries, mut seen, merges, .. } = mapping;
        for donor in merges.into_iter().flat_map(donors) {
            let Content::Mapping(donated) = donor.content else {
                return Err(Problem::error(
                    "yaml-merge",
                    donor.span,
                    "`<<` merges a mapping or a list of mappings",
                    "write `<<: *anchor` with the anchor at a mapping",
                ));
            };
            for entry in donated {
                if seen.contains_key(&entry.key.text) {
                    continue;
                }
                let added = entry.value.size + 1 + entry.key.text.len() / 64;
                self.count_aliased(added, entry.key.span)?;
                (size, depth) = (size + added, depth.max(entry.value.depth + 1));
                seen.insert(entry.key.text.clone(), entries.len());
                entries.push(entry);
            }
        }
        Ok((entries, size, depth))
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
        // Counted before it is copied: a bomb is refused, not built.
        self.count_aliased(size, span)?;
        let node = self.anchors[&id].clone();
        self.add(node, 0, false)
    }

    fn count_aliased(&mut self, size: usize, span: Span) -> Result<(), Stop> {
        self.aliased += size;
        if self.aliased > limits::ALIAS_NODES {
            return Err(too_much(span, &format!("aliases that repeat more than {} values", limits::ALIAS_NODES)));
        }
        Ok(())
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
            Some(NextKey::Merge) => mapping.merges.push(node),
            Some(NextKey::Field(key)) => match mapping.seen.get(&key.text) {
                Some(first) => {
                    let first = mapping.entries[*first].key.span;
                    self.problems.push((document, duplicate(&key, first)));
                    if self.problems.len() >= limits::PROBLEMS {
                        return Err(too_much(key.span, &format!("more than {} duplicate keys", limits::PROBLEMS)));
                    }
                }
                None => {
                    mapping.seen.insert(key.text.clone(), mapping.entries.len());
                    mapping.entries.push(Entry { key, value: node });
                }
            },
        }
        Ok(())
    }
}

/// The mappings of one `<<`.
fn donors(node: Node) -> Vec<Node> {
    match node.content {
        Content::Sequence(items) => items,
        _ => vec![node],
    }
}

fn key(node: Node) -> Result<Key, Stop> {
    let span = node.span;
    let text = scalar::key_text(node.content).ok_or_else(|| {
        Problem::error("yaml-key", span, "a key cannot be empty or a collection", "write the name of a field")
    })?;
    Ok(Key { text, span })
}

fn duplicate(key: &Key, first: Span) -> Problem {
    let message =
        format!("key {} is already written at line {}, column {}", quoted(&key.text), first.line, first.column);
    Problem::error("duplicate-key", key.span, message, "remove one of the two")
}

fn unknown_tag(span: Span) -> Problem {
    Problem::error("yaml-tag", span, "this YAML tag has no meaning in a manifest", "remove the tag")
}

fn too_deep(span: Span) -> Problem {
    let message = format!("more than {} levels of nesting", limits::DEPTH);
    Problem::error("too-large", span, message, "no field of a manifest stands that deep: check the brackets")
}

fn too_much(span: Span, what: &str) -> Problem {
    Problem::error("too-large", span, format!("{what} in one file"), "split the file, or write the manifests out")
}

fn syntax(error: &ScanError) -> Problem {
    use granit_parser::ErrorKind;
    let mark = error.marker();
    let span = Span::at(number(mark.line()), number(mark.col() + 1));
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

fn to_span(span: &ScanSpan) -> Span {
    Span {
        line: number(span.start.line()),
        column: number(span.start.col() + 1),
        end_line: number(span.end.line()),
        end_column: number(span.end.col() + 1),
    }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
