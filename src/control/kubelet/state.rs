//! What the workers have in common: one slot per pod, the data objects, events and actions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use super::history::History;
use crate::model::{
    ActionEntry, AdmittedPod, DataObjects, EventRecord, Hold, HoldKind, NodeInfo, NodePressures, ObservedPod, PodKey,
    PodUid, ProbedContainers, Reason, TerminalCause,
};
use crate::plan::{self, Change};
use crate::report::preset_events;

/// So often a kubelet looks at a pod to which nothing happens, and tells what is held back (pkg/kubelet/pod_workers.go).
const AGAIN: SignedDuration = SignedDuration::from_secs(60);

/// What a pod is to become.
#[derive(Clone, Debug)]
pub(super) enum Goal {
    Run { pod: Arc<AdmittedPod>, revision: String, reason: Reason },
    Gone { reason: Reason },
}

/// An order to evict an incarnation of a pod, and why.
pub(super) type EvictionOrder = (PodUid, TerminalCause);

/// Everything about one pod that is not in the world.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) goal: Option<Arc<Goal>>,
    /// Counts the targets: a plan made for an older one is not performed any further.
    pub(super) sequence: u64,
    pub(super) grace_limit: Option<i64>,
    /// It is to be evicted; whoever plans for it next takes this.
    evict: Option<Box<EvictionOrder>>,
    /// A worker is there.
    pub(super) working: bool,
    wake: Arc<Notify>,
    /// The same value as long as nothing changes: whatever was made of it is known to hold still.
    state: Arc<PodState>,
    /// What was told of presets that conflict, and of which incarnation of the pod.
    conflicts: Option<Box<(PodUid, Vec<String>)>>,
    /// The conflicts were asked for once: of those that an agent before has told nothing is told again.
    has_asked: bool,
    /// When it was told last what its containers wait for.
    told_at: Timestamp,
}

/// What is known about one pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodState {
    /// As it was seen last.
    pub observed: Option<Arc<ObservedPod>>,
    /// Waiting reason and message by container, of the last plan.
    pub waiting: BTreeMap<String, (String, String)>,
    /// What the last plan waits for.
    pub holds: Vec<Hold>,
    /// What the probes of its containers say.
    pub probed: ProbedContainers,
    /// A plan was made since the agent began to look after it.
    pub planned: bool,
    /// The last plan was made for the present target, and there was nothing to do.
    pub settled: bool,
    /// Nothing was planned for the present target yet: what is waited for is waited for with the one before.
    pub is_outdated: bool,
}

/// What is known about all pods, shared with the kubelet while nothing changes.
#[derive(Clone, Debug, Default)]
pub struct FleetState {
    pub pods: BTreeMap<Arc<PodKey>, Arc<PodState>>,
    pub events: Vec<Arc<EventRecord>>,
    /// What was done, the newest last.
    pub actions: Vec<ActionEntry>,
    /// What the machine is low on.
    pub pressures: NodePressures,
}

impl FleetState {
    /// Why a pod is not where it should be, as far as it is known; empty otherwise.
    pub fn why(&self, key: &PodKey) -> String {
        self.pods.get(key).map(|state| state.why()).unwrap_or_default()
    }
}

impl PodState {
    /// The reasons its containers wait and what the last plan waits for, in one line; empty when there is nothing.
    pub fn why(&self) -> String {
        let told = |name: &str, reason: &str, message: &str| {
            let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
            let message = if message.is_empty() { String::new() } else { format!(": {message}") };
            format!("{name}{reason}{message}")
        };
        let waiting = self.waiting.iter().map(|(name, (reason, message))| told(name, reason, message));
        let holds = self.holds.iter().filter(|hold| !self.waiting.contains_key(&hold.container));
        let holds = holds.map(|hold| told(&hold.container, &hold.reason, &hold.message));
        waiting.chain(holds).collect::<Vec<_>>().join("; ")
    }

    /// Whether the last plan waits for anything but the end of containers that were told to stop.
    pub fn is_stuck(&self) -> bool {
        !self.is_outdated && self.holds.iter().any(|hold| hold.kind == HoldKind::Waiting)
    }
}

impl Slot {
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Replaces the target. Returns whether it is another one.
    pub(super) fn set_goal(&mut self, goal: Goal) -> bool {
        let same = match (self.goal.as_deref(), &goal) {
            (Some(Goal::Run { pod: old, .. }), Goal::Run { pod: new, .. }) => {
                let made_alike = || old.spec == new.spec && old.effective == new.effective;
                let waits_alike = || old.unplaced == new.unplaced && old.pending_resize == new.pending_resize;
                Arc::ptr_eq(old, new) || (old.digest == new.digest && waits_alike() && made_alike())
            }
            (Some(Goal::Gone { .. }), Goal::Gone { .. }) => return false,
            _ => false,
        };
        if matches!(goal, Goal::Run { .. }) {
            self.grace_limit = None;
        }
        // An equal pod of a newer revision still counts: a pod created later is of that one.
        self.goal = Some(Arc::new(goal));
        if !same {
            self.sequence += 1;
            let state = Arc::make_mut(&mut self.state);
            (state.settled, state.is_outdated) = (false, true);
            self.wake();
        }
        !same
    }
}

/// What one round of a worker begins with.
#[derive(Clone)]
pub(super) struct Brief {
    pub(super) goal: Option<Arc<Goal>>,
    pub(super) sequence: u64,
    pub(super) grace_limit: Option<i64>,
    pub(super) evict: Option<Box<EvictionOrder>>,
    pub(super) data: Option<Arc<DataObjects>>,
    pub(super) node: Arc<NodeInfo>,
}

#[derive(Default)]
pub(super) struct State {
    slots: BTreeMap<Arc<PodKey>, Slot>,
    pub(super) data: Option<Arc<DataObjects>>,
    /// The machine with what it is low on now.
    pub(super) node: Arc<NodeInfo>,
    /// The pods whose eviction was begun since the machine had enough: what they kept is nobody's.
    pub(super) evicted: BTreeSet<PodUid>,
    pub(super) history: History,
}

impl State {
    /// Nothing is known of pods yet.
    pub(super) fn on(node: NodeInfo) -> Self {
        Self { node: Arc::new(node), ..Self::default() }
    }

    pub(super) fn slot(&mut self, key: &PodKey) -> &mut Slot {
        if !self.slots.contains_key(key) {
            self.slots.insert(Arc::new(key.clone()), Slot::default());
        }
        self.slots.get_mut(key).expect("invariant: a slot that was not there was added above")
    }

    /// The key of a pod, shared with its slot.
    pub(super) fn key(&mut self, key: &PodKey) -> Arc<PodKey> {
        self.slot(key);
        self.slots.get_key_value(key).map_or_else(|| Arc::new(key.clone()), |(key, _)| Arc::clone(key))
    }

    pub(super) fn wake(&self, key: &PodKey) {
        if let Some(slot) = self.slots.get(key) {
            slot.wake();
        }
    }

    pub(super) fn wake_all(&self) {
        self.slots.values().for_each(Slot::wake);
    }

    /// What wakes the worker of a pod.
    pub(super) fn bell(&mut self, key: &PodKey) -> Arc<Notify> {
        Arc::clone(&self.slot(key).wake)
    }

    pub(super) fn brief(&mut self, key: &PodKey) -> Brief {
        let (data, node) = (self.data.clone(), Arc::clone(&self.node));
        let slot = self.slot(key);
        let (goal, evict) = (slot.goal.clone(), slot.evict.take());
        Brief { goal, sequence: slot.sequence, grace_limit: slot.grace_limit, evict, data, node }
    }

    /// Has a pod evicted, if it is still this incarnation when its worker comes to it.
    pub(super) fn evict(&mut self, key: &PodKey, order: EvictionOrder) {
        if let Some(slot) = self.slots.get_mut(key).filter(|slot| slot.working) {
            slot.evict = Some(Box::new(order));
            slot.wake();
        }
    }

    /// What the machine is low on from now on. Every pod is planned for anew.
    pub(super) fn set_pressures(&mut self, pressures: NodePressures) {
        Arc::make_mut(&mut self.node).pressures = pressures;
        self.wake_all();
    }

    /// Whether the target with this number is still the newest.
    pub(super) fn is_current(&self, key: &PodKey, sequence: u64) -> bool {
        self.slots.get(key).is_some_and(|slot| slot.sequence == sequence)
    }

    /// Those of these pods that are not known yet.
    pub(super) fn unseen(&self, pods: &[Arc<ObservedPod>]) -> Vec<Arc<ObservedPod>> {
        let is_new = |pod: &&Arc<ObservedPod>| {
            self.slots.get(&pod.record.key).is_none_or(|slot| !slot.working && slot.state.observed.is_none())
        };
        pods.iter().filter(is_new).cloned().collect()
    }

    /// The world as a full relist saw it, for pods that no worker has looked at yet, with what their probes have said.
    pub(super) fn seed(&mut self, pods: &[Arc<ObservedPod>], mut probed: BTreeMap<PodKey, ProbedContainers>) {
        let there = |key: &PodKey| pods.iter().any(|pod| pod.record.key == *key);
        self.slots.retain(|key, slot| slot.working || slot.goal.is_some() || there(key));
        for pod in pods {
            let slot = self.slot(&pod.record.key);
            if !slot.working && slot.state.observed.as_ref() != Some(pod) {
                let state = Arc::make_mut(&mut slot.state);
                state.observed = Some(Arc::clone(pod));
                if let Some(probed) = probed.remove(&pod.record.key) {
                    state.probed = probed;
                }
            }
        }
    }

    /// Stores what a worker saw and planned for the target with this number. Returns whether anything is new.
    pub(super) fn report(
        &mut self,
        key: &PodKey,
        sequence: u64,
        mut next: PodState,
        (node, now): (&str, Timestamp),
    ) -> bool {
        let slot = self.slot(key);
        next.is_outdated = slot.sequence != sequence;
        next.settled &= !next.is_outdated;
        // Without anything new what was seen before stays, so that whatever is made of it is known to be the same.
        let changed = *slot.state != next;
        if changed {
            if slot.state.waiting != next.waiting {
                slot.told_at = now;
            }
            let before = std::mem::replace(&mut slot.state, Arc::new(next));
            let after = Arc::clone(&slot.state);
            self.history.observe(&before, &after, (node, now));
        }
        self.tell_conflicts(key, now) || changed
    }

    /// Events for what is held back and was not told to be for a while. Returns whether there are any.
    pub(super) fn tell_held(&mut self, now: Timestamp) -> bool {
        let Self { slots, history, .. } = self;
        let mut has_told = false;
        for slot in slots.values_mut().filter(|slot| now.duration_since(slot.told_at).abs() >= AGAIN) {
            if history.hold(&slot.state, now) {
                (slot.told_at, has_told) = (now, true);
            }
        }
        has_told
    }

    /// Events for the presets that conflict in a pod's target, once it is there and each time they are others. Returns
    /// whether anything is new.
    pub(super) fn tell_conflicts(&mut self, key: &PodKey, now: Timestamp) -> bool {
        let Some(slot) = self.slots.get_mut(key) else { return false };
        let (Some(Goal::Run { pod, .. }), Some(observed)) = (slot.goal.as_deref(), &slot.state.observed) else {
            return false;
        };
        // Of an incarnation that has to go nothing is told: its successor will be there soon. What says the same in other
        // words stays.
        let realised = &observed.record.realised;
        if realised.digest != pod.digest && plan::change(realised, pod) != Change::None {
            return false;
        }
        let events = preset_events(observed, pod, now);
        let messages: Vec<String> = events.iter().map(|event| event.message.clone()).collect();
        let told = (!messages.is_empty()).then(|| Box::new((observed.record.uid.clone(), messages)));
        if slot.conflicts == told {
            return false;
        }
        slot.conflicts = told;
        let created = observed.record.created_at;
        if std::mem::replace(&mut slot.has_asked, true) {
            self.history.tell(events);
        } else {
            self.history.tell_anew(events, created);
        }
        true
    }

    /// A pod as its worker saw it last.
    pub(super) fn observed(&self, key: &PodKey) -> Option<Arc<ObservedPod>> {
        self.slots.get(key)?.state.observed.clone()
    }

    /// Every pod as it was seen last.
    pub(super) fn seen(&self) -> Vec<Arc<ObservedPod>> {
        self.slots.values().filter_map(|slot| slot.state.observed.clone()).collect()
    }

    /// Ends a worker: its slot goes, unless a newer target came in. Returns whether it went.
    pub(super) fn retire(&mut self, key: &PodKey, sequence: u64) -> bool {
        let over = self.is_current(key, sequence);
        if over {
            self.slots.remove(key);
        }
        over
    }

    pub(super) fn fleet(&self) -> FleetState {
        FleetState {
            pods: self.slots.iter().map(|(key, slot)| (Arc::clone(key), Arc::clone(&slot.state))).collect(),
            events: self.history.told(),
            actions: self.history.actions.iter().cloned().collect(),
            pressures: self.node.pressures.clone(),
        }
    }
}
