//! Updates that happen here, where the manifests alone decide, and that an API server would refuse: the rules of
//! `ValidateConfigMapUpdate` and `ValidateSecretUpdate`. Who means to take the same manifests to a cluster must know.

use serde_json::Value;

use super::{Attention, Concern, KeyChange, ObjectDiff};
use crate::model::{FieldChange, Kind};
use crate::report::secret;

/// What an API server would say about a change, given the object as it was.
pub(super) fn refusal(object: &ObjectDiff, before: &Value) -> Option<Attention> {
    let kind = object.key.kind;
    if !matches!(kind, Kind::ConfigMap | Kind::Secret) || object.after.is_none() {
        return None;
    }
    let is_immutable = before.get("immutable") == Some(&Value::Bool(true));
    let changed = |field: &str| object.changes.iter().find(|change| change.field == field);
    let data = object.keys.iter().any(|key| key.change != KeyChange::Unchanged);
    let fields: Vec<&str> = [
        ("data", is_immutable && data),
        ("immutable", is_immutable && changed("immutable").is_some()),
        ("type", kind == Kind::Secret && changed("type").is_some_and(is_other_type)),
    ]
    .into_iter()
    .filter_map(|(field, refused)| refused.then_some(field))
    .collect();
    let first = *fields.first()?;
    let why = if first == "type" { "the type of a Secret is immutable" } else { "it has `immutable: true`" };
    Some(Attention {
        field: Some(fields.join(", ")),
        message: Some(format!("an API server would refuse this update, for {why}; here it is done")),
        help: Some("add it under another name, and let the pods use that one".to_owned()),
        at: object.after.clone(),
        ..Attention::of(Concern::Immutable, &object.key)
    })
}

fn is_other_type(change: &FieldChange) -> bool {
    // The values of a change are JSON.
    fn name(side: &Option<String>) -> Option<&str> {
        side.as_deref().map(|text| text.trim_matches('"'))
    }
    secret::type_of(name(&change.before)) != secret::type_of(name(&change.after))
}
