//! Records: small JSON files, replaced whole. A reader meets the old one or the new one, also after a power cut.

use std::ffi::OsStr;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::shim;
use crate::sys::beneath::Dir;
use crate::sys::infra::Infra;
use crate::sys::{bounded, effect};

pub(super) const POD: &str = "record.json";
pub(super) const SANDBOX: &str = "sandbox.json";
pub(super) const CONTAINER: &str = "record.json";
pub(super) const STARTED: &str = "started.json";
pub(super) const EXIT: &str = "exit.json";
pub(super) const LOCK: &str = "lock";
pub(super) const TERMINATION_LOG: &str = shim::MESSAGE;

/// No larger record is read.
const LARGEST: u64 = 64 << 20;

/// The infra process of a pod: `sandbox.json`. It is written when everything of the sandbox is there. Of another boot it says
/// that there was such a process, and no more: a power cut may take it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SandboxRecord {
    pub(super) attempt: u32,
    pub(super) pid: i32,
    pub(super) start_ticks: u64,
    pub(super) boot_id: String,
    pub(super) started_at: Timestamp,
    pub(super) ips: Vec<IpAddr>,
}

impl SandboxRecord {
    /// The process, which means something in this boot only.
    pub(super) fn infra(&self) -> Infra {
        Infra { pid: self.pid, start_ticks: self.start_ticks }
    }
}

/// What a record file holds.
#[derive(Debug)]
pub(super) enum Stored<T> {
    There(T),
    Missing,
    /// It is there and cannot be understood: why.
    Damaged(String),
}

impl<T> Stored<T> {
    pub(super) fn ok(self) -> Option<T> {
        match self {
            Stored::There(value) => Some(value),
            Stored::Missing | Stored::Damaged(_) => None,
        }
    }
}

/// Reads one record.
pub(super) fn read<T: DeserializeOwned>(dir: &Path, name: &str) -> io::Result<Stored<T>> {
    bytes(dir, name).map(parse)
}

/// Reads what a shim wrote, or the monitor that it became.
///
/// # Errors
/// `InvalidInput` when those are of a later version.
pub(super) fn read_of_shim<T: DeserializeOwned>(dir: &Path, name: &str) -> io::Result<Stored<T>> {
    let stored = bytes(dir, name)?;
    if let Stored::There(bytes) = &stored {
        shim::check_version(&dir.join(name), bytes)?;
    }
    Ok(parse(stored))
}

fn parse<T: DeserializeOwned>(stored: Stored<Vec<u8>>) -> Stored<T> {
    match stored {
        Stored::There(bytes) => match serde_json::from_slice(&bytes) {
            Ok(value) => Stored::There(value),
            Err(error) => Stored::Damaged(error.to_string()),
        },
        Stored::Missing => Stored::Missing,
        Stored::Damaged(why) => Stored::Damaged(why),
    }
}

fn bytes(dir: &Path, name: &str) -> io::Result<Stored<Vec<u8>>> {
    let gone = |e: &io::Error| matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let opened = Dir::open(dir).and_then(|dir| dir.open_file(Path::new(name)));
    let file = match opened {
        Ok(file) => file,
        Err(error) if gone(&error) => return Ok(Stored::Missing),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(Stored::Damaged(error.to_string())),
        Err(error) => return Err(error),
    };
    let bytes = bounded::read(file, LARGEST)?;
    Ok(bytes.map_or_else(|| Stored::Damaged("it is too large".to_owned()), Stored::There))
}

/// Writes one record so that it is on the disk when this returns. The directory and its parents are made.
pub(super) fn write<T: Serialize>(dir: &Path, name: &str, value: &T) -> io::Result<()> {
    let dir = Dir::make(dir, 0o700)?;
    effect::replace(&dir, name, &serde_json::to_vec(value)?)
}

/// Writes one record so that a power cut may take it as a whole until its directory, and the one above, are synced.
pub(super) fn write_and_sync_later<T: Serialize>(dir: &Path, name: &str, value: &T) -> io::Result<()> {
    effect::replace_and_sync_later(&Dir::make(dir, 0o700)?, name, &serde_json::to_vec(value)?)
}

/// Writes one record that a power cut may take or cut short: what it says holds for this boot only.
pub(super) fn write_for_this_boot<T: Serialize>(dir: &Path, name: &str, value: &T) -> io::Result<()> {
    effect::replace_for_now(&Dir::make(dir, 0o700)?, name, &serde_json::to_vec(value)?)
}

/// Removes one record. Nothing there is fine.
pub(super) fn remove(dir: &Path, name: &str) -> io::Result<()> {
    match Dir::open(dir) {
        Ok(dir) => {
            dir.remove_tree(OsStr::new(name))?;
            dir.fsync()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Keeps a damaged record beside the place it stood in, for people to look at.
pub(super) fn set_aside(dir: &Path, name: &str) -> io::Result<()> {
    let dir = Dir::open(dir)?;
    effect::rename_at(&dir, OsStr::new(name), OsStr::new(&aside(name)))
}

/// Whether a record was damaged and set aside.
pub(super) fn is_aside(dir: &Path, name: &str) -> io::Result<bool> {
    dir.join(aside(name)).try_exists()
}

fn aside(name: &str) -> String {
    format!("{name}.damaged")
}

/// The names of the directories in `path`; none when it is not there.
pub(super) fn directories(path: &Path) -> io::Result<Vec<String>> {
    let dir = match Dir::open(path) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut out = Vec::new();
    for name in dir.names()? {
        let is_dir = dir
            .stat(Path::new(&name))?
            .is_some_and(|s| crate::sys::beneath::is_type(&s, rustix::fs::FileType::Directory));
        if let (true, Ok(name)) = (is_dir, name.into_string()) {
            out.push(name);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_there_missing_or_damaged() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b");
        assert!(matches!(read::<u32>(&dir, "x").unwrap(), Stored::Missing));
        write(&dir, "x", &7_u32).unwrap();
        write(&dir, "x", &8_u32).unwrap();
        assert!(matches!(read::<u32>(&dir, "x").unwrap(), Stored::There(8)));
        for damage in [&b""[..], b"{", b"\"text\"", b"\xff\xfe"] {
            std::fs::write(dir.join("x"), damage).unwrap();
            assert!(matches!(read::<u32>(&dir, "x").unwrap(), Stored::Damaged(_)), "{damage:?}");
        }
        set_aside(&dir, "x").unwrap();
        assert!(matches!(read::<u32>(&dir, "x").unwrap(), Stored::Missing));
        std::fs::create_dir(dir.join("x")).unwrap();
        assert!(matches!(read::<u32>(&dir, "x").unwrap(), Stored::Damaged(_)));
        assert_eq!(directories(temp.path()).unwrap(), ["a"]);
        assert!(directories(&temp.path().join("none")).unwrap().is_empty());
    }
}
