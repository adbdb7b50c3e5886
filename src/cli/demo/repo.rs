//! The demo's repository, made with the library that reads it: no git program is needed.

use std::path::{Path, PathBuf};

use git2::{IndexAddOption, Repository, RepositoryInitOptions, Signature, Time};

use crate::cli::error::CliError;

/// The example, part of this program: the demo works wherever it stands.
pub const FILES: [(&str, &str); 2] = [
    ("pod.yaml", include_str!("../../../examples/quickstart/pod.yaml")),
    ("preset.yaml", include_str!("../../../examples/quickstart/preset.yaml")),
];

/// Seconds since 1970 of the first commit. Fixed, so that every demo has the same revisions.
const FIRST: i64 = 1_767_225_600;

/// A repository in the making.
pub struct Repo {
    repository: Repository,
    path: PathBuf,
    commits: i64,
}

impl Repo {
    /// A new repository with the example in its worktree.
    pub fn create(path: &Path) -> Result<Self, CliError> {
        let mut options = RepositoryInitOptions::new();
        options.initial_head("main").external_template(false);
        let repository = Repository::init_opts(path, &options).map_err(|e| failed(&e))?;
        let repo = Self { repository, path: path.to_owned(), commits: 0 };
        for (name, text) in FILES {
            repo.write(name, text)?;
        }
        Ok(repo)
    }

    /// Writes a file of the worktree.
    pub fn write(&self, name: &str, text: &str) -> Result<(), CliError> {
        let path = self.path.join(name);
        std::fs::write(&path, text).map_err(|e| CliError::new(format!("cannot write {}: {e}", path.display())))
    }

    /// Replaces a piece of a file of the worktree.
    pub fn replace(&self, name: &str, old: &str, new: &str) -> Result<(), CliError> {
        let path = self.path.join(name);
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|e| CliError::new(format!("cannot read {}: {e}", path.display())))?;
        self.write(name, &text.replace(old, new))
    }

    /// Commits the manifests; gives the first digits of the commit.
    pub fn commit(&mut self, message: &str) -> Result<String, CliError> {
        self.try_commit(message).map_err(|e| failed(&e))
    }

    fn try_commit(&mut self, message: &str) -> Result<String, git2::Error> {
        let mut index = self.repository.index()?;
        index.add_all(["pod.yaml", "preset.yaml"], IndexAddOption::DEFAULT, None)?;
        index.write()?;
        let tree = self.repository.find_tree(index.write_tree()?)?;
        let at = Time::new(FIRST + 60 * self.commits, 0);
        let author = Signature::new("podwright demo", "demo@podwright.invalid", &at)?;
        let parent = self.repository.head().ok().and_then(|head| head.peel_to_commit().ok());
        let parents: Vec<_> = parent.iter().collect();
        let id = self.repository.commit(Some("HEAD"), &author, &author, message, &tree, &parents)?;
        self.commits += 1;
        Ok(id.to_string().chars().take(12).collect())
    }
}

fn failed(error: &git2::Error) -> CliError {
    CliError::new(format!("cannot make the demo's repository: {}", error.message()))
}
