//! Which differences of status documents may come often, and are written seldom for that.

use crate::model::{Packed, PodEntry, StatusDocument};

/// Whether documents differ in nothing but what may change often.
pub(super) fn is_coarsely(a: &StatusDocument, b: &StatusDocument) -> bool {
    let pods = || a.pods.iter().zip(&b.pods).all(|(a, b)| a == b || coarse_pod(a) == coarse_pod(b));
    coarse_head(a) == coarse_head(b) && a.pods.len() == b.pods.len() && pods()
}

/// Whether documents differ in whether pods are ready, and in nothing else but what may change often: probes may say one thing and
/// then another every second.
pub(super) fn is_readiness(a: &StatusDocument, b: &StatusDocument) -> bool {
    let flips = || a.pods.iter().zip(&b.pods).any(|(a, b)| a != b && a.open().ready != b.open().ready);
    let head = |document: &StatusDocument| StatusDocument { conditions: Vec::new(), ..coarse_head(document) };
    let pods = || a.pods.iter().zip(&b.pods).all(|(a, b)| a == b || unprobed_pod(a) == unprobed_pod(b));
    let is_stalled = |document: &StatusDocument| {
        document.conditions.iter().any(|condition| condition.kind == "Stalled" && condition.status == "True")
    };
    a.pods.len() == b.pods.len() && is_stalled(a) == is_stalled(b) && head(a) == head(b) && pods() && flips()
}

/// What a document says of anything but its pods, without what may change often.
fn coarse_head(document: &StatusDocument) -> StatusDocument {
    // The pods are by far the most of it: they are looked at one by one.
    let mut head = StatusDocument {
        api_version: document.api_version.clone(),
        kind: document.kind.clone(),
        node: document.node.clone(),
        last_attempted_revision: document.last_attempted_revision.clone(),
        last_applied_revision: document.last_applied_revision.clone(),
        conditions: document.conditions.clone(),
        errors: document.errors.clone(),
        uncommitted: document.uncommitted.clone(),
        pods: Vec::new(),
        last_actions: Vec::new(),
    };
    for condition in &mut head.conditions {
        (condition.last_transition_time, condition.message) = (None, None);
    }
    head
}

fn coarse_pod(pod: &Packed<PodEntry>) -> PodEntry {
    let mut pod = pod.open();
    pod.restarts = 0;
    for condition in &mut pod.conditions {
        (condition.last_transition_time, condition.message) = (None, None);
    }
    for container in &mut pod.containers {
        container.restart_count = 0;
        if let Some((_, state)) = &mut container.state {
            (state.started_at, state.finished_at, state.message) = (None, None, None);
        }
    }
    pod
}

/// The same without what probes decide.
fn unprobed_pod(pod: &Packed<PodEntry>) -> PodEntry {
    let mut pod = coarse_pod(pod);
    pod.ready.clear();
    for condition in pod.conditions.iter_mut().filter(|condition| condition.kind.ends_with("Ready")) {
        condition.status.clear();
        condition.reason = None;
    }
    pod.containers.iter_mut().for_each(|container| container.ready = false);
    pod
}
