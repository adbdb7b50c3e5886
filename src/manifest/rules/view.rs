//! A cursor into an object that knows its pointer. Whatever is missing or of another type is simply not there: the
//! schema has already spoken about it.

use serde_json::Value;

use crate::manifest::problem::{Finding, escape};

/// A value with its place.
#[derive(Clone, Debug)]
pub(in crate::manifest) struct View<'a> {
    pub(in crate::manifest) value: &'a Value,
    pub(in crate::manifest) pointer: String,
}

impl<'a> View<'a> {
    pub(in crate::manifest) fn root(value: &'a Value) -> Self {
        Self { value, pointer: String::new() }
    }

    /// The field `key` of a mapping.
    pub(in crate::manifest) fn get(&self, key: &str) -> Option<View<'a>> {
        let value = self.value.as_object()?.get(key)?;
        Some(View { value, pointer: self.below(key) })
    }

    /// The pointer of a field.
    fn below(&self, key: &str) -> String {
        let mut pointer = String::with_capacity(self.pointer.len() + 1 + key.len());
        pointer.push_str(&self.pointer);
        pointer.push('/');
        // Hardly a key holds what must be escaped.
        match key.contains(['~', '/']) {
            true => pointer.push_str(&escape(key)),
            false => pointer.push_str(key),
        }
        pointer
    }

    /// The field at the end of a path of keys.
    pub(in crate::manifest) fn path(&self, keys: &[&str]) -> Option<View<'a>> {
        keys.iter().try_fold(self.clone(), |view, key| view.get(key))
    }

    /// The items of the list `key`; none when it is not there.
    pub(in crate::manifest) fn list(&self, key: &str) -> Vec<View<'a>> {
        self.get(key).map_or_else(Vec::new, |list| list.items())
    }

    /// The items of a list.
    pub(in crate::manifest) fn items(&self) -> Vec<View<'a>> {
        let item = |(index, value)| View { value, pointer: format!("{}/{index}", self.pointer) };
        self.value.as_array().into_iter().flatten().enumerate().map(item).collect()
    }

    /// The entries of a mapping.
    pub(in crate::manifest) fn entries(&self) -> Vec<(&'a str, View<'a>)> {
        let entry = |(key, value): (&'a String, &'a Value)| (key.as_str(), View { value, pointer: self.below(key) });
        self.value.as_object().into_iter().flatten().map(entry).collect()
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
        Finding::error(rule, &self.pointer, message)
    }

    /// An error about a field that is missing or empty.
    pub(in crate::manifest) fn missing(&self, key: &str) -> Finding {
        let at = self.get(key).map_or_else(|| self.pointer.clone(), |field| field.pointer);
        Finding::error("missing-field", &at, format!("missing field `{key}`")).help(format!("add `{key}` here"))
    }
}
