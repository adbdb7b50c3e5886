//! One pod as everything shows it: the object, and its entry in the status document.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus};

use super::row::{PodRow, pod_row};
use super::status::CONFLICTS;
use crate::model::{
    AdmittedPod, ConditionEntry, ContainerEntry, ContainerStateEntry, Packed, PodEntry, PodKey, PresetEntry, ShownPod,
    SkippedPresetEntry,
};

/// A pod from its object, with the presets that the manifests give it.
pub fn shown_pod(object: Pod, admitted: Option<&AdmittedPod>) -> ShownPod {
    // Ages alone depend on the time of day, and they are not shown here.
    let row = pod_row(&object, Timestamp::UNIX_EPOCH);
    let key = PodKey::new(row.namespace.clone(), row.name.clone());
    ShownPod {
        key,
        begun: object.metadata.creation_timestamp.is_some(),
        ending: object.metadata.deletion_timestamp.is_some(),
        entry: Arc::new(entry(&object, row, admitted)),
        object: Packed::new(&object),
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
