//! Files and directories.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::panic::Location;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, FallocateFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::net::SocketAddrUnix;

use super::{Place, effect, effect_of};
use crate::sys::beneath::Dir;

/// Opens a file by a path that the caller trusts, making it with `mode` (subject to the umask) if it is missing.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn create(path: &Path, flags: OFlags, mode: u32) -> io::Result<File> {
    effect("create", path, || {
        let flags = flags | OFlags::CREATE | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(mode))?))
    })
}

/// As [`create`], by a path that is resolved below a directory as `resolve` says. A link at its end is not followed.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn create_below(
    dir: impl AsFd,
    path: &Path,
    flags: OFlags,
    mode: u32,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    effect("create", Place::Below(dir.as_fd(), path), || {
        let flags = flags | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            match rustix::fs::openat2(dir.as_fd(), path, flags, Mode::from_raw_mode(mode), resolve) {
                // A rename somewhere on the machine raced with the walk; the kernel asks to try again.
                Err(rustix::io::Errno::AGAIN) => {}
                other => return Ok(other?),
            }
        }
    })
}

/// `/dev/null` for reading and writing.
///
/// # Errors
/// From the system.
pub(crate) fn null() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/null")
}

/// Writes to a file that is open.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn write(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    effect("write", Place::Open(file.as_fd()), || file.write_all(bytes))
}

/// Cuts a file that is open to this length, if it is longer.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn truncate(file: &File, length: u64) -> io::Result<()> {
    if file.metadata()?.len() <= length {
        return Ok(());
    }
    set_length(file, length)
}

/// Cuts or lengthens a file that is open to this length.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn set_length(file: &File, length: u64) -> io::Result<()> {
    effect("truncate", Place::Open(file.as_fd()), || file.set_len(length))
}

/// Writes to a place of a file that is open.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    effect("write", Place::Open(file.as_fd()), || file.write_all_at(bytes, offset))
}

/// A file that is open, as what others write to.
pub(crate) struct Writer<'a>(pub(crate) &'a File);

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(self.0, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to a file that is there, such as one of the kernel's.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn write_existing(path: &Path, text: &str) -> io::Result<()> {
    effect("write", path, || File::options().write(true).truncate(true).open(path)?.write_all(text.as_bytes()))
}

/// Opens a file that is there for writing, which by itself changes nothing.
///
/// # Errors
/// From the system.
pub(crate) fn open_existing(path: &Path) -> io::Result<File> {
    File::options().write(true).open(path)
}

/// Takes room on the disk for a file that is open. A file system that cannot do this is no error.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    effect("fallocate", Place::Open(file.as_fd()), || {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    })
}

/// Flushes what is open, a file or a directory, to the disk.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn sync(file: impl AsFd) -> io::Result<()> {
    effect("fsync", Place::Open(file.as_fd()), || Ok(rustix::fs::fsync(file.as_fd())?))
}

/// Flushes the whole file system of what is open.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn sync_all(file: impl AsFd) -> io::Result<()> {
    effect("syncfs", Place::Open(file.as_fd()), || Ok(rustix::fs::syncfs(file.as_fd())?))
}

/// Gives what is in a directory another name there, durably.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn rename_at(dir: impl AsFd, from: &OsStr, to: &OsStr) -> io::Result<()> {
    let place = Place::Below(dir.as_fd(), Path::new(to));
    effect("rename", place, || Ok(rustix::fs::renameat(dir.as_fd(), from, dir.as_fd(), to)?))?;
    sync(dir.as_fd())
}

/// Moves something to another directory of the same file system; a power cut may undo it.
///
/// # Errors
/// From the system; `CrossesDevices` when they are on different file systems.
#[track_caller]
pub(crate) fn move_at(from: (impl AsFd, &OsStr), to: (impl AsFd, &OsStr)) -> io::Result<()> {
    let place = Place::Below(to.0.as_fd(), Path::new(to.1));
    effect("rename", place, || Ok(rustix::fs::renameat(from.0.as_fd(), from.1, to.0.as_fd(), to.1)?))
}

/// The same durably, by paths that the caller trusts.
///
/// # Errors
/// As [`move_at`].
#[track_caller]
pub(crate) fn move_path(from: &Path, to: &Path) -> io::Result<()> {
    let place = |path: &Path| -> io::Result<Dir> { Dir::open(path.parent().unwrap_or(Path::new("/"))) };
    let name = |path: &Path| path.file_name().map(OsStr::to_owned).ok_or(io::ErrorKind::InvalidInput);
    let (old, new) = (place(from)?, place(to)?);
    move_at((&old, &name(from)?), (&new, &name(to)?))?;
    sync(&new)?;
    sync(&old)
}

/// Makes a directory.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn make_dir_at(dir: impl AsFd, name: impl AsRef<Path>, mode: u32) -> io::Result<()> {
    let (dir, name) = (dir.as_fd(), name.as_ref());
    make_dir_for(Location::caller(), (dir, name), mode)
}

fn make_dir_for(from: &Location<'_>, (dir, name): (BorrowedFd<'_>, &Path), mode: u32) -> io::Result<()> {
    let make = || Ok(rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(mode))?);
    effect_of(from, "mkdir", Place::Below(dir, name), make)
}

/// Makes a directory of exactly this mode, whatever the umask. Nobody ever finds it with another one, also when this process
/// ends right then.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn make_dir_of_mode(dir: impl AsFd, name: impl AsRef<Path>, mode: u32) -> io::Result<()> {
    let (dir, name) = (dir.as_fd(), name.as_ref());
    let from = Location::caller();
    if mode & umask() == 0 {
        return make_dir_for(from, (dir, name), mode);
    }
    std::thread::scope(|scope| {
        // The umask is of all threads but one that stopped sharing it.
        let make = || {
            effect("unshare", "umask", || Ok(nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)?))?;
            rustix::process::umask(Mode::empty());
            make_dir_for(from, (dir, name), mode)
        };
        let made = std::thread::Builder::new().spawn_scoped(scope, make)?;
        made.join().unwrap_or_else(|_| Err(io::Error::other("the thread that makes a directory panicked")))
    })
}

/// The umask of this process, which does not change it. Where it cannot be known it may forbid anything.
fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let digits = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        digits.and_then(|digits| u32::from_str_radix(digits.trim(), 8).ok()).unwrap_or(0o777)
    })
}

/// Makes a directory and what is missing of its parents, by a path that the caller trusts. `mode` is subject to the umask.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn make_dirs(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        make_dirs(parent, mode)?;
    }
    match make_dir_at(CWD, path, mode) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

/// Makes a symbolic link.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn symlink_at(target: impl AsRef<Path>, dir: impl AsFd, name: impl AsRef<Path>) -> io::Result<()> {
    let (dir, name) = (dir.as_fd(), name.as_ref());
    effect("symlink", Place::Below(dir, name), || Ok(rustix::fs::symlinkat(target.as_ref(), dir, name)?))
}

/// Gives a file one more name.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn link_at(from: (impl AsFd, &OsStr), to: (impl AsFd, &OsStr)) -> io::Result<()> {
    let place = Place::Below(to.0.as_fd(), Path::new(to.1));
    effect("link", place, || Ok(rustix::fs::linkat(from.0.as_fd(), from.1, to.0.as_fd(), to.1, AtFlags::empty())?))
}

/// Makes a FIFO, or the character device with the number 0, which is overlayfs's whiteout.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn make_node_at(dir: impl AsFd, name: &OsStr, kind: FileType, mode: u32) -> io::Result<()> {
    let place = Place::Below(dir.as_fd(), Path::new(name));
    effect("mknod", place, || Ok(rustix::fs::mknodat(dir.as_fd(), name, kind, Mode::from_raw_mode(mode), 0)?))
}

/// Makes a device node. `mode` is subject to the umask.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn make_device_at(
    dir: impl AsFd,
    name: &OsStr,
    (kind, mode): (FileType, u32),
    (major, minor): (u32, u32),
) -> io::Result<()> {
    let (place, device) = (Place::Below(dir.as_fd(), Path::new(name)), rustix::fs::makedev(major, minor));
    effect("mknod", place, || Ok(rustix::fs::mknodat(dir.as_fd(), name, kind, Mode::from_raw_mode(mode), device)?))
}

/// Removes a file, or an empty directory with [`AtFlags::REMOVEDIR`].
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn remove_at(dir: impl AsFd, name: impl AsRef<Path>, flags: AtFlags) -> io::Result<()> {
    let (dir, name) = (dir.as_fd(), name.as_ref());
    let what = if flags.contains(AtFlags::REMOVEDIR) { "rmdir" } else { "unlink" };
    effect(what, Place::Below(dir, name), || Ok(rustix::fs::unlinkat(dir, name, flags)?))
}

/// Removes a file by a path that the caller trusts.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    remove_at(CWD, path, AtFlags::empty())
}

/// Removes an empty directory by a path that the caller trusts. Nothing there is fine.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn remove_dir(path: &Path) -> io::Result<()> {
    match remove_at(CWD, path, AtFlags::REMOVEDIR) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Gives a socket a file by which it is found.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn bind_socket(socket: impl AsFd, address: &SocketAddrUnix) -> io::Result<()> {
    let path = address.path_bytes().unwrap_or_default();
    effect("bind", Path::new(OsStr::from_bytes(path)), || Ok(rustix::net::bind(socket, address)?))
}

/// Makes a socket file to listen on.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    effect("bind", path, || UnixListener::bind(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_its_mode_from_the_beginning() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        for mode in [0o777, 0o755, 0o700, 0o1777] {
            make_dir_of_mode(&dir, mode.to_string(), mode).unwrap();
            let made = std::fs::metadata(temp.path().join(mode.to_string())).unwrap();
            assert_eq!(made.permissions().mode() & 0o7777, mode);
        }
        assert_eq!(make_dir_of_mode(&dir, "511", 0o777).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        // This process's own umask is as it was.
        std::fs::create_dir(temp.path().join("usual")).unwrap();
        let usual = std::fs::metadata(temp.path().join("usual")).unwrap().permissions().mode();
        assert_eq!(usual & 0o777, 0o777 & !umask());
    }

    #[test]
    fn directories_are_made_once_and_over_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let deep = temp.path().join("a/b/c");
        make_dirs(&deep, 0o700).unwrap();
        make_dirs(&deep, 0o700).unwrap();
        assert!(deep.is_dir());
        std::fs::write(deep.join("file"), "").unwrap();
        assert_eq!(make_dirs(&deep.join("file"), 0o700).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(make_dirs(&deep.join("file/below"), 0o700).is_err());
    }
}
