//! This program, so that no container can change it. A container's first process is this program for a moment, and an
//! image can have itself executed through `/proc/self/exe`: with the file open it would wait until the machine's own
//! program is not in use and write to it (CVE-2019-5736). On a read-only mount that is part of no namespace, nobody can,
//! nor in sealed memory.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::statvfs::{FsFlags, statvfs};
use rustix::fs::{CWD, SealFlags};
use rustix::mount::OpenTreeFlags;

use super::embedded;

/// Set for a process that was started again by [`restart`], so that it does not do it for ever.
const RESTARTED: &str = "PODWRIGHT_SEALED";

/// A program that nobody can change through it, to be executed by [`path`]: a view of the file, or a copy in memory where
/// the system makes no such views, such as before Linux 5.12.
///
/// # Errors
/// From the system, when there is neither.
pub(crate) fn program(file: &Path) -> io::Result<OwnedFd> {
    view(file).or_else(|_| copy(file))
}

fn copy(file: &Path) -> io::Result<OwnedFd> {
    embedded::sealed("podwright", File::open(file)?)
}

/// A read-only view of one file.
fn view(file: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let fd = rustix::mount::open_tree(CWD, file, flags)?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path ends with a zero byte, the attributes are valid for reading and of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) }
}

/// The path by which this process, and one that it forks, executes what [`program`] gave.
pub(crate) fn path(program: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", program.as_raw_fd()))
}

/// Whether nobody can change a program by having it open.
fn is_sealed(file: &Path) -> bool {
    let in_memory = || rustix::fs::fcntl_get_seals(File::open(file)?).map_err(io::Error::from);
    statvfs(file).is_ok_and(|s| s.flags().contains(FsFlags::ST_RDONLY))
        || in_memory().is_ok_and(|seals| seals.contains(SealFlags::WRITE))
}

/// Starts this process again from a program that cannot be changed, unless that is what it runs from.
///
/// # Errors
/// When there is no such program, or it cannot be executed.
pub(crate) fn restart() -> io::Result<()> {
    let own = Path::new("/proc/self/exe");
    if is_sealed(own) {
        return Ok(());
    }
    if std::env::var_os(RESTARTED).is_some() {
        return Err(io::Error::other("this program cannot be kept from being changed by a container"));
    }
    let sealed = program(own)?;
    let arguments = std::env::args_os().map(|a| CString::new(a.into_vec())).collect::<Result<Vec<_>, _>>()?;
    let variables = std::env::vars_os().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    let marked = variables.chain([format!("{RESTARTED}=1").into_bytes()]);
    let environment = marked.map(CString::new).collect::<Result<Vec<_>, _>>()?;
    let program = CString::new(path(&sealed).into_os_string().into_vec())?;
    match nix::unistd::execve(&program, &arguments, &environment)? {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::Command;

    #[test]
    fn a_copy_runs_and_cannot_be_changed() {
        let fd = copy(Path::new("/bin/echo")).unwrap();
        assert!(is_sealed(&path(&fd)));
        let output = Command::new(path(&fd)).arg("hello").output().unwrap();
        assert_eq!(output.stdout, b"hello\n");
        let mut reopened = File::options().write(true).open(path(&fd)).unwrap();
        assert!(reopened.write_all(b"x").is_err());
    }

    #[test]
    fn a_file_is_no_sealed_program_and_a_missing_one_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(!is_sealed(file.path()));
        assert!(program(Path::new("/nonexistent/program")).is_err());
    }
}
