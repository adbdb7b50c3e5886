//! Rules for ConfigMaps and Secrets. No message repeats a value of a Secret.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::IgnoredAny;

use super::{Subject, View, names};
use crate::manifest::base64;
use crate::manifest::problem::{Finding, alternatives, quoted};
use crate::model::{ACCOUNT_NAME, ACCOUNT_TOKEN};

/// What all values of one object may weigh, in bytes, without their keys: Kubernetes' own bound (`MaxSecretSize`, and the
/// same for a ConfigMap).
const TOTAL: usize = 1 << 20;

pub(super) fn config_map(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    keys(subject, ["data", "binaryData"], out);
    let mut total = 0;
    for (_, value) in subject.root.get("data").iter().flat_map(View::entries) {
        total += value.text().map_or(0, str::len);
    }
    for (_, value) in subject.root.get("binaryData").iter().flat_map(View::entries) {
        total += decoded(&value, out);
    }
    weigh(subject, total, out);
}

pub(super) fn secret(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    keys(subject, ["data", "stringData"], out);
    // A key of `stringData` replaces that of `data` before anything is weighed.
    let mut sizes = BTreeMap::new();
    for (key, value) in subject.root.get("data").iter().flat_map(View::entries) {
        sizes.insert(key, decoded(&value, out));
    }
    for (key, value) in subject.root.get("stringData").iter().flat_map(View::entries) {
        sizes.insert(key, value.text().map_or(0, str::len));
    }
    weigh(subject, sizes.into_values().sum(), out);
    account(subject, out);
    needed_keys(subject, out);
}

/// Keys have the shape of file names. One in both maps of a ConfigMap would be ambiguous; in a Secret `stringData` wins.
fn keys(subject: Subject<'_, '_>, maps: [&str; 2], out: &mut Vec<Finding>) {
    let mut seen = BTreeSet::new();
    for (key, value) in maps.iter().filter_map(|map| subject.root.get(map)).flat_map(|map| map.entries()) {
        if let Err(wrong) = names::data_key(key) {
            out.push(value.error("data-key", format!("the key {} must {wrong}", quoted(key))).at_key());
        }
        if !seen.insert(key) && maps[1] == "binaryData" {
            let message = format!("the key {} stands in `data` and in `binaryData`", quoted(key));
            out.push(value.error("duplicate-name", message).at_key().help("remove one of the two"));
        }
    }
}

/// How many bytes a base64 text stands for.
fn decoded(value: &View<'_>, out: &mut Vec<Finding>) -> usize {
    let Some(text) = value.text() else { return 0 };
    match base64::decode(text) {
        Some(bytes) => bytes.len(),
        None => {
            let finding = value.error("base64", "the value is not base64");
            let help = if value.is_below(&["data"]) {
                "encode it with `base64`, or write plain text under `stringData`"
            } else {
                "encode it with `base64`, or write plain text under `data`"
            };
            out.push(finding.help(help));
            0
        }
    }
}

fn weigh(subject: Subject<'_, '_>, total: usize, out: &mut Vec<Finding>) {
    if total > TOTAL {
        let message = format!("the values have {total} bytes, more than {TOTAL}");
        out.push(subject.root.error("too-large", message).at_key().help("put large files into an image or a hostPath"));
    }
}

/// The account that a token belongs to is an annotation of its Secret.
fn account(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let is_token = subject.root.text_of("type") == Some(ACCOUNT_TOKEN);
    let named = subject.root.path(&["metadata", "annotations", ACCOUNT_NAME]);
    if is_token && named.and_then(|name| name.text()).is_none_or(str::is_empty) {
        let at = subject.root.get("type").unwrap_or_else(|| subject.root.clone());
        let message = format!("a Secret of this type needs the annotation `{ACCOUNT_NAME}`");
        out.push(at.error("missing-field", message).help("add it, with the name of the ServiceAccount"));
    }
}

/// What the value of a needed key must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    There,
    NotEmpty,
    JsonObject,
}

/// Keys of which one must be there, and what its value must be.
type Group = (&'static [&'static str], Needed);

/// The keys that Secrets of some types have: of each group at least one must be there (`ValidateSecret`).
const KEYS: &[(&str, &[Group])] = &[
    ("kubernetes.io/dockerconfigjson", &[(&[".dockerconfigjson"], Needed::JsonObject)]),
    ("kubernetes.io/dockercfg", &[(&[".dockercfg"], Needed::JsonObject)]),
    ("kubernetes.io/ssh-auth", &[(&["ssh-privatekey"], Needed::NotEmpty)]),
    ("kubernetes.io/basic-auth", &[(&["username", "password"], Needed::There)]),
    ("kubernetes.io/tls", &[(&["tls.crt"], Needed::There), (&["tls.key"], Needed::There)]),
];

fn needed_keys(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let is_of = |name: &str| subject.root.text_of("type") == Some(name);
    let groups = KEYS.iter().find(|(name, _)| is_of(name)).map_or(&[][..], |(_, groups)| groups);
    let value = |key: &str| ["stringData", "data"].iter().find_map(|map| subject.root.path(&[map, key]));
    for (group, needed) in groups {
        let Some((key, found)) = group.iter().find_map(|key| Some((key, value(key)?))) else {
            let at = subject.root.get("type").unwrap_or_else(|| subject.root.clone());
            let keys: Vec<String> = group.iter().map(|key| quoted(key)).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            out.push(at.error("missing-field", format!("a Secret of this type needs the key {}", alternatives(&keys))));
            continue;
        };
        // What is not base64 was told.
        let Some(bytes) = bytes(&found) else { continue };
        match needed {
            Needed::NotEmpty if bytes.is_empty() => {
                let finding = found.error("missing-field", format!("the value of {} is empty", quoted(key)));
                out.push(finding.help("write the private key"));
            }
            Needed::JsonObject if serde_json::from_slice::<Option<BTreeMap<String, IgnoredAny>>>(&bytes).is_err() => {
                let message = format!("the value of {} is no JSON object", quoted(key));
                let finding = found.error("not-readable", message);
                out.push(finding.help("write what `docker login` writes to ~/.docker/config.json"));
            }
            _ => {}
        }
    }
}

/// The bytes of a value of a Secret.
fn bytes(value: &View<'_>) -> Option<Vec<u8>> {
    let text = value.text()?;
    if value.is_below(&["data"]) { base64::decode(text) } else { Some(text.as_bytes().to_vec()) }
}
