//! Each invariant finds what it is there for in a trace made by hand, and nothing in one that is as it should be.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PodSpec;
use podwright::model::{ProbeKind, Signal};
use serde_json::{Value, json};

use super::super::trace::{Event, Instance, Moment, ShownEnd, Trace};
use super::{ALL, violations};

type Line = (Moment, Event);

fn of(container: &str, attempt: u32) -> Instance {
    Instance { pod: "p".into(), uid: "u".into(), container: container.into(), attempt }
}

fn began(at: Moment, container: &str, attempt: u32) -> Line {
    (at, Event::Began { of: of(container, attempt), sandbox: 0 })
}

fn ended(at: Moment, container: &str, attempt: u32, code: i32) -> Line {
    (at, Event::Ended { of: of(container, attempt), code, is_oom_killed: false })
}

fn told(at: Moment, container: &str, signal: Signal) -> Line {
    (at, Event::Told { of: of(container, 0), signal, why: "it is to be gone".into() })
}

fn answered(at: Moment, container: &str, kind: ProbeKind, passed: bool) -> Line {
    (at, Event::Answered { of: of(container, 0), kind, passed })
}

fn shown(at: Moment, phase: &str, ready: &[&str]) -> Line {
    let ready = ready.iter().map(|name| ((*name).to_owned(), 0)).collect();
    (at, Event::Shown { uid: "u".into(), phase: phase.into(), ready, ended: Vec::new() })
}

/// An agent began, and there is a pod.
fn pod(spec: Value) -> Vec<Line> {
    let spec: PodSpec = serde_json::from_value(spec).unwrap();
    let recorded = Event::Recorded { pod: "p".into(), uid: "u".into(), spec: Arc::new(spec) };
    vec![(0, Event::AgentBegan), (0, recorded), (0, Event::SandboxBegan { uid: "u".into(), attempt: 0 })]
}

fn app() -> Value {
    json!({"terminationGracePeriodSeconds": 5, "containers": [{"name": "app"}]})
}

/// The invariants that a trace of this pod violates.
fn broken(spec: Value, lines: impl IntoIterator<Item = Line>) -> Vec<&'static str> {
    let mut trace = pod(spec);
    trace.extend(lines);
    violations(&trace).into_iter().map(|violation| violation.invariant).collect()
}

const NONE: [&str; 0] = [];

#[test]
fn two_instances_of_a_container_are_found() {
    let first = began(0, "app", 0);
    assert_eq!(broken(app(), [first.clone(), ended(1, "app", 0, 1), began(1, "app", 1)]), NONE);
    assert_eq!(broken(app(), [first.clone(), began(1, "app", 1)]), ["one instance"]);
    assert_eq!(broken(app(), [first, ended(1, "app", 0, 1), began(1, "app", 0)]), ["one instance"]);
}

#[test]
fn what_begins_before_its_turn_is_found() {
    let spec = json!({
        "initContainers": [
            {"name": "init"},
            {"name": "side", "restartPolicy": "Always", "startupProbe": {}},
        ],
        "containers": [{"name": "app"}],
    });
    let story = [
        began(1, "init", 0),
        ended(2, "init", 0, 0),
        began(3, "side", 0),
        answered(4, "side", ProbeKind::Startup, true),
        began(5, "app", 0),
    ];
    assert_eq!(broken(spec.clone(), story.clone()), NONE);
    for missing in [0, 1, 2, 3] {
        let left = story.iter().enumerate().filter(|(n, _)| *n != missing).map(|(_, line)| line.clone());
        assert_eq!(broken(spec.clone(), left), ["init order"], "without line {missing}");
    }
    let mut failed = story;
    failed[1] = ended(2, "init", 0, 1);
    assert_eq!(broken(spec, failed), ["init order"]);
}

#[test]
fn a_grace_period_that_is_exceeded_is_found() {
    let story = |ends: Moment, lines: &[Line]| {
        let begin = [began(0, "app", 0), told(1_000, "app", Signal::Stop)];
        broken(app(), begin.into_iter().chain(lines.iter().cloned()).chain([ended(ends, "app", 0, 137)]))
    };
    assert_eq!((story(7_000, &[]).as_slice(), story(7_001, &[]).as_slice()), (&NONE[..], &["grace"][..]));
    let hindered = [(4_000, Event::Hindered { pod: Some("p".into()), until: 35_000 })];
    assert_eq!((story(38_000, &hindered), story(38_001, &hindered)), (vec![], vec!["grace"]));
    let outage = [(2_000, Event::AgentDied), (9_000, Event::AgentBegan)];
    assert_eq!((story(12_000, &outage), story(12_001, &outage)), (vec![], vec!["grace"]));
    let deleted = [(2_000, Event::Deleted { uid: "u".into(), grace: 1 })];
    assert_eq!((story(4_000, &deleted), story(4_001, &deleted)), (vec![], vec!["grace"]));
    let other = (5_000, Event::Hindered { pod: Some("q".into()), until: 20_000 });
    assert_eq!(story(7_001, &[other]), ["grace"]);
    let hook = [told(1_000, "app", Signal::PreStop)];
    let with_hook = |ends: Moment| {
        broken(app(), [began(0, "app", 0)].into_iter().chain(hook.clone()).chain([ended(ends, "app", 0, 0)]))
    };
    assert_eq!((with_hook(9_000), with_hook(9_001)), (vec![], vec!["grace"]));
}

#[test]
fn a_kill_before_its_time_is_found() {
    let story = |killed: Moment| {
        let stop = [began(0, "app", 0), told(1_000, "app", Signal::Stop), told(killed, "app", Signal::Kill)];
        broken(app(), stop.into_iter().chain([ended(killed, "app", 0, 137)]))
    };
    assert_eq!((story(6_000), story(5_999)), (vec![], vec!["patience"]));
}

#[test]
fn the_evicted_have_a_second() {
    let story = |killed: Moment| {
        let why = "Usage of EmptyDir volume \"d\" exceeds the limit \"1Mi\". ";
        let told = |at, signal| (at, Event::Told { of: of("app", 0), signal, why: why.into() });
        let story = [began(0, "app", 0), told(1_000, Signal::Stop), told(killed, Signal::Kill)];
        broken(app(), story.into_iter().chain([ended(killed, "app", 0, 137)]))
    };
    assert_eq!((story(1_999), story(2_000), story(3_000)), (vec!["patience"], vec![], vec![]));
    assert_eq!(story(3_001), ["grace"]);
    // One that was told to stop for something else before loses its time when its pod is full, and not before.
    let other = |full: Moment| {
        let full = (full, Event::Full { uid: "u".into() });
        let story = [began(0, "app", 0), told(1_000, "app", Signal::Stop), full, told(3_000, "app", Signal::Kill)];
        broken(app(), story.into_iter().chain([ended(3_000, "app", 0, 137)]))
    };
    assert_eq!((other(3_000), other(3_001)), (vec![], vec!["patience"]));
    let at_once = |until: Moment| {
        let why = "Usage of EmptyDir volume";
        let told = (20_000, Event::Told { of: of("app", 0), signal: Signal::Kill, why: why.into() });
        let hindered = (0, Event::Hindered { pod: Some("p".into()), until });
        broken(app(), [began(0, "app", 0), hindered, told, ended(20_000, "app", 0, 137)])
    };
    assert_eq!((at_once(10_000), at_once(9_999)), (vec![], vec!["patience"]));
}

#[test]
fn a_back_off_that_is_cut_short_is_found() {
    // The first is waited for as long as nothing, the second 10 s, the third 20 s.
    let story = |third: Moment, lines: &[Line]| {
        let begin = [began(0, "app", 0), ended(1_000, "app", 0, 1), began(1_000, "app", 1), ended(2_000, "app", 1, 1)];
        let next = [began(12_000, "app", 2), ended(13_000, "app", 2, 1)];
        let all = begin.into_iter().chain(next).chain(lines.iter().cloned()).chain([began(third, "app", 3)]);
        broken(app(), all)
    };
    assert_eq!((story(33_000, &[]), story(32_999, &[])), (vec![], vec!["back-off"]));
    let changed = pod(app()).into_iter().filter(|(_, event)| matches!(event, Event::Recorded { .. }));
    assert_eq!(story(13_000, &changed.collect::<Vec<_>>()), NONE);
    // One that ran for over ten minutes has nothing to wait for.
    let long = |ended_at: Moment| {
        let begin =
            [began(0, "app", 0), ended(1_000, "app", 0, 1), began(1_000, "app", 1), ended(ended_at, "app", 1, 1)];
        broken(app(), begin.into_iter().chain([began(ended_at, "app", 2)]))
    };
    assert_eq!((long(601_001), long(601_000)), (vec![], vec!["back-off"]));
}

#[test]
fn phases_that_go_back_are_found() {
    assert_eq!(broken(app(), [shown(1, "Pending", &[]), shown(2, "Running", &[]), shown(3, "Failed", &[])]), NONE);
    for to in ["Pending", "Running", "Succeeded"] {
        assert_eq!(broken(app(), [shown(1, "Failed", &[]), shown(2, to, &[])]), ["phases"], "to {to}");
    }
    let finished = |phase: &str| (5, Event::Finished { uid: "u".into(), phase: phase.into(), cause: None });
    let run = |code| [began(1, "app", 0), ended(2, "app", 0, code)];
    assert_eq!(broken(app(), run(0).into_iter().chain([finished("Succeeded")])), NONE);
    assert_eq!(broken(app(), run(1).into_iter().chain([finished("Succeeded")])), ["phases"]);
    assert_eq!(broken(app(), [finished("Failed"), finished("Succeeded")]), ["phases"]);
    assert_eq!(broken(app(), [finished("Failed"), began(6, "app", 0)]), ["phases"]);
}

#[test]
fn readiness_before_its_probe_is_found() {
    let spec = json!({"containers": [{"name": "app", "readinessProbe": {"successThreshold": 2}}]});
    let yes = |at| answered(at, "app", ProbeKind::Readiness, true);
    let no = |at| answered(at, "app", ProbeKind::Readiness, false);
    let ready = |at| shown(at, "Running", &["app"]);
    assert_eq!(broken(spec.clone(), [yes(1), yes(2), ready(3)]), NONE);
    assert_eq!(broken(spec.clone(), [yes(1), no(2), yes(3), ready(4)]), ["readiness"]);
    let again = [yes(1), yes(2), (3, Event::AgentDied), (4, Event::AgentBegan), ready(5)];
    assert_eq!(broken(spec, again), NONE);
    assert_eq!(broken(app(), [ready(1)]), NONE);
    let spec = json!({"containers": [{"name": "app", "startupProbe": {}}]});
    assert_eq!(broken(spec.clone(), [ready(1)]), ["readiness"]);
    assert_eq!(broken(spec, [answered(1, "app", ProbeKind::Startup, true), ready(1)]), NONE);
}

#[test]
fn an_end_that_is_shown_as_another_is_found() {
    let story = |was: (i32, bool), code: i32, reason: &str| {
        let end = ShownEnd { container: "app".into(), attempt: 0, code, reason: reason.into() };
        let ended = Event::Ended { of: of("app", 0), code: was.0, is_oom_killed: was.1 };
        let shown = Event::Shown { uid: "u".into(), phase: "Running".into(), ready: Vec::new(), ended: vec![end] };
        broken(app(), [began(0, "app", 0), (1, ended), (2, shown)])
    };
    assert_eq!((story((137, true), 137, "OOMKilled"), story((1, false), 1, "Error")), (vec![], vec![]));
    for (was, code, reason) in
        [((137, true), 137, "Error"), ((137, false), 137, "OOMKilled"), ((1, false), 0, "Completed")]
    {
        assert_eq!(story(was, code, reason), ["ends"], "{was:?} {code} {reason}");
    }
    let early = ShownEnd { container: "app".into(), attempt: 1, code: 0, reason: "Completed".into() };
    let shown = Event::Shown { uid: "u".into(), phase: "Running".into(), ready: Vec::new(), ended: vec![early] };
    assert_eq!(broken(app(), [began(0, "app", 0), (2, shown)]), ["ends"]);
    let unknown = ShownEnd { container: "app".into(), attempt: 0, code: 137, reason: "ContainerStatusUnknown".into() };
    let shown = (2, Event::Shown { uid: "u".into(), phase: "Running".into(), ready: Vec::new(), ended: vec![unknown] });
    assert_eq!(broken(app(), [began(0, "app", 0), shown.clone()]), ["ends"]);
    assert_eq!(broken(app(), [began(0, "app", 0), (1, Event::Lost { of: of("app", 0) }), shown]), NONE);
}

#[test]
fn an_eviction_without_a_cause_is_found() {
    let evicted =
        |phase: &str| (5, Event::Finished { uid: "u".into(), phase: phase.into(), cause: Some("Evicted".into()) });
    let full = (4, Event::Full { uid: "u".into() });
    let run = [began(1, "app", 0), ended(2, "app", 0, 0)];
    assert_eq!(broken(app(), [full.clone(), evicted("Failed")]), NONE);
    assert_eq!(broken(app(), [evicted("Failed")]), ["evictions"]);
    assert_eq!(broken(app(), run.into_iter().chain([full, evicted("Succeeded")])), ["evictions"]);
}

#[test]
fn what_is_left_is_found() {
    let removed = (4, Event::Removed { uid: "u".into() });
    let stopped = (3, Event::SandboxEnded { uid: "u".into() });
    let over = (9, Event::Over);
    let story = [began(1, "app", 0), ended(2, "app", 0, 0), stopped, removed, over];
    assert_eq!(broken(app(), story.clone()), NONE);
    for missing in [1, 2, 3] {
        let left = story.iter().enumerate().filter(|(n, _)| *n != missing).map(|(_, line)| line.clone());
        assert_eq!(broken(app(), left), ["nothing leaked"], "without line {missing}");
    }
}

#[test]
fn what_does_not_come_to_be_is_found() {
    let unlike = Event::Unlike { pod: "p".into(), what: "is not there".into() };
    assert_eq!(broken(app(), [(1, unlike)]), ["carried through"]);
}

#[test]
fn every_invariant_has_a_name_of_its_own() {
    let mut names: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ALL.len());
    let empty: &Trace = &[];
    assert_eq!(violations(empty), []);
}
