//! Where everything of one root lives: directories, files and cgroups. Names that become paths are checked here.

use std::io;
use std::path::{Path, PathBuf};

use super::levels::Level;
use crate::model::{PodKey, PodUid};
use crate::port::{ErrorKind, PortError};
use crate::sys::cgroup;

/// A removed directory on its way out: no uid and no attempt number looks like this.
pub(super) const REMOVING: &str = ".removing-";

/// The cgroup of the infra process below its pod's. No instance's has this name: theirs end with a number.
pub(super) const INFRA: &str = "pause";

/// How the names of [`Paths::sub_paths`] begin.
pub(super) const SUB_PATHS: &str = "subpaths-";

/// The name of [`Paths::points`].
pub(super) const POINTS: &str = "mount-points";

/// The places of one root.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pub(super) state: PathBuf,
    pub(super) run: PathBuf,
    /// 8 hexadecimal digits.
    pub(super) instance: String,
}

/// One instance of one container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InstanceName {
    pub(super) uid: PodUid,
    pub(super) container: String,
    pub(super) attempt: u32,
}

impl InstanceName {
    /// A checked name.
    pub(super) fn new(uid: &PodUid, container: &str, attempt: u32) -> Result<Self, PortError> {
        check_uid(uid)?;
        check_container(container)?;
        Ok(Self { uid: uid.clone(), container: container.to_owned(), attempt })
    }
}

impl Paths {
    pub(super) fn pods(&self) -> PathBuf {
        self.state.join("pods")
    }

    pub(super) fn pod(&self, uid: &PodUid) -> PathBuf {
        self.pods().join(&uid.0)
    }

    /// `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a pod's containers.
    pub(super) fn etc(&self, uid: &PodUid) -> PathBuf {
        self.pod(uid).join("etc")
    }

    pub(super) fn containers(&self, uid: &PodUid) -> PathBuf {
        self.pod(uid).join("containers")
    }

    pub(super) fn instance_dir(&self, name: &InstanceName) -> PathBuf {
        self.containers(&name.uid).join(&name.container).join(name.attempt.to_string())
    }

    /// The lowest layer of containers, see [`super::mount_points`].
    pub(super) fn points(&self) -> PathBuf {
        self.state.join(POINTS)
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// The directory of a pod's logs, named as the kubelet names it.
    pub(super) fn pod_logs(&self, key: &PodKey, uid: &PodUid) -> PathBuf {
        self.logs().join(format!("{}_{}_{uid}", key.namespace, key.name))
    }

    pub(super) fn log(&self, key: &PodKey, name: &InstanceName) -> PathBuf {
        self.pod_logs(key, &name.uid).join(&name.container).join(format!("{}.log", name.attempt))
    }

    /// Where seccomp profiles of the machine's owner are, as the kubelet has them below its root.
    pub(super) fn seccomp(&self) -> PathBuf {
        self.state.join("seccomp")
    }

    pub(super) fn run_pods(&self) -> PathBuf {
        self.run.join("pods")
    }

    pub(super) fn run_pod(&self, uid: &PodUid) -> PathBuf {
        self.run_pods().join(&uid.0)
    }

    /// The pod's `/dev/shm`.
    pub(super) fn shm(&self, uid: &PodUid) -> PathBuf {
        self.run_pod(uid).join("shm")
    }

    /// Where parts of volumes are bound while a container that mounts them starts.
    pub(super) fn sub_paths(&self, name: &InstanceName) -> PathBuf {
        self.run_pod(&name.uid).join(format!("{SUB_PATHS}{}-{}", name.container, name.attempt))
    }

    /// An empty directory: all that an infra process sees of the machine.
    pub(super) fn empty(&self) -> PathBuf {
        self.run.join("empty")
    }

    /// Empty directories named after the machine's cgroup controllers, see [`super::spec::CgroupView`].
    pub(super) fn cgroup_stand(&self) -> PathBuf {
        self.run.join("cgroup")
    }

    pub(super) fn root_cgroup(&self) -> String {
        format!("/podwright-{}", self.instance)
    }

    pub(super) fn monitors_cgroup(&self) -> String {
        format!("{}/monitors", self.root_cgroup())
    }

    pub(super) fn level_cgroup(&self, level: Level) -> String {
        match level {
            Level::Guaranteed => self.root_cgroup(),
            Level::Burstable => format!("{}/burstable", self.root_cgroup()),
            Level::BestEffort => format!("{}/besteffort", self.root_cgroup()),
        }
    }

    pub(super) fn pod_cgroup_in(&self, level: Level, uid: &PodUid) -> String {
        format!("{}/pod{uid}", self.level_cgroup(level))
    }

    /// Where the cgroup of a pod stands; `None` when it has none. It stays where it was made: earlier versions knew no
    /// levels.
    pub(super) fn level(&self, uid: &PodUid) -> io::Result<Option<Level>> {
        let places = Level::ALL.map(|level| self.pod_cgroup_in(level, uid));
        Ok(cgroup::first(&places)?.map(|index| Level::ALL[index]))
    }

    /// The cgroup that a pod has, or one that is not there.
    pub(super) fn pod_cgroup(&self, uid: &PodUid) -> io::Result<String> {
        Ok(self.pod_cgroup_in(self.level(uid)?.unwrap_or(Level::Guaranteed), uid))
    }

    pub(super) fn infra_cgroup(&self, uid: &PodUid) -> io::Result<String> {
        Ok(format!("{}/{INFRA}", self.pod_cgroup(uid)?))
    }

    pub(super) fn container_cgroup(&self, name: &InstanceName) -> io::Result<String> {
        Ok(format!("{}/{}-{}", self.pod_cgroup(&name.uid)?, name.container, name.attempt))
    }
}

/// Whether a string can be a uid: it becomes the name of a directory and of a cgroup.
pub(super) fn is_uid(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// The uid in the name of a pod's cgroup.
pub(super) fn uid_of_cgroup(name: &str) -> Option<&str> {
    name.strip_prefix("pod").filter(|uid| is_uid(uid))
}

/// Refuses a uid that is none.
pub(super) fn check_uid(uid: &PodUid) -> Result<(), PortError> {
    if is_uid(&uid.0) { Ok(()) } else { Err(bad("use pod uid", &uid.0)) }
}

/// Whether a string is a DNS label, as container names are.
pub(super) fn is_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 63 && text.starts_with(plain) && text.ends_with(plain) && text.chars().all(|c| plain(c) || c == '-')
}

fn check_container(name: &str) -> Result<(), PortError> {
    if is_label(name) { Ok(()) } else { Err(bad("use container name", name)) }
}

/// Refuses a namespace or pod name that could not be a file name.
pub(super) fn check_key(key: &PodKey) -> Result<(), PortError> {
    let fine = |part: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        !part.is_empty()
            && part.len() <= 253
            && part.starts_with(plain)
            && part.chars().all(|c| plain(c) || matches!(c, '-' | '.'))
    };
    if fine(&key.namespace) && fine(&key.name) { Ok(()) } else { Err(bad("use pod name", &key.to_string())) }
}

fn bad(operation: &'static str, name: &str) -> PortError {
    PortError::new(ErrorKind::Invalid, operation, format!("{name:?}"), "it has characters that are not allowed there")
}

/// A path as text for a message.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        for bad in ["", ".", "..", "a/b", "A b", "a_b", "a\n", &"a".repeat(65)] {
            assert!(check_uid(&PodUid(bad.to_owned())).is_err(), "{bad:?}");
        }
        for bad in ["", "..", "a/b", "-a", "a-", "a.b", "A", &"a".repeat(64)] {
            assert!(InstanceName::new(&PodUid("u".into()), bad, 0).is_err(), "{bad:?}");
        }
        for bad in ["", "..", "a/b", ".a", "a_b"] {
            assert!(check_key(&PodKey::new("default", bad)).is_err(), "{bad:?}");
        }
        assert!(check_key(&PodKey::new("default", "web.example-1")).is_ok());
        assert!(InstanceName::new(&PodUid("0af3-1".into()), "web-1", 7).is_ok());
    }
}
