//! The records on disk, for commands that need no agent: which pods there are, and the instances of their containers.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::error::CliError;
use super::layout::Layout;
use crate::model::{ContainerRecord, Durable, ExitRecord, PodKey, PodRecord, PodUid, Revision, images_of};
use crate::port::{ErrorKind, PortError};
use crate::sys::bounded;

/// No larger record is read.
const LARGEST: u64 = 64 << 20;
const OPERATION: &str = "read the records in";

/// One instance of a container: its record and the directory it stands in.
#[derive(Clone, Debug)]
pub struct Instance {
    pub record: ContainerRecord,
    pub dir: PathBuf,
}

impl Instance {
    /// How it ended, if that is on record.
    pub fn exit(&self) -> Option<ExitRecord> {
        read(&self.dir.join("exit.json")).ok().flatten()
    }
}

/// Every pod on record, by name. No root directory means no pods.
///
/// # Errors
/// When the records cannot be read.
pub fn pods(layout: &Layout) -> Result<Vec<PodRecord>, CliError> {
    let mut found = Vec::new();
    for dir in directories(&layout.pods())? {
        // A pod whose record is not written yet, or was removed first, is no pod.
        found.extend(read::<PodRecord>(&dir.join("record.json"))?);
    }
    found.sort_by(|a, b| a.key.cmp(&b.key).then(a.created_at.cmp(&b.created_at)));
    Ok(found)
}

/// The pod of this name. While one is going and its successor is there, the successor.
///
/// # Errors
/// When it is not there, in kubectl's words, or cannot be read.
pub fn pod(layout: &Layout, key: &PodKey) -> Result<PodRecord, CliError> {
    let newest = pods(layout)?.into_iter().rfind(|p| p.key == *key);
    newest.ok_or_else(|| CliError::not_found("pods", &key.name))
}

/// The instances of one container, the oldest first.
///
/// # Errors
/// When the records cannot be read.
pub fn instances(layout: &Layout, uid: &PodUid, container: &str) -> Result<Vec<Instance>, CliError> {
    let mut found = Vec::new();
    for dir in directories(&layout.pods().join(&uid.0).join("containers").join(container))? {
        found.extend(read::<ContainerRecord>(&dir.join("record.json"))?.map(|record| Instance { record, dir }));
    }
    found.sort_by_key(|i| i.record.attempt);
    Ok(found)
}

/// Ids of the images that instances on record stand on.
///
/// # Errors
/// When the records cannot be read.
pub fn images_in_use(layout: &Layout) -> Result<Vec<String>, CliError> {
    let mut ids = Vec::new();
    for pod in directories(&layout.pods())? {
        for container in directories(&pod.join("containers"))? {
            for dir in directories(&container)? {
                let record = read::<ContainerRecord>(&dir.join("record.json"))?;
                ids.extend(record.iter().flat_map(ContainerRecord::image_ids).cloned());
            }
        }
    }
    ids.sort();
    ids.dedup();
    Ok(ids)
}

/// The images that pods on record are to run, as they name them.
///
/// # Errors
/// When the records cannot be read.
pub fn images_wanted(layout: &Layout) -> Result<Vec<String>, CliError> {
    let mut names = Vec::new();
    for pod in pods(layout)? {
        let Some(spec) = pod.realised.effective.open().spec else { continue };
        names.extend(images_of(spec));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The revision that was applied last, when a readable ledger has one.
pub fn last_applied(layout: &Layout) -> Option<Revision> {
    read::<Durable>(&layout.ledger()).ok().flatten()?.last_applied
}

/// The directories in `path`; none when it is not there.
fn directories(path: &Path) -> Result<Vec<PathBuf>, CliError> {
    let failed = |e: &io::Error| CliError::from(PortError::io(OPERATION, path.display().to_string(), e));
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(&e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| failed(&e))?;
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// One record; `None` when it is not there.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, CliError> {
    let subject = || path.display().to_string();
    match std::fs::File::open(path).and_then(|file| bounded::read(file, LARGEST)) {
        Ok(None) => Err(PortError::new(ErrorKind::Corrupt, OPERATION, subject(), "it is too large").into()),
        Ok(Some(bytes)) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| PortError::new(ErrorKind::Corrupt, OPERATION, subject(), e.to_string()).into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(PortError::io(OPERATION, subject(), &e).into()),
    }
}
