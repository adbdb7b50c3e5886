//! Templates of `-o jsonpath`, as kubectl takes them. Their language is that of `k8s.io/client-go/util/jsonpath`, which is
//! older than RFC 9535 and differs from it: text with paths in braces, `$` and `@` both the object at hand, keys without
//! quotes whose dots are escaped, one field more or less no error.

mod filter;
mod parse;
mod walk;

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

/// A template, read and found to be well formed.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

/// What is wrong with a template, or with it and an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// The template, and what of it cannot be read.
    Parse(String, String),
    /// The template, and what cannot be done with an object.
    Execute(String, String),
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    /// As it is.
    Text(String),
    /// What is between braces.
    Path(Vec<Step>),
    /// `{range ...}` up to its `{end}`, or to the end.
    Range(Vec<Step>, Vec<Part>),
}

/// A step of a path: from values to values.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// A literal takes the place of what was found so far.
    Literal(Value),
    Field(String),
    /// `*` of an object.
    Wildcard,
    /// `..`
    Recursive,
    Slice(Slice),
    Union(Vec<Vec<Step>>),
    Filter(filter::Filter),
}

/// `[from:to:step]` with what is given of it. A single index ends before the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slice {
    from: Option<i64>,
    to: Option<i64>,
    step: Option<i64>,
    is_index: bool,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TemplateError::Parse(template, why) => write!(f, "error parsing jsonpath {template}, {why}"),
            TemplateError::Execute(template, why) => write!(f, "error executing jsonpath {template:?}: {why}"),
        }
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// `Parse`.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let parts = parse::parts(text).map_err(|why| TemplateError::Parse(text.to_owned(), why))?;
        Ok(Self { text: text.to_owned(), parts })
    }

    /// What the template makes of an object. Fields that it does not have are left out.
    ///
    /// # Errors
    /// `Execute`: an index beyond the end, a filter on something that is no list, values that cannot be compared.
    pub fn execute(&self, object: &Value) -> Result<String, TemplateError> {
        let mut out = String::new();
        match print(&self.parts, object, &mut out) {
            Ok(()) => Ok(out),
            Err(why) => Err(TemplateError::Execute(self.text.clone(), why)),
        }
    }
}

fn print(parts: &[Part], object: &Value, out: &mut String) -> Result<(), String> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Path(steps) => {
                let found = walk::walk(steps, vec![Cow::Borrowed(object)])?;
                let texts: Vec<String> = found.iter().map(|value| shown(value)).collect();
                out.push_str(&texts.join(" "));
            }
            Part::Range(steps, body) => {
                for value in walk::walk(steps, vec![Cow::Borrowed(object)])? {
                    print(body, &value, out)?;
                }
            }
        }
    }
    Ok(())
}

/// A value as kubectl prints it: texts as they are, lists and objects as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}
