//! Hooks: what a container is to do right after its start, and before it is told to stop.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use super::{Handler, NoHandler};

/// The hooks of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookKind {
    /// Right after the start of an instance, beside its entry point. Until it is done the container does not count as running.
    PostStart,
    /// Before the stop signal, within the grace period.
    PreStop,
}

impl HookKind {
    /// The field's name.
    pub fn word(self) -> &'static str {
        match self {
            HookKind::PostStart => "postStart",
            HookKind::PreStop => "preStop",
        }
    }

    /// The container's hook of this kind, if it has one.
    pub fn of(self, container: &Container) -> Option<&LifecycleHandler> {
        let lifecycle = container.lifecycle.as_ref()?;
        match self {
            HookKind::PostStart => lifecycle.post_start.as_ref(),
            HookKind::PreStop => lifecycle.pre_stop.as_ref(),
        }
    }
}

impl fmt::Display for HookKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One hook of one instance of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HookKey {
    pub container: String,
    pub attempt: u32,
    pub kind: HookKind,
}

/// How far a hook came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookState {
    Running,
    Succeeded,
    Failed,
}

/// The hooks that this agent began, of the instances that run. An agent that begins anew knows of none: it runs a preStop again,
/// since the record of its instance says that the stop signal is still to be sent, and no postStart, which an instance has once
/// at most: as the kubelet, which may lose one with its own end.
pub type HookStates = BTreeMap<HookKey, HookState>;

/// A hook to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookRun {
    pub key: HookKey,
    /// What is done, or why it cannot be: then it has failed.
    pub handler: Result<Handler, NoHandler>,
    pub timeout: Duration,
}
