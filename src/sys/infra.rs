//! The infra process: `/pause`, which holds the namespaces of a pod and reaps the orphans of a shared process namespace.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use serde::{Deserialize, Serialize};

use super::entrance::Entrance;
use super::netns::NetNs;
use super::{effect, embedded, process, spawn, users};

/// Who it runs as: what Kubernetes' own pause image uses, an id without a name that owns nothing.
const USER: libc::uid_t = 65535;
/// Not to be killed for want of memory: with it the whole pod would go (the kubelet's value for it).
const OOM_SCORE_ADJ: &str = "-998";

/// The network namespace of an infra process.
#[derive(Clone, Debug)]
pub enum Net {
    /// The machine's.
    Machine,
    /// One of its own, which its user namespace owns if it has one.
    Own,
    /// One that is there already and nobody else's.
    Made(Arc<NetNs>),
}

/// What an infra process is to hold.
#[derive(Clone, Debug)]
pub struct InfraSpec {
    /// An empty directory: all that the process (and whoever looks through `/proc/1/root`) sees of the machine.
    pub empty: PathBuf,
    pub net: Net,
    /// An IPC namespace of its own; the machine's otherwise.
    pub ipc: bool,
    /// A UTS namespace of its own with this host name; the machine's otherwise.
    pub uts: Option<String>,
    /// A process namespace of its own, with this process as number 1, for all containers of the pod.
    pub pid: bool,
    /// A user namespace of its own that owns the others, with the [`users::IDS`] ids of the machine from this one on; the
    /// machine's otherwise.
    pub users: Option<u32>,
    /// Its cgroup, a leaf where it has to be one ([`super::cgroup::create_alone`]).
    pub cgroup: String,
}

/// An infra process that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Infra {
    /// Its number in the machine's process namespace. Its namespaces are at `/proc/<pid>/ns`.
    pub pid: i32,
    /// See [`super::process::start_ticks`].
    pub start_ticks: u64,
}

impl Infra {
    /// Whether it is there still. To be asked after what is found by its number was opened or read: that was its own then, and
    /// not of another process that got the number later.
    ///
    /// # Errors
    /// `NotFound` when it has ended, also when another process has its number.
    pub fn check(self) -> io::Result<()> {
        let Self { pid, start_ticks } = self;
        match process::start_ticks(pid) {
            Some(ticks) if ticks == start_ticks => Ok(()),
            found => {
                let now = found.map_or("no process has".to_owned(), |ticks| format!("one of tick {ticks} has"));
                let message = format!(
                    "the infra process {pid}, which started at tick {start_ticks} of this boot, has ended: {now} its \
                     number now"
                );
                Err(io::Error::new(io::ErrorKind::NotFound, message))
            }
        }
    }
}

/// What happens in the child, in order; each has a number for the report of a failure.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Step {
    Session,
    Cgroup,
    Users,
    Network,
    HostName,
    PrivateMounts,
    EmptyRoot,
    Stdio,
    Capabilities,
    User,
    Execute,
}

impl Step {
    const ALL: [Self; 11] = [
        Self::Session,
        Self::Cgroup,
        Self::Users,
        Self::Network,
        Self::HostName,
        Self::PrivateMounts,
        Self::EmptyRoot,
        Self::Stdio,
        Self::Capabilities,
        Self::User,
        Self::Execute,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::Session => "begin a session",
            Self::Cgroup => "enter its cgroup",
            Self::Users => "get its user ids",
            Self::Network => "join its network namespace",
            Self::HostName => "set the host name",
            Self::PrivateMounts => "make its mounts private",
            Self::EmptyRoot => "change to an empty root",
            Self::Stdio => "open /dev/null",
            Self::Capabilities => "drop its capabilities",
            Self::User => "change its user",
            Self::Execute => "execute /pause",
        }
    }
}

/// Everything the child needs, made beforehand: it shares the memory of this process, whose other threads go on and may hold any
/// lock, the allocator's too, so the child makes system calls and nothing else.
struct Prepared {
    flags: u64,
    /// To be joined.
    net: Option<RawFd>,
    hostname: Option<Vec<u8>>,
    empty: CString,
    entrance: Entrance,
    /// It is in the cgroup of version 2 already.
    is_begun_there: bool,
    /// Said by the child.
    runs: AtomicBool,
    null: File,
    program: RawFd,
    report: OwnedFd,
    /// Its number, for whoever gives it user ids.
    pid: AtomicI32,
    /// Where it asks for them and is told: its own end and the other's.
    users: Option<(RawFd, RawFd)>,
}

/// Starts `/pause` with the namespaces asked for. It is a child of this process, which should reap it when it has ended
/// ([`super::pidfd::reap`]), and outlives it. Blocks for some milliseconds; may be called in a threaded process.
///
/// # Errors
/// From the system; the message names the step.
pub fn start(spec: &InfraSpec) -> io::Result<Infra> {
    let flag = |wanted: bool, flag: libc::c_int| if wanted { flag as u64 } else { 0 };
    let flags = flag(true, libc::CLONE_NEWNS)
        | flag(matches!(spec.net, Net::Own), libc::CLONE_NEWNET)
        | flag(spec.ipc, libc::CLONE_NEWIPC)
        | flag(spec.uts.is_some(), libc::CLONE_NEWUTS)
        | flag(spec.pid, libc::CLONE_NEWPID)
        | flag(spec.users.is_some(), libc::CLONE_NEWUSER);
    let meeting = spec.users.map(|first| UnixStream::pair().map(|ends| (first, ends))).transpose()?;
    let (report, sender) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let mut prepared = Prepared {
        flags,
        net: if let Net::Made(namespace) = &spec.net { Some(namespace.as_fd().as_raw_fd()) } else { None },
        hostname: spec.uts.as_ref().map(|name| name.clone().into_bytes()),
        empty: CString::new(spec.empty.as_os_str().as_bytes())?,
        entrance: Entrance::open_alone(&spec.cgroup)?,
        is_begun_there: false,
        runs: AtomicBool::new(false),
        null: effect::null()?,
        program: embedded::pause()?.as_raw_fd(),
        report: sender,
        pid: AtomicI32::new(0),
        users: meeting.as_ref().map(|(_, (theirs, ours))| (theirs.as_raw_fd(), ours.as_raw_fd())),
    };
    let (pid, mapped) = match meeting {
        None => (effect::effect("clone", "pause", || fork(&mut prepared))?, Ok(())),
        Some(meeting) => meet(&prepared, meeting)?,
    };
    drop(prepared);
    if let Err(error) = mapped {
        reap(pid);
        return Err(io::Error::new(error.kind(), format!("the infra process could not get its user ids: {error}")));
    }
    let mut failure = Vec::new();
    File::from(report).read_to_end(&mut failure)?;
    if let Some((step, errno)) = failure.split_first() {
        let errno = i32::from_ne_bytes(errno.try_into().unwrap_or_default());
        let step = Step::ALL.get(usize::from(*step)).map_or("start", |s| s.text());
        reap(pid);
        let error = io::Error::from_raw_os_error(errno);
        return Err(io::Error::new(error.kind(), format!("the infra process could not {step}: {error}")));
    }
    // Only root of the whole machine may; without it the pod is no worse off than its containers.
    let _ = effect::write_existing(Path::new(&format!("/proc/{pid}/oom_score_adj")), OOM_SCORE_ADJ);
    let start_ticks = process::start_ticks(pid)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the infra process ended at once"))?;
    Ok(Infra { pid, start_ticks })
}

/// Clones the child while a thread waits to give it its user ids: the one that clones sleeps until the child is through.
/// The child's number, and whether it got them.
fn meet(
    prepared: &Prepared,
    (first, (theirs, ours)): (u32, (UnixStream, UnixStream)),
) -> io::Result<(i32, io::Result<()>)> {
    std::thread::scope(|scope| {
        let give = || users::map_when_asked(ours, &prepared.pid, first);
        let giver = std::thread::Builder::new().name("user ids".to_owned()).spawn_scoped(scope, give)?;
        // It asks once: there is no second try to begin it in its cgroup.
        let pid = effect::effect("clone", "pause", || undisturbed(|stack| clone(prepared, stack)));
        // A child that ended without a word asks for nothing any more.
        drop(theirs);
        let mapped = giver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((pid?, mapped))
    })
}

fn reap(pid: i32) {
    let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
}

/// Starts the child with new namespaces. It shares the memory of this process until it executes another program, and this
/// thread waits for that: a copy of its tables would take as long as everything else the child does. No signal arrives
/// meanwhile: a handler of this process would run in the child.
fn fork(prepared: &mut Prepared) -> io::Result<i32> {
    undisturbed(|stack| {
        let begun_there = clone_into(prepared, stack);
        begun_there.or_else(|_| {
            prepared.is_begun_there = false;
            clone(prepared, stack)
        })
    })
}

/// Has a child started, with a stack for it.
fn undisturbed(start: impl FnOnce(&mut [MaybeUninit<u128>]) -> io::Result<i32>) -> io::Result<i32> {
    /// Ample for calls of the system.
    const STACK: usize = 64 << 10;
    let mut stack = Vec::<u128>::with_capacity(STACK / size_of::<u128>());
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    let other = OtherUser::one_more();
    let started = start(stack.spare_capacity_mut());
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    drop(other);
    started
}

/// Starts the child in its cgroup of version 2.
fn clone_into(prepared: &mut Prepared, stack: &mut [MaybeUninit<u128>]) -> io::Result<i32> {
    prepared.is_begun_there = true;
    let argument = ptr::from_ref(&*prepared).cast_mut().cast();
    let directory = prepared.entrance.directory().ok_or(io::ErrorKind::Unsupported)?;
    // SAFETY: what the argument points to lives until the child has left it: this call returns when the child has executed a
    // program or ended. `child` allocates nothing, takes no lock and does not return.
    let pid = unsafe { spawn::clone_into(directory, prepared.flags, stack, child, argument) }?;
    if !prepared.runs.load(Ordering::Relaxed) {
        reap(pid);
        return Err(spawn::killed_at_birth());
    }
    Ok(pid)
}

/// The same by a call that every kernel has.
fn clone(prepared: &Prepared, stack: &mut [MaybeUninit<u128>]) -> io::Result<i32> {
    let top = stack.as_mut_ptr_range().end.cast();
    let argument = ptr::from_ref(prepared).cast_mut().cast();
    let flags =
        prepared.flags as libc::c_int | libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PARENT_SETTID | libc::SIGCHLD;
    // SAFETY: the stack is aligned, and lives until the child has left it; otherwise as above. The kernel writes the number to
    // an atomic before the child runs.
    let pid = unsafe { libc::clone(child, top, flags, argument, prepared.pid.as_ptr()) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid) }
}

/// Somebody who shares the memory of this process, a child or a thread, and becomes another user. The kernel lets nobody trace that
/// memory any more then, for whoever has that user could write to it; so that this process can be traced again as before is said
/// when nobody of that kind is left.
pub(super) struct OtherUser;

/// How many there are, and what the kernel said of tracing before the first of them.
static OTHER_USERS: Mutex<(usize, libc::c_int)> = Mutex::new((0, 0));

impl OtherUser {
    pub(super) fn one_more() -> Self {
        let mut others = OTHER_USERS.lock().unwrap_or_else(PoisonError::into_inner);
        if others.0 == 0 {
            // SAFETY: plain numbers.
            others.1 = unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) };
        }
        others.0 += 1;
        Self
    }
}

impl Drop for OtherUser {
    fn drop(&mut self) {
        let mut others = OTHER_USERS.lock().unwrap_or_else(PoisonError::into_inner);
        others.0 -= 1;
        if others.0 == 0 {
            // SAFETY: plain numbers.
            unsafe { libc::prctl(libc::PR_SET_DUMPABLE, others.1, 0, 0, 0) };
        }
    }
}

/// The child's side. System calls only, see [`Prepared`].
extern "C" fn child(argument: *mut libc::c_void) -> libc::c_int {
    // SAFETY: what `fork` has passed, which waits until this has been left.
    let prepared = unsafe { &*argument.cast::<Prepared>() };
    prepared.runs.store(true, Ordering::Relaxed);
    for (step, action) in [
        (Step::Session, begin_session as fn(&Prepared) -> bool),
        (Step::Cgroup, enter_cgroup),
        (Step::Users, wait_for_ids),
        (Step::Network, join_network),
        (Step::HostName, set_hostname),
        (Step::PrivateMounts, private_mounts),
        (Step::EmptyRoot, empty_root),
        (Step::Stdio, stdio),
        (Step::Capabilities, drop_capabilities),
        (Step::User, change_user),
        (Step::Execute, execute),
    ] {
        if !action(prepared) {
            let errno = nix::errno::Errno::last_raw().to_ne_bytes();
            let report = [step as u8, errno[0], errno[1], errno[2], errno[3]];
            // SAFETY: the bytes are valid for reading; _exit runs no handlers.
            unsafe {
                libc::write(prepared.report.as_raw_fd(), report.as_ptr().cast(), report.len());
                libc::_exit(1);
            }
        }
    }
    // SAFETY: _exit runs no handlers.
    unsafe { libc::_exit(1) }
}

fn begin_session(_: &Prepared) -> bool {
    spawn::reset_actions();
    // SAFETY: a system call without arguments.
    unsafe { libc::setsid() >= 0 }
}

fn enter_cgroup(prepared: &Prepared) -> bool {
    // SAFETY: the byte is valid for reading.
    let enter = |fd: BorrowedFd<'_>| unsafe { libc::write(fd.as_raw_fd(), c"0".as_ptr().cast(), 1) } == 1;
    prepared.entrance.files(prepared.is_begun_there).all(enter)
}

/// Asks for its user ids and waits until they are there. Whoever gives them may end: then nobody holds the other end.
fn wait_for_ids(prepared: &Prepared) -> bool {
    let Some((own, other)) = prepared.users else { return true };
    // The number was written before this ran; now whoever reads it after the question sees it.
    prepared.pid.fetch_add(0, Ordering::Release);
    let mut byte = 0_u8;
    let place = ptr::from_mut(&mut byte).cast();
    // SAFETY: the byte is valid for reading and writing; the descriptors are this process's own copies.
    let told = unsafe { libc::close(other) == 0 && libc::write(own, place, 1) == 1 && libc::read(own, place, 1) == 1 };
    told && [byte] == users::MAPPED
}

fn join_network(prepared: &Prepared) -> bool {
    // SAFETY: plain numbers; the caller of `start` keeps the namespace open.
    prepared.net.is_none_or(|net| unsafe { libc::setns(net, libc::CLONE_NEWNET) } == 0)
}

fn set_hostname(prepared: &Prepared) -> bool {
    // SAFETY: the name is valid for reading.
    prepared.hostname.as_ref().is_none_or(|name| unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) } == 0)
}

/// # Safety
/// As mount(2) without data.
unsafe fn mount(source: *const libc::c_char, target: &CStr, flags: libc::c_ulong) -> bool {
    // SAFETY: as promised by the caller; null stands for what does not matter.
    unsafe { libc::mount(source, target.as_ptr(), ptr::null(), flags, ptr::null()) == 0 }
}

fn private_mounts(_: &Prepared) -> bool {
    // SAFETY: the target ends with a zero byte.
    unsafe { mount(ptr::null(), c"/", libc::MS_REC | libc::MS_PRIVATE) }
}

fn empty_root(prepared: &Prepared) -> bool {
    let empty = prepared.empty.as_c_str();
    let closed =
        libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: every path ends with a zero byte.
    unsafe {
        mount(empty.as_ptr(), empty, libc::MS_BIND)
            && mount(ptr::null(), empty, closed)
            && libc::chdir(empty.as_ptr()) == 0
            // Puts the old root on top of the new one, from where it is detached.
            && libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) == 0
            && libc::umount2(c".".as_ptr(), libc::MNT_DETACH) == 0
            && libc::chdir(c"/".as_ptr()) == 0
    }
}

fn stdio(prepared: &Prepared) -> bool {
    let null = prepared.null.as_raw_fd();
    // SAFETY: plain numbers.
    let opened = (0..3).all(|fd| unsafe { libc::dup2(null, fd) } == fd);
    // Every descriptor of this program is closed on exec; this is for those it inherited itself. Old kernels cannot.
    // SAFETY: plain numbers.
    unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    opened
}

fn drop_capabilities(_: &Prepared) -> bool {
    // SAFETY: plain numbers.
    unsafe {
        let mut capability = 0 as libc::c_ulong;
        // Fails at the first number that this kernel has no capability for.
        while libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) == 0 {
            capability += 1;
        }
        capability > 0 && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    }
}

/// What is left of the capabilities goes with the user: a change from root to another user clears them, and what could be
/// inherited counts for nothing without the bounding set.
fn change_user(prepared: &Prepared) -> bool {
    // In a user namespace it is nobody so far, and the change that clears them is one from root.
    // SAFETY: plain numbers.
    let is_root = prepared.users.is_none() || unsafe { libc::syscall(libc::SYS_setresuid, 0, 0, 0) == 0 };
    // Raw calls: the C library's would change every thread of the process that was forked, by its records of them.
    // SAFETY: plain numbers, and an empty list.
    unsafe {
        is_root
            && libc::syscall(libc::SYS_setgroups, 0, ptr::null::<libc::gid_t>()) == 0
            && libc::syscall(libc::SYS_setresgid, USER, USER, USER) == 0
            && libc::syscall(libc::SYS_setresuid, USER, USER, USER) == 0
    }
}

fn execute(prepared: &Prepared) -> bool {
    let arguments = [c"/pause".as_ptr(), ptr::null()];
    let environment = [ptr::null::<libc::c_char>()];
    // SAFETY: both lists end with a null, each string with a zero byte; an empty path stands for the descriptor itself.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            prepared.program,
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    false
}
