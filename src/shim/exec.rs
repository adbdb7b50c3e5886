//! Runs a command in a running container: joins the namespaces and the cgroup of the container's first process and
//! becomes what that process is: its user, capabilities and environment.

use std::fs::{self, File};
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use rustix::fs::OFlags;
use rustix::process::DumpableBehavior;

use super::failure::doing;
use super::relay::{self, Stdio};
use super::running::Running;
use super::{ExecRequest, command, oci, privileges, rootfs, seccomp};
use crate::port::{ErrorKind, PortError};
use crate::sys::seccomp::Instruction;
use crate::sys::{cgroup, effect, sealed, spawn};

const OPERATION: &str = "run a command in";
/// What shells and container runtimes answer when a command cannot be executed.
const CANNOT_EXECUTE: i32 = 126;
/// Largest `/etc/passwd` of an image that is read.
const MAX_PASSWD: u64 = 1 << 20;

/// The container as the command needs it.
struct Target {
    pidfd: OwnedFd,
    procs: Vec<OwnedFd>,
    process: oci::Process,
    /// The container's filter of system calls.
    filter: Option<Vec<Instruction>>,
    oom_score_adj: String,
}

impl Target {
    fn open(request: &ExecRequest) -> Result<Self, PortError> {
        let dir = &request.instance_dir;
        let Running { started, pidfd, spec, process } = Running::find(OPERATION, dir)?;
        let filter = seccomp::program(&spec).map_err(|message| {
            PortError::new(ErrorKind::Invalid, OPERATION, dir.display().to_string(), message)
                .with_help("run the podwright that started the container")
        })?;
        let failed = |error: io::Error| PortError::io(OPERATION, dir.display().to_string(), &error);
        let procs = cgroup::open_procs_of(started.pid).map_err(failed)?;
        let oom_score_adj = fs::read_to_string(format!("/proc/{}/oom_score_adj", started.pid)).unwrap_or_default();
        Ok(Self { pidfd, procs, process, filter, oom_score_adj })
    }
}

pub(super) fn run(request: &ExecRequest) -> Result<i32, PortError> {
    let failed = |error: io::Error| PortError::io(OPERATION, request.instance_dir.display().to_string(), &error);
    sealed::restart().map_err(failed)?;
    let target = Target::open(request)?;
    let (stdio, ends) = Stdio::make(request.stdin, request.tty).map_err(failed)?;
    // Until it has executed the command, no process of the container may look into the child, which is one of them from
    // its first moment: it holds what is open here.
    let dumpable = |behavior| rustix::process::set_dumpable_behavior(behavior).map_err(|e| failed(e.into()));
    dumpable(DumpableBehavior::NotDumpable)?;
    let signals = relay::block_signals().map_err(failed)?;
    let (number, number_end) = io::pipe().map_err(failed)?;
    // The command's process comes here when the one between has ended.
    let adopt = |who| rustix::process::set_child_subreaper(who).map_err(|e| failed(e.into()));
    adopt(Some(rustix::process::getpid()))?;
    let Some(between) = spawn::fork().map_err(failed)? else {
        drop(stdio);
        let code = go_between(&target, request, ends, number_end);
        spawn::exit_now(code);
    };
    dumpable(DumpableBehavior::Dumpable)?;
    drop((ends, number_end));
    let mut bytes = [0; size_of::<i32>()];
    let child = match (&number).read_exact(&mut bytes) {
        Ok(()) => {
            nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(between), None).map_err(|e| failed(e.into()))?;
            i32::from_ne_bytes(bytes)
        }
        // It has no child, and says why on the command's stderr.
        Err(_) => between,
    };
    adopt(None)?;
    // As easily killed for want of memory as the container's own processes.
    let _ = effect::write_existing(Path::new(&format!("/proc/{child}/oom_score_adj")), &target.oom_score_adj);
    relay::run(child, stdio, &signals).map_err(failed)
}

/// The process between this one and the command's. Everything that takes more rights than the command has is done here,
/// where the container's processes do not see it; then it has the command's process, and tells its number.
fn go_between(target: &Target, request: &ExecRequest, ends: relay::Ends, number: PipeWriter) -> i32 {
    let failed = |error: &io::Error| {
        let _ = writeln!(io::stderr(), "error: {error}");
        CANNOT_EXECUTE
    };
    let environment = match prepare(target, request, ends) {
        Ok(environment) => environment,
        Err(error) => return failed(&error),
    };
    match spawn::fork() {
        Ok(None) => {
            drop(number);
            become_command(request, &environment)
        }
        Ok(Some(child)) => {
            let _ = (&number).write_all(&child.to_ne_bytes());
            0
        }
        Err(error) => failed(&error),
    }
}

/// The command's process: returns only when the command cannot be executed. It says so on the command's own stderr.
fn become_command(request: &ExecRequest, environment: &[String]) -> i32 {
    // A session of its own: the caller's terminal is not the command's, which therefore cannot type on it.
    let mut ready = doing("beginning a session", rustix::process::setsid()).map(drop);
    if request.tty {
        ready = ready.and_then(|()| doing("taking the terminal", rustix::process::ioctl_tiocsctty(io::stdin())));
    }
    let (code, message) = match ready.and_then(|()| doing("resetting the signals", spawn::default_signals())) {
        Ok(()) => {
            let unusable = command::execute(&request.command, environment);
            (unusable.code, unusable.message)
        }
        Err(error) => (CANNOT_EXECUTE, error.to_string()),
    };
    let _ = writeln!(io::stderr(), "error: {message}");
    code
}

/// Gets everything of a process of the container but its number and its program; the environment for that.
fn prepare(target: &Target, request: &ExecRequest, ends: relay::Ends) -> io::Result<Vec<String>> {
    // What is opened from here on is closed on exec anyway.
    doing("closing what is open", spawn::close_on_exec())?;
    for procs in &target.procs {
        doing("entering the container's cgroup", rustix::io::write(procs, b"0"))?;
    }
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWCGROUP;
    doing("joining the container's namespaces", setns(&target.pidfd, namespaces).map_err(io::Error::from))?;
    doing("making a keyring", spawn::own_keyring())?;
    let user = target.process.user();
    doing("setting up its streams", ends.install(user.uid()))?;
    let cwd = target.process.cwd();
    doing(&format!("changing to {}", cwd.display()), change_directory(cwd))?;
    let environment = environment(&target.process, request.tty);
    become_user(&target.process, target.filter.as_deref())?;
    Ok(environment)
}

/// What is at the path is the container's work, and this process may still go anywhere: it follows no link of `/proc`.
fn change_directory(cwd: &Path) -> io::Result<()> {
    let directory = rootfs::resolve(&rootfs::open_root(Path::new("/"))?, cwd, OFlags::PATH | OFlags::DIRECTORY)?;
    rustix::process::fchdir(&directory)?;
    // Outside of the root directory it would not begin with a slash.
    let is_inside = rustix::process::getcwd(Vec::new())?.as_bytes().starts_with(b"/");
    if is_inside { Ok(()) } else { Err(io::Error::new(io::ErrorKind::NotFound, "it is outside of the container")) }
}

fn environment(process: &oci::Process, tty: bool) -> Vec<String> {
    let mut environment = command::unique(process.env().as_deref().unwrap_or_default());
    let has = |environment: &[String], name: &str| environment.iter().any(|v| v.starts_with(name));
    if !has(&environment, "HOME=") {
        environment.push(format!("HOME={}", home(process.user().uid())));
    }
    if tty && !has(&environment, "TERM=") {
        let term = std::env::var("TERM").ok().filter(|t| !t.is_empty() && !t.contains('\0'));
        environment.push(format!("TERM={}", term.as_deref().unwrap_or("xterm")));
    }
    environment
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

/// User, groups, capabilities, limits, the promise to gain no more, and the filter of system calls, as the container's
/// first process has them.
fn become_user(process: &oci::Process, filter: Option<&[Instruction]>) -> io::Result<()> {
    use rustix::thread as this;
    for limit in process.rlimits().iter().flatten() {
        // Raising a limit takes a capability that not every machine grants; the container's start was as lenient.
        let _ = set_limit(limit);
    }
    let user = process.user();
    if process.no_new_privileges() == Some(true) {
        doing("renouncing new privileges", this::set_no_new_privs(true))?;
    }
    doing("keeping the capabilities", this::set_keep_capabilities(true))?;
    let groups: Vec<_> = user.additional_gids().iter().flatten().map(|g| nix::unistd::Gid::from_raw(*g)).collect();
    let (uid, gid) = (nix::unistd::Uid::from_raw(user.uid()), nix::unistd::Gid::from_raw(user.gid()));
    doing("setting the groups", nix::unistd::setgroups(&groups))?;
    doing("setting the group", nix::unistd::setresgid(gid, gid, gid))?;
    doing("setting the user", nix::unistd::setresuid(uid, uid, uid))?;
    privileges::confine(process, filter)
}

fn set_limit(limit: &oci::PosixRlimit) -> io::Result<()> {
    use nix::sys::resource::{Resource, setrlimit};
    let resource = match limit.typ() {
        oci::PosixRlimitType::RlimitNofile => Resource::RLIMIT_NOFILE,
        oci::PosixRlimitType::RlimitNproc => Resource::RLIMIT_NPROC,
        oci::PosixRlimitType::RlimitCore => Resource::RLIMIT_CORE,
        oci::PosixRlimitType::RlimitMemlock => Resource::RLIMIT_MEMLOCK,
        _ => return Ok(()),
    };
    Ok(setrlimit(resource, limit.soft(), limit.hard())?)
}
