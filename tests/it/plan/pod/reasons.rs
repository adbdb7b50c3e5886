//! Each action with each reason that it can have: what the tables beside this one do not come by.

use podwright::model::HookKind::PostStart;
use podwright::model::HookState::{Failed, Succeeded};
use podwright::model::ProbeKind::Liveness;
use podwright::model::{AllRestarted, Deletion, PodMemory, Reason, Sandbox};
use serde_json::{Value, json};

use super::super::world::{World, at};
use super::{Row, Table, admit, pod, settled};

fn map(value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": value}})
}

/// Everything that a container can be stopped for: `a` has a hook for it and one for its start, `b` has neither. So it is with
/// the sidecars.
fn with(policy: &str) -> World {
    let exec = json!({"exec": {"command": ["true"]}});
    let hooks = json!({"postStart": exec, "preStop": exec});
    let container = |name: &str, hooks: &Value| {
        json!({
            "name": name, "image": "i:1", "livenessProbe": exec, "lifecycle": hooks,
            "resources": {"limits": {"cpu": "1", "memory": "64Mi"}},
            "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}],
            "env": [{"name": "K", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}],
        })
    };
    let sidecar = |name: &str, hooks: &Value| json!({"name": name, "image": "s:1", "restartPolicy": "Always", "lifecycle": hooks});
    let mut object = pod(json!({
        "restartPolicy": policy, "terminationGracePeriodSeconds": 30,
        "initContainers": [sidecar("side", &hooks), sidecar("other", &json!({}))],
        "containers": [container("a", &hooks), container("b", &json!({}))],
        "volumes": [{"name": "v", "configMap": {"name": "m"}}],
    }));
    object["metadata"]["annotations"] = json!({"podwright.dev/restart-on-data-change": "true"});
    let (target, data) = admit(&[object, map("1")]);
    let mut world = World::new(&target, &data);
    world.settle();
    world.now = at(100);
    world.log.clear();
    world
}

fn base() -> World {
    with("Always")
}

fn never() -> World {
    with("Never")
}

/// The record has what is wanted: the containers have yet to be made so.
fn recorded(w: &mut World) {
    w.pod.as_mut().unwrap().record.realised = w.target.clone().unwrap();
}

fn images(w: &mut World) {
    w.edit(|v| [0, 1].map(|at| v["spec"]["containers"][at]["image"] = json!("i:2")).into_iter().collect());
    recorded(w);
}

fn memory(w: &mut World) {
    let more = json!({"cpu": "1", "memory": "128Mi"});
    w.edit(|v| {
        [0, 1].map(|at| v["spec"]["containers"][at]["resources"]["limits"] = more.clone()).into_iter().collect()
    });
    recorded(w);
}

/// Other data, which record and files have.
fn data(w: &mut World) {
    w.data = (*admit(&[pod(json!({"containers": [{"name": "a", "image": "i"}]})), map("2")]).1).clone();
    let steps = w.plan().steps;
    w.perform_steps(&steps[..2]);
}

fn probes(w: &mut World) {
    for name in ["a", "b"] {
        w.says(name, Liveness, false, 99);
    }
}

fn hooks(w: &mut World) {
    for name in ["a", "b"] {
        w.hook(name, PostStart, Failed);
    }
}

fn sandbox(w: &mut World) {
    w.sandbox(Sandbox::Dead { attempt: 0 });
}

fn apps_end(w: &mut World) {
    for name in ["a", "b"] {
        w.ended(name, 0, 100);
    }
}

/// `a` was told to stop for this, and has ended.
fn ended_for(w: &mut World, reason: &str) {
    w.stopping("a", 98, 30);
    w.latest("a").record.stopping.as_mut().unwrap().reason = reason.to_owned();
    w.ended("a", 143, 99);
}

/// It went since second 90, for this.
fn going(w: &mut World, reason: &str) {
    let deletion = Deletion { requested_at: at(100), grace_seconds: 30, reason: reason.to_owned() };
    w.pod.as_mut().unwrap().record.deletion = Some(deletion);
}

/// Nothing runs, so that nothing but the mark and the removal is planned.
fn empty(w: &mut World) {
    let pod = w.pod.as_mut().unwrap();
    pod.containers.clear();
    pod.sandbox = Sandbox::Absent;
}

fn gone_for(w: &mut World, reason: Reason) {
    empty(w);
    (w.target, w.reason) = (None, Some(reason));
}

fn made_for(w: &mut World, reason: Reason) {
    w.nothing();
    w.reason = Some(reason);
}

#[rustfmt::skip]
const STOPS: &[Row] = &[
    ("another image", images, &[
        "begin to stop a#0 30s: image changed from i:1 to i:2",
        "preStop a#0 within 30s: image changed from i:1 to i:2",
        "stop b#0 30s: image changed from i:1 to i:2",
        "ask a#0 liveness",
        "ask b#0 liveness",
    ]),
    ("more memory", memory, &[
        "begin to stop a#0 30s: resources changed: limits.memory from 64Mi to 128Mi, requests.memory from 64Mi to 128Mi",
        "preStop a#0 within 30s: resources changed: limits.memory from 64Mi to 128Mi, requests.memory from 64Mi to 128Mi",
        "stop b#0 30s: resources changed: limits.memory from 64Mi to 128Mi, requests.memory from 64Mi to 128Mi",
        "ask a#0 liveness",
        "ask b#0 liveness",
    ]),
    ("other data", data, &[
        "begin to stop a#0 30s: data of a ConfigMap or Secret changed",
        "preStop a#0 within 30s: data of a ConfigMap or Secret changed",
        "stop b#0 30s: data of a ConfigMap or Secret changed",
        "ask a#0 liveness",
        "ask b#0 liveness",
    ]),
    ("a probe failed", probes, &[
        "begin to stop a#0 30s: liveness probe failed",
        "preStop a#0 within 30s: liveness probe failed",
        "stop b#0 30s: liveness probe failed",
    ]),
    ("a postStart failed", hooks, &[
        "begin to stop a#0 30s: postStart hook failed",
        "preStop a#0 within 30s: postStart hook failed",
        "stop b#0 30s: postStart hook failed",
        "a waits: PostStartHookError",
        "b waits: PostStartHookError",
        "ask a#0 liveness",
        "ask b#0 liveness",
    ]),
    ("the infra process died", sandbox, &[
        "begin to stop a#0 30s: the infra process died",
        "preStop a#0 within 30s: the infra process died",
        "stop b#0 30s: the infra process died",
        "begin to stop side#0 30s: the infra process died",
        "preStop side#0 within 30s: the infra process died",
    ]),
    ("the pod is removed", |w| w.target = None, &[
        "mark deleted 30s: removed from the manifests",
        "begin to stop a#0 30s: removed from the manifests",
        "preStop a#0 within 30s: removed from the manifests",
        "stop b#0 30s: removed from the manifests",
        "begin to stop side#0 30s: removed from the manifests",
        "preStop side#0 within 30s: removed from the manifests",
        "wake 130",
    ]),
    ("the hook is done, and the change was taken back", |w| { w.pre_stopped("a", 95, 30, Succeeded); }, &[
        "stop a#0 25s: stopped for a change that was taken back",
        "ask b#0 liveness",
    ]),
    ("the agent ended while the hook ran", |w| { w.pre_stop("a", 95, 30); w.memory = PodMemory::default(); }, &[
        "volumes v: volume data changed",
        "preStop a#0 within 25s: its stop was interrupted",
        "ask b#0 liveness",
    ]),
];

#[rustfmt::skip]
const ENDS: &[Row] = &[
    ("the sidecars of a pod that ended", apps_end, &[
        "stop other#0 30s: all containers ended",
        "begin to stop side#0 30s: all containers ended",
        "preStop side#0 within 30s: all containers ended",
    ]),
];

#[rustfmt::skip]
const STARTS: &[Row] = &[
    ("for the first time", |w| w.forget("a"), &[
        "image i:1: first start",
        "start a#0: first start",
        "postStart a#0: first start",
        "a waits: PodInitializing",
        "ask b#0 liveness",
    ]),
    ("after a crash", |w| w.ended("a", 1, 99), &[
        "image i:1: exited with 1, restartPolicy Always",
        "start a#1: exited with 1, restartPolicy Always",
        "postStart a#1: exited with 1, restartPolicy Always",
        "ask b#0 liveness",
    ]),
    ("for another image", |w| { images(w); ended_for(w, "image changed from i:1 to i:2"); }, &[
        "stop b#0 30s: image changed from i:1 to i:2",
        "image i:2: image changed from i:1 to i:2",
        "start a#1: image changed from i:1 to i:2",
        "postStart a#1: image changed from i:1 to i:2",
        "ask b#0 liveness",
    ]),
    ("for more memory", |w| { memory(w); ended_for(w, "resources changed"); }, &[
        "stop b#0 30s: resources changed: limits.memory from 64Mi to 128Mi, requests.memory from 64Mi to 128Mi",
        "image i:1: resources changed: limits.memory from 64Mi to 128Mi, requests.memory from 64Mi to 128Mi",
        "start a#1: resources changed: limits.memory from 64Mi to 128Mi, requests.memory from 64Mi to 128Mi",
        "postStart a#1: resources changed: limits.memory from 64Mi to 128Mi, requests.memory from 64Mi to 128Mi",
        "ask b#0 liveness",
    ]),
    ("for other data", |w| { data(w); ended_for(w, "data of a ConfigMap or Secret changed"); }, &[
        "stop b#0 30s: data of a ConfigMap or Secret changed",
        "image i:1: data of a ConfigMap or Secret changed",
        "start a#1: data of a ConfigMap or Secret changed",
        "postStart a#1: data of a ConfigMap or Secret changed",
        "ask b#0 liveness",
    ]),
    ("for all of its pod", |w| {
        w.pod.as_mut().unwrap().record.all_restarted = Some(AllRestarted { count: 1, at: at(99) });
        for name in ["a", "b", "side", "other"] { w.ended(name, 137, 99); }
    }, &[
        "image s:1: all containers are restarted",
        "start side#1: all containers are restarted",
        "postStart side#1: all containers are restarted",
        "a waits: PodInitializing",
        "b waits: PodInitializing",
        "other waits: PodInitializing",
    ]),
    ("for a change that was taken back", |w| ended_for(w, "image changed from i:1 to i:2"), &[
        "image i:1: stopped for a change that was taken back",
        "start a#1: stopped for a change that was taken back",
        "postStart a#1: stopped for a change that was taken back",
        "ask b#0 liveness",
    ]),
];

#[rustfmt::skip]
const PODS: &[Row] = &[
    ("new", |w| made_for(w, Reason::PodAdded), &[
        "create: new in the manifests",
        "volumes v: no sandbox yet",
        "sandbox#0: no sandbox yet",
        "a waits: PodInitializing",
        "b waits: PodInitializing",
        "other waits: PodInitializing",
        "side waits: PodInitializing",
    ]),
    ("recreated", |w| made_for(w, Reason::Recreated(vec![])), &[
        "create: recreated:  changed",
        "volumes v: no sandbox yet",
        "sandbox#0: no sandbox yet",
        "a waits: PodInitializing",
        "b waits: PodInitializing",
        "other waits: PodInitializing",
        "side waits: PodInitializing",
    ]),
    ("gone while it was changed", |w| made_for(w, Reason::UpdatedInPlace(vec![])), &[
        "create: changed in place: ",
        "volumes v: no sandbox yet",
        "sandbox#0: no sandbox yet",
        "a waits: PodInitializing",
        "b waits: PodInitializing",
        "other waits: PodInitializing",
        "side waits: PodInitializing",
    ]),
    ("placed here", |w| made_for(w, Reason::Placed(vec![])), &[
        "create: placed on this machine: ",
        "volumes v: no sandbox yet",
        "sandbox#0: no sandbox yet",
        "a waits: PodInitializing",
        "b waits: PodInitializing",
        "other waits: PodInitializing",
        "side waits: PodInitializing",
    ]),
    ("gone although nothing was changed", |w| made_for(w, Reason::Unchanged), &[
        "create: unchanged",
        "volumes v: no sandbox yet",
        "sandbox#0: no sandbox yet",
        "a waits: PodInitializing",
        "b waits: PodInitializing",
        "other waits: PodInitializing",
        "side waits: PodInitializing",
    ]),
    ("removed", |w| gone_for(w, Reason::PodRemoved), &[
        "mark deleted 30s: removed from the manifests",
        "remove: removed from the manifests",
    ]),
    ("deleted on request", |w| gone_for(w, Reason::DeletionRequested), &[
        "mark deleted 30s: deletion requested",
        "remove: deletion requested",
    ]),
    ("another machine's", |w| gone_for(w, Reason::NotForThisMachine(vec![])), &[
        "mark deleted 30s: not for this machine:  changed",
        "remove: not for this machine:  changed",
    ]),
    ("going for an agent before, which allowed more time", |w| {
        going(w, "why");
        gone_for(w, Reason::Terminating("why".into()));
        w.memory.grace_limit = Some(5);
    }, &[
        "mark deleted 5s: why",
        "remove: why",
    ]),
    ("another command", |w| { empty(w); w.edit(|v| v["spec"]["containers"][0]["command"] = json!(["x"])); }, &[
        "mark deleted 30s: recreated: spec.containers[0].command changed",
        "remove: recreated: spec.containers[0].command changed",
    ]),
    ("its sandbox died with all that was in it", |w| { sandbox(w); for name in ["a", "b", "side", "other"] { w.ended(name, 137, 99); } }, &[
        "stop sandbox: the infra process died",
        "volumes v: the infra process died",
        "sandbox#1: the infra process died",
    ]),
    ("its files are not known to be of now", |w| w.memory = PodMemory::default(), &[
        "volumes v: volume data changed",
        "ask a#0 liveness",
        "ask b#0 liveness",
    ]),
];

/// One that has a token of ten minutes.
fn with_token() -> World {
    let own = json!({"name": "own", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 600}}]}});
    settled(json!({"containers": [{"name": "a", "image": "i:1"}], "volumes": [own]}), &[])
}

#[rustfmt::skip]
const TOKENS: &[Row] = &[
    ("a token has had most of its life", |w| w.now = at(481), &["volumes own: a token is due to be renewed"]),
    ("the clock was set back behind it", |w| w.now = at(-1), &["volumes own: a token is due to be renewed"]),
    ("an agent knows of none", |w| w.memory = PodMemory::default(), &["volumes own: a token is due to be renewed"]),
    ("one could not be signed just now", |w| { w.now = at(481); w.fail("", "FailedMount", 480); w.fail(podwright::plan::TOKENS, "FailedMount", 480); }, &[
        "hold pod FailedMount until 490: why", "wake 490",
    ]),
    ("a failure of something else keeps no token from being made", |w| { w.now = at(481); w.fail("", "FailedMount", 480); }, &[
        "volumes own: a token is due to be renewed",
    ]),
];

pub(super) const TABLES: &[Table] = &[(base, STOPS), (never, ENDS), (base, STARTS), (base, PODS), (with_token, TOKENS)];

#[test]
fn what_the_other_tables_do_not_come_by() {
    let mut all = String::new();
    for (base, rows) in TABLES {
        all += &super::wrong(*base, rows);
    }
    assert!(all.is_empty(), "{all}");
}
