//! The pod conditions the kubelet and the scheduler own, with transition times taken from what was observed.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::containers::Statuses;
use super::resize;
use crate::model::{ContainerRecord, ImageSource, ObservedPod, ProbedContainers, Sandbox, UnderPressure, is_sidecar};

/// What the conditions are derived from.
#[derive(Clone, Copy)]
pub struct ConditionInput<'a> {
    pub spec: &'a PodSpec,
    pub statuses: &'a Statuses,
    pub phase: &'a str,
    pub observed: Option<&'a ObservedPod>,
    /// Since when probes say what they do.
    pub probed: &'a ProbedContainers,
    /// Why the last try to give a container other cpu or memory failed, if it did.
    pub resize_error: Option<&'a str>,
    /// Reason and message of why the pod is not given other cpu or memory, if it is not.
    pub resize_pending: Option<(&'static str, &'a str)>,
}

struct Verdict {
    met: bool,
    reason: Option<&'static str>,
    message: Option<String>,
    since: Option<Timestamp>,
}

impl Verdict {
    fn met(since: Option<Timestamp>) -> Self {
        Self { met: true, reason: None, message: None, since }
    }

    fn unmet(reason: &'static str, message: Option<String>, since: Option<Timestamp>) -> Self {
        Self { met: false, reason: Some(reason), message, since }
    }
}

/// PodReadyToStartContainers, Initialized, Ready, ContainersReady and PodScheduled, in the kubelet's order; AllContainersRestarting
/// of a pod that may come to it; then DisruptionTarget of one that is evicted for what the machine is low on, and
/// PodResizePending, PodResizeInProgress and our own ImageStale, while they are.
pub fn conditions(input: ConditionInput<'_>) -> Vec<PodCondition> {
    let created = input.observed.map(|pod| pod.record.created_at);
    let containers_ready = containers_ready(input);
    let (sandbox, initialized) = (sandbox(input), initialized(input));
    let before = [("PodReadyToStartContainers", sandbox.met), ("Initialized", initialized.met)];
    let ready = match readiness_gates(input, &before) {
        Some(message) if containers_ready.met => {
            Verdict::unmet("ReadinessGatesNotReady", Some(message), containers_ready.since)
        }
        _ => Verdict {
            met: containers_ready.met,
            reason: containers_ready.reason,
            message: containers_ready.message.clone(),
            since: containers_ready.since,
        },
    };
    let generation = input.observed.map(|pod| pod.record.generation);
    [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", Verdict::met(input.observed.map(|pod| pod.record.begun_at()))),
    ]
    .into_iter()
    .chain(all_restarting(input).map(|verdict| ("AllContainersRestarting", verdict)))
    .chain(disrupted(input).map(|verdict| ("DisruptionTarget", verdict)))
    .chain(pending(input).map(|verdict| ("PodResizePending", verdict)))
    .chain(resizing(input).map(|verdict| ("PodResizeInProgress", verdict)))
    .chain(stale(input).map(|verdict| ("ImageStale", verdict)))
    .map(|(kind, verdict)| PodCondition {
        type_: kind.to_owned(),
        status: if verdict.met { "True" } else { "False" }.to_owned(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        last_transition_time: verdict.since.or(created).map(Time),
        observed_generation: generation,
        last_probe_time: None,
    })
    .collect()
}

/// It is there of a pod with a rule that restarts all containers; True while those of before are killed
/// (pkg/kubelet/status/generate.go of 1.36, `GenerateAllContainersRestartingCondition`).
fn all_restarting(input: ConditionInput<'_>) -> Option<Verdict> {
    let all = input.spec.init_containers.iter().flatten().chain(&input.spec.containers);
    let mut rules = all.flat_map(|container| container.restart_policy_rules.iter().flatten());
    rules.find(|rule| rule.action == "RestartAllContainers")?;
    let statuses = input.statuses.init.iter().chain(&input.statuses.app);
    let ended = statuses.filter_map(finished).max();
    let not = |reason| Verdict { met: false, reason, message: None, since: ended };
    match input.phase {
        "Succeeded" => return Some(not(Some("PodCompleted"))),
        "Failed" => return Some(not(Some("PodFailed"))),
        _ => {}
    }
    let begun = input.observed.and_then(|pod| {
        let is_under_way = pod.containers.iter().any(|c| c.is_live() && c.record.round < pod.record.round());
        pod.record.all_restarted.filter(|_| is_under_way)
    });
    Some(match begun {
        Some(restarted) => Verdict {
            met: true,
            reason: Some("RestartAllContainersStarted"),
            message: Some("container exited with restart policy rule".to_owned()),
            since: Some(restarted.at),
        },
        None => not(None),
    })
}

/// It is there of a pod that was ended for what the machine was low on (pkg/kubelet/eviction/eviction_manager.go).
fn disrupted(input: ConditionInput<'_>) -> Option<Verdict> {
    let cause = input.observed?.record.terminal_cause.as_ref();
    let cause = cause.filter(|cause| cause.pressure == Some(UnderPressure::Evicted))?;
    let statuses = input.statuses.init.iter().chain(&input.statuses.app);
    let since = statuses.filter_map(finished).max();
    Some(Verdict { met: true, reason: Some("TerminationByKubelet"), message: Some(cause.message.clone()), since })
}

/// It is there while a pod keeps its cpu and memory, for there is no room for others.
fn pending(input: ConditionInput<'_>) -> Option<Verdict> {
    let (reason, message) = input.resize_pending?;
    Some(Verdict { met: true, reason: Some(reason), message: Some(message.to_owned()), since: None })
}

/// It is there only while a resize is under way; with the reason of its last failure.
fn resizing(input: ConditionInput<'_>) -> Option<Verdict> {
    let pod = input.observed.filter(|pod| resize::is_in_progress(pod))?;
    let reason = input.resize_error.map(|_| "Error");
    Some(Verdict { met: true, reason, message: input.resize_error.map(str::to_owned), since: pod.record.resized_at })
}

/// It is there while a container runs on an image whose registry could not be asked whether it has another one by now.
fn stale(input: ConditionInput<'_>) -> Option<Verdict> {
    let pod = input.observed?;
    let all = input.spec.init_containers.iter().flatten().chain(&input.spec.containers);
    let running = all.filter_map(|c| pod.latest(&c.name).filter(|c| c.is_live()).map(|c| &c.record));
    let stale: Vec<(&ContainerRecord, &String)> = running
        .filter_map(|record| match &record.image_source {
            ImageSource::Stale { why } => Some((record, why)),
            ImageSource::Present | ImageSource::Pulled { .. } => None,
        })
        .collect();
    let since = stale.iter().map(|(record, _)| record.created_at).max()?;
    let one = |(record, why): &(&ContainerRecord, &String)| {
        format!("image {:?} of container {}: {why}", record.image, record.name)
    };
    let message = stale.iter().map(one).collect::<Vec<_>>().join("; ");
    Some(Verdict { met: true, reason: Some("RegistryUnavailable"), message: Some(message), since: Some(since) })
}

fn sandbox(input: ConditionInput<'_>) -> Verdict {
    match input.observed.map(|pod| &pod.sandbox) {
        Some(Sandbox::Ready { started_at, .. }) => Verdict::met(Some(*started_at)),
        _ => Verdict {
            met: false,
            reason: None,
            message: None,
            since: input.statuses.init.iter().chain(&input.statuses.app).filter_map(finished).max(),
        },
    }
}

fn initialized(input: ConditionInput<'_>) -> Verdict {
    let app_started = input.statuses.app.iter().any(|s| started(s).is_some());
    let mut since = None;
    let mut incomplete = Vec::new();
    for container in input.spec.init_containers.as_deref().unwrap_or_default() {
        let status = input.statuses.init.iter().find(|s| s.name == container.name);
        let complete = match status {
            Some(status) if is_sidecar(container) => status.started == Some(true),
            Some(status) => state_exit(status) == Some(0),
            None => false,
        };
        if complete {
            let moment = status.and_then(|s| if is_sidecar(container) { started(s) } else { finished(s) });
            since = since.max(moment);
        } else {
            incomplete.push(container.name.as_str());
        }
    }
    if input.phase == "Succeeded" {
        return Verdict { met: true, reason: Some("PodCompleted"), message: None, since };
    }
    if incomplete.is_empty() || app_started {
        return Verdict::met(since);
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    Verdict::unmet("ContainersNotInitialized", Some(message), None)
}

fn containers_ready(input: ConditionInput<'_>) -> Verdict {
    let ended = || input.statuses.app.iter().filter_map(finished).max();
    match input.phase {
        "Succeeded" => return Verdict::unmet("PodCompleted", None, ended()),
        "Failed" => {
            let last = input.statuses.init.iter().filter_map(finished).max();
            return Verdict::unmet("PodFailed", None, ended().max(last));
        }
        _ => {}
    }
    let sidecars = input.spec.init_containers.iter().flatten().filter(|c| is_sidecar(c));
    let mut unready = Vec::new();
    let (mut ready_since, mut unready_since) = (None, None);
    for container in sidecars.chain(&input.spec.containers) {
        let status = input.statuses.get(&container.name);
        let probed = input.probed.get(&container.name).and_then(|probed| probed.since);
        if status.is_some_and(|s| s.ready) {
            ready_since = ready_since.max(status.and_then(started)).max(probed);
        } else {
            unready.push(container.name.as_str());
            unready_since = unready_since.max(status.and_then(finished)).max(probed);
        }
    }
    if unready.is_empty() {
        return Verdict::met(ready_since);
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    Verdict::unmet("ContainersNotReady", Some(message), unready_since)
}

/// What is missing of the pod's readiness gates (pkg/kubelet/status/generate.go, `GeneratePodReadyCondition`), which are
/// conditions that are known before. Nobody else sets one here, so any other is missing.
fn readiness_gates(input: ConditionInput<'_>, before: &[(&str, bool)]) -> Option<String> {
    let gates = input.spec.readiness_gates.iter().flatten().map(|gate| gate.condition_type.as_str());
    let messages: Vec<String> = gates
        .filter_map(|gate| match before.iter().find(|(kind, _)| *kind == gate) {
            Some((_, true)) => None,
            Some((_, false)) => Some(format!("the status of pod readiness gate {gate:?} is not \"True\", but False")),
            None => Some(format!("corresponding condition of pod readiness gate {gate:?} does not exist.")),
        })
        .collect();
    (!messages.is_empty()).then(|| messages.join(", "))
}

fn state_exit(status: &ContainerStatus) -> Option<i32> {
    status.state.as_ref()?.terminated.as_ref().map(|t| t.exit_code)
}

/// When the instance shown, or the last one, was started.
fn started(status: &ContainerStatus) -> Option<Timestamp> {
    let state = status.state.as_ref()?;
    if let Some(running) = &state.running {
        return running.started_at.as_ref().map(|t| t.0);
    }
    let ended = state.terminated.as_ref().or_else(|| status.last_state.as_ref().and_then(|l| l.terminated.as_ref()));
    ended.and_then(|t| t.started_at.as_ref().or(t.finished_at.as_ref())).map(|t| t.0)
}

/// When the newest ended instance ended.
fn finished(status: &ContainerStatus) -> Option<Timestamp> {
    let state = status.state.as_ref()?;
    let ended = state.terminated.as_ref().or_else(|| status.last_state.as_ref().and_then(|l| l.terminated.as_ref()));
    ended.and_then(|t| t.finished_at.as_ref()).map(|t| t.0)
}
