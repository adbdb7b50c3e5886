//! How pods end: restart policies, terminal phases, deletion, recreation.

use podwright::model::{ContainerState, Eviction, Sandbox, TerminalCause};
use serde_json::json;

use super::super::world::{World, at};
use super::{Row, Table, check, settled};

fn with_policy(policy: &str) -> World {
    settled(
        json!({
            "restartPolicy": policy, "terminationGracePeriodSeconds": 10,
            "containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}],
        }),
        &[],
    )
}

fn never() -> World {
    with_policy("Never")
}

fn on_failure() -> World {
    with_policy("OnFailure")
}

fn ended(w: &mut World, a: i32, b: i32) {
    w.ended("a", a, 99);
    w.ended("b", b, 99);
}

/// Ended for good and put to rest.
fn done(w: &mut World) {
    ended(w, 0, 0);
    w.settle();
}

/// The deadline is on record.
fn deadline(w: &mut World, seconds: i64) {
    w.edit(|v| v["spec"]["activeDeadlineSeconds"] = json!(seconds));
    w.pod.as_mut().unwrap().record.realised = w.target.clone().unwrap();
}

/// The grace period is on record.
fn grace(w: &mut World, seconds: i64) {
    w.edit(|v| v["spec"]["terminationGracePeriodSeconds"] = json!(seconds));
    w.pod.as_mut().unwrap().record.realised = w.target.clone().unwrap();
}

/// Told to go at second 100; both ignore it.
fn going(w: &mut World) {
    w.stubborn.extend(["a".into(), "b".into()]);
    w.target = None;
    w.settle();
}

/// It keeps too much on the disk.
fn evicted(w: &mut World) {
    w.memory.evicted = Some(Eviction { cause: too_much(), since: at(100) });
}

fn too_much() -> TerminalCause {
    TerminalCause::new("Evicted", "too much. ")
}

/// Another agent has begun with it.
fn recorded(w: &mut World) {
    w.pod.as_mut().unwrap().record.terminal_cause = Some(too_much());
}

/// `a` was reaped, `b` succeeded.
fn unknown(w: &mut World, started_at: Option<jiff::Timestamp>) {
    ended(w, 137, 0);
    let ContainerState::Exited(exit) = &mut w.latest("a").state else { panic!() };
    exit.reason = Some("ContainerStatusUnknown".into());
    exit.started_at = started_at;
}

#[rustfmt::skip]
const NEVER: &[Row] = &[
    ("one failed, the other runs", |w| w.ended("a", 1, 99), &[]),
    ("both succeeded", |w| ended(w, 0, 0), &["finish Succeeded: all containers ended", "stop sandbox: all containers ended"]),
    ("one failed", |w| ended(w, 0, 1), &["finish Failed: all containers ended", "stop sandbox: all containers ended"]),
    ("the phase is written, the sandbox not stopped", |w| {
        ended(w, 0, 0);
        w.pod.as_mut().unwrap().record.terminal = Some("Succeeded".into());
    }, &["stop sandbox: all containers ended"]),
    ("at rest", done, &[]),
    ("at rest, a label changes", |w| { done(w); w.edit(|v| v["metadata"]["labels"]["app"] = json!("y")); }, &[
        "update to 2: changed in place: metadata.labels[app]",
    ]),
    ("at rest, an image changes", |w| { done(w); w.edit(|v| v["spec"]["containers"][0]["image"] = json!("a:2")); }, &[
        "mark deleted 10s: recreated: spec.containers[0].image changed", "remove: recreated: spec.containers[0].image changed",
    ]),
    ("at rest, a command changes", |w| { done(w); w.edit(|v| v["spec"]["containers"][0]["command"] = json!(["x"])); }, &[
        "mark deleted 10s: recreated: spec.containers[0].command changed", "remove: recreated: spec.containers[0].command changed",
    ]),
    ("at rest, removed", |w| { done(w); w.target = None; }, &[
        "mark deleted 10s: removed from the manifests", "remove: removed from the manifests",
    ]),
    ("stopped for its image, it starts whatever the policy", |w| {
        w.edit(|v| v["spec"]["containers"][0]["image"] = json!("a:2"));
        w.stopping("a", 99, 10);
        w.ended("a", 0, 99);
    }, &[
        "update to 2: changed in place: spec.containers[0].image",
        "image a:2: image changed from a:1 to a:2", "start a#1: image changed from a:1 to a:2",
    ]),
    ("both are stopped for their images, one has ended and the other is late", |w| {
        for index in 0..2 {
            w.edit(|v| v["spec"]["containers"][index]["image"] = json!("new:2"));
        }
        w.stopping("a", 90, 10);
        w.ended("a", 0, 91);
        w.stopping("b", 90, 10);
    }, &[
        "update to 2: changed in place: spec.containers[0].image, spec.containers[1].image", "kill b#0: grace period exceeded",
        "image new:2: image changed from a:1 to new:2", "start a#1: image changed from a:1 to new:2",
    ]),
    ("ended by itself, a new image does not bring it back", |w| {
        w.ended("a", 0, 99);
        w.edit(|v| v["spec"]["containers"][0]["image"] = json!("a:2"));
    }, &["update to 2: changed in place: spec.containers[0].image"]),
    ("the infra process died", |w| w.sandbox(Sandbox::Dead { attempt: 0 }), &[
        "stop a#0 10s: the infra process died", "stop b#0 10s: the infra process died",
    ]),
    ("the infra process died before the second started", |w| {
        w.forget("b");
        w.ended("a", 0, 99);
        w.sandbox(Sandbox::Dead { attempt: 0 });
    }, &["finish Failed: all containers ended", "stop sandbox: all containers ended", ]),
    ("the infra process died before anything ran", |w| {
        w.pod.as_mut().unwrap().containers.clear();
        w.sandbox(Sandbox::Dead { attempt: 0 });
    }, &[
        "stop sandbox: the infra process died", "sandbox#1: the infra process died",
        "a waits: ContainerCreating", "b waits: ContainerCreating",
    ]),
    ("the machine went down in the first start: nothing has run", |w| {
        w.state("a", ContainerState::Created);
        w.forget("b");
        w.sandbox(Sandbox::Dead { attempt: 0 });
    }, &["reap a#0: its start was interrupted", "b waits: ContainerCreating"]),
    ("a monitor died", |w| { w.state("a", ContainerState::Lost); w.ended("b", 0, 99); }, &["reap a#0: its monitor died"]),
    ("a start was cut short: it has not run yet", |w| unknown(w, None), &[
        "image a:1: exited with 137, restartPolicy Never", "start a#1: exited with 137, restartPolicy Never",
    ]),
    ("a monitor died: it has run", |w| unknown(w, Some(at(90))), &[
        "finish Failed: all containers ended", "stop sandbox: all containers ended",
    ]),
    ("a start that failed has had its chance", |w| {
        unknown(w, None);
        let ContainerState::Exited(exit) = &mut w.latest("a").state else { panic!() };
        exit.reason = Some("StartError".into());
    }, &["finish Failed: all containers ended", "stop sandbox: all containers ended"]),
    ("a deadline ahead", |w| {
        w.edit(|v| v["spec"]["activeDeadlineSeconds"] = json!(300));
        w.settle();
    }, &["wake 300"]),
    ("a deadline passed, what it stopped ended well", |w| { deadline(w, 50); ended(w, 0, 0); }, &[
        "finish Failed (DeadlineExceeded): all containers ended", "stop sandbox: all containers ended",
    ]),
    ("a deadline passed, what it stopped failed", |w| { deadline(w, 50); ended(w, 137, 143); }, &[
        "finish Failed (DeadlineExceeded): all containers ended", "stop sandbox: all containers ended",
    ]),
    ("a deadline passed after all had ended", |w| { deadline(w, 100); ended(w, 0, 0); w.now = at(500); }, &[
        "finish Succeeded: all containers ended", "stop sandbox: all containers ended",
    ]),
    ("a deadline passed before anything ran", |w| { deadline(w, 50); w.pod.as_mut().unwrap().containers.clear(); }, &[
        "finish Failed (DeadlineExceeded): all containers ended", "stop sandbox: all containers ended",
    ]),
    ("a deadline passed", |w| {
        w.edit(|v| v["spec"]["activeDeadlineSeconds"] = json!(50));
        w.stubborn.insert("a".into());
    }, &[
        "update to 2: changed in place: spec.activeDeadlineSeconds",
        "stop a#0 10s: Pod was active on the node longer than the specified deadline",
        "stop b#0 10s: Pod was active on the node longer than the specified deadline",
    ]),
];

#[test]
fn a_pod_that_never_restarts() {
    check(never, NEVER);
}

#[rustfmt::skip]
const ON_FAILURE: &[Row] = &[
    ("the machine went down when what replaces it had not run yet", |w| {
        w.stopping("a", 98, 10);
        ended(w, 0, 0);
        w.sandbox(Sandbox::Dead { attempt: 0 });
    }, &["stop sandbox: the infra process died", "sandbox#1: the infra process died"]),
    ("the same, in its new sandbox", |w| {
        w.stopping("a", 98, 10);
        ended(w, 0, 0);
        w.sandbox(Sandbox::Ready { attempt: 1, pid: 9, started_at: at(99), ips: vec![] });
    }, &["image a:1: first start", "start a#1: first start"]),
    ("a success stays", |w| w.ended("a", 0, 99), &[]),
    ("a failure restarts", |w| w.ended("a", 1, 99), &[
        "image a:1: exited with 1, restartPolicy OnFailure", "start a#1: exited with 1, restartPolicy OnFailure",
    ]),
    ("one succeeded, one failed", |w| ended(w, 0, 1), &[
        "image b:1: exited with 1, restartPolicy OnFailure", "start b#1: exited with 1, restartPolicy OnFailure",
    ]),
    ("both succeeded", |w| ended(w, 0, 0), &["finish Succeeded: all containers ended", "stop sandbox: all containers ended"]),
    ("a new sandbox leaves what succeeded alone", |w| {
        ended(w, 0, 137);
        w.sandbox(Sandbox::Ready { attempt: 1, pid: 9, started_at: at(99), ips: vec![] });
    }, &["image b:1: first start", "start b#1: first start"]),
    ("removed from the manifests", |w| w.target = None, &[
        "mark deleted 10s: removed from the manifests",
        "stop a#0 10s: removed from the manifests", "stop b#0 10s: removed from the manifests",
    ]),
    ("a field changes that needs a new pod", |w| w.edit(|v| v["spec"]["hostname"] = json!("h")), &[
        "mark deleted 10s: recreated: spec.hostname changed",
        "stop a#0 10s: recreated: spec.hostname changed", "stop b#0 10s: recreated: spec.hostname changed",
    ]),
    ("going, both were told", |w| { going(w); w.now = at(105); }, &[
        "hold a Terminating until 110: told to stop, waiting for its end",
        "hold b Terminating until 110: told to stop, waiting for its end", "wake 110",
    ]),
    ("going, one is gone", |w| { going(w); w.ended("a", 0, 101); }, &[
        "hold b Terminating until 110: told to stop, waiting for its end", "wake 110",
    ]),
    ("going, the grace period is over", |w| { going(w); w.now = at(110); }, &[
        "kill a#0: grace period exceeded", "kill b#0: grace period exceeded",
    ]),
    ("going, killed but not gone", |w| { going(w); w.now = at(111); w.killed("a", 110); w.ended("b", 137, 110); }, &[
        "hold a Terminating: killed, waiting for its end",
    ]),
    ("going, a monitor died", |w| { going(w); w.state("a", ContainerState::Lost); w.ended("b", 0, 101); }, &[
        "reap a#0: its monitor died",
    ]),
    ("going, all are gone", |w| { going(w); ended(w, 137, 137); }, &[
        "stop sandbox: removed from the manifests", "remove: removed from the manifests",
    ]),
    ("going, the sandbox is gone too", |w| { going(w); ended(w, 137, 137); w.sandbox(Sandbox::Absent); }, &[
        "remove: removed from the manifests",
    ]),
    ("going, and wanted again", |w| {
        let target = w.target.clone();
        going(w);
        w.target = target;
        ended(w, 137, 137);
    }, &["stop sandbox: removed from the manifests", "remove: removed from the manifests"]),
    ("going, someone asks for less time", |w| { going(w); w.memory.grace_limit = Some(3); }, &[
        "mark deleted 3s: removed from the manifests",
        "hold a Terminating until 103: told to stop, waiting for its end",
        "hold b Terminating until 103: told to stop, waiting for its end", "wake 103",
    ]),
    ("evicted", evicted, &["stop a#0 2s: too much. ", "stop b#0 2s: too much. "]),
    ("evicted, and they do not stop", |w| { evicted(w); w.stubborn.extend(["a".into(), "b".into()]); w.settle(); w.now = at(102); }, &[
        "kill a#0: grace period exceeded", "kill b#0: grace period exceeded",
    ]),
    ("evicted, and no stop could be noted", |w| { evicted(w); w.now = at(109); }, &["stop a#0 2s: too much. ", "stop b#0 2s: too much. "]),
    ("evicted, and none could be for long", |w| { evicted(w); w.now = at(110); }, &["kill a#0: too much. ", "kill b#0: too much. "]),
    ("evicted by another agent", recorded, &["stop a#0 2s: too much. ", "stop b#0 2s: too much. "]),
    ("evicted by another agent, and all ended", |w| { recorded(w); ended(w, 143, 137); }, &[
        "finish Failed (Evicted): all containers ended", "stop sandbox: all containers ended",
    ]),
    ("evicted, and all ended well", |w| { evicted(w); ended(w, 0, 0); }, &[
        "finish Failed (Evicted): all containers ended", "stop sandbox: all containers ended",
    ]),
    ("evicted for good", |w| { evicted(w); w.settle(); w.memory.evicted = None; }, &[]),
    ("evicted, and not wanted", |w| { evicted(w); w.target = None; w.memory.grace_limit = Some(0); }, &[
        "stop a#0 2s: too much. ", "stop b#0 2s: too much. ",
    ]),
    ("evicted, and not wanted once all ended", |w| { evicted(w); ended(w, 0, 0); w.target = None; }, &[
        "mark deleted 10s: removed from the manifests",
        "stop sandbox: removed from the manifests", "remove: removed from the manifests",
    ]),
    ("evicted, and changed in place: its record comes second", |w| { evicted(w); w.edit(|v| v["metadata"]["labels"]["app"] = json!("y")); }, &[
        "stop a#0 2s: too much. ", "stop b#0 2s: too much. ",
    ]),
    ("evicted, and another by now", |w| { evicted(w); w.edit(|v| v["spec"]["containers"][0]["command"] = json!(["x"])); }, &[
        "stop a#0 2s: too much. ", "stop b#0 2s: too much. ",
    ]),
    ("going, someone asks for more time", |w| { going(w); w.memory.grace_limit = Some(60); }, &[
        "hold a Terminating until 110: told to stop, waiting for its end",
        "hold b Terminating until 110: told to stop, waiting for its end", "wake 110",
    ]),
    ("no time at all", |w| { w.target = None; w.memory.grace_limit = Some(0); }, &[
        "mark deleted 1s: removed from the manifests",
        "stop a#0 2s: removed from the manifests", "stop b#0 2s: removed from the manifests",
    ]),
    ("no time by its manifest", |w| { grace(w, 0); w.target = None; }, &[
        "mark deleted 1s: removed from the manifests",
        "stop a#0 2s: removed from the manifests", "stop b#0 2s: removed from the manifests",
    ]),
    ("a negative time counts as a second", |w| { grace(w, -5); w.target = None; }, &[
        "mark deleted 1s: removed from the manifests",
        "stop a#0 2s: removed from the manifests", "stop b#0 2s: removed from the manifests",
    ]),
    ("going without any time, a second after the signal", |w| { grace(w, 0); going(w); w.now = at(101); }, &[
        "hold a Terminating until 102: told to stop, waiting for its end",
        "hold b Terminating until 102: told to stop, waiting for its end", "wake 102",
    ]),
    ("going without any time, two seconds after the signal", |w| { grace(w, 0); going(w); w.now = at(102); }, &[
        "kill a#0: grace period exceeded", "kill b#0: grace period exceeded",
    ]),
    ("going, the clock was set back by a second", |w| { going(w); w.now = at(99); }, &[
        "hold a Terminating until 110: told to stop, waiting for its end",
        "hold b Terminating until 110: told to stop, waiting for its end", "wake 110",
    ]),
    ("going, the clock was set back", |w| { going(w); w.now = at(-5000); }, &[
        "kill a#0: grace period exceeded", "kill b#0: grace period exceeded",
    ]),
    ("going, the sandbox could not be stopped", |w| { going(w); ended(w, 0, 0); w.fail("", "KillPodSandboxError", 100); }, &[
        "hold pod KillPodSandboxError until 110: why", "wake 110",
    ]),
    ("going, an old failure does not matter", |w| { w.fail("", "FailedCreatePodSandBox", 95); going(w); ended(w, 0, 0); }, &[
        "stop sandbox: removed from the manifests", "remove: removed from the manifests",
    ]),
    ("gone, and not wanted", |w| { w.nothing(); w.target = None; }, &[]),
];

#[test]
fn a_pod_that_restarts_on_failure_and_goes() {
    check(on_failure, ON_FAILURE);
}

#[test]
fn a_recreated_pod_has_another_uid_and_starts_anew() {
    let mut world = on_failure();
    let old = world.pod.as_ref().unwrap().record.clone();
    world.edit(|v| v["spec"]["hostname"] = json!("h"));
    world.settle();
    let new = &world.pod.as_ref().unwrap().record;
    assert_eq!(
        world.log,
        [
            "mark deleted 10s",
            "stop a#0 10s",
            "stop b#0 10s",
            "stop sandbox",
            "remove",
            "create",
            "sandbox#0",
            "image a:1",
            "start a#0",
            "image b:1",
            "start b#0",
        ]
    );
    assert_ne!(new.uid, old.uid);
    assert_eq!((new.generation, new.created_at, new.revision.as_str()), (1, at(100), "r1"));
    let parts: Vec<usize> = new.uid.0.split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12]);
}

pub(super) const TABLES: &[Table] = &[(never, NEVER), (on_failure, ON_FAILURE)];
