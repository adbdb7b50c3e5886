//! A cursor into an object that knows its pointer. Whatever is missing or of another type is simply not there: the
//! schema has already spoken about it.

use serde_json::Value;

use super::place::Place;
use crate::manifest::problem::Finding;

/// A value with its place.
#[derive(Clone, Debug)]
pub(in crate::manifest) struct View<'a> {
    pub(in crate::manifest) value: &'a Value,
    place: Place<'a>,
}

impl<'a> View<'a> {
    pub(in crate::manifest) fn root(value: &'a Value) -> Self {
        Self { value, place: Place::ROOT }
    }

    /// The JSON pointer to this value.
    pub(in crate::manifest) fn pointer(&self) -> String {
        self.place.pointer()
    }

    /// Whether this value stands below a field, named by its path.
    pub(in crate::manifest) fn is_below(&self, keys: &[&str]) -> bool {
        self.place.is_below(keys)
    }

    /// The field `key` of a mapping.
    pub(in crate::manifest) fn get(&self, key: &str) -> Option<View<'a>> {
        let (key, value) = self.value.as_object()?.get_key_value(key)?;
        Some(View { value, place: self.place.key(key) })
    }

    /// The field at the end of a path of keys.
    pub(in crate::manifest) fn path(&self, keys: &[&str]) -> Option<View<'a>> {
        keys.iter().try_fold(self.clone(), |view, key| view.get(key))
    }

    /// The items of the list `key`; none when it is not there.
    pub(in crate::manifest) fn list(&self, key: &str) -> Vec<View<'a>> {
        self.get(key).map_or_else(Vec::new, |list| list.items().collect())
    }

    /// The items of a list.
    pub(in crate::manifest) fn items(&self) -> impl Iterator<Item = View<'a>> + use<'a> {
        let place = self.place.clone();
        let item = move |(index, value)| View { value, place: place.index(index) };
        self.value.as_array().into_iter().flatten().enumerate().map(item)
    }

    /// The entries of a mapping.
    pub(in crate::manifest) fn entries(&self) -> impl Iterator<Item = (&'a str, View<'a>)> + use<'a> {
        let place = self.place.clone();
        let entry = move |(key, value): (&'a String, &'a Value)| (key.as_str(), View { value, place: place.key(key) });
        self.value.as_object().into_iter().flatten().map(entry)
    }

    pub(in crate::manifest) fn text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    pub(in crate::manifest) fn integer(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// The text of a field.
    pub(in crate::manifest) fn text_of(&self, key: &str) -> Option<&'a str> {
        self.value.as_object()?.get(key)?.as_str()
    }

    /// The number of a field.
    pub(in crate::manifest) fn integer_of(&self, key: &str) -> Option<i64> {
        self.value.as_object()?.get(key)?.as_i64()
    }

    /// Whether a field is `true`.
    pub(in crate::manifest) fn is_true(&self, key: &str) -> bool {
        self.value.as_object().and_then(|map| map.get(key)) == Some(&Value::Bool(true))
    }

    pub(in crate::manifest) fn has(&self, key: &str) -> bool {
        self.value.as_object().is_some_and(|map| map.contains_key(key))
    }

    /// An error about this value.
    pub(in crate::manifest) fn error(&self, rule: &'static str, message: impl Into<String>) -> Finding {
        Finding::error(rule, &self.pointer(), message)
    }

    /// An error about a field that is missing or empty.
    pub(in crate::manifest) fn missing(&self, key: &str) -> Finding {
        let at = self.get(key).map_or_else(|| self.pointer(), |field| field.pointer());
        Finding::error("missing-field", &at, format!("missing field `{key}`")).help(format!("add `{key}` here"))
    }
}
