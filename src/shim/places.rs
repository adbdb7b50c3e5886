//! Places in a container's root directory: found as by a process that has it for its root, and made where they are missing.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use crate::sys::effect;
use crate::sys::way::Way;

const DIRECTORY: u32 = 0o755;
const FILE: u32 = 0o644;

/// What a place is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

impl Kind {
    /// What is open.
    pub(super) fn of(open: &OwnedFd) -> io::Result<Self> {
        Ok(if file_type(open)?.is_dir() { Self::Directory } else { Self::File })
    }
}

pub(super) fn file_type(open: &OwnedFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(open)?.st_mode))
}

/// Of which mount something open is.
pub(super) fn mount_of(open: &OwnedFd) -> io::Result<u64> {
    Ok(rustix::fs::statx(open, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// Opens a path on which no link is followed.
fn open_plain(root: &OwnedFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let plain = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    loop {
        match rustix::fs::openat2(root, path, flags | OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), plain) {
            Err(Errno::AGAIN) => {}
            other => return Ok(other?),
        }
    }
}

/// Opens the place at a path, made with its parents where it is missing. What is there may be of the other kind.
pub(super) fn open_or_make(root: &OwnedFd, path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    match open_plain(root, path, OFlags::empty()) {
        Ok(found) => Ok(found),
        Err(error) if is(&error, Errno::NOENT) || is(&error, Errno::LOOP) => walk(root, path, kind),
        Err(error) => Err(error),
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// A link may lead to what is missing, as that of many images from `/etc/resolv.conf` to a file below `/run`: what it leads to
/// is made then, as by runc. A link in a volume leads nowhere else: whoever has the volume too could have planted it, to have
/// something mounted over the container's own files.
fn walk(root: &OwnedFd, path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    let mut way = Way::to(path);
    // Nothing is at an empty path.
    let top = Path::new("/");
    let mut volume = Volume { own: mount_of(root)?, within: None };
    while let Some(place) = way.next_place() {
        match open_plain(root, &place, OFlags::NOFOLLOW) {
            Ok(found) => {
                volume.check(&found)?;
                if !file_type(&found)?.is_symlink() {
                    way.enter(place);
                    continue;
                }
                volume.follow(&found)?;
                let target = rustix::fs::readlinkat(&found, c"", Vec::new())?.into_bytes();
                way.follow(Path::new(OsStr::from_bytes(&target)))?;
            }
            Err(error) if is(&error, Errno::NOENT) => {
                let parent = open_plain(root, &top.join(way.at()), OFlags::DIRECTORY)?;
                volume.check(&parent)?;
                let kind = if way.is_last() { kind } else { Kind::Directory };
                match make_one(&parent, place.file_name().unwrap_or_default(), kind) {
                    // Of a volume that others see, too, who may have made it meanwhile.
                    Err(error) if is(&error, Errno::EXIST) => way.again(&place)?,
                    made => {
                        made?;
                        way.enter(place);
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
    let place = open_plain(root, &top.join(way.at()), OFlags::empty())?;
    volume.check(&place)?;
    Ok(place)
}

/// Where a link may lead.
struct Volume {
    /// The mount of the root directory, whose links are the image's.
    own: u64,
    /// The mount of the first link that was not of that one.
    within: Option<u64>,
}

impl Volume {
    fn follow(&mut self, link: &OwnedFd) -> io::Result<()> {
        let mount = mount_of(link)?;
        self.within = self.within.or((mount != self.own).then_some(mount));
        Ok(())
    }

    fn check(&self, found: &OwnedFd) -> io::Result<()> {
        match self.within {
            Some(within) if mount_of(found)? != within => Err(io::Error::other("a link in a volume leads out of it")),
            _ => Ok(()),
        }
    }
}

fn make_one(parent: &OwnedFd, name: &OsStr, kind: Kind) -> io::Result<()> {
    let name = Path::new(name);
    match kind {
        Kind::Directory => effect::make_dir_at(parent, name, DIRECTORY),
        Kind::File => {
            let flags = OFlags::RDONLY | OFlags::EXCL;
            effect::create_below(parent, name, flags, FILE, ResolveFlags::BENEATH).map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::shim::rootfs::open_root;

    #[test]
    fn what_a_link_leads_to_is_made_below_the_root() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().join("root");
        fs::create_dir_all(base.join("etc")).unwrap();
        fs::create_dir(base.join("file-parent")).unwrap();
        fs::write(base.join("file"), "").unwrap();
        for (target, link) in [
            ("../run/systemd/resolve/stub-resolv.conf", "etc/resolv.conf"),
            ("/run/lock", "lock"),
            ("../../../../outside/x", "up"),
            ("second", "first"),
            ("third/below", "second"),
            ("loop-b", "loop-a"),
            ("loop-a", "loop-b"),
            ("/", "top"),
        ] {
            symlink(target, base.join(link)).unwrap();
        }
        let root = open_root(&base).unwrap();
        for (path, kind, made) in [
            ("/etc/resolv.conf", Kind::File, "run/systemd/resolve/stub-resolv.conf"),
            ("/lock/deep/er", Kind::Directory, "run/lock/deep/er"),
            ("/up", Kind::File, "outside/x"),
            ("/first", Kind::Directory, "third/below"),
            ("/a/./b/../c", Kind::File, "a/c"),
            ("/top/new", Kind::Directory, "new"),
        ] {
            let place = open_or_make(&root, Path::new(path), kind).unwrap();
            let (found, expected) = (rustix::fs::fstat(&place).unwrap(), rustix::fs::stat(base.join(made)).unwrap());
            assert_eq!((found.st_ino, Kind::of(&place).unwrap()), (expected.st_ino, kind), "{path}");
            let again = open_or_make(&root, Path::new(path), kind).unwrap();
            assert_eq!(rustix::fs::fstat(&again).unwrap().st_ino, found.st_ino, "{path}");
        }
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "something was made outside");
        let error = |path: &str| open_or_make(&root, Path::new(path), Kind::Directory).unwrap_err();
        for path in ["/loop-a", "/loop-a/x"] {
            assert_eq!(error(path).raw_os_error(), Some(rustix::io::Errno::LOOP.raw_os_error()), "{path}");
        }
        assert_eq!(error("/file/x").kind(), io::ErrorKind::NotADirectory);
        // What is there is found, whatever it is.
        assert_eq!(Kind::of(&open_or_make(&root, Path::new("/file"), Kind::Directory).unwrap()).unwrap(), Kind::File);
    }
}
