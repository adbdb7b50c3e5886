//! The status in two places.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::model::StatusDocument;
use crate::port::{ErrorKind, PortError, StatusSink};
use crate::source::StatusFile;
use crate::sys::effect;

/// The status where it belongs, and a copy in the run-time directory for `podwright status`, which does not know where
/// that is.
pub struct Statuses {
    file: StatusFile,
    copy: PathBuf,
    copied: Arc<Mutex<Option<Copied>>>,
}

/// What the copy holds, with its length.
type Copied = (Arc<StatusDocument>, u64);

impl Statuses {
    /// The status in `file` and at `copy`; nothing is written yet.
    pub fn new(file: StatusFile, copy: PathBuf) -> Self {
        Self { file, copy, copied: Arc::default() }
    }
}

#[async_trait]
impl StatusSink for Statuses {
    async fn publish(&self, document: &Arc<StatusDocument>) -> Result<bool, PortError> {
        let (path, copied, new) = (self.copy.clone(), Arc::clone(&self.copied), Arc::clone(document));
        let copied = tokio::task::spawn_blocking(move || {
            let mut copied = copied.lock().unwrap_or_else(PoisonError::into_inner);
            let length = std::fs::metadata(&path).map_or(0, |found| found.len());
            if copied.as_ref().is_none_or(|(old, long)| *old != new || *long != length) {
                *copied = Some((Arc::clone(&new), copy(&path, &new)?));
            }
            Ok(())
        });
        let copied = copied.await;
        let published = self.file.publish(document).await?;
        let broken = |e: tokio::task::JoinError| {
            Err(PortError::new(ErrorKind::Internal, WRITE, self.copy.display().to_string(), e.to_string()))
        };
        copied.unwrap_or_else(broken).map(|()| published)
    }
}

const WRITE: &str = "write the status";

/// Replaces the copy if it differs; returns its length. It need not survive the machine.
fn copy(path: &Path, document: &StatusDocument) -> Result<u64, PortError> {
    let failed = |e: &io::Error| PortError::io(WRITE, path.display().to_string(), e);
    let text = serde_yaml::to_string(document).map_err(|e| failed(&io::Error::other(e)))?;
    let length = text.len() as u64;
    if std::fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(length);
    }
    effect::replace_path_for_now(path, text.as_bytes()).map(|()| length).map_err(|e| failed(&e))
}
