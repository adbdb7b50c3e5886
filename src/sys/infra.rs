//! The infra process: `/pause`, which holds the namespaces of a pod and reaps the orphans of a shared process namespace.

use std::io;
use std::path::PathBuf;

/// What an infra process is to hold.
#[derive(Clone, Debug)]
pub struct InfraSpec {
    /// An empty directory: all that the process (and whoever looks through `/proc/1/root`) sees of the machine.
    pub empty: PathBuf,
    /// A network namespace of its own; the machine's otherwise.
    pub net: bool,
    /// An IPC namespace of its own; the machine's otherwise.
    pub ipc: bool,
    /// A UTS namespace of its own with this host name; the machine's otherwise.
    pub uts: Option<String>,
    /// A process namespace of its own, with this process as number 1, for all containers of the pod.
    pub pid: bool,
    /// Its cgroup in every hierarchy, a leaf.
    pub cgroup: String,
}

/// An infra process that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Infra {
    /// Its number in the machine's process namespace. Its namespaces are at `/proc/<pid>/ns`.
    pub pid: i32,
    /// See [`super::process::start_ticks`].
    pub start_ticks: u64,
}

/// Starts `/pause` with the namespaces asked for. It is a child of this process, which should reap it when it has ended
/// ([`super::pidfd::reap`]), and outlives it. Blocks for some milliseconds; may be called in a threaded process.
///
/// # Errors
/// From the system; the message names the step.
pub fn start(spec: &InfraSpec) -> io::Result<Infra> {
    let _ = spec;
    Err(io::Error::other("not built yet"))
}
