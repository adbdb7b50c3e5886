//! This program, so that no container can change it. A container's first process is this program for a moment, and an
//! image can have itself executed through `/proc/self/exe`: with the file open it would wait until the machine's own
//! program is not in use and write to it (CVE-2019-5736). On a read-only mount that is part of no namespace, nobody can.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::statvfs::{FsFlags, statvfs};
use rustix::fs::CWD;
use rustix::mount::OpenTreeFlags;

/// Set for a process that was started again by [`restart`], so that it does not do it for ever.
const RESTARTED: &str = "PODWRIGHT_SEALED";

/// A read-only view of one file, to be executed by [`path`].
///
/// # Errors
/// From the system; `ENOSYS` before Linux 5.12.
pub(crate) fn view(file: &Path) -> io::Result<OwnedFd> {
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

/// The path by which this process, and one that it forks, executes a view.
pub(crate) fn path(view: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", view.as_raw_fd()))
}

/// Starts this process again from a read-only view of its program, unless that is what it runs from. Returns when it is,
/// or when the kernel is too old for it.
///
/// # Errors
/// When the program cannot be executed again.
pub(crate) fn restart() -> io::Result<()> {
    let own = Path::new("/proc/self/exe");
    let sealed = statvfs(own).is_ok_and(|s| s.flags().contains(FsFlags::ST_RDONLY));
    if sealed || std::env::var_os(RESTARTED).is_some() {
        return Ok(());
    }
    let Ok(view) = view(own) else { return Ok(()) };
    let arguments = std::env::args_os().map(|a| CString::new(a.into_vec())).collect::<Result<Vec<_>, _>>()?;
    let variables = std::env::vars_os().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    let marked = variables.chain([format!("{RESTARTED}=1").into_bytes()]);
    let environment = marked.map(CString::new).collect::<Result<Vec<_>, _>>()?;
    let program = CString::new(path(&view).into_os_string().into_vec())?;
    match nix::unistd::execve(&program, &arguments, &environment)? {}
}
