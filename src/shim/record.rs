//! The files of an instance directory, written so that they are whole or not there.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::Serialize;

use super::Started;
use crate::model::{ExitRecord, Versioned};
use crate::sys::beneath::Dir;
use crate::sys::effect;

pub(super) const STARTED: &str = "started.json";
pub(super) const EXIT: &str = "exit.json";
/// Of the layout of both. Records without a number are of the first.
pub(super) const VERSION: u32 = 1;
/// Room for an exit record: one block.
const RESERVED: u64 = 4096;
/// Kubernetes' code and reason for a container whose process could not be started.
const START_ERROR_CODE: i32 = 128;
const START_ERROR: &str = "StartError";
/// The longest message that is kept: the kubelet's limit for a termination message.
const MAX_MESSAGE: usize = 4096;

/// A record with the number of its layout.
#[derive(Serialize)]
struct Numbered<'a, T> {
    version: u32,
    #[serde(flatten)]
    record: &'a T,
}

/// Refuses a record of a later layout, which may lack what this one has.
pub(super) fn check_version(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let version = Versioned::of(bytes);
    if version <= VERSION {
        return Ok(());
    }
    let (place, known) = (path.display(), format!("and this program knows versions up to {VERSION}"));
    let message = format!("{place} has version {version}, {known}: run the newer podwright that wrote it");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

fn line(record: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(&Numbered { version: VERSION, record })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Writes `started.json`. What it says holds for this boot of the machine only, so it need not outlive a power cut.
pub(super) fn write_started(dir: &Path, started: &Started) -> io::Result<()> {
    effect::replace_for_now(&Dir::open(dir)?, STARTED, &line(started)?)
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
    effect::replace(&Dir::open(dir)?, EXIT, &line(&record)?)
}

/// Makes room on the disk for the exit record, which the monitor fills, by the name that it goes by while it is written: the container may fill the disk meanwhile. A file
/// system that cannot reserve is no reason not to start.
pub(super) fn reserve_exit(dir: &Path) -> io::Result<()> {
    let file =
        effect::create(&dir.join(effect::temporary(EXIT)), OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW, 0o600)?;
    effect::reserve(&file, RESERVED)
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
