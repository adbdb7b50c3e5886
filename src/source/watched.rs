//! Which directories are watched, and which of the events there matter.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Directory;
use super::directory::{Places, real_path};
use super::name::{IGNORE_FILE, is_hidden, is_manifest, temporary};

/// Directories watched at most. More would cost the kernel's limit, which other programs share.
const MOST_DIRECTORIES: usize = 4096;

/// What there is to watch at one moment.
#[derive(Default)]
pub(super) struct Targets {
    /// Directories of manifests that are read from disk.
    files: BTreeSet<PathBuf>,
    /// Directories of branches.
    refs: BTreeSet<PathBuf>,
    /// Single paths, existing or not, whose every change matters; their parents are watched.
    paths: BTreeSet<PathBuf>,
    /// Of these, those where a change may mean that everything is elsewhere now.
    leading: BTreeSet<PathBuf>,
    /// Of these, and of branches, those that git changes by one rename: the revision is there as a whole.
    whole: BTreeSet<PathBuf>,
    /// What is there while git goes through revisions that nobody asked for.
    amid: Vec<PathBuf>,
    /// Directories of objects that were provisioned on the machine.
    local: BTreeSet<PathBuf>,
    /// Files on disk are read as well, which change one by one.
    reads_files: bool,
    /// The status file and its temporary one.
    ours: BTreeSet<PathBuf>,
}

/// How a change matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Matter {
    /// There may be more to come, or it does not make a revision yet.
    OnceQuiet,
    /// There is another revision, as a whole.
    AtOnce,
}

impl Targets {
    /// Looks at the disk. `places` are those of git, which the caller knows or has looked up.
    pub(super) fn of(directory: &Directory, places: Option<&Places>) -> Self {
        let inner = &directory.inner;
        let mut new = Self::default();
        if let Some(status) = real_path(&inner.status)
            && let Some(name) = status.file_name()
        {
            new.ours.insert(status.with_file_name(temporary(&name.to_string_lossy())));
            new.ours.insert(status);
        }
        // By name, for when it is removed, comes back, or is a link that is pointed elsewhere.
        new.lead(&inner.dir);
        let real = std::fs::canonicalize(&inner.dir).ok();
        new.paths.extend(real.clone());
        new.leading.extend(real.clone());
        if let Some(places) = places {
            new.git(places);
        }
        if let Some(local) = &inner.options.local {
            new.local(local);
        }
        new.reads_files = !directory.is_git() || inner.options.worktree;
        if let Some(real) = real.filter(|_| new.reads_files) {
            gather(&real, &mut new.files, &|name| !is_hidden(name));
        }
        new
    }

    fn path(&mut self, path: &Path) {
        self.paths.insert(real_path(path).unwrap_or_else(|| path.to_owned()));
    }

    fn lead(&mut self, path: &Path) {
        self.path(path);
        self.leading.insert(real_path(path).unwrap_or_else(|| path.to_owned()));
    }

    /// Objects of the machine, each of which is there as a whole by one rename; those below a dot are not there yet.
    fn local(&mut self, top: &Path) {
        self.path(top);
        if let Ok(real) = std::fs::canonicalize(top) {
            gather(&real, &mut self.local, &|name| !is_hidden(name));
        }
    }

    fn git(&mut self, Places { root, gitdir, commondir }: &Places) {
        self.lead(root);
        self.lead(&root.join(".git"));
        // The log is written before its reference.
        for name in ["HEAD", "logs/HEAD"] {
            self.path(&gitdir.join(name));
        }
        for whole in [gitdir.join("HEAD"), commondir.join("packed-refs")] {
            self.whole.extend(real_path(&whole));
        }
        self.amid = ["rebase-merge", "rebase-apply"].map(|name| gitdir.join(name)).to_vec();
        // A repository without a branch yet has no logs, and one whose refs are all packed may lose empty directories.
        for name in ["packed-refs", "logs", "refs", "refs/heads"] {
            self.path(&commondir.join(name));
        }
        self.path(&gitdir.join("logs"));
        gather(&commondir.join("refs").join("heads"), &mut self.refs, &|_| true);
    }

    /// The directories to watch: those that exist, and for what does not exist the nearest one above it.
    pub(super) fn directories(&self) -> BTreeSet<PathBuf> {
        let mut all: BTreeSet<PathBuf> = self.files.iter().chain(&self.refs).chain(&self.local).cloned().collect();
        for path in &self.paths {
            all.extend(path.ancestors().skip(1).find(|p| p.is_dir()).map(Path::to_owned));
        }
        all
    }
}

/// `top` and the directories below it, links not followed.
fn gather(top: &Path, into: &mut BTreeSet<PathBuf>, enter: &dyn Fn(&str) -> bool) {
    let mut queue = vec![top.to_owned()];
    while let Some(dir) = queue.pop() {
        if into.len() >= MOST_DIRECTORIES {
            return;
        }
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        into.insert(dir);
        for entry in entries.flatten() {
            let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
            if is_dir && enter(&entry.file_name().to_string_lossy()) {
                queue.push(entry.path());
            }
        }
    }
}

/// What the threads remember of the targets.
#[derive(Default)]
pub(super) struct Interest {
    targets: Targets,
    watched: BTreeSet<PathBuf>,
}

impl Interest {
    /// Takes new targets; returns the directories watched so far.
    pub(super) fn replace(&mut self, targets: Targets) -> BTreeSet<PathBuf> {
        let watched = targets.directories();
        self.targets = targets;
        std::mem::replace(&mut self.watched, watched)
    }

    /// Whether `path` is a watched directory.
    pub(super) fn is_watched(&self, path: &Path) -> bool {
        self.watched.contains(path)
    }

    /// Whether what is watched may be elsewhere when `path` has changed.
    pub(super) fn leads(&self, path: &Path) -> bool {
        self.targets.leading.contains(path)
    }

    /// How a change at `path` matters; `None` when it means nothing. `folder` says that it was a directory, if that is known.
    pub(super) fn cares_for(&self, path: &Path, folder: bool) -> Option<Matter> {
        let targets = &self.targets;
        if targets.ours.contains(path) {
            return None;
        }
        let whole = if targets.reads_files { Matter::OnceQuiet } else { Matter::AtOnce };
        if targets.whole.contains(path) {
            return Some(whole);
        }
        // An ancestor of a path that is missing: it may be on its way back.
        if targets.paths.iter().any(|p| p == path || (p.starts_with(path) && !self.watched.contains(path))) {
            return Some(Matter::OnceQuiet);
        }
        let name = path.file_name()?.to_string_lossy();
        let parent = path.parent()?;
        if targets.refs.contains(parent) {
            return (!name.ends_with(".lock")).then_some(whole);
        }
        if targets.local.contains(parent) {
            return (!is_hidden(&name)).then_some(Matter::AtOnce);
        }
        if !targets.files.contains(parent) {
            return None;
        }
        // What git ignores is not read from a worktree, so its rules matter as well as ours.
        let matters = is_manifest(&name)
            || name == IGNORE_FILE
            || name == ".gitignore"
            || (!is_hidden(&name) && (folder || path.is_dir()));
        matters.then_some(Matter::OnceQuiet)
    }

    /// Whether git goes through revisions that nobody asked for, as a rebase does.
    pub(super) fn is_amid(&self) -> bool {
        self.targets.amid.iter().any(|path| path.exists())
    }
}
