//! Kubernetes quantities (`500m`, `1.5Gi`, `1e3`) as numbers, exactly.

use serde_json::Value;

use super::Json;

/// Billionths per unit: the finest a quantity can say.
const NANO: i128 = 1_000_000_000;

/// A quantity in billionths; `None` when it is none or too large.
pub fn nanos(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (up, down) = scale(suffix)?;
    let negative = number.starts_with('-');
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 18 || digits.contains(['+', '-']) {
        return None;
    }
    let denominator = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let parse = |part: &str| if part.is_empty() { Some(0) } else { part.parse::<i128>().ok() };
    let value = parse(whole)?.checked_mul(denominator)?.checked_add(parse(fraction)?)?;
    // Rounded up, as Kubernetes does with what is finer than a billionth.
    let divisor = denominator.checked_mul(down)?;
    let nanos = value.checked_mul(NANO)?.checked_mul(up)?;
    let nanos = nanos.checked_add(divisor - 1)? / divisor;
    Some(if negative { -nanos } else { nanos })
}

/// A suffix as a factor and a divisor.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power: u32| Some((1_i128 << (10 * power), 1));
    let decimal = |power: u32| Some((10_i128.pow(power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, NANO)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let size = 10_i128.checked_pow(power.unsigned_abs()).filter(|_| power.abs() <= 18)?;
            Some(if power < 0 { (1, size) } else { (size, 1) })
        }
    }
}

/// A number of bytes, rounded up.
pub fn bytes(text: &str) -> Option<u64> {
    let nanos = nanos(text).filter(|nanos| *nanos >= 0)?;
    u64::try_from(nanos.checked_add(NANO - 1)? / NANO).ok()
}

/// A quantity as Kubernetes writes it (`Quantity.String` of apimachinery): without a fraction, with the largest suffix of its
/// own kind that leaves none. `None` when it is none.
pub fn shown(text: &str) -> Option<String> {
    let nanos = nanos(text)?;
    let suffix = suffix(text);
    let is_exponent = suffix.starts_with(['e', 'E']) && suffix.len() > 1;
    let power = power_of_thousand(nanos);
    Some(match is_exponent && power != UNIT {
        true => format!("{}e{}", nanos / 1000_i128.pow(power), 3 * i64::from(power) - 9),
        false => written(nanos, is_binary(text)),
    })
}

/// Whether a quantity is written in powers of 1024.
pub fn is_binary(text: &str) -> bool {
    suffix(text).ends_with('i')
}

fn suffix(text: &str) -> &str {
    text.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))
}

/// The power of a thousand that billionths are without.
const UNIT: u32 = 3;

fn power_of_thousand(nanos: i128) -> u32 {
    let power = (0..=9).rev().find(|power| nanos % 1000_i128.pow(*power) == 0).unwrap_or(0);
    if nanos == 0 { UNIT } else { power }
}

/// Billionths as [`shown`] writes them, in powers of 1024 or of 1000.
pub fn written(nanos: i128, binary: bool) -> String {
    if binary && nanos.unsigned_abs() >= 1024 * NANO.unsigned_abs() {
        let whole = (nanos + NANO - 1).div_euclid(NANO);
        let power = (1..=6).rev().find(|power| whole % (1 << (10 * power)) == 0).unwrap_or(0);
        return format!("{}{}", whole >> (10 * power), ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
    }
    // By thousands, from billionths on.
    let power = power_of_thousand(nanos);
    let name = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][power as usize];
    format!("{}{name}", nanos / 1000_i128.pow(power))
}

/// The quantity that a JSON value holds, in billionths: a text or a number may be one.
pub fn of(value: &Value) -> Option<i128> {
    match value {
        Value::String(text) => nanos(text),
        Value::Number(number) => nanos(&number.to_string()),
        _ => None,
    }
}

/// The same of JSON that is only looked at.
pub fn of_json(value: &Json<'_>) -> Option<i128> {
    match value {
        Json::String(text) => nanos(text),
        Json::Number(number) => nanos(&number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_notation_is_read_exactly() {
        let rows = [
            ("1", Some(1_000_000_000)),
            ("100m", Some(100_000_000)),
            ("0.1", Some(100_000_000)),
            ("1.5Gi", Some(1_610_612_736_000_000_000)),
            ("1e3", Some(1_000_000_000_000)),
            ("12E", Some(12_000_000_000_000_000_000_000_000_000)),
            ("1k", Some(1_000_000_000_000)),
            ("-1", Some(-1_000_000_000)),
            (".5", Some(500_000_000)),
            ("5n", Some(5)),
            ("", None),
            ("x", None),
            ("1.2.3", None),
            ("+1", Some(1_000_000_000)),
            ("+-1", None),
            ("--1", None),
            ("1-1", None),
            ("-", None),
            ("1KiB", None),
            ("1e99", None),
            ("99999999999999999999999999999999999999999", None),
        ];
        for (text, expected) in rows {
            assert_eq!(nanos(text), expected, "{text}");
        }
    }

    #[test]
    fn a_quantity_is_shown_as_kubernetes_writes_it() {
        for (text, expected) in [
            ("1Gi", "1Gi"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1023Ki", "1023Ki"),
            ("0.5Ki", "512"),
            ("1024", "1024"),
            ("1000", "1k"),
            ("1500k", "1500k"),
            ("1000M", "1G"),
            ("1500", "1500"),
            ("0.1", "100m"),
            ("0", "0"),
            ("0Gi", "0"),
            ("2E", "2E"),
            ("1e3", "1e3"),
            ("12e6", "12e6"),
            ("1e4", "10e3"),
            ("5e0", "5"),
            ("-2Ki", "-2Ki"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(shown("much"), None);
    }

    #[test]
    fn bytes_are_rounded_up() {
        assert_eq!((bytes("64Mi"), bytes("1m"), bytes("-1")), (Some(67_108_864), Some(1), None));
    }
}
