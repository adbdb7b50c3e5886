//! Cpu and memory that change while a pod runs: what its containers are allotted, what they have, and what is told of it.
//!
//! Words and forms are the kubelet's (pkg/kubelet/events/pod_resize.go, `isPodResizeInProgress` and
//! `convertContainerStatusResources` of 1.36). What a pod keeps for want of room is what it is shown with, and the amounts that
//! it waits for are in no event: they are in the manifests.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Serialize;

use crate::model::{
    self, ContainerRecord, ContainerState, Hold, ObservedContainer, ObservedPod, PendingResize, Resources,
};

/// The reason of a step that waits because the last try failed: the reason of the event, too.
const ERROR: &str = "ResizeError";

/// What a container may use, as its status has it: what it has while it runs, else what it starts with; and what it is
/// allotted.
pub(super) fn of_status(
    container: &Container,
    instance: &ObservedContainer,
) -> (Option<ResourceRequirements>, Option<BTreeMap<String, Quantity>>) {
    let allotted = container.resources.clone().unwrap_or_default();
    let requests = allotted.requests.clone().filter(|requests| !requests.is_empty());
    let running = matches!(instance.state, ContainerState::Running { .. });
    let own = match &instance.record.resources {
        Some(own) if running => own.within(&allotted),
        _ => allotted,
    };
    (Some(own), requests)
}

/// Whether containers have yet to be given what the pod was given, or are being restarted for it.
pub(super) fn is_in_progress(pod: &ObservedPod) -> bool {
    if pod.record.resized_at.is_none() || is_over(pod) {
        return false;
    }
    let spec = pod.record.realised.effective.open().spec.unwrap_or_default();
    let is_due = |container: &Container| {
        let Some(latest) = pod.latest(&container.name) else { return false };
        let starts_again = matches!(latest.state, ContainerState::Running { .. }) || latest.record.stopping.is_some();
        let has = latest.record.resources.as_ref();
        starts_again && has.is_some_and(|has| !has.changes(&Resources::of(container)).is_empty())
    };
    spec.init_containers.iter().flatten().chain(&spec.containers).any(is_due)
}

/// What has ended or is going is given nothing any more.
fn is_over(pod: &ObservedPod) -> bool {
    pod.record.terminal.is_some() || pod.record.deletion.is_some()
}

/// Why the last try to change a container failed, if it did.
pub(super) fn error(holds: &[Hold]) -> Option<&str> {
    holds.iter().find(|hold| hold.reason == ERROR).map(|hold| hold.message.as_str())
}

/// Why a pod is not given other amounts, as the reason of its condition, and the message, if it is not.
pub(super) fn pending(holds: &[Hold]) -> Option<(&'static str, &str)> {
    holds.iter().find_map(|hold| Some((pending_reason(&hold.reason)?, hold.message.as_str())))
}

fn pending_reason(hold: &str) -> Option<&'static str> {
    match hold {
        PendingResize::DEFERRED => Some("Deferred"),
        PendingResize::INFEASIBLE => Some("Infeasible"),
        _ => None,
    }
}

/// `Pod resize Deferred: {...}`, when a pod begins to wait for room.
pub(super) fn pending_message(pod: &ObservedPod, reason: &str, why: &str) -> Option<String> {
    let (init_containers, containers, generation) = (vec![], vec![], pod.record.generation);
    let summary = Summary { init_containers, containers, generation, error: Some(why) };
    let summary = serde_json::to_string(&summary).unwrap_or_default();
    Some(format!("Pod resize {}: {summary}", pending_reason(reason)?))
}

/// `Pod resize started: {...}`, when the pod was given other amounts, and `Pod resize completed: {...}`, when the last of
/// its containers has them: reason, message and moment.
pub(super) fn told(old: &ObservedPod, new: &ObservedPod, now: Timestamp) -> Vec<(&'static str, String, Timestamp)> {
    let Some(resized_at) = new.record.resized_at else { return Vec::new() };
    let started = old.record.resized_at != Some(resized_at);
    let completed = (started || is_in_progress(old)) && !is_in_progress(new) && !is_over(new);
    let mut out = Vec::new();
    if started {
        out.push(("ResizeStarted", format!("Pod resize started: {}", summary(new, None)), resized_at));
    }
    if completed {
        out.push(("ResizeCompleted", format!("Pod resize completed: {}", summary(new, None)), now));
    }
    out
}

/// `Pod resize error: {...}`.
pub(super) fn error_message(pod: &ObservedPod, error: &str) -> String {
    format!("Pod resize error: {}", summary(pod, Some(error)))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    init_containers: Vec<Allotted<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<Allotted<'a>>,
    generation: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Allotted<'a> {
    name: &'a str,
    resources: ResourceRequirements,
}

/// What the pod's containers are allotted, as compact JSON.
fn summary(pod: &ObservedPod, error: Option<&str>) -> String {
    let spec: PodSpec = pod.record.realised.effective.open().spec.unwrap_or_default();
    let of = |container| -> Allotted<'_> {
        let container: &Container = container;
        Allotted { name: &container.name, resources: container.resources.clone().unwrap_or_default() }
    };
    let summary = Summary {
        init_containers: spec.init_containers.iter().flatten().map(of).collect(),
        containers: spec.containers.iter().map(of).collect(),
        generation: pod.record.generation,
        error,
    };
    serde_json::to_string(&summary).unwrap_or_default()
}

/// Whether an instance that was told to stop was told so for other cpu or memory.
pub(super) fn asks_for_restart(record: &ContainerRecord, wanted: &Container) -> bool {
    let changes = record.resources.as_ref().map(|own| own.changes(&Resources::of(wanted))).unwrap_or_default();
    changes.iter().any(|change| model::asks_for_restart(wanted, change.resource))
}
