//! Label and field selectors, as the API's query parameters spell them.

use serde_json::Value;

use crate::report::Listed;

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    DoesNotExist(String),
}

/// `a=b,c!=d,e in (f,g),h notin (i),j,!k`: all must hold. Empty matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// Reads a selector, or says which requirement is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = split(text)?;
        parts.into_iter().map(requirement).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an object's labels meet it.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let value = |key: &str| labels.get(key).and_then(Value::as_str);
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => value(key).is_some_and(|v| values.iter().any(|x| x == v)),
            Requirement::NotIn(key, values) => value(key).is_none_or(|v| values.iter().all(|x| x != v)),
            Requirement::Exists(key) => value(key).is_some(),
            Requirement::DoesNotExist(key) => value(key).is_none(),
        })
    }
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut start, mut open) = (Vec::new(), 0, false);
    for (index, c) in text.char_indices() {
        match c {
            '(' if open => return Err(format!("unable to parse requirement: nested \"(\" in {text:?}")),
            '(' => open = true,
            ')' if !open => return Err(format!("unable to parse requirement: unexpected \")\" in {text:?}")),
            ')' => open = false,
            ',' if !open => {
                parts.push(text[start..index].trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    if open {
        return Err(format!("unable to parse requirement: missing \")\" in {text:?}"));
    }
    let last = text[start..].trim();
    if !last.is_empty() || !parts.is_empty() {
        parts.push(last);
    }
    Ok(parts)
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let bad = || format!("unable to parse requirement: {text:?}; use key=value, key!=value, key in (a,b), key or !key");
    let key = |text: &str| {
        let text = text.trim();
        let good = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let fine = !text.is_empty() && text.len() <= 317 && text.chars().all(good);
        fine.then(|| text.to_owned()).ok_or_else(bad)
    };
    let value = |text: &str| {
        let text = text.trim();
        let fine = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        fine.then(|| text.to_owned()).ok_or_else(bad)
    };
    if let Some(rest) = text.strip_suffix(')') {
        let (head, list) = rest.split_once('(').ok_or_else(bad)?;
        let values = list.split(',').map(value).collect::<Result<Vec<_>, _>>()?;
        let (name, operator) = head.trim().rsplit_once(char::is_whitespace).ok_or_else(bad)?;
        return match operator {
            "in" => Ok(Requirement::In(key(name)?, values)),
            "notin" => Ok(Requirement::NotIn(key(name)?, values)),
            _ => Err(bad()),
        };
    }
    if let Some((name, wanted)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(key(name)?, vec![value(wanted)?]));
    }
    if let Some((name, wanted)) = text.split_once('=') {
        return Ok(Requirement::In(key(name)?, vec![value(wanted.strip_prefix('=').unwrap_or(wanted))?]));
    }
    match text.strip_prefix('!') {
        Some(name) => Ok(Requirement::DoesNotExist(key(name)?)),
        None => Ok(Requirement::Exists(key(text)?)),
    }
}

/// `metadata.name=a,status.phase!=Failed`: all must hold. Empty matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<(String, bool, String)>);

impl FieldSelector {
    /// Reads a selector for a resource, or says which field it does not know.
    pub fn parse(listed: Listed, text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (field, equal, value) = if let Some((field, value)) = part.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = part.split_once('=') {
                (field, true, value.strip_prefix('=').unwrap_or(value))
            } else {
                return Err(format!("invalid field selector: {part:?}; use field=value or field!=value"));
            };
            if !known(listed, field) {
                return Err(format!("field label not supported: {field}"));
            }
            terms.push((field.to_owned(), equal, value.to_owned()));
        }
        Ok(Self(terms))
    }

    /// Whether an object meets it; a missing field counts as empty.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(field, equal, wanted)| {
            let found = field.split('.').fold(object, |value, part| &value[part]);
            (found.as_str().unwrap_or_default() == wanted) == *equal
        })
    }
}

fn known(listed: Listed, field: &str) -> bool {
    use crate::model::Kind;
    let common = matches!(field, "metadata.name" | "metadata.namespace");
    common
        || match listed {
            Listed::Kind(Kind::Pod) => matches!(
                field,
                "status.phase"
                    | "spec.nodeName"
                    | "spec.restartPolicy"
                    | "spec.serviceAccountName"
                    | "status.podIP"
                    | "spec.schedulerName"
                    | "status.nominatedNodeName"
            ),
            Listed::Kind(Kind::Secret) => field == "type",
            Listed::Kind(Kind::Namespace) => field == "status.phase",
            Listed::Event => {
                let object = field.strip_prefix("involvedObject.");
                let member = ["kind", "namespace", "name", "uid", "apiVersion", "fieldPath", "resourceVersion"];
                object.is_some_and(|o| member.contains(&o)) || ["reason", "type", "reportingComponent"].contains(&field)
            }
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;
    use serde_json::json;

    #[test]
    fn label_selectors_select_as_kubectl_does() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "front"}}});
        for (text, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app=db", false),
            ("app!=db", true),
            ("missing!=x", true),
            ("app in (db, web)", true),
            ("app notin (db,web)", false),
            ("app", true),
            ("!app", false),
            ("!missing,app=web,tier in (front)", true),
            ("app=web,tier=back", false),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(&object), expected, "{text}");
        }
    }

    #[test]
    fn broken_selectors_are_refused_and_never_panic() {
        for text in ["app in web", "app in (a", "a)", "=x", "a=b=c", ",", "a,,b", "app is (x)", "a in ((x))", "ü=x"] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn field_selectors_know_the_fields_of_their_kind() {
        let pods = Listed::Kind(Kind::Pod);
        let pod = json!({"metadata": {"name": "a"}, "status": {"phase": "Running"}});
        for (text, expected) in [
            ("metadata.name=a", true),
            ("metadata.name==b", false),
            ("status.phase!=Failed,status.phase!=Succeeded", true),
            ("spec.nodeName=", true),
        ] {
            assert_eq!(FieldSelector::parse(pods, text).unwrap().matches(&pod), expected, "{text}");
        }
        assert_eq!(FieldSelector::parse(pods, "spec.x=1").unwrap_err(), "field label not supported: spec.x");
        assert!(FieldSelector::parse(pods, "involvedObject.name=a").is_err());
        assert!(FieldSelector::parse(Listed::Event, "involvedObject.name=a").is_ok());
        assert!(FieldSelector::parse(pods, "nonsense").is_err());
    }
}
