//! `doctor`: what this machine lacks for pods. Everything is looked at or tried here; [`report::examine`] says what it means.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, StatVfsMountFlags, inotify};

use super::args::{Attempt, DoctorArgs, TextOrJson};
use super::error::{CliError, Ending};
use super::layout::Layout;
use super::{printer, probe};
use crate::backend::native;
use crate::model::{MachineFacts, Overlay, Space, Trial};
use crate::net;
use crate::report::{self, Health};
use crate::sys::{cgroup, mount, pidfd, spawn, timekeeping};

/// What containers are made with (`linux/capability.h`). Those of the network are tried, and the one for limits is done without.
const CAPABILITIES: [(u8, &str); 12] = [
    (0, "CHOWN"),
    (1, "DAC_OVERRIDE"),
    (3, "FOWNER"),
    (5, "KILL"),
    (6, "SETGID"),
    (7, "SETUID"),
    (8, "SETPCAP"),
    (18, "SYS_CHROOT"),
    (19, "SYS_PTRACE"),
    (21, "SYS_ADMIN"),
    (27, "MKNOD"),
    (31, "SETFCAP"),
];

/// Runs `doctor`.
pub fn run(args: &DoctorArgs, layout: &Layout) -> Result<Ending, CliError> {
    let findings = report::examine(&facts(&layout.state));
    match args.output {
        TextOrJson::Text => printer::out(&report::doctor_text(&findings))?,
        TextOrJson::Json => printer::json(&report::doctor_json(&findings))?,
    }
    Ok(if report::health(&findings) == Health::Blocking { Ending::Failed } else { Ending::Success })
}

/// Looks at everything. Nothing is left behind, and nothing of the machine is changed.
fn facts(root: &Path) -> MachineFacts {
    // What it would be made in, before there is one.
    let root = root.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/"));
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (cgroup_versions, controllers) = cgroup::versions_and_controllers().unwrap_or_default();
    MachineFacts {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        missing_calls: missing_calls(),
        missing_capabilities: missing_capabilities(),
        namespaces: probe::child(Attempt::Pods, None),
        user_namespaces: probe::child(Attempt::Users, Some(root)),
        root: root.display().to_string(),
        overlay: overlay(root),
        cgroup_versions,
        controllers,
        cgroup: cgroup_trial(),
        seccomp_actions: read("/proc/sys/kernel/seccomp/actions_avail").split_whitespace().map(str::to_owned).collect(),
        links: probe::child(Attempt::Links, None),
        nft: net::has_nft().then(|| probe::child(Attempt::Nft, None)),
        forwarding: if net::forwards() { Ok(()) } else { probe::child(Attempt::Forwarding, None) },
        ipv6: net::has_ipv6(),
        now: jiff::Timestamp::now().as_second(),
        synchronised: timekeeping::is_synchronised(),
        space: space(root).map_err(|e| format!("{}: {e}", root.display())),
        swaps: read("/proc/swaps").lines().count() > 1,
        open_files: rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX),
        watch: watch().map_err(|e| format!("a directory cannot be watched: {e}")),
        boot_id: !read("/proc/sys/kernel/random/boot_id").is_empty(),
    }
}

fn missing_calls() -> Vec<&'static str> {
    let openat2 = rustix::fs::openat2(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::empty());
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let tried = [
        ("openat2", openat2.map(drop).map_err(io::Error::from)),
        ("pidfd_open", pidfd::open(own).map(drop)),
        ("mount_setattr", mount::has_attributes()),
        ("close_range", spawn::has_close_range()),
    ];
    tried.into_iter().filter(|(_, made)| made.is_err()).map(|(name, _)| name).collect()
}

fn missing_capabilities() -> Vec<&'static str> {
    let have = native::capability_set("CapEff").unwrap_or(0);
    CAPABILITIES.iter().filter(|(number, _)| have & (1 << number) == 0).map(|(_, name)| *name).collect()
}

fn overlay(root: &Path) -> Result<Overlay, String> {
    let Err(why) = probe::overlay_in(root) else { return Ok(Overlay::OnDisk) };
    match probe::overlay_in_memory(root) {
        Ok(()) => Ok(Overlay::InMemory(why)),
        Err(_) => Err(why),
    }
}

fn cgroup_trial() -> Trial {
    let path = format!("/podwright-doctor-{}", std::process::id());
    let made = cgroup::create(&path);
    // Also what was made of it before something failed.
    let removed = cgroup::remove(&path);
    made.and(removed).map_err(|e| format!("no cgroup can be made: {e}"))
}

fn space(root: &Path) -> io::Result<Space> {
    let found = rustix::fs::statvfs(root)?;
    Ok(Space {
        free: found.f_bavail.saturating_mul(found.f_frsize),
        total: found.f_blocks.saturating_mul(found.f_frsize),
        free_files: (found.f_files > 0).then_some(found.f_favail),
        is_read_only: found.f_flag.contains(StatVfsMountFlags::RDONLY),
    })
}

fn watch() -> io::Result<()> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watch, "/", inotify::WatchFlags::CREATE)?;
    Ok(())
}
