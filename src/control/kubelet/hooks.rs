//! The hooks of a pod's containers: a task for each, so that the worker goes on meanwhile. A long preStop keeps nobody from
//! shortening the grace period, nor from killing at its end.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::{Shared, after};
use crate::model::{
    Caller, ContainerState, EventRecord, Handler, HandlerCall, HandlerOutcome, HookKey, HookRun, HookState, HookStates,
    ObservedPod, PodKey,
};
use crate::report::{fallback_event, hook_event};

/// The hooks that were begun, of instances that run.
#[derive(Default)]
pub(super) struct Hooks {
    tasks: BTreeMap<HookKey, Task>,
}

struct Task {
    succeeded: Arc<OnceLock<bool>>,
    /// A hook ends with its instance.
    _handle: AbortOnDropHandle<()>,
}

/// The end of a hook, however it comes: one that panicked has failed. Wakes the worker.
struct End {
    succeeded: Arc<OnceLock<bool>>,
    bell: Arc<Notify>,
}

impl Drop for End {
    fn drop(&mut self) {
        let _ = self.succeeded.set(false);
        self.bell.notify_one();
    }
}

impl Hooks {
    /// How far they came.
    pub(super) fn states(&self) -> HookStates {
        let state = |task: &Task| match task.succeeded.get() {
            None => HookState::Running,
            Some(true) => HookState::Succeeded,
            Some(false) => HookState::Failed,
        };
        self.tasks.iter().map(|(key, task)| (key.clone(), state(task))).collect()
    }

    /// Forgets those of instances that do not run any more.
    pub(super) fn follow(&mut self, observed: Option<&ObservedPod>) {
        let runs = |key: &HookKey| {
            let mut instances = observed.into_iter().flat_map(|pod| &pod.containers);
            instances.any(|c| {
                c.record.name == key.container
                    && c.record.attempt == key.attempt
                    && matches!(c.state, ContainerState::Running { .. })
            })
        };
        self.tasks.retain(|key, _| runs(key));
    }

    /// Begins one. The worker is woken at its end.
    pub(super) fn begin(
        &mut self,
        run: &HookRun,
        (shared, pod): (&Arc<Shared>, &Arc<PodKey>),
        observed: Option<Arc<ObservedPod>>,
        bell: &Arc<Notify>,
    ) {
        let succeeded = Arc::new(OnceLock::new());
        let end = End { succeeded: Arc::clone(&succeeded), bell: Arc::clone(bell) };
        let (shared, pod, asked) = (Arc::clone(shared), Arc::clone(pod), run.clone());
        let work = async move {
            let result = perform(&shared, &pod, &asked).await;
            let HookKey { container, attempt, kind } = &asked.key;
            match &result {
                Ok(None) => {}
                Ok(Some(text)) => {
                    tracing::warn!(pod = %pod, container, attempt, "{kind} hook: {text}");
                    tell(&shared, (&pod, observed), |seen, now| fallback_event(seen, text.clone(), now));
                }
                Err(why) => {
                    tracing::warn!(pod = %pod, container, attempt, "{kind} hook failed: {why}");
                    tell(&shared, (&pod, observed), |seen, now| hook_event(seen, container, *kind, now));
                }
            }
            let _ = end.succeeded.set(result.is_ok());
            drop(end);
        };
        let handle = AbortOnDropHandle::new(tokio::spawn(work));
        self.tasks.insert(run.key.clone(), Task { succeeded, _handle: handle });
    }
}

/// Tells of the pod as it is now; where nobody has seen it yet, as it was.
fn tell(
    shared: &Shared,
    (pod, before): (&PodKey, Option<Arc<ObservedPod>>),
    event: impl FnOnce(&ObservedPod, Timestamp) -> EventRecord,
) {
    let now = shared.now();
    let mut state = shared.lock();
    let Some(seen) = state.observed(pod).or(before) else { return };
    state.history.tell(vec![event(&seen, now)]);
    drop(state);
    shared.announce();
}

/// Runs a hook to its end: what there is to tell of it, or why it failed.
async fn perform(shared: &Shared, pod: &PodKey, run: &HookRun) -> Result<Option<String>, String> {
    let HookRun { key, handler, timeout } = run;
    let handler = handler.as_ref().map_err(ToString::to_string)?;
    if let Handler::Sleep { seconds } = handler {
        let wished = std::time::Duration::from_secs(u64::from(*seconds));
        shared.parts.clock.sleep_until(after(shared.now(), wished.min(*timeout))).await;
        return if wished > *timeout {
            Err("container terminated before sleep hook finished".to_owned())
        } else {
            Ok(None)
        };
    }
    let call = HandlerCall {
        container: key.container.clone(),
        attempt: key.attempt,
        handler: handler.clone(),
        timeout: *timeout,
        caller: Caller::Hook,
    };
    match shared.parts.backend.call_handler(pod, &call).await {
        // What a command prints is not for a log: it may hold what is secret.
        Ok(answer) if answer.outcome == HandlerOutcome::Failure => Err(match handler {
            Handler::Exec { .. } => "its command failed, or took too long".to_owned(),
            _ => answer.text,
        }),
        Ok(answer) => Ok((answer.outcome == HandlerOutcome::Warning).then_some(answer.text)),
        Err(error) => Err(error.to_string()),
    }
}
