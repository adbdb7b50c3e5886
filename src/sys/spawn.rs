//! Becoming another process: what is inherited, what is left behind. For processes of one thread.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};

/// The first descriptor beyond the standard streams.
const FIRST_FREE: u32 = 3;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn set_inherited(fd: RawFd) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }.into()).map(drop)
}

/// Forks. `None` in the child, the child's number in the parent.
///
/// # Errors
/// From the system.
pub(crate) fn fork() -> io::Result<Option<i32>> {
    // SAFETY: the process has one thread, so no lock is held by a thread that the child does not have.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => Ok(None),
        nix::unistd::ForkResult::Parent { child } => Ok(Some(child.as_raw())),
    }
}

/// Ends this process at once: nothing is flushed, no handler runs.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: takes a number.
    unsafe { libc::_exit(code) }
}

/// Goes on as a child of nobody: forks, and the parent ends. Whoever waits for this process waits no longer, and the
/// process of last resort (init) removes the zombie in the end.
///
/// # Errors
/// From the system.
pub(crate) fn leave_parent() -> io::Result<()> {
    match fork()? {
        Some(_) => exit_now(0),
        None => Ok(()),
    }
}

/// Gives this process, and those it forks, a session keyring of their own: the one they came with may hold keys of the
/// machine's administrator. A kernel without keyrings, or that does not allow them, has nothing to be kept from.
///
/// # Errors
/// From the system, such as `EDQUOT`.
pub(crate) fn own_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a number, and the null pointer that stands for a keyring without a name.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, ptr::null::<libc::c_char>()) };
    match check(joined) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Ok(()),
        other => other.map(drop),
    }
}

/// Blocks every signal.
///
/// # Errors
/// From the system.
pub(crate) fn block_signals() -> io::Result<()> {
    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?)
}

/// Gives every signal its default action, those too that the C library keeps for itself and would not touch. Makes system
/// calls only: may be called after the fork of a threaded process.
pub(super) fn reset_actions() {
    /// What the kernel takes at most: a handler, flags, a restorer, a set of signals. All zero is the default action.
    const DEFAULT: [u64; 4] = [0; 4];
    const SET_BYTES: usize = 8;
    for signal in 1..=64 {
        // SAFETY: the action is valid for reading and runs no code of ours; the previous one is not asked for. Fails for
        // the two signals that cannot be changed.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), ptr::null::<u64>(), SET_BYTES) };
    }
}

/// Signals as a program expects them that is started from scratch: none blocked, none ignored.
///
/// # Errors
/// From the system.
pub(crate) fn default_signals() -> io::Result<()> {
    reset_actions();
    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?)
}

/// Becomes the program that `program` is open on, with an empty environment, no descriptor but stdin, stdout, stderr and
/// those of `keep`. Returns only when that failed.
pub(crate) fn become_program(program: BorrowedFd<'_>, arguments: &[CString], keep: &[BorrowedFd<'_>]) -> io::Error {
    let mut list: Vec<*const libc::c_char> = arguments.iter().map(|a| a.as_ptr()).collect();
    list.push(ptr::null());
    let environment = [ptr::null::<libc::c_char>()];
    if let Err(error) = close_on_exec().and_then(|()| keep.iter().try_for_each(|fd| set_inherited(fd.as_raw_fd()))) {
        return error;
    }
    // SAFETY: both lists end with a null, each string with a zero byte; an empty path stands for the descriptor itself.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            list.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

/// Closes every descriptor but stdin, stdout, stderr and those of `keep`, which are marked to be closed on exec. Whatever else
/// of this process holds a descriptor must not be used nor dropped any more: for the child of a fork, which ends by
/// [`exit_now`] or as another program.
///
/// # Errors
/// From the system.
pub(crate) fn close_all_but(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    close_on_exec()?;
    let mut kept: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok()).collect();
    kept.sort_unstable();
    let mut next = FIRST_FREE;
    for last in kept.into_iter().map(Some).chain([None]) {
        let end = last.map_or(u32::MAX, |kept| kept.saturating_sub(1));
        if next <= end {
            close_range(next, end)?;
        }
        next = last.map_or(next, |kept| kept.max(next).saturating_add(1));
    }
    Ok(())
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: plain numbers; nobody uses what they stand for any more, as the caller has promised.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) }).map(drop)
}

/// Marks every descriptor but stdin, stdout and stderr to be closed on exec.
///
/// # Errors
/// From the system.
pub(crate) fn close_on_exec() -> io::Result<()> {
    // SAFETY: plain numbers.
    let done = check(unsafe { libc::syscall(libc::SYS_close_range, FIRST_FREE, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) });
    if done.is_ok() {
        return Ok(());
    }
    // Before Linux 5.11.
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(fd) = entry?.file_name().to_str().and_then(|n| n.parse::<RawFd>().ok()).filter(|fd| *fd > 2) else {
            continue;
        };
        // SAFETY: plain numbers; the directory's own may be closed already, which is fine.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}
