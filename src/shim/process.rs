//! The shim itself: from the request to the monitor, in one process of one thread.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;
use rustix::fs::OFlags;

use super::container::{self, Created, Streams};
use super::failure::{Failure, Step};
use super::rootfs::{self, Layout};
use super::run::RunOrder;
use super::spawn::{GO, Order, Report};
use super::users::Users;
use super::{ShimRequest, Started, attach, record, relay, run, shared};
use crate::sys::{cgroup, effect, process, spawn};

/// What the agent has passed with its order.
struct Passed {
    agent: BufReader<Agent>,
    /// For a container: the program of its monitor, and the lock of its instance. For a command: where its output goes, and where
    /// what it says of errors.
    descriptors: [OwnedFd; 2],
}

/// Where the request comes from, and the report goes to: stdout, which a container has its own of before it can hold this one
/// open for longer than this process lives.
struct Agent;

impl Read for Agent {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(io::stdout(), bytes)?)
    }
}

/// What the monitor gets.
struct Handover {
    streams: Streams,
    stdin: Option<OwnedFd>,
    /// Where whoever attaches comes.
    attach: OwnedFd,
    log: File,
    message: File,
    started: Started,
}

/// From the fork on, with the socket to the agent for its stdin; whether it came into the monitors' cgroup.
pub(super) fn main(entered: io::Result<()>) -> ExitCode {
    // What a container is told comes through it. The programs that it executes are of that not concerned.
    process::close_memory();
    let (Ok(_), Ok(pid)) = (nix::unistd::setsid(), i32::try_from(std::process::id())) else { return ExitCode::FAILURE };
    if set_streams().is_err() {
        return ExitCode::FAILURE;
    }
    report(&Report::Shim { pid });
    let mut passed = match Passed::receive() {
        Ok(Some(passed)) => passed,
        // It has ended, or there is nothing to start after all.
        Ok(None) => return ExitCode::SUCCESS,
        Err(_) => return ExitCode::FAILURE,
    };
    let [monitor, lock] = &passed.descriptors;
    let request = match order(&mut passed.agent) {
        Ok(Order::Start(request)) => request,
        Ok(Order::Run(order)) => return run::main(&order, (monitor, lock)),
        Err(error) => {
            report(&Report::Failed { message: format!("the request to its shim cannot be read: {error}") });
            return ExitCode::FAILURE;
        }
    };
    let made = entered.step("entering the monitors' cgroup").and_then(|()| make(&request));
    // Whoever does not say so has no record of the instance: nothing may have happened, and no failure either.
    if !may_go(&mut passed.agent) {
        undo(&request);
        return ExitCode::FAILURE;
    }
    match made.and_then(|made| made.start(&request)) {
        Ok(handover) => {
            report(&Report::Started(handover.started.clone()));
            // Returns only when there is no monitor: the container is lost, and found to be as soon as the lock is free.
            let _ = become_monitor(&request, (monitor, lock), &handover);
        }
        Err(failure) => {
            undo(&request);
            let _ = record::write_failure(&request.instance_dir, &failure.0);
            report(&Report::Failed { message: failure.0 });
        }
    }
    ExitCode::FAILURE
}

/// Has the agent on stdout, and nothing on the others.
fn set_streams() -> io::Result<()> {
    nix::unistd::dup2_stdout(io::stdin())?;
    let null = effect::null()?;
    nix::unistd::dup2_stdin(&null)?;
    Ok(nix::unistd::dup2_stderr(&null)?)
}

impl Passed {
    /// Waits for what the agent passes; `None` when it passes nothing any more.
    fn receive() -> io::Result<Option<Self>> {
        let descriptors = relay::receive(io::stdout())?;
        if descriptors.is_empty() {
            return Ok(None);
        }
        let descriptors = descriptors.try_into().map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(Some(Self { agent: BufReader::new(Agent), descriptors }))
    }
}

fn order(agent: &mut BufReader<Agent>) -> io::Result<Order<Box<ShimRequest>, RunOrder>> {
    let mut line = Vec::new();
    agent.read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

/// Waits until the container's program may run; whether it may.
fn may_go(agent: &mut BufReader<Agent>) -> bool {
    let mut word = Vec::new();
    agent.read_to_end(&mut word).is_ok() && word == GO
}

/// The agent may be gone, or tired of waiting: the container is started all the same.
fn report(report: &Report) {
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
    }
}

/// A container that waits to be started.
struct Made {
    created: Created,
    attach: OwnedFd,
    log: File,
    message: File,
}

fn make(request: &ShimRequest) -> Result<Made, Failure> {
    // What the container leaves behind in the machine's process namespace comes to the monitor, which reaps it.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).step("becoming a subreaper")?;
    let log = effect::create(&request.log_path, OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW, 0o640);
    let log = log.step_on("opening the log", &request.log_path)?;
    let layout = Layout::of(&request.instance_dir);
    let users = Users::of(&request.spec.linux)?;
    let shared = shared::open(&request.spec.mounts)?;
    rootfs::prepare(request, &layout, users.as_ref())?;
    let message = File::open(&layout.message).step("opening the termination message")?;
    record::reserve_exit(&request.instance_dir).step("making room for the exit record")?;
    spawn::own_keyring().step("making a keyring")?;
    let created = container::create(request, &layout, (users, shared))?;
    created.set_oom_score(request);
    let attach = attach::listen(&layout.bundle).step("making the socket to attach to")?;
    Ok(Made { created, attach, log, message })
}

impl Made {
    fn start(self, request: &ShimRequest) -> Result<Handover, Failure> {
        let Made { created, attach, log, message } = self;
        let started = started(created.pid)?;
        record::write_started(&request.instance_dir, &started).step("writing the start record")?;
        let (streams, stdin) = created.start()?;
        Ok(Handover { streams, stdin, attach, log, message, started })
    }
}

fn started(pid: i32) -> Result<Started, Failure> {
    let start_ticks =
        process::start_ticks(pid).ok_or_else(|| Failure("the container's process ended at once".to_owned()))?;
    let monitor_pid = rustix::process::getpid().as_raw_nonzero().get();
    Ok(Started { pid, start_ticks, monitor_pid, boot_id: process::boot_id(), started_at: Timestamp::now() })
}

/// Ends whatever of the container there is.
fn undo(request: &ShimRequest) {
    let _ = cgroup::kill_all(&request.cgroup);
    while nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG))
        .is_ok_and(|s| s != nix::sys::wait::WaitStatus::StillAlive)
    {}
    let _ = cgroup::remove(&request.cgroup);
}

/// The directory of a log, and its name there as the monitor takes it.
fn log_place(log: &Path) -> io::Result<(File, Vec<u8>)> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    Ok((File::open(dir)?, [b"logname=", name.as_bytes()].concat()))
}

fn become_monitor(request: &ShimRequest, (monitor, lock): (&OwnedFd, &OwnedFd), handover: &Handover) -> io::Result<()> {
    let dir = File::open(&request.instance_dir)?;
    let mut arguments = vec![b"podwright-monitor".to_vec(), request.id.clone().into_bytes()];
    let mut keep: Vec<BorrowedFd<'_>> = vec![lock.as_fd()];
    let named = |key: &str, fd: &dyn AsRawFd| format!("{key}={}", fd.as_raw_fd()).into_bytes();
    let (log_dir, log_name) = log_place(&request.log_path)?;
    arguments.push(format!("pid={}", handover.started.pid).into_bytes());
    arguments.push(format!("started={}", handover.started.started_at).into_bytes());
    arguments.push(named("dir", &dir));
    arguments.extend([named("log", &handover.log), named("logdir", &log_dir), log_name]);
    arguments.push(format!("logsize={}", request.log_limits.max_size).into_bytes());
    arguments.push(format!("logfiles={}", request.log_limits.max_files).into_bytes());
    arguments.push(named("message", &handover.message));
    arguments.push(named("attach", &handover.attach));
    keep.push(handover.attach.as_fd());
    keep.extend([dir.as_fd(), handover.log.as_fd(), log_dir.as_fd(), handover.message.as_fd()]);
    match &handover.streams {
        Streams::Pipes { out, err } => {
            arguments.extend([named("out", out), named("err", err)]);
            keep.extend([out.as_fd(), err.as_fd()]);
        }
        Streams::Terminal { master, slave } => {
            arguments.push(named("tty", master));
            if request.stdin {
                arguments.push(named("in", master));
            }
            keep.extend([master.as_fd(), slave.as_fd()]);
        }
    }
    if let Some(stdin) = &handover.stdin {
        arguments.push(named("in", stdin));
        keep.push(stdin.as_fd());
    }
    if request.stdin_once {
        arguments.push(b"once=".to_vec());
    }
    for dir in cgroup::dirs(&request.cgroup)? {
        arguments.push([b"cgroup=", dir.as_os_str().as_bytes()].concat());
    }
    if let Some(file) = cgroup::oom_file(&request.cgroup)? {
        arguments.push([b"oom=", file.as_os_str().as_bytes()].concat());
    }
    arguments.extend(effect::of_monitor().map(String::into_bytes));
    let arguments = arguments.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>()?;
    nix::unistd::dup2_stdout(&effect::null()?)?;
    effect::effect("exec", "monitor", || Err(spawn::become_program(monitor.as_fd(), &arguments, &keep)))
}
