//! A git checkout: finding it, its HEAD, and the files of a commit's tree.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use git2::{Commit, ErrorCode, ObjectType, Oid, Reference, Repository, RepositoryOpenFlags, TreeEntry};

use super::ahead::Ahead;
use super::fault::{self, READ};
use super::intact::{Headers, Intact};
use super::limits::TREE_BYTES;
use super::name::join;
use super::owner::{self, Trust};
use super::pipes;
use super::tree::Item;
use super::walk::{Content, Entry, Kind, Tree};
use crate::model::{BlobId, Revision, RevisionKind};
use crate::port::{ErrorKind, PortError, ReadError};

/// Characters of a commit's subject that are kept.
const SUBJECT_CHARS: usize = 200;
/// The longest target of a link, and how many links may follow each other: Linux' own bounds (`PATH_MAX`, `MAXSYMLINKS`).
const LINK_BYTES: usize = 4096;
const LINKS: usize = 40;

/// A repository, opened for one read.
pub(super) struct Checkout {
    pub(super) repository: Repository,
    /// The worktree's root, without links; of a bare repository its own directory.
    pub(super) root: PathBuf,
    pub(super) intact: Intact,
}

impl Checkout {
    /// Opens the repository whose worktree `dir` lies in; `None` when it lies in none.
    pub(super) fn find(dir: &Path, trust: &Trust) -> Result<Option<Self>, PortError> {
        match Self::find_any(dir, trust)? {
            Some(found) if found.repository.is_bare() => Err(inside(dir)),
            found => Ok(found),
        }
    }

    /// The same, also for a bare repository, of which `dir` is or would be a part.
    pub(super) fn find_any(dir: &Path, trust: &Trust) -> Result<Option<Self>, PortError> {
        #[cfg(target_os = "linux")]
        crate::sys::git::leave_owner_check_to_us();
        pipes::refuse_around(dir)?;
        let none: [&OsStr; 0] = [];
        let repository = match Repository::open_ext(dir, RepositoryOpenFlags::empty(), none) {
            Ok(repository) => repository,
            Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
            Err(error) if error.code() == ErrorCode::Owner => return Err(owner::refuse(dir)),
            Err(error) => return Err(fault::git("open the git repository of", dir, &error)),
        };
        let is_inside = dir.starts_with(repository.path()) || dir.starts_with(repository.commondir());
        let root = match repository.workdir() {
            Some(root) if !is_inside => root.to_owned(),
            None if repository.is_bare() => repository.path().to_owned(),
            _ => return Err(inside(dir)),
        };
        let root = std::fs::canonicalize(&root).map_err(|e| PortError::io(READ, root.display().to_string(), &e))?;
        owner::check(&repository, &root, trust)?;
        let objects = repository.commondir().join("objects");
        pipes::refuse_in(&objects)?;
        pipes::refuse_rules(&root, dir)?;
        Ok(Some(Self { repository, root, intact: Intact::new(objects)? }))
    }

    /// `dir` relative to the worktree's root, with `/` between the parts.
    pub(super) fn relative(&self, dir: &Path) -> Result<String, PortError> {
        let error = |message: String, help| {
            PortError::new(ErrorKind::Invalid, READ, dir.display().to_string(), message).with_help(help)
        };
        let Ok(rest) = dir.strip_prefix(&self.root) else {
            let message = format!("its repository has its worktree elsewhere, in {}", self.root.display());
            return Err(error(message, "name a directory there, or look at core.worktree"));
        };
        let parts: Option<Vec<&str>> =
            rest.components().map(|c| if let Component::Normal(name) = c { name.to_str() } else { None }).collect();
        let parts =
            parts.ok_or_else(|| error("its path within the repository is not UTF-8".to_owned(), "rename it"))?;
        Ok(parts.join("/"))
    }

    /// The commit HEAD means and the branch it is on; `None` before the first commit.
    pub(super) fn head(&self) -> Result<Option<(Commit<'_>, Option<String>)>, PortError> {
        let head = match self.repository.head() {
            Ok(head) => head,
            Err(error) if matches!(error.code(), ErrorCode::UnbornBranch) => return Ok(None),
            Err(error) => return Err(fault::git("read HEAD of", &self.root, &error)),
        };
        let branch = head.is_branch().then(|| plain(head.shorthand_bytes()));
        let peeled = match self.peeled(&head)? {
            Some(id) => self.repository.find_commit(id),
            None => head.peel_to_commit(),
        };
        let commit = peeled.map_err(|e| fault::git("read HEAD of", &self.root, &e))?;
        Ok(Some((commit, branch)))
    }

    /// The object that a reference leads to, beyond tags, if libgit2 can read it.
    pub(super) fn peeled(&self, reference: &Reference<'_>) -> Result<Option<Oid>, PortError> {
        let target = reference.resolve().ok().and_then(|found| found.target());
        target.map_or(Ok(None), |id| self.intact.peeled(&self.repository, id))
    }

    /// The commit a person means by `revision`, as `git rev-parse` takes it; `None` when there is none.
    pub(super) fn resolve(&self, revision: &str) -> Result<Option<Commit<'_>>, PortError> {
        if revision.contains("@{") {
            [self.repository.path(), self.repository.commondir()].into_iter().try_for_each(pipes::refuse_logs)?;
        }
        self.intact.refuse_to(&self.repository, revision)?;
        let object = match self.repository.revparse_single(revision) {
            Ok(object) => object,
            Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::UnbornBranch) => return Ok(None),
            Err(error) if error.code() == ErrorCode::Ambiguous => {
                return Err(self.meaningless(revision, "more than one object begins with it"));
            }
            Err(error) => return Err(self.meaningless(revision, error.message())),
        };
        let kind = object.kind().map_or("object", |kind| kind.str());
        let not_one = || self.meaningless(revision, &format!("it does not name a commit but a {kind}"));
        object.peel_to_commit().map(Some).map_err(|_| not_one())
    }

    fn meaningless(&self, revision: &str, why: &str) -> PortError {
        PortError::new(ErrorKind::Invalid, "find the revision", format!("{revision:?}"), why)
            .with_help(format!("`git -C {} rev-parse` takes the same names", self.root.display()))
    }
}

fn inside(dir: &Path) -> PortError {
    let message = "it is the inside of a git repository, not a checkout";
    PortError::new(ErrorKind::Invalid, READ, dir.display().to_string(), message).with_help(
        "name a directory of its worktree; a bare repository has none: clone it, or compare two of its revisions with \
         `diff --base REV --head REV`",
    )
}

/// What a commit is called.
pub(super) fn revision(commit: &Commit<'_>, branch: Option<String>) -> Revision {
    let subject = commit.summary_bytes().map(plain).filter(|s| !s.is_empty());
    Revision { kind: RevisionKind::Commit, id: commit.id().to_string(), subject, branch }
}

/// Text of a repository that is safe to print: what a commit message says could also steer a terminal.
fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(SUBJECT_CHARS).collect()
}

/// The files of one tree object, below a directory of it.
pub(super) struct CommitTree<'r> {
    repository: &'r Repository,
    intact: &'r Intact,
    headers: Headers,
    /// The directory's place in the commit, and the commit's whole tree.
    place: String,
    root: Option<Oid>,
    /// The directory's own tree; `None` when the commit does not have the directory.
    pub(super) top: Option<Oid>,
    /// The object of each directory listed so far.
    directories: RefCell<HashMap<String, Oid>>,
    /// What was read ahead.
    ahead: Option<&'r Ahead>,
    /// What was read before.
    known: HashMap<BlobId, Arc<[u8]>>,
}

impl<'r> CommitTree<'r> {
    /// The directory `dir` of a commit, or nothing at all without one.
    pub(super) fn new(checkout: &'r Checkout, commit: Option<&Commit<'_>>, dir: &str) -> Result<Self, ReadError> {
        let repository = &checkout.repository;
        let failed = |e: git2::Error| fault::git_read(&checkout.root, &e);
        let headers = checkout.intact.headers().map_err(failed)?;
        let root = commit.map(Commit::tree_id);
        let place = dir.trim_matches('/').to_owned();
        let (intact, directories, known) = (&checkout.intact, RefCell::default(), HashMap::new());
        let mut new = Self { repository, intact, headers, place, root, top: root, directories, ahead: None, known };
        if let Some(root) = root.filter(|_| !new.place.is_empty()) {
            let found = new.at(root, &new.place)?;
            new.top = found.filter(|entry| entry.kind() == Some(ObjectType::Tree)).map(|entry| entry.id());
        }
        Ok(new)
    }

    /// Whether the directory has this path.
    pub(super) fn has(&self, path: &str) -> Result<bool, ReadError> {
        self.top.map_or(Ok(false), |top| Ok(self.at(top, path)?.is_some()))
    }

    /// The entry at a path below a tree.
    fn at(&self, mut tree: Oid, path: &str) -> Result<Option<TreeEntry<'static>>, ReadError> {
        let mut found: Option<TreeEntry<'static>> = None;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if let Some(above) = &found {
                if above.kind() != Some(ObjectType::Tree) {
                    return Ok(None);
                }
                tree = above.id();
            }
            found = self.tree(tree)?.get_name(name).map(|entry| entry.to_owned());
            if found.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// The same tree, with what was read ahead of it.
    pub(super) fn with(self, ahead: &'r Ahead) -> Self {
        Self { ahead: Some(ahead), ..self }
    }

    /// The same tree, with blobs that were read before.
    pub(super) fn knowing(self, known: HashMap<BlobId, Arc<[u8]>>) -> Self {
        Self { known, ..self }
    }

    /// The object of a directory that was listed; of the root without.
    pub(super) fn object(&self, path: &str) -> Option<Oid> {
        if path.is_empty() { self.top } else { self.directories.borrow().get(path).copied() }
    }

    /// Whether a link leads to a directory of the commit or out of the repository. `from` is its path in the commit, `left`
    /// how many links may follow.
    fn leads(&self, from: &str, link: Oid, left: usize) -> bool {
        let Some(target) = self.text(link) else { return false };
        let mut parts: Vec<&str> = from.split('/').collect();
        parts.pop();
        if target.starts_with('/') {
            return true;
        }
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." if parts.pop().is_none() => return true,
                ".." => {}
                name => parts.push(name),
            }
        }
        let path = parts.join("/");
        let Some(root) = self.root else { return false };
        if path.is_empty() {
            return true;
        }
        match self.at(root, &path) {
            Ok(Some(entry)) => match kind(&entry) {
                Kind::Directory | Kind::Repository => true,
                Kind::Link => left > 0 && self.leads(&path, entry.id(), left - 1),
                Kind::File | Kind::Other => false,
            },
            Ok(None) | Err(_) => false,
        }
    }

    /// The target of a link, of a length that the system would take.
    fn text(&self, link: Oid) -> Option<String> {
        let is_short = self.size(link, LINK_BYTES as u64).ok()? <= LINK_BYTES as u64;
        let blob = if is_short { self.repository.find_blob(link).ok()? } else { return None };
        String::from_utf8(blob.content().to_vec()).ok()
    }

    fn failed(&self, error: &git2::Error) -> ReadError {
        let place = self.repository.workdir().unwrap_or(self.repository.path());
        if error.code() == ErrorCode::NotFound && is_partial(self.repository) {
            return ReadError::Failed(fault::partial(place, error));
        }
        fault::git_read(place, error)
    }

    /// How many bytes an object has, as it says itself. Unless these are more than `most`, it may be read.
    fn size(&self, id: Oid, most: u64) -> Result<u64, ReadError> {
        self.intact.refuse(id, most)?;
        self.headers.size(id).map(|size| size as u64).map_err(|e| self.failed(&e))
    }

    /// The tree object, once its size is known to be bearable.
    fn tree(&self, id: Oid) -> Result<git2::Tree<'r>, ReadError> {
        if self.size(id, TREE_BYTES as u64)? > TREE_BYTES as u64 {
            let message = "the directory has too many entries".to_owned();
            return Err(fault::rejected(fault::about("too-many-files", &id.to_string(), message, "split it")));
        }
        self.repository.find_tree(id).map_err(|e| self.failed(&e))
    }
}

impl<'r> Tree for CommitTree<'r> {
    fn list(&self, dir: &str) -> Result<Vec<Entry<'_>>, ReadError> {
        let Some(id) = self.object(dir) else { return Ok(Vec::new()) };
        let known = |entry: &Entry<'_>, id| {
            if entry.kind == Kind::Directory {
                self.directories.borrow_mut().insert(join(dir, &entry.name), id);
            }
        };
        if let Some(items) = self.ahead.and_then(|ahead| ahead.tree(id)) {
            let listed = |(item, number): (Item<'r>, _)| {
                let found = Entry { object: Some(item.id), number, ..Entry::new(item.name, item.kind) };
                known(&found, item.id);
                found
            };
            return Ok(items.map(listed).collect());
        }
        let listed = |entry: TreeEntry<'_>| {
            let found = Entry { object: Some(entry.id()), ..Entry::new(entry.name_bytes(), kind(&entry)) }.into_owned();
            known(&found, entry.id());
            found
        };
        Ok(self.tree(id)?.iter().map(listed).collect())
    }

    fn read(&self, _: &str, entry: &Entry<'_>, limit: u64) -> Result<Content, ReadError> {
        let Some(id) = entry.object else { return Ok(Content::Gone) };
        if let Some(bytes) = self.ahead.zip(entry.number).and_then(|(ahead, number)| ahead.blob(number))
            && bytes.len() as u64 <= limit
        {
            return Ok(Content::Bytes(blob_id(id), bytes.clone()));
        }
        if let Some(bytes) = self.known.get(&blob_id(id)).filter(|bytes| bytes.len() as u64 <= limit) {
            return Ok(Content::Bytes(blob_id(id), Arc::clone(bytes)));
        }
        let size = self.size(id, limit)?;
        if size > limit {
            return Ok(Content::TooLarge(size));
        }
        let blob = self.repository.find_blob(id).map_err(|e| self.failed(&e))?;
        Ok(Content::Bytes(blob_id(id), blob.content().into()))
    }

    fn leads_to_directory(&self, path: &str, entry: &Entry<'_>) -> bool {
        let from = join(&self.place, path);
        entry.object.is_some_and(|link| self.leads(&from, link, LINKS))
    }
}

/// Whether a clone was made with a filter, and may lack what its origin has.
fn is_partial(repository: &Repository) -> bool {
    let config = repository.config().and_then(|mut config| config.snapshot());
    config.is_ok_and(|config| {
        let mut found = false;
        let each = |_: &git2::ConfigEntry<'_>| found = true;
        let promisors = config.entries(Some(r"^remote\..*\.promisor$")).and_then(|entries| entries.for_each(each));
        promisors.is_ok() && found
    })
}

/// A blob's name as manifests have it.
pub(super) fn blob_id(id: Oid) -> BlobId {
    BlobId::of_git(*id.as_bytes().first_chunk().expect("invariant: SHA-1 has 20 bytes"))
}

/// What an entry of a tree is.
pub(super) fn kind(entry: &TreeEntry<'_>) -> Kind {
    match entry.kind() {
        Some(ObjectType::Tree) => Kind::Directory,
        Some(ObjectType::Blob) if entry.filemode() == i32::from(git2::FileMode::Link) => Kind::Link,
        Some(ObjectType::Blob) => Kind::File,
        Some(ObjectType::Commit) => Kind::Repository,
        _ => Kind::Other,
    }
}
