//! What a machine says of itself, as far as pods depend on it.

use std::collections::BTreeSet;

/// Whether what was tried works; otherwise what the system said to it.
pub type Trial = Result<(), String>;

/// User ids, and as many group ids, of a pod with `hostUsers: false`: the kubelet's `userNamespaces.idsPerPod`.
pub const IDS_PER_POD: u32 = 65_536;
/// The way out where pods cannot run.
pub const RUN_AS_ROOT: &str =
    "run it as root, for example with sudo; inside of a container, that container must be a privileged one";
/// The way out where the program `nft` is not there.
pub const INSTALL_NFT: &str = "install it, on Debian and Ubuntu with `apt-get install nftables`";

/// Everything that was looked at and tried on a machine.
#[derive(Clone, Debug)]
pub struct MachineFacts {
    /// The kernel's release, as `uname -r` shows it.
    pub kernel: String,
    /// System calls that are needed and are not there.
    pub missing_calls: Vec<&'static str>,
    /// Capabilities that are needed and that this process lacks, without `CAP_`.
    pub missing_capabilities: Vec<&'static str>,
    /// Namespaces of mounts, network, IPC, host name and processes, with private mounts in them.
    pub namespaces: Trial,
    pub user_namespaces: Trial,
    /// The root directory, and whether an overlay can be mounted there.
    pub root: String,
    pub overlay: Result<Overlay, String>,
    /// The versions of cgroups that are mounted, and the controllers of all of them.
    pub cgroup_versions: BTreeSet<u8>,
    pub controllers: BTreeSet<String>,
    /// Making a cgroup.
    pub cgroup: Trial,
    /// What the kernel's filter of system calls can do; empty without one.
    pub seccomp_actions: BTreeSet<String>,
    /// A bridge and a pair of links in a network namespace of its own.
    pub links: Trial,
    /// A table of its own by the program `nft`; `None` without the program.
    pub nft: Option<Trial>,
    /// Whether packets can be passed on between links, or are already.
    pub forwarding: Trial,
    /// Whether pods can have addresses of IPv6.
    pub ipv6: Trial,
    /// Seconds since 1970, and whether something keeps the clock right; `None` when the kernel does not say.
    pub now: i64,
    pub synchronised: Option<bool>,
    /// The file system of the root directory, or of what it would be made in.
    pub space: Result<Space, String>,
    /// Whether memory may be written to disk.
    pub swaps: bool,
    /// Files that this process may open.
    pub open_files: u64,
    /// A watch of a directory.
    pub watch: Trial,
    /// Whether one boot can be told from another.
    pub boot_id: bool,
}

/// How an overlay can be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overlay {
    OnDisk,
    /// With what is written to it in memory; why it is no other way.
    InMemory(String),
}

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes.
    pub free: u64,
    pub total: u64,
    /// Files that can still be made; `None` where there is no such limit.
    pub free_files: Option<u64>,
    pub is_read_only: bool,
}

/// Bytes of a file system of so many that no image takes: one part in fifty, at most 256 MiB.
pub fn kept_free(total: u64) -> u64 {
    (total / 50).min(256 << 20)
}
