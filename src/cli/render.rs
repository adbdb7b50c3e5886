//! `render`: the objects of manifests as admission leaves them, and where their fields come from. Of an object only its text
//! is kept, so that a fleet takes a few times its bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use serde::ser::{Error as _, Serialize, SerializeSeq as _, Serializer};
use serde_json::{Value, json};

use super::args::{ObjectFormat, RenderArgs};
use super::error::{CliError, Ending};
use super::get::{List, indented, sorted};
use super::manifests::{Verdict, judge_each};
use super::printer;
use crate::admit::{Admitter, LeafOrigin, Origins};
use crate::model::{Desired, DesiredObject, ObjectKey, Origin};
use crate::report;
use crate::source;

/// Runs `render`: every object as authored, pods with their presets merged and, if wanted, with every default.
pub fn render(args: &RenderArgs) -> Result<Ending, CliError> {
    let snapshot = source::read_paths(std::slice::from_ref(&args.path))?;
    let rendered = Arc::new(Rendered::default());
    let verdict = judge_each(&snapshot, None, |presets| {
        let (renderer, rendered) = (Renderer::new(args, presets), Arc::clone(&rendered));
        presets.presets.values().for_each(|(object, _)| rendered.put(&object.key, renderer.text(object, None)));
        Box::new(move |object, pod| rendered.put(&object.key, renderer.text(object, pod)))
    });
    match verdict {
        Verdict::Refused(diagnostics) => return Err(CliError::refused(&diagnostics)),
        Verdict::Valid(admitted) => printer::note_text(&report::diagnostics_text(&admitted.diagnostics)),
    }
    drop(snapshot);
    let texts = rendered.take()?;
    match args.output {
        ObjectFormat::Json => printer::json(&as_list(&texts, args.provenance)?)?,
        ObjectFormat::Yaml => {
            printer::out(&texts.iter().map(|text| text.object.as_str()).collect::<Vec<_>>().join("---\n"))?;
        }
    }
    Ok(Ending::Success)
}

/// The texts by object, in the order in which they are printed; several threads write them.
#[derive(Default)]
struct Rendered(Mutex<BTreeMap<ObjectKey, Result<Text, CliError>>>);

impl Rendered {
    fn put(&self, key: &ObjectKey, text: Result<Text, CliError>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), text);
    }

    fn take(&self) -> Result<Vec<Text>, CliError> {
        let texts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        texts.into_values().collect()
    }
}

/// An object as it is kept: a YAML document, or compact JSON.
struct Text {
    object: String,
    /// The fields that were not authored, as a list in compact JSON; those of a YAML document are comments in it.
    provenance: String,
}

/// Makes the texts of a snapshot's objects.
struct Renderer<'a> {
    output: ObjectFormat,
    show_defaults: bool,
    admitter: Admitter<'a>,
    origins: Option<Origins<'a>>,
}

impl<'a> Renderer<'a> {
    fn new(args: &RenderArgs, presets: &'a Desired) -> Self {
        let RenderArgs { output, show_defaults, .. } = *args;
        Self {
            output,
            show_defaults,
            admitter: Admitter::new(presets, None),
            origins: args.provenance.then(|| Origins::new(presets)),
        }
    }

    fn text(&self, object: &DesiredObject, pod: Option<&Pod>) -> Result<Text, CliError> {
        let failed = |e: serde_json::Error| CliError::new(format!("{}: {e}", object.key));
        let admitted = pod.map(|pod| self.admitter.admitted(object, pod));
        let shown = match (admitted, &object.value) {
            (Some(pod), _) => if self.show_defaults { &pod.effective } else { &pod.spec }.value(),
            (None, value) => value.as_deref().cloned().unwrap_or_default(),
        };
        let mut fields = self.origins.as_ref().map(|origins| origins.of(object, pod, &shown));
        fields.iter_mut().for_each(|fields| fields.retain(|leaf| !matches!(leaf.origin.origin, Origin::Authored(_))));
        let fields = fields.unwrap_or_default();
        Ok(match self.output {
            ObjectFormat::Yaml => Text { object: as_yaml(&shown, &fields), provenance: String::new() },
            ObjectFormat::Json => Text {
                object: serde_json::to_string(&sorted(&shown)).map_err(failed)?,
                provenance: serde_json::to_string(&sorted(&json!(fields))).map_err(failed)?,
            },
        })
    }
}

/// One `v1` List. Its provenance has a list of fields for each of its items, at the same index.
fn as_list(texts: &[Text], provenance: bool) -> Result<String, CliError> {
    let parsed = |part: fn(&Text) -> &str| Parsed(texts.iter().map(part).collect());
    indented(&List::new(parsed(|text| &text.object), provenance.then(|| parsed(|text| &text.provenance))))
}

/// JSON texts as a list, parsed one at a time as they are written.
struct Parsed<'a>(Vec<&'a str>);

impl Serialize for Parsed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let parse = |text: &&str| serde_json::from_str::<Value>(text).map_err(S::Error::custom);
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for text in &self.0 {
            list.serialize_element(&parse(text)?)?;
        }
        list.end()
    }
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
