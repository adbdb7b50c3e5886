//! Pipes and devices in the place of a repository's files: who opens a pipe waits for its writer, and libgit2 opens what has
//! the name of an index.

use std::path::{Path, PathBuf};

use super::fault::READ;
use crate::port::{ErrorKind, PortError};

/// Refuses an object directory in which something is no file that libgit2 would open before it looks for an object.
pub(super) fn refuse_in(objects: &Path) -> Result<(), PortError> {
    let entries = std::fs::read_dir(objects.join("pack")).into_iter().flatten().flatten();
    let is_index = |path: &PathBuf| path.extension().is_some_and(|e| e == "idx") || path.ends_with("multi-pack-index");
    let info = ["info/alternates", "info/commit-graph"].map(|name| objects.join(name));
    entries.map(|entry| entry.path()).filter(is_index).chain(info).try_for_each(|path| refuse(&path))
}

/// Refuses what is at a path unless it is a file, a directory, which is read as an error, or nothing.
pub(super) fn refuse(path: &Path) -> Result<(), PortError> {
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        let message = "it is no regular file, and to read it could take for ever";
        let error = PortError::new(ErrorKind::Corrupt, READ, path.display().to_string(), message);
        return Err(
            error.with_help("remove it, and look with `git fsck` what is missing; a fresh clone has no such files")
        );
    }
    Ok(())
}
