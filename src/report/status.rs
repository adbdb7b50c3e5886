//! The status document: what the agent says about the revision and its pods.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::shown::time;
use crate::model::{
    ActionEntry, Admitted, ConditionEntry, Diagnostics, Durable, NodeInfo, PodKey, ShownPod, StatusDocument, Terminal,
};

/// How many actions a document keeps.
pub const ACTIONS: usize = 50;
/// How many errors and how many uncommitted paths it lists.
pub const LINES: usize = 100;
/// How many conflicts of a preset with a pod it lists; the preset's reason says how many there are.
pub const CONFLICTS: usize = 10;

/// What a status document is made of.
#[derive(Clone, Debug)]
pub struct StatusInput<'a> {
    pub node: &'a NodeInfo,
    /// What was attempted and applied.
    pub durable: &'a Durable,
    /// The last valid revision, once there is one: its presets are reported.
    pub admitted: Option<&'a Admitted>,
    /// Every pod, from [`super::shown_pod`].
    pub pods: &'a [Arc<ShownPod>],
    /// Pods that are not yet what the revision says, however they look.
    pub unsettled: &'a [PodKey],
    /// Why the attempted revision was refused; without errors it was not.
    pub refused: &'a Diagnostics,
    /// Why the manifests could not be read at all, if so.
    pub failure: Option<&'a str>,
    pub uncommitted: &'a [String],
    /// What was done, the newest last.
    pub actions: &'a [ActionEntry],
}

/// The document. Its bytes do not depend on the time of day: transition times come from the pods.
pub fn status_document(input: &StatusInput<'_>) -> StatusDocument {
    let mut pods: Vec<&Arc<ShownPod>> = input.pods.iter().collect();
    pods.sort_by(|a, b| a.key.cmp(&b.key));
    let conditions = conditions(input, &pods);
    let skip = input.actions.len().saturating_sub(ACTIONS);
    StatusDocument {
        api_version: "podwright.dev/v1alpha1".into(),
        kind: "Status".into(),
        node: input.node.name.clone(),
        last_attempted_revision: input.durable.last_attempted.as_ref().map(|r| r.id.clone()),
        last_applied_revision: input.durable.last_applied.as_ref().map(|r| r.id.clone()),
        conditions,
        errors: bounded(errors(input)),
        uncommitted: bounded(input.uncommitted.to_vec()),
        pods: pods.into_iter().map(|pod| pod.entry.clone()).collect(),
        last_actions: input.actions[skip..].to_vec(),
    }
}

fn errors(input: &StatusInput<'_>) -> Vec<String> {
    let diagnostics = if input.refused.has_errors() { input.refused.0.as_slice() } else { &[] };
    input.failure.map(str::to_owned).into_iter().chain(diagnostics.iter().map(ToString::to_string)).collect()
}

fn bounded(mut lines: Vec<String>) -> Vec<String> {
    if lines.len() > LINES {
        let rest = lines.len() - (LINES - 1);
        lines.truncate(LINES - 1);
        lines.push(format!("... and {rest} more"));
    }
    lines
}

/// How one pod stands with respect to the revision.
enum Verdict {
    Ready,
    Progressing(String),
    Failed(String),
}

fn verdict(pod: &ShownPod) -> Verdict {
    let standing = &pod.standing;
    let what = || format!("{} {}", pod.key, standing.status);
    match standing.terminal {
        _ if standing.ending => Verdict::Progressing(what()),
        Some(Terminal::Succeeded) => Verdict::Ready,
        Some(Terminal::Failed) => Verdict::Failed(what()),
        None if standing.ready => Verdict::Ready,
        None => Verdict::Progressing(what()),
    }
}

/// Ready, Reconciling and Stalled, as Flux uses them: at most one of the last two is True, and neither when Ready is. Another
/// one while a ledger is kept that this program cannot read.
fn conditions(input: &StatusInput<'_>, by_key: &[&Arc<ShownPod>]) -> Vec<ConditionEntry> {
    let (mut progressing, mut failed) = (Vec::new(), Vec::new());
    let unsettled: BTreeSet<&PodKey> = input.unsettled.iter().collect();
    for pod in input.pods {
        match verdict(pod) {
            _ if pod.standing.elsewhere => {}
            Verdict::Ready if !unsettled.contains(&pod.key) => {}
            Verdict::Ready => progressing.push(format!("{} to change", pod.key)),
            Verdict::Progressing(what) => progressing.push(what),
            Verdict::Failed(what) => failed.push(what),
        }
    }
    let mut there = by_key.iter().map(|pod| &pod.key).peekable();
    let unborn = input.admitted.iter().flat_map(|a| a.pods.keys()).filter(|key| {
        while there.next_if(|there| there < key).is_some() {}
        there.peek() != Some(key)
    });
    progressing.extend(unborn.map(|k| format!("{k} not created yet")));
    let durable = input.durable;
    let current = durable.last_applied.is_some() && durable.last_applied == durable.last_attempted;
    let (errors, _) = input.refused.counts();
    let verdict = if let Some(failure) = input.failure {
        ("SourceNotReadable", failure.to_owned(), "Stalled")
    } else if errors > 0 {
        let plural = if errors == 1 { "error" } else { "errors" };
        ("InvalidManifests", format!("the revision was refused: {errors} {plural}"), "Stalled")
    } else if !current {
        ("Progressing", "the revision is being applied".to_owned(), "Reconciling")
    } else if !progressing.is_empty() {
        ("Progressing", pods_sentence("waiting for", &progressing), "Reconciling")
    } else if !failed.is_empty() {
        ("PodFailed", pods_sentence("failed:", &failed), "Stalled")
    } else {
        ("Succeeded", all_well(input.pods), "Ready")
    };
    let (reason, message, which) = verdict;
    let one = |kind: &str| {
        let set = kind == which;
        let told = set || kind == "Ready";
        ConditionEntry {
            kind: kind.into(),
            status: if set { "True" } else { "False" }.into(),
            reason: told.then(|| reason.to_owned()),
            message: told.then(|| message.clone()),
            last_transition_time: if kind == "Ready" && set { ready_since(input.pods) } else { None },
        }
    };
    ["Ready", "Reconciling", "Stalled"]
        .map(one)
        .into_iter()
        .chain(durable.set_aside.as_deref().map(set_aside))
        .collect()
}

fn set_aside(place: &str) -> ConditionEntry {
    ConditionEntry {
        kind: "LedgerSetAside".into(),
        status: "True".into(),
        reason: Some("LaterVersion".into()),
        message: Some(format!(
            "a later podwright wrote the ledger {place}, which this one cannot read: keep it for when that one runs again, \
             or remove it"
        )),
        last_transition_time: None,
    }
}

fn all_well(pods: &[Arc<ShownPod>]) -> String {
    let elsewhere = pods.iter().filter(|pod| pod.standing.elsewhere).count();
    let here = pods.len() - elsewhere;
    let others = if elsewhere == 0 { String::new() } else { format!(", {elsewhere} not for this machine") };
    format!("{here} {} ready or complete{others}", if here == 1 { "pod" } else { "pods" })
}

fn pods_sentence(verb: &str, pods: &[String]) -> String {
    const SHOWN: usize = 5;
    let more = if pods.len() > SHOWN { format!(" and {} more", pods.len() - SHOWN) } else { String::new() };
    format!("{verb} {}{more}", pods[..pods.len().min(SHOWN)].join(", "))
}

/// When the last of the pods became ready or complete.
fn ready_since(pods: &[Arc<ShownPod>]) -> Option<String> {
    pods.iter().filter_map(|pod| pod.standing.ready_since).max().map(time)
}
