//! What of a Secret must not be shown with a source line: every value except those that name the object.

use super::rules::names;
use super::yaml::{Content, Node, Span};
use crate::model::Kind;

/// Pieces of a document that hold values of Secrets. A mapping is one when its `kind` looks like it, also a misspelt one
/// or another product's, such as SealedSecret; in a file that speaks of secrets at all, also what has no kind.
pub(super) fn masks(root: &Node, wary: bool, found: &mut Vec<Span>) {
    let kind = root.get("kind").and_then(Node::text);
    if kind.is_some_and(is_secret) || (kind.is_none() && wary) {
        hide_all(root, found);
    } else {
        descend(root, found);
    }
}

/// Objects within a document: the items of a List.
fn descend(node: &Node, found: &mut Vec<Span>) {
    match &node.content {
        Content::Sequence(items) => items.iter().for_each(|item| descend(item, found)),
        Content::Mapping(_) if node.get("kind").and_then(Node::text).is_some_and(is_secret) => hide_all(node, found),
        Content::Mapping(entries) => entries.iter().for_each(|entry| descend(&entry.value, found)),
        _ => {}
    }
}

fn is_secret(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    kind.contains("secret") || strsim::damerau_levenshtein(&kind, "secret") <= 2
}

/// Fields of a Secret whose values are no secret.
const OPEN: [&str; 6] = ["/apiVersion", "/kind", "/type", "/immutable", "/metadata/name", "/metadata/namespace"];

/// The values of a Secret, or of each item of a list of them.
fn hide_all(node: &Node, found: &mut Vec<Span>) {
    match (node.get("items").map(|items| &items.content), &node.content) {
        (Some(Content::Sequence(items)), Content::Mapping(entries)) => {
            items.iter().for_each(|item| hide(item, "", found));
            for entry in entries.iter().filter(|entry| entry.key.text != "items") {
                hide(&entry.value, &format!("/{}", entry.key.text), found);
            }
        }
        _ => hide(node, "", found),
    }
}

fn hide(node: &Node, pointer: &str, found: &mut Vec<Span>) {
    if OPEN.contains(&pointer) {
        return;
    }
    match &node.content {
        Content::Sequence(items) => items.iter().for_each(|item| hide(item, pointer, found)),
        Content::Mapping(entries) => {
            for entry in entries {
                if !may_be_told(&entry.key.text) {
                    found.push(entry.key.span);
                }
                hide(&entry.value, &format!("{pointer}/{}", entry.key.text), found);
            }
        }
        _ => found.push(node.span),
    }
}

/// Whether a key of a Secret may stand in a message. One that is no possible key may be a value with its colon forgotten.
pub(super) fn may_be_told(key: &str) -> bool {
    names::data_key(key).is_ok()
}

/// A message without those texts it quotes that do not pass.
pub(super) fn masked(message: &str, passes: fn(&str) -> bool) -> String {
    let mask = |(index, piece)| if index % 2 == 1 && !passes(piece) { "***" } else { piece };
    message.split('"').enumerate().map(mask).collect::<Vec<_>>().join("\"")
}

/// Whether a file speaks of secrets at all.
pub(super) fn may_hold_one(text: &str) -> bool {
    text.to_ascii_lowercase().contains("secret")
}

/// Whether lines of a file that cannot be parsed may be shown: it does not speak of secrets, and every `kind` in it is
/// one of ours, for the kind of a Secret may be misspelt or escaped.
pub(super) fn is_open(text: &str) -> bool {
    let mut kinds = text.match_indices("kind").map(|(at, word)| &text[at + word.len()..]).peekable();
    kinds.peek().is_some() && kinds.all(is_known_kind) && !may_hold_one(text)
}

/// Whether what follows `kind` is a colon and the name of a kind that holds no secret.
fn is_known_kind(rest: &str) -> bool {
    let Some(value) = rest.trim_start_matches(['"', '\'', ' ']).strip_prefix(':') else { return false };
    let value = value.trim_start_matches([' ', '"', '\'']);
    let name = value.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let of = name.strip_suffix("List").unwrap_or(name);
    name == "List" || Kind::ALL.iter().any(|kind| *kind != Kind::Secret && kind.as_str() == of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_file_is_shown_when_each_kind_in_it_is_one_without_secrets() {
        let cases = [
            ("kind: Pod\n", true),
            ("{\"kind\": \"ConfigMap\", ", true),
            ("kind: List\nitems:\n- kind: Pod\n", true),
            ("kind: ConfigMapList\nitems:\n- kind: Pod\n", true),
            ("kind: SecertList\nitems:\n- data: {password: x}\n", false),
            ("kind: Secert\n\tpassword: x\n", false),
            ("kind:\n  password: x\n", false),
            ("kind: \"Secr\\x65t\"\n", false),
            ("kind: Pod\n---\nkind: Secert\n", false),
            ("kind: Pod # beside a secret\n", false),
            ("password: x\n", false),
        ];
        for (text, open) in cases {
            assert_eq!(is_open(text), open, "{text:?}");
        }
    }
}
