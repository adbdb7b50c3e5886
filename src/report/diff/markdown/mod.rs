//! The report as one comment on a pull request, within a byte budget.
//!
//! Everything foreign stands in a code span or in a fence. What must be read is never cut: marker, heading, warnings,
//! counts and footer always stand; the Attention part is written as fully as the budget allows, in one of the
//! [`Details`], the last of which counts, and what is wrong stays whole the longest; folds that do not fit are left out, the largest first, and the comment says how
//! many.

mod attention;
mod fold;

use std::fmt::Write as _;

use super::escape::code;
use super::{Concern, DiffReport, DiffSide, KindCounts};
use crate::model::{Kind, Verb};

use attention::Details;

/// How the comment is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkdownOptions {
    /// What the comment is about, such as a machine: one comment per target. Letters, digits, `.`, `_` and `-`.
    pub target: String,
    /// How many bytes the comment may have; at least [`MarkdownOptions::LEAST_BYTES`].
    pub max_bytes: usize,
}

impl MarkdownOptions {
    /// What always stands has room in this.
    pub const LEAST_BYTES: usize = 4096;
    /// Below GitHub's 65,536 characters for a comment, with room for what a job adds around it.
    pub const DEFAULT_BYTES: usize = 60_000;
    /// The longest name of a target, in characters.
    pub const LONGEST_TARGET: usize = 63;

    /// Whether a name can stand in the marker, which is an HTML comment.
    pub fn is_target(name: &str) -> bool {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        !name.is_empty() && name.len() <= Self::LONGEST_TARGET && name.chars().all(good) && !name.contains("--")
    }
}

/// The comment. It begins with `<!-- podwright:plan target=NAME -->`, by which its predecessor is found.
pub fn diff_markdown(report: &DiffReport, options: &MarkdownOptions) -> String {
    let budget = options.max_bytes.max(MarkdownOptions::LEAST_BYTES);
    let head = head(report, &options.target);
    let footer = footer(report);
    let folds: Vec<String> = report.objects.iter().map(fold::fold).collect();
    // Room for the notice is kept free as long as one may be needed.
    let notice = left_out(folds.len(), folds.len(), budget);
    let fixed = head.len() + footer.len() + notice.len();
    let fits = |text: &String| fixed + text.len() <= budget;
    let attention = Details::ALL.into_iter().map(|details| attention::section(report, details)).find(fits);
    let attention = attention.unwrap_or_else(|| attention::section(report, Details::LEAST));
    let kept = keep(&folds, budget, head.len() + attention.len() + footer.len(), notice.len());
    let mut out = head;
    out.push_str(&attention);
    let dropped = kept.iter().filter(|kept| !**kept).count();
    for (fold, _) in folds.iter().zip(&kept).filter(|(_, kept)| **kept) {
        out.push_str(fold);
    }
    if dropped > 0 {
        out.push_str(&left_out(dropped, folds.len(), budget));
    }
    out.push_str(&footer);
    out
}

/// Which folds stand: all of them, or without the largest ones; of equal ones the last goes first.
fn keep(folds: &[String], budget: usize, fixed: usize, notice: usize) -> Vec<bool> {
    let mut kept = vec![true; folds.len()];
    let mut total = fixed + folds.iter().map(String::len).sum::<usize>();
    if total <= budget {
        return kept;
    }
    total += notice;
    let mut by_size: Vec<usize> = (0..folds.len()).collect();
    by_size.sort_by_key(|index| std::cmp::Reverse((folds[*index].len(), *index)));
    for index in by_size {
        if total <= budget {
            break;
        }
        kept[index] = false;
        total -= folds[index].len();
    }
    kept
}

fn left_out(count: usize, of: usize, budget: usize) -> String {
    format!(
        "\n**{count} of {of} objects are not shown here**, the largest ones: the comment has {budget} bytes at most. \
         `podwright diff` without `-o markdown` shows all.\n"
    )
}

fn head(report: &DiffReport, target: &str) -> String {
    let mut out = format!("<!-- podwright:plan target={target} -->\n");
    let (base, head) = (side(&report.base), side(&report.head));
    let _ = writeln!(out, "## podwright plan — {} · {base} → {head}", code(target));
    let _ = writeln!(out, "> {}", headline(report));
    for note in &report.notes {
        let _ = writeln!(out, ">\n> {note}");
    }
    out.push_str("\n| | create | in place | restart | recreate | delete | same |\n");
    out.push_str("|---|--:|--:|--:|--:|--:|--:|\n");
    for row in &report.counts {
        let KindCounts { kind, create, update_in_place, restart_container, recreate, delete, unchanged, .. } = row;
        let cells = [create, update_in_place, restart_container, recreate, delete, unchanged];
        let cells: Vec<String> = cells.iter().map(ToString::to_string).collect();
        let _ = writeln!(out, "| {kind} | {} |", cells.join(" | "));
    }
    let elsewhere: usize = report.counts.iter().map(|row| row.not_for_this_machine).sum();
    if elsewhere > 0 {
        let _ = writeln!(out, "\nPods that are not for this machine: {elsewhere}.");
    }
    out
}

fn side(side: &DiffSide) -> String {
    match &side.revision {
        _ if side.running => "what runs".to_owned(),
        Some(revision) => code(&revision.short),
        None => "nothing".to_owned(),
    }
}

/// One line: what disturbs, or that nothing does.
fn headline(report: &DiffReport) -> String {
    if report.is_empty() && report.attention.is_empty() {
        return "Nothing changes.".to_owned();
    }
    let pods = |verb| report.objects.iter().filter(|o| o.key.kind == Kind::Pod && o.verb == verb).count();
    let gone = |verb| report.objects.iter().filter(|o| o.key.kind != Kind::Pod && o.verb == verb).count();
    let of = |concern| report.attention.iter().filter(|item| item.concern == concern).count();
    let parts = [
        (of(Concern::InvalidBase), "error", "in the base"),
        (pods(Verb::Recreate), "pod", "recreated (downtime)"),
        (pods(Verb::Delete), "pod", "deleted"),
        (pods(Verb::RestartContainer), "pod", "with a container restarted"),
        (gone(Verb::Delete), "other object", "deleted"),
        (of(Concern::Secret), "Secret", "changed"),
        (of(Concern::Immutable), "update", "that Kubernetes refuses"),
        (of(Concern::PresetConflict), "preset conflict", ""),
        (of(Concern::Warning), "new warning", ""),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(count, ..)| *count > 0).map(|(count, what, how)| counted(*count, what, how)).collect();
    if parts.is_empty() {
        return "Nothing is restarted, recreated or deleted.".to_owned();
    }
    format!("⚠️ {}", parts.join(" · "))
}

fn counted(count: usize, what: &str, how: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural} {how}").trim_end().to_owned()
}

fn footer(report: &DiffReport) -> String {
    let objects: usize = report.counts.iter().map(total).sum();
    let how = if report.base.running { "compared with what runs" } else { "compared offline" };
    format!("\n<sub>{how} · {} · values of Secrets are masked</sub>\n", counted(objects, "object", ""))
}

fn total(row: &KindCounts) -> usize {
    row.create + row.update_in_place + row.restart_container + row.recreate + row.delete + row.unchanged
}
