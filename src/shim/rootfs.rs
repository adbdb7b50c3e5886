//! The file systems of a container, mounted in the shim's own mount namespace.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountFlags, UnmountFlags};

use super::failure::{Failure, Step};
use super::users::Users;
use super::{ShimRequest, images, namespace};
use crate::sys::beneath::Dir;
use crate::sys::effect;

/// Room for the bundle: the configuration, and what covers paths.
const BUNDLE_BYTES: u64 = 16 << 20;

/// The pause between two tries to mount what a module of the kernel is loaded for.
const LOADING: Duration = Duration::from_millis(50);
/// A second of them: far longer than loading one takes, and no longer than each start of a container may be put off on a machine
/// that has none.
const LOADING_TRIES: u32 = 20;

/// Room for a container's last words. A few kilobytes are kept of them; a program may well write all of its log there.
const MESSAGE_ROOM: u64 = 256 << 10;

/// Where things are in an instance directory.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    /// Where images are mounted that are volumes.
    pub(super) images: PathBuf,
    /// The file for the container's last words.
    pub(super) message: PathBuf,
    upper: PathBuf,
    work: PathBuf,
}

impl Layout {
    pub(super) fn of(instance_dir: &Path) -> Self {
        let dir = |name: &str| instance_dir.join(name);
        let message = dir(super::MESSAGE_SOURCE);
        Self {
            bundle: dir("bundle"),
            rootfs: dir("bundle/rootfs"),
            images: dir(super::IMAGES),
            message,
            upper: dir("upper"),
            work: dir("work"),
        }
    }
}

/// Mounts everything; nothing of it is seen outside this process and its children.
pub(super) fn prepare(request: &ShimRequest, layout: &Layout, users: Option<&Users>) -> Result<(), Failure> {
    namespace::own(request).step_of_the_machine("making a mount namespace")?;
    for dir in [&layout.bundle, &layout.upper, &layout.work] {
        effect::make_dirs(dir, 0o755).step_of_the_machine("making the instance's directories")?;
    }
    // What is looked up below these by a process of the container is looked up in their mounts; the mode of `upper` is
    // that of the container's root directory.
    effect::change_mode_of(&layout.upper, 0o755).step_of_the_machine("making the instance's directories")?;
    bundle(&layout.bundle).step_of_the_machine("mounting the bundle")?;
    message(&layout.message).step("making room for a termination message")?;
    effect::make_dirs(&layout.rootfs, 0o755).step_of_the_machine("making the instance's directories")?;
    overlay(request, layout, users).step_of_the_machine("mounting the root file system")?;
    plain_directories(&layout.rootfs)?;
    images::mount_all(request, users)?;
    for mount in request.spec.mounts.iter().filter(|m| m.is_bind()) {
        let what = format!("mounting at {} what is at", mount.destination.display());
        fs::symlink_metadata(&mount.source).step_on(&what, &mount.source)?;
    }
    for path in &request.covered {
        cover(layout, path).step_on("covering", path)?;
    }
    Ok(())
}

fn bundle(path: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mount = |options: String| {
        let options = CString::new(options)?;
        effect::mount("tmpfs", path, flags, &options)
    };
    let options = format!("size={BUNDLE_BYTES},mode=0700");
    // Secrets do not belong into the swap space either; before Linux 6.4 that could not be said.
    mount(format!("{options},noswap")).or_else(|_: io::Error| mount(options))
}

/// The file for the last words, in memory: on the disk a container could fill it.
fn message(file: &Path) -> io::Result<()> {
    let dir = file.parent().ok_or(io::ErrorKind::InvalidInput)?;
    effect::make_dirs(dir, 0o755)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // The directory and the file.
    let options = CString::new(format!("size={MESSAGE_ROOM},nr_inodes=2,mode=0700"))?;
    effect::mount("tmpfs", dir, flags, &options)?;
    effect::create(file, OFlags::WRONLY | OFlags::EXCL, 0o644)?;
    // Whatever user the container has may write there.
    effect::change_mode_of(file, 0o666)
}

/// Gives layers short names in a directory of their own, since the kernel takes a page of options at most, and whatever their
/// paths have in them, a colon or a comma. What their mount is told of them.
pub(super) fn name_layers(links: &Path, layers: &[PathBuf], users: Option<&Users>) -> io::Result<String> {
    effect::make_dir_at(CWD, links, 0o755)?;
    for (i, layer) in layers.iter().enumerate() {
        let link = links.join(i.to_string());
        match users {
            None => effect::symlink_at(layer, CWD, link)?,
            Some(users) => {
                effect::make_dir_at(CWD, &link, 0o755)?;
                users.show_at(layer, &link)?;
            }
        }
    }
    let names: Vec<String> = (0..layers.len()).map(|i| i.to_string()).collect();
    Ok(names.join(":"))
}

/// Mounts layers that have their names in a directory.
pub(super) fn mount_layers((links, at): (&Path, &Path), flags: MountFlags, options: &CStr) -> io::Result<()> {
    std::env::set_current_dir(links)?;
    let mounted = once_loaded(|| effect::mount("overlay", at, flags, options));
    std::env::set_current_dir("/")?;
    mounted
}

/// Mounts the layers of the container, and one to write to.
fn overlay(request: &ShimRequest, layout: &Layout, users: Option<&Users>) -> io::Result<()> {
    let links = layout.bundle.join("layers");
    let lowers = name_layers(&links, &request.lowers, users)?;
    for own in [&layout.upper, &layout.work] {
        users.map_or(Ok(()), |users| users.take(own))?;
    }
    effect::symlink_at(&layout.upper, CWD, links.join("u"))?;
    effect::symlink_at(&layout.work, CWD, links.join("w"))?;
    let options = CString::new(format!("lowerdir={lowers},upperdir=u,workdir=w"))?;
    let mount = || mount_layers((&links, &layout.rootfs), MountFlags::empty(), &options);
    match mount() {
        // The file system of the instance directory cannot hold a writable layer: memory can.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
            upper_in_memory(&links, &layout.work, users)?;
            mount()
        }
        other => other,
    }
}

/// Mounts a file system whose module may just be loaded for somebody else: until that is done the kernel does not know it. After
/// a start of the machine several containers are the first at the same time.
fn once_loaded(mount: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let mut tries = LOADING_TRIES;
    loop {
        match mount() {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) && tries > 0 => {
                tries -= 1;
                std::thread::sleep(LOADING);
            }
            other => return other,
        }
    }
}

fn upper_in_memory(links: &Path, place: &Path, users: Option<&Users>) -> io::Result<()> {
    effect::mount("tmpfs", place, MountFlags::NODEV, c"mode=0755")?;
    for (link, name) in [("u", "upper"), ("w", "work")] {
        effect::make_dir_at(CWD, place.join(name), 0o755)?;
        users.map_or(Ok(()), |users| users.take(&place.join(name)))?;
        effect::remove_file(&links.join(link))?;
        effect::symlink_at(place.join(name), CWD, links.join(link))?;
    }
    effect::change_mode_of(&place.join("upper"), 0o755)
}

/// Resolves a path as a process would whose root is `root`: symbolic links stay within it.
pub(super) fn resolve(root: &OwnedFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(rustix::io::Errno::AGAIN) => {}
            other => return Ok(other?),
        }
    }
}

/// Refuses an image that has something else than a directory where every container has mounts of its own: a link would lead
/// them elsewhere.
fn plain_directories(rootfs: &Path) -> Result<(), Failure> {
    let root = Dir::open(rootfs).step("opening the root file system")?;
    for name in ["dev", "proc", "sys"] {
        match root.sub(Path::new(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).step_on("the image must have a directory at", &Path::new("/").join(name));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn open_root(rootfs: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The path of what a descriptor is open on, for calls that take paths only.
fn by_descriptor(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Puts an empty read-only directory or file over a path of the root file system, if it is there.
fn cover(layout: &Layout, path: &Path) -> io::Result<()> {
    let target = match resolve(&open_root(&layout.rootfs)?, path, OFlags::PATH) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let stat = rustix::fs::statat(&target, "", AtFlags::EMPTY_PATH)?;
    let place = by_descriptor(&target);
    if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
        let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        return effect::mount("tmpfs", &place, flags, c"size=4k,nr_inodes=1,mode=0555");
    }
    let empty = layout.bundle.join("empty");
    effect::create(&empty, OFlags::WRONLY, 0o644)?;
    // Made read-only before anybody can see it: the bind mount of a file has its own flags.
    effect::bind(&empty, &empty)?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    effect::remount(&empty, flags)?;
    effect::bind(&empty, &place)?;
    effect::unmount(&empty, UnmountFlags::DETACH)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_file_system_that_is_being_loaded_is_waited_for() {
        let refused = Cell::new(0);
        let mount = |refusals, error: rustix::io::Errno| {
            refused.set(0);
            once_loaded(|| {
                refused.set(refused.get() + 1);
                if refused.get() <= refusals { Err(error.into()) } else { Ok(()) }
            })
        };
        mount(2, rustix::io::Errno::NODEV).unwrap();
        assert_eq!(refused.get(), 3);
        mount(1, rustix::io::Errno::INVAL).unwrap_err();
        assert_eq!(refused.get(), 1);
        mount(u32::MAX, rustix::io::Errno::NODEV).unwrap_err();
        assert_eq!(refused.get(), LOADING_TRIES + 1);
    }
}
