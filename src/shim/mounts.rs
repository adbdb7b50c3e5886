//! What is mounted within a container's root directory, by its first process in a mount namespace of its own. A place is
//! looked up by the kernel with that directory for its root, and what is found is held open: an image or a volume that
//! changes meanwhile leads nowhere else.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountAttrFlags, MountPropagationFlags};

use super::failure::{Failure, Step};
use super::oci::Mount;
use super::rootfs;
use crate::sys::effect;

/// Options of every file system, by what they set.
const ATTRIBUTES: [(&str, MountAttrFlags); 8] = [
    ("rw", MountAttrFlags::empty()),
    ("ro", MountAttrFlags::MOUNT_ATTR_RDONLY),
    ("nosuid", MountAttrFlags::MOUNT_ATTR_NOSUID),
    ("nodev", MountAttrFlags::MOUNT_ATTR_NODEV),
    ("noexec", MountAttrFlags::MOUNT_ATTR_NOEXEC),
    ("relatime", MountAttrFlags::MOUNT_ATTR_RELATIME),
    ("noatime", MountAttrFlags::MOUNT_ATTR_NOATIME),
    ("strictatime", MountAttrFlags::MOUNT_ATTR_STRICTATIME),
];
/// Options that say whom a mount tells of others, and those mounted below it likewise.
const PROPAGATION: [(&str, MountPropagationFlags); 3] = [
    ("rprivate", MountPropagationFlags::PRIVATE),
    ("rslave", MountPropagationFlags::DOWNSTREAM),
    ("rshared", MountPropagationFlags::SHARED),
];
/// What is shown read-only in a container is of no other use there either.
const READ_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);
const PROC: &str = "/proc";
/// The files below `/proc` that lxcfs makes anew for a container: runc's list.
const OVER_PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// The options of a mount, put for the kernel.
#[derive(Debug, PartialEq, Eq)]
struct Options<'a> {
    attributes: MountAttrFlags,
    with_those_below: bool,
    propagation: Option<MountPropagationFlags>,
    /// Those of the file system itself.
    own: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> Options<'a> {
    fn of(mount: &'a Mount) -> io::Result<Self> {
        let attributes = MountAttrFlags::empty();
        let mut options = Self { attributes, with_those_below: false, propagation: None, own: Vec::new() };
        for option in mount.options.iter().map(String::as_str) {
            if let Some((_, attributes)) = ATTRIBUTES.iter().find(|(name, _)| *name == option) {
                options.attributes |= *attributes;
            } else if let Some((_, propagation)) = PROPAGATION.iter().find(|(name, _)| *name == option) {
                options.propagation = Some(*propagation);
            } else if matches!(option, "bind" | "rbind") {
                options.with_those_below = option == "rbind";
            } else if mount.is_bind() {
                return Err(refused(&format!("there is no option {option:?} for what is there already")));
            } else {
                let (name, value) = option.split_once('=').map_or((option, None), |(n, v)| (n, Some(v)));
                options.own.push((name, value));
            }
        }
        Ok(options)
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// Mounts them all, one after the other.
pub(super) fn mount_all(rootfs: &Path, mounts: &[Mount]) -> Result<(), Failure> {
    for mount in mounts {
        let what = format!("mounting {} at {}", mount.source.display(), mount.destination.display());
        mount_one(rootfs, mount).step(&what)?;
    }
    Ok(())
}

fn mount_one(rootfs: &Path, mount: &Mount) -> io::Result<()> {
    let options = Options::of(mount)?;
    // What was mounted before may lie over the root directory itself.
    let root = rootfs::open_root(rootfs)?;
    let (tree, is_directory) = match mount.is_bind() {
        true => show(mount, &options)?,
        false => (make(mount, &options)?, true),
    };
    if let Some(propagation) = options.propagation {
        effect::set_propagation(&tree, propagation, true)?;
    }
    let place = place(&root, &mount.destination, is_directory)?;
    check(mount, &root, &tree, &place)?;
    effect::place_mount(&tree, &place)
}

/// What is at a path of the machine, and whether that is a directory.
fn show(mount: &Mount, options: &Options<'_>) -> io::Result<(OwnedFd, bool)> {
    let source = rustix::fs::openat(CWD, &mount.source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let is_directory = FileType::from_raw_mode(rustix::fs::fstat(&source)?.st_mode).is_dir();
    let tree = effect::copy_mount(&source, options.with_those_below)?;
    if !options.attributes.is_empty() {
        effect::add_attributes(&tree, options.attributes)?;
    }
    Ok((tree, is_directory))
}

fn make(mount: &Mount, options: &Options<'_>) -> io::Result<OwnedFd> {
    // Of version 2: the hierarchies of version 1 are shown, each at its place.
    let kind = if mount.kind == "cgroup" { "cgroup2" } else { &mount.kind };
    effect::make_mount(kind, &mount.source, &options.own, options.attributes)
}

/// Refuses to mount over `/proc` or within it, where programs take what they read for the kernel's word.
fn check(mount: &Mount, root: &OwnedFd, tree: &OwnedFd, place: &OwnedFd) -> io::Result<()> {
    let is_proc = |fd: &OwnedFd| Ok::<_, io::Error>(rustix::fs::fstatfs(fd)?.f_type == rustix::fs::PROC_SUPER_MAGIC);
    let destination: PathBuf = mount.destination.components().collect();
    if matches!(mount.kind.as_str(), "proc" | "sysfs") {
        // Reached through a link it would be at a place that nobody has spoken of.
        let plain = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(root, &destination, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), plain)?;
        return Ok(());
    }
    if is_proc(place)? && !OVER_PROC.iter().any(|allowed| destination == Path::new(allowed)) {
        return Err(refused("it is within /proc, which is the kernel's"));
    }
    if destination == Path::new(PROC) && !is_proc(tree)? {
        return Err(refused("only the kernel's own /proc belongs there"));
    }
    Ok(())
}

/// Opens the place for a mount, made where it is missing.
pub(super) fn place(root: &OwnedFd, path: &Path, is_directory: bool) -> io::Result<OwnedFd> {
    if is_directory {
        return rootfs::make_directories(root, path);
    }
    match rootfs::resolve(root, path, OFlags::PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(refused("a file cannot be at the root"));
    };
    let parent = rootfs::make_directories(root, parent)?;
    effect::create_below(&parent, Path::new(name), OFlags::RDONLY | OFlags::EXCL, 0o644, ResolveFlags::BENEATH)?;
    rootfs::resolve(root, path, OFlags::PATH)
}

/// Finds paths of the container, those that are there.
fn found<'a>(root: &OwnedFd, paths: &'a [PathBuf]) -> Result<Vec<(&'a Path, OwnedFd)>, Failure> {
    let mut found = Vec::with_capacity(paths.len());
    for path in paths {
        match rootfs::resolve(root, path, OFlags::PATH) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => found.push((path.as_path(), other.step_on("looking for", path)?)),
        }
    }
    Ok(found)
}

/// Makes paths of the container read-only.
pub(super) fn protect(root: &OwnedFd, paths: &[PathBuf]) -> Result<(), Failure> {
    for (path, place) in found(root, paths)? {
        let shown = effect::copy_mount(&place, true).and_then(|tree| {
            effect::add_attributes(&tree, READ_ONLY)?;
            effect::place_mount(&tree, &place)
        });
        shown.step_on("making read-only", path)?;
    }
    Ok(())
}

/// Hides what is at paths of the container: a file behind `/dev/null`, a directory behind an empty one.
pub(super) fn mask(root: &OwnedFd, paths: &[PathBuf]) -> Result<(), Failure> {
    let mut empty = None;
    for (path, place) in found(root, paths)? {
        hide(root, &place, &mut empty).step_on("hiding", path)?;
    }
    Ok(())
}

fn hide(root: &OwnedFd, place: &OwnedFd, empty: &mut Option<OwnedFd>) -> io::Result<()> {
    if !FileType::from_raw_mode(rustix::fs::statat(place, "", AtFlags::EMPTY_PATH)?.st_mode).is_dir() {
        let null = rootfs::resolve(root, Path::new("/dev/null"), OFlags::PATH)?;
        let stat = rustix::fs::fstat(&null)?;
        if (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)) != super::nodes::NULL {
            return Err(refused("/dev/null of the container is something else"));
        }
        return effect::place_mount(effect::copy_mount(&null, false)?, place);
    }
    // One for all of them.
    let tree = match empty {
        Some(mounted) => effect::copy_mount(&*mounted, false)?,
        None => effect::make_mount(
            "tmpfs",
            Path::new("tmpfs"),
            &[("size", Some("4k")), ("nr_inodes", Some("1"))],
            READ_ONLY,
        )?,
    };
    effect::place_mount(&tree, place)?;
    empty.get_or_insert(tree);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(|o| (*o).to_owned()).collect();
        Mount { destination: "/x".into(), kind: kind.to_owned(), source: "/y".into(), options }
    }

    #[test]
    fn each_option_is_honoured_or_refused() {
        let tmpfs = mount("tmpfs", &["nosuid", "strictatime", "mode=755", "noswap"]);
        let options = Options::of(&tmpfs).unwrap();
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
        assert_eq!((options.attributes, options.own), (attributes, vec![("mode", Some("755")), ("noswap", None)]));
        let bind = mount("bind", &["rbind", "rprivate", "ro"]);
        let options = Options::of(&bind).unwrap();
        assert!(options.with_those_below && options.own.is_empty());
        assert_eq!(options.attributes, MountAttrFlags::MOUNT_ATTR_RDONLY);
        assert_eq!(options.propagation, Some(MountPropagationFlags::PRIVATE));
        for unknown in ["mode=755", "rro", "defaults"] {
            let error = Options::of(&mount("bind", &[unknown])).unwrap_err().to_string();
            assert!(error.contains(unknown), "{error}");
        }
    }
}
