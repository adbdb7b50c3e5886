//! A backend of pods out of a backend of containers: one worker per pod.

mod alarms;
mod executor;
mod history;
mod hooks;
mod images;
mod memory;
mod pressure;
mod probes;
mod pulls;
mod state;
mod usage;
mod worker;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::{AdmittedPod, DataObjects, EventRecord, NodeInfo, ObservedPod, PodKey, Reason};
use crate::plan;
use crate::port::{Capabilities, Clock, ContainerBackend, Hint, PodBackend, PortError, Tokens};

use alarms::Alarms;
pub use state::{FleetState, PodState};
use state::{Goal, State};

/// So many pods have their rounds at the same time, more than a machine has cores, and than pods on most.
const PLACES: usize = 256;

/// So long what was known of probes is asked for before all pods get their workers: one whose files do not come holds up no
/// other.
const RECALL: Duration = Duration::from_secs(1);

/// What a kubelet is made of.
pub struct KubeletParts {
    pub backend: Arc<dyn ContainerBackend>,
    pub clock: Arc<dyn Clock>,
    pub tokens: Arc<dyn Tokens>,
    pub node: NodeInfo,
    /// The root's instance id.
    pub instance: String,
    /// How often every pod is looked at although nothing hints at it; zero: never.
    pub resync: Duration,
    /// How many sandboxes and containers are started at the same time.
    pub starts: usize,
}

/// Keeps pods as they are targeted. Dropping it ends its workers after their current step; the pods stay.
pub struct Kubelet {
    shared: Arc<Shared>,
}

/// What the workers share.
struct Shared {
    parts: KubeletParts,
    state: Mutex<State>,
    /// Counts what may change the status.
    changed: watch::Sender<u64>,
    cancel: CancellationToken,
    tasks: TaskTracker,
    starts: Semaphore,
    /// A permit for each pod that may have its rounds now.
    places: Semaphore,
    /// A permit for each pod whose volumes are being measured.
    measuring: Semaphore,
    /// What pods wait for long.
    alarms: Alarms,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete when its lock is given back, so a panic elsewhere leaves it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// Never resolves without a deadline.
    async fn sleep_until(&self, deadline: Option<Timestamp>) {
        match deadline {
            Some(deadline) => self.parts.clock.sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    /// Does `work` with a permit that others wait for. Work that takes very long gives it back and goes on, lest it holds
    /// them up.
    async fn lending<T>(&self, permit: impl Sized, within: Duration, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let over = after(self.now(), within);
        // Cancel-safe: the work is only lent to the selection.
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = self.parts.clock.sleep_until(over) => drop(permit),
        }
        work.await
    }
}

impl Kubelet {
    /// Begins to listen to the backend. Must be called on a tokio runtime. Nothing is done to a pod without a target.
    pub fn start(parts: KubeletParts) -> Arc<Self> {
        let starts = Semaphore::new(parts.starts.max(1));
        let hints = parts.backend.hints();
        let state = State::on(parts.node.clone());
        let shared = Arc::new(Shared {
            parts,
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
            starts,
            places: Semaphore::new(PLACES),
            measuring: Semaphore::new(usage::PLACES),
            alarms: Alarms::default(),
        });
        shared.tasks.spawn(fan_out(Arc::clone(&shared), hints));
        shared.tasks.spawn(ring(Arc::clone(&shared)));
        if !shared.parts.resync.is_zero() {
            shared.tasks.spawn(resync(Arc::clone(&shared)));
        }
        if !shared.parts.node.eviction.hard.is_empty() {
            shared.tasks.spawn(pressure::watch(Arc::clone(&shared)));
        }
        Arc::new(Self { shared })
    }

    /// The ConfigMaps and Secrets pods may refer to. Pods that use what changed are brought up to date.
    pub fn set_data(&self, data: &Arc<DataObjects>) {
        let mut state = self.shared.lock();
        let before = state.data.replace(Arc::clone(data));
        if before.as_ref() != Some(data) {
            state.wake_all();
        }
    }

    /// The machine, of which more is known than before. Every pod is brought up to date.
    pub(super) fn set_node(&self, node: &NodeInfo) {
        let mut state = self.shared.lock();
        // What it is low on is looked at here.
        let pressures = state.node.pressures.clone();
        state.node = Arc::new(NodeInfo { pressures, ..node.clone() });
        state.wake_all();
    }

    /// The events of an agent before this one, which are gone on from. To be called before anything is targeted.
    pub fn recall(&self, events: Vec<Arc<EventRecord>>) {
        self.shared.lock().history.recall(events);
    }

    /// Allows a deletion of the pod no more than this grace period, in seconds. A later call may only lower it.
    pub fn limit_grace(&self, key: &PodKey, seconds: i64) {
        let mut state = self.shared.lock();
        let slot = state.slot(key);
        slot.grace_limit = Some(slot.grace_limit.map_or(seconds, |limit| limit.min(seconds)));
        slot.wake();
    }

    /// Who signs their tokens.
    pub(super) fn tokens(&self) -> Arc<dyn Tokens> {
        Arc::clone(&self.shared.parts.tokens)
    }

    /// What is known about the pods right now.
    pub fn fleet(&self) -> FleetState {
        self.shared.lock().fleet()
    }

    /// The pods there are, each as it was seen last.
    pub(super) fn seen(&self) -> Vec<Arc<ObservedPod>> {
        self.shared.lock().seen()
    }

    /// Tells that [`Kubelet::fleet`] may give something new.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Ends the workers after their current step, or without it after `within`. The pods stay.
    pub async fn shutdown(&self, within: Duration) {
        self.shared.cancel.cancel();
        self.shared.tasks.close();
        let deadline = after(self.shared.now(), within);
        tokio::select! {
            biased;
            () = self.shared.tasks.wait() => {}
            () = self.shared.parts.clock.sleep_until(deadline) => {
                tracing::warn!("not every step of the pods ended in time; the next agent goes on from what it finds");
            }
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.shared.now()
    }

    /// Never resolves without a deadline.
    pub(super) async fn sleep_until(&self, deadline: Option<Timestamp>) {
        self.shared.sleep_until(deadline).await;
    }

    /// Sets the target; a worker is there afterwards. The newest target replaces an older one.
    fn target(&self, key: &PodKey, goal: Goal) {
        let mut state = self.shared.lock();
        let slot = state.slot(key);
        if !slot.set_goal(goal) {
            // The pod stays as it is, but the presets that conflict in it may be others.
            if state.tell_conflicts(key, self.shared.now()) {
                drop(state);
                self.shared.announce();
            }
            return;
        }
        if !slot.working {
            slot.working = true;
            let key = state.key(key);
            self.shared.tasks.spawn(worker::supervise(Arc::clone(&self.shared), key));
        }
        drop(state);
        self.shared.announce();
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.shared.cancel.cancel();
    }
}

#[async_trait]
impl PodBackend for Kubelet {
    async fn observe(&self) -> Result<Vec<Arc<ObservedPod>>, PortError> {
        let pods = self.shared.parts.backend.list().await?;
        let new = self.shared.lock().unseen(&pods);
        let mut probed = BTreeMap::new();
        let over = after(self.now(), RECALL);
        for pod in new {
            // Whoever looks before its worker does is told what was known last; an error is told by the worker.
            // Cancel-safe: what is read is not taken.
            let kept = tokio::select! {
                biased;
                kept = self.shared.parts.backend.kept_verdicts(&pod.record.key) => kept.unwrap_or_default(),
                () = self.shared.parts.clock.sleep_until(over) => break,
            };
            if !kept.is_empty() {
                probed.insert(pod.record.key.clone(), plan::probed(&pod, kept));
            }
        }
        self.shared.lock().seed(&pods, probed);
        Ok(pods)
    }

    async fn apply(&self, pod: Arc<AdmittedPod>, revision: &str, reason: &Reason) -> Result<(), PortError> {
        let key = pod.key.clone();
        self.target(&key, Goal::Run { pod, revision: revision.to_owned(), reason: reason.clone() });
        Ok(())
    }

    async fn remove(&self, key: &PodKey, reason: &Reason) -> Result<(), PortError> {
        self.target(key, Goal::Gone { reason: reason.clone() });
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        self.shared.parts.backend.capabilities()
    }
}

/// Wakes the worker a hint is about. A hint for a pod without a target means nothing.
async fn fan_out(shared: Arc<Shared>, mut hints: mpsc::Receiver<Hint>) {
    loop {
        // Cancel-safe: a hint is taken or stays in the channel.
        let hint = tokio::select! {
            biased;
            () = shared.cancel.cancelled() => return,
            hint = hints.recv() => hint,
        };
        match hint {
            Some(Hint(key)) => shared.lock().wake(&key),
            None => {
                tracing::warn!("the backend gives no hints any more; the resync finds what happens");
                return;
            }
        }
    }
}

/// Wakes the workers that wait for long.
async fn ring(shared: Arc<Shared>) {
    // Cancel-safe: nobody waits for an agent that ends.
    tokio::select! {
        biased;
        () = shared.cancel.cancelled() => {}
        () = shared.alarms.ring(&*shared.parts.clock) => {}
    }
}

async fn resync(shared: Arc<Shared>) {
    loop {
        let next = after(shared.now(), shared.parts.resync);
        // Cancel-safe: a sleep holds nothing.
        tokio::select! {
            biased;
            () = shared.cancel.cancelled() => return,
            () = shared.parts.clock.sleep_until(next) => {}
        }
        let has_told = {
            let mut state = shared.lock();
            state.wake_all();
            state.tell_held(shared.now())
        };
        if has_told {
            shared.announce();
        }
    }
}

/// `duration` after `now`, at most the end of time.
pub(super) fn after(now: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration).ok().and_then(|d| now.checked_add(d).ok()).unwrap_or(Timestamp::MAX)
}
