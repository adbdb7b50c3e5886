//! Label selectors: `matchLabels` and `matchExpressions`; those of nodes have the same requirements and two more.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Whether every requirement holds. A selector without requirements matches everything.
pub(super) fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let pairs = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.iter().flatten();
    pairs.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && expressions
            .into_iter()
            .all(|e| holds(&e.operator, e.values.as_deref().unwrap_or_default(), labels.get(&e.key)))
}

/// One requirement of a label. `NotIn` and `DoesNotExist` hold for a label that is not there; `Gt` and `Lt`, which only
/// selectors of nodes have, compare integers and hold for nothing else. An operator that is none of these holds for nothing.
pub(super) fn holds(operator: &str, values: &[String], label: Option<&String>) -> bool {
    let integer = |text: &String| text.parse::<i64>().ok();
    let compared = || Some(label.and_then(integer)?.cmp(&values.first().and_then(integer)?));
    match operator {
        "In" => label.is_some_and(|label| values.contains(label)),
        "NotIn" => !label.is_some_and(|label| values.contains(label)),
        "Exists" => label.is_some(),
        "DoesNotExist" => label.is_none(),
        "Gt" => compared() == Some(Ordering::Greater),
        "Lt" => compared() == Some(Ordering::Less),
        _ => false,
    }
}

/// What makes a selector unusable: the index of the expression and the sentence.
pub(super) fn problems(selector: &LabelSelector) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        let values = requirement.values.as_ref().map_or(0, Vec::len);
        let key = &requirement.key;
        match requirement.operator.as_str() {
            "In" | "NotIn" if values == 0 => {
                found.push((index, format!("operator {} of `{key}` needs at least one value", requirement.operator)));
            }
            "Exists" | "DoesNotExist" if values > 0 => {
                found.push((index, format!("operator {} of `{key}` takes no values", requirement.operator)));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => found.push((
                index,
                format!("`{other}` is no operator of a label selector: use In, NotIn, Exists or DoesNotExist"),
            )),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selector(value: serde_json::Value) -> LabelSelector {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn each_operator_decides_by_the_label() {
        let labels: BTreeMap<String, String> = [("role".to_owned(), "frontend".to_owned())].into();
        let expression = |key: &str, operator: &str, values: &[&str]| {
            let mut e = json!({"key": key, "operator": operator});
            if !values.is_empty() {
                e["values"] = json!(values);
            }
            selector(json!({"matchExpressions": [e]}))
        };
        let rows = [
            (selector(json!({})), true),
            (selector(json!({"matchLabels": {"role": "frontend"}})), true),
            (selector(json!({"matchLabels": {"role": "backend"}})), false),
            (selector(json!({"matchLabels": {"tier": "frontend"}})), false),
            (selector(json!({"matchLabels": {"role": "frontend", "tier": "x"}})), false),
            (expression("role", "In", &["backend", "frontend"]), true),
            (expression("role", "In", &["backend"]), false),
            (expression("tier", "In", &["backend"]), false),
            (expression("role", "NotIn", &["backend"]), true),
            (expression("role", "NotIn", &["frontend"]), false),
            (expression("tier", "NotIn", &["frontend"]), true),
            (expression("role", "Exists", &[]), true),
            (expression("tier", "Exists", &[]), false),
            (expression("role", "DoesNotExist", &[]), false),
            (expression("tier", "DoesNotExist", &[]), true),
        ];
        for (selector, expected) in rows {
            assert_eq!(matches(&selector, &labels), expected, "{selector:?}");
            assert_eq!(problems(&selector), []);
        }
    }

    #[test]
    fn labels_and_expressions_must_hold_together() {
        let both =
            selector(json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}));
        let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert!(matches(&both, &labels(&[("a", "1"), ("b", "")])));
        assert!(!matches(&both, &labels(&[("a", "1")])));
        assert!(!matches(&both, &labels(&[("b", "")])));
    }

    #[test]
    fn what_cannot_be_parsed_is_named() {
        let bad = selector(json!({"matchExpressions": [
            {"key": "a", "operator": "In"},
            {"key": "a", "operator": "Exists", "values": ["x"]},
            {"key": "a", "operator": "Near"},
        ]}));
        let indexes: Vec<usize> = problems(&bad).into_iter().map(|(i, _)| i).collect();
        assert_eq!(indexes, [0, 1, 2]);
    }
}
