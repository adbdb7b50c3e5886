//! Mounts: by path, and of a container's own tree by what is open, where nothing can come between a look and the step that
//! follows from it.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::libc;
use nix::sched::CloneFlags;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags,
};

use super::{Place, effect};

/// Mounts a file system without a device, such as a tmpfs or an overlay.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn mount(kind: &'static str, target: &Path, flags: MountFlags, options: &CStr) -> io::Result<()> {
    effect("mount", target, || Ok(rustix::mount::mount(kind, target, kind, flags, options)?))
}

/// Mounts what is at one path at another one too.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn bind(source: &Path, target: &Path) -> io::Result<()> {
    effect("bind mount", target, || Ok(rustix::mount::mount_bind(source, target)?))
}

/// Changes the flags of a mount.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn remount(target: &Path, flags: MountFlags) -> io::Result<()> {
    effect("remount", target, || Ok(rustix::mount::mount_remount(target, flags, "")?))
}

/// Changes whom a mount tells of what is mounted below it.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn propagate(target: &Path, flags: MountPropagationFlags) -> io::Result<()> {
    effect("change mount", target, || Ok(rustix::mount::mount_change(target, flags)?))
}

/// Takes one mount away.
///
/// # Errors
/// From the system; `InvalidInput` when nothing is mounted there.
#[track_caller]
pub(crate) fn unmount(target: &Path, flags: UnmountFlags) -> io::Result<()> {
    let path = CString::new(target.as_os_str().as_bytes())?;
    effect("umount", target, || Ok(rustix::mount::unmount(path.as_c_str(), flags)?))
}

/// Gives this process, which has one thread, mounts of its own: a copy of those it has.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn own_mounts() -> io::Result<()> {
    own_namespaces("mounts", CloneFlags::CLONE_NEWNS)
}

/// Gives this process, which has one thread, namespaces of its own; or this thread, of those that a thread has. `name` says
/// which.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn own_namespaces(name: &'static str, which: CloneFlags) -> io::Result<()> {
    effect("unshare", name, || Ok(nix::sched::unshare(which)?))
}

/// Makes a file system, mounted nowhere yet. An option without a value is a flag. `at` is where it is to be.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn make_mount(
    at: &Path,
    (kind, source): (&str, &Path),
    options: &[(&str, Option<&str>)],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    effect("make mount", at, || {
        let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(&context, "source", source)?;
        for (name, value) in options {
            match value {
                Some(value) => rustix::mount::fsconfig_set_string(&context, *name, *value)?,
                None => rustix::mount::fsconfig_set_flag(&context, *name)?,
            }
        }
        rustix::mount::fsconfig_create(&context)?;
        Ok(rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
    })
}

/// Makes a copy of the mount that something open lies on, with that for its root, mounted nowhere yet; with all that is
/// mounted below it if that is asked for.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn copy_mount(of: impl AsFd, with_those_below: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, with_those_below);
    effect("copy mount", Place::Open(of.as_fd()), || Ok(rustix::mount::open_tree(of.as_fd(), c"", flags)?))
}

/// `at` is where it is to be: what is mounted nowhere yet has no path.
#[track_caller]
fn set_mount((mount, at): (impl AsFd, &Path), attributes: &libc::mount_attr, with_those_below: bool) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if with_those_below { libc::AT_RECURSIVE } else { 0 };
    effect("change mount", at, || {
        // SAFETY: the path is a C string, and the attributes are valid for reading as long as their size says.
        let set = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                mount.as_fd().as_raw_fd(),
                c"".as_ptr(),
                flags,
                std::ptr::from_ref(attributes),
                size_of::<libc::mount_attr>(),
            )
        };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    })
}

/// Gives a mount these attributes beside those it has. `at` is where it is, or is to be.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn add_attributes(mount: (impl AsFd, &Path), attributes: MountAttrFlags) -> io::Result<()> {
    add(mount, attributes, false)
}

/// The same for a mount and whatever is mounted below it.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn add_attributes_below(mount: (impl AsFd, &Path), attributes: MountAttrFlags) -> io::Result<()> {
    add(mount, attributes, true)
}

#[track_caller]
fn add(mount: (impl AsFd, &Path), attributes: MountAttrFlags, with_those_below: bool) -> io::Result<()> {
    let times = attributes & MountAttrFlags::MOUNT_ATTR__ATIME;
    // Which times are kept is one setting of several values, and not a set of flags.
    let attr_clr = if times.is_empty() { 0 } else { u64::from(MountAttrFlags::MOUNT_ATTR__ATIME.bits()) };
    let attr_set = u64::from(attributes.bits());
    set_mount(mount, &libc::mount_attr { attr_set, attr_clr, propagation: 0, userns_fd: 0 }, with_those_below)
}

/// Changes whom a mount tells of what is mounted below it, and what is mounted there already. `at` is where it is to be.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn set_propagation(
    mount: (impl AsFd, &Path),
    to: MountPropagationFlags,
    with_those_below: bool,
) -> io::Result<()> {
    let propagation = u64::from(to.bits());
    set_mount(mount, &libc::mount_attr { attr_set: 0, attr_clr: 0, propagation, userns_fd: 0 }, with_those_below)
}

/// Has a mount that is mounted nowhere yet show its files to a user namespace with the ids that they have, counted from the
/// first of the namespace's range. `at` is where it is to be.
///
/// # Errors
/// From the system; `InvalidInput` when the file system cannot.
#[track_caller]
pub(crate) fn map_owners(mount: (impl AsFd, &Path), users: impl AsFd) -> io::Result<()> {
    let userns_fd = u64::from(users.as_fd().as_raw_fd().unsigned_abs());
    set_mount(
        mount,
        &libc::mount_attr { attr_set: libc::MOUNT_ATTR_IDMAP, attr_clr: 0, propagation: 0, userns_fd },
        false,
    )
}

/// Mounts a mount that is mounted nowhere yet on what is open.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn place_mount(mount: impl AsFd, on: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    effect("place mount", Place::Open(on.as_fd()), || {
        Ok(rustix::mount::move_mount(mount, c"", on.as_fd(), c"", flags)?)
    })
}

/// Makes an open directory, which something is mounted on, the root directory of this process and its working directory.
/// Of the mounts that it had nothing is left to it. It has one thread, and a mount namespace of its own.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn change_root(root: impl AsFd, old: impl AsFd) -> io::Result<()> {
    effect("pivot_root", Place::Open(root.as_fd()), || {
        rustix::process::fchdir(root.as_fd())?;
        // The old root is mounted over the new one then, and goes from there.
        rustix::process::pivot_root(c".", c".")?;
        rustix::process::fchdir(old)?;
        rustix::mount::mount_change(c".", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)?;
        rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
        Ok(rustix::process::chdir(c"/")?)
    })
}
