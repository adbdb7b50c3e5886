//! One pod as everything shows it: the object, and its entry in the status document.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus};

use super::pod::{PodView, pod_without_spec};
use super::row::{PodRow, pod_row};
use super::status::CONFLICTS;
use crate::model::{
    AdmittedPod, ConditionEntry, ContainerEntry, ContainerStateEntry, Packed, PodEntry, PodKey, PresetEntry,
    ShownObject, ShownPod, SkippedPresetEntry, Standing, Terminal, Unplaced,
};

/// A pod, with the presets that the manifests give it.
pub fn shown(view: &PodView<'_>) -> ShownPod {
    made(pod_without_spec(view), view.admitted, view.effective().as_ref())
}

/// The same from its object alone.
pub fn shown_pod(object: Pod, admitted: Option<&AdmittedPod>) -> ShownPod {
    made(object, admitted, None)
}

fn made(object: Pod, admitted: Option<&AdmittedPod>, spec_of: Option<&Packed<Pod>>) -> ShownPod {
    // Ages alone depend on the time of day, and they are not shown here.
    let row = pod_row(&object, Timestamp::UNIX_EPOCH);
    ShownPod {
        key: PodKey::new(row.namespace.clone(), row.name.clone()),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        standing: standing(&object, &row),
        entry: Packed::new(&entry(&object, row, admitted)),
        object: match spec_of {
            Some(spec_of) => ShownObject::sharing(object, spec_of),
            None => ShownObject::whole(&object),
        },
    }
}

fn standing(pod: &Pod, row: &PodRow) -> Standing {
    let status = pod.status.as_ref();
    let ready = status.and_then(|status| status.conditions.as_ref()?.iter().find(|c| c.type_ == "Ready"));
    Standing {
        begun: pod.metadata.creation_timestamp.is_some(),
        ending: pod.metadata.deletion_timestamp.is_some(),
        ready: ready.is_some_and(|condition| condition.status == "True"),
        ready_since: ready.and_then(|condition| condition.last_transition_time.as_ref()).map(|time| time.0),
        terminal: match status.and_then(|status| status.phase.as_deref()) {
            Some("Succeeded") => Some(Terminal::Succeeded),
            Some("Failed") => Some(Terminal::Failed),
            _ => None,
        },
        elsewhere: row.status == Unplaced::NOT_FOR_THIS_MACHINE,
        status: row.status.as_str().into(),
    }
}

pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn entry(pod: &Pod, row: PodRow, admitted: Option<&AdmittedPod>) -> PodEntry {
    let none = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&none);
    let container = |init| move |status: &ContainerStatus| container_entry(status, init);
    PodEntry {
        namespace: row.namespace,
        name: row.name,
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        phase: status.phase.clone().unwrap_or_default(),
        status: row.status,
        ready: row.ready,
        restarts: row.restart_count,
        ip: status.pod_ip.clone(),
        conditions: status
            .conditions
            .iter()
            .flatten()
            .map(|c| ConditionEntry {
                kind: c.type_.clone(),
                status: c.status.clone(),
                reason: c.reason.clone(),
                message: c.message.clone(),
                last_transition_time: c.last_transition_time.as_ref().map(|t| time(t.0)),
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
        state: status.state.as_ref().map(state_entry),
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
