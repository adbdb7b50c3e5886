//! Never two instances of a container, and none of a pod while one of the pod before it runs.

use std::collections::BTreeMap;

use super::super::trace::{Event, Instance, Trace};

pub(super) fn one(trace: &Trace) -> Result<(), String> {
    let mut running: BTreeMap<(&str, &str), &Instance> = BTreeMap::new();
    let mut last: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for (at, event) in trace {
        match event {
            Event::Began { of, .. } => {
                if let Some(other) = running.insert((&of.pod, &of.container), of) {
                    return Err(format!("{at}: {of:?} began while {other:?} ran"));
                }
                if let Some(before) = last.insert((&of.uid, &of.container), of.attempt).filter(|b| *b >= of.attempt) {
                    return Err(format!("{at}: {of:?} began after number {before}"));
                }
            }
            Event::Ended { of, .. } => {
                running.remove(&(of.pod.as_str(), of.container.as_str()));
            }
            _ => {}
        }
    }
    Ok(())
}
