//! The leases on disk: `network/leases.json` below the state directory, replaced as a whole. They are of this boot: after a
//! power cut nobody is connected to what the pods had. What outlives it, the subnet, stands in `network/subnet.json` too.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::lease::Leases;
use crate::model::Versioned;
use crate::port::{ErrorKind, PortError};
use crate::sys::beneath::Dir;
use crate::sys::effect;

const NAME: &str = "leases.json";
/// The leases without the pods: what is to outlive a power cut.
const LASTING: &str = "subnet.json";
/// Some 65,000 leases with ports.
const LIMIT: u64 = 32 << 20;

/// Where the leases are kept.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    /// What is to outlive a power cut was kept by this process.
    lasts: AtomicBool,
}

impl Store {
    pub(super) fn new(state: &Path) -> Self {
        Self { dir: state.join("network"), lasts: AtomicBool::new(false) }
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
        // A power cut may take a name that was not waited for.
        if self.exists() { self.read_named(NAME) } else { Ok(self.read_lasting()) }
    }

    /// What was kept of the leases but for the pods; nothing when it is damaged, too.
    pub(super) fn read_lasting(&self) -> Leases {
        self.read_named(LASTING).unwrap_or_default()
    }

    fn read_named(&self, name: &str) -> Result<Leases, PortError> {
        let file = self.dir.join(name);
        let failed = |e: &io::Error| PortError::io("read", file.display().to_string(), e);
        let dir = match Dir::open(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Leases::default()),
            other => other.map_err(|e| failed(&e))?,
        };
        let mut bytes = Vec::new();
        match dir.open_file(Path::new(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Leases::default()),
            file => file.and_then(|f| f.take(LIMIT).read_to_end(&mut bytes)).map_err(|e| failed(&e))?,
        };
        let corrupt = |e: serde_json::Error| {
            PortError::new(ErrorKind::Corrupt, "read", file.display().to_string(), e.to_string())
                .with_help("restart the machine: without pods the file is made anew")
        };
        // First, since the rest of a newer one may be anything.
        let version = Versioned::of(&bytes);
        if version > Leases::VERSION {
            let message = format!("its version {version} is newer than this program's");
            return Err(PortError::new(ErrorKind::Invalid, "read", file.display().to_string(), message)
                .with_help("use the podwright that wrote it, or a newer one"));
        }
        serde_json::from_slice(&bytes).map_err(corrupt)
    }

    /// Keeps them, and first what is to outlive a power cut, when it is another or no write of this process has kept it yet.
    pub(super) fn write(&self, leases: &Leases, before: &Leases) -> Result<(), PortError> {
        let failed = |name: &'static str| {
            move |e: io::Error| PortError::io("write", self.dir.join(name).display().to_string(), &e)
        };
        let dir = Dir::make(&self.dir, 0o700).map_err(failed(""))?;
        let lasting = leases.lasting();
        if !self.lasts.load(Ordering::Acquire) || lasting != before.lasting() {
            effect::replace(&dir, LASTING, &bytes(&lasting)).map_err(failed(LASTING))?;
            self.lasts.store(true, Ordering::Release);
        }
        effect::replace_for_now(&dir, NAME, &bytes(leases)).map_err(failed(NAME))
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

fn bytes(leases: &Leases) -> Vec<u8> {
    serde_json::to_vec_pretty(leases).expect("invariant: leases have nothing that JSON cannot say")
}
