//! `render`: the objects of manifests as admission leaves them, and where their fields come from.

use serde_json::{Value, json};

use super::args::{ObjectFormat, RenderArgs};
use super::error::{CliError, Ending};
use super::get::{pretty, v1_list};
use super::manifests::{Verdict, judge_read};
use super::printer;
use crate::admit::{LeafOrigin, Origins};
use crate::manifest::Reader;
use crate::model::{Kind, ObjectKey, Origin, PodKey};
use crate::report;
use crate::source;

/// Runs `render`: every object as authored, pods with their presets merged and, if wanted, with every default.
pub fn render(args: &RenderArgs) -> Result<Ending, CliError> {
    let snapshot = source::read_paths(std::slice::from_ref(&args.path))?;
    let desired = Reader::new().read(&snapshot);
    let admitted = match judge_read(&snapshot, &desired) {
        Verdict::Refused(diagnostics) => return Err(CliError::refused(&diagnostics)),
        Verdict::Valid(admitted) => admitted,
    };
    printer::note_text(&report::diagnostics_text(&admitted.diagnostics));
    let origins = args.provenance.then(|| Origins::new(&desired));
    let (mut objects, mut provenance) = (Vec::new(), Vec::new());
    for (key, authored) in &admitted.objects {
        let pod = (key.kind == Kind::Pod).then(|| PodKey::new(key.namespace.as_str(), key.name.as_str()));
        let value = match pod.and_then(|pod| admitted.pods.get(&pod)) {
            Some(pod) => shown(key, if args.show_defaults { &pod.effective } else { &pod.spec })?,
            None => (**authored).clone(),
        };
        provenance.push(origins.as_ref().map(|origins| not_authored(origins, key, &value)).unwrap_or_default());
        objects.push(value);
    }
    let text = match args.output {
        ObjectFormat::Json => as_list(&objects, args.provenance.then_some(provenance.as_slice()))?,
        ObjectFormat::Yaml => {
            let pairs = objects.iter().zip(&provenance);
            pairs.map(|(value, fields)| as_yaml(value, fields)).collect::<Vec<_>>().join("---\n")
        }
    };
    printer::out(&text)?;
    Ok(Ending::Success)
}

fn shown<T: serde::Serialize>(key: &ObjectKey, pod: &T) -> Result<Value, CliError> {
    serde_json::to_value(pod).map_err(|e| CliError::new(format!("{key}: {e}")))
}

fn not_authored(origins: &Origins<'_>, key: &ObjectKey, value: &Value) -> Vec<LeafOrigin> {
    let mut leaves = origins.of(key, value);
    leaves.retain(|leaf| !matches!(leaf.origin.origin, Origin::Authored(_)));
    leaves
}

/// One `v1` List. Its provenance has a list of fields for each of its items, at the same index.
fn as_list(objects: &[Value], provenance: Option<&[Vec<LeafOrigin>]>) -> Result<String, CliError> {
    let mut list = v1_list(objects);
    if let Some(provenance) = provenance {
        list["metadata"]["provenance"] = json!(provenance);
    }
    pretty(&list)
}

/// A YAML document. A field of `notes` has its origin as a comment.
fn as_yaml(value: &Value, notes: &[LeafOrigin]) -> String {
    let notes = notes.iter().map(|leaf| (leaf.pointer.clone(), comment(&leaf.origin.origin)));
    report::noted_yaml(value, &notes.collect())
}

fn comment(origin: &Origin) -> String {
    match origin {
        Origin::Authored(at) => at.to_string(),
        Origin::Preset { name, at } => format!("preset {name} ({at})"),
        Origin::Default => "default".to_owned(),
        Origin::Admission => "admission".to_owned(),
    }
}
