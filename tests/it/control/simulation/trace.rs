//! What happened in a world, in order: all that the invariants look at.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use podwright::model::{ProbeKind, Signal, is_sidecar};

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
    /// It came to an end: this phase is on record.
    Finished {
        uid: String,
        phase: String,
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
    /// A process began in a sandbox.
    Began {
        of: Instance,
        sandbox: u32,
    },
    Ended {
        of: Instance,
        code: i32,
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
    },
    /// What a pod is not, although nothing hinders it.
    Unlike {
        pod: String,
        what: String,
    },
    /// Nobody wants anything any more, and all that was there should be gone.
    Over,
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
        Event::Hindered { pod: own, .. } => own.as_ref().is_none_or(|own| own == pod),
        Event::Began { of, .. } | Event::Ended { of, .. } | Event::Told { of, .. } | Event::Answered { of, .. } => {
            of.pod == pod
        }
        Event::Deleted { uid, .. }
        | Event::Finished { uid, .. }
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
