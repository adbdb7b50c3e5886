//! Probes: what is asked of a container again and again, and what came of it so far.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Probe};
use serde::{Deserialize, Serialize};

use super::{Handler, NoHandler, Reason, Stopping};

/// The kinds of probes, in the order of a container's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProbeKind {
    /// Until it succeeds once the container has not started, and nothing else is asked.
    Startup,
    /// When it fails the container is ended.
    Liveness,
    /// While it fails the container is not ready.
    Readiness,
}

impl ProbeKind {
    /// All of them.
    pub const ALL: [ProbeKind; 3] = [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness];

    /// As the kubelet writes it within a sentence: `liveness`.
    pub fn word(self) -> &'static str {
        match self {
            ProbeKind::Startup => "startup",
            ProbeKind::Liveness => "liveness",
            ProbeKind::Readiness => "readiness",
        }
    }

    /// As the kubelet begins a sentence with it: `Liveness`.
    pub fn title(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
        }
    }

    /// The container's probe of this kind, if it has one.
    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            ProbeKind::Startup => container.startup_probe.as_ref(),
            ProbeKind::Liveness => container.liveness_probe.as_ref(),
            ProbeKind::Readiness => container.readiness_probe.as_ref(),
        }
    }

    /// Which probe an instance was told to stop for, if it was for one.
    pub fn behind(stopping: &Stopping) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| stopping.reason == Reason::ProbeFailed { kind: *kind }.to_string())
    }
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One probe of one instance of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeKey {
    pub container: String,
    pub attempt: u32,
    /// Of the instance: unique on the machine.
    pub id: String,
    pub kind: ProbeKind,
}

/// What counts of a probe, once its threshold was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeVerdict {
    pub passed: bool,
    pub since: Timestamp,
}

/// What counts of the probes of a pod's instances. A probe without an entry counts as it does at first: liveness as a success,
/// readiness as a failure, startup as neither (pkg/kubelet/prober/worker.go of Kubernetes 1.36, `newWorker`).
pub type ProbeVerdicts = BTreeMap<ProbeKey, ProbeVerdict>;

/// A probe that is to be asked while its instance runs as it does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeRun {
    pub key: ProbeKey,
    /// What is asked, or why it cannot be: that is an error of the prober each time.
    pub handler: Result<Handler, NoHandler>,
    /// When the instance started: the delay counts from then.
    pub started_at: Timestamp,
    pub delay: Duration,
    pub period: Duration,
    pub timeout: Duration,
    /// How many in a row it takes to succeed.
    pub successes: u32,
    /// How many in a row it takes to fail.
    pub failures: u32,
}

/// Whether a running container has started and is ready, as its probes have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    pub started: bool,
    pub ready: bool,
    /// Since when, where a probe decided it.
    pub since: Option<Timestamp>,
}

/// By name, the running containers whose probes decide over it. A container that has such a probe and is not in it has not
/// started and is not ready.
pub type ProbedContainers = BTreeMap<String, Probed>;
