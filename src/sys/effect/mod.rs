//! Effects: whatever the runtime changes on the machine is changed by a function of this folder, or within [`effect`],
//! [`during`]. Each passes a point before and after, where the tests of crashes have the process killed or the effect
//! fail (`fault`), so that no step of the runtime is left without such a test; `tests/it/tidy.rs` looks for effects that
//! go another way.
//!
//! Files that are to outlive a power cut are written by [`replace`] or another [`Replacement`], and moved by [`rename_at`] and
//! [`move_path`]: what is in a file is on the disk before its name is, and the name before the caller goes on. The others are
//! written by [`replace_for_now`].

mod attribute;
mod fault;
mod file;
mod mount;
mod process;
mod replace;

use std::io;
use std::os::fd::BorrowedFd;
use std::panic::Location;
use std::path::Path;

pub(crate) use attribute::{
    change_group, change_mode, change_mode_at, change_mode_of, change_owner, change_owner_at, change_owner_of,
    change_times, change_times_at, remove_attribute, set_attribute,
};
pub(crate) use fault::{after_fork, of_monitor, passed_on};
pub(crate) use file::{
    Writer, bind_socket, create, create_below, link_at, listen, make_device_at, make_dir_at, make_dir_of_mode,
    make_dirs, make_node_at, move_at, move_path, null, open_existing, remove_at, remove_dir, remove_file, rename_at,
    reserve, set_length, symlink_at, sync, sync_all, truncate, write, write_at, write_existing,
};
pub(crate) use mount::{
    add_attributes, add_attributes_below, bind, change_root, copy_mount, make_mount, map_owners, mount, own_mounts,
    own_namespaces, place_mount, propagate, remount, set_propagation, unmount,
};
pub(crate) use process::{enter, spawn, spawn_async};
pub(crate) use replace::{
    Lasting, Replacement, replace, replace_and_sync_later, replace_for_now, replace_path_for_now, temporary,
};

/// What an effect is had on.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(debug_assertions), allow(dead_code, reason = "a release has no fault points to look at it"))]
pub(crate) enum Place<'a> {
    /// By path, or by a name that says it.
    At(&'a Path),
    /// Below a directory that is open.
    Below(BorrowedFd<'a>, &'a Path),
    /// What is open.
    Open(BorrowedFd<'a>),
}

impl<'a> From<&'a Path> for Place<'a> {
    fn from(path: &'a Path) -> Self {
        Self::At(path)
    }
}

impl<'a> From<&'a str> for Place<'a> {
    fn from(name: &'a str) -> Self {
        Self::At(Path::new(name))
    }
}

/// Does one thing to a place. The name says what, in the words of the system call or of the program that does it. Who calls
/// this, or a wrapper of it, is told apart by the tests: all of them have `track_caller`.
///
/// # Errors
/// Those of `work`.
#[track_caller]
pub(crate) fn effect<'a, T>(
    name: &'static str,
    place: impl Into<Place<'a>>,
    work: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    effect_of(Location::caller(), name, place, work)
}

/// The same, of whoever is at that line.
fn effect_of<'a, T>(
    from: &Location<'_>,
    name: &'static str,
    place: impl Into<Place<'a>>,
    work: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let place = place.into();
    fault::before(name, place, from)?;
    let done = work();
    fault::after(name, place, from);
    done
}

/// As [`effect`], of something that is waited for.
///
/// # Errors
/// Those of `work`.
#[track_caller]
pub(crate) fn during<'a, T>(
    name: &'static str,
    place: impl Into<Place<'a>>,
    work: impl Future<Output = io::Result<T>>,
) -> impl Future<Output = io::Result<T>> {
    let (place, from) = (place.into(), Location::caller());
    async move {
        fault::before(name, place, from)?;
        let done = work.await;
        fault::after(name, place, from);
        done
    }
}
