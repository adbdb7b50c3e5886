//! Rules for what a namespace asks of its pods.

use super::{Subject, View, choice};
use crate::manifest::problem::{Finding, quoted};
use crate::model::{POD_SECURITY, PodSecurityLevel, PodSecurityVersion};

const MODES: [&str; 3] = ["enforce", "audit", "warn"];
const VERSION: &str = "-version";

/// The labels of Pod Security, with the values that Kubernetes takes. It takes any other label with this prefix too, and
/// heeds none.
pub(super) fn pod_security(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(labels) = subject.root.path(&["metadata", "labels"]) else { return };
    for (key, value) in labels.entries() {
        let Some(name) = key.strip_prefix(POD_SECURITY) else { continue };
        match name.strip_suffix(VERSION) {
            Some(mode) if MODES.contains(&mode) => version(key, &value, out),
            None if MODES.contains(&name) => {
                choice(&value, key, &PodSecurityLevel::ALL.map(PodSecurityLevel::as_str), out);
            }
            _ => out.push(unknown(key, name, &value)),
        }
    }
}

fn version(key: &str, value: &View<'_>, out: &mut Vec<Finding>) {
    if let Some(text) = value.text().filter(|text| PodSecurityVersion::parse(text).is_none()) {
        let message = format!("`{key}` must be latest or v1.N, not {}", quoted(text));
        out.push(value.error("choice", message).help("write for example latest, or v1.36"));
    }
}

fn unknown(key: &str, name: &str, value: &View<'_>) -> Finding {
    let message = format!("nothing heeds the label {}", quoted(key));
    let known = MODES.iter().flat_map(|mode| [(*mode).to_owned(), format!("{mode}{VERSION}")]);
    let near = known.map(|known| (strsim::damerau_levenshtein(&known, name), known)).min();
    let finding = Finding::warning("no-effect", &value.pointer(), message).at_key();
    match near {
        Some((distance, known)) if distance <= 3 => finding.help(format!("did you mean `{POD_SECURITY}{known}`?")),
        _ => finding.help(format!("after the `/` there is enforce, audit or warn, or one of them with {VERSION}")),
    }
}
