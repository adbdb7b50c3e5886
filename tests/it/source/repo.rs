//! A repository to play with, and short names for what the tests compare.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use podwright::model::{Diagnostics, Snapshot, StatusDocument};
use podwright::port::{PortError, ReadError};
use podwright::source::{Directory, Options, Trust};

/// A temporary directory with a repository in `work`.
pub(super) struct Repo {
    pub(super) temp: tempfile::TempDir,
    pub(super) root: PathBuf,
}

impl Repo {
    /// A repository without a commit.
    pub(super) fn empty() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap().join("work");
        std::fs::create_dir(&root).unwrap();
        git(&root, &["init", "--quiet", "--initial-branch=main", "."]);
        Self { temp, root }
    }

    /// A repository with these files committed.
    pub(super) fn with(files: &[(&str, &str)]) -> Self {
        let new = Self::empty();
        for (path, text) in files {
            new.write(path, text);
        }
        new.commit("first");
        new
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(super) fn remove(&self, path: &str) {
        std::fs::remove_file(self.path(path)).unwrap();
    }

    pub(super) fn git(&self, args: &[&str]) -> String {
        git(&self.root, args)
    }

    /// Commits everything; returns the commit's id.
    pub(super) fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.id("HEAD")
    }

    pub(super) fn id(&self, revision: &str) -> String {
        self.git(&["rev-parse", revision]).trim().to_owned()
    }

    pub(super) fn open(&self, path: &str) -> Directory {
        Directory::open(&self.path(path), options()).unwrap()
    }

    pub(super) fn open_worktree(&self, path: &str) -> Directory {
        Directory::open(&self.path(path), Options { worktree: true, ..options() }).unwrap()
    }
}

/// Runs git without this machine's configuration.
pub(super) fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(dir)
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_AUTHOR_NAME", "A")
        .env("GIT_AUTHOR_EMAIL", "a@example.com")
        .env("GIT_COMMITTER_NAME", "A")
        .env("GIT_COMMITTER_EMAIL", "a@example.com")
        .output()
        .expect("these tests need the git program");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "git {args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Options that know nothing of this machine's configuration.
pub(super) fn options() -> Options {
    Options { trust: trust(), ..Options::default() }
}

pub(super) fn trust() -> Trust {
    Trust { git_config: Some(Vec::new()), sudo_uid: None, home: None }
}

pub(super) fn paths(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.files.iter().map(|f| &*f.path).collect()
}

/// The text of a file of the snapshot.
pub(super) fn text<'a>(snapshot: &'a Snapshot, path: &str) -> &'a str {
    let file = snapshot.files.iter().find(|f| &*f.path == path).unwrap_or_else(|| panic!("{path} was not read"));
    std::str::from_utf8(&file.bytes).unwrap()
}

pub(super) fn failed<T: std::fmt::Debug>(result: Result<T, ReadError>) -> PortError {
    match result {
        Err(ReadError::Failed(error)) => error,
        other => panic!("no failure: {other:?}"),
    }
}

/// The diagnostics as `path:line:column: rule: message`.
pub(super) fn rejected<T: std::fmt::Debug>(result: Result<T, ReadError>) -> Vec<String> {
    match result {
        Err(ReadError::Rejected(Diagnostics(all))) => {
            assert!(all.iter().all(|d| d.help.is_some()), "each names the way out: {all:?}");
            all.iter().map(|d| format!("{}: {}: {}", d.place.as_ref().unwrap().at, d.rule, d.message)).collect()
        }
        other => panic!("not rejected: {other:?}"),
    }
}

/// A status document that differs from others by its revision.
pub(super) fn status(revision: &str) -> Arc<StatusDocument> {
    Arc::new(StatusDocument {
        api_version: "podwright.dev/v1alpha1".into(),
        kind: "Status".into(),
        node: "n".into(),
        last_attempted_revision: Some(revision.into()),
        last_applied_revision: None,
        conditions: Vec::new(),
        errors: Vec::new(),
        uncommitted: Vec::new(),
        pods: Vec::new(),
        last_actions: Vec::new(),
    })
}
