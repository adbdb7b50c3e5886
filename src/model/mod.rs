//! Floor 1: the plain values that travel through podwright.
//!
//! Nothing here reads a clock, a file or the network. A stage takes some of these values and returns
//! others; an adapter fills some in from the world. Follow them in the order they come into being:
//! [`Snapshot`] (bytes at one revision) → [`Desired`] (objects with places) → [`Admitted`] (presets and
//! defaults applied) → [`FleetPlan`] / [`PodPlan`] (ordered actions with reasons) → [`ObservedPod`] (what the
//! world says afterwards) → [`StatusDocument`] and [`Projection`] (what people read). [`spread`] is no value: it is how a
//! stage does the same with thousands of them.

mod account;
mod action;
mod admitted;
mod annotation;
mod data;
mod diagnostic;
pub mod env_file;
mod fleet;
mod handler;
mod hook;
mod image_policy;
pub mod image_wait;
mod images;
mod json;
mod key;
pub mod late;
mod ledger;
mod limit_range;
mod machine;
mod masked;
mod node;
mod object;
mod observed;
mod oom;
mod packed;
mod placement;
mod places;
mod pod_security;
mod preset;
mod pressure;
mod probe;
mod projection;
mod propagation;
mod qos;
pub mod quantity;
mod reference;
mod registry;
mod resources;
mod room;
mod rule;
mod snapshot;
pub mod spread;
mod status;
pub mod sysctl;
mod versioned;

pub use account::{
    ACCOUNT_NAME, ACCOUNT_TOKEN, ACCOUNT_UID, Account, Accounts, DEFAULT_ACCOUNT, Filling, Fillings, ISSUER, ROOT_CA,
    ROOT_CA_KEY, TOKEN_KEY, TOKEN_PATH, TOKEN_VOLUME, TokenFile, TokenState, mount_token, node_uid, stable_uid,
};
pub use action::{
    ContainerStart, DiskPart, EnvValue, Hold, HoldKind, ImageNeed, MountMode, MountSource, PayloadFile, PodAction,
    PodPlan, PodStep, Propagation, Reason, ResizeOrder, Signal, SignalOrder, SubPath, VolumeLimit, VolumeMaterial,
    VolumeMountPlan, VolumePayload, VolumeUse,
};
pub use admitted::{
    Admitted, AdmittedPod, AppliedPreset, ConflictSide, DataObjects, FieldOrigin, Origin, PresetConflict, SkippedPreset,
};
pub use annotation::{ANNOTATION_PREFIX, IGNORE, ORIGIN, RESTART_ON_DATA};
pub use data::{DataObject, SharedBytes};
pub use diagnostic::{Diagnostic, Diagnostics, Place, Severity};
pub use fleet::{Cause, FieldChange, FleetAction, FleetPlan, Rename, Verb};
pub use handler::{Caller, Handler, HandlerAnswer, HandlerCall, HandlerOutcome, HttpGet, NoHandler};
pub use hook::{HookKey, HookKind, HookRun, HookState, HookStates};
pub use image_policy::{PullPolicy, PullStep, Stored, pull_step};
pub use images::images_of;
pub use json::{Json, Members};
pub use key::{Kind, ObjectKey, PodKey, PodUid};
pub use late::LateValue;
pub use ledger::{Durable, Eviction, Failure, Ledger, PodMemory};
pub use limit_range::{Contradiction, LIMIT_RANGER, LimitRangeItem, LimitType};
pub use machine::{IDS_PER_POD, INSTALL_NFT, MachineFacts, Overlay, RUN_AS_ROOT, Space, Trial, kept_free};
pub use masked::Masked;
pub use node::{NodeInfo, NodeSystem, Taint, architecture, well_known};
pub use object::{Desired, DesiredObject, Excluded, PodPreset, PodPresetSpec};
pub use observed::{
    AllRestarted, ContainerKind, ContainerRecord, ContainerState, DataDigests, Deletion, ExitRecord, ImageSource,
    ObservedContainer, ObservedPod, PodRecord, ResolverNotes, Sandbox, Stopping, TerminalCause,
};
pub use oom::oom_score_adj;
pub use packed::Packed;
pub use placement::{NOT_PLACED, Outcome, Unmet, Unplaced, no_node};
pub use places::{Places, PointerDigest};
pub use pod_security::{POD_SECURITY, PodSecurityLevel, PodSecurityStandard, PodSecurityVersion};
pub use preset::{APPLIED_PRESET_PREFIX, EXCLUDE_PRESETS, MIRROR_POD};
pub use pressure::{
    EVICTED, EvictionSettings, EvictionSignal, EvictionThreshold, NodePressure, NodePressures, PressureState,
    ProcessUse, SignalLevel, SignalLevels, Starved, ThresholdValue, UnderPressure,
};
pub use probe::{ProbeKey, ProbeKind, ProbeRun, ProbeVerdict, ProbeVerdicts, Probed, ProbedContainers};
pub use projection::{
    EventRecord, EventType, MadeOf, Projected, Projection, Served, ShownObject, ShownPod, Standing, Terminal,
};
pub use propagation::{BIDIRECTIONAL, LAST_WORDS, OWN_PLACES, is_below, is_of_the_agent, no_bidirectional};
pub use qos::{AmountList, OF_PODS, PodAmounts, containers_total, is_sidecar, pod_total, qos_class};
pub use reference::{HOST_IMAGE, NoReference, Reference, is_sha256_hex};
pub use registry::{EVERY_REGISTRY, Mirror, PullSettings, RegistryEntry, host_and_port, is_loopback};
pub use resources::{AmountChange, Amounts, RESIZABLE, Resources, asks_for_restart};
pub use room::{Asked, PendingResize, Requests, Room, Shortage, priority, requests_of};
pub use rule::{RULES, Rule};
pub use snapshot::{BlobId, Provisioned, Revision, RevisionKind, Snapshot, SourceFile, SourceRef};
pub use status::{
    ActionEntry, ConditionEntry, ContainerEntry, ContainerStateEntry, PodEntry, PresetEntry, SkippedPresetEntry,
    StatusDocument,
};
pub use versioned::Versioned;
