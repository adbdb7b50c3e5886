//! The status file: written when its bytes change and never otherwise, whole or not at all, and kept out of git's sight.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;

use super::exclude;
use super::name::{STATUS_MARK, temporary};
use super::owner::Trust;
use crate::model::StatusDocument;
use crate::port::{ErrorKind, PortError, StatusSink};

pub(super) const WRITE: &str = "write the status file";

/// The way out of most failures here.
pub(super) const ELSEWHERE: &str = "name a file elsewhere with --status-file";

/// Mode of the file: everyone may read what runs.
const MODE: u32 = 0o644;

/// A status file at a fixed path.
#[derive(Clone)]
pub struct StatusFile {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    trust: Trust,
    /// What was written last and how the file looked then.
    last: Mutex<Option<(Vec<u8>, Look)>>,
}

/// What changes when somebody else writes, replaces or removes a file.
#[derive(PartialEq, Eq)]
struct Look {
    length: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl StatusFile {
    /// A status file at `path`; nothing is looked at or written yet. In a git checkout the file is entered into the
    /// repository's own exclude file before it is first written, so that it never shows as uncommitted.
    pub fn new(path: &Path, trust: Trust) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { inner: Arc::new(Inner { path, trust, last: Mutex::new(None) }) }
    }

    /// The status file of a directory of manifests.
    pub fn of(directory: &super::Directory) -> Self {
        Self::new(directory.status_path(), directory.inner.options.trust.clone())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Writes the document if its bytes differ from those of the file. Blocking.
    ///
    /// # Errors
    /// As [`StatusSink::publish`].
    pub fn publish_now(&self, document: &StatusDocument) -> Result<bool, PortError> {
        self.inner.publish(document)
    }
}

#[async_trait]
impl StatusSink for StatusFile {
    /// Files and git block, so the work is done on tokio's threads for that.
    async fn publish(&self, document: &StatusDocument) -> Result<bool, PortError> {
        let (this, document) = (self.clone(), document.clone());
        tokio::task::spawn_blocking(move || this.publish_now(&document)).await.unwrap_or_else(|error| {
            Err(PortError::new(ErrorKind::Internal, WRITE, self.inner.path.display().to_string(), error.to_string()))
        })
    }
}

impl Inner {
    fn publish(&self, document: &StatusDocument) -> Result<bool, PortError> {
        let mut bytes = STATUS_MARK.as_bytes().to_vec();
        serde_yaml::to_writer(&mut bytes, document).map_err(|e| self.error(ErrorKind::Internal, e.to_string()))?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let look = self.look()?;
        if let Some(look) = look {
            let same = match &*last {
                Some((written, then)) if *then == look => *written == bytes,
                // Somebody touched it, or this is the first time: the bytes on disk decide.
                _ => look.length == bytes.len() as u64 && std::fs::read(&self.path).is_ok_and(|found| found == bytes),
            };
            if same {
                *last = Some((bytes, look));
                return Ok(false);
            }
        }
        exclude::prepare(&self.path, &self.trust)?;
        self.replace(&bytes)?;
        *last = self.look()?.map(|look| (bytes, look));
        Ok(true)
    }

    fn error(&self, kind: ErrorKind, message: impl Into<String>) -> PortError {
        PortError::new(kind, WRITE, self.path.display().to_string(), message).with_help(ELSEWHERE)
    }

    fn io(&self, error: &std::io::Error) -> PortError {
        PortError::io(WRITE, self.path.display().to_string(), error).with_help(ELSEWHERE)
    }

    /// How the file looks; `None` when there is none. Whatever else is in its place is an error.
    fn look(&self) -> Result<Option<Look>, PortError> {
        match std::fs::symlink_metadata(&self.path) {
            Ok(found) if found.is_file() => {
                Ok(Some(Look { length: found.len(), modified: found.modified().ok(), inode: inode(&found) }))
            }
            Ok(found) => {
                let what =
                    if found.is_symlink() { "a symbolic link, which is not followed" } else { "no regular file" };
                Err(self.error(ErrorKind::Invalid, format!("there is {what}")))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.io(&error)),
        }
    }

    fn replace(&self, bytes: &[u8]) -> Result<(), PortError> {
        let (Some(dir), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(self.error(ErrorKind::Invalid, "the path has no file name"));
        };
        let temporary = PathBuf::from(temporary(&name.to_string_lossy()));
        let dir = std::fs::canonicalize(dir).map_err(|e| self.io(&e))?;
        place::replace(&dir, &temporary, Path::new(name), bytes).map_err(|e| self.io(&e))
    }
}

#[cfg(unix)]
fn inode(found: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(found)
}

#[cfg(not(unix))]
fn inode(_: &std::fs::Metadata) -> u64 {
    0
}

/// Through a handle of the directory: what somebody does to the path meanwhile leads nowhere else.
#[cfg(target_os = "linux")]
mod place {
    use std::io::{self, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use rustix::fs::AtFlags;

    use super::MODE;
    use crate::sys::beneath::Dir;

    pub(super) fn replace(dir: &Path, temporary: &Path, name: &Path, bytes: &[u8]) -> io::Result<()> {
        // `dir` was resolved a moment ago; a link in it now is somebody's trick.
        let dir = Dir::open(Path::new("/"))?.sub(dir.strip_prefix("/").unwrap_or(dir))?;
        remove(&dir, temporary)?;
        let written = write(&dir, temporary, bytes)
            .and_then(|()| Ok(rustix::fs::renameat(&dir, temporary, &dir, name)?))
            .and_then(|()| dir.fsync());
        if written.is_err() {
            remove(&dir, temporary)?;
        }
        written
    }

    fn write(dir: &Dir, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = dir.create_file(temporary.as_os_str(), MODE)?;
        file.write_all(bytes)?;
        file.set_permissions(std::fs::Permissions::from_mode(MODE))?;
        file.sync_all()
    }

    fn remove(dir: &Dir, name: &Path) -> io::Result<()> {
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// By paths, for systems where no agent runs.
#[cfg(not(target_os = "linux"))]
mod place {
    use std::io::{self, Write};
    use std::path::Path;

    pub(super) fn replace(dir: &Path, temporary: &Path, name: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = dir.join(temporary);
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, dir.join(name))
    }
}
