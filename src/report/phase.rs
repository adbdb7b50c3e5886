//! The phase of a pod: the kubelet's `getPhase` (pkg/kubelet/kubelet_pods.go of Kubernetes 1.36) over container statuses.

use k8s_openapi::api::core::v1::{ContainerStatus, PodSpec};

use super::containers::Statuses;
use crate::model::is_sidecar;

/// What the phase is derived from.
#[derive(Clone, Copy)]
pub struct PhaseInput<'a> {
    pub spec: &'a PodSpec,
    pub statuses: &'a Statuses,
    /// An app container was begun in the sandbox that the pod has now.
    pub initialized: bool,
    /// The pod is going away: nothing is restarted any more, and its end is not recorded.
    pub terminating: bool,
    /// The terminal phase on record; it never changes back.
    pub terminal: Option<&'a str>,
}

/// Init containers that run to their end.
#[derive(Default)]
struct Init {
    pending: u32,
    failed: u32,
}

/// Sidecars and app containers. How sidecars end does not count.
#[derive(Default)]
struct Stays {
    pending_sidecar: u32,
    waiting: u32,
    running: u32,
    stopped: u32,
    succeeded: u32,
}

/// `Pending`, `Running`, `Succeeded` or `Failed`.
pub fn phase(input: PhaseInput<'_>) -> String {
    if let Some(terminal) = input.terminal {
        return terminal.to_owned();
    }
    let init = count_init(input);
    let mut stays = Stays::default();
    count_sidecars(input, &mut stays);
    count_apps(input, &mut stays);
    let phase = if init.failed > 0 && input.terminating {
        "Failed"
    } else if init.pending > 0 || (stays.pending_sidecar > 0 && !input.initialized) || stays.waiting > 0 {
        "Pending"
    } else if stays.running > 0 {
        "Running"
    } else if stays.stopped == 0 {
        "Pending"
    } else if !input.terminating {
        // One that ended starts again, or the end of the pod is about to be recorded. A terminal phase is final, so it is not
        // shown before (mergePodStatus in pkg/kubelet/status/status_manager.go keeps the one before, too).
        "Running"
    } else if stays.stopped == stays.succeeded {
        "Succeeded"
    } else {
        "Failed"
    };
    phase.to_owned()
}

/// The last known exit code: of the state itself or, while waiting, of the last state.
fn last_exit(status: &ContainerStatus) -> Option<i32> {
    let state = status.state.as_ref()?;
    let ended = match &state.terminated {
        Some(terminated) => Some(terminated),
        None => status.last_state.as_ref().and_then(|l| l.terminated.as_ref()),
    };
    ended.map(|t| t.exit_code)
}

fn runs(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|s| s.running.is_some())
}

fn count_init(input: PhaseInput<'_>) -> Init {
    let mut count = Init::default();
    for container in input.spec.init_containers.iter().flatten().filter(|c| !is_sidecar(c)) {
        match input.statuses.init.iter().find(|s| s.name == container.name) {
            Some(status) if runs(status) => count.pending += 1,
            Some(status) => match last_exit(status) {
                Some(0) => {}
                Some(_) => count.failed += 1,
                None => count.pending += 1,
            },
            None => count.pending += 1,
        }
    }
    count
}

fn count_sidecars(input: PhaseInput<'_>, count: &mut Stays) {
    for container in input.spec.init_containers.iter().flatten().filter(|c| is_sidecar(c)) {
        match input.statuses.init.iter().find(|s| s.name == container.name) {
            Some(status) if runs(status) => {
                count.running += 1;
                count.pending_sidecar += u32::from(status.started != Some(true));
            }
            Some(status) if last_exit(status).is_some() => {}
            Some(_) | None => {
                count.pending_sidecar += 1;
                count.waiting += 1;
            }
        }
    }
}

fn count_apps(input: PhaseInput<'_>, count: &mut Stays) {
    for container in &input.spec.containers {
        let status = input.statuses.app.iter().find(|s| s.name == container.name);
        if status.is_some_and(runs) {
            count.running += 1;
        } else if let Some(code) = status.and_then(last_exit) {
            count.stopped += 1;
            count.succeeded += u32::from(code == 0);
        } else {
            count.waiting += 1;
        }
    }
}
