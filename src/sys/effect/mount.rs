//! Mounts.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::effect;

/// Mounts a file system without a device, such as a tmpfs or an overlay.
///
/// # Errors
/// From the system.
pub(crate) fn mount(kind: &'static str, target: &Path, flags: MountFlags, options: &CStr) -> io::Result<()> {
    effect("mount", target, || Ok(rustix::mount::mount(kind, target, kind, flags, options)?))
}

/// Mounts what is at one path at another one too.
///
/// # Errors
/// From the system.
pub(crate) fn bind(source: &Path, target: &Path) -> io::Result<()> {
    effect("bind mount", target, || Ok(rustix::mount::mount_bind(source, target)?))
}

/// Changes the flags of a mount.
///
/// # Errors
/// From the system.
pub(crate) fn remount(target: &Path, flags: MountFlags) -> io::Result<()> {
    effect("remount", target, || Ok(rustix::mount::mount_remount(target, flags, "")?))
}

/// Changes whom a mount tells of what is mounted below it.
///
/// # Errors
/// From the system.
pub(crate) fn propagate(target: &Path, flags: MountPropagationFlags) -> io::Result<()> {
    effect("change mount", target, || Ok(rustix::mount::mount_change(target, flags)?))
}

/// Takes one mount away.
///
/// # Errors
/// From the system; `InvalidInput` when nothing is mounted there.
pub(crate) fn unmount(target: &Path, flags: UnmountFlags) -> io::Result<()> {
    let path = CString::new(target.as_os_str().as_bytes())?;
    effect("umount", target, || Ok(rustix::mount::unmount(path.as_c_str(), flags)?))
}

/// Gives this process, which has one thread, mounts of its own: a copy of those it has.
///
/// # Errors
/// From the system.
pub(crate) fn own_mounts() -> io::Result<()> {
    effect("unshare", "mounts", || Ok(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?))
}
