//! What a container may do: capabilities, hidden and read-only paths, devices. The lists are containerd's.

use k8s_openapi::api::core::v1::{Capabilities, Container, PodSpec};
use serde_json::{Value, json};

use super::{HostDevice, Input, SpecError, is_privileged};

pub(super) const MASKED_PATHS: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

pub(super) const READ_ONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Every capability, at its number in the kernel.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has unless its pod says otherwise.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A capability that cannot be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CapabilityError {
    Unknown(String),
    /// This process does not have it itself.
    Withheld(String),
}

impl std::fmt::Display for CapabilityError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CapabilityError::Unknown(name) => write!(f, "unknown capability to add: {name:?}"),
            CapabilityError::Withheld(name) => {
                write!(f, "capability {name} cannot be added: this machine withholds it from podwright itself")
            }
        }
    }
}

fn bit(name: &str) -> Option<u64> {
    let name = name.strip_prefix("CAP_").unwrap_or(name);
    NAMES.iter().position(|n| *n == name).map(|at| 1 << at)
}

fn bits(names: &[&str]) -> u64 {
    names.iter().filter_map(|n| bit(n)).fold(0, |set, bit| set | bit)
}

/// Every capability this code knows.
fn known() -> u64 {
    bits(&NAMES)
}

/// The capabilities of a container as a bit set: the default ones, with `add` and `drop` applied as containerd does: `ALL`
/// first, adding before `ALL` is dropped, then the single ones. A container never gets one outside `bounding`.
///
/// # Errors
/// When one that is added by name does not exist or cannot be had.
pub fn capabilities(wish: Option<&Capabilities>, bounding: u64) -> Result<u64, CapabilityError> {
    let list = |names: Option<&Vec<String>>| -> Vec<String> {
        names.into_iter().flatten().map(|n| n.to_ascii_uppercase()).collect()
    };
    let (add, drop) = (list(wish.and_then(|w| w.add.as_ref())), list(wish.and_then(|w| w.drop.as_ref())));
    let all = |names: &[String]| names.iter().any(|n| n == "ALL");
    let mut set = bits(&DEFAULT) & bounding;
    if all(&add) {
        set = known() & bounding;
    }
    if all(&drop) {
        set = 0;
    }
    for name in add.iter().filter(|n| *n != "ALL") {
        let bit = bit(name).ok_or_else(|| CapabilityError::Unknown(name.clone()))?;
        if bounding & bit == 0 {
            return Err(CapabilityError::Withheld(name.clone()));
        }
        set |= bit;
    }
    for name in &drop {
        // Dropping one that does not exist is dropping nothing.
        set &= !bit(name).unwrap_or(0);
    }
    Ok(set)
}

/// The names of a container's capabilities, in the kernel's order.
pub(super) fn container_capabilities(input: &Input<'_>) -> Result<Vec<String>, SpecError> {
    let wish = input.container.security_context.as_ref().and_then(|s| s.capabilities.as_ref());
    let set = if is_privileged(input.container) {
        known() & input.bounding
    } else {
        capabilities(wish, input.bounding).map_err(SpecError::Capability)?
    };
    Ok(NAMES.iter().enumerate().filter(|(at, _)| set & (1 << at) != 0).map(|(_, n)| format!("CAP_{n}")).collect())
}

/// Whether nothing below /proc and /sys is hidden from a container or kept from being written to: `procMount: Unmasked`, which
/// takes user ids of the pod's own.
pub(super) fn is_unmasked(input: &Input<'_>) -> bool {
    let own = input.container.security_context.as_ref().and_then(|context| context.proc_mount.as_deref());
    own == Some("Unmasked") && input.first_id.is_some()
}

/// A seccomp profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seccomp<'a> {
    Unconfined,
    RuntimeDefault,
    /// A file of this machine, by its path below the directory for them.
    Localhost(&'a str),
}

/// The seccomp profile of a container: its own, else the pod's, else the default one. A privileged container has none,
/// whatever is said, as with the kubelet.
///
/// # Errors
/// For a type of profile that Kubernetes does not have.
pub fn seccomp<'a>(pod: &'a PodSpec, container: &'a Container) -> Result<Seccomp<'a>, SpecError> {
    if is_privileged(container) {
        return Ok(Seccomp::Unconfined);
    }
    let own = container.security_context.as_ref().and_then(|s| s.seccomp_profile.as_ref());
    let profile = own.or_else(|| pod.security_context.as_ref()?.seccomp_profile.as_ref());
    match profile.map(|p| (p.type_.as_str(), p.localhost_profile.as_deref().unwrap_or_default())) {
        None | Some(("RuntimeDefault", _)) => Ok(Seccomp::RuntimeDefault),
        Some(("Unconfined", _)) => Ok(Seccomp::Unconfined),
        Some(("Localhost", file)) if !file.is_empty() => Ok(Seccomp::Localhost(file)),
        Some((other, _)) => Err(SpecError::Seccomp(other.to_owned())),
    }
}

/// What the shim is told of it. `local` is the text of the file, which was read and checked.
pub(super) fn seccomp_annotation(input: &Input<'_>) -> Result<String, SpecError> {
    Ok(match seccomp(input.pod, input.container)? {
        Seccomp::Unconfined => "Unconfined".to_owned(),
        Seccomp::RuntimeDefault => "RuntimeDefault".to_owned(),
        Seccomp::Localhost(file) => {
            input.local_seccomp.map(str::to_owned).ok_or_else(|| SpecError::Seccomp(file.to_owned()))?
        }
    })
}

/// A device node as the spec wants it.
pub(super) fn device(device: &HostDevice) -> Value {
    json!({
        "path": device.path,
        "type": device.kind.to_string(),
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    })
}
