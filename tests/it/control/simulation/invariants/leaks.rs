//! What belongs to a pod is gone when the pod is, and everything at the end; and what is asked for is there in the end.

use std::collections::{BTreeMap, BTreeSet};

use super::super::trace::{Event, Instance, Trace};

pub(super) fn none(trace: &Trace) -> Result<(), String> {
    let mut pods: BTreeSet<&str> = BTreeSet::new();
    let mut sandboxes: BTreeMap<&str, u32> = BTreeMap::new();
    let mut running: BTreeSet<&Instance> = BTreeSet::new();
    for (at, event) in trace {
        match event {
            Event::Recorded { uid, .. } => {
                pods.insert(uid);
            }
            Event::SandboxBegan { uid, attempt } => {
                sandboxes.insert(uid, *attempt);
            }
            Event::SandboxEnded { uid } => {
                sandboxes.remove(uid.as_str());
            }
            Event::Began { of, .. } => {
                running.insert(of);
            }
            Event::Ended { of, .. } => {
                running.remove(of);
            }
            Event::Removed { uid } => {
                pods.remove(uid.as_str());
                if let Some(of) = running.iter().find(|of| of.uid == *uid) {
                    return Err(format!("{at}: {of:?} runs on without its pod"));
                }
                if let Some(attempt) = sandboxes.get(uid.as_str()) {
                    return Err(format!("{at}: sandbox {attempt} of pod {uid} is there without it"));
                }
            }
            Event::Over if !(pods.is_empty() && sandboxes.is_empty() && running.is_empty()) => {
                return Err(format!("{at}: left are pods {pods:?}, sandboxes {sandboxes:?}, containers {running:?}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// When nothing hinders it any more, every pod comes to be what it is to be.
pub(super) fn carried_through(trace: &Trace) -> Result<(), String> {
    let mut found = trace.iter().filter_map(|(at, event)| match event {
        Event::Unlike { pod, what } => Some(format!("{at}: pod {pod} {what}")),
        _ => None,
    });
    found.next().map_or(Ok(()), Err)
}
