//! Schema errors in our own words, at pointers.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use super::suggest::{self, Advice};
use super::walk::Walk;
use crate::manifest::limits;
use crate::manifest::problem::{Finding, escape, quoted, segments};

/// One object and its schema.
pub(super) struct Explain<'a> {
    pub(super) walk: Walk<'a>,
    pub(super) object: &'a Value,
    /// Whether values may be repeated in messages.
    pub(super) quotes: bool,
}

impl Explain<'_> {
    pub(super) fn findings(&self, error: &ValidationError<'_>) -> Vec<Finding> {
        let pointer = error.instance_path().as_str();
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                // What is not listed needs no suggestion.
                let unknown = |(index, name): (usize, &String)| self.unknown(pointer, name, index < limits::PROBLEMS);
                unexpected.iter().enumerate().map(unknown).collect()
            }
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                vec![self.missing(pointer, name)]
            }
            ValidationErrorKind::Type { .. } => vec![self.wrong_type(pointer, error.instance())],
            ValidationErrorKind::Minimum { limit } => {
                vec![Finding::error("number-range", pointer, format!("the number is less than {limit}"))]
            }
            ValidationErrorKind::Maximum { limit } => {
                vec![Finding::error("number-range", pointer, format!("the number is larger than {limit}"))]
            }
            other => {
                vec![Finding::error("schema", pointer, format!("the value does not fit (`{}`)", other.keyword()))]
            }
        }
    }

    fn unknown(&self, pointer: &str, name: &str, suggests: bool) -> Finding {
        let at = format!("{pointer}/{}", escape(name));
        let unknown = || format!("unknown field {}", quoted(name));
        let advice = suggests.then(|| suggest::advice(self.walk, self.object, pointer, name));
        match advice {
            Some(Advice::Elsewhere { whose, help }) => {
                let message = format!("misplaced field {}: it is a field of {whose}", quoted(name));
                Finding::error("misplaced-field", &at, message).at_key().help(help)
            }
            Some(Advice::Here(help)) => Finding::error("unknown-field", &at, unknown()).at_key().help(help),
            None => Finding::error("unknown-field", &at, unknown()).at_key().help("remove it"),
        }
    }

    fn missing(&self, pointer: &str, name: &str) -> Finding {
        let whose = segments(pointer).last();
        let help = match whose {
            Some(_) => format!("add `{name}` here"),
            None => format!("add `{name}` to the object"),
        };
        Finding::error("missing-field", pointer, format!("missing field `{name}`")).help(help)
    }

    fn wrong_type(&self, pointer: &str, value: &Value) -> Finding {
        let wanted = self.walk.at(segments(pointer)).map_or("another type", Walk::wanted);
        let message = format!("expected {wanted}, found {}", self.found(value));
        let help = match (wanted, value) {
            (_, Value::Null) => "write a value, or remove the line".to_owned(),
            ("text", Value::Bool(_) | Value::Number(_)) => {
                "quote it: without quotes YAML reads a number or a boolean".to_owned()
            }
            ("a whole number" | "a number", Value::String(text)) if text.parse::<f64>().is_ok() => {
                "remove the quotes".to_owned()
            }
            ("true or false", Value::String(text)) if is_boolean(text) => "remove the quotes".to_owned(),
            ("a list", _) => "start each item with `- `".to_owned(),
            ("a mapping", Value::Array(_)) => "write `key: value` lines without `- `".to_owned(),
            ("text", Value::Array(_) | Value::Object(_)) => "write one line of text".to_owned(),
            _ => format!("write {wanted}"),
        };
        Finding::error("wrong-type", pointer, message).help(help)
    }

    fn found(&self, value: &Value) -> String {
        match value {
            Value::Null => "nothing".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "a mapping".to_owned(),
            Value::Bool(value) if self.quotes => format!("the boolean {value}"),
            Value::Bool(_) => "a boolean".to_owned(),
            Value::Number(number) if self.quotes => format!("the number {number}"),
            Value::Number(_) => "a number".to_owned(),
            Value::String(text) if self.quotes => format!("the text {}", quoted(text)),
            Value::String(_) => "text".to_owned(),
        }
    }
}

fn is_boolean(text: &str) -> bool {
    matches!(text, "true" | "false")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_schema_alone_refuses_is_told() {
        let schema = json!({"properties": {"a": {"enum": [1]}}});
        let object = json!({"a": 2});
        let document = crate::model::Json::from(&schema);
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let explain = Explain { walk: Walk::new(&document), object: &object, quotes: true };
        let findings: Vec<Finding> = validator.iter_errors(&object).flat_map(|e| explain.findings(&e)).collect();
        assert_eq!((findings.len(), findings[0].rule, findings[0].pointer.as_str()), (1, "schema", "/a"));
    }
}
