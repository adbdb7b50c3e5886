//! The device nodes and links that every container has in `/dev`, and those that a privileged one has beside them. The lists
//! are the OCI runtime specification's.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

use super::failure::{Failure, Step};
use super::oci::{Device, DeviceKind, Spec};
use super::{mounts, rootfs};
use crate::sys::effect;

const DEV: &str = "/dev";
/// The number of `/dev/null`.
pub(super) const NULL: (u32, u32) = (1, 3);
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

/// Makes them, unless `/dev` is the machine's own or of a volume: that is left as it is, as by runc.
pub(super) fn make(root: &OwnedFd, spec: &Spec) -> Result<(), Failure> {
    if spec.mounts.iter().any(|m| m.is_bind() && m.destination.components().eq(Path::new(DEV).components())) {
        return Ok(());
    }
    // The modes are those given, exactly.
    let umask = rustix::process::umask(Mode::empty());
    let made = nodes(root, &spec.linux.devices);
    rustix::process::umask(umask);
    made
}

fn nodes(root: &OwnedFd, devices: &[Device]) -> Result<(), Failure> {
    for device in devices {
        device_node(root, device)?;
    }
    let dev = mounts::place(root, Path::new(DEV), true).step("opening /dev")?;
    for (name, number) in NODES {
        let path = Path::new(DEV).join(name);
        if !devices.iter().any(|d| d.path == path) {
            let made = effect::make_device_at(&dev, name.as_ref(), (FileType::CharacterDevice, MODE), number);
            made.step_on("making the device", &path)?;
        }
    }
    for (name, target) in LINKS.iter().filter(|(name, target)| *name != "kcore" || Path::new(target).exists()) {
        match effect::symlink_at(target, &dev, name) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made.step_on("making the link", &Path::new(DEV).join(name))?,
        }
    }
    Ok(())
}

fn device_node(root: &OwnedFd, device: &Device) -> Result<(), Failure> {
    let path = &device.path;
    let (Some(parent), Some(name)) = (path.parent().filter(|p| p.starts_with(DEV)), path.file_name()) else {
        return Err(Failure(format!("a device node must be below /dev, which {} is not", path.display())));
    };
    let kind = match device.kind {
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Char => FileType::CharacterDevice,
    };
    let made = mounts::place(root, parent, true).and_then(|parent| {
        effect::make_device_at(&parent, name, (kind, device.file_mode), (device.major, device.minor))?;
        match (device.uid, device.gid) {
            (0, 0) => Ok(()),
            (uid, gid) => effect::change_owner_at(&parent, name, uid, gid),
        }
    });
    made.step_on("making the device", path)
}

/// Makes the file that the container's own terminal is shown at.
pub(super) fn console(root: &OwnedFd) -> std::io::Result<OwnedFd> {
    mounts::place(root, Path::new("/dev/console"), false)
}

/// Opens the container's `/dev/null` for reading.
pub(super) fn open_null(root: &OwnedFd) -> std::io::Result<OwnedFd> {
    rootfs::resolve(root, Path::new("/dev/null"), OFlags::RDONLY)
}
