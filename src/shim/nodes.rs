//! The device nodes and links that every container has in `/dev`, and those that a privileged one has beside them. The lists
//! are the OCI runtime specification's.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::failure::{Failure, Step};
use super::oci::{Device, DeviceKind, Spec};
use super::places::{self, Kind};
use super::{mounts, rootfs};
use crate::sys::effect;

const DEV: &str = "/dev";
const DEV_NULL: &str = "/dev/null";
const NO_NULL: &str = "the container has no /dev/null: the volume at /dev must have it";
const OTHER_NULL: &str = "the container's /dev/null is something else: mount nothing there";
/// The number of `/dev/null`.
const NULL: (u32, u32) = (1, 3);
const NODES: [(&str, (u32, u32)); 6] =
    [("null", NULL), ("zero", (1, 5)), ("full", (1, 7)), ("random", (1, 8)), ("urandom", (1, 9)), ("tty", (5, 0))];
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("kcore", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];
/// Of what everybody may use.
const MODE: u32 = 0o666;

/// Nodes of the machine by their paths, for a container that cannot make any: it has a user namespace.
pub(super) type Nodes = Vec<(PathBuf, OwnedFd)>;

/// Copies of the machine's nodes, mounted nowhere yet.
pub(super) fn of_the_machine(devices: &[Device]) -> Result<Nodes, Failure> {
    let own = NODES.iter().map(|(name, _)| (Path::new(DEV).join(name), true));
    let others = devices.iter().map(|device| (device.path.clone(), false));
    let mut nodes = Nodes::new();
    for (path, is_needed) in own.chain(others) {
        let found = rustix::fs::openat(CWD, &path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        match found.map_err(io::Error::from).and_then(|node| effect::copy_mount(node, false)) {
            // It has gone since they were listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_needed => {}
            copy if nodes.iter().all(|(there, _)| *there != path) => {
                let copy = copy.step_on("opening the device", &path)?;
                nodes.push((path, copy));
            }
            _ => {}
        }
    }
    Ok(nodes)
}

/// Shows the machine's nodes where others have nodes of their own. What the pod has in their place stays.
fn show(root: &OwnedFd, nodes: &Nodes) -> Result<(), Failure> {
    for (path, node) in nodes {
        below_dev(path)?;
        if rootfs::resolve(root, path, OFlags::PATH | OFlags::NOFOLLOW).is_ok() {
            continue;
        }
        let place = places::open_or_make(root, path, Kind::File).step_on("opening", path)?;
        effect::place_mount(node, place).step_on("showing the device", path)?;
    }
    Ok(())
}

/// Makes them, or shows those of `machine`, where the pod has nothing mounted in their place. Where `/dev` is the machine's own
/// or of a volume they are not made: that is left as it is. Both as by runc.
pub(super) fn make(root: &OwnedFd, spec: &Spec, machine: Option<&Nodes>) -> Result<(), Failure> {
    if spec.mounts.iter().any(|m| m.is_bind() && m.is_at(DEV)) {
        return Ok(());
    }
    // The modes are those given, exactly.
    let umask = rustix::process::umask(Mode::empty());
    let made = match machine {
        Some(machine) => show(root, machine),
        None => nodes(root, &spec.linux.devices),
    };
    let made = made.and_then(|()| links(root));
    rustix::process::umask(umask);
    made
}

fn nodes(root: &OwnedFd, devices: &[Device]) -> Result<(), Failure> {
    for device in devices {
        device_node(root, device)?;
    }
    let dev = places::open_or_make(root, Path::new(DEV), Kind::Directory).step("opening /dev")?;
    for (name, number) in NODES {
        let path = Path::new(DEV).join(name);
        if !devices.iter().any(|d| d.path == path) {
            let made = effect::make_device_at(&dev, name.as_ref(), (FileType::CharacterDevice, MODE), number);
            unless_there(made).step_on("making the device", &path)?;
        }
    }
    Ok(())
}

fn links(root: &OwnedFd) -> Result<(), Failure> {
    let dev = places::open_or_make(root, Path::new(DEV), Kind::Directory).step("opening /dev")?;
    for (name, target) in LINKS.iter().filter(|(name, target)| *name != "kcore" || Path::new(target).exists()) {
        unless_there(effect::symlink_at(target, &dev, name)).step_on("making the link", &Path::new(DEV).join(name))?;
    }
    Ok(())
}

/// The directory of a node, and its name.
fn below_dev(path: &Path) -> Result<(&Path, &OsStr), Failure> {
    let parent = path.parent().filter(|p| p.starts_with(DEV));
    parent
        .zip(path.file_name())
        .ok_or_else(|| Failure(format!("a device node must be below /dev, which {} is not", path.display())))
}

fn unless_there(made: io::Result<()>) -> io::Result<()> {
    made.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
}

fn device_node(root: &OwnedFd, device: &Device) -> Result<(), Failure> {
    let path = &device.path;
    let (parent, name) = below_dev(path)?;
    let kind = match device.kind {
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Char => FileType::CharacterDevice,
    };
    let made = places::open_or_make(root, parent, Kind::Directory).and_then(|parent| {
        match effect::make_device_at(&parent, name, (kind, device.file_mode), (device.major, device.minor)) {
            // With the owner that it has.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            made => made?,
        }
        match (device.uid, device.gid) {
            (0, 0) => Ok(()),
            (uid, gid) => effect::change_owner_at(&parent, name, uid, gid),
        }
    });
    made.step_on("making the device", path)
}

/// Opens the place that the container's own terminal is shown at.
pub(super) fn console(root: &OwnedFd) -> io::Result<OwnedFd> {
    let place = places::open_or_make(root, Path::new("/dev/console"), Kind::File)?;
    // Of a volume at `/dev` it may be anything.
    match Kind::of(&place)? == Kind::Directory || mounts::is_proc(&place)? {
        true => Err(io::Error::other("it is no place for a terminal")),
        false => Ok(place),
    }
}

/// Finds the container's `/dev/null`, in whose place a volume may have something else, or nothing.
pub(super) fn find_null(root: &OwnedFd) -> io::Result<OwnedFd> {
    match rootfs::resolve(root, Path::new(DEV_NULL), OFlags::PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(io::Error::other(NO_NULL)),
        found => check_null(found?),
    }
}

fn check_null(null: OwnedFd) -> io::Result<OwnedFd> {
    let number = rustix::fs::fstat(&null)?.st_rdev;
    let is_null =
        places::file_type(&null)?.is_char_device() && (rustix::fs::major(number), rustix::fs::minor(number)) == NULL;
    if is_null { Ok(null) } else { Err(io::Error::other(OTHER_NULL)) }
}

/// Opens the container's `/dev/null` for reading.
pub(super) fn open_null(root: &OwnedFd) -> io::Result<OwnedFd> {
    find_null(root)?;
    // It may be another one by now: nothing to wait for, nor a terminal to take.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let null = check_null(rootfs::resolve(root, Path::new(DEV_NULL), flags)?)?;
    rustix::fs::fcntl_setfl(&null, OFlags::empty())?;
    Ok(null)
}
