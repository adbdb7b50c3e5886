//! What ConfigMaps and Secrets may weigh, and how their bytes are spelled.

use podwright::model::{Kind, ObjectKey};
use podwright::report::diagnostics_text;

use super::read;

/// Kubernetes' bound on the values of an object.
const MOST: usize = 1 << 20;

fn told(text: &str) -> String {
    diagnostics_text(&read(&[("data.yaml", text)]).diagnostics)
}

fn object(kind: &str, parts: &[(&str, &str, &str)]) -> String {
    let mut text = format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: m}}\n");
    for (part, key, value) in parts {
        text.push_str(&format!("{part}:\n  {key}: \"{value}\"\n"));
    }
    text
}

#[test]
fn values_alone_are_weighed() {
    let most = "a".repeat(MOST);
    let more = "a".repeat(MOST + 1);
    assert_eq!(told(&object("ConfigMap", &[("data", "a-long-key", &most)])), "");
    assert!(told(&object("ConfigMap", &[("data", "k", &more)])).contains("the values have 1048577 bytes"));
    assert!(told(&object("ConfigMap", &[("data", "k", &most), ("binaryData", "b", "QQ==")])).contains("1048577 bytes"));
    assert!(told(&object("Secret", &[("stringData", "k", &more)])).contains("the values have 1048577 bytes"));
}

#[test]
fn what_string_data_replaces_weighs_nothing() {
    let large = "QUFB".repeat(MOST / 4);
    let half = "a".repeat(MOST / 2);
    let both = |key| object("Secret", &[("data", "k", &large), ("stringData", key, &half)]);
    assert_eq!(told(&both("k")), "");
    assert!(told(&both("other")).contains("the values have 1310720 bytes"));
}

#[test]
fn base64_is_kept_in_one_spelling() {
    let text =
        object("Secret", &[("data", "k", "QR==")]) + "---\n" + &object("ConfigMap", &[("binaryData", "k", "Q\\nUI=")]);
    let desired = read(&[("data.yaml", text.as_str())]);
    assert_eq!(diagnostics_text(&desired.diagnostics), "");
    let value = |kind, part: &str| {
        let key = ObjectKey { kind, namespace: "default".to_owned(), name: "m".to_owned() };
        desired.others[&key].value.as_ref().unwrap()[part]["k"].clone()
    };
    assert_eq!((value(Kind::Secret, "data"), value(Kind::ConfigMap, "binaryData")), ("QQ==".into(), "QUI=".into()));
}
