//! `/pause`.

use std::collections::BTreeSet;
use std::fs;

use podwright::sys::infra::Net;
use podwright::sys::{cgroup, pidfd, process};

use super::fixture::{Place, SIGKILL, SIGTERM, until};
use crate::support;

fn ns(pid: impl std::fmt::Display, name: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().display().to_string()
}

fn status(pid: i32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn e2e_the_infra_process_holds_what_was_asked_and_nothing_else() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let some = place.infra(|_| ());
    for name in ["net", "ipc", "uts", "mnt"] {
        assert_ne!(ns(some.pid, name), ns("self", name), "{name}");
    }
    for name in ["pid", "user"] {
        assert_eq!(ns(some.pid, name), ns("self", name), "{name}");
    }
    let none = place.infra(|s| (s.net, s.ipc, s.uts) = (Net::Machine, false, None));
    for name in ["net", "ipc", "uts", "pid"] {
        assert_eq!(ns(none.pid, name), ns("self", name), "{name}");
    }
    assert_eq!(process::start_ticks(some.pid), Some(some.start_ticks));
    assert_eq!(cgroup::pids(&format!("{}/infra0", place.cgroup)).unwrap(), BTreeSet::from([some.pid]));
    let proc = |name: &str| format!("/proc/{}/{name}", some.pid);
    // Of its own where version 2 asks for leaves and where memory is counted, that of the pod in the other hierarchies.
    let places = fs::read_to_string(proc("cgroup")).unwrap();
    let own = format!("{}/infra0", place.cgroup);
    for line in places.lines() {
        let has_own = matches!(line.split(':').nth(1), Some("" | "memory"));
        assert!(line.ends_with(if has_own { &own } else { &place.cgroup }), "{line}");
    }
    assert!(places.lines().any(|line| line.ends_with(&own)), "{places}");
    assert_eq!(fs::read(proc("cmdline")).unwrap(), b"/pause\0");
    assert_eq!(fs::read(proc("comm")).unwrap(), b"pause\n");
    assert_eq!(fs::read(proc("environ")).unwrap(), b"");
    assert_eq!(fs::read_dir(proc("root")).unwrap().count(), 0, "it sees nothing of the machine");
    assert_eq!(fs::read_dir(proc("cwd")).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(proc("mountinfo")).unwrap().lines().count(), 1);
    let fds: Vec<_> = fs::read_dir(proc("fd")).unwrap().map(|e| fs::read_link(e.unwrap().path()).unwrap()).collect();
    assert_eq!(fds.len(), 3, "{fds:?}");
    assert!(fds.iter().all(|f| f.ends_with("null")), "{fds:?}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&status(some.pid, set), 16), Ok(0), "{set}");
    }
    assert_eq!(status(some.pid, "NoNewPrivs"), "1");
    assert_eq!(status(some.pid, "Uid"), "65535 65535 65535 65535");
    assert_eq!(status(some.pid, "Groups"), "");
    let stat = fs::read_to_string(proc("stat")).unwrap();
    let session: i32 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert_eq!(session, some.pid, "a session of its own");
}

#[test]
fn e2e_who_starts_infra_processes_is_as_it_was() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    for _ in 0..3 {
        place.infra(|_| ());
    }
    // They share its memory for a moment, and another user's memory is dumped for nobody. Other tests start some, too.
    until("a process that can be dumped", || nix::sys::prctl::get_dumpable().unwrap().then_some(()));
}

#[test]
fn e2e_a_shared_process_namespace_has_pause_as_its_reaper() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let infra = place.infra(|s| s.pid = true);
    assert_eq!(status(infra.pid, "NSpid").split(' ').next_back(), Some("1"));
    // An orphan of the namespace: its parent ends first. Then it is pause's to reap.
    let container =
        place.container("orphans", "(sleep 0.2 & echo $! > /orphan); sleep 60").join(&infra, &[("pid", "pid")]);
    let started = container.start();
    assert_eq!(ns(started.pid, "pid"), ns(infra.pid, "pid"));
    let orphan = until("the orphan's number", || {
        let text = fs::read_to_string(format!("/proc/{}/root/orphan", started.pid)).ok()?;
        text.trim().parse::<u32>().ok()
    });
    until("the orphan's end, and its zombie's", || {
        (!fs::exists(format!("/proc/{}/root/proc/{orphan}", started.pid)).unwrap()).then_some(())
    });
    assert!(process::start_ticks(started.pid).is_some(), "and the container goes on");
    pidfd::kill(started.pid, SIGKILL).unwrap();
    assert_eq!(container.end().exit_code, 137);
    assert!(process::start_ticks(infra.pid).is_some());
}

#[test]
fn e2e_the_infra_process_ends_on_sigterm_alone() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let infra = place.infra(|s| s.pid = true);
    let fd = pidfd::open_same(infra.pid, infra.start_ticks).unwrap();
    for signal in [1, 13, 14, 10] {
        pidfd::send(&fd, signal).unwrap();
    }
    assert!(!pidfd::exited(&fd).unwrap());
    pidfd::send(&fd, SIGTERM).unwrap();
    until("its end", || pidfd::exited(&fd).unwrap().then_some(()));
    pidfd::reap(&fd).unwrap();
}

#[test]
fn e2e_an_infra_process_that_cannot_start_says_where_it_failed() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let mut spec = place.infra_spec();
    spec.empty = "/nowhere".into();
    let error = podwright::sys::infra::start(&spec).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains("could not change to an empty root"), "{error}");
    assert_eq!(cgroup::pids(&place.cgroup).unwrap(), BTreeSet::new(), "nothing is left");
}
