//! hostPath: what must be there before a path of the machine is bound into a container.

use std::fs::{FileType, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path};

use rustix::fs::OFlags;

use crate::port::ErrorKind;
use crate::sys::effect;

/// Makes or checks the path as `hostPath.type` says. Symbolic links are followed: the path is the machine's, and its
/// owner's decision. The wordings of a failed check are the kubelet's.
pub(super) fn make(path: &Path, kind: &str) -> Result<(), (ErrorKind, String)> {
    if !path.is_absolute() || path.components().any(|c| c == Component::ParentDir) {
        return Err((ErrorKind::Invalid, format!("hostPath {} must be absolute and without `..`", path.display())));
    }
    let there = match std::fs::metadata(path) {
        Ok(metadata) => Some(metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(machine(path, &error)),
    };
    match kind {
        // Nothing is checked; what is missing becomes a directory, as container engines have always done.
        "" if there.is_some() => Ok(()),
        "" => directory(path),
        "DirectoryOrCreate" if there.is_none() => directory(path),
        "FileOrCreate" if there.is_none() => file(path),
        "Directory" | "DirectoryOrCreate" => check(path, there, FileType::is_dir, "directory"),
        "File" | "FileOrCreate" => check(path, there, FileType::is_file, "file"),
        "Socket" => check(path, there, FileType::is_socket, "socket file"),
        "CharDevice" => check(path, there, FileType::is_char_device, "character device"),
        "BlockDevice" => check(path, there, FileType::is_block_device, "block device"),
        other => Err((ErrorKind::Invalid, format!("unknown hostPath type {other:?}"))),
    }
}

fn check(
    path: &Path,
    there: Option<Metadata>,
    is: fn(&FileType) -> bool,
    what: &str,
) -> Result<(), (ErrorKind, String)> {
    let kind = match there {
        Some(metadata) if is(&metadata.file_type()) => return Ok(()),
        Some(_) => ErrorKind::Invalid,
        None => ErrorKind::NotFound,
    };
    Err((kind, format!("hostPath type check failed: {} is not a {what}", path.display())))
}

fn directory(path: &Path) -> Result<(), (ErrorKind, String)> {
    effect::make_dirs(path, 0o755).map_err(|e| machine(path, &e))
}

/// Only the file: its directory must be there.
fn file(path: &Path) -> Result<(), (ErrorKind, String)> {
    effect::create(path, OFlags::WRONLY | OFlags::APPEND, 0o644).map(drop).map_err(|e| machine(path, &e))
}

fn machine(path: &Path, error: &io::Error) -> (ErrorKind, String) {
    (crate::port::PortError::io("", "", error).kind, format!("hostPath {}: {error}", path.display()))
}
