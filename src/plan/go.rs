//! Text as Go's `%q` writes it (`strconv.Quote`): in double quotes, and whatever is not printed as an escape.

use std::fmt::Write as _;

/// A text in quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    text.chars().for_each(|c| push(c, &mut out));
    out.push('"');
    out
}

fn push(c: char, out: &mut String) {
    const NAMED: [(char, &str); 9] = [
        ('"', "\\\""),
        ('\\', "\\\\"),
        ('\u{7}', "\\a"),
        ('\u{8}', "\\b"),
        ('\u{c}', "\\f"),
        ('\n', "\\n"),
        ('\r', "\\r"),
        ('\t', "\\t"),
        ('\u{b}', "\\v"),
    ];
    let written = match (NAMED.iter().find(|(named, _)| *named == c), u32::from(c)) {
        (Some((_, escape)), _) => out.write_str(escape),
        (None, _) if is_printed(c) => out.write_char(c),
        (None, number @ ..0x80) => write!(out, "\\x{number:02x}"),
        (None, number @ ..0x1_0000) => write!(out, "\\u{number:04x}"),
        (None, number) => write!(out, "\\U{number:08x}"),
    };
    written.expect("invariant: a text takes what is written to it");
}

/// Whether Go prints a character: letters, marks, numbers, punctuation, symbols and the one space (`strconv.IsPrint`). Of
/// Unicode's categories these are the ones that Rust prints in its own quotes, where a mark does not come first.
fn is_printed(c: char) -> bool {
    let mut after_a_letter = String::from("a");
    after_a_letter.push(c);
    c == '\'' || after_a_letter.escape_debug().nth(1) == Some(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of `quotetests` in Go's strconv/quote_test.go, and others.
    #[test]
    fn a_text_is_quoted_as_go_does_it() {
        for (text, expected) in [
            ("", r#""""#),
            ("us-est-coast", r#""us-est-coast""#),
            ("\u{7}\u{8}\u{c}\r\n\t\u{b}", r#""\a\b\f\r\n\t\v""#),
            ("\\", r#""\\""#),
            ("say \"it\"", r#""say \"it\"""#),
            ("it's", r#""it's""#),
            ("\u{263a}", "\"\u{263a}\""),
            ("\u{10ffff}", r#""\U0010ffff""#),
            ("\u{4}", r#""\x04""#),
            ("\u{0}\u{1f}\u{7f}", r#""\x00\x1f\x7f""#),
            ("\u{80}\u{a0}\u{ad}", r#""\u0080\u00a0\u00ad""#),
            ("\u{2028}\u{feff}\u{200b}\u{3000}", r#""\u2028\ufeff\u200b\u3000""#),
            ("\u{e000}\u{e0001}", r#""\ue000\U000e0001""#),
            ("\u{fffd}", "\"\u{fffd}\""),
            // A mark is printed, wherever it stands.
            ("\u{301}e\u{301}", "\"\u{301}e\u{301}\""),
            ("日本語 \u{1f680}", "\"日本語 \u{1f680}\""),
        ] {
            assert_eq!(quoted(text), expected, "{text:?}");
        }
    }
}
