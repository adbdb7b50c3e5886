//! What is mounted in a container: the file systems of every container, then files and volumes of the pod.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Input, SpecError};
use crate::model::{MountMode, Propagation};

const DEV: &str = "/dev";
const CGROUPS: &str = "/sys/fs/cgroup";
const TERMINATION_LOG: &str = "/dev/termination-log";

/// A directory or file of the machine that appears in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    pub source: PathBuf,
    pub destination: PathBuf,
    pub mode: MountMode,
}

/// How the container sees its own cgroup at `/sys/fs/cgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupView {
    /// Version 2: a mount of its own, whose root the cgroup namespace makes the container's cgroup. A privileged container, which
    /// has no such namespace, sees the machine's.
    Unified,
    /// Version 1: each controller's directory of the container's cgroup, over an empty directory of the same name in
    /// `stand`. Mounted by the runtime they would be writable: a container could raise its own limits.
    Split { stand: PathBuf, dirs: Vec<(String, PathBuf)> },
}

/// All mounts, parents before what is mounted in them. What the pod mounts replaces a default of the same place.
///
/// # Errors
/// When something of the container would be mounted on the machine.
pub(super) fn mounts(input: &Input<'_>, privileged: bool, read_only_root: bool) -> Result<Value, SpecError> {
    let mut all = defaults(privileged);
    all.extend(cgroups(input.cgroups, privileged));
    // The machine's own tree, or a volume, is shown as it is there: with nothing of the defaults in it.
    let whole = |place: &str| input.binds.iter().any(|b| normal(&b.destination) == Path::new(place));
    for place in [DEV, CGROUPS].into_iter().filter(|place| whole(place)) {
        all.retain(|(d, _)| !d.starts_with(place));
    }
    let mut add = |destination: &Path, mount: Value| {
        let destination = normal(destination);
        all.retain(|(d, _)| *d != destination);
        all.push((destination, mount));
    };
    // The kubelet's own file can be written to, even where the root file system cannot.
    for (file, place, read_only) in [
        ("hosts", "/etc/hosts", false),
        ("hostname", "/etc/hostname", read_only_root),
        ("resolv.conf", "/etc/resolv.conf", read_only_root),
    ] {
        add(Path::new(place), bind(&input.files.etc.join(file), Path::new(place), own(read_only)));
    }
    add(Path::new("/dev/shm"), bind(input.files.shm, Path::new("/dev/shm"), own(false)));
    let log = input.container.termination_message_path.as_deref().filter(|p| !p.is_empty()).unwrap_or(TERMINATION_LOG);
    add(Path::new(log), bind(input.files.termination_log, Path::new(log), own(false)));
    for volume in input.binds {
        add(&volume.destination, bind(&volume.source, &volume.destination, volume.mode));
    }
    // A stable sort: what is equally deep stays in the order of the pod.
    all.sort_by_key(|(destination, _)| destination.components().count());
    match told(input.binds, &all) {
        Some((place, below)) => Err(SpecError::Told(place, below)),
        None => Ok(all.into_iter().map(|(_, mount)| mount).collect()),
    }
}

/// A mount that tells the machine of what is mounted below it, and one of the container's own that is.
fn told(binds: &[Bind], all: &[(PathBuf, Value)]) -> Option<(PathBuf, PathBuf)> {
    let telling = binds.iter().filter(|bind| bind.mode.propagation == Propagation::Bidirectional);
    telling.map(|bind| normal(&bind.destination)).find_map(|place| {
        let (below, _) = all.iter().find(|(other, _)| *other != place && other.starts_with(&place))?;
        Some((place, below.clone()))
    })
}

/// The path without `.` and doubled or trailing slashes.
fn normal(path: &Path) -> PathBuf {
    path.components().collect()
}

/// Of a file of ours.
fn own(read_only: bool) -> MountMode {
    MountMode { read_only, ..MountMode::default() }
}

fn bind(source: &Path, destination: &Path, mode: MountMode) -> Value {
    let propagation = match mode.propagation {
        Propagation::None => "rprivate",
        Propagation::HostToContainer => "rslave",
        Propagation::Bidirectional => "rshared",
    };
    let access = match (mode.read_only, mode.recursively) {
        (true, true) => "rro",
        (true, false) => "ro",
        (false, _) => "rw",
    };
    json!({
        "destination": normal(destination),
        "type": "bind",
        "source": source,
        "options": ["rbind", propagation, access],
    })
}

/// The file systems containerd gives every container.
fn defaults(privileged: bool) -> Vec<(PathBuf, Value)> {
    let access = if privileged { "rw" } else { "ro" };
    let rows: [(&str, &str, &str, &[&str]); 5] = [
        ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        (DEV, "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
    ];
    rows.into_iter()
        .map(|(destination, kind, source, options)| {
            let mount = json!({ "destination": destination, "type": kind, "source": source, "options": options });
            (PathBuf::from(destination), mount)
        })
        .collect()
}

fn cgroups(view: &CgroupView, privileged: bool) -> Vec<(PathBuf, Value)> {
    let access = if privileged { "rw" } else { "ro" };
    match view {
        CgroupView::Unified => {
            let options: &[&str] = &["nosuid", "noexec", "nodev", "relatime", access];
            let (kind, source, options) = match privileged {
                // One made anew would give the machine's own mount its options.
                true => ("bind", CGROUPS, [&["rbind", "rprivate"], options].concat()),
                false => ("cgroup", "cgroup", options.to_vec()),
            };
            let mount = json!({ "destination": CGROUPS, "type": kind, "source": source, "options": options });
            vec![(PathBuf::from(CGROUPS), mount)]
        }
        CgroupView::Split { stand, dirs } => {
            let mount = |source: &Path, destination: &Path, access: &str| {
                let options = ["rbind", "rprivate", "nosuid", "noexec", "nodev", access];
                json!({ "destination": destination, "type": "bind", "source": source, "options": options })
            };
            let top = PathBuf::from(CGROUPS);
            let mut out = vec![(top.clone(), mount(stand, &top, "ro"))];
            out.extend(dirs.iter().map(|(name, dir)| (top.join(name), mount(dir, &top.join(name), access))));
            out
        }
    }
}
