//! Hooks: when they are run, and what follows.
//!
//! A preStop hook begins with the stop of its container, whatever that is for, and takes its time out of the grace period
//! (`killContainer` in pkg/kubelet/kuberuntime of 1.36). The record says that the stop has begun before the hook does, so that an
//! agent that begins anew goes on with what is left of the time: it runs the hook again. A postStart hook follows the start of
//! its instance, and is lost with the agent.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use super::draft::Draft;
use super::opened::Opened;
use super::pod::Round;
use super::teardown::{Stop, signal};
use crate::model::{
    Handler, HookKey, HookKind, HookRun, HookState, ObservedContainer, PodAction, PodMemory, Reason, Signal,
};

/// Nothing limits a postStart hook but the life of its container; this is longer than any, and no hook is given more.
const UNLIMITED: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn run(
    container: &Container,
    attempt: u32,
    (kind, hook): (HookKind, &LifecycleHandler),
    timeout: Duration,
) -> PodAction {
    let key = HookKey { container: container.name.clone(), attempt, kind };
    PodAction::RunHook(HookRun { key, handler: Handler::of_hook(hook, container), timeout: timeout.min(UNLIMITED) })
}

/// How far a hook of an instance came; `None` when this agent has not begun it.
pub(super) fn state(memory: &PodMemory, name: &str, attempt: u32, kind: HookKind) -> Option<HookState> {
    // Most pods have no hooks.
    if memory.hooks.is_empty() {
        return None;
    }
    memory.hooks.get(&HookKey { container: name.to_owned(), attempt, kind }).copied()
}

/// Whether an instance that runs does not count as running yet: its postStart hook is not done.
pub(super) fn is_starting(memory: &PodMemory, name: &str, attempt: u32) -> bool {
    state(memory, name, attempt, HookKind::PostStart) == Some(HookState::Running)
}

/// The postStart hook of an instance that is started by the step before.
pub(super) fn after_start(container: &Container, attempt: u32, reason: Reason, draft: &mut Draft) {
    if let Some(hook) = HookKind::PostStart.of(container) {
        draft.step(run(container, attempt, (HookKind::PostStart, hook), UNLIMITED), reason);
    }
}

/// Begins the stop of an instance with its preStop hook; whether it has one.
pub(super) fn begin(
    round: &Round<'_>,
    pod: &Opened<'_>,
    instance: &ObservedContainer,
    stop: &Stop,
    draft: &mut Draft,
) -> bool {
    let grace = stop.left(round.input.now);
    let begun = pre_stop(pod, instance, seconds(grace));
    if let Some(run) = begun {
        draft.step(signal(instance, Signal::PreStop, grace), stop.reason.clone());
        draft.step(run, stop.reason.clone());
        return true;
    }
    false
}

/// Whether the preStop hook of an instance goes on; it is begun again when this agent has not.
pub(super) fn runs(
    round: &Round<'_>,
    pod: &Opened<'_>,
    instance: &ObservedContainer,
    until: Timestamp,
    draft: &mut Draft,
) -> bool {
    let (name, now) = (&instance.record.name, round.input.now);
    match state(round.input.memory, name, instance.record.attempt, HookKind::PreStop) {
        Some(HookState::Running) => draft.stopping(name, "its preStop hook runs", Some(until)),
        Some(HookState::Succeeded | HookState::Failed) => return false,
        None => {
            // Another pod took its place in the record, which has no hook any more: there is nothing to run.
            let left = seconds(until.duration_since(now).as_secs());
            let Some(run) = pre_stop(pod, instance, left) else { return false };
            draft.step(run, Reason::StopInterrupted);
        }
    }
    true
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn pre_stop(pod: &Opened<'_>, instance: &ObservedContainer, timeout: Duration) -> Option<PodAction> {
    let spec = pod.effective.spec.as_ref()?;
    let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
    let container = all.find(|c| c.name == instance.record.name)?;
    let hook = HookKind::PreStop.of(container)?;
    Some(run(container, instance.record.attempt, (HookKind::PreStop, hook), timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hook_has_more_time_than_can_be_added_to_a_clock() {
        let (container, hook) = (Container::default(), LifecycleHandler::default());
        let given = |time| match run(&container, 0, (HookKind::PreStop, &hook), time) {
            PodAction::RunHook(run) => run.timeout,
            other => panic!("{other:?}"),
        };
        assert_eq!([given(seconds(i64::MAX)), given(seconds(30))], [UNLIMITED, Duration::from_secs(30)]);
    }
}
