//! The OCI runtime spec of one container, built from plain values: no file is read and nothing is made here.

mod mounts;
mod process;
mod resources;
mod security;

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, PodSpec};
use serde_json::{Value, json};

pub use mounts::{Bind, CgroupView};
pub use process::command_line;
pub use resources::{limits, shares, together};
pub use security::{CapabilityError, Seccomp, capabilities, seccomp};

use super::user::Identity;
use crate::image::ImageConfig;
use crate::model::ContainerStart;
use crate::shim::SECCOMP_ANNOTATION;
use crate::sys::users::IDS;

/// The version of the runtime specification this follows.
const OCI_VERSION: &str = "1.0.2";

/// A node of the machine's `/dev`, for privileged containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDevice {
    pub path: PathBuf,
    /// `b` or `c`.
    pub kind: char,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// Files that are bound into every container.
#[derive(Clone, Copy, Debug)]
pub struct OwnFiles<'a> {
    /// The directory of `hosts`, `hostname` and `resolv.conf`.
    pub etc: &'a Path,
    pub termination_log: &'a Path,
    /// What `/dev/shm` is.
    pub shm: &'a Path,
}

/// Everything the spec of a container is made of.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub pod: &'a PodSpec,
    pub container: &'a Container,
    pub start: &'a ContainerStart,
    pub image: &'a ImageConfig,
    pub identity: &'a Identity,
    pub hostname: &'a str,
    /// The process that holds the pod's namespaces.
    pub infra_pid: i32,
    /// The first of the user ids that the pod has for its own, if it has.
    pub first_id: Option<u32>,
    /// The pod's volumes and the image's, with their places on the machine.
    pub binds: &'a [Bind],
    pub files: OwnFiles<'a>,
    pub cgroups: &'a CgroupView,
    /// The capabilities this process may hand out, as the kernel's bit set.
    pub bounding: u64,
    /// The seccomp profile of this machine that the container names, if it does.
    pub local_seccomp: Option<&'a str>,
    /// The machine's, in bytes.
    pub memory: u64,
    /// Only needed for a privileged container.
    pub devices: &'a [HostDevice],
}

/// Why a container cannot be created as its pod describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecError {
    /// Neither pod nor image names a command.
    NoCommand,
    Capability(CapabilityError),
    /// A quantity that is none: field and text.
    Quantity(String, String),
    /// A seccomp profile that is not there.
    Seccomp(String),
    /// A mount, by its path, that tells the machine of what is mounted below it, and what of the container would be.
    Told(PathBuf, PathBuf),
}

impl std::fmt::Display for SpecError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SpecError::NoCommand => f.write_str("no command specified"),
            SpecError::Capability(error) => error.fmt(f),
            SpecError::Quantity(field, text) => write!(f, "{field}: {text:?} is no quantity"),
            SpecError::Seccomp(what) => write!(f, "there is no seccomp profile {what:?}"),
            SpecError::Told(place, below) => write!(
                f,
                "the machine is told of what is mounted below {}, and would have {} of the container as well: mount the volume \
                 at a directory of its own",
                place.display(),
                below.display()
            ),
        }
    }
}

/// Whether a container is privileged.
pub fn is_privileged(container: &Container) -> bool {
    container.security_context.as_ref().and_then(|s| s.privileged) == Some(true)
}

/// Builds the spec.
///
/// # Errors
/// When the pod asks for something that cannot be had.
pub fn build(input: &Input<'_>) -> Result<Value, SpecError> {
    let security = input.container.security_context.as_ref();
    let read_only = security.and_then(|s| s.read_only_root_filesystem) == Some(true);
    let privileged = is_privileged(input.container);
    let mut linux = json!({
        "resources": resources::resources(input.container, input.pod, privileged)?,
        "namespaces": namespaces(input, privileged),
    });
    if let Some(first) = input.first_id {
        let range = json!([{ "containerID": 0, "hostID": first, "size": IDS }]);
        linux["uidMappings"] = range.clone();
        linux["gidMappings"] = range;
    }
    if privileged {
        linux["devices"] = Value::Array(input.devices.iter().map(security::device).collect());
    }
    if !privileged && !security::is_unmasked(input) {
        linux["maskedPaths"] = json!(security::MASKED_PATHS);
        linux["readonlyPaths"] = json!(security::READ_ONLY_PATHS);
    }
    Ok(json!({
        "ociVersion": OCI_VERSION,
        "root": { "path": "rootfs", "readonly": read_only },
        "process": process::process(input)?,
        "mounts": mounts::mounts(input, privileged, read_only)?,
        "linux": linux,
        "annotations": { SECCOMP_ANNOTATION: security::seccomp_annotation(input)? },
    }))
}

/// New namespaces, those of the infra process to join, and by their absence those of the machine.
fn namespaces(input: &Input<'_>, privileged: bool) -> Value {
    let pod = input.pod;
    let join = |kind: &str, file: &str| json!({ "type": kind, "path": format!("/proc/{}/ns/{file}", input.infra_pid) });
    let mut out = Vec::new();
    if pod.host_pid != Some(true) {
        let shared = pod.share_process_namespace == Some(true);
        out.push(if shared { join("pid", "pid") } else { json!({ "type": "pid" }) });
    }
    if pod.host_network != Some(true) {
        out.push(join("network", "net"));
        out.push(join("uts", "uts"));
    }
    if pod.host_ipc != Some(true) {
        out.push(join("ipc", "ipc"));
    }
    out.push(json!({ "type": "mount" }));
    if input.first_id.is_some() {
        out.push(join("user", "user"));
    }
    // With user ids of its own it could not even look at the machine's cgroups.
    if !privileged || input.first_id.is_some() {
        out.push(json!({ "type": "cgroup" }));
    }
    Value::Array(out)
}
