//! Diagnostics as commands to a GitHub runner, which shows each beside its line of a pull request.
//!
//! The form is that of the runner and of `@actions/core`: `::error file=..,line=..::message`, in which `%`, carriage return
//! and line feed are escaped, and in properties `:` and `,` too.

use std::fmt::Write as _;

use super::{counts_line, end_column, plain};
use crate::model::{Diagnostic, Diagnostics, Severity};

/// A command per diagnostic, then the counts; the line of what is valid when there are none. Paths are taken as they
/// are: they must be relative to the root of the repository.
pub fn github_annotations(diagnostics: &Diagnostics) -> String {
    let mut out = String::new();
    diagnostics.0.iter().for_each(|diagnostic| command(&mut out, diagnostic));
    let _ = match diagnostics.0.len() {
        0 => writeln!(out, "valid"),
        _ => writeln!(out, "{}", counts_line(diagnostics)),
    };
    out
}

fn command(out: &mut String, diagnostic: &Diagnostic) {
    let mut properties = Vec::new();
    if let Some(place) = diagnostic.place.as_ref().filter(|place| !place.at.path.is_empty()) {
        properties.push(format!("file={}", property(&place.at.path)));
        properties.push(format!("line={}", place.at.line));
        properties.push(format!("col={}", place.at.column));
        properties.push(format!("endColumn={}", end_column(place)));
    }
    properties.push(format!("title={}", property(diagnostic.rule)));
    let word = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut message = plain(&diagnostic.message);
    if let Some(help) = &diagnostic.help {
        let _ = write!(message, "\nhelp: {}", plain(help));
    }
    let _ = writeln!(out, "::{word} {}::{}", properties.join(","), data(&message));
}

/// A command's message.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a command's property.
fn property(text: &str) -> String {
    data(&plain(text)).replace(':', "%3A").replace(',', "%2C")
}
