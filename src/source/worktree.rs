//! The files of a checkout as they would be committed: what is on disk, less what git ignores.
//!
//! libgit2's own comparison of HEAD with a worktree is not used: it walks every tree to its end, however often a hostile
//! one holds itself. This one walks the disk, within our bounds, and spares reading what the index knows to be unchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

use git2::{Index, IndexEntry, IndexEntryExtendedFlag};

use super::checkout::Checkout;
use super::disk::Disk;
use super::limits::Limits;
use super::name::{IGNORE_FILE, below, is_hidden, is_manifest, is_status, join};
use super::pipes;
use super::walk::{Content, Entry, Found, Kind, Looks, Tree};
use crate::model::SourceFile;
use crate::port::ReadError;

/// A worktree below one of its directories, compared with what HEAD has there.
pub(super) struct Worktree<'a> {
    checkout: &'a Checkout,
    disk: Disk,
    /// The directory's place in the worktree.
    place: &'a str,
    /// Without one, everything is read and only what HEAD has counts as tracked.
    index: Option<(Index, Option<SystemTime>)>,
    /// What HEAD has, and what the index knows of it.
    head: BTreeMap<&'a str, (&'a SourceFile, Option<IndexEntry>)>,
    /// Paths that a sparse checkout leaves out on purpose.
    sparse: BTreeSet<String>,
}

impl<'a> Worktree<'a> {
    /// `disk` is the directory itself, `place` where in the worktree it is, `head` what HEAD has in it.
    pub(super) fn new(checkout: &'a Checkout, disk: Disk, place: &'a str, head: &'a Found) -> Self {
        let index = checkout.repository.index().ok().map(|index| {
            let written = index.path().and_then(|path| std::fs::metadata(path).ok()?.modified().ok());
            (index, written)
        });
        let mut new = Self { checkout, disk, place, index, head: BTreeMap::new(), sparse: BTreeSet::new() };
        let flag = IndexEntryExtendedFlag::SKIP_WORKTREE.bits();
        for file in &head.files {
            let entry = new.entry(&file.path);
            if entry.as_ref().is_some_and(|entry| entry.flags_extended & flag != 0) {
                new.sparse.insert(file.path.to_string());
            }
            new.head.insert(&file.path, (file, entry));
        }
        new
    }

    fn entry(&self, path: &str) -> Option<IndexEntry> {
        let (index, _) = self.index.as_ref()?;
        index.get_path(Path::new(&join(self.place, path)), 0)
    }

    /// Whether git ignores an entry that it does not track.
    fn is_ignored(&self, path: &str, kind: Kind) -> bool {
        let full = join(self.place, path);
        let tracked = match kind {
            Kind::Directory => {
                let prefix = format!("{full}/");
                let indexed = self.index.as_ref().is_some_and(|(index, _)| index.find_prefix(&prefix).is_ok());
                let first = format!("{path}/");
                indexed || self.head.range(&*first..).next().is_some_and(|(p, _)| p.starts_with(&first))
            }
            _ => self.head.contains_key(path) || self.entry(path).is_some(),
        };
        // A directory without a slash at its end could not match a pattern that has one.
        let asked = if kind == Kind::Directory { format!("{full}/") } else { full };
        !tracked && self.checkout.repository.is_path_ignored(asked).unwrap_or(false)
    }

    /// What HEAD has at `path`, if the index vouches for the file on disk being the same. It is not even opened then: each of
    /// thousands would wake whoever watches the directory.
    fn unchanged(&self, path: &str, looks: &Looks) -> Option<&'a SourceFile> {
        let (head, entry) = self.head.get(path)?;
        let entry = entry.as_ref()?;
        let (_, written) = self.index.as_ref()?;
        (looks_like(entry, looks, (*written)?) && head.blob.is_of_git(entry.id.as_bytes())).then_some(*head)
    }

    /// The paths whose content is not HEAD's: edited, new, deleted. `head` is the same as in [`Worktree::new`]; what its
    /// rules exclude does not count, nor what is in `skip`. Bounds only end the search.
    pub(super) fn differences(&self, head: &Found, skip: &BTreeSet<String>, limits: &Limits) -> BTreeSet<String> {
        let mut search =
            Search { tree: self, head, skip, limits, seen: BTreeSet::new(), entries: 0, found: BTreeSet::new() };
        let complete = search.directory("", 0);
        let Search { seen, mut found, .. } = search;
        if complete {
            let known = self.head.keys().copied().chain(head.rule_files.keys().map(String::as_str));
            found.extend(known.filter(|path| !seen.contains(*path)).map(str::to_owned));
        }
        found
    }
}

impl Tree for Worktree<'_> {
    fn list(&self, dir: &str) -> Result<Vec<Entry<'_>>, ReadError> {
        let mut entries = self.disk.list(dir)?;
        self.disk.mark_repositories(dir, &mut entries);
        if entries.iter().any(|entry| entry.name == pipes::RULES && entry.kind != Kind::File) {
            let path = self.checkout.root.join(join(self.place, &join(dir, pipes::RULES)));
            pipes::refuse(&path).map_err(ReadError::Failed)?;
        }
        entries.retain(|entry| {
            let path = join(dir, &entry.name);
            match entry.kind {
                _ if is_hidden(&entry.name) => true,
                Kind::Directory | Kind::Repository => !self.is_ignored(&path, Kind::Directory),
                _ => !is_manifest(&entry.name) || !self.is_ignored(&path, entry.kind),
            }
        });
        for (_, rest) in below(&self.sparse, dir) {
            let (name, kind) = rest.split_once('/').map_or((rest, Kind::File), |(name, _)| (name, Kind::Directory));
            if !entries.iter().any(|e| e.name == name) {
                entries.push(Entry::new(name.as_bytes(), kind).into_owned());
            }
        }
        Ok(entries)
    }

    fn read(&self, path: &str, entry: &Entry<'_>, limit: u64) -> Result<Content, ReadError> {
        if let Some(head) = entry.looks.as_ref().and_then(|looks| self.unchanged(path, looks)) {
            return Ok(Content::Bytes(head.blob.clone(), head.bytes.clone()));
        }
        let content = self.disk.bytes(path, limit)?;
        match (content, self.head.get(path)) {
            (Content::Gone, Some((head, _))) if self.sparse.contains(path) => {
                Ok(Content::Bytes(head.blob.clone(), head.bytes.clone()))
            }
            (content, _) => Ok(content),
        }
    }

    fn leads_to_directory(&self, path: &str, entry: &Entry<'_>) -> bool {
        !self.is_ignored(path, entry.kind) && self.disk.leads_to_directory(path, entry)
    }
}

/// One search for differences.
struct Search<'a> {
    tree: &'a Worktree<'a>,
    head: &'a Found,
    skip: &'a BTreeSet<String>,
    limits: &'a Limits,
    seen: BTreeSet<String>,
    entries: usize,
    found: BTreeSet<String>,
}

impl Search<'_> {
    /// Whether the directory was seen to its end.
    fn directory(&mut self, dir: &str, depth: usize) -> bool {
        let Ok(entries) = self.tree.list(dir) else { return false };
        self.entries += entries.len();
        if self.entries > self.limits.entries || depth > self.limits.depth {
            return false;
        }
        let mut complete = true;
        for entry in entries {
            let path = join(dir, &entry.name);
            let rules = entry.name == IGNORE_FILE;
            if self.skip.contains(&path) || (is_hidden(&entry.name) && !rules) {
                continue;
            }
            if entry.kind == Kind::Directory {
                complete &= self.head.rules.excludes(&path, true) || self.directory(&path, depth + 1);
            } else if rules || (is_manifest(&entry.name) && !self.head.rules.excludes(&path, false)) {
                if self.differs(&path, &entry) {
                    self.found.insert(path.clone());
                }
                self.seen.insert(path);
            }
        }
        complete
    }

    fn differs(&self, path: &str, entry: &Entry<'_>) -> bool {
        let head = self.tree.head.get(path).map(|(f, _)| &f.blob).or_else(|| self.head.rule_files.get(path));
        let disk = match entry.kind {
            Kind::File => self.tree.read(path, entry, self.limits.file_bytes),
            _ => return true,
        };
        match disk {
            // A status file of ours is no manifest wherever it lies, so nobody forgot to commit it.
            Ok(Content::Bytes(_, bytes)) if is_status(&bytes) => false,
            Ok(Content::Bytes(blob, _)) => Some(&blob) != head,
            Ok(Content::Gone) => false,
            Ok(Content::TooLarge(_)) | Err(_) => true,
        }
    }
}

/// Whether the index entry was made from this very file, as git decides it: everything that changes with a file is the
/// same, and it was last changed before the index was written, or else it could have changed in the same instant.
fn looks_like(entry: &IndexEntry, file: &Looks, written: SystemTime) -> bool {
    let same =
        |time: git2::IndexTime, seen: (i64, i64)| (i64::from(time.seconds()), i64::from(time.nanoseconds())) == seen;
    let truncated = |number: u64| (number & u64::from(u32::MAX)) as u32;
    let since = |time: SystemTime| {
        let passed = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some((i64::try_from(passed.as_secs()).ok()?, i64::from(passed.subsec_nanos())))
    };
    entry.file_size == truncated(file.size)
        && entry.ino == truncated(file.inode)
        && same(entry.mtime, file.modified)
        && same(entry.ctime, file.changed)
        && since(written).is_some_and(|written| file.modified < written)
}

/// Whether both hold the same files. Equal blobs are equal bytes.
pub(super) fn same(a: &Found, b: &Found) -> bool {
    a.files.iter().map(|f| (&f.path, &f.blob)).eq(b.files.iter().map(|f| (&f.path, &f.blob)))
}
