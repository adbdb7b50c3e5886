//! The bytes of a manifest directory at one revision, and places within them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Where an object or a value was written. Lines and columns count from 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourceRef {
    /// Path relative to the manifest directory, with `/` between its parts.
    pub path: Arc<str>,
    /// Index of the YAML document within the file, from 0.
    pub document: u32,
    pub line: u32,
    pub column: u32,
}

impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path, self.line, self.column)
    }
}

/// The content's name: git's blob id, or another text. Equal ids mean equal bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(Name);

/// Thousands of files have one, so git's is kept as it is and not as text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Name {
    Git([u8; 20]),
    Text(Arc<str>),
}

impl BlobId {
    /// The id of a blob of git.
    pub fn of_git(sha1: [u8; 20]) -> Self {
        Self(Name::Git(sha1))
    }

    /// A name that somebody else gives the content. Whatever it is, it is no id of git.
    pub fn of_text(text: &str) -> Self {
        Self(Name::Text(text.into()))
    }

    /// Whether it is this blob of git.
    pub fn is_of_git(&self, sha1: &[u8]) -> bool {
        matches!(&self.0, Name::Git(own) if own == sha1)
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Git(sha1) => sha1.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Name::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a revision's id came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RevisionKind {
    /// A git commit; `id` is its full hexadecimal name.
    Commit,
    /// A git commit plus uncommitted edits (`--worktree`); `id` is `<commit>+<digest of the content>`.
    Worktree,
    /// No git: `id` is `sha256:<digest of the content>`.
    Content,
}

/// The name of one state of the manifest directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    pub kind: RevisionKind,
    pub id: String,
    /// First line of the commit message, when there is a commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The branch HEAD points at, when it points at one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
}

impl Revision {
    /// The id as people quote it: 12 hexadecimal digits, with `+` when there are uncommitted edits.
    pub fn short(&self) -> String {
        let id = self.id.strip_prefix("sha256:").unwrap_or(&self.id);
        let (head, edits) = id.split_once('+').map_or((id, ""), |(head, _)| (head, "+"));
        format!("{}{edits}", head.get(..12).unwrap_or(head))
    }
}

/// One manifest file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Path relative to the manifest directory.
    pub path: Arc<str>,
    pub blob: BlobId,
    pub bytes: Arc<[u8]>,
}

/// Objects that were provisioned on the machine itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provisioned {
    /// One object each, sorted by path: `local/<plural>/<namespace>/<name>`.
    pub files: Vec<SourceFile>,
    /// What else lies there or cannot be read, as paths, each with the reason.
    pub left_out: Vec<(String, String)>,
}

/// Every manifest of a directory at one revision: no torn reads, for it comes from one tree.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub revision: Revision,
    /// Sorted by path. Only files that may hold manifests (.yaml, .yml, .json; no dot-entries), those excluded by
    /// `.podwrightignore` left out.
    pub files: Vec<SourceFile>,
    /// What the machine was given beside them: an object of the same key in `files` counts instead.
    pub local: Provisioned,
    /// Paths that differ from HEAD in the worktree and were *not* read.
    pub uncommitted: Vec<String>,
    /// Paths that `.podwrightignore` excluded.
    pub ignored: Vec<String>,
}
