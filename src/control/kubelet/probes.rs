//! Who asks the probes of a pod: a task for each, beside the pod's worker, which says which are asked and is woken when
//! what counts of one is another. A probe that hangs delays nothing but itself, and an equal answer costs no round.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::worker::Worker;
use super::{Shared, after};
use crate::model::{
    Caller, HandlerAnswer, HandlerCall, HandlerOutcome, ObservedPod, PodKey, ProbeKey, ProbeKind, ProbeRun,
    ProbeVerdict, ProbeVerdicts,
};
use crate::plan::Tally;
use crate::report::probe_event;

/// So often a prober that fails is asked in a row (pkg/kubelet/prober/prober.go, `maxProbeRetries`).
const TRIES: u32 = 3;
/// So much longer than a probe's timeout a backend may take to say that it is over.
const SLACK: Duration = Duration::from_secs(10);
/// What keeping verdicts is called among the steps that fail.
const KEEP: &str = "keep verdicts";

/// The probes of one pod. Dropping it ends them.
#[derive(Default)]
pub(super) struct Probers {
    verdicts: Arc<Mutex<ProbeVerdicts>>,
    tasks: BTreeMap<ProbeKey, AbortHandle>,
    /// What the backend keeps of the verdicts.
    kept: ProbeVerdicts,
}

impl Probers {
    /// Those of a pod whose probes were asked before.
    fn recalled(kept: ProbeVerdicts) -> Self {
        Self { verdicts: Arc::new(Mutex::new(kept.clone())), tasks: BTreeMap::new(), kept }
    }

    /// What counts so far.
    pub(super) fn verdicts(&self) -> ProbeVerdicts {
        lock(&self.verdicts).clone()
    }

    /// Has these probes asked from now on, and no others; what was said of instances that are gone is forgotten.
    pub(super) fn follow(
        &mut self,
        wanted: Vec<ProbeRun>,
        pod: Option<&ObservedPod>,
        (shared, key, bell): (&Arc<Shared>, &Arc<PodKey>, &Arc<Notify>),
    ) {
        let is_live = |key: &ProbeKey| {
            let latest = pod.and_then(|pod| pod.latest(&key.container));
            latest.is_some_and(|instance| instance.is_live() && instance.record.id == key.id)
        };
        lock(&self.verdicts).retain(|key, _| is_live(key));
        self.tasks.retain(|key, task| {
            if !wanted.iter().any(|run| run.key == *key) {
                task.abort();
                return false;
            }
            // One that has ended without anything to say panicked, and is begun anew.
            !task.is_finished() || lock(&self.verdicts).get(key).is_some_and(|verdict| is_final(key, *verdict))
        });
        for run in wanted {
            if self.tasks.contains_key(&run.key) {
                continue;
            }
            let probe = run.key.clone();
            let prober = Prober {
                shared: Arc::clone(shared),
                pod: Arc::clone(key),
                verdicts: Arc::clone(&self.verdicts),
                bell: Arc::clone(bell),
                tally: Tally::new(run.key.kind, lock(&self.verdicts).get(&run.key).copied()),
                run,
            };
            self.tasks.insert(probe, shared.tasks.spawn(prober.run()).abort_handle());
        }
    }
}

impl Worker {
    /// What the probes say, as the plan is to have it. What another agent kept is where this one begins, and what is new is
    /// kept before anything is done for it.
    pub(super) async fn verdicts(&mut self) -> ProbeVerdicts {
        if !std::mem::replace(&mut self.recalled, true) {
            self.recall().await;
        }
        let Some(probers) = &mut self.probers else { return ProbeVerdicts::new() };
        let verdicts = probers.verdicts();
        let now = self.shared.now();
        let is_new = verdicts.iter().any(|(key, verdict)| probers.kept.get(key) != Some(verdict));
        if is_new && self.observed.is_some() && self.memory.rests(KEEP, now).is_none() {
            match self.shared.parts.backend.keep_verdicts(&self.key, &verdicts).await {
                Ok(()) => {
                    probers.kept.clone_from(&verdicts);
                    self.memory.rested(KEEP);
                }
                Err(error) => {
                    let until = self.memory.rest(KEEP, ("FailedSync", &error.to_string()), now);
                    let wait = until.duration_since(now).as_secs();
                    tracing::warn!(pod = %self.key, "{error}; not tried again for {wait} s");
                }
            }
        }
        verdicts
    }

    /// Begins with what was kept of the instances that live.
    async fn recall(&mut self) {
        let is_new = self.observed.as_ref().is_none_or(|pod| !pod.containers.iter().any(|c| c.is_live()));
        if is_new {
            return;
        }
        match self.shared.parts.backend.kept_verdicts(&self.key).await {
            Ok(kept) if kept.is_empty() => {}
            Ok(kept) => self.probers = Some(Box::new(Probers::recalled(kept))),
            Err(error) => tracing::warn!(pod = %self.key, "{error}; its probes are asked anew"),
        }
    }
}

impl Drop for Probers {
    fn drop(&mut self) {
        self.tasks.values().for_each(AbortHandle::abort);
    }
}

/// Whether a probe that says so is not asked any more.
fn is_final(key: &ProbeKey, verdict: ProbeVerdict) -> bool {
    match key.kind {
        ProbeKind::Startup => true,
        ProbeKind::Liveness => !verdict.passed,
        ProbeKind::Readiness => false,
    }
}

fn lock(verdicts: &Mutex<ProbeVerdicts>) -> MutexGuard<'_, ProbeVerdicts> {
    // Each change is a single one.
    verdicts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One probe of one instance.
struct Prober {
    shared: Arc<Shared>,
    pod: Arc<PodKey>,
    verdicts: Arc<Mutex<ProbeVerdicts>>,
    bell: Arc<Notify>,
    /// Where it begins.
    tally: Tally,
    run: ProbeRun,
}

impl Prober {
    /// Asks again and again, until nothing more can come of it or nobody wants to know.
    async fn run(self) {
        let mut tally = self.tally;
        while !tally.is_over() {
            let due = tally.due(&self.run, self.shared.now());
            // Cancel-safe: a sleep holds nothing.
            tokio::select! {
                biased;
                () = self.shared.cancel.cancelled() => return,
                () = self.shared.parts.clock.sleep_until(due) => {}
            }
            let now = self.shared.now();
            if now < due {
                // The clock was set back.
                continue;
            }
            tally = tally.begun(now);
            let came = self.ask().await;
            self.tell(&came);
            if let Ok(answer) = came
                && answer.outcome != HandlerOutcome::Unread
            {
                let before = tally.passed();
                tally = tally.answered(&self.run, answer.outcome != HandlerOutcome::Failure);
                if let Some(passed) = tally.passed().filter(|_| tally.passed() != before) {
                    let verdict = ProbeVerdict { passed, since: self.shared.now() };
                    lock(&self.verdicts).insert(self.run.key.clone(), verdict);
                    self.bell.notify_one();
                }
            }
        }
    }

    /// The answer, or why the prober had none: it is asked a few times in a row.
    async fn ask(&self) -> Result<HandlerAnswer, String> {
        let mut tries = 1;
        loop {
            match self.ask_once().await {
                Err(_) | Ok(HandlerAnswer { outcome: HandlerOutcome::Unread, .. }) if tries < TRIES => tries += 1,
                came => return came,
            }
        }
    }

    async fn ask_once(&self) -> Result<HandlerAnswer, String> {
        let ProbeRun { key, handler, timeout, .. } = &self.run;
        let call = HandlerCall {
            container: key.container.clone(),
            attempt: key.attempt,
            handler: handler.clone().map_err(|error| error.to_string())?,
            timeout: *timeout,
            caller: Caller::Probe,
        };
        let over = after(self.shared.now(), timeout.saturating_add(SLACK));
        // Cancel-safe: a call that is given up is one whose answer nobody waits for.
        tokio::select! {
            biased;
            answer = self.shared.parts.backend.call_handler(&self.pod, &call) => answer.map_err(|error| error.to_string()),
            () = self.shared.parts.clock.sleep_until(over) => Err("the runtime did not answer in time".to_owned()),
        }
    }

    fn tell(&self, came: &Result<HandlerAnswer, String>) {
        let key = &self.run.key;
        let came = came.as_ref().map_err(String::as_str);
        if matches!(came, Ok(HandlerAnswer { outcome: HandlerOutcome::Success, .. })) {
            return;
        }
        let now = self.shared.now();
        let mut state = self.shared.lock();
        let Some(pod) = state.observed(&self.pod) else { return };
        let event = probe_event(&pod, (&key.container, key.kind), came, now);
        state.history.tell(event.into_iter().collect());
        drop(state);
        self.shared.announce();
    }
}
