//! Starting programs.

use std::io;
use std::path::Path;
use std::process::{Child, Command};

use super::effect;

/// Starts a program.
///
/// # Errors
/// From the system.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let program = command.get_program().to_owned();
    effect("spawn", Path::new(&program), || command.spawn())
}

/// Starts a program that is waited for on a runtime.
///
/// # Errors
/// From the system.
pub(crate) fn spawn_async(command: &mut tokio::process::Command) -> io::Result<tokio::process::Child> {
    let program = command.as_std().get_program().to_owned();
    effect("spawn", Path::new(&program), || command.spawn())
}
