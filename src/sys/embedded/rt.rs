//! What the embedded programs share instead of a C library: the entry point, system calls, the memory functions that the
//! compiler calls. The numbers are the kernel's; they differ between the two architectures only where they are given twice.

use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
pub mod nr {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const LSEEK: usize = 8;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const IOCTL: usize = 16;
    pub const WRITEV: usize = 20;
    pub const SHUTDOWN: usize = 48;
    pub const WAIT4: usize = 61;
    pub const FLOCK: usize = 73;
    pub const FSYNC: usize = 74;
    pub const FTRUNCATE: usize = 77;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const PRCTL: usize = 157;
    pub const CLOCK_GETTIME: usize = 228;
    pub const CLOCK_NANOSLEEP: usize = 230;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
    pub const UNLINKAT: usize = 263;
    pub const RENAMEAT: usize = 264;
    pub const LINKAT: usize = 265;
    pub const PPOLL: usize = 271;
    pub const ACCEPT4: usize = 288;
    pub const SIGNALFD4: usize = 289;
    pub const PIDFD_SEND_SIGNAL: usize = 424;
    pub const PIDFD_OPEN: usize = 434;
}

#[cfg(target_arch = "aarch64")]
pub mod nr {
    pub const IOCTL: usize = 29;
    pub const FLOCK: usize = 32;
    pub const UNLINKAT: usize = 35;
    pub const LINKAT: usize = 37;
    pub const RENAMEAT: usize = 38;
    pub const FTRUNCATE: usize = 46;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const LSEEK: usize = 62;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const WRITEV: usize = 66;
    pub const PPOLL: usize = 73;
    pub const SIGNALFD4: usize = 74;
    pub const FSYNC: usize = 82;
    pub const EXIT_GROUP: usize = 94;
    pub const CLOCK_GETTIME: usize = 113;
    pub const CLOCK_NANOSLEEP: usize = 115;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const PRCTL: usize = 167;
    pub const SHUTDOWN: usize = 210;
    pub const ACCEPT4: usize = 242;
    pub const WAIT4: usize = 260;
    pub const PIDFD_SEND_SIGNAL: usize = 424;
    pub const PIDFD_OPEN: usize = 434;
}

pub const SIGINT: i32 = 2;
pub const SIGKILL: i32 = 9;
pub const SIGTERM: i32 = 15;
pub const SIGCHLD: i32 = 17;

pub const WNOHANG: usize = 1;
/// Children of every kind, threads cloned in unusual ways too.
pub const WALL: usize = 0x4000_0000;
const SIG_SETMASK: usize = 2;
const PR_SET_NAME: usize = 15;

/// A signal in the kernel's signal sets.
pub const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    ".type _start, @function",
    "_start:",
    "xor %ebp, %ebp",
    "mov %rsp, %rdi",
    "and $-16, %rsp",
    "call {entry}",
    "ud2",
    entry = sym super::entry,
    options(att_syntax)
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    ".type _start, %function",
    "_start:",
    "mov x29, xzr",
    "mov x0, sp",
    "bl {entry}",
    "brk #1",
    entry = sym super::entry
);

/// A system call: its result, negative for an error number.
///
/// # Safety
/// The arguments are what the call expects; memory that it reads or writes is valid.
#[cfg(target_arch = "x86_64")]
pub unsafe fn call(number: usize, args: [usize; 5]) -> isize {
    let result: isize;
    // SAFETY: as promised by the caller; the kernel changes the three registers named and no other.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    result
}

/// A system call: its result, negative for an error number.
///
/// # Safety
/// The arguments are what the call expects; memory that it reads or writes is valid.
#[cfg(target_arch = "aarch64")]
pub unsafe fn call(number: usize, args: [usize; 5]) -> isize {
    let result: isize;
    // SAFETY: as promised by the caller; the kernel changes the result register and no other.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") args[0] => result,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") args[3],
            in("x4") args[4],
            options(nostack)
        );
    }
    result
}

/// Ends the process.
pub fn exit(code: usize) -> ! {
    loop {
        // SAFETY: takes a number.
        unsafe { call(nr::EXIT_GROUP, [code, 0, 0, 0, 0]) };
    }
}

/// Blocks every signal that can be blocked: none of them ends this process.
pub fn block_signals() {
    let all = !0u64;
    // SAFETY: the set is valid and eight bytes long.
    unsafe { call(nr::RT_SIGPROCMASK, [SIG_SETMASK, (&raw const all) as usize, 0, 8, 0]) };
}

/// What `ps` calls this process. `name` ends with a zero byte.
pub fn set_name(name: &'static [u8; 16]) {
    // SAFETY: the name is valid and ends with a zero byte.
    unsafe { call(nr::PRCTL, [PR_SET_NAME, name.as_ptr() as usize, 0, 0, 0]) };
}

/// Removes one zombie: its number and wait status, or `None` when there is no zombie now.
pub fn reap() -> Option<(i32, i32)> {
    let mut status = 0i32;
    // SAFETY: the status is valid for writing.
    let pid = unsafe { call(nr::WAIT4, [usize::MAX, (&raw mut status) as usize, WNOHANG | WALL, 0, 0]) };
    (pid > 0).then_some((pid as i32, status))
}

/// # Safety
/// As of C's `memcpy`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: as promised by the caller. Assembler, because the compiler makes a call of memcpy of any plain loop.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    for i in 0..count {
        // SAFETY: as promised by the caller; volatile, because the compiler makes a call of memcpy of any plain loop.
        unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
    }
    to
}

/// # Safety
/// As of C's `memmove`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= count {
        // SAFETY: as promised by the caller; going forward reads each byte before it is overwritten.
        return unsafe { memcpy(to, from, count) };
    }
    for i in (0..count).rev() {
        // SAFETY: as promised by the caller; going backward reads each byte before it is overwritten.
        unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
    }
    to
}

/// # Safety
/// As of C's `memset`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    for i in 0..count {
        // SAFETY: as promised by the caller.
        unsafe { to.add(i).write_volatile(value as u8) };
    }
    to
}

/// # Safety
/// As of C's `memcmp`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    for i in 0..count {
        // SAFETY: as promised by the caller.
        let (a, b) = unsafe { (a.add(i).read_volatile(), b.add(i).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// # Safety
/// As of C's `bcmp`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: as promised by the caller.
    unsafe { memcmp(a, b, count) }
}

/// # Safety
/// As of C's `strlen`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: as promised by the caller; volatile, because the compiler makes a call of strlen of any plain loop.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}

/// Named by the core library's unwind tables; nothing unwinds here.
#[unsafe(no_mangle)]
pub extern "C" fn rust_eh_personality() {}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    exit(70)
}
