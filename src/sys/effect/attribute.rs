//! Modes, owners, times and other attributes.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timestamps, Uid, XattrFlags};

use super::{Place, effect};

/// Changes the mode of what is open.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn change_mode(file: impl AsFd, mode: u32) -> io::Result<()> {
    effect("chmod", Place::Open(file.as_fd()), || {
        Ok(rustix::fs::fchmod(file.as_fd(), Mode::from_raw_mode(mode & 0o7777))?)
    })
}

/// Changes the mode of a file of a directory. A link at its place is followed.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn change_mode_at(dir: impl AsFd, name: impl AsRef<Path>, mode: u32) -> io::Result<()> {
    let (dir, name, mode) = (dir.as_fd(), name.as_ref(), Mode::from_raw_mode(mode & 0o7777));
    effect("chmod", Place::Below(dir, name), || Ok(rustix::fs::chmodat(dir, name, mode, AtFlags::empty())?))
}

/// Changes the mode of what a path that the caller trusts leads to.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn change_mode_of(path: &Path, mode: u32) -> io::Result<()> {
    change_mode_at(CWD, path, mode)
}

/// Changes the owner of what is open; `None` for a group that stays.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn change_owner(file: impl AsFd, uid: u32, gid: Option<u32>) -> io::Result<()> {
    effect("chown", Place::Open(file.as_fd()), || {
        Ok(rustix::fs::fchown(file.as_fd(), Some(Uid::from_raw(uid)), gid.map(Gid::from_raw))?)
    })
}

/// Changes the group of what is open.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn change_group(file: impl AsFd, gid: u32) -> io::Result<()> {
    effect("chgrp", Place::Open(file.as_fd()), || Ok(rustix::fs::fchown(file.as_fd(), None, Some(Gid::from_raw(gid)))?))
}

/// Changes the owner of a file of a directory. A link at its place gets it itself.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn change_owner_at(dir: impl AsFd, name: &OsStr, uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    effect("chown", Place::Below(dir.as_fd(), Path::new(name)), || {
        Ok(rustix::fs::chownat(dir.as_fd(), name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
    })
}

/// Changes the owner of what a path that the caller trusts leads to.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn change_owner_of(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    effect("chown", path, || Ok(rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::empty())?))
}

/// Changes the times of what is open.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn change_times(file: impl AsFd, times: &Timestamps) -> io::Result<()> {
    effect("utimens", Place::Open(file.as_fd()), || Ok(rustix::fs::futimens(file.as_fd(), times)?))
}

/// Changes the times of a file of a directory. A link at its place gets them itself.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn change_times_at(dir: impl AsFd, name: &OsStr, times: &Timestamps) -> io::Result<()> {
    effect("utimens", Place::Below(dir.as_fd(), Path::new(name)), || {
        Ok(rustix::fs::utimensat(dir.as_fd(), name, times, AtFlags::SYMLINK_NOFOLLOW)?)
    })
}

/// Gives what is open an extended attribute.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn set_attribute(file: impl AsFd, name: &[u8], value: &[u8]) -> io::Result<()> {
    effect("setxattr", Place::Open(file.as_fd()), || {
        Ok(rustix::fs::fsetxattr(file.as_fd(), name, value, XattrFlags::empty())?)
    })
}

/// Takes an extended attribute from what is open.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn remove_attribute(file: impl AsFd, name: &[u8]) -> io::Result<()> {
    effect("removexattr", Place::Open(file.as_fd()), || Ok(rustix::fs::fremovexattr(file.as_fd(), name)?))
}
