//! What ConfigMaps and Secrets hold, as pods take it: bytes that are kept once and hashed once, however many pods use them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use sha2::{Digest, Sha256};

use super::{ACCOUNT_NAME, ACCOUNT_TOKEN};

/// Bytes that many have a part in, none of which copies or hashes them. They may be a Secret's: as with
/// [`Masked`](super::Masked), `Debug` prints `***`, and there is no `Serialize` on purpose.
#[derive(Clone)]
pub struct SharedBytes(Arc<Inner>);

struct Inner {
    bytes: Vec<u8>,
    digest: OnceLock<[u8; 32]>,
}

impl SharedBytes {
    /// Wraps bytes, which are hashed when somebody first asks for their digest.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Arc::new(Inner { bytes: bytes.into(), digest: OnceLock::new() }))
    }

    /// The bytes themselves: only for handing them to the container they are meant for.
    pub fn reveal(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Their SHA-256.
    pub fn digest(&self) -> &[u8; 32] {
        self.0.digest.get_or_init(|| Sha256::digest(&self.0.bytes).into())
    }
}

impl PartialEq for SharedBytes {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.bytes == other.0.bytes
    }
}

impl Eq for SharedBytes {}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A ConfigMap or Secret by its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataObject {
    /// `data` of a ConfigMap: text, of which variables are made.
    pub texts: BTreeMap<String, SharedBytes>,
    /// `binaryData` of a ConfigMap, `data` of a Secret.
    pub bytes: BTreeMap<String, SharedBytes>,
    /// The service account whose token it is to hold, of a Secret that names one.
    pub account: Option<String>,
}

impl DataObject {
    /// Every key with its value. Of two of one key the later one counts.
    pub fn values(&self) -> impl Iterator<Item = (&str, &SharedBytes)> {
        self.texts.iter().chain(&self.bytes).map(|(key, value)| (key.as_str(), value))
    }
}

impl From<ConfigMap> for DataObject {
    fn from(map: ConfigMap) -> Self {
        let texts = map.data.into_iter().flatten().map(|(key, text)| (key, SharedBytes::new(text)));
        Self { texts: texts.collect(), bytes: shared(map.binary_data), account: None }
    }
}

impl From<Secret> for DataObject {
    /// With `stringData` in `data`, as the API server has it.
    fn from(secret: Secret) -> Self {
        let mut bytes = shared(secret.data);
        bytes.extend(secret.string_data.into_iter().flatten().map(|(key, text)| (key, SharedBytes::new(text))));
        let is_for_account = secret.type_.as_deref() == Some(ACCOUNT_TOKEN);
        let mut annotations = secret.metadata.annotations.filter(|_| is_for_account).unwrap_or_default();
        Self { texts: BTreeMap::new(), bytes, account: annotations.remove(ACCOUNT_NAME) }
    }
}

fn shared(data: Option<BTreeMap<String, ByteString>>) -> BTreeMap<String, SharedBytes> {
    data.into_iter().flatten().map(|(key, bytes)| (key, SharedBytes::new(bytes.0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shared_hashed_once_and_never_printed() {
        let bytes = SharedBytes::new("hunter2");
        let other = bytes.clone();
        assert!(std::ptr::eq(bytes.reveal(), other.reveal()));
        assert!(std::ptr::eq(bytes.digest(), other.digest()));
        assert_eq!(bytes.digest()[..], Sha256::digest(b"hunter2")[..]);
        assert_eq!(format!("{bytes:?}"), "***");
        assert_eq!(bytes, SharedBytes::new(*b"hunter2"));
        assert_ne!(bytes, SharedBytes::new("hunter3"));
        let object = DataObject { bytes: [("key".to_owned(), bytes)].into(), ..DataObject::default() };
        assert!(!format!("{object:?}").contains("hunter"));
    }

    #[test]
    fn only_a_secret_of_the_type_is_for_an_account() {
        for (type_, expected) in [(Some(ACCOUNT_TOKEN), Some("robot")), (Some("Opaque"), None), (None, None)] {
            let value = serde_json::json!({"metadata": {"name": "s", "annotations": {ACCOUNT_NAME: "robot"}},
                "type": type_, "stringData": {"k": "v"}});
            let secret = DataObject::from(serde_json::from_value::<Secret>(value).unwrap());
            assert_eq!(secret.account.as_deref(), expected, "{type_:?}");
            assert_eq!(secret.values().collect::<Vec<_>>(), [("k", &SharedBytes::new("v"))]);
        }
    }
}
