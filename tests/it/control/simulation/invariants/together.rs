//! All containers of a pod are restarted together when one of them ended as a rule of it has it, and for nothing else; and what
//! ran before is gone when the first of them begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::PodSpec;

use super::super::policy;
use super::super::trace::{Event, Instance, Trace, container};

#[derive(Default)]
struct Pod<'a> {
    spec: Arc<PodSpec>,
    sandbox: u32,
    round: u32,
    /// Where each instance that runs began: its sandbox, and how often all had been restarted.
    running: BTreeMap<&'a Instance, (u32, u32)>,
    /// Why those that were told to stop were told so first.
    told: BTreeMap<&'a Instance, &'a str>,
    /// How those ended that were not, or for their own fault, by container; and where they had begun.
    ends: BTreeMap<&'a str, (i32, (u32, u32))>,
}

pub(super) fn restarted(trace: &Trace) -> Result<(), String> {
    let mut pods: BTreeMap<&str, Pod<'_>> = BTreeMap::new();
    for (at, event) in trace {
        match event {
            Event::Recorded { uid, spec, .. } => pods.entry(uid).or_default().spec = Arc::clone(spec),
            Event::SandboxBegan { uid, attempt } => pods.entry(uid).or_default().sandbox = *attempt,
            Event::AllRestarted { uid, count } => {
                let pod = pods.entry(uid).or_default();
                if *count != pod.round + 1 || !pod.is_asked() {
                    return Err(format!("{at}: nobody asked for restart {count} of all containers of {uid}"));
                }
                pod.round = *count;
            }
            Event::Began { of, sandbox, round } => {
                let pod = pods.entry(&of.uid).or_default();
                if let Some((left, _)) = pod.running.iter().find(|(_, (_, own))| own != round) {
                    return Err(format!("{at}: {of:?} began with all others, and {left:?} runs from before"));
                }
                pod.ends.remove(of.container.as_str());
                pod.running.insert(of, (*sandbox, *round));
            }
            Event::Told { of, why, .. } => {
                pods.entry(&of.uid).or_default().told.entry(of).or_insert(why);
            }
            Event::Ended { of, code, .. } => {
                let pod = pods.entry(&of.uid).or_default();
                let is_by_itself = pod.told.remove(of).is_none_or(policy::is_own_fault);
                let place = pod.running.remove(of).filter(|_| is_by_itself);
                pod.ends.extend(place.map(|place| (of.container.as_str(), (*code, place))));
            }
            _ => {}
        }
    }
    Ok(())
}

impl Pod<'_> {
    /// Whether one that ended in the sandbox that there is, since all were restarted last, asks for it.
    fn is_asked(&self) -> bool {
        self.ends.iter().any(|(name, (code, place))| {
            let own = container(&self.spec, name).filter(|_| *place == (self.sandbox, self.round));
            own.is_some_and(|own| policy::asks_for_all(own, *code))
        })
    }
}
