//! Memory-backed volumes: the tmpfs root, which holds every Secret, and a mount of its own for each `medium: Memory`.
//!
//! The root is always a mount of its own, also below a run directory that is on a tmpfs: it has a size of its own, so
//! that Secrets do not fill the `/run` of the machine, and nothing on it is a device or gains rights.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::sys::beneath::Dir;
use crate::sys::{effect, mount};

/// From linux/magic.h.
const TMPFS_MAGIC: u64 = 0x0102_1994;
const RAMFS_MAGIC: u64 = 0x8584_58f6;
/// Mounts stacked on one directory; more are a sign of something else at work.
const MAX_STACKED: usize = 16;

/// How much the root may hold; a Secret has 1 MiB at most, and two versions of it while it changes.
const ROOT_SIZE: u64 = 64 << 20;
/// On small machines it is this part of the memory.
const PART_OF_MEMORY: u64 = 10;

/// Opens the tmpfs root. It is mounted first unless this or an earlier agent has done so.
pub(super) fn root(path: &Path) -> io::Result<Dir> {
    let dir = Dir::make(path, 0o700)?;
    if is_mount(&dir, path)? && check(&dir).is_ok() {
        return Ok(dir);
    }
    // Not NOEXEC: containers would have it on their mounts, and a script may come from a Secret.
    mount(&dir, MountFlags::NODEV | MountFlags::NOSUID, &format!("mode=0700,size={}", root_size()))?;
    // The handle is of the directory below the mount.
    let dir = Dir::open(path)?;
    check(&dir)?;
    Ok(dir)
}

fn root_size() -> u64 {
    let info = rustix::system::sysinfo();
    // Both are machine words, whose width depends on the machine.
    #[allow(clippy::useless_conversion)]
    let memory = u64::try_from(info.totalram).unwrap_or(u64::MAX).saturating_mul(u64::from(info.mem_unit));
    ROOT_SIZE.min(memory / PART_OF_MEMORY)
}

/// Whether the open directory at this path is another file system than the directory above it.
fn is_mount(dir: &Dir, path: &Path) -> io::Result<bool> {
    let Some(parent) = path.parent() else { return Ok(true) };
    Ok(rustix::fs::fstat(dir)?.st_dev != rustix::fs::fstat(Dir::open(parent)?)?.st_dev)
}

/// Refuses a directory that is on anything but memory.
pub(super) fn check(dir: impl AsFd) -> io::Result<()> {
    let kind = u64::try_from(rustix::fs::fstatfs(dir)?.f_type).unwrap_or(0);
    if kind == TMPFS_MAGIC || kind == RAMFS_MAGIC {
        return Ok(());
    }
    let message = "its directory is on no tmpfs, and Secrets are never written to a disk";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

/// Mounts a tmpfs for one volume unless it is there: of this size, and of this group.
pub(super) fn mount_volume(pod: &Dir, name: &str, (size, group): (Option<u64>, Option<u32>)) -> io::Result<()> {
    let name = Path::new(name);
    let dir = match pod.sub_here(name) {
        // It is there, with what a container has mounted over it, which may never answer.
        Err(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => return Ok(()),
        // What is mounted on it has a mode of its own.
        Err(error) if error.kind() == io::ErrorKind::NotFound => pod.make_sub(name, 0o700)?,
        dir => dir?,
    };
    let mut options = group.map_or_else(|| "mode=0777".to_owned(), |group| format!("mode=2777,gid={group}"));
    if let Some(size) = size {
        options.push_str(&format!(",size={size}"));
    }
    mount(&dir, MountFlags::NODEV, &options)
}

/// Opens a volume that is a tmpfs of its own, unless something else is mounted over it.
pub(super) fn open_volume(place: &Path) -> io::Result<Dir> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::openat(CWD, place, flags | OFlags::PATH, Mode::empty())?;
    if mount::file_system(&found)? != "tmpfs" {
        return Err(Errno::XDEV.into());
    }
    Ok(Dir::from(rustix::fs::openat(&found, c".", flags, Mode::empty())?))
}

/// Mounts on the very directory that is open, whatever its path means by now.
fn mount(dir: &Dir, flags: MountFlags, options: &str) -> io::Result<()> {
    let target = PathBuf::from(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()));
    let options = std::ffi::CString::new(options)?;
    effect::mount("tmpfs", &target, flags, &options)
        .map_err(|error| io::Error::new(error.kind(), format!("a tmpfs could not be mounted: {error}")))
}

/// Unmounts what a pod has below the root and deletes it.
pub(super) fn clear(root: &Path, pod: &OsStr) -> io::Result<()> {
    let dir = match Dir::open(root) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let volumes = match dir.sub(Path::new(pod)) {
        Ok(volumes) => volumes.names()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for volume in volumes {
        unmount(&root.join(pod).join(volume))?;
    }
    dir.remove_tree(pod)
}

/// Unmounts the root when it is mounted and holds nothing any more.
pub(super) fn release_root(root: &Path) -> io::Result<()> {
    let Ok(dir) = Dir::open(root) else { return Ok(()) };
    if !is_mount(&dir, root)? || check(&dir).is_err() || !dir.names()?.is_empty() {
        return Ok(());
    }
    drop(dir);
    match effect::unmount(root, UnmountFlags::NOFOLLOW) {
        // Someone looks at it, or it is not ours to unmount: it is empty, and the next pod finds it.
        Err(error) if is_one(&error, &[Errno::BUSY, Errno::INVAL, Errno::PERM]) => Ok(()),
        other => other,
    }
}

fn is_one(error: &io::Error, of: &[Errno]) -> bool {
    of.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn unmount(path: &Path) -> io::Result<()> {
    for _ in 0..MAX_STACKED {
        match effect::unmount(path, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH) {
            Ok(()) => {}
            // INVAL: no mount. PERM: no rights, and then what is mounted shows when it is deleted.
            Err(error) if is_one(&error, &[Errno::INVAL, Errno::NOENT, Errno::PERM]) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
