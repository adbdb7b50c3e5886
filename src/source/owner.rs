//! Whose repository is read. A checkout that someone else owns decides what runs here, so it takes an explicit word:
//! git's own `safe.directory`.
//!
//! The rule is git's (`setup.c`, `ensure_valid_ownership`): worktree, `.git` file, git directory and, for a linked
//! worktree, the common directory belong to the effective user; for root started by sudo also to the user who called it.

use std::path::{Path, PathBuf};

use crate::port::{ErrorKind, PortError};

/// Whom to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The configuration files that `safe.directory` is looked for in, the most general first; `None` means git's own:
    /// the system's and the user's. The repository's configuration never counts, for it is what is doubted.
    pub git_config: Option<Vec<PathBuf>>,
    /// The user who called sudo.
    pub sudo_uid: Option<u32>,
    /// What `~` means in `safe.directory`.
    pub home: Option<PathBuf>,
}

impl Default for Trust {
    /// What the environment says: `SUDO_UID`, `HOME`, and git's configuration files.
    fn default() -> Self {
        Self {
            git_config: None,
            sudo_uid: std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok()),
            home: std::env::var_os("HOME").map(PathBuf::from),
        }
    }
}

/// The error of a repository that belongs to someone else.
pub(super) fn refuse(root: &Path) -> PortError {
    let quoted = format!("'{}'", root.display().to_string().replace('\'', r"'\''"));
    let help = format!(
        "if you trust it, run `git config --global --add safe.directory {quoted}` as this user (--system for a service)"
    );
    let message = "the repository belongs to another user, who could change what runs here";
    PortError::new(ErrorKind::Denied, super::fault::READ, root.display().to_string(), message).with_help(help)
}

/// Checks the owner of an open repository. `root` is its worktree.
#[cfg(target_os = "linux")]
pub(super) fn check(repository: &git2::Repository, root: &Path, trust: &Trust) -> Result<(), PortError> {
    let gitlink = root.join(".git");
    let places = [root, &gitlink, repository.path(), repository.commondir()];
    if places.into_iter().all(|place| is_ours(place, trust)) || is_declared_safe(root, trust) {
        return Ok(());
    }
    Err(refuse(root))
}

/// Elsewhere libgit2 has checked the owner while it opened the repository.
#[cfg(not(target_os = "linux"))]
pub(super) fn check(_: &git2::Repository, _: &Path, _: &Trust) -> Result<(), PortError> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn is_ours(place: &Path, trust: &Trust) -> bool {
    use std::os::unix::fs::MetadataExt;
    let me = rustix::process::geteuid();
    match std::fs::symlink_metadata(place) {
        Ok(found) => found.uid() == me.as_raw() || (me.is_root() && trust.sudo_uid == Some(found.uid())),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Whether `safe.directory` names the worktree. An empty value takes back all before it.
#[cfg(target_os = "linux")]
fn is_declared_safe(root: &Path, trust: &Trust) -> bool {
    let mut safe = false;
    for value in declared(trust).unwrap_or_default() {
        safe = match value.as_str() {
            "" => false,
            _ if safe => true,
            "*" => true,
            value => names(value, root, trust),
        };
    }
    safe
}

#[cfg(target_os = "linux")]
fn declared(trust: &Trust) -> Result<Vec<String>, git2::Error> {
    let config = match &trust.git_config {
        None => git2::Config::open_default()?,
        Some(files) => {
            let levels = [git2::ConfigLevel::System, git2::ConfigLevel::XDG, git2::ConfigLevel::Global];
            let mut config = git2::Config::new()?;
            for (file, level) in files.iter().zip(levels) {
                config.add_file(file, level, false)?;
            }
            config
        }
    };
    let mut values = Vec::new();
    config.multivar("safe.directory", None)?.for_each(|entry| {
        // A key without a value reads as the empty one, as with git.
        values.push(entry.value().unwrap_or_default().to_owned());
    })?;
    Ok(values)
}

/// Whether one value of `safe.directory` means `root`: the path itself, or `/above/*`.
#[cfg(target_os = "linux")]
fn names(value: &str, root: &Path, trust: &Trust) -> bool {
    let path = match (value.strip_prefix("~/"), &trust.home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(value),
    };
    if !path.is_absolute() {
        return false;
    }
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if path.ends_with("*") {
        let above = path.parent().map(real).unwrap_or_default();
        return root != above && root.starts_with(above);
    }
    real(&path) == root
}
