//! No container is shown as ready before its readiness probe succeeded as often in a row as it has to, its startup probe before
//! that; of this very instance, whichever agent asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::PodSpec;
use podwright::model::ProbeKind;

use super::super::trace::{Event, Trace, container};

/// How often a probe succeeded in a row, and the most it did.
#[derive(Clone, Copy, Default)]
struct Run {
    now: i32,
    most: i32,
}

type Of<'a> = (&'a str, &'a str, u32, ProbeKind);

pub(super) fn after_probes(trace: &Trace) -> Result<(), String> {
    let mut specs: BTreeMap<&str, Arc<PodSpec>> = BTreeMap::new();
    let mut runs: BTreeMap<Of<'_>, Run> = BTreeMap::new();
    for (at, event) in trace {
        match event {
            Event::Recorded { uid, spec, .. } => drop(specs.insert(uid, Arc::clone(spec))),
            Event::Answered { of, kind, passed } => {
                let run = runs.entry((&of.uid, &of.container, of.attempt, *kind)).or_default();
                run.now = if *passed { run.now + 1 } else { 0 };
                run.most = run.most.max(run.now);
            }
            Event::Shown { uid, ready, .. } => {
                let spec = specs.get(uid.as_str()).cloned().unwrap_or_default();
                for (name, attempt) in ready {
                    for kind in [ProbeKind::Startup, ProbeKind::Readiness] {
                        let Some(probe) = container(&spec, name).and_then(|c| kind.of(c)) else { continue };
                        let most = runs.get(&(uid, name, *attempt, kind)).map_or(0, |run| run.most);
                        if most < probe.success_threshold.unwrap_or(1).max(1) {
                            return Err(format!(
                                "{at}: {name}#{attempt} of {uid} is ready, its {kind} probe succeeded {most} times"
                            ));
                        }
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}
