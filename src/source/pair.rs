//! Two revisions of a directory for a comparison: the repository is opened once, directories that both have are walked
//! once, blobs are read once. A bare repository will do, and so will a directory that is no longer on disk.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use git2::{Commit, ObjectType, Oid};

use super::ahead::{self, Ahead};
use super::checkout::{self, Checkout, CommitTree};
use super::directory::{Directory, Options, STATUS_FILE, real_path};
use super::fault::{READ, damaged};
use super::name::join;
use super::plain::nothing;
use super::revisions;
use super::walk::{Found, Scope, Twin, walk, walk_what_can_be};
use crate::model::{Diagnostics, Snapshot, SourceFile};
use crate::port::{ErrorKind, PortError, ReadError};

/// Why two revisions could not be read.
#[derive(Debug)]
pub struct PairError {
    /// The side that is at fault, when it is one.
    pub side: Option<Side>,
    pub error: ReadError,
}

/// A side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Base,
    Head,
}

impl Side {
    fn failed(self, error: impl Into<ReadError>) -> PairError {
        PairError { side: Some(self), error: error.into() }
    }
}

impl From<PortError> for PairError {
    fn from(error: PortError) -> Self {
        Self { side: None, error: ReadError::Failed(error) }
    }
}

/// Two revisions of a directory.
#[derive(Debug)]
pub struct Pair {
    pub base: Snapshot,
    /// Why the base would be refused as a whole; `base` is what could be read of it.
    pub base_faults: Diagnostics,
    pub head: Snapshot,
    pub rest: Rest,
}

/// What was read on the way. Who keeps the rest of a pair to the end need not wait until it is taken apart.
pub struct Rest(#[expect(dead_code, reason = "it is only kept")] Option<Ahead>);

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rest")
    }
}

/// Reads a directory at the revision `base` and at `head`; without `head` at HEAD, or with `options.worktree` as it is on
/// disk. A revision is whatever `git rev-parse` takes. The side of a commit that lacks the directory is empty. Blocking.
///
/// # Errors
/// When there is no repository, when a revision is missing, ambiguous or no commit, when neither side has a manifest, when
/// one side cannot be read or would take too much work, or when the head breaks a bound. A base that breaks one is read as far
/// as it goes: a change
/// that mends it must have something to be compared with.
pub fn read_pair(dir: &Path, base: &str, head: Option<&str>, options: &Options) -> Result<Pair, PairError> {
    let home = Home::find(dir, options)?;
    let old = revisions::commit(&home.checkout, base).map_err(|e| Side::Base.failed(e))?;
    let old_tree = home.tree(&old).map_err(|e| Side::Base.failed(e))?;
    if head.is_none() && options.worktree {
        let (found, base_faults) = home.walk_base(&old_tree)?;
        let head = Directory::open(dir, options.clone())?.read_now().map_err(|e| Side::Head.failed(e))?;
        return Ok(Pair { base: snapshot(&old, None, found), base_faults, head, rest: Rest(None) });
    }
    let (new, branch) = match head {
        Some(name) => revisions::commit(&home.checkout, name).map(|commit| (commit, None)),
        None => revisions::head(&home.checkout),
    }
    .map_err(|e| Side::Head.failed(e))?;
    let new_tree = home.tree(&new).map_err(|e| Side::Head.failed(e))?;
    let ahead = ahead::read(&home.checkout, [old_tree.top, new_tree.top], &options.limits)?;
    let (old_tree, new_tree) = (old_tree.with(&ahead), new_tree.with(&ahead));
    let (before, base_faults) = home.walk_base(&old_tree)?;
    let is_same = |dir: &str| new_tree.object(dir).is_some_and(|id| old_tree.object(dir) == Some(id));
    let twin = Twin { found: &before, is_same: &is_same };
    // What is wrong with the base would be missing from what is taken over.
    let twin = Some(&twin).filter(|_| base_faults.0.is_empty());
    let after = home.walk(&new_tree, twin).map_err(|e| Side::Head.failed(e))?;
    if before.files.is_empty() && after.files.is_empty() {
        let ignored = [before.ignored, after.ignored].concat();
        return Err(nothing(&home.dir, " in either revision", &ignored).into());
    }
    verify(&before.files, &after.files)?;
    drop((old_tree, new_tree));
    let (base, head) = (snapshot(&old, None, before), snapshot(&new, branch, after));
    Ok(Pair { base, base_faults, head, rest: Rest(Some(ahead)) })
}

/// Checks the files that only one side has so: their bytes are those their names were made of. Those that both have make no
/// difference, and there may be ten thousand of them.
fn verify(mut before: &[SourceFile], mut after: &[SourceFile]) -> Result<(), PairError> {
    // Both are sorted by path, and what was walked once is shared.
    while let (Some((old, old_rest)), Some((new, new_rest))) = (before.split_first(), after.split_first()) {
        let order = if Arc::ptr_eq(&old.path, &new.path) { Ordering::Equal } else { old.path.cmp(&new.path) };
        let is_same = order.is_eq() && old.blob == new.blob;
        if order.is_le() {
            verify_side(Side::Base, if is_same { &[] } else { &before[..1] })?;
            before = old_rest;
        }
        if order.is_ge() {
            verify_side(Side::Head, if is_same { &[] } else { &after[..1] })?;
            after = new_rest;
        }
    }
    verify_side(Side::Base, before)?;
    verify_side(Side::Head, after)
}

fn verify_side(side: Side, files: &[SourceFile]) -> Result<(), PairError> {
    for file in files {
        let is_whole =
            Oid::hash_object(ObjectType::Blob, &file.bytes).is_ok_and(|id| file.blob.is_of_git(id.as_bytes()));
        if !is_whole {
            return Err(side.failed(damaged(&file.blob, &file.path)));
        }
    }
    Ok(())
}

fn snapshot(commit: &Commit<'_>, branch: Option<String>, found: Found) -> Snapshot {
    let Found { files, ignored, .. } = found;
    Snapshot {
        revision: checkout::revision(commit, branch),
        files,
        local: Default::default(),
        uncommitted: Vec::new(),
        ignored,
    }
}

/// A directory in a repository, whether or not it is on disk.
struct Home<'o> {
    dir: PathBuf,
    checkout: Checkout,
    /// The directory's place in the tree of a commit.
    place: String,
    skip: BTreeSet<String>,
    options: &'o Options,
}

impl<'o> Home<'o> {
    fn find(dir: &Path, options: &'o Options) -> Result<Self, PortError> {
        let absolute = std::path::absolute(dir).map_err(|e| PortError::io(READ, dir.display().to_string(), &e))?;
        let dir: PathBuf = absolute.components().collect();
        let error = |kind, message: &str, help: &str| {
            PortError::new(kind, READ, dir.display().to_string(), message).with_help(help)
        };
        if dir.is_file() {
            return Err(error(
                ErrorKind::Invalid,
                "it is not a directory",
                "name the directory the file is in: a pod that has no manifest there is one to delete",
            ));
        }
        let on_disk = dir.ancestors().find(|above| above.is_dir()).unwrap_or(&dir);
        let rest = dir.strip_prefix(on_disk).unwrap_or(Path::new(""));
        let real = std::fs::canonicalize(on_disk).map_err(|e| PortError::io(READ, dir.display().to_string(), &e))?;
        let missing =
            || error(ErrorKind::NotFound, "there is no such directory", "name the directory of the manifests");
        let checkout = match Checkout::find_any(&real, &options.trust)? {
            Some(checkout) => checkout,
            None if !rest.as_os_str().is_empty() => return Err(missing()),
            None => {
                let help = "without --base it is compared with what runs; `git init` and a commit give it revisions";
                return Err(error(ErrorKind::Invalid, "it is in no git repository, so it has no other revision", help));
            }
        };
        let name = |part: Component<'_>| match part {
            Component::Normal(name) => name.to_str().map(str::to_owned),
            _ => None,
        };
        let rest: Option<Vec<String>> = rest.components().map(name).collect();
        let place = join(&checkout.relative(&real)?, &rest.ok_or_else(missing)?.join("/"));
        let place = place.trim_end_matches('/').to_owned();
        let skip = match &options.status_file {
            None => Some(STATUS_FILE.to_owned()),
            Some(file) => real_path(file).and_then(|file| Some(file.strip_prefix(&real).ok()?.to_str()?.to_owned())),
        };
        Ok(Self { dir, checkout, place, skip: skip.into_iter().collect(), options })
    }

    fn tree(&self, commit: &Commit<'_>) -> Result<CommitTree<'_>, ReadError> {
        CommitTree::new(&self.checkout, Some(commit), &self.place)
    }

    fn walk(&self, tree: &CommitTree<'_>, twin: Option<&Twin<'_>>) -> Result<Found, ReadError> {
        walk(tree, &self.scope(twin))
    }

    fn walk_base(&self, tree: &CommitTree<'_>) -> Result<(Found, Diagnostics), PairError> {
        walk_what_can_be(tree, &self.scope(None)).map_err(|e| Side::Base.failed(e))
    }

    fn scope<'a>(&'a self, twin: Option<&'a Twin<'a>>) -> Scope<'a> {
        Scope { limits: &self.options.limits, skip: &self.skip, shown_below: "", twin }
    }
}
