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
//!
//! Few of many have their rounds at the same time: what a round holds is several times what a pod takes that is as it should
//! be, and a pod that is begun is better brought to its end than another one begun.

use std::future::pending;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::executor::word;
use super::hooks::Hooks;
use super::images::Images;
use super::memory::Memory;
use super::probes::Probers;
use super::pulls::Pulls;
use super::state::{Brief, EvictionOrder, Goal, PodState};
use super::usage::Usage;
use super::{Shared, after};
use crate::model::{
    DataObjects, Hold, HoldKind, NodeInfo, ObservedPod, PodKey, PodMemory, PodPlan, PodRecord, PodStep, ProbeRun,
};
use crate::plan::{self, PodInput, Target};

/// A worker that ended in a panic begins anew after this.
const AFTER_PANIC: Duration = Duration::from_secs(10);
/// So many rounds with steps in a row are more than any pod needs: the next one comes later.
const ROUNDS: u32 = 100;
const PAUSE: Duration = Duration::from_secs(1);
/// So long rounds may keep those of other pods waiting: steps that take longer, such as a start, wait for others.
const KEPT: Duration = Duration::from_secs(1);

/// Who waits longer than this is woken with all others that do.
const FAR: Duration = Duration::from_secs(30);

/// Runs a pod's worker until the pod is gone or the agent ends. A panic ends neither the agent nor the pod.
pub(super) async fn supervise(shared: Arc<Shared>, key: Arc<PodKey>) {
    loop {
        let mut worker = Worker::new(Arc::clone(&shared), Arc::clone(&key));
        if !ends_in_panic(std::pin::pin!(worker.run())).await {
            return;
        }
        // The text of a panic may hold anything, so the hook that printed it is all who tells it.
        let seconds = AFTER_PANIC.as_secs();
        tracing::error!(pod = %key, "the worker of this pod panicked; a new one begins in {seconds} s");
        let again = after(shared.now(), AFTER_PANIC);
        // Cancel-safe: a sleep holds nothing.
        tokio::select! {
            biased;
            () = shared.cancel.cancelled() => return,
            () = shared.parts.clock.sleep_until(again) => {}
        }
    }
}

/// Runs work to its end and says whether that was a panic. A task of its own would tell as much, and take the memory of a
/// second one for each pod.
async fn ends_in_panic(mut work: Pin<&mut impl Future<Output = ()>>) -> bool {
    // What the work had changed is complete whenever its locks are given back, and the rest of it goes with it.
    let mut poll = move |context: &mut Context<'_>| catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
    std::future::poll_fn(move |context| poll(context).map_or(Poll::Ready(true), |poll| poll.map(|()| false))).await
}

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) key: Arc<PodKey>,
    pub(super) memory: Memory,
    /// The pod as it was seen last; shared with whoever else knows it.
    pub(super) observed: Option<Arc<ObservedPod>>,
    /// Its record, when this round wrote it after that.
    pub(super) record: Option<Box<PodRecord>>,
    pub(super) images: Images,
    pub(super) pulls: Pulls,
    /// Nothing but a place while the pod has no probes.
    pub(super) probers: Option<Box<Probers>>,
    /// Whether it was asked what an agent before kept of them.
    pub(super) recalled: bool,
    /// Nothing but a place while none of its volumes has a limit.
    pub(super) usage: Option<Box<Usage>>,
    /// It was told that the eviction takes too long.
    pub(super) exceeded: bool,
    pub(super) hooks: Hooks,
    /// It is to be evicted, and no round has come to that yet.
    order: Option<Box<EvictionOrder>>,
    /// The number of the target the present round works for.
    sequence: u64,
    quiet: Option<Box<Quiet>>,
    pub(super) bell: Arc<Notify>,
}

/// A round in which there was nothing to do, with what was seen in it: of the same another plan would be the same.
struct Quiet {
    observed: Arc<ObservedPod>,
    calm: Calm,
}

/// What else the plan of such a round depended on, and when it wants to be made again.
struct Calm {
    data: Option<Arc<DataObjects>>,
    node: Arc<NodeInfo>,
    memory: PodMemory,
    at: Timestamp,
    until: Option<Timestamp>,
}

impl Calm {
    fn holds(&self, brief: &Brief, memory: &PodMemory, now: Timestamp) -> bool {
        self.data.as_ref().map(Arc::as_ptr) == brief.data.as_ref().map(Arc::as_ptr)
            && Arc::ptr_eq(&self.node, &brief.node)
            && self.memory == *memory
            // A clock that was set back changes what is over.
            && self.at <= now
            && self.until.is_none_or(|until| now < until)
    }
}

/// What follows a round.
enum Next {
    Again,
    Wait(Option<Timestamp>),
    /// There is no such pod, as targeted.
    Gone,
}

impl Worker {
    fn new(shared: Arc<Shared>, key: Arc<PodKey>) -> Self {
        let bell = shared.lock().bell(&key);
        let (memory, images) = (Memory::default(), Images::default());
        Self {
            shared,
            key,
            memory,
            observed: None,
            record: None,
            images,
            pulls: Pulls::default(),
            hooks: Hooks::default(),
            probers: None,
            recalled: false,
            usage: None,
            exceeded: false,
            order: None,
            sequence: 0,
            quiet: None,
            bell,
        }
    }

    async fn run(&mut self) {
        let shared = Arc::clone(&self.shared);
        while !shared.cancel.is_cancelled() {
            let place = shared.places.acquire().await;
            // Boxed, so that the thousands of workers that wait hold no room for a round.
            match Box::pin(shared.lending(place, KEPT, self.rounds())).await {
                ControlFlow::Continue(until) => self.wait(until).await,
                ControlFlow::Break(()) => return,
            }
        }
    }

    /// Rounds until there is nothing to do, and until when to wait then. Breaks when the pod is gone or the agent ends.
    async fn rounds(&mut self) -> ControlFlow<(), Option<Timestamp>> {
        for _ in 0..=ROUNDS {
            if self.shared.cancel.is_cancelled() {
                return ControlFlow::Break(());
            }
            match self.round().await {
                Next::Again => {}
                Next::Wait(until) => {
                    // The next round looks anew; a backend that keeps nothing would have this one's for nobody but us.
                    (self.observed, self.record) = (None, None);
                    return ControlFlow::Continue(until);
                }
                Next::Gone => {
                    let retired = self.shared.lock().retire(&self.key, self.sequence);
                    if retired {
                        self.shared.announce();
                        return ControlFlow::Break(());
                    }
                }
            }
        }
        tracing::warn!(pod = %self.key, "no end of steps after {ROUNDS} rounds; the next one comes later");
        ControlFlow::Continue(Some(after(self.shared.now(), PAUSE)))
    }

    /// Waits for the next round. Meanwhile it has the pod's volumes measured.
    async fn wait(&mut self, until: Option<Timestamp>) {
        let shared = Arc::clone(&self.shared);
        let far = after(shared.now(), FAR);
        let alarm = until.filter(|until| *until > far).map(|until| shared.alarms.set(until, &self.bell));
        let near = until.filter(|_| alarm.is_none());
        loop {
            self.measure();
            let due = self.usage.as_ref().and_then(|usage| usage.due());
            let first = [near, due].into_iter().flatten().min();
            let measured = async {
                match &mut self.usage {
                    Some(usage) => usage.measured().await,
                    None => pending().await,
                }
            };
            // Cancel-safe: a ring that is lost with its arm stays stored in the bell only if nobody took it, and whoever takes
            // it begins a round.
            tokio::select! {
                biased;
                () = self.shared.cancel.cancelled() => return,
                () = self.bell.notified() => return,
                measured = measured => {
                    if self.judge_usage(measured).await {
                        return;
                    }
                }
                () = self.shared.sleep_until(first) => {
                    // The clock was set back: what was far away may be over, and the other way round.
                    if first.is_some_and(|first| self.shared.now() < first) {
                        return;
                    }
                }
            }
            if until.is_some_and(|until| until <= self.shared.now()) {
                return;
            }
        }
    }

    async fn round(&mut self) -> Next {
        let mut brief = self.shared.lock().brief(&self.key);
        if brief.sequence != self.sequence {
            self.sequence = brief.sequence;
            self.memory.retarget();
            self.quiet = None;
        }
        // A round that fails leaves it to the next one, unless the machine is no longer low on anything.
        let is_low = brief.node.pressures.holding().next().is_some();
        self.order = brief.evict.take().or_else(|| self.order.take()).filter(|_| is_low);
        let observed = match self.shared.parts.backend.observe(&self.key).await {
            Ok(observed) => observed,
            Err(error) => {
                tracing::warn!(pod = %self.key, "{error}");
                let why = ("FailedSync", error.to_string());
                let until = self.memory.rest("observe", (why.0, &why.1), self.shared.now());
                return Next::Wait(Some(until));
            }
        };
        self.memory.rested("observe");
        (self.observed, self.record) = (observed, None);
        self.memory.follow(self.observed.as_ref().map(|pod| &pod.record.uid));
        let Some(goal) = &brief.goal else { return Next::Wait(None) };
        self.memory.plan.grace_limit = brief.grace_limit;
        self.memory.plan.probes = self.verdicts().await;
        self.hooks.follow(self.observed.as_deref());
        self.memory.plan.hooks = self.hooks.states();
        self.memory.plan.pulls = self.pulls.states();
        let now = self.shared.now();
        self.take_over_eviction(now);
        if let Some(order) = self.order.take()
            && self.evict_as_told(*order, now).await
        {
            return Next::Again;
        }
        let overdue = self.tell_exceeded(now);
        if let (Some(quiet), Some(observed)) = (&self.quiet, &self.observed)
            && Arc::ptr_eq(&quiet.observed, observed)
            && quiet.calm.holds(&brief, &self.memory.plan, now)
        {
            return Next::Wait([quiet.calm.until, overdue].into_iter().flatten().min());
        }
        self.quiet = None;
        let plan = self.plan(goal, &brief, now);
        let (steps, wake_at) = self.report(plan, now);
        if self.observed.is_none() && steps.is_empty() {
            return Next::Gone;
        }
        let planned = steps.len();
        let wake_at = wake_at.map(|at| not_at_once(at, now));
        if planned == 0 {
            self.quiet = self.note_quiet(&brief, now, wake_at);
        }
        let outcome = self.perform(steps, goal, wake_at).await;
        tracing::debug!(pod = %self.key, steps = planned, tried = outcome.tried, "round");
        if outcome.tried > 0 || self.is_stale() {
            return Next::Again;
        }
        Next::Wait([wake_at, outcome.retry_at, overdue].into_iter().flatten().min())
    }

    /// Only where somebody else keeps what was seen, too: a backend that gives something new each time would have it for this alone.
    /// Not of a pod whose probes or volumes are followed: a round begins those anew that ended.
    fn note_quiet(&self, brief: &Brief, at: Timestamp, until: Option<Timestamp>) -> Option<Box<Quiet>> {
        if self.probers.is_some() || self.usage.is_some() {
            return None;
        }
        let observed = self
            .observed
            .clone()
            .filter(|own| self.shared.lock().observed(&self.key).is_some_and(|known| Arc::ptr_eq(&known, own)))?;
        let (data, node, memory) = (brief.data.clone(), Arc::clone(&brief.node), self.memory.plan.clone());
        let calm = Calm { data, node, memory, at, until };
        Some(Box::new(Quiet { observed, calm }))
    }

    fn plan(&self, goal: &Goal, brief: &Brief, now: Timestamp) -> PodPlan {
        let target = match goal {
            Goal::Run { pod, revision, reason } => Target::Run { pod, revision, reason },
            Goal::Gone { reason } => Target::Gone { reason },
        };
        plan::pod(&PodInput {
            key: &self.key,
            target,
            observed: self.observed.as_deref(),
            data: brief.data.as_deref(),
            memory: &self.memory.plan,
            node: &brief.node,
            instance: &self.shared.parts.instance,
            now,
        })
    }

    /// Tells what was seen and planned, and gives back what is to be done and when to plan again. Steps that rest after a
    /// failure are told as something to wait for.
    fn report(&mut self, plan: PodPlan, now: Timestamp) -> (Vec<PodStep>, Option<Timestamp>) {
        self.pulls.follow(&plan);
        let PodPlan { steps, mut holds, wake_at, waiting, held: _, probes, probed, limits } = plan;
        self.probe(probes);
        self.watch_usage(limits, now);
        let resting = steps.iter().filter_map(|step| self.memory.rests(&word(&step.action), now));
        let resting = resting.map(|(failure, until)| Hold {
            kind: HoldKind::Waiting,
            container: String::new(),
            reason: failure.reason.clone(),
            message: failure.message.clone(),
            until: Some(until),
        });
        holds.extend(resting);
        let (observed, settled) = (self.observed.clone(), steps.is_empty());
        let next = PodState { observed, waiting, holds, probed, planned: true, settled, is_outdated: false };
        let node = self.shared.parts.node.name.as_str();
        if self.shared.lock().report(&self.key, self.sequence, next, (node, now)) {
            self.shared.announce();
        }
        (steps, wake_at)
    }

    /// Has these probes asked from now on, and no others.
    fn probe(&mut self, probes: Vec<ProbeRun>) {
        if !probes.is_empty() || self.probers.is_some() {
            let probers = self.probers.get_or_insert_default();
            probers.follow(probes, self.observed.as_deref(), (&self.shared, &self.key, &self.bell));
        }
    }

    /// Another target came in, or the agent ends.
    pub(super) fn is_stale(&self) -> bool {
        self.shared.cancel.is_cancelled() || !self.shared.lock().is_current(&self.key, self.sequence)
    }
}

/// When a plan is made again that wants to be: one that wants to be at once would be without end.
fn not_at_once(wake_at: Timestamp, now: Timestamp) -> Timestamp {
    if wake_at > now { wake_at } else { after(now, PAUSE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_wakes_in_the_past_is_made_again_after_a_pause() {
        let at = |second| Timestamp::from_second(second).unwrap();
        for (wake_at, expected) in [(101, 101), (100, 101), (7, 101), (500, 500)] {
            assert_eq!(not_at_once(at(wake_at), at(100)), at(expected), "{wake_at}");
        }
        assert_eq!(not_at_once(Timestamp::MIN, Timestamp::MAX), Timestamp::MAX);
    }

    #[test]
    fn a_quiet_round_holds_as_long_as_all_that_it_knew_is_the_same() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (data, other) = (Arc::new(DataObjects::default()), Arc::new(DataObjects::default()));
        let (node, memory) = (Arc::new(NodeInfo::default()), PodMemory::default());
        let calm = Calm { data: Some(data.clone()), node: node.clone(), memory, at: at(100), until: Some(at(200)) };
        let brief = |data: Option<&Arc<DataObjects>>, node: &Arc<NodeInfo>| Brief {
            goal: None,
            sequence: 0,
            grace_limit: None,
            evict: None,
            data: data.cloned(),
            node: Arc::clone(node),
        };
        let holds = |data, memory, second| calm.holds(&brief(data, &node), &memory, at(second));
        assert!(holds(Some(&data), PodMemory::default(), 100) && holds(Some(&data), PodMemory::default(), 199));
        assert!(!holds(Some(&data), PodMemory::default(), 200), "it is time");
        assert!(!holds(Some(&data), PodMemory::default(), 99), "the clock was set back");
        assert!(!holds(Some(&other), PodMemory::default(), 100) && !holds(None, PodMemory::default(), 100));
        assert!(!holds(Some(&data), PodMemory { grace_limit: Some(1), ..PodMemory::default() }, 100));
        let low = Arc::new(NodeInfo::default());
        assert!(!calm.holds(&brief(Some(&data), &low), &PodMemory::default(), at(100)), "the machine is another");
    }
}
