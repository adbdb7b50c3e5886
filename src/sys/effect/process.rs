//! Starting programs.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::process::{Child, Command};

use super::{Place, effect};

/// Brings the calling process into a cgroup, by its `tasks` or `cgroup.procs`.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn enter(file: BorrowedFd<'_>) -> io::Result<()> {
    effect("enter", Place::Open(file), || Ok(rustix::io::write(file, b"0").map(drop)?))
}

/// Starts a program.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let program = command.get_program().to_owned();
    effect("spawn", Path::new(&program), || command.spawn())
}

/// Starts a program that is waited for on a runtime.
///
/// # Errors
/// From the system.
#[track_caller]
pub(crate) fn spawn_async(command: &mut tokio::process::Command) -> io::Result<tokio::process::Child> {
    let program = command.as_std().get_program().to_owned();
    effect("spawn", Path::new(&program), || command.spawn())
}
