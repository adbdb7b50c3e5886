//! Phases move from Pending over Running to an end, which is final: nothing begins after it is on record. A pod that
//! runs may be pending again, as the kubelet's `getPhase` has it while one of its containers waits. Success means that every
//! container ended well.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::PodSpec;

use super::super::trace::{Event, Trace};

#[derive(Default)]
struct Pod<'a> {
    shown: Option<&'a str>,
    recorded: Option<&'a str>,
    spec: Arc<PodSpec>,
    codes: BTreeMap<&'a str, i32>,
}

pub(super) fn moves(trace: &Trace) -> Result<(), String> {
    let mut pods: BTreeMap<&str, Pod> = BTreeMap::new();
    for (at, event) in trace {
        match event {
            Event::Recorded { uid, spec, .. } => pods.entry(uid).or_default().spec = Arc::clone(spec),
            Event::Ended { of, code, .. } => {
                pods.entry(&of.uid).or_default().codes.insert(&of.container, *code);
            }
            // All of them run again.
            Event::AllRestarted { uid, .. } => pods.entry(uid).or_default().codes.clear(),
            Event::Finished { uid, phase, .. } => {
                let pod = pods.entry(uid).or_default();
                if let Some(before) = pod.recorded.replace(phase).filter(|before| before != phase) {
                    return Err(format!("{at}: pod {uid} ended as {before}, and then as {phase}"));
                }
                let all_well = || pod.spec.containers.iter().all(|c| pod.codes.get(c.name.as_str()) == Some(&0));
                if phase == "Succeeded" && !all_well() {
                    return Err(format!("{at}: pod {uid} succeeded, and its containers ended with {:?}", pod.codes));
                }
            }
            Event::Began { of, .. } if pods.get(of.uid.as_str()).is_some_and(|pod| pod.recorded.is_some()) => {
                return Err(format!("{at}: {of:?} began after its pod had ended"));
            }
            Event::Shown { uid, phase, .. } => {
                let pod = pods.entry(uid).or_default();
                let before = pod.shown.replace(phase);
                if let Some(before) = before.filter(|before| !may_move(before, phase)) {
                    return Err(format!("{at}: the phase of pod {uid} went from {before} to {phase}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn may_move(from: &str, to: &str) -> bool {
    from == to
        || matches!(
            (from, to),
            ("Pending", "Running" | "Succeeded" | "Failed") | ("Running", "Pending" | "Succeeded" | "Failed")
        )
}
