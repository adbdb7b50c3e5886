//! The status document: what the agent says about the revision and its pods.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};

use super::row::pod_row;
use crate::model::{
    ActionEntry, Admitted, ConditionEntry, ContainerEntry, ContainerStateEntry, Diagnostics, Durable, NodeInfo,
    PodEntry, PodKey, PresetEntry, SkippedPresetEntry, StatusDocument,
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
    /// Every pod, from [`super::pod_object`].
    pub pods: &'a [Pod],
    /// Pods that are not yet what the revision says, however they look.
    pub unsettled: &'a [PodKey],
    /// Why the attempted revision was refused; without errors it was not.
    pub refused: &'a Diagnostics,
    /// Why the manifests could not be read at all, if so.
    pub failure: Option<&'a str>,
    pub uncommitted: &'a [String],
    /// What was done, the newest last.
    pub actions: &'a [ActionEntry],
    pub now: Timestamp,
}

/// The document. Its bytes depend on `now` in nothing: transition times come from the pods.
pub fn status_document(input: &StatusInput<'_>) -> StatusDocument {
    let mut pods: Vec<&Pod> = input.pods.iter().collect();
    pods.sort_by_key(|p| (p.metadata.namespace.clone(), p.metadata.name.clone()));
    let skip = input.actions.len().saturating_sub(ACTIONS);
    StatusDocument {
        api_version: "podwright.dev/v1alpha1".into(),
        kind: "Status".into(),
        node: input.node.name.clone(),
        last_attempted_revision: input.durable.last_attempted.as_ref().map(|r| r.id.clone()),
        last_applied_revision: input.durable.last_applied.as_ref().map(|r| r.id.clone()),
        conditions: conditions(input),
        errors: bounded(errors(input)),
        uncommitted: bounded(input.uncommitted.to_vec()),
        pods: pods.into_iter().map(|pod| pod_entry(pod, input)).collect(),
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
enum Standing {
    Ready,
    Progressing(String),
    Failed(String),
}

fn standing(pod: &Pod, now: Timestamp) -> Standing {
    let row = pod_row(pod, now);
    let what = format!("{}/{} {}", row.namespace, row.name, row.status);
    let status = pod.status.as_ref();
    let ready = status
        .and_then(|s| s.conditions.as_ref())
        .is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    match status.and_then(|s| s.phase.as_deref()) {
        _ if pod.metadata.deletion_timestamp.is_some() => Standing::Progressing(what),
        Some("Succeeded") => Standing::Ready,
        Some("Failed") => Standing::Failed(what),
        _ if ready => Standing::Ready,
        _ => Standing::Progressing(what),
    }
}

/// Ready, Reconciling and Stalled, as Flux uses them: at most one of the last two is True, and neither when Ready is.
fn conditions(input: &StatusInput<'_>) -> Vec<ConditionEntry> {
    let (mut progressing, mut failed) = (Vec::new(), Vec::new());
    for pod in input.pods {
        match standing(pod, input.now) {
            Standing::Ready if !is_one_of(pod, input.unsettled) => {}
            Standing::Ready => progressing.push(format!("{} to change", name_of(pod))),
            Standing::Progressing(what) => progressing.push(what),
            Standing::Failed(what) => failed.push(what),
        }
    }
    let unborn = input.admitted.iter().flat_map(|a| a.pods.keys()).filter(|k| !has(input.pods, k));
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
        ("Succeeded", all_well(input.pods.len()), "Ready")
    };
    let (reason, message, which) = verdict;
    ["Ready", "Reconciling", "Stalled"]
        .into_iter()
        .map(|kind| {
            let set = kind == which;
            let told = set || kind == "Ready";
            ConditionEntry {
                kind: kind.into(),
                status: if set { "True" } else { "False" }.into(),
                reason: told.then(|| reason.to_owned()),
                message: told.then(|| message.clone()),
                last_transition_time: if kind == "Ready" && set { ready_since(input.pods) } else { None },
            }
        })
        .collect()
}

fn has(pods: &[Pod], key: &PodKey) -> bool {
    pods.iter().any(|p| {
        p.metadata.namespace.as_deref() == Some(&key.namespace) && p.metadata.name.as_deref() == Some(&key.name)
    })
}

fn name_of(pod: &Pod) -> PodKey {
    let metadata = &pod.metadata;
    PodKey::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

fn is_one_of(pod: &Pod, keys: &[PodKey]) -> bool {
    !keys.is_empty() && keys.contains(&name_of(pod))
}

fn all_well(pods: usize) -> String {
    format!("{pods} {} ready or complete", if pods == 1 { "pod" } else { "pods" })
}

fn pods_sentence(verb: &str, pods: &[String]) -> String {
    const SHOWN: usize = 5;
    let more = if pods.len() > SHOWN { format!(" and {} more", pods.len() - SHOWN) } else { String::new() };
    format!("{verb} {}{more}", pods[..pods.len().min(SHOWN)].join(", "))
}

/// When the last of the pods became ready or complete.
fn ready_since(pods: &[Pod]) -> Option<String> {
    pods.iter()
        .filter_map(|p| p.status.as_ref()?.conditions.as_ref())
        .flatten()
        .filter(|c| c.type_ == "Ready")
        .filter_map(|c| c.last_transition_time.as_ref())
        .map(|t| t.0)
        .max()
        .map(time)
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn pod_entry(pod: &Pod, input: &StatusInput<'_>) -> PodEntry {
    let row = pod_row(pod, input.now);
    let key = PodKey::new(row.namespace.clone(), row.name.clone());
    let admitted = input.admitted.and_then(|a| a.pods.get(&key));
    let status = pod.status.clone().unwrap_or_default();
    let container = |init| move |status: &ContainerStatus| container_entry(status, init);
    PodEntry {
        namespace: row.namespace,
        name: row.name,
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        phase: status.phase.unwrap_or_default(),
        status: row.status,
        ready: row.ready,
        restarts: row.restart_count,
        ip: status.pod_ip,
        conditions: status
            .conditions
            .into_iter()
            .flatten()
            .map(|c| ConditionEntry {
                kind: c.type_,
                status: c.status,
                reason: c.reason,
                message: c.message,
                last_transition_time: c.last_transition_time.map(|t| time(t.0)),
            })
            .collect(),
        containers: (status.init_container_statuses.iter().flatten().map(container(true)))
            .chain(status.container_statuses.iter().flatten().map(container(false)))
            .collect(),
        applied_presets: admitted
            .iter()
            .flat_map(|a| &a.applied)
            .map(|p| PresetEntry { name: p.name.clone(), version: p.version.clone() })
            .collect(),
        skipped_presets: admitted
            .iter()
            .flat_map(|a| &a.skipped)
            .map(|p| SkippedPresetEntry {
                name: p.name.clone(),
                reason: p.reason.clone(),
                conflicts: p.conflicts.iter().take(CONFLICTS).cloned().collect(),
            })
            .collect(),
    }
}

fn container_entry(status: &ContainerStatus, init: bool) -> ContainerEntry {
    ContainerEntry {
        name: status.name.clone(),
        init,
        image: status.image.clone(),
        ready: status.ready,
        restart_count: u32::try_from(status.restart_count).unwrap_or(0),
        state: status.state.as_ref().map(state_entry).into_iter().collect(),
    }
}

fn state_entry(state: &ContainerState) -> (String, ContainerStateEntry) {
    if let Some(running) = &state.running {
        let started_at = running.started_at.as_ref().map(|t| time(t.0));
        return ("running".into(), ContainerStateEntry { started_at, ..ContainerStateEntry::default() });
    }
    if let Some(ended) = &state.terminated {
        let entry = ContainerStateEntry {
            reason: ended.reason.clone(),
            message: ended.message.clone(),
            exit_code: Some(ended.exit_code),
            started_at: ended.started_at.as_ref().map(|t| time(t.0)),
            finished_at: ended.finished_at.as_ref().map(|t| time(t.0)),
        };
        return ("terminated".into(), entry);
    }
    let waiting = state.waiting.clone().unwrap_or_default();
    let entry =
        ContainerStateEntry { reason: waiting.reason, message: waiting.message, ..ContainerStateEntry::default() };
    ("waiting".into(), entry)
}
