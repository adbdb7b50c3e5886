//! The leases on disk: `network/leases.json` below the state directory, replaced as a whole.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::lease::Leases;
use crate::port::{ErrorKind, PortError};
use crate::sys::beneath::Dir;
use crate::sys::effect;

const NAME: &str = "leases.json";
/// Some 65,000 leases with ports.
const LIMIT: u64 = 32 << 20;

/// Where the leases are kept.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
}

impl Store {
    pub(super) fn new(state: &Path) -> Self {
        Self { dir: state.join("network") }
    }

    fn file(&self) -> PathBuf {
        self.dir.join(NAME)
    }

    /// Whether anything was ever kept.
    pub(super) fn exists(&self) -> bool {
        self.file().exists()
    }

    /// What was kept; nothing at first.
    pub(super) fn read(&self) -> Result<Leases, PortError> {
        let failed = |e: &io::Error| PortError::io("read", self.file().display().to_string(), e);
        let dir = match Dir::open(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Leases::default()),
            other => other.map_err(|e| failed(&e))?,
        };
        let mut bytes = Vec::new();
        match dir.open_file(Path::new(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Leases::default()),
            file => file.and_then(|f| f.take(LIMIT).read_to_end(&mut bytes)).map_err(|e| failed(&e))?,
        };
        let corrupt = |e: serde_json::Error| {
            PortError::new(ErrorKind::Corrupt, "read", self.file().display().to_string(), e.to_string())
                .with_help("restart the machine: without pods the file is made anew")
        };
        let leases: Leases = serde_json::from_slice(&bytes).map_err(corrupt)?;
        if leases.version > Leases::VERSION {
            let message = format!("its version {} is newer than this program's", leases.version);
            return Err(PortError::new(ErrorKind::Invalid, "read", self.file().display().to_string(), message)
                .with_help("use the podwright that wrote it, or a newer one"));
        }
        Ok(leases)
    }

    /// Keeps them. What outlives a power cut is the subnet, with whichever leases: after it nobody is connected to what the pods
    /// had.
    pub(super) fn write(&self, leases: &Leases, before: &Leases) -> Result<(), PortError> {
        let write = || -> io::Result<()> {
            let dir = Dir::make(&self.dir, 0o700)?;
            let bytes = serde_json::to_vec_pretty(leases)?;
            if leases.subnet == before.subnet {
                effect::replace_and_sync_later(&dir, NAME, &bytes)
            } else {
                effect::replace(&dir, NAME, &bytes)
            }
        };
        write().map_err(|e| PortError::io("write", self.file().display().to_string(), &e))
    }

    /// Forgets everything.
    pub(super) fn remove(&self) -> Result<(), PortError> {
        let (parent, name) = (self.dir.parent().unwrap_or(Path::new("/")), self.dir.file_name().unwrap_or_default());
        match Dir::open(parent).and_then(|parent| parent.remove_tree(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(PortError::io("remove", self.dir.display().to_string(), &error))
            }
            _ => Ok(()),
        }
    }
}
