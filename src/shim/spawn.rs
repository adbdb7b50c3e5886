//! The agent's side: has a shim forked and waits for its report.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use serde::{Deserialize, Serialize};

use super::{ShimRequest, Started, record, relay, zygote};
use crate::port::{ErrorKind, PortError};
use crate::sys::entrance::Entrance;
use crate::sys::{cgroup, embedded, lock, pidfd};

pub(super) const OPERATION: &str = "start container";
/// How long a start may take. Mounts of network file systems can hang; an image layer never takes this long.
const PATIENCE: Duration = Duration::from_secs(120);
/// A report holds a few numbers and a message.
const MAX_REPORT: usize = 64 << 10;
const SIGKILL: i32 = 9;

/// What follows the request, which is one line of JSON, once the container's program may run. Without it the shim undoes what it
/// has done and writes nothing down: the agent has ended, or has given up.
pub(super) const GO: &[u8] = b"go";

/// What a process that the zygote has forked is to do: one line of JSON, behind a byte with two descriptors.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Order<S, R> {
    /// Be the shim of a container.
    Start(S),
    /// Run a command in one.
    Run(R),
}

/// What the shim answers, one JSON document a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Report {
    /// First of all: the process that goes on.
    Shim { pid: i32 },
    /// The container runs.
    Started(Started),
    /// It does not, and there is an exit record that says so.
    Failed { message: String },
}

fn failed(request: &ShimRequest, kind: ErrorKind, message: impl Into<String>) -> PortError {
    PortError::new(kind, OPERATION, &request.id, message).waiting("RunContainerError")
}

/// A process that waits to be told what to start, and ends when this is dropped before. It is forked while that is found out.
#[derive(Debug)]
pub struct Shim {
    /// Where it is told; or why there is none.
    agent: io::Result<UnixStream>,
}

impl Shim {
    /// Has one forked by `<exe> internal-shim`, into a leaf outside the agent's cgroup where shims and monitors run, such as
    /// `/podwright-1a2b3c4d/monitors`. What goes wrong is told by [`Self::start`]. Blocks, less than a millisecond as a rule.
    pub fn begin(exe: &Path, monitors_cgroup: &str) -> Self {
        let forked = || {
            let (agent, theirs) = UnixStream::pair()?;
            agent.set_write_timeout(Some(PATIENCE))?;
            zygote::fork(exe, theirs.as_fd(), Some(&Entrance::open(monitors_cgroup)?))?;
            Ok(agent)
        };
        Self { agent: forked() }
    }

    /// Starts a container. Takes the lock of the instance directory, tells the shim and waits for its report. `before`
    /// is done while the shim makes the container: until it is done the container's own program does not run.
    /// Blocks, a few ten milliseconds as a rule: not for an async worker thread. The shim is no child of
    /// this process; watch [`Started::monitor_pid`] by pidfd.
    ///
    /// `started.json` is written *before* the container's own program runs: an instance without it, and with a free lock,
    /// never ran since the machine was started. After a power cut it may be missing. `exit.json` may be there already when this
    /// returns.
    ///
    /// # Errors
    /// `Conflict` when somebody holds the lock, and those of `before`: then the shim has ended, nothing is left of the container, and
    /// nothing is written down. `Unavailable` when there is no shim or it did not come to its end, and
    /// nothing is left of the container: without `started.json` it never ran. Otherwise the container could not be started;
    /// `exit.json` with code 128, reason `StartError` and the message has been written, if the disk takes it.
    pub fn start(
        self,
        request: &ShimRequest,
        before: impl FnOnce() -> Result<(), PortError>,
    ) -> Result<Started, PortError> {
        let io = |error: io::Error| PortError::io(OPERATION, &request.id, &error);
        let lock = lock::acquire(&request.instance_dir.join("lock")).map_err(io)?;
        let Some(lock) = lock else {
            return Err(failed(request, ErrorKind::Conflict, "another start of it is under way, or it runs"));
        };
        let (message, kind) = match self.run(request, lock, before) {
            Ok(Outcome::Started(started)) => return Ok(started),
            Ok(Outcome::Untold(error)) => {
                clear(request);
                return Err(error);
            }
            Ok(Outcome::Failed(message)) => (message, ErrorKind::Internal),
            // Nobody says that the container cannot be started: it may be at the next try.
            Err(error) => (format!("its shim could not be run: {error}"), ErrorKind::Unavailable),
        };
        if request.instance_dir.join(record::EXIT).exists() {
            return Err(failed(request, ErrorKind::Internal, message));
        }
        clear(request);
        if kind == ErrorKind::Internal
            && let Err(error) = record::write_failure(&request.instance_dir, &message)
        {
            tracing::warn!(container = request.id, %error, "a failed start could not be written down");
        }
        Err(failed(request, kind, message))
    }

    /// The shim takes the lock with it.
    fn run(
        self,
        request: &ShimRequest,
        lock: File,
        before: impl FnOnce() -> Result<(), PortError>,
    ) -> io::Result<Outcome> {
        let mut agent = self.agent?;
        let mut request_json = serde_json::to_vec(&Order::<_, ()>::Start(request))?;
        request_json.push(b'\n');
        let passed = relay::send(&agent, &[embedded::monitor()?, lock.as_fd()]);
        // What it was passed is the shim's alone now.
        drop(lock);
        let sent = passed.and_then(|()| agent.write_all(&request_json));
        drop(request_json);
        let outcome = converse(agent, sent, before);
        if outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            zygote::replace();
        }
        outcome
    }
}

/// Whatever the cause of a failure, nothing of the container may stay.
fn clear(request: &ShimRequest) {
    if let Err(error) = cgroup::kill_all(&request.cgroup).and_then(|()| cgroup::remove(&request.cgroup)) {
        tracing::warn!(container = request.id, %error, "cleaning up after a failed start");
    }
}

/// What came of a shim.
enum Outcome {
    Started(Started),
    /// What it says itself.
    Failed(String),
    /// It was not told to let the container's program run, and has undone all for that: why.
    Untold(PortError),
}

/// Waits for the shim, which was told what to start unless `sent` says otherwise: then it ends.
fn converse(
    mut agent: UnixStream,
    sent: io::Result<()>,
    before: impl FnOnce() -> Result<(), PortError>,
) -> io::Result<Outcome> {
    let refused = before().err();
    let mut told = Ok(());
    if refused.is_none() && sent.is_ok() {
        told = agent.write_all(GO);
    }
    told = agent.shutdown(Shutdown::Write).and(told);
    let lines = Lines { file: File::from(OwnedFd::from(agent)), held: Vec::new(), deadline: Instant::now() + PATIENCE };
    let outcome = listen(lines);
    if let Some(error) = refused {
        // What the container was to have may go, and its instance may be started again, only now that the shim has ended.
        return Ok(Outcome::Untold(error));
    }
    match (outcome?, sent) {
        // It did not read all, and what it makes of that says nothing of the container.
        (Some(Outcome::Failed(_)) | None, Err(error)) => Err(error),
        (Some(outcome), _) => Ok(outcome),
        (None, Ok(())) => {
            told?;
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended without a report"))
        }
    }
}

/// Waits for what the shim says; `None` when it ends without a word. One that takes too long is killed.
fn listen(mut lines: Lines) -> io::Result<Option<Outcome>> {
    let mut shim = None;
    loop {
        match lines.next() {
            Ok(Some(Report::Shim { pid })) => shim = pidfd::open(pid).ok(),
            Ok(Some(Report::Started(started))) => return Ok(Some(Outcome::Started(started))),
            Ok(Some(Report::Failed { message })) => return Ok(Some(Outcome::Failed(message))),
            Ok(None) => return Ok(None),
            Err(error) => {
                if let Some(shim) = shim {
                    let _ = pidfd::send(&shim, SIGKILL);
                }
                return Err(error);
            }
        }
    }
}

/// The lines of a report, read until a deadline.
struct Lines {
    file: File,
    held: Vec<u8>,
    deadline: Instant,
}

impl Lines {
    /// The next one; `None` at the end.
    fn next(&mut self) -> io::Result<Option<Report>> {
        loop {
            if let Some(end) = self.held.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.held.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            if self.held.len() > MAX_REPORT {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its report does not end"));
            }
            self.wait()?;
            let mut bytes = [0; 4096];
            match self.file.read(&mut bytes) {
                Ok(0) => return Ok(None),
                Ok(count) => self.held.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It has ended, with something of the request unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn wait(&self) -> io::Result<()> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let left =
                Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(0), tv_nsec: left.subsec_nanos().into() };
            match rustix::event::poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&left)) {
                Ok(0) => {
                    let message = format!("it was not done after {} seconds", PATIENCE.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, message));
                }
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_that_was_not_told_all_says_nothing_of_the_container() {
        let said = |sent: io::Result<()>, word: &[u8]| {
            let (agent, mut shim) = UnixStream::pair().unwrap();
            shim.write_all(word).unwrap();
            drop(shim);
            match converse(agent, sent, || Ok(())) {
                Ok(Outcome::Failed(message)) => format!("failed: {message}"),
                Ok(_) => "something else".to_owned(),
                Err(error) => error.kind().to_string(),
            }
        };
        let failed = b"{\"failed\":{\"message\":\"why\"}}\n";
        let cut = || Err(io::ErrorKind::OutOfMemory.into());
        assert_eq!(said(Ok(()), failed), "failed: why");
        assert_eq!(said(cut(), failed), "out of memory");
        assert_eq!(said(cut(), b""), "out of memory");
    }
}
