//! The events in a file of the run-time directory: what a new agent goes on from.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{EventRecord, Versioned};
use crate::port::{ErrorKind, PortError};
use crate::sys::beneath::Dir;
use crate::sys::effect;

/// No larger file is read.
const LARGEST: u64 = 16 << 20;
/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Written<T> {
    version: u32,
    events: T,
}

/// Writes them in place of the file at `path`: readers see the old one or the new one, mode 0600. Not synced: what it is for
/// ends with the machine.
pub fn save(path: &Path, events: &[Arc<EventRecord>]) -> Result<(), PortError> {
    let failed = |e: &io::Error| PortError::io("save the events", path.display().to_string(), e);
    let events: Vec<&EventRecord> = events.iter().map(|event| &**event).collect();
    let bytes = serde_json::to_vec(&Written { version: VERSION, events }).map_err(|e| failed(&e.into()))?;
    effect::replace_path_for_now(path, &bytes).map_err(|e| failed(&e))
}

/// Reads them; none when none were written since the machine was started. A file that is damaged or not ours is kept beside it, as
/// `<name>.damaged`.
///
/// # Errors
/// When there is something that cannot be read.
pub fn load(path: &Path) -> Result<Vec<Arc<EventRecord>>, PortError> {
    const OPERATION: &str = "read the events of the agent before this one";
    let subject = || path.display().to_string();
    let mut bytes = Vec::new();
    match std::fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(PortError::io(OPERATION, subject(), &e)),
    }
    // A power cut may leave it so, where the directory is on a disk.
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(Vec::new());
    }
    read(&bytes).map_err(|why| {
        let kept = match set_aside(path) {
            Ok(()) => format!("it is kept as {}", aside(path).display()),
            Err(error) => format!("it stays where it is: {error}"),
        };
        PortError::new(ErrorKind::Corrupt, OPERATION, subject(), format!("{why}; {kept}"))
    })
}

/// Where a file goes that cannot be read.
pub fn aside(path: &Path) -> PathBuf {
    path.with_extension("json.damaged")
}

fn set_aside(path: &Path) -> io::Result<()> {
    let aside = aside(path);
    let (Some(dir), Some(from), Some(to)) = (path.parent(), path.file_name(), aside.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    effect::rename_at(&Dir::open(dir)?, from, to)
}

fn read(bytes: &[u8]) -> Result<Vec<Arc<EventRecord>>, String> {
    if bytes.len() as u64 > LARGEST {
        return Err(format!("more than {LARGEST} bytes are too many"));
    }
    match Versioned::of(bytes) {
        VERSION | 0 => {}
        other => return Err(format!("version {other} is unknown")),
    }
    let written: Written<Vec<Value>> = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    // One that a later version tells of something that this one does not know is left out, and the others stay.
    let (mut read, mut wrong) = (Vec::new(), None);
    for event in written.events {
        match serde_json::from_value(event) {
            Ok(event) => read.push(Arc::new(event)),
            Err(error) => wrong = Some(error),
        }
    }
    match wrong {
        Some(error) if read.is_empty() => Err(error.to_string()),
        Some(_) | None => Ok(read),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventType, PodKey};

    fn event(message: &str) -> Arc<EventRecord> {
        Arc::new(EventRecord {
            object: PodKey::new("default", "web").object(),
            uid: "u".into(),
            field_path: Some("spec.containers{app}".into()),
            kind: EventType::Warning,
            reason: "Unhealthy".into(),
            message: message.into(),
            component: "kubelet".into(),
            first: "2026-01-02T03:04:05.000000006Z".parse().unwrap(),
            last: "2026-01-02T03:04:07Z".parse().unwrap(),
            count: 3,
        })
    }

    #[test]
    fn events_come_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.json");
        assert_eq!(load(&path).unwrap(), vec![]);
        let events = vec![event("one"), Arc::new(EventRecord { field_path: None, ..(*event("two")).clone() })];
        save(&path, &events).unwrap();
        assert_eq!(load(&path).unwrap(), events);
        std::fs::write(&path, [0; 7]).unwrap();
        assert_eq!(load(&path).unwrap(), vec![]);
    }

    #[test]
    fn events_of_what_is_not_known_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.json");
        save(&path, &[event("one"), event("two")]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let later = text.replacen("\"kind\":\"Pod\"", "\"kind\":\"Cluster\"", 1);
        assert_ne!(later, text);
        std::fs::write(&path, later).unwrap();
        assert_eq!(load(&path).unwrap(), vec![event("two")]);
        assert!(!aside(&path).exists());
    }

    #[test]
    fn what_is_damaged_or_not_ours_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.json");
        for (bytes, why) in [
            (&b"{\"version\":1,\"events\":[{}]}"[..], "missing field"),
            (b"{\"version\":1,\"eve", "EOF"),
            (b"{\"version\":2,\"events\":0}", "version 2 is unknown"),
            (b"[]", "expected"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let told = load(&path).unwrap_err().to_string();
            let aside = aside(&path);
            assert!(told.contains(why) && told.contains(aside.to_str().unwrap()), "{told}");
            assert_eq!(std::fs::read(&aside).unwrap(), bytes);
            assert_eq!(load(&path).unwrap(), vec![], "it is told once");
        }
    }
}
