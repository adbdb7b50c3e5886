//! Manifests judged, and `render`: as they are on disk, without agent, root or runtime.

use super::args::{ObjectFormat, RenderArgs};
use super::error::{CliError, Ending};
use super::get::{pretty, v1_list, yaml};
use super::printer;
use crate::admit::admit;
use crate::manifest::{Reader, show_lines};
use crate::model::{Admitted, Desired, Diagnostics, Snapshot};
use crate::report;
use crate::source;

/// What became of one reading.
pub enum Verdict {
    Valid(Box<Admitted>),
    Refused(Diagnostics),
}

/// Reads and admits a snapshot.
pub fn judge(snapshot: &Snapshot) -> Verdict {
    verdict(snapshot, &Reader::new().read(snapshot))
}

/// The same for a revision that is only compared with. It may be empty: before the first manifest there was nothing.
pub fn judge_base(snapshot: &Snapshot) -> Verdict {
    let mut desired = Reader::new().read(snapshot);
    desired.diagnostics.0.retain(|diagnostic| diagnostic.rule != "no-manifests");
    verdict(snapshot, &desired)
}

fn verdict(snapshot: &Snapshot, desired: &Desired) -> Verdict {
    match admit(desired) {
        Ok(mut admitted) => {
            show_lines(snapshot, &mut admitted.diagnostics);
            Verdict::Valid(Box::new(admitted))
        }
        Err(mut diagnostics) => {
            show_lines(snapshot, &mut diagnostics);
            Verdict::Refused(diagnostics)
        }
    }
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
