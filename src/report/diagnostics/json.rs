//! Diagnostics for programs, in the form of `schemas/validate.json`.

use serde_json::{Map, Value, json};

use super::{Validation, plain};

/// What `validate -o json` prints.
pub fn validation_json(validation: &Validation<'_>) -> Value {
    let (errors, warnings) = validation.diagnostics.counts();
    let objects: Map<String, Value> =
        validation.objects.iter().map(|(kind, count)| (kind.as_str().to_owned(), json!(count))).collect();
    let mut diagnostics = json!(validation.diagnostics);
    flatten(&mut diagnostics);
    json!({
        "valid": validation.valid,
        "files": validation.files,
        "objects": objects,
        "errors": errors,
        "warnings": warnings,
        "diagnostics": diagnostics,
    })
}

/// Every text on one line and harmless: JSON itself leaves some control characters as they are.
fn flatten(value: &mut Value) {
    match value {
        Value::String(text) => *text = plain(text),
        Value::Array(items) => items.iter_mut().for_each(flatten),
        Value::Object(map) => map.values_mut().for_each(flatten),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
