//! Floor 4: git, watching, and the status file.
//!
//! - [`Directory`]: the manifests of a directory at a revision. In a git checkout they come from the tree of HEAD
//!   (`checkout`, with the edits of its worktree in `worktree`), elsewhere from disk (`plain`, `disk`, `eager`). One
//!   walk (`walk`) applies the same filters and bounds (`name`, `ignore`, `limits`) to each. `owner` decides whose repository
//!   is read, `pipes` and `intact` what of it is not opened.
//! - [`read_pair`]: two revisions for a comparison, read together (`revisions` finds them, `ahead` reads their trees and blobs: `objects`,
//!   `pack`, `loose`, `tree`).
//! - [`read_paths`]: files and directories as they are, for `validate` and `render`.
//! - [`read_payload`]: files that become values of a ConfigMap or Secret, for `create`.
//! - [`read_local`], and `provision` and `withdraw` beside it: objects of the machine itself, layered under those of the manifests (`local`).
//! - [`Watch`]: hints that something changed (`watched` says what is watched and why).
//! - [`StatusFile`]: where the status goes; `exclude` keeps it out of `git status`,
//!   `place` writes.
//!
//! Repositories are hostile input: no symbolic link is followed, no filter, hook or other program of the repository is
//! run, names and messages are stripped of what steers a terminal, and everything is bounded.

mod ahead;
mod checkout;
mod directory;
mod disk;
mod eager;
mod exclude;
mod fault;
mod ignore;
mod intact;
mod limits;
mod local;
mod loose;
mod name;
mod objects;
mod owner;
mod pack;
mod pair;
mod payload;
mod pipes;
mod place;
mod plain;
mod revisions;
mod status_file;
mod tree;
mod walk;
mod watch;
mod watched;
mod worktree;

pub use directory::{Directory, Options};
pub use limits::Limits;
pub use local::read_local;
#[cfg(target_os = "linux")]
pub use local::{provision, withdraw};
pub use owner::Trust;
pub use pair::{Pair, PairError, Rest, Side, read_pair};
pub use payload::{Payload, read_payload};
pub use plain::{beyond_an_agent, read_paths};
pub use status_file::StatusFile;
pub use watch::{DEBOUNCE, Watch};
