//! Between the caller's terminal and a command in a container: streams, window size, signals, and the exit code.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::pipe::PipeFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios};

use super::{nodes, rootfs};
use crate::sys::effect;

/// The inode number, and the device number, of `ptmx` in a devpts.
const PTMX_INODE: u64 = 2;
const PTMX_DEVICE: (u32, u32) = (5, 2);
/// What a terminal takes for the end of its input, at the start of a line: Ctrl-D.
const END_OF_INPUT: &[u8] = b"\x04";
const BUFFER: usize = 16 << 10;
/// What is read at once to be forgotten, as much as a pipe holds, and how long nothing is read after that.
const FORGOTTEN: usize = 64 << 10;
const PAUSE: Duration = Duration::from_millis(1);
/// What a pipe takes at once when there is any room: more could make this process wait for the reader, deaf to signals.
pub(super) const PIECE: usize = 4096;
/// Bytes that are still read from each stream after the command's end, if no more wait there.
const DRAINED: usize = 4 << 20;

/// Signals that are the command's business when they come here.
pub(super) const FORWARDED: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGHUP];

/// The caller's side of the command's streams.
pub(super) enum Stdio {
    /// The terminal's master side comes through this socket.
    Terminal { receiver: OwnedFd, stdin: bool },
    /// Never the caller's own files: whoever has a descriptor can open it again through `/proc`, for writing and reading.
    Pipes { stdin: Option<OwnedFd>, out: OwnedFd, err: OwnedFd },
}

/// The command's side.
pub(super) enum Ends {
    Terminal {
        sender: OwnedFd,
    },
    Pipes {
        /// Without one there is nothing to read.
        stdin: Option<OwnedFd>,
        out: OwnedFd,
        err: OwnedFd,
    },
}

impl Stdio {
    pub(super) fn make(stdin: bool, tty: bool) -> io::Result<(Self, Ends)> {
        if tty {
            let flags = SocketFlags::CLOEXEC;
            let (receiver, sender) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            return Ok((Self::Terminal { receiver, stdin }, Ends::Terminal { sender }));
        }
        let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
        let (stdin_end, input) = if stdin { Some(pipe()?) } else { None }.unzip();
        let (out, out_end) = pipe()?;
        let (err, err_end) = pipe()?;
        for own in input.iter().chain([&out, &err]) {
            rustix::fs::fcntl_setfl(own, OFlags::NONBLOCK)?;
        }
        Ok((Self::Pipes { stdin: input, out, err }, Ends::Pipes { stdin: stdin_end, out: out_end, err: err_end }))
    }
}

impl Ends {
    /// What is open of them.
    pub(super) fn open(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Terminal { sender } => vec![sender.as_fd()],
            Self::Pipes { stdin, out, err } => stdin.iter().chain([out, err]).map(AsFd::as_fd).collect(),
        }
    }

    /// Makes pipes a user's of the machine: it may open its own streams again, `/dev/stdout`.
    pub(super) fn give(&self, uid: u32) -> io::Result<()> {
        let Self::Pipes { stdin, out, err } = self else { return Ok(()) };
        stdin.iter().chain([out, err]).try_for_each(|pipe| effect::change_owner(pipe, uid, None))
    }

    /// Makes these the standard streams of this process, which is in the container already, whose user is `uid` there. A
    /// terminal waits to be taken by the leader of a session.
    pub(super) fn install(self, uid: u32) -> io::Result<()> {
        match self {
            Self::Terminal { sender } => {
                let (master, slave) = open_terminal()?;
                // Before the command runs, which asks for it at once; these are the caller's streams still.
                copy_size(&master);
                // The user may open its own terminal again.
                effect::change_owner(&slave, uid, None)?;
                send(&sender, &[master.as_fd()])?;
                nix::unistd::dup2_stdin(&slave)?;
                nix::unistd::dup2_stdout(&slave)?;
                nix::unistd::dup2_stderr(&slave)?;
            }
            Self::Pipes { stdin, out, err } => {
                match stdin {
                    Some(stdin) => nix::unistd::dup2_stdin(&stdin)?,
                    // The container's: it may change what it has open, and the machine's is everybody's.
                    None => nix::unistd::dup2_stdin(nodes::open_null(&rootfs::open_root(Path::new("/"))?)?)?,
                }
                nix::unistd::dup2_stdout(&out)?;
                nix::unistd::dup2_stderr(&err)?;
            }
        }
        Ok(())
    }
}

/// A terminal of the container's own devpts. What is at the path is the container's work: it is looked at before use.
pub(super) fn open_terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let master = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&master)?;
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if stat.st_ino != PTMX_INODE || device != PTMX_DEVICE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "/dev/pts/ptmx of the container makes no terminals"));
    }
    rustix::pty::unlockpt(&master)?;
    let slave = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, slave)?;
    Ok((master, slave))
}

/// Makes a terminal as large as the caller's.
fn copy_size(master: &OwnedFd) {
    let size = rustix::termios::tcgetwinsize(io::stdout()).or_else(|_| rustix::termios::tcgetwinsize(io::stdin()));
    if let Ok(size) = size {
        let _ = rustix::termios::tcsetwinsize(master, size);
    }
}

/// How many descriptors go at once: more than a machine has hierarchies of cgroups.
const MOST: usize = 64;

/// Sends descriptors, [`MOST`] at most.
pub(super) fn send(socket: impl AsFd, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::net::sendmsg(socket, &[io::IoSlice::new(b"t")], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives descriptors; none when the other side has gone without sending any. Of a stream nothing is taken that was sent after
/// them: the kernel does not read beyond descriptors.
pub(super) fn receive(socket: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 64];
    let mut bytes = [io::IoSliceMut::new(&mut bytes)];
    let received = rustix::net::recvmsg(socket, &mut bytes, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not all descriptors that were passed could be taken"));
    }
    let messages = ancillary.drain().filter_map(|m| match m {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    Ok(messages.flatten().collect())
}

/// Signals as a descriptor, from before the fork on: none is missed.
pub(super) fn block_signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in FORWARDED.into_iter().chain([Signal::SIGCHLD, Signal::SIGWINCH]) {
        set.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// The caller's terminal in raw mode, until this is dropped.
pub(super) struct Raw {
    before: Termios,
}

impl Raw {
    pub(super) fn enter() -> Option<Self> {
        let before = rustix::termios::tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(io::stdin(), OptionalActions::Drain, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// One direction. Holds at most one buffer: what cannot be written yet is not followed by more.
struct Flow {
    from: OwnedFd,
    to: OwnedFd,
    held: Vec<u8>,
    open: bool,
    /// Towards the command. The caller's stdin may block: it is read only when there is something.
    inward: bool,
    /// Written once when the input has ended.
    farewell: &'static [u8],
    /// How many bytes more are passed on; `None` for all. The rest is read and forgotten.
    room: Option<usize>,
}

impl Flow {
    fn out(from: impl AsFd, to: impl AsFd) -> io::Result<Self> {
        let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned();
        let (from, to) = (own(from.as_fd())?, own(to.as_fd())?);
        Ok(Self { from, to, held: Vec::new(), open: true, inward: false, farewell: b"", room: None })
    }

    fn inward(to: impl AsFd, farewell: &'static [u8]) -> io::Result<Self> {
        Ok(Self { inward: true, farewell, ..Self::out(io::stdin(), to)? })
    }

    fn poll(&self) -> PollFd<'_> {
        match self.held.is_empty() {
            false => PollFd::new(&self.to, PollFlags::OUT),
            true => PollFd::new(&self.from, PollFlags::IN),
        }
    }

    fn is_done(&self) -> bool {
        !self.open && self.held.is_empty()
    }

    /// Does what was waited for: reads, or writes. Never a write right after a read, there may be no room.
    fn step(&mut self) {
        match self.held.is_empty() {
            true => {
                self.read();
            }
            false => self.write(),
        }
    }

    /// Whether there was an answer, be it the end.
    fn read(&mut self) -> bool {
        let mut bytes = vec![0; if self.room == Some(0) { FORGOTTEN } else { BUFFER }];
        match rustix::io::read(&self.from, &mut bytes) {
            Ok(0) => self.end(),
            Ok(count) => {
                let taken = count.min(self.room.unwrap_or(count));
                self.room = self.room.map(|room| room - taken);
                self.held.extend_from_slice(&bytes[..taken]);
                if taken == 0 {
                    // Whatever prints without end is no reason to be busy.
                    std::thread::sleep(PAUSE);
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => return false,
            // A terminal whose other side is closed.
            Err(_) => self.end(),
        }
        true
    }

    fn write(&mut self) {
        if self.held.is_empty() {
            return;
        }
        match rustix::io::write(&self.to, &self.held[..self.held.len().min(PIECE)]) {
            Ok(count) => drop(self.held.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Nobody takes it any more.
            Err(_) => {
                self.held.clear();
                self.open = false;
            }
        }
    }

    fn end(&mut self) {
        self.open = false;
        self.held.extend_from_slice(self.farewell);
    }
}

/// What a command is given by whoever does not wait for it for ever.
pub(super) struct Leash {
    /// Its other side is closed by a caller that does not wait any more.
    pub(super) caller: OwnedFd,
    pub(super) until: Instant,
    /// How many bytes of each stream the caller takes.
    pub(super) output_limit: usize,
}

/// Why a command is served no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has ended with this exit code.
    Code(i32),
    /// It runs on, past its time.
    Late,
    /// It runs on, and nobody wants to know.
    Unwanted,
}

/// Serves a command until it has ended, or as long as it may take.
pub(super) fn run(child: i32, stdio: Stdio, signals: &SignalFd, leash: Option<&Leash>) -> io::Result<End> {
    let mut session = Session { child: Pid::from_raw(child), terminal: None, flows: Vec::new() };
    let mut raw = None;
    match stdio {
        Stdio::Terminal { receiver, stdin } => {
            // Without a terminal the command has ended already, and said why.
            if let Some(master) = receive(&receiver)?.pop() {
                raw = (stdin && io::stdin().is_terminal()).then(Raw::enter).flatten();
                session.flows.push(Flow::out(&master, io::stdout())?);
                if stdin {
                    session.flows.push(Flow::inward(&master, END_OF_INPUT)?);
                }
                session.terminal = Some(master);
                session.copy_size();
            }
        }
        Stdio::Pipes { stdin, out, err } => {
            let flows = [
                Some(Flow::out(out, io::stdout())),
                Some(Flow::out(err, io::stderr())),
                stdin.map(|pipe| Flow::inward(pipe, b"")),
            ];
            session.flows = flows.into_iter().flatten().collect::<io::Result<_>>()?;
            let room = leash.map(|leash| leash.output_limit);
            session.flows.iter_mut().filter(|flow| !flow.inward).for_each(|flow| flow.room = room);
        }
    }
    let end = session.serve(signals, leash);
    drop(raw);
    end
}

/// How long until then, for `poll`; `None` for ever.
fn left(until: Option<Instant>) -> Option<Timespec> {
    let left = until?.saturating_duration_since(Instant::now());
    Some(Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() })
}

struct Session {
    child: Pid,
    terminal: Option<OwnedFd>,
    flows: Vec<Flow>,
}

impl Session {
    /// The command's terminal is as large as the caller's.
    fn copy_size(&self) {
        self.terminal.iter().for_each(copy_size);
    }

    fn serve(&mut self, signals: &SignalFd, leash: Option<&Leash>) -> io::Result<End> {
        loop {
            let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
            fds.extend(self.flows.iter().map(Flow::poll));
            // Nothing is asked for: that the other side is closed is told all the same.
            fds.extend(leash.iter().map(|leash| PollFd::new(&leash.caller, PollFlags::empty())));
            match rustix::event::poll(&mut fds, left(leash.map(|leash| leash.until)).as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready[0]
                && let Some(code) = self.signals(signals)?
            {
                self.drain(signals)?;
                return Ok(End::Code(code));
            }
            if let Some(leash) = leash {
                if ready.last() == Some(&true) {
                    return Ok(End::Unwanted);
                }
                if Instant::now() >= leash.until {
                    return Ok(End::Late);
                }
            }
            for (flow, _) in self.flows.iter_mut().zip(&ready[1..]).filter(|(_, ready)| **ready) {
                flow.step();
            }
            // Closes what has ended: the command meets the end of its input.
            self.flows.retain(|flow| !flow.is_done());
        }
    }

    /// Passes on what was written before the end, however slowly it is taken. A process that the command leaves behind may
    /// hold the streams: it is not waited for, nor are its words read for ever. A signal ends this early.
    fn drain(&mut self, signals: &SignalFd) -> io::Result<()> {
        self.flows.retain(|flow| !flow.inward);
        let waiting = |flow: &Flow| rustix::io::ioctl_fionread(&flow.from).ok().and_then(|n| usize::try_from(n).ok());
        let mut left: Vec<usize> = self.flows.iter().map(|f| waiting(f).unwrap_or(0).max(DRAINED)).collect();
        loop {
            for (flow, left) in self.flows.iter_mut().zip(&mut left) {
                if flow.held.is_empty() && flow.open {
                    flow.open = *left > 0 && flow.read();
                    *left = left.saturating_sub(flow.held.len());
                }
            }
            let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
            let full = self.flows.iter().filter(|f| !f.held.is_empty());
            fds.extend(full.map(|f| PollFd::new(&f.to, PollFlags::OUT)));
            if fds.len() == 1 {
                return Ok(());
            }
            match rustix::event::poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if !fds[0].revents().is_empty() && ends(signals)? {
                return Ok(());
            }
            let ready: Vec<bool> = fds[1..].iter().map(|fd| !fd.revents().is_empty()).collect();
            let full = self.flows.iter_mut().filter(|f| !f.held.is_empty());
            full.zip(ready).filter(|(_, ready)| *ready).for_each(|(flow, _)| flow.write());
        }
    }

    /// Handles what has come; the exit code once the command has ended.
    fn signals(&self, signals: &SignalFd) -> io::Result<Option<i32>> {
        while let Some(info) = signals.read_signal()? {
            match i32::try_from(info.ssi_signo).ok().and_then(|n| Signal::try_from(n).ok()) {
                Some(Signal::SIGWINCH) => self.copy_size(),
                // The command leads a process group, which gets what a terminal's foreground would get.
                Some(signal) if FORWARDED.contains(&signal) => {
                    let _ = kill(Pid::from_raw(-self.child.as_raw()), signal);
                }
                _ => {}
            }
        }
        Ok(match waitpid(self.child, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::Exited(_, code) => Some(code),
            WaitStatus::Signaled(_, signal, _) => Some(128 + signal as i32),
            _ => None,
        })
    }
}

/// Whether one of the signals that have come is meant to end something.
fn ends(signals: &SignalFd) -> io::Result<bool> {
    while let Some(info) = signals.read_signal()? {
        let signal = i32::try_from(info.ssi_signo).ok().and_then(|n| Signal::try_from(n).ok());
        if signal.is_some_and(|s| FORWARDED.contains(&s)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn what_has_no_room_is_read_and_forgotten() {
        let (from, mut printed) = io::pipe().unwrap();
        let (mut passed, to) = io::pipe().unwrap();
        let mut flow = Flow { room: Some(5), ..Flow::out(&from, &to).unwrap() };
        drop(to);
        for text in ["abc", "defgh", "ijk"] {
            printed.write_all(text.as_bytes()).unwrap();
            flow.step();
            if !flow.held.is_empty() {
                flow.step();
            }
            assert_eq!(rustix::io::ioctl_fionread(&from).unwrap(), 0, "whoever prints does not wait");
        }
        drop(printed);
        flow.step();
        assert!(flow.is_done());
        drop(flow);
        let mut text = String::new();
        passed.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcde");
    }
}
