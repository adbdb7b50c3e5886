//! Rules for ConfigMaps and Secrets. No message repeats a value of a Secret.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Subject, View, names};
use crate::manifest::problem::{Finding, alternatives, quoted};

/// What all values of one object may weigh, in bytes: Kubernetes' own bound.
const TOTAL: usize = 1 << 20;

pub(super) fn config_map(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    keys(subject, ["data", "binaryData"], out);
    let mut total = 0;
    for (key, value) in subject.root.get("data").iter().flat_map(View::entries) {
        total += key.len() + value.text().map_or(0, str::len);
    }
    for (key, value) in subject.root.get("binaryData").iter().flat_map(View::entries) {
        total += key.len() + decoded(&value, out);
    }
    weigh(subject, total, out);
}

pub(super) fn secret(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    keys(subject, ["data", "stringData"], out);
    let mut total = 0;
    for (_, value) in subject.root.get("data").iter().flat_map(View::entries) {
        total += decoded(&value, out);
    }
    for (_, value) in subject.root.get("stringData").iter().flat_map(View::entries) {
        total += value.text().map_or(0, str::len);
    }
    weigh(subject, total, out);
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

/// How many bytes a base64 text stands for; Kubernetes takes line breaks in it.
fn decoded(value: &View<'_>, out: &mut Vec<Finding>) -> usize {
    let Some(text) = value.text() else { return 0 };
    let packed: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    match STANDARD.decode(packed) {
        Ok(bytes) => bytes.len(),
        Err(_) => {
            let finding = value.error("base64", "the value is not base64");
            let help = if value.pointer.starts_with("/data/") {
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

/// Secrets of some types have keys of their own; of each group at least one must be there.
fn needed_keys(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let needed: &[&[&str]] = match subject.root.text_of("type") {
        Some("kubernetes.io/dockerconfigjson") => &[&[".dockerconfigjson"]],
        Some("kubernetes.io/dockercfg") => &[&[".dockercfg"]],
        Some("kubernetes.io/ssh-auth") => &[&["ssh-privatekey"]],
        Some("kubernetes.io/basic-auth") => &[&["username", "password"]],
        Some("kubernetes.io/tls") => &[&["tls.crt"], &["tls.key"]],
        _ => &[],
    };
    let value = |key: &str| ["stringData", "data"].iter().find_map(|map| subject.root.path(&[map, key]));
    for group in needed.iter().filter(|group| group.iter().all(|key| value(key).is_none())) {
        let at = subject.root.get("type").unwrap_or_else(|| subject.root.clone());
        let keys: Vec<String> = group.iter().map(|key| quoted(key)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        out.push(at.error("missing-field", format!("a Secret of this type needs the key {}", alternatives(&keys))));
    }
    for key in [".dockerconfigjson", ".dockercfg"] {
        let is_needed = needed.iter().any(|group| group.contains(&key));
        if let Some(config) = value(key).filter(|config| is_needed && is_no_json(config)) {
            let finding = config.error("not-readable", format!("the value of {} is no JSON", quoted(key)));
            out.push(finding.help("write what `docker login` writes to ~/.docker/config.json"));
        }
    }
}

/// Whether a value can be read but not as JSON.
fn is_no_json(value: &View<'_>) -> bool {
    let Some(text) = value.text() else { return false };
    let bytes = if value.pointer.starts_with("/data/") {
        let packed: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
        STANDARD.decode(packed).ok()
    } else {
        Some(text.as_bytes().to_vec())
    };
    bytes.is_some_and(|bytes| serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_err())
}
