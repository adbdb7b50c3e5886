//! Whether the machine's clock is kept right.

use nix::libc;

/// Whether something keeps the clock right, as the kernel has been told (adjtimex(2)); `None` when it does not say.
pub fn is_synchronised() -> Option<bool> {
    // SAFETY: all of its fields are numbers.
    let mut asked: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: it is valid for writing, and without modes nothing is set.
    match unsafe { libc::adjtimex(&raw mut asked) } {
        libc::TIME_ERROR => Some(false),
        state if state >= 0 => Some(true),
        _ => None,
    }
}
