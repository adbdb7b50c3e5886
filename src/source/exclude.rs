//! Keeps the status file out of `git status`, by the repository's own exclude file; tracked files are never touched.

use std::path::Path;

use super::checkout::{Checkout, CommitTree};
use super::directory::real_path;
use super::fault;
use super::name::temporary;
use super::owner::Trust;
use super::place;
use super::status_file::{ELSEWHERE, WRITE};
use crate::port::{ErrorKind, PortError, ReadError};

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
    if path.chars().any(char::is_control) {
        return Err(error(
            ErrorKind::Invalid,
            status,
            "its path has characters that cannot be written into an exclude file",
        ));
    }
    if is_tracked(&checkout, &path).map_err(|e| e.with_help(ELSEWHERE))? {
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
    let common = checkout.repository.commondir();
    let common = std::fs::canonicalize(common).unwrap_or_else(|_| common.to_owned());
    place::append(&common, "info", "exclude", &|old| addition(old, &missing)).map_err(|e| {
        let file = common.join("info").join("exclude");
        PortError::io("enter the status file into", file.display().to_string(), &e).with_help(ELSEWHERE)
    })
}

fn error(kind: ErrorKind, status: &Path, message: &str) -> PortError {
    PortError::new(kind, WRITE, status.display().to_string(), message).with_help(ELSEWHERE)
}

/// Whether the index or HEAD has the path: what was removed from the index and not committed is still the user's.
fn is_tracked(checkout: &Checkout, path: &str) -> Result<bool, PortError> {
    // An index that libgit2 cannot read, such as a sparse one, leaves HEAD to be asked.
    if checkout.repository.index().is_ok_and(|index| index.get_path(Path::new(path), 0).is_some()) {
        return Ok(true);
    }
    let Some((head, _)) = checkout.head()? else { return Ok(false) };
    let tree = CommitTree::new(checkout, Some(&head), "").and_then(|tree| tree.has(path));
    tree.map_err(|error| match error {
        ReadError::Failed(error) => error,
        ReadError::Rejected(bad) => {
            let messages: Vec<&str> = bad.0.iter().map(|diagnostic| diagnostic.message.as_str()).collect();
            PortError::new(ErrorKind::Invalid, WRITE, path, messages.join("; "))
        }
    })
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

/// What the exclude file does not have yet. It is appended to, not replaced: it stays its owner's.
fn addition(old: Option<&str>, patterns: &[String]) -> Option<String> {
    let has = |line: &str| old.is_some_and(|old| old.lines().any(|l| l == line));
    let missing: Vec<&String> = patterns.iter().filter(|p| !has(p)).collect();
    if missing.is_empty() {
        return None;
    }
    let mut text = String::new();
    if old.is_some_and(|old| !old.is_empty() && !old.ends_with('\n')) {
        text.push('\n');
    }
    let comment = Some(COMMENT).filter(|comment| !has(comment));
    for line in comment.into_iter().chain(missing.into_iter().map(String::as_str)) {
        text.push_str(line);
        text.push('\n');
    }
    Some(text)
}
