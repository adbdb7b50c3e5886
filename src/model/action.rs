//! What is to be done and why: plans as data. An executor performs them and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::{
    AmountChange, Cause, ContainerKind, Deletion, ExitRecord, FieldChange, HookRun, ImageSource, LateValue, Masked,
    PodRecord, ProbeKind, ProbeRun, ProbedContainers, Resources, SharedBytes, TerminalCause, TokenFile,
};

/// Why an action is taken. Closed: the same value feeds diff, log, event and status.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// The manifests have a pod that does not run yet.
    PodAdded,
    /// The pod is gone from the manifests.
    PodRemoved,
    /// `podwright delete` or `podwright down` asked for it.
    DeletionRequested,
    /// Fields changed that Kubernetes updates in place.
    UpdatedInPlace(Vec<FieldChange>),
    /// Fields changed that need a new pod.
    Recreated(Vec<FieldChange>),
    /// The machine fits the pod now; it did not before.
    Placed(Vec<FieldChange>),
    /// The machine is low on something, and the pod waits.
    MachineLow,
    /// It is no longer.
    MachineAtEase,
    /// The pod is another machine's now.
    NotForThisMachine(Vec<FieldChange>),
    /// Nothing differs.
    Unchanged,
    /// The pod's namespaces do not exist yet.
    SandboxMissing,
    /// The infra process died.
    SandboxDied,
    /// Data of a ConfigMap or Secret in a volume is new or changed.
    VolumeData,
    /// A token in a volume has had most of its life.
    TokenDue,
    /// The container has not run yet in this sandbox.
    FirstStart,
    /// The container ended and the policy says to run it again.
    Restart { policy: String, exit: ExitRecord },
    /// A container ended as one of its rules says for which all of the pod are restarted.
    RestartAll { container: String, exit_code: i32 },
    /// All containers of the pod are restarted together.
    RestartingAll,
    /// The container's image changed in place.
    ImageChanged { before: String, after: String },
    /// What the container may use of cpu and memory changed in place.
    ResourcesChanged(Vec<AmountChange>),
    /// It was told to stop for a change that was taken back before it had ended.
    ChangedBack,
    /// Data that the container takes changed, and its pod asks to be restarted then.
    DataChanged,
    /// The container's startup or liveness probe failed as often as it may.
    ProbeFailed { kind: ProbeKind },
    /// The container's postStart hook failed.
    PostStartFailed,
    /// The container's monitor is gone.
    MonitorLost,
    /// A start was cut short: the instance never ran.
    StartInterrupted,
    /// The agent ended while a preStop hook ran.
    StopInterrupted,
    /// The pod ends: its containers stop.
    Terminating(String),
    /// The grace period is over.
    GraceExceeded,
    /// An instance older than the last two is not needed any more.
    OldInstance,
    /// Every container ended for good.
    Finished,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |changes: &[FieldChange]| {
            let mut names: Vec<String> = changes
                .iter()
                .map(|c| match &c.cause {
                    Cause::Preset { name } => format!("{} (PodPreset {name})", c.field),
                    Cause::Data { object, keys } if keys.is_empty() => format!("{} ({object})", c.field),
                    Cause::Data { object, keys } => format!("{} ({object}: {})", c.field, keys.join(", ")),
                    other => match other.of_node() {
                        Some(node) => format!("{} ({node})", c.field),
                        None => c.field.clone(),
                    },
                })
                .collect();
            names.dedup();
            names.join(", ")
        };
        match self {
            Reason::PodAdded => f.write_str("new in the manifests"),
            Reason::PodRemoved => f.write_str("removed from the manifests"),
            Reason::DeletionRequested => f.write_str("deletion requested"),
            Reason::UpdatedInPlace(changes) => {
                write!(f, "changed in place: {}", fields(changes))?;
                let mut notes: Vec<&String> = changes.iter().filter_map(|change| change.note.as_ref()).collect();
                notes.sort();
                notes.dedup();
                notes.into_iter().try_for_each(|note| write!(f, "; {note}"))
            }
            Reason::Recreated(changes) => write!(f, "recreated: {} changed", fields(changes)),
            Reason::Placed(changes) => write!(f, "placed on this machine: {}", fields(changes)),
            Reason::MachineLow => f.write_str("the machine is low on something"),
            Reason::MachineAtEase => f.write_str("the machine is no longer low on anything"),
            Reason::NotForThisMachine(changes) => write!(f, "not for this machine: {} changed", fields(changes)),
            Reason::Unchanged => f.write_str("unchanged"),
            Reason::SandboxMissing => f.write_str("no sandbox yet"),
            Reason::SandboxDied => f.write_str("the infra process died"),
            Reason::VolumeData => f.write_str("volume data changed"),
            Reason::TokenDue => f.write_str("a token is due to be renewed"),
            Reason::FirstStart => f.write_str("first start"),
            Reason::Restart { policy, exit } => write!(f, "exited with {}, restartPolicy {policy}", exit.exit_code),
            Reason::RestartAll { container, exit_code } => {
                write!(f, "container {container} exited with {exit_code}: {}", Reason::RestartingAll)
            }
            Reason::RestartingAll => f.write_str("all containers are restarted"),
            Reason::ImageChanged { before, after } => write!(f, "image changed from {before} to {after}"),
            Reason::ResourcesChanged(changes) => {
                let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
                write!(f, "resources changed: {}", changes.join(", "))
            }
            Reason::ChangedBack => f.write_str("stopped for a change that was taken back"),
            Reason::DataChanged => f.write_str("data of a ConfigMap or Secret changed"),
            Reason::ProbeFailed { kind } => write!(f, "{kind} probe failed"),
            Reason::PostStartFailed => f.write_str("postStart hook failed"),
            Reason::MonitorLost => f.write_str("its monitor died"),
            Reason::StopInterrupted => f.write_str("its stop was interrupted"),
            Reason::StartInterrupted => f.write_str("its start was interrupted"),
            Reason::Terminating(why) => f.write_str(why),
            Reason::GraceExceeded => f.write_str("grace period exceeded"),
            Reason::OldInstance => f.write_str("superseded by newer instances"),
            Reason::Finished => f.write_str("all containers ended"),
        }
    }
}

/// Signals a container is stopped with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// None yet: the stop begins, with the container's preStop hook.
    PreStop,
    /// The stop signal of the container or of its image, SIGTERM unless one of them names another.
    Stop,
    Kill,
}

/// A signal for one instance of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalOrder {
    pub name: String,
    pub attempt: u32,
    pub signal: Signal,
    /// How long the container may take from now on, in seconds.
    pub grace_seconds: i64,
    /// Why, for the record and the event.
    pub reason: String,
}

/// Other amounts of cpu and memory for one instance of a container that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResizeOrder {
    pub name: String,
    pub attempt: u32,
    pub resources: Resources,
}

/// One environment variable, its value already resolved. Values may come from Secrets: never printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvValue {
    pub name: String,
    pub value: Masked<String>,
}

/// One file of a projected volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadFile {
    /// Relative, without `..`.
    pub path: String,
    pub bytes: SharedBytes,
    /// Permission bits, such as 0o644.
    pub mode: u32,
    /// The user whose file it is; `None` for root.
    pub owner: Option<u32>,
}

/// What a volume is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeMaterial {
    /// An empty directory of the pod's own, mode 0777; on tmpfs with `medium: Memory`.
    EmptyDir { memory: bool, size_limit: Option<u64> },
    /// A path of the machine; `kind` is hostPath.type, empty for untyped (a missing directory is created).
    HostPath { path: String, kind: String },
    /// Files written by the atomic writer; `sensitive` ones live on tmpfs only.
    Files { files: Vec<PayloadFile>, sensitive: bool },
}

/// One volume of a pod, ready to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumePayload {
    pub name: String,
    pub material: VolumeMaterial,
    /// The group it is made for (`fsGroup`): its directories and files are that group's. A path of the machine has none.
    pub group: Option<u32>,
}

/// Where a mount's content comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// A volume of the pod, by name, and the part of it.
    Volume { name: String, sub_path: Option<SubPath> },
    /// The files of an image, which is made present for the container that mounts them: the volume that shows it by name, the
    /// image as the pod asks for it, and the part of it.
    Image { volume: String, image: String, sub_path: Option<SubPath> },
}

/// A part of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubPath {
    /// As the pod's spec has it, with the names of variables: what may be shown.
    pub written: String,
    /// With the values of the variables, one of which may be a Secret's.
    pub path: Masked<String>,
}

/// Whom a mount tells of what is mounted below it, or its volume, later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    #[default]
    None,
    /// What the machine mounts appears in the container.
    HostToContainer,
    /// And what the container mounts, on the machine and in other containers.
    Bidirectional,
}

/// How something is mounted in a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountMode {
    pub read_only: bool,
    /// What is mounted below it is read-only, too.
    pub recursively: bool,
    pub propagation: Propagation,
}

/// One mount of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeMountPlan {
    pub source: MountSource,
    pub mount_path: String,
    pub mode: MountMode,
}

/// An image that must be present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageNeed {
    pub container: String,
    /// The volume that shows it; `None` for the image that the container itself is made of.
    pub volume: Option<String>,
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`, already defaulted.
    pub policy: String,
    /// The docker configurations in the pod's pull Secrets, in their order.
    pub secrets: Vec<Masked<Vec<u8>>>,
    /// The names of pull Secrets that are not there.
    pub missing_secrets: Vec<String>,
}

/// A container to be created and started.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerStart {
    pub name: String,
    pub kind: ContainerKind,
    pub attempt: u32,
    pub backoff: SignedDuration,
    /// `command` and `args` with `$(VAR)` expanded; `None` where the pod gives none and the image's counts.
    pub command: Option<Vec<Masked<String>>>,
    pub args: Option<Vec<Masked<String>>>,
    /// The pod's variables in order; the image's own come before them.
    pub env: Vec<EnvValue>,
    /// What of all that is in files of volumes, and has marks until then: see [`ContainerStart::with_late`].
    pub late: Vec<LateValue>,
    pub mounts: Vec<VolumeMountPlan>,
    /// The digest of the data that it takes, for its record.
    pub data: Option<String>,
    /// How its image came to be here, for its record; known once it is.
    pub image_source: ImageSource,
}

/// One step for one pod.
#[derive(Clone, Debug, PartialEq)]
pub enum PodAction {
    /// Write the pod's record: it exists from now on.
    CreatePod {
        record: Box<PodRecord>,
    },
    /// Replace the record after an in-place change.
    UpdatePod {
        record: Box<PodRecord>,
    },
    /// Mark the pod as going away.
    MarkDeleted {
        deletion: Deletion,
    },
    /// Make or renew volumes of the pod, with these tokens among their files: those that are not named stay as they are.
    SyncVolumes {
        volumes: Vec<VolumePayload>,
        tokens: Vec<TokenFile>,
    },
    /// Start the infra process and give the pod its address.
    RunSandbox {
        attempt: u32,
    },
    /// End the infra process and give the address back.
    StopSandbox,
    EnsureImage(ImageNeed),
    StartContainer(Box<ContainerStart>),
    SignalContainer {
        name: String,
        attempt: u32,
        signal: Signal,
        grace_seconds: i64,
    },
    /// Begin a hook of an instance that runs, and do not wait for it.
    RunHook(HookRun),
    /// Give an instance that runs other amounts of cpu and memory.
    ResizeContainer(ResizeOrder),
    /// Kill what is left of an instance whose monitor is gone and write its exit record.
    ReapContainer {
        name: String,
        attempt: u32,
    },
    /// Forget an ended instance with its writable layer and log.
    RemoveContainer {
        name: String,
        attempt: u32,
    },
    /// Record the terminal phase (`Succeeded` or `Failed`).
    Finish {
        phase: String,
        cause: Option<TerminalCause>,
    },
    /// Forget the pod: volumes, directories, record.
    RemovePod,
}

/// A step with its reason.
#[derive(Clone, Debug, PartialEq)]
pub struct PodStep {
    pub action: PodAction,
    pub reason: Reason,
}

/// What kind of waiting a hold is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldKind {
    /// For the end of a container that was told to stop: it comes by itself, or SIGKILL follows.
    Stopping,
    /// For an image that is being pulled, meanwhile: its end wakes the pod.
    Pulling,
    /// For something that keeps the pod from where it should be.
    Waiting,
}

/// Something the plan waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub kind: HoldKind,
    /// The container, or empty for the pod itself.
    pub container: String,
    /// A waiting reason of Kubernetes, such as `CrashLoopBackOff`, `PodInitializing` or `CreateContainerConfigError`.
    pub reason: String,
    pub message: String,
    /// When it ends by itself, if it does.
    pub until: Option<Timestamp>,
}

/// Something of a pod that takes room on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskPart {
    /// One of its volumes.
    EmptyDir,
    /// One of its containers: its logs, and the writable layer of its newest instance.
    Container,
    /// All of it: layers, logs, emptyDirs on the disk and what is kept for it.
    Pod,
}

/// Something on the disk that is to take no more than so much: a volume as a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeLimit {
    pub of: DiskPart,
    /// That of the volume or the container.
    pub name: String,
    pub bytes: u64,
    /// The quantity as Kubernetes writes it.
    pub shown: String,
}

impl VolumeLimit {
    /// What it is of, as messages name it.
    pub fn what(&self) -> String {
        match self.of {
            DiskPart::EmptyDir => format!("EmptyDir volume {:?}", self.name),
            DiskPart::Container => format!("container {:?}", self.name),
            DiskPart::Pod => "the pod".to_owned(),
        }
    }
}

/// What a volume takes of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VolumeUse {
    pub bytes: u64,
    /// How many files and directories were looked at for that.
    pub entries: u64,
    /// There are more of them, or deeper ones, than are looked at: it takes these bytes at least.
    pub is_part: bool,
}

/// The next steps of one pod. After performing them the pod is observed again and planned anew.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodPlan {
    pub steps: Vec<PodStep>,
    pub holds: Vec<Hold>,
    /// When to plan again even if nothing happens.
    pub wake_at: Option<Timestamp>,
    /// Waiting reason and message of each container that waits, for the status.
    pub waiting: BTreeMap<String, (String, String)>,
    /// The containers that are to be started after others of the pod, whether they have run before or not.
    pub held: BTreeSet<String>,
    /// The volumes to look at from time to time, whether they take more than they may.
    pub limits: Vec<VolumeLimit>,
    /// What is to be asked of the containers meanwhile.
    pub probes: Vec<ProbeRun>,
    /// What the probes say so far, for the status.
    pub probed: ProbedContainers,
}
