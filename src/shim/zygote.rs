//! The zygote: a process of this program that the shims are forked from. To execute this program costs more than most of what a
//! shim does: 40,000 addresses in it are written anew each time.
//!
//! The agent has one, which it starts with its first container, by executing the sealed program ([`crate::sys::sealed`]) with
//! an empty environment: one thread, a session of its own, all signals blocked, `/` for its directory. They talk by a socket of
//! records. A record is one byte, and its descriptors are a new shim's end of a socket to the agent, the network and the mount
//! namespace of the thread that asks, and the way into the monitors' cgroup for one that starts a container. The zygote forks,
//! closes what has come, and waits for the next record. It reads nothing else: what is asked of a shim goes between that one and
//! the agent, and what a shim has of the zygote is the program, so nothing of one container gets to the next.
//!
//! Shims and monitors are its children and of no interest to it: the kernel removes those that end. It ends when the agent
//! does, for then the socket does. The agent replaces one that has died.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use rustix::fs::Stat;
use rustix::net::sockopt::Timeout;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{VERB, process, relay, seccomp};
use crate::sys::entrance::Entrance;
use crate::sys::{cgroup, effect, resident, sealed, spawn};

/// The second argument of this program when it is to be a zygote.
const ZYGOTE: &str = "zygote";
/// Those that a thread of the agent may have of its own: its tests do.
const NAMESPACES: [(&str, CloneFlags); 2] = [("net", CloneFlags::CLONE_NEWNET), ("mnt", CloneFlags::CLONE_NEWNS)];
/// How long it may take to make room for one more record. It needs some tenths of a millisecond for each.
const PATIENCE: Duration = Duration::from_secs(10);

/// The agent's own.
static OWN: Mutex<Option<Zygote>> = Mutex::new(None);

struct Zygote {
    /// What it was started from.
    exe: PathBuf,
    socket: OwnedFd,
    process: Child,
}

/// Has a shim forked that talks with `agent` and goes to a cgroup.
///
/// # Errors
/// From the system; when there is no zygote and none can be started.
pub(super) fn fork(exe: &Path, agent: BorrowedFd<'_>, cgroup: Option<&Entrance>) -> io::Result<()> {
    let namespaces = NAMESPACES.map(|(name, _)| File::open(Path::new("/proc/thread-self/ns").join(name)));
    let namespaces = namespaces.into_iter().collect::<io::Result<Vec<_>>>()?;
    let cgroup = cgroup.into_iter().flat_map(Entrance::descriptors);
    let descriptors: Vec<BorrowedFd<'_>> =
        [agent].into_iter().chain(namespaces.iter().map(AsFd::as_fd)).chain(cgroup).collect();
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    if own.as_ref().is_some_and(|zygote| zygote.exe == exe && relay::send(&zygote.socket, &descriptors).is_ok()) {
        return Ok(());
    }
    if let Some(other) = own.take_if(|zygote| zygote.exe != exe) {
        other.retire();
    }
    // It has died, or never was.
    *own = None;
    let new = Zygote::start(exe)?;
    relay::send(&new.socket, &descriptors)?;
    *own = Some(new);
    Ok(())
}

/// Ends the zygote, which does not do what it should; the next start has another one.
pub(super) fn replace() {
    *OWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

impl Zygote {
    fn start(exe: &Path) -> io::Result<Self> {
        // Never the file itself: a container's first process runs it for a moment, and could write to it.
        let program = sealed::program(exe)?;
        let (socket, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        rustix::net::sockopt::set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
        let mut command = Command::new(sealed::path(&program));
        command.arg0(exe).args([VERB, ZYGOTE]);
        // What the agent was told is not for the container's init, which is this program for a moment.
        command.env_clear().envs(effect::passed_on());
        // Nothing but these is asked of the child, so that it is started without a copy of the tables of this process's memory.
        command.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null());
        let process = effect::spawn(&mut command)?;
        Ok(Self { exe: exe.to_owned(), socket, process })
    }

    /// Lets one of another program do what it was asked for; then it ends.
    fn retire(mut self) {
        if rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write).is_ok() {
            let _ = self.process.wait();
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The process's own side, in each shim too.
pub(super) fn main() -> ExitCode {
    match serve() {
        Ok(Some(entered)) => process::main(entered),
        Ok(None) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Forks until the agent has ended: `None`. In a shim, whose stdin is the socket, whether it came into its cgroup.
fn serve() -> io::Result<Option<io::Result<()>>> {
    // Not started by an agent.
    rustix::net::sockopt::socket_type(io::stdin())?;
    spawn::block_signals()?;
    rustix::process::setsid()?;
    std::env::set_current_dir("/")?;
    spawn::ignore_children(true)?;
    // Every shim asks for them, and has what is found here. Where there are none, it says so.
    let _ = cgroup::hierarchies();
    // Likewise: to make it takes longer than most of what a shim does.
    seccomp::prepare();
    // Of what a start takes the loop needs little, and it waits for years.
    resident::give_back();
    loop {
        let mut descriptors = relay::receive(io::stdin())?;
        if descriptors.is_empty() {
            return Ok(None);
        }
        let cgroup = descriptors.split_off(descriptors.len().min(1 + NAMESPACES.len()));
        let [agent, namespaces @ ..] = &descriptors[..] else { return Err(io::ErrorKind::InvalidData.into()) };
        let mut entrance = Entrance::passed(cgroup)?;
        // One that cannot be forked is not waited for: the other side of its socket ends.
        if let Ok(None) = entrance.fork(false, None) {
            spawn::ignore_children(false)?;
            for (namespace, (name, kind)) in namespaces.iter().zip(NAMESPACES) {
                join(namespace, name, kind)?;
            }
            nix::unistd::dup2_stdin(agent)?;
            return Ok(Some(entrance.enter()));
        }
    }
}

/// Goes to a namespace, unless this process is in it: to enter that of its mounts would change its root directory.
fn join(namespace: &OwnedFd, name: &str, kind: CloneFlags) -> io::Result<()> {
    let id = |stat: Stat| (stat.st_dev, stat.st_ino);
    let own = rustix::fs::stat(Path::new("/proc/self/ns").join(name))?;
    if id(own) != id(rustix::fs::fstat(namespace)?) {
        setns(namespace, kind)?;
    }
    Ok(())
}
