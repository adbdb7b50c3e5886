//! What the world says about a pod: its record, its sandbox, its containers and how they ended.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{AdmittedPod, Packed, PodKey, PodUid, Reason, Resources, UnderPressure};

/// A pod that is going away. The grace period may only shrink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    pub requested_at: Timestamp,
    pub grace_seconds: i64,
    /// Why, for the status: `removed from the manifests`, `recreated: spec.containers[0].env changed`, ...
    pub reason: String,
}

/// What ended a pod, as `status.reason` and `status.message` tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TerminalCause {
    /// `DeadlineExceeded`, `Evicted`, `NodeAffinity`.
    pub reason: String,
    pub message: String,
    /// What became of it for what the machine was low on, if that is why: another one takes its place once it is no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<UnderPressure>,
}

impl TerminalCause {
    /// One that is the pod's own.
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into(), pressure: None }
    }
}

/// All containers of a pod were restarted together for how one of them had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllRestarted {
    /// How often that was, from 1.
    pub count: u32,
    /// When it last began.
    pub at: Timestamp,
}

/// What a backend remembers of a pod, durably, from before its first process until after its last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodRecord {
    /// Layout version of this record; [`PodRecord::VERSION`].
    pub version: u32,
    pub key: PodKey,
    pub uid: PodUid,
    pub created_at: Timestamp,
    /// When the machine came to fit a pod that had waited for that, or was no longer too low on something for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placed_at: Option<Timestamp>,
    /// Revision this pod was last realised from.
    pub revision: String,
    /// The admitted pod as last realised; each in-place change replaces it.
    pub realised: Arc<AdmittedPod>,
    /// Counts changes of `realised`, from 1: metadata.generation.
    pub generation: i64,
    /// When cpu or memory of one of its containers last changed in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resized_at: Option<Timestamp>,
    /// How many sandboxes this pod has had; the next one gets this number.
    pub sandbox_attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
    /// The phase once it is terminal (`Succeeded` or `Failed`): it never changes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<String>,
    /// Why the phase is terminal, when that was not for its containers alone. Without a phase: why its containers are being
    /// ended, so that an agent that begins anew amid an eviction goes on with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal_cause: Option<TerminalCause>,
    /// Digests of the ConfigMap and Secret data the pod uses, as it was last planned with. `None` in a record of a version
    /// that kept none: what changed since is not known then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_digests: Option<Packed<DataDigests>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_restarted: Option<AllRestarted>,
    /// It was begun by a version that holds pods to the `ephemeral-storage` limits of their containers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bounds_storage: bool,
    /// It is not begun, for the scheduler finds no machine for it while this one is low on something, and this is what it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
}

/// Digests keyed with the pod's uid, by object (`ConfigMap name`) and key. They never leave the record.
pub type DataDigests = BTreeMap<String, BTreeMap<String, String>>;

impl PodRecord {
    /// When the machine took the pod: Kubernetes' `status.startTime`, from which `activeDeadlineSeconds` counts.
    pub fn begun_at(&self) -> Timestamp {
        self.placed_at.unwrap_or(self.created_at)
    }

    /// How often all its containers were restarted together: an instance of an earlier round has to go.
    pub fn round(&self) -> u32 {
        self.all_restarted.map_or(0, |restarted| restarted.count)
    }

    /// The layout this code writes.
    pub const VERSION: u32 = 1;
}

/// The infra container and what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sandbox {
    /// None was made yet, or it was removed.
    Absent,
    /// `/pause` runs and holds the namespaces.
    #[serde(rename_all = "camelCase")]
    Ready { attempt: u32, pid: i32, started_at: Timestamp, ips: Vec<IpAddr> },
    /// It was made and its process is gone: every container of the pod must go and a new one be made.
    #[serde(rename_all = "camelCase")]
    Dead { attempt: u32 },
}

/// Which of the pod's container lists a container stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ContainerKind {
    Init,
    /// An init container with restartPolicy Always.
    Sidecar,
    App,
}

/// A stop under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopping {
    /// When the stop signal was sent; with `pre_stop`, when its hook was begun.
    pub since: Timestamp,
    /// What it has from then on.
    pub grace_seconds: i64,
    /// The stop signal is still to be sent: the container's preStop hook comes before it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pre_stop: bool,
    /// When that hook was begun, once the stop signal has followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_since: Option<Timestamp>,
    /// When SIGKILL was sent, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed_at: Option<Timestamp>,
    pub reason: String,
}

impl Stopping {
    /// By the stop signal.
    pub fn new(since: Timestamp, grace_seconds: i64, reason: impl Into<String>) -> Self {
        Self { since, grace_seconds, pre_stop: false, hook_since: None, killed_at: None, reason: reason.into() }
    }

    /// Whether this is why it was told to stop.
    pub fn is_for(&self, reason: &Reason) -> bool {
        self.reason == reason.to_string()
    }
}

/// How the image of an instance came to be here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ImageSource {
    /// It was here.
    #[default]
    Present,
    /// It was pulled for this instance, or it was found to be what the registry has now.
    #[serde(rename_all = "camelCase")]
    Pulled {
        took: SignedDuration,
        /// The same with the time for others that came before.
        waited: SignedDuration,
        /// Bytes of the unpacked layers.
        size: u64,
        /// What was wrong with the image that was here, if that is why it was pulled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mended: Option<String>,
    },
    /// It was here, and its registry was not reached to say whether it has another one by now: why.
    Stale { why: String },
}

impl ImageSource {
    /// Whether there is nothing to tell of it.
    pub fn is_present(&self) -> bool {
        *self == Self::Present
    }
}

fn is_first_round(round: &u32) -> bool {
    *round == 0
}

/// What a backend remembers of one instance of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerRecord {
    pub name: String,
    pub kind: ContainerKind,
    /// 0 for the first instance: the restart count.
    pub attempt: u32,
    /// Unique on the machine.
    pub id: String,
    /// The sandbox attempt it belongs to.
    pub sandbox_attempt: u32,
    /// The pod's [`PodRecord::round`] when it was started.
    #[serde(default, skip_serializing_if = "is_first_round")]
    pub round: u32,
    /// The image as the pod asks for it.
    pub image: String,
    /// Digest of the image that was used.
    pub image_id: String,
    #[serde(default, skip_serializing_if = "ImageSource::is_present")]
    pub image_source: ImageSource,
    /// Digests of the images that it has as volumes, by the volume.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volume_images: BTreeMap<String, String>,
    pub created_at: Timestamp,
    /// Of which boot of the machine it is, where a backend asks for that; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    /// The back-off that was waited for before this instance, zero for none: the next one derives from it.
    #[serde(default)]
    pub backoff: SignedDuration,
    /// The CRI-format log of this instance.
    pub log_path: String,
    /// What it may use now: what it was started with, or last resized to. `None` in a record of a version that kept none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The digest of the data of ConfigMaps and Secrets that it was started with, keyed as those of its pod are. `None` when it
    /// takes none, or when that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping: Option<Stopping>,
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExitRecord {
    /// 128 + signal when a signal ended it.
    pub exit_code: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    #[serde(default)]
    pub oom_killed: bool,
    /// `None` when its process never ran. Whoever reaps an instance that did run fills it in: a reaped instance without it
    /// counts as a start that was cut short and runs again whatever the policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    pub finished_at: Timestamp,
    /// `StartError`, `ContainerStatusUnknown`, ... when the exit code alone does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The termination message, or why it could not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The state of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Its record exists and its process was never seen running: a start that was cut short.
    Created,
    Running {
        pid: i32,
        started_at: Timestamp,
    },
    Exited(ExitRecord),
    /// Its monitor is gone and left no exit record: it must be reaped, and counts as 137 / ContainerStatusUnknown.
    Lost,
}

/// One instance of a container as observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedContainer {
    pub record: ContainerRecord,
    pub state: ContainerState,
    /// The machine has been started since this instance was.
    pub earlier_boot: bool,
}

impl ObservedContainer {
    /// Whether a process of it may be alive.
    pub fn is_live(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. } | ContainerState::Created | ContainerState::Lost)
    }

    /// Whether it belongs to what its pod has now: this sandbox, and the containers that were started together.
    pub fn is_of(&self, sandbox_attempt: u32, pod: &PodRecord) -> bool {
        self.record.sandbox_attempt == sandbox_attempt && self.record.round == pod.round()
    }

    /// How it ended, if it did.
    pub fn exit(&self) -> Option<&ExitRecord> {
        match &self.state {
            ContainerState::Exited(exit) => Some(exit),
            _ => None,
        }
    }
}

/// One pod as observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedPod {
    pub record: PodRecord,
    pub sandbox: Sandbox,
    /// Every instance still on record, sorted by name, then attempt.
    pub containers: Vec<ObservedContainer>,
}

impl ObservedPod {
    /// The newest instance of a container.
    pub fn latest(&self, name: &str) -> Option<&ObservedContainer> {
        self.containers.iter().filter(|c| c.record.name == name).max_by_key(|c| c.record.attempt)
    }

    /// The instance before the newest one.
    pub fn previous(&self, name: &str) -> Option<&ObservedContainer> {
        let latest = self.latest(name)?.record.attempt;
        self.containers
            .iter()
            .filter(|c| c.record.name == name && c.record.attempt < latest)
            .max_by_key(|c| c.record.attempt)
    }

    /// The pod's addresses, empty without a sandbox.
    pub fn ips(&self) -> &[IpAddr] {
        match &self.sandbox {
            Sandbox::Ready { ips, .. } => ips,
            _ => &[],
        }
    }
}

/// What a pod does not get of what it asks of its resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolverNotes {
    /// It asks for the DNS of a cluster, of which there is none, and has the machine's.
    pub missing_cluster_dns: bool,
    /// What did not fit, a sentence per list.
    pub left_out: Vec<String>,
}
