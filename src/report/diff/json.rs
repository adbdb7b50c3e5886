//! The report as a JSON document; its schema is schemas/diff.json.

use serde::Serialize;

use super::DiffReport;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    report: &'a DiffReport,
}

/// The whole report, indented, with a line end.
pub fn diff_json(report: &DiffReport) -> String {
    let document = Document { api_version: "podwright.dev/v1alpha1", kind: "Diff", report };
    // Cannot fail: every key of the report is text.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}
