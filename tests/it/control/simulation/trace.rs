//! What happened in a world, in order: all that the invariants look at.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use podwright::model::{ProbeKind, Signal, is_sidecar};

use super::policy;

/// Milliseconds since the world began.
pub(super) type Moment = i64;

pub(super) fn seconds(seconds: i64) -> Moment {
    seconds * 1000
}

/// One instance of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Instance {
    pub(super) pod: String,
    pub(super) uid: String,
    pub(super) container: String,
    pub(super) attempt: u32,
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    /// An agent begins, or dies.
    AgentBegan,
    AgentDied,
    /// A pod has this record from now on.
    Recorded {
        pod: String,
        uid: String,
        spec: Arc<PodSpec>,
    },
    /// It is to be gone after at most so many seconds.
    Deleted {
        uid: String,
        grace: i64,
    },
    /// It came to an end: this phase is on record, and why, if not for what its containers did.
    Finished {
        uid: String,
        phase: String,
        cause: Option<String>,
    },
    /// All its containers are to be restarted together, for the so many-th time.
    AllRestarted {
        uid: String,
        count: u32,
    },
    /// It takes more of the disk than it may.
    Full {
        uid: String,
    },
    /// Nothing of it is on record any more.
    Removed {
        uid: String,
    },
    SandboxBegan {
        uid: String,
        attempt: u32,
    },
    SandboxEnded {
        uid: String,
    },
    /// A process began in a sandbox, after so many restarts of all containers of its pod.
    Began {
        of: Instance,
        sandbox: u32,
        round: u32,
    },
    Ended {
        of: Instance,
        code: i32,
        /// By the kernel, for want of memory.
        is_oom_killed: bool,
    },
    /// Its monitor died: how it ends nobody knows.
    Lost {
        of: Instance,
    },
    /// An instance was sent a signal, and why.
    Told {
        of: Instance,
        signal: Signal,
        why: String,
    },
    /// An instance answered a probe.
    Answered {
        of: Instance,
        kind: ProbeKind,
        passed: bool,
    },
    /// The machine hindered what was to be done for a pod, or for all; until this moment nobody can keep its times.
    Hindered {
        pod: Option<String>,
        until: Moment,
    },
    /// What people see of a pod; of the containers that are ready, the name and the number of the instance.
    Shown {
        uid: String,
        phase: String,
        ready: Vec<(String, u32)>,
        ended: Vec<ShownEnd>,
    },
    /// What a pod is not, although nothing hinders it.
    Unlike {
        pod: String,
        what: String,
    },
    /// An accident, or what somebody did: one of [`HAPPENINGS`].
    Happened {
        pod: Option<String>,
        what: &'static str,
    },
    /// Nobody wants anything any more, and all that was there should be gone.
    Over,
}

/// The end of an instance as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShownEnd {
    pub(super) container: String,
    pub(super) attempt: u32,
    pub(super) code: i32,
    pub(super) reason: String,
}

/// That one was made.
pub(super) const POD: &str = "a pod";

/// What may happen to a world. In a run that is long enough each of them does.
pub(super) const HAPPENINGS: [&str; 35] = [
    "a commit",
    "an infra process that died",
    "a monitor that died",
    "a container out of memory",
    "a disk that ran full",
    "a registry out of reach",
    "an image that went for a while",
    "hints that got lost",
    "an agent that died between calls",
    "an agent that died before a call was done",
    "an agent that died after one was done",
    "a call that failed",
    "a call that failed and was done",
    "a call that took long",
    "a call that hung and failed",
    "a call that hung, was done and failed",
    "a probe that hung",
    "a hook that hung",
    "an image that could not be had",
    "a token that was made anew",
    "a start that failed",
    "other amounts that were refused",
    POD,
    "a change in place",
    "a deletion",
    "an eviction",
    "a pod that succeeded",
    "a pod that failed",
    "a second sandbox of a pod",
    "a second instance of a container",
    "an end that a rule is for",
    "a restart of all containers",
    "a stop",
    "a stop that begins with a hook",
    "a kill",
];

/// How often each of them happened.
pub(super) fn happenings(trace: &Trace) -> BTreeMap<&'static str, usize> {
    let mut specs: BTreeMap<&str, &PodSpec> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for (_, event) in trace {
        let what = match event {
            Event::Happened { what, .. } => what,
            Event::Recorded { uid, spec, .. } if specs.insert(uid, spec).is_none() => POD,
            Event::Recorded { .. } => "a change in place",
            Event::Ended { of, code, .. } if has_rule(specs.get(of.uid.as_str()).copied(), of, *code) => {
                "an end that a rule is for"
            }
            Event::AllRestarted { .. } => "a restart of all containers",
            Event::Deleted { .. } => "a deletion",
            Event::Finished { cause: Some(cause), .. } if cause == "Evicted" => "an eviction",
            Event::Finished { phase, .. } if phase == "Succeeded" => "a pod that succeeded",
            Event::Finished { .. } => "a pod that failed",
            Event::SandboxBegan { attempt: 1.., .. } => "a second sandbox of a pod",
            Event::Began { of, .. } if of.attempt > 0 => "a second instance of a container",
            Event::Told { signal: Signal::PreStop, .. } => "a stop that begins with a hook",
            Event::Told { signal: Signal::Stop, .. } => "a stop",
            Event::Told { signal: Signal::Kill, .. } => "a kill",
            _ => continue,
        };
        *found.entry(what).or_default() += 1;
    }
    found
}

fn has_rule(spec: Option<&PodSpec>, of: &Instance, code: i32) -> bool {
    let own = spec.and_then(|spec| container(spec, &of.container));
    own.is_some_and(|own| policy::action(own, code).is_some())
}

/// The events with their moments, in order.
pub(super) type Trace = [(Moment, Event)];

/// What a trace shows and may not: the name of the invariant, and where it is violated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) invariant: &'static str,
    pub(super) what: String,
}

/// The containers of a pod in the order of their start, with whether they are init containers that have to end.
pub(super) fn containers(spec: &PodSpec) -> impl Iterator<Item = (&Container, bool)> {
    let init = spec.init_containers.iter().flatten().map(|c| (c, !is_sidecar(c)));
    init.chain(spec.containers.iter().map(|c| (c, false)))
}

pub(super) fn container<'a>(spec: &'a PodSpec, name: &str) -> Option<&'a Container> {
    containers(spec).map(|(c, _)| c).find(|c| c.name == name)
}

/// The last lines of a trace about a pod, to be read by people.
pub(super) fn told(trace: &Trace, pod: &str) -> String {
    let uids: Vec<&String> = trace.iter().filter_map(|(_, event)| uid_of_record(event, pod)).collect();
    let is_of = |event: &Event| match event {
        Event::AgentBegan | Event::AgentDied | Event::Over => true,
        Event::Recorded { pod: own, .. } | Event::Unlike { pod: own, .. } => own == pod,
        Event::Hindered { pod: own, .. } | Event::Happened { pod: own, .. } => {
            own.as_ref().is_none_or(|own| own == pod)
        }
        Event::Began { of, .. }
        | Event::Ended { of, .. }
        | Event::Lost { of }
        | Event::Told { of, .. }
        | Event::Answered { of, .. } => of.pod == pod,
        Event::Deleted { uid, .. }
        | Event::Finished { uid, .. }
        | Event::AllRestarted { uid, .. }
        | Event::Full { uid }
        | Event::Removed { uid }
        | Event::SandboxBegan { uid, .. }
        | Event::SandboxEnded { uid }
        | Event::Shown { uid, .. } => uids.contains(&uid),
    };
    let line = |(at, event): &(Moment, Event)| match event {
        Event::Recorded { uid, spec, .. } => {
            format!("{at:>9} recorded {uid}: {}", serde_json::to_string(&**spec).unwrap())
        }
        event => format!("{at:>9} {event:?}"),
    };
    let lines: Vec<String> = trace.iter().filter(|(_, event)| is_of(event)).map(line).collect();
    lines.join("\n")
}

fn uid_of_record<'a>(event: &'a Event, name: &str) -> Option<&'a String> {
    match event {
        Event::Recorded { pod, uid, .. } if pod == name => Some(uid),
        _ => None,
    }
}
