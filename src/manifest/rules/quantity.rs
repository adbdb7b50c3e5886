//! Quantities: `500m`, `1.5Gi`, `1e3`.

use serde_json::Value;

use super::View;
use crate::manifest::problem::{Finding, quoted};

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
        Some(amount) if amount < 0.0 => {
            out.push(view.error("quantity", format!("{what} {} is negative", quoted(&text))));
        }
        Some(_) => {}
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The amount, near enough to compare two of them.
pub(super) fn of(value: &Value) -> Option<f64> {
    let text = text(value);
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    if !digits.contains(|c: char| c.is_ascii_digit()) || digits.contains(['+', '-']) {
        return None;
    }
    Some(number.parse::<f64>().ok()? * scale(suffix)?)
}

fn scale(suffix: &str) -> Option<f64> {
    let power = |base: f64, exponent: i32| Some(base.powi(exponent));
    match suffix {
        "n" => power(10.0, -9),
        "u" => power(10.0, -6),
        "m" => power(10.0, -3),
        "" => Some(1.0),
        "k" => power(10.0, 3),
        "M" => power(10.0, 6),
        "G" => power(10.0, 9),
        "T" => power(10.0, 12),
        "P" => power(10.0, 15),
        "E" => power(10.0, 18),
        "Ki" => power(1024.0, 1),
        "Mi" => power(1024.0, 2),
        "Gi" => power(1024.0, 3),
        "Ti" => power(1024.0, 4),
        "Pi" => power(1024.0, 5),
        "Ei" => power(1024.0, 6),
        exponent => {
            let digits = exponent.strip_prefix(['e', 'E'])?;
            let exponent: i32 = digits.parse().ok().filter(|exponent: &i32| exponent.abs() <= 18)?;
            power(10.0, exponent)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_told_from_what_only_looks_like_one() {
        for good in ["1", "0.5", ".5", "5.", "500m", "1Gi", "1.5Gi", "1e3", "1E-3", "12E", "+1", "-1", "100n"] {
            assert!(of(&json!(good)).is_some(), "{good}");
        }
        for bad in ["", "Gi", "1GB", "1 Gi", "1gi", "1.2.3", "+", "-", ".", "1-", "1e", "1e99", "0x10", "1K"] {
            assert!(of(&json!(bad)).is_none(), "{bad}");
        }
        assert!(of(&json!(0.5)) < of(&json!("600m")) && of(&json!("1Gi")) > of(&json!("1G")));
    }
}
