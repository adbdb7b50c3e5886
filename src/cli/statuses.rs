//! The status in two places.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::model::StatusDocument;
use crate::port::{ErrorKind, PortError, StatusSink};
use crate::source::StatusFile;

/// The status where it belongs, and a copy in the run-time directory for `podwright status`, which does not know where
/// that is.
pub struct Statuses {
    pub file: StatusFile,
    pub copy: PathBuf,
}

#[async_trait]
impl StatusSink for Statuses {
    async fn publish(&self, document: &StatusDocument) -> Result<bool, PortError> {
        let (path, copied) = (self.copy.clone(), document.clone());
        let copied = tokio::task::spawn_blocking(move || copy(&path, &copied)).await;
        let published = self.file.publish(document).await?;
        let broken = |e: tokio::task::JoinError| {
            Err(PortError::new(ErrorKind::Internal, WRITE, self.copy.display().to_string(), e.to_string()))
        };
        copied.unwrap_or_else(broken).map(|()| published)
    }
}

const WRITE: &str = "write the status";

/// Replaces the copy if it differs. It need not survive the machine.
fn copy(path: &Path, document: &StatusDocument) -> Result<(), PortError> {
    let failed = |e: &io::Error| PortError::io(WRITE, path.display().to_string(), e);
    let text = serde_yaml::to_string(document).map_err(|e| failed(&io::Error::other(e)))?;
    if std::fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    let temporary = path.with_extension(format!("tmp.{}", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|e| {
        // The old copy counts; the piece of the new one is of no use.
        let _ = std::fs::remove_file(&temporary);
        failed(&e)
    })
}
