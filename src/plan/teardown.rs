//! How containers and pods end: the stop signal, the grace period, SIGKILL, the sandbox, the record.

use jiff::{SignedDuration, Timestamp};

use super::draft::Draft;
use super::hook;
use super::opened::Opened;
use super::pod::Round;
use super::probe;
use crate::model::{
    ContainerKind, ContainerState, Deletion, ObservedContainer, PodAction, Reason, Sandbox, Signal, Stopping,
};

/// Kubernetes' grace period when a pod names none.
const GRACE: i64 = 30;
/// What a container gets at least between the stop signal and SIGKILL, whatever its grace period is and whoever has used it up
/// (kuberuntime_container.go, `minimumGracePeriodInSeconds`).
const LEAST_GRACE: i64 = 2;

/// The pod's own grace period in seconds; a negative one counts as 1, as the API has it.
pub(super) fn grace_of(pod: &Opened<'_>) -> i64 {
    let spec = pod.effective.spec.as_ref();
    let grace = spec.and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(GRACE);
    if grace < 0 { 1 } else { grace }
}

/// The same for the end of the whole pod, which always has a second (pod_workers.go, `calculateEffectiveGracePeriod`).
pub(super) fn grace_of_end(pod: &Opened<'_>) -> i64 {
    grace_of(pod).max(1)
}

/// Ends the pod: marks it, stops what runs, then removes sandbox and record.
pub(super) fn teardown(round: &Round<'_>, pod: &Opened<'_>, why: &Reason, draft: &mut Draft) {
    probe::probes(pod, round.input.memory, true, draft);
    let own = grace_of_end(pod);
    let wanted = round.input.memory.grace_limit.map_or(own, |limit| own.min(limit.max(1)));
    let deletion = match &pod.record.deletion {
        Some(deletion) if deletion.grace_seconds <= wanted => deletion.clone(),
        // A grace period only ever shrinks; when and why the deletion began stays.
        Some(deletion) => mark(Deletion { grace_seconds: wanted, ..deletion.clone() }, why, draft),
        None => {
            let reason = why.to_string();
            mark(Deletion { requested_at: round.input.now, grace_seconds: wanted, reason }, why, draft)
        }
    };
    let stop = Stop {
        reason: Reason::Terminating(deletion.reason.clone()),
        grace: Grace::Seconds(deletion.grace_seconds),
        began: Some(deletion.requested_at),
    };
    let ended = stop.all(round, pod, draft);
    if !ended {
        return;
    }
    // A failure from before the deletion is of no interest any more.
    let failure = round.input.memory.failures.get("").filter(|failure| failure.at >= deletion.requested_at);
    if let Some((failure, until)) = failure.and_then(|f| Some((f, round.held_until(f)?))) {
        draft.hold("", &failure.reason, &failure.message, Some(until));
        return;
    }
    if pod.sandbox != Sandbox::Absent {
        draft.step(PodAction::StopSandbox, stop.reason.clone());
    }
    draft.step(PodAction::RemovePod, stop.reason);
}

fn mark(deletion: Deletion, why: &Reason, draft: &mut Draft) -> Deletion {
    draft.step(PodAction::MarkDeleted { deletion: deletion.clone() }, why.clone());
    deletion
}

/// The time that what is stopped has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grace {
    /// So many seconds for hooks, for those whose turn comes before, and to end after the stop signal; for that always
    /// [`LEAST_GRACE`].
    Seconds(i64),
    /// SIGKILL without a hook and without a stop signal.
    None,
}

impl Grace {
    fn seconds(self) -> i64 {
        match self {
            Self::Seconds(seconds) => seconds.max(0),
            Self::None => 0,
        }
    }
}

/// A stop of containers.
pub(super) struct Stop {
    pub(super) reason: Reason,
    pub(super) grace: Grace,
    /// When the stop of the whole pod began, if that is on record: the grace period is for all of it.
    pub(super) began: Option<Timestamp>,
}

impl Stop {
    /// The same with the beginning that the instances tell which were told to stop for it: `killPod` of the kubelet gives all of
    /// them one time together, and the sidecars what the others leave of it.
    fn begun(&self, pod: &Opened<'_>) -> Self {
        let sandbox = pod.containers.iter().map(|c| c.record.sandbox_attempt).max();
        let of_this_sandbox = pod.containers.iter().filter(|c| Some(c.record.sandbox_attempt) == sandbox);
        let told = of_this_sandbox.filter_map(|c| c.record.stopping.as_ref()).filter(|told| told.is_for(&self.reason));
        // One whose hook or whose turn came first was given what was left then.
        let began = |told: &Stopping| {
            let used = SignedDuration::from_secs(self.grace.seconds().saturating_sub(told.grace_seconds).max(0));
            let began = told.since.checked_sub(used).unwrap_or(told.since);
            // After a hook that took nearly all of it, it was given more than was left.
            told.hook_since.map_or(began, |hook| hook.min(began))
        };
        Self { reason: self.reason.clone(), grace: self.grace, began: self.began.or_else(|| told.map(began).min()) }
    }

    /// Stops every live container: first those that are no sidecars, then the sidecars from last to first; all that is
    /// left at once when the grace period is over. Returns whether none is left.
    pub(super) fn all(&self, round: &Round<'_>, pod: &Opened<'_>, draft: &mut Draft) -> bool {
        let stop = self.begun(pod);
        let live: Vec<&ObservedContainer> = pod.containers.iter().filter(|c| c.is_live()).collect();
        reap(&live, draft);
        let running = |c: &&&ObservedContainer| matches!(c.state, ContainerState::Running { .. });
        let rank = |c: &ObservedContainer| match c.record.kind {
            ContainerKind::Sidecar => round.sidecar_rank(pod, &c.record.name),
            ContainerKind::Init | ContainerKind::App => usize::MAX,
        };
        let turn = live.iter().filter(running).map(|c| rank(c)).max();
        let over = stop.is_over(round.input.now);
        for container in live.iter().filter(running) {
            // One that was told before (for a new image, say) is never forgotten.
            // Nor does one wait longer than the time that it was given, which may have begun before this stop.
            let is_due = |stopping: &Stopping| {
                !stopping.pre_stop || passed(stopping.since, stop.granted(stopping), round.input.now)
            };
            let told = container.record.stopping.as_ref().is_some_and(is_due);
            if told || over || stop.grace.seconds() == 0 || Some(rank(container)) == turn {
                stop.one(round, pod, container, draft);
            } else {
                stop.early(round, pod, container, draft);
                // Whatever it waits for until then, its turn comes when the time of the whole pod is over.
                if let Some(began) = stop.began {
                    draft.wake(deadline(began, stop.grace.seconds()));
                }
            }
        }
        live.is_empty()
    }

    /// The next step in stopping one running container, whose turn it is.
    pub(super) fn one(&self, round: &Round<'_>, pod: &Opened<'_>, container: &ObservedContainer, draft: &mut Draft) {
        let now = round.input.now;
        let name = &container.record.name;
        match &container.record.stopping {
            // SIGKILL is on its way; the end is reported as a hint.
            Some(stopping) if stopping.killed_at.is_some() => {
                draft.stopping(name, "killed, waiting for its end", None);
            }
            None if self.grace == Grace::None => draft.step(signal(container, Signal::Kill, 0), self.reason.clone()),
            Some(_) if self.grace == Grace::None => {
                draft.step(signal(container, Signal::Kill, 0), Reason::GraceExceeded);
            }
            // A hook takes its time out of the grace period: without any it is not begun.
            None if !self.is_over(now) && self.left(now) > 0 && hook::begin(round, pod, container, self, draft) => {}
            None => draft.step(signal(container, Signal::Stop, self.remaining(now)), self.reason.clone()),
            Some(stopping) if stopping.pre_stop => {
                let grace = self.granted(stopping);
                let until = deadline(stopping.since, grace);
                let is_over = passed(stopping.since, grace, now);
                if is_over || !hook::runs(round, pod, container, until, draft) {
                    // A second that has begun is not over.
                    let used = now.duration_since(stopping.since).as_secs().max(0);
                    let left = (grace - used).max(LEAST_GRACE).min(self.remaining(now));
                    draft.step(signal(container, Signal::Stop, left), self.reason.clone());
                }
            }
            Some(stopping) => {
                let grace = self.granted(stopping).max(LEAST_GRACE);
                if passed(stopping.since, grace, now) {
                    draft.step(signal(container, Signal::Kill, 0), Reason::GraceExceeded);
                } else {
                    let until = deadline(stopping.since, grace);
                    draft.stopping(name, "told to stop, waiting for its end", Some(until));
                }
            }
        }
    }

    /// What comes before its turn: the preStop hooks of all begin together.
    fn early(&self, round: &Round<'_>, pod: &Opened<'_>, container: &ObservedContainer, draft: &mut Draft) {
        match &container.record.stopping {
            None => drop(hook::begin(round, pod, container, self, draft)),
            Some(stopping) => {
                let until = deadline(stopping.since, self.granted(stopping));
                if !hook::runs(round, pod, container, until, draft) {
                    // A time that has passed wakes nobody: whom it waits for has one of its own.
                    let until = Some(until).filter(|until| *until > round.input.now);
                    draft.stopping(&container.record.name, "waiting for its turn to stop", until);
                }
            }
        }
    }

    /// Whether the grace period of the whole pod has passed.
    fn is_over(&self, now: Timestamp) -> bool {
        self.began.is_some_and(|began| passed(began, self.grace.seconds(), now))
    }

    /// What an instance that was told to stop was given, which may have become less: in seconds.
    fn granted(&self, stopping: &Stopping) -> i64 {
        stopping.grace_seconds.min(self.grace.seconds())
    }

    /// What is left of the grace period for a hook, in seconds: one that has begun is not over.
    pub(super) fn left(&self, now: Timestamp) -> i64 {
        let used = self.began.map_or(0, |began| now.duration_since(began).as_secs().max(0));
        (self.grace.seconds() - used).max(0)
    }

    /// What is left of it between the stop signal and SIGKILL, in seconds.
    fn remaining(&self, now: Timestamp) -> i64 {
        self.left(now).max(LEAST_GRACE)
    }
}

/// A signal for an instance.
pub(super) fn signal(container: &ObservedContainer, signal: Signal, grace_seconds: i64) -> PodAction {
    let (name, attempt) = (container.record.name.clone(), container.record.attempt);
    PodAction::SignalContainer { name, attempt, signal, grace_seconds }
}

/// Cleans up after instances without a monitor and after starts that were cut short.
pub(super) fn reap(live: &[&ObservedContainer], draft: &mut Draft) {
    for container in live {
        let reason = match container.state {
            ContainerState::Lost => Reason::MonitorLost,
            ContainerState::Created => Reason::StartInterrupted,
            ContainerState::Running { .. } | ContainerState::Exited(_) => continue,
        };
        let record = &container.record;
        draft.step(PodAction::ReapContainer { name: record.name.clone(), attempt: record.attempt }, reason);
    }
}

fn deadline(since: Timestamp, seconds: i64) -> Timestamp {
    since.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// Whether a grace period is over. A clock that was set back cannot measure it: then it is over too, lest the pod hangs.
pub(super) fn passed(since: Timestamp, seconds: i64, now: Timestamp) -> bool {
    now >= deadline(since, seconds) || since.duration_since(now) > SignedDuration::from_secs(1)
}
