//! Ends a command that was run in a container, with what it has started.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::sys::{cgroup, pidfd, process};

/// How long processes are given to die of SIGKILL.
const PATIENCE: Duration = Duration::from_secs(5);
const SIGKILL: i32 = 9;

/// Kills a command, which leads a session, and whatever of the container is of that session or descends from one that is.
/// What has left both belongs to the container's first process: nobody can tell it from the container's own.
///
/// # Errors
/// `TimedOut` when one of them does not die.
pub(super) fn with_all(command: i32, init: i32) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    let mut doomed = BTreeSet::from([command]);
    loop {
        // Those of a container that has ended are gone with it.
        let mut beside = cgroup::pids_beside(init).unwrap_or_default();
        beside.insert(command);
        let living: Vec<(i32, i32, i32)> = beside
            .into_iter()
            .filter_map(|pid| process::parent_and_session(pid).map(|(parent, session)| (pid, parent, session)))
            .collect();
        family(&mut doomed, &living, (command, init));
        let alive: Vec<i32> = living.iter().map(|(pid, ..)| *pid).filter(|pid| doomed.contains(pid)).collect();
        if alive.is_empty() {
            let _ = waitpid(Pid::from_raw(command), Some(WaitPidFlag::WNOHANG));
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "what it started survives SIGKILL"));
        }
        for pid in alive {
            // One that has ended just now is what is wanted.
            let _ = pidfd::kill(pid, SIGKILL);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Adds those that belong to a command; never the container's first process.
fn family(doomed: &mut BTreeSet<i32>, living: &[(i32, i32, i32)], (command, init): (i32, i32)) {
    loop {
        let before = doomed.len();
        for (pid, parent, session) in living {
            if *pid != init && (*session == command || doomed.contains(parent)) {
                doomed.insert(*pid);
            }
        }
        if doomed.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_its_session_and_its_descendants() {
        // The first process, a process of its own, the command 10 with a child, a child of another session and its child,
        // and one of the session whose parent has ended.
        let living =
            [(5, 1, 5), (6, 5, 5), (10, 1, 10), (11, 10, 10), (14, 13, 13), (13, 11, 13), (15, 5, 10), (16, 5, 16)];
        let mut doomed = BTreeSet::from([10]);
        family(&mut doomed, &living, (10, 5));
        assert_eq!(doomed, BTreeSet::from([10, 11, 13, 14, 15]));
    }
}
