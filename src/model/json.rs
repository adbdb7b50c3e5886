//! JSON that is looked at and soon gone: its texts are those of the document it was read from, copied only where an escape
//! hides one, and its members are a list. A [`Value`] of a pod makes a hundred texts and tables, and takes five times as
//! long to make.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Number, Value};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    Null,
    Bool(bool),
    Number(Number),
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Members<'a>),
}

/// The members of an object, in the order written, each name once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members<'a> {
    all: Vec<(Cow<'a, str>, Json<'a>)>,
    /// By name, as in the texts of [`Packed`](super::Packed): then one is found without looking at all of them.
    are_sorted: bool,
}

impl<'a> Json<'a> {
    /// Reads a text.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn read(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The member `name` of an object.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.as_object()?.get(name)
    }

    /// The item of a list.
    pub fn item(&self, index: usize) -> Option<&Json<'a>> {
        self.as_array()?.get(index)
    }

    /// The text, when it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The number, when it is a whole one of 64 bits.
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::Number(number) = self { number.as_i64() } else { None }
    }

    /// The items, when it is a list.
    pub fn as_array(&self) -> Option<&[Json<'a>]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// The members, when it is an object.
    pub fn as_object(&self) -> Option<&Members<'a>> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }
}

impl<'a> Members<'a> {
    fn new(all: Vec<(Cow<'a, str>, Json<'a>)>) -> Self {
        let are_sorted = all.is_sorted_by(|a, b| a.0 < b.0);
        Self { all, are_sorted }
    }

    fn position(&self, name: &str) -> Option<usize> {
        if self.are_sorted {
            return self.all.binary_search_by(|(own, _)| (**own).cmp(name)).ok();
        }
        self.all.iter().position(|(own, _)| own == name)
    }

    /// The member `name`.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        Some(&self.all[self.position(name)?].1)
    }

    /// The member `name`, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Json<'a>> {
        let at = self.position(name)?;
        Some(&mut self.all[at].1)
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &str) {
        if let Some(at) = self.position(name) {
            self.all.remove(at);
        }
    }

    /// Every member with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json<'a>)> {
        self.all.iter().map(|(name, value)| (&**name, value))
    }

    /// Every member, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Json<'a>> {
        self.all.iter_mut().map(|(_, value)| value)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl<'a> From<&'a Value> for Json<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(text) => Self::String(Cow::Borrowed(text)),
            Value::Array(items) => Self::Array(items.iter().map(Self::from).collect()),
            Value::Object(map) => {
                let member = |(name, value): (&'a String, &'a Value)| (Cow::Borrowed(name.as_str()), Self::from(value));
                Self::Object(Members::new(map.iter().map(member).collect()))
            }
        }
    }
}

/// Compact, as [`Value`] is written.
impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(members) => serializer.collect_map(members.iter()),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read)
    }
}

/// A text as it stands in the document, where nothing is escaped in it.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(Read)? {
            Json::String(text) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom("a name must be text")),
        }
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Json::String(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Json::String(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Json::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some((Text(name), value)) = members.next_entry()? {
            all.push((name, value));
        }
        Ok(Json::Object(Members::new(all)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value() -> Value {
        json!({
            "z": [null, true, -1, 18_446_744_073_709_551_615_u64, 1.5, "plain", "\"quoted\"\n\u{1}é", [], {}],
            "a": {"b": "1", "a": {"x": 0}, "c\n": ""},
            "sorted": {"a": 1, "b": [2], "c": "3"},
        })
    }

    /// That both say the same, all the way down.
    fn compare(json: &Json<'_>, value: &Value) {
        assert_eq!(json.to_string(), value.to_string());
        assert_eq!((json.as_str(), json.as_i64()), (value.as_str(), value.as_i64()));
        assert_eq!(json.is_object(), value.is_object());
        assert_eq!((json.get("none").is_none(), json.item(99).is_none()), (true, true));
        let items = value.as_array().into_iter().flatten().enumerate();
        items.for_each(|(index, item)| compare(json.item(index).unwrap(), item));
        let members = value.as_object().into_iter().flatten();
        members.for_each(|(name, member)| compare(json.get(name).unwrap(), member));
        let names: Option<Vec<&str>> = json.as_object().map(|members| members.iter().map(|(name, _)| name).collect());
        assert_eq!(names, value.as_object().map(|map| map.keys().map(String::as_str).collect()));
    }

    #[test]
    fn a_text_is_read_as_a_value_is() {
        let (value, text) = (value(), value().to_string());
        let json = Json::read(&text).unwrap();
        compare(&json, &value);
        compare(&Json::from(&value), &value);
        assert_eq!(json, Json::from(&value));
        assert!(Json::read("{\"a\": }").is_err() && Json::read("{} x").is_err());
    }

    #[test]
    fn texts_are_copied_only_where_an_escape_hides_one() {
        let json = Json::read(r#"{"a": "plain", "b": "\u0061"}"#).unwrap();
        let is_borrowed = |name: &str| matches!(json.get(name), Some(Json::String(Cow::Borrowed(_))));
        assert_eq!((is_borrowed("a"), is_borrowed("b")), (true, false));
    }

    #[test]
    fn members_are_changed_and_taken_out_whatever_their_order() {
        for text in [r#"{"a":1,"b":2,"c":3}"#, r#"{"b":2,"c":3,"a":1}"#] {
            let Json::Object(mut members) = Json::read(text).unwrap() else { panic!("an object") };
            members.remove("a");
            members.remove("d");
            *members.get_mut("c").unwrap() = Json::Null;
            assert!(members.get_mut("d").is_none() && !members.is_empty());
            assert_eq!(Json::Object(members.clone()).to_string(), r#"{"b":2,"c":null}"#);
            members.values_mut().for_each(|value| *value = Json::Bool(true));
            assert_eq!(
                members.iter().map(|(name, value)| (name, value.to_string())).collect::<Vec<_>>(),
                [("b", "true".to_owned()), ("c", "true".to_owned())]
            );
        }
        assert!(Members::default().is_empty());
    }
}
