//! Probes: what they stop, what they hold up, which are asked, and what is told of them.

use podwright::model::ProbeKind::{Liveness, Readiness, Startup};
use podwright::model::{PodMemory, ProbeKind, Reason, Sandbox, Stopping};
use serde_json::{Value, json};

use super::super::world::{World, at};
use super::{Row, Table, check, settled};

/// A sidecar and a container with every kind of probe, and one that has but one.
fn spec(policy: &str) -> Value {
    let probe = json!({"exec": {"command": ["true"]}});
    let mut strict = probe.clone();
    strict["terminationGracePeriodSeconds"] = json!(7);
    json!({
        "restartPolicy": policy, "activeDeadlineSeconds": 5000,
        "initContainers": [{"name": "side", "image": "proxy:1", "restartPolicy": "Always",
            "startupProbe": probe, "livenessProbe": probe, "readinessProbe": probe}],
        "containers": [
            {"name": "a", "image": "nginx:1", "startupProbe": probe, "livenessProbe": strict, "readinessProbe": probe},
            {"name": "b", "image": "redis:1", "readinessProbe": probe},
        ],
    })
}

/// The sidecar runs since second 0 and the others since second 100.
fn begun(policy: &str) -> World {
    let mut world = settled(spec(policy), &[]);
    world.says("side", Startup, true, 10);
    world.says("side", Readiness, true, 12);
    world.settle();
    world.now = at(200);
    world
}

/// Every probe has succeeded.
fn with(policy: &str) -> World {
    let mut world = begun(policy);
    world.says("a", Startup, true, 110);
    world.says("a", Readiness, true, 115);
    world.says("b", Readiness, true, 120);
    world
}

fn base() -> World {
    with("Always")
}

impl World {
    /// Told to stop for its probe.
    fn stopping_for(&mut self, name: &str, kind: ProbeKind, since: i64, grace_seconds: i64) {
        self.says(name, kind, false, since);
        let reason = Reason::ProbeFailed { kind }.to_string();
        self.latest(name).record.stopping = Some(Stopping::new(at(since), grace_seconds, reason));
    }

    /// The next instance of one that ended, which alone of those before is kept.
    pub(super) fn again(&mut self, name: &str) {
        let mut next = self.latest(name).clone();
        next.record.attempt += 1;
        next.record.stopping = None;
        let containers = &mut self.pod.as_mut().unwrap().containers;
        containers.retain(|c| c.record.name != name || c.record.attempt + 1 == next.record.attempt);
        containers.push(next);
    }

    /// It was, and ended with this code at this second.
    fn ended_for(&mut self, name: &str, code: i32, second: i64) {
        self.stopping_for(name, Liveness, second - 1, 7);
        self.ended(name, code, second);
    }
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("all is well", |_| {}, &[
        "wake 5000",
        "ask side#0 liveness", "ask side#0 readiness", "ask a#0 liveness", "ask a#0 readiness", "ask b#0 readiness",
        "a: started ready since 115", "b: started ready since 120", "side: started ready since 12",
    ]),
    ("the agent restarted", |w| w.memory = PodMemory::default(), &[
        "wake 5000", "ask side#0 startup", "ask a#0 startup", "ask b#0 readiness",
        "a: - -", "b: started -", "side: - -",
    ]),
    ("its startup probe failed", |w| w.says("a", Startup, false, 150), &[
        "stop a#0 30s: startup probe failed", "wake 5000",
        "ask side#0 liveness", "ask side#0 readiness", "ask b#0 readiness",
        "a: - - since 150", "b: started ready since 120", "side: started ready since 12",
    ]),
    ("its liveness probe failed, which has a grace period of its own", |w| w.says("a", Liveness, false, 150), &[
        "stop a#0 7s: liveness probe failed", "wake 5000",
        "ask side#0 liveness", "ask side#0 readiness", "ask a#0 readiness", "ask b#0 readiness",
        "a: started ready since 115", "b: started ready since 120", "side: started ready since 12",
    ]),
    ("that of the sidecar failed", |w| w.says("side", Liveness, false, 150), &[
        "stop side#0 30s: liveness probe failed", "wake 5000",
        "ask side#0 readiness", "ask a#0 liveness", "ask a#0 readiness", "ask b#0 readiness",
        "a: started ready since 115", "b: started ready since 120", "side: started ready since 12",
    ]),
    ("startup and liveness failed", |w| { w.says("a", Startup, false, 150); w.says("a", Liveness, false, 151); }, &[
        "stop a#0 7s: liveness probe failed", "wake 5000",
        "ask side#0 liveness", "ask side#0 readiness", "ask b#0 readiness",
        "a: - - since 150", "b: started ready since 120", "side: started ready since 12",
    ]),
    ("two failed", |w| { w.says("a", Liveness, false, 150); w.says("side", Startup, false, 150); }, &[
        "stop side#0 30s: startup probe failed", "stop a#0 7s: liveness probe failed", "wake 5000",
        "ask a#0 readiness", "ask b#0 readiness",
        "a: started ready since 115", "b: started ready since 120", "side: - - since 150",
    ]),
    ("readiness alone failed", |w| w.says("a", Readiness, false, 150), &[
        "wake 5000",
        "ask side#0 liveness", "ask side#0 readiness", "ask a#0 liveness", "ask a#0 readiness", "ask b#0 readiness",
        "a: started - since 150", "b: started ready since 120", "side: started ready since 12",
    ]),
    ("told to stop for it", |w| w.stopping_for("a", Liveness, 198, 7), &[
        "hold a Terminating until 205: told to stop, waiting for its end", "wake 205",
        "ask side#0 liveness", "ask side#0 readiness", "ask a#0 readiness", "ask b#0 readiness",
        "a: started ready since 115", "b: started ready since 120", "side: started ready since 12",
    ]),
    ("told to stop for it with more grace than the pod has", |w| w.stopping_for("a", Liveness, 160, 60), &[
        "hold a Terminating until 220: told to stop, waiting for its end", "wake 220",
        "ask side#0 liveness", "ask side#0 readiness", "ask a#0 readiness", "ask b#0 readiness",
        "a: started ready since 115", "b: started ready since 120", "side: started ready since 12",
    ]),
    ("it does not stop for it", |w| w.stopping_for("a", Liveness, 193, 7), &[
        "kill a#0: grace period exceeded", "wake 5000",
        "ask side#0 liveness", "ask side#0 readiness", "ask a#0 readiness", "ask b#0 readiness",
        "a: started ready since 115", "b: started ready since 120", "side: started ready since 12",
    ]),
    ("it ended for it", |w| w.ended_for("a", 137, 200), &[
        "image nginx:1: exited with 137, restartPolicy Always", "start a#1: exited with 137, restartPolicy Always", "wake 5000",
        "ask side#0 liveness", "ask side#0 readiness", "ask b#0 readiness",
        "b: started ready since 120", "side: started ready since 12",
    ]),
    ("it ended for it the second time", |w| { w.ended_for("a", 137, 199); w.again("a"); w.ended_for("a", 137, 200); }, &[
        "image nginx:1: exited with 137, restartPolicy Always", "start a#2: exited with 137, restartPolicy Always", "wake 5000",
        "ask side#0 liveness", "ask side#0 readiness", "ask b#0 readiness",
        "b: started ready since 120", "side: started ready since 12",
    ]),
    ("and the first time by itself", |w| { w.ended("a", 1, 191); w.again("a"); w.ended_for("a", 137, 200); }, &[
        "hold a CrashLoopBackOff until 210: back-off 10s restarting failed container=a pod=p_default(UID)", "wake 210",
        "a waits: CrashLoopBackOff back-off 10s restarting failed container=a pod=p_default(UID)",
        "ask side#0 liveness", "ask side#0 readiness", "ask b#0 readiness",
        "b: started ready since 120", "side: started ready since 12",
    ]),
    ("which is ten seconds ago", |w| { w.ended("a", 1, 190); w.again("a"); w.ended_for("a", 137, 200); }, &[
        "image nginx:1: exited with 137, restartPolicy Always", "start a#2 after 10s: exited with 137, restartPolicy Always", "wake 5000",
        "ask side#0 liveness", "ask side#0 readiness", "ask b#0 readiness",
        "b: started ready since 120", "side: started ready since 12",
    ]),
    ("it ended for it the third time", |w| {
        for second in [180, 191] {
            w.ended_for("a", 137, second);
            w.again("a");
        }
        w.ended_for("a", 137, 200);
    }, &[
        "hold a CrashLoopBackOff until 210: back-off 10s restarting failed container=a pod=p_default(UID)", "wake 210",
        "a waits: CrashLoopBackOff back-off 10s restarting failed container=a pod=p_default(UID)",
        "ask side#0 liveness", "ask side#0 readiness", "ask b#0 readiness",
        "b: started ready since 120", "side: started ready since 12",
    ]),
    ("which it lived longer for", |w| {
        for second in [180, 190] {
            w.ended_for("a", 137, second);
            w.again("a");
        }
        w.ended_for("a", 137, 200);
    }, &[
        "image nginx:1: exited with 137, restartPolicy Always", "start a#3 after 10s: exited with 137, restartPolicy Always", "wake 5000",
        "ask side#0 liveness", "ask side#0 readiness", "ask b#0 readiness",
        "b: started ready since 120", "side: started ready since 12",
    ]),
    ("the sidecar ended for it", |w| w.ended_for("side", 143, 200), &[
        "image proxy:1: exited with 143, restartPolicy Always", "start side#1: exited with 143, restartPolicy Always", "wake 5000",
        "ask a#0 liveness", "ask a#0 readiness", "ask b#0 readiness",
        "a: started ready since 115", "b: started ready since 120",
    ]),
    ("what the instance before said does not count", |w| { w.says("a", Liveness, false, 150); w.latest("a").record.id = "a-1".into(); }, &[
        "wake 5000",
        "ask side#0 liveness", "ask side#0 readiness", "ask a#0 startup", "ask b#0 readiness",
        "a: - -", "b: started ready since 120", "side: started ready since 12",
    ]),
    ("another image, and its probe failed", |w| {
        w.says("a", Liveness, false, 150);
        w.edit(|pod| pod["spec"]["containers"][0]["image"] = json!("nginx:2"));
    }, &[
        "update to 2: changed in place: spec.containers[0].image", "stop a#0 30s: image changed from nginx:1 to nginx:2", "wake 5000",
        "ask side#0 liveness", "ask side#0 readiness", "ask a#0 readiness", "ask b#0 readiness",
        "a: started ready since 115", "b: started ready since 120", "side: started ready since 12",
    ]),
    ("the pod is removed", |w| w.target = None, &[
        "mark deleted 30s: removed from the manifests",
        "stop a#0 30s: removed from the manifests", "stop b#0 30s: removed from the manifests", "wake 230",
        "ask side#0 readiness", "ask a#0 readiness", "ask b#0 readiness",
        "a: started ready since 115", "b: started ready since 120", "side: started ready since 12",
    ]),
    ("the pod is removed before it has started", |w| { w.memory.probes.retain(|key, _| key.container != "a"); w.target = None; }, &[
        "mark deleted 30s: removed from the manifests",
        "stop a#0 30s: removed from the manifests", "stop b#0 30s: removed from the manifests", "wake 230",
        "ask side#0 readiness", "ask b#0 readiness",
        "a: - -", "b: started ready since 120", "side: started ready since 12",
    ]),
    ("the pod is removed while its probe fails", |w| { w.says("a", Liveness, false, 150); w.target = None; }, &[
        "mark deleted 30s: removed from the manifests",
        "stop a#0 30s: removed from the manifests", "stop b#0 30s: removed from the manifests", "wake 230",
        "ask side#0 readiness", "ask a#0 readiness", "ask b#0 readiness",
        "a: started ready since 115", "b: started ready since 120", "side: started ready since 12",
    ]),
    ("the deadline is over", |w| w.now = at(5000), &[
        "stop a#0 30s: Pod was active on the node longer than the specified deadline",
        "stop b#0 30s: Pod was active on the node longer than the specified deadline",
        "ask side#0 readiness", "ask a#0 readiness", "ask b#0 readiness",
        "a: started ready since 115", "b: started ready since 120", "side: started ready since 12",
    ]),
    ("the sandbox died", |w| w.sandbox(Sandbox::Dead { attempt: 0 }), &[
        "stop a#0 30s: the infra process died", "stop b#0 30s: the infra process died", "wake 5000",
    ]),
];

#[test]
fn what_probes_say_is_acted_upon() {
    check(base, ROWS);
}

#[rustfmt::skip]
const GATED: &[Row] = &[
    ("the sidecar has not started: the others wait", |_| {}, &[
        "wake 5000", "a waits: PodInitializing", "b waits: PodInitializing", "ask side#0 startup", "side: - -",
    ]),
    ("its startup probe failed: it ends, they wait on", |w| w.says("side", Startup, false, 50), &[
        "stop side#0 30s: startup probe failed", "wake 5000", "a waits: PodInitializing", "b waits: PodInitializing", "side: - - since 50",
    ]),
    ("it has started and is not ready: they start", |w| w.says("side", Startup, true, 50), &[
        "image nginx:1: first start", "start a#0: first start", "image redis:1: first start", "start b#0: first start", "wake 5000",
        "a waits: PodInitializing", "b waits: PodInitializing",
        "ask side#0 liveness", "ask side#0 readiness", "side: started - since 50",
    ]),
    ("it ended: they wait for the next one", |w| w.ended("side", 1, 100), &[
        "image proxy:1: exited with 1, restartPolicy Always", "start side#1: exited with 1, restartPolicy Always", "wake 5000",
        "a waits: PodInitializing", "b waits: PodInitializing",
    ]),
];

#[test]
fn a_sidecar_with_a_startup_probe_holds_up_what_follows() {
    check(|| settled(spec("Always"), &[]), GATED);
}

#[rustfmt::skip]
const AFTER_ONE_AWAY: &[Row] = &[
    ("it ends all the same", |w| { w.ended("first", 1, 100); w.says("last", Startup, false, 50); }, &[
        "stop last#0 30s: startup probe failed", "image i:1: exited with 1, restartPolicy Always",
        "start first#1: exited with 1, restartPolicy Always", "app waits: PodInitializing", "last: - - since 50",
    ]),
    ("and is killed when its time is over", |w| { w.ended("first", 1, 100); w.stopping("last", 60, 30); }, &[
        "kill last#0: grace period exceeded", "image i:1: exited with 1, restartPolicy Always",
        "start first#1: exited with 1, restartPolicy Always", "app waits: PodInitializing", "last: - -",
    ]),
];

/// Before the first app has begun, sidecars begin one after the other.
#[test]
fn a_sidecar_ends_for_its_probe_while_one_before_it_is_away() {
    let sidecars = || {
        let probe = json!({"tcpSocket": {"port": 1}, "failureThreshold": 1});
        settled(
            json!({
                "initContainers": [
                    {"name": "first", "image": "i:1", "restartPolicy": "Always"},
                    {"name": "last", "image": "i:1", "restartPolicy": "Always", "startupProbe": probe},
                ],
                "containers": [{"name": "app", "image": "a:1"}],
            }),
            &[],
        )
    };
    check(sidecars, AFTER_ONE_AWAY);
}

#[rustfmt::skip]
const ON_FAILURE: &[Row] = &[
    ("a success after a failed probe is run again", |w| w.ended_for("a", 0, 200), &[
        "image nginx:1: exited with 0, restartPolicy OnFailure", "start a#1: exited with 0, restartPolicy OnFailure", "wake 5000",
        "ask side#0 liveness", "ask side#0 readiness", "ask b#0 readiness",
        "b: started ready since 120", "side: started ready since 12",
    ]),
    ("a success of its own is not", |w| w.ended("a", 0, 200), &[
        "wake 5000", "ask side#0 liveness", "ask side#0 readiness", "ask b#0 readiness",
        "b: started ready since 120", "side: started ready since 12",
    ]),
];

#[test]
fn on_failure_a_failed_probe_is_a_failure() {
    check(|| with("OnFailure"), ON_FAILURE);
}

#[rustfmt::skip]
const NEVER: &[Row] = &[
    ("a failed probe ends it all the same", |w| w.says("a", Liveness, false, 150), &[
        "stop a#0 7s: liveness probe failed", "wake 5000",
        "ask side#0 liveness", "ask side#0 readiness", "ask a#0 readiness", "ask b#0 readiness",
        "a: started ready since 115", "b: started ready since 120", "side: started ready since 12",
    ]),
    ("and it stays so", |w| w.ended_for("a", 137, 200), &[
        "wake 5000", "ask side#0 liveness", "ask side#0 readiness", "ask b#0 readiness",
        "b: started ready since 120", "side: started ready since 12",
    ]),
    ("which is the end of the pod once the others have ended", |w| { w.ended_for("a", 137, 200); w.ended("b", 0, 200); }, &[
        "stop side#0 30s: all containers ended", "ask side#0 readiness", "side: started ready since 12",
    ]),
    ("the sidecar is started again", |w| w.ended_for("side", 143, 200), &[
        "image proxy:1: exited with 143, restartPolicy Always", "start side#1: exited with 143, restartPolicy Always", "wake 5000",
        "ask a#0 liveness", "ask a#0 readiness", "ask b#0 readiness",
        "a: started ready since 115", "b: started ready since 120",
    ]),
];

#[test]
fn a_pod_that_never_restarts_fails_with_its_probe() {
    check(|| with("Never"), NEVER);
}

/// The startup probe of `a` has a grace period of its own, that of the sidecar has none.
fn slow() -> World {
    let mut spec = spec("Always");
    spec["containers"][0]["startupProbe"]["terminationGracePeriodSeconds"] = json!(4);
    let mut world = settled(spec, &[]);
    world.says("side", Startup, true, 10);
    world.says("side", Readiness, true, 12);
    world.settle();
    world.now = at(200);
    world
}

#[rustfmt::skip]
const SLOW: &[Row] = &[
    ("it does not start", |w| w.says("a", Startup, false, 150), &[
        "stop a#0 4s: startup probe failed", "wake 5000",
        "ask side#0 liveness", "ask side#0 readiness", "ask b#0 readiness",
        "a: - - since 150", "b: started -", "side: started ready since 12",
    ]),
    ("told to stop for it", |w| w.stopping_for("a", Startup, 198, 4), &[
        "hold a Terminating until 202: told to stop, waiting for its end", "wake 202",
        "ask side#0 liveness", "ask side#0 readiness", "ask b#0 readiness",
        "a: - - since 198", "b: started -", "side: started ready since 12",
    ]),
    ("it started, and its liveness probe failed", |w| {
        w.says("a", Startup, true, 110);
        w.says("a", Liveness, false, 150);
    }, &[
        "stop a#0 7s: liveness probe failed", "wake 5000",
        "ask side#0 liveness", "ask side#0 readiness", "ask a#0 readiness", "ask b#0 readiness",
        "a: started - since 110", "b: started -", "side: started ready since 12",
    ]),
];

#[test]
fn a_startup_probe_that_fails_leaves_the_grace_period_of_its_own() {
    check(slow, SLOW);
}

pub(super) const TABLES: &[Table] = &[
    (base, ROWS),
    (|| settled(spec("Always"), &[]), GATED),
    (|| with("OnFailure"), ON_FAILURE),
    (|| with("Never"), NEVER),
    (slow, SLOW),
];
