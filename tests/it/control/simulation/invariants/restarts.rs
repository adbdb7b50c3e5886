//! A container that ended runs again when its policy or its rules say so, when it was stopped for something else than its own
//! fault, or when all of its pod are restarted; and its pod does not end as long as one of them is to run again.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::super::policy;
use super::super::trace::{Event, Instance, Trace, container, containers};

#[derive(Default)]
struct Pod<'a> {
    spec: Arc<PodSpec>,
    /// The sandbox that it has, or had last.
    sandbox: u32,
    has_sandbox: bool,
    round: u32,
    /// The newest instances: where they began, why they were told to stop first, how they ended.
    newest: BTreeMap<&'a str, Newest<'a>>,
}

struct Newest<'a> {
    /// Its sandbox, and how often all had been restarted.
    place: (u32, u32),
    told: Option<&'a str>,
    code: Option<i32>,
}

pub(super) fn asked_for(trace: &Trace) -> Result<(), String> {
    let mut pods: BTreeMap<&str, Pod<'_>> = BTreeMap::new();
    for (at, event) in trace {
        match event {
            Event::Recorded { uid, spec, .. } => pods.entry(uid).or_default().spec = Arc::clone(spec),
            Event::SandboxBegan { uid, attempt } => {
                let pod = pods.entry(uid).or_default();
                (pod.sandbox, pod.has_sandbox) = (*attempt, true);
            }
            Event::SandboxEnded { uid } => pods.entry(uid).or_default().has_sandbox = false,
            Event::AllRestarted { uid, count } => pods.entry(uid).or_default().round = *count,
            Event::Began { of, sandbox, round } => {
                let pod = pods.entry(&of.uid).or_default();
                pod.begin(of, (*sandbox, *round)).map_err(|why| format!("{at}: {of:?} began again {why}"))?;
            }
            Event::Told { of, why, .. } => {
                if let Some(newest) = pods.entry(&of.uid).or_default().newest.get_mut(of.container.as_str()) {
                    newest.told.get_or_insert(why);
                }
            }
            Event::Ended { of, code, .. } => {
                if let Some(newest) = pods.entry(&of.uid).or_default().newest.get_mut(of.container.as_str()) {
                    newest.code = Some(*code);
                }
            }
            Event::Finished { uid, phase, cause: None } => {
                pods.entry(uid).or_default().end(phase).map_err(|why| format!("{at}: pod {uid} ended {why}"))?;
            }
            _ => {}
        }
    }
    Ok(())
}

impl<'a> Pod<'a> {
    fn begin(&mut self, of: &'a Instance, place: (u32, u32)) -> Result<(), String> {
        let before = self.newest.insert(&of.container, Newest { place, told: None, code: None });
        let Some(Newest { place: (sandbox, round), told, code: Some(code) }) = before else { return Ok(()) };
        let Some(own) = container(&self.spec, &of.container).filter(|_| round == place.1) else { return Ok(()) };
        let is_here = sandbox == place.0;
        let is_stopped = told.is_some_and(|why| !policy::is_own_fault(why));
        let may = if policy::is_init(&self.spec, own) {
            !is_here || (code != 0 && policy::restarts(&self.spec, own, code))
        } else if is_here {
            is_stopped || self.runs_again(own, told, code)
        } else {
            // In a new sandbox success under OnFailure alone lasts.
            let lasts = policy::of(&self.spec, own) == "OnFailure" && !policy::restarts(&self.spec, own, code);
            is_stopped || !lasts
        };
        if may { Ok(()) } else { Err(format!("after {code}, told to stop for {told:?}")) }
    }

    /// Whether one that ended by itself, or was stopped for its own fault, runs again in its sandbox.
    fn runs_again(&self, own: &Container, told: Option<&str>, code: i32) -> bool {
        let is_never = policy::of(&self.spec, own) == "Never";
        policy::restarts(&self.spec, own, code) || (told.is_some() && !is_never)
    }

    fn end(&self, phase: &str) -> Result<(), String> {
        let spec = &self.spec;
        let is_never = spec.restart_policy.as_deref() == Some("Never");
        if is_never && !self.has_sandbox && phase == "Failed" {
            return Ok(());
        }
        // How those ended that are not to be restarted with all others.
        let end = |c: &Container| {
            self.newest.get(c.name.as_str()).filter(|n| n.place.1 == self.round).and_then(|n| Some((n.told, n.code?)))
        };
        let mut init = spec.init_containers.iter().flatten().filter(|c| policy::is_init(spec, c));
        let has_failed = |c: &Container| end(c).is_some_and(|(_, code)| code != 0 && !policy::restarts(spec, c, code));
        if phase == "Failed" && init.any(has_failed) {
            return Ok(());
        }
        let is_over = |c: &&Container| {
            end(c).is_some_and(|(told, code)| told.is_none_or(policy::is_own_fault) && !self.runs_again(c, told, code))
        };
        if let Some(left) = spec.containers.iter().find(|c| !is_over(c)) {
            return Err(format!("as {phase}, and {} is to run again", left.name));
        }
        let asks = |c: &Container| {
            let newest = self.newest.get(c.name.as_str()).filter(|n| n.place == (self.sandbox, self.round));
            newest.is_some_and(|newest| {
                newest.told.is_none_or(policy::is_own_fault)
                    && newest.code.is_some_and(|code| policy::asks_for_all(c, code))
            })
        };
        match containers(spec).map(|(c, _)| c).find(|c| self.has_sandbox && asks(c)) {
            Some(asking) => Err(format!("as {phase}, and {} asked for a restart of all", asking.name)),
            None => Ok(()),
        }
    }
}
