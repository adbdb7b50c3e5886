//! How much a directory of manifests may hold. Repositories are hostile input: every number here ends a read with a
//! diagnostic instead of with the machine's memory.

/// The bounds of one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one manifest.
    pub file_bytes: u64,
    /// Manifests.
    pub files: usize,
    /// Bytes of all manifests together.
    pub total_bytes: u64,
    /// Directory entries looked at, whatever they are. A git tree that holds itself many times over ends here.
    pub entries: usize,
    /// Directories one below the other.
    pub depth: usize,
    /// Patterns of all `.podwrightignore` files together; each is compiled.
    pub patterns: usize,
}

impl Default for Limits {
    /// Room for ten thousand pods, in one file or in ten thousand.
    fn default() -> Self {
        Self {
            file_bytes: 16 << 20,
            files: 20_000,
            total_bytes: 64 << 20,
            entries: 200_000,
            depth: 32,
            patterns: 2_000,
        }
    }
}

impl Limits {
    /// The bounds of paths that a person names: room for a hundred thousand pods, as whole fleets have them. An agent is
    /// given no more than [`Limits::default`].
    pub fn of_paths() -> Self {
        Self { files: 250_000, total_bytes: 512 << 20, entries: 1_000_000, ..Self::default() }
    }
}

/// Bytes of one `.podwrightignore`.
pub(super) const IGNORE_FILE_BYTES: u64 = 64 << 10;

/// Bytes of one directory as git stores it; about 40 a name.
pub(super) const TREE_BYTES: usize = 16 << 20;

/// How many uncommitted or excluded paths are named; the rest is counted.
pub(super) const NAMED_PATHS: usize = 200;
