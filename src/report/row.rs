//! The READY, STATUS and RESTARTS columns of `get pods`: the API server's own algorithm over the pod object, `printPod` in
//! pkg/printers/internalversion/printers.go of Kubernetes 1.36.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodStatus};

use super::duration::{age, human_duration};
use crate::model::is_sidecar;

/// One line of `get pods`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRow {
    pub namespace: String,
    pub name: String,
    /// `1/2`: ready containers of all that run.
    pub ready: String,
    pub status: String,
    /// `3 (5s ago)`.
    pub restarts: String,
    /// The number alone.
    pub restart_count: u32,
    pub age: String,
    /// `<none>` without one, as are the following.
    pub ip: String,
    pub node: String,
    pub nominated_node: String,
    pub readiness_gates: String,
    /// Whether the pod ended for good: kubectl marks such rows with the condition Completed.
    pub completed: Option<String>,
}

#[derive(Default)]
struct Tally {
    reason: String,
    ready: usize,
    restarts: u32,
    last_restart: Option<Timestamp>,
    sidecar_restarts: u32,
    last_sidecar_restart: Option<Timestamp>,
}

/// The row of a pod.
pub fn pod_row(pod: &Pod, now: Timestamp) -> PodRow {
    let empty = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&empty);
    let phase = status.phase.clone().unwrap_or_default();
    let mut tally = Tally { reason: first_reason(status, &phase), ..Tally::default() };
    let initializing = walk_init(pod, status, &mut tally);
    if !initializing || is_true(status, "Initialized") {
        walk_apps(status, &mut tally);
    }
    if pod.metadata.deletion_timestamp.is_some() {
        if status.reason.as_deref() == Some("NodeLost") {
            tally.reason = "Unknown".into();
        } else if phase != "Succeeded" && phase != "Failed" {
            tally.reason = "Terminating".into();
        }
    }
    let none = |value: Option<String>| value.filter(|v| !v.is_empty()).unwrap_or_else(|| "<none>".into());
    PodRow {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        ready: format!("{}/{}", tally.ready, total(pod)),
        status: tally.reason,
        restarts: match tally.last_restart {
            Some(at) if tally.restarts > 0 => {
                let ago = human_duration(now.as_second().saturating_sub(at.as_second()));
                format!("{} ({ago} ago)", tally.restarts)
            }
            _ => tally.restarts.to_string(),
        },
        restart_count: tally.restarts,
        age: age(pod.metadata.creation_timestamp.as_ref().map(|t| t.0), now),
        ip: none(status.pod_ip.clone()),
        node: none(pod.spec.as_ref().and_then(|s| s.node_name.clone())),
        nominated_node: none(status.nominated_node_name.clone()),
        readiness_gates: gates(pod, status),
        completed: matches!(phase.as_str(), "Succeeded" | "Failed").then_some(phase),
    }
}

fn total(pod: &Pod) -> usize {
    let Some(spec) = &pod.spec else { return 0 };
    spec.containers.len() + spec.init_containers.iter().flatten().filter(|c| is_sidecar(c)).count()
}

fn first_reason(status: &PodStatus, phase: &str) -> String {
    let gated = status
        .conditions
        .iter()
        .flatten()
        .any(|c| c.type_ == "PodScheduled" && c.reason.as_deref() == Some("SchedulingGated"));
    match status.reason.as_deref().filter(|r| !r.is_empty()) {
        _ if gated => "SchedulingGated".into(),
        Some(reason) => reason.to_owned(),
        None => phase.to_owned(),
    }
}

fn is_true(status: &PodStatus, kind: &str) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == kind && c.status == "True")
}

fn count(status: &ContainerStatus) -> u32 {
    u32::try_from(status.restart_count).unwrap_or(0)
}

fn last_finish(status: &ContainerStatus) -> Option<Timestamp> {
    status.last_state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(|t| t.0)
}

fn signal_or_code(ended: &ContainerStateTerminated) -> String {
    match ended.signal.filter(|s| *s != 0) {
        Some(signal) => format!("Signal:{signal}"),
        None => format!("ExitCode:{}", ended.exit_code),
    }
}

/// Walks the init containers in order; returns whether the pod is still initializing.
fn walk_init(pod: &Pod, status: &PodStatus, tally: &mut Tally) -> bool {
    let specs = pod.spec.as_ref().and_then(|s| s.init_containers.as_deref()).unwrap_or_default();
    for (index, container) in status.init_container_statuses.iter().flatten().enumerate() {
        let sidecar = specs.iter().any(|c| c.name == container.name && is_sidecar(c));
        tally.restarts = tally.restarts.saturating_add(count(container));
        tally.last_restart = tally.last_restart.max(last_finish(container));
        if sidecar {
            tally.sidecar_restarts = tally.sidecar_restarts.saturating_add(count(container));
            tally.last_sidecar_restart = tally.last_sidecar_restart.max(last_finish(container));
        }
        let state = container.state.as_ref();
        let ended = state.and_then(|s| s.terminated.as_ref());
        let waiting = state.and_then(|s| s.waiting.as_ref()).and_then(|w| w.reason.as_deref()).unwrap_or_default();
        if ended.is_some_and(|t| t.exit_code == 0) {
            continue;
        }
        if sidecar && container.started == Some(true) {
            tally.ready += usize::from(container.ready);
            continue;
        }
        tally.reason = match ended {
            Some(ended) => match ended.reason.as_deref().filter(|r| !r.is_empty()) {
                Some(reason) => format!("Init:{reason}"),
                None => format!("Init:{}", signal_or_code(ended)),
            },
            None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
            None => format!("Init:{index}/{}", specs.len()),
        };
        return true;
    }
    false
}

/// Walks the app containers from last to first, so that the first one with something to say wins.
fn walk_apps(status: &PodStatus, tally: &mut Tally) {
    tally.restarts = tally.sidecar_restarts;
    tally.last_restart = tally.last_sidecar_restart;
    let mut running = false;
    let mut error = None;
    for container in status.container_statuses.iter().flatten().rev() {
        tally.restarts = tally.restarts.saturating_add(count(container));
        tally.last_restart = tally.last_restart.max(last_finish(container));
        let Some(state) = container.state.as_ref() else { continue };
        let waiting = state.waiting.as_ref().and_then(|w| w.reason.as_deref()).filter(|r| !r.is_empty());
        if let Some(reason) = waiting {
            tally.reason = reason.to_owned();
        } else if let Some(ended) = &state.terminated {
            tally.reason = match ended.reason.as_deref().filter(|r| !r.is_empty()) {
                Some(reason) => reason.to_owned(),
                None => signal_or_code(ended),
            };
            if ended.exit_code != 0 {
                error = Some(tally.reason.clone());
            }
        } else if container.ready && state.running.is_some() {
            running = true;
            tally.ready += 1;
        }
    }
    if tally.reason == "Completed" {
        if running && is_true(status, "Ready") {
            tally.reason = "Running".into();
        } else if let Some(error) = error {
            tally.reason = error;
        } else if running {
            tally.reason = "NotReady".into();
        }
    }
}

fn gates(pod: &Pod, status: &PodStatus) -> String {
    let gates = pod.spec.as_ref().and_then(|s| s.readiness_gates.as_deref()).unwrap_or_default();
    if gates.is_empty() {
        return "<none>".into();
    }
    let met = gates.iter().filter(|g| is_true(status, &g.condition_type)).count();
    format!("{met}/{}", gates.len())
}
