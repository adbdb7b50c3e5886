//! Manifests judged as they are on disk, without agent, root or runtime.

use crate::admit::admit;
use crate::manifest::{Reader, show_lines};
use crate::model::{Admitted, Desired, Diagnostics, Snapshot};

/// What became of one reading.
pub enum Verdict {
    Valid(Box<Admitted>),
    Refused(Diagnostics),
}

/// Reads and admits a snapshot.
pub fn judge(snapshot: &Snapshot) -> Verdict {
    judge_read(snapshot, &Reader::new().read(snapshot))
}

/// Admits what was read from a snapshot.
pub fn judge_read(snapshot: &Snapshot, desired: &Desired) -> Verdict {
    match admit(desired) {
        Ok(mut admitted) => {
            show_lines(snapshot, &mut admitted.diagnostics);
            Verdict::Valid(Box::new(admitted))
        }
        Err(mut diagnostics) => {
            show_lines(snapshot, &mut diagnostics);
            Verdict::Refused(diagnostics)
        }
    }
}
