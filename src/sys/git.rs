//! The one switch of libgit2 that is not safe to turn.

use std::sync::Once;

/// Turns off libgit2's own check of who owns a repository, in favour of ours (`source::owner`), which knows what git
/// itself knows, such as `safe.directory = /srv/*`, and says what to do. libgit2 starts no program while it opens a
/// repository, so there is time to check. Call it before a repository is opened; only the first call does anything.
pub fn leave_owner_check_to_us() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: this writes a global variable of libgit2 that `git_repository_open` reads without a lock. Every
        // opening in this program comes after a call of this function, and `Once` orders the write before them.
        let set = unsafe { git2::opts::set_verify_owner_validation(false) };
        set.expect("invariant: libgit2 knows the option since 1.2");
    });
}
