//! How a text is written: plain where a reader would take it for that text, else quoted, or as a literal block.
//!
//! The rules are those of go-yaml 2: `resolve` and `encode` decide what a plain text would be taken for (YAML 1.1, so
//! `yes`, `0o7`, `1_000` and `12:30` are no texts), the emitter's `analyze_scalar` which styles can hold it.

/// The styles, in the emitter's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

/// What a text contains, as far as a style depends on it.
#[derive(Default)]
struct Traits {
    /// Something that means more than itself in a plain scalar.
    indicators: bool,
    breaks: bool,
    /// Characters that only an escape can show.
    special: bool,
    leading_white: bool,
    trailing_space: bool,
    /// A space before a line break.
    space_break: bool,
}

/// The style of a value.
pub(in crate::report) fn style(text: &str) -> Style {
    if text.is_empty() {
        return Style::Double;
    }
    let traits = traits(text);
    if text.contains('\n') {
        let literal = !traits.special && !traits.space_break && !traits.trailing_space;
        return if literal { Style::Literal } else { Style::Double };
    }
    inline(text, &traits)
}

/// The style of a key, which never takes more than a line.
pub(super) fn key_style(text: &str) -> Style {
    if text.is_empty() || text.contains(is_break) { Style::Double } else { inline(text, &traits(text)) }
}

fn inline(text: &str, traits: &Traits) -> Style {
    if is_more_than_text(text) || traits.special || traits.breaks {
        return Style::Double;
    }
    let outer = traits.leading_white || traits.trailing_space;
    if traits.indicators || outer { Style::Single } else { Style::Plain }
}

fn traits(text: &str) -> Traits {
    let mut traits = Traits { indicators: text.starts_with("---") || text.starts_with("..."), ..Traits::default() };
    let (mut after_white, mut after_space) = (true, false);
    let mut chars = text.chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        let before_white = next.is_none_or(|n| matches!(n, ' ' | '\t'));
        traits.indicators |= is_indicator(c, first, after_white, before_white);
        traits.special |= !is_printable(c);
        traits.leading_white |= first && (c == ' ' || is_break(c));
        if c == ' ' {
            traits.trailing_space |= next.is_none();
        } else if is_break(c) {
            traits.breaks = true;
            traits.space_break |= after_space;
        }
        after_space = c == ' ';
        after_white = matches!(c, ' ' | '\t') || is_break(c);
        first = false;
    }
    traits
}

/// Whether a character would not be taken for itself in a plain scalar outside of flow collections.
fn is_indicator(c: char, first: bool, after_white: bool, before_white: bool) -> bool {
    match c {
        '#' => after_white,
        ':' => before_white,
        '?' | '-' => first && before_white,
        ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => first,
        _ => false,
    }
}

/// What YAML 1.1 calls a line break, but for the two that are only escaped here.
pub(super) fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_printable(c: char) -> bool {
    match c {
        '\u{2028}' | '\u{2029}' | '\u{feff}' => false,
        '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' => true,
        _ => false,
    }
}

/// The header of a literal block: it says how the text begins and ends where that could be misread.
pub(in crate::report) fn header(text: &str) -> String {
    let hint = if text.starts_with([' ', '\n']) { "2" } else { "" };
    let chomp = match text.strip_suffix('\n') {
        None => "-",
        Some(body) if body.is_empty() || body.ends_with('\n') => "+",
        Some(_) => "",
    };
    format!("|{hint}{chomp}")
}

/// A text on one line that is never folded.
pub(in crate::report) fn one_line(text: &str) -> String {
    match key_style(text) {
        Style::Plain => text.to_owned(),
        Style::Single => format!("'{}'", text.replace('\'', "''")),
        Style::Double | Style::Literal => double_quoted(text, |_| false),
    }
}

/// A text between double quotes, with `special` characters escaped beside those that kubectl escapes.
pub(in crate::report) fn double_quoted(text: &str, special: impl Fn(char) -> bool) -> String {
    let every = text.starts_with('\u{feff}');
    let mut out = String::from("\"");
    for c in text.chars() {
        match escaped(c, every || special(c)) {
            Some(escape) => out.push_str(&escape),
            None => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A character as it stands between double quotes, if not as itself. With `every`, none stands as itself: that is how
/// go-yaml writes a text that begins with a byte-order mark.
pub(super) fn escaped(c: char, every: bool) -> Option<String> {
    let short = match c {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        c if is_printable(c) && !every => return None,
        c => {
            let code = u32::from(c);
            return Some(match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            });
        }
    };
    Some(format!("\\{short}"))
}

/// What YAML 1.1 reads as a truth value or nothing.
const WORDS: [&str; 38] = [
    "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "n", "N", "no", "No", "NO", "false",
    "False", "FALSE", "off", "Off", "OFF", "~", "null", "Null", "NULL", ".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF",
    "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
];

/// Whether a text is plain for certain, as nearly every key and most values are: a letter, then letters, digits and what
/// names have between them, and no word that means something else.
pub(in crate::report) fn is_plain_word(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(is_inner) && !is_word(text)
}

fn is_word(text: &str) -> bool {
    // None of them is longer.
    text.len() <= 5 && WORDS.contains(&text)
}

/// Whether a reader would take the plain text for a truth value, nothing, a number or a time.
fn is_more_than_text(text: &str) -> bool {
    is_word(text)
        || match text.as_bytes().first() {
            Some(b'.') => is_decimal(text, true),
            Some(b'+' | b'-' | b'0'..=b'9') => {
                let digits = text.replace('_', "");
                is_timestamp(text) || is_integer(&digits) || is_decimal(&digits, false) || is_sexagesimal(text)
            }
            _ => false,
        }
}

/// Go's integers of 64 bits: a sign, then `0x`, `0o`, `0b`, an octal number after `0`, or a decimal one.
fn is_integer(text: &str) -> bool {
    let (sign, unsigned) = text.split_at(text.len() - text.trim_start_matches(['+', '-']).len());
    let lower = unsigned.to_ascii_lowercase();
    let (digits, radix) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (&lower[..], 10),
    };
    match sign {
        _ if digits.starts_with(['+', '-']) => false,
        "" => u64::from_str_radix(digits, radix).is_ok(),
        "+" | "-" => i64::from_str_radix(&format!("{sign}{digits}"), radix).is_ok(),
        _ => false,
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, if it is within the range of a double. Where the text begins
/// with its point, Go's parser reads it, which takes underscores between digits.
fn is_decimal(text: &str, underscores: bool) -> bool {
    let plain = if underscores && !text.contains("__") && !text.ends_with('_') && !text.starts_with("._") {
        text.replace('_', "")
    } else {
        text.to_owned()
    };
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        None => (unsigned, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let shaped = all(whole) && all(fraction) && all(exponent) && !exponent.is_empty();
    let some = !whole.is_empty() || !fraction.is_empty();
    shaped && some && plain.parse::<f64>().is_ok_and(f64::is_finite)
}

/// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`: hours, minutes and seconds of YAML 1.1.
fn is_sexagesimal(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (main, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let mut parts = main.split(':');
    let head = parts.next().unwrap_or_default();
    let numeric = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let sixty = |part: &str| match part.as_bytes() {
        [d] => d.is_ascii_digit(),
        [t, d] => (b'0'..=b'5').contains(t) && d.is_ascii_digit(),
        _ => false,
    };
    main.contains(':')
        && head.starts_with(|c: char| c.is_ascii_digit())
        && numeric(head)
        && numeric(fraction)
        && parts.all(sixty)
}

/// `2026-1-2`, `2026-1-2 3:4:5.6`, `2026-1-2T3:4:5.6Z` and with `+07:00`: what Go's parser takes of go-yaml's layouts.
fn is_timestamp(text: &str) -> bool {
    let Some((date, time)) = split_date(text) else { return false };
    match time.as_bytes() {
        [] => date,
        [b' ', ..] => date && is_clock(&time[1..]),
        [b'T' | b't', ..] => date && zoned(&time[1..]).is_some_and(is_clock),
        _ => false,
    }
}

/// Whether a text begins with a day that exists, and what follows it.
fn split_date(text: &str) -> Option<(bool, &str)> {
    let (year, rest) = text.split_once('-')?;
    let (month, rest) = rest.split_once('-')?;
    let digits = rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
    let (day, rest) = rest.split_at(digits);
    if year.len() != 4 || !(1..=2).contains(&month.len()) {
        return None;
    }
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i16>().ok()).flatten();
    let (year, month, day) = (number(year)?, number(month)?, number(day)?);
    let exists = jiff::civil::Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).is_ok();
    Some((exists, rest))
}

/// The clock before `Z`, `+07:00` or `-07:00`.
fn zoned(text: &str) -> Option<&str> {
    if let Some(clock) = text.strip_suffix('Z') {
        return Some(clock);
    }
    let (clock, zone) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (hours, minutes) = zone[1..].split_once(':')?;
    let within = |part: &str, most: u8| {
        part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()) && part.parse().is_ok_and(|n: u8| n <= most)
    };
    (zone.starts_with(['+', '-']) && within(hours, 24) && within(minutes, 60)).then_some(clock)
}

/// `3:4:5.678`.
fn is_clock(text: &str) -> bool {
    let (whole, fraction) = match text.split_once(['.', ',']) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let parts: Vec<&str> = whole.split(':').collect();
    let within = |part: &str, end: u8| {
        (1..=2).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_digit())
            && part.parse().is_ok_and(|n: u8| n < end)
    };
    parts.len() == 3
        && within(parts[0], 24)
        && within(parts[1], 60)
        && within(parts[2], 60)
        && fraction.is_none_or(|f| !f.is_empty() && f.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_word_is_plain() {
        let inner = ["a", "Z", "9", "-", "_", ".", "/", " ", ":", "#", "\n", "e", "s", "no", "\u{85}", "é"];
        let two: Vec<String> = inner.iter().flat_map(|a| inner.map(|b| format!("{a}{b}"))).collect();
        let texts = two.iter().flat_map(|two| inner.map(|c| format!("{two}{c}")));
        let words: Vec<String> = texts.chain(WORDS.map(str::to_owned)).filter(|text| is_plain_word(text)).collect();
        assert!(words.iter().all(|text| style(text) == Style::Plain && key_style(text) == Style::Plain));
        for (text, expected) in [("spec", true), ("a/b-c_d.e9", true), ("yes", false), ("9a", false), ("a:", false)] {
            assert_eq!(is_plain_word(text), expected, "{text}");
        }
        assert!(words.len() > 400, "{}", words.len());
    }

    #[test]
    fn a_text_that_would_be_taken_for_something_else_is_quoted() {
        for text in [
            "",
            "yes",
            "No",
            "~",
            "null",
            "12",
            "-3",
            "0x1F",
            "0o17",
            "0b1",
            "017",
            "08",
            "1_000",
            "1.5",
            ".5",
            "1e3",
            "12:30",
            "1:2:3.4",
            "2026-11-25",
            "2026-1-2T3:4:5Z",
            "2026-01-02T03:04:05.6+07:00",
            "2026-1-2 3:4:5",
            ".inf",
            "99999999999999999999",
        ] {
            assert_eq!(style(text), Style::Double, "{text:?}");
        }
        for text in [
            "a",
            "yEs",
            "nul",
            "1a",
            "0xg",
            "0o9",
            "1e999",
            "12:60",
            "2026-02-30",
            "1.2.3",
            "+",
            ".",
            "..",
            "-a",
            "?a",
            ":a",
            "a:b",
            "a#b",
            "a, b",
            "http://x/y?z={a}",
            "ü",
            "a--- b",
        ] {
            assert_eq!(style(text), Style::Plain, "{text:?}");
        }
    }

    #[test]
    fn what_would_mean_more_than_itself_is_in_single_quotes() {
        for text in [
            "#a", "a #b", "a: b", "a:", "- a", "-", "? a", "*a", "&a", "!a", "|", ">", "'a'", "%a", "@a", "`a`", "{a}",
            "[a]", " a", "a ", "---", "...",
        ] {
            assert_eq!(style(text), Style::Single, "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        for (text, expected) in [
            ("\u{0}", "\\0"),
            ("\t", "\\t"),
            ("\u{7f}", "\\x7F"),
            ("\u{85}", "\\N"),
            ("\u{2028}", "\\L"),
            ("\u{feff}", "\\uFEFF"),
            ("\u{1f600}", "\\U0001F600"),
            ("\"", "\\\""),
        ] {
            let c = text.chars().next().unwrap_or_default();
            assert_eq!(escaped(c, false).as_deref(), Some(expected));
            assert!(text == "\"" || style(&format!("a{text}b")) == Style::Double, "{text:?}");
        }
        assert_eq!(escaped('ü', false), None);
        assert_eq!(escaped('\u{a0}', false), None);
    }
}
