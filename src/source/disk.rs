//! Files as they are on disk, below one open directory. No symbolic link is followed below it.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::checkout::blob_id;
use super::fault::READ;
use super::name::{is_hidden, join};
use super::walk::{Content, Entry, Kind, Looks, Tree};
use crate::port::{ErrorKind, PortError, ReadError};

#[cfg(not(target_os = "linux"))]
use portable as handle;

pub(super) use handle::Handle;

/// A directory on disk.
pub(super) struct Disk {
    root: handle::Handle,
    path: PathBuf,
}

impl Disk {
    /// Opens a directory; `path` may lead through links, nothing below it may.
    pub(super) fn open(path: &Path) -> Result<Self, ReadError> {
        match handle::Handle::open(path) {
            Ok(root) => Ok(Self { root, path: path.to_owned() }),
            Err(error) => Err(unreadable(path, &error)),
        }
    }

    /// Tells the directories of a list that are repositories of their own.
    pub(super) fn mark_repositories(&self, dir: &str, entries: &mut [Entry<'_>]) {
        for entry in entries.iter_mut().filter(|entry| entry.kind == Kind::Directory && !is_hidden(&entry.name)) {
            if matches!(self.kind(&join(&join(dir, &entry.name), ".git")), Ok(Some(_))) {
                entry.kind = Kind::Repository;
            }
        }
    }

    /// What is at `path`, a link itself not followed; `None` when nothing is.
    pub(super) fn kind(&self, path: &str) -> Result<Option<Kind>, ReadError> {
        self.root.kind(Path::new(path)).map_err(|e| unreadable(&self.path.join(path), &e))
    }

    /// The bytes of a file, if they are at most `limit`; what went away meanwhile is [`Content::Gone`].
    pub(super) fn bytes(&self, path: &str, limit: u64) -> Result<Content, ReadError> {
        match self.root.file(Path::new(path)).and_then(|file| content(file, limit)) {
            Ok(content) => Ok(content),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(Content::Gone)
            }
            Err(error) => Err(unreadable(&self.path.join(path), &error)),
        }
    }
}

impl Tree for Disk {
    fn list(&self, dir: &str) -> Result<Vec<Entry<'_>>, ReadError> {
        match self.root.list(Path::new(dir)) {
            Ok(entries) => Ok(entries),
            // A directory that went away while its parent was walked; the root itself was open.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !dir.is_empty() => Ok(Vec::new()),
            Err(error) => Err(unreadable(&self.path.join(dir), &error)),
        }
    }

    fn read(&self, path: &str, _: &Entry<'_>, limit: u64) -> Result<Content, ReadError> {
        self.bytes(path, limit)
    }

    fn leads_to_directory(&self, path: &str, _: &Entry<'_>) -> bool {
        std::fs::metadata(self.path.join(path)).is_ok_and(|found| found.is_dir())
    }
}

/// Reads a file up to `limit` bytes, however long it says it is.
pub(super) fn content(file: std::fs::File, limit: u64) -> io::Result<Content> {
    let length = file.metadata()?.len();
    if length > limit {
        return Ok(Content::TooLarge(length));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Ok(Content::TooLarge(bytes.len() as u64));
    }
    let blob = git2::Oid::hash_object(git2::ObjectType::Blob, &bytes).map_err(io::Error::other)?;
    Ok(Content::Bytes(blob_id(blob), bytes.into()))
}

/// A directory or file that cannot be read, in words that say what to do.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> ReadError {
    let subject = path.display().to_string();
    let told = |kind, message: &str, help: &str| PortError::new(kind, READ, &*subject, message).with_help(help);
    ReadError::Failed(match error.kind() {
        io::ErrorKind::NotFound => {
            told(ErrorKind::NotFound, "there is no such directory", "name the directory that holds the manifests")
        }
        io::ErrorKind::NotADirectory => {
            told(ErrorKind::Invalid, "it is not a directory", "name the directory that holds the manifests")
        }
        io::ErrorKind::PermissionDenied => {
            told(ErrorKind::Denied, "permission denied", "let this user read it (chmod a+rX), or run as its owner")
        }
        _ => PortError::io(READ, &*subject, error),
    })
}

/// Handles that the kernel resolves below the root.
#[cfg(target_os = "linux")]
mod handle {
    use std::fs::File;
    use std::io;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use rustix::fs::{AtFlags, FileType, Stat};

    use super::{Entry, Kind, Looks};
    use crate::sys::beneath::Dir;

    pub(in crate::source) struct Handle(Dir);

    impl Handle {
        pub(in crate::source) fn open(path: &Path) -> io::Result<Self> {
            Dir::open(path).map(Self)
        }

        pub(in crate::source) fn kind(&self, path: &Path) -> io::Result<Option<Kind>> {
            Ok(self.0.stat(path)?.map(|stat| kind(&stat)))
        }

        pub(in crate::source) fn list(&self, dir: &Path) -> io::Result<Vec<Entry<'static>>> {
            let dir = self.0.sub(dir)?;
            let mut entries = Vec::new();
            for name in dir.names()? {
                // A single name needs no care how it is resolved.
                match rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => {
                        let entry = Entry::new(name.as_bytes(), kind(&stat)).into_owned();
                        entries.push(Entry { looks: Some(looks(&stat)), ..entry });
                    }
                    Err(rustix::io::Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(entries)
        }

        pub(in crate::source) fn file(&self, path: &Path) -> io::Result<File> {
            self.0.open_file(path)
        }
    }

    /// The types of its fields differ between machines.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "they differ between machines")]
    fn looks(stat: &Stat) -> Looks {
        Looks {
            size: stat.st_size as u64,
            inode: stat.st_ino as u64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    fn kind(stat: &Stat) -> Kind {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        }
    }
}

/// Paths instead of handles, for systems without `openat2`: what is validated there is one's own.
#[cfg(not(target_os = "linux"))]
mod portable {
    use std::fs::File;
    use std::io;
    use std::path::{Path, PathBuf};

    use super::{Entry, Kind, Looks};

    pub(in crate::source) struct Handle(PathBuf);

    impl Handle {
        pub(in crate::source) fn open(path: &Path) -> io::Result<Self> {
            std::fs::read_dir(path)?;
            Ok(Self(path.to_owned()))
        }

        pub(in crate::source) fn kind(&self, path: &Path) -> io::Result<Option<Kind>> {
            match std::fs::symlink_metadata(self.0.join(path)) {
                Ok(metadata) => Ok(Some(kind(metadata.file_type()))),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        }

        pub(in crate::source) fn list(&self, dir: &Path) -> io::Result<Vec<Entry<'static>>> {
            let mut entries = Vec::new();
            for entry in std::fs::read_dir(self.0.join(dir))? {
                let entry = entry?;
                let looks = entry.metadata().ok().and_then(|metadata| looks(&metadata));
                let found = Entry::new(entry.file_name().as_encoded_bytes(), kind(entry.file_type()?)).into_owned();
                entries.push(Entry { looks, ..found });
            }
            Ok(entries)
        }

        pub(in crate::source) fn file(&self, path: &Path) -> io::Result<File> {
            let path = self.0.join(path);
            if !std::fs::symlink_metadata(&path)?.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
            }
            File::open(path)
        }
    }

    #[cfg(unix)]
    fn looks(metadata: &std::fs::Metadata) -> Option<Looks> {
        use std::os::unix::fs::MetadataExt;
        Some(Looks {
            size: metadata.size(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    #[cfg(not(unix))]
    fn looks(_: &std::fs::Metadata) -> Option<Looks> {
        None
    }

    fn kind(kind: std::fs::FileType) -> Kind {
        if kind.is_dir() {
            Kind::Directory
        } else if kind.is_file() {
            Kind::File
        } else if kind.is_symlink() {
            Kind::Link
        } else {
            Kind::Other
        }
    }
}
