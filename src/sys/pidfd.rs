//! Processes by descriptor: a pidfd never names another process that got the same number later.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{effect, process};

fn pid(raw: i32) -> io::Result<Pid> {
    // 0 and negative numbers stand for groups elsewhere; nothing of that here.
    (raw > 0).then(|| Pid::from_raw(raw)).flatten().ok_or_else(|| rustix::io::Errno::SRCH.into())
}

/// Opens a process. The descriptor is closed on exec.
///
/// # Errors
/// `ESRCH` when there is none; whatever else the system says.
pub fn open(raw: i32) -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_open(pid(raw)?, PidfdFlags::empty())?)
}

/// Opens a process if it is the one that started at `start_ticks` (see [`process::start_ticks`]).
///
/// # Errors
/// `ESRCH` when it is gone, a zombie, or another one has its number; whatever else the system says.
pub fn open_same(raw: i32, start_ticks: u64) -> io::Result<OwnedFd> {
    let fd = open(raw)?;
    // Asked after the open: if the number still belongs to that process now, it did when it was opened.
    match process::start_ticks(raw) {
        Some(ticks) if ticks == start_ticks => Ok(fd),
        _ => Err(rustix::io::Errno::SRCH.into()),
    }
}

/// Sends a signal by number, a real-time one (34 to 64) too.
///
/// # Errors
/// `ESRCH` when the process is gone; whatever else the system says.
pub fn send(fd: impl AsFd, signal: i32) -> io::Result<()> {
    effect::effect("kill", "a process", || send_now(fd, signal))
}

fn send_now(fd: impl AsFd, signal: i32) -> io::Result<()> {
    if let Some(signal) = Signal::from_named_raw(signal) {
        return Ok(rustix::process::pidfd_send_signal(fd, signal)?);
    }
    if !(34..=64).contains(&signal) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // rustix keeps to the signals with a name.
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open during the call, and no memory is passed.
    let sent = unsafe {
        nix::libc::syscall(nix::libc::SYS_pidfd_send_signal, fd, signal, std::ptr::null::<nix::libc::siginfo_t>(), 0)
    };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a signal to a process by its number. Prefer [`open_same`] and [`send`] where the start time is known.
///
/// # Errors
/// As [`open`] and [`send`].
pub fn kill(raw: i32, signal: i32) -> io::Result<()> {
    send(open(raw)?, signal)
}

/// Whether the process has ended (it may still be a zombie).
///
/// # Errors
/// From the system.
pub fn exited(fd: impl AsFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        match rustix::event::poll(&mut fds, Some(&now)) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other? > 0),
        }
    }
}

/// Resolves when the process has ended. Needs a tokio runtime. Cancel-safe.
///
/// # Errors
/// From the system.
pub async fn wait_exited(fd: &OwnedFd) -> io::Result<()> {
    let fd = fd.try_clone()?;
    // SAFETY: the descriptor is open, and owned by `watched` until that has deregistered it.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? };
    let _ready = watched.readable().await?;
    Ok(())
}

/// Removes the zombie of an ended child; does nothing when the process lives or is no child of ours. Never blocks.
///
/// # Errors
/// From the system.
pub fn reap(fd: impl AsFd) -> io::Result<()> {
    match rustix::process::waitid(WaitId::PidFd(fd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(_) | Err(rustix::io::Errno::CHILD) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_is_watched_killed_and_reaped() {
        #[allow(clippy::zombie_processes)]
        let child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let number = i32::try_from(child.id()).unwrap();
        let ticks = process::start_ticks(number).unwrap();
        assert!(open_same(number, ticks + 1).is_err());
        let fd = open_same(number, ticks).unwrap();
        assert!(!exited(&fd).unwrap());
        reap(&fd).unwrap();
        for none in [0, -1, 32, 33, 65, i32::MAX] {
            assert!(send(&fd, none).is_err(), "{none}");
        }
        // Whoever does not handle a real-time signal dies of it.
        send(&fd, 37).unwrap();
        wait_exited(&fd).await.unwrap();
        assert!(exited(&fd).unwrap());
        assert!(open_same(number, ticks).is_err(), "a zombie is nobody");
        reap(&fd).unwrap();
        reap(&fd).unwrap();
        assert!(send(&fd, 9).is_err());
        assert!(kill(0, 9).is_err() && kill(-1, 9).is_err(), "never a group");
    }
}
