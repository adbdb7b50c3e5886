//! A directory for one test, and the program in it with nothing of this machine's environment.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a command printed and how it ended.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, its directories too.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The program, standing in the directory, with the root `root` below it.
    pub fn podwright(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podwright"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null()).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", self.path("home"));
        command.env("PODWRIGHT_ROOT", self.path("root"));
        command
    }

    pub fn run(&self, args: &[&str]) -> Said {
        self.podwright(args).output().unwrap().into()
    }
}
/// A repository of manifests.
pub struct Repo(git2::Repository);

impl Repo {
    pub fn create(path: &Path) -> Self {
        let mut options = git2::RepositoryInitOptions::new();
        Self(git2::Repository::init_opts(path, options.initial_head("main")).unwrap())
    }

    /// Commits everything that is in the worktree.
    pub fn commit(&self, message: &str) {
        let mut index = self.0.index().unwrap();
        index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
        index.update_all(["*"], None).unwrap();
        index.write().unwrap();
        let tree = self.0.find_tree(index.write_tree().unwrap()).unwrap();
        let author = git2::Signature::new("tester", "tester@example.com", &git2::Time::new(1_800_000_000, 0)).unwrap();
        let parent = self.0.head().ok().map(|head| head.peel_to_commit().unwrap());
        let parents: Vec<_> = parent.iter().collect();
        self.0.commit(Some("HEAD"), &author, &author, message, &tree, &parents).unwrap();
    }
}
