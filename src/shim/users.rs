//! A container with a user namespace: its first process joins the one of its pod, and all that it makes is made from within
//! and owned there. What it has of the machine's files is opened before, shown with their ids counted from the first of the
//! pod's: root of the pod is to them what root of the machine is, and to nothing else.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::FileType;

use super::failure::{Failure, Step};
use super::first::First;
use super::mounts::{self, Shown};
use super::oci::{Linux, NamespaceKind, Spec};
use super::{nodes, rootfs};
use crate::sys::{effect, spawn, users};

/// File systems of the kernel's own, which have no files of anybody: they are shown as they are, in the order of
/// `linux/magic.h`.
const KERNEL: [u64; 4] = [0x0027_e0eb, 0x6367_7270, 0x9fa0, 0x6265_6572];

/// The user namespace of a pod.
pub(super) struct Users {
    namespace: OwnedFd,
    first: u32,
}

/// What a container has of the machine's mounts, opened while they can be reached.
pub(super) struct Machine {
    /// For each of its mounts, what of the machine is shown there.
    pub(super) shown: Vec<Option<Shown>>,
    pub(super) nodes: nodes::Nodes,
}

impl Users {
    /// The one that a container joins; `None` when it has the machine's.
    pub(super) fn of(linux: &Linux) -> Result<Option<Self>, Failure> {
        let Some(wanted) = linux.namespaces.iter().find(|n| n.kind == NamespaceKind::User) else { return Ok(None) };
        let [users, groups] = [&linux.uid_mappings, &linux.gid_mappings].map(|maps| match maps.as_slice() {
            [map] if map.container_id == 0 && map.size == users::IDS => Some(map.host_id),
            _ => None,
        });
        let (Some(path), Some(first), true) = (&wanted.path, users, users == groups) else {
            let what =
                "a user namespace must be one to join, with the same range for users and groups that begins with 0";
            return Err(Failure(what.to_owned()));
        };
        let namespace = File::open(path).step_on("opening the namespace", path)?.into();
        Ok(Some(Self { namespace, first }))
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// Joins it: this process is root of the pod then.
    pub(super) fn join(&self) -> Result<(), Failure> {
        users::join(&self.namespace).step("joining the user namespace")
    }

    /// What an id of the container is on the machine.
    pub(super) fn outside(&self, id: u32) -> u32 {
        self.first.saturating_add(id)
    }

    /// Makes a directory of the machine root's of the pod.
    pub(super) fn take(&self, directory: &Path) -> io::Result<()> {
        effect::change_owner_of(directory, self.first, self.first)
    }

    /// Has a copy of a mount that is to be at a place show its files with the pod's ids, but for what is the kernel's own.
    pub(super) fn show(&self, tree: &OwnedFd, at: &Path) -> io::Result<()> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(tree)?.st_mode);
        let magic = u64::try_from(rustix::fs::fstatfs(tree)?.f_type).unwrap_or_default();
        if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) || KERNEL.contains(&magic) {
            return Ok(());
        }
        effect::map_owners((tree, at), &self.namespace).map_err(|error| {
            let why = match error.kind() {
                io::ErrorKind::InvalidInput => {
                    "its file system, or this kernel, cannot show it with other user ids, which \
                                                `hostUsers: false` takes"
                }
                _ => "showing it with the pod's user ids",
            };
            io::Error::new(error.kind(), format!("{why}: {error}"))
        })
    }

    /// Mounts what is at one directory of the machine at another one, shown with the pod's ids.
    pub(super) fn show_at(&self, source: &Path, place: &Path) -> io::Result<()> {
        let tree = effect::copy_mount(rootfs::open_root(source)?, false)?;
        self.show(&tree, place)?;
        effect::place_mount(&tree, rootfs::open_root(place)?)
    }
}

/// Opens the root file system, which is the working directory, in a user namespace and a mount namespace that it owns: the
/// directories on the way are root's of the machine, and the mounts that came along are not to be touched. A copy of it lies
/// over it, and what was mounted in it cannot be taken from that.
pub(super) fn take_root() -> io::Result<OwnedFd> {
    let here = rootfs::open_root(Path::new("."))?;
    let root = effect::copy_mount(&here, true)?;
    effect::place_mount(&root, here)?;
    Ok(root)
}

/// Forks the first process of a container that joins a user namespace; its number. The process between makes what takes the rights
/// of the machine's root and gives them up for good before it makes, or joins, the process namespace.
pub(super) fn fork(first: First<'_>) -> Result<i32, Failure> {
    let (number, number_end) = io::pipe().step("making a pipe")?;
    let Some(between) = spawn::fork().step("making the container's process")? else {
        drop(number);
        go_between(first, number_end);
        spawn::exit_now(1);
    };
    drop((first, number_end));
    let mut bytes = [0; size_of::<i32>()];
    // Without a number it has said why not, to whoever waits for the first process.
    let Ok(()) = (&number).read_exact(&mut bytes) else { return Ok(between) };
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(between), None).step("waiting for the container's process")?;
    Ok(i32::from_ne_bytes(bytes))
}

fn go_between(mut first: First<'_>, mut number: io::PipeWriter) {
    let joined = first.join_users(number.as_fd());
    let forked = joined.and_then(|own| first.entrance.fork(own, None).step("making the container's process"));
    match forked {
        Ok(None) => {
            drop(number);
            first.run();
        }
        Ok(Some(pid)) => drop(number.write_all(&pid.to_ne_bytes())),
        Err(failure) => first.say(&failure),
    }
}

impl Machine {
    /// Opens it all.
    pub(super) fn open(users: &Users, spec: &Spec, images: &Path) -> Result<Self, Failure> {
        let shown = mounts::show_all(&spec.mounts, users, images)?;
        Ok(Self { shown, nodes: nodes::of_the_machine(&spec.linux.devices)? })
    }
}
