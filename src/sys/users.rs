//! User namespaces: each has a range of the machine's ids for its own, beginning with 0 inside.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::unistd::{Gid, Uid};
use rustix::mount::MountAttrFlags;
use rustix::process::DumpableBehavior;

use super::{effect, spawn};

pub use crate::model::IDS_PER_POD as IDS;

/// What a process is told that has its range.
pub(super) const MAPPED: [u8; 1] = [1];

/// Gives the user namespace of a process its range, which begins with `first` on the machine.
fn map(pid: i32, first: u32) -> io::Result<()> {
    let range = format!("0 {first} {IDS}\n");
    ["uid_map", "gid_map"].iter().try_for_each(|map| {
        let place = format!("/proc/{pid}/{map}");
        effect::write_existing(Path::new(&place), &range)
    })
}

/// Waits until a process that is being made asks for its range, gives it, and says so. One that ends without asking gets none.
pub(super) fn map_when_asked(mut child: UnixStream, pid: &AtomicI32, first: u32) -> io::Result<()> {
    let mut byte = [0];
    if child.read(&mut byte)? == 0 {
        return Ok(());
    }
    let mapped = map(pid.load(Ordering::Acquire), first);
    // Also in vain: another child may hold this end open, and the end of it would not be seen.
    let told = child.write_all(if mapped.is_ok() { &MAPPED } else { &[0] });
    mapped.and(told)
}

/// Brings this process, which has one thread, into a user namespace, where it is root with every capability.
///
/// # Errors
/// From the system.
pub(crate) fn join(namespace: impl AsFd) -> io::Result<()> {
    setns(namespace, CloneFlags::CLONE_NEWUSER)?;
    become_root()
}

/// Becomes root of the user namespace that this process, which has one thread, has just come into. Its memory is closed to
/// others until it executes a program.
///
/// # Errors
/// From the system.
pub(crate) fn become_root() -> io::Result<()> {
    let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(group, group, group)?;
    nix::unistd::setresuid(user, user, user)?;
    // What `fs.suid_dumpable` says came with the change: others of the namespace could look into this process.
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Who root of a process's user namespace is in this one.
///
/// # Errors
/// When the process has ended; `InvalidData` when nobody is.
pub(crate) fn root_of(pid: i32) -> io::Result<u32> {
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map"))?;
    let root = map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace();
        (numbers.next() == Some("0")).then(|| numbers.next()?.parse().ok())?
    });
    root.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its user namespace has no root"))
}

/// Whether a process is in this process's user namespace.
///
/// # Errors
/// From the system.
pub(crate) fn is_own(pid: i32) -> io::Result<bool> {
    Ok(fs::read_link(format!("/proc/{pid}/ns/user"))? == fs::read_link("/proc/self/ns/user")?)
}

/// Has this thread make files as a user of the machine, and keeps its rights.
///
/// # Errors
/// From the system.
pub(crate) fn make_files_as(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: plain numbers.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
    // The change took those over files of others out of effect.
    let held = rustix::thread::capabilities(None)?;
    let all = rustix::thread::CapabilitySets { effective: held.permitted, ..held };
    Ok(rustix::thread::set_capabilities(None, all)?)
}

/// The first id of the machine that a process's user namespace has for its root; `None` when it has the machine's ids.
///
/// # Errors
/// From the system.
pub fn first_id_of(pid: i32) -> io::Result<Option<u32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/uid_map"))?;
    Ok(text.lines().find_map(own_range).filter(|(_, count)| *count == IDS).map(|(first, _)| first))
}

/// The ranges of ids, first and count, that processes of this machine have for user namespaces of their own.
///
/// # Errors
/// From the system.
pub fn ranges_in_use() -> io::Result<Vec<(u32, u32)>> {
    let mut ranges = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // Ended meanwhile, or nobody's business: a kernel process.
        let Ok(text) = fs::read_to_string(entry.path().join("uid_map")) else { continue };
        ranges.extend(text.lines().filter_map(own_range));
    }
    ranges.sort_unstable();
    ranges.dedup();
    Ok(ranges)
}

/// Tries what a pod with user ids of its own needs: the namespace with its range, and files of a directory and of a tmpfs shown
/// to it with their ids. For a process of one thread.
///
/// # Errors
/// What the kernel refuses, in one sentence.
pub fn attempt(directory: &Path) -> Result<(), String> {
    let refused = |what: &'static str| move |e: io::Error| format!("the kernel refuses {what}: {e}");
    let plain = refused("to start a process");
    let (mut own, mut theirs) = UnixStream::pair().map_err(plain)?;
    let Some(child) = spawn::fork().map_err(plain)? else {
        drop(own);
        let made = effect::own_namespaces("users", CloneFlags::CLONE_NEWUSER);
        let _ = theirs.write_all(&[u8::from(made.is_ok())]).and_then(|()| theirs.read_exact(&mut [0]));
        spawn::exit_now(0);
    };
    drop(theirs);
    let mut byte = [0];
    own.read_exact(&mut byte).map_err(plain)?;
    if byte == [0] {
        return Err("the kernel refuses to make a user namespace".to_owned());
    }
    map(child, 1 << 30).map_err(refused("to give a user namespace its ids"))?;
    let namespace = fs::File::open(format!("/proc/{child}/ns/user")).map_err(plain)?;
    let disk = fs::File::open(directory).and_then(|directory| effect::copy_mount(directory, false));
    disk.and_then(|disk| effect::map_owners((disk, directory), &namespace))
        .map_err(|e| format!("files of {} cannot be shown with other user ids: {e}", directory.display()))?;
    let memory = effect::make_mount(Path::new("tmpfs"), ("tmpfs", Path::new("tmpfs")), &[], MountAttrFlags::empty());
    memory
        .and_then(|memory| effect::map_owners((memory, Path::new("tmpfs")), &namespace))
        .map_err(|e| format!("files of a tmpfs cannot be shown with other user ids: {e}"))
}

/// A line of `uid_map` that does not give the machine's ids as they are.
fn own_range(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.split_ascii_whitespace().map(str::parse);
    let (Some(Ok(inside)), Some(Ok(outside)), Some(Ok(count))) = (numbers.next(), numbers.next(), numbers.next())
    else {
        return None;
    };
    let inside: u32 = inside;
    (inside != outside).then_some((outside, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ranges_that_are_not_the_machine_s_count() {
        for (line, range) in [
            ("         0          0 4294967295", None),
            ("         0     131072      65536", Some((131_072, 65_536))),
            ("1000 5000 1", Some((5000, 1))),
            ("0 x 1", None),
            ("0 1", None),
            ("", None),
        ] {
            assert_eq!(own_range(line), range, "{line:?}");
        }
        ranges_in_use().unwrap();
    }
}
