//! Which fields of an object differ, for the kinds the planner has no opinion on.

use serde_json::{Map, Value};

use super::mask::Pair;
use crate::model::{Cause, FieldChange, Kind, Verb};

/// Members told by other means: data key by key, the rest is the object's name.
const SKIPPED: [&str; 5] = ["data", "binaryData", "stringData", "apiVersion", "kind"];

/// Every field that differs between two masked states, as deep as both sides have mappings; lists as a whole.
pub(super) fn changed(kind: Kind, pair: &Pair) -> Vec<FieldChange> {
    let mut found = Vec::new();
    if let [Some(before), Some(after)] = pair {
        walk([Some(before), Some(after)], String::new(), &mut found);
    }
    let data = matches!(kind, Kind::ConfigMap | Kind::Secret);
    found.retain(|change| !(data && SKIPPED.iter().any(|part| change.field.split(['.', '[']).next() == Some(part))));
    found
}

fn walk(pair: [Option<&Value>; 2], field: String, found: &mut Vec<FieldChange>) {
    match pair {
        [a, b] if a == b => {}
        [Some(Value::Object(a)), Some(Value::Object(b))] => {
            let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                walk([a.get(name), b.get(name)], member(&field, name), found);
            }
        }
        // Labels and annotations are told one by one even where a side has none.
        [None | Some(Value::Object(_)), None | Some(Value::Object(_))] if is_map(&field) => {
            let empty = Value::Object(Map::new());
            walk(pair.map(|side| Some(side.unwrap_or(&empty))), field, found);
        }
        [before, after] => found.push(FieldChange {
            field,
            before: before.map(Value::to_string),
            after: after.map(Value::to_string),
            effect: Verb::UpdateInPlace,
            cause: Cause::Manifest,
            container: None,
            avoidable: None,
            note: None,
        }),
    }
}

fn is_map(field: &str) -> bool {
    matches!(field, "metadata.labels" | "metadata.annotations")
}

fn member(field: &str, name: &str) -> String {
    match field {
        "" => name.to_owned(),
        field if is_map(field) => format!("{field}[{name}]"),
        field => format!("{field}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_named_as_deep_as_both_sides_go() {
        let before = json!({"metadata": {"name": "x"}, "data": {"a": "1"}, "immutable": true});
        let after = json!({"metadata": {"name": "x", "labels": {"b": "c"}}, "data": {"a": "2"}});
        let found = changed(Kind::ConfigMap, &[Some(before), Some(after)]);
        let shown: Vec<_> = found.iter().map(|c| (c.field.as_str(), c.before.as_deref(), c.after.as_deref())).collect();
        assert_eq!(shown, [("immutable", Some("true"), None), ("metadata.labels[b]", None, Some("\"c\""))]);
    }
}
