//! A running container, found by the records in its instance directory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use serde::Deserialize;

use super::{Started, oci, record};
use crate::port::{ErrorKind, PortError};
use crate::sys::{lock, pidfd};

/// A container that runs.
pub(super) struct Running {
    pub(super) started: Started,
    pub(super) pidfd: OwnedFd,
    pub(super) monitor: OwnedFd,
    pub(super) process: oci::Process,
    pub(super) annotations: BTreeMap<String, String>,
}

/// What is of use of a container's configuration later. The rest of it may be of another version of this program.
#[derive(Deserialize)]
struct Kept {
    process: oci::Process,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

pub(super) fn not_running(operation: &'static str, instance_dir: &Path) -> PortError {
    let subject = instance_dir.display().to_string();
    PortError::new(ErrorKind::NotFound, operation, subject, "the container does not run")
}

impl Running {
    pub(super) fn find(operation: &'static str, dir: &Path) -> Result<Self, PortError> {
        let failed = |error: io::Error| PortError::io(operation, dir.display().to_string(), &error);
        let not_running = || not_running(operation, dir);
        if !lock::is_held(&dir.join("lock")).map_err(failed)? {
            return Err(not_running());
        }
        let path = dir.join(record::STARTED);
        let started = match fs::read(&path) {
            Ok(bytes) => {
                record::check_version(&path, &bytes).map_err(failed)?;
                serde_json::from_slice::<Started>(&bytes).map_err(|e| failed(e.into()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_running()),
            Err(error) => return Err(failed(error)),
        };
        let pidfd = pidfd::open_same(started.pid, started.start_ticks).map_err(|_| not_running())?;
        let monitor = pidfd::open(started.monitor_pid);
        let kept = read_kept(&started, dir);
        // It has the lock until its end: what was found by its number was its own.
        if !lock::is_held(&dir.join("lock")).map_err(failed)? {
            return Err(not_running());
        }
        let monitor = monitor.map_err(failed)?;
        // What this version does not know of the configuration would be left out of what is run like the container.
        let Kept { process, annotations } = kept.map_err(|error| {
            failed(error).with_help("if another version of podwright started the container, use that one")
        })?;
        Ok(Self { started, pidfd, monitor, process, annotations })
    }
}

/// The configuration is in the memory of the monitor's mount namespace, nowhere else.
fn read_kept(started: &Started, dir: &Path) -> io::Result<Kept> {
    let root = Path::new("/proc").join(started.monitor_pid.to_string()).join("root");
    let path = root.join(dir.strip_prefix("/").unwrap_or(dir)).join("bundle/config.json");
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}
