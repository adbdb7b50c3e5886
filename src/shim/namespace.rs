//! The shim's own mount namespace: of the machine's mounts those that its container needs, and no others. The fewer there are,
//! the less the container's namespace costs, which begins as a copy; and what another pod or the machine unmounts is not kept
//! by us.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};

use super::ShimRequest;
use crate::sys::{effect, mount};

/// What every container needs of the machine's mounts.
const ALWAYS: &[&str] = &["/", "/proc", "/sys", "/dev", CGROUPS];

/// With whatever is mounted below.
const CGROUPS: &str = "/sys/fs/cgroup";

/// How many symbolic links the kernel follows in one path (path_resolution(7)).
const LINKS: usize = 40;

/// A path whose mount must stay, and whether whatever is mounted below it must, too.
type Needed = (PathBuf, bool);

/// Brings this process, which has one thread, into a mount namespace of its own.
pub(super) fn own(request: &ShimRequest) -> io::Result<()> {
    effect::own_mounts()?;
    // Mounts and, more important, unmounts of the machine still arrive here: no file system stays busy because of us.
    effect::propagate(Path::new("/"), MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)?;
    let needed = needed(request);
    let points = mount::points()?;
    let superfluous = superfluous(&points, &needed);
    if superfluous.is_empty() {
        return Ok(());
    }
    let kept = kept(&points, &superfluous, &needed);
    // On a root directory that the kernel does not take away, such as that of an initial RAM disk, or with mounts that it does
    // not copy, each goes by itself: the kernel waits for all processors after each.
    select(&kept, &request.instance_dir).or_else(|_| {
        // Hidden below another mount, or gone by itself: no matter.
        superfluous.iter().for_each(|point| drop(effect::unmount(point, UnmountFlags::DETACH)));
        Ok(())
    })
}

fn needed(request: &ShimRequest) -> Vec<Needed> {
    let mut paths: Vec<Needed> = ALWAYS.iter().map(|p| (PathBuf::from(p), *p == CGROUPS)).collect();
    let mut need = |path: &Path, tree| match real(path) {
        Ok(real) if real == path => paths.push((real, tree)),
        Ok(real) => {
            // It is opened by this name later on, by way of the links in it.
            paths.extend(links(path).into_iter().map(|link| (link, false)));
            paths.push((real, tree));
        }
        Err(_) => paths.push((path.to_owned(), tree)),
    };
    need(&request.instance_dir, false);
    need(&request.log_path, false);
    request.log_path.parent().into_iter().for_each(|p| need(p, false));
    request.lowers.iter().chain(request.images.iter().flat_map(|image| &image.layers)).for_each(|p| need(p, false));
    // A version 1 machine has a dozen of them for each container, and they stay anyway.
    let elsewhere = |source: &Path| !source.starts_with(CGROUPS);
    let sources = request.spec.mounts.iter().filter(|m| m.is_bind()).map(|m| &m.source);
    sources.filter(|source| elsewhere(source)).for_each(|source| need(source, true));
    paths
}

/// The path without symbolic links, as the kernel has found it: asking at each of its elements takes longer than a mount.
fn real(path: &Path) -> io::Result<PathBuf> {
    // Open until it was read.
    let file = open(path)?;
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Where the symbolic links are that a path leads by, each with none before it: as many as the kernel
/// follows.
fn links(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let (mut at, mut ahead) = (PathBuf::from("/"), path.to_owned());
    while let Some(first) = ahead.components().next() {
        let rest = ahead.components().skip(1).collect::<PathBuf>();
        match first {
            Component::RootDir | Component::Prefix(_) => at = PathBuf::from("/"),
            Component::CurDir => {}
            Component::ParentDir => drop(at.pop()),
            Component::Normal(name) => {
                let here = at.join(name);
                match fs::read_link(&here) {
                    Ok(target) if found.len() < LINKS => {
                        found.push(here);
                        ahead = target.join(rest);
                        continue;
                    }
                    _ => at = here,
                }
            }
        }
        ahead = rest;
    }
    found
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// Which mounts may go: those that no needed path lies on, and that do not lie below a needed tree. The topmost only, what
/// is below goes with them.
fn superfluous(points: &[PathBuf], needed: &[Needed]) -> Vec<PathBuf> {
    let is_needed = |point: &Path| needed.iter().any(|(p, tree)| is_in(p, point) || (*tree && is_in(point, p)));
    let mut gone: Vec<PathBuf> = Vec::new();
    for point in points {
        if !is_needed(point) && !gone.iter().any(|g| is_in(point, g)) {
            gone.push(point.clone());
        }
    }
    gone
}

/// The mounts that stay, those that lie on others after them, each with whether all below it is part of it: then these are not
/// named.
fn kept(points: &[PathBuf], superfluous: &[PathBuf], needed: &[Needed]) -> Vec<Needed> {
    let mut stay: Vec<&PathBuf> = points.iter().filter(|p| !superfluous.iter().any(|gone| is_in(p, gone))).collect();
    stay.sort_by_key(|point| (point.as_os_str().len(), point.as_path()));
    stay.dedup();
    let mut kept: Vec<Needed> = Vec::new();
    for point in stay {
        if !kept.iter().any(|(above, tree)| *tree && is_in(point, above)) {
            kept.push((point.clone(), needed.iter().any(|(path, tree)| *tree && path == point)));
        }
    }
    kept
}

/// Whether a path is another one or lies below it. Both are as the kernel gives them, absolute and with nothing to tidy up, so
/// that their bytes tell: `Path::starts_with` takes each of thousands of pairs apart.
fn is_in(path: &Path, top: &Path) -> bool {
    let top = top.as_os_str().as_bytes();
    let rest = path.as_os_str().as_bytes().strip_prefix(top);
    rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || top == b"/")
}

/// Makes copies of these mounts, the root directory's first, all that there are: one wait for all processors, however many go.
/// `place` is a directory that they can be put together at.
fn select(kept: &[Needed], place: &Path) -> io::Result<()> {
    // Where a directory within a mount is the root directory, there is no mount of it.
    let unfit = || io::Error::new(io::ErrorKind::InvalidInput, "the root directory is no mount of its own");
    let [(top, false), below @ ..] = kept else { return Err(unfit()) };
    if top != Path::new("/") {
        return Err(unfit());
    }
    let copy = |(point, tree): &Needed| effect::copy_mount(open(point)?, *tree);
    let root = &copy(&kept[0])?;
    let others = below.iter().map(copy).collect::<io::Result<Vec<OwnedFd>>>()?;
    let old = open(top)?;
    effect::place_mount(root, open(place)?)?;
    let put = || {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        for ((point, _), copy) in below.iter().zip(&others) {
            let on = rustix::fs::openat2(root, point, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
            effect::place_mount(copy, on)?;
        }
        effect::change_root(root, &old)
    };
    let selected = put();
    if selected.is_err() {
        effect::unmount(place, UnmountFlags::DETACH)?;
    }
    selected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_where_its_links_lead() {
        let temp = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(temp.path()).unwrap();
        fs::create_dir_all(top.join("there/below")).unwrap();
        std::os::unix::fs::symlink("there", top.join("link")).unwrap();
        assert_eq!(real(&top.join("link/below")).unwrap(), top.join("there/below"));
        assert!(real(&top.join("none")).is_err());
        // The way there, with links in links, up and down.
        std::os::unix::fs::symlink(top.join("there/../link"), top.join("there/to")).unwrap();
        let way = |path: &str| links(&top.join(path));
        assert_eq!(way("link/below"), [top.join("link")]);
        assert_eq!(way("link/to/below"), [top.join("link"), top.join("there/to"), top.join("link")]);
        assert_eq!(way("there/below"), [] as [PathBuf; 0]);
        std::os::unix::fs::symlink("round", top.join("round")).unwrap();
        assert_eq!(way("round/and").len(), LINKS);
    }

    #[test]
    fn only_mounts_that_nothing_needs_go() {
        let points: Vec<PathBuf> = [
            "/",
            "/proc",
            "/sys",
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/cpu",
            "/dev",
            "/dev/pts",
            "/var",
            "/var/lib/x/a/merged",
            "/home",
            "/home/u/mnt",
            "/data",
            "/data/sub",
            "/database",
            "/run",
            "/run/netns/a",
        ]
        .map(PathBuf::from)
        .to_vec();
        let needed = [
            ("/", false),
            ("/proc", false),
            ("/sys", false),
            ("/dev", false),
            ("/sys/fs/cgroup", true),
            ("/var/lib/podwright", false),
            ("/data", true),
            ("/run/volumes/v", true),
        ]
        .map(|(p, tree)| (PathBuf::from(p), tree));
        let gone = superfluous(&points, &needed);
        assert_eq!(gone, ["/dev/pts", "/var/lib/x/a/merged", "/home", "/database", "/run/netns/a"].map(PathBuf::from));
        let kept = kept(&points, &gone, &needed);
        let expected = [
            ("/", false),
            ("/dev", false),
            ("/run", false),
            ("/sys", false),
            ("/var", false),
            ("/data", true),
            ("/proc", false),
            ("/sys/fs/cgroup", true),
        ];
        assert_eq!(kept, expected.map(|(p, tree)| (PathBuf::from(p), tree)));
    }
}
