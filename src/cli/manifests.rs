//! `validate` and `render`: manifests as they are on disk, without agent, root or runtime.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::args::{ObjectFormat, RenderArgs, ReportFormat, ValidateArgs};
use super::error::{CliError, Ending};
use super::get::{pretty, v1_list, yaml};
use super::printer;
use crate::admit::admit;
use crate::manifest::Reader;
use crate::model::{Admitted, Diagnostics, Kind, Snapshot};
use crate::port::ReadError;
use crate::report;
use crate::source;

/// What became of one reading.
pub enum Verdict {
    Valid(Box<Admitted>),
    Refused(Diagnostics),
}

/// Reads and admits a snapshot.
pub fn judge(snapshot: &Snapshot) -> Verdict {
    match admit(&Reader::new().read(snapshot)) {
        Ok(admitted) => Verdict::Valid(Box::new(admitted)),
        Err(diagnostics) => Verdict::Refused(diagnostics),
    }
}

/// Runs `validate`. The report is the output: it goes to standard output whatever it says.
pub fn validate(args: &ValidateArgs) -> Result<Ending, CliError> {
    let (verdict, files) = match source::read_paths(&args.paths) {
        Ok(snapshot) => (judge(&snapshot), snapshot.files.len()),
        Err(ReadError::Rejected(diagnostics)) => (Verdict::Refused(diagnostics), 0),
        Err(ReadError::Failed(error)) => return Err(error.into()),
    };
    let report = match args.output {
        ReportFormat::Text => text(&verdict, files),
        ReportFormat::Json => pretty(&document(&verdict, files))?,
    };
    printer::out(&report)?;
    Ok(match verdict {
        Verdict::Valid(_) => Ending::Success,
        Verdict::Refused(_) => Ending::Failed,
    })
}

fn text(verdict: &Verdict, files: usize) -> String {
    match verdict {
        Verdict::Refused(diagnostics) => report::diagnostics_text(diagnostics),
        Verdict::Valid(admitted) => {
            let counts: Vec<String> = kinds(admitted).iter().map(|(kind, n)| plural(*n, kind.as_str())).collect();
            let counts = counts.join(", ");
            let what = if counts.is_empty() { "no objects".to_owned() } else { counts };
            let files = plural(files, "file");
            format!("{}valid: {what} in {files}\n", report::diagnostics_text(&admitted.diagnostics))
        }
    }
}

fn document(verdict: &Verdict, files: usize) -> Value {
    let (diagnostics, objects) = match verdict {
        Verdict::Refused(diagnostics) => (diagnostics, json!({})),
        Verdict::Valid(admitted) => {
            let counts: BTreeMap<&str, usize> = kinds(admitted).into_iter().map(|(k, n)| (k.as_str(), n)).collect();
            (&admitted.diagnostics, json!(counts))
        }
    };
    let (errors, warnings) = diagnostics.counts();
    json!({
        "valid": matches!(verdict, Verdict::Valid(_)),
        "files": files,
        "objects": objects,
        "errors": errors,
        "warnings": warnings,
        "diagnostics": diagnostics,
    })
}

/// How many objects of each kind, in the order of [`Kind::ALL`].
fn kinds(admitted: &Admitted) -> Vec<(Kind, usize)> {
    let count = |kind| admitted.objects.keys().filter(|key| key.kind == kind).count();
    Kind::ALL.into_iter().map(|kind| (kind, count(kind))).filter(|(_, n)| *n > 0).collect()
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Runs `render`: every object as authored, pods with their presets merged, nothing defaulted.
pub fn render(args: &RenderArgs) -> Result<Ending, CliError> {
    let snapshot = source::read_paths(std::slice::from_ref(&args.path))?;
    let admitted = match judge(&snapshot) {
        Verdict::Refused(diagnostics) => return Err(CliError::refused(&diagnostics)),
        Verdict::Valid(admitted) => admitted,
    };
    printer::note_text(&report::diagnostics_text(&admitted.diagnostics));
    let mut objects = Vec::new();
    for (key, value) in &admitted.objects {
        let pod = admitted.pods.values().find(|pod| pod.key.object() == *key);
        objects.push(match pod {
            Some(pod) => serde_json::to_value(&pod.spec).map_err(|e| CliError::new(format!("{key}: {e}")))?,
            None => (**value).clone(),
        });
    }
    match args.output {
        ObjectFormat::Json => printer::out(&pretty(&v1_list(&objects))?)?,
        ObjectFormat::Yaml => {
            let documents: Result<Vec<String>, CliError> = objects.iter().map(yaml).collect();
            printer::out(&documents?.join("---\n"))?;
        }
    }
    Ok(Ending::Success)
}
