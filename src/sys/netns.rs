//! Network namespaces: open sockets in another one without any thread of the program ever staying there.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sched::CloneFlags;
use rustix::thread::LinkNameSpaceType;

use super::infra::{Infra, OtherUser};
use super::{effect, users};

/// A handle on a network namespace, which keeps it alive.
#[derive(Debug)]
pub struct NetNs(File);

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl NetNs {
    /// The namespace a process is in.
    ///
    /// # Errors
    /// `NotFound` when there is no such process; from the system.
    pub fn of_process(pid: i32) -> io::Result<Self> {
        Ok(Self(File::open(format!("/proc/{pid}/ns/net"))?))
    }

    /// A new one, which nobody is in.
    ///
    /// # Errors
    /// From the system.
    pub fn make() -> io::Result<Self> {
        on_thread(|| {
            effect::own_namespaces("net", CloneFlags::CLONE_NEWNET)?;
            Self::own()
        })?
    }

    /// The namespace the calling thread is in.
    ///
    /// # Errors
    /// From the system.
    pub fn own() -> io::Result<Self> {
        Ok(Self(File::open("/proc/thread-self/ns/net")?))
    }

    /// Whether both handles are on one namespace.
    ///
    /// # Errors
    /// From the system.
    pub fn same(&self, other: &NetNs) -> io::Result<bool> {
        let (a, b) = (rustix::fs::fstat(&self.0)?, rustix::fs::fstat(&other.0)?);
        Ok((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
    }

    /// Takes the lock of the namespace, held until the handle is dropped. The namespace itself is the lock file: whoever
    /// shares it meets here, whatever else they share. Returns whether it was free.
    ///
    /// # Errors
    /// From the system.
    pub fn try_lock(&self) -> io::Result<bool> {
        match rustix::fs::flock(&self.0, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            other => Ok(other.map(|()| true)?),
        }
    }

    /// Runs `work` on a thread of its own inside the namespace, and waits for it. A socket that is opened there stays
    /// in the namespace and can be used from any thread.
    ///
    /// # Errors
    /// When the thread cannot be started or may not enter.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_thread(|| {
            rustix::thread::move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(work())
        })?
    }
}

/// Runs `work` on a thread of its own inside the network namespace of an infra process, and waits for it.
///
/// # Errors
/// `NotFound` when the process has ended; when the thread cannot be started or may not enter.
pub fn in_network_of<T: Send>(infra: Infra, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let net = NetNs::of_process(infra.pid)?;
    infra.check()?;
    net.enter(work)
}

/// The same inside its IPC namespace, as the user whom that belongs to: settings in a user namespace are written by nobody else,
/// not even by the machine's root (`ipc_permissions` of the kernel's `ipc/ipc_sysctl.c`).
///
/// # Errors
/// As with [`in_network_of`].
pub fn in_ipc_of<T: Send>(infra: Infra, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let ipc = File::open(format!("/proc/{}/ns/ipc", infra.pid))?;
    let root = users::root_of(infra.pid)?;
    infra.check()?;
    on_thread(|| {
        rustix::thread::move_into_link_name_space(ipc.as_fd(), Some(LinkNameSpaceType::InterProcessCommunication))?;
        if root == rustix::process::geteuid().as_raw() {
            return Ok(work());
        }
        let _other = OtherUser::one_more();
        let root = rustix::process::Uid::from_raw(root);
        rustix::thread::set_thread_res_uid(root, root, root)?;
        Ok(work())
    })?
}

/// Runs `work` on a thread that ends with it, and waits for it.
fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
