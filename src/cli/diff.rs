//! `diff`: what a revision would change, against another revision or against what runs.

use std::path::Path;

use jiff::Timestamp;

use super::args::{DiffArgs, DiffFormat};
use super::error::{CliError, Ending};
use super::layout::Layout;
use super::manifests::{Verdict, judge, judge_base};
use super::{printer, records};
use crate::model::{Admitted, ObservedPod, RevisionKind, Sandbox, Snapshot};
use crate::plan;
use crate::report::{self, DiffBase, DiffReport, MarkdownOptions};
use crate::source::{Directory, Options};

/// Runs `diff`. An error has an exit code of its own, for 1 means a difference.
pub fn run(args: &DiffArgs, layout: &Layout) -> Result<Ending, CliError> {
    let failed = if args.detailed_exitcode { Ending::Failed } else { Ending::DiffFailed };
    compare(args, layout).map_err(|error| error.ending(failed))
}

fn compare(args: &DiffArgs, layout: &Layout) -> Result<Ending, CliError> {
    let options = Options { worktree: args.worktree, ..Options::default() };
    let directory = Directory::open(&args.directory, options)?;
    let head = match &args.head {
        Some(revision) => at(&directory, &args.directory, revision)?,
        None => directory.read_now()?,
    };
    let head = admitted(judge(&head), "the manifests")?;
    let report = match &args.base {
        Some(revision) => {
            let base = at(&directory, &args.directory, revision)?;
            let base = admitted(judge_base(&base), &format!("revision {revision}"))?;
            let plan = plan::fleet(&head, &plan::converged(&base, Timestamp::now()));
            report::compare(&plan, &DiffBase::Revision(&base), &head)
        }
        None => {
            let pods = running(layout)?;
            let applied = applied(layout, &directory);
            let plan = plan::fleet(&head, &pods);
            report::compare(&plan, &DiffBase::Running { pods: &pods, applied: applied.as_deref() }, &head)
        }
    };
    print(&report, args)?;
    Ok(ending(&report, args.detailed_exitcode))
}

fn print(report: &DiffReport, args: &DiffArgs) -> Result<(), CliError> {
    match args.output {
        DiffFormat::Text => printer::out(&printer::painted_diff(&report::diff_text(report))),
        DiffFormat::Json => printer::out(&report::diff_json(report)),
        DiffFormat::Markdown => {
            let options = MarkdownOptions { target: args.target.clone(), max_bytes: args.max_bytes };
            printer::out(&report::diff_markdown(report, &options))
        }
    }
}

fn at(directory: &Directory, path: &Path, revision: &str) -> Result<Snapshot, CliError> {
    let found = directory.read_now_at(revision)?;
    found.ok_or_else(|| {
        CliError::new(format!("there is no revision {revision} of {}", path.display()))
            .hint("name a commit, a branch or a tag; without git there is only one revision")
    })
}

fn admitted(verdict: Verdict, what: &str) -> Result<Box<Admitted>, CliError> {
    match verdict {
        Verdict::Valid(admitted) => {
            printer::note_text(&report::diagnostics_text(&admitted.diagnostics));
            Ok(admitted)
        }
        Verdict::Refused(diagnostics) => {
            printer::note(&format!("{what} would be refused:"));
            Err(CliError::refused(&diagnostics))
        }
    }
}

/// What runs, from the records: a plan for the fleet depends on nothing else.
fn running(layout: &Layout) -> Result<Vec<ObservedPod>, CliError> {
    let records = records::pods(layout)
        .map_err(|error| error.hint("`diff DIR --base REV` compares two revisions and needs no rights"))?;
    let observed = |record| ObservedPod { record, sandbox: Sandbox::Absent, containers: Vec::new() };
    Ok(records.into_iter().map(observed).collect())
}

/// The objects of the revision that was applied last; `None` when nobody knows it or it is no longer there.
fn applied(layout: &Layout, directory: &Directory) -> Option<Box<Admitted>> {
    let revision = records::last_applied(layout)?;
    if revision.kind != RevisionKind::Commit {
        return None;
    }
    let snapshot = directory.read_now_at(&revision.id).ok()??;
    match judge(&snapshot) {
        Verdict::Valid(admitted) => Some(admitted),
        Verdict::Refused(_) => None,
    }
}

fn ending(report: &DiffReport, detailed: bool) -> Ending {
    match (report.is_empty(), detailed) {
        (true, _) => Ending::Success,
        (false, false) => Ending::Differences,
        (false, true) if report.is_disruptive() => Ending::Disruptive,
        (false, true) => Ending::Gentle,
    }
}
