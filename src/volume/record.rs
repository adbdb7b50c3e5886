//! Where each volume of a pod is, remembered beside them: a new agent finds the volumes of pods that run. A pod all of whose
//! volumes are in memory has no such record.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::sys::beneath::Dir;
use crate::sys::effect;

/// No volume can have this name.
const NAME: &str = ".volumes.json";
const LIMIT: u64 = 1 << 20;

/// Reads the record; one that is missing or damaged is made anew when the volumes are next brought up to date.
pub(super) fn read(pod: &Path) -> BTreeMap<String, PathBuf> {
    let read = || -> io::Result<BTreeMap<String, PathBuf>> {
        let mut bytes = Vec::new();
        Dir::open(pod)?.open_file(Path::new(NAME))?.take(LIMIT).read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes)?)
    };
    read().unwrap_or_default()
}

pub(super) fn write(pod: &Path, paths: &BTreeMap<String, PathBuf>) -> io::Result<()> {
    let dir = Dir::make(pod, 0o700)?;
    effect::replace_for_now(&dir, NAME, &serde_json::to_vec(paths)?)
}
