//! `status`: the agent, its revision and its pods, for people.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::args::StatusArgs;
use super::error::{CliError, Ending};
use super::layout::Layout;
use super::look::{self, LastReport, Source};
use super::printer;
use crate::model::{ActionEntry, Kind, Packed, PodEntry, StatusDocument};
use crate::report::duration::age;
use crate::report::{Listed, TableOptions, objects_table, tabs};
use crate::serve::{Client, ListOptions};

/// How often the status is looked at with `--watch`.
const POLL: Duration = Duration::from_millis(500);
/// How many actions are shown, the newest.
const ACTIONS: usize = 10;

/// Runs `status`.
pub fn run(args: &StatusArgs, layout: &Layout) -> Result<Ending, CliError> {
    look::block_on(async {
        let mut shown = Shown::default();
        loop {
            match look::source(layout).await? {
                Source::Agent(client) => {
                    let pods = pods(&client).await?;
                    shown.show(document(layout), &pods, None)?;
                }
                Source::LastReport(report) => shown.show(document(layout), &report.objects(), Some(&report))?,
            }
            if !args.watch {
                return Ok(Ending::Success);
            }
            tokio::time::sleep(POLL).await;
        }
    })
}

async fn pods(client: &Client) -> Result<Vec<Value>, CliError> {
    Ok(client.list(Listed::Kind(Kind::Pod), None, &ListOptions::default()).await?.items)
}

/// The newest status document, if the agent has written one.
fn document(layout: &Layout) -> Option<StatusDocument> {
    let text = std::fs::read_to_string(layout.status()).ok()?;
    serde_yaml::from_str(&text).ok()
}

/// What was shown last: with `--watch` only a change is shown again.
#[derive(Default)]
struct Shown(Option<(Option<StatusDocument>, Vec<Value>, bool)>);

impl Shown {
    fn show(
        &mut self,
        document: Option<StatusDocument>,
        pods: &[Value],
        report: Option<&LastReport>,
    ) -> Result<(), CliError> {
        let now = (document, pods.to_vec(), report.is_some());
        if self.0.as_ref() == Some(&now) {
            return Ok(());
        }
        let separator = if self.0.is_some() { "\n" } else { "" };
        printer::out(&format!("{separator}{}", text(now.0.as_ref(), pods, report, Timestamp::now())))?;
        self.0 = Some(now);
        Ok(())
    }
}

fn text(document: Option<&StatusDocument>, pods: &[Value], report: Option<&LastReport>, now: Timestamp) -> String {
    let mut out = String::new();
    let agent = report.map_or_else(|| "running".to_owned(), |r| format!("Unknown: {}", r.words));
    let _ = writeln!(out, "Agent:\t{agent}");
    if let Some(document) = document {
        let revision = |id: Option<&String>| id.map_or("<none>", String::as_str).to_owned();
        let _ = writeln!(out, "Node:\t{}", document.node);
        let _ = writeln!(out, "Last attempted revision:\t{}", revision(document.last_attempted_revision.as_ref()));
        let _ = writeln!(out, "Last applied revision:\t{}", revision(document.last_applied_revision.as_ref()));
    }
    let mut out = tabs::align(&out, 0, 2);
    if let Some(document) = document {
        conditions(&mut out, document, report.is_some());
        lines(&mut out, "Errors", &document.errors);
        lines(&mut out, "Uncommitted, not read", &document.uncommitted);
    }
    out.push_str("\nPods:\n");
    if pods.is_empty() {
        out.push_str("  <none>\n");
    } else {
        let options = TableOptions { namespaces: true, ..TableOptions::default() };
        indent(&mut out, &objects_table(Listed::Kind(Kind::Pod), pods, options, now));
    }
    if let Some(document) = document {
        presets(&mut out, &document.pods);
        actions(&mut out, &document.last_actions, now);
    }
    out
}

fn indent(out: &mut String, text: &str) {
    for line in text.lines() {
        let _ = writeln!(out, "  {line}");
    }
}

fn lines(out: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        let _ = writeln!(out, "\n{title}:");
        indent(out, &lines.join("\n"));
    }
}

/// While nobody reports no condition is known.
fn conditions(out: &mut String, document: &StatusDocument, unknown: bool) {
    let mut rows = vec![["TYPE", "STATUS", "REASON", "MESSAGE"].map(str::to_owned).to_vec()];
    for condition in &document.conditions {
        let status = if unknown { "Unknown" } else { &condition.status };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (reason, message) = (text(&condition.reason), text(&condition.message));
        rows.push(vec![condition.kind.clone(), status.to_owned(), reason, message]);
    }
    out.push_str("\nConditions:\n");
    for line in tabs::table(&rows).lines() {
        let _ = writeln!(out, "  {}", line.trim_end());
    }
}

fn presets(out: &mut String, pods: &[Packed<PodEntry>]) {
    let mut text = String::new();
    for pod in pods.iter().map(Packed::open) {
        let key = format!("{}/{}", pod.namespace, pod.name);
        for preset in &pod.applied_presets {
            let _ = writeln!(text, "{key}\t{}\tapplied", preset.name);
        }
        for preset in &pod.skipped_presets {
            let _ = writeln!(text, "{key}\t{}\tskipped: {}", preset.name, preset.reason);
        }
    }
    if !text.is_empty() {
        out.push_str("\nPresets:\n");
        indent(out, &tabs::align(&text, 0, 2));
    }
}

fn actions(out: &mut String, actions: &[ActionEntry], now: Timestamp) {
    if actions.is_empty() {
        return;
    }
    let mut text = String::new();
    for action in actions.iter().skip(actions.len().saturating_sub(ACTIONS)) {
        let ago = age(action.time.parse().ok(), now);
        let _ = writeln!(text, "{ago} ago\t{}\t{}\t{}", action.pod, action.action, action.reason);
    }
    out.push_str("\nLast actions:\n");
    indent(out, &tabs::align(&text, 0, 2));
}
