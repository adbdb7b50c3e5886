//! The report as a JSON document; its schema is schemas/diff.json.

use std::fmt::Write as _;

use serde::Serialize;

use super::DiffReport;
use super::escape::is_special;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    report: &'a DiffReport,
}

/// The whole report, indented, with a line end. What could steer a terminal or reorder a line is escaped, as JSON may.
pub fn diff_json(report: &DiffReport) -> String {
    let document = Document { api_version: "podwright.dev/v1alpha1", kind: "Diff", report };
    // Cannot fail: every key of the report is text.
    let text = serde_json::to_string_pretty(&document).unwrap_or_default();
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        // The line ends are the document's own: those of a text are escaped already.
        if c != '\n' && is_special(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    out
}
