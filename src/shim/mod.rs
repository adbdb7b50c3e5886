//! Floor 4: the small process that starts one container and outlives the agent.
//!
//! The agent is threaded and never forks a container. [`Shim`] has a process of one thread forked, the *shim*, by another one
//! that was started from this program for nothing else (`zygote`): it is in a session, a cgroup and a mount namespace of its own. It mounts the root file system, forks the container's
//! first process, which makes the container from within and waits, writes `started.json`, reports, and becomes a *monitor*: a tiny program that copies the container's
//! output into its log, waits for its end and writes `exit.json`. All the while it holds the lock of the instance
//! directory, so whoever wants to know whether the container lives asks the lock.
//!
//! The monitor also listens on a socket in `bundle`, where others attach to the container: [`Session`].
//!
//! In an instance directory: `lock`, `started.json` ([`Started`]), `exit.json` (`model::ExitRecord`), `upper` and `work` of the
//! overlay, and `bundle`, which is a tmpfs seen by the shim alone: what may be secret never touches the disk. The overlay is
//! mounted in it, at `rootfs`, and below `images` those of images that are volumes. `message` in it is a tmpfs too, so small that no container can do harm with its last words; the
//! monitor keeps the end of them as `termination-log`. The mounts are in the shim's private namespace, so nothing is left of them when it is gone.

mod attach;
mod command;
mod container;
mod entry;
mod exec;
mod failure;
mod first;
mod images;
mod inside;
mod keys;
mod kill;
mod mounts;
mod namespace;
mod nodes;
pub mod oci;
mod places;
mod privileges;
mod process;
mod record;
mod relay;
mod rootfs;
mod run;
mod running;
mod seccomp;
mod shared;
mod spawn;
mod users;
mod zygote;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub use attach::{AttachEnd, AttachRequest, Session};
pub use inside::Inside;
use jiff::Timestamp;
pub use keys::DetachKeys;
pub use run::{Ran, RunRequest, run};
pub use seccomp::{ANNOTATION as SECCOMP_ANNOTATION, check as check_seccomp};
use serde::{Deserialize, Serialize};
pub use spawn::Shim;

use crate::port::PortError;
use crate::sys::infra::Infra;
use crate::sys::sealed;

/// What to start. Sent to the shim through a socket: it may hold secrets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShimRequest {
    /// Unique on the machine: letters, digits, `_+-.`; what `ps` shows beside the monitor.
    pub id: String,
    /// The instance directory; it exists.
    pub instance_dir: PathBuf,
    /// The OCI runtime spec. The shim sets `root.path` and `linux.cgroupsPath` itself; `process.terminal` decides whether
    /// there is a terminal; `process.args` is never empty; user and groups are numbers. Namespaces to join are given by
    /// path, `/proc/<infra pid>/ns/net`, opened while nothing of the container runs yet, and refused unless they are those of
    /// `infra`. The annotation
    /// [`SECCOMP_ANNOTATION`] is `RuntimeDefault`, what [`check_seccomp`] gives, or `Unconfined`, which its absence means too.
    pub spec: oci::Spec,
    /// Whose namespaces the container joins, if it joins any.
    pub infra: Option<Infra>,
    /// The read-only layers of the root file system, the topmost first. `/` stands for the machine's own.
    pub lowers: Vec<PathBuf>,
    /// Images that are volumes. What is mounted of each is at its [`image_place`].
    #[serde(default)]
    pub images: Vec<ShownImage>,
    /// Paths of the root file system that get an empty read-only directory or file over them, if they are there.
    pub covered: Vec<PathBuf>,
    /// The log, in the CRI format; its directory exists. Older parts of it get the same name with a number behind it.
    pub log_path: PathBuf,
    /// How much of it is kept.
    pub log_limits: LogLimits,
    /// Keep stdin open: reads wait. Without it they end at once. A terminal stays open either way.
    pub stdin: bool,
    /// The stdin is for the first one who attaches to it: when they leave, it ends. A terminal stays.
    #[serde(default)]
    pub stdin_once: bool,
    /// The container's cgroup, a leaf, such as `/podwright-1a2b3c4d/<pod>/<container>.0`. The monitor removes it at the end.
    pub cgroup: String,
}

/// In an instance directory: the file for a container's last words, to be mounted by the spec. It is there while the
/// container is made and runs, and seen by its shim alone.
pub const MESSAGE_SOURCE: &str = "bundle/message/text";
/// In an instance directory: where images are mounted that are volumes. Seen by the shim alone, too.
const IMAGES: &str = "bundle/images";

/// What a container has of an image that is a volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownImage {
    /// Its read-only layers, two at least, the topmost first.
    pub layers: Vec<PathBuf>,
    /// The directory of it that is shown, by a path without a link in it; empty for the whole.
    pub part: PathBuf,
}

/// Where an image is mounted, by its number in [`ShimRequest::images`].
pub fn image_place(instance_dir: &Path, number: usize) -> PathBuf {
    instance_dir.join(IMAGES).join(number.to_string())
}

/// In an instance directory: the last [`MESSAGE_BYTES`] of these words, if there are any, once `exit.json` is there.
pub const MESSAGE: &str = "termination-log";
/// The kubelet's limit for a termination message.
pub const MESSAGE_BYTES: u64 = 4096;

/// How much of a container's log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogLimits {
    /// Bytes of one file; 0 for no limit. A file is never longer, unless a single piece of output is.
    pub max_size: u64,
    /// Files, the one that is written to among them; at least 2.
    pub max_files: u32,
}

impl Default for LogLimits {
    /// The kubelet's `containerLogMaxSize` and `containerLogMaxFiles`.
    fn default() -> Self {
        Self { max_size: 10 << 20, max_files: 5 }
    }
}

/// A container that was started: `started.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// The container's first process, by its number on the machine.
    pub pid: i32,
    /// When that process started ([`crate::sys::process::start_ticks`]).
    pub start_ticks: u64,
    /// The monitor; its end is the end of the container as far as records go.
    pub monitor_pid: i32,
    /// Of which boot the numbers are ([`crate::sys::process::boot_id`]).
    pub boot_id: String,
    pub started_at: Timestamp,
}

/// A command to run in a running container.
#[derive(Clone, Debug)]
pub struct ExecRequest {
    /// The container's instance directory.
    pub instance_dir: PathBuf,
    /// The command with its arguments; not empty.
    pub command: Vec<String>,
    /// Pass stdin on.
    pub stdin: bool,
    /// Give the command a terminal.
    pub tty: bool,
}

/// Refuses a `started.json` or `exit.json` that a later program wrote, by its content. One without a version is of the first.
///
/// # Errors
/// `InvalidInput`, with the place and the way out.
pub fn check_version(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    record::check_version(path, bytes)
}

/// The first argument of this program when shims are to be forked from it; not for people.
const VERB: &str = "internal-shim";

/// The shim's own side, if that is what this process is started for; it has one thread and has started no runtime.
pub fn main() -> Option<ExitCode> {
    std::env::args_os().nth(1).is_some_and(|verb| verb == VERB).then(zygote::main)
}

/// Starts this process again from a copy of the program that nobody can write to, for [`exec`], unless it is one already.
///
/// # Errors
/// From the system.
pub fn prepare_exec() -> Result<(), PortError> {
    sealed::restart().map_err(|e| PortError::io("start again", "this program", &e))
}

/// Runs a command in a running container and returns its exit code: 128 + n when signal n ended it, 126 when it cannot be
/// executed, 127 when there is no such command, which its stderr tells. The process has one thread and has started no runtime; its terminal is
/// in raw mode meanwhile when a terminal is asked for.
///
/// # Errors
/// `NotFound` when the container does not run.
pub fn exec(request: &ExecRequest) -> Result<i32, PortError> {
    exec::run(request)
}

/// The file tree of a running container.
///
/// # Errors
/// `NotFound` when the container does not run.
pub fn inside(instance_dir: &Path) -> Result<Inside, PortError> {
    Inside::open(instance_dir)
}

/// Attaches to a running container.
///
/// # Errors
/// `NotFound` when it does not run; `Unavailable` when as many have attached as may, or its monitor does not answer.
pub fn attach(instance_dir: &Path) -> Result<Session, PortError> {
    Session::open(instance_dir)
}
