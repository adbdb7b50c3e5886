//! Rules for `metadata`.

use super::{Subject, View, names, shape};
use crate::manifest::problem::{Finding, alternatives, quoted};
use crate::model::{ANNOTATION_PREFIX, IGNORE, Kind, RESTART_ON_DATA};

/// All annotations of an object together, in bytes.
const ANNOTATIONS: usize = 256 << 10;

pub(super) fn name(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(metadata) = subject.root.get("metadata").filter(|metadata| metadata.value.is_object()) else { return };
    match metadata.get("name") {
        Some(name) if name.text() != Some("") => {
            let check = if subject.kind == Kind::Namespace { names::label } else { names::subdomain };
            shape(&name, "the name", check, out);
        }
        _ => out.push(metadata.missing("name")),
    }
}

pub(super) fn namespace(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(namespace) = subject.root.path(&["metadata", "namespace"]) else { return };
    if !subject.kind.namespaced() {
        let finding = namespace.error("namespace", format!("a {} is in no namespace", subject.kind)).at_key();
        out.push(finding.help("remove the line"));
        return;
    }
    if namespace.text() != Some("") {
        shape(&namespace, "the namespace", names::label, out);
    }
}

pub(super) fn labels(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(labels) = subject.root.path(&["metadata", "labels"]) else { return };
    for (key, value) in labels.entries() {
        if let Err(wrong) = names::qualified(key) {
            out.push(value.error("label", format!("the label key {} must {wrong}", quoted(key))).at_key());
        }
        shape_of_label(&value, out);
    }
}

fn shape_of_label(value: &View<'_>, out: &mut Vec<Finding>) {
    if let Some(text) = value.text()
        && let Err(wrong) = names::label_value(text)
    {
        let finding = value.error("label", format!("the label value {} must {wrong}", quoted(text)));
        out.push(finding.help("free text belongs into an annotation"));
    }
}

pub(super) fn annotations(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(annotations) = subject.root.path(&["metadata", "annotations"]) else { return };
    let mut bytes = 0;
    for (key, value) in annotations.entries() {
        // Annotation keys are compared without regard to case.
        if let Err(wrong) = names::qualified(&key.to_ascii_lowercase()) {
            out.push(value.error("annotation", format!("the annotation key {} must {wrong}", quoted(key))).at_key());
        }
        if key.starts_with(ANNOTATION_PREFIX) && key != IGNORE {
            out.extend(own_annotation(subject.kind, key, &value));
        }
        bytes += key.len() + value.text().map_or(0, str::len);
    }
    if bytes > ANNOTATIONS {
        let message = format!("the annotations have {bytes} bytes, more than {ANNOTATIONS}");
        out.push(annotations.error("annotation", message).at_key().help("put large texts into a ConfigMap"));
    }
}

/// What is wrong with an annotation that speaks to podwright. One that it does not know would be ignored.
fn own_annotation(kind: Kind, key: &str, value: &View<'_>) -> Option<Finding> {
    let known = if kind == Kind::Pod { &[IGNORE, RESTART_ON_DATA][..] } else { &[IGNORE] };
    if !known.contains(&key) {
        let message = format!("a {kind} has no annotation {} for podwright", quoted(key));
        let near = known.iter().find(|known| strsim::damerau_levenshtein(known, key) <= 4);
        let help = near.map_or_else(
            || format!("those it knows: {}", alternatives(known).replace(" or ", " and ")),
            |near| format!("did you mean `{near}`?"),
        );
        return Some(value.error("annotation", message).at_key().help(help));
    }
    let is_word = value.text().is_none_or(|text| ["true", "false"].contains(&text));
    let message = format!("the annotation {key} must be the text \"true\" or \"false\"");
    (!is_word).then(|| value.error("annotation", message).help("write \"true\" in double quotes"))
}
