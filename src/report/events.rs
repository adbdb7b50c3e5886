//! Events out of two observations or two sets of waiting reasons, in the kubelet's words; equal ones are counted.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

use super::containers::Waiting;
use super::project::stable_uid;
use super::{duration, resize, similar};
use crate::model::{
    AdmittedPod, ContainerKind, ContainerRecord, ContainerState, EventRecord, EventType, HandlerAnswer, HandlerOutcome,
    HookKind, ImageSource, Kind, ObjectKey, ObservedContainer, ObservedPod, Outcome, ProbeKind, Reason, Sandbox,
    TerminalCause, VolumeLimit, VolumeUse,
};

/// How many conflicts of a pod are told one by one.
const CONFLICTS: usize = 5;
/// Bytes that are told of an answer, which may be different each time: as many as the API takes for the note of an event.
const PROBE_MESSAGE: usize = 1024;

/// What happened to a pod between two observations. Times come from the records where they have them, so that a pod
/// that is adopted tells its story as it was; `now` stands in for the rest.
pub fn events_between(old: Option<&ObservedPod>, new: Option<&ObservedPod>, now: Timestamp) -> Vec<EventRecord> {
    let Some(new) = new else { return Vec::new() };
    let old = old.filter(|o| o.record.uid == new.record.uid);
    let mut events = Vec::new();
    placement_events(old, new, now, &mut events);
    if let (Some(Sandbox::Ready { .. }), Sandbox::Dead { .. }) = (old.map(|o| &o.sandbox), &new.sandbox)
        && new.record.deletion.is_none()
    {
        let text = "Pod sandbox changed, it will be killed and re-created.";
        events.push(Draft { reason: "SandboxChanged", message: text.into(), ..Draft::of(new, now) }.record());
    }
    for (reason, message, at) in old.map(|old| resize::told(old, new, now)).unwrap_or_default() {
        events.push(Draft { reason, message, ..Draft::of(new, at) }.record());
    }
    for container in &new.containers {
        let before = old.and_then(|o| {
            o.containers
                .iter()
                .find(|c| c.record.name == container.record.name && c.record.attempt == container.record.attempt)
        });
        container_events(new, before, container, now, &mut events);
    }
    events
}

/// What a change of waiting reasons tells: back-offs, images that cannot be had, volumes that cannot be made.
pub fn waiting_events(pod: &ObservedPod, old: &Waiting, new: &Waiting, now: Timestamp) -> Vec<EventRecord> {
    new.iter()
        .filter(|(name, why)| old.get(*name) != Some(why))
        .flat_map(|(name, (reason, message))| waiting_event(pod, name, reason, message, now))
        .collect()
}

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

struct Draft<'a> {
    pod: &'a ObservedPod,
    container: Option<&'a str>,
    kind: EventType,
    reason: &'a str,
    message: String,
    component: &'a str,
    at: Timestamp,
}

impl<'a> Draft<'a> {
    fn of(pod: &'a ObservedPod, at: Timestamp) -> Self {
        let message = String::new();
        Self { pod, container: None, kind: EventType::Normal, reason: "", message, component: "kubelet", at }
    }

    fn record(self) -> EventRecord {
        EventRecord {
            object: self.pod.record.key.object(),
            uid: self.pod.record.uid.0.clone(),
            field_path: self.container.map(|name| field_path(self.pod, name)),
            kind: self.kind,
            reason: self.reason.to_owned(),
            message: self.message,
            component: self.component.to_owned(),
            first: self.at,
            last: self.at,
            count: 1,
        }
    }
}

fn field_path(pod: &ObservedPod, container: &str) -> String {
    // Of one that has an instance its record tells; few have none.
    let kind = pod.containers.iter().find(|c| c.record.name == container).map(|c| c.record.kind);
    let is_init = match kind {
        Some(ContainerKind::App) => false,
        Some(ContainerKind::Init | ContainerKind::Sidecar) => true,
        None => {
            let spec = pod.record.realised.effective.open().spec;
            spec.iter().flat_map(|spec| spec.init_containers.iter().flatten()).any(|c| c.name == container)
        }
    };
    let list = if is_init { "initContainers" } else { "containers" };
    format!("spec.{list}{{{container}}}")
}

/// Whether a pod was placed, and what let it be.
fn placement_events(old: Option<&ObservedPod>, new: &ObservedPod, now: Timestamp, events: &mut Vec<EventRecord>) {
    let before = old.map(|old| &old.record.realised);
    match (before.map(|before| before.unplaced.as_deref()), new.record.realised.unplaced.as_deref()) {
        (None, None) => events.push(scheduled(new, new.record.created_at)),
        (Some(Some(unplaced)), None) => {
            events.push(scheduled(new, now));
            if let Some(node) = unplaced.unmet.cause().of_node().filter(|_| same_spec(before, new)) {
                let message = format!("{} fits this machine now ({node})", unplaced.field);
                events
                    .push(Draft { reason: "Placed", message, component: "podwright", ..Draft::of(new, now) }.record());
            }
        }
        (before, Some(unplaced)) if unplaced.outcome == Outcome::Pending && before.flatten() != Some(unplaced) => {
            let (kind, reason, message) = (EventType::Warning, "FailedScheduling", unplaced.message.clone());
            let draft = Draft { kind, reason, message, ..Draft::of(new, now) };
            events.push(Draft { component: "default-scheduler", ..draft }.record());
        }
        (_, Some(unplaced)) if ended(new) && !old.is_some_and(ended) => {
            let message = unplaced.message.trim_start_matches("Pod was rejected: ").to_owned();
            let (kind, reason) = (EventType::Warning, unplaced.reason().unwrap_or_default());
            events.push(Draft { kind, reason, message, ..Draft::of(new, new.record.created_at) }.record());
        }
        _ => {}
    }
}

fn ended(pod: &ObservedPod) -> bool {
    pod.record.terminal.is_some()
}

fn same_spec(before: Option<&Arc<AdmittedPod>>, now: &ObservedPod) -> bool {
    before.is_some_and(|before| before.spec == now.record.realised.spec)
}

fn scheduled(pod: &ObservedPod, at: Timestamp) -> EventRecord {
    let spec = pod.record.realised.effective.open().spec;
    let message = match spec.and_then(|spec| spec.node_name).unwrap_or_default().as_str() {
        "" => format!("Successfully assigned {} to this node", pod.record.key),
        node => format!("Successfully assigned {} to {node}", pod.record.key),
    };
    Draft { reason: "Scheduled", message, component: "default-scheduler", ..Draft::of(pod, at) }.record()
}

fn container_events(
    pod: &ObservedPod,
    before: Option<&ObservedContainer>,
    after: &ObservedContainer,
    now: Timestamp,
    events: &mut Vec<EventRecord>,
) {
    let record = &after.record;
    let draft = |at| Draft { container: Some(&record.name), ..Draft::of(pod, at) };
    if before.is_none() {
        image_events(record, &draft, events);
        let message = "Container created".to_owned();
        events.push(Draft { reason: "Created", message, ..draft(record.created_at) }.record());
    }
    let started = |c: &ObservedContainer| match &c.state {
        ContainerState::Running { started_at, .. } => Some(*started_at),
        ContainerState::Exited(exit) => exit.started_at,
        ContainerState::Created | ContainerState::Lost => None,
    };
    if let Some(at) = started(after).filter(|_| before.and_then(started).is_none()) {
        events.push(Draft { reason: "Started", message: "Container started".into(), ..draft(at) }.record());
    }
    if let Some(stopping) = record.stopping.as_ref().filter(|_| before.is_none_or(|b| b.record.stopping.is_none())) {
        let message = killing_message(pod, after);
        events.push(Draft { reason: "Killing", message, ..draft(stopping.since) }.record());
    }
    if let Some(exit) = after.exit().filter(|e| before.is_none_or(|b| b.exit().is_none()) && e.started_at.is_none())
        && let Some(reason) = &exit.reason
    {
        let detail = exit.message.as_deref().unwrap_or(reason);
        let message = format!("Error: {detail}");
        let kind = EventType::Warning;
        events.push(Draft { kind, reason: "Failed", message, ..draft(exit.finished_at) }.record());
    }
    if matches!(after.state, ContainerState::Lost) && before.is_some_and(|b| !matches!(b.state, ContainerState::Lost)) {
        let message = format!("Container {} lost its monitor, it will be killed", record.name);
        events.push(Draft { kind: EventType::Warning, reason: "Killing", message, ..draft(now) }.record());
    }
}

/// How the image of a new instance came to be here.
fn image_events<'a>(record: &ContainerRecord, draft: &impl Fn(Timestamp) -> Draft<'a>, events: &mut Vec<EventRecord>) {
    let (image, at) = (&record.image, record.created_at);
    let present = || format!("Container image {image:?} already present on machine");
    let message = match &record.image_source {
        ImageSource::Present => present(),
        ImageSource::Pulled { took, waited, size, mended } => {
            if let Some(why) = mended {
                let message = format!("Container image {image:?} was pulled again: {why}");
                let kind = EventType::Warning;
                events.push(
                    Draft { kind, reason: "ImageDamaged", message, component: "podwright", ..draft(at) }.record(),
                );
            }
            let (took, waited) = (duration::go(*took), duration::go(*waited));
            format!(
                "Successfully pulled image {image:?} in {took} ({waited} including waiting). Image size: {size} bytes."
            )
        }
        ImageSource::Stale { why } => {
            let message = format!("Container image {image:?} may be older than the registry's: {why}");
            let kind = EventType::Warning;
            events.push(Draft { kind, reason: "ImageStale", message, component: "podwright", ..draft(at) }.record());
            present()
        }
    };
    events.push(Draft { reason: "Pulled", message, ..draft(at) }.record());
}

/// An eviction that begins.
pub fn eviction_event(pod: &ObservedPod, cause: &TerminalCause, now: Timestamp) -> EventRecord {
    let (reason, message) = (cause.reason.as_str(), cause.message.clone());
    Draft { kind: EventType::Warning, reason, message, ..Draft::of(pod, now) }.record()
}

/// A volume that takes more files than are looked at, so that its limit may be passed unseen.
pub fn usage_event(pod: &ObservedPod, limit: &VolumeLimit, used: VolumeUse, now: Timestamp) -> EventRecord {
    let VolumeUse { bytes, entries, .. } = used;
    let message = format!(
        "Usage of EmptyDir volume {:?} is known in part: it has more or deeper files than are looked at. {entries} of them take \
         {bytes} bytes; the limit {:?} may be exceeded unseen",
        limit.name, limit.shown
    );
    let (kind, reason) = (EventType::Warning, "VolumeUsageIncomplete");
    Draft { kind, reason, message, component: "podwright", ..Draft::of(pod, now) }.record()
}

/// A pull that begins.
pub fn pulling_event(pod: &ObservedPod, container: &str, image: &str, now: Timestamp) -> EventRecord {
    let message = format!("Pulling image {image:?}");
    Draft { container: Some(container), reason: "Pulling", message, ..Draft::of(pod, now) }.record()
}

fn killing_message(pod: &ObservedPod, container: &ObservedContainer) -> String {
    let name = &container.record.name;
    let effective = pod.record.realised.effective.open();
    let wanted = effective
        .spec
        .as_ref()
        .and_then(|s| s.init_containers.iter().flatten().chain(&s.containers).find(|c| c.name == *name))
        .filter(|_| pod.record.deletion.is_none());
    let stopping = container.record.stopping.as_ref();
    let is_for = |reason: &Reason| stopping.is_some_and(|stopping| stopping.is_for(reason));
    let failed = stopping.and_then(ProbeKind::behind);
    match (wanted, failed) {
        (Some(_), Some(kind)) => probe_killing(effective.spec.as_ref(), &container.record, kind),
        (Some(wanted), None) if wanted.image.as_deref() != Some(&container.record.image) => {
            format!("Container {name} definition changed, will be restarted")
        }
        (Some(wanted), None) if resize::asks_for_restart(&container.record, wanted) => {
            format!("Container {name} resize requires restart")
        }
        // The kubelet's text is the event's own name.
        (Some(_), None) if is_for(&Reason::PostStartFailed) => "FailedPostStartHook".to_owned(),
        (Some(_), None) if is_for(&Reason::DataChanged) => {
            format!("Container {name} takes data that changed, will be restarted")
        }
        _ => format!("Stopping container {name}"),
    }
}

/// What is told of a container that ends for its probe; where the policy has it never restarted it is not said to be. A sidecar is
/// called an init container (pkg/kubelet/kuberuntime/kuberuntime_container.go, `computeInitContainerActions`).
fn probe_killing(spec: Option<&PodSpec>, record: &ContainerRecord, kind: ProbeKind) -> String {
    let name = &record.name;
    let own = spec.and_then(|spec| spec.containers.iter().find(|c| c.name == *name)?.restart_policy.as_deref());
    match own.or_else(|| spec?.restart_policy.as_deref()) {
        _ if record.kind != ContainerKind::App => format!("Init container {name} failed {kind} probe"),
        Some("Never") => format!("Container {name} failed {kind} probe"),
        _ => format!("Container {name} failed {kind} probe, will be restarted"),
    }
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

fn waiting_event(pod: &ObservedPod, name: &str, reason: &str, message: &str, now: Timestamp) -> Vec<EventRecord> {
    let image = || {
        let spec = pod.record.realised.effective.open().spec.unwrap_or_default();
        let mut all = spec.init_containers.into_iter().flatten().chain(spec.containers);
        all.find(|c| c.name == name).and_then(|c| c.image).unwrap_or_default()
    };
    let container = (!name.is_empty()).then_some(name);
    let event = |kind, reason: &str, message: String| {
        Draft { container, kind, reason, message, ..Draft::of(pod, now) }.record()
    };
    let detail = if message.is_empty() { reason } else { message };
    let (key, uid) = (&pod.record.key, &pod.record.uid);
    match reason {
        // Of a pod that waits for a machine its record tells, of a hook its end.
        "PostStartHookError" | "ContainerCreating" | "PodInitializing" | "Completed" | "Unschedulable" => Vec::new(),
        "CrashLoopBackOff" => {
            let place = format!("{}_{}({uid})", key.name, key.namespace);
            let text = format!("Back-off restarting failed container {name} in pod {place}");
            vec![event(EventType::Warning, "BackOff", text)]
        }
        "ImagePullBackOff" => {
            vec![event(EventType::Normal, "BackOff", format!("Back-off pulling image {:?}", image()))]
        }
        "ErrImagePull" | "RegistryUnavailable" => vec![
            event(EventType::Warning, "Failed", format!("Failed to pull image {:?}: {detail}", image())),
            event(EventType::Warning, "Failed", format!("Error: {reason}")),
        ],
        "ErrImageNeverPull" => {
            let text = format!("Container image {:?} is not present with pull policy of Never", image());
            vec![event(EventType::Warning, reason, text)]
        }
        "ResizeError" => vec![event(EventType::Warning, reason, resize::error_message(pod, detail))],
        "InvalidImageName" | "ImageInspectError" => {
            vec![event(EventType::Warning, "InspectFailed", format!("Failed to apply image {:?}: {detail}", image()))]
        }
        "CreatePodSandboxError" => {
            vec![event(EventType::Warning, "FailedCreatePodSandBox", format!("Failed to create pod sandbox: {detail}"))]
        }
        _ if container.is_none() => vec![event(EventType::Warning, reason, detail.to_owned())],
        _ => vec![event(EventType::Warning, "Failed", format!("Error: {detail}"))],
    }
}

/// The event as an API object. Its name is stable over counts; its version follows its last time and is never newer
/// than `newest`, the version of the projection.
pub fn event_object(event: &EventRecord, newest: u64) -> Value {
    let path = event.field_path.as_deref().unwrap_or_default();
    let subject = format!("{}|{path}|{}|{}", event.uid, event.reason, similar::told_as(&event.message));
    let digest: String = stable_uid(&subject).chars().filter(|c| *c != '-').take(16).collect();
    let version = u64::try_from(event.last.as_millisecond()).unwrap_or(1).min(newest).max(1);
    let time = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut object = json!({
        "kind": event.object.kind.as_str(),
        "namespace": event.object.namespace,
        "name": event.object.name,
        "uid": event.uid,
        "apiVersion": event.object.kind.api_version(),
    });
    if !path.is_empty() {
        object["fieldPath"] = json!(path);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": format!("{}.{digest}", event.object.name),
            "namespace": if event.object.namespace.is_empty() { "default" } else { &event.object.namespace },
            "uid": stable_uid(&format!("Event|{subject}")),
            "resourceVersion": version.to_string(),
            "creationTimestamp": time(event.first),
        },
        "involvedObject": object,
        "reason": event.reason,
        "message": event.message,
        "source": {"component": event.component},
        "firstTimestamp": time(event.first),
        "lastTimestamp": time(event.last),
        "count": event.count,
        "type": match event.kind { EventType::Normal => "Normal", EventType::Warning => "Warning" },
        "eventTime": null,
        "reportingComponent": event.component,
        "reportingInstance": "",
    })
}

/// An event back from its API object, for `describe`; `None` when it is none.
pub fn event_record(object: &Value) -> Option<EventRecord> {
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let involved = &object["involvedObject"];
    let api = involved["apiVersion"].as_str().unwrap_or("v1");
    Some(EventRecord {
        object: ObjectKey {
            kind: Kind::from_manifest(api, involved["kind"].as_str()?)?,
            namespace: text(&involved["namespace"]).unwrap_or_default(),
            name: text(&involved["name"])?,
        },
        uid: text(&involved["uid"]).unwrap_or_default(),
        field_path: text(&involved["fieldPath"]),
        kind: if object["type"] == "Warning" { EventType::Warning } else { EventType::Normal },
        reason: text(&object["reason"]).unwrap_or_default(),
        message: text(&object["message"]).unwrap_or_default(),
        component: text(&object["source"]["component"]).unwrap_or_default(),
        first: object["firstTimestamp"].as_str()?.parse().ok()?,
        last: object["lastTimestamp"].as_str()?.parse().ok()?,
        count: object["count"].as_u64().and_then(|c| u32::try_from(c).ok()).unwrap_or(1),
    })
}
