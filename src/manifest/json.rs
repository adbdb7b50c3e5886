//! From the marked tree to JSON and back to places.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::problem::{Part, segments};
use super::yaml::{Content, Entry, Node, Span};
use crate::model::{Places, PointerDigest};

/// Maps of text in which an empty value is the empty text, as it is for the API server; elsewhere a null means that the
/// field was not written. A selector that lost a label would select more pods than its author meant.
const TEXT_MAPS: [&str; 7] = [
    "/data",
    "/binaryData",
    "/stringData",
    "/metadata/labels",
    "/metadata/annotations",
    "/spec/selector/matchLabels",
    "/spec/nodeSelector",
];

/// The object as JSON, nulls dropped as kubectl does, with the place of each field.
pub(super) fn to_json(root: &Node) -> (Value, Places) {
    let mut places = vec![(PointerDigest::ROOT, (root.span.line, root.span.column))];
    let value = Convert { places: &mut places }.value(root, PointerDigest::ROOT);
    (value, places.into_iter().collect())
}

fn text_maps() -> &'static [PointerDigest; 7] {
    static DIGESTS: LazyLock<[PointerDigest; 7]> = LazyLock::new(|| TEXT_MAPS.map(PointerDigest::of));
    &DIGESTS
}

struct Convert<'a> {
    places: &'a mut Vec<(PointerDigest, (u32, u32))>,
}

impl Convert<'_> {
    fn value(&mut self, node: &Node, here: PointerDigest) -> Value {
        match &node.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number(number) => Value::Number(number.clone()),
            Content::String(text) => Value::String(text.clone()),
            Content::Sequence(items) => {
                let item = |(index, item): (usize, &Node)| self.part(item, here.index(index), item.span);
                Value::Array(items.iter().enumerate().map(item).collect())
            }
            Content::Mapping(entries) => Value::Object(self.mapping(entries, here)),
        }
    }

    fn mapping(&mut self, entries: &[Entry], here: PointerDigest) -> Map<String, Value> {
        let is_text_map = text_maps().contains(&here);
        let mut map = Map::with_capacity(entries.len());
        for Entry { key, value } in entries {
            let is_null = value.content == Content::Null;
            if is_null && !is_text_map {
                continue;
            }
            let value = self.part(value, here.key(&key.text), key.span);
            map.insert(key.text.clone(), if is_null { Value::from("") } else { value });
        }
        map
    }

    /// A field or an item, the place of which is remembered.
    fn part(&mut self, node: &Node, pointer: PointerDigest, at: Span) -> Value {
        self.places.push((pointer, (at.line, at.column)));
        self.value(node, pointer)
    }
}

/// Where a pointer leads in the tree. A field that is not there is at the start of the mapping that lacks it.
pub(super) fn locate(root: &Node, pointer: &str, part: Part) -> Span {
    let (key, value) = locate_both(root, pointer);
    if part == Part::Key { key } else { value }
}

/// The same of a field's key and of its value.
pub(super) fn locate_both(root: &Node, pointer: &str) -> (Span, Span) {
    let mut node = root;
    let mut spans = (root.span.start(), root.span);
    for segment in segments(pointer) {
        match &node.content {
            Content::Sequence(items) => {
                let Some(item) = segment.parse::<usize>().ok().and_then(|index| items.get(index)) else {
                    return (node.span.start(), node.span.start());
                };
                (node, spans) = (item, (item.span, item.span));
            }
            _ => {
                let Some(entry) = node.entry(&segment) else { return (node.span.start(), node.span.start()) };
                node = &entry.value;
                spans = (entry.key.span, node.span);
            }
        }
    }
    spans
}
