//! A container's first process, from the fork until it becomes the container's program: its cgroup, its namespaces, its mounts,
//! its root directory, its user, what it gives up. What goes wrong it says to the shim, in one sentence.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::container::{Ends, Namespaces};
use super::failure::{Failure, Step};
use super::mounts::Shown;
use super::oci::{Process, Spec};
use super::places::{self, Kind};
use super::users::{self, Machine, Users};
use super::{command, entry, mounts, nodes, privileges, relay, rootfs};
use crate::sys::entrance::Entrance;
use crate::sys::seccomp::Instruction;
use crate::sys::{effect, spawn};

/// What it says when the container is made and waits. A message never begins with it.
pub(super) const READY: [u8; 1] = [0];
/// What it is told when the program may run.
pub(super) const GO: [u8; 1] = [1];

/// All that it needs.
pub(super) struct First<'a> {
    pub(super) spec: &'a Spec,
    pub(super) rootfs: &'a Path,
    /// Where images are that are volumes.
    pub(super) images: &'a Path,
    pub(super) filter: Option<&'a [Instruction]>,
    pub(super) namespaces: Namespaces,
    /// Its user namespace, unless that is the machine's.
    pub(super) users: Option<Users>,
    /// What it has of the machine, opened before it joined that.
    pub(super) machine: Option<Machine>,
    /// What it shares with the machine in both directions, for each of its mounts. With users of its own it shares nothing.
    pub(super) shared: Vec<Option<Shown>>,
    /// Into the container's cgroup.
    pub(super) entrance: Entrance,
    pub(super) ends: Ends,
    /// To the shim, and from it.
    pub(super) word: UnixStream,
}

impl First<'_> {
    /// Becomes the container's program. Returns when that cannot be, or is not to be.
    pub(super) fn run(mut self) {
        let failed = match self.prepare() {
            Ok(environment) => match (&self.word).write_all(&READY).and_then(|()| self.may_go()) {
                Ok(true) => become_program(&self.spec.process, self.filter, &environment),
                _ => return,
            },
            Err(failure) => failure,
        };
        self.say(&failed);
    }

    /// Says to the shim what went wrong.
    pub(super) fn say(&self, failure: &Failure) {
        let _ = (&self.word).write_all(failure.0.as_bytes());
    }

    /// Opens what there is to have of the machine, and gives up its rights for those of root in the user namespace. The next
    /// process that is forked is in the process namespace that is joined, and has nothing that is not its own or `kept`. Whether
    /// it is to have a new one.
    pub(super) fn join_users(&mut self, kept: BorrowedFd<'_>) -> Result<bool, Failure> {
        self.close_others(Some(kept)).step("closing what is open")?;
        if let Some(users) = &self.users {
            self.machine = Some(Machine::open(users, self.spec, self.images)?);
            std::env::set_current_dir(self.rootfs).step("going to the root file system")?;
            users.join()?;
        }
        self.namespaces.of_the_next()
    }

    /// Waits for the word of the shim. It may end without one.
    fn may_go(&self) -> io::Result<bool> {
        let mut byte = [0];
        Ok((&self.word).read(&mut byte)? == 1 && byte == GO)
    }

    /// Closes what is the shim's alone. With its end of the socket open here its end would not be noticed, and with the lock
    /// of the instance the container would be taken for one that is watched.
    fn close_others(&self, kept: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut own: Vec<BorrowedFd<'_>> = self.entrance.descriptors().chain(kept).collect();
        own.extend(self.namespaces.joined());
        own.extend(self.users.iter().map(Users::as_fd));
        own.extend(self.shared.iter().flatten().map(|(tree, _)| tree.as_fd()));
        match &self.ends {
            Ends::Pipes { stdin, out, err } => own.extend(stdin.iter().chain([out, err]).map(AsFd::as_fd)),
            Ends::Terminal { sender } => own.push(sender.as_fd()),
        }
        own.push(self.word.as_fd());
        effect::after_fork(|points| {
            let own: Vec<_> = own.iter().copied().chain(points).collect();
            spawn::close_all_but(&own)
        })
    }

    /// Everything up to the capabilities; the environment of the program.
    fn prepare(&mut self) -> Result<Vec<String>, Failure> {
        let process = &self.spec.process;
        // What is kept, and what is opened from here on, is closed on exec.
        if self.machine.is_none() {
            self.close_others(None).step("closing what is open")?;
        }
        entry::set_umask();
        rustix::process::setsid().step("beginning a session")?;
        self.entrance.enter().step("entering the container's cgroup")?;
        self.namespaces.enter().step("entering the container's namespaces")?;
        self.make_root()?;
        let root = rootfs::open_root(Path::new("/")).step("opening the root file system")?;
        self.install(&root).step("setting up its streams")?;
        let environment = entry::settle(process).map_err(|error| Failure(error.to_string()))?;
        let name = process.args.first().map(String::as_str).unwrap_or_default();
        match command::find(name, &environment) {
            Ok(_) => Ok(environment),
            Err(unusable) => Err(Failure(unusable.told_of(process))),
        }
    }

    /// Mounts what the container has, and makes it all there is.
    fn make_root(&mut self) -> Result<(), Failure> {
        let (linux, machine) = (&self.spec.linux, self.machine.take());
        let old = rootfs::open_root(Path::new("/")).step("opening the machine's root directory")?;
        // What is mounted here is nothing to the machine: the shim has parted with its mounts.
        let root = if machine.is_some() { users::take_root() } else { rootfs::open_root(self.rootfs) };
        let root = root.step("opening the root file system")?;
        let (shown, nodes) = machine.map(|machine| (machine.shown, machine.nodes)).unzip();
        let shown = shown.unwrap_or_else(|| std::mem::take(&mut self.shared));
        mounts::mount_all(&root, &self.spec.mounts, shown)?;
        nodes::make(&root, self.spec, nodes.as_ref())?;
        make_cwd(&root, &self.spec.process.cwd)?;
        let console = self.spec.process.terminal.then(|| nodes::console(&root)).transpose();
        console.step("making /dev/console")?;
        if self.spec.root.readonly {
            let read_only = effect::add_attributes((&root, self.rootfs), MountAttrFlags::MOUNT_ATTR_RDONLY);
            read_only.step("making the root file system read-only")?;
        }
        mounts::protect(&root, &linux.readonly_paths)?;
        mounts::mask(&root, &linux.masked_paths)?;
        effect::change_root(&root, &old).step("changing the root directory")
    }

    /// Makes the container's ends its standard streams.
    fn install(&mut self, root: &OwnedFd) -> io::Result<()> {
        let (stdin, out, err) = match &self.ends {
            Ends::Pipes { stdin, out, err } => (stdin.as_ref(), out, err),
            Ends::Terminal { sender } => return install_terminal(root, sender, self.spec.process.user.uid),
        };
        match stdin {
            Some(stdin) => nix::unistd::dup2_stdin(stdin)?,
            None => nix::unistd::dup2_stdin(nodes::open_null(root)?)?,
        }
        nix::unistd::dup2_stdout(out)?;
        Ok(nix::unistd::dup2_stderr(err)?)
    }
}

/// Makes the working directory, as other runtimes do, where neither the image nor a volume has it.
fn make_cwd(root: &OwnedFd, cwd: &Path) -> Result<(), Failure> {
    // Something is in the way, or the user's alone: what is done next says so, in the container's own terms.
    let is_told_next = |error: &io::Error| {
        let told = [Errno::NOTDIR, Errno::LOOP, Errno::ACCESS];
        told.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
    };
    match places::open_or_make(root, cwd, Kind::Directory) {
        Err(error) if is_told_next(&error) => Ok(()),
        other => other.map(drop).step_on("making the working directory", cwd),
    }
}

/// Makes a terminal of the container's own, shows it at `/dev/console`, and sends its master side away.
fn install_terminal(root: &OwnedFd, sender: &OwnedFd, uid: u32) -> io::Result<()> {
    let (master, slave) = relay::open_terminal()?;
    // The user may open its own terminal again.
    effect::change_owner(&slave, uid, None)?;
    effect::place_mount(effect::copy_mount(&slave, false)?, nodes::console(root)?)?;
    relay::send(sender, &[master.as_fd()])?;
    rustix::process::ioctl_tiocsctty(&slave)?;
    nix::unistd::dup2_stdin(&slave)?;
    nix::unistd::dup2_stdout(&slave)?;
    Ok(nix::unistd::dup2_stderr(&slave)?)
}

/// Gives up what the container does not have, and becomes its program. Returns why that could not be.
fn become_program(process: &Process, filter: Option<&[Instruction]>, environment: &[String]) -> Failure {
    // The shim blocks all signals, and Rust ignores SIGPIPE: neither is for the container.
    let ready = spawn::default_signals().step("resetting the signals");
    let ready = ready.and_then(|()| privileges::confine(process, filter).map_err(|error| Failure(error.to_string())));
    match ready {
        Ok(()) => Failure(command::execute(&process.args, environment).told_of(process)),
        Err(failure) => failure,
    }
}
