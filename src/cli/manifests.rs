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

/// The same for a revision that is only compared with. It may be empty: before the first manifest there was nothing.
pub fn judge_base(snapshot: &Snapshot) -> Verdict {
    let mut desired = Reader::new().read(snapshot);
    desired.diagnostics.0.retain(|diagnostic| diagnostic.rule != "no-manifests");
    judge_read(snapshot, &desired)
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
