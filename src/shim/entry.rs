//! What the first process of a container and a command that is run in it have in common on their way in: the directory, the
//! environment, the user.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::DumpableBehavior;

use super::failure::doing;
use super::{command, oci, rootfs};

/// Largest `/etc/passwd` of an image that is read.
const MAX_PASSWD: u64 = 1 << 20;

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
    let environment = environment(process);
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

/// The environment that the container's processes start with.
fn environment(process: &oci::Process) -> Vec<String> {
    let mut environment = command::unique(&process.env);
    if !has(&environment, "HOME") {
        environment.push(format!("HOME={}", home(process.user.uid)));
    }
    environment
}

/// Whether there is such a variable.
pub(super) fn has(environment: &[String], name: &str) -> bool {
    environment.iter().any(|v| v.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
}

/// A FIFO in its place must not make anybody wait for its writer, a device is no list of users.
fn open_passwd() -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rootfs::resolve(&rootfs::open_root(Path::new("/"))?, Path::new("/etc/passwd"), flags)?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// The home directory that the image gives a user.
fn home(uid: u32) -> String {
    let mut text = String::new();
    let read = open_passwd().and_then(|f| f.take(MAX_PASSWD).read_to_string(&mut text));
    let fields = text.lines().map(|l| l.split(':').collect::<Vec<_>>());
    let found = fields
        .filter(|f| f.get(2).is_some_and(|n| n.parse() == Ok(uid)))
        .find_map(|f| f.get(5).map(|h| (*h).to_owned()));
    read.ok().and(found).filter(|home| !home.is_empty()).unwrap_or_else(|| "/".to_owned())
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
