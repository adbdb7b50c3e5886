//! Between the caller's terminal and a container's own process. The monitor holds the container's streams and listens on a
//! socket: no agent is needed, and none is asked.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use super::keys::DetachKeys;
use super::relay::{self, Raw};
use super::running::{Running, not_running};
use crate::port::{ErrorKind, PortError};
use crate::sys::{effect, pidfd};

const OPERATION: &str = "attach to";
const SOCKET: &str = "attach.sock";
/// How many wait to be let in.
const BACKLOG: i32 = 4;
/// How long the monitor may take to answer, and to end after its last word, in seconds.
const PATIENCE: i64 = 5;
/// The most input of one message; the monitor takes no more.
const INPUT: usize = 4096;
/// No message of the monitor is longer.
const LARGEST: usize = 64 << 10;

// What a message is, by its first byte.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const HELLO: u8 = 3;
/// Of the protocol: who speaks another one is refused.
const VERSION: u8 = 1;
const RESIZE: u8 = 4;
const NO_MORE: u8 = 255;

/// Makes the socket, in a directory that only the shim's own mount namespace has.
pub(super) fn listen(bundle: &Path) -> io::Result<OwnedFd> {
    let directory = open_directory(bundle)?;
    let socket = new_socket()?;
    effect::bind_socket(&socket, &address(&directory)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The path itself may be longer than a socket's address can be.
fn address(directory: &OwnedFd) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))?)
}

/// How somebody attaches.
#[derive(Clone, Debug)]
pub struct AttachRequest {
    /// Pass stdin on.
    pub stdin: bool,
    /// The caller's terminal goes into raw mode, and the container's gets its size.
    pub raw: bool,
    /// What ends the session in raw mode.
    pub detach_keys: DetachKeys,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachEnd {
    /// With the container.
    Ended,
    /// By the keys for it; the container runs on.
    Detached,
    /// By a signal to this process; the container runs on.
    Signal(i32),
    /// Nobody takes the output any more.
    OutputClosed,
    /// By the monitor, which waits for nobody for long; the container runs on.
    Cut,
}

/// A connection to a running container's monitor.
#[derive(Debug)]
pub struct Session {
    socket: OwnedFd,
    monitor: OwnedFd,
    subject: String,
    has_terminal: bool,
    takes_input: bool,
}

impl Session {
    pub(super) fn open(instance_dir: &Path) -> Result<Self, PortError> {
        let subject = instance_dir.display().to_string();
        let failed = |error: io::Error| PortError::io(OPERATION, subject.clone(), &error);
        let refused = |why: &str| PortError::new(ErrorKind::Unavailable, OPERATION, subject.clone(), why);
        let Running { started, monitor, .. } = Running::find(OPERATION, instance_dir)?;
        let root = Path::new("/proc").join(started.monitor_pid.to_string()).join("root");
        let bundle = root.join(instance_dir.strip_prefix("/").unwrap_or(instance_dir)).join("bundle");
        let socket = new_socket().map_err(failed)?;
        // The directory stays open: the address is below it.
        let connected =
            open_directory(&bundle).and_then(|bundle| Ok(rustix::net::connect(&socket, &address(&bundle)?)?));
        // What is found by its number was the monitor's as long as that lives; with it the rest is gone.
        if connected.is_err() && pidfd::exited(&monitor).map_err(failed)? {
            return Err(not_running(OPERATION, instance_dir));
        }
        match connected {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let why = "the version of podwright that started it lets nobody attach";
                return Err(refused(why).with_help("it takes a restart of the container, or use `podwright exec`"));
            }
            other => other.map_err(failed)?,
        }
        if !wait(&socket, PollFlags::IN).map_err(failed)? {
            return Err(refused("its monitor does not answer"));
        }
        let mut hello = [0; 16];
        match rustix::net::recv(&socket, &mut hello, RecvFlags::empty()).map_err(|e| failed(e.into()))? {
            (_, 0) => Err(refused("as many as may have attached to it already").with_help("end one of those sessions")),
            (_, count) if count >= 3 && hello[..2] == [HELLO, VERSION] => {
                let (has_terminal, takes_input) = (hello[2] & 1 != 0, hello[2] & 2 != 0);
                Ok(Self { socket, monitor, subject, has_terminal, takes_input })
            }
            (_, count) if count >= 2 && hello[0] == HELLO && hello[1] != VERSION => {
                let why = format!("its monitor speaks version {}, and this program version {VERSION}", hello[1]);
                Err(refused(&why).with_help("use the podwright that started it, or restart the container"))
            }
            _ => Err(refused("its monitor speaks in another way")),
        }
    }

    /// Whether the container has a terminal.
    pub fn has_terminal(&self) -> bool {
        self.has_terminal
    }

    /// Whether the container's stdin is open.
    pub fn takes_input(&self) -> bool {
        self.takes_input
    }

    /// Passes everything on until the session ends. The process has one thread. The caller's terminal is as it was
    /// afterwards.
    ///
    /// # Errors
    /// From the system.
    pub fn run(self, request: &AttachRequest) -> Result<AttachEnd, PortError> {
        let failed = |error: io::Error| PortError::io(OPERATION, self.subject.clone(), &error);
        let signals = relay::block_signals().map_err(failed)?;
        let raw = request.raw.then(Raw::enter).flatten();
        let relay = Relay {
            socket: &self.socket,
            keys: raw.as_ref().map(|_| request.detach_keys.clone()),
            stdin: request.stdin,
            messages: VecDeque::new(),
            output: None,
        };
        let end = relay.serve(&signals);
        drop(raw);
        match end.map_err(failed)? {
            // It closes the socket by ending, unless it has cut this session off.
            AttachEnd::Ended if !wait(&self.monitor, PollFlags::IN).map_err(failed)? => Ok(AttachEnd::Cut),
            end => Ok(end),
        }
    }
}

/// Waits for a moment; whether it came to that.
fn wait(fd: &OwnedFd, flags: PollFlags) -> io::Result<bool> {
    let patience = Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
    loop {
        match rustix::event::poll(&mut [PollFd::new(fd, flags)], Some(&patience)) {
            Err(Errno::INTR) => {}
            other => return Ok(other? > 0),
        }
    }
}

/// Output that is not written yet.
struct Output {
    is_error: bool,
    bytes: Vec<u8>,
    done: usize,
}

/// One session. Holds at most one message of each direction, and a few of the window's size.
struct Relay<'a> {
    socket: &'a OwnedFd,
    /// In raw mode only.
    keys: Option<DetachKeys>,
    /// Whether stdin is still read.
    stdin: bool,
    messages: VecDeque<Vec<u8>>,
    output: Option<Output>,
}

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Signals,
    Socket,
    Stdin,
    Output,
}

impl Relay<'_> {
    fn serve(mut self, signals: &SignalFd) -> io::Result<AttachEnd> {
        if self.stdin {
            self.messages.push_back(vec![STDIN]);
        }
        // One more and back again: what draws on the whole screen draws it anew.
        self.resize(1);
        self.resize(0);
        loop {
            for (side, flags) in self.wait(signals)? {
                let ended = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
                let end = match side {
                    Side::Signals => self.signals(signals)?.map(AttachEnd::Signal),
                    Side::Output => (!self.write()?).then_some(AttachEnd::OutputClosed),
                    Side::Stdin => self.read_stdin().then_some(AttachEnd::Detached),
                    Side::Socket => {
                        if flags.intersects(PollFlags::OUT | ended) {
                            self.send();
                        }
                        let read = flags.intersects(PollFlags::IN | ended) && self.output.is_none();
                        (read && !self.receive()?).then_some(AttachEnd::Ended)
                    }
                };
                if let Some(end) = end {
                    return Ok(end);
                }
            }
        }
    }

    /// Waits until something can go on; where, and how.
    fn wait(&self, signals: &SignalFd) -> io::Result<Vec<(Side, PollFlags)>> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let mut socket = PollFlags::empty();
        socket.set(PollFlags::IN, self.output.is_none());
        socket.set(PollFlags::OUT, !self.messages.is_empty());
        let mut sides = vec![Side::Signals];
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        // With nothing to wait for it would still tell of its end, again and again.
        if !socket.is_empty() {
            sides.push(Side::Socket);
            fds.push(PollFd::new(self.socket, socket));
        }
        if self.stdin && self.messages.is_empty() {
            sides.push(Side::Stdin);
            fds.push(PollFd::new(&stdin, PollFlags::IN));
        }
        if let Some(output) = &self.output {
            sides.push(Side::Output);
            fds.push(match output.is_error {
                true => PollFd::new(&stderr, PollFlags::OUT),
                false => PollFd::new(&stdout, PollFlags::OUT),
            });
        }
        match rustix::event::poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let ready = sides.into_iter().zip(fds.iter().map(PollFd::revents));
        Ok(ready.filter(|(_, flags)| !flags.is_empty()).collect())
    }

    /// Tells the size of the caller's window, if its terminal is passed on.
    fn resize(&mut self, more: u16) {
        if self.keys.is_none() {
            return;
        }
        let size = rustix::termios::tcgetwinsize(io::stdout()).or_else(|_| rustix::termios::tcgetwinsize(io::stdin()));
        let Ok(size) = size else { return };
        let mut message = vec![RESIZE];
        for number in [size.ws_row, size.ws_col] {
            message.extend(number.saturating_add(more).to_le_bytes());
        }
        // Of several that wait the last one counts.
        if more == 0 && self.messages.len() > 2 {
            self.messages.retain(|m| m.first() != Some(&RESIZE));
        }
        self.messages.push_back(message);
    }

    /// The signal that ends the session, if one has come.
    fn signals(&mut self, signals: &SignalFd) -> io::Result<Option<i32>> {
        while let Some(info) = signals.read_signal()? {
            match i32::try_from(info.ssi_signo).ok().and_then(|n| Signal::try_from(n).ok()) {
                Some(Signal::SIGWINCH) => self.resize(0),
                Some(signal) if relay::FORWARDED.contains(&signal) => return Ok(Some(signal as i32)),
                _ => {}
            }
        }
        Ok(None)
    }

    fn send(&mut self) {
        while let Some(message) = self.messages.front() {
            match rustix::net::send(self.socket, message, SendFlags::NOSIGNAL) {
                Ok(_) => drop(self.messages.pop_front()),
                Err(Errno::AGAIN | Errno::INTR) => return,
                // The monitor is gone; what it has said before may still be there.
                Err(_) => {
                    self.messages.clear();
                    self.stdin = false;
                }
            }
        }
    }

    /// Reads what is typed; whether that ends the session.
    fn read_stdin(&mut self) -> bool {
        let mut bytes = [0; INPUT - 1];
        let typed = match rustix::io::read(io::stdin(), &mut bytes) {
            Err(Errno::AGAIN | Errno::INTR) => return false,
            Ok(0) | Err(_) => {
                self.stdin = false;
                self.messages.push_back(vec![NO_MORE]);
                return false;
            }
            Ok(count) => &bytes[..count],
        };
        let (passed, detached) = match &mut self.keys {
            Some(keys) => keys.feed(typed),
            None => (typed.to_vec(), false),
        };
        if !passed.is_empty() {
            let mut message = vec![STDIN];
            message.extend(passed);
            self.messages.push_back(message);
        }
        if detached {
            self.send();
        }
        detached
    }

    /// Takes what the container has said; `false` at the end.
    fn receive(&mut self) -> io::Result<bool> {
        let mut bytes = vec![0; LARGEST];
        let count = match rustix::net::recv(self.socket, bytes.as_mut_slice(), RecvFlags::empty()) {
            Ok((_, 0)) => return Ok(false),
            Ok((_, count)) => count.min(LARGEST),
            // The monitor has not read everything at its end; what it has said is still there.
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNRESET) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        bytes.truncate(count);
        // Of what else there may be one day nothing is output.
        if matches!(bytes[0], STDOUT | STDERR) && count > 1 {
            self.output = Some(Output { is_error: bytes[0] == STDERR, bytes, done: 1 });
        }
        Ok(true)
    }

    /// Writes a piece of the output: more could make this process wait. `false` when nobody takes it.
    fn write(&mut self) -> io::Result<bool> {
        let Some(output) = &mut self.output else { return Ok(true) };
        let rest = &output.bytes[output.done..];
        let piece = &rest[..rest.len().min(relay::PIECE)];
        let written = match output.is_error {
            true => rustix::io::write(io::stderr(), piece),
            false => rustix::io::write(io::stdout(), piece),
        };
        match written {
            Ok(count) => output.done += count,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::PIPE) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        if output.done == output.bytes.len() {
            self.output = None;
        }
        Ok(true)
    }
}
