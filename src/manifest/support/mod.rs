//! Which fields are honoured.

use serde_json::Value;

use super::problem::Finding;
use crate::model::Kind;

/// What this version says about the fields of an object.
pub(super) fn check(_kind: Kind, _object: &Value) -> Vec<Finding> {
    vec![]
}
