//! Events of what containers and pods wait for.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Draft;
use crate::model::{EventRecord, EventType, ObservedPod, PendingResize, image_wait};
use crate::report::resize;

/// What is waited for: container, reason and message. Of the pod itself, which has the empty name, there may be several.
pub type Waits = BTreeSet<(String, (String, String))>;

/// What a change of waiting reasons tells: back-offs, images that cannot be had, volumes that cannot be made.
pub fn waiting_events(pod: &ObservedPod, old: &Waits, new: &Waits, now: Timestamp) -> Vec<EventRecord> {
    let new = new.difference(old);
    new.flat_map(|(name, (reason, message))| waiting_event(pod, name, reason, message, now)).collect()
}

fn waiting_event(pod: &ObservedPod, name: &str, reason: &str, message: &str, now: Timestamp) -> Vec<EventRecord> {
    if OF_IMAGES.contains(&reason) {
        return image_events(pod, name, (reason, message), now);
    }
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
        "ResizeError" => vec![event(EventType::Warning, reason, resize::error_message(pod, detail))],
        PendingResize::DEFERRED | PendingResize::INFEASIBLE => {
            let told = resize::pending_message(pod, reason, detail);
            told.into_iter().map(|message| event(EventType::Warning, reason, message)).collect()
        }
        "CreatePodSandboxError" => {
            vec![event(EventType::Warning, "FailedCreatePodSandBox", format!("Failed to create pod sandbox: {detail}"))]
        }
        _ if container.is_none() => vec![event(EventType::Warning, reason, detail.to_owned())],
        _ => vec![event(EventType::Warning, "Failed", format!("Error: {detail}"))],
    }
}

/// What a container waits with for an image.
const OF_IMAGES: [&str; 7] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "RegistryUnavailable",
    "SignatureValidationFailed",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
];

/// What is wrong with an image, and that the container cannot be started for it. As with the kubelet the former is told of the
/// pod where a volume shows it.
fn image_events(pod: &ObservedPod, name: &str, (reason, message): (&str, &str), now: Timestamp) -> Vec<EventRecord> {
    let own = own_image(pod, name);
    let image = image_wait::named(message).unwrap_or(&own);
    let detail = if message.is_empty() { reason } else { image_wait::without_name(message) };
    let (kind, told, text) = match reason {
        "ImagePullBackOff" => (EventType::Normal, "BackOff", format!("Back-off pulling image {image:?}")),
        "ErrImageNeverPull" => {
            let text = format!("Container image {image:?} is not present with pull policy of Never");
            (EventType::Warning, reason, text)
        }
        "InvalidImageName" => {
            (EventType::Warning, "InspectFailed", format!("Failed to apply default image tag {image:?}: {detail}"))
        }
        "ImageInspectError" => {
            (EventType::Warning, "InspectFailed", format!("Failed to inspect image {image:?}: {detail}"))
        }
        _ => (EventType::Warning, "Failed", format!("Failed to pull image {image:?}: {detail}")),
    };
    let container = (!name.is_empty()).then_some(name);
    let holder = container.filter(|_| image == own);
    let first = Draft { container: holder, kind, reason: told, message: text, ..Draft::of(pod, now) };
    let (kind, message) = (EventType::Warning, format!("Error: {reason}"));
    let second = Draft { container, kind, reason: "Failed", message, ..Draft::of(pod, now) };
    vec![first.record(), second.record()]
}

fn own_image(pod: &ObservedPod, name: &str) -> String {
    let spec = pod.record.realised.effective.open().spec.unwrap_or_default();
    let mut all = spec.init_containers.into_iter().flatten().chain(spec.containers);
    all.find(|container| container.name == name).and_then(|container| container.image).unwrap_or_default()
}
