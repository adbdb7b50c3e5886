//! Quantities: `500m`, `1.5Gi`, `1e3`.

use serde_json::Value;

use super::View;
use crate::manifest::problem::{Finding, quoted};
use crate::model::quantity;

/// An error when a value is no quantity, or a negative one.
pub(super) fn check(view: &View<'_>, what: &str, out: &mut Vec<Finding>) {
    if !matches!(view.value, Value::String(_) | Value::Number(_)) {
        return;
    }
    let text = text(view.value);
    match of(view.value) {
        None => {
            out.push(view.error("quantity", format!("{what} {} is no quantity", quoted(&text))));
        }
        Some(amount) if amount < 0 => {
            out.push(view.error("quantity", format!("{what} {} is negative", quoted(&text))));
        }
        Some(_) => {}
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The amount in billionths.
pub(super) fn of(value: &Value) -> Option<i128> {
    quantity::of(value)
}

/// As Kubernetes writes it.
pub(super) fn shown(value: &Value) -> Option<String> {
    quantity::shown(&text(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_told_from_what_only_looks_like_one() {
        for good in ["1", "0.5", ".5", "5.", "500m", "1Gi", "1.5Gi", "1e3", "1E-3", "12E", "+1", "-1", "100n", "1e+2"] {
            assert!(of(&json!(good)).is_some(), "{good}");
        }
        for bad in ["", "Gi", "1GB", "1 Gi", "1gi", "1.2.3", "+", "-", ".", "1-", "1e", "1e99", "0x10", "1K"] {
            assert!(of(&json!(bad)).is_none(), "{bad}");
        }
        assert!(of(&json!(0.5)) < of(&json!("600m")) && of(&json!("1Gi")) > of(&json!("1G")));
    }
}
