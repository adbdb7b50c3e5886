//! `diff`: what a revision would change, against another revision or against what runs.

use std::path::Path;

use jiff::Timestamp;

use super::args::DiffArgs;
use super::error::{CliError, Ending};
use super::layout::Layout;
use super::manifests::{Verdict, judge};
use super::{printer, records};
use crate::model::{Admitted, FleetAction, FleetPlan, ObservedPod, Sandbox, Snapshot, Verb};
use crate::plan;
use crate::report;
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
    let head = admitted(&head, "the manifests")?;
    let observed = match &args.base {
        Some(revision) => {
            let base = at(&directory, &args.directory, revision)?;
            plan::converged(&*admitted(&base, &format!("revision {revision}"))?, Timestamp::now())
        }
        None => running(layout)?,
    };
    let plan = plan::fleet(&head, &observed);
    printer::out(&printer::painted_diff(&report::fleet_diff_text(&plan, &head, &observed)))?;
    Ok(ending(&plan, args.detailed_exitcode))
}

fn at(directory: &Directory, path: &Path, revision: &str) -> Result<Snapshot, CliError> {
    let found = directory.read_now_at(revision)?;
    found.ok_or_else(|| {
        CliError::new(format!("there is no revision {revision} of {}", path.display()))
            .hint("name a commit, a branch or a tag; without git there is only one revision")
    })
}

fn admitted(snapshot: &Snapshot, what: &str) -> Result<Box<Admitted>, CliError> {
    match judge(snapshot) {
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

fn ending(plan: &FleetPlan, detailed: bool) -> Ending {
    let disruptive = |action: &FleetAction| matches!(action.verb(), Verb::Recreate | Verb::Delete);
    match (plan.actions.is_empty(), detailed) {
        (true, _) => Ending::Success,
        (false, false) => Ending::Differences,
        (false, true) if plan.actions.iter().any(disruptive) => Ending::Disruptive,
        (false, true) => Ending::Gentle,
    }
}
