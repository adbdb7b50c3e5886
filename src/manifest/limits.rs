//! Bounds on foreign input. Beyond one of them a file is refused with a diagnostic; nothing grows without end.

/// The largest file that is read, in bytes: the kubelet's own limit for a manifest.
pub(super) const FILE_BYTES: usize = 10 << 20;
/// How deep mappings and lists may nest. The deepest field of a Pod stands at 16.
pub(super) const DEPTH: usize = 64;
/// Mappings, lists and scalars of one file, those an alias repeats included.
pub(super) const NODES: usize = 1_000_000;
/// Of those, how many may come from aliases and merge keys.
pub(super) const ALIAS_NODES: usize = 20_000;
/// YAML documents of one file.
pub(super) const DOCUMENTS: usize = 20_000;
/// Problems reported per file; the rest is counted.
pub(super) const PROBLEMS: usize = 100;
/// The longest piece of foreign text that a message repeats, in characters.
pub(super) const QUOTED: usize = 60;
/// The longest source line kept with a place, in characters; a longer one is shown without its text.
pub(super) const LINE: usize = 4096;
