//! Makes the container with libcontainer, and starts it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::rc::Rc;

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use rustix::fs::OFlags;
use rustix::pipe::PipeFlags;

use super::failure::{Failure, Step, chain, doing};
use super::rootfs::Layout;
use super::{ShimRequest, command, oci, privileges, relay, seccomp, trace};
use crate::sys::seccomp::Instruction;
use crate::sys::{effect, spawn};

const CONSOLE: &str = "console.sock";
/// Longest message that is read from a process that failed.
const MAX_MESSAGE: u64 = 4096;

/// The monitor's ends of the container's standard streams.
pub(super) enum Streams {
    Pipes {
        out: OwnedFd,
        err: OwnedFd,
    },
    /// The master side; the slave side is held open so that the terminal never hangs up while the container lives.
    Terminal {
        master: OwnedFd,
        slave: OwnedFd,
    },
}

/// A container that was created and waits to be started.
pub(super) struct Created {
    container: Container,
    pub(super) pid: i32,
    pub(super) streams: Streams,
    /// The write end of the container's stdin.
    pub(super) stdin: Option<OwnedFd>,
    verdict: Verdict,
}

/// Where the process that becomes the container says why it could not. It ends, without a word, when that process has
/// executed the container's program.
struct Verdict(File);

impl Verdict {
    fn read(self) -> Option<String> {
        let mut text = Vec::new();
        let _ = self.0.take(MAX_MESSAGE).read_to_end(&mut text);
        (!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned())
    }
}

/// What runs in the container's first process when everything else is set up.
#[derive(Clone)]
struct Payload {
    verdict: Rc<OwnedFd>,
    /// The home directory that libcontainer finds, if the spec names none.
    home: Rc<RefCell<Option<String>>>,
    rights: Rc<Rights>,
}

/// What is left to the first process. libcontainer would take its capabilities away before the filter can be loaded.
struct Rights {
    process: oci::Process,
    filter: Option<Vec<Instruction>>,
}

impl Payload {
    fn process(spec: &oci::Spec) -> (&[String], &[String]) {
        let process = spec.process().as_ref();
        (
            process.and_then(|p| p.args().as_deref()).unwrap_or_default(),
            process.and_then(|p| p.env().as_deref()).unwrap_or_default(),
        )
    }

    fn say(&self, message: &str) {
        let _ = rustix::io::write(&*self.verdict, message.as_bytes());
    }
}

impl Executor for Payload {
    fn exec(&self, spec: &oci::Spec) -> Result<(), ExecutorError> {
        let (arguments, environment) = Self::process(spec);
        let mut environment = command::unique(environment);
        if !environment.iter().any(|v| v.starts_with("HOME=")) {
            environment.extend(self.home.borrow().iter().map(|home| format!("HOME={home}")));
        }
        // The shim blocks all signals, and Rust ignores SIGPIPE: neither is for the container.
        let ready = doing("resetting the signals", spawn::default_signals());
        let rights = &self.rights;
        if let Err(error) = ready.and_then(|()| privileges::confine(&rights.process, rights.filter.as_deref())) {
            self.say(&error.to_string());
            return Err(ExecutorError::Other(error.to_string()));
        }
        let unusable = command::execute(arguments, &environment);
        self.say(&unusable.message);
        Err(ExecutorError::Other(unusable.message))
    }

    fn validate(&self, spec: &oci::Spec) -> Result<(), ExecutorValidationError> {
        let (arguments, environment) = Self::process(spec);
        let name = arguments.first().map(String::as_str).unwrap_or_default();
        match command::find(name, environment) {
            Ok(_) => Ok(()),
            Err(unusable) => {
                self.say(&unusable.message);
                Err(ExecutorValidationError::ArgValidationError(unusable.message))
            }
        }
    }

    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        *self.home.borrow_mut() = envs.get("HOME").cloned();
        Ok(())
    }
}

/// The spec as the container has it.
fn complete(request: &ShimRequest, layout: &Layout) -> oci::Spec {
    let mut spec = request.spec.clone();
    let mut root = spec.root().clone().unwrap_or_default();
    root.set_path(layout.rootfs.clone());
    spec.set_root(Some(root));
    let mut linux = spec.linux().clone().unwrap_or_default();
    linux.set_cgroups_path(Some(request.cgroup.clone().into()));
    spec.set_linux(Some(linux));
    if let Some(process) = spec.process_mut() {
        process.set_capabilities(process.capabilities().as_ref().map(within_bounds));
        // Given to the container's process alone, see `Created::set_oom_score`: not to this one.
        process.set_oom_score_adj(None);
    }
    spec
}

/// The spec as libcontainer gets it: what [`Rights`] are is not its business.
fn without_rights(mut spec: oci::Spec) -> oci::Spec {
    if let Some(process) = spec.process_mut() {
        process.set_capabilities(None);
    }
    spec
}

/// Leaves away the capabilities that this machine grants nobody: asking for them is an error, and "all" means all there are.
fn within_bounds(sets: &oci::LinuxCapabilities) -> oci::LinuxCapabilities {
    let granted = |capability: &oci::Capability| {
        let name = capability.to_string();
        let one = rustix::thread::CapabilitySet::from_name(name.trim_start_matches("CAP_"));
        one.is_some_and(|c| rustix::thread::capability_is_in_bounding_set(c) == Ok(true))
    };
    let of = |set: &Option<oci::Capabilities>| set.as_ref().map(|s| s.iter().filter(|c| granted(c)).copied().collect());
    let mut bounded = sets.clone();
    bounded.set_bounding(of(sets.bounding())).set_effective(of(sets.effective())).set_permitted(of(sets.permitted()));
    bounded.set_inheritable(of(sets.inheritable())).set_ambient(of(sets.ambient()));
    bounded
}

/// Pipes for the container's standard streams: the builder gets the container's ends, the rest is the monitor's.
fn pipes(
    request: &ShimRequest,
    builder: ContainerBuilder,
) -> std::io::Result<(ContainerBuilder, Streams, Option<OwnedFd>)> {
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
    let (out, out_end) = pipe()?;
    let (err, err_end) = pipe()?;
    for fd in [&out, &err] {
        rustix::fs::fcntl_setfl(fd, OFlags::NONBLOCK)?;
    }
    let (stdin_end, stdin) = if request.stdin {
        let (read, write) = pipe()?;
        rustix::fs::fcntl_setfl(&write, OFlags::NONBLOCK)?;
        (read, Some(write))
    } else {
        (OwnedFd::from(File::open("/dev/null")?), None)
    };
    let builder = builder.with_stdin(stdin_end).with_stdout(out_end).with_stderr(err_end);
    Ok((builder, Streams::Pipes { out, err }, stdin))
}

/// Receives the master side of the terminal that libcontainer made in the container.
fn terminal(listener: &UnixListener) -> std::io::Result<Streams> {
    use rustix::pty::OpenptFlags;
    listener.set_nonblocking(true)?;
    let (socket, _) = listener.accept()?;
    let master = relay::receive(&socket)?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    rustix::fs::fcntl_setfl(&master, OFlags::NONBLOCK)?;
    let slave =
        rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    Ok(Streams::Terminal { master, slave })
}

/// Creates the container: everything is set up, and its first process waits. Its spec stays in the bundle, for the commands
/// that are run in it later.
pub(super) fn create(request: &ShimRequest, layout: &Layout) -> Result<Created, Failure> {
    let spec = complete(request, layout);
    let filter = seccomp::program(&spec).map_err(Failure)?;
    let process = spec.process().clone().ok_or_else(|| Failure("the container has no process".to_owned()))?;
    let place = layout.bundle.join("config.json");
    let save = |spec: &oci::Spec| {
        let saved = effect::effect("write", place.as_path(), || spec.save(&place).map_err(io::Error::other));
        saved.step("writing the container's configuration")
    };
    save(&without_rights(spec.clone()))?;
    let created = build(request, layout, Rights { process, filter })?;
    save(&spec)?;
    Ok(created)
}

fn build(request: &ShimRequest, layout: &Layout, rights: Rights) -> Result<Created, Failure> {
    let (verdict, verdict_end) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).step("making a pipe")?;
    let verdict = Verdict(File::from(verdict));
    let (errors, errors_end) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).step("making a pipe")?;
    trace::errors_to(errors_end);
    let payload = Payload { verdict: Rc::new(verdict_end), home: Rc::default(), rights: Rc::new(rights) };
    let mut builder = ContainerBuilder::new(request.id.clone(), SyscallType::default())
        .validate_id()
        .and_then(|b| b.with_root_path(layout.bundle.join("state")))
        .step("preparing the container")?
        .with_executor(payload);
    let is_terminal = request.spec.process().as_ref().and_then(|p| p.terminal()).unwrap_or(false);
    let (mut console, mut pipes_made) = (None, None);
    if is_terminal {
        console = Some(listen(&layout.bundle).step("making the console socket")?);
        builder = builder.with_console_socket(Some(layout.bundle.join(CONSOLE)));
    } else {
        let (with_pipes, streams, stdin) = pipes(request, builder).step("making the standard streams")?;
        builder = with_pipes;
        pipes_made = Some((streams, stdin));
    }
    let made = effect::effect("create", "container", || {
        // Told by the container's process, in the log of libcontainer, or by the error itself, in this order.
        let made = builder.as_init(&layout.bundle).with_systemd(false).build();
        made.map_err(|error| io::Error::other(cause(errors).unwrap_or_else(|| chain(&error))))
    });
    let container = match made {
        Ok(container) => container,
        Err(error) => return Err(Failure(verdict.read().unwrap_or_else(|| error.to_string()))),
    };
    let pid = container.pid().map(|p| p.as_raw()).ok_or_else(|| Failure("the container has no process".to_owned()))?;
    let terminal = console.map(|listener| terminal(&listener)).transpose().step("receiving the terminal")?;
    let (streams, stdin) = terminal
        .map(|terminal| (terminal, None))
        .or(pipes_made)
        .ok_or_else(|| Failure("the container has no streams".to_owned()))?;
    Ok(Created { container, pid, streams, stdin, verdict })
}

/// libcontainer's first error.
fn cause(errors: OwnedFd) -> Option<String> {
    let mut bytes = [0; MAX_MESSAGE as usize];
    let count = rustix::io::read(&errors, &mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
    trace::cause(&text)
}

/// A socket below a path that may be longer than a socket's address can be.
fn listen(bundle: &Path) -> std::io::Result<UnixListener> {
    std::env::set_current_dir(bundle)?;
    let listener = effect::listen(Path::new(CONSOLE));
    std::env::set_current_dir("/")?;
    listener
}

impl Created {
    /// How easily the container's processes are killed for want of memory. Less easily than now takes a capability that
    /// not every machine grants: then it stays as it is.
    pub(super) fn set_oom_score(&self, request: &ShimRequest) {
        if let Some(score) = request.spec.process().as_ref().and_then(|p| p.oom_score_adj()) {
            let place = format!("/proc/{}/oom_score_adj", self.pid);
            let _ = effect::write_existing(Path::new(&place), &score.to_string());
        }
    }

    /// Has the first process execute the container's program.
    pub(super) fn start(mut self) -> Result<(Streams, Option<OwnedFd>), Failure> {
        let started = effect::effect("start", "container", || self.container.start().map_err(io::Error::other));
        started.step("starting the container")?;
        match self.verdict.read() {
            Some(message) => Err(Failure(message)),
            None => Ok((self.streams, self.stdin)),
        }
    }
}
