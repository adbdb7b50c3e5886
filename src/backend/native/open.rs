//! The directories of a root, and whether pods can run there at all.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::paths::{POINTS, Paths, shown};
use super::{machine, mount_points, observe, records};
use crate::port::{ErrorKind, PortError};
use crate::sys::beneath::Dir;
use crate::sys::effect;

const OPEN: &str = "open root directory";
/// The way out where the machine refuses.
pub(super) const NEEDS_ROOT: &str =
    "run it as root: namespaces and mounts need CAP_SYS_ADMIN, which a container without privileges does not have";
const CAP_SYS_ADMIN: u64 = 1 << 21;
/// Written and removed again: a full disk shows here and not in the middle of a pod.
const PROBE: &str = ".probe";
const PROBE_SIZE: usize = 64 << 10;

/// Makes the directories and checks that they can be written to.
pub(super) fn prepare(paths: &Paths) -> Result<(), PortError> {
    let id = &paths.instance;
    if id.len() != 8 || !id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        let message = format!("the instance id {id:?} is not 8 hexadecimal digits");
        return Err(PortError::new(ErrorKind::Invalid, OPEN, shown(&paths.state), message));
    }
    if !paths.state.is_absolute() || !paths.run.is_absolute() {
        return Err(PortError::new(ErrorKind::Invalid, OPEN, shown(&paths.state), "it is no absolute path"));
    }
    for dir in [&paths.state, &paths.run] {
        let made = Dir::make(dir, 0o700).map_err(|e| refused(dir, &e))?;
        probe(&made).map_err(|e| refused(dir, &e))?;
    }
    for dir in [paths.pods(), paths.logs(), paths.run_pods(), paths.empty()] {
        Dir::make(&dir, 0o700).map_err(|e| refused(&dir, &e))?;
    }
    mount_points::make(&paths.state, POINTS).map_err(|e| refused(&paths.points(), &e))?;
    let have = machine::capability_set("CapEff").map_err(|e| PortError::io(OPEN, shown(&paths.state), &e))?;
    if have & CAP_SYS_ADMIN == 0 {
        let message = "this process may not make namespaces and mounts (CAP_SYS_ADMIN is missing)";
        return Err(PortError::new(ErrorKind::Denied, OPEN, shown(&paths.state), message)
            .with_help("run it as root")
            .see_doctor());
    }
    versions(paths)
}

/// Refuses a root whose pods a newer program wrote, before anything is touched.
fn versions(paths: &Paths) -> Result<(), PortError> {
    for uid in observe::uids(paths)? {
        observe::record(paths, &uid).map_err(|error| unread(error, &paths.pod(&uid)))?;
        // What else hinders is told when the pods are looked at, and keeps none of the others.
        let Ok(names) = observe::instances(paths, &uid) else { continue };
        for name in names {
            match observe::state(&paths.instance_dir(&name)) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    let help = "run that one, or remove its pods with its `podwright down`";
                    return Err(PortError::io(OPEN, uid.to_string(), &error).with_help(help));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// A record that cannot be read: with another pod of its name it would run twice.
fn unread(error: PortError, dir: &Path) -> PortError {
    if error.kind == ErrorKind::Invalid {
        return error;
    }
    let help = format!("look after its disk; or move {} away, which gives the pod up, and start again", shown(dir));
    error.with_help(help)
}

fn probe(dir: &Dir) -> io::Result<()> {
    dir.remove_tree(OsStr::new(PROBE))?;
    let written = dir.create_file(OsStr::new(PROBE), 0o600).and_then(|file| {
        effect::write(&file, &[0; PROBE_SIZE])?;
        effect::sync(&file)
    });
    dir.remove_tree(OsStr::new(PROBE))?;
    written
}

fn refused(dir: &Path, error: &io::Error) -> PortError {
    let out = PortError::io(OPEN, shown(dir), error);
    let out = match (error.kind(), out.kind) {
        (io::ErrorKind::ReadOnlyFilesystem, _) => {
            out.with_help("mount its file system for writing, or choose another directory with --root")
        }
        (_, ErrorKind::Denied) => out.with_help("run it as root, or choose a directory of your own with --root"),
        (_, ErrorKind::Exhausted) => out.with_help("make room there, or choose another directory with --root"),
        (io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists, _) => {
            return out.with_help("a file is in the way: choose another directory with --root");
        }
        _ => return out,
    };
    out.see_doctor()
}

/// Names of directories in a place that look like pods.
pub(super) fn pod_directories(place: &Path) -> Result<Vec<String>, PortError> {
    records::directories(place).map_err(|e| PortError::io("list", shown(place), &e))
}
