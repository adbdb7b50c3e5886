//! The files of an instance directory, written so that they are whole or not there, whatever happens to the power.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::FallocateFlags;

use super::Started;
use crate::model::ExitRecord;

pub(super) const STARTED: &str = "started.json";
pub(super) const EXIT: &str = "exit.json";
/// The exit record's name while it is written, here and by the monitor.
const EXIT_TEMPORARY: &str = ".exit.json";
/// Room for an exit record: one block.
const RESERVED: u64 = 4096;
/// Kubernetes' code and reason for a container whose process could not be started.
const START_ERROR_CODE: i32 = 128;
const START_ERROR: &str = "StartError";
/// The longest message that is kept: the kubelet's limit for a termination message.
const MAX_MESSAGE: usize = 4096;

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!(".{name}"));
    let mut file = create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, dir.join(name))?;
    File::open(dir)?.sync_all()
}

/// Writes `started.json`.
pub(super) fn write_started(dir: &Path, started: &Started) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(started)?;
    bytes.push(b'\n');
    write(dir, STARTED, &bytes)
}

/// Writes the exit record of a container that was never started.
pub(super) fn write_failure(dir: &Path, message: &str) -> io::Result<()> {
    let cut = (0..=MAX_MESSAGE.min(message.len())).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
    let record = ExitRecord {
        exit_code: START_ERROR_CODE,
        signal: None,
        oom_killed: false,
        started_at: None,
        finished_at: Timestamp::now(),
        reason: Some(START_ERROR.to_owned()),
        message: Some(message[..cut].to_owned()),
    };
    let mut bytes = serde_json::to_vec(&record)?;
    bytes.push(b'\n');
    write(dir, EXIT, &bytes)
}

/// Makes room on the disk for the exit record, which the monitor fills: the container may fill the disk meanwhile. A file
/// system that cannot reserve is no reason not to start.
pub(super) fn reserve_exit(dir: &Path) -> io::Result<()> {
    let file = create(&dir.join(EXIT_TEMPORARY))?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVED) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_start_is_a_record_that_the_model_reads() {
        let dir = tempfile::tempdir().unwrap();
        reserve_exit(dir.path()).unwrap();
        write_failure(dir.path(), &"é".repeat(MAX_MESSAGE)).unwrap();
        let record: ExitRecord = serde_json::from_slice(&std::fs::read(dir.path().join(EXIT)).unwrap()).unwrap();
        assert_eq!((record.exit_code, record.reason.as_deref()), (128, Some("StartError")));
        assert_eq!(record.started_at, None, "it never ran");
        assert_eq!(record.message.unwrap().len(), MAX_MESSAGE);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }
}
