//! Events that are told when they happen: no two observations show them.

use jiff::Timestamp;

use super::Draft;
use crate::model::{
    AdmittedPod, EventRecord, EventType, HandlerAnswer, HandlerOutcome, HookKind, ObservedPod, ProbeKind,
    ResolverNotes, TerminalCause, VolumeLimit, VolumeUse,
};

/// How many conflicts of a pod are told one by one.
const CONFLICTS: usize = 5;
/// Bytes that are told of an answer, which may be different each time: as many as the API takes for the note of an event.
const PROBE_MESSAGE: usize = 1024;

/// What a pod's author should hear of PodPresets that were not merged into it: one warning per conflict, up to a bound.
/// Values of Secrets are never in a conflict.
pub fn preset_events(pod: &ObservedPod, target: &AdmittedPod, now: Timestamp) -> Vec<EventRecord> {
    let conflicts: Vec<_> = target.skipped.iter().flat_map(|skipped| &skipped.conflicts).collect();
    let names: Vec<&str> = target.skipped.iter().take(CONFLICTS).map(|skipped| skipped.name.as_str()).collect();
    let who = match (names.as_slice(), target.skipped.len()) {
        ([name], 1) => format!("PodPreset {name} is not merged"),
        (_, count) if count > names.len() => format!("none of {count} PodPresets is merged, {} ...", names.join(", ")),
        _ => format!("none of the PodPresets {} is merged", names.join(", ")),
    };
    let event = |message| {
        let draft = Draft { kind: EventType::Warning, reason: "PodPresetConflict", message, ..Draft::of(pod, now) };
        Draft { component: "podwright", ..draft }.record()
    };
    let mut events: Vec<_> = conflicts.iter().take(CONFLICTS).map(|c| event(format!("{who}: {c}"))).collect();
    if conflicts.len() > CONFLICTS {
        events.push(event(format!("{who}: {} more conflicts", conflicts.len() - CONFLICTS)));
    }
    events
}

/// An eviction that begins.
pub fn eviction_event(pod: &ObservedPod, cause: &TerminalCause, now: Timestamp) -> EventRecord {
    let (reason, message) = (cause.reason.as_str(), cause.message.clone());
    Draft { kind: EventType::Warning, reason, message, ..Draft::of(pod, now) }.record()
}

/// A pod whose eviction takes longer than it should (`killPodNow` of pkg/kubelet/pod_workers.go).
pub fn exceeded_event(pod: &ObservedPod, now: Timestamp) -> EventRecord {
    let message = "Container runtime did not kill the pod within specified grace period.".to_owned();
    Draft { kind: EventType::Warning, reason: "ExceededGracePeriod", message, ..Draft::of(pod, now) }.record()
}

/// What a pod does not get of what it asks of its resolver (pkg/kubelet/network/dns/dns.go).
pub fn resolver_events(pod: &ObservedPod, notes: &ResolverNotes, now: Timestamp) -> Vec<EventRecord> {
    let event = |reason, message| Draft { kind: EventType::Warning, reason, message, ..Draft::of(pod, now) }.record();
    let (key, uid) = (&pod.record.key, &pod.record.uid);
    let missing = notes.missing_cluster_dns.then(|| {
        let who = format!("{}_{}({uid})", key.name, key.namespace);
        let text = "kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. \
                    Falling back to \"Default\" policy.";
        event("MissingClusterDNS", format!("pod: {who:?}. {text}"))
    });
    let left_out = notes.left_out.iter().map(|text| event("DNSConfigForming", text.clone()));
    missing.into_iter().chain(left_out).collect()
}

/// A volume that takes more files than are looked at, so that its limit may be passed unseen.
pub fn usage_event(pod: &ObservedPod, limit: &VolumeLimit, used: VolumeUse, now: Timestamp) -> EventRecord {
    let VolumeUse { bytes, entries, .. } = used;
    let message = format!(
        "Usage of {} is known in part: it has more or deeper files than are looked at. {entries} of them take \
         {bytes} bytes; the limit {:?} may be exceeded unseen",
        limit.what(),
        limit.shown
    );
    let (kind, reason) = (EventType::Warning, "VolumeUsageIncomplete");
    Draft { kind, reason, message, component: "podwright", ..Draft::of(pod, now) }.record()
}

/// A pull that begins: for a container, or for a volume of the pod.
pub fn pulling_event(pod: &ObservedPod, container: Option<&str>, image: &str, now: Timestamp) -> EventRecord {
    let message = format!("Pulling image {image:?}");
    Draft { container, reason: "Pulling", message, ..Draft::of(pod, now) }.record()
}

/// What is told of a hook that failed; nothing of why, which may hold what is secret (pkg/kubelet/kuberuntime/kuberuntime_container.go).
pub fn hook_event(pod: &ObservedPod, container: &str, kind: HookKind, now: Timestamp) -> EventRecord {
    let (reason, message) = match kind {
        HookKind::PostStart => ("FailedPostStartHook", "PostStartHook failed"),
        HookKind::PreStop => ("FailedPreStopHook", "PreStopHook failed"),
    };
    let kind = EventType::Warning;
    Draft { container: Some(container), kind, reason, message: message.to_owned(), ..Draft::of(pod, now) }.record()
}

/// What is told of a hook that succeeded otherwise than it was asked for (pkg/kubelet/lifecycle/handlers.go).
pub fn fallback_event(pod: &ObservedPod, message: String, now: Timestamp) -> EventRecord {
    let (kind, reason) = (EventType::Warning, "LifecycleHTTPFallback");
    Draft { kind, reason, message, ..Draft::of(pod, now) }.record()
}

/// What is told of an answer to a probe, or of an error of the prober; nothing of a plain success (pkg/kubelet/prober/prober.go).
pub fn probe_event(
    pod: &ObservedPod,
    (container, kind): (&str, ProbeKind),
    came: Result<&HandlerAnswer, &str>,
    now: Timestamp,
) -> Option<EventRecord> {
    let title = kind.title();
    let (reason, mut message) = match came {
        Ok(HandlerAnswer { outcome: HandlerOutcome::Success, .. }) => return None,
        Ok(HandlerAnswer { outcome: HandlerOutcome::Warning, text }) => {
            ("ProbeWarning", format!("{title} probe warning: {text}"))
        }
        Ok(HandlerAnswer { outcome: HandlerOutcome::Failure, text }) => {
            ("Unhealthy", format!("{title} probe failed: {text}"))
        }
        Ok(HandlerAnswer { outcome: HandlerOutcome::Unread, text }) => {
            ("Unhealthy", format!("{title} probe errored and resulted in failure state: {text}"))
        }
        Err(error) => ("Unhealthy", format!("{title} probe errored and resulted in unknown state: {error}")),
    };
    message.truncate(message.floor_char_boundary(PROBE_MESSAGE));
    let kind = EventType::Warning;
    Some(Draft { container: Some(container), kind, reason, message, ..Draft::of(pod, now) }.record())
}
