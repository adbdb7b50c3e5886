//! Makes a container: its cgroup, its streams, its namespaces and its first process, which does the rest ([`First`]) and waits
//! for the word to run the container's program.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;

use super::failure::{Failure, Step};
use super::first::{First, GO, READY};
use super::mounts::Shown;
use super::oci::{DeviceKind, DeviceRule, Namespace, NamespaceKind, Spec};
use super::rootfs::Layout;
use super::users::{self, Users};
use super::{ShimRequest, relay, seccomp};
use crate::sys::entrance::Entrance;
use crate::sys::infra::Infra;
use crate::sys::limits::Limits;
use crate::sys::{cgroup, devices, effect, limits, spawn};

/// Longest message that is read from a process that failed.
const MAX_MESSAGE: u64 = 4096;

/// The monitor's ends of the container's standard streams.
pub(super) enum Streams {
    Pipes {
        out: OwnedFd,
        err: OwnedFd,
    },
    /// The master side; the slave side is held open so that the terminal never hangs up while the container lives.
    Terminal {
        master: OwnedFd,
        slave: OwnedFd,
    },
}

/// The container's ends of its standard streams.
pub(super) enum Ends {
    Pipes {
        /// Without one there is nothing to read.
        stdin: Option<OwnedFd>,
        out: OwnedFd,
        err: OwnedFd,
    },
    /// Where the master side goes of the terminal that is made in the container.
    Terminal { sender: OwnedFd },
}

/// A container whose first process waits.
pub(super) struct Created {
    pub(super) pid: i32,
    pub(super) streams: Streams,
    /// The write end of the container's stdin.
    pub(super) stdin: Option<OwnedFd>,
    first: UnixStream,
}

/// The spec as the container has it.
fn complete(request: &ShimRequest, layout: &Layout) -> Spec {
    let mut spec = request.spec.clone();
    spec.root.path.clone_from(&layout.rootfs);
    spec.linux.cgroups_path = Some(request.cgroup.clone().into());
    if let Some(sets) = &mut spec.process.capabilities {
        for set in
            [&mut sets.bounding, &mut sets.effective, &mut sets.permitted, &mut sets.inheritable, &mut sets.ambient]
        {
            set.retain(|name| is_granted(name));
        }
    }
    spec
}

/// Whether this machine grants a capability to anybody: asking for one that it does not is an error, and "all" means all
/// there are.
fn is_granted(name: &str) -> bool {
    let one = rustix::thread::CapabilitySet::from_name(name.trim_start_matches("CAP_"));
    one.is_some_and(|c| rustix::thread::capability_is_in_bounding_set(c) == Ok(true))
}

/// Creates the container: everything is set up, and its first process waits. Its spec stays in the bundle, for the commands
/// that are run in it later.
pub(super) fn create(
    request: &ShimRequest,
    layout: &Layout,
    (users, shared): (Option<Users>, Vec<Option<Shown>>),
) -> Result<Created, Failure> {
    let spec = complete(request, layout);
    let filter = seccomp::program(&spec.annotations, &spec.process).map_err(Failure)?;
    let json = serde_json::to_vec(&spec).step("writing the container's configuration")?;
    let place = layout.bundle.join("config.json");
    let file = effect::create(&place, OFlags::WRONLY | OFlags::EXCL, 0o600);
    file.and_then(|file| effect::write(&file, &json)).step("writing the container's configuration")?;
    let entrance = Entrance::open(&request.cgroup).step("making the container's cgroup")?;
    limit(&request.cgroup, &spec)?;
    let namespaces = Namespaces::open(&spec.linux.namespaces, request.infra)?;
    let user = users.as_ref().map_or(spec.process.user.uid, |users| users.outside(spec.process.user.uid));
    let streams = if spec.process.terminal { terminal() } else { pipes(request, user) };
    let (own_side, ends) = streams.step("making the standard streams")?;
    let (own, theirs) = UnixStream::pair().step("making a socket")?;
    let first = First {
        spec: &spec,
        rootfs: &layout.rootfs,
        images: &layout.images,
        filter: filter.as_deref(),
        namespaces,
        users,
        machine: None,
        shared,
        entrance,
        ends,
        word: theirs,
    };
    let pid = fork(first)?;
    let made = answer(own, request, own_side, pid);
    if made.is_err() {
        let _ = cgroup::kill_all(&request.cgroup);
    }
    made
}

/// The weight and the limits of the cgroup, and what devices may be used.
fn limit(path: &str, spec: &Spec) -> Result<(), Failure> {
    let resources = &spec.linux.resources;
    let cpu = resources.cpu.clone().unwrap_or_default();
    let memory = resources.memory.as_ref().and_then(|m| m.limit);
    if resources.cpu.is_some() || memory.is_some() {
        if cpu.quota.is_some() && cpu.period.is_some_and(|p| p != Limits::PERIOD) {
            return Err(Failure(format!("the period of the processor's limit must be {}", Limits::PERIOD)));
        }
        let wanted = Limits { shares: cpu.shares.unwrap_or(Limits::SHARES), quota: cpu.quota, memory };
        limits::set(path, wanted).step("limiting the container's memory and processor time")?;
    }
    if resources.devices.is_empty() {
        return Ok(());
    }
    let rules: Vec<devices::Rule> = resources.devices.iter().map(device_rule).chain(devices::DEFAULT).collect();
    devices::restrict(path, &rules).step("restricting the container's devices")
}

fn device_rule(rule: &DeviceRule) -> devices::Rule {
    let kind = match rule.kind {
        Some(DeviceKind::Block) => devices::Kind::Block,
        Some(DeviceKind::Char) => devices::Kind::Char,
        None => devices::Kind::Any,
    };
    let access = rule.access.chars().fold(0, |all, c| match c {
        'r' => all | devices::READ,
        'w' => all | devices::WRITE,
        'm' => all | devices::MAKE,
        _ => all,
    });
    devices::Rule { allow: rule.allow, kind, major: rule.major, minor: rule.minor, access }
}

/// The shim's side of the streams, while the container is made.
enum OwnSide {
    Pipes {
        streams: Streams,
        stdin: Option<OwnedFd>,
    },
    /// Where the master side of the terminal comes from.
    Terminal {
        receiver: OwnedFd,
    },
}

/// Pipes, whose owner is the container's user: it may open its own streams again, as `/dev/stdout`.
fn pipes(request: &ShimRequest, uid: u32) -> io::Result<(OwnSide, Ends)> {
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
    let (out, out_end) = pipe()?;
    let (err, err_end) = pipe()?;
    let input = if request.stdin { Some(pipe()?) } else { None };
    let (stdin_end, stdin) = input.unzip();
    for own in [&out, &err].into_iter().chain(&stdin) {
        rustix::fs::fcntl_setfl(own, OFlags::NONBLOCK)?;
    }
    if uid != 0 {
        for end in [&out_end, &err_end].into_iter().chain(&stdin_end) {
            effect::change_owner(end, uid, None)?;
        }
    }
    let own = OwnSide::Pipes { streams: Streams::Pipes { out, err }, stdin };
    Ok((own, Ends::Pipes { stdin: stdin_end, out: out_end, err: err_end }))
}

fn terminal() -> io::Result<(OwnSide, Ends)> {
    let flags = SocketFlags::CLOEXEC;
    let (receiver, sender) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok((OwnSide::Terminal { receiver }, Ends::Terminal { sender }))
}

impl OwnSide {
    /// The monitor's ends, once the container's process has made the rest.
    fn take(self) -> io::Result<(Streams, Option<OwnedFd>)> {
        use rustix::pty::OpenptFlags;
        let receiver = match self {
            Self::Pipes { streams, stdin } => return Ok((streams, stdin)),
            Self::Terminal { receiver } => receiver,
        };
        let master = relay::receive(&receiver)?.pop().ok_or(io::ErrorKind::UnexpectedEof)?;
        rustix::fs::fcntl_setfl(&master, OFlags::NONBLOCK)?;
        let slave =
            rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        Ok((Streams::Terminal { master, slave }, None))
    }
}

/// The namespaces of a container: those to join are open, as long as nothing of it runs that could change what is at their
/// paths.
pub(super) struct Namespaces {
    joined: Vec<(CloneFlags, OwnedFd)>,
    own: CloneFlags,
}

impl Namespaces {
    /// Opens those to join, and makes sure that they are the infra process's: the user namespace too, which was opened before.
    fn open(wanted: &[Namespace], infra: Option<Infra>) -> Result<Self, Failure> {
        let mut namespaces = Self { joined: Vec::new(), own: CloneFlags::empty() };
        for Namespace { kind, path } in wanted {
            let kind = match kind {
                NamespaceKind::Pid => CloneFlags::CLONE_NEWPID,
                NamespaceKind::Network => CloneFlags::CLONE_NEWNET,
                NamespaceKind::Ipc => CloneFlags::CLONE_NEWIPC,
                NamespaceKind::Uts => CloneFlags::CLONE_NEWUTS,
                NamespaceKind::Mount => CloneFlags::CLONE_NEWNS,
                NamespaceKind::Cgroup => CloneFlags::CLONE_NEWCGROUP,
                // It is joined before all others.
                NamespaceKind::User => continue,
            };
            match path {
                Some(path) => {
                    let file = File::open(path).step_on("opening the namespace", path)?;
                    namespaces.joined.push((kind, file.into()));
                }
                None => namespaces.own |= kind,
            }
        }
        if let Some(path) = wanted.iter().find_map(|namespace| namespace.path.as_ref()) {
            let infra = infra.ok_or_else(|| Failure("a namespace to join needs its infra process".to_owned()))?;
            infra.check().step_on("opening the namespace", path)?;
        }
        if !namespaces.own.contains(CloneFlags::CLONE_NEWNS) {
            return Err(Failure("a container needs a mount namespace of its own".to_owned()));
        }
        Ok(namespaces)
    }

    /// Has the next process that is forked be in the process namespace that is joined: nobody can change their own. Whether it
    /// is to have a new one.
    pub(super) fn of_the_next(&self) -> Result<bool, Failure> {
        for (kind, file) in self.joined.iter().filter(|(kind, _)| *kind == CloneFlags::CLONE_NEWPID) {
            setns(file, *kind).step("joining the process namespace")?;
        }
        Ok(self.own.contains(CloneFlags::CLONE_NEWPID))
    }

    /// What is open of those to join.
    pub(super) fn joined(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.joined.iter().map(|(_, file)| file.as_fd())
    }

    /// Brings this process, which is in its cgroup already, into all the others.
    pub(super) fn enter(&self) -> io::Result<()> {
        let pid = CloneFlags::CLONE_NEWPID;
        for (kind, file) in self.joined.iter().filter(|(kind, _)| *kind != pid) {
            setns(file, *kind)?;
        }
        effect::own_namespaces("container", self.own - pid)
    }
}

/// Forks the container's first process; its number.
fn fork(mut first: First<'_>) -> Result<i32, Failure> {
    let has_users = first.users.is_some();
    let own_processes = !has_users && first.namespaces.of_the_next()?;
    // Its memory is closed as this process's is: until it has executed the container's program, no other process of the pod may
    // look into it, but one with CAP_SYS_PTRACE in a process namespace that they share, as with other runtimes.
    if has_users {
        return users::fork(first);
    }
    match first.entrance.fork(own_processes, None).step("making the container's process")? {
        Some(pid) => Ok(pid),
        None => {
            first.run();
            spawn::exit_now(1);
        }
    }
}

/// Waits until the container's first process has made what is left to make.
fn answer(mut first: UnixStream, request: &ShimRequest, own_side: OwnSide, pid: i32) -> Result<Created, Failure> {
    let mut byte = [0];
    match effect::effect("create", "container", || first.read(&mut byte)) {
        Ok(1) if byte == READY => {
            let (streams, stdin) = own_side.take().step("receiving the terminal")?;
            Ok(Created { pid, streams, stdin, first })
        }
        Ok(count) => Err(Failure(said(byte[..count].to_vec(), &first, &request.cgroup))),
        Err(error) => Err(error).step("waiting for the container's process"),
    }
}

/// Why the first process has ended, as far as it has not said so in `begun` already.
fn said(begun: Vec<u8>, first: &UnixStream, cgroup: &str) -> String {
    let mut text = begun;
    let _ = first.take(MAX_MESSAGE).read_to_end(&mut text);
    if !text.is_empty() {
        return String::from_utf8_lossy(&text).into_owned();
    }
    match cgroup::oom_kills(cgroup) {
        Ok(1..) => "the kernel has killed the container's process for want of memory before it could run its program: \
                    its limit is too low"
            .to_owned(),
        _ => "the container's process has ended before it could run its program".to_owned(),
    }
}

impl Created {
    /// How easily the container's processes are killed for want of memory. Less easily than now takes a capability that
    /// not every machine grants: then it stays as it is.
    pub(super) fn set_oom_score(&self, request: &ShimRequest) {
        if let Some(score) = request.spec.process.oom_score_adj {
            let place = format!("/proc/{}/oom_score_adj", self.pid);
            let _ = effect::write_existing(Path::new(&place), &score.to_string());
        }
    }

    /// Has the first process execute the container's program.
    pub(super) fn start(self) -> Result<(Streams, Option<OwnedFd>), Failure> {
        let mut first = self.first;
        let told = effect::effect("start", "container", || first.write_all(&GO));
        if told.is_err() {
            // It ends then, and may have said why.
            let _ = first.shutdown(Shutdown::Write);
        }
        let mut message = Vec::new();
        let read = (&first).take(MAX_MESSAGE).read_to_end(&mut message);
        match (told, message.is_empty()) {
            (Ok(()), true) => {
                read.step("waiting for the container's program")?;
                Ok((self.streams, self.stdin))
            }
            (Err(error), true) => Err(Failure(format!("starting the container: {error}"))),
            (_, false) => Err(Failure(String::from_utf8_lossy(&message).into_owned())),
        }
    }
}
