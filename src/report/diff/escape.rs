//! Foreign text made harmless. Whatever a manifest, a file name or a commit says, it is shown as text: it moves no cursor,
//! reorders no line, and on a forge it opens no tag, mentions nobody and links nowhere.

use std::fmt::Write as _;

use super::super::foreign::COMMANDS;
pub(super) use super::super::foreign::is_special;

/// The character as YAML, JSON and Rust readers know it: `\u202e`, beyond 16 bits `\U000e0041`.
pub(super) fn write_escaped(c: char, out: &mut String) {
    let code = u32::from(c);
    let _ = if code > 0xFFFF { write!(out, "\\U{code:08x}") } else { write!(out, "\\u{code:04x}") };
}

/// One line for a terminal or the log of a pipeline: special characters escaped, commands broken, the rest as it is.
pub(super) fn line(text: &str) -> String {
    let escaped = escaped(text, is_special);
    COMMANDS.iter().fold(escaped, |text, command| text.replace(command, &format!("\\u0023{}", &command[1..])))
}

/// Whether a runner of pipelines could take a line of the text, shown behind blanks, for a command.
pub(super) fn is_command(text: &str) -> bool {
    text.lines().any(|line| line.trim_start().starts_with("::"))
        || COMMANDS.iter().any(|command| text.contains(command))
}

/// A Markdown code span of foreign text. In a code span nothing is Markdown, a mention or a reference; what could end it
/// or open HTML is escaped as Go's JSON does it (`\u003c`), so that the span is safe for readers of the source too.
pub(super) fn code(text: &str) -> String {
    if text.is_empty() {
        return "` `".to_owned();
    }
    format!("`{}`", inert(text))
}

/// The same within a line of HTML.
pub(super) fn html_code(text: &str) -> String {
    format!("<code>{}</code>", inert(text))
}

/// A code span of at most `limit` characters of the text; a cut is shown.
pub(super) fn code_of(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => code(&format!("{}...", &text[..end])),
        None => code(text),
    }
}

fn inert(text: &str) -> String {
    escaped(text, |c| is_special(c) || matches!(c, '<' | '>' | '&' | '@' | '`' | '|'))
}

fn escaped(text: &str, must: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if must(c) => write_escaped(c, &mut out),
            c => out.push(c),
        }
    }
    out
}

/// A fence that no line of `body` can close.
pub(super) fn fence(body: &str) -> String {
    let (mut longest, mut run) = (0, 0);
    for c in body.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    "`".repeat(longest.max(2) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_forge_would_act_on_is_escaped_and_the_rest_is_not() {
        let cases = [
            ("spec.containers[0].env[A]", "`spec.containers[0].env[A]`"),
            ("@team </code>", "`\\u0040team \\u003c/code\\u003e`"),
            ("a`b|c&d", "`a\\u0060b\\u007cc\\u0026d`"),
            ("one\ntwo\u{1b}[31m\u{202e}", "`one\\ntwo\\u001b[31m\\u202e`"),
            ("\u{e0041}", "`\\U000e0041`"),
            ("", "` `"),
        ];
        for (text, shown) in cases {
            assert_eq!(code(text), shown, "{text:?}");
        }
        assert_eq!(html_code("<b>@x"), "<code>\\u003cb\\u003e\\u0040x</code>");
        assert_eq!(code_of("grün und blau", 4), "`grün...`");
    }

    #[test]
    fn a_fence_is_longer_than_any_run_of_backticks() {
        for (body, length) in [("", 3), ("a `` b", 3), ("```", 4), ("x ````` ``", 6)] {
            assert_eq!(fence(body).len(), length, "{body:?}");
        }
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        assert_eq!(line("a\u{1b}]0;x\u{7}\r\n@<`"), "a\\u001b]0;x\\u0007\\r\\n@<`");
        assert_eq!(line("##[error]##vso[x"), "\\u0023#[error]\\u0023#vso[x");
    }
}
