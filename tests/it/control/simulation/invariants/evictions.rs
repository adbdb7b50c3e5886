//! No pod is evicted that takes no more of the disk than it may, and none that does is said to have ended well after that.

use std::collections::BTreeSet;

use super::super::trace::{Event, Trace};

pub(super) fn had_a_cause(trace: &Trace) -> Result<(), String> {
    let mut full = BTreeSet::new();
    for (at, event) in trace {
        match event {
            Event::Full { uid } => drop(full.insert(uid)),
            Event::Finished { uid, cause: Some(cause), .. } if cause == "Evicted" && !full.contains(uid) => {
                return Err(format!("{at}: pod {uid} was evicted, and had room"));
            }
            Event::Finished { uid, phase, cause: Some(cause) } if phase != "Failed" => {
                return Err(format!("{at}: pod {uid} ended as {phase} for {cause}"));
            }
            _ => {}
        }
    }
    Ok(())
}
