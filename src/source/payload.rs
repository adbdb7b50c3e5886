//! Files that become values of a ConfigMap or Secret: the one that a person named, or those of a directory.
//!
//! A named file may be anything that can be read, also a link or a pipe such as /dev/stdin: it was meant. In a directory
//! only regular files count, and none is reached through a link, also not by one that is put there meanwhile.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::disk::Handle;
use super::walk::Kind;
use crate::port::{ErrorKind, PortError};

const READ: &str = "read";

/// What a path holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Payload {
    File(Vec<u8>),
    /// The regular files of a directory with their names, in order of name; other entries are left out.
    Directory(Vec<(String, Vec<u8>)>),
}

/// Reads a file, or the files of a directory, of at most `limit` bytes together.
///
/// # Errors
/// What the system says; `Exhausted` beyond the limit; `Invalid` for a name that is not UTF-8.
pub fn read_payload(path: &Path, limit: u64) -> Result<Payload, PortError> {
    let failed = |error: io::Error| PortError::io(READ, path.display().to_string(), &error);
    if std::fs::metadata(path).map_err(failed)?.is_dir() {
        return directory(path, limit).map(Payload::Directory);
    }
    let file = File::open(path).map_err(failed)?;
    Ok(Payload::File(bytes(file, path, limit)?))
}

fn directory(path: &Path, limit: u64) -> Result<Vec<(String, Vec<u8>)>, PortError> {
    let failed = |at: &Path, error: io::Error| PortError::io(READ, at.display().to_string(), &error);
    let handle = Handle::open(path).map_err(|e| failed(path, e))?;
    let mut entries = handle.list(Path::new("")).map_err(|e| failed(path, e))?;
    entries.retain(|entry| entry.kind == Kind::File);
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut left = limit;
    let mut files = Vec::new();
    for entry in entries {
        let at = path.join(&*entry.name);
        if !entry.exact {
            let error = PortError::new(ErrorKind::Invalid, READ, at.display().to_string(), "its name is not UTF-8");
            return Err(error.with_help("rename it, or name the files one by one"));
        }
        let file = handle.file(Path::new(&*entry.name)).map_err(|e| failed(&at, e))?;
        let bytes = bytes(file, &at, left)?;
        left = left.saturating_sub(bytes.len() as u64);
        files.push((entry.name.into_owned(), bytes));
    }
    Ok(files)
}

fn bytes(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, PortError> {
    let mut bytes = Vec::new();
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| PortError::io(READ, path.display().to_string(), &error))?;
    if bytes.len() as u64 > limit {
        let message = format!("it has more than {limit} bytes, all that there is room for in an object");
        let error = PortError::new(ErrorKind::Exhausted, READ, path.display().to_string(), message);
        return Err(error.with_help("put large files into an image or a hostPath"));
    }
    Ok(bytes)
}
