//! What a monitor does to the machine: each effect by its name and place. In builds for tests there is a fault point before
//! and after each (src/sys/effect/fault.rs), where it can fail, or the monitor end.
//!
//! Descriptors are given as numbers; paths end with a zero byte. The result is the kernel's, negative for an error number.

#[cfg(faults)]
use crate::fault;
use crate::rt::{self, SIGKILL, nr};

#[cfg(not(faults))]
mod fault {
    #[inline(always)]
    pub fn before(_: &[u8]) -> isize {
        0
    }

    #[inline(always)]
    pub fn after(_: &[u8]) {}
}

/// # Safety
/// As of [`rt::call`].
#[inline(always)]
unsafe fn effect(point: &[u8], number: usize, args: [usize; 5]) -> isize {
    let refused = fault::before(point);
    if refused < 0 {
        return refused;
    }
    // SAFETY: as promised by the caller.
    let result = unsafe { rt::call(number, args) };
    fault::after(point);
    result
}

/// Opens a file for writing, with further flags.
pub fn create(point: &[u8], (dir, path): (usize, *const u8), flags: usize, mode: usize) -> isize {
    // SAFETY: the path ends with a zero byte.
    unsafe { effect(point, nr::OPENAT, [dir, path as usize, flags, mode, 0]) }
}

pub fn write(point: &[u8], fd: usize, bytes: &[u8]) -> isize {
    // SAFETY: the bytes are valid for reading.
    unsafe { effect(point, nr::WRITE, [fd, bytes.as_ptr() as usize, bytes.len(), 0, 0]) }
}

pub fn truncate(point: &[u8], fd: usize, length: usize) -> isize {
    // SAFETY: takes numbers.
    unsafe { effect(point, nr::FTRUNCATE, [fd, length, 0, 0, 0]) }
}

pub fn sync(point: &[u8], fd: usize) -> isize {
    // SAFETY: takes a number.
    unsafe { effect(point, nr::FSYNC, [fd, 0, 0, 0, 0]) }
}

/// Within one directory.
pub fn rename(point: &[u8], dir: usize, from: *const u8, to: *const u8) -> isize {
    // SAFETY: both paths end with a zero byte.
    unsafe { effect(point, nr::RENAMEAT, [dir, from as usize, dir, to as usize, 0]) }
}

/// Within one directory.
pub fn link(point: &[u8], dir: usize, from: *const u8, to: *const u8) -> isize {
    // SAFETY: both paths end with a zero byte.
    unsafe { effect(point, nr::LINKAT, [dir, from as usize, dir, to as usize, 0]) }
}

pub fn remove(point: &[u8], (dir, path): (usize, *const u8), flags: usize) -> isize {
    // SAFETY: the path ends with a zero byte.
    unsafe { effect(point, nr::UNLINKAT, [dir, path as usize, flags, 0, 0]) }
}

/// Kills a process by its descriptor.
pub fn kill(point: &[u8], pidfd: usize) -> isize {
    // SAFETY: takes numbers; no signal information.
    unsafe { effect(point, nr::PIDFD_SEND_SIGNAL, [pidfd, SIGKILL as usize, 0, 0, 0]) }
}
