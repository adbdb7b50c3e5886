//! How many cores there are for this process.

use std::sync::OnceLock;

/// How many threads can work at once, by the process's affinity and its cgroup's quota. Asking reads some files of the
/// kernel, which takes as long as parsing a manifest, so it is asked once.
pub fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}
