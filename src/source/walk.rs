//! One walk over a tree of files, wherever it comes from: git's objects, the disk, or one laid over the other.
//!
//! All filters and bounds are here, so that a commit, a worktree and a plain directory are read by the same rules.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::fault::{about, printable, rejected};
use super::ignore::{Rules, rules_file};
use super::limits::{IGNORE_FILE_BYTES, Limits};
use super::name::{IGNORE_FILE, has_controls, is_hidden, is_manifest, is_status, join};
use crate::model::{BlobId, Diagnostic, Diagnostics, SourceFile};
use crate::port::{PortError, ReadError};

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    Link,
    /// Another repository within this one: a submodule, or a worktree of its own.
    Repository,
    /// A FIFO, a socket, a device.
    Other,
}

/// One entry of a directory.
#[derive(Clone, Debug)]
pub(super) struct Entry<'t> {
    /// With U+FFFD for what is not UTF-8.
    pub(super) name: Cow<'t, str>,
    pub(super) kind: Kind,
    /// Whether `name` is the real name.
    pub(super) exact: bool,
    /// Its object, in a tree of git.
    pub(super) object: Option<git2::Oid>,
    /// Its number among the manifests that were read ahead, if it may be one of them.
    pub(super) number: Option<usize>,
    /// How it looked on disk when it was listed.
    pub(super) looks: Option<Looks>,
}

/// What changes with a file, and what git's index remembers of it. Times are seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Looks {
    pub(super) size: u64,
    pub(super) inode: u64,
    pub(super) modified: (i64, i64),
    pub(super) changed: (i64, i64),
}

impl<'t> Entry<'t> {
    pub(super) fn new(name: &'t [u8], kind: Kind) -> Self {
        let name = String::from_utf8_lossy(name);
        // What is borrowed is the name itself.
        let exact = matches!(name, Cow::Borrowed(_));
        Self { name, kind, exact, object: None, number: None, looks: None }
    }

    pub(super) fn into_owned(self) -> Entry<'static> {
        Entry { name: Cow::Owned(self.name.into_owned()), ..self }
    }
}

/// The bytes of a file.
pub(super) enum Content {
    Bytes(BlobId, Arc<[u8]>),
    /// Not read: this many bytes are more than was asked for.
    TooLarge(u64),
    /// It was there a moment ago.
    Gone,
}

/// A tree of files. Paths are relative to its root, with `/` between their parts; the root is the empty path.
pub(super) trait Tree {
    /// The entries of a directory. Only asked for the root and for directories that were listed before.
    fn list(&self, dir: &str) -> Result<Vec<Entry<'_>>, ReadError>;

    /// The bytes of a listed file, if they are at most `limit`.
    fn read(&self, path: &str, entry: &Entry<'_>, limit: u64) -> Result<Content, ReadError>;

    /// Whether a listed link leads to where manifests may be: to a directory, or, as far as the tree alone can tell, out of
    /// it.
    fn leads_to_directory(&self, path: &str, entry: &Entry<'_>) -> bool;
}

/// What to leave out, and how to name what is found.
pub(super) struct Scope<'a> {
    pub(super) limits: &'a Limits,
    /// Paths that are never manifests: the status file.
    pub(super) skip: &'a BTreeSet<String>,
    /// What people see in front of each path: nothing, or what they typed.
    pub(super) shown_below: &'a str,
    /// A tree that was walked before and may have directories in common with this one.
    pub(super) twin: Option<&'a Twin<'a>>,
}

/// A tree that was walked before, by the same scope.
pub(super) struct Twin<'a> {
    pub(super) found: &'a Found,
    /// Whether a directory holds the same in both.
    pub(super) is_same: &'a dyn Fn(&str) -> bool,
}

/// Everything a walk found.
#[derive(Clone, Default)]
pub(super) struct Found {
    /// Sorted by path.
    pub(super) files: Vec<SourceFile>,
    /// Sorted; directories end in `/`.
    pub(super) ignored: Vec<String>,
    pub(super) rules: Rules,
    /// Where the rules came from.
    pub(super) rule_files: BTreeMap<String, BlobId>,
    /// How many entries each directory has, with those below it.
    pub(super) entries: BTreeMap<String, usize>,
}

/// Reads every manifest of a tree. Everything wrong with it is reported at once, except that a bound ends the walk.
pub(super) fn walk(tree: &dyn Tree, scope: &Scope<'_>) -> Result<Found, ReadError> {
    match walk_what_can_be(tree, scope)? {
        (found, bad) if bad.0.is_empty() => Ok(found),
        (_, bad) => Err(ReadError::Rejected(bad)),
    }
}

/// The same, with what is right of a tree that is not: what is wrong with it stands beside that.
pub(super) fn walk_what_can_be(tree: &dyn Tree, scope: &Scope<'_>) -> Result<(Found, Diagnostics), PortError> {
    let mut walk = Walk { tree, scope, found: Found::default(), bad: Vec::new(), entries: 0, bytes: 0 };
    let ended = walk.directory("", 0);
    let Walk { mut found, mut bad, .. } = walk;
    match ended {
        Ok(()) => {}
        Err(ReadError::Rejected(bound)) => bad.extend(bound.0),
        Err(ReadError::Failed(error)) => return Err(error),
    }
    let mut bad = Diagnostics(bad);
    bad.sort();
    found.files.sort_by(|a, b| a.path.cmp(&b.path));
    found.ignored.sort();
    Ok((found, bad))
}

struct Walk<'a> {
    tree: &'a dyn Tree,
    scope: &'a Scope<'a>,
    found: Found,
    bad: Vec<Diagnostic>,
    entries: usize,
    bytes: u64,
}

impl Walk<'_> {
    fn shown(&self, path: &str) -> String {
        join(self.scope.shown_below, path)
    }

    fn directory(&mut self, dir: &str, depth: usize) -> Result<(), ReadError> {
        if self.take_from_twin(dir)? {
            return Ok(());
        }
        let before = self.entries;
        self.below(dir, depth)?;
        self.found.entries.insert(dir.to_owned(), self.entries - before);
        Ok(())
    }

    /// Takes over what a twin has in the same directory. Rules would have to be the same too: with any, both are walked.
    fn take_from_twin(&mut self, dir: &str) -> Result<bool, ReadError> {
        let Some(twin) = self.scope.twin.filter(|twin| (twin.is_same)(dir)) else { return Ok(false) };
        let has_rules = !self.found.rule_files.is_empty() || !twin.found.rule_files.is_empty();
        let Some(entries) = twin.found.entries.get(dir).filter(|_| !has_rules) else { return Ok(false) };
        self.count_entries(dir, *entries)?;
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let start = twin.found.files.partition_point(|file| *file.path < *prefix);
        for file in twin.found.files[start..].iter().take_while(|file| file.path.starts_with(&prefix)) {
            self.add(file.clone())?;
        }
        Ok(true)
    }

    fn count_entries(&mut self, dir: &str, more: usize) -> Result<(), ReadError> {
        self.entries += more;
        if self.entries > self.scope.limits.entries {
            let message = format!("there are more than {} files and directories", self.scope.limits.entries);
            let help = "keep the manifests in a directory of their own and name that one";
            return Err(rejected(about("too-many-files", &self.shown(dir), message, help)));
        }
        Ok(())
    }

    fn below(&mut self, dir: &str, depth: usize) -> Result<(), ReadError> {
        // The tree may be read from while its entries are at hand.
        let tree = self.tree;
        let mut entries = tree.list(dir)?;
        self.count_entries(dir, entries.len())?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(rules) = entries.iter().find(|e| e.name == IGNORE_FILE) {
            self.rules(dir, rules)?;
        }
        let mut last = None;
        let mut path = join(dir, "");
        let start = path.len();
        for entry in entries.iter().filter(|e| !is_hidden(&e.name)) {
            path.truncate(start);
            path.push_str(&entry.name);
            if last == Some(&entry.name) && entry.exact {
                // Only a forged tree can hold a name twice, and git would check out either.
                let message = "the name is in its directory twice".to_owned();
                self.bad.push(about(
                    "bad-file-name",
                    &self.shown(&path),
                    message,
                    "commit the directory anew with git",
                ));
                continue;
            }
            last = Some(&entry.name);
            self.entry(entry, &path, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry<'_>, path: &str, depth: usize) -> Result<(), ReadError> {
        // Whoever excludes a directory that is elsewhere writes the pattern of a directory.
        let is_dir = match entry.kind {
            Kind::Directory | Kind::Repository => true,
            Kind::Link => !is_manifest(&entry.name) && self.tree.leads_to_directory(path, entry),
            Kind::File | Kind::Other => false,
        };
        if !is_dir && (!is_manifest(&entry.name) || self.scope.skip.contains(path)) {
            return Ok(());
        }
        if self.found.rules.excludes(path, is_dir) {
            let shown = self.shown(path);
            self.found.ignored.push(if is_dir { format!("{shown}/") } else { shown });
            return Ok(());
        }
        if !entry.exact || (!is_dir && has_controls(path)) || entry.name.contains('/') {
            let message = "the name is not plain UTF-8 text".to_owned();
            let shown = printable(&self.shown(path));
            self.bad.push(about("bad-file-name", &shown, message, "rename it"));
            return Ok(());
        }
        match entry.kind {
            Kind::Directory if depth >= self.scope.limits.depth => {
                let message = format!("directories are nested more than {} deep", self.scope.limits.depth);
                let help = format!("move the manifests up, or exclude the directory in {IGNORE_FILE}");
                self.bad.push(about("too-deep", &self.shown(path), message, help));
                Ok(())
            }
            Kind::Directory => self.directory(path, depth + 1),
            Kind::File => self.file(path, entry),
            Kind::Link => {
                let message = "this is a symbolic link, and links are not followed".to_owned();
                let help = format!("put the file itself here, or exclude the link in {IGNORE_FILE}");
                self.bad.push(about("symbolic-link", &self.shown(path), message, help));
                Ok(())
            }
            Kind::Repository => {
                let message = "this is another git repository, and its manifests are not read".to_owned();
                let help = format!("put the files themselves here, or exclude the directory in {IGNORE_FILE}");
                self.bad.push(about("submodule", &self.shown(path), message, help));
                Ok(())
            }
            Kind::Other => {
                let help = format!("put a file here, or exclude the name in {IGNORE_FILE}");
                self.bad.push(about("no-file", &self.shown(path), "this is no regular file".to_owned(), help));
                Ok(())
            }
        }
    }

    fn file(&mut self, path: &str, entry: &Entry<'_>) -> Result<(), ReadError> {
        let limits = self.scope.limits;
        let (blob, bytes) = match self.tree.read(path, entry, limits.file_bytes)? {
            Content::Bytes(blob, bytes) => (blob, bytes),
            Content::Gone => return Ok(()),
            Content::TooLarge(size) => {
                let message = format!("the file has {size} bytes, more than {} are not read", limits.file_bytes);
                let help = format!("split it, or exclude it in {IGNORE_FILE}");
                self.bad.push(about("file-too-large", &self.shown(path), message, help));
                return Ok(());
            }
        };
        if is_status(&bytes) {
            return Ok(());
        }
        let path = if self.scope.shown_below.is_empty() { path.into() } else { self.shown(path).into() };
        self.add(SourceFile { path, blob, bytes })
    }

    /// Adds a manifest.
    fn add(&mut self, file: SourceFile) -> Result<(), ReadError> {
        let limits = self.scope.limits;
        self.bytes += file.bytes.len() as u64;
        let too_many = self.found.files.len() >= limits.files;
        if too_many || self.bytes > limits.total_bytes {
            let message = if too_many {
                format!("there are more than {} manifest files", limits.files)
            } else {
                format!("the manifests have more than {} bytes together", limits.total_bytes)
            };
            let help = format!("exclude what is no manifest in {IGNORE_FILE}, or use several directories");
            return Err(rejected(about("too-many-files", &file.path, message, help)));
        }
        self.found.files.push(file);
        Ok(())
    }

    fn rules(&mut self, dir: &str, entry: &Entry<'_>) -> Result<(), ReadError> {
        let path = rules_file(dir);
        let shown = self.shown(&path);
        if entry.kind != Kind::File {
            let message = "this is no regular file, so its rules cannot be read".to_owned();
            self.bad.push(about("bad-ignore-file", &shown, message, "put the file itself here"));
            return Ok(());
        }
        match self.tree.read(&path, entry, IGNORE_FILE_BYTES)? {
            Content::Gone => {}
            Content::Bytes(blob, bytes) => {
                let lines = bytes.iter().filter(|b| **b == b'\n').count();
                if self.found.rules.patterns + lines > self.scope.limits.patterns {
                    let message = format!("there are more than {} patterns", self.scope.limits.patterns);
                    return Err(rejected(about("bad-ignore-file", &shown, message, "exclude whole directories")));
                }
                self.bad.extend(self.found.rules.add(dir, &shown, &bytes));
                self.found.rule_files.insert(path, blob);
            }
            Content::TooLarge(size) => {
                let message = format!("the file has {size} bytes, more than {IGNORE_FILE_BYTES} are not read");
                self.bad.push(about("bad-ignore-file", &shown, message, "exclude whole directories"));
            }
        }
        Ok(())
    }
}
