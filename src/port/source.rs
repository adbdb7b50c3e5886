//! Where manifests come from and where the status goes.

use std::sync::Arc;

use async_trait::async_trait;

use super::PortError;
use crate::model::{Diagnostics, Snapshot, StatusDocument};

/// Why a directory could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// The content is at fault: a file too large, a path outside the tree, a bad `.podwrightignore`.
    Rejected(Diagnostics),
    /// The directory or the repository could not be read.
    Failed(PortError),
}

impl From<PortError> for ReadError {
    fn from(error: PortError) -> Self {
        Self::Failed(error)
    }
}

/// A directory of manifests that can be read at its current revision. Changes are announced apart from it, as hints.
#[async_trait]
pub trait Source: Send + Sync {
    /// Reads every manifest at the current revision.
    async fn read(&self) -> Result<Snapshot, ReadError>;

    /// Reads every manifest at an earlier revision, if the source still has it; `Ok(None)` when it does not.
    async fn read_at(&self, revision: &str) -> Result<Option<Snapshot>, ReadError>;
}

/// Where the status document is written.
#[async_trait]
pub trait StatusSink: Send + Sync {
    /// Writes the document if its bytes differ from what was written last. Returns whether it wrote.
    async fn publish(&self, document: &Arc<StatusDocument>) -> Result<bool, PortError>;
}
