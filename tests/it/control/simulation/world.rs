//! The machine of a simulation: a backend in memory whose calls fail, take long or lose their answers, and what really happened
//! in it, written down as it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use podwright::backend::fake::{Fake, VirtualClock};
use podwright::model::{ContainerState, ObservedPod, PodKey, Sandbox};
use podwright::port::{Clock, ContainerBackend, ErrorKind, PortError};
use tokio::sync::Notify;

use super::planted::Planted;
use super::pods::{DISK, ROOM};
use super::trace::{Event, HAPPENINGS, Instance, Moment};
use crate::dice::Dice;

/// It outlives its agents.
pub(super) struct World {
    pub(super) fake: Arc<Fake>,
    pub(super) clock: Arc<VirtualClock>,
    pub(super) seed: u64,
    pub(super) planted: Option<Planted>,
    begun: Timestamp,
    state: Mutex<State>,
    /// Rings when the agent dies in a call.
    pub(super) died: Notify,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) trace: Vec<(Moment, Event)>,
    /// Every pod as it was written down last.
    seen: BTreeMap<PodKey, Seen>,
    /// How often each thing was asked for, and failed in a row.
    counts: BTreeMap<String, u32>,
    failures: BTreeMap<String, u32>,
    /// Nothing goes wrong any more.
    is_calm: bool,
    /// The agent that lives; the calls of those before it never return.
    agent: u32,
    /// After so many more calls it dies, before or after the call has done its work.
    calls_left: Option<(usize, bool)>,
    /// Instances whose end is not told, for it did not happen.
    pub(super) ghosts: BTreeSet<Instance>,
    /// Pods that take more of the disk than they may.
    full: BTreeSet<String>,
    /// What a bug was done to already.
    pub(super) done: BTreeSet<String>,
}

/// A pod as it was written down.
#[derive(Default)]
struct Seen {
    /// All of it.
    pod: Option<Arc<ObservedPod>>,
    uid: String,
    generation: i64,
    grace: Option<i64>,
    terminal: Option<String>,
    round: u32,
    sandbox: Option<u32>,
    running: BTreeSet<Instance>,
    known: BTreeSet<(String, u32)>,
    lost: BTreeSet<(String, u32)>,
}

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Fails,
    /// It is done, and fails.
    LosesAnswer,
    Slow(Duration),
    /// So long it does not return, and then it fails; it may be done.
    Hangs {
        time: Duration,
        is_done: bool,
    },
}

impl World {
    pub(super) fn new(fake: Arc<Fake>, clock: Arc<VirtualClock>, seed: u64, planted: Option<Planted>) -> Arc<Self> {
        let begun = clock.now();
        Arc::new(Self { fake, clock, seed, planted, begun, state: Mutex::default(), died: Notify::new() })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn has(&self, planted: Planted) -> bool {
        self.planted == Some(planted)
    }

    pub(super) fn since(&self, moment: Timestamp) -> Moment {
        i64::try_from(moment.duration_since(self.begun).as_millis()).unwrap()
    }

    pub(super) fn now(&self) -> Moment {
        self.since(self.clock.now())
    }

    pub(super) fn note(&self, event: Event) {
        let now = self.now();
        self.state().trace.push((now, event));
    }

    /// An accident, or what somebody did.
    pub(super) fn happened(&self, pod: Option<&PodKey>, what: &'static str) {
        if !what.is_empty() {
            debug_assert!(HAPPENINGS.contains(&what), "{what}");
            self.note(Event::Happened { pod: pod.map(|pod| pod.name.clone()), what });
        }
    }

    /// A pod takes more of the disk from now on than it may, if it has a volume for that.
    pub(super) fn fill(&self, key: &PodKey) {
        let Some(pod) = self.fake.pod(key) else { return };
        let spec = pod.record.realised.effective.open().spec.unwrap_or_default();
        if spec.volumes.iter().flatten().any(|volume| volume.name == DISK) {
            self.fake.fill(key, DISK, ROOM + 1);
            self.happened(Some(key), "a disk that ran full");
            self.note(Event::Full { uid: pod.record.uid.0.clone() });
            self.state().full.insert(pod.record.uid.0);
        }
    }

    /// Whether a pod takes more than it may and has not ended.
    pub(super) fn is_full(&self, pod: &ObservedPod) -> bool {
        pod.record.terminal.is_none() && self.state().full.contains(&pod.record.uid.0)
    }

    /// Another agent, which dies after so many calls. Returns its number.
    pub(super) fn begin_agent(&self, calls_left: Option<(usize, bool)>) -> u32 {
        self.note(Event::AgentBegan);
        let mut state = self.state();
        state.agent += 1;
        state.calls_left = calls_left.filter(|_| !state.is_calm);
        state.agent
    }

    /// The agent dies now: whatever it waits for never comes.
    pub(super) fn kill_agent(&self) {
        self.state().agent += 1;
        self.died.notify_one();
    }

    pub(super) fn is_alive(&self, agent: u32) -> bool {
        self.state().agent == agent
    }

    pub(super) fn calm(&self) {
        let mut state = self.state();
        (state.is_calm, state.calls_left) = (true, None);
    }

    /// Whether something may go wrong.
    pub(super) fn may_fail(&self) -> bool {
        !self.state().is_calm
    }

    /// Counts a call of the living agent. Whether it dies in it, and then whether after its work.
    pub(super) fn count_call(&self) -> Option<bool> {
        let mut state = self.state();
        let (left, after) = state.calls_left.as_mut()?;
        *left = left.saturating_sub(1);
        let dies = (*left == 0).then_some(*after);
        if dies.is_some() {
            state.calls_left = None;
        }
        dies
    }

    /// Dice for the next time something with this name comes up.
    pub(super) fn dice(&self, name: &str) -> Dice {
        let mut state = self.state();
        let count = state.counts.entry(name.to_owned()).or_default();
        *count += 1;
        Dice::of(self.seed, &format!("{name} {count}"))
    }

    /// What goes wrong with a call about `subject`. Whoever cannot keep a pod's times for it is written down.
    pub(super) fn fault(&self, pod: Option<&PodKey>, subject: &str, may_wait: bool) -> Fault {
        if self.state().is_calm {
            return Fault::None;
        }
        let mut dice = self.dice(subject);
        let millis = |least: usize, most: usize, dice: &mut Dice| {
            Duration::from_millis((least + dice.below(most - least)) as u64)
        };
        let fault = match dice.below(1000) {
            0..=19 => Fault::Fails,
            20..=39 => Fault::LosesAnswer,
            40..=59 => Fault::Slow(millis(50, 6_050, &mut dice)),
            60..=62 => Fault::Hangs { time: millis(10_000, 120_000, &mut dice), is_done: dice.chance(50) },
            _ => Fault::None,
        };
        self.happened(
            pod,
            match fault {
                Fault::None => "",
                Fault::Fails => "a call that failed",
                Fault::LosesAnswer => "a call that failed and was done",
                Fault::Slow(_) => "a call that took long",
                Fault::Hangs { is_done: false, .. } => "a call that hung and failed",
                Fault::Hangs { is_done: true, .. } => "a call that hung, was done and failed",
            },
        );
        let now = self.now();
        let mut state = self.state();
        let until = match fault {
            Fault::None => {
                state.failures.remove(subject);
                return fault;
            }
            Fault::Slow(_) if may_wait => return fault,
            Fault::Slow(time) => now + i64::try_from(time.as_millis()).unwrap(),
            Fault::Fails | Fault::LosesAnswer | Fault::Hangs { .. } => {
                let failures = state.failures.entry(subject.to_owned()).or_default();
                *failures += 1;
                let hung = if let Fault::Hangs { time, .. } = fault { time } else { Duration::ZERO };
                now + i64::try_from(hung.as_millis()).unwrap() + (10_000 << (*failures - 1).min(5)).min(300_000)
            }
        };
        // What is not about a pod is about all of them, unless it may wait.
        if pod.is_some() || !may_wait {
            state.trace.push((now, Event::Hindered { pod: pod.map(|pod| pod.name.clone()), until }));
        }
        fault
    }

    pub(super) fn told_to_fail(&self) -> PortError {
        PortError::new(ErrorKind::Unavailable, "work", "the world", "told to")
    }

    /// Writes down what became of every pod.
    pub(super) fn look_at_all(&self) {
        let seen: Vec<PodKey> = self.state().seen.keys().cloned().collect();
        for key in self.fake.keys().into_iter().chain(seen).collect::<BTreeSet<_>>() {
            self.look(&key);
        }
    }

    /// Writes down what became of a pod since the last look.
    pub(super) fn look(&self, key: &PodKey) {
        let pod = self.fake.observed(key);
        let now = self.now();
        let mut state = self.state();
        let is_same = |seen: &Seen| seen.pod.as_ref().map(Arc::as_ptr) == pod.as_ref().map(Arc::as_ptr);
        if state.seen.get(key).map_or(pod.is_none(), is_same) {
            return;
        }
        let mut seen = state.seen.remove(key).unwrap_or_default();
        if !seen.uid.is_empty() && pod.as_ref().is_none_or(|pod| pod.record.uid.0 != seen.uid) {
            if seen.sandbox.is_some() {
                state.trace.push((now, Event::SandboxEnded { uid: seen.uid.clone() }));
            }
            state.trace.push((now, Event::Removed { uid: seen.uid.clone() }));
            seen = Seen::default();
        }
        let Some(pod) = pod else { return };
        seen.pod = Some(Arc::clone(&pod));
        self.look_at_record(&pod, &mut seen, (&mut *state, now));
        self.look_at_sandbox(&pod, &mut seen, (&mut *state, now));
        self.look_at_containers(&pod, &mut seen, &mut state);
        state.seen.insert(key.clone(), seen);
    }

    fn look_at_record(&self, pod: &ObservedPod, seen: &mut Seen, (state, now): (&mut State, Moment)) {
        let record = &pod.record;
        let uid = record.uid.0.clone();
        if seen.uid != uid || seen.generation != record.generation {
            let spec = Arc::new(record.realised.effective.open().spec.unwrap_or_default());
            state.trace.push((now, Event::Recorded { pod: record.key.name.clone(), uid: uid.clone(), spec }));
            (seen.uid, seen.generation) = (uid.clone(), record.generation);
        }
        if let Some(deletion) = record.deletion.as_ref().filter(|deletion| seen.grace != Some(deletion.grace_seconds)) {
            // Its time runs from then on, even if it took long to write that down.
            let (at, grace) = (self.since(deletion.requested_at), deletion.grace_seconds);
            state.trace.push((at, Event::Deleted { uid: uid.clone(), grace }));
            seen.grace = Some(grace);
        }
        if record.round() > seen.round {
            seen.round = record.round();
            state.trace.push((now, Event::AllRestarted { uid: uid.clone(), count: seen.round }));
        }
        if seen.terminal != record.terminal {
            let phase = record.terminal.clone();
            let cause = record.terminal_cause.as_ref().map(|cause| cause.reason.clone());
            state.trace.extend(phase.map(|phase| (now, Event::Finished { uid, phase, cause })));
            seen.terminal.clone_from(&record.terminal);
        }
    }

    fn look_at_sandbox(&self, pod: &ObservedPod, seen: &mut Seen, (state, now): (&mut State, Moment)) {
        let uid = &seen.uid;
        let running = match pod.sandbox {
            Sandbox::Ready { attempt, .. } => Some(attempt),
            Sandbox::Absent | Sandbox::Dead { .. } => None,
        };
        if seen.sandbox == running {
            return;
        }
        if seen.sandbox.is_some() {
            let leaks = self.has(Planted::LeaksSandbox) && pod.sandbox == Sandbox::Absent;
            state.trace.extend((!leaks).then(|| (now, Event::SandboxEnded { uid: uid.clone() })));
        }
        let began = |attempt| (now, Event::SandboxBegan { uid: uid.clone(), attempt });
        state.trace.extend(running.map(began));
        seen.sandbox = running;
    }

    fn look_at_containers(&self, pod: &ObservedPod, seen: &mut Seen, state: &mut State) {
        for container in &pod.containers {
            let record = &container.record;
            let of = || Instance {
                pod: pod.record.key.name.clone(),
                uid: pod.record.uid.0.clone(),
                container: record.name.clone(),
                attempt: record.attempt,
            };
            let instance = (record.name.clone(), record.attempt);
            let mut began = |at: Timestamp| {
                if seen.known.insert(instance.clone()) {
                    seen.running.insert(of());
                    let (sandbox, round) = (record.sandbox_attempt, record.round);
                    state.trace.push((self.since(at), Event::Began { of: of(), sandbox, round }));
                }
            };
            match &container.state {
                ContainerState::Running { started_at, .. } => began(*started_at),
                ContainerState::Exited(exit) => {
                    began(exit.started_at.unwrap_or(record.created_at));
                    if seen.running.remove(&of()) && !state.ghosts.contains(&of()) {
                        let is_oom_killed = exit.oom_killed;
                        let ended = Event::Ended { of: of(), code: exit.exit_code, is_oom_killed };
                        state.trace.push((self.since(exit.finished_at), ended));
                    }
                }
                ContainerState::Lost if seen.lost.insert(instance.clone()) => {
                    state.trace.push((self.now(), Event::Lost { of: of() }));
                }
                ContainerState::Created | ContainerState::Lost => {}
            }
        }
    }

    /// What the machine knew of an instance is lost. If it ran it runs on, and it may be started as if it never was.
    pub(super) async fn lose(&self, key: &PodKey, name: &str, attempt: u32) {
        self.look(key);
        {
            let mut state = self.state();
            let Some(seen) = state.seen.get_mut(key) else { return };
            let is_it = |of: &Instance| of.container == name && of.attempt == attempt;
            let running = seen.running.iter().find(|of| is_it(of)).cloned();
            seen.running.retain(|of| !is_it(of));
            seen.known.remove(&(name.to_owned(), attempt));
            state.ghosts.extend(running);
        }
        self.fake.exit(key, name, 0);
        self.fake.remove_container(key, name, attempt).await.unwrap();
    }

    /// What some instances were is lost with the agent.
    pub(super) async fn lose_some(&self) {
        for key in self.fake.keys() {
            for container in self.fake.pod(&key).into_iter().flat_map(|pod| pod.containers) {
                let (name, attempt) = (container.record.name, container.record.attempt);
                if matches!(container.state, ContainerState::Running { .. }) && self.dice("lose").chance(30) {
                    self.lose(&key, &name, attempt).await;
                }
            }
        }
    }

    /// The trace in order.
    pub(super) fn trace(&self) -> Vec<(Moment, Event)> {
        let mut trace = std::mem::take(&mut self.state().trace);
        trace.sort_by_key(|(at, _)| *at);
        trace
    }
}
