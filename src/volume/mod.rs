//! Floor 4: volumes of pods on disk and tmpfs.
//!
//! Everything of a pod lives in a directory of its uid, below the disk root or, for what must never touch a disk,
//! below the tmpfs root. All writes go through directory handles and follow no symbolic link.

use std::path::PathBuf;

use crate::model::{PodUid, VolumePayload};
use crate::port::{ErrorKind, PortError};

/// The volumes of every pod of one root.
#[derive(Debug)]
pub struct Volumes {
    disk: PathBuf,
    tmpfs: PathBuf,
}

impl Volumes {
    /// Volumes below `disk`, sensitive ones and `medium: Memory` below `tmpfs`. Nothing is made until it is needed.
    pub fn new(disk: PathBuf, tmpfs: PathBuf) -> Self {
        Self { disk, tmpfs }
    }

    /// Makes the pod's volumes and brings projected ones up to date.
    ///
    /// # Errors
    /// `Invalid` for a host path of another type, `Denied` or `Exhausted` from the machine.
    pub fn sync(&self, uid: &PodUid, _volumes: &[VolumePayload]) -> Result<(), PortError> {
        Err(PortError::new(
            ErrorKind::Unavailable,
            "make volumes of pod",
            uid.to_string(),
            format!("this build cannot do it below {} and {}", self.disk.display(), self.tmpfs.display()),
        ))
    }

    /// The path on this machine to bind into a container; `None` when the volume was not made.
    pub fn path(&self, _uid: &PodUid, _name: &str) -> Option<PathBuf> {
        None
    }

    /// Unmounts and deletes every volume of the pod; what a hostPath points to is left alone. Repeating it is fine.
    ///
    /// # Errors
    /// When something could not be unmounted or deleted.
    pub fn remove(&self, _uid: &PodUid) -> Result<(), PortError> {
        Ok(())
    }
}
