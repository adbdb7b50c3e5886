//! What is mounted within a container's root directory, by its first process in a mount namespace of its own. A place is
//! looked up by the kernel with that directory for its root, and what is found is held open: an image or a volume that
//! changes meanwhile leads nowhere else.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountAttrFlags, MountPropagationFlags};

use super::failure::{Failure, Step};
use super::oci::Mount;
use super::places::{self, Kind};
use super::users::Users;
use super::{nodes, rootfs};
use crate::sys::{effect, mount};

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
    /// Those of what is mounted below it, too.
    attributes_below: MountAttrFlags,
    with_those_below: bool,
    propagation: Option<MountPropagationFlags>,
    /// Those of the file system itself.
    own: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> Options<'a> {
    fn of(mount: &'a Mount) -> io::Result<Self> {
        let none = MountAttrFlags::empty();
        let mut options = Self {
            attributes: none,
            attributes_below: none,
            with_those_below: false,
            propagation: None,
            own: Vec::new(),
        };
        for option in mount.options.iter().map(String::as_str) {
            if let Some((_, attributes)) = ATTRIBUTES.iter().find(|(name, _)| *name == option) {
                options.attributes |= *attributes;
            } else if let Some((_, propagation)) = PROPAGATION.iter().find(|(name, _)| *name == option) {
                options.propagation = Some(*propagation);
            } else if option == "rro" {
                options.attributes_below |= MountAttrFlags::MOUNT_ATTR_RDONLY;
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

/// Whom a mount tells of others; `None` when nothing is said.
pub(super) fn propagation(mount: &Mount) -> io::Result<Option<MountPropagationFlags>> {
    Ok(Options::of(mount)?.propagation)
}

pub(super) fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// Mounts them all, one after the other. What `shown` has was opened before.
pub(super) fn mount_all(root: &OwnedFd, mounts: &[Mount], shown: Vec<Option<Shown>>) -> Result<(), Failure> {
    let mut shown = shown.into_iter();
    let tells = |mount: &Mount| propagation(mount).is_ok_and(|kind| kind == Some(MountPropagationFlags::SHARED));
    let is_told = mounts.iter().any(tells);
    for mount in mounts {
        mount_one(root, mount, (shown.next().flatten(), is_told)).step(&what_for(mount))?;
    }
    Ok(())
}

pub(super) fn what_for(mount: &Mount) -> String {
    format!("mounting {} at {}", mount.source.display(), mount.destination.display())
}

/// A copy of what is at a path of the machine, mounted nowhere yet.
pub(super) type Shown = (OwnedFd, Kind);

/// What of the machine is to be mounted, shown with a pod's ids; `None` for a file system that is made. Below `images` all is
/// shown with them already.
pub(super) fn show_all(mounts: &[Mount], users: &Users, images: &Path) -> Result<Vec<Option<Shown>>, Failure> {
    let one = |mount: &Mount| {
        let shown = show(mount, &Options::of(mount)?)?;
        if !mount.source.starts_with(images) {
            users.show(&shown.0, &mount.destination)?;
        }
        Ok::<_, io::Error>(shown)
    };
    let each = |mount: &Mount| mount.is_bind().then(|| one(mount).step(&what_for(mount))).transpose();
    mounts.iter().map(each).collect()
}

/// `is_told`: the machine is told of what is mounted below some of them.
fn mount_one(root: &OwnedFd, mount: &Mount, (shown, is_told): (Option<Shown>, bool)) -> io::Result<()> {
    let options = Options::of(mount)?;
    let (tree, kind) = match (shown, mount.is_bind()) {
        (Some(shown), _) => shown,
        (None, true) => show(mount, &options)?,
        (None, false) => (make(mount, &options)?, Kind::Directory),
    };
    if let Some(propagation) = options.propagation {
        effect::set_propagation((&tree, &mount.destination), propagation, true)?;
    }
    let place = places::open_or_make(root, &mount.destination, kind)?;
    check(mount, root, (&tree, kind), &place)?;
    // By way of a link, say, of the image.
    if is_told && mount::peers(places::mount_of(&place)?)?.shared {
        return Err(refused("it would be mounted on the machine as well"));
    }
    effect::place_mount(&tree, &place)
}

/// Opens what is to be mounted, where it is.
pub(super) fn open_source(mount: &Mount) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, &mount.source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// A copy of what is to be mounted.
pub(super) fn show_source(mount: &Mount) -> io::Result<Shown> {
    show(mount, &Options::of(mount)?)
}

fn show(mount: &Mount, options: &Options<'_>) -> io::Result<Shown> {
    let source = open_source(mount)?;
    let kind = Kind::of(&source)?;
    let tree = effect::copy_mount(&source, options.with_those_below)?;
    if !options.attributes.is_empty() {
        effect::add_attributes((&tree, &mount.destination), options.attributes)?;
    }
    if !options.attributes_below.is_empty() {
        effect::add_attributes_below((&tree, &mount.destination), options.attributes_below)?;
    }
    Ok((tree, kind))
}

fn make(mount: &Mount, options: &Options<'_>) -> io::Result<OwnedFd> {
    // Of version 2: the hierarchies of version 1 are shown, each at its place.
    let kind = if mount.kind == "cgroup" { "cgroup2" } else { &mount.kind };
    effect::make_mount(&mount.destination, (kind, &mount.source), &options.own, options.attributes)
}

/// Refuses a place that the mount does not belong to, among them `/proc` and what is within, where programs take what they
/// read for the kernel's word.
fn check(mount: &Mount, root: &OwnedFd, (tree, kind): (&OwnedFd, Kind), place: &OwnedFd) -> io::Result<()> {
    let destination: PathBuf = mount.destination.components().collect();
    if matches!(mount.kind.as_str(), "proc" | "sysfs") {
        // Reached through a link it would be at a place that nobody has spoken of.
        let plain = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(root, &destination, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), plain)?;
        return Ok(());
    }
    if is_own_proc(root, place)? && !OVER_PROC.iter().any(|allowed| destination == Path::new(allowed)) {
        return Err(refused("it is within /proc, which is the kernel's"));
    }
    if destination == Path::new(PROC) && !is_proc(tree)? {
        return Err(refused("only the kernel's own /proc belongs there"));
    }
    if is_same(root, place)? {
        return Err(refused("it would hide the whole container: mount it at a directory below the root"));
    }
    match (kind, Kind::of(place)?) {
        (Kind::Directory, Kind::File) => Err(refused("it is a directory, and there is a file")),
        (Kind::File, Kind::Directory) => Err(refused("it is no directory, and there is one")),
        _ if is_device(place)? && !is_device(tree)? => Err(refused("there is a device")),
        _ => Ok(()),
    }
}

/// Whether a place is on the container's own `/proc`. There may be others: those of the machine that a volume shows.
fn is_own_proc(root: &OwnedFd, place: &OwnedFd) -> io::Result<bool> {
    if !is_proc(place)? {
        return Ok(false);
    }
    let own = rootfs::resolve(root, Path::new(PROC), OFlags::PATH | OFlags::NOFOLLOW)?;
    Ok(places::mount_of(&own)? == places::mount_of(place)?)
}

pub(super) fn is_proc(open: &OwnedFd) -> io::Result<bool> {
    Ok(rustix::fs::fstatfs(open)?.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

fn is_same(one: &OwnedFd, other: &OwnedFd) -> io::Result<bool> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

fn is_device(open: &OwnedFd) -> io::Result<bool> {
    let kind = places::file_type(open)?;
    Ok(kind.is_char_device() || kind.is_block_device())
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
            effect::add_attributes((&tree, path), READ_ONLY)?;
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
        hide(root, (path, &place), &mut empty).step_on("hiding", path)?;
    }
    Ok(())
}

fn hide(root: &OwnedFd, (path, place): (&Path, &OwnedFd), empty: &mut Option<OwnedFd>) -> io::Result<()> {
    if Kind::of(place)? == Kind::File {
        return effect::place_mount(effect::copy_mount(nodes::find_null(root)?, false)?, place);
    }
    // One for all of them.
    let tree = match empty {
        Some(mounted) => effect::copy_mount(&*mounted, false)?,
        None => effect::make_mount(
            path,
            ("tmpfs", Path::new("tmpfs")),
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
        let recursive = mount("bind", &["rbind", "rro", "rslave"]);
        let options = Options::of(&recursive).unwrap();
        assert_eq!(
            (options.attributes, options.attributes_below),
            (MountAttrFlags::empty(), MountAttrFlags::MOUNT_ATTR_RDONLY)
        );
        assert_eq!(options.propagation, Some(MountPropagationFlags::DOWNSTREAM));
        for unknown in ["mode=755", "rnoexec", "defaults"] {
            let error = Options::of(&mount("bind", &[unknown])).unwrap_err().to_string();
            assert!(error.contains(unknown), "{error}");
        }
    }
}
