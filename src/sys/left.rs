//! What the machine has left, from the fewest answers of the kernel: one file for memory, one call for a file system, three
//! small files for processes.

use std::fs;
use std::io;
use std::path::Path;

use crate::model::SignalLevel;

fn unreadable(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{file} does not say what it should"))
}

/// The machine's memory as the kubelet counts it: all of it without the working set of the root cgroup, which is anonymous memory
/// and files, but for those that were not read lately.
///
/// # Errors
/// When /proc does not tell.
pub fn memory() -> io::Result<SignalLevel> {
    const FILE: &str = "/proc/meminfo";
    memory_of(&fs::read_to_string(FILE)?).ok_or_else(|| unreadable(FILE))
}

fn memory_of(meminfo: &str) -> Option<SignalLevel> {
    let bytes = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    let capacity = bytes("MemTotal")?;
    // What the kernel counts as pages of files.
    let files = bytes("Cached")?.saturating_add(bytes("Buffers")?).saturating_add(bytes("SwapCached").unwrap_or(0));
    let used = bytes("AnonPages")?.saturating_add(files).saturating_sub(bytes("Inactive(file)")?);
    Some(SignalLevel::new(capacity.saturating_sub(used), capacity))
}

/// Bytes and files of a file system. `None` for what it does not bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystem {
    pub bytes: Option<SignalLevel>,
    pub files: Option<SignalLevel>,
}

/// The file system that a path is on.
///
/// # Errors
/// From the system.
pub fn file_system(path: &Path) -> io::Result<FileSystem> {
    let found = rustix::fs::statvfs(path)?;
    let level = |available: u64, capacity: u64| (capacity > 0).then(|| SignalLevel::new(available, capacity));
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(FileSystem {
        bytes: level(bytes(found.f_bavail), bytes(found.f_blocks)),
        files: level(found.f_ffree, found.f_files),
    })
}

/// Processes and threads: as many as the kernel takes without those there are.
///
/// # Errors
/// When /proc does not tell.
pub fn processes() -> io::Result<SignalLevel> {
    const FILES: [&str; 3] = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max", "/proc/loadavg"];
    let [pids, threads, load] = FILES.map(fs::read_to_string);
    processes_of(&pids?, &threads?, &load?).ok_or_else(|| unreadable(FILES[2]))
}

fn processes_of(pids: &str, threads: &str, load: &str) -> Option<SignalLevel> {
    let capacity = pids.trim().parse::<u64>().ok()?.min(threads.trim().parse().ok()?);
    // How many run, of how many there are: `0.20 0.18 0.12 1/80 11206`.
    let there: u64 = load.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    Some(SignalLevel::new(capacity.saturating_sub(there), capacity))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_as_the_kubelet_counts_it() {
        let text = "MemTotal:        1000 kB\nMemFree:          100 kB\nBuffers:           10 kB\nCached:           400 kB\n\
                    SwapCached:         5 kB\nInactive:         300 kB\nInactive(anon):   100 kB\nInactive(file):   200 kB\n\
                    AnonPages:        300 kB\n";
        let kib = |level: SignalLevel| (level.available / 1024, level.capacity / 1024);
        assert_eq!(memory_of(text).map(kib), Some((1000 - (300 + 415 - 200), 1000)));
        assert_eq!(memory_of("MemTotal: 1000 kB\n"), None);
        let own = memory().unwrap();
        assert!(own.available > 0 && own.available <= own.capacity, "{own:?}");
    }

    #[test]
    fn processes_are_bounded_by_the_lower_of_two_limits() {
        let level = |available, capacity| Some(SignalLevel::new(available, capacity));
        assert_eq!(processes_of("32768\n", "10000\n", "0.20 0.18 0.12 1/80 11206\n"), level(9920, 10_000));
        assert_eq!(processes_of("50\n", "10000\n", "0.20 0.18 0.12 1/80 11206\n"), level(0, 50));
        assert_eq!(processes_of("x", "1", "0 0 0 1/2 3"), None);
        assert!(processes().unwrap().capacity > 0);
    }

    #[test]
    fn a_file_system_has_no_more_left_than_it_has() {
        let found = file_system(Path::new("/")).unwrap();
        let bytes = found.bytes.unwrap();
        assert!(bytes.available <= bytes.capacity, "{found:?}");
        assert_eq!(file_system(Path::new("/no/such/place")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
