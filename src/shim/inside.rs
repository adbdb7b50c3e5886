//! A running container seen from outside: the files that its processes see, and whose new ones would be.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use super::rootfs;
use super::running::{Running, not_running};
use crate::port::PortError;
use crate::sys::beneath::Dir;
use crate::sys::pidfd;

const OPERATION: &str = "look into";

/// The file tree of a running container. Paths are resolved as a process of the container would: symbolic links stay
/// within it, links of `/proc` are not followed.
#[derive(Debug)]
pub struct Inside {
    root: OwnedFd,
    cwd: PathBuf,
    user: (u32, u32),
    ids: [IdMap; 2],
}

/// A map of user or group ids, as in `/proc/<pid>/uid_map`.
#[derive(Debug)]
pub(super) struct IdMap(Vec<[u32; 3]>);

impl IdMap {
    fn parse(text: &str) -> Self {
        let line = |l: &str| {
            let numbers: Vec<u32> = l.split_whitespace().filter_map(|n| n.parse().ok()).collect();
            <[u32; 3]>::try_from(numbers).ok()
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// That of the users of a process.
    pub(super) fn of_users(pid: i32) -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string(format!("/proc/{pid}/uid_map"))?))
    }

    /// What an id of the container is outside of it.
    pub(super) fn outside(&self, id: u32) -> Option<u32> {
        let within = |[inside, _, count]: &&[u32; 3]| id.checked_sub(*inside).is_some_and(|above| above < *count);
        let [inside, outside, _] = self.0.iter().find(within)?;
        outside.checked_add(id - inside)
    }
}

impl Inside {
    pub(super) fn open(instance_dir: &Path) -> Result<Self, PortError> {
        let failed = |e: io::Error| PortError::io(OPERATION, instance_dir.display().to_string(), &e);
        let Running { started, pidfd, process, .. } = Running::find(OPERATION, instance_dir)?;
        let of_process = |name: &str| Path::new("/proc").join(started.pid.to_string()).join(name);
        let root = rustix::fs::openat(
            CWD,
            of_process("root"),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let maps = ["uid_map", "gid_map"].map(|name| fs::read_to_string(of_process(name)));
        // Found by the process's number, which is its own as long as it lives.
        if pidfd::exited(&pidfd).map_err(failed)? {
            return Err(not_running(OPERATION, instance_dir));
        }
        let [users, groups] = maps;
        Ok(Self {
            root: root.map_err(|e| failed(e.into()))?,
            cwd: process.cwd,
            user: (process.user.uid, process.user.gid),
            ids: [IdMap::parse(&users.map_err(failed)?), IdMap::parse(&groups.map_err(failed)?)],
        })
    }

    /// The user and group of the container's own process, as it sees them.
    pub fn user(&self) -> (u32, u32) {
        self.user
    }

    /// What a user and a group of the container are on this machine; `None` when they are nobody here.
    pub fn outside(&self, (uid, gid): (u32, u32)) -> Option<(u32, u32)> {
        let [users, groups] = &self.ids;
        users.outside(uid).zip(groups.outside(gid))
    }

    /// Has this thread make files as root of the container does, whose ids its volumes take and no others.
    ///
    /// # Errors
    /// From the system.
    pub fn make_files_as_root(&self) -> io::Result<()> {
        match self.outside((0, 0)) {
            Some((0, 0)) | None => Ok(()),
            Some((uid, gid)) => crate::sys::users::make_files_as(uid, gid),
        }
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        rootfs::resolve(&self.root, &self.cwd.join(path), flags)
    }

    /// Whether a directory is at `path`; `None` when nothing is. A path that is not absolute begins at the working directory.
    ///
    /// # Errors
    /// From the system.
    pub fn is_directory(&self, path: &Path) -> io::Result<Option<bool>> {
        match self.resolve(path, OFlags::PATH) {
            Ok(found) => {
                let mode = rustix::fs::fstat(found)?.st_mode;
                Ok(Some(rustix::fs::FileType::from_raw_mode(mode).is_dir()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the directory at `path`.
    ///
    /// # Errors
    /// From the system.
    pub fn directory(&self, path: &Path) -> io::Result<Dir> {
        Ok(Dir::from(self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY)?))
    }

    /// Opens the regular file at `path` for reading; anything else is not even opened.
    ///
    /// # Errors
    /// From the system; `InvalidInput` when it is no regular file.
    pub fn file(&self, path: &Path) -> io::Result<fs::File> {
        crate::sys::beneath::open_regular(self.resolve(path, OFlags::PATH)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_as_the_kernel_does() {
        let all = IdMap::parse("         0          0 4294967295\n");
        assert_eq!((all.outside(0), all.outside(1234), all.outside(u32::MAX)), (Some(0), Some(1234), None));
        let some = IdMap::parse("0 100000 1000\n5000 7 1\n");
        assert_eq!(
            [0, 999, 1000, 5000, 5001].map(|id| some.outside(id)),
            [Some(100_000), Some(100_999), None, Some(7), None]
        );
        let odd = IdMap::parse("0 4294967295 5\nx y z\n1 2\n");
        assert_eq!([0, 1, 2].map(|id| odd.outside(id)), [Some(u32::MAX), None, None]);
    }
}
