//! Locks on files (`flock`). The lock belongs to the open file: it lives until every duplicate of the descriptor is closed,
//! so that a process can hand it on across `fork` and `exec`, and the kernel frees it however the last holder dies.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags};

use super::effect;

const MODE: u32 = 0o600;

fn open(path: &Path, create: bool) -> io::Result<File> {
    // Whoever only looks does so on a file system that takes nothing, too.
    let access = if create { OFlags::RDWR } else { OFlags::RDONLY };
    let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || -> io::Result<File> { Ok(File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?)) };
    match open() {
        Err(error) if create && error.kind() == io::ErrorKind::NotFound => effect::create(path, flags, MODE),
        other => other,
    }
}

fn try_lock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match rustix::fs::flock(file, operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// How long somebody is given who only looks whether the lock is held, and holds it for that moment.
const LOOK: Duration = Duration::from_millis(150);
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// Takes the lock without waiting for whoever holds it; the file is made if it is missing. `None` when somebody else holds it. Dropping the
/// file frees the lock, unless a duplicate was handed on.
///
/// # Errors
/// From the system.
pub fn acquire(path: &Path) -> io::Result<Option<File>> {
    let file = open(path, true)?;
    let deadline = Instant::now() + LOOK;
    while !try_lock(&file, FlockOperation::NonBlockingLockExclusive)? {
        if Instant::now() >= deadline {
            return Ok(None);
        }
        let _ = rustix::event::poll(&mut [], Some(&PAUSE));
    }
    Ok(Some(file))
}

/// Whether somebody holds the lock. A missing file is a free lock.
///
/// # Errors
/// From the system.
pub fn is_held(path: &Path) -> io::Result<bool> {
    let file = match open(path, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // Shared, so that two who ask at once do not take each other for the holder.
    Ok(!try_lock(&file, FlockOperation::NonBlockingLockShared)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_looks_keeps_nobody_from_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let look = open(&path, true).unwrap();
        assert!(try_lock(&look, FlockOperation::NonBlockingLockShared).unwrap());
        let looker = std::thread::spawn(move || {
            let _ = rustix::event::poll(&mut [], Some(&PAUSE));
            drop(look);
        });
        assert!(acquire(&path).unwrap().is_some());
        looker.join().unwrap();
    }

    #[test]
    fn a_lock_lives_as_long_as_its_last_duplicate() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(!is_held(&path).unwrap());
        let held = acquire(&path).unwrap().unwrap();
        assert!(acquire(&path).unwrap().is_none());
        let duplicate = held.try_clone().unwrap();
        drop(held);
        assert!(is_held(&path).unwrap());
        drop(duplicate);
        assert!(!is_held(&path).unwrap());
        assert!(acquire(&path).unwrap().is_some());
    }
}
