//! Filters of system calls.

use std::io;

use nix::libc;

/// One instruction of a filter: classic BPF, as `linux/filter.h` has it.
pub(crate) use nix::libc::sock_filter as Instruction;

/// Filters this thread, and all that it becomes and makes, for good. Without `no_new_privs` it takes CAP_SYS_ADMIN.
///
/// # Errors
/// `EACCES` without either; `EINVAL` for a program that the kernel does not take, or without filters in the kernel.
pub(crate) fn load(program: &[Instruction]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // The kernel reads it, though the type says otherwise.
    let list = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    let set = |flags: libc::c_ulong| {
        // SAFETY: the list and the program it points to are valid for reading during the call; the rest are numbers.
        match unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const list) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // What a filter is for does not need the costly defences against speculation that old kernels turn on with it; runc
    // asks for the same. Before Linux 4.17 there was no such flag.
    match set(libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => set(0),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_none_is_refused() {
        assert!(load(&[]).is_err());
        // It ends without a verdict.
        assert!(load(&[Instruction { code: 0x20, jt: 0, jf: 0, k: 0 }]).is_err());
    }
}
