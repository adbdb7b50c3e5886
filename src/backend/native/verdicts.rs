//! What the probes of a pod's instances say, kept for an agent that begins anew: `probes.json` in the run-time directory, where
//! readiness that goes to and fro costs no flash. It goes with the sandbox, and of another boot it says nothing.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::observe::own_boot;
use super::records::{self, Stored};
use crate::model::{ProbeKey, ProbeVerdict, ProbeVerdicts};
use crate::sys::beneath::Dir;
use crate::sys::{effect, process};

const PROBES: &str = "probes.json";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    boot_id: String,
    verdicts: Vec<(ProbeKey, ProbeVerdict)>,
}

/// Keeps them in the run-time directory of a pod.
pub(super) fn keep(dir: &Path, verdicts: &ProbeVerdicts) -> io::Result<()> {
    let verdicts = verdicts.iter().map(|(key, verdict)| (key.clone(), *verdict)).collect();
    records::write_for_this_boot(dir, PROBES, &Kept { boot_id: own_boot(), verdicts })
}

/// What was kept there in this boot. What cannot be understood is told, and counts as nothing.
pub(super) fn kept(dir: &Path) -> io::Result<ProbeVerdicts> {
    let kept = match records::read::<Kept>(dir, PROBES)? {
        Stored::There(kept) => kept,
        Stored::Missing => return Ok(ProbeVerdicts::new()),
        Stored::Damaged(why) => {
            let place = dir.join(PROBES);
            tracing::warn!(place = %place.display(), why, "what the probes said is lost; they are asked anew");
            return Ok(ProbeVerdicts::new());
        }
    };
    let verdicts = Some(kept.verdicts).filter(|_| kept.boot_id == process::boot_id());
    Ok(verdicts.unwrap_or_default().into_iter().collect())
}

/// Removes what was kept, and what a write that was cut short has left.
pub(super) fn forget(dir: &Path) -> io::Result<()> {
    match Dir::open(dir) {
        Ok(dir) => {
            [PROBES.to_owned(), effect::temporary(PROBES)].iter().try_for_each(|name| dir.remove_tree(OsStr::new(name)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::ProbeKind;

    #[test]
    fn verdicts_count_in_the_boot_they_were_kept_in() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("pods/uid");
        assert_eq!(kept(&dir).unwrap(), ProbeVerdicts::new(), "a version before kept none");
        let key = ProbeKey { container: "app".into(), attempt: 3, id: "id".into(), kind: ProbeKind::Readiness };
        let verdict = ProbeVerdict { passed: true, since: Timestamp::UNIX_EPOCH };
        let verdicts = ProbeVerdicts::from([(key, verdict)]);
        keep(&dir, &verdicts).unwrap();
        assert_eq!(kept(&dir).unwrap(), verdicts);
        let text = std::fs::read_to_string(dir.join(PROBES)).unwrap();
        std::fs::write(dir.join(PROBES), text.replace(&process::boot_id(), "another")).unwrap();
        assert_eq!(kept(&dir).unwrap(), ProbeVerdicts::new());
        std::fs::write(dir.join(PROBES), "{").unwrap();
        assert_eq!(kept(&dir).unwrap(), ProbeVerdicts::new());
        std::fs::write(dir.join(effect::temporary(PROBES)), "{").unwrap();
        forget(&dir).unwrap();
        std::fs::remove_dir(&dir).unwrap();
        forget(&dir).unwrap();
    }
}
