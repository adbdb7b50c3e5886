//! What the first process of a container and a command that is run in it have in common on their way in: the directory, the
//! environment, the user.

use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::DumpableBehavior;

use super::failure::doing;
use super::{command, oci, rootfs};

/// What files are made with that the container's programs make, unless they say otherwise: runc's.
const UMASK: u32 = 0o022;

/// Has files made as the container's programs make them: the agent's own umask is nothing to them.
pub(super) fn set_umask() {
    rustix::process::umask(Mode::from_raw_mode(UMASK));
}

/// Becomes the container's user in the working directory; the environment of the program. The capabilities are all still
/// there: see `privileges::confine`.
pub(super) fn settle(process: &oci::Process) -> io::Result<Vec<String>> {
    let enter = || doing(&format!("changing to {}", process.cwd.display()), change_directory(&process.cwd));
    let entered = match enter() {
        // A user may be let in where root is not, by another machine's file system.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => false,
        other => other.map(|()| true)?,
    };
    let environment = command::unique(&process.env);
    become_user(process)?;
    if !entered {
        enter()?;
    }
    Ok(environment)
}

/// Goes to a directory of the container, which is this process's root. What is at the path is the container's work, and this
/// process may still go anywhere: it follows no link of `/proc`.
fn change_directory(cwd: &Path) -> io::Result<()> {
    let directory = rootfs::resolve(&rootfs::open_root(Path::new("/"))?, cwd, OFlags::PATH | OFlags::DIRECTORY)?;
    rustix::process::fchdir(&directory)?;
    // Outside of the root directory it would not begin with a slash.
    let is_inside = rustix::process::getcwd(Vec::new())?.as_bytes().starts_with(b"/");
    if is_inside { Ok(()) } else { Err(io::Error::new(io::ErrorKind::NotFound, "it is outside of the container")) }
}

/// Whether there is such a variable.
pub(super) fn has(environment: &[String], name: &str) -> bool {
    environment.iter().any(|v| v.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
}

/// Becomes the container's user, with its groups, and renounces new privileges where the container does.
fn become_user(process: &oci::Process) -> io::Result<()> {
    use rustix::thread as this;
    let user = &process.user;
    if process.no_new_privileges {
        doing("renouncing new privileges", this::set_no_new_privs(true))?;
    }
    doing("keeping the capabilities", this::set_keep_capabilities(true))?;
    let groups: Vec<_> = user.additional_gids.iter().map(|g| nix::unistd::Gid::from_raw(*g)).collect();
    let (uid, gid) = (nix::unistd::Uid::from_raw(user.uid), nix::unistd::Gid::from_raw(user.gid));
    doing("setting the groups", nix::unistd::setgroups(&groups))?;
    doing("setting the group", nix::unistd::setresgid(gid, gid, gid))?;
    doing("setting the user", nix::unistd::setresuid(uid, uid, uid))?;
    // With `fs.suid_dumpable=1` processes of the same user may look into one that has become another one.
    doing("closing memory to others", rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable))
}
