//! The phase of a pod: the kubelet's getPhase over container statuses.

use k8s_openapi::api::core::v1::{ContainerStatus, PodSpec};

use super::containers::Statuses;
use crate::model::is_sidecar;

/// What the phase is derived from.
#[derive(Clone, Copy)]
pub struct PhaseInput<'a> {
    pub spec: &'a PodSpec,
    pub statuses: &'a Statuses,
    /// The pod is going away: nothing is restarted any more.
    pub terminating: bool,
    /// The terminal phase on record; it never changes back.
    pub terminal: Option<&'a str>,
}

#[derive(Default)]
struct Init {
    pending_regular: u32,
    pending_sidecar: u32,
    failed: u32,
}

#[derive(Default)]
struct Apps {
    waiting: u32,
    running: u32,
    stopped: u32,
    succeeded: u32,
    ever_started: bool,
}

/// `Pending`, `Running`, `Succeeded` or `Failed`.
pub fn phase(input: PhaseInput<'_>) -> String {
    if let Some(terminal) = input.terminal {
        return terminal.to_owned();
    }
    let policy = input.spec.restart_policy.as_deref().unwrap_or("Always");
    let init = count_init(input);
    let apps = count_apps(input);
    let may_restart = !input.terminating;
    let phase = if init.failed > 0 && (policy == "Never" || !may_restart) {
        "Failed"
    } else if init.pending_regular > 0 || (init.pending_sidecar > 0 && !apps.ever_started) || apps.waiting > 0 {
        "Pending"
    } else if apps.running > 0 {
        "Running"
    } else if apps.stopped == 0 {
        "Pending"
    } else if may_restart && (policy == "Always" || (policy == "OnFailure" && apps.stopped != apps.succeeded)) {
        "Running"
    } else if apps.stopped == apps.succeeded {
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
    for container in input.spec.init_containers.as_deref().unwrap_or_default() {
        let status = input.statuses.init.iter().find(|s| s.name == container.name);
        if is_sidecar(container) {
            if status.is_none_or(|s| s.started != Some(true)) {
                count.pending_sidecar += 1;
            }
            continue;
        }
        match status {
            Some(status) if runs(status) => count.pending_regular += 1,
            Some(status) => match last_exit(status) {
                Some(0) => {}
                Some(_) => count.failed += 1,
                None => count.pending_regular += 1,
            },
            None => count.pending_regular += 1,
        }
    }
    count
}

fn count_apps(input: PhaseInput<'_>) -> Apps {
    let mut count = Apps::default();
    for container in &input.spec.containers {
        let Some(status) = input.statuses.app.iter().find(|s| s.name == container.name) else {
            count.waiting += 1;
            continue;
        };
        if runs(status) {
            count.running += 1;
            count.ever_started = true;
        } else if let Some(code) = last_exit(status) {
            count.stopped += 1;
            count.ever_started = true;
            if code == 0 {
                count.succeeded += 1;
            }
        } else {
            count.waiting += 1;
        }
    }
    count
}
