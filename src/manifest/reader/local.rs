//! What was provisioned on the machine, layered under what is written: an object of the manifests hides the local one.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::manifest::file::File;
use crate::manifest::text::{self, Text};
use crate::model::{DesiredObject, Diagnostic, Kind, ORIGIN, ObjectKey, Severity, SourceFile};

/// The kinds that a machine can be given beside its manifests.
const KINDS: [Kind; 2] = [Kind::ConfigMap, Kind::Secret];

/// The local files that count.
pub(super) struct Layer<'a> {
    pub(super) files: Vec<(&'a SourceFile, Arc<File>)>,
    /// Why others do not count, as warnings: what is wrong on the machine must not refuse what is right in the manifests.
    pub(super) problems: Vec<Diagnostic>,
}

/// Those of `local` that are valid and that `written` leaves a place for.
pub(super) fn layer<'a>(
    written: &[(&SourceFile, Arc<File>)],
    local: impl Iterator<Item = (&'a SourceFile, Arc<File>)>,
) -> Layer<'a> {
    let mut layer = Layer { files: Vec::new(), problems: Vec::new() };
    let mut local = local.peekable();
    if local.peek().is_none() {
        return layer;
    }
    let objects = written.iter().flat_map(|(_, file)| &file.objects);
    let mut taken: BTreeSet<ObjectKey> = objects.map(|object| object.key.clone()).collect();
    for (source, file) in local {
        let found = problems(source, &file);
        let object = file.objects.first().filter(|object| object.body.is_some() && KINDS.contains(&object.key.kind));
        match object.filter(|_| found.is_empty() && file.objects.len() == 1) {
            // Hidden, or the second of two that were put there by hand.
            Some(object) if !taken.insert(object.key.clone()) => {}
            Some(_) => layer.files.push((source, file)),
            None if found.is_empty() => layer.problems.push(no_object(source)),
            None => layer.problems.extend(found),
        }
    }
    layer
}

/// The errors of a file, told as warnings.
fn problems(source: &SourceFile, file: &File) -> Vec<Diagnostic> {
    let errors = file.problems.iter().filter(|located| located.problem.severity == Severity::Error);
    let text = text::decode(&source.bytes).ok().map(Text::new);
    let told = |found: Diagnostic| Diagnostic {
        severity: Severity::Warning,
        rule: "local-object",
        message: format!("an object provisioned on the machine is left out: {}", found.message),
        help: Some("provision it anew, or remove it (`podwright secret ls`)".to_owned()),
        ..found
    };
    errors.map(|located| told(file.diagnostic(&source.path, text.as_ref(), located))).collect()
}

fn no_object(source: &SourceFile) -> Diagnostic {
    let message =
        format!("{}: not one Secret or ConfigMap, which is all that is provisioned on a machine", source.path);
    Diagnostic {
        severity: Severity::Warning,
        rule: "local-object",
        message,
        help: Some("remove the file; `podwright secret create ... --local` makes such files".to_owned()),
        place: None,
        object: None,
        field: None,
    }
}

/// The object with the annotation that says where it is from.
pub(super) fn marked(object: DesiredObject) -> DesiredObject {
    let Some(value) = &object.value else { return object };
    let mut value = Value::clone(value);
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if let Value::Object(annotations) = annotations {
            Map::insert(annotations, ORIGIN.to_owned(), json!("local"));
        }
    }
    DesiredObject { value: Some(Arc::new(value)), ..object }
}
