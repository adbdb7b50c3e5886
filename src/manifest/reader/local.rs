//! What was provisioned on the machine, layered under what is written: an object of the manifests hides the local one.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::manifest::file::File;
use crate::manifest::object::Object;
use crate::manifest::problem::Problem;
use crate::model::{DesiredObject, Diagnostic, Kind, ORIGIN, ObjectKey, Provisioned, Severity, SourceFile};

/// The kinds that a machine can be given beside its manifests.
const KINDS: [Kind; 2] = [Kind::ConfigMap, Kind::Secret];

/// The local files that count.
pub(super) struct Layer<'a> {
    pub(super) files: Vec<(&'a SourceFile, Arc<File>)>,
    /// Why others do not count, as warnings: what is wrong on the machine must not refuse what is right in the manifests.
    pub(super) problems: Vec<Diagnostic>,
}

/// Those of `local` that are valid and that `written` leaves a place for. `parsed` are its files, in its order.
pub(super) fn layer<'a>(
    written: &[(&SourceFile, Arc<File>)],
    local: &'a Provisioned,
    parsed: Vec<Arc<File>>,
) -> Layer<'a> {
    let left_out = local.left_out.iter().map(|(path, why)| problem(path, why));
    let mut layer = Layer { files: Vec::new(), problems: left_out.collect() };
    if parsed.is_empty() {
        return layer;
    }
    let taken: BTreeSet<&ObjectKey> = written.iter().flat_map(|(_, file)| &file.objects).map(|o| &o.key).collect();
    for (source, file) in local.files.iter().zip(parsed) {
        match judge(source, &file) {
            Ok(key) if taken.contains(key) => {}
            Ok(_) => layer.files.push((source, file)),
            Err(why) => layer.problems.push(problem(&source.path, &why)),
        }
    }
    layer
}

/// The key of the object in a file; or why there is none that counts, without a word of what is written there: whatever it is, it
/// may be a secret.
fn judge<'f>(source: &SourceFile, file: &'f File) -> Result<&'f ObjectKey, String> {
    let errors = || file.problems.iter().filter(|located| located.problem.severity == Severity::Error);
    if let Some(located) = errors().next() {
        let Problem { span, rule, .. } = &located.problem;
        let count = errors().count();
        return Err(format!(
            "it has {count} errors, the first one by the rule {rule} at {}:{}",
            span.line, span.column
        ));
    }
    let [Object { key, body: Some(_), .. }] = &file.objects[..] else {
        return Err("it is not one object".to_owned());
    };
    let place = format!("local/{}/{}/{}", key.kind.plural(), key.namespace, key.name);
    match KINDS.contains(&key.kind) {
        false => Err("it is neither a Secret nor a ConfigMap".to_owned()),
        true if place != *source.path => {
            Err("its object has another kind, namespace or name than its path says".to_owned())
        }
        true => Ok(key),
    }
}

/// A warning: what is wrong on the machine must not refuse what is right in the manifests.
fn problem(path: &str, why: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        rule: "local-object",
        message: format!("{path} of this machine is left out: {why}"),
        help: Some("provision it anew, or remove it (`podwright secret ls -A`)".to_owned()),
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
