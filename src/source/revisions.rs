//! The commit a person means by a revision, and why there is none.

use git2::Commit;

use super::checkout::Checkout;
use crate::port::{ErrorKind, PortError};

const FIND: &str = "find the revision";

/// The commit of a revision as `git rev-parse` takes it. Where git would only warn that a name means several things, this
/// refuses: a comparison with another commit than the one that was meant is worse than none.
pub(super) fn commit<'r>(checkout: &'r Checkout, name: &str) -> Result<Commit<'r>, PortError> {
    ambiguous(checkout, name)?;
    checkout.resolve(name)?.ok_or_else(|| missing(checkout, name))
}

/// The commit of HEAD and its branch.
pub(super) fn head(checkout: &Checkout) -> Result<(Commit<'_>, Option<String>), PortError> {
    checkout.head()?.ok_or_else(|| missing(checkout, "HEAD"))
}

fn error(kind: ErrorKind, name: &str, message: impl Into<String>, help: impl Into<String>) -> PortError {
    PortError::new(kind, FIND, name, message).with_help(help)
}

/// What is in front of the signs that lead from a name to another commit.
fn bare_name(revision: &str) -> &str {
    revision.split(['~', '^', '@', ':']).next().unwrap_or(revision)
}

/// A name of a branch and of a tag that are not the same commit.
fn ambiguous(checkout: &Checkout, revision: &str) -> Result<(), PortError> {
    let name = bare_name(revision);
    let target = |full: String| {
        let reference = checkout.repository.find_reference(&full).ok();
        reference.map_or(Ok(None), |reference| checkout.peeled(&reference))
    };
    let (branch, tag) = (target(format!("refs/heads/{name}"))?, target(format!("refs/tags/{name}"))?);
    match (branch, tag) {
        (Some(branch), Some(tag)) if branch != tag => {
            let help = format!("write heads/{name} or tags/{name}");
            Err(error(ErrorKind::Invalid, revision, format!("{name} is a branch and a tag, which differ"), help))
        }
        _ => Ok(()),
    }
}

fn missing(checkout: &Checkout, revision: &str) -> PortError {
    let repository = &checkout.repository;
    let place = checkout.root.display();
    let is_unborn = checkout.head().is_ok_and(|head| head.is_none());
    let has_others = || repository.references().is_ok_and(|mut all| all.next().is_some());
    if is_unborn && (bare_name(revision) == "HEAD" || !has_others()) {
        let message = format!("HEAD of {place} has no commit yet");
        let help = "commit the manifests (git add, git commit); `diff` without --base compares with what runs";
        return error(ErrorKind::NotFound, revision, message, help);
    }
    if repository.is_shallow() {
        let message = format!("it is not in {place}, which is a shallow clone");
        let help = "fetch the commits it lacks: `git fetch --unshallow`, or in a job `fetch-depth: 0` (GitHub) or \
                    `GIT_DEPTH: 0` (GitLab)";
        return error(ErrorKind::NotFound, revision, message, help);
    }
    let message = format!("there is no such commit, branch or tag in {place}");
    let name = bare_name(revision);
    let is_remote = |remote: &&str| repository.find_reference(&format!("refs/remotes/{remote}/{name}")).is_ok();
    let remotes = repository.remotes().ok();
    let mut remotes = remotes.iter().flat_map(|all| all.iter()).flatten().flatten();
    let help = match remotes.find(is_remote) {
        Some(remote) => format!("did you mean {remote}/{revision}?"),
        None => "name a commit, a branch or a tag as `git rev-parse` takes it; a branch of a remote is origin/BRANCH, once it \
                 was fetched"
            .to_owned(),
    };
    error(ErrorKind::NotFound, revision, message, help)
}
