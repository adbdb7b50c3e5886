//! Directories and files as they are on disk, without git.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::disk::{Disk, content, unreadable};
use super::eager::walk_disk;
use super::fault::{READ, about, rejected};
use super::limits::Limits;
use super::name::{EXTENSIONS, IGNORE_FILE};
use super::walk::{Content, Found, Scope};
use crate::model::{Diagnostic, Revision, RevisionKind, Severity, Snapshot, SourceFile};
use crate::port::{ErrorKind, PortError, ReadError};

/// Reads files and directories as they are on disk, for `validate` and `render`. Git is not asked: what is there is read.
/// Directories are read as [`super::Directory`] reads them; a file that is named is read whatever it is called. Paths in
/// the snapshot are those that were typed, joined with what was found below, so that a diagnostic's place can be opened.
///
/// # Errors
/// `Failed` when a path cannot be read or holds no manifest; `Rejected` when a bound or a rule of the walk is broken.
pub fn read_paths(paths: &[PathBuf]) -> Result<Snapshot, ReadError> {
    let limits = Limits::of_paths();
    let mut seen = BTreeSet::new();
    let mut all = Found::default();
    for path in paths {
        let metadata = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?;
        let typed = typed(path)?;
        let found = if metadata.is_dir() { directory(path, &typed, &limits)? } else { file(path, &typed, &limits)? };
        if found.files.is_empty() {
            return Err(rejected(nothing_of(&nothing(path, "", &found.ignored))));
        }
        for file in found.files {
            // The same file named twice, or once by itself and once by its directory, is one file.
            let real = || std::fs::canonicalize(&*file.path).unwrap_or_else(|_| PathBuf::from(&*file.path));
            if paths.len() == 1 || seen.insert(real()) {
                all.files.push(file);
            }
        }
        all.ignored.extend(found.ignored);
    }
    let bytes: u64 = all.files.iter().map(|f| f.bytes.len() as u64).sum();
    if all.files.len() > limits.files || bytes > limits.total_bytes {
        let message = "the paths hold too many manifests together".to_owned();
        return Err(rejected(about("too-many-files", "", message, "name fewer at a time")));
    }
    all.files.sort_by(|a, b| a.path.cmp(&b.path));
    all.ignored.sort();
    all.ignored.dedup();
    let revision = revision(&all.files);
    Ok(Snapshot {
        revision,
        files: all.files,
        local: Default::default(),
        uncommitted: Vec::new(),
        ignored: all.ignored,
    })
}

/// A warning at the first manifest that an agent would not take any more, when the paths hold more than one does.
pub fn beyond_an_agent(snapshot: &Snapshot) -> Option<Diagnostic> {
    beyond(snapshot, &Limits::default())
}

fn beyond(snapshot: &Snapshot, limits: &Limits) -> Option<Diagnostic> {
    let Limits { files, total_bytes, .. } = *limits;
    let mut bytes = 0;
    let first = snapshot.files.iter().enumerate().find(|(index, file)| {
        bytes += file.bytes.len() as u64;
        *index >= files || bytes > total_bytes
    });
    let message =
        format!("an agent refuses a directory with more than {files} manifests or {total_bytes} bytes of them");
    let help = "divide them among several directories, each with an agent of its own";
    let about = |file: &SourceFile| about("too-much-for-an-agent", &file.path, message, help);
    first.map(|(_, file)| Diagnostic { severity: Severity::Warning, ..about(file) })
}

/// How a path is shown: as typed, without the `./` in front that only clutters.
fn typed(path: &Path) -> Result<String, ReadError> {
    let Some(text) = path.to_str() else {
        let message = "the path is not UTF-8".to_owned();
        return Err(rejected(about("bad-file-name", &path.to_string_lossy(), message, "rename it")));
    };
    let mut text = text;
    while let Some(rest) = text.strip_prefix("./") {
        text = rest.trim_start_matches('/');
    }
    let text = if text == "." { "" } else { text };
    Ok(if text.len() > 1 { text.trim_end_matches('/').to_owned() } else { text.to_owned() })
}

fn directory(path: &Path, typed: &str, limits: &Limits) -> Result<Found, ReadError> {
    let skip = BTreeSet::new();
    // Git is not asked what it tracks, but what it would never track is no part of the directory.
    let in_repository = std::fs::canonicalize(path)
        .is_ok_and(|real| real.ancestors().any(|above| std::fs::symlink_metadata(above.join(".git")).is_ok()));
    walk_disk(Disk::open(path)?, in_repository, &Scope { limits, skip: &skip, shown_below: typed, twin: None })
}

fn file(path: &Path, typed: &str, limits: &Limits) -> Result<Found, ReadError> {
    if !std::fs::metadata(path).is_ok_and(|m| m.is_file()) {
        let message = "this is no regular file".to_owned();
        return Err(rejected(about("no-file", typed, message, "name a file or a directory of manifests")));
    }
    let file = std::fs::File::open(path).map_err(|e| unreadable(path, &e))?;
    match content(file, limits.file_bytes).map_err(|e| unreadable(path, &e))? {
        Content::Bytes(blob, bytes) => {
            Ok(Found { files: vec![SourceFile { path: typed.into(), blob, bytes }], ..Found::default() })
        }
        Content::TooLarge(size) => {
            let message = format!("the file has {size} bytes, more than {} are not read", limits.file_bytes);
            Err(rejected(about("file-too-large", typed, message, "split it")))
        }
        Content::Gone => Ok(Found::default()),
    }
}

/// The revision of files without git.
pub(super) fn revision(files: &[SourceFile]) -> Revision {
    let id = format!("sha256:{}", digest(files));
    Revision { kind: RevisionKind::Content, id, subject: None, branch: None }
}

/// A digest of paths and bytes. Lengths keep what belongs to a path and what to a file apart.
pub(super) fn digest(files: &[SourceFile]) -> String {
    let mut hash = Sha256::new();
    for file in files {
        for part in [file.path.as_bytes(), &file.bytes] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// The error of a directory that holds nothing to run. `place` says at which revision, or is empty.
pub(super) fn nothing(dir: &Path, place: &str, ignored: &[String]) -> PortError {
    let kinds = EXTENSIONS.join(", ");
    let (message, help) = if ignored.is_empty() {
        (format!("there are no manifests ({kinds}){place}"), "name the directory that holds them".to_owned())
    } else {
        let message = format!("{IGNORE_FILE} excludes every manifest ({kinds}){place}");
        (message, format!("take back some of its patterns: {} is excluded", ignored[0]))
    };
    PortError::new(ErrorKind::NotFound, READ, dir.display().to_string(), message).with_help(help)
}

/// The same as a finding, for whoever reports findings.
fn nothing_of(error: &PortError) -> Diagnostic {
    let message = format!("{}: {}", error.subject, error.message);
    let help = error.help.as_deref().unwrap_or_default();
    Diagnostic { place: None, ..about("no-manifests", "", message, help) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BlobId;

    #[test]
    fn more_than_an_agent_takes_is_a_warning_at_the_first_that_is_too_much() {
        let file = |n: usize| SourceFile {
            path: format!("{n}.yaml").into(),
            blob: BlobId::of_text("0"),
            bytes: b"a: b\n".to_vec().into(),
        };
        let files: Vec<SourceFile> = (0..4).map(file).collect();
        let snapshot = Snapshot {
            revision: revision(&files),
            files,
            local: Default::default(),
            uncommitted: vec![],
            ignored: vec![],
        };
        let at = |files, total_bytes| {
            let found = beyond(&snapshot, &Limits { files, total_bytes, ..Limits::default() })?;
            assert_eq!((found.severity, found.rule), (Severity::Warning, "too-much-for-an-agent"));
            Some(found.place.unwrap().at.path.to_string())
        };
        assert_eq!(at(4, 20), None);
        assert_eq!(at(3, 20), Some("3.yaml".to_owned()));
        assert_eq!(at(4, 19), Some("3.yaml".to_owned()));
        assert_eq!(at(4, 9), Some("1.yaml".to_owned()));
    }
}
