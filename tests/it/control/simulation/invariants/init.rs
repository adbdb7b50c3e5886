//! Init containers end well one after the other, sidecars have started, and only then the next one begins; in each sandbox
//! anew, and whenever all containers are restarted, until one of the others was started.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::PodSpec;
use podwright::model::ProbeKind;

use super::super::policy;
use super::super::trace::{Event, Instance, Trace, container, containers};

#[derive(Default)]
struct Pod {
    spec: Arc<PodSpec>,
    /// Of the present place, by container: it began, it ended well, it answered its startup probe.
    began: BTreeSet<String>,
    succeeded: BTreeSet<String>,
    answered: BTreeSet<String>,
    /// One that is no init container was started in it.
    is_through: bool,
    /// The sandbox, and how often all containers were restarted.
    place: (u32, u32),
    places: BTreeMap<Instance, (u32, u32)>,
}

pub(super) fn order(trace: &Trace) -> Result<(), String> {
    let mut pods: BTreeMap<&str, Pod> = BTreeMap::new();
    for (at, event) in trace {
        match event {
            Event::Recorded { uid, spec, .. } => pods.entry(uid).or_default().spec = Arc::clone(spec),
            Event::Began { of, sandbox, round } => {
                pods.entry(&of.uid)
                    .or_default()
                    .begin(of, (*sandbox, *round))
                    .map_err(|why| format!("{at}: {of:?} began {why}"))?;
            }
            Event::Ended { of, code: 0, .. } => {
                let pod = pods.entry(&of.uid).or_default();
                // One that has all restarted is through no more than one that failed.
                let asks = container(&pod.spec, &of.container).is_some_and(|own| policy::asks_for_all(own, 0));
                if pod.is_present(of) && !asks {
                    pod.succeeded.insert(of.container.clone());
                }
            }
            Event::Answered { of, kind: ProbeKind::Startup, passed: true } => {
                let pod = pods.entry(&of.uid).or_default();
                if pod.is_present(of) {
                    pod.answered.insert(of.container.clone());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

impl Pod {
    fn is_present(&self, of: &Instance) -> bool {
        self.places.get(of) == Some(&self.place)
    }

    fn begin(&mut self, of: &Instance, place: (u32, u32)) -> Result<(), String> {
        if self.place != place {
            let (spec, places) = (Arc::clone(&self.spec), std::mem::take(&mut self.places));
            *self = Self { spec, place, places, ..Self::default() };
        }
        self.places.insert(of.clone(), place);
        self.began.insert(of.container.clone());
        let spec = Arc::clone(&self.spec);
        if !self.is_through {
            for (before, has_to_end) in containers(&spec).take_while(|(c, _)| c.name != of.container) {
                let is_init = has_to_end || spec.init_containers.iter().flatten().any(|c| c.name == before.name);
                if !is_init {
                    break;
                }
                if has_to_end && !self.succeeded.contains(&before.name) {
                    return Err(format!("before {} had ended well", before.name));
                }
                let has_started = before.startup_probe.is_none() || self.answered.contains(&before.name);
                if !(has_to_end || self.began.contains(&before.name) && has_started) {
                    return Err(format!("before {} had started", before.name));
                }
            }
        }
        self.is_through |= spec.containers.iter().any(|c| c.name == of.container);
        Ok(())
    }
}
