//! Policies and rules of a pod's containers: which restart for how they ended, and all of them together.

use podwright::model::{AllRestarted, ContainerState, ProbeKind, Sandbox};
use serde_json::{Value, json};

use super::super::world::{World, at};
use super::{Row, Table, check, settled};

fn rule(action: &str, operator: &str, codes: &[i32]) -> Value {
    json!({"action": action, "exitCodes": {"operator": operator, "values": codes}})
}

/// The pod never restarts; `a` does for two codes and for none of two others, `b` always, `c` as the pod.
fn never() -> World {
    let rules = json!([rule("Restart", "In", &[42, 43]), rule("Restart", "NotIn", &[0, 1, 2])]);
    settled(
        json!({"restartPolicy": "Never", "containers": [
            {"name": "a", "image": "nginx:1", "restartPolicy": "Never", "restartPolicyRules": rules},
            {"name": "b", "image": "redis:1", "restartPolicy": "Always"},
            {"name": "c", "image": "busybox:1"},
        ]}),
        &[],
    )
}

/// The pod always restarts, two of its containers only as they say themselves.
fn always() -> World {
    let rules = json!([rule("Restart", "In", &[3])]);
    settled(
        json!({"initContainers": [
            {"name": "setup", "image": "setup:1", "restartPolicy": "Never", "restartPolicyRules": rules},
        ], "containers": [
            {"name": "a", "image": "nginx:1", "restartPolicy": "Never"},
            {"name": "b", "image": "redis:1", "restartPolicy": "OnFailure"},
        ]}),
        &[],
    )
}

#[rustfmt::skip]
const OF_NEVER: &[Row] = &[
    ("a code of the first rule", |w| w.ended("a", 42, 100), &[
        "image nginx:1: exited with 42, restartPolicy Never overruled by restartPolicyRules[0]",
        "start a#1: exited with 42, restartPolicy Never overruled by restartPolicyRules[0]",
    ]),
    ("a code that the second rule does not name", |w| w.ended("a", 5, 100), &[
        "image nginx:1: exited with 5, restartPolicy Never overruled by restartPolicyRules[1]",
        "start a#1: exited with 5, restartPolicy Never overruled by restartPolicyRules[1]",
    ]),
    ("a code of no rule", |w| w.ended("a", 2, 100), &[]),
    ("the back-off counts for a rule", |w| { w.attempt("a", 1, 0); w.ended("a", 42, 95); }, &[
        "hold a CrashLoopBackOff until 105: back-off 10s restarting failed container=a pod=p_default(UID)", "wake 105",
        "a waits: CrashLoopBackOff back-off 10s restarting failed container=a pod=p_default(UID)",
    ]),
    ("a policy of its own", |w| w.ended("b", 0, 100), &[
        "image redis:1: exited with 0, restartPolicy Always", "start b#1: exited with 0, restartPolicy Always",
    ]),
    ("the pod's policy", |w| w.ended("c", 1, 100), &[]),
    ("one that restarts keeps the pod from its end", |w| { w.ended("a", 0, 100); w.ended("b", 0, 100); w.ended("c", 1, 100); }, &[
        "image redis:1: exited with 0, restartPolicy Always", "start b#1: exited with 0, restartPolicy Always",
    ]),
    ("rules without a policy of its own are none", |w| {
        w.edit(|v| { v["spec"]["containers"][0].as_object_mut().unwrap().remove("restartPolicy"); });
        w.pod.as_mut().unwrap().record.realised = w.target.clone().unwrap();
        w.ended("a", 42, 100);
    }, &[]),
    ("another action than those there are restarts", |w| {
        w.edit(|v| v["spec"]["containers"][0]["restartPolicyRules"][0]["action"] = json!("Other"));
        w.pod.as_mut().unwrap().record.realised = w.target.clone().unwrap();
        w.ended("a", 42, 100);
    }, &[
        "image nginx:1: exited with 42, restartPolicy Never overruled by restartPolicyRules[0]",
        "start a#1: exited with 42, restartPolicy Never overruled by restartPolicyRules[0]",
    ]),
    ("another policy of its own needs another pod",
        |w| w.edit(|v| v["spec"]["containers"][0]["restartPolicy"] = json!("Always")), &[
        "mark deleted 30s: recreated: spec.containers[0].restartPolicy changed",
        "stop a#0 30s: recreated: spec.containers[0].restartPolicy changed",
        "stop b#0 30s: recreated: spec.containers[0].restartPolicy changed",
        "stop c#0 30s: recreated: spec.containers[0].restartPolicy changed",
    ]),
    ("so do other rules",
        |w| w.edit(|v| v["spec"]["containers"][0]["restartPolicyRules"][0]["exitCodes"]["values"] = json!([42])), &[
        "mark deleted 30s: recreated: spec.containers[0].restartPolicyRules[0].exitCodes.values changed",
        "stop a#0 30s: recreated: spec.containers[0].restartPolicyRules[0].exitCodes.values changed",
        "stop b#0 30s: recreated: spec.containers[0].restartPolicyRules[0].exitCodes.values changed",
        "stop c#0 30s: recreated: spec.containers[0].restartPolicyRules[0].exitCodes.values changed",
    ]),
    ("no second sandbox whatever containers say themselves", |w| w.sandbox(Sandbox::Dead { attempt: 0 }), &[
        "stop a#0 30s: the infra process died", "stop b#0 30s: the infra process died", "stop c#0 30s: the infra process died",
    ]),
];

#[rustfmt::skip]
const OF_ALWAYS: &[Row] = &[
    ("one never restarts", |w| w.ended("a", 1, 100), &[]),
    ("one restarts after a failure", |w| w.ended("b", 1, 100), &[
        "image redis:1: exited with 1, restartPolicy OnFailure", "start b#1: exited with 1, restartPolicy OnFailure",
    ]),
    ("not after a success", |w| w.ended("b", 0, 100), &[]),
    ("both have succeeded", |w| { w.ended("a", 0, 100); w.ended("b", 0, 100); }, &[
        "finish Succeeded: all containers ended", "stop sandbox: all containers ended",
    ]),
    ("one has failed for good", |w| { w.ended("a", 1, 100); w.ended("b", 0, 100); }, &[
        "finish Failed: all containers ended", "stop sandbox: all containers ended",
    ]),
    ("its liveness probe failed, and it never restarts", |w| {
        w.edit(|v| v["spec"]["containers"][0]["livenessProbe"] = json!({"tcpSocket": {"port": 80}}));
        w.pod.as_mut().unwrap().record.realised = w.target.clone().unwrap();
        w.says("a", ProbeKind::Liveness, false, 90);
        let reason = podwright::model::Reason::ProbeFailed { kind: ProbeKind::Liveness }.to_string();
        w.stopping("a", 91, 30);
        w.latest("a").record.stopping.as_mut().unwrap().reason = reason;
        w.ended("a", 143, 92);
    }, &[]),
    ("of an init container a code of its rule", |w| { w.forget("a"); w.forget("b"); w.ended("setup", 3, 100); }, &[
        "image setup:1: exited with 3, restartPolicy Never overruled by restartPolicyRules[0]",
        "start setup#1: exited with 3, restartPolicy Never overruled by restartPolicyRules[0]",
        "a waits: PodInitializing", "b waits: PodInitializing",
    ]),
    ("of an init container another code", |w| { w.forget("a"); w.forget("b"); w.ended("setup", 4, 100); }, &[
        "finish Failed: all containers ended", "stop sandbox: all containers ended",
    ]),
    ("what ended lasts in its sandbox alone", |w| {
        w.ended("a", 1, 100);
        w.ended("b", 0, 100);
        w.edit(|v| v["spec"]["containers"][1]["restartPolicy"] = json!("Always"));
        w.pod.as_mut().unwrap().record.realised = w.target.clone().unwrap();
        let Sandbox::Ready { attempt, .. } = &mut w.pod.as_mut().unwrap().sandbox else { panic!() };
        *attempt = 1;
        w.latest("setup").record.sandbox_attempt = 1;
    }, &[
        "image nginx:1: first start", "start a#1: first start", "image redis:1: first start", "start b#1: first start",
    ]),
    ("success that a rule has run again does not last in the next one", |w| {
        w.edit(|v| v["spec"]["containers"][1]["restartPolicyRules"] = json!([rule("Restart", "In", &[0])]));
        w.pod.as_mut().unwrap().record.realised = w.target.clone().unwrap();
        w.ended("b", 0, 100);
        let Sandbox::Ready { attempt, .. } = &mut w.pod.as_mut().unwrap().sandbox else { panic!() };
        *attempt = 1;
        for name in ["setup", "a"] {
            w.latest(name).record.sandbox_attempt = 1;
        }
    }, &["image redis:1: first start", "start b#1: first start"]),
    ("nor does success before all were restarted, in a sandbox that was made since", |w| {
        w.ended("b", 0, 100);
        w.pod.as_mut().unwrap().record.all_restarted = Some(AllRestarted { count: 1, at: at(99) });
        let Sandbox::Ready { attempt, .. } = &mut w.pod.as_mut().unwrap().sandbox else { panic!() };
        *attempt = 1;
        for name in ["setup", "a"] {
            (w.latest(name).record.sandbox_attempt, w.latest(name).record.round) = (1, 1);
        }
    }, &["image redis:1: first start", "start b#1: first start"]),
    ("success under OnFailure lasts in the next one too", |w| {
        w.ended("b", 0, 100);
        let Sandbox::Ready { attempt, .. } = &mut w.pod.as_mut().unwrap().sandbox else { panic!() };
        *attempt = 1;
        for name in ["setup", "a"] {
            w.latest(name).record.sandbox_attempt = 1;
        }
    }, &[]),
];

#[test]
fn policies_and_rules_of_containers_decide_over_restarts() {
    check(never, OF_NEVER);
    check(always, OF_ALWAYS);
}

/// Kubernetes' own example: a sidecar that has all restarted when it exits with 88.
fn watched() -> World {
    let all = json!([rule("RestartAllContainers", "In", &[88])]);
    let hook = json!({"preStop": {"sleep": {"seconds": 20}}});
    settled(
        json!({"restartPolicy": "Never", "initContainers": [
            {"name": "setup", "image": "setup:1"},
            {"name": "watcher", "image": "watcher:1", "restartPolicy": "Always", "restartPolicyRules": all},
        ], "containers": [
            {"name": "main", "image": "main:1", "lifecycle": hook, "restartPolicy": "OnFailure", "restartPolicyRules": all},
            {"name": "other", "image": "other:1"},
        ]}),
        &[],
    )
}

/// The restart of all is on record.
fn begun(world: &mut World) {
    world.ended("watcher", 88, 99);
    world.pod.as_mut().unwrap().record.all_restarted = Some(AllRestarted { count: 1, at: at(99) });
}

#[rustfmt::skip]
const OF_ALL: &[Row] = &[
    ("a sidecar asks for it", |w| w.ended("watcher", 88, 100), &[
        "update to 1: container watcher exited with 88: all containers are restarted",
        "setup waits: RestartingAllContainers The container is removed because RestartAllContainers in place",
        "watcher waits: RestartingAllContainers The container is removed because RestartAllContainers in place",
    ]),
    ("one that is told to stop, since the pod ends, asks for nothing", |w| {
        w.ended("main", 0, 90);
        w.ended("other", 0, 90);
        w.stopping("watcher", 91, 30);
        w.latest("watcher").record.stopping.as_mut().unwrap().reason = podwright::model::Reason::Finished.to_string();
        w.ended("watcher", 88, 92);
    }, &["finish Succeeded: all containers ended", "stop sandbox: all containers ended"]),
    ("another code is its policy's", |w| w.ended("watcher", 87, 100), &[
        "image watcher:1: exited with 87, restartPolicy Always", "start watcher#1: exited with 87, restartPolicy Always",
    ]),
    ("one asks for it that would not restart", |w| { w.ended("main", 88, 100); w.ended("other", 1, 100); }, &[
        "update to 1: container main exited with 88: all containers are restarted",
        "main waits: RestartingAllContainers The container is removed because RestartAllContainers in place",
        "other waits: RestartingAllContainers The container is removed because RestartAllContainers in place",
        "setup waits: RestartingAllContainers The container is removed because RestartAllContainers in place",
    ]),
    ("its back-off is not over", |w| { w.attempt("watcher", 1, 0); w.ended("watcher", 88, 95); }, &[
        "hold watcher CrashLoopBackOff until 105: back-off 10s restarting failed container=watcher pod=p_default(UID)",
        "wake 105",
        "watcher waits: CrashLoopBackOff back-off 10s restarting failed container=watcher pod=p_default(UID)",
    ]),
    ("what runs of the round before is killed, without hook or grace", begun, &[
        "kill main#0: all containers are restarted", "kill other#0: all containers are restarted",
        "setup waits: RestartingAllContainers The container is removed because RestartAllContainers in place",
        "watcher waits: RestartingAllContainers The container is removed because RestartAllContainers in place",
    ]),
    ("one that was stopping is not waited for", |w| { begun(w); w.stopping("main", 90, 30); w.ended("other", 0, 99); }, &[
        "kill main#0: grace period exceeded",
        "other waits: RestartingAllContainers The container is removed because RestartAllContainers in place",
        "setup waits: RestartingAllContainers The container is removed because RestartAllContainers in place",
        "watcher waits: RestartingAllContainers The container is removed because RestartAllContainers in place",
    ]),
    ("a monitor died meanwhile", |w| { begun(w); w.ended("other", 0, 99); w.state("main", ContainerState::Lost); }, &[
        "reap main#0: its monitor died",
        "other waits: RestartingAllContainers The container is removed because RestartAllContainers in place",
        "setup waits: RestartingAllContainers The container is removed because RestartAllContainers in place",
        "watcher waits: RestartingAllContainers The container is removed because RestartAllContainers in place",
    ]),
    ("nothing runs any more", |w| { begun(w); w.ended("main", 137, 100); w.ended("other", 0, 90); }, &[
        "image setup:1: all containers are restarted", "start setup#1: all containers are restarted",
        "main waits: PodInitializing", "other waits: PodInitializing", "watcher waits: PodInitializing",
    ]),
    ("what its neighbours have waited for counts on", |w| {
        begun(w);
        for name in ["setup", "watcher"] {
            w.latest(name).record.round = 1;
        }
        w.state("watcher", ContainerState::Running { pid: 2, started_at: at(99) });
        w.attempt("main", 2, 10);
        w.ended("main", 137, 100);
        w.ended("other", 137, 100);
    }, &[
        "image main:1: all containers are restarted", "start main#3 after 20s: all containers are restarted",
        "image other:1: all containers are restarted", "start other#1: all containers are restarted",
    ]),
    ("its deletion comes first", |w| { begun(w); w.target = None; }, &[
        "mark deleted 30s: removed from the manifests", "begin to stop main#0 30s: removed from the manifests",
        "preStop main#0 within 30s: removed from the manifests", "stop other#0 30s: removed from the manifests",
    ]),
    ("so does its deadline", |w| {
        w.edit(|v| v["spec"]["activeDeadlineSeconds"] = json!(60));
        w.pod.as_mut().unwrap().record.realised = w.target.clone().unwrap();
        w.ended("watcher", 88, 99);
        for name in ["main", "other"] {
            w.ended(name, 137, 99);
        }
    }, &[
        "finish Failed (DeadlineExceeded): all containers ended", "stop sandbox: all containers ended",
    ]),
    ("in another sandbox all begin anew anyway", |w| {
        w.ended("watcher", 88, 99);
        w.sandbox(Sandbox::Dead { attempt: 0 });
    }, &[
        "begin to stop main#0 30s: the infra process died", "preStop main#0 within 30s: the infra process died",
        "stop other#0 30s: the infra process died",
    ]),
];

/// An init container has all restarted when it succeeds.
fn asking() -> World {
    let all = json!([rule("RestartAllContainers", "In", &[0])]);
    let mut world = settled(
        json!({"restartPolicy": "Never", "initContainers": [
            {"name": "ask", "image": "ask:1", "restartPolicy": "Never", "restartPolicyRules": all},
            {"name": "setup", "image": "setup:1"},
        ], "containers": [{"name": "main", "image": "main:1"}]}),
        &[],
    );
    world.forget("main");
    world.forget("setup");
    world
}

#[rustfmt::skip]
const OF_INIT: &[Row] = &[
    ("an init container asks for it by its success", |w| w.ended("ask", 0, 100), &[
        "update to 1: container ask exited with 0: all containers are restarted",
        "ask waits: RestartingAllContainers The container is removed because RestartAllContainers in place",
        "main waits: RestartingAllContainers The container is removed because RestartAllContainers in place",
        "setup waits: RestartingAllContainers The container is removed because RestartAllContainers in place",
    ]),
    ("its back-off is waited for", |w| { w.attempt("ask", 1, 0); w.ended("ask", 0, 95); }, &[
        "hold ask CrashLoopBackOff until 105: back-off 10s restarting failed container=ask pod=p_default(UID)",
        "wake 105",
        "ask waits: CrashLoopBackOff back-off 10s restarting failed container=ask pod=p_default(UID)",
        "main waits: PodInitializing", "setup waits: PodInitializing",
    ]),
];

#[test]
fn one_container_has_all_of_its_pod_restarted() {
    check(watched, OF_ALL);
    check(asking, OF_INIT);
}

#[test]
fn a_restart_of_all_runs_the_pod_from_its_beginning() {
    let mut world = watched();
    world.ended("other", 0, 90);
    world.ended("watcher", 88, 100);
    world.settle();
    let uid = world.pod.as_ref().unwrap().record.uid.clone();
    assert_eq!(
        world.log,
        [
            "update to 1",
            "kill main#0",
            "image setup:1",
            "start setup#1",
            "image watcher:1",
            "start watcher#1",
            "image main:1",
            "start main#1",
            "image other:1",
            "start other#1",
        ]
    );
    // The next time its back-off counts, while the others run; the one after that is longer.
    for (second, wait, attempt) in [(101, 10, 2), (112, 20, 3)] {
        world.log.clear();
        world.now = at(second);
        world.ended("watcher", 88, second);
        assert_eq!(world.settle().wake_at, Some(at(second + wait)));
        assert!(world.log.is_empty(), "{:?}", world.log);
        world.now = at(second + wait);
        world.settle();
        assert_eq!(world.latest("watcher").record.attempt, attempt);
        assert_eq!(world.latest("main").record.attempt, attempt, "each time all of them");
    }
    assert_eq!(world.pod.as_ref().unwrap().record.uid, uid, "it is the same pod");
    assert!(matches!(world.pod.as_ref().unwrap().sandbox, Sandbox::Ready { attempt: 0, .. }));
}

pub(super) const TABLES: &[Table] = &[(never, OF_NEVER), (always, OF_ALWAYS), (watched, OF_ALL), (asking, OF_INIT)];
