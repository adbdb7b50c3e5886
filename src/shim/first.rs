//! A container's first process, from the fork until it becomes the container's program: its cgroup, its namespaces, its mounts,
//! its root directory, its user, what it gives up. What goes wrong it says to the shim, in one sentence.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::Mode;
use rustix::mount::MountAttrFlags;

use super::container::{Ends, Namespaces};
use super::failure::{Failure, Step};
use super::oci::{Process, Spec};
use super::{command, entry, mounts, nodes, privileges, relay, rootfs};
use crate::sys::seccomp::Instruction;
use crate::sys::{effect, spawn};

/// What it says when the container is made and waits. A message never begins with it.
pub(super) const READY: [u8; 1] = [0];
/// What it is told when the program may run.
pub(super) const GO: [u8; 1] = [1];
/// What files are made with that the container's program makes, unless it says otherwise: runc's.
const UMASK: u32 = 0o022;

/// All that it needs.
pub(super) struct First<'a> {
    pub(super) spec: &'a Spec,
    pub(super) rootfs: &'a Path,
    pub(super) filter: Option<&'a [Instruction]>,
    pub(super) namespaces: Namespaces,
    /// `cgroup.procs` of the container's cgroup in each hierarchy.
    pub(super) procs: Vec<OwnedFd>,
    pub(super) ends: Ends,
    /// To the shim, and from it.
    pub(super) word: UnixStream,
}

impl First<'_> {
    /// Becomes the container's program. Returns when that cannot be, or is not to be.
    pub(super) fn run(mut self) {
        let word = self.word.as_fd().try_clone_to_owned().map(UnixStream::from);
        let (Ok(mut word), process, filter) = (word, &self.spec.process, self.filter) else { return };
        let failed = match self.prepare() {
            Ok(environment) => match word.write_all(&READY).and_then(|()| self.may_go()) {
                Ok(true) => become_program(process, filter, &environment),
                _ => return,
            },
            Err(failure) => failure,
        };
        let _ = word.write_all(failed.0.as_bytes());
    }

    /// Waits for the word of the shim. It may end without one.
    fn may_go(&mut self) -> io::Result<bool> {
        let mut byte = [0];
        Ok(self.word.read(&mut byte)? == 1 && byte == GO)
    }

    /// Everything up to the capabilities; the environment of the program.
    fn prepare(&mut self) -> Result<Vec<String>, Failure> {
        let process = &self.spec.process;
        // What is opened from here on is closed on exec anyway.
        spawn::close_on_exec().step("closing what is open")?;
        rustix::process::setsid().step("beginning a session")?;
        for procs in &self.procs {
            rustix::io::write(procs, b"0").step("entering the container's cgroup")?;
        }
        self.namespaces.enter().step("entering the container's namespaces")?;
        self.make_root()?;
        let root = rootfs::open_root(Path::new("/")).step("opening the root file system")?;
        self.install(&root).step("setting up its streams")?;
        rustix::process::umask(Mode::from_raw_mode(UMASK));
        let at = process.cwd.as_path();
        let entered = match entry::change_directory(at) {
            // A user may be let in where root is not, by another machine's file system.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => false,
            other => other.map(|()| true).step_on("changing to", at)?,
        };
        entry::become_user(process).step("becoming the container's user")?;
        if !entered {
            entry::change_directory(at).step_on("changing to", at)?;
        }
        let environment = entry::environment(process);
        let name = process.args.first().map(String::as_str).unwrap_or_default();
        match command::find(name, &environment) {
            Ok(_) => Ok(environment),
            Err(unusable) => Err(Failure(unusable.message)),
        }
    }

    /// Mounts what the container has, and makes it all there is.
    fn make_root(&self) -> Result<(), Failure> {
        let linux = &self.spec.linux;
        let old = rootfs::open_root(Path::new("/")).step("opening the machine's root directory")?;
        // What is mounted here is nothing to the machine: the shim has parted with its mounts.
        mounts::mount_all(self.rootfs, &self.spec.mounts)?;
        let root = rootfs::open_root(self.rootfs).step("opening the root file system")?;
        nodes::make(&root, self.spec)?;
        let console = self.spec.process.terminal.then(|| nodes::console(&root)).transpose();
        console.step("making /dev/console")?;
        if self.spec.root.readonly {
            let read_only = effect::add_attributes(&root, MountAttrFlags::MOUNT_ATTR_RDONLY);
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

/// Makes a terminal of the container's own, shows it at `/dev/console`, and sends its master side away.
fn install_terminal(root: &OwnedFd, sender: &OwnedFd, uid: u32) -> io::Result<()> {
    let (master, slave) = relay::open_terminal()?;
    // The user may open its own terminal again.
    effect::change_owner(&slave, uid, None)?;
    effect::place_mount(effect::copy_mount(&slave, false)?, nodes::console(root)?)?;
    relay::send(sender, &master)?;
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
        Ok(()) => Failure(command::execute(&process.args, environment).message),
        Err(failure) => failure,
    }
}
