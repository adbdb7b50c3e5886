//! The way into a cgroup, without a wait. Who is moved by `cgroup.procs` waits until every processor has passed a moment of
//! rest, 6 to 15 milliseconds on a machine that moved nobody shortly before (`cgroup_threadgroup_rwsem` of the kernel). Two ways
//! go without: a process of one thread moves itself by the `tasks` of version 1 (since Linux 5.5), and is begun where it belongs
//! in version 2 (`CLONE_INTO_CGROUP`, since Linux 5.7).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::sched::CloneFlags;
use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::{cgroup, effect, spawn};

/// Opened beforehand, for a process that has one thread: to be entered with nothing but [`Entrance::fork`] and writing.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// Of version 1: `tasks`, where one thread goes by itself.
    tasks: Vec<OwnedFd>,
    /// Of version 2, until this process is in it.
    unified: Option<Unified>,
}

#[derive(Debug)]
struct Unified {
    directory: OwnedFd,
    /// Where it goes when it was not begun there.
    procs: OwnedFd,
}

impl Entrance {
    /// Of a cgroup, which is made where it is missing.
    ///
    /// # Errors
    /// As [`cgroup::create`].
    pub(crate) fn open(path: &str) -> io::Result<Self> {
        let open = || Self::of(cgroup::places(path)?);
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                cgroup::create(path)?;
                open()
            }
            other => other,
        }
    }

    /// Of what another process has opened: its [`Self::descriptors`]. Of none for none.
    ///
    /// # Errors
    /// From the system; `InvalidData` when it is no such list.
    pub(crate) fn passed(mut open: Vec<OwnedFd>) -> io::Result<Self> {
        let is_directory =
            |fd: &OwnedFd| Ok::<_, io::Error>(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode).is_dir());
        let directory = if open.last().map(is_directory).transpose()? == Some(true) { open.pop() } else { None };
        let of =
            |directory| Ok::<_, io::Error>(Unified { directory, procs: open.pop().ok_or(io::ErrorKind::InvalidData)? });
        let unified = directory.map(of).transpose()?;
        Ok(Self { tasks: open, unified })
    }

    /// Of a cgroup for one process alone ([`cgroup::create_alone`]), which is made where it is missing.
    ///
    /// # Errors
    /// As [`cgroup::create`].
    pub(crate) fn open_alone(path: &str) -> io::Result<Self> {
        cgroup::create_alone(path)?;
        match Self::of(cgroup::places_alone(path)?) {
            // Not even the parent is there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                cgroup::create(path)?;
                Self::of(cgroup::places_alone(path)?)
            }
            other => other,
        }
    }

    /// Of the cgroups that a process is in.
    ///
    /// # Errors
    /// From the system.
    pub(crate) fn of_process(pid: i32) -> io::Result<Self> {
        Self::of(cgroup::places_of(pid)?)
    }

    /// Each with whether it is of version 2.
    fn of(places: Vec<(PathBuf, bool)>) -> io::Result<Self> {
        let mut entrance = Self { tasks: Vec::with_capacity(places.len()), unified: None };
        for (dir, is_unified) in places {
            if is_unified {
                let (directory, procs) = (opened(&dir)?, writable(&dir.join("cgroup.procs"))?);
                entrance.unified = Some(Unified { directory, procs });
            } else {
                entrance.tasks.push(writable(&dir.join("tasks"))?);
            }
        }
        Ok(entrance)
    }

    /// Forks, into the cgroup of version 2 where that can be, and into a new process namespace when that is asked for. `None` in
    /// the child, which calls [`Self::enter`]; the child's number in the parent.
    ///
    /// # Errors
    /// From the system; `TimedOut` when the cgroup holds the child for longer than `until`.
    pub(crate) fn fork(&mut self, own_processes: bool, until: Option<Instant>) -> io::Result<Option<i32>> {
        let namespaces = if own_processes { CloneFlags::CLONE_NEWPID } else { CloneFlags::empty() };
        let unified = self.unified.as_ref();
        match unified.map(|unified| spawn::fork_into(unified.directory.as_fd(), namespaces, until)) {
            Some(Ok(forked)) => {
                if forked.is_none() {
                    self.unified = None;
                }
                return Ok(forked);
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
            Some(Err(_)) | None => {}
        }
        // There is none, the kernel cannot, or it says what is wrong when it is written to.
        if own_processes {
            effect::own_namespaces("pid", namespaces)?;
        }
        spawn::fork()
    }

    /// Brings this process, which has one thread, into those of the cgroups that it is not in yet.
    ///
    /// # Errors
    /// From the system.
    pub(crate) fn enter(&self) -> io::Result<()> {
        for file in self.files(false) {
            effect::enter(file)?;
        }
        Ok(())
    }

    /// What is open: the files, and behind them the directory, if there is one.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.files(false).chain(self.directory())
    }

    /// The directory that a process can be begun in.
    pub(super) fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(|unified| unified.directory.as_fd())
    }

    /// Where a `0` is written; `is_begun_there` of a process that was begun in [`Self::directory`].
    pub(super) fn files(&self, is_begun_there: bool) -> impl Iterator<Item = BorrowedFd<'_>> {
        let procs = self.unified.as_ref().filter(|_| !is_begun_there).map(|unified| unified.procs.as_fd());
        self.tasks.iter().map(AsFd::as_fd).chain(procs)
    }
}

fn opened(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, dir, flags, Mode::empty()).map_err(|e| cgroup::named(dir, &e.into()))
}

fn writable(file: &Path) -> io::Result<OwnedFd> {
    effect::open_existing(file).map(OwnedFd::from).map_err(|e| cgroup::named(file, &e))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;

    use super::*;

    /// The hierarchies in which a process is in a cgroup; version 2 is the empty name.
    fn within(pid: i32, path: &str) -> Vec<String> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let fields = text.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
        fields.filter(|f| f[2] == path).map(|f| f[1].to_owned()).collect()
    }

    /// Where a child is at first, where when it has entered, and how it ended.
    fn child_of(entrance: &mut Entrance, path: &str) -> (Vec<String>, Vec<String>, WaitStatus) {
        let (mut own, theirs) = UnixStream::pair().unwrap();
        // The child makes calls of the system only: this process has several threads.
        let Some(child) = entrance.fork(false, None).unwrap() else {
            let go = rustix::io::read(&theirs, &mut [0; 1]).is_ok() && entrance.enter().is_ok();
            let told = go && rustix::io::write(&theirs, b"x").is_ok() && rustix::io::read(&theirs, &mut [0; 1]).is_ok();
            spawn::exit_now(i32::from(!told));
        };
        let begun = within(child, path);
        own.write_all(b"x").unwrap();
        own.read_exact(&mut [0; 1]).unwrap();
        let entered = within(child, path);
        own.write_all(b"x").unwrap();
        (begun, entered, waitpid(Pid::from_raw(child), None).unwrap())
    }

    #[test]
    fn a_process_is_begun_in_its_cgroup_and_moves_itself_where_it_cannot_be() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let path = format!("/podwright-entrance-{}", std::process::id());
        let mut entrance = Entrance::open(&path).unwrap();
        let all = entrance.files(false).count();
        let unified: Vec<&str> = if entrance.directory().is_some() { vec![""] } else { vec![] };
        let first = child_of(&mut entrance, &path);
        // The kernel kills what is begun there from now on.
        cgroup::kill_all(&path).unwrap();
        let open = entrance.descriptors().map(|fd| fd.try_clone_to_owned().unwrap()).collect();
        let mut entrance = Entrance::passed(open).unwrap();
        let second = child_of(&mut entrance, &path);
        cgroup::remove(&path).unwrap();
        assert_eq!(first.0, unified, "moving it there would wait");
        for (_, entered, ended) in [first, second] {
            assert!(matches!(ended, WaitStatus::Exited(_, 0)), "{ended:?}");
            assert_eq!(entered.len(), all, "in every hierarchy: {entered:?}");
        }
    }
}
