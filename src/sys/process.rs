//! What tells one process from another that later got the same number.

use std::cell::OnceCell;
use std::fs;
use std::path::Path;

use super::bounded::kernel_text;

/// The fields of `/proc/<pid>/stat` from the third on, the state; `None` when there is no such process, or only its zombie.
fn of_living<T>(pid: i32, read: impl FnOnce(std::str::SplitAsciiWhitespace<'_>) -> Option<T>) -> Option<T> {
    let stat = kernel_text(Path::new(&format!("/proc/{pid}/stat"))).ok()?;
    // The second field is the name in parentheses; it may hold anything, parentheses and spaces too.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => read(fields),
    }
}

/// The parent and the session of a process. `None` when there is no such process, or only its zombie.
pub(crate) fn parent_and_session(pid: i32) -> Option<(i32, i32)> {
    of_living(pid, |mut fields| Some((fields.next()?.parse().ok()?, fields.nth(1)?.parse().ok()?)))
}

/// When the process started, in clock ticks since boot (`/proc/<pid>/stat`, field 22). `None` when there is no such
/// process, or only its zombie.
pub fn start_ticks(pid: i32) -> Option<u64> {
    of_living(pid, |mut fields| fields.nth(18)?.parse().ok())
}

/// Has the kernel write no image of this process's memory, whatever ends it, and let nobody look into it but who may look into
/// every process: it holds Secrets and keys. What it executes is not concerned.
pub fn close_memory() {
    // Only what is no such behaviour is refused.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// A name for this boot of the machine; pids and start times of another boot mean nothing. Empty when the kernel does
/// not tell. Each thread reads it once, for none outlives its boot, and each may have a `/proc` of its own.
pub fn boot_id() -> String {
    thread_local! {
        static NAME: OnceCell<String> = const { OnceCell::new() };
    }
    let read =
        || fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default();
    NAME.with(|name| name.get_or_init(read).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_told_from_none() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(start_ticks(own).is_some_and(|t| t > 0));
        assert_eq!(start_ticks(own), start_ticks(own));
        assert_eq!(start_ticks(i32::MAX), None);
        let parent = i32::try_from(std::os::unix::process::parent_id()).unwrap();
        // 0 where the session began in an outer process namespace, as under `docker exec`.
        let session = nix::unistd::getsid(None).unwrap().as_raw();
        assert_eq!(parent_and_session(own), Some((parent, session)));
        assert_eq!(parent_and_session(i32::MAX), None);
        assert_eq!(boot_id().len(), 36);
    }
}
