//! The two ways a read fails, and how git's and the system's errors are told.

use std::path::Path;

use crate::model::{Diagnostic, Diagnostics, Place, Severity, SourceRef};
use crate::port::{ErrorKind, PortError, ReadError};

/// The verb phrase of every failed read.
pub(super) const READ: &str = "read the manifests of";

/// Characters of a source line that are shown.
pub(super) const LINE_CHARS: usize = 200;

/// A diagnostic at the start of a file, or at one of its lines.
pub(super) fn diagnostic(rule: &'static str, path: &str, line: (u32, &str), message: String) -> Diagnostic {
    let at = SourceRef { path: path.into(), document: 0, line: line.0, column: 1 };
    let text: String = printable(line.1).chars().take(LINE_CHARS).collect();
    let width = u32::try_from(text.chars().count()).unwrap_or(1).max(1);
    Diagnostic {
        severity: Severity::Error,
        rule,
        message: printable(&message),
        help: None,
        place: Some(Place { at, text: text.into(), width }),
        object: None,
        field: None,
    }
}

/// Text of a repository without what could steer a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A diagnostic about a whole file or directory, with the way out.
pub(super) fn about(rule: &'static str, path: &str, message: String, help: impl Into<String>) -> Diagnostic {
    Diagnostic { help: Some(help.into()), ..diagnostic(rule, path, (1, ""), message) }
}

/// One diagnostic that ends the read.
pub(super) fn rejected(diagnostic: Diagnostic) -> ReadError {
    ReadError::Rejected(Diagnostics(vec![diagnostic]))
}

/// An object whose bytes are not those it was made of.
pub(super) fn damaged(id: &dyn std::fmt::Display, subject: &str) -> PortError {
    let message = format!("its object {id} in the repository is damaged or forged");
    PortError::new(ErrorKind::Corrupt, READ, subject, message)
        .with_help("`git fsck` says what else is; fetch it again, or make a fresh clone")
}

/// An object that a clone with a filter lacks.
pub(super) fn partial(subject: &Path, error: &git2::Error) -> PortError {
    let message = format!("this clone was made with --filter and lacks an object: {}", error.message());
    PortError::new(ErrorKind::Corrupt, READ, subject.display().to_string(), message).with_help(
        "clone it without, or fetch what both revisions need: `git fetch --refetch --no-filter` (git 2.36 and later)",
    )
}

/// An error of libgit2.
pub(super) fn git(operation: &'static str, subject: &Path, error: &git2::Error) -> PortError {
    use git2::{ErrorClass, ErrorCode};
    let kind = match (error.code(), error.class()) {
        (ErrorCode::Owner, _) | (_, ErrorClass::Filesystem) => ErrorKind::Denied,
        (ErrorCode::Locked | ErrorCode::Modified, _) => ErrorKind::Unavailable,
        (ErrorCode::InvalidSpec | ErrorCode::Ambiguous, _) => ErrorKind::Invalid,
        (ErrorCode::NotFound, _) | (_, ErrorClass::Odb | ErrorClass::Object | ErrorClass::Zlib | ErrorClass::Tree) => {
            ErrorKind::Corrupt
        }
        (_, ErrorClass::NoMemory) => ErrorKind::Exhausted,
        (_, ErrorClass::Os) => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    let help = match kind {
        _ if error.message().to_ascii_lowercase().contains("partialclone") => {
            Some("this clone was made with --filter and lacks objects: clone it without")
        }
        ErrorKind::Corrupt => Some("`git fsck` in the checkout says what is missing; a fresh clone repairs it"),
        _ if error.message().contains("extension") || error.message().contains("object format") => {
            Some("use a repository with SHA-1 objects and refs in files, the defaults of `git init`")
        }
        _ => None,
    };
    let new = PortError::new(kind, operation, subject.display().to_string(), error.message());
    match help {
        Some(help) => new.with_help(help),
        None => new,
    }
}

/// An error of libgit2 while reading manifests.
pub(super) fn git_read(subject: &Path, error: &git2::Error) -> ReadError {
    ReadError::Failed(git(READ, subject, error))
}
