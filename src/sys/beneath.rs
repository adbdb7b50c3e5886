//! Work below one directory without ever leaving it: every path is resolved by the kernel relative to an open handle,
//! with `..` above it, symbolic links and magic links refused. Hostile archives and changing trees stay contained.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};

use super::effect;

/// How deep a tree is walked while it is removed, one open directory each. What lies deeper is moved up to its top first:
/// a container can nest directories deeper than there are file descriptors.
const MAX_DEPTH: usize = 64;
/// How many names of one directory are held at a time while it is emptied: a container can make more files than there is
/// memory for their names.
const BATCH: usize = 1024;

/// How every path is resolved.
const INSIDE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Opens for reading so that a read writes nothing: the kernel otherwise notes the time of the first one after each change,
/// and of one each day. Only the owner of a file and root may ask for that; for others it is opened as ever.
fn open_quietly(open: impl Fn(OFlags) -> rustix::io::Result<OwnedFd>) -> rustix::io::Result<OwnedFd> {
    match open(OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOATIME) {
        Err(rustix::io::Errno::PERM) => open(OFlags::RDONLY | OFlags::CLOEXEC),
        other => other,
    }
}

/// An open directory; the methods that take a path reach below it only.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Dir {
    /// A directory that is open for reading.
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

/// Opens for reading what an `O_PATH` descriptor is on, if that is a regular file. Nothing else is ever opened: opening a
/// device may already set it to work. Whoever holds a lease on the file is not waited for.
///
/// # Errors
/// `InvalidInput` when it is no regular file; `WouldBlock` for a lease; from the system.
pub fn open_regular(found: OwnedFd) -> io::Result<File> {
    if !is_type(&rustix::fs::fstat(&found)?, FileType::RegularFile) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
}

impl Dir {
    /// Opens a directory by a path that the caller trusts.
    ///
    /// # Errors
    /// From the system.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = open_quietly(|flags| rustix::fs::openat(CWD, path, flags | OFlags::DIRECTORY, Mode::empty()))?;
        Ok(Self { fd })
    }

    /// Makes a directory and its parents by a path that the caller trusts, with `mode` for those that are new, and
    /// opens it.
    ///
    /// # Errors
    /// From the system.
    pub fn make(path: &Path, mode: u32) -> io::Result<Self> {
        effect::make_dirs(path, mode)?;
        Self::open(path)
    }

    /// Takes from this directory what directories made in it would inherit: its group with `S_ISGID`, and the default access
    /// list.
    ///
    /// # Errors
    /// From the system.
    pub fn pass_on_nothing(&self) -> io::Result<()> {
        const DEFAULT_LIST: &[u8] = b"system.posix_acl_default";
        let mode = Mode::from_raw_mode(rustix::fs::fstat(&self.fd)?.st_mode);
        if mode.contains(Mode::SGID) {
            effect::change_mode(&self.fd, (mode - Mode::SGID).bits())?;
        }
        // Without one, or on a file system without such lists, there is nothing to take away.
        if rustix::fs::fgetxattr(&self.fd, DEFAULT_LIST, &mut [0_u8; 0][..]).is_ok() {
            effect::remove_attribute(&self.fd, DEFAULT_LIST)?;
        }
        Ok(())
    }

    fn resolve(&self, path: &Path, flags: OFlags, resolve: ResolveFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = resolve | INSIDE;
        loop {
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // A rename somewhere on the machine raced with the walk; the kernel asks to try again.
                Err(rustix::io::Errno::AGAIN) => continue,
                other => return other,
            }
        }
    }

    /// Opens for reading, with more rules of the way there.
    pub(super) fn resolve_to_read(
        &self,
        path: &Path,
        flags: OFlags,
        rules: ResolveFlags,
    ) -> rustix::io::Result<OwnedFd> {
        open_quietly(|reading| self.resolve(path, flags | reading, rules))
    }

    /// Opens a directory below this one.
    ///
    /// # Errors
    /// `ELOOP` when a symbolic link is on the way, `EXDEV` when the path leads out, and whatever else the system says.
    pub fn sub(&self, path: &Path) -> io::Result<Self> {
        Ok(Self { fd: self.resolve_to_read(path, OFlags::DIRECTORY | OFlags::NOFOLLOW, ResolveFlags::empty())? })
    }

    /// The same, on a way that leads into no other mount: what serves one may never answer.
    ///
    /// # Errors
    /// As [`Dir::sub`], and `EXDEV` for a mount.
    pub fn sub_here(&self, path: &Path) -> io::Result<Self> {
        Ok(Self { fd: self.resolve_to_read(path, OFlags::DIRECTORY | OFlags::NOFOLLOW, ResolveFlags::NO_XDEV)? })
    }

    /// Opens a directory below this one, making each missing component with `mode` (exactly, whatever the umask).
    ///
    /// # Errors
    /// As [`Dir::sub`].
    pub fn make_sub(&self, path: &Path, mode: u32) -> io::Result<Self> {
        let mut at = self.sub(Path::new("."))?;
        for component in path.components() {
            let Component::Normal(name) = component else {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path has `..` or is absolute"));
            };
            at = match at.sub(Path::new(name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => at.make_one(name, mode)?,
                found => found?,
            };
        }
        Ok(at)
    }

    fn make_one(&self, name: &OsStr, mode: u32) -> io::Result<Self> {
        match effect::make_dir_of_mode(&self.fd, name, mode) {
            // Somebody else was faster.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => self.sub(Path::new(name)),
        }
    }

    /// Opens a regular file below this directory for reading.
    ///
    /// # Errors
    /// As [`Dir::sub`]; `InvalidInput` when it is no regular file.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        // NONBLOCK: opening a FIFO must not wait for its writer.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(self.resolve_to_read(path, flags, ResolveFlags::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file)
    }

    /// Opens a regular file below this directory for reading; anything else is not even opened.
    ///
    /// # Errors
    /// As [`Dir::open_file`].
    pub fn open_nothing_but_file(&self, path: &Path) -> io::Result<File> {
        open_regular(self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW, ResolveFlags::empty())?)
    }

    /// Creates a file of this directory that must not exist yet. `mode` is subject to the umask.
    ///
    /// # Errors
    /// From the system.
    pub fn create_file(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        self.make_file(name, OFlags::WRONLY | OFlags::EXCL, mode)
    }

    /// Opens a file of this directory for reading and writing, making it with `mode` (subject to the umask) if it is
    /// missing.
    ///
    /// # Errors
    /// `ELOOP` for a symbolic link, and whatever else the system says.
    pub fn open_or_create(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW;
        match self.resolve(Path::new(name), flags, ResolveFlags::empty()) {
            Err(rustix::io::Errno::NOENT) => self.make_file(name, OFlags::RDWR, mode),
            found => Ok(File::from(found?)),
        }
    }

    pub(super) fn make_file(&self, name: &OsStr, flags: OFlags, mode: u32) -> io::Result<File> {
        Ok(File::from(effect::create_below(&self.fd, Path::new(name), flags, mode, INSIDE)?))
    }

    /// Opens a regular file of this directory for appending, making it with `mode` (subject to the umask) if it is missing.
    ///
    /// # Errors
    /// `ELOOP` for a symbolic link, `InvalidInput` when it is no regular file, and whatever else the system says.
    pub fn append_file(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let file = self.make_file(name, OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK, mode)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file)
    }

    /// What is at `path` below this directory, a symbolic link at its end not followed; `None` when nothing is.
    ///
    /// # Errors
    /// As [`Dir::sub`].
    pub fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        match self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW, ResolveFlags::empty()) {
            Ok(fd) => Ok(Some(rustix::fs::fstat(fd)?)),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The names in this directory, sorted, without `.` and `..`.
    ///
    /// # Errors
    /// From the system.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = self.some_names(usize::MAX)?;
        names.sort();
        Ok(names)
    }

    /// At most `limit` names from the beginning of this directory, in no order.
    ///
    /// # Errors
    /// From the system.
    pub fn some_names(&self, limit: usize) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            if names.len() == limit {
                break;
            }
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        Ok(names)
    }

    /// Removes `name` of this directory with everything below it. Follows no symbolic link and enters no other mount:
    /// a mount in the way is an error. Nothing there is fine. What cannot be removed keeps nothing else.
    ///
    /// # Errors
    /// From the system, the first one of those that kept something; `EXDEV` or `EBUSY` for a mount.
    pub fn remove_tree(&self, name: &OsStr) -> io::Result<()> {
        let path = Path::new(name);
        if name.is_empty() || path.components().count() != 1 || name.as_bytes() == b".." || name.as_bytes() == b"." {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a single name"));
        }
        remove(self, name, None, 0)
    }

    /// Flushes this directory's entries to the disk.
    ///
    /// # Errors
    /// From the system.
    pub fn fsync(&self) -> io::Result<()> {
        effect::sync(&self.fd)
    }
}

/// Removes `name` of `dir`, which is so deep below the tree's top; what is too deep is moved there instead.
fn remove(dir: &Dir, name: &OsStr, top: Option<&Dir>, depth: usize) -> io::Result<()> {
    match effect::remove_at(&dir.fd, name, AtFlags::empty()) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if matches!(error.raw_os_error(), Some(libc_errno::EISDIR | libc_errno::EPERM)) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let fd = match dir.resolve(Path::new(name), flags, ResolveFlags::NO_XDEV) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if let Some(top) = top.filter(|_| depth > MAX_DEPTH) {
        // Still within the tree, lest a walk that is cut short leaves it to nobody.
        let up = OsString::from(format!("{}.removing", rustix::fs::fstat(&fd)?.st_ino));
        return effect::move_at((&dir.fd, name), (&top.fd, &up));
    }
    let child = Dir { fd };
    let below = empty(&child, top.unwrap_or(&child), depth + 1);
    match effect::remove_at(&dir.fd, name, AtFlags::REMOVEDIR) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => below.and(Err(error)),
        Ok(()) => Ok(()),
    }
}

/// Removes what is in a directory. The first error is told, even if a later try had more luck.
fn empty(dir: &Dir, top: &Dir, depth: usize) -> io::Result<()> {
    let mut told = Ok(());
    let mut before = Vec::new();
    loop {
        let entries = dir.some_names(BATCH)?;
        // A damaged file system may list what cannot be found: then deleting the directory says so.
        if entries.is_empty() || entries == before {
            return told;
        }
        let mut any = false;
        for entry in &entries {
            let removed = remove(dir, entry, Some(top), depth);
            any |= removed.is_ok();
            told = told.and(removed);
        }
        if !any {
            return told;
        }
        before = entries;
    }
}

/// Whether a `stat` result is of this type.
pub fn is_type(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

/// The error numbers compared with `raw_os_error`.
mod libc_errno {
    pub(super) const EISDIR: i32 = rustix::io::Errno::ISDIR.raw_os_error();
    pub(super) const EPERM: i32 = rustix::io::Errno::PERM.raw_os_error();
}

#[cfg(test)]
mod tests {
    use nix::libc;

    use super::*;

    #[test]
    fn a_file_with_a_lease_is_not_waited_for() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        let file = File::create(&path).unwrap();
        let lease = |command, argument: libc::c_int| {
            // SAFETY: the descriptor is open, and these commands take a number.
            assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), command, argument) }, 0);
        };
        // Its holder is told by a signal, which otherwise ends it.
        const F_SETSIG: libc::c_int = 10;
        lease(F_SETSIG, libc::SIGURG);
        lease(libc::F_SETLEASE, libc::F_WRLCK);
        let found = || rustix::fs::openat(CWD, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        assert_eq!(open_regular(found()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        lease(libc::F_SETLEASE, libc::F_UNLCK);
        assert!(open_regular(found()).is_ok());
    }
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_reaches_above_or_through_links() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("f"), "x").unwrap();
        let root = Dir::make(&temp.path().join("root"), 0o755).unwrap();
        symlink(&outside, temp.path().join("root/out")).unwrap();
        symlink("../outside/f", temp.path().join("root/f")).unwrap();
        for path in ["out", "out/f", "..", "../outside", "/etc", "f"] {
            assert!(root.sub(Path::new(path)).is_err(), "{path}");
            assert!(root.open_file(Path::new(path)).is_err(), "{path}");
        }
        assert!(root.make_sub(Path::new("out/new"), 0o755).is_err());
        assert!(!outside.join("new").exists());
    }

    #[test]
    fn reading_writes_nothing_of_its_own() {
        let temp = tempfile::tempdir().unwrap();
        let root = Dir::make(&temp.path().join("root"), 0o700).unwrap();
        std::fs::create_dir(temp.path().join("root/sub")).unwrap();
        std::fs::write(temp.path().join("root/sub/f"), "x").unwrap();
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
        let all = ["root", "root/sub", "root/sub/f"].map(|name| temp.path().join(name));
        for place in &all {
            File::open(place).unwrap().set_times(std::fs::FileTimes::new().set_accessed(long_ago)).unwrap();
        }
        assert_eq!(root.names().unwrap(), ["sub"]);
        assert_eq!(root.sub(Path::new("sub")).unwrap().names().unwrap(), ["f"]);
        assert_eq!(io::read_to_string(root.open_file(Path::new("sub/f")).unwrap()).unwrap(), "x");
        for place in &all {
            assert_eq!(std::fs::metadata(place).unwrap().accessed().unwrap(), long_ago, "{}", place.display());
        }
    }

    #[test]
    fn removing_a_tree_leaves_what_its_links_point_to() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        std::fs::create_dir_all(outside.join("deep")).unwrap();
        let root = Dir::make(&temp.path().join("root"), 0o755).unwrap();
        root.make_sub(Path::new("tree/a/b"), 0o700).unwrap();
        symlink(&outside, temp.path().join("root/tree/a/link")).unwrap();
        root.remove_tree(OsStr::new("tree")).unwrap();
        root.remove_tree(OsStr::new("tree")).unwrap();
        assert!(!temp.path().join("root/tree").exists());
        assert!(outside.join("deep").exists());
        let mut deep = root.make_sub(Path::new("deep"), 0o700).unwrap();
        for _ in 0..3000 {
            deep = deep.make_sub(Path::new("d"), 0o700).unwrap();
        }
        drop(deep);
        root.remove_tree(OsStr::new("deep")).unwrap();
        assert!(!temp.path().join("root/deep").exists());
        let wide = root.make_sub(Path::new("wide/below"), 0o700).unwrap();
        for number in 0..3 * BATCH + 1 {
            wide.create_file(OsStr::new(&number.to_string()), 0o600).unwrap();
        }
        assert_eq!((wide.some_names(BATCH).unwrap().len(), wide.names().unwrap().len()), (BATCH, 3 * BATCH + 1));
        root.remove_tree(OsStr::new("wide")).unwrap();
        assert_eq!(root.names().unwrap(), Vec::<OsString>::new());
        assert!(root.remove_tree(OsStr::new("..")).is_err());
        assert!(root.remove_tree(OsStr::new("a/b")).is_err());
    }
}
