//! Diagnostics as people read them: place, sentence, source line with a caret, the way out, a line of counts.

use std::fmt::Write as _;

use super::super::foreign::COMMANDS;
use super::{Validation, counts_line, plain, plural};
use crate::model::{Diagnostic, Diagnostics, Place};

/// The longest piece of a source line that is shown, in characters.
const SHOWN: usize = 120;

/// Every diagnostic, then the counts. Empty text for no diagnostics.
pub fn diagnostics_text(diagnostics: &Diagnostics) -> String {
    let mut out = String::new();
    for diagnostic in &diagnostics.0 {
        let _ = writeln!(out, "{}", headline(diagnostic));
        if let Some(place) = &diagnostic.place {
            snippet(&mut out, place);
        }
        if let Some(help) = &diagnostic.help {
            let _ = writeln!(out, "  help: {}", shown(help));
        }
    }
    if !diagnostics.0.is_empty() {
        out.push_str(&counts_line(diagnostics));
        out.push('\n');
    }
    out
}

/// The same, and for what is valid how many objects there are.
pub fn validation_text(validation: &Validation<'_>) -> String {
    let text = diagnostics_text(validation.diagnostics);
    if !validation.valid {
        return text;
    }
    let counts: Vec<String> = validation.objects.iter().map(|(kind, count)| plural(*count, kind.as_str())).collect();
    let what = if counts.is_empty() { "no objects".to_owned() } else { counts.join(", ") };
    format!("{text}valid: {what} in {}\n", plural(validation.files, "file"))
}

/// `path:line:column: error: message`. A line that begins with `::` would be a command to a GitHub runner.
fn headline(diagnostic: &Diagnostic) -> String {
    let line = shown(&diagnostic.to_string());
    if line.trim_start().starts_with("::") { format!("./{line}") } else { line }
}

/// Foreign text in a line, which holds no command to a runner of pipelines.
fn shown(text: &str) -> String {
    let broken = |text: String, command: &&str| text.replace(*command, &format!("#\u{fffd}{}", &command[2..]));
    COMMANDS.iter().fold(plain(text), broken)
}

/// The source line and a caret under the place; long lines are cut to a window around it.
fn snippet(out: &mut String, place: &Place) {
    if place.text.trim().is_empty() {
        return;
    }
    let text: Vec<char> = shown(&place.text).chars().collect();
    let column = usize::try_from(place.at.column.saturating_sub(1)).unwrap_or(usize::MAX).min(text.len());
    let start = if column >= SHOWN { column - SHOWN / 2 } else { 0 };
    let end = text.len().min(start + SHOWN);
    let piece: String = text[start..end].iter().collect();
    let (before, after) = (if start > 0 { "..." } else { "" }, if end < text.len() { "..." } else { "" });
    let number = place.at.line.to_string();
    let width = usize::try_from(place.width.max(1)).unwrap_or(1).min(end.saturating_sub(column).max(1));
    let margin = " ".repeat(number.len());
    let indent = " ".repeat(before.len() + column - start);
    let _ = writeln!(out, "  {number} | {before}{}{after}", piece.trim_end());
    let _ = writeln!(out, "  {margin} | {indent}{}", "^".repeat(width));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Severity, SourceRef};

    fn diagnostic(severity: Severity, text: &str, column: u32, width: u32) -> Diagnostic {
        let at = SourceRef { path: "web/pod.yaml".into(), document: 0, line: 8, column };
        Diagnostic {
            severity,
            rule: "unknown-field",
            message: "unknown field \"imagee\"".into(),
            help: Some("did you mean \"image\"?".into()),
            place: Some(Place { at, text: text.into(), width }),
            object: None,
            field: None,
        }
    }

    #[test]
    fn a_diagnostic_shows_place_line_caret_and_way_out() {
        let mut bare = diagnostic(Severity::Warning, "", 1, 1);
        (bare.place, bare.help, bare.message) = (None, None, "no pods".into());
        let all = Diagnostics(vec![diagnostic(Severity::Error, "      imagee: nginx", 7, 6), bare]);
        assert_eq!(
            diagnostics_text(&all),
            "web/pod.yaml:8:7: error: unknown field \"imagee\"\n  8 |       imagee: nginx\n    |       ^^^^^^\n  \
             help: did you mean \"image\"?\nwarning: no pods\n1 error, 1 warning in 1 file\n"
        );
    }

    #[test]
    fn no_diagnostics_are_no_text() {
        assert_eq!(diagnostics_text(&Diagnostics::default()), "");
    }

    #[test]
    fn a_place_beyond_a_long_line_or_with_control_characters_does_no_harm() {
        let long = "x".repeat(5000);
        let text = diagnostics_text(&Diagnostics(vec![diagnostic(Severity::Error, &long, 4000, 9000)]));
        assert!(text.lines().all(|l| l.chars().count() < 200), "{text}");
        let odd = diagnostics_text(&Diagnostics(vec![diagnostic(Severity::Error, "a\u{1b}[31mb", 999, 0)]));
        assert!(!odd.contains('\u{1b}'), "{odd:?}");
    }
}
