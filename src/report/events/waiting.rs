//! Events of what containers and pods wait for.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Draft;
use crate::model::{EventRecord, EventType, ObservedPod, PendingResize};
use crate::report::resize;

/// What is waited for: container, reason and message. Of the pod itself, which has the empty name, there may be several.
pub type Waits = BTreeSet<(String, (String, String))>;

/// What a change of waiting reasons tells: back-offs, images that cannot be had, volumes that cannot be made.
pub fn waiting_events(pod: &ObservedPod, old: &Waits, new: &Waits, now: Timestamp) -> Vec<EventRecord> {
    let new = new.difference(old);
    new.flat_map(|(name, (reason, message))| waiting_event(pod, name, reason, message, now)).collect()
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
    let failed = || event(EventType::Warning, "Failed", format!("Error: {reason}"));
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
        // What is wrong with an image is told, and that the container cannot be started for it.
        "ImagePullBackOff" => {
            vec![event(EventType::Normal, "BackOff", format!("Back-off pulling image {:?}", image())), failed()]
        }
        "ErrImagePull" | "RegistryUnavailable" | "SignatureValidationFailed" => {
            let text = format!("Failed to pull image {:?}: {detail}", image());
            vec![event(EventType::Warning, "Failed", text), failed()]
        }
        "ErrImageNeverPull" => {
            let text = format!("Container image {:?} is not present with pull policy of Never", image());
            vec![event(EventType::Warning, reason, text), failed()]
        }
        "InvalidImageName" => {
            let text = format!("Failed to apply default image tag {:?}: {detail}", image());
            vec![event(EventType::Warning, "InspectFailed", text), failed()]
        }
        "ImageInspectError" => {
            let text = format!("Failed to inspect image {:?}: {detail}", image());
            vec![event(EventType::Warning, "InspectFailed", text), failed()]
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
