//! What a worker remembers from round to round: the planner's memory, and how long a failed step rests.

use jiff::Timestamp;

use crate::model::{Failure, PodAction, PodMemory, PodUid};
use crate::plan;

/// What a failed step ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope<'a> {
    /// The round: what follows needs it.
    Pod,
    /// The round for this container.
    Container(&'a str),
    /// Nothing: no other step of the plan needs it.
    Nothing,
}

/// The scope of a step.
pub(super) fn scope(action: &PodAction) -> Scope<'_> {
    match action {
        PodAction::CreatePod { .. }
        | PodAction::UpdatePod { .. }
        | PodAction::MarkDeleted { .. }
        | PodAction::SyncVolumes { .. }
        | PodAction::RunSandbox { .. }
        | PodAction::StopSandbox
        | PodAction::Finish { .. }
        | PodAction::RemovePod => Scope::Pod,
        PodAction::EnsureImage(need) => Scope::Container(&need.container),
        PodAction::StartContainer(start) => Scope::Container(&start.name),
        PodAction::RunHook(run) => Scope::Container(&run.key.container),
        PodAction::SignalContainer { .. }
        | PodAction::ResizeContainer(_)
        | PodAction::ReapContainer { .. }
        | PodAction::RemoveContainer { .. } => Scope::Nothing,
    }
}

/// Under which name the planner remembers that a step failed, if it does.
fn name(action: &PodAction) -> Option<&str> {
    match (action, scope(action)) {
        (PodAction::SyncVolumes { tokens, .. }, _) if !tokens.is_empty() => Some(plan::TOKENS),
        (_, Scope::Pod) => Some(""),
        (_, Scope::Container(name)) => Some(name),
        (_, Scope::Nothing) => None,
    }
}

#[derive(Default)]
pub(super) struct Memory {
    pub(super) plan: PodMemory,
    /// Which pod that is of, of all that have this name one after the other.
    of: Option<PodUid>,
    /// Failures by step. Most failed steps are held back by the plan; the rest would be planned again at once, so they
    /// rest here for the same times. It delays, and never changes, what is planned.
    resting: PodMemory,
}

impl Memory {
    /// Until when a step that failed rests.
    pub(super) fn rests(&self, word: &str, now: Timestamp) -> Option<(&Failure, Timestamp)> {
        let failure = self.resting.failures.get(word)?;
        let until = end(failure);
        // A failure in the future means the clock was set back: the wait cannot be measured.
        (until > now && failure.at <= now).then_some((failure, until))
    }

    /// Whether a step failed last for this very reason.
    pub(super) fn has_failed(&self, word: &str, message: &str) -> bool {
        self.resting.failures.get(word).is_some_and(|failure| failure.message == message)
    }

    /// This pod is there, or none. What was remembered of another one is forgotten, also when its removal was told to have failed,
    /// and was done; what was done for this one since none was there is not.
    pub(super) fn follow(&mut self, uid: Option<&PodUid>) {
        if self.of.as_ref() != uid {
            if self.of.is_some() {
                self.plan = PodMemory::default();
            }
            self.of = uid.cloned();
        }
    }

    /// A step succeeded.
    pub(super) fn done(&mut self, word: &str, action: &PodAction) {
        self.plan = plan::note_step(&self.plan, action);
        let failed_before = self.resting.failures.contains_key(word);
        self.resting = match action {
            PodAction::CreatePod { .. } | PodAction::UpdatePod { .. } => PodMemory::default(),
            _ => plan::note_success(&self.resting, word),
        };
        if failed_before && name(action) == Some("") {
            self.plan = plan::note_success(&self.plan, "");
        }
    }

    /// A step failed. Returns until when it rests.
    pub(super) fn failed(&mut self, word: &str, action: &PodAction, why: (&str, &str), now: Timestamp) -> Timestamp {
        let (reason, message) = why;
        match (name(action), action) {
            (Some(_), PodAction::EnsureImage(need)) => {
                self.plan = plan::note_failed_pull(&self.plan, need, why, now);
            }
            (Some(container), PodAction::StartContainer(start)) if !start.late.is_empty() && reason == CONFIG => {
                self.plan = plan::note_wait(&self.plan, container, why, now);
                self.resting = plan::note_wait(&self.resting, word, why, now);
                return self.resting.failures.get(word).map_or(now, end);
            }
            (Some(container), _) => self.plan = plan::note_failure(&self.plan, container, reason, message, now),
            (None, _) => {}
        }
        if let PodAction::SyncVolumes { volumes, .. } = action {
            self.plan = plan::note_unsynced(&self.plan, volumes);
        }
        self.rest(word, (reason, message), now)
    }

    /// Something else than a step of a plan failed, such as observing.
    pub(super) fn rest(&mut self, word: &str, (reason, message): (&str, &str), now: Timestamp) -> Timestamp {
        self.resting = plan::note_failure(&self.resting, word, reason, message, now);
        self.resting.failures.get(word).map_or(now, end)
    }

    /// It works again.
    pub(super) fn rested(&mut self, word: &str) {
        self.resting = plan::note_success(&self.resting, word);
    }

    /// Another target is tried at once.
    pub(super) fn retarget(&mut self) {
        self.resting = PodMemory::default();
    }
}

/// What a container waits with whose files of variables are not what it needs.
const CONFIG: &str = "CreateContainerConfigError";

fn end(failure: &Failure) -> Timestamp {
    failure.at.checked_add(failure.backoff).unwrap_or(Timestamp::MAX)
}
