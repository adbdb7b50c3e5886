//! What can be told to the fake.

use std::fmt;
use std::time::Duration;

use crate::model::{HandlerAnswer, HandlerOutcome, PodKey};
use crate::port::PortError;

/// What the instances of a container do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// Ends by itself after this long with this exit code; runs until it is stopped otherwise.
    pub exits: Option<(Duration, i32)>,
    /// The stop signal does nothing to it.
    pub ignores_stop: bool,
    /// How long it takes to end after the stop signal.
    pub stops_after: Duration,
    /// Bytes of memory it uses: no limit below can be given to it.
    pub memory: u64,
    /// When it ends by itself, the kernel ends it, for want of memory.
    pub is_oom_killed: bool,
    /// It cannot be started, for this reason.
    pub fails_to_start: Option<String>,
}

impl Behaviour {
    /// Ends after `after` with `code`.
    pub fn exits(after: Duration, code: i32) -> Self {
        Self { exits: Some((after, code)), ..Self::default() }
    }
}

/// What a handler answers, and when.
#[derive(Clone, Debug)]
pub struct Answered {
    /// `Err` when it cannot be called, with why.
    pub answer: Result<HandlerAnswer, String>,
    /// How long it takes.
    pub takes: Duration,
}

impl Answered {
    fn now(outcome: HandlerOutcome, text: &str) -> Self {
        Self { answer: Ok(HandlerAnswer { outcome, text: text.to_owned() }), takes: Duration::ZERO }
    }

    /// It succeeds at once.
    pub fn success() -> Self {
        Self::now(HandlerOutcome::Success, "")
    }

    /// It succeeds at once, with something to tell.
    pub fn warning(text: &str) -> Self {
        Self::now(HandlerOutcome::Warning, text)
    }

    /// It fails at once.
    pub fn failure(text: &str) -> Self {
        Self::now(HandlerOutcome::Failure, text)
    }

    /// It cannot be called.
    pub fn error(why: &str) -> Self {
        Self { answer: Err(why.to_owned()), takes: Duration::ZERO }
    }

    /// The same after this long.
    #[must_use]
    pub fn after(self, takes: Duration) -> Self {
        Self { takes, ..self }
    }
}

/// The verbs of the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    List,
    Observe,
    PutRecord,
    MarkDeleted,
    SyncVolumes,
    VolumeUse,
    SignalLevels,
    ProcessUse,
    Reclaim,
    RunSandbox,
    StopSandbox,
    EnsureImage,
    StartContainer,
    SignalContainer,
    ResizeContainer,
    CallHandler,
    KeepVerdicts,
    KeptVerdicts,
    ReapContainer,
    RemoveContainer,
    RemovePod,
}

impl Verb {
    /// Whether it changes what an observation sees.
    pub fn changes(self) -> bool {
        !matches!(
            self,
            Verb::List
                | Verb::Observe
                | Verb::CallHandler
                | Verb::VolumeUse
                | Verb::SignalLevels
                | Verb::ProcessUse
                | Verb::Reclaim
                | Verb::KeepVerdicts
                | Verb::KeptVerdicts
        )
    }
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub verb: Verb,
    /// Absent for images and lists.
    pub pod: Option<PodKey>,
    /// `name#attempt` of a container, `#attempt` of a sandbox, an image; empty otherwise.
    pub subject: String,
}

impl fmt::Display for Call {
    /// `StartContainer default/web app#0`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.verb)?;
        if let Some(pod) = &self.pod {
            write!(f, " {pod}")?;
        }
        if self.subject.is_empty() { Ok(()) } else { write!(f, " {}", self.subject) }
    }
}

/// What goes wrong with a call.
#[derive(Debug)]
pub enum Fault {
    /// Nothing is done, and it fails.
    Fail(PortError),
    /// It is done, and still fails.
    FailAfter(PortError),
    /// Nothing is done, and it never returns: whoever called is dead.
    Hang,
    /// It is done and never returns.
    HangAfter,
    /// It takes this long.
    Slow(Duration),
    /// The caller's thread panics in it.
    Panic,
}
