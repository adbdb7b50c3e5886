//! Cgroups in every mounted hierarchy at once: version 1 (one per controller), version 2, and both side by side. A path is
//! absolute from the hierarchy's root, such as `/podwright-1a2b3c4d/monitors`. Processes belong into leaves only: version
//! 2 allows nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::CWD;

use super::bounded::kernel_text;
use super::{effect, pidfd};

/// How long processes are given to die of SIGKILL.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How long a directory is given to become free: the kernel empties it shortly after its last process is gone.
const REMOVE_PATIENCE: Duration = Duration::from_secs(2);
const SIGKILL: i32 = 9;
/// The kernel gives every cgroup this mode.
const MODE: u32 = 0o755;

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    mount: PathBuf,
    /// Its device number, as `stat` says it.
    device: u64,
    unified: bool,
    /// Version 1: the controllers (`cpu`, `cpuacct`) or the name (`name=systemd`), among other options.
    options: Vec<String>,
}

impl Hierarchy {
    pub(crate) fn dir(&self, path: &Path) -> PathBuf {
        self.mount.join(path)
    }

    fn is_mounted(&self) -> bool {
        fs::metadata(&self.mount).is_ok_and(|m| m.dev() == self.device)
    }

    /// The path of a process in this hierarchy, from its `/proc/<pid>/cgroup`.
    fn path_in<'a>(&self, text: &'a str) -> Option<&'a str> {
        text.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let matches = match self.unified {
                true => controllers.is_empty(),
                false => controllers.split(',').any(|c| self.options.iter().any(|o| o == c)),
            };
            matches.then_some(path)
        })
    }
}

/// Names the file in an error, which the system does not.
pub(super) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut devices = BTreeSet::new();
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
        let mount: Vec<&str> = mount.split(' ').collect();
        let filesystem: Vec<&str> = filesystem.split(' ').collect();
        let ([_, _, device, _, point, ..], [kind, ..]) = (&mount[..], &filesystem[..]) else { continue };
        // A hierarchy that is mounted twice has one device number.
        if !["cgroup", "cgroup2"].contains(kind) || !devices.insert((*device).to_owned()) {
            continue;
        }
        let Some((major, minor)) = device.split_once(':') else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        found.push(Hierarchy {
            mount: PathBuf::from(super::mount::unescape(point)),
            device: rustix::fs::makedev(major, minor),
            unified: *kind == "cgroup2",
            options: filesystem.last().iter().flat_map(|o| o.split(',')).map(str::to_owned).collect(),
        });
    }
    found
}

/// What [`hierarchies`] found last, and when it was last seen to be so. The table of mounts grows with every pod, and a pod asks
/// for it a dozen times.
static FOUND: Mutex<Option<(Arc<[Hierarchy]>, Instant)>> = Mutex::new(None);
/// So long hierarchies are taken to be where they were: a pod is started within it.
const SEEN: Duration = Duration::from_millis(50);

/// Every mounted hierarchy. They are read again when one of them is no longer there; one that is mounted later counts from
/// the next start of this process on.
///
/// # Errors
/// From the system; `Unsupported` when none is mounted.
pub(crate) fn hierarchies() -> io::Result<Arc<[Hierarchy]>> {
    let mut kept = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((found, seen)) = kept.as_mut() {
        if seen.elapsed() < SEEN {
            return Ok(found.clone());
        }
        if found.iter().all(Hierarchy::is_mounted) {
            *seen = Instant::now();
            return Ok(found.clone());
        }
    }
    let found: Arc<[Hierarchy]> = parse(&super::mount::table("self")?).into();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "no cgroup hierarchy is mounted"));
    }
    *kept = Some((found.clone(), Instant::now()));
    Ok(found)
}

/// The path relative to a hierarchy's root.
fn relative(path: &str) -> io::Result<&Path> {
    let refused = || io::Error::new(io::ErrorKind::InvalidInput, format!("{path:?} is no path of a cgroup"));
    let relative = Path::new(path.strip_prefix('/').ok_or_else(refused)?);
    let plain = relative.components().all(|c| matches!(c, Component::Normal(_)));
    if relative.as_os_str().is_empty() || !plain { Err(refused()) } else { Ok(relative) }
}

/// A new cgroup of the version 1 cpuset controller takes no process until it has processors and memory nodes: it gets those of
/// its parent, which may have none itself when it was made by a process that was killed right then.
fn inherit_cpuset(mount: &Path, dir: &Path, file: &str) -> io::Result<String> {
    let own = dir.join(file);
    let value = kernel_text(&own)?;
    let Some(parent) = dir.parent().filter(|_| value.trim().is_empty() && dir != mount) else { return Ok(value) };
    let value = inherit_cpuset(mount, parent, file)?;
    effect::write_existing(&own, value.trim()).map_err(|e| named(&own, &e))?;
    Ok(value)
}

/// Hands the controllers of a version 2 cgroup on to its children, each as far as the kernel allows it: a controller that
/// is bound elsewhere, or a kernel without it, must not stop a pod that does not need it.
fn delegate(dir: &Path) {
    let control = dir.join("cgroup.subtree_control");
    let Ok(controllers) = kernel_text(&dir.join("cgroup.controllers")) else { return };
    let Ok(delegated) = kernel_text(&control) else { return };
    for controller in controllers.split_ascii_whitespace() {
        if !delegated.split_ascii_whitespace().any(|d| d == controller) {
            let _ = effect::write_existing(&control, &format!("+{controller}"));
        }
    }
}

/// Makes a directory of a hierarchy, and its parents when it cannot be made without: they are there as a rule.
fn create_in(hierarchy: &Hierarchy, dir: &Path) -> io::Result<()> {
    let make = || match effect::make_dir_at(CWD, dir, MODE) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    let prepare = || match dir.parent() {
        // Before there is anybody in it who would be in the way.
        Some(parent) if hierarchy.unified => delegate(parent),
        _ => {}
    };
    prepare();
    let made = match (make(), dir.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound && parent != hierarchy.mount => {
            create_in(hierarchy, parent)?;
            prepare();
            make()
        }
        (made, _) => made,
    };
    made.map_err(|e| named(dir, &e))?;
    if !hierarchy.unified && hierarchy.options.iter().any(|o| o == "cpuset") {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            inherit_cpuset(&hierarchy.mount, dir, file)?;
        }
    }
    Ok(())
}

/// The versions of cgroups that are mounted, and the controllers that one of them has.
///
/// # Errors
/// From the system; `Unsupported` when none is mounted.
pub fn versions_and_controllers() -> io::Result<(BTreeSet<u8>, BTreeSet<String>)> {
    let (mut versions, mut controllers) = (BTreeSet::new(), BTreeSet::new());
    for hierarchy in hierarchies()?.iter() {
        versions.insert(if hierarchy.unified { 2 } else { 1 });
        let listed = fs::read_to_string(hierarchy.mount.join("cgroup.controllers")).unwrap_or_default();
        let of_unified = listed.split_ascii_whitespace().map(str::to_owned);
        controllers.extend(if hierarchy.unified { of_unified.collect() } else { hierarchy.options.clone() });
    }
    Ok((versions, controllers))
}

/// Makes the cgroup and its parents in every hierarchy. One that exists is fine.
///
/// # Errors
/// From the system; `InvalidInput` for a path that is not absolute or has `..`.
pub fn create(path: &str) -> io::Result<()> {
    let path = relative(path)?;
    hierarchies()?.iter().try_for_each(|h| create_in(h, &h.dir(path)))
}

/// Makes the cgroup for one process alone, which its parent could have as well: where version 2 asks for leaves, and where
/// memory is counted, for the kernel says there whether the process had enough. Without either the first hierarchy has it: who
/// is in it is found there. Elsewhere that process belongs into the parent: see [`places_alone`].
///
/// # Errors
/// As [`create`].
pub(super) fn create_alone(path: &str) -> io::Result<()> {
    let path = relative(path)?;
    let hierarchies = hierarchies()?;
    hierarchies.iter().filter(|h| has_leaves(h, &hierarchies)).try_for_each(|h| create_in(h, &h.dir(path)))
}

/// As [`places`], of a cgroup that [`create_alone`] makes.
///
/// # Errors
/// As [`places`].
pub(super) fn places_alone(path: &str) -> io::Result<Vec<(PathBuf, bool)>> {
    let path = relative(path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent =
        parent.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a cgroup of its own has a parent"))?;
    let hierarchies = hierarchies()?;
    let place = |h: &Hierarchy| (h.dir(if has_leaves(h, &hierarchies) { path } else { parent }), h.unified);
    Ok(hierarchies.iter().map(place).collect())
}

fn has_leaves(hierarchy: &Hierarchy, all: &[Hierarchy]) -> bool {
    let wants = |h: &Hierarchy| h.unified || h.options.iter().any(|option| option == "memory");
    wants(hierarchy) || !all.iter().any(wants) && all.first() == Some(hierarchy)
}

/// The cgroup's directory in every hierarchy, whether or not it exists, and whether that is the one of version 2.
///
/// # Errors
/// `InvalidInput` for a bad path; whatever else the system says.
pub(crate) fn places(path: &str) -> io::Result<Vec<(PathBuf, bool)>> {
    let path = relative(path)?;
    Ok(hierarchies()?.iter().map(|h| (h.dir(path), h.unified)).collect())
}

/// As [`places`], of the cgroups that a process is in.
///
/// # Errors
/// From the system.
pub(super) fn places_of(pid: i32) -> io::Result<Vec<(PathBuf, bool)>> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let place = |h: &Hierarchy| Some((h.dir(Path::new(h.path_in(&text)?.trim_start_matches('/'))), h.unified));
    Ok(hierarchies()?.iter().filter_map(place).collect())
}

/// Moves a process into the cgroup, which is made if it is missing, in every hierarchy.
///
/// # Errors
/// As [`create`]; `ESRCH` when the process is gone.
pub fn enter(path: &str, pid: i32) -> io::Result<()> {
    create(path)?;
    let files = places(path)?.into_iter().map(|(dir, _)| dir.join("cgroup.procs"));
    files.into_iter().try_for_each(|file| effect::write_existing(&file, &pid.to_string()).map_err(|e| named(&file, &e)))
}

/// The cgroup's directory and those below it, parents first.
fn tree(top: PathBuf) -> Vec<PathBuf> {
    let mut dirs = vec![top];
    let mut next = 0;
    while let Some(dir) = dirs.get(next) {
        let children = fs::read_dir(dir).into_iter().flatten().flatten();
        let children: Vec<PathBuf> =
            children.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect();
        dirs.extend(children);
        next += 1;
    }
    dirs
}

fn members(hierarchies: &[Hierarchy], path: &Path) -> BTreeSet<i32> {
    listed(hierarchies.iter().flat_map(|h| tree(h.dir(path))))
}

fn listed(dirs: impl Iterator<Item = PathBuf>) -> BTreeSet<i32> {
    let lists = dirs.filter_map(|dir| kernel_text(&dir.join("cgroup.procs")).ok());
    // 0 stands for a process that our process namespace does not show.
    lists.flat_map(|l| l.lines().filter_map(|p| p.parse().ok()).filter(|p| *p > 0).collect::<Vec<i32>>()).collect()
}

/// The processes in the cgroup and below it, in any hierarchy.
///
/// # Errors
/// From the system.
pub fn pids(path: &str) -> io::Result<BTreeSet<i32>> {
    Ok(members(&hierarchies()?, relative(path)?))
}

/// As [`pids`], of the cgroups that a process is in.
///
/// # Errors
/// From the system.
pub(crate) fn pids_beside(pid: i32) -> io::Result<BTreeSet<i32>> {
    Ok(listed(places_of(pid)?.into_iter().flat_map(|(dir, _)| tree(dir))))
}

/// Which of these cgroups exists in any hierarchy, the first one of several.
///
/// # Errors
/// From the system; `InvalidInput` as in [`create`].
pub fn first(paths: &[String]) -> io::Result<Option<usize>> {
    let relatives = paths.iter().map(|path| relative(path)).collect::<io::Result<Vec<_>>>()?;
    for hierarchy in hierarchies()?.iter() {
        if let Some(index) = relatives.iter().position(|path| hierarchy.dir(path).is_dir()) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// The names of the cgroups right below it, in any hierarchy. A cgroup that does not exist has none.
///
/// # Errors
/// From the system.
pub fn children(path: &str) -> io::Result<BTreeSet<String>> {
    let path = relative(path)?;
    let hierarchies = hierarchies()?;
    let entries = hierarchies.iter().filter_map(|h| fs::read_dir(h.dir(path)).ok()).flatten().flatten();
    let dirs = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    Ok(dirs.filter_map(|e| e.file_name().into_string().ok()).collect())
}

/// Kills every process in the cgroup and below it, and waits until they are gone, a few seconds at most. A cgroup that
/// does not exist is empty.
///
/// # Errors
/// `TimedOut` when processes survived (stuck in the kernel); whatever else the system says.
pub fn kill_all(path: &str) -> io::Result<()> {
    let cgroup = relative(path)?;
    let hierarchies = hierarchies()?;
    let deadline = Instant::now() + KILL_PATIENCE;
    let mut pause = Duration::from_millis(1);
    loop {
        for hierarchy in hierarchies.iter() {
            let dir = hierarchy.dir(cgroup);
            // Only the hierarchies that have these files take part; a frozen process does not die.
            if hierarchy.unified {
                let _ = effect::write_existing(&dir.join("cgroup.kill"), "1");
            } else {
                let _ = effect::write_existing(&dir.join("freezer.state"), "THAWED");
            }
        }
        let listed = members(&hierarchies, cgroup);
        if listed.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{listed:?} in {path} survive SIGKILL")));
        }
        let opened: Vec<(i32, OwnedFd)> = listed.into_iter().filter_map(|p| Some((p, pidfd::open(p).ok()?))).collect();
        // Listed once more after the open: what the descriptors name is in the cgroup, and not a newcomer elsewhere.
        let confirmed = members(&hierarchies, cgroup);
        for (_, fd) in opened.iter().filter(|(p, _)| confirmed.contains(p)) {
            let _ = pidfd::send(fd, SIGKILL);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Removes the cgroup with everything below it from every hierarchy. One that does not exist is fine.
///
/// # Errors
/// `EBUSY` when processes are in it; whatever else the system says.
pub fn remove(path: &str) -> io::Result<()> {
    let path = relative(path)?;
    let deadline = Instant::now() + REMOVE_PATIENCE;
    for hierarchy in hierarchies()?.iter() {
        for dir in tree(hierarchy.dir(path)).into_iter().rev() {
            loop {
                match effect::remove_dir(&dir) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    Err(error) => return Err(named(&dir, &error)),
                }
            }
        }
    }
    Ok(())
}

/// Removes the cgroup from every hierarchy if nothing is in it or below it. One that does not exist is fine.
///
/// # Errors
/// From the system.
pub fn remove_empty(path: &str) -> io::Result<()> {
    let path = relative(path)?;
    for hierarchy in hierarchies()?.iter() {
        let dir = hierarchy.dir(path);
        match effect::remove_dir(&dir) {
            // Something is in it, and so it is in the other hierarchies.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Ok(()),
            other => other.map_err(|e| named(&dir, &e))?,
        }
    }
    Ok(())
}

/// The cgroup's directory in each hierarchy, where it exists.
///
/// # Errors
/// As [`pids`].
pub(crate) fn dirs(path: &str) -> io::Result<Vec<PathBuf>> {
    let path = relative(path)?;
    Ok(hierarchies()?.iter().map(|h| h.dir(path)).filter(|d| d.is_dir()).collect())
}

/// As [`dirs`], in the hierarchies alone that may have one of these controllers.
///
/// # Errors
/// `InvalidInput` for a bad path.
pub(super) fn dirs_of(hierarchies: &[Hierarchy], controllers: &[&str], path: &str) -> io::Result<Vec<PathBuf>> {
    let path = relative(path)?;
    let may_have = |h: &&Hierarchy| h.unified || h.options.iter().any(|o| controllers.contains(&o.as_str()));
    Ok(hierarchies.iter().filter(may_have).map(|h| h.dir(path)).filter(|d| d.is_dir()).collect())
}

/// Where the device rules of a cgroup go.
pub(crate) enum DevicesDir {
    /// Its directory in the hierarchy of version 1's controller for them.
    One(PathBuf),
    /// Its directory in the version 2 hierarchy.
    Two(PathBuf),
}

/// Where the device rules of a cgroup go: `None` when nobody keeps any.
///
/// # Errors
/// As [`pids`].
pub(crate) fn devices_dir(path: &str) -> io::Result<Option<DevicesDir>> {
    let path = relative(path)?;
    let hierarchies = hierarchies()?;
    if let Some(one) = hierarchies.iter().find(|h| !h.unified && h.options.iter().any(|o| o == "devices")) {
        return Ok(Some(DevicesDir::One(one.dir(path))));
    }
    Ok(hierarchies.iter().find(|h| h.unified).map(|h| DevicesDir::Two(h.dir(path))))
}

/// The file that counts the cgroup's OOM kills, if there is one.
///
/// # Errors
/// As [`pids`].
pub(crate) fn oom_file(path: &str) -> io::Result<Option<PathBuf>> {
    let path = relative(path)?;
    let file = |h: &Hierarchy| h.dir(path).join(if h.unified { "memory.events" } else { "memory.oom_control" });
    Ok(hierarchies()?.iter().map(file).find(|f| f.exists()))
}

/// How many processes of the cgroup the kernel has killed for want of memory. 0 when nobody counts.
///
/// # Errors
/// `InvalidInput` for a bad path; whatever else the system says.
pub fn oom_kills(path: &str) -> io::Result<u64> {
    let Some(text) = oom_file(path)?.and_then(|file| fs::read_to_string(file).ok()) else { return Ok(0) };
    let count = text.lines().find_map(|l| l.strip_prefix("oom_kill ")).and_then(|n| n.trim().parse().ok());
    Ok(count.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_told_apart_by_device() {
        let found = parse(
            "30 20 0:25 / /sys/fs/cgroup/cpuset rw,relatime shared:1 - cgroup cgroup rw,cpuset\n\
             31 20 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
             32 20 0:25 / /mnt/again rw - cgroup cgroup rw,cpuset\n\
             33 20 0:27 / /odd\\040place rw - cgroup cgroup rw,memory\n\
             34 20 8:1 / / rw - ext4 /dev/vda rw\n",
        );
        let expect = |mount: &str, minor, options: &str| Hierarchy {
            mount: mount.into(),
            device: rustix::fs::makedev(0, minor),
            unified: minor == 26,
            options: options.split(',').map(str::to_owned).collect(),
        };
        let expected = [
            expect("/sys/fs/cgroup/cpuset", 25, "rw,cpuset"),
            expect("/sys/fs/cgroup/unified", 26, "rw"),
            expect("/odd place", 27, "rw,memory"),
        ];
        assert_eq!(found, expected);
        let own = "3:cpuset:/a\n2:memory:/b:c\n0::/d\n";
        let paths: Vec<_> = expected.iter().map(|h| h.path_in(own)).collect();
        assert_eq!(paths, [Some("/a"), Some("/d"), Some("/b:c")]);
    }

    #[test]
    fn what_is_kept_is_read_again_when_a_hierarchy_is_gone() {
        let Ok(found) = hierarchies() else { return };
        assert!(found.iter().all(Hierarchy::is_mounted));
        let gone = Hierarchy { mount: "/".into(), ..found[0].clone() };
        assert!(!gone.is_mounted(), "another file system is mounted there");
        let before = Instant::now().checked_sub(SEEN).unwrap();
        *FOUND.lock().unwrap() = Some(([gone].into(), before));
        assert_eq!(hierarchies().unwrap(), found);
    }

    #[test]
    fn a_process_alone_has_a_cgroup_where_it_needs_one() {
        let named = |kinds: &[&str]| {
            let one = |(device, kind): (usize, &&str)| Hierarchy {
                mount: "/".into(),
                device: device as u64,
                unified: *kind == "unified",
                options: vec!["rw".to_owned(), (*kind).to_owned()],
            };
            let all: Vec<Hierarchy> = kinds.iter().enumerate().map(one).collect();
            all.iter().map(|h| has_leaves(h, &all)).collect::<Vec<_>>()
        };
        assert_eq!(named(&["unified"]), [true]);
        assert_eq!(named(&["cpu", "pids"]), [true, false]);
        assert_eq!(named(&["cpu", "unified", "pids"]), [false, true, false]);
        assert_eq!(named(&["cpu", "memory", "unified"]), [false, true, true]);
    }

    #[test]
    fn paths_stay_below_the_root() {
        assert_eq!(relative("/a/b").unwrap(), Path::new("a/b"));
        for bad in ["", "/", "a", "/a/../b", "/..", "//"] {
            assert!(relative(bad).is_err(), "{bad:?}");
        }
    }
}
