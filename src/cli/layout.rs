//! Where everything of one root lives, and its instance id.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::port::{ErrorKind, PortError};

/// The root that is meant when nobody says otherwise.
const DEFAULT_STATE: &str = "/var/lib/podwright";
const DEFAULT_RUN: &str = "/run/podwright";

/// The two directories of one root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What outlives the machine: records, images, volumes.
    pub state: PathBuf,
    /// What ends with it: sockets, tmpfs mounts, the newest status.
    pub run: PathBuf,
}

impl Layout {
    /// The directories of `root`, which is made absolute below `current`. The default root keeps its run-time state in
    /// /run, every other one below itself.
    pub fn new(root: Option<&Path>, current: &Path) -> Self {
        let state = current.join(root.unwrap_or(Path::new(DEFAULT_STATE)));
        let run = if state == Path::new(DEFAULT_STATE) { PathBuf::from(DEFAULT_RUN) } else { state.join("run") };
        Self { state, run }
    }

    /// The REST socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("api.sock")
    }

    /// The newest status document, wherever else it is written.
    pub fn status(&self) -> PathBuf {
        self.run.join("status.yaml")
    }

    /// The last projection, for commands that find no agent.
    pub fn snapshot(&self) -> PathBuf {
        self.state.join("snapshot.json")
    }

    /// Held by whoever changes pods.
    pub fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// The image store.
    pub fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    /// The pods' records.
    pub fn pods(&self) -> PathBuf {
        self.state.join("pods")
    }

    /// The durable half of the ledger.
    pub fn ledger(&self) -> PathBuf {
        self.state.join("ledger.json")
    }

    /// Makes the state directory, for root alone.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn prepare(&self) -> Result<(), PortError> {
        let make = |dir: &Path| {
            DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| {
                let error = PortError::io("make the directory", dir.display().to_string(), &e);
                match error.kind {
                    ErrorKind::Denied => {
                        error.with_help("run it as root, or name a directory you can write with --root")
                    }
                    ErrorKind::Exhausted => error.with_help("make room there, or name another directory with --root"),
                    _ => error,
                }
            })
        };
        make(&self.state)?;
        make(&self.run)
    }

    /// The root's instance id, 8 hexadecimal digits: made at the first call, the same ever after.
    ///
    /// # Errors
    /// When it can be neither read nor written, or is none.
    pub fn instance(&self) -> Result<String, PortError> {
        let path = self.state.join("instance");
        let failed = |e: &io::Error| PortError::io("read the instance id", path.display().to_string(), e);
        match std::fs::read_to_string(&path) {
            Ok(text) => check(text.trim(), &path),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let id = random().map_err(|e| failed(&e))?;
                // Two commands may come here at once: whoever links first names the root.
                let temporary = self.state.join(format!("instance.tmp.{}", std::process::id()));
                let written =
                    write_synced(&temporary, &id).and_then(|()| match std::fs::hard_link(&temporary, &path) {
                        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
                        _ => std::fs::File::open(&self.state)?.sync_all(),
                    });
                // The link is what counts; without it the error below is what is told.
                let _ = std::fs::remove_file(&temporary);
                written.map_err(|e| PortError::io("write the instance id", path.display().to_string(), &e))?;
                let text = std::fs::read_to_string(&path).map_err(|e| failed(&e))?;
                check(text.trim(), &path)
            }
            Err(e) => Err(failed(&e)),
        }
    }
}

fn check(text: &str, path: &Path) -> Result<String, PortError> {
    if text.len() == 8 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(text.to_owned());
    }
    let message = "it is not 8 hexadecimal digits";
    Err(PortError::new(ErrorKind::Corrupt, "read the instance id", path.display().to_string(), message)
        .with_help("restore it: bridge, cgroups and rules of the running pods are named after it"))
}

fn random() -> io::Result<String> {
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

fn write_synced(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_root_runs_in_run_and_every_other_one_below_itself() {
        let here = Path::new("/home/me");
        let default = Layout::new(None, here);
        assert_eq!(
            (default.state.to_str(), default.run.to_str()),
            (Some("/var/lib/podwright"), Some("/run/podwright"))
        );
        assert_eq!(Layout::new(Some(Path::new("/var/lib/podwright")), here), default);
        let other = Layout::new(Some(Path::new("pods")), here);
        assert_eq!((other.state.to_str(), other.run.to_str()), (Some("/home/me/pods"), Some("/home/me/pods/run")));
        assert_eq!(other.socket(), Path::new("/home/me/pods/run/api.sock"));
    }

    #[test]
    fn the_instance_id_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Some(dir.path()), Path::new("/"));
        layout.prepare().unwrap();
        let id = layout.instance().unwrap();
        assert_eq!(id.len(), 8);
        assert_eq!(layout.instance().unwrap(), id);
        std::fs::write(dir.path().join("instance"), "../../etc").unwrap();
        assert_eq!(layout.instance().unwrap_err().kind, ErrorKind::Corrupt);
    }
}
