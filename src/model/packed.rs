//! A value kept as its JSON text.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::Json;

/// Bytes that most values take no more than: a text that grows is copied each time.
const USUAL: usize = 4096;

/// A value of Kubernetes' types as compact JSON, cheap to clone. Those types have room for every field there is: a pod that
/// takes 1.2 kB as text takes 11 kB as a [`Pod`](k8s_openapi::api::core::v1::Pod), so thousands of them are kept like this
/// and opened one at a time.
///
/// The members of these types are sorted by name and their maps are too, so equal values have equal texts, and the text is
/// canonical.
pub struct Packed<T> {
    text: Arc<str>,
    of: PhantomData<fn() -> T>,
}

impl<T: Serialize> Packed<T> {
    /// Packs a value.
    pub fn new(value: &T) -> Self {
        let mut text = Vec::with_capacity(USUAL);
        serde_json::to_writer(&mut text, value).expect("invariant: the maps of what is packed have text keys");
        let text = String::from_utf8(text).expect("invariant: JSON is UTF-8");
        Self { text: text.into(), of: PhantomData }
    }
}

impl<T: DeserializeOwned> Packed<T> {
    /// The value.
    pub fn open(&self) -> T {
        serde_json::from_str(&self.text).expect("invariant: what this type wrote it can read")
    }
}

impl<T> Packed<T> {
    /// A part of the value: a type with some of its members, and no other ones.
    pub fn part<P: DeserializeOwned>(&self) -> P {
        serde_json::from_str(&self.text).expect("invariant: a part can be read where the whole can")
    }

    /// The value as JSON.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.text).expect("invariant: what is packed is JSON")
    }

    /// The value as JSON to look at.
    pub fn json(&self) -> Json<'_> {
        Json::read(&self.text).expect("invariant: what is packed is JSON")
    }

    /// The JSON text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl<T> Clone for Packed<T> {
    fn clone(&self) -> Self {
        Self { text: Arc::clone(&self.text), of: PhantomData }
    }
}

impl<T> PartialEq for Packed<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.text, &other.text) || self.text == other.text
    }
}

impl<T> Eq for Packed<T> {}

impl<T> fmt::Debug for Packed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<T> Serialize for Packed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}

impl<'de, T: Serialize + DeserializeOwned> Deserialize<'de> for Packed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(|value| Self::new(&value))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"labels": {"a": "\"b\"\n", "z": ""}, "name": "p"},
            "spec": {"containers": [{"args": [], "image": "i:1", "name": "c"}], "hostUsers": true, "hostname": "h"},
        })
    }

    #[test]
    fn what_is_packed_comes_out_the_same() {
        let typed: Pod = serde_json::from_value(pod()).unwrap();
        let packed = Packed::new(&typed);
        assert_eq!(packed.open(), typed);
        assert_eq!(packed.value(), pod());
        assert_eq!(packed.text(), pod().to_string(), "members are sorted");
        let again: Packed<Pod> = serde_json::from_str(&serde_json::to_string(&packed).unwrap()).unwrap();
        assert_eq!((&again, &packed.clone()), (&packed, &packed));
        assert_eq!(format!("{packed:?}"), packed.text());
    }

    #[test]
    fn other_values_are_not_equal() {
        let mut typed: Pod = serde_json::from_value(pod()).unwrap();
        let packed = Packed::new(&typed);
        typed.spec.as_mut().unwrap().containers[0].args = None;
        assert_ne!(packed, Packed::new(&typed), "an empty list is something else than none");
    }
}
