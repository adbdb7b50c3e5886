//! Mounts that hear of what the machine mounts below them, or tell the machine of what is mounted in them: looked at, and opened,
//! in the machine's own mount namespace, while they are part of what it shares with others.

use std::io;
use std::os::fd::OwnedFd;

use rustix::mount::MountPropagationFlags;

use super::failure::{Failure, Step};
use super::mounts::{self, Shown};
use super::oci::Mount;
use super::places;
use crate::sys::mount;

/// What is shared in both directions, opened; `None` for every other mount. Of what is to hear of the machine's mounts it is
/// made sure that it can.
pub(super) fn open(all: &[Mount]) -> Result<Vec<Option<Shown>>, Failure> {
    all.iter().map(|mount| open_one(mount).step(&mounts::what_for(mount))).collect()
}

fn open_one(mount: &Mount) -> io::Result<Option<Shown>> {
    match mounts::propagation(mount)? {
        Some(MountPropagationFlags::SHARED) => {
            look(mount, &mounts::open_source(mount)?, (|peers| peers.shared, "shared"))?;
            mounts::show_source(mount).map(Some)
        }
        Some(MountPropagationFlags::DOWNSTREAM) => {
            let fits = |peers: &mount::Peers| peers.shared || peers.follows;
            look(mount, &mounts::open_source(mount)?, (fits, "shared or slave"))?;
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// Refuses, in containerd's words, what lies on a mount that nobody is told of.
fn look(of: &Mount, source: &OwnedFd, (fits, what): (fn(&mount::Peers) -> bool, &str)) -> io::Result<()> {
    let peers = mount::peers(places::mount_of(source)?)?;
    if fits(&peers) {
        return Ok(());
    }
    let (path, point) = (of.source.display(), peers.point.display());
    Err(mounts::refused(&format!("path \"{path}\" is mounted on \"{point}\" but it is not a {what} mount")))
}
