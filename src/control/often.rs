//! Which differences of status documents may come often, and are written seldom for that.

use crate::model::{PodEntry, StatusDocument};

/// What documents differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// In nothing but what may change often.
    Often,
    /// In whether pods are ready, and in nothing else but that: probes may say one thing and then another every second.
    Readiness,
    /// In more.
    Much,
}

/// The pods that differ are opened once.
pub(super) fn difference(a: &StatusDocument, b: &StatusDocument) -> Difference {
    if a.pods.len() != b.pods.len() {
        return Difference::Much;
    }
    let (mut is_often, mut flips) = (true, false);
    for (a, b) in a.pods.iter().zip(&b.pods).filter(|(a, b)| a != b) {
        let (a, b) = (coarse(a.open()), coarse(b.open()));
        if a != b {
            is_often = false;
            flips |= a.ready != b.ready;
            if unprobed(a) != unprobed(b) {
                return Difference::Much;
            }
        }
    }
    let (a_head, b_head) = (coarse_head(a), coarse_head(b));
    if is_often && a_head == b_head {
        return Difference::Often;
    }
    let is_stalled = |document: &StatusDocument| {
        document.conditions.iter().any(|condition| condition.kind == "Stalled" && condition.status == "True")
    };
    let head = |head: StatusDocument| StatusDocument { conditions: Vec::new(), ..head };
    if flips && is_stalled(a) == is_stalled(b) && head(a_head) == head(b_head) {
        Difference::Readiness
    } else {
        Difference::Much
    }
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

/// What a pod's entry says, without what may change often.
fn coarse(mut pod: PodEntry) -> PodEntry {
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
fn unprobed(mut pod: PodEntry) -> PodEntry {
    pod.ready.clear();
    for condition in pod.conditions.iter_mut().filter(|condition| condition.kind.ends_with("Ready")) {
        condition.status.clear();
        condition.reason = None;
    }
    pod.containers.iter_mut().for_each(|container| container.ready = false);
    pod
}
