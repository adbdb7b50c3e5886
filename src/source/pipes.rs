//! Pipes and devices in the place of a repository's files: who opens a pipe waits for its writer, and libgit2 opens what has
//! the name of an index, a reference or its configuration.

use std::path::{Path, PathBuf};

use super::fault::READ;
use crate::port::{ErrorKind, PortError};

/// The files of a git directory that libgit2 opens to read a revision, or to compare one with the worktree, beside references.
const FILES: [&str; 9] =
    ["HEAD", "config", "config.worktree", "commondir", "gitdir", "index", "info/exclude", "packed-refs", "shallow"];
/// What git reads in every directory of a worktree.
pub(super) const RULES: &str = ".gitignore";
/// Bytes of a file that names a directory, and directories of references below each other.
const NAME_BYTES: u64 = 4096;
const DEPTH: usize = 32;

/// Refuses the repository that `dir` lies in, before libgit2 opens it, when something is no file that it would open.
pub(super) fn refuse_around(dir: &Path) -> Result<(), PortError> {
    for above in dir.ancestors() {
        let git = above.join(".git");
        match std::fs::metadata(&git) {
            Ok(found) if found.is_dir() => return refuse_git(&git),
            // Of a linked worktree or a submodule.
            Ok(found) if found.is_file() => return named_in(&git, "gitdir:").map_or(Ok(()), |git| refuse_git(&git)),
            Ok(_) => return refuse(&git),
            Err(_) if ["objects", "refs"].iter().all(|part| above.join(part).is_dir()) => return refuse_git(above),
            Err(_) => {}
        }
    }
    Ok(())
}

/// The same of one git directory, and of the one it shares with other worktrees.
fn refuse_git(git: &Path) -> Result<(), PortError> {
    let of = |dir: &Path| {
        FILES.iter().try_for_each(|name| refuse(&dir.join(name)))?;
        refuse_below(&dir.join("refs"), DEPTH)
    };
    of(git)?;
    named_in(&git.join("commondir"), "").map_or(Ok(()), |common| of(&common))
}

/// Refuses the rules of a directory of a worktree and of those above it.
pub(super) fn refuse_rules(root: &Path, dir: &Path) -> Result<(), PortError> {
    dir.ancestors().take_while(|above| above.starts_with(root)).try_for_each(|above| refuse(&above.join(RULES)))
}

/// Refuses a repository's memory of where its references were, which names such as `HEAD@{1}` are looked up in.
pub(super) fn refuse_logs(git: &Path) -> Result<(), PortError> {
    refuse_below(&git.join("logs"), DEPTH)
}

/// The directory that a small file names, from where it lies.
fn named_in(file: &Path, prefix: &str) -> Option<PathBuf> {
    let length = std::fs::metadata(file).ok().filter(|found| found.is_file())?.len();
    let text = std::fs::read_to_string(file).ok().filter(|_| length <= NAME_BYTES)?;
    let named = file.parent()?.join(text.strip_prefix(prefix)?.trim());
    Some(std::fs::canonicalize(&named).unwrap_or(named))
}

/// Refuses a directory in which something is neither a file nor a directory.
fn refuse_below(dir: &Path, depth: usize) -> Result<(), PortError> {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_file() => {}
            Ok(kind) if kind.is_dir() && depth > 0 => refuse_below(&entry.path(), depth - 1)?,
            _ => refuse(&entry.path())?,
        }
    }
    Ok(())
}

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
