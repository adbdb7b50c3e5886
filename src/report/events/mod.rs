//! Events out of two observations or two sets of waiting reasons, in the kubelet's words; equal ones are counted.
//!
//! The words are those of Kubernetes 1.36. Of the kubelet's events about pods some never come up here:
//!
//! - `FailedValidation` is of a static pod whose file is wrong: here the whole revision is refused, and no pod is made of it.
//! - `Preempting` is of a pod that has to go for one of a higher priority: here priority decides only who comes and who goes first.

mod container;
mod node;
mod object;
mod single;
mod waiting;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::resize;
use super::similar::is_told;
use crate::model::{
    AdmittedPod, ContainerKind, EVICTED, EventRecord, EventType, ObservedContainer, ObservedPod, Outcome, Reason,
    Sandbox, UnderPressure,
};

pub use container::volume_image_events;
pub use node::{low_event, pressure_events};
pub use object::{event_object, event_record, event_subject};
pub use single::{
    eviction_event, exceeded_event, fallback_event, hook_event, preset_events, probe_event, pulling_event,
    resolver_events, usage_event,
};
pub use waiting::{Waits, waiting_events};

/// Who tells where a pod is placed: no machine.
const SCHEDULER: &str = "default-scheduler";
/// Why a pod that ran for too long ends (pkg/kubelet/active_deadline.go).
const DEADLINE: &str = "Pod was active on the node longer than the specified deadline";

/// What happened to a pod between two observations. Times come from the records where they have them, so that a pod
/// that is adopted tells its story as it was; `now` stands in for the rest. `node` is the machine's name.
pub fn events_between(
    old: Option<&ObservedPod>,
    new: Option<&ObservedPod>,
    (node, now): (&str, Timestamp),
) -> Vec<EventRecord> {
    let Some(new) = new else { return Vec::new() };
    let old = old.filter(|o| o.record.uid == new.record.uid);
    let mut events = Vec::new();
    placement_events(old, new, (node, now), &mut events);
    rejection_events(old, new, &mut events);
    deadline_events(old, new, &mut events);
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
        container::events(new, before, container, now, &mut events);
    }
    events
}

/// What an agent that sees an incarnation of a pod for the first time has to tell of it, which is its story so far and what it
/// waits for, less what was told before: by the agent before this one, of whose events `known` is left. A wait is told anew
/// unless it is for a restart of a container that has ended before it was told.
pub fn adoption_events(
    pod: &ObservedPod,
    waiting: &Waits,
    known: &[Arc<EventRecord>],
    (node, now): (&str, Timestamp),
) -> Vec<EventRecord> {
    let story = events_between(None, Some(pod), (node, now)).into_iter();
    let story = story.filter(|event| !is_told(known, event, event.last));
    let waits = waiting_events(pod, &Waits::new(), waiting, now).into_iter();
    let waits = waits.filter(|event| !ended_at(pod, event).is_some_and(|at| is_told(known, event, at)));
    story.chain(waits).collect()
}

/// When the container that an event is about ended last.
fn ended_at(pod: &ObservedPod, event: &EventRecord) -> Option<Timestamp> {
    let path = event.field_path.as_deref()?;
    let own = pod.containers.iter().filter(|container| field_path(pod, &container.record.name) == path);
    own.filter_map(ObservedContainer::exit).map(|exit| exit.finished_at).max()
}

/// An event that is being made.
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
fn placement_events(
    old: Option<&ObservedPod>,
    new: &ObservedPod,
    (node, now): (&str, Timestamp),
    events: &mut Vec<EventRecord>,
) {
    let before = old.map(|old| &old.record.realised);
    let waited = old.is_some_and(|old| old.record.waits.is_some());
    if let Some(message) = new.record.waits.as_ref().filter(|_| !waited) {
        let at = if old.is_none() { new.record.created_at } else { now };
        events.push(unschedulable(new, message, at));
        return;
    }
    if waited && new.record.waits.is_none() {
        events.push(scheduled(new, node, now));
        return;
    }
    match (before.map(|before| before.unplaced.as_deref()), new.record.realised.unplaced.as_deref()) {
        (None, None) => events.push(scheduled(new, node, new.record.created_at)),
        (Some(Some(unplaced)), None) => {
            events.push(scheduled(new, node, now));
            if let Some(node) = unplaced.unmet.cause().of_node().filter(|_| same_spec(before, new)) {
                let message = format!("{} fits this machine now ({node})", unplaced.field);
                events
                    .push(Draft { reason: "Placed", message, component: "podwright", ..Draft::of(new, now) }.record());
            }
        }
        (before, Some(unplaced)) if unplaced.outcome == Outcome::Pending && before.flatten() != Some(unplaced) => {
            let at = if before.is_none() { new.record.created_at } else { now };
            events.push(unschedulable(new, &unplaced.message, at));
        }
        (_, Some(unplaced)) if ended(new) && !old.is_some_and(ended) => {
            let message = unplaced.message.trim_start_matches("Pod was rejected: ").to_owned();
            let (kind, reason) = (EventType::Warning, unplaced.reason().unwrap_or_default());
            let draft = Draft { kind, reason: &reason, message, ..Draft::of(new, new.record.created_at) };
            events.push(draft.record());
        }
        _ => {}
    }
}

/// A pod that was not begun for what the machine was low on (`rejectPod` of pkg/kubelet/kubelet.go).
fn rejection_events(old: Option<&ObservedPod>, new: &ObservedPod, events: &mut Vec<EventRecord>) {
    let cause = new.record.terminal_cause.as_ref().filter(|cause| cause.pressure == Some(UnderPressure::Rejected));
    let Some(cause) = cause.filter(|_| ended(new) && !old.is_some_and(ended)) else { return };
    let message = cause.message.trim_start_matches("Pod was rejected: ").to_owned();
    let draft = Draft { kind: EventType::Warning, reason: EVICTED, message, ..Draft::of(new, new.record.created_at) };
    events.push(draft.record());
}

fn ended(pod: &ObservedPod) -> bool {
    pod.record.terminal.is_some()
}

fn same_spec(before: Option<&Arc<AdmittedPod>>, now: &ObservedPod) -> bool {
    before.is_some_and(|before| before.spec == now.record.realised.spec)
}

fn scheduled(pod: &ObservedPod, node: &str, at: Timestamp) -> EventRecord {
    let message = format!("Successfully assigned {} to {node}", pod.record.key);
    Draft { reason: "Scheduled", message, component: SCHEDULER, ..Draft::of(pod, at) }.record()
}

fn unschedulable(pod: &ObservedPod, message: &str, at: Timestamp) -> EventRecord {
    let (kind, reason, message) = (EventType::Warning, "FailedScheduling", message.to_owned());
    Draft { kind, reason, message, component: SCHEDULER, ..Draft::of(pod, at) }.record()
}

/// When a pod was found to have run for too long, in the words of pkg/kubelet/active_deadline.go.
fn deadline_events(old: Option<&ObservedPod>, new: &ObservedPod, events: &mut Vec<EventRecord>) {
    let reason = Reason::Terminating(DEADLINE.to_owned());
    let is_late = |pod: &ObservedPod| {
        let cause = pod.record.terminal_cause.as_ref();
        let told = || pod.containers.iter().filter_map(|container| container.record.stopping.as_ref());
        cause.is_some_and(|cause| cause.reason == "DeadlineExceeded") || told().any(|told| told.is_for(&reason))
    };
    if !is_late(new) || old.is_some_and(is_late) {
        return;
    }
    let spec = new.record.realised.effective.open().spec;
    let seconds = spec.and_then(|spec| spec.active_deadline_seconds).unwrap_or_default();
    let began = new.record.begun_at();
    let at = began.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(began);
    events.push(Draft { reason: "DeadlineExceeded", message: DEADLINE.to_owned(), ..Draft::of(new, at) }.record());
}
