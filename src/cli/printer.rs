//! Where commands write. Colour only on a terminal and never with NO_COLOR; a closed pipe is an error, not a panic.

use std::borrow::Cow;
use std::io::Write;

use super::error::CliError;

const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const CYAN: &str = "\u{1b}[36m";
const RESET: &str = "\u{1b}[0m";

/// Writes text to standard output at once. Escape sequences in it are stripped when nobody can see them.
pub fn out(text: &str) -> Result<(), CliError> {
    let mut stream = anstream::stdout().lock();
    // Stripped by the stream, each piece between two sequences would be a system call.
    let shown = match stream.current_choice() {
        anstream::ColorChoice::Never => Cow::Owned(anstream::adapter::strip_str(text).to_string()),
        _ => Cow::Borrowed(text),
    };
    stream.write_all(shown.as_bytes())?;
    stream.flush()?;
    Ok(())
}

/// Writes JSON to standard output. Nothing is stripped from it: the control characters that JSON lets stand, which [`out`]
/// would take for parts of escape sequences and a terminal might obey, are written as escapes.
pub fn json(text: &str) -> Result<(), CliError> {
    let is_control = |c: char| matches!(c, '\u{7f}'..='\u{9f}');
    if !text.contains(is_control) {
        return bytes(text.as_bytes());
    }
    let mut shown = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        if is_control(c) {
            shown.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    bytes(shown.as_bytes())
}

/// Writes bytes to standard output as they are.
pub fn bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut stream = std::io::stdout().lock();
    stream.write_all(bytes)?;
    stream.flush()?;
    Ok(())
}

/// Says something beside the output, on standard error. It is lost when nobody listens there.
pub fn note(text: &str) {
    let mut stream = anstream::stderr().lock();
    let _ = writeln!(stream, "{text}");
}

/// The same for a text with line ends of its own; nothing for an empty one.
pub fn note_text(text: &str) {
    let mut stream = anstream::stderr().lock();
    let _ = stream.write_all(text.as_bytes());
}

/// Says why a command failed.
pub fn failure(error: &CliError) {
    let text = error.to_string();
    let painted = match text.strip_prefix("error:") {
        Some(rest) => format!("{BOLD}{RED}error:{RESET}{rest}"),
        None => text,
    };
    let mut stream = anstream::stderr().lock();
    let _ = stream.write_all(painted.as_bytes());
    let _ = stream.flush();
}

/// A unified diff with the usual colours.
pub fn painted_diff(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let colour = match line.as_bytes() {
            [b'-', b'-', b'-', ..] | [b'+', b'+', b'+', ..] => BOLD,
            [b'-', ..] => RED,
            [b'+', ..] => GREEN,
            [b'@', b'@', ..] => CYAN,
            _ => "",
        };
        let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
        if colour.is_empty() {
            out.push_str(line);
        } else {
            out.push_str(&format!("{colour}{body}{RESET}{end}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_keeps_its_text_under_the_colours() {
        let text = "--- a\n+++ b\n@@ -1 +1 @@\n-x\n+y\n z\n";
        let painted = painted_diff(text);
        let plain = [BOLD, RED, GREEN, CYAN, RESET].iter().fold(painted.clone(), |t, code| t.replace(code, ""));
        assert_eq!(plain, text);
        assert!(painted.contains("\u{1b}[31m-x\u{1b}[0m\n"));
    }
}
