//! The status file: written when its bytes change and never otherwise, whole or not at all, and kept out of git's sight.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;

use super::disk::Handle;
use super::exclude;
use super::name::{STATUS_MARK, temporary};
use super::owner::Trust;
use super::place;
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
    last: Mutex<Option<(Arc<StatusDocument>, Look)>>,
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
    pub fn publish_now(&self, document: &Arc<StatusDocument>) -> Result<bool, PortError> {
        self.inner.publish(document)
    }
}

#[async_trait]
impl StatusSink for StatusFile {
    /// Files and git block, so the work is done on tokio's threads for that.
    async fn publish(&self, document: &Arc<StatusDocument>) -> Result<bool, PortError> {
        let (this, document) = (self.clone(), Arc::clone(document));
        tokio::task::spawn_blocking(move || this.publish_now(&document)).await.unwrap_or_else(|error| {
            Err(PortError::new(ErrorKind::Internal, WRITE, self.inner.path.display().to_string(), error.to_string()))
        })
    }
}

impl Inner {
    fn publish(&self, document: &Arc<StatusDocument>) -> Result<bool, PortError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let look = self.look()?;
        // The same document in a file that nobody touched: its text need not even be made.
        if last.as_ref().is_some_and(|(written, then)| written == document && Some(then) == look.as_ref()) {
            return Ok(false);
        }
        if let Some(look) = look
            && self.holds(document)?
        {
            *last = Some((Arc::clone(document), look));
            return Ok(false);
        }
        exclude::prepare(&self.path, &self.trust)?;
        self.replace(document)?;
        *last = self.look()?.map(|look| (Arc::clone(document), look));
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

    /// The directory without links, and the file's name in it.
    fn place(&self) -> Result<(PathBuf, &str), PortError> {
        let name = self.path.file_name().and_then(|name| name.to_str());
        let (Some(dir), Some(name)) = (self.path.parent(), name) else {
            return Err(self.error(ErrorKind::Invalid, "the path has no file name in plain UTF-8"));
        };
        Ok((std::fs::canonicalize(dir).map_err(|e| self.io(&e))?, name))
    }

    /// Whether the file holds this document's text; one that cannot be read holds another one.
    fn holds(&self, document: &StatusDocument) -> Result<bool, PortError> {
        let (dir, name) = self.place()?;
        let Ok(file) = Handle::open(&dir).and_then(|dir| dir.file(Path::new(name))) else { return Ok(false) };
        let mut same = Same(BufReader::new(file));
        Ok(write_text(document, &mut same).is_ok() && same.is_at_end())
    }

    fn replace(&self, document: &StatusDocument) -> Result<(), PortError> {
        let (dir, name) = self.place()?;
        let text = |file: &mut dyn Write| write_text(document, file);
        place::replace(&dir, (&temporary(name), name), &text, MODE).map_err(|e| self.io(&e))
    }
}

/// Writes a document's text. It is never kept as a whole: that of thousands of pods is as large as their manifests.
fn write_text(document: &StatusDocument, file: &mut dyn Write) -> io::Result<()> {
    file.write_all(STATUS_MARK.as_bytes())?;
    serde_yaml::to_writer(file, document).map_err(io::Error::other)
}

/// Takes the bytes that a file has, in their order, and refuses others.
struct Same(BufReader<File>);

impl Same {
    fn is_at_end(&mut self) -> bool {
        self.0.fill_buf().is_ok_and(<[u8]>::is_empty)
    }
}

impl Write for Same {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let next = self.0.fill_buf()?;
        let length = next.len().min(bytes.len());
        if next[..length] != bytes[..length] {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.0.consume(length);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
