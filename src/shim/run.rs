//! A command in a container, run for the agent: by a process that the zygote has forked, which has one thread, as joining a
//! container takes, and ends the command when its time is over or the agent does not wait any more.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe::Receiver;

use super::exec::{self, Served};
use super::relay::{End, Leash};
use super::spawn::Order;
use super::{ExecRequest, relay, zygote};
use crate::port::{ErrorKind, PortError};

const OPERATION: &str = "run a command in";
/// How much longer than the command its process may take: it kills what takes too long.
const PATIENCE: Duration = Duration::from_secs(15);
/// A report holds a number or a message.
const MAX_REPORT: u64 = 64 << 10;

/// A command to be run in a running container, without stdin or terminal.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// The container's instance directory.
    pub instance_dir: PathBuf,
    /// The command with its arguments.
    pub command: Vec<String>,
    /// When it is killed, with what it has started.
    pub timeout: Duration,
    /// How many bytes of what it prints are kept; the rest is read by its process and forgotten.
    pub output_limit: usize,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It ended: 128 + n when signal n did it.
    Ended { code: i32, output: Vec<u8> },
    /// It could not be executed.
    NotBegun { why: String },
    /// It took too long.
    Late,
}

/// The same for the process that does it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunOrder {
    instance_dir: PathBuf,
    command: Vec<String>,
    timeout: Duration,
    output_limit: usize,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Report {
    Ended {
        code: i32,
    },
    /// What it printed tells why.
    NotBegun,
    Late,
    NotRunning {
        message: String,
    },
    Failed {
        message: String,
    },
}

/// Runs a command in a running container. Cancel-safe: a command that nobody waits for is killed.
///
/// # Errors
/// `NotFound` when the container does not run; `Unavailable` when the command could not be brought to its end.
pub async fn run(exe: &Path, request: &RunRequest) -> Result<Ran, PortError> {
    let subject = request.instance_dir.display().to_string();
    let limit = request.timeout.saturating_add(PATIENCE);
    match tokio::time::timeout(limit, ask(exe, request)).await {
        Ok(Ok((Report::Ended { code }, output))) => Ok(Ran::Ended { code, output }),
        Ok(Ok((Report::NotBegun, output))) => {
            let why = String::from_utf8_lossy(&output);
            Ok(Ran::NotBegun { why: why.trim_end().trim_start_matches("error: ").to_owned() })
        }
        Ok(Ok((Report::Late, _))) => Ok(Ran::Late),
        Ok(Ok((Report::NotRunning { message }, _))) => {
            Err(PortError::new(ErrorKind::NotFound, OPERATION, subject, message))
        }
        Ok(Ok((Report::Failed { message }, _))) => {
            Err(PortError::new(ErrorKind::Unavailable, OPERATION, subject, message))
        }
        Ok(Err(error)) => Err(PortError::new(ErrorKind::Unavailable, OPERATION, subject, error.to_string())),
        Err(_) => {
            // The next one is forked by another one, should it be that which does not get on.
            zygote::replace();
            let message = format!("it was not done after {} seconds", limit.as_secs());
            Err(PortError::new(ErrorKind::Unavailable, OPERATION, subject, message))
        }
    }
}

async fn ask(exe: &Path, request: &RunRequest) -> io::Result<(Report, Vec<u8>)> {
    let exe = exe.to_owned();
    let forked = tokio::task::spawn_blocking(move || fork(&exe)).await;
    let (agent, output) = forked.map_err(io::Error::other)??;
    let mut agent = tokio::net::UnixStream::from_std(agent)?;
    let RunRequest { instance_dir, command, timeout, output_limit } = request;
    let order = RunOrder {
        instance_dir: instance_dir.clone(),
        command: command.clone(),
        timeout: *timeout,
        output_limit: *output_limit,
    };
    let mut line = serde_json::to_vec(&Order::<(), _>::Run(order))?;
    line.push(b'\n');
    agent.write_all(&line).await?;
    let output = read_bounded(Receiver::from_owned_fd(OwnedFd::from(output))?, *output_limit);
    let told = told(BufReader::new((&mut agent).take(MAX_REPORT)));
    let (mut output, mut told, mut whole) = (pin!(output), pin!(told), None);
    let report = loop {
        // Cancel-safe: what is not done is asked again.
        tokio::select! {
            biased;
            read = &mut output, if whole.is_none() => whole = Some(read?),
            report = &mut told => break report?,
        }
    };
    let output = match (whole, &report) {
        (Some(output), _) => output,
        // What is held in the container keeps its streams open; nobody asks for what it has printed.
        (None, Report::Late) => Vec::new(),
        (None, _) => output.await?,
    };
    Ok((report, output))
}

/// The report of the process, on a line of its own behind the one that names the process.
async fn told(mut from: impl AsyncBufRead + Unpin) -> io::Result<Report> {
    loop {
        let mut line = Vec::new();
        if from.read_until(b'\n', &mut line).await? == 0 {
            return Err(io::Error::other("its process ended without a report"));
        }
        if let Ok(report) = serde_json::from_slice(&line) {
            return Ok(report);
        }
    }
}

/// Everything is read, so that nobody waits for room: no more than this of each stream. So much is kept.
async fn read_bounded(mut from: impl AsyncRead + Unpin, limit: usize) -> io::Result<Vec<u8>> {
    let (mut kept, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(kept);
        }
        kept.extend_from_slice(&bytes[..count.min(limit - kept.len())]);
    }
}

/// Has a process forked: how to talk with it, and what the command prints.
fn fork(exe: &Path) -> io::Result<(UnixStream, PipeReader)> {
    let (agent, theirs) = UnixStream::pair()?;
    zygote::fork(exe, theirs.as_fd(), None)?;
    drop(theirs);
    let (output, written) = io::pipe()?;
    relay::send(&agent, &[written.as_fd(), written.as_fd()])?;
    agent.set_nonblocking(true)?;
    Ok((agent, output))
}

/// The process's own side. The agent is on stdout.
pub(super) fn main(order: &RunOrder, (out, err): (&OwnedFd, &OwnedFd)) -> ExitCode {
    let RunOrder { instance_dir, command, timeout, output_limit } = order;
    let prepared = || {
        let caller = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?;
        nix::unistd::dup2_stdout(out)?;
        nix::unistd::dup2_stderr(err)?;
        Ok::<_, io::Error>(caller)
    };
    let Ok(caller) = prepared() else { return ExitCode::FAILURE };
    let until = Instant::now() + (*timeout).min(Duration::from_hours(24 * 365));
    let leash = Leash { caller, until, output_limit: *output_limit };
    let request =
        ExecRequest { instance_dir: instance_dir.clone(), command: command.clone(), stdin: false, tty: false };
    let report = match exec::serve(&request, Some(&leash)) {
        Ok(Served { end: End::Code(_), is_begun: false }) => Report::NotBegun,
        Ok(Served { end: End::Code(code), .. }) => Report::Ended { code },
        Ok(Served { end: End::Late, .. }) => Report::Late,
        // Nobody reads it.
        Ok(Served { end: End::Unwanted, .. }) => return ExitCode::SUCCESS,
        Err(error) if error.kind == ErrorKind::NotFound => Report::NotRunning { message: error.message },
        Err(error) => Report::Failed { message: error.message },
    };
    let line = serde_json::to_vec(&report).map(|line| [&line[..], b"\n"].concat());
    let told = line.map_err(io::Error::from).and_then(|line| Ok(rustix::io::write(&leash.caller, &line)?));
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
