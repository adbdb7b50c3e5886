//! What a Secret is of when it does not say so.

/// The type the API gives a Secret without one, or with an empty one.
pub(super) const OPAQUE: &str = "Opaque";

/// The type of a Secret, given what is written.
pub fn type_of(written: Option<&str>) -> &str {
    written.filter(|name| !name.is_empty()).unwrap_or(OPAQUE)
}
