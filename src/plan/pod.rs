//! One pod's next steps: whether it is created, changed, torn down or run, and its sandbox.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodSpec;
use sha2::{Digest, Sha256};

use super::change::{self, Change};
use super::data::View;
use super::draft::Draft;
use super::env::Scope;
use super::failure::TOKENS;
use super::field::Fields;
use super::opened::Opened;
use super::payload::{self, Payloads};
use super::restart::{self, Policy};
use super::teardown::{self, Grace, Stop, grace_of, grace_of_end};
use super::{PodInput, Target, eviction, placement, pressure, probe, resize, start, sync, together};
use crate::model::{
    Accounts, AdmittedPod, Cause, ContainerKind, ContainerState, DEFAULT_ACCOUNT, DataObjects, Failure, Fillings,
    ObservedContainer, ObservedPod, Outcome, PodAction, PodKey, PodPlan, PodRecord, PodUid, Reason, Sandbox,
    TerminalCause, Unplaced,
};

/// Kubelet's message for `activeDeadlineSeconds`.
const DEADLINE: &str = "Pod was active on the node longer than the specified deadline";

/// What one planning round knows beside the pod itself.
pub(super) struct Round<'a> {
    pub(super) input: &'a PodInput<'a>,
    /// The record changes in this very plan: failures from before it do not count any more.
    pub(super) fresh: bool,
}

/// What is known as long as no revision could be read.
static NO_DATA: DataObjects = DataObjects {
    config_maps: BTreeMap::new(),
    secrets: BTreeMap::new(),
    accounts: Accounts::new(),
    filled: Fillings::new(),
};

impl<'a> Round<'a> {
    pub(super) fn data(&self) -> &'a DataObjects {
        self.input.data.unwrap_or(&NO_DATA)
    }

    /// What variables, commands and files of a pod may refer to.
    pub(super) fn scope(&self, pod: &'a Opened<'_>) -> Scope<'a> {
        let (uid, node, ips) = (&pod.record.uid, self.input.node, pod.ips());
        Scope { fields: Fields { pod: &pod.effective, uid, node, ips }, data: self.data() }
    }

    /// A message about data that is not there; without a revision it is merely not known.
    pub(super) fn about_data(&self, message: String) -> String {
        match self.input.data {
            Some(_) => message,
            None => format!("{message} (no revision could be read yet, so ConfigMaps and Secrets are not known)"),
        }
    }

    /// Until when a failed step must not be tried again; `None` when it may be.
    pub(super) fn held_until(&self, failure: &Failure) -> Option<Timestamp> {
        let now = self.input.now;
        let until = failure.at.checked_add(failure.backoff).unwrap_or(Timestamp::MAX);
        // A failure in the future means the clock was set back: the wait cannot be measured.
        let is_over = self.fresh && failure.image.is_none();
        (!is_over && until > now && failure.at <= now).then_some(until)
    }

    /// The failure of the pod's own steps ("") or of its tokens ([`TOKENS`]) for which they must not be tried yet, and until when.
    pub(super) fn held(&self, name: &str) -> Option<(&'a Failure, Timestamp)> {
        let failure = self.input.memory.failures.get(name)?;
        Some((failure, self.held_until(failure)?))
    }

    /// A sidecar's index among the init containers: the last one stops first.
    pub(super) fn sidecar_rank(&self, pod: &Opened<'_>, name: &str) -> usize {
        let spec = pod.effective.spec.as_ref();
        let mut init = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten());
        init.position(|c| c.name == name).unwrap_or(0)
    }
}

/// The next steps of one pod.
///
/// A step for the pod itself (record, volumes, sandbox) that fails ends the round; a failed `EnsureImage` or
/// `StartContainer` ends the round for that container only.
pub fn pod(input: &PodInput<'_>) -> PodPlan {
    let mut draft = Draft::default();
    if let Some(observed) = input.observed.filter(|pod| pod.containers.iter().any(ObservedContainer::is_live))
        && let Some(ending) = evicted(input, observed)
    {
        // What cannot be written, such as a change of the record or that it is to go, does not keep it running.
        finish(&Round { input, fresh: false }, &Opened::new(observed), ending, &mut draft);
        return draft.plan;
    }
    match (input.target, input.observed) {
        (Target::Gone { .. }, None) => {}
        (Target::Run { pod, .. }, None) if pod.is_elsewhere() => {}
        (Target::Gone { reason }, Some(observed)) => {
            teardown::teardown(&Round { input, fresh: false }, &Opened::new(observed), reason, &mut draft);
        }
        (Target::Run { pod, revision, reason }, None) => {
            let record = new_record(input, pod, revision);
            let mut created = ObservedPod { record, sandbox: Sandbox::Absent, containers: Vec::new() };
            created.record.waits = pressure::waits(input.node, &created);
            draft.step(PodAction::CreatePod { record: Box::new(created.record.clone()) }, reason.clone());
            run(&Round { input, fresh: true }, &Opened::new(&created), &mut draft);
        }
        (Target::Run { pod, revision, .. }, Some(observed)) => reconcile(input, observed, (pod, revision), &mut draft),
    }
    draft.plan
}

fn reconcile(input: &PodInput<'_>, observed: &ObservedPod, target: (&Arc<AdmittedPod>, &str), draft: &mut Draft) {
    let mut round = Round { input, fresh: false };
    if let Some(deletion) = &observed.record.deletion {
        // What is going goes; a new pod takes its place once it is gone.
        let reason = Reason::Terminating(deletion.reason.clone());
        return teardown::teardown(&round, &Opened::new(observed), &reason, draft);
    }
    if pressure::has_successor(input.node, &observed.record) {
        let reason = Reason::Terminating(Reason::MachineAtEase.to_string());
        return teardown::teardown(&round, &Opened::new(observed), &reason, draft);
    }
    let mut current = Cow::Borrowed(observed);
    let data = input.data.map(View::new);
    match change::of_record(&observed.record, target.0, data.as_ref()) {
        Change::None => {}
        Change::Recreate(fields) => {
            return teardown::teardown(&round, &Opened::new(observed), &Reason::Recreated(fields), draft);
        }
        Change::InPlace(fields) => {
            let digests = data.map(|data| data.digests(&target.0.effective.open(), &observed.record.uid));
            let mut record = PodRecord {
                data_digests: digests.or_else(|| observed.record.data_digests.clone()),
                ..observed.record.clone()
            };
            // Other data makes no other pod of it.
            if fields.iter().any(|change| !matches!(change.cause, Cause::Data { .. })) {
                let before = &observed.record.realised;
                record.realised = placement::kept(before, target.0).keeping_token_of(before);
                if observed.record.realised.unplaced.is_some() && record.realised.unplaced.is_none() {
                    record.placed_at = Some(input.now);
                }
                target.1.clone_into(&mut record.revision);
                record.generation = record.generation.saturating_add(1);
                if fields.iter().any(resize::is_amount) && observed.record.realised.unplaced.is_none() {
                    record.resized_at = Some(input.now);
                }
            }
            draft.step(PodAction::UpdatePod { record: Box::new(record.clone()) }, Reason::UpdatedInPlace(fields));
            current.to_mut().record = record;
            round.fresh = true;
        }
    }
    let waits = pressure::waits(input.node, &current);
    if waits != current.record.waits {
        let record = &mut current.to_mut().record;
        let (at, reason) = match waits {
            Some(_) => (record.placed_at, Reason::MachineLow),
            None => (Some(input.now), Reason::MachineAtEase),
        };
        (record.waits, record.placed_at) = (waits, at);
        draft.step(PodAction::UpdatePod { record: Box::new(record.clone()) }, reason);
    }
    if let Some(pending) = &target.0.pending_resize {
        draft.hold("", pending.reason(), &pending.message, None);
    }
    run(&round, &Opened::new(&current), draft);
}

/// Brings a pod towards its record: ended, or with a sandbox and its containers.
fn run(round: &Round<'_>, pod: &Opened<'_>, draft: &mut Draft) {
    let Some(spec) = pod.effective.spec.as_ref() else { return };
    if pod.record.terminal.is_some() {
        return finished(round, pod, draft);
    }
    match pod.record.realised.unplaced.as_deref() {
        Some(unplaced) if unplaced.outcome == Outcome::Failed => {
            return finish(round, pod, Ending::rejected(unplaced), draft);
        }
        // It waits for a machine that fits, and no time runs.
        Some(unplaced) => return draft.hold("", "Unschedulable", &unplaced.message, None),
        None => {}
    }
    if let Some(ending) = evicted(round.input, pod) {
        return finish(round, pod, ending, draft);
    }
    if let Some(message) = &pod.record.waits {
        return draft.hold("", "Unschedulable", message, None);
    }
    if let Some(cause) = pressure::rejection(round.input.node, spec, pod) {
        return finish(round, pod, Ending::failed(cause, None), draft);
    }
    let deadline = deadline(spec, pod);
    if let Some((phase, why)) = verdict(spec, pod) {
        // A container that was stopped at the deadline may have ended well: the pod has not.
        let last = pod.containers.iter().filter_map(|c| c.exit()).map(|exit| exit.finished_at).max();
        let late = deadline.is_some_and(|deadline| last.is_some_and(|last| last >= deadline));
        let ending = if late { Ending::late() } else { Ending { phase, why, cause: None, grace: None } };
        return finish(round, pod, ending, draft);
    }
    match deadline {
        Some(deadline) if deadline <= round.input.now => return finish(round, pod, Ending::late(), draft),
        Some(deadline) => draft.wake(deadline),
        None => {}
    }
    match &pod.sandbox {
        Sandbox::Ready { attempt, .. } => {
            draft.plan.limits = eviction::limits(spec, pod.record.bounds_storage);
            if together::restart(round, spec, pod, draft) {
                return;
            }
            probe::probes(pod, round.input.memory, false, draft);
            let is_current = sync::volumes(round, pod, draft);
            start::containers(round, pod, (*attempt, is_current), draft);
        }
        Sandbox::Absent | Sandbox::Dead { .. } => {
            start::waiting_for_sandbox(spec, pod, draft);
            let stop = Stop { reason: Reason::SandboxDied, grace: Grace::Seconds(grace_of(pod)), began: None };
            if stop.all(round, pod, draft) {
                run_sandbox(round, pod, draft);
            }
        }
    }
}

/// How a pod ends that is being evicted, by this agent or by the record, and has not ended yet.
fn evicted(input: &PodInput<'_>, pod: &ObservedPod) -> Option<Ending> {
    if pod.record.terminal.is_some() || pod.record.deletion.is_some() {
        return None;
    }
    let begun = input.memory.evicted.as_ref();
    let cause = begun.map(|eviction| &eviction.cause).or(pod.record.terminal_cause.as_ref())?;
    Some(Ending::failed(cause.clone(), Some(eviction::grace(begun, input.now))))
}

/// Volumes first, then the infra process. A container is started in a later round, when the address is known.
fn run_sandbox(round: &Round<'_>, pod: &Opened<'_>, draft: &mut Draft) {
    let input = round.input;
    if let Some((failure, until)) = round.held("").or_else(|| round.held(TOKENS)) {
        return pod_waits(pod, (&failure.reason, &failure.message), Some(until), draft);
    }
    if let Some(missing) = input.data.and_then(|data| missing_account(pod, data)) {
        return pod_waits(pod, ("FailedCreate", &missing), None, draft);
    }
    let (reason, attempt) = match pod.sandbox {
        Sandbox::Dead { attempt } => {
            draft.step(PodAction::StopSandbox, Reason::SandboxDied);
            (Reason::SandboxDied, pod.record.sandbox_attempts.max(attempt.saturating_add(1)))
        }
        Sandbox::Absent | Sandbox::Ready { .. } => (Reason::SandboxMissing, pod.record.sandbox_attempts),
    };
    let scope = round.scope(pod);
    // What lacks the machine's certificate begins without it.
    let Payloads { volumes, asked, failed, .. } = payload::volumes(&scope);
    if !failed.is_empty() {
        failed.iter().for_each(|why| draft.hold("", "FailedMount", &round.about_data(why.clone()), None));
        return say(pod, &round.about_data(failed.join("; ")), draft);
    }
    if !volumes.is_empty() {
        let tokens = asked.iter().map(|asked| asked.made(input.now)).collect();
        draft.step(PodAction::SyncVolumes { volumes, tokens }, reason.clone());
    }
    draft.step(PodAction::RunSandbox { attempt }, reason);
}

/// A pod does not start before its account is there: an API server would not take it, in these words.
fn missing_account(pod: &Opened<'_>, data: &DataObjects) -> Option<String> {
    let name = pod.effective.spec.as_ref()?.service_account_name.as_deref()?;
    let namespace = &pod.record.key.namespace;
    let is_there =
        matches!(name, "" | DEFAULT_ACCOUNT) || data.accounts.contains_key(&(namespace.clone(), name.to_owned()));
    (!is_there)
        .then(|| format!("error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"))
}

/// The pod cannot get on: its containers stay as they are, with the reason in their messages.
fn pod_waits(pod: &ObservedPod, why: (&str, &str), until: Option<Timestamp>, draft: &mut Draft) {
    draft.hold("", why.0, why.1, until);
    say(pod, why.1, draft);
}

/// Why the pod cannot get on, in the messages of its containers.
fn say(pod: &ObservedPod, why: &str, draft: &mut Draft) {
    for (name, (_, message)) in &mut draft.plan.waiting {
        if pod.latest(name).is_none() {
            why.clone_into(message);
        }
    }
}

/// When `activeDeadlineSeconds` is over.
fn deadline(spec: &PodSpec, pod: &ObservedPod) -> Option<Timestamp> {
    let seconds = spec.active_deadline_seconds?;
    Some(pod.record.begun_at().checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX))
}

/// How a pod ends for good.
struct Ending {
    phase: &'static str,
    /// Why what still runs is stopped.
    why: Reason,
    cause: Option<TerminalCause>,
    /// Another grace period than the pod's own.
    grace: Option<Grace>,
}

impl Ending {
    /// Not for what its containers did.
    fn failed(cause: TerminalCause, grace: Option<Grace>) -> Self {
        let why = Reason::Terminating(cause.message.clone());
        Self { phase: "Failed", why, cause: Some(cause), grace }
    }

    fn late() -> Self {
        Self::failed(TerminalCause::new("DeadlineExceeded", DEADLINE), None)
    }

    /// The machine that the pod names does not take it.
    fn rejected(unplaced: &Unplaced) -> Self {
        Self::failed(TerminalCause::new(unplaced.reason().unwrap_or_default(), unplaced.message.clone()), None)
    }
}

/// The terminal phase, once nothing may run again, and why what still runs is stopped.
fn verdict(spec: &PodSpec, pod: &ObservedPod) -> Option<(&'static str, Reason)> {
    if together::asked(spec, pod).is_some() {
        return None;
    }
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    for container in spec.init_containers.iter().flatten() {
        let kind = restart::kind_of(container, true);
        let latest = pod.latest(&container.name);
        let exit = latest.and_then(ObservedContainer::exit);
        if let (ContainerKind::Init, Some(exit)) = (kind, exit)
            && exit.exit_code != 0
            && !latest.is_some_and(|latest| together::is_due(pod, latest))
            && !Policy::of(container, kind, policy).restarts(exit)
        {
            return Some(("Failed", Reason::Terminating(format!("init container {} failed", container.name))));
        }
    }
    let mut all_succeeded = true;
    let mut all_ended = true;
    for container in &spec.containers {
        let policy = Policy::of(container, ContainerKind::App, policy);
        match pod.latest(&container.name).and_then(|c| Some((c, c.exit()?))) {
            Some((latest, exit)) if !start::runs_again(latest, policy) && !together::is_due(pod, latest) => {
                all_succeeded &= exit.exit_code == 0;
            }
            _ => all_ended = false,
        }
    }
    if all_ended {
        return Some((if all_succeeded { "Succeeded" } else { "Failed" }, Reason::Finished));
    }
    // Kubelet makes no second sandbox for a pod that never restarts and has run something.
    let has_run = pod.containers.iter().any(|c| !matches!(c.state, ContainerState::Created));
    let lost = policy == "Never" && matches!(pod.sandbox, Sandbox::Dead { .. }) && has_run;
    lost.then_some(("Failed", Reason::SandboxDied))
}

/// Stops what still runs, records the phase, gives the sandbox back.
fn finish(round: &Round<'_>, pod: &Opened<'_>, ending: Ending, draft: &mut Draft) {
    probe::probes(pod, round.input.memory, true, draft);
    let grace = ending.grace.unwrap_or_else(|| Grace::Seconds(grace_of_end(pod)));
    let stop = Stop { reason: ending.why, grace, began: None };
    if stop.all(round, pod, draft) {
        draft.step(PodAction::Finish { phase: ending.phase.to_owned(), cause: ending.cause }, Reason::Finished);
        finished(round, pod, draft);
    }
}

/// An ended pod keeps its record and logs, not its sandbox.
fn finished(round: &Round<'_>, pod: &Opened<'_>, draft: &mut Draft) {
    let stop = Stop { reason: Reason::Finished, grace: Grace::Seconds(grace_of_end(pod)), began: None };
    if stop.all(round, pod, draft) && pod.sandbox != Sandbox::Absent {
        draft.step(PodAction::StopSandbox, Reason::Finished);
    }
}

fn new_record(input: &PodInput<'_>, pod: &Arc<AdmittedPod>, revision: &str) -> PodRecord {
    let uid = new_uid(input.instance, input.key, input.now);
    let data_digests = input.data.map(|data| View::new(data).digests(&pod.effective.open(), &uid));
    PodRecord {
        version: PodRecord::VERSION,
        key: input.key.clone(),
        uid,
        created_at: input.now,
        placed_at: None,
        revision: revision.to_owned(),
        realised: Arc::clone(pod),
        generation: 1,
        resized_at: None,
        sandbox_attempts: 0,
        deletion: None,
        terminal: None,
        terminal_cause: None,
        data_digests,
        all_restarted: None,
        bounds_storage: true,
        waits: None,
    }
}

/// A uid nobody else makes: a name-based UUID (version 8) of root, pod and moment. No randomness in a plan.
fn new_uid(instance: &str, key: &PodKey, now: Timestamp) -> PodUid {
    let hash = Sha256::digest(format!("{instance}\n{key}\n{}", now.as_nanosecond()));
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes[6] = 0x80 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    PodUid(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}
