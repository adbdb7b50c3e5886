//! Scalars as kubectl reads them: YAML 1.1 by the rules of go-yaml 2, which sigs.k8s.io/yaml uses.
//!
//! `0644` is 420, `yes` and `off` are booleans, `1e3` is 1000, `12:30` and dates stay text. JSON has no infinity, so
//! `.inf` and `.nan` are errors.

use std::borrow::Cow;

use crate::manifest::base64;
use serde_json::Number;

use super::tree::Content;

/// What an untyped plain scalar means. `None` for a number that JSON cannot hold.
pub(super) fn plain(text: &str) -> Option<Content> {
    Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Content::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Content::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Content::Bool(false),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf"
        | "-.INF" => return None,
        _ => match text.as_bytes()[0] {
            b'0'..=b'9' | b'+' | b'-' | b'.' => match number(text) {
                Numeric::Number(number) => Content::Number(number),
                Numeric::Text => Content::String(text.to_owned()),
            },
            _ => Content::String(text.to_owned()),
        },
    })
}

/// What a text that looks like a number is.
enum Numeric {
    Number(Number),
    Text,
}

fn number(text: &str) -> Numeric {
    // A leading dot is a float or text; underscores are separators only in what starts with a digit or a sign.
    let digits = match text.starts_with('.') || !text.contains('_') {
        true => Cow::Borrowed(text),
        false => Cow::Owned(text.replace('_', "")),
    };
    match integer(&digits) {
        Numeric::Text => {}
        numeric => return numeric,
    }
    let value = if looks_like_float(&digits) { digits.parse::<f64>().ok() } else { None };
    value.and_then(float).map_or(Numeric::Text, Numeric::Number)
}

/// A float without a fraction is an integer once it went through JSON: `1.0` is written as `1`.
fn float(value: f64) -> Option<Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[allow(clippy::cast_possible_truncation)]
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

/// Decimal, `0x`, `0o`, `0b` and a leading zero for octal, with a sign; 64 bits, signed or, without a sign, unsigned. What is
/// too large for that is no integer: digits alone are a float then, the rest is text.
fn integer(text: &str) -> Numeric {
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (0, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Numeric::Text;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok().map(i128::from);
    let found = match (sign, magnitude) {
        (_, None) => None,
        (0, Some(value)) => u64::try_from(value).ok().map(Number::from),
        (sign, Some(value)) => i64::try_from(value * sign).ok().map(Number::from),
    };
    found.map_or(Numeric::Text, Numeric::Number)
}

/// The text behind `!!binary`, which go-yaml decodes.
pub(super) fn binary(text: &str) -> Option<String> {
    String::from_utf8(base64::decode(text)?).ok()
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn looks_like_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let good_exponent = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let good_mantissa = all_digits(whole) && all_digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    good_mantissa && good_exponent
}

/// The text kubectl makes of a scalar that stands as a key; `None` for null, which cannot be one.
pub(super) fn key_text(content: Content) -> Option<String> {
    match content {
        Content::String(text) => Some(text),
        Content::Bool(value) => Some(value.to_string()),
        Content::Number(number) => Some(number.to_string()),
        Content::Null | Content::Sequence(_) | Content::Mapping(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn as_json(text: &str) -> Option<Value> {
        plain(text).map(|content| match content {
            Content::Null => Value::Null,
            Content::Bool(value) => value.into(),
            Content::Number(number) => Value::Number(number),
            Content::String(text) => text.into(),
            Content::Sequence(_) | Content::Mapping(_) => unreachable!(),
        })
    }

    #[test]
    fn scalars_are_read_as_kubectl_reads_them() {
        let rows = [
            ("0644", json!(420)),
            ("0o644", json!(420)),
            ("-0644", json!(-420)),
            ("0888", json!(888)),
            ("0x1F", json!(31)),
            ("0b101", json!(5)),
            ("00", json!(0)),
            ("0", json!(0)),
            ("+5", json!(5)),
            ("1_000", json!(1000)),
            ("1e3", json!(1000)),
            ("1.0", json!(1)),
            ("0.5", json!(0.5)),
            (".5", json!(0.5)),
            ("5.", json!(5)),
            ("1.5e-3", json!(0.0015)),
            ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
            ("-9223372036854775808", json!(-9_223_372_036_854_775_808_i64)),
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("y", json!(true)),
            ("N", json!(false)),
            ("TRUE", json!(true)),
            ("tRUE", json!("tRUE")),
            ("~", Value::Null),
            ("", Value::Null),
            ("Null", Value::Null),
            ("nULL", json!("nULL")),
            ("12:30", json!("12:30")),
            ("2001-01-01", json!("2001-01-01")),
            ("1.2.3", json!("1.2.3")),
            ("500m", json!("500m")),
            ("1e", json!("1e")),
            ("-", json!("-")),
            ("+", json!("+")),
            (".", json!(".")),
            ("0x", json!("0x")),
            ("0x-1", json!("0x-1")),
            ("--5", json!("--5")),
            ("_5", json!("_5")),
            ("1e999", json!("1e999")),
            ("é", json!("é")),
            ("0é", json!("0é")),
        ];
        for (text, expected) in rows {
            assert_eq!(as_json(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn numbers_at_the_edge_are_read_as_go_yaml_reads_them() {
        let rows = [
            ("0O17", json!(15)),
            ("0B11", json!(3)),
            ("-0b11", json!(-3)),
            ("+0x10", json!(16)),
            ("0_7", json!(7)),
            ("0x_1F", json!(31)),
            ("1__0", json!(10)),
            ("08", json!(8)),
            ("08.5", json!(8.5)),
            ("0b12", json!("0b12")),
            ("0o8", json!("0o8")),
            ("1_000.5", json!(1000.5)),
            (".1_0", json!(".1_0")),
            ("+.5", json!(0.5)),
            ("1.e3", json!(1000)),
            ("-0", json!(0)),
            ("190:20:30", json!("190:20:30")),
            ("+18446744073709551615", json!(18_446_744_073_709_551_615.0)),
            ("99999999999999999999", json!(1e20)),
            ("-9223372036854775809", json!(-9_223_372_036_854_775_808.0)),
            ("02000000000000000000000", json!(2e21)),
            ("0xFFFFFFFFFFFFFFFFF", json!("0xFFFFFFFFFFFFFFFFF")),
            ("2001-12-14t21:59:43.10-05:00", json!("2001-12-14t21:59:43.10-05:00")),
            ("=", json!("=")),
            ("nan", json!("nan")),
            ("0x1p-2", json!("0x1p-2")),
        ];
        for (text, expected) in rows {
            assert_eq!(as_json(text), Some(expected), "{text}");
        }
        for text in [".inf", "-.Inf", ".NaN"] {
            assert_eq!(as_json(text), None, "{text}");
        }
    }
}
