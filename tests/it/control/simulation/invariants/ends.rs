//! What people see of the end of an instance is how it ended: its exit code, and whether the kernel ended it for want of memory;
//! of one whose monitor died, from then on, that nobody knows. What they saw of it once stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use super::super::trace::{Event, ShownEnd, Trace};

pub(super) fn shown(trace: &Trace) -> Result<(), String> {
    let mut ends: BTreeMap<(&str, &str, u32), (i32, bool)> = BTreeMap::new();
    let mut lost: BTreeSet<(&str, &str, u32)> = BTreeSet::new();
    let mut seen: BTreeMap<(&str, &str, u32), &ShownEnd> = BTreeMap::new();
    for (at, event) in trace {
        match event {
            Event::Ended { of, code, is_oom_killed } => {
                ends.insert((&of.uid, &of.container, of.attempt), (*code, *is_oom_killed));
            }
            Event::Lost { of } => {
                lost.insert((&of.uid, &of.container, of.attempt));
            }
            Event::Shown { uid, ended, .. } => {
                for end in ended {
                    let of = (uid.as_str(), end.container.as_str(), end.attempt);
                    let was = ends.get(&of);
                    let is_unknown = end.code == 137 && end.reason == "ContainerStatusUnknown" && lost.contains(&of);
                    if was != Some(&(end.code, end.reason == "OOMKilled")) && !is_unknown {
                        return Err(format!("{at}: of {uid} is shown {end:?}, and its end was {was:?}"));
                    }
                    if let Some(before) = seen.insert(of, end).filter(|before| *before != end) {
                        return Err(format!("{at}: of {uid} is shown {end:?}, and {before:?} was before"));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}
