//! Probes: which are asked, when, and what their answers come to.
//!
//! As the kubelet's pkg/kubelet/prober/worker.go of 1.36 has it. A probe belongs to one instance of a container: its tally
//! begins with it and ends with it. (The kubelet's run of equal results goes on in the next instance after a crash.)
//!
//! ```text
//!   startup ── failed often enough ──▶ ended, by the policy started again
//!      │ succeeded once, or there is none
//!      ▼
//!   liveness ── failed often enough ─▶ ended, by the policy started again
//!   readiness ─ goes to and fro while the instance runs
//! ```

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Probe};

use super::draft::Draft;
use super::hook;
use super::opened::Opened;
use super::restart;
use crate::model::{
    ContainerKind, ContainerRecord, ContainerState, Handler, ObservedPod, PodMemory, ProbeKey, ProbeKind, ProbeRun,
    ProbeVerdict, ProbeVerdicts, Probed, ProbedContainers,
};

/// Kubernetes' defaults (pkg/apis/core/v1/defaults.go, `SetDefaults_Probe`), which also stand for a zero.
const PERIOD: u32 = 10;
const TIMEOUT: u32 = 1;
const SUCCESSES: u32 = 1;
const FAILURES: u32 = 3;

/// How often a probe answered the same, and what counts of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    kind: ProbeKind,
    /// What counts; nothing does yet of a startup probe.
    passed: Option<bool>,
    last: Option<bool>,
    /// How often in a row `last`.
    run: u32,
    begun_at: Option<Timestamp>,
}

impl Tally {
    /// Before the first answer: what counts already, else liveness as a success, readiness as a failure, startup as neither.
    pub fn new(kind: ProbeKind, verdict: Option<ProbeVerdict>) -> Self {
        let at_first = match kind {
            ProbeKind::Startup => None,
            ProbeKind::Liveness => Some(true),
            ProbeKind::Readiness => Some(false),
        };
        let passed = verdict.map(|verdict| verdict.passed).or(at_first);
        Self { kind, passed, last: None, run: 0, begun_at: None }
    }

    /// What counts now.
    pub fn passed(&self) -> Option<bool> {
        self.passed
    }

    /// When it is asked next: first as soon as the delay is over, then once in a period, at once when the last answer took
    /// longer than that. A clock that was set back cannot measure either: what lies ahead of it counts from now on.
    ///
    /// The kubelet's first run comes within a period after the delay, and after its own restart at a random moment of one; an
    /// agent that begins anew asks at once.
    pub fn due(&self, run: &ProbeRun, now: Timestamp) -> Timestamp {
        let (from, wait) = match self.begun_at {
            None => (run.started_at, run.delay),
            Some(begun_at) => (begun_at, run.period),
        };
        let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        from.min(now).checked_add(wait).unwrap_or(Timestamp::MAX).max(now)
    }

    /// It is being asked.
    #[must_use]
    pub fn begun(self, now: Timestamp) -> Self {
        Self { begun_at: Some(now), ..self }
    }

    /// It answered. An error of the prober is no answer: the tally stays as it is.
    #[must_use]
    pub fn answered(self, run: &ProbeRun, passed: bool) -> Self {
        let count = if self.last == Some(passed) { self.run.saturating_add(1) } else { 1 };
        let needed = if passed { run.successes } else { run.failures };
        let passed_now = if count >= needed { Some(passed) } else { self.passed };
        Self { passed: passed_now, last: Some(passed), run: count, ..self }
    }

    /// Whether it is not asked any more of this instance: a startup probe that came to anything, a liveness probe that failed.
    pub fn is_over(&self) -> bool {
        match self.kind {
            ProbeKind::Startup => self.passed.is_some(),
            ProbeKind::Liveness => self.passed == Some(false),
            ProbeKind::Readiness => false,
        }
    }
}

fn key(record: &ContainerRecord, kind: ProbeKind) -> ProbeKey {
    ProbeKey { container: record.name.clone(), attempt: record.attempt, id: record.id.clone(), kind }
}

fn verdict(record: &ContainerRecord, kind: ProbeKind, memory: &PodMemory) -> Option<ProbeVerdict> {
    // Most pods have no probes.
    if memory.probes.is_empty() { None } else { memory.probes.get(&key(record, kind)).copied() }
}

/// Whether a running instance counts as started.
pub(super) fn is_started(container: &Container, record: &ContainerRecord, memory: &PodMemory) -> bool {
    container.startup_probe.is_none() || verdict(record, ProbeKind::Startup, memory).is_some_and(|v| v.passed)
}

/// The probe that a running instance has to end for, if one has failed, and its grace period in seconds: the probe's own,
/// else the pod's (pkg/kubelet/kuberuntime/kuberuntime_container.go, `setTerminationGracePeriod`).
pub(super) fn failed(
    container: &Container,
    record: &ContainerRecord,
    memory: &PodMemory,
    grace_of_pod: i64,
) -> Option<(ProbeKind, i64)> {
    // The kubelet asks for liveness first.
    let kind = [ProbeKind::Liveness, ProbeKind::Startup]
        .into_iter()
        .find(|kind| verdict(record, *kind, memory).is_some_and(|verdict| !verdict.passed))?;
    let own = kind.of(container).and_then(|probe| probe.termination_grace_period_seconds);
    Some((kind, own.filter(|seconds| *seconds > 0).unwrap_or(grace_of_pod)))
}

/// Plans what is asked of the pod's running containers, and tells what came of it so far. Of a pod that `ends` readiness alone is
/// asked, and so it is of a container that was told to stop.
pub(super) fn probes(pod: &Opened<'_>, memory: &PodMemory, ends: bool, draft: &mut Draft) {
    let Some(spec) = pod.effective.spec.as_ref() else { return };
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|c| restart::kind_of(c, true) == ContainerKind::Sidecar);
    for container in sidecars.chain(&spec.containers) {
        if ProbeKind::ALL.iter().all(|kind| kind.of(container).is_none()) {
            continue;
        }
        let Some(latest) = pod.latest(&container.name) else { continue };
        // What has not done its postStart hook does not count as running.
        let starting = || hook::is_starting(memory, &container.name, latest.record.attempt);
        if let ContainerState::Running { started_at, .. } = latest.state
            && !starting()
        {
            of_one(container, (&latest.record, started_at), memory, ends, draft);
        }
    }
}

/// What probes have said of a pod's containers, for whoever shows it before the first plan.
pub fn probed(pod: &ObservedPod, verdicts: ProbeVerdicts) -> ProbedContainers {
    let memory = PodMemory { probes: verdicts, ..PodMemory::default() };
    let mut draft = Draft::default();
    probes(&Opened::new(pod), &memory, true, &mut draft);
    draft.plan.probed
}

fn of_one(
    container: &Container,
    (record, started_at): (&ContainerRecord, Timestamp),
    memory: &PodMemory,
    ends: bool,
    draft: &mut Draft,
) {
    let started = is_started(container, record, memory);
    let readiness = verdict(record, ProbeKind::Readiness, memory);
    let ready = started && (container.readiness_probe.is_none() || readiness.is_some_and(|verdict| verdict.passed));
    if container.startup_probe.is_some() || container.readiness_probe.is_some() {
        let startup = verdict(record, ProbeKind::Startup, memory);
        let since = startup.map(|verdict| verdict.since).max(readiness.map(|verdict| verdict.since));
        draft.plan.probed.insert(container.name.clone(), Probed { started, ready, since });
    }
    for kind in ProbeKind::ALL {
        let Some(probe) = kind.of(container) else { continue };
        let stays = !ends && record.stopping.is_none();
        let asked = match kind {
            ProbeKind::Startup => stays && verdict(record, kind, memory).is_none(),
            ProbeKind::Liveness => stays && started && verdict(record, kind, memory).is_none_or(|v| v.passed),
            ProbeKind::Readiness => started,
        };
        if asked {
            draft.plan.probes.push(run(container, probe, key(record, kind), started_at));
        }
    }
}

fn run(container: &Container, probe: &Probe, key: ProbeKey, started_at: Timestamp) -> ProbeRun {
    let amount = |value: Option<i32>, default: u32| {
        value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
    };
    let seconds = |value: Option<i32>, default: u32| Duration::from_secs(u64::from(amount(value, default)));
    ProbeRun {
        key,
        handler: Handler::of_probe(probe, container),
        started_at,
        delay: seconds(probe.initial_delay_seconds, 0),
        period: seconds(probe.period_seconds, PERIOD),
        timeout: seconds(probe.timeout_seconds, TIMEOUT),
        successes: amount(probe.success_threshold, SUCCESSES),
        failures: amount(probe.failure_threshold, FAILURES),
    }
}
