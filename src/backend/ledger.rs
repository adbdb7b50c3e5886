//! The durable ledger as a file of the state directory.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::model::{Durable, Versioned};
use crate::port::{ErrorKind, LedgerStore, PortError};
use crate::sys::beneath::Dir;
use crate::sys::effect;

const SAVE: &str = "save the ledger";
const LOAD: &str = "read the ledger";
/// A ledger has a few hundred bytes.
const LARGEST: u64 = 1 << 20;

/// The version this program writes, and the newest it reads. What a later program adds without another version is left
/// out of account.
const VERSION: u32 = 1;

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Written<T> {
    /// Of this format; the first programs did not write it.
    #[serde(default)]
    version: u32,
    #[serde(flatten)]
    durable: T,
}

/// `ledger.json`: replaced whole, fsynced before and after.
#[derive(Clone, Debug)]
pub struct LedgerFile {
    path: PathBuf,
}

impl LedgerFile {
    /// The ledger at `path`, whose directory exists. Nothing is read or written yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// On a thread where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Path) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let path = self.path.clone();
        let subject = path.display().to_string();
        let joined = tokio::task::spawn_blocking(move || work(&path)).await;
        joined.unwrap_or_else(|e| Err(PortError::new(ErrorKind::Internal, operation, subject, e.to_string())))
    }
}

#[async_trait]
impl LedgerStore for LedgerFile {
    async fn load(&self) -> Result<Durable, PortError> {
        self.blocking(LOAD, load).await
    }

    async fn save(&self, durable: &Durable) -> Result<(), PortError> {
        let durable = durable.clone();
        self.blocking(SAVE, move |path| {
            save(path, &durable).map_err(|e| PortError::io(SAVE, path.display().to_string(), &e))
        })
        .await
    }
}

fn load(path: &Path) -> Result<Durable, PortError> {
    let subject = || path.display().to_string();
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Durable::default()),
        Err(e) => return Err(PortError::io(LOAD, subject(), &e)),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(|e| PortError::io(LOAD, subject(), &e))?;
    if let Some(place) = later(path, &bytes) {
        return Ok(Durable { set_aside: Some(place.display().to_string()), ..Durable::default() });
    }
    let written: Written<Durable> = serde_json::from_slice(&bytes).map_err(|e| {
        PortError::new(ErrorKind::Corrupt, LOAD, subject(), e.to_string()).with_help("remove it; it is written anew")
    })?;
    let mut durable = written.durable;
    // Somebody may have put it back, or thrown it away.
    durable.set_aside = durable.set_aside.filter(|place| Path::new(place).exists());
    Ok(durable)
}

/// Where a ledger is kept that a later program wrote; `None` for one that this program may write over. The rest of a later
/// one may be anything.
fn later(path: &Path, bytes: &[u8]) -> Option<PathBuf> {
    let version = Versioned::of(bytes);
    (version > VERSION).then(|| path.with_extension(format!("v{version}.json")))
}

fn save(path: &Path, durable: &Durable) -> std::io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Err(std::io::ErrorKind::InvalidInput.into());
    };
    if durable.set_aside.is_some() {
        set_aside(path)?;
    }
    let mut bytes = serde_json::to_vec(&Written { version: VERSION, durable })?;
    bytes.push(b'\n');
    effect::replace(&Dir::open(directory)?, name, &bytes)
}

/// Keeps the ledger of a later program under another name, on the disk before anything takes its place.
fn set_aside(path: &Path) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    match std::fs::File::open(path) {
        Ok(file) => file.take(LARGEST).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if let Some(place) = later(path, &bytes) {
        effect::move_path(path, &place)?;
    }
    Ok(())
}
