//! Files and directories.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FallocateFlags, Gid, Mode, OFlags, ResolveFlags, Uid};

use super::{Place, effect};
use crate::sys::beneath::Dir;

/// The mode of a record: what is in it may be secret.
const RECORD_MODE: u32 = 0o600;

/// Opens a file by a path that the caller trusts, making it with `mode` (subject to the umask) if it is missing.
///
/// # Errors
/// From the system.
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
pub(crate) fn write(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    effect("write", Place::Open(file.as_fd()), || file.write_all(bytes))
}

/// Cuts a file that is open to this length, if it is longer.
///
/// # Errors
/// From the system.
pub(crate) fn truncate(file: &File, length: u64) -> io::Result<()> {
    if file.metadata()?.len() <= length {
        return Ok(());
    }
    effect("truncate", Place::Open(file.as_fd()), || file.set_len(length))
}

/// Writes to a file that is there, such as one of the kernel's.
///
/// # Errors
/// From the system.
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
pub(crate) fn sync(file: impl AsFd) -> io::Result<()> {
    effect("fsync", Place::Open(file.as_fd()), || Ok(rustix::fs::fsync(file.as_fd())?))
}

/// Replaces a file of a directory of ours, or makes it, so that it has the old bytes or the new ones whatever happens to
/// the power, and the new ones when this returns. They go by way of the name with a dot before it, which nobody else uses:
/// what is left there, and the room that was reserved for it, is taken over.
///
/// # Errors
/// From the system; then the old file is in its place, or the new one without a promise for the next power cut.
pub(crate) fn replace(dir: &Dir, name: &str, bytes: &[u8]) -> io::Result<()> {
    put(dir, name, bytes, Lasting::Whole)
}

/// The same, but a power cut may still take the name until the directory is synced: for callers that sync it, with what lies
/// around it, before anything depends on it.
///
/// # Errors
/// As [`replace`].
pub(crate) fn replace_and_sync_later(dir: &Dir, name: &str, bytes: &[u8]) -> io::Result<()> {
    put(dir, name, bytes, Lasting::Content)
}

/// The same for what means nothing after a power cut, or is made anew then: nothing is waited for. Whoever reads while the
/// machine runs meets the old bytes or the new ones; after a power cut there may be either, or something cut short.
///
/// # Errors
/// From the system; then the old file is in its place.
pub(crate) fn replace_for_now(dir: &Dir, name: &str, bytes: &[u8]) -> io::Result<()> {
    put(dir, name, bytes, Lasting::Nothing)
}

/// What of a file is on the disk when it was replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lasting {
    Nothing,
    Content,
    Whole,
}

fn put(dir: &Dir, name: &str, bytes: &[u8], lasting: Lasting) -> io::Result<()> {
    let temporary = temporary(name);
    let create = || dir.make_file(OsStr::new(&temporary), OFlags::WRONLY, RECORD_MODE);
    let file = match create() {
        Err(error) if is_other(&error) => {
            dir.remove_tree(OsStr::new(&temporary))?;
            create()
        }
        other => other,
    };
    let file = file?;
    let written = write(&file, bytes)
        .and_then(|()| truncate(&file, bytes.len() as u64))
        .and_then(|()| if lasting == Lasting::Nothing { Ok(()) } else { sync(&file) })
        .and_then(|()| {
            let (from, to) = (OsStr::new(&temporary), OsStr::new(name));
            if lasting == Lasting::Whole { rename_at(dir, from, to) } else { move_at((dir, from), (dir, to)) }
        });
    if written.is_err() {
        // Its room may be what others wait for; whether this succeeds changes nothing.
        let _ = remove_at(dir, OsStr::new(&temporary), AtFlags::empty());
    }
    written
}

/// Where the bytes of [`replace`] go at first.
pub(crate) fn temporary(name: &str) -> String {
    format!(".{name}")
}

/// Something else than a file is in the way: a directory, a symbolic link.
fn is_other(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::ISDIR, Errno::LOOP].iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

/// Gives what is in a directory another name there, durably.
///
/// # Errors
/// From the system.
pub(crate) fn rename_at(dir: impl AsFd, from: &OsStr, to: &OsStr) -> io::Result<()> {
    let place = Place::Below(dir.as_fd(), Path::new(to));
    effect("rename", place, || Ok(rustix::fs::renameat(dir.as_fd(), from, dir.as_fd(), to)?))?;
    sync(dir.as_fd())
}

/// Moves something to another directory of the same file system; a power cut may undo it.
///
/// # Errors
/// From the system; `CrossesDevices` when they are on different file systems.
pub(crate) fn move_at(from: (impl AsFd, &OsStr), to: (impl AsFd, &OsStr)) -> io::Result<()> {
    let place = Place::Below(to.0.as_fd(), Path::new(to.1));
    effect("rename", place, || Ok(rustix::fs::renameat(from.0.as_fd(), from.1, to.0.as_fd(), to.1)?))
}

/// The same durably, by paths that the caller trusts.
///
/// # Errors
/// As [`move_at`].
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
pub(crate) fn make_dir_at(dir: impl AsFd, name: impl AsRef<Path>, mode: u32) -> io::Result<()> {
    let (dir, name) = (dir.as_fd(), name.as_ref());
    effect("mkdir", Place::Below(dir, name), || Ok(rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(mode))?))
}

/// Makes a directory and what is missing of its parents, by a path that the caller trusts. `mode` is subject to the umask.
///
/// # Errors
/// From the system.
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
pub(crate) fn symlink_at(target: impl AsRef<Path>, dir: impl AsFd, name: impl AsRef<Path>) -> io::Result<()> {
    let (dir, name) = (dir.as_fd(), name.as_ref());
    effect("symlink", Place::Below(dir, name), || Ok(rustix::fs::symlinkat(target.as_ref(), dir, name)?))
}

/// Removes a file, or an empty directory with [`AtFlags::REMOVEDIR`].
///
/// # Errors
/// From the system.
pub(crate) fn remove_at(dir: impl AsFd, name: impl AsRef<Path>, flags: AtFlags) -> io::Result<()> {
    let (dir, name) = (dir.as_fd(), name.as_ref());
    let what = if flags.contains(AtFlags::REMOVEDIR) { "rmdir" } else { "unlink" };
    effect(what, Place::Below(dir, name), || Ok(rustix::fs::unlinkat(dir, name, flags)?))
}

/// Removes a file by a path that the caller trusts.
///
/// # Errors
/// From the system.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    remove_at(CWD, path, AtFlags::empty())
}

/// Removes an empty directory by a path that the caller trusts. Nothing there is fine.
///
/// # Errors
/// From the system.
pub(crate) fn remove_dir(path: &Path) -> io::Result<()> {
    match remove_at(CWD, path, AtFlags::REMOVEDIR) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Changes the mode of what is open.
///
/// # Errors
/// From the system.
pub(crate) fn change_mode(file: impl AsFd, mode: u32) -> io::Result<()> {
    effect("chmod", Place::Open(file.as_fd()), || {
        Ok(rustix::fs::fchmod(file.as_fd(), Mode::from_raw_mode(mode & 0o7777))?)
    })
}

/// Changes the mode of what a path that the caller trusts leads to.
///
/// # Errors
/// From the system.
pub(crate) fn change_mode_of(path: &Path, mode: u32) -> io::Result<()> {
    effect("chmod", path, || Ok(rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?))
}

/// Changes the owner of what a path that the caller trusts leads to.
///
/// # Errors
/// From the system.
pub(crate) fn change_owner_of(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    effect("chown", path, || Ok(rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::empty())?))
}

/// Makes a socket file to listen on.
///
/// # Errors
/// From the system.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    effect("bind", path, || UnixListener::bind(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_replaced_whatever_is_in_the_way() {
        let temp = tempfile::tempdir().unwrap();
        let (base, outside) = (temp.path().join("dir"), temp.path().join("outside"));
        std::fs::write(&outside, "outside").unwrap();
        let dir = Dir::make(&base, 0o700).unwrap();
        let holds = || std::fs::read_to_string(base.join("x")).unwrap();
        replace(&dir, "x", b"a longer text").unwrap();
        // Left over, and longer than what comes.
        std::fs::write(base.join(".x"), "left over from before").unwrap();
        replace(&dir, "x", b"short").unwrap();
        assert_eq!(holds(), "short");
        std::fs::create_dir_all(base.join(".x/below")).unwrap();
        replace(&dir, "x", b"over a directory").unwrap();
        symlink(&outside, base.join(".x")).unwrap();
        replace(&dir, "x", b"over a link").unwrap();
        assert_eq!(holds(), "over a link");
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "outside");
        assert_eq!(std::fs::read_dir(&base).unwrap().count(), 1);
        // What cannot be done leaves nothing.
        std::fs::create_dir(base.join("y")).unwrap();
        assert!(replace(&dir, "y", b"").is_err());
        assert!(!base.join(".y").exists());
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
