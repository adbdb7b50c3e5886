//! `--append-hash`: the suffix that kubectl and kustomize derive from the content (k8s.io/kubectl/pkg/util/hash of 1.32).

use serde_json::json;
use sha2::{Digest, Sha256};

use super::draft::Draft;
use super::go_json;

/// The first 40 bits of the SHA-256 of the object's JSON with sorted keys, spelt without vowels.
pub(super) fn of(draft: &Draft) -> String {
    let (text, binary) = draft.maps();
    let object = match draft.kind() {
        "Secret" => json!({"data": binary, "kind": "Secret", "name": draft.name, "type": draft.secret_type}),
        _ if binary.is_empty() => json!({"data": text, "kind": "ConfigMap", "name": draft.name}),
        _ => json!({"binaryData": binary, "data": text, "kind": "ConfigMap", "name": draft.name}),
    };
    let digest = Sha256::digest(go_json::compact(&object));
    let hex = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect::<String>();
    let consonant = |c| match c {
        '0' => 'g',
        '1' => 'h',
        '3' => 'k',
        'a' => 'm',
        'e' => 't',
        other => other,
    };
    hex.chars().map(consonant).collect()
}
