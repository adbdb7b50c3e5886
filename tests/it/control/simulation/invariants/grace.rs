//! An instance that is told to stop is gone when its grace period is over, a second later at most, and is not killed before.
//!
//! Nobody can keep a time while no agent is there or the machine refuses to do what it is told: then it is over soon after.
//! Two seconds come after the stop signal in any case, as with the kubelet: when a preStop hook took all of the time, when the turn
//! of a sidecar comes as the pod's time is over, or nearly, and when there never was more. When all containers of a pod are
//! restarted, none of them has any time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PodSpec, Probe};
use podwright::model::Signal;

use super::super::trace::{Event, Instance, Moment, Trace, container, seconds};

/// What a container gets at least after the stop signal.
const LEAST: i64 = 2;
/// Why the evicted are stopped, and what they get.
const EVICTION: &str = "Usage of EmptyDir volume";
const EVICTED: i64 = 1;
/// Why all of a pod are killed that are restarted together.
const RESTART_OF_ALL: &str = "all containers are restarted";
/// So much later is still in time.
const SLACK: Moment = 1000;

/// A stop of an instance.
struct Stop<'a> {
    of: &'a Instance,
    at: Moment,
    /// Seconds; those of the pod, too, which count when the whole pod ends meanwhile.
    grace: i64,
    grace_of_pod: i64,
    ended: Moment,
    /// The moment of the stop signal.
    signalled: Option<Moment>,
    /// The moment of SIGKILL.
    killed: Option<Moment>,
    /// It may have waited for its turn, in a grace period that had begun before.
    is_sidecar: bool,
    /// Its preStop hook came first.
    has_hook: bool,
    why: &'a str,
}

pub(super) fn kept(trace: &Trace) -> Result<(), String> {
    let hindered = hindrances(trace);
    let of_pods = deletions(trace);
    for stop in stops(trace) {
        let within =
            |is_late: bool, grace: i64| seconds(if is_late { grace + LEAST } else { grace.max(LEAST) }) + SLACK;
        let own = if stop.why == RESTART_OF_ALL { SLACK } else { within(stop.has_hook, stop.grace) };
        let own = stop.at + own;
        let of_pod = of_pods.get(stop.of.uid.as_str());
        let is_late = stop.has_hook || stop.is_sidecar;
        let end = of_pod.map_or(own, |(at, grace)| own.min(at + within(is_late, *grace)));
        // What hindered it before its turn did so, too.
        let from = of_pod.map_or(stop.at, |(at, _)| stop.at.min(*at));
        let end = put_off(end, from, &stop.of.pod, &hindered);
        if stop.ended > end {
            let (at, ended, grace) = (stop.at, stop.ended, stop.grace);
            return Err(format!(
                "{:?} was told to stop at {at} within {grace} s ({}), and ended at {ended}",
                stop.of, stop.why
            ));
        }
    }
    Ok(())
}

/// None is killed while it still has time. What is stopped for one reason has one time together, from the first stop on: the one
/// that is told later has what is left.
pub(super) fn granted(trace: &Trace) -> Result<(), String> {
    let of_pods = deletions(trace);
    let stops = stops(trace);
    let mut begun: BTreeMap<(&str, &str), Moment> = BTreeMap::new();
    for stop in stops.iter().filter(|stop| !stop.why.ends_with("probe failed")) {
        begun.entry((&stop.of.uid, stop.why)).and_modify(|at| *at = stop.at.min(*at)).or_insert(stop.at);
    }
    let mut full: BTreeMap<&str, Moment> = BTreeMap::new();
    let mut restarted: BTreeMap<&str, Vec<Moment>> = BTreeMap::new();
    for (at, event) in trace {
        match event {
            Event::Full { uid } => {
                full.entry(uid).or_insert(*at);
            }
            Event::AllRestarted { uid, .. } => restarted.entry(uid).or_default().push(*at),
            _ => {}
        }
    }
    let hindered = hindrances(trace);
    // Nobody waits for the evicted any more after ten seconds in which none could be told to stop: the disk may be full.
    let is_given_up = |stop: &Stop<'_>| {
        let overlaps = |begin: Moment, until: Moment| begin <= stop.at && until >= stop.at - seconds(10);
        let mut of_it = hindered.iter().filter(|(pod, ..)| pod.is_none_or(|pod| pod == stop.of.pod));
        stop.why.starts_with(EVICTION) && of_it.any(|(_, begin, until)| overlaps(*begin, *until))
    };
    for stop in stops.into_iter().filter(|stop| !is_given_up(stop)) {
        // From the next restart of all on none has any time.
        let next = restarted.get(stop.of.uid.as_str()).into_iter().flatten().find(|at| **at >= stop.at);
        if let (Some(signalled), Some(killed)) = (stop.signalled, stop.killed)
            && killed < next.map_or(signalled + seconds(LEAST), |at| (*at).min(signalled + seconds(LEAST)))
        {
            return Err(format!("{:?} was sent the stop signal at {signalled}, and killed at {killed}", stop.of));
        }
        if stop.is_sidecar {
            continue;
        }
        let of_pod = of_pods.get(stop.of.uid.as_str()).map(|(at, grace)| at + seconds(*grace));
        let began = begun.get(&(stop.of.uid.as_str(), stop.why)).copied().unwrap_or(stop.at);
        let own = began + seconds(stop.grace.min(stop.grace_of_pod));
        let end = own.min(of_pod.unwrap_or(own));
        // What stops for something else meanwhile has no more time than the evicted.
        let evicted = full.get(stop.of.uid.as_str()).filter(|_| !stop.why.starts_with(EVICTION));
        let end = evicted.map_or(end, |at| end.min(*at));
        let end = next.map_or(end, |at| end.min(*at));
        if let Some(killed) = stop.killed.filter(|killed| *killed < end) {
            let (at, grace) = (stop.at, stop.grace);
            return Err(format!("{:?} was told to stop at {at} within {grace} s, and killed at {killed}", stop.of));
        }
    }
    Ok(())
}

/// When a time is over that hindrances put off: each that began before adds what it takes, and a little for what follows it.
fn put_off(mut end: Moment, from: Moment, pod: &str, hindered: &[(Option<&str>, Moment, Moment)]) -> Moment {
    for (of, begin, until) in hindered {
        if of.is_none_or(|of| of == pod) && *begin <= end && *until >= from {
            // The machine makes what follows later by as much; while no agent is there the times on record go on.
            let later = if of.is_some() { end + until - from.max(*begin) } else { end };
            end = later.max(until + seconds(LEAST) + SLACK);
        }
    }
    end
}

/// When nobody could do anything, by pod or for all: in the order of their beginnings.
fn hindrances(trace: &Trace) -> Vec<(Option<&str>, Moment, Moment)> {
    let mut all = Vec::new();
    let mut died = None;
    for (at, event) in trace {
        match event {
            Event::AgentDied => died = Some(*at),
            Event::AgentBegan => all.extend(died.take().map(|died| (None, died, *at))),
            Event::Hindered { pod, until } => all.push((pod.as_deref(), *at, *until)),
            _ => {}
        }
    }
    all.extend(died.map(|died| (None, died, Moment::MAX / 2)));
    all.sort_by_key(|(_, begin, _)| *begin);
    all
}

/// When pods were marked as deleted and the shortest grace period they got.
fn deletions(trace: &Trace) -> BTreeMap<&str, (Moment, i64)> {
    let mut all: BTreeMap<&str, (Moment, i64)> = BTreeMap::new();
    for (at, event) in trace {
        if let Event::Deleted { uid, grace } = event {
            all.entry(uid).and_modify(|(_, least)| *least = (*least).min(*grace)).or_insert((*at, *grace));
        }
    }
    all
}

fn stops(trace: &Trace) -> Vec<Stop<'_>> {
    let mut specs: BTreeMap<&str, Arc<PodSpec>> = BTreeMap::new();
    let mut stops: BTreeMap<&Instance, Stop<'_>> = BTreeMap::new();
    let mut over = BTreeSet::new();
    let last = trace.last().map_or(0, |(at, _)| *at);
    for (at, event) in trace {
        match event {
            Event::Recorded { uid, spec, .. } => drop(specs.insert(uid, Arc::clone(spec))),
            Event::Told { of, signal, why } if !over.contains(of) => {
                let spec = specs.get(of.uid.as_str()).cloned().unwrap_or_default();
                let stop = stops.entry(of).or_insert_with(|| Stop {
                    of,
                    at: *at,
                    grace: grace(&spec, &of.container, why),
                    grace_of_pod: grace(&spec, &of.container, ""),
                    ended: last,
                    signalled: None,
                    killed: None,
                    is_sidecar: spec.init_containers.iter().flatten().any(|c| c.name == of.container),
                    has_hook: false,
                    why,
                });
                match signal {
                    Signal::PreStop => stop.has_hook = true,
                    Signal::Stop => drop(stop.signalled.get_or_insert(*at)),
                    Signal::Kill => drop(stop.killed.get_or_insert(*at)),
                }
            }
            Event::Ended { of, .. } => {
                over.insert(of);
                if let Some(stop) = stops.get_mut(of) {
                    stop.ended = *at;
                }
            }
            _ => {}
        }
    }
    stops.into_values().collect()
}

/// The grace period that an instance has in seconds: the pod's, or that of the probe that failed; of one that is evicted for
/// what it keeps on the disk, a second, as with the kubelet; of those that are restarted together, none.
fn grace(spec: &PodSpec, name: &str, why: &str) -> i64 {
    if why.starts_with(EVICTION) {
        return EVICTED;
    }
    if why == RESTART_OF_ALL {
        return 0;
    }
    let of_pod = match spec.termination_grace_period_seconds {
        Some(grace) if grace < 0 => 1,
        grace => grace.unwrap_or(30),
    };
    let own = |probe: &Option<Probe>| {
        probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds).filter(|grace| *grace > 0)
    };
    let of_probe = container(spec, name).and_then(|c| match why {
        "liveness probe failed" => own(&c.liveness_probe),
        "startup probe failed" => own(&c.startup_probe),
        _ => None,
    });
    of_probe.unwrap_or(of_pod)
}
