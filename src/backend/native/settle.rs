//! The wait for the disk between a new pod's record and its first container.

use std::io;
use std::sync::{Mutex, PoisonError};

use super::paths::{Paths, REMOVING};
use super::records::{self, POD, Stored};
use crate::model::{PodRecord, PodUid};
use crate::sys::beneath::Dir;
use crate::sys::effect;

/// Whether the disk has a pod's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Settled {
    /// Nobody has waited for it.
    #[default]
    NotYet,
    /// It could not be written.
    Failed,
    /// It has.
    Yes,
}

impl Settled {
    /// Keeps what came of a wait.
    fn after(&mut self, done: io::Result<()>) -> io::Result<()> {
        *self = if done.is_ok() { Self::Yes } else { Self::Failed };
        done
    }
}

/// Waits until the disk has the directory of a pod, with its record in it. Who comes second waits for the first one. Blocks.
pub(super) fn settle(paths: &Paths, uid: &PodUid, settled: &Mutex<Settled>) -> io::Result<()> {
    let mut settled = settled.lock().unwrap_or_else(PoisonError::into_inner);
    let done = match *settled {
        Settled::Yes => Ok(()),
        Settled::NotYet => sync(paths, uid),
        // The kernel tells a failure once, and then takes what it could not write for written.
        Settled::Failed => write_again(paths, uid).and_then(|()| sync(paths, uid)),
    };
    settled.after(done)
}

/// Lets the disk begin with what [`settle`] waits for. Blocks; what it could not write is left to who holds the pod's turn.
pub(super) fn begin(paths: &Paths, uid: &PodUid, settled: &Mutex<Settled>) -> io::Result<()> {
    let mut settled = settled.lock().unwrap_or_else(PoisonError::into_inner);
    if *settled != Settled::NotYet {
        return Ok(());
    }
    settled.after(sync(paths, uid))
}

pub(super) fn has_failed(settled: &Mutex<Settled>) -> bool {
    settled.try_lock().is_ok_and(|settled| *settled == Settled::Failed)
}

/// Writes the record of a pod so that it is on the disk when this returns; the pod's turn is held. A record that took its place
/// and may be gone after a power cut is written again by [`settle`].
pub(super) fn write(paths: &Paths, record: &PodRecord, settled: &Mutex<Settled>) -> io::Result<()> {
    let written = records::write(&paths.pod(&record.uid), POD, record).and_then(|()| Dir::open(&paths.pods())?.fsync());
    settled.lock().unwrap_or_else(PoisonError::into_inner).after(written)
}

fn sync(paths: &Paths, uid: &PodUid) -> io::Result<()> {
    Dir::open(&paths.pod(uid))?.fsync()?;
    Dir::open(&paths.pods())?.fsync()
}

/// Changes a pod's directory and the one above, so that there is something to write.
fn write_again(paths: &Paths, uid: &PodUid) -> io::Result<()> {
    if let Stored::There(record) = records::read::<serde_json::Value>(&paths.pod(uid), POD)? {
        records::write(&paths.pod(uid), POD, &record)?;
    }
    let passing = paths.pods().join(format!("{REMOVING}{uid}"));
    effect::make_dirs(&passing, 0o700)?;
    effect::remove_dir(&passing)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_could_not_be_written_is_written_again() {
        let temp = tempfile::tempdir().unwrap();
        let (paths, uid) = (
            Paths { state: temp.path().into(), run: temp.path().into(), instance: "1a2b3c4d".into() },
            PodUid("7".into()),
        );
        let settled = Mutex::default();
        assert_eq!(settle(&paths, &uid, &settled).unwrap_err().kind(), io::ErrorKind::NotFound);
        records::write(&paths.pod(&uid), POD, &serde_json::json!({"version": 1})).unwrap();
        let number = || std::fs::metadata(paths.pod(&uid).join(POD)).unwrap().ino();
        let first = number();
        // Whoever does not hold the pod's turn leaves that to those who do.
        begin(&paths, &uid, &settled).unwrap();
        assert_eq!((number(), has_failed(&settled)), (first, true));
        settle(&paths, &uid, &settled).unwrap();
        let second = number();
        assert_ne!(first, second);
        settle(&paths, &uid, &settled).unwrap();
        assert_eq!(second, number());
        assert_eq!(std::fs::read_dir(paths.pods()).unwrap().count(), 1);
    }
}
