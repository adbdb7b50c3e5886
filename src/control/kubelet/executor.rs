//! Performs the steps of a plan, in order. As much as possible, behavior should *not* live here: which steps, in which
//! order and why is the plan's; what a failed one ends is a table in `memory`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::after;
use super::history;
use super::memory::{Scope, scope};
use super::state::Goal;
use super::worker::Worker;
use crate::model::{
    ContainerStart, HookKind, ImageNeed, ObservedPod, PayloadFile, PodAction, PodRecord, PodStep, ResolverNotes,
    Sandbox, SharedBytes, Signal, SignalOrder, TerminalCause, TokenFile, VolumeMaterial, VolumePayload, image_wait,
};
use crate::port::{PortError, Tokens};
use crate::report::{Waits, resolver_events, waiting_events};

/// So long a start may hold up others.
const TURN: Duration = Duration::from_secs(60);

/// What came of a round's steps.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// How many steps were tried.
    pub(super) tried: usize,
    /// When the first of the steps that rest may be tried again.
    pub(super) retry_at: Option<Timestamp>,
}

/// How far a step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Whole,
    /// It goes on by itself, and the next plan knows of it.
    Left,
    Failed,
}

impl Outcome {
    fn rest(&mut self, until: Timestamp) {
        self.retry_at = Some(self.retry_at.map_or(until, |earlier| earlier.min(until)));
    }
}

impl Worker {
    /// Performs steps until one ends the round, another target comes in or the agent ends. None waits for its turn longer than
    /// until `due`, when there is something else to do.
    pub(super) async fn perform(&mut self, steps: Vec<PodStep>, goal: &Goal, mut due: Option<Timestamp>) -> Outcome {
        let shared = Arc::clone(&self.shared);
        let mut outcome = Outcome::default();
        let mut over: BTreeSet<String> = BTreeSet::new();
        for step in steps {
            if self.is_stale() && !follows_its_start(&step.action) {
                break;
            }
            if matches!(scope(&step.action), Scope::Container(name) if over.contains(name)) {
                continue;
            }
            let word = word(&step.action);
            let resting = self.memory.rests(&word, self.shared.now()).map(|(_, until)| until);
            let done = match resting {
                Some(until) => {
                    outcome.rest(until);
                    Done::Failed
                }
                None => {
                    outcome.tried += 1;
                    let turn = if needs_turn(&step.action) {
                        self.while_wanted(shared.starts.acquire(), due).await.map(Some)
                    } else {
                        Some(None)
                    };
                    let Some(turn) = turn else { break };
                    // Another target may have come in at the moment of its turn.
                    if turn.is_some() && self.is_stale() {
                        break;
                    }
                    shared.lending(turn, TURN, self.step(&step, &word, (goal, due))).await
                }
            };
            // What follows was planned without knowing that.
            if done == Done::Left {
                break;
            }
            let failed = done == Done::Failed;
            due = [due, end_of_stop(&step.action, shared.now())].into_iter().flatten().min();
            match scope(&step.action) {
                Scope::Pod if failed => break,
                Scope::Container(name) if failed => drop(over.insert(name.to_owned())),
                Scope::Pod | Scope::Container(_) | Scope::Nothing => {}
            }
            // A hook is not run of a stop that is on no record: each round would begin both again.
            if let (true, PodAction::SignalContainer { name, signal: Signal::PreStop, .. }) = (failed, &step.action) {
                over.insert(name.clone());
            }
            if let (false, PodAction::CreatePod { record } | PodAction::UpdatePod { record }) = (failed, step.action) {
                self.record = Some(record);
            }
        }
        outcome
    }

    /// Performs one step.
    async fn step(&mut self, step: &PodStep, word: &str, (goal, due): (&Goal, Option<Timestamp>)) -> Done {
        tracing::debug!(pod = %self.key, "begin: {word}");
        let result = self.act(step, due).await;
        let now = self.shared.now();
        match result {
            Ok(done @ (Done::Left | Done::Failed)) => done,
            Ok(Done::Whole) => {
                tracing::info!(pod = %self.key, reason = %step.reason, "{word}");
                self.memory.done(word, &step.action);
                if let Some(entry) = history::entry(&self.key, goal, step, now) {
                    self.shared.lock().history.act(entry);
                }
                Done::Whole
            }
            Err(error) => {
                let reason = error.waiting_reason.unwrap_or_else(|| waiting_reason(&step.action));
                let is_told = self.memory.has_failed(word, &error.to_string());
                let until = self.memory.failed(word, &step.action, (reason, &error.to_string()), now);
                if let PodAction::EnsureImage(need) = &step.action {
                    self.tell_failed_pull(need, (reason, error.to_string()), now);
                }
                let wait = until.duration_since(now).as_secs();
                // What fails for days, as what needs a damaged key does, fills no log.
                if is_told {
                    tracing::debug!(pod = %self.key, reason = %step.reason, "{word}: {error}; next try in {wait} s");
                } else {
                    tracing::warn!(pod = %self.key, reason = %step.reason, "{word}: {error}; next try in {wait} s");
                }
                Done::Failed
            }
        }
    }

    async fn act(&mut self, step: &PodStep, due: Option<Timestamp>) -> Result<Done, PortError> {
        let (backend, key) = (&self.shared.parts.backend, &self.key);
        let done = match &step.action {
            PodAction::CreatePod { record } | PodAction::UpdatePod { record } => backend.put_record(record).await,
            PodAction::MarkDeleted { deletion } => backend.mark_deleted(key, deletion).await,
            PodAction::SyncVolumes { volumes, tokens } => {
                let (volumes, unsigned) = with_tokens(volumes, tokens, &*self.shared.parts.tokens);
                if !volumes.is_empty() {
                    backend.sync_volumes(key, &volumes).await?;
                }
                unsigned.map_or(Ok(()), Err)
            }
            PodAction::RunSandbox { attempt } => {
                backend.run_sandbox(key, *attempt).await?;
                self.tell_resolver().await;
                Ok(())
            }
            PodAction::StopSandbox => backend.stop_sandbox(key).await,
            PodAction::EnsureImage(need) => {
                let (shared, observed) = (&self.shared, self.observed.as_ref());
                let status = self.pulls.ensure(need, (shared, &self.bell), observed, due).await;
                let Some(status) = status else { return Ok(Done::Left) };
                self.images.note(need, status?.source);
                Ok(())
            }
            PodAction::StartContainer(start) => {
                let known = self.images.of(&start.name, self.observed.as_deref()).cloned();
                let known = known.map(|image_source| ContainerStart { image_source, ..ContainerStart::clone(start) });
                self.pulls.used(&start.name);
                backend.start_container(key, known.as_ref().unwrap_or_else(|| start.as_ref())).await?;
                self.images.told(&start.name);
                Ok(())
            }
            PodAction::SignalContainer { name, attempt, signal, grace_seconds } => {
                let order = SignalOrder {
                    name: name.clone(),
                    attempt: *attempt,
                    signal: *signal,
                    grace_seconds: *grace_seconds,
                    reason: step.reason.to_string(),
                };
                backend.signal_container(key, &order).await
            }
            PodAction::RunHook(run) => {
                self.hooks.begin(run, (&self.shared, &self.key), self.observed.clone(), &self.bell);
                return Ok(Done::Whole);
            }
            PodAction::ResizeContainer(order) => backend.resize_container(key, order).await,
            PodAction::ReapContainer { name, attempt } => backend.reap_container(key, name, *attempt).await,
            PodAction::RemoveContainer { name, attempt } => backend.remove_container(key, name, *attempt).await,
            // Boxed: its record would make the room that every round needs half as large again.
            PodAction::Finish { phase, cause } => Box::pin(self.finish(phase, cause.as_ref())).await,
            PodAction::RemovePod => backend.remove_pod(key).await,
        };
        done.map(|()| Done::Whole)
    }

    /// Waits for a turn, which may take long, but no longer than it is wanted, nor than until `due`. `None` when it was left.
    async fn while_wanted<T>(&self, work: impl Future<Output = T>, due: Option<Timestamp>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        while !self.is_stale() && due.is_none_or(|due| self.shared.now() < due) {
            // Cancel-safe: the work is only lent to the selection, and a ring that is taken here is followed by a round.
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = self.shared.cancel.cancelled() => {}
                () = self.bell.notified() => {}
                () = self.shared.sleep_until(due) => {}
            }
        }
        None
    }

    /// What a pod with a new sandbox does not get of what it asks of its resolver.
    async fn tell_resolver(&self) {
        let seen = self.observed.as_deref().map(|pod| &pod.record);
        let Some(record) = self.record.as_deref().or(seen).cloned() else { return };
        match self.shared.parts.backend.resolver_notes(&self.key).await {
            Ok(notes) if notes == ResolverNotes::default() => {}
            Ok(notes) => {
                let pod = ObservedPod { record, sandbox: Sandbox::Absent, containers: Vec::new() };
                self.shared.lock().history.tell(resolver_events(&pod, &notes, self.shared.now()));
                self.shared.announce();
            }
            Err(error) => tracing::warn!(pod = %self.key, "{error}; what its resolver lacks is not told"),
        }
    }

    /// The events of a failed pull. What follows is a back-off: it is told as such, and no more of the pull itself.
    fn tell_failed_pull(&self, need: &ImageNeed, (reason, message): (&str, String), now: Timestamp) {
        let Some(pod) = self.observed.as_ref().filter(|_| reason == "ErrImagePull") else { return };
        let message = match need.volume {
            Some(_) => image_wait::of_volume(&need.image, &message),
            None => message,
        };
        let why = Waits::from([(need.container.clone(), (reason.to_owned(), message))]);
        let events = waiting_events(pod, &Waits::new(), &why, now);
        self.shared.lock().history.tell(events);
        self.shared.announce();
    }

    /// Records the terminal phase.
    async fn finish(&self, phase: &str, cause: Option<&TerminalCause>) -> Result<(), PortError> {
        let seen = self.observed.as_deref().map(|pod| &pod.record);
        let Some(record) = self.record.as_deref().or(seen) else { return Ok(()) };
        let record = PodRecord { terminal: Some(phase.to_owned()), terminal_cause: cause.cloned(), ..record.clone() };
        self.shared.parts.backend.put_record(&record).await
    }
}

/// Volumes with their tokens, which are made for it; without those that would lack one, and why it could not be signed.
fn with_tokens<'a>(
    volumes: &'a [VolumePayload],
    tokens: &[TokenFile],
    signer: &dyn Tokens,
) -> (Cow<'a, [VolumePayload]>, Option<PortError>) {
    let (mut volumes, mut unsigned) = (Cow::Borrowed(volumes), None);
    for token in tokens {
        let signed = match signer.mint(&token.claims) {
            Ok(signed) => signed,
            Err(error) => {
                volumes.to_mut().retain(|volume| volume.name != token.volume);
                unsigned = Some(error);
                continue;
            }
        };
        let bytes = SharedBytes::new(signed.reveal().clone());
        let file = PayloadFile { path: token.path.clone(), bytes, mode: token.mode, owner: token.owner };
        let own = volumes.to_mut().iter_mut().find(|volume| volume.name == token.volume);
        if let Some(VolumeMaterial::Files { files, .. }) = own.map(|volume| &mut volume.material) {
            files.push(file);
        }
    }
    (volumes, unsigned)
}

/// Whether a step belongs to the one before whatever is targeted by now: a postStart hook is run once or never.
fn follows_its_start(action: &PodAction) -> bool {
    matches!(action, PodAction::RunHook(run) if run.key.kind == HookKind::PostStart)
}

/// When something else is to be done for what was told to stop: the plan that has it told so knows of no such moment.
fn end_of_stop(action: &PodAction, now: Timestamp) -> Option<Timestamp> {
    let PodAction::SignalContainer { signal: Signal::Stop | Signal::PreStop, grace_seconds, .. } = action else {
        return None;
    };
    Some(after(now, Duration::from_secs(u64::try_from(*grace_seconds).unwrap_or(0))))
}

/// Whether a step is costly: few of these are performed at once.
fn needs_turn(action: &PodAction) -> bool {
    matches!(action, PodAction::RunSandbox { .. } | PodAction::StartContainer(_))
}

/// The waiting reason of Kubernetes for a step whose failure names none.
fn waiting_reason(action: &PodAction) -> &'static str {
    match action {
        PodAction::SyncVolumes { .. } => "FailedMount",
        PodAction::RunSandbox { .. } => "CreatePodSandboxError",
        PodAction::EnsureImage(_) => "ErrImagePull",
        PodAction::StartContainer(_) => "CreateContainerError",
        PodAction::ResizeContainer(_) => "ResizeError",
        PodAction::StopSandbox | PodAction::RemovePod => "FailedKillPod",
        _ => "FailedSync",
    }
}

/// A step in words: what the log says, and what tells failed steps apart. Never a value of the pod's environment.
pub(super) fn word(action: &PodAction) -> String {
    match action {
        PodAction::CreatePod { .. } => "create pod".into(),
        PodAction::UpdatePod { .. } => "update pod".into(),
        PodAction::MarkDeleted { deletion } => format!("terminate pod within {} s", deletion.grace_seconds),
        PodAction::SyncVolumes { tokens, .. } if tokens.is_empty() => "sync volumes".into(),
        PodAction::SyncVolumes { .. } => "sync volumes with tokens".into(),
        PodAction::RunSandbox { .. } => "start sandbox".into(),
        PodAction::StopSandbox => "stop sandbox".into(),
        PodAction::EnsureImage(need) => match &need.volume {
            Some(volume) => format!("image {} for volume {volume} of container {}", need.image, need.container),
            None => format!("image {} for container {}", need.image, need.container),
        },
        PodAction::StartContainer(start) => format!("start container {}#{}", start.name, start.attempt),
        PodAction::SignalContainer { name, attempt, signal: Signal::PreStop, grace_seconds } => {
            format!("begin to stop container {name}#{attempt} within {grace_seconds} s")
        }
        PodAction::RunHook(run) => {
            format!("run the {} hook of container {}#{}", run.key.kind, run.key.container, run.key.attempt)
        }
        PodAction::SignalContainer { name, attempt, signal: Signal::Stop, grace_seconds } => {
            format!("stop container {name}#{attempt} within {grace_seconds} s")
        }
        PodAction::SignalContainer { name, attempt, signal: Signal::Kill, .. } => {
            format!("kill container {name}#{attempt}")
        }
        PodAction::ResizeContainer(order) => format!("resize container {}#{}", order.name, order.attempt),
        PodAction::ReapContainer { name, attempt } => format!("clean up after container {name}#{attempt}"),
        PodAction::RemoveContainer { name, attempt } => format!("forget container {name}#{attempt}"),
        PodAction::Finish { phase, .. } => format!("finish pod as {phase}"),
        PodAction::RemovePod => "remove pod".into(),
    }
}
