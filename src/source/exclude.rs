//! Keeps the status file out of `git status`, by the repository's own exclude file; tracked files are never touched.

use std::io::Write;
use std::path::Path;

use super::checkout::Checkout;
use super::directory::real_path;
use super::fault;
use super::name::temporary;
use super::owner::Trust;
use super::status_file::{ELSEWHERE, WRITE};
use crate::port::{ErrorKind, PortError};

/// Bytes of an exclude file that is still looked through.
const EXCLUDE_BYTES: u64 = 1 << 20;

const COMMENT: &str = "# the status file of podwright";

/// Makes sure that writing `status` leaves the checkout it lies in as it was, in git's eyes. Outside of one there is
/// nothing to do.
pub(super) fn prepare(status: &Path, trust: &Trust) -> Result<(), PortError> {
    let Some(real) = real_path(status) else {
        let message = "its directory does not exist";
        return Err(error(ErrorKind::NotFound, status, message).with_help("make the directory, or name another file"));
    };
    let Some(dir) = real.parent() else { return Ok(()) };
    let Some(checkout) = Checkout::find(dir, trust).map_err(|e| e.with_help(ELSEWHERE))? else { return Ok(()) };
    let path = checkout.relative(&real)?;
    if is_tracked(&checkout, &path).map_err(|e| fault::git(WRITE, status, &e))? {
        let message = "git tracks a file of this name, and tracked files are not touched";
        return Err(error(ErrorKind::Conflict, status, message));
    }
    let (above, name) = path.rsplit_once('/').map_or(("", path.as_str()), |(above, name)| (above, name));
    let beside = super::name::join(above, &temporary(name));
    let mut missing = Vec::new();
    for path in [path.as_str(), beside.as_str()] {
        let ignored = checkout.repository.is_path_ignored(path).map_err(|e| fault::git(WRITE, status, &e))?;
        if !ignored {
            missing.push(pattern(path));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let file = checkout.repository.commondir().join("info").join("exclude");
    append(&file, &missing).map_err(|e| {
        let told = PortError::io("enter the status file into", file.display().to_string(), &e);
        told.with_help(ELSEWHERE)
    })
}

fn error(kind: ErrorKind, status: &Path, message: &str) -> PortError {
    PortError::new(kind, WRITE, status.display().to_string(), message).with_help(ELSEWHERE)
}

/// Whether the index or HEAD has the path: what was removed from the index and not committed is still the user's.
fn is_tracked(checkout: &Checkout, path: &str) -> Result<bool, git2::Error> {
    let path = Path::new(path);
    if checkout.repository.index()?.get_path(path, 0).is_some() {
        return Ok(true);
    }
    match checkout.repository.head() {
        Ok(head) => Ok(head.peel_to_tree()?.get_path(path).is_ok()),
        Err(_) => Ok(false),
    }
}

/// A pattern that means this path of the worktree and no other.
fn pattern(path: &str) -> String {
    let mut out = String::from("/");
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | ' ') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Appends what the file does not have yet. It is not replaced: it stays its owner's, whoever runs the agent.
fn append(file: &Path, patterns: &[String]) -> std::io::Result<()> {
    let old = read(file)?;
    let mut text = String::new();
    if old.as_deref().is_some_and(|old| !old.is_empty() && !old.ends_with('\n')) {
        text.push('\n');
    }
    let has = |line: &str| old.as_deref().is_some_and(|old| old.lines().any(|l| l == line));
    if !has(COMMENT) {
        text.push_str(COMMENT);
        text.push('\n');
    }
    let missing: Vec<&String> = patterns.iter().filter(|p| !has(p)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for pattern in missing {
        text.push_str(pattern);
        text.push('\n');
    }
    let made = old.is_none();
    if let Some(info) = file.parent().filter(|_| made) {
        std::fs::create_dir_all(info)?;
    }
    let mut open = std::fs::OpenOptions::new().append(true).create(made).open(file)?;
    open.write_all(text.as_bytes())?;
    open.sync_all()?;
    if made {
        give_to_owner(file)?;
    }
    Ok(())
}

/// The text of the exclude file; `None` when there is none.
fn read(file: &Path) -> std::io::Result<Option<String>> {
    match std::fs::metadata(file) {
        Ok(found) if found.is_file() && found.len() <= EXCLUDE_BYTES => {
            Ok(Some(String::from_utf8_lossy(&std::fs::read(file)?).into_owned()))
        }
        Ok(_) => Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is no regular file of bearable size")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file that root made in somebody's repository shall be theirs, like everything beside it.
#[cfg(unix)]
fn give_to_owner(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let Some(info) = file.parent() else { return Ok(()) };
    let repository = std::fs::metadata(info.parent().unwrap_or(info))?;
    for path in [info, file] {
        let owner = std::fs::metadata(path)?;
        if owner.uid() != repository.uid() {
            std::os::unix::fs::chown(path, Some(repository.uid()), Some(repository.gid()))?;
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn give_to_owner(_: &Path) -> std::io::Result<()> {
    Ok(())
}
