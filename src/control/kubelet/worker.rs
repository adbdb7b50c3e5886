//! One pod's worker: observe, plan, perform, again until a plan has no steps; then wait.
//!
//! ```text
//!            ┌──────────── steps performed ───────────┐
//!            ▼                                        │
//!   new ─▶ round: observe ─▶ plan ─▶ steps? ── yes ───┘
//!            ▲                          │ no
//!            │                          ├─ gone, and nothing targeted ─▶ retired
//!            └─ wake_at, hint, target ──┴─ wait ── agent ends ─▶ end, the pod stays
//! ```

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::executor::word;
use super::memory::Memory;
use super::state::{Brief, Goal, PodState};
use super::{Shared, after};
use crate::model::{Hold, HoldKind, ObservedPod, PodKey, PodPlan, PodRecord};
use crate::plan::{self, PodInput, Target};

/// A worker that ended in a panic begins anew after this.
const AFTER_PANIC: Duration = Duration::from_secs(10);
/// So many rounds with steps in a row are more than any pod needs: the next one comes later.
const ROUNDS: u32 = 100;
const PAUSE: Duration = Duration::from_secs(1);

/// Runs a pod's worker until the pod is gone or the agent ends. A panic ends neither the agent nor the pod.
pub(super) async fn supervise(shared: Arc<Shared>, key: PodKey) {
    loop {
        let worker = tokio::spawn(Worker::new(Arc::clone(&shared), key.clone()).run());
        match worker.await {
            Ok(()) => return,
            Err(error) if error.is_panic() => {
                // The text of a panic may hold anything, so the hook that printed it is all who tells it.
                let seconds = AFTER_PANIC.as_secs();
                tracing::error!(pod = %key, "the worker of this pod panicked; a new one begins in {seconds} s");
            }
            Err(_) => return,
        }
        let again = after(shared.now(), AFTER_PANIC);
        // Cancel-safe: a sleep holds nothing.
        tokio::select! {
            () = shared.cancel.cancelled() => return,
            () = shared.parts.clock.sleep_until(again) => {}
        }
    }
}

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) key: PodKey,
    pub(super) memory: Memory,
    /// The pod's record as it is on disk.
    pub(super) record: Option<PodRecord>,
    /// The number of the target the present round works for.
    sequence: u64,
    bell: Arc<Notify>,
}

/// What follows a round.
enum Next {
    Again,
    Wait(Option<Timestamp>),
    /// There is no such pod, as targeted.
    Gone,
}

impl Worker {
    fn new(shared: Arc<Shared>, key: PodKey) -> Self {
        let bell = shared.lock().bell(&key);
        Self { shared, key, memory: Memory::default(), record: None, sequence: 0, bell }
    }

    async fn run(mut self) {
        let mut rounds = 0;
        while !self.shared.cancel.is_cancelled() {
            match self.round().await {
                Next::Again if rounds < ROUNDS => rounds += 1,
                Next::Again => {
                    rounds = 0;
                    tracing::warn!(pod = %self.key, "no end of steps after {ROUNDS} rounds; the next one comes later");
                    self.wait(Some(after(self.shared.now(), PAUSE))).await;
                }
                Next::Wait(until) => {
                    rounds = 0;
                    self.wait(until).await;
                }
                Next::Gone => {
                    let retired = self.shared.lock().retire(&self.key, self.sequence);
                    if retired {
                        self.shared.announce();
                        return;
                    }
                }
            }
        }
    }

    async fn wait(&self, until: Option<Timestamp>) {
        let timer = async {
            match until {
                Some(until) => self.shared.parts.clock.sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        // Cancel-safe: a ring that is lost with its arm stays stored in the bell only if nobody took it, and whoever takes
        // it begins a round.
        tokio::select! {
            () = self.shared.cancel.cancelled() => {}
            () = self.bell.notified() => {}
            () = timer => {}
        }
    }

    async fn round(&mut self) -> Next {
        let brief = self.shared.lock().brief(&self.key);
        if brief.sequence != self.sequence {
            self.sequence = brief.sequence;
            self.memory.retarget();
        }
        let observed = match self.shared.parts.backend.observe(&self.key).await {
            Ok(observed) => observed.map(Arc::new),
            Err(error) => {
                tracing::warn!(pod = %self.key, "{error}");
                let why = ("FailedSync", error.to_string());
                let until = self.memory.rest("observe", (why.0, &why.1), self.shared.now());
                return Next::Wait(Some(until));
            }
        };
        self.memory.rested("observe");
        self.record = observed.as_ref().map(|pod| pod.record.clone());
        let Some(goal) = brief.goal.clone() else { return Next::Wait(None) };
        self.memory.plan.grace_limit = brief.grace_limit;
        let now = self.shared.now();
        let plan = self.plan(&goal, observed.as_deref(), &brief, now);
        self.report(observed.as_ref(), &plan, now);
        if observed.is_none() && plan.steps.is_empty() {
            return Next::Gone;
        }
        let outcome = self.perform(&plan.steps, &goal).await;
        tracing::debug!(pod = %self.key, steps = plan.steps.len(), tried = outcome.tried, "round");
        if outcome.tried > 0 || self.is_stale() {
            return Next::Again;
        }
        Next::Wait([plan.wake_at, outcome.retry_at].into_iter().flatten().min())
    }

    fn plan(&self, goal: &Goal, observed: Option<&ObservedPod>, brief: &Brief, now: Timestamp) -> PodPlan {
        let target = match goal {
            Goal::Run { pod, revision, reason } => Target::Run { pod, revision, reason },
            Goal::Gone { reason } => Target::Gone { reason },
        };
        plan::pod(&PodInput {
            key: &self.key,
            target,
            observed,
            data: brief.data.as_deref(),
            memory: &self.memory.plan,
            node: &self.shared.parts.node,
            instance: &self.shared.parts.instance,
            now,
        })
    }

    /// Tells what was seen and planned. Steps that rest after a failure are told as something to wait for.
    fn report(&self, observed: Option<&Arc<ObservedPod>>, plan: &PodPlan, now: Timestamp) {
        let resting = plan.steps.iter().filter_map(|step| self.memory.rests(&word(&step.action), now));
        let resting = resting.map(|(failure, until)| Hold {
            kind: HoldKind::Waiting,
            container: String::new(),
            reason: failure.reason.clone(),
            message: failure.message.clone(),
            until: Some(until),
        });
        let next = PodState {
            observed: observed.cloned(),
            waiting: plan.waiting.clone(),
            holds: plan.holds.iter().cloned().chain(resting).collect(),
            planned: true,
            settled: plan.steps.is_empty(),
        };
        if self.shared.lock().report(&self.key, self.sequence, next, now) {
            self.shared.announce();
        }
    }

    /// Another target came in, or the agent ends.
    pub(super) fn is_stale(&self) -> bool {
        self.shared.cancel.is_cancelled() || !self.shared.lock().is_current(&self.key, self.sequence)
    }
}
