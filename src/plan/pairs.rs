//! Which action is taken for which reason. Closed: a step that nobody thought of is noticed where it is planned, and each pair
//! has its row in the tables of the tests.

use crate::model::{FleetAction, HookKind, PodAction, Reason, Signal};

/// An enumeration with all its values.
macro_rules! closed {
    ($(#[$doc:meta])* $name:ident { $($value:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($value),* }

        impl $name {
            /// Each of them.
            pub const ALL: &[Self] = &[$(Self::$value),*];
        }
    };
}

closed! {
    /// An action without what it is about; first those of a fleet. A signal is one that a hook follows, or which it is.
    Act {
        Apply, Remove, CreatePod, UpdatePod, MarkDeleted, SyncVolumes, RunSandbox, StopSandbox, EnsureImage, StartContainer,
        BeginToStop, Stop, Kill, RunPreStop, RunPostStart, ResizeContainer, ReapContainer, RemoveContainer, Finish, RemovePod,
    }
}

closed! {
    /// A reason without what it tells.
    Why {
        PodAdded, PodRemoved, DeletionRequested, UpdatedInPlace, Recreated, Placed, MachineLow, MachineAtEase, NotForThisMachine,
        Unchanged,
        SandboxMissing, SandboxDied, VolumeData, TokenDue, FirstStart, Restart, ImageChanged, ResourcesChanged, ChangedBack,
        DataChanged, ProbeFailed, PostStartFailed, MonitorLost, StartInterrupted, StopInterrupted, Terminating,
        GraceExceeded, OldInstance, Finished, RestartAll, RestartingAll,
    }
}

/// Why an instance that was not told to stop yet is.
const STOPS: [Why; 8] = [
    Why::SandboxDied,
    Why::ImageChanged,
    Why::ResourcesChanged,
    Why::DataChanged,
    Why::ProbeFailed,
    Why::PostStartFailed,
    Why::Terminating,
    Why::Finished,
];

impl Act {
    /// The reasons that it can have.
    pub fn reasons(self) -> Vec<Why> {
        match self {
            Act::Apply => vec![Why::PodAdded, Why::UpdatedInPlace, Why::Recreated, Why::Placed],
            Act::Remove => vec![Why::PodRemoved, Why::NotForThisMachine],
            // A pod that was as it should be is made anew when nothing of it is left.
            Act::CreatePod => vec![Why::PodAdded, Why::UpdatedInPlace, Why::Recreated, Why::Placed, Why::Unchanged],
            Act::UpdatePod => vec![Why::UpdatedInPlace, Why::RestartAll, Why::MachineLow, Why::MachineAtEase],
            // An agent without a revision goes on with what another one began.
            Act::MarkDeleted => {
                vec![Why::PodRemoved, Why::DeletionRequested, Why::Recreated, Why::NotForThisMachine, Why::Terminating]
            }
            Act::SyncVolumes => vec![Why::SandboxMissing, Why::SandboxDied, Why::VolumeData, Why::TokenDue],
            Act::RunSandbox => vec![Why::SandboxMissing, Why::SandboxDied],
            Act::StopSandbox => vec![Why::SandboxDied, Why::Terminating, Why::Finished],
            Act::EnsureImage | Act::StartContainer | Act::RunPostStart => vec![
                Why::FirstStart,
                Why::Restart,
                Why::ImageChanged,
                Why::ResourcesChanged,
                Why::ChangedBack,
                Why::DataChanged,
                Why::RestartingAll,
            ],
            Act::BeginToStop => STOPS.to_vec(),
            // Its hook was for a change that is taken back meanwhile.
            Act::Stop => [&STOPS[..], &[Why::ChangedBack]].concat(),
            // Without a stop signal before only what nobody waits for: a restart of all, and an eviction that could not be noted.
            Act::Kill => vec![Why::GraceExceeded, Why::Terminating, Why::RestartingAll],
            Act::RunPreStop => [&STOPS[..], &[Why::StopInterrupted]].concat(),
            Act::ResizeContainer => vec![Why::ResourcesChanged],
            Act::ReapContainer => vec![Why::MonitorLost, Why::StartInterrupted],
            Act::RemoveContainer => vec![Why::OldInstance],
            Act::Finish => vec![Why::Finished],
            Act::RemovePod => vec![Why::Terminating],
        }
    }

    /// Whether it can be taken for this.
    pub(super) fn is_for(self, reason: &Reason) -> bool {
        self.reasons().contains(&Why::of(reason))
    }

    /// What an action of a pod is.
    pub fn of(action: &PodAction) -> Self {
        match action {
            PodAction::CreatePod { .. } => Act::CreatePod,
            PodAction::UpdatePod { .. } => Act::UpdatePod,
            PodAction::MarkDeleted { .. } => Act::MarkDeleted,
            PodAction::SyncVolumes { .. } => Act::SyncVolumes,
            PodAction::RunSandbox { .. } => Act::RunSandbox,
            PodAction::StopSandbox => Act::StopSandbox,
            PodAction::EnsureImage(_) => Act::EnsureImage,
            PodAction::StartContainer(_) => Act::StartContainer,
            PodAction::SignalContainer { signal: Signal::PreStop, .. } => Act::BeginToStop,
            PodAction::SignalContainer { signal: Signal::Stop, .. } => Act::Stop,
            PodAction::SignalContainer { signal: Signal::Kill, .. } => Act::Kill,
            PodAction::RunHook(run) if run.key.kind == HookKind::PreStop => Act::RunPreStop,
            PodAction::RunHook(_) => Act::RunPostStart,
            PodAction::ResizeContainer(_) => Act::ResizeContainer,
            PodAction::ReapContainer { .. } => Act::ReapContainer,
            PodAction::RemoveContainer { .. } => Act::RemoveContainer,
            PodAction::Finish { .. } => Act::Finish,
            PodAction::RemovePod => Act::RemovePod,
        }
    }

    /// What an action of a fleet is.
    pub fn of_fleet(action: &FleetAction) -> Self {
        match action {
            FleetAction::Apply { .. } => Act::Apply,
            FleetAction::Remove { .. } => Act::Remove,
        }
    }
}

impl Why {
    /// What a reason is.
    pub fn of(reason: &Reason) -> Self {
        match reason {
            Reason::PodAdded => Why::PodAdded,
            Reason::PodRemoved => Why::PodRemoved,
            Reason::DeletionRequested => Why::DeletionRequested,
            Reason::UpdatedInPlace(_) => Why::UpdatedInPlace,
            Reason::Recreated(_) => Why::Recreated,
            Reason::Placed(_) => Why::Placed,
            Reason::MachineLow => Why::MachineLow,
            Reason::MachineAtEase => Why::MachineAtEase,
            Reason::NotForThisMachine(_) => Why::NotForThisMachine,
            Reason::Unchanged => Why::Unchanged,
            Reason::SandboxMissing => Why::SandboxMissing,
            Reason::SandboxDied => Why::SandboxDied,
            Reason::VolumeData => Why::VolumeData,
            Reason::TokenDue => Why::TokenDue,
            Reason::FirstStart => Why::FirstStart,
            Reason::Restart { .. } => Why::Restart,
            Reason::ImageChanged { .. } => Why::ImageChanged,
            Reason::ResourcesChanged(_) => Why::ResourcesChanged,
            Reason::ChangedBack => Why::ChangedBack,
            Reason::DataChanged => Why::DataChanged,
            Reason::ProbeFailed { .. } => Why::ProbeFailed,
            Reason::PostStartFailed => Why::PostStartFailed,
            Reason::MonitorLost => Why::MonitorLost,
            Reason::StartInterrupted => Why::StartInterrupted,
            Reason::StopInterrupted => Why::StopInterrupted,
            Reason::Terminating(_) => Why::Terminating,
            Reason::GraceExceeded => Why::GraceExceeded,
            Reason::OldInstance => Why::OldInstance,
            Reason::Finished => Why::Finished,
            Reason::RestartAll { .. } => Why::RestartAll,
            Reason::RestartingAll => Why::RestartingAll,
        }
    }
}
