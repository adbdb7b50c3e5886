//! The two tiny programs that are part of this one: compiled by the build script, started from sealed memory. Nothing has
//! to be installed for them, no mount option is in the way, and no container that gets hold of `/proc/<pid>/exe` can
//! change the file for the next one.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{MemfdFlags, SealFlags};

const PAUSE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));
const MONITOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/monitor"));

/// A copy in memory that nobody can change, to be executed. `program` gives the bytes.
pub(super) fn sealed(name: &str, mut program: impl Read) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = match rustix::fs::memfd_create(name, flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 there was no such flag, and every memory file could be executed.
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(name, flags)?,
        other => other?,
    };
    let mut file = File::from(fd);
    io::copy(&mut program, &mut file)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file.into())
}

/// One for the whole process: all who run it share its pages.
fn shared(cell: &'static OnceLock<OwnedFd>, name: &str, program: &[u8]) -> io::Result<BorrowedFd<'static>> {
    if let Some(fd) = cell.get() {
        return Ok(fd.as_fd());
    }
    let fd = sealed(name, program)?;
    Ok(cell.get_or_init(|| fd).as_fd())
}

/// `/pause`, to be executed by descriptor.
///
/// # Errors
/// From the system, such as `EACCES` when `vm.memfd_noexec` forbids it.
pub(crate) fn pause() -> io::Result<BorrowedFd<'static>> {
    static PROGRAM: OnceLock<OwnedFd> = OnceLock::new();
    shared(&PROGRAM, "pause", PAUSE)
}

/// The monitor of a container, to be executed by descriptor.
///
/// # Errors
/// As [`pause`].
pub(crate) fn monitor() -> io::Result<BorrowedFd<'static>> {
    static PROGRAM: OnceLock<OwnedFd> = OnceLock::new();
    shared(&PROGRAM, "monitor", MONITOR)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// An ELF header's field of two bytes.
    fn half(program: &[u8], at: usize) -> u16 {
        u16::from_le_bytes([program[at], program[at + 1]])
    }

    #[test]
    fn the_programs_are_static_at_a_fixed_address_and_small() {
        // Fault points take room.
        let monitor = if cfg!(debug_assertions) { 20 << 10 } else { 16 << 10 };
        for (program, limit) in [(PAUSE, 2 << 10), (MONITOR, monitor)] {
            assert_eq!(&program[..4], b"\x7fELF");
            assert_eq!(half(program, 16), 2, "ET_EXEC: no relocation, so no private pages for it");
            let (offset, size, count) = (half(program, 32), half(program, 54), half(program, 56));
            for i in 0..count {
                let at = usize::from(offset + i * size);
                let kind = u32::from_le_bytes(program[at..at + 4].try_into().unwrap());
                assert!(![2, 3].contains(&kind), "PT_DYNAMIC or PT_INTERP: it needs a library");
            }
            assert!(program.len() <= limit, "{} bytes", program.len());
        }
    }

    #[test]
    fn a_program_cannot_be_changed() {
        let fd = pause().unwrap();
        assert_eq!(rustix::io::write(fd, b"x"), Err(rustix::io::Errno::PERM));
        assert!(rustix::fs::ftruncate(fd, 0).is_err());
        let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        let mut reopened = std::fs::OpenOptions::new().write(true).open(again).unwrap();
        assert!(reopened.write_all(b"x").is_err());
    }
}
