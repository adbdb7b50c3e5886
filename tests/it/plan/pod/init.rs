//! Init containers and sidecars: strictly in order, then the others.

use podwright::model::{ContainerState, Reason, Sandbox};
use serde_json::json;

use super::super::world::{World, at};
use super::{Row, Table, check, settled};

/// `init`, the sidecar `side`, `setup`, then the app.
fn base() -> World {
    settled(
        json!({
            "initContainers": [
                {"name": "init", "image": "i:1"}, {"name": "side", "image": "s:1", "restartPolicy": "Always"},
                {"name": "setup", "image": "t:1"},
            ],
            "containers": [{"name": "app", "image": "a:1"}],
        }),
        &[],
    )
}

/// Only the sandbox runs.
fn fresh(w: &mut World) {
    w.pod.as_mut().unwrap().containers.clear();
}

/// `init` has ended with this code, nothing else has run.
fn after_init(w: &mut World, code: i32) {
    w.pod.as_mut().unwrap().containers.retain(|c| c.record.name == "init");
    w.ended("init", code, 100);
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("everything runs", |_| {}, &[]),
    ("the first one first", fresh, &[
        "image i:1: first start", "start init#0: first start", "app waits: PodInitializing",
        "init waits: PodInitializing", "setup waits: PodInitializing", "side waits: PodInitializing",
    ]),
    ("the first one runs", |w| {
        after_init(w, 0);
        w.state("init", ContainerState::Running { pid: 3, started_at: at(99) });
    }, &["app waits: PodInitializing", "setup waits: PodInitializing", "side waits: PodInitializing"]),
    ("the first one succeeded", |w| after_init(w, 0), &[
        "image s:1: first start", "start side#0: first start", "app waits: PodInitializing",
        "setup waits: PodInitializing", "side waits: PodInitializing",
    ]),
    ("the first one failed", |w| after_init(w, 1), &[
        "image i:1: exited with 1, restartPolicy OnFailure", "start init#1: exited with 1, restartPolicy OnFailure",
        "app waits: PodInitializing", "setup waits: PodInitializing", "side waits: PodInitializing",
    ]),
    ("the first one keeps failing", |w| { after_init(w, 1); w.attempt("init", 2, 10); }, &[
        "hold init CrashLoopBackOff until 120: back-off 20s restarting failed container=init pod=p_default(UID)",
        "wake 120", "app waits: PodInitializing",
        "init waits: CrashLoopBackOff back-off 20s restarting failed container=init pod=p_default(UID)",
        "setup waits: PodInitializing", "side waits: PodInitializing",
    ]),
    ("the first one's monitor died", |w| { after_init(w, 0); w.state("init", ContainerState::Lost); }, &[
        "reap init#0: its monitor died", "app waits: PodInitializing", "setup waits: PodInitializing",
        "side waits: PodInitializing",
    ]),
    ("the sidecar runs", |w| { w.forget("setup"); w.forget("app"); }, &[
        "image t:1: first start", "start setup#0: first start", "app waits: PodInitializing",
        "setup waits: PodInitializing",
    ]),
    ("the sidecar ended before the others", |w| { w.forget("setup"); w.forget("app"); w.ended("side", 0, 100); }, &[
        "image s:1: exited with 0, restartPolicy Always", "start side#1: exited with 0, restartPolicy Always",
        "app waits: PodInitializing", "setup waits: PodInitializing",
    ]),
    ("all are through", |w| w.forget("app"), &[
        "image a:1: first start", "start app#0: first start", "app waits: PodInitializing",
    ]),
    ("the sidecar ended beside the app", |w| w.ended("side", 1, 100), &[
        "image s:1: exited with 1, restartPolicy Always", "start side#1: exited with 1, restartPolicy Always",
    ]),
    ("sidecar and app ended", |w| { w.ended("side", 1, 100); w.ended("app", 1, 100); }, &[
        "image s:1: exited with 1, restartPolicy Always", "start side#1: exited with 1, restartPolicy Always",
        "image a:1: exited with 1, restartPolicy Always", "start app#1: exited with 1, restartPolicy Always",
    ]),
    ("records of the init containers are gone", |w| { w.forget("init"); w.forget("setup"); }, &[]),
    ("an init image changes", |w| w.edit(|v| v["spec"]["initContainers"][0]["image"] = json!("i:2")), &[
        "update to 2: changed in place: spec.initContainers[0].image; an init container that has run does not run again",
    ]),
    ("a sidecar's image changes", |w| w.edit(|v| v["spec"]["initContainers"][1]["image"] = json!("s:2")), &[
        "update to 2: changed in place: spec.initContainers[1].image", "stop side#0 30s: image changed from s:1 to s:2",
    ]),
    ("a new sandbox initialises again", |w| {
        w.ended("app", 137, 99);
        w.ended("side", 137, 99);
        w.sandbox(Sandbox::Ready { attempt: 1, pid: 9, started_at: at(99), ips: vec![] });
    }, &[
        "image i:1: first start", "start init#1: first start", "app waits: PodInitializing",
        "setup waits: PodInitializing", "side waits: PodInitializing",
    ]),
    ("no sandbox yet", World::bare, &[
        "sandbox#0: no sandbox yet", "app waits: PodInitializing", "init waits: PodInitializing",
        "setup waits: PodInitializing", "side waits: PodInitializing",
    ]),
    ("an init container fails for good", |w| {
        w.edit(|v| v["spec"]["restartPolicy"] = json!("Never"));
        w.settle();
        w.now = at(100);
        w.forget("setup");
        w.forget("app");
        w.ended("init", 3, 99);
    }, &["stop side#0 30s: init container init failed"]),
    ("an init container has failed for good and the sidecar is down", |w| {
        w.edit(|v| v["spec"]["restartPolicy"] = json!("Never"));
        w.settle();
        w.forget("setup");
        w.forget("app");
        w.ended("init", 3, 99);
        w.ended("side", 143, 99);
    }, &["finish Failed: all containers ended", "stop sandbox: all containers ended"]),
    ("the app is done and the sidecar goes", |w| {
        w.edit(|v| v["spec"]["restartPolicy"] = json!("OnFailure"));
        w.settle();
        w.ended("app", 0, 99);
    }, &["stop side#0 30s: all containers ended"]),
    ("how a sidecar ended does not matter", |w| {
        w.edit(|v| v["spec"]["restartPolicy"] = json!("OnFailure"));
        w.settle();
        w.ended("app", 0, 99);
        w.ended("side", 137, 99);
    }, &["finish Succeeded: all containers ended", "stop sandbox: all containers ended"]),
    ("going: the app before the sidecar", |w| w.target = None, &[
        "mark deleted 30s: removed from the manifests", "stop app#0 30s: removed from the manifests", "wake 130",
    ]),
    ("going: the app was killed before, and the sidecar waits until the grace period is over", |w| {
        w.stubborn.insert("app".into());
        w.target = None;
        w.settle();
        w.stopping("app", 95, 5);
        w.killed("app", 100);
    }, &["hold app Terminating: killed, waiting for its end", "wake 130"]),
    ("going: the app is gone, ten seconds are used", |w| {
        w.stubborn.insert("app".into());
        w.target = None;
        w.settle();
        w.now = at(110);
        w.ended("app", 0, 110);
    }, &["stop side#0 20s: removed from the manifests"]),
    ("going: the grace period is over for all", |w| {
        w.stubborn.insert("app".into());
        w.target = None;
        w.settle();
        w.now = at(130);
    }, &["kill app#0: grace period exceeded", "stop side#0 2s: removed from the manifests"]),
];

#[test]
fn init_containers_come_first_and_in_order() {
    check(base, ROWS);
}

/// A container was told to stop since its sandbox died, and ended at this second; there is another sandbox.
fn died(w: &mut World, name: &str, second: i64) {
    w.stopping(name, second - 1, 30);
    w.latest(name).record.stopping.as_mut().unwrap().reason = Reason::SandboxDied.to_string();
    w.ended(name, 143, second);
    w.sandbox(Sandbox::Ready { attempt: 1, pid: 9, started_at: at(99), ips: vec![] });
}

/// In the second sandbox these have run, and no others: the app has ended with the first one.
fn here(w: &mut World, names: &[&str]) {
    w.ended("app", 137, 99);
    for name in names {
        w.latest(name).record.sandbox_attempt = 1;
    }
}

/// All but the app have.
fn app_alone(w: &mut World, second: i64) {
    here(w, &["init", "side", "setup"]);
    died(w, "app", second);
}

#[rustfmt::skip]
const ANEW: &[Row] = &[
    ("the first app", |w| app_alone(w, 99), &["image a:1: first start", "start app#1: first start"]),
    ("the second one waits from its own end", |w| { app_alone(w, 99); w.attempt("app", 1, 0); }, &[
        "hold app CrashLoopBackOff until 109: back-off 10s restarting failed container=app pod=p_default(UID)", "wake 109",
        "app waits: CrashLoopBackOff back-off 10s restarting failed container=app pod=p_default(UID)",
    ]),
    ("so it does when the first one's sandbox died, too", |w| { died(w, "app", 50); w.again("app"); app_alone(w, 99); }, &[
        "hold app CrashLoopBackOff until 109: back-off 10s restarting failed container=app pod=p_default(UID)", "wake 109",
        "app waits: CrashLoopBackOff back-off 10s restarting failed container=app pod=p_default(UID)",
    ]),
    ("which is ten seconds ago", |w| { app_alone(w, 90); w.attempt("app", 1, 0); }, &[
        "image a:1: first start", "start app#2 after 10s: first start",
    ]),
    ("a later init container, of which kubelet knows nothing any more", |w| {
        here(w, &["init", "side"]);
        died(w, "setup", 99);
        w.attempt("setup", 1, 20);
    }, &["image t:1: first start", "start setup#2 after 20s: first start", "app waits: PodInitializing"]),
    ("a sidecar that is not the first one", |w| { here(w, &["init"]); died(w, "side", 99); w.attempt("side", 1, 0); }, &[
        "image s:1: first start", "start side#2: first start",
        "app waits: PodInitializing", "setup waits: PodInitializing",
    ]),
    ("the first init container begins with the sandbox", |w| {
        here(w, &[]);
        w.ended("side", 137, 99);
        died(w, "init", 99);
        w.attempt("init", 1, 0);
    }, &[
        "image i:1: first start", "start init#2: first start",
        "app waits: PodInitializing", "setup waits: PodInitializing", "side waits: PodInitializing",
    ]),
];

#[test]
fn an_app_after_init_containers_waits_from_its_own_end_when_its_sandbox_died() {
    check(base, ANEW);
}

/// Two sidecars and an app.
fn sidecars() -> World {
    settled(
        json!({
            "initContainers": [
                {"name": "first", "image": "i:1", "restartPolicy": "Always"},
                {"name": "last", "image": "i:1", "restartPolicy": "Always"},
            ],
            "containers": [{"name": "app", "image": "a:1"}],
        }),
        &[],
    )
}

#[rustfmt::skip]
const ENDING: &[Row] = &[
    ("the app is gone", |w| {
        w.target = None;
        w.stubborn.insert("app".into());
        w.settle();
        w.ended("app", 0, 100);
    }, &["stop last#0 30s: removed from the manifests", "wake 130"]),
    ("so is the last one", |w| {
        w.target = None;
        w.stubborn.insert("app".into());
        w.settle();
        w.ended("app", 0, 100);
        w.ended("last", 0, 100);
    }, &["stop first#0 30s: removed from the manifests"]),
];

#[test]
fn the_last_sidecar_stops_first() {
    check(sidecars, ENDING);
}

/// The app of a pod that does not restart ended, and the last sidecar was told to stop for that `since` then.
fn told(w: &mut World, since: i64, grace: i64) {
    w.ended("app", 0, since);
    w.stopping("last", since, grace);
    w.latest("last").record.stopping.as_mut().unwrap().reason = Reason::Finished.to_string();
}

/// The same without restarts.
fn sidecars_alone() -> World {
    let mut world = sidecars();
    world.edit(|pod| pod["spec"]["restartPolicy"] = json!("Never"));
    world.settle();
    world.now = at(100);
    world
}

#[rustfmt::skip]
const ALONE: &[Row] = &[
    ("it begins", |w| w.ended("app", 0, 100), &["stop last#0 30s: all containers ended"]),
    ("the last one is waited for", |w| told(w, 90, 30), &["hold last Terminating until 120: told to stop, waiting for its end", "wake 120"]),
    ("it took ten seconds of it", |w| { told(w, 90, 30); w.ended("last", 143, 100); }, &["stop first#0 20s: all containers ended"]),
    ("its hook had taken five before", |w| { told(w, 95, 25); w.ended("last", 143, 100); }, &["stop first#0 20s: all containers ended"]),
    ("its hook had taken nearly all before: the time is over for all", |w| {
        told(w, 99, 2);
        w.latest("last").record.stopping.as_mut().unwrap().hook_since = Some(at(70));
    }, &["stop first#0 2s: all containers ended", "hold last Terminating until 101: told to stop, waiting for its end", "wake 101"]),
    ("it took all of it", |w| told(w, 70, 30), &["stop first#0 2s: all containers ended", "kill last#0: grace period exceeded"]),
    ("it was stopped for something else before", |w| {
        w.ended("app", 0, 100);
        w.stopping("last", 60, 30);
        w.ended("last", 143, 65);
    }, &["stop first#0 30s: all containers ended"]),
    ("it was told by a clock that was ahead", |w| { told(w, 300, 30); w.ended("last", 143, 100); }, &["stop first#0 30s: all containers ended"]),
];

#[test]
fn the_sidecars_of_a_pod_that_ends_by_itself_share_one_grace_period() {
    check(sidecars_alone, ALONE);
}

/// What was told to stop for the sandbox before says nothing about this one.
#[test]
fn the_time_to_stop_for_a_dead_sandbox_begins_with_its_death() {
    let died_again: fn(&mut World) = |w| {
        w.stopping("last", 10, 30);
        let last = w.latest("last");
        last.record.stopping.as_mut().unwrap().reason = Reason::SandboxDied.to_string();
        w.ended("last", 143, 12);
        for name in ["first", "app"] {
            w.latest(name).record.sandbox_attempt = 1;
        }
        w.sandbox(Sandbox::Dead { attempt: 1 });
    };
    check(sidecars, &[("twice", died_again, &["stop app#0 30s: the infra process died"])]);
}

pub(super) const TABLES: &[Table] = &[(base, ROWS), (base, ANEW), (sidecars, ENDING), (sidecars_alone, ALONE)];
