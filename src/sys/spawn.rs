//! Becoming another process: what is inherited, what is left behind. For processes of one thread.

use std::arch::asm;
use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sched::CloneFlags;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

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

/// The arguments of clone3 (`struct clone_args` of `linux/sched.h`).
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

impl CloneArguments {
    /// For a child that is in a cgroup of version 2 from its first moment.
    fn into_cgroup(directory: BorrowedFd<'_>, flags: u64) -> Self {
        /// `linux/sched.h`; its type in the C library differs from one to the other.
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
        let cgroup = u64::try_from(directory.as_raw_fd()).unwrap_or(u64::MAX);
        Self { flags: flags | CLONE_INTO_CGROUP, exit_signal: libc::SIGCHLD as u64, cgroup, ..Self::default() }
    }
}

/// As [`fork`], into the cgroup of version 2 that the directory is, and into new namespaces. A frozen cgroup holds the child, which
/// is not waited for any longer than `until`.
///
/// # Errors
/// From the system, such as `ENOSYS` and `E2BIG` before Linux 5.7; [`killed_at_birth`]; `TimedOut`.
pub(crate) fn fork_into(
    directory: BorrowedFd<'_>,
    namespaces: CloneFlags,
    until: Option<Instant>,
) -> io::Result<Option<i32>> {
    let (word, sender) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let flags = u64::try_from(namespaces.bits()).map_err(io::Error::other)?;
    let arguments = CloneArguments::into_cgroup(directory, flags);
    // SAFETY: the arguments are valid for reading and of the size given. The child has a copy of all memory, and the process
    // has one thread, so no lock is held by a thread that the child does not have: what the C library's fork does beside this
    // is for processes of several.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArguments>()) };
    let pid = i32::try_from(check(pid)?).map_err(io::Error::other)?;
    if pid == 0 {
        return if rustix::io::write(&sender, b"x") == Ok(1) { Ok(None) } else { exit_now(1) };
    }
    drop(sender);
    if !is_told(&word, until)? {
        // It is not waited for: it dies when it can.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        return Err(io::ErrorKind::TimedOut.into());
    }
    match rustix::io::retry_on_intr(|| rustix::io::read(&word, &mut [0; 1])) {
        Ok(1) => Ok(Some(pid)),
        _ => {
            let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
            Err(killed_at_birth())
        }
    }
}

/// Waits until a pipe has something to say or nobody who could: false when time is over before.
///
/// # Errors
/// From the system.
pub(crate) fn is_told(pipe: impl AsFd, until: Option<Instant>) -> io::Result<bool> {
    let Some(until) = until else { return Ok(true) };
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left.min(Duration::from_hours(1))).map_err(io::Error::other)?;
        match rustix::event::poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&left)) {
            Ok(0) if Instant::now() >= until => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Since `cgroup.kill` was made to catch forks that are under way (Linux 6.14, and versions before it that got that), the kernel
/// takes each process that is begun in a cgroup of version 2 for one of those when something was killed there once, or
/// where its parent is.
pub(super) fn killed_at_birth() -> io::Error {
    io::Error::other("the kernel has killed the process that was begun in the cgroup")
}

/// Starts a process in the cgroup of version 2 that `directory` is. It shares the memory of this one, and runs `child` on
/// `stack` while this thread waits until it has executed a program or ended.
///
/// # Errors
/// From the system. The kernel may kill the child before it has run anything: [`killed_at_birth`].
///
/// # Safety
/// `child` does not return, and may do with what it shares what a child of vfork(2) may; the stack is ample for it.
pub(super) unsafe fn clone_into(
    directory: BorrowedFd<'_>,
    flags: u64,
    stack: &mut [MaybeUninit<u128>],
    child: extern "C" fn(*mut libc::c_void) -> libc::c_int,
    argument: *mut libc::c_void,
) -> io::Result<i32> {
    let shared = (libc::CLONE_VM | libc::CLONE_VFORK) as u64;
    let arguments = CloneArguments {
        stack: stack.as_mut_ptr().addr() as u64,
        stack_size: size_of_val(stack) as u64,
        ..CloneArguments::into_cgroup(directory, flags | shared)
    };
    let result: i64;
    // SAFETY: a system call with arguments that are valid for reading and of the size given. In this process nothing but the
    // registers named is changed. The child begins behind it on the stack given, which is aligned, with the same registers: it
    // calls the function, which does not return.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const arguments,
            in("rsi") size_of::<CloneArguments>(),
            in("r12") child,
            in("r13") argument,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x21",
            "blr x20",
            "brk 1",
            "2:",
            inlateout("x0") &raw const arguments => result,
            in("x1") size_of::<CloneArguments>(),
            in("x8") libc::SYS_clone3,
            in("x20") child,
            in("x21") argument,
        );
    }
    // The kernel gives an error as its negative number.
    let result = i32::try_from(result).map_err(io::Error::other)?;
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) }
}

/// Ends this process at once: nothing is flushed, no handler runs.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: takes a number.
    unsafe { libc::_exit(code) }
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

/// Leaves it to the kernel to remove children that have ended, or takes that back: then they wait to be waited for.
///
/// # Errors
/// From the system.
pub(crate) fn ignore_children(ignore: bool) -> io::Result<()> {
    let action = if ignore { SigHandler::SigIgn } else { SigHandler::SigDfl };
    // SAFETY: neither of the two runs code of ours.
    unsafe { nix::sys::signal::signal(Signal::SIGCHLD, action) }?;
    Ok(())
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
    check(unsafe { libc::syscall(libc::SYS_close_range, FIRST_FREE, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// Whether the kernel can close a range of descriptors: from Linux 5.11 on in both ways, unless a filter of system calls
/// forbids it.
///
/// # Errors
/// Why not.
pub(crate) fn has_close_range() -> io::Result<()> {
    // SAFETY: plain numbers, of which no descriptor has any.
    check(unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) }).map(drop)
}
