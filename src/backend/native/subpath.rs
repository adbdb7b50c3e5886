//! Parts of volumes (`subPath`). A container can change what is in its volumes at any time, so a path that was looked at
//! may lead elsewhere when it is mounted. What is resolved here, below the volume, is therefore bound at once, by its open
//! descriptor, to a place of our own; the container's mount is made of that, and the place is given up after the start.

use std::fs::DirEntry;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::MountPropagationFlags;

use super::paths::SUB_PATHS as PREFIX;
use super::records;
use crate::sys::{effect, mount};

/// Places where parts of volumes are bound for one start; they go when this is dropped.
pub(super) struct Held<'a> {
    dir: PathBuf,
    count: usize,
    /// Called when they cannot be given up.
    left: &'a dyn Fn(),
}

impl<'a> Held<'a> {
    /// Nothing held yet. What an earlier start may have left in `dir` is cleared away.
    pub(super) fn new(dir: PathBuf, left: &'a dyn Fn()) -> io::Result<Self> {
        release(&dir)?;
        Ok(Self { dir, count: 0, left })
    }

    /// Resolves `part` below the volume, makes missing directories, and binds it. Returns where it is bound.
    pub(super) fn bind(&mut self, volume: &Path, part: &str) -> io::Result<PathBuf> {
        let part = Path::new(part);
        if !part.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "must be relative and without `..`"));
        }
        let opened = open_or_make(volume, part)?;
        effect::make_dirs(&self.dir, 0o755)?;
        let target = self.dir.join(self.count.to_string());
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode);
        if kind == FileType::Directory {
            effect::make_dirs(&target, 0o755)?;
        } else {
            effect::create(&target, OFlags::WRONLY, 0o644)?;
        }
        self.count += 1;
        let source = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
        effect::bind(&source, &target)?;
        Ok(target)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Err(error) = release(&self.dir) {
            tracing::warn!(place = %self.dir.display(), %error, "a part of a volume stays mounted until a later try");
            (self.left)();
        }
    }
}

/// Gives up every place below the run-time directory of a pod, none of whose containers is being started. One that cannot
/// be given up keeps none of the others.
pub(super) fn release_all(run_pod: &Path) -> io::Result<()> {
    let names = records::directories(run_pod)?;
    let places = names.iter().filter(|name| name.starts_with(PREFIX));
    places.map(|name| release(&run_pod.join(name))).fold(Ok(()), Result::and)
}

/// Gives up every place in `dir`, whoever made it, as far as possible.
fn release(dir: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    entries.map(|entry| release_one(&entry?)).fold(Ok(()), Result::and)?;
    effect::remove_dir(dir)
}

fn release_one(entry: &DirEntry) -> io::Result<()> {
    // What a container has mounted in it stays where it is, in its volume: it goes from this place alone.
    let alone = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    if mount::is_mounted(&entry.path())? {
        effect::propagate(&entry.path(), alone)?;
    }
    mount::unmount(&entry.path())?;
    if entry.file_type()?.is_dir() { effect::remove_dir(&entry.path()) } else { effect::remove_file(&entry.path()) }
}

/// Opens a path below the volume. Symbolic links are followed while they stay below it: projected files are such links.
fn open(volume: impl AsFd, part: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    loop {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(volume.as_fd(), part, flags, Mode::empty(), resolve) {
            // A rename raced with the walk; the kernel asks to try again.
            Err(rustix::io::Errno::AGAIN) => {}
            Err(rustix::io::Errno::XDEV) => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it leads out of its volume"));
            }
            other => return Ok(other?),
        }
    }
}

fn open_or_make(volume: &Path, part: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let volume = rustix::fs::openat(CWD, volume, flags, Mode::empty())?;
    let part: PathBuf = part.components().filter(|c| matches!(c, Component::Normal(_))).collect();
    if part.as_os_str().is_empty() {
        return Ok(volume);
    }
    match open(&volume, &part) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    // New directories get the volume's own mode, as with the kubelet, and are of its group where it has one.
    let mode = rustix::fs::fstat(&volume)?.st_mode & 0o2777;
    let mut at = PathBuf::new();
    for name in &part {
        let parent = if at.as_os_str().is_empty() { volume.try_clone()? } else { open(&volume, &at)? };
        at.push(name);
        match effect::make_dir_of_mode(&parent, name, mode) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    open(&volume, &part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn reached(fd: &OwnedFd) -> PathBuf {
        std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap()
    }

    #[test]
    fn a_part_is_found_or_made_and_never_outside() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap();
        let (volume, outside) = (base.join("volume"), base.join("outside"));
        std::fs::create_dir_all(volume.join("..data_1")).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(volume.join("..data_1/key"), "value").unwrap();
        symlink("..data_1", volume.join("..data")).unwrap();
        symlink("..data/key", volume.join("key")).unwrap();
        symlink("../outside", volume.join("up")).unwrap();
        symlink(&outside, volume.join("away")).unwrap();
        symlink("loop", volume.join("loop")).unwrap();

        assert_eq!(reached(&open_or_make(&volume, Path::new("key")).unwrap()), volume.join("..data_1/key"));
        assert_eq!(reached(&open_or_make(&volume, Path::new("new/./deep")).unwrap()), volume.join("new/deep"));
        assert_eq!(reached(&open_or_make(&volume, Path::new(".")).unwrap()), volume);
        for bad in ["up", "up/x", "away", "away/x", "loop", "key/x"] {
            assert!(open_or_make(&volume, Path::new(bad)).is_err(), "{bad}");
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        let mut held = Held::new(base.join("held"), &|| {}).unwrap();
        for bad in ["/etc", "..", "a/../../b"] {
            assert!(held.bind(&volume, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_place_that_cannot_be_given_up_keeps_no_other() {
        if !rustix::process::geteuid().is_root() {
            // Nothing can be unmounted.
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let place = |name: &str| temp.path().join(name);
        for (name, part) in [("subpaths-a-0", "0"), ("subpaths-a-0", "1"), ("subpaths-b-0", "0"), ("subpaths-c-0", "0")]
        {
            std::fs::create_dir_all(place(name).join(part)).unwrap();
        }
        // What has something in it is no empty place, in whatever order they are met.
        for name in ["subpaths-a-0/1", "subpaths-b-0/0"] {
            std::fs::write(place(name).join("file"), "").unwrap();
        }
        let error = release_all(temp.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::DirectoryNotEmpty);
        assert!(!place("subpaths-a-0/0").exists() && !place("subpaths-c-0").exists());
        assert!(place("subpaths-a-0/1/file").exists() && place("subpaths-b-0/0/file").exists());
    }
}
