//! `diff`: what a revision would change, against another revision or against what runs.

use jiff::Timestamp;

use super::args::{DiffArgs, DiffFormat, Global};
use super::error::{CliError, Ending};
use super::layout::Layout;
use super::manifests::{self, Verdict, judge, judge_base, judge_read, leave, make_room, threads};
use super::{node, printer, records};
use crate::config;
use crate::manifest::{self, Reader};
use crate::model::{Admitted, Diagnostics, Kind, ObservedPod, RevisionKind, Sandbox, Severity, spread};
use crate::plan;
use crate::port::ReadError;
use crate::report::{self, DiffBase, DiffReport, MarkdownOptions};
use crate::source::{self, Directory, Options, PairError, Side};

/// Runs `diff`. An error has an exit code of its own, for 1 means a difference.
pub fn run(args: &DiffArgs, global: &Global) -> Result<Ending, CliError> {
    let failed = if args.detailed_exitcode { Ending::Failed } else { Ending::DiffFailed };
    compare(args, global).map_err(|error| error.ending(failed))
}

fn compare(args: &DiffArgs, global: &Global) -> Result<Ending, CliError> {
    let report = match &args.base {
        Some(base) => with_revision(args, global, base)?,
        None => with_what_runs(args, global)?,
    };
    print(&report, args)?;
    let ending = ending(&report, args.detailed_exitcode);
    leave(report);
    Ok(ending)
}

/// Two revisions, read as far as their difference depends on them: no root, no runtime, no network.
fn with_revision(args: &DiffArgs, global: &Global, base: &str) -> Result<DiffReport, CliError> {
    manifests::hurry();
    let node = node::named(global.config.as_deref(), args.node_name.as_deref())?;
    let before = match &args.base_config {
        Some(path) => node::named(Some(path), args.node_name.as_deref())?,
        None => node.clone(),
    };
    let options = Options { worktree: args.worktree, ..Options::default() };
    let names = (
        format!("revision {base}"),
        args.head.as_ref().map_or("the manifests".to_owned(), |h| format!("revision {h}")),
    );
    let prepare = || Kind::ALL.into_iter().for_each(manifest::prepare);
    let ((), pair) = spread::both(prepare, || source::read_pair(&args.directory, base, args.head.as_deref(), &options));
    let source::Pair { base: old, base_faults, head: new, rest } = pair.map_err(|e| unreadable(e, &names))?;
    let mut reader = Reader::with_threads(threads());
    // On another machine what did not change may be placed in another way, and it takes room.
    let is_apart = before == node && node.as_ref().is_none_or(|node| node.allocatable.is_empty());
    let mut read = match is_apart {
        true => reader.read_pair(&old, &new),
        false => (reader.read(&old), reader.read(&new)),
    };
    read.0.diagnostics.0.extend(base_faults.0);
    let (mut base, verdict) =
        spread::both(|| judge_base(&old, &read.0, before.as_ref()), || judge_read(&new, &read.1, node.as_ref()));
    if let Some(before) = &before {
        plan::room::<ObservedPod>(&base, &[], before, None).put_into(&mut base);
    }
    let running = plan::converged_on(threads(), &base, Timestamp::now());
    if base.diagnostics.has_errors() {
        printer::note(&format!("{} would be refused, it is compared with what could be read of it:", names.0));
        printer::note_text(&report::diagnostics_text(&errors(&base)));
    }
    let mut head = admitted(verdict, &names.1)?;
    make_room(&mut head, &running, node.as_ref());
    printer::note_text(&report::diagnostics_text(&head.diagnostics));
    let plan = plan::fleet_on(threads(), &head, &running);
    let report = report::compare_on(threads(), &plan, &DiffBase::Revision(&base), &head);
    leave((old, new, rest, reader, read, base, running, head, plan));
    Ok(report)
}

fn errors(admitted: &Admitted) -> Diagnostics {
    let errors = admitted.diagnostics.0.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    Diagnostics(errors.cloned().collect())
}

fn with_what_runs(args: &DiffArgs, global: &Global) -> Result<DiffReport, CliError> {
    let config = config::load(global.config.as_deref())?;
    let (node, layout) = (node::here(&config, args.node_name.as_deref()), super::layout(global)?);
    let options = Options { worktree: args.worktree, local: Some(layout.local()), ..Options::default() };
    let directory = Directory::open(&args.directory, options)?;
    // First of all: who may not look at what runs is told what needs no rights.
    let pods = running(&layout)?;
    let snapshot = directory.read_now()?;
    manifests::tell_uncommitted(&snapshot);
    let mut head = admitted(judge(&snapshot, node.as_ref()), "the manifests")?;
    make_room(&mut head, &pods, node.as_ref());
    printer::note_text(&report::diagnostics_text(&head.diagnostics));
    let applied = applied(&layout, &directory);
    let plan = plan::fleet_on(threads(), &head, &pods);
    Ok(report::compare_on(threads(), &plan, &DiffBase::Running { pods: &pods, applied: applied.as_deref() }, &head))
}

fn print(report: &DiffReport, args: &DiffArgs) -> Result<(), CliError> {
    match args.output {
        DiffFormat::Text => printer::out(&printer::painted_diff(&report::diff_text(report))),
        DiffFormat::Json => printer::json(&report::diff_json(report)),
        DiffFormat::Markdown => {
            let options = MarkdownOptions { target: args.target.clone(), max_bytes: args.max_bytes };
            printer::out(&report::diff_markdown(report, &options))
        }
    }
}

fn unreadable(error: PairError, (base, head): &(String, String)) -> CliError {
    let name = match error.side {
        Some(Side::Base) => Some(base),
        Some(Side::Head) => Some(head),
        None => None,
    };
    if let (Some(name), ReadError::Rejected(_)) = (name, &error.error) {
        printer::note(&format!("{name} would be refused:"));
    }
    error.error.into()
}

fn admitted(verdict: Verdict, what: &str) -> Result<Box<Admitted>, CliError> {
    match verdict {
        Verdict::Valid(admitted) => Ok(admitted),
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
    match judge(&snapshot, None) {
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
