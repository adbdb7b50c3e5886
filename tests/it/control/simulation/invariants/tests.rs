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
    began_in(at, container, attempt, (0, 0))
}

/// In this sandbox, after so many restarts of all.
fn began_in(at: Moment, container: &str, attempt: u32, (sandbox, round): (u32, u32)) -> Line {
    (at, Event::Began { of: of(container, attempt), sandbox, round })
}

fn all_restarted(at: Moment, count: u32) -> Line {
    (at, Event::AllRestarted { uid: "u".into(), count })
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
    assert_eq!((story(5_000, &deleted), story(5_001, &deleted)), (vec![], vec!["grace"]));
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
    // Whatever its grace period is, it has two seconds after the signal.
    for grace in [0, 1] {
        let story = |killed: Moment| {
            let spec = json!({"terminationGracePeriodSeconds": grace, "containers": [{"name": "app"}]});
            let stop = [began(0, "app", 0), told(1_000, "app", Signal::Stop), told(killed, "app", Signal::Kill)];
            broken(spec, stop.into_iter().chain([ended(killed, "app", 0, 137)]))
        };
        assert_eq!((story(4_000), story(3_000), story(2_999)), (vec![], vec![], vec!["patience"]));
        assert_eq!(story(4_001), ["grace"]);
    }
}

#[test]
fn the_evicted_have_a_second() {
    let story = |killed: Moment| {
        let why = "Usage of EmptyDir volume \"d\" exceeds the limit \"1Mi\". ";
        let told = |at, signal| (at, Event::Told { of: of("app", 0), signal, why: why.into() });
        let story = [began(0, "app", 0), told(1_000, Signal::Stop), told(killed, Signal::Kill)];
        broken(app(), story.into_iter().chain([ended(killed, "app", 0, 137)]))
    };
    assert_eq!((story(2_999), story(3_000), story(4_000)), (vec!["patience"], vec![], vec![]));
    assert_eq!(story(4_001), ["grace"]);
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

/// A pod whose containers have policies and rules of their own.
fn ruled(policy: &str) -> Value {
    let rule = |action: &str, code: i32| json!({"action": action, "exitCodes": {"operator": "In", "values": [code]}});
    json!({"restartPolicy": policy, "terminationGracePeriodSeconds": 5, "initContainers": [{"name": "init"}], "containers": [
        {"name": "app", "restartPolicy": "OnFailure", "restartPolicyRules": [rule("Restart", 0), rule("RestartAllContainers", 3)]},
        {"name": "own", "restartPolicy": "Never"},
        {"name": "other"},
    ]})
}

fn all_began() -> Vec<Line> {
    all_began_at(1, (0, 0), 0)
}

fn all_began_at(at: Moment, place: (u32, u32), attempt: u32) -> Vec<Line> {
    let init = [began_in(at, "init", attempt, place), ended(at, "init", attempt, 0)];
    init.into_iter().chain(["app", "own", "other"].map(|name| began_in(at, name, attempt, place))).collect()
}

#[test]
fn a_restart_that_nothing_asks_for_is_found() {
    let again = |policy: &str, name: &str, code: i32, told: Option<&str>| {
        let told = told.map(|why| (3, Event::Told { of: of(name, 0), signal: Signal::Stop, why: why.into() }));
        let lines = all_began().into_iter().chain(told);
        broken(ruled(policy), lines.chain([ended(4, name, 0, code), began(4, name, 1)]))
    };
    for (policy, name, code, expected) in [
        ("Always", "app", 1, true),
        ("Always", "app", 0, true),
        ("Always", "own", 1, false),
        ("Always", "own", 0, false),
        ("Always", "other", 0, true),
        ("OnFailure", "other", 0, false),
        ("OnFailure", "other", 1, true),
        ("Never", "app", 1, true),
        ("Never", "other", 1, false),
    ] {
        let found = again(policy, name, code, None);
        assert_eq!(found.is_empty(), expected, "{policy} {name} {code}: {found:?}");
        assert!(expected || found == ["restarts"], "{policy} {name} {code}: {found:?}");
    }
    for (why, expected) in [("image changed", vec![]), ("liveness probe failed", vec!["restarts"])] {
        assert_eq!(again("Always", "own", 143, Some(why)), expected, "{why}");
    }
    assert_eq!(again("OnFailure", "other", 0, Some("postStart hook failed")), NONE);
    // An init container that failed has another try, and one that succeeded none; but in another sandbox.
    let init = |code: i32, place: (u32, u32)| {
        broken(ruled("Always"), [began(1, "init", 0), ended(2, "init", 0, code), began_in(3, "init", 1, place)])
    };
    assert_eq!((init(1, (0, 0)), init(0, (0, 0)), init(0, (1, 0))), (vec![], vec!["restarts"], vec![]));
    // So has every other one, but for what succeeded for good.
    let anew = |policy: &str, name: &str, code: i32| {
        let lines = all_began().into_iter().chain([ended(3, name, 0, code)]);
        let again = [began_in(4, "init", 1, (1, 0)), ended(4, "init", 1, 0), began_in(5, name, 1, (1, 0))];
        broken(ruled(policy), lines.chain(again))
    };
    assert_eq!((anew("Always", "own", 1), anew("OnFailure", "other", 0)), (vec![], vec!["restarts"]));
    assert_eq!((anew("OnFailure", "other", 1), anew("Always", "app", 0)), (vec![], vec![]));
}

#[test]
fn an_end_of_a_pod_that_still_restarts_is_found() {
    let finished = |phase: &str| (9, Event::Finished { uid: "u".into(), phase: phase.into(), cause: None });
    let story = |code: i32, phase: &str| {
        let ends = [("app", code), ("own", 0), ("other", 0)].map(|(name, code)| ended(4, name, 0, code));
        broken(ruled("Never"), all_began().into_iter().chain(ends).chain([finished(phase)]))
    };
    // What `app` does after 0 is a rule's, after 1 its policy's.
    assert_eq!((story(0, "Succeeded"), story(1, "Failed")), (vec!["restarts"], vec!["restarts"]));
    let plain = |policy: &str, phase: &str, lines: &[Line]| {
        let spec = json!({"restartPolicy": policy, "containers": [{"name": "app"}]});
        broken(spec, [began(1, "app", 0)].into_iter().chain(lines.iter().cloned()).chain([finished(phase)]))
    };
    let end = |code| ended(4, "app", 0, code);
    let told = |why: &str| (3, Event::Told { of: of("app", 0), signal: Signal::Stop, why: why.into() });
    assert_eq!(plain("Never", "Failed", &[end(1)]), NONE);
    assert_eq!(plain("OnFailure", "Succeeded", &[end(0)]), NONE);
    assert_eq!(plain("OnFailure", "Failed", &[end(1)]), ["restarts"]);
    assert_eq!(plain("Always", "Succeeded", &[end(0)]), ["restarts"]);
    assert_eq!(plain("Never", "Failed", &[told("image changed"), end(1)]), ["restarts"]);
    assert_eq!(plain("Never", "Failed", &[told("liveness probe failed"), end(1)]), NONE);
    assert_eq!(plain("OnFailure", "Succeeded", &[told("liveness probe failed"), end(0)]), ["restarts"]);
    // One that never restarts has no second sandbox.
    let dead = (2, Event::SandboxEnded { uid: "u".into() });
    assert_eq!(plain("Never", "Failed", &[dead.clone(), told("the infra process died"), end(143)]), NONE);
    assert_eq!(plain("OnFailure", "Failed", &[dead, told("the infra process died"), end(143)]), ["restarts"]);
    let init = |policy: &str, code: i32| {
        let lines = [began(1, "init", 0), ended(2, "init", 0, code), finished("Failed")];
        broken(ruled(policy), lines)
    };
    assert_eq!((init("Never", 1), init("Always", 1), init("Never", 0)), (vec![], vec!["restarts"], vec!["restarts"]));
}

#[test]
fn a_restart_of_all_that_is_none_is_found() {
    let killed = |name: &str| {
        let why = "all containers are restarted";
        let told = (5, Event::Told { of: of(name, 0), signal: Signal::Kill, why: why.into() });
        [told, ended(5, name, 0, 137)]
    };
    let story = |code: i32, left: &[&str]| {
        let ends = ["own", "other"].into_iter().filter(|name| !left.contains(name)).flat_map(killed);
        let lines = all_began().into_iter().chain([ended(4, "app", 0, code), all_restarted(4, 1)]);
        broken(ruled("Always"), lines.chain(ends).chain([began_in(6, "init", 1, (0, 1))]))
    };
    assert_eq!(story(3, &[]), NONE);
    assert_eq!(story(1, &[]), ["together"], "nobody asks for it");
    assert_eq!(story(3, &["own"]), ["together"], "one of before runs");
    // Who was told to stop asks for nothing, and who ended in another sandbox.
    let told = (3, Event::Told { of: of("app", 0), signal: Signal::Stop, why: "image changed".into() });
    let lines = [told, ended(4, "app", 0, 3), all_restarted(4, 1)];
    assert_eq!(broken(ruled("Always"), all_began().into_iter().chain(lines)), ["together"]);
    let another = (4, Event::SandboxBegan { uid: "u".into(), attempt: 1 });
    let lines = [ended(4, "app", 0, 3), another, all_restarted(4, 1)];
    assert_eq!(broken(ruled("Always"), all_began().into_iter().chain(lines)), ["together"]);
    // Once for each time that one asks.
    let twice = [ended(4, "app", 0, 3), all_restarted(4, 1), all_restarted(4, 2)];
    assert_eq!(broken(ruled("Always"), all_began().into_iter().chain(twice)), ["together"]);
}

#[test]
fn a_restart_of_all_begins_as_the_pod_did() {
    let all = |lines: &[Line]| {
        let ends = ["own", "other"].map(|name| ended(3, name, 0, 0));
        let begin = all_began().into_iter().chain(ends);
        broken(ruled("Never"), begin.chain([ended(4, "app", 0, 3), all_restarted(4, 1)]).chain(lines.iter().cloned()))
    };
    assert_eq!(all(&all_began_at(5, (0, 1), 1)), NONE);
    assert_eq!(all(&[began_in(5, "app", 1, (0, 1))]), ["init order"]);
    // An init container that asks for it lets none begin, though it ended well.
    let rule = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [0]}}]);
    let init = json!([{"name": "init", "restartPolicy": "Never", "restartPolicyRules": rule}]);
    let spec = json!({"initContainers": init, "containers": [{"name": "app"}]});
    assert_eq!(broken(spec, [began(1, "init", 0), ended(2, "init", 0, 0), began(3, "app", 0)]), ["init order"]);
    // What had ended well before counts no more.
    let finished = (9, Event::Finished { uid: "u".into(), phase: "Succeeded".into(), cause: None });
    let init = [began_in(5, "init", 1, (0, 1)), ended(5, "init", 1, 0)];
    let app = [began_in(5, "app", 1, (0, 1)), ended(6, "app", 1, 0)];
    assert_eq!(all(&[&init[..], &app, &[finished]].concat()), ["restarts", "phases"]);
}

#[test]
fn none_has_time_when_all_are_restarted() {
    let story = |restarted: Moment, killed: Moment, ends: Moment| {
        let rule = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [3]}}]);
        let asking = json!({"name": "asking", "restartPolicy": "Never", "restartPolicyRules": rule});
        let spec = json!({"terminationGracePeriodSeconds": 5, "containers": [{"name": "app"}, asking]});
        let begin = [began(0, "app", 0), began(0, "asking", 0), ended(1_000, "asking", 0, 3)];
        let stop = [told(1_000, "app", Signal::Stop), all_restarted(restarted, 1), told(killed, "app", Signal::Kill)];
        broken(spec, begin.into_iter().chain(stop).chain([ended(ends, "app", 0, 137)]))
    };
    assert_eq!((story(3_000, 3_000, 3_000), story(3_001, 3_000, 3_001)), (vec![], vec!["patience"]));
    let killed = |ends: Moment| {
        let why = "all containers are restarted";
        let told = (1_000, Event::Told { of: of("app", 0), signal: Signal::Kill, why: why.into() });
        broken(app(), [began(0, "app", 0), told, ended(ends, "app", 0, 137)])
    };
    assert_eq!((killed(2_000), killed(2_001)), (vec![], vec!["grace"]));
}

#[test]
fn the_back_off_of_who_has_all_restarted_counts_on() {
    let rule = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [3]}}]);
    let spec = json!({"containers": [
        {"name": "app", "restartPolicy": "Never", "restartPolicyRules": rule}, {"name": "other"},
    ]});
    let both = |at: Moment, n: u32| [began_in(at, "app", n, (0, n)), began_in(at, "other", n, (0, n))];
    let ends = |at: Moment, n: u32| [ended(at, "app", n, 3), ended(at, "other", n, 1)];
    let story = |second: Moment, third: Moment| {
        let first = [both(0, 0), ends(1_000, 0)].concat();
        let next = [vec![all_restarted(1_000, 1)], [both(1_000, 1), ends(2_000, 1)].concat()].concat();
        let last = [vec![all_restarted(second, 2)], [both(second, 2), ends(second, 2)].concat()].concat();
        let lines = [first, next, last, vec![all_restarted(third, 3)], both(third, 3).to_vec()].concat();
        broken(spec.clone(), lines)
    };
    assert_eq!(story(12_000, 32_000), NONE);
    assert_eq!(story(11_999, 32_000), ["back-off"]);
    assert_eq!(story(12_000, 31_999), ["back-off"]);
}

#[test]
fn a_back_off_after_a_kill_that_is_cut_short_is_found() {
    let told =
        |at, attempt, why: &str| (at, Event::Told { of: of("app", attempt), signal: Signal::Stop, why: why.into() });
    let killed = |at, attempt| [told(at, attempt, "liveness probe failed"), ended(at, "app", attempt, 143)];
    // Two have nothing to wait for; the third one lived for this long, and the fourth began then.
    let story = |first: &str, lived: Moment, began_at: Moment| {
        let first = [began(0, "app", 0), told(1_000, 0, first), ended(1_000, "app", 0, 143), began(1_000, "app", 1)];
        let all = first.into_iter().chain(killed(2_000, 1)).chain([began(2_000, "app", 2)]);
        broken(app(), all.chain(killed(2_000 + lived, 2)).chain([began(began_at, "app", 3)]))
    };
    let probe = "liveness probe failed";
    assert_eq!((story(probe, 10_000, 12_000), story(probe, 9_999, 11_999)), (vec![], vec!["back-off"]));
    assert_eq!((story(probe, 9_999, 21_999), story(probe, 9_999, 21_998)), (vec![], vec!["back-off"]));
    // A hook that fails counts.
    assert_eq!(story("postStart hook failed", 30_000, 40_000), ["back-off"]);
    let by_itself = |lived: Moment| {
        let first = [began(0, "app", 0), ended(1_000, "app", 0, 1), began(1_000, "app", 1)];
        broken(app(), first.into_iter().chain(killed(1_000 + lived, 1)).chain([began(1_000 + lived, "app", 2)]))
    };
    assert_eq!((by_itself(10_000), by_itself(9_999)), (vec![], vec!["back-off"]));
    // One that was begun at once has ten minutes from then on.
    let long = |lived: Moment| {
        let first = [began(0, "app", 0), ended(1_000, "app", 0, 1), began(1_000, "app", 1)];
        let all = first.into_iter().chain(killed(11_000, 1)).chain([began(11_000, "app", 2)]);
        broken(app(), all.chain([ended(11_000 + lived, "app", 2, 1), began(11_000 + lived, "app", 3)]))
    };
    assert_eq!((long(600_001), long(600_000)), (vec![], vec!["back-off"]));
}

#[test]
fn a_back_off_after_sigkill_that_is_cut_short_is_found() {
    // What is told to stop for this ends five seconds later, when it is killed.
    let killed = |at: Moment, attempt: u32, why: &str| {
        let told = |at, signal, why: &str| (at, Event::Told { of: of("app", attempt), signal, why: why.into() });
        let kill = told(at + 5_000, Signal::Kill, "grace period exceeded");
        [told(at, Signal::Stop, why), kill, ended(at + 5_000, "app", attempt, 137)]
    };
    let second = |why: &str, third: Moment| {
        let first = [began(0, "app", 0), ended(1_000, "app", 0, 1), began(1_000, "app", 1)];
        broken(app(), first.into_iter().chain(killed(2_000, 1, why)).chain([began(third, "app", 2)]))
    };
    for why in ["liveness probe failed", "the infra process died", "postStart hook failed"] {
        assert_eq!((second(why, 17_000), second(why, 16_999)), (vec![], vec!["back-off"]), "{why}");
    }
    assert_eq!(second("image changed", 7_000), NONE);
    // The first one counts when its hook failed, and not when its probe did.
    let first = |why: &str, third: Moment| {
        let first = [began(0, "app", 0)].into_iter().chain(killed(1_000, 0, why));
        let next = [began(6_000, "app", 1), ended(7_000, "app", 1, 1), began(third, "app", 2)];
        broken(app(), first.chain(next))
    };
    let (hook, probe) = ("postStart hook failed", "liveness probe failed");
    assert_eq!((first(hook, 17_000), first(hook, 16_999), first(probe, 7_000)), (vec![], vec!["back-off"], vec![]));
}

#[test]
fn a_back_off_after_a_dead_sandbox_that_is_cut_short_is_found() {
    let began = |at: Moment, name: &str, attempt: u32| vec![began_in(at, name, attempt, (attempt, 0))];
    let died = |at: Moment, name: &str, attempt: u32| {
        let told = Event::Told { of: of(name, attempt), signal: Signal::Stop, why: "the infra process died".into() };
        let another = Event::SandboxBegan { uid: "u".into(), attempt: attempt + 1 };
        vec![(at, told), ended(at, name, attempt, 143), (at, another)]
    };
    // What a sandbox begins with, killed with the first one: nothing is counted.
    let twice = |spec: Value, name: &str| {
        let first = [began(0, name, 0), died(1_000, name, 0), began(1_000, name, 1)].concat();
        broken(spec, [first, died(2_000, name, 1), began(2_000, name, 2)].concat())
    };
    let spec = json!({"initContainers": [{"name": "init"}], "containers": [{"name": "app"}]});
    assert_eq!((twice(app(), "app"), twice(spec.clone(), "init")), (vec![], vec![]));
    // After an init container the first end of the app is, and it waits from the second one.
    let setup = |at: Moment, n: u32| vec![began_in(at, "init", n, (n, 0)), ended(at, "init", n, 0)];
    let story = |second: Moment, third: Moment| {
        let first = [setup(0, 0), began(0, "app", 0), died(1_000, "app", 0)].concat();
        let next = [setup(1_000, 1), began(1_000, "app", 1), died(second, "app", 1)].concat();
        broken(spec.clone(), [first, next, setup(11_000, 2), began(third, "app", 2)].concat())
    };
    assert_eq!((story(2_000, 12_000), story(2_000, 11_999)), (vec![], vec!["back-off"]));
    assert_eq!(story(10_999, 11_000), ["back-off"], "however long it lived");
    // A later init container begins at once in a new sandbox, whatever it did in the one before; then all of it counts on.
    let spec = json!({"initContainers": [{"name": "init"}, {"name": "setup"}], "containers": [{"name": "app"}]});
    let setup = |at: Moment, attempt: u32, sandbox: u32| vec![began_in(at, "setup", attempt, (sandbox, 0))];
    let fails = |at: Moment, attempt: u32| vec![ended(at, "setup", attempt, 1)];
    let with = |second: Moment, third: Vec<Line>| {
        let first = [began(0, "init", 0), vec![ended(0, "init", 0, 0)], setup(0, 0, 0), fails(1_000, 0)].concat();
        let next = [setup(1_000, 1, 0), died(2_000, "setup", 0), fails(2_000, 1)].concat();
        let again = [began(2_000, "init", 1), vec![ended(2_000, "init", 1, 0)], setup(second, 2, 1)].concat();
        broken(spec.clone(), [first, next, again, third].concat())
    };
    let story = |second: Moment, third: Moment| with(second, [fails(3_000, 2), setup(third, 3, 1)].concat());
    assert_eq!((story(2_000, 13_000), story(2_000, 12_999)), (vec![], vec!["back-off"]));
    // Killed for its probe it finds nothing that ended before it: it begins at once, and is not counted.
    let killed = |fourth: Moment| {
        let why = "liveness probe failed".to_owned();
        let told = (3_000, Event::Told { of: of("setup", 2), signal: Signal::Stop, why });
        let third = [vec![told], fails(3_000, 2), setup(3_000, 3, 1), fails(3_500, 3), setup(fourth, 4, 1)];
        with(2_000, third.concat())
    };
    assert_eq!((killed(13_500), killed(13_499)), (vec![], vec!["back-off"]));
}

#[test]
fn phases_that_go_back_are_found() {
    assert_eq!(broken(app(), [shown(1, "Pending", &[]), shown(2, "Running", &[]), shown(3, "Failed", &[])]), NONE);
    for to in ["Pending", "Running", "Succeeded"] {
        assert_eq!(broken(app(), [shown(1, "Failed", &[]), shown(2, to, &[])]), ["phases"], "to {to}");
    }
    let finished = |phase: &str| (5, Event::Finished { uid: "u".into(), phase: phase.into(), cause: None });
    let run = |code: i32, after: &[Line]| {
        let spec = json!({"restartPolicy": "Never", "containers": [{"name": "app"}]});
        broken(spec, [began(1, "app", 0), ended(2, "app", 0, code)].into_iter().chain(after.iter().cloned()))
    };
    assert_eq!(run(0, &[finished("Succeeded")]), NONE);
    assert_eq!(run(1, &[finished("Succeeded")]), ["phases"]);
    assert_eq!(run(1, &[finished("Failed"), finished("Succeeded")]), ["phases"]);
    let late = Event::Finished { uid: "u".into(), phase: "Failed".into(), cause: Some("DeadlineExceeded".into()) };
    assert_eq!(broken(app(), [(5, late), began(6, "app", 0)]), ["phases"]);
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
    let lost = |at| (at, Event::Lost { of: of("app", 0) });
    assert_eq!(broken(app(), [began(0, "app", 0), lost(1), shown.clone()]), NONE);
    // Before its monitor died it ran.
    assert_eq!(broken(app(), [began(0, "app", 0), shown.clone(), lost(2)]), ["ends"]);
    // What was seen stays so, though what is on record then would do, too.
    let before = shown;
    let recorded = |reason: &str| {
        let end = ShownEnd { container: "app".into(), attempt: 0, code: 137, reason: reason.into() };
        let shown = Event::Shown { uid: "u".into(), phase: "Running".into(), ready: Vec::new(), ended: vec![end] };
        broken(app(), [began(0, "app", 0), lost(1), before.clone(), ended(3, "app", 0, 137), (4, shown)])
    };
    assert_eq!((recorded("ContainerStatusUnknown"), recorded("Error")), (vec![], vec!["ends"]));
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
