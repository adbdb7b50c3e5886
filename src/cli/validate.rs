//! `validate`: manifests as they are on disk, without agent, root or runtime.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::args::{ReportFormat, ValidateArgs};
use super::error::{CliError, Ending};
use super::get::pretty;
use super::manifests::{Verdict, hurry, judge_only, leave};
use super::{node, printer};
use crate::model::{Admitted, Diagnostics, Kind};
use crate::port::ReadError;
use crate::report::{self, Validation};
use crate::source;

/// Runs `validate`. The report is the output: it goes to standard output whatever it says.
pub fn validate(args: &ValidateArgs, config: Option<&Path>) -> Result<Ending, CliError> {
    hurry();
    let node = node::named(config, None)?;
    let (verdict, files, beyond) = match source::read_paths(&args.paths) {
        Ok(snapshot) => {
            let told = (judge_only(&snapshot, node.as_ref()), snapshot.files.len(), source::beyond_an_agent(&snapshot));
            leave(snapshot);
            told
        }
        Err(ReadError::Rejected(diagnostics)) => (Verdict::Refused(diagnostics), 0, None),
        Err(ReadError::Failed(error)) => return Err(error.into()),
    };
    let (objects, mut diagnostics) = match verdict {
        Verdict::Valid(admitted) => (kinds(&admitted), admitted.diagnostics),
        Verdict::Refused(diagnostics) => (vec![], diagnostics),
    };
    diagnostics.0.extend(beyond);
    diagnostics.sort();
    if args.warnings_as_errors {
        diagnostics.raise_warnings();
    }
    let valid = !diagnostics.has_errors();
    let objects = if valid { objects } else { vec![] };
    let validation = Validation { valid, files, objects: &objects, diagnostics: &diagnostics };
    match args.output {
        ReportFormat::Text => printer::out(&report::validation_text(&validation)),
        ReportFormat::Json => printer::json(&pretty(&report::validation_json(&validation))?),
        ReportFormat::Github => printer::out(&report::github_annotations(&below_repository(diagnostics))),
        ReportFormat::Sarif => {
            let report = report::sarif(&below_repository(diagnostics), env!("CARGO_PKG_VERSION"));
            printer::json(&pretty(&report)?)
        }
    }?;
    Ok(if valid { Ending::Success } else { Ending::Failed })
}

/// How many objects of each kind, in the order of [`Kind::ALL`].
fn kinds(admitted: &Admitted) -> Vec<(Kind, usize)> {
    let kept = |kind| match kind {
        Kind::Pod => admitted.pods.len(),
        kind => admitted.objects.keys().filter(|key| key.kind == kind).count(),
    };
    let dropped = |kind| admitted.unread.get(&kind).copied().unwrap_or_default();
    Kind::ALL.into_iter().map(|kind| (kind, kept(kind) + dropped(kind))).filter(|(_, n)| *n > 0).collect()
}

/// Paths as a forge knows them: relative to the root of the repository they are in, or, outside of one, to the working
/// directory.
fn below_repository(mut diagnostics: Diagnostics) -> Diagnostics {
    let mut known: HashMap<Arc<str>, Arc<str>> = HashMap::new();
    for place in diagnostics.0.iter_mut().filter_map(|diagnostic| diagnostic.place.as_mut()) {
        let path = &place.at.path;
        let relative = known.entry(Arc::clone(path)).or_insert_with(|| relative(path).unwrap_or_else(|| path.clone()));
        place.at.path = Arc::clone(relative);
    }
    diagnostics
}

fn relative(path: &str) -> Option<Arc<str>> {
    let path = Path::new(path);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let real = directory.canonicalize().ok()?;
    let root = repository(&real).or_else(|| std::env::current_dir().ok()?.canonicalize().ok())?;
    let below = real.strip_prefix(root).ok()?.join(path.file_name()?);
    let parts: Option<Vec<&str>> = below.components().map(name).collect();
    Some(parts?.join("/").into())
}

fn name(part: Component<'_>) -> Option<&str> {
    match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    }
}

/// The nearest directory above that git takes for a checkout.
fn repository(directory: &Path) -> Option<PathBuf> {
    directory.ancestors().find(|above| above.join(".git").exists()).map(Path::to_owned)
}
