//! Hooks: when they begin, what waits for them, and what follows.

use jiff::SignedDuration;
use podwright::model::HookKind::{PostStart, PreStop};
use podwright::model::HookState::{Failed, Running, Succeeded};
use podwright::model::{HookKey, HookKind, HookState, PodMemory, Reason, Stopping};
use serde_json::{Value, json};

use super::super::world::{World, at};
use super::{Row, Table, check, settled};

/// A sidecar and two containers with hooks, and one without.
fn spec(policy: &str) -> Value {
    let exec = json!({"exec": {"command": ["true"]}});
    json!({
        "restartPolicy": policy, "terminationGracePeriodSeconds": 30,
        "initContainers": [
            {"name": "side", "image": "proxy:1", "restartPolicy": "Always",
                "lifecycle": {"postStart": exec, "preStop": {"sleep": {"seconds": 5}}}},
            {"name": "other", "image": "proxy:1", "restartPolicy": "Always"},
        ],
        "containers": [
            {"name": "a", "image": "nginx:1", "lifecycle": {"postStart": exec, "preStop": exec}},
            {"name": "b", "image": "redis:1", "lifecycle": {"preStop": {"httpGet": {"port": "gone"}}}},
            {"name": "c", "image": "redis:1"},
        ],
    })
}

fn base() -> World {
    settled(spec("Always"), &[])
}

fn never() -> World {
    settled(spec("Never"), &[])
}

impl World {
    pub(super) fn hook(&mut self, name: &str, kind: HookKind, state: HookState) {
        let attempt = self.latest(name).record.attempt;
        self.memory.hooks.insert(HookKey { container: name.to_owned(), attempt, kind }, state);
    }

    /// Its stop began at this second, and the hook is under way.
    pub(super) fn pre_stop(&mut self, name: &str, since: i64, grace_seconds: i64) {
        self.stopping(name, since, grace_seconds);
        self.latest(name).record.stopping.as_mut().unwrap().pre_stop = true;
        self.hook(name, HookKind::PreStop, HookState::Running);
    }

    pub(super) fn pre_stopped(&mut self, name: &str, since: i64, grace_seconds: i64, state: HookState) {
        self.pre_stop(name, since, grace_seconds);
        self.hook(name, HookKind::PreStop, state);
    }

    /// Told to stop since its postStart hook failed.
    fn stopping_for_hook(&mut self, name: &str, since: i64) {
        self.hook(name, HookKind::PostStart, Failed);
        let reason = Reason::PostStartFailed.to_string();
        self.latest(name).record.stopping = Some(Stopping::new(at(since), 30, reason));
    }
}

/// The pod is going since second 100, with the hooks of all under way.
fn going(w: &mut World) {
    w.target = None;
    w.pod.as_mut().unwrap().record.deletion = Some(podwright::model::Deletion {
        requested_at: at(100),
        grace_seconds: 30,
        reason: "removed from the manifests".into(),
    });
    for name in ["side", "a", "b"] {
        w.pre_stop(name, 100, 30);
    }
    w.stopping("c", 100, 30);
    w.now = at(104);
}

/// It has so many seconds.
fn grace(w: &mut World, seconds: i64) {
    w.pod.as_mut().unwrap().record.deletion.as_mut().unwrap().grace_seconds = seconds;
}

/// The manifest, which is on record, gives no time.
fn none(w: &mut World) {
    w.edit(|pod| pod["spec"]["terminationGracePeriodSeconds"] = json!(0));
    w.pod.as_mut().unwrap().record.realised = w.target.clone().unwrap();
}

fn apps_end(w: &mut World) {
    for name in ["a", "b", "c"] {
        w.ended(name, 0, 103);
    }
}

fn image(w: &mut World) {
    w.edit(|pod| pod["spec"]["containers"][0]["image"] = json!("nginx:2"));
    w.memory.hooks.clear();
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("all is well", |_| {}, &[]),
    ("the agent restarted: no postStart is run twice", |w| w.memory = PodMemory::default(), &[]),
    ("at first", World::nothing, &[
        "create: new in the manifests",
        "sandbox#0: no sandbox yet",
        "a waits: PodInitializing",
        "b waits: PodInitializing",
        "c waits: PodInitializing",
        "other waits: PodInitializing",
        "side waits: PodInitializing",
    ]),
    ("the sidecar's postStart runs: what follows waits", |w| { w.forget("other"); w.forget("a"); w.forget("b"); w.forget("c"); w.hook("side", PostStart, Running); }, &[
        "a waits: PodInitializing",
        "b waits: PodInitializing",
        "c waits: PodInitializing",
        "other waits: PodInitializing",
        "side waits: PodInitializing",
    ]),
    ("it is done: the next one starts", |w| { w.forget("other"); w.forget("a"); w.forget("b"); w.forget("c"); }, &[
        "image proxy:1: first start",
        "start other#0: first start",
        "a waits: PodInitializing",
        "b waits: PodInitializing",
        "c waits: PodInitializing",
        "other waits: PodInitializing",
    ]),
    ("a postStart begins: the others wait", |w| { w.forget("a"); w.forget("b"); w.forget("c"); }, &[
        "image nginx:1: first start",
        "start a#0: first start",
        "postStart a#0: first start",
        "a waits: PodInitializing",
        "b waits: PodInitializing",
        "c waits: PodInitializing",
    ]),
    ("a postStart runs: the others wait", |w| { w.forget("b"); w.forget("c"); w.hook("a", PostStart, Running); }, &[
        "a waits: PodInitializing",
        "b waits: PodInitializing",
        "c waits: PodInitializing",
    ]),
    ("a postStart runs beside others that run", |w| w.hook("a", PostStart, Running), &[
        "a waits: PodInitializing",
    ]),
    ("a postStart failed", |w| w.hook("a", PostStart, Failed), &[
        "begin to stop a#0 30s: postStart hook failed",
        "preStop a#0 within 30s: postStart hook failed",
        "a waits: PostStartHookError",
    ]),
    ("a postStart failed, told to stop", |w| w.stopping_for_hook("a", 95), &[
        "hold a Terminating until 125: told to stop, waiting for its end",
        "wake 125",
        "a waits: PostStartHookError",
    ]),
    ("a postStart failed, its end the first time", |w| { w.stopping_for_hook("a", 95); w.ended("a", 143, 99); }, &[
        "image nginx:1: exited with 143, restartPolicy Always",
        "start a#1: exited with 143, restartPolicy Always",
        "postStart a#1: exited with 143, restartPolicy Always",
        "a waits: PostStartHookError",
    ]),
    ("a postStart failed, its end the second time", |w| { w.attempt("a", 1, 0); w.stopping_for_hook("a", 95); w.ended("a", 0, 99); }, &[
        "hold a CrashLoopBackOff until 109: back-off 10s restarting failed container=a pod=p_default(UID)",
        "wake 109",
        "a waits: CrashLoopBackOff back-off 10s restarting failed container=a pod=p_default(UID)",
    ]),
    ("another image: preStop first", image, &[
        "update to 2: changed in place: spec.containers[0].image",
        "begin to stop a#0 30s: image changed from nginx:1 to nginx:2",
        "preStop a#0 within 30s: image changed from nginx:1 to nginx:2",
    ]),
    ("its preStop runs", |w| { image(w); w.pre_stop("a", 95, 30); }, &[
        "update to 2: changed in place: spec.containers[0].image",
        "hold a Terminating until 125: its preStop hook runs",
        "wake 125",
    ]),
    ("its preStop succeeded", |w| { image(w); w.pre_stopped("a", 80, 30, Succeeded); }, &[
        "update to 2: changed in place: spec.containers[0].image",
        "stop a#0 10s: image changed from nginx:1 to nginx:2",
    ]),
    ("a second that has begun is not over", |w| { image(w); w.pre_stopped("a", 80, 30, Succeeded); w.latest("a").record.stopping.as_mut().unwrap().since -= SignedDuration::from_millis(500); }, &[
        "update to 2: changed in place: spec.containers[0].image",
        "stop a#0 10s: image changed from nginx:1 to nginx:2",
    ]),
    ("its preStop failed", |w| { image(w); w.pre_stopped("a", 80, 30, Failed); }, &[
        "update to 2: changed in place: spec.containers[0].image",
        "stop a#0 10s: image changed from nginx:1 to nginx:2",
    ]),
    ("its preStop used up the time", |w| { image(w); w.pre_stop("a", 70, 30); }, &[
        "update to 2: changed in place: spec.containers[0].image",
        "stop a#0 2s: image changed from nginx:1 to nginx:2",
    ]),
    ("the agent restarted while its preStop ran", |w| { image(w); w.pre_stop("a", 90, 30); w.memory.hooks.clear(); }, &[
        "update to 2: changed in place: spec.containers[0].image",
        "preStop a#0 within 20s: its stop was interrupted",
    ]),
    ("the agent restarted when its time was over", |w| { image(w); w.pre_stop("a", 50, 30); w.memory.hooks.clear(); }, &[
        "update to 2: changed in place: spec.containers[0].image",
        "stop a#0 2s: image changed from nginx:1 to nginx:2",
    ]),
    ("a record of the hook that is none any more", |w| { w.stopping("c", 90, 30); w.latest("c").record.stopping.as_mut().unwrap().pre_stop = true; }, &[
        "stop c#0 20s: stopped for a change that was taken back",
    ]),
    ("it ended while its preStop ran", |w| { image(w); w.pre_stop("a", 95, 30); w.ended("a", 0, 99); }, &[
        "update to 2: changed in place: spec.containers[0].image",
        "image nginx:2: image changed from nginx:1 to nginx:2",
        "start a#1: image changed from nginx:1 to nginx:2",
        "postStart a#1: image changed from nginx:1 to nginx:2",
    ]),
    ("it ended by itself", |w| w.ended("a", 1, 99), &[
        "image nginx:1: exited with 1, restartPolicy Always",
        "start a#1: exited with 1, restartPolicy Always",
        "postStart a#1: exited with 1, restartPolicy Always",
    ]),
    ("a sidecar is stopped for another image", |w| w.edit(|pod| pod["spec"]["initContainers"][0]["image"] = json!("proxy:2")), &[
        "update to 2: changed in place: spec.initContainers[0].image",
        "begin to stop side#0 30s: image changed from proxy:1 to proxy:2",
        "preStop side#0 within 30s: image changed from proxy:1 to proxy:2",
    ]),
    ("the infra process died", |w| w.sandbox(podwright::model::Sandbox::Dead { attempt: 0 }), &[
        "begin to stop a#0 30s: the infra process died",
        "preStop a#0 within 30s: the infra process died",
        "begin to stop b#0 30s: the infra process died",
        "preStop b#0 within 30s (strconv.Atoi: parsing \"gone\": invalid syntax): the infra process died",
        "stop c#0 30s: the infra process died",
        "begin to stop side#0 30s: the infra process died",
        "preStop side#0 within 30s: the infra process died",
    ]),
    ("the pod is removed: the hooks of all begin", |w| w.target = None, &[
        "mark deleted 30s: removed from the manifests",
        "begin to stop a#0 30s: removed from the manifests",
        "preStop a#0 within 30s: removed from the manifests",
        "begin to stop b#0 30s: removed from the manifests",
        "preStop b#0 within 30s (strconv.Atoi: parsing \"gone\": invalid syntax): removed from the manifests",
        "stop c#0 30s: removed from the manifests",
        "begin to stop side#0 30s: removed from the manifests",
        "preStop side#0 within 30s: removed from the manifests",
        "wake 130",
    ]),
    ("removed without time", |w| { w.target = None; w.memory.grace_limit = Some(0); }, &[
        "mark deleted 1s: removed from the manifests",
        "begin to stop a#0 1s: removed from the manifests",
        "preStop a#0 within 1s: removed from the manifests",
        "begin to stop b#0 1s: removed from the manifests",
        "preStop b#0 within 1s (strconv.Atoi: parsing \"gone\": invalid syntax): removed from the manifests",
        "stop c#0 2s: removed from the manifests",
        "begin to stop side#0 1s: removed from the manifests",
        "preStop side#0 within 1s: removed from the manifests",
        "wake 101",
    ]),
    ("removed with a second", |w| { w.target = None; w.memory.grace_limit = Some(1); }, &[
        "mark deleted 1s: removed from the manifests",
        "begin to stop a#0 1s: removed from the manifests",
        "preStop a#0 within 1s: removed from the manifests",
        "begin to stop b#0 1s: removed from the manifests",
        "preStop b#0 within 1s (strconv.Atoi: parsing \"gone\": invalid syntax): removed from the manifests",
        "stop c#0 2s: removed from the manifests",
        "begin to stop side#0 1s: removed from the manifests",
        "preStop side#0 within 1s: removed from the manifests",
        "wake 101",
    ]),
    ("with a second, the hooks have taken it", |w| { going(w); grace(w, 1); w.now = at(101); }, &[
        "stop a#0 2s: removed from the manifests",
        "stop b#0 2s: removed from the manifests",
        "stop other#0 2s: removed from the manifests",
        "stop side#0 2s: removed from the manifests",
        "hold c Terminating until 102: told to stop, waiting for its end",
        "wake 102",
    ]),
    ("with a second, all have been told", |w| {
        going(w);
        grace(w, 1);
        for name in ["side", "other", "a", "b"] {
            w.stopping(name, 102, 1);
        }
        w.memory.hooks.clear();
        w.now = at(103);
    }, &[
        "kill c#0: grace period exceeded",
        "hold a Terminating until 104: told to stop, waiting for its end",
        "hold b Terminating until 104: told to stop, waiting for its end",
        "hold other Terminating until 104: told to stop, waiting for its end",
        "hold side Terminating until 104: told to stop, waiting for its end",
        "wake 104",
    ]),
    ("another image for what has no time", |w| { none(w); image(w); }, &[
        "update to 2: changed in place: spec.containers[0].image",
        "stop a#0 2s: image changed from nginx:1 to nginx:2",
    ]),
    ("the infra process of what has no time died", |w| {
        none(w);
        w.sandbox(podwright::model::Sandbox::Dead { attempt: 0 });
    }, &[
        "stop a#0 2s: the infra process died",
        "stop b#0 2s: the infra process died",
        "stop c#0 2s: the infra process died",
        "stop other#0 2s: the infra process died",
        "stop side#0 2s: the infra process died",
    ]),
    ("going, all hooks run", going, &[
        "hold a Terminating until 130: its preStop hook runs",
        "hold b Terminating until 130: its preStop hook runs",
        "hold c Terminating until 130: told to stop, waiting for its end",
        "hold side Terminating until 130: its preStop hook runs",
        "wake 130",
    ]),
    ("going, the hooks are done but the apps have not ended", |w| { going(w); for name in ["side", "a", "b"] { w.hook(name, PreStop, Succeeded); } }, &[
        "stop a#0 26s: removed from the manifests",
        "stop b#0 26s: removed from the manifests",
        "hold c Terminating until 130: told to stop, waiting for its end",
        "hold side Terminating until 130: waiting for its turn to stop",
        "wake 130",
    ]),
    ("going, the apps have ended", |w| { going(w); apps_end(w); w.hook("side", PreStop, Succeeded); }, &[
        "stop other#0 26s: removed from the manifests",
        "hold side Terminating until 130: waiting for its turn to stop",
        "wake 130",
    ]),
    ("going, the sidecar's hook still runs in its turn", |w| { going(w); apps_end(w); w.forget("other"); }, &[
        "hold side Terminating until 130: its preStop hook runs",
        "wake 130",
    ]),
    ("going, the sidecar's hook is done in its turn", |w| { going(w); apps_end(w); w.forget("other"); w.hook("side", PreStop, Succeeded); }, &[
        "stop side#0 26s: removed from the manifests",
    ]),
    ("going, the agent restarted", |w| { going(w); w.memory.hooks.clear(); }, &[
        "preStop a#0 within 26s: its stop was interrupted",
        "preStop b#0 within 26s (strconv.Atoi: parsing \"gone\": invalid syntax): its stop was interrupted",
        "preStop side#0 within 26s: its stop was interrupted",
        "hold c Terminating until 130: told to stop, waiting for its end",
        "wake 130",
    ]),
    ("going, the sidecar's own time began before that and is over", |w| { going(w); w.pre_stopped("side", 74, 30, Succeeded); }, &[
        "stop side#0 2s: removed from the manifests",
        "hold a Terminating until 130: its preStop hook runs",
        "hold b Terminating until 130: its preStop hook runs",
        "hold c Terminating until 130: told to stop, waiting for its end",
        "wake 130",
    ]),
    ("going, the time is over", |w| { going(w); w.now = at(130); }, &[
        "stop a#0 2s: removed from the manifests",
        "stop b#0 2s: removed from the manifests",
        "kill c#0: grace period exceeded",
        "stop other#0 2s: removed from the manifests",
        "stop side#0 2s: removed from the manifests",
    ]),
    ("going, the time is over and nobody was told", |w| { going(w); for name in ["side", "a", "b", "c"] { w.latest(name).record.stopping = None; } w.memory.hooks.clear(); w.now = at(140); }, &[
        "stop a#0 2s: removed from the manifests",
        "stop b#0 2s: removed from the manifests",
        "stop c#0 2s: removed from the manifests",
        "stop other#0 2s: removed from the manifests",
        "stop side#0 2s: removed from the manifests",
    ]),
    ("going, with less time while hooks run", |w| { going(w); w.memory.grace_limit = Some(10); }, &[
        "mark deleted 10s: removed from the manifests",
        "hold a Terminating until 110: its preStop hook runs",
        "hold b Terminating until 110: its preStop hook runs",
        "hold c Terminating until 110: told to stop, waiting for its end",
        "hold side Terminating until 110: its preStop hook runs",
        "wake 110",
    ]),
    ("going, with less time than has passed", |w| { going(w); w.memory.grace_limit = Some(3); }, &[
        "mark deleted 3s: removed from the manifests",
        "stop a#0 2s: removed from the manifests",
        "stop b#0 2s: removed from the manifests",
        "kill c#0: grace period exceeded",
        "stop other#0 2s: removed from the manifests",
        "stop side#0 2s: removed from the manifests",
    ]),
    ("going, without any time left", |w| { going(w); w.memory.grace_limit = Some(0); }, &[
        "mark deleted 1s: removed from the manifests",
        "stop a#0 2s: removed from the manifests",
        "stop b#0 2s: removed from the manifests",
        "kill c#0: grace period exceeded",
        "stop other#0 2s: removed from the manifests",
        "stop side#0 2s: removed from the manifests",
    ]),
];

#[rustfmt::skip]
const NEVER: &[Row] = &[
    ("all is well", |_| {}, &[]),
    ("a postStart failed, its end", |w| { w.stopping_for_hook("a", 95); w.ended("a", 143, 99); w.ended("b", 0, 99); w.ended("c", 0, 99); w.forget("side"); w.forget("other"); }, &[
        "finish Failed: all containers ended",
        "stop sandbox: all containers ended",
    ]),
    ("a postStart failed, its end while others run", |w| { w.stopping_for_hook("a", 95); w.ended("a", 143, 99); }, &[]),
    ("the apps ended, and there is no time", |w| { none(w); for name in ["a", "b", "c"] { w.ended(name, 0, 99); } }, &[
        "stop other#0 2s: all containers ended",
        "begin to stop side#0 1s: all containers ended",
        "preStop side#0 within 1s: all containers ended",
    ]),
    ("the apps ended: the sidecars stop with their hooks", |w| { for name in ["a", "b", "c"] { w.ended(name, 0, 99); } }, &[
        "stop other#0 30s: all containers ended",
        "begin to stop side#0 30s: all containers ended",
        "preStop side#0 within 30s: all containers ended",
    ]),
];

#[test]
fn hooks_begin_and_are_waited_for() {
    check(base, ROWS);
}

#[test]
fn a_failed_post_start_is_a_failure_of_the_container() {
    check(never, NEVER);
}

pub(super) const TABLES: &[Table] = &[(base, ROWS), (never, NEVER)];
