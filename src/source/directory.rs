//! A directory of manifests, in a git checkout or not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use git2::Oid;

use super::checkout::{self, Checkout, CommitTree};
use super::disk::{Disk, unreadable};
use super::eager::walk_disk;
use super::fault::READ;
use super::limits::{Limits, NAMED_PATHS};
use super::local;
use super::owner::Trust;
use super::plain::{digest, nothing, revision};
use super::walk::{Found, Scope, walk};
use super::worktree::{Worktree, same};
use crate::model::{Provisioned, Revision, RevisionKind, Snapshot};
use crate::port::{ErrorKind, PortError, ReadError, Source};

/// The file beside the manifests that the status goes to, unless another one is named.
pub(super) const STATUS_FILE: &str = "status.yaml";

/// How a directory is read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Read uncommitted edits too, as if everything had been committed.
    pub worktree: bool,
    /// Where the status goes; `None` means `status.yaml` in the directory. It is never read as a manifest.
    pub status_file: Option<PathBuf>,
    /// Where the objects are that were provisioned on the machine itself, if any are to be read.
    pub local: Option<PathBuf>,
    pub limits: Limits,
    pub trust: Trust,
}

/// A directory of manifests. With git, its files come from the tree of HEAD, so that no read is torn; without git from
/// disk. Which of the two is settled when it is opened: a repository that vanishes later is an error, not a reason to read
/// half a clone.
#[derive(Clone)]
pub struct Directory {
    pub(super) inner: Arc<Inner>,
}

/// Where git has what it knows of a worktree.
pub(super) struct Places {
    /// The worktree's root.
    pub(super) root: PathBuf,
    /// The git directory of this worktree.
    pub(super) gitdir: PathBuf,
    /// That of all worktrees together.
    pub(super) commondir: PathBuf,
}

/// What a read needs; shared with the threads that do it.
pub(super) struct Inner {
    /// Absolute, as it was named: a symbolic link in it may be pointed elsewhere later.
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    /// Absolute.
    pub(super) status: PathBuf,
    /// With git, the worktree's root and the directory's place in it, for when the directory itself is not on disk.
    home: Option<(PathBuf, String)>,
    /// The last tree that was read, which most reads find unchanged.
    cache: Mutex<Option<(Oid, BTreeSet<String>, Found)>>,
}

impl Directory {
    /// Opens a directory of manifests. Blocking; it reads none of them yet.
    ///
    /// # Errors
    /// When there is no such directory, when it cannot be read, or when the repository belongs to someone else.
    pub fn open(dir: &Path, options: Options) -> Result<Self, PortError> {
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(|e| PortError::io(READ, path.display().to_string(), &e));
        let status = absolute(options.status_file.as_deref().unwrap_or(&dir.join(STATUS_FILE)))?;
        // Without a slash at its end, which messages would repeat.
        let dir: PathBuf = absolute(dir)?.components().collect();
        Disk::open(&dir).map_err(failure)?;
        let real = std::fs::canonicalize(&dir).map_err(|e| failure(unreadable(&dir, &e)))?;
        let home = match Checkout::find(&real, &options.trust)? {
            Some(checkout) => Some((checkout.root.clone(), checkout.relative(&real)?)),
            None => None,
        };
        Ok(Self { inner: Arc::new(Inner { dir, options, status, home, cache: Mutex::new(None) }) })
    }

    /// The directory, absolute.
    pub fn path(&self) -> &Path {
        &self.inner.dir
    }

    /// Where the status goes, absolute.
    pub fn status_path(&self) -> &Path {
        &self.inner.status
    }

    /// Whether the directory lies in a git checkout.
    pub fn is_git(&self) -> bool {
        self.inner.home.is_some()
    }

    /// Reads every manifest at the current revision. Blocking.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn read_now(&self) -> Result<Snapshot, ReadError> {
        self.inner.read()
    }

    /// Reads every manifest of another commit. Blocking.
    ///
    /// # Errors
    /// As [`Source::read_at`].
    pub fn read_now_at(&self, revision: &str) -> Result<Option<Snapshot>, ReadError> {
        self.inner.read_at(revision)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let inner = Arc::clone(&self.inner);
        let subject = self.inner.dir.display().to_string();
        tokio::task::spawn_blocking(move || work(&inner)).await.unwrap_or_else(|error| {
            Err(ReadError::Failed(PortError::new(ErrorKind::Internal, READ, subject, error.to_string())))
        })
    }
}

#[async_trait]
impl Source for Directory {
    /// libgit2 blocks, so the work is done on tokio's threads for that.
    async fn read(&self) -> Result<Snapshot, ReadError> {
        self.blocking(Inner::read).await
    }

    /// `revision` is whatever `git rev-parse` takes: an id, a branch, `HEAD~1`. A directory that the commit does not have
    /// is an empty snapshot.
    async fn read_at(&self, revision: &str) -> Result<Option<Snapshot>, ReadError> {
        let revision = revision.to_owned();
        self.blocking(move |inner| inner.read_at(&revision)).await
    }
}

/// The failure in a read error; opening rejects no content.
fn failure(error: ReadError) -> PortError {
    match error {
        ReadError::Failed(error) => error,
        ReadError::Rejected(all) => {
            let message = all.0.first().map(|d| d.message.clone()).unwrap_or_default();
            PortError::new(ErrorKind::Invalid, READ, "", message)
        }
    }
}

impl Inner {
    fn read(&self) -> Result<Snapshot, ReadError> {
        match &self.home {
            None => self.read_plain(),
            Some(home) => self.read_git(home),
        }
    }

    fn read_plain(&self) -> Result<Snapshot, ReadError> {
        let disk = Disk::open(&self.dir)?;
        let skip = self.skip(&std::fs::canonicalize(&self.dir).map_err(|e| unreadable(&self.dir, &e))?);
        let found = walk_disk(disk, false, &self.scope(&skip))?;
        if found.files.is_empty() {
            return Err(ReadError::Failed(nothing(&self.dir, "", &found.ignored)));
        }
        Ok(Snapshot {
            revision: revision(&found.files),
            files: found.files,
            local: self.local(),
            uncommitted: Vec::new(),
            ignored: found.ignored,
        })
    }

    /// The repository as it is now, and the directory's real path and place in it.
    pub(super) fn checkout(&self, home: &(PathBuf, String)) -> Result<(Checkout, PathBuf, String), PortError> {
        // The directory may be missing on disk and still be in HEAD.
        let real = std::fs::canonicalize(&self.dir).ok();
        let at = real.as_deref().unwrap_or(&home.0);
        let Some(checkout) = Checkout::find(at, &self.options.trust)? else {
            let message = "the git repository it was in is gone";
            return Err(PortError::new(ErrorKind::NotFound, READ, self.dir.display().to_string(), message)
                .with_help("bring it back, or start again to read the directory without git"));
        };
        match real {
            Some(real) => {
                let place = checkout.relative(&real)?;
                Ok((checkout, real, place))
            }
            None => Ok((checkout, home.0.join(&home.1), home.1.clone())),
        }
    }

    /// Where git has what it knows of the worktree, as it is now. It is opened for that.
    pub(super) fn places(&self) -> Option<Places> {
        let (checkout, _, _) = self.checkout(self.home.as_ref()?).ok()?;
        let repository = &checkout.repository;
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let (gitdir, commondir) = (real(repository.path()), real(repository.commondir()));
        Some(Places { root: checkout.root.clone(), gitdir, commondir })
    }

    fn read_git(&self, home: &(PathBuf, String)) -> Result<Snapshot, ReadError> {
        let (checkout, real, place) = self.checkout(home).map_err(ReadError::Failed)?;
        let skip = self.skip(&real);
        let head = checkout.head().map_err(ReadError::Failed)?;
        if head.is_none() && !self.options.worktree {
            return Err(ReadError::Failed(self.unborn()));
        }
        let tree = CommitTree::new(&checkout, head.as_ref().map(|(commit, _)| commit), &place)?;
        let revision = match &head {
            Some((commit, branch)) => checkout::revision(commit, branch.clone()),
            None => revision(&[]),
        };
        if !self.options.worktree {
            let found = self.read_tree(tree, &skip)?;
            // Naming what is not committed is a courtesy; a worktree that cannot be looked through has nothing to name.
            let differs = Disk::open(&real).map(|disk| {
                Worktree::new(&checkout, disk, &place, &found).differences(&found, &skip, &self.options.limits)
            });
            let differs = match differs {
                Ok(differs) => differs,
                Err(_) => found.files.iter().map(|f| f.path.to_string()).collect(),
            };
            return self.snapshot(revision, found, Some(&differs));
        }
        // HEAD's manifests may be wrong in a way that is being put right on disk.
        let committed = self.read_tree(tree, &skip).unwrap_or_default();
        let edited = walk(&Worktree::new(&checkout, Disk::open(&real)?, &place, &committed), &self.scope(&skip))?;
        let revision = if same(&edited, &committed) { revision } else { edit(revision, &edited) };
        self.snapshot(revision, edited, None)
    }

    fn snapshot(
        &self,
        revision: Revision,
        found: Found,
        uncommitted: Option<&BTreeSet<String>>,
    ) -> Result<Snapshot, ReadError> {
        if found.files.is_empty() {
            return Err(ReadError::Failed(self.empty(&revision, &found, uncommitted)));
        }
        let uncommitted = uncommitted.map(named).unwrap_or_default();
        let local = self.local();
        Ok(Snapshot { revision, files: found.files, local, uncommitted, ignored: found.ignored })
    }

    fn local(&self) -> Provisioned {
        let read = |path: &Path| local::read_local(path, &self.options.limits);
        self.options.local.as_deref().map(read).unwrap_or_default()
    }

    fn read_at(&self, wanted: &str) -> Result<Option<Snapshot>, ReadError> {
        let Some(home) = &self.home else {
            return Ok(Some(self.read_plain()?).filter(|s| s.revision.id == wanted));
        };
        let (checkout, real, place) = self.checkout(home).map_err(ReadError::Failed)?;
        let Some(commit) = checkout.resolve(wanted).map_err(ReadError::Failed)? else { return Ok(None) };
        let skip = self.skip(&real);
        let found = walk(&CommitTree::new(&checkout, Some(&commit), &place)?, &self.scope(&skip))?;
        Ok(Some(Snapshot {
            revision: checkout::revision(&commit, None),
            files: found.files,
            local: self.local(),
            uncommitted: Vec::new(),
            ignored: found.ignored,
        }))
    }

    /// Reads a commit's tree, or remembers it from the last time; of another one what is new.
    fn read_tree(&self, tree: CommitTree<'_>, skip: &BTreeSet<String>) -> Result<Found, ReadError> {
        let Some(top) = tree.top else { return Ok(Found::default()) };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cache {
            Some((id, skipped, found)) if *id == top && skipped == skip => Ok(found.clone()),
            before => {
                let known = before.iter().flat_map(|(_, _, found)| &found.files);
                let tree = tree.knowing(known.map(|file| (file.blob.clone(), Arc::clone(&file.bytes))).collect());
                let found = walk(&tree, &self.scope(skip))?;
                *cache = Some((top, skip.clone(), found.clone()));
                Ok(found)
            }
        }
    }

    fn scope<'a>(&'a self, skip: &'a BTreeSet<String>) -> Scope<'a> {
        Scope { limits: &self.options.limits, skip, shown_below: "", twin: None }
    }

    /// The status file, if it lies in the directory, relative to it.
    fn skip(&self, real: &Path) -> BTreeSet<String> {
        let Some(status) = real_path(&self.status) else { return BTreeSet::new() };
        let Ok(inside) = status.strip_prefix(real) else { return BTreeSet::new() };
        inside.to_str().map(|path| path.replace(std::path::MAIN_SEPARATOR, "/")).into_iter().collect()
    }

    fn unborn(&self) -> PortError {
        let message = "the repository has no commit yet";
        PortError::new(ErrorKind::NotFound, READ, self.dir.display().to_string(), message)
            .with_help("commit the manifests (git add, git commit), or read uncommitted files with --worktree")
    }

    fn empty(&self, revision: &Revision, found: &Found, uncommitted: Option<&BTreeSet<String>>) -> PortError {
        let place = match revision.kind {
            RevisionKind::Commit => format!(" in commit {}", revision.short()),
            _ => String::new(),
        };
        let error = nothing(&self.dir, &place, &found.ignored);
        match uncommitted.and_then(|paths| Some((paths.len(), paths.first()?))) {
            Some((1, first)) => {
                error.with_help(format!("{first} is not committed and not read: commit it, or use --worktree"))
            }
            Some((count, first)) => error.with_help(format!(
                "{first} and {} more are not committed and not read: commit them, or use --worktree",
                count - 1
            )),
            None => error,
        }
    }
}

/// A path with its directory's links resolved, whether or not the file exists.
pub(super) fn real_path(path: &Path) -> Option<PathBuf> {
    Some(std::fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?))
}

/// The revision with edits on top.
fn edit(commit: Revision, found: &Found) -> Revision {
    match commit.kind {
        RevisionKind::Commit => {
            let id = format!("{}+{}", commit.id, digest(&found.files));
            Revision { kind: RevisionKind::Worktree, id, ..commit }
        }
        _ => revision(&found.files),
    }
}

/// The first paths by name, and how many more there are.
fn named(paths: &BTreeSet<String>) -> Vec<String> {
    let mut names: Vec<String> = paths.iter().take(NAMED_PATHS).cloned().collect();
    if paths.len() > NAMED_PATHS {
        names.push(format!("and {} more", paths.len() - NAMED_PATHS));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_uncommitted_paths_are_counted() {
        let paths: BTreeSet<String> = (0..NAMED_PATHS + 5).map(|n| format!("{n:06}.yaml")).collect();
        let names = named(&paths);
        assert_eq!(names.len(), NAMED_PATHS + 1);
        assert_eq!(names.last().unwrap(), "and 5 more");
    }
}
