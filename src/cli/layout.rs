//! Where everything of one root lives, and its instance id.

#[cfg(target_os = "linux")]
use std::io;
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
use crate::port::{ErrorKind, PortError};
#[cfg(target_os = "linux")]
use crate::sys::beneath::Dir;
#[cfg(target_os = "linux")]
use crate::sys::effect;

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

    /// The events, for the agent after this one.
    pub fn events(&self) -> PathBuf {
        self.run.join("events.json")
    }

    /// Held by whoever changes pods.
    pub fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// The keys of its service accounts.
    pub fn pki(&self) -> PathBuf {
        self.state.join("pki")
    }

    /// The image store.
    pub fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    /// The objects that were provisioned on this machine.
    pub fn local(&self) -> PathBuf {
        self.state.join("local")
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
    #[cfg(target_os = "linux")]
    pub fn prepare(&self) -> Result<(), PortError> {
        let make = |dir: &Path| {
            effect::make_dirs(dir, 0o700).map_err(|e| {
                let error = PortError::io("make the directory", dir.display().to_string(), &e);
                match error.kind {
                    ErrorKind::Denied => {
                        error.with_help("run it as root, or name a directory you can write with --root").see_doctor()
                    }
                    ErrorKind::Exhausted => {
                        error.with_help("make room there, or name another directory with --root").see_doctor()
                    }
                    _ => error,
                }
            })
        };
        make(&self.state)?;
        make(&self.run)
    }

    /// The root's instance id, 8 hexadecimal digits: made at the first call, which nobody else may make at the same time,
    /// and the same ever after.
    ///
    /// # Errors
    /// When it can be neither read nor written, or is none.
    #[cfg(target_os = "linux")]
    pub fn instance(&self) -> Result<String, PortError> {
        let path = self.state.join("instance");
        let failed = |e: &io::Error| PortError::io("read the instance id", path.display().to_string(), e);
        match std::fs::read_to_string(&path) {
            Ok(text) => check(text.trim(), &path),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let id = random().map_err(|e| failed(&e))?;
                let line = format!("{id}\n");
                let written =
                    Dir::open(&self.state).and_then(|state| effect::replace(&state, "instance", line.as_bytes()));
                written.map_err(|e| PortError::io("write the instance id", path.display().to_string(), &e))?;
                Ok(id)
            }
            Err(e) => Err(failed(&e)),
        }
    }
}

#[cfg(target_os = "linux")]
fn check(text: &str, path: &Path) -> Result<String, PortError> {
    if text.len() == 8 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(text.to_owned());
    }
    let message = "it is not 8 hexadecimal digits";
    Err(PortError::new(ErrorKind::Corrupt, "read the instance id", path.display().to_string(), message)
        .with_help("restore it: bridge, cgroups and rules of the running pods are named after it"))
}

#[cfg(target_os = "linux")]
fn random() -> io::Result<String> {
    use std::io::Read as _;

    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
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
