//! From the marked tree to JSON and back to places.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::problem::{Part, escape, segments};
use super::yaml::{Content, Node, Span};

/// Maps of text in which an empty value is the empty text; elsewhere a null means that the field was not written.
const TEXT_MAPS: [&str; 4] = ["/data", "/stringData", "/metadata/labels", "/metadata/annotations"];

/// Line and column of each field, by JSON pointer: of its key in a mapping, of the item itself in a list.
pub(super) type Places = BTreeMap<String, (u32, u32)>;

/// The object as JSON, nulls dropped as kubectl does, with the place of each field.
pub(super) fn to_json(root: &Node) -> (Value, Places) {
    let mut places = Places::new();
    let mut pointer = String::new();
    places.insert(String::new(), (root.span.line, root.span.column));
    let value = convert(root, &mut pointer, &mut places);
    (value, places)
}

fn convert(node: &Node, pointer: &mut String, places: &mut Places) -> Value {
    match &node.content {
        Content::Null => Value::Null,
        Content::Bool(value) => Value::Bool(*value),
        Content::Number(number) => Value::Number(number.clone()),
        Content::String(text) => Value::String(text.clone()),
        Content::Sequence(items) => {
            let item = |(index, item): (usize, &Node)| {
                let length = pointer.len();
                pointer.push_str(&format!("/{index}"));
                places.insert(pointer.clone(), (item.span.line, item.span.column));
                let value = convert(item, pointer, places);
                pointer.truncate(length);
                value
            };
            Value::Array(items.iter().enumerate().map(item).collect())
        }
        Content::Mapping(entries) => {
            let is_text_map = TEXT_MAPS.contains(&pointer.as_str());
            let mut map = Map::new();
            for entry in entries {
                let is_null = entry.value.content == Content::Null;
                if is_null && !is_text_map {
                    continue;
                }
                let length = pointer.len();
                pointer.push('/');
                pointer.push_str(&escape(&entry.key.text));
                places.insert(pointer.clone(), (entry.key.span.line, entry.key.span.column));
                let value = if is_null { Value::from("") } else { convert(&entry.value, pointer, places) };
                pointer.truncate(length);
                map.insert(entry.key.text.clone(), value);
            }
            Value::Object(map)
        }
    }
}

/// Where a pointer leads in the tree. A field that is not there is at the start of the mapping that lacks it.
pub(super) fn locate(root: &Node, pointer: &str, part: Part) -> Span {
    let mut node = root;
    let mut span = if part == Part::Key { root.span.start() } else { root.span };
    for segment in segments(pointer) {
        match &node.content {
            Content::Sequence(items) => {
                let Some(item) = segment.parse::<usize>().ok().and_then(|index| items.get(index)) else {
                    return node.span.start();
                };
                (node, span) = (item, item.span);
            }
            _ => {
                let Some(entry) = node.entry(&segment) else { return node.span.start() };
                node = &entry.value;
                span = if part == Part::Key { entry.key.span } else { node.span };
            }
        }
    }
    span
}
