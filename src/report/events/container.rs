//! Events of one container: how its image came, that it was created, started, stopped, lost.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodSpec;

use super::Draft;
use crate::model::{
    ContainerKind, ContainerRecord, ContainerState, EventRecord, EventType, ImageSource, ObservedContainer,
    ObservedPod, ProbeKind, Reason,
};
use crate::report::{duration, resize};

/// What happened to a container between two observations.
pub(super) fn events(
    pod: &ObservedPod,
    before: Option<&ObservedContainer>,
    after: &ObservedContainer,
    now: Timestamp,
    events: &mut Vec<EventRecord>,
) {
    let record = &after.record;
    let draft = |at| Draft { container: Some(&record.name), ..Draft::of(pod, at) };
    if before.is_none() {
        image_events((&record.image, &record.image_source), &|| draft(record.created_at), events);
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

/// How an image came to be here that a volume shows. As with the kubelet it is told of the pod.
pub fn volume_image_events(pod: &ObservedPod, image: &str, source: &ImageSource, now: Timestamp) -> Vec<EventRecord> {
    let mut events = Vec::new();
    image_events((image, source), &|| Draft::of(pod, now), &mut events);
    events
}

/// How an image came to be here, such as that of a new instance.
fn image_events<'a>(
    (image, source): (&str, &ImageSource),
    draft: &impl Fn() -> Draft<'a>,
    events: &mut Vec<EventRecord>,
) {
    let present = || format!("Container image {image:?} already present on machine and can be accessed by the pod");
    let message = match source {
        ImageSource::Present => present(),
        ImageSource::Pulled { took, waited, size, mended } => {
            if let Some(why) = mended {
                let message = format!("Container image {image:?} was pulled again: {why}");
                let kind = EventType::Warning;
                let event = Draft { kind, reason: "ImageDamaged", message, component: "podwright", ..draft() };
                events.push(event.record());
            }
            let (took, waited) = (duration::go(*took), duration::go(*waited));
            format!(
                "Successfully pulled image {image:?} in {took} ({waited} including waiting). Image size: {size} bytes."
            )
        }
        ImageSource::Stale { why } => {
            let message = format!("Container image {image:?} may be older than the registry's: {why}");
            let kind = EventType::Warning;
            events.push(Draft { kind, reason: "ImageStale", message, component: "podwright", ..draft() }.record());
            present()
        }
    };
    events.push(Draft { reason: "Pulled", message, ..draft() }.record());
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
            changed_killing(&container.record)
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

/// A sidecar is called an init container here, too (the same place).
fn changed_killing(record: &ContainerRecord) -> String {
    let name = &record.name;
    match record.kind {
        ContainerKind::App => format!("Container {name} definition changed, will be restarted"),
        ContainerKind::Init | ContainerKind::Sidecar => format!("Init container {name} definition changed"),
    }
}
