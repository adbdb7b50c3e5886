//! Diagnostics as SARIF 2.1.0, the form that code scanners speak.

use serde_json::{Value, json};

use super::{end_column, plain};
use crate::model::{Diagnostic, Diagnostics, Place, RULES, Rule, Severity};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// One run with every rule and a result per diagnostic. `version` is the tool's. Paths are taken as they are: they must be
/// relative to the root of the repository.
pub fn sarif(diagnostics: &Diagnostics, version: &str) -> Value {
    let results: Vec<Value> = diagnostics.0.iter().map(result).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "podwright",
                "informationUri": "https://podwright.dev",
                "version": version,
                "rules": RULES.iter().map(descriptor).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "The root of the repository"}}},
            "results": results,
        }],
    })
}

fn descriptor(rule: &Rule) -> Value {
    json!({
        "id": rule.name,
        "shortDescription": {"text": rule.about},
        "help": {"text": format!("{}: {}.", rule.about, rule.way_out)},
    })
}

fn result(diagnostic: &Diagnostic) -> Value {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut message = plain(&diagnostic.message);
    if let Some(help) = &diagnostic.help {
        message.push_str("\nhelp: ");
        message.push_str(&plain(help));
    }
    // A viewer makes a link of `[text](target)`.
    let message = message.replace("](", "] (");
    let mut result = json!({"ruleId": diagnostic.rule, "level": level, "message": {"text": message}});
    if let Ok(index) = RULES.binary_search_by(|rule| rule.name.cmp(diagnostic.rule)) {
        result["ruleIndex"] = json!(index);
    }
    let mut location = json!({});
    if let Some(place) = diagnostic.place.as_ref().filter(|place| !place.at.path.is_empty()) {
        location["physicalLocation"] = physical(place);
    }
    if let Some(object) = &diagnostic.object {
        let name = match &diagnostic.field {
            Some(field) => format!("{object} {field}"),
            None => object.to_string(),
        };
        location["logicalLocations"] = json!([{"fullyQualifiedName": plain(&name)}]);
    }
    if location != json!({}) {
        result["locations"] = json!([location]);
    }
    result
}

fn physical(place: &Place) -> Value {
    let mut region = json!({
        "startLine": place.at.line.max(1),
        "startColumn": place.at.column.max(1),
        "endColumn": end_column(place).max(2),
    });
    if !place.text.trim().is_empty() {
        region["snippet"] = json!({"text": plain(&place.text)});
    }
    let path = uri(&place.at.path);
    let artifact = match path.strip_prefix('/') {
        Some(absolute) => json!({"uri": format!("file:///{absolute}")}),
        None => json!({"uri": path, "uriBaseId": "%SRCROOT%"}),
    };
    json!({"artifactLocation": artifact, "region": region})
}

/// A path as a reference (RFC 3986). Colons are escaped too: what begins with a name and one would have a scheme.
fn uri(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
