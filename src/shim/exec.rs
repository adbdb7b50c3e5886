//! Runs a command in a running container: joins the namespaces and the cgroup of the container's first process and
//! becomes what that process is: its user, capabilities and environment.

use std::fs;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns};

use super::failure::doing;
use super::inside::IdMap;
use super::relay::{self, End, Leash, Stdio};
use super::running::Running;
use super::{ExecRequest, command, entry, kill, oci, privileges, seccomp};
use crate::port::{ErrorKind, PortError};
use crate::sys::entrance::Entrance;
use crate::sys::seccomp::Instruction;
use crate::sys::{effect, process, sealed, spawn, users};

const OPERATION: &str = "run a command in";
/// What shells and container runtimes answer when a command cannot be executed.
const CANNOT_EXECUTE: i32 = 126;

/// The container as the command needs it.
struct Target {
    /// The container's first process.
    init: i32,
    pidfd: OwnedFd,
    entrance: Entrance,
    process: oci::Process,
    /// The container's filter of system calls.
    filter: Option<Vec<Instruction>>,
    oom_score_adj: String,
    /// What its user is on the machine.
    user: u32,
    /// Whether its user namespace is another one than this process's.
    has_users: bool,
}

impl Target {
    fn open(request: &ExecRequest) -> Result<Self, PortError> {
        let dir = &request.instance_dir;
        let Running { started, pidfd, process, annotations, .. } = Running::find(OPERATION, dir)?;
        let filter = seccomp::program(&annotations, &process).map_err(|message| {
            PortError::new(ErrorKind::Invalid, OPERATION, dir.display().to_string(), message)
                .with_help("run the podwright that started the container")
        })?;
        let failed = |error: io::Error| PortError::io(OPERATION, dir.display().to_string(), &error);
        let entrance = Entrance::of_process(started.pid).map_err(failed)?;
        let oom_score_adj = fs::read_to_string(format!("/proc/{}/oom_score_adj", started.pid)).unwrap_or_default();
        let user = IdMap::of_users(started.pid).map_err(failed)?.outside(process.user.uid);
        let user = user.ok_or_else(|| failed(io::Error::other("its user is nobody on this machine")))?;
        let has_users = !users::is_own(started.pid).map_err(failed)?;
        let init = started.pid;
        Ok(Self { init, pidfd, entrance, process, filter, oom_score_adj, user, has_users })
    }
}

/// Runs it to its end; its exit code.
pub(super) fn run(request: &ExecRequest) -> Result<i32, PortError> {
    match serve(request, None)?.end {
        End::Code(code) => Ok(code),
        End::Late | End::Unwanted => Ok(CANNOT_EXECUTE),
    }
}

/// How a command that was run came to its end.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) end: End,
    /// It was executed. What hindered it stands on its stderr otherwise.
    pub(super) is_begun: bool,
}

/// Runs it; one that outlives its leash is killed with what it has started.
pub(super) fn serve(request: &ExecRequest, leash: Option<&Leash>) -> Result<Served, PortError> {
    let failed = |error: io::Error| PortError::io(OPERATION, request.instance_dir.display().to_string(), &error);
    sealed::restart().map_err(failed)?;
    let mut target = Target::open(request)?;
    let (stdio, ends) = Stdio::make(request.stdin, request.tty).map_err(failed)?;
    // Until it has executed the command, no process of the container may look into the child, which is one of them from
    // its first moment, but one with CAP_SYS_PTRACE: it has what the caller had in its memory.
    process::close_memory();
    let signals = relay::block_signals().map_err(failed)?;
    let (number, number_end) = io::pipe().map_err(failed)?;
    // Another one than that of the number: the command's process has it, which some of the container may look into.
    let (hindered, hindered_end) = io::pipe().map_err(failed)?;
    // The command's process comes here when the one between has ended.
    let adopt = |who| rustix::process::set_child_subreaper(who).map_err(|e| failed(e.into()));
    adopt(Some(rustix::process::getpid()))?;
    let (late, until) = (Served { end: End::Late, is_begun: false }, leash.map(|leash| leash.until));
    let between = match target.entrance.fork(false, until) {
        Ok(Some(between)) => between,
        Ok(None) => {
            drop(stdio);
            let code = go_between(target, request, ends, (number_end, hindered_end));
            spawn::exit_now(code);
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(late),
        Err(error) => return Err(failed(error)),
    };
    drop((ends, number_end, hindered_end));
    if !spawn::is_told(&number, until).map_err(failed)? {
        // It is in the container, where anything may hold it: a directory of a file system that does not answer. What is killed
        // there dies when it can.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(between), nix::sys::signal::Signal::SIGKILL);
        return Ok(late);
    }
    let mut bytes = [0; size_of::<i32>()];
    let child = match (&number).read_exact(&mut bytes) {
        Ok(()) => {
            nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(between), None).map_err(|e| failed(e.into()))?;
            Some(i32::from_ne_bytes(bytes))
        }
        // It has no child, and says why on the command's stderr.
        Err(_) => None,
    };
    adopt(None)?;
    let (has_child, child) = (child.is_some(), child.unwrap_or(between));
    // As easily killed for want of memory as the container's own processes.
    let _ = effect::write_existing(Path::new(&format!("/proc/{child}/oom_score_adj")), &target.oom_score_adj);
    let end = relay::run(child, stdio, &signals, leash).map_err(failed)?;
    if !matches!(end, End::Code(_)) {
        // Whoever survives that, at a disk that does not answer, changes nothing of its being late.
        let _ = kill::with_all(child, target.init);
    }
    // The child's end was closed when it executed the command, or it wrote that it could not.
    let is_begun = has_child && (!matches!(end, End::Code(_)) || matches!((&hindered).read(&mut bytes), Ok(0)));
    Ok(Served { end, is_begun })
}

/// The process between this one and the command's. Everything that takes more rights than the command has is done here,
/// where the container's processes do not see it; then it has the command's process, and tells its number.
fn go_between(
    target: Target,
    request: &ExecRequest,
    ends: relay::Ends,
    (number, hindered): (PipeWriter, PipeWriter),
) -> i32 {
    let failed = |error: &io::Error| {
        let _ = writeln!(io::stderr(), "error: {error}");
        CANNOT_EXECUTE
    };
    let environment = match prepare(target, request, ends, [&number, &hindered]) {
        Ok(environment) => environment,
        Err(error) => return failed(&error),
    };
    match spawn::fork() {
        Ok(None) => {
            drop(number);
            let code = become_command(request, &environment);
            let _ = (&hindered).write_all(&[1]);
            code
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

/// Gets everything of a process of the container but its number and its program; the environment for that. What leads
/// out of the container is closed then: the command's process is one that others of the container may find.
fn prepare(
    target: Target,
    request: &ExecRequest,
    ends: relay::Ends,
    pipes: [&PipeWriter; 2],
) -> io::Result<Vec<String>> {
    let closed = effect::after_fork(|points| {
        let own = target.entrance.descriptors().chain([target.pidfd.as_fd()]).chain(pipes.map(AsFd::as_fd));
        let own: Vec<_> = own.chain(ends.open()).chain(points).collect();
        spawn::close_all_but(&own)
    });
    doing("closing what is open", closed)?;
    doing("entering the container's cgroup", target.entrance.enter())?;
    doing("setting up its streams", ends.give(target.user))?;
    let mut namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWCGROUP;
    // A process cannot join the one that it is in.
    namespaces.set(CloneFlags::CLONE_NEWUSER, target.has_users);
    doing("joining the container's namespaces", setns(&target.pidfd, namespaces).map_err(io::Error::from))?;
    if target.has_users {
        doing("becoming root of the pod", users::become_root())?;
    }
    doing("making a keyring", spawn::own_keyring())?;
    doing("setting up its streams", ends.install(target.process.user.uid))?;
    entry::set_umask();
    let mut environment = entry::settle(&target.process)?;
    if request.tty && !entry::has(&environment, "TERM") {
        let term = std::env::var("TERM").ok().filter(|t| !t.is_empty() && !t.contains('\0'));
        environment.push(format!("TERM={}", term.as_deref().unwrap_or("xterm")));
    }
    privileges::confine(&target.process, target.filter.as_deref())?;
    Ok(environment)
}
