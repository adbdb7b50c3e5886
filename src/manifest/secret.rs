//! What of a Secret must not be shown with a source line: every value except those that name the object.

use super::yaml::{Content, Node, Span};

/// Pieces of the document that hold values of Secrets. A document is one when any `kind` in it looks like it, also a
/// misspelt one or another product's, such as SealedSecret.
pub(super) fn masks(root: &Node, found: &mut Vec<Span>) {
    match &root.content {
        Content::Sequence(items) => items.iter().for_each(|item| masks(item, found)),
        Content::Mapping(entries) => {
            if root.get("kind").and_then(Node::text).is_some_and(is_secret) {
                hide(root, "", found);
            } else {
                entries.iter().for_each(|entry| masks(&entry.value, found));
            }
        }
        _ => {}
    }
}

fn is_secret(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    kind.contains("secret") || strsim::damerau_levenshtein(&kind, "secret") <= 2
}

/// Fields of a Secret whose values are no secret.
const OPEN: [&str; 6] = ["/apiVersion", "/kind", "/type", "/immutable", "/metadata/name", "/metadata/namespace"];

fn hide(node: &Node, pointer: &str, found: &mut Vec<Span>) {
    if OPEN.contains(&pointer) {
        return;
    }
    match &node.content {
        Content::Sequence(items) => items.iter().for_each(|item| hide(item, pointer, found)),
        Content::Mapping(entries) => {
            for entry in entries {
                hide(&entry.value, &format!("{pointer}/{}", entry.key.text), found);
            }
        }
        _ => found.push(node.span),
    }
}

/// Whether a file that cannot be parsed may hold a Secret, so that no line of it is shown.
pub(super) fn may_hold_one(text: &str) -> bool {
    text.to_ascii_lowercase().contains("secret")
}
