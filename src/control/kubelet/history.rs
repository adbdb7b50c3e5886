//! What happened and what was done, as people read it; bounded, in memory. A new agent goes on from the events of the one before.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::state::{Goal, PodState};
use crate::model::{ActionEntry, EventRecord, ObservedPod, PodAction, PodKey, PodStep, Reason, Verb};
use crate::report::{EventLog, Waits, adoption_events, events_between, is_told, waiting_events};

/// How many different events are kept.
const EVENTS: usize = 1000;
/// How many actions are kept.
const ACTIONS: usize = 50;

#[derive(Default)]
pub(super) struct History {
    events: EventLog,
    pub(super) actions: VecDeque<ActionEntry>,
}

impl History {
    /// Goes on from these, the newest of them.
    pub(super) fn recall(&mut self, events: Vec<Arc<EventRecord>>) {
        self.events = EventLog::after(events, EVENTS);
    }

    /// The events between the last look at a pod and this one. Of one that is looked at for the first time, which an agent
    /// before may have done, what was not told yet.
    pub(super) fn observe(&mut self, old: &PodState, new: &PodState, (node, now): (&str, Timestamp)) {
        let Some(pod) = new.observed.as_deref() else { return };
        let is_known = |old: &&ObservedPod| old.record.uid == pod.record.uid;
        let known = old.observed.as_deref().filter(|_| old.planned).filter(is_known);
        let events = match known {
            None => adoption_events(pod, &reasons(new), self.events.told(), (node, now)),
            Some(known) => {
                let mut events = events_between(Some(known), Some(pod), (node, now));
                events.extend(waiting_events(pod, &reasons(old), &reasons(new), now));
                events
            }
        };
        self.tell(events);
    }

    /// The events of containers that are still held back, as a kubelet has them each time that it looks at a pod
    /// (pkg/kubelet/kuberuntime/kuberuntime_manager.go, `doBackOff`; pkg/kubelet/images/image_manager.go). Returns whether there
    /// are any.
    pub(super) fn hold(&mut self, state: &PodState, now: Timestamp) -> bool {
        let Some(pod) = state.observed.as_deref().filter(|_| !state.waiting.is_empty()) else { return false };
        let mut waits = reasons(state);
        waits.retain(|(_, (reason, _))| matches!(reason.as_str(), "CrashLoopBackOff" | "ImagePullBackOff"));
        let events = waiting_events(pod, &Waits::new(), &waits, now);
        let are_any = !events.is_empty();
        self.tell(events);
        are_any
    }

    /// Adds those of these that were not told since then.
    pub(super) fn tell_anew(&mut self, mut events: Vec<EventRecord>, since: Timestamp) {
        events.retain(|event| !is_told(self.events.told(), event, since));
        self.tell(events);
    }

    /// What is told so far.
    pub(super) fn told(&self) -> Vec<Arc<EventRecord>> {
        self.events.told().to_vec()
    }

    /// Adds events that were not there before.
    pub(super) fn tell(&mut self, events: Vec<EventRecord>) {
        for event in events {
            self.events.add(event, EVENTS);
        }
    }

    /// An action for the status. One that repeats takes the place of its last equal.
    pub(super) fn act(&mut self, entry: ActionEntry) {
        let same = |e: &ActionEntry| {
            (&e.pod, &e.action, &e.reason, &e.revision) == (&entry.pod, &entry.action, &entry.reason, &entry.revision)
        };
        self.actions.retain(|e| !same(e));
        self.actions.push_back(entry);
        while self.actions.len() > ACTIONS {
            self.actions.pop_front();
        }
    }
}

/// Waiting reasons of the containers, and those of the pod itself under the empty name.
fn reasons(state: &PodState) -> Waits {
    let own = state.holds.iter().filter(|hold| hold.container.is_empty());
    let own = own.map(|hold| (String::new(), (hold.reason.clone(), hold.message.clone())));
    state.waiting.iter().map(|(name, why)| (name.clone(), why.clone())).chain(own).collect()
}

/// Whether a pod that waited is created now.
fn begins(reason: &Reason) -> bool {
    matches!(reason, Reason::UpdatedInPlace(changes) if changes.iter().any(|change| change.effect == Verb::Create))
}

/// A step as an entry of the status, if it is one that people want to read about.
pub(super) fn entry(key: &PodKey, goal: &Goal, step: &PodStep, now: Timestamp) -> Option<ActionEntry> {
    let recreated = matches!(step.reason, Reason::Recreated(_));
    let (action, reason) = match &step.action {
        // The entry of the recreation was made when the old pod began to go.
        PodAction::CreatePod { .. } if recreated => return None,
        PodAction::CreatePod { .. } => ("create", step.reason.to_string()),
        PodAction::UpdatePod { .. } if begins(&step.reason) => ("create", step.reason.to_string()),
        PodAction::UpdatePod { .. } => ("update in place", step.reason.to_string()),
        PodAction::MarkDeleted { .. } if recreated => ("recreate", step.reason.to_string()),
        PodAction::MarkDeleted { .. } => ("delete", step.reason.to_string()),
        PodAction::StartContainer(start) if start.attempt > 0 => {
            ("restart container", format!("{}: {}", start.name, step.reason))
        }
        _ => return None,
    };
    let revision = match goal {
        Goal::Run { revision, .. } => Some(revision.clone()),
        Goal::Gone { .. } => None,
    };
    Some(ActionEntry {
        time: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        pod: key.to_string(),
        action: action.to_owned(),
        reason,
        revision,
    })
}
