//! Diagnostics as SARIF 2.1.0, the form that code scanners speak, within what GitHub's code scanning takes: it refuses a
//! result without a file, wants both ends of a region and a full description of a rule, and knows a finding again by
//! `primaryLocationLineHash`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{end_column, plain};
use crate::model::{Diagnostic, Diagnostics, Place, RULES, Rule, Severity};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// One run with every rule and a result per diagnostic; one that is about no file is a notification of the run. `version`
/// is the tool's. Paths are taken as they are: they must be relative to the root of the repository.
pub fn sarif(diagnostics: &Diagnostics, version: &str) -> Value {
    let (mut results, mut notifications) = (Vec::new(), Vec::new());
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for diagnostic in &diagnostics.0 {
        match diagnostic.place.as_ref().filter(|place| !place.at.path.is_empty()) {
            Some(place) => results.push(result(diagnostic, place, &mut seen)),
            None => notifications.push(notification(diagnostic)),
        }
    }
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
            "invocations": [{"executionSuccessful": true, "toolExecutionNotifications": notifications}],
            "results": results,
        }],
    })
}

fn descriptor(rule: &Rule) -> Value {
    json!({
        "id": rule.name,
        "shortDescription": {"text": rule.about},
        "fullDescription": {"text": rule.about},
        "help": {"text": format!("{}: {}.", rule.about, rule.way_out)},
    })
}

fn level(diagnostic: &Diagnostic) -> &'static str {
    match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn message(diagnostic: &Diagnostic) -> Value {
    let mut message = plain(&diagnostic.message);
    if let Some(help) = &diagnostic.help {
        message.push_str("\nhelp: ");
        message.push_str(&plain(help));
    }
    // A viewer makes a link of `[text](target)`.
    json!({"text": message.replace("](", "] (")})
}

fn notification(diagnostic: &Diagnostic) -> Value {
    json!({
        "associatedRule": {"id": diagnostic.rule},
        "level": level(diagnostic),
        "message": message(diagnostic),
    })
}

fn result(diagnostic: &Diagnostic, place: &Place, seen: &mut BTreeMap<String, usize>) -> Value {
    let mut result = json!({"ruleId": diagnostic.rule, "level": level(diagnostic), "message": message(diagnostic)});
    if let Ok(index) = RULES.binary_search_by(|rule| rule.name.cmp(diagnostic.rule)) {
        result["ruleIndex"] = json!(index);
    }
    let mut location = json!({"physicalLocation": physical(place)});
    if let Some(object) = &diagnostic.object {
        let name = match &diagnostic.field {
            Some(field) => format!("{object} {field}"),
            None => object.to_string(),
        };
        location["logicalLocations"] = json!([{"fullyQualifiedName": plain(&name)}]);
    }
    result["locations"] = json!([location]);
    let print = fingerprint(diagnostic, place);
    let number = seen.entry(print.clone()).and_modify(|number| *number += 1).or_insert(1);
    result["partialFingerprints"] = json!({"primaryLocationLineHash": format!("{print}:{number}")});
    result
}

/// What makes a finding the same one in the next commit, wherever in its file it stands then. A file that is no object yet
/// is known by what is wrong with it.
fn fingerprint(diagnostic: &Diagnostic, place: &Place) -> String {
    let what = match &diagnostic.object {
        Some(object) => format!("{object}\n{}", diagnostic.field.as_deref().unwrap_or_default()),
        None => diagnostic.message.clone(),
    };
    let digest = Sha256::digest(format!("{}\n{}\n{what}", diagnostic.rule, place.at.path));
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn physical(place: &Place) -> Value {
    let mut region = json!({
        "startLine": place.at.line.max(1),
        "startColumn": place.at.column.max(1),
        "endLine": place.at.line.max(1),
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
