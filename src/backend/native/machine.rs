//! What is asked of the machine itself: its capabilities, devices and name.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::spec::{CgroupView, HostDevice};
use crate::sys::beneath::Dir;
use crate::sys::{cgroup, effect};

/// How deep and how many: `/dev` is the machine's own, but bounded all the same.
const DEEPEST: usize = 8;
const MOST: usize = 4096;
/// Directories of `/dev` that a container has for itself.
const OWN: [&str; 6] = ["pts", "shm", "fd", "mqueue", "console", ".udev"];

/// One of the capability sets of this process, by its name in `/proc/self/status`: `CapEff`, `CapBnd`.
///
/// # Errors
/// When /proc does not tell.
pub fn capability_set(name: &str) -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    let set = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    set.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/self/status tells no {name}")))
}

/// The machine's memory in bytes.
pub(super) fn memory() -> u64 {
    let found = rustix::system::sysinfo();
    found.totalram.saturating_mul(u64::from(found.mem_unit))
}

/// The machine's host name.
pub(super) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Makes a cgroup and says how its processes are to see it. `stand` is made for those who need one.
pub(super) fn cgroup_view(path: &str, stand: &Path) -> io::Result<CgroupView> {
    const TOP: &str = "/sys/fs/cgroup";
    cgroup::create(path)?;
    let mut out = Vec::new();
    for (dir, _) in cgroup::places(path)? {
        let mount = dir.ancestors().nth(Path::new(path).components().count() - 1);
        match mount.and_then(|m| m.strip_prefix(TOP).ok()).and_then(Path::to_str) {
            Some("") => return Ok(CgroupView::Unified),
            Some(name) if !name.contains('/') => {
                // `cpu,cpuacct` is known by its parts too.
                let parts = name.split(',').filter(|part| *part != name).map(str::to_owned);
                out.extend(parts.map(|part| (part, dir.clone())));
                out.push((name.to_owned(), dir.clone()));
            }
            // Mounted in an odd place: the container does without.
            Some(_) | None => {}
        }
    }
    out.sort();
    for (name, _) in &out {
        effect::make_dirs(&stand.join(name), 0o755)?;
    }
    Ok(CgroupView::Split { stand: stand.to_owned(), dirs: out })
}

/// Every device node of the machine, for privileged containers.
pub(super) fn devices() -> io::Result<Vec<HostDevice>> {
    let mut out = Vec::new();
    walk(&Dir::open(Path::new("/dev"))?, Path::new("/dev"), 0, &mut out)?;
    Ok(out)
}

fn walk(dir: &Dir, path: &Path, depth: usize, out: &mut Vec<HostDevice>) -> io::Result<()> {
    for name in dir.names()? {
        let Some(stat) = dir.stat(Path::new(&name))? else { continue };
        let place: PathBuf = path.join(&name);
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::BlockDevice => 'b',
            FileType::CharacterDevice => 'c',
            FileType::Directory if depth < DEEPEST && !OWN.iter().any(|own| *own == name) => {
                walk(&dir.sub(Path::new(&name))?, &place, depth + 1, out)?;
                continue;
            }
            _ => continue,
        };
        if OWN.iter().any(|own| *own == name) || out.len() >= MOST {
            continue;
        }
        out.push(HostDevice {
            path: place,
            kind,
            major: rustix::fs::major(stat.st_rdev),
            minor: rustix::fs::minor(stat.st_rdev),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
        });
    }
    Ok(())
}
