//! The object in the making: its values by key, each with the place it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::cli::error::CliError;
use crate::manifest;

/// What all values of one object may weigh, in bytes: Kubernetes' own bound.
pub(super) const ROOM: u64 = 1 << 20;

/// Base64 with padding, as Kubernetes writes bytes.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Where a value came from.
#[derive(Clone, Debug)]
pub(super) enum Place {
    File(PathBuf),
    /// A line of an env file, from 1.
    Line(PathBuf, usize),
    /// A `--from-literal`, counted from 1: what it holds may be a secret.
    Literal(usize),
    Flag(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Line(path, line) => write!(f, "{}:{line}", path.display()),
            Place::Literal(number) => write!(f, "--from-literal number {number}"),
            Place::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A Secret or ConfigMap in the making.
pub(super) struct Draft {
    pub(super) name: String,
    secret: bool,
    /// The type of a Secret; empty when it is not written.
    pub(super) secret_type: String,
    values: BTreeMap<String, (Vec<u8>, Place)>,
    /// Bytes that still fit.
    pub(super) room: u64,
}

impl Draft {
    pub(super) fn config_map(name: &str) -> Self {
        Self { name: name.to_owned(), secret: false, secret_type: String::new(), values: BTreeMap::new(), room: ROOM }
    }

    pub(super) fn secret(name: &str, kind: Option<&str>) -> Self {
        Self { secret: true, secret_type: kind.unwrap_or_default().to_owned(), ..Self::config_map(name) }
    }

    pub(super) fn is_secret(&self) -> bool {
        self.secret
    }

    pub(super) fn kind(&self) -> &'static str {
        if self.secret { "Secret" } else { "ConfigMap" }
    }

    /// A text that was typed or read, as far as it may be repeated: in a Secret only what has the shape of a key.
    pub(super) fn told(&self, text: &str) -> String {
        if self.secret && manifest::data_key(text).is_err() { "(hidden)".to_owned() } else { format!("{text:?}") }
    }

    /// Adds a value.
    ///
    /// # Errors
    /// For a key that cannot be one or that is there already, and when there is no more room.
    pub(super) fn add(&mut self, key: &str, value: Vec<u8>, place: Place) -> Result<(), CliError> {
        let kind = self.kind();
        if let Err(wrong) = manifest::data_key(key) {
            let shown = if matches!(place, Place::File(_)) { format!("{key:?}") } else { self.told(key) };
            let message = format!("{place}: {shown} is not a valid key name for a {kind}: it must {wrong}");
            return Err(CliError::new(message).hint("choose a key: --from-file=KEY=PATH or --from-literal=KEY=VALUE"));
        }
        if let Some((_, first)) = self.values.get(key) {
            let message = format!("cannot add key {key:?} from {place}, another key by that name already exists");
            return Err(CliError::new(message).hint(format!("it came from {first}; give one of them another key")));
        }
        let size = value.len() as u64;
        self.room = self.room.checked_sub(size).ok_or_else(|| {
            CliError::new(format!("{place}: the values of the {kind} have more than {ROOM} bytes"))
                .hint("put large files into an image or a hostPath")
        })?;
        self.values.insert(key.to_owned(), (value, place));
        Ok(())
    }

    /// The values that are text, and those that are bytes; a Secret has only bytes.
    pub(super) fn maps(&self) -> (Map<String, Value>, Map<String, Value>) {
        let (mut text, mut binary) = (Map::new(), Map::new());
        for (key, (bytes, _)) in &self.values {
            match std::str::from_utf8(bytes) {
                Ok(value) if !self.secret => text.insert(key.clone(), value.into()),
                _ => binary.insert(key.clone(), base64(bytes).into()),
            };
        }
        (text, binary)
    }

    /// The object with its fields in the order in which kubectl's JSON has them.
    pub(super) fn object(&self, namespace: Option<&str>) -> Value {
        let mut metadata = Map::new();
        metadata.insert("name".to_owned(), self.name.clone().into());
        metadata.extend(namespace.filter(|n| !n.is_empty()).map(|n| ("namespace".to_owned(), n.into())));
        metadata.insert("creationTimestamp".to_owned(), Value::Null);
        let mut object = Map::new();
        object.insert("kind".to_owned(), self.kind().into());
        object.insert("apiVersion".to_owned(), "v1".into());
        object.insert("metadata".to_owned(), metadata.into());
        let (text, binary) = self.maps();
        let parts = if self.secret {
            [("data", json!(binary)), ("type", json!(self.secret_type))]
        } else {
            [("data", json!(text)), ("binaryData", json!(binary))]
        };
        for (name, value) in parts {
            let empty = value.as_object().is_some_and(Map::is_empty) || value.as_str().is_some_and(str::is_empty);
            if !empty {
                object.insert(name.to_owned(), value);
            }
        }
        object.into()
    }
}
