//! What runs pods: whole pods ([`PodBackend`]) or the containers of pods ([`ContainerBackend`]).

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{ErrorKind, PortError};
use crate::model::{
    AdmittedPod, ContainerStart, Deletion, EvictionSignal, HandlerAnswer, HandlerCall, ImageNeed, ImageSource,
    ObservedPod, PodKey, PodRecord, PodUid, ProbeVerdicts, ProcessUse, Reason, ResizeOrder, ResolverNotes,
    SignalLevels, SignalOrder, Starved, VolumeLimit, VolumePayload, VolumeUse,
};

/// What a backend can and cannot do; `validate --backend` asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// `native`, `fake`, ...
    pub name: String,
    /// Whether pods can have an address of their own here.
    pub pod_network: bool,
}

/// Something may have happened to this pod: look again. A hint may be lost; the relist repairs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint(pub PodKey);

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageStatus {
    /// As the pod asks for it.
    pub reference: String,
    /// `sha256:...` of the image's manifest or configuration.
    pub id: String,
    /// Bytes on disk, layers counted once.
    pub size: u64,
    pub source: ImageSource,
}

/// A runtime that takes whole pods.
#[async_trait]
pub trait PodBackend: Send + Sync {
    /// Every pod of this root, from the world itself: a full relist.
    async fn observe(&self) -> Result<Vec<Arc<ObservedPod>>, PortError>;

    /// Makes `pod` the target for its key; returns at once, the work goes on by itself.
    async fn apply(&self, pod: Arc<AdmittedPod>, revision: &str, reason: &Reason) -> Result<(), PortError>;

    /// Makes "no such pod" the target for the key; returns at once.
    async fn remove(&self, key: &PodKey, reason: &Reason) -> Result<(), PortError>;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;
}

/// A runtime of sandboxes and containers, CRI-shaped. Every verb is idempotent: repeating one that has succeeded
/// changes nothing and succeeds.
#[async_trait]
pub trait ContainerBackend: Send + Sync {
    /// Every pod on record. A backend that keeps what it saw may give the same value again while nothing changes.
    async fn list(&self) -> Result<Vec<Arc<ObservedPod>>, PortError>;

    /// One pod, or `None` when there is no record of it. What [`ContainerBackend::list`] says of keeping holds here too.
    async fn observe(&self, key: &PodKey) -> Result<Option<Arc<ObservedPod>>, PortError>;

    /// Writes the record, durably. Used for new pods and for in-place changes alike.
    async fn put_record(&self, record: &PodRecord) -> Result<(), PortError>;

    /// Marks the pod as going away.
    async fn mark_deleted(&self, key: &PodKey, deletion: &Deletion) -> Result<(), PortError>;

    /// Makes the pod's volumes and brings projected ones up to date.
    async fn sync_volumes(&self, key: &PodKey, volumes: &[VolumePayload]) -> Result<(), PortError>;

    /// What emptyDirs of a pod, its containers or all of it take of the disk, one for each limit in their order. One that is above
    /// its limit may be looked at no further; one that is not there takes nothing. Changes nothing, and ends when the caller
    /// goes away.
    async fn volume_use(&self, key: &PodKey, limits: &[VolumeLimit]) -> Result<Vec<VolumeUse>, PortError>;

    /// Starts the infra process with its namespaces and network.
    async fn run_sandbox(&self, key: &PodKey, attempt: u32) -> Result<(), PortError>;

    /// What the pod does not get of what it asks of its resolver; nothing where that is somebody else's business. Changes nothing.
    async fn resolver_notes(&self, _key: &PodKey) -> Result<ResolverNotes, PortError> {
        Ok(ResolverNotes::default())
    }

    /// Ends the infra process, unless it is gone, and releases network and address.
    async fn stop_sandbox(&self, key: &PodKey) -> Result<(), PortError>;

    /// Makes the image present as its policy says, or says why it is not. Calls `pulling` when it begins to pull; a pull goes
    /// on when the caller goes away, and the next call joins it.
    async fn ensure_image(
        &self,
        need: &ImageNeed,
        pulling: &(dyn Fn() + Send + Sync),
    ) -> Result<ImageStatus, PortError>;

    /// Creates and starts an instance. An instance that could not be started leaves an exit record (128, StartError).
    async fn start_container(&self, key: &PodKey, start: &ContainerStart) -> Result<(), PortError>;

    /// Sends the stop signal or SIGKILL, and records that it was sent, when and why. `Kill` reaches every process of the
    /// container. Does not wait.
    async fn signal_container(&self, key: &PodKey, order: &SignalOrder) -> Result<(), PortError>;

    /// Gives an instance that runs other amounts of cpu and memory, memory first, and records them; its processes run on
    /// (`UpdateContainerResources` of the CRI). One that does not run any more is left as it is.
    ///
    /// As the kubelet has it, a memory limit below what the instance uses is refused and nothing is changed: the operation
    /// is `decrease memory limits`, to be tried again.
    async fn resize_container(&self, key: &PodKey, order: &ResizeOrder) -> Result<(), PortError>;

    /// Calls a handler for an instance that runs, and waits for its answer or its timeout. A command that is not done by then,
    /// or whose caller does not wait any more, is killed with what it has started. What it prints, or answers, is kept up to
    /// [`HANDLER_BYTES`]. The verbs of the pod go on meanwhile.
    ///
    /// # Errors
    /// The call could not be made: no answer. `NotFound` when the instance does not run.
    async fn call_handler(&self, key: &PodKey, call: &HandlerCall) -> Result<HandlerAnswer, PortError>;

    /// Keeps what the probes of a pod's instances say, in place of what was kept before: for an agent that begins anew, and no
    /// longer than this boot of the machine.
    async fn keep_verdicts(&self, key: &PodKey, verdicts: &ProbeVerdicts) -> Result<(), PortError>;

    /// What was kept last of a pod in this boot; nothing when there is no such pod.
    async fn kept_verdicts(&self, key: &PodKey) -> Result<ProbeVerdicts, PortError>;

    /// Kills what is left of an instance without a monitor and writes its exit record (137, ContainerStatusUnknown). One
    /// that was created and never ran is removed instead, and can be started anew.
    async fn reap_container(&self, key: &PodKey, name: &str, attempt: u32) -> Result<(), PortError>;

    /// Removes an ended instance: writable layer, log, record.
    async fn remove_container(&self, key: &PodKey, name: &str, attempt: u32) -> Result<(), PortError>;

    /// Removes everything of a pod without live processes, the record last.
    async fn remove_pod(&self, key: &PodKey) -> Result<(), PortError>;

    /// How much the machine has left of what these signals are about. One that it does not tell is missing. Asked often, so it
    /// is to cost next to nothing; changes nothing.
    async fn signal_levels(&self, _signals: &[EvictionSignal]) -> Result<SignalLevels, PortError> {
        Ok(SignalLevels::new())
    }

    /// What the processes of a pod use now; nothing is known of a pod that is not there. Changes nothing.
    async fn process_use(&self, _key: &PodKey) -> Result<ProcessUse, PortError> {
        Ok(ProcessUse::default())
    }

    /// Gives back what the machine holds for nobody: volumes of pods that have ended for good, whose records and logs stay. Where
    /// it is the disk that is low also their writable layers, and images that came from a registry, no instance stands on and
    /// no pod on record is to run. Of those pods that are `evicted`, whose end a full disk may not take down, it empties both
    /// once nothing of them runs.
    async fn reclaim(&self, _starved: Starved, _evicted: &[PodUid]) -> Result<(), PortError> {
        Ok(())
    }

    /// A channel of hints; each call gives a channel of its own. Bounded: a hint that finds it full is dropped.
    fn hints(&self) -> mpsc::Receiver<Hint>;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;
}

/// How much is kept of what a handler prints or answers (pkg/probe/exec and pkg/probe/http of Kubernetes).
pub const HANDLER_BYTES: usize = 10 << 10;

/// What is said of a command that took too long, in the kubelet's words (`execSync` of its CRI client).
pub fn timed_out(command: &[String]) -> String {
    format!("command {:?} timed out", command.join(" "))
}

/// Why memory in use is not taken away from a container, in the kubelet's words (kuberuntime_manager.go of 1.36,
/// `validateMemoryResizeAction`).
pub fn memory_in_use(container: &str, limit: u64, usage: u64) -> PortError {
    let message =
        format!("attempting to set container {container:?} memory limit ({limit}) below current usage ({usage})");
    PortError::new(ErrorKind::Unavailable, "decrease memory limits", "", message).waiting("ResizeError")
}
