//! Label selectors, well formed and applied.

use serde_json::{Map, Value};

use super::{Subject, View, choice, names};
use crate::manifest::problem::{Finding, quoted};

pub(super) fn well_formed(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(selector) = subject.root.path(&["spec", "selector"]) else { return };
    for (key, value) in selector.get("matchLabels").iter().flat_map(View::entries) {
        label_key(key, &value, out);
        label_value(&value, out);
    }
    for expression in selector.list("matchExpressions") {
        if let Some(key) = expression.get("key") {
            super::shape(&key, "the label key", names::qualified, out);
        }
        let Some(operator) = expression.get("operator") else { continue };
        choice(&operator, "operator", &["In", "NotIn", "Exists", "DoesNotExist"], out);
        let values = expression.list("values");
        values.iter().for_each(|value| label_value(value, out));
        match operator.text() {
            Some(word @ ("In" | "NotIn")) if values.is_empty() => {
                out.push(operator.error("selector", format!("operator {word} needs at least one value")));
            }
            Some(word @ ("Exists" | "DoesNotExist")) if !values.is_empty() => {
                let at = expression.get("values").unwrap_or(expression);
                out.push(at.error("selector", format!("operator {word} takes no values")).at_key());
            }
            _ => {}
        }
    }
}

/// The key of a label, which stands before its value.
pub(super) fn label_key(key: &str, value: &View<'_>, out: &mut Vec<Finding>) {
    if let Err(wrong) = names::qualified(key) {
        out.push(value.error("label", format!("the label key {} must {wrong}", quoted(key))).at_key());
    }
}

pub(super) fn label_value(value: &View<'_>, out: &mut Vec<Finding>) {
    if let Some(text) = value.text()
        && let Err(wrong) = names::label_value(text)
    {
        out.push(value.error("label", format!("the label value {} must {wrong}", quoted(text))));
    }
}

/// Whether a selector matches labels. One that is not well formed matches nothing.
pub(in crate::manifest) fn selects(selector: &Value, labels: Option<&Map<String, Value>>) -> bool {
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
    let view = View::root(selector);
    let mut pairs = view.get("matchLabels").into_iter().flat_map(|pairs| pairs.entries());
    pairs.all(|(key, value)| value.text().is_some() && label(key) == value.text())
        && view.list("matchExpressions").iter().all(|expression| {
            let found = expression.text_of("key").and_then(label);
            let among = || expression.list("values").iter().any(|value| value.text() == found);
            match expression.text_of("operator") {
                Some("In") => found.is_some() && among(),
                Some("NotIn") => found.is_none() || !among(),
                Some("Exists") => found.is_some(),
                Some("DoesNotExist") => found.is_none(),
                _ => false,
            }
        })
}
