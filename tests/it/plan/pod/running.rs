//! A pod with two containers: creation, restarts, changes in place, accidents.

use podwright::model::{ContainerState, PodMemory, Sandbox};
use serde_json::json;

use super::super::world::{World, at, exit};
use super::{Row, Table, check, settled};

fn base() -> World {
    settled(json!({"containers": [{"name": "a", "image": "nginx:1"}, {"name": "b", "image": "redis:1"}]}), &[])
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("nothing differs", |_| {}, &[]),
    ("the agent restarted", |w| w.memory = PodMemory::default(), &[]),
    ("no pod yet", World::nothing, &[
        "create: new in the manifests", "sandbox#0: no sandbox yet",
        "a waits: ContainerCreating", "b waits: ContainerCreating",
    ]),
    ("the record alone", World::bare, &[
        "sandbox#0: no sandbox yet", "a waits: ContainerCreating", "b waits: ContainerCreating",
    ]),
    ("a sandbox without containers", |w| w.pod.as_mut().unwrap().containers.clear(), &[
        "image nginx:1: first start", "start a#0: first start", "image redis:1: first start", "start b#0: first start",
        "a waits: ContainerCreating", "b waits: ContainerCreating",
    ]),
    ("one container is missing", |w| w.forget("b"), &[
        "image redis:1: first start", "start b#0: first start", "b waits: ContainerCreating",
    ]),
    ("a first crash restarts at once", |w| w.ended("a", 1, 100), &[
        "image nginx:1: exited with 1, restartPolicy Always", "start a#1: exited with 1, restartPolicy Always",
    ]),
    ("Always restarts a success too", |w| w.ended("a", 0, 100), &[
        "image nginx:1: exited with 0, restartPolicy Always", "start a#1: exited with 0, restartPolicy Always",
    ]),
    ("both crash", |w| { w.ended("a", 1, 100); w.ended("b", 2, 100); }, &[
        "image nginx:1: exited with 1, restartPolicy Always", "start a#1: exited with 1, restartPolicy Always",
        "image redis:1: exited with 2, restartPolicy Always", "start b#1: exited with 2, restartPolicy Always",
    ]),
    ("a second crash waits ten seconds", |w| { w.attempt("a", 1, 0); w.ended("a", 1, 95); }, &[
        "hold a CrashLoopBackOff until 105: back-off 10s restarting failed container=a pod=p_default(UID)", "wake 105",
        "a waits: CrashLoopBackOff back-off 10s restarting failed container=a pod=p_default(UID)",
    ]),
    ("the back-off is over", |w| { w.attempt("a", 1, 0); w.ended("a", 1, 90); }, &[
        "image nginx:1: exited with 1, restartPolicy Always", "start a#2 after 10s: exited with 1, restartPolicy Always",
    ]),
    ("the sixth crash waits two minutes forty", |w| { w.attempt("a", 5, 80); w.ended("a", 1, 95); }, &[
        "hold a CrashLoopBackOff until 255: back-off 2m40s restarting failed container=a pod=p_default(UID)", "wake 255",
        "a waits: CrashLoopBackOff back-off 2m40s restarting failed container=a pod=p_default(UID)",
    ]),
    ("the machine was started since",
        |w| { w.attempt("a", 5, 80); w.ended("a", 1, 95); w.latest("a").earlier_boot = true; }, &[
        "image nginx:1: exited with 1, restartPolicy Always", "start a#6: exited with 1, restartPolicy Always",
    ]),
    ("never more than five minutes", |w| { w.attempt("a", 9, 300); w.ended("a", 1, 95); }, &[
        "hold a CrashLoopBackOff until 395: back-off 5m0s restarting failed container=a pod=p_default(UID)", "wake 395",
        "a waits: CrashLoopBackOff back-off 5m0s restarting failed container=a pod=p_default(UID)",
    ]),
    ("ten good minutes are rewarded",
        |w| {
            w.attempt("a", 5, 160);
            w.latest("a").record.created_at = at(-511);
            w.state("a", ContainerState::Exited(exit(1, at(-510), at(95))));
        }, &[
        "image nginx:1: exited with 1, restartPolicy Always", "start a#6: exited with 1, restartPolicy Always",
    ]),
    ("two wait, the earlier one wakes",
        |w| { w.attempt("a", 2, 10); w.ended("a", 1, 99); w.attempt("b", 1, 0); w.ended("b", 1, 99); }, &[
        "hold a CrashLoopBackOff until 119: back-off 20s restarting failed container=a pod=p_default(UID)",
        "hold b CrashLoopBackOff until 109: back-off 10s restarting failed container=b pod=p_default(UID)", "wake 109",
        "a waits: CrashLoopBackOff back-off 20s restarting failed container=a pod=p_default(UID)",
        "b waits: CrashLoopBackOff back-off 10s restarting failed container=b pod=p_default(UID)",
    ]),
    ("one crashes while the other is missing", |w| { w.forget("a"); w.attempt("b", 1, 0); w.ended("b", 1, 99); }, &[
        "image nginx:1: first start", "start a#0: first start",
        "hold b CrashLoopBackOff until 109: back-off 10s restarting failed container=b pod=p_default(UID)", "wake 109",
        "a waits: ContainerCreating",
        "b waits: CrashLoopBackOff back-off 10s restarting failed container=b pod=p_default(UID)",
    ]),
    ("a monitor died", |w| w.state("a", ContainerState::Lost), &["reap a#0: its monitor died"]),
    ("a start was cut short", |w| w.state("b", ContainerState::Created), &["reap b#0: its start was interrupted"]),
    ("a label changes", |w| w.edit(|v| v["metadata"]["labels"]["app"] = json!("y")), &[
        "update to 2: changed in place: metadata.labels[app]",
    ]),
    ("an image changes", |w| w.edit(|v| v["spec"]["containers"][0]["image"] = json!("nginx:2")), &[
        "update to 2: changed in place: spec.containers[0].image",
        "stop a#0 30s: image changed from nginx:1 to nginx:2",
    ]),
    ("an image changes with a grace of its own", |w| {
        w.edit(|v| v["spec"]["terminationGracePeriodSeconds"] = json!(5));
        w.settle();
        w.edit(|v| v["spec"]["containers"][1]["image"] = json!("redis:2"));
    }, &["update to 2: changed in place: spec.containers[1].image", "stop b#0 5s: image changed from redis:1 to redis:2"]),
    ("the old image is stopping", |w| {
        w.stubborn.insert("a".into());
        w.edit(|v| v["spec"]["containers"][0]["image"] = json!("nginx:2"));
        w.settle();
        w.now = at(110);
    }, &["hold a Terminating until 130: told to stop, waiting for its end", "wake 130"]),
    ("the old image ignores the stop", |w| {
        w.stubborn.insert("a".into());
        w.edit(|v| v["spec"]["containers"][0]["image"] = json!("nginx:2"));
        w.settle();
        w.now = at(130);
    }, &["kill a#0: grace period exceeded"]),
    ("the old image is gone", |w| {
        w.edit(|v| v["spec"]["containers"][0]["image"] = json!("nginx:2"));
        w.stopping("a", 100, 30);
        w.ended("a", 143, 100);
    }, &[
        "update to 2: changed in place: spec.containers[0].image",
        "image nginx:2: image changed from nginx:1 to nginx:2", "start a#1: image changed from nginx:1 to nginx:2",
    ]),
    ("the old image is wanted again while it stops", |w| {
        w.stubborn.insert("a".into());
        w.edit(|v| v["spec"]["containers"][0]["image"] = json!("nginx:2"));
        w.settle();
        w.edit(|v| v["spec"]["containers"][0]["image"] = json!("nginx:1"));
        w.now = at(110);
    }, &[
        "update to 3: changed in place: spec.containers[0].image",
        "hold a Terminating until 130: told to stop, waiting for its end", "wake 130",
    ]),
    ("the old image is wanted again after its end, and starts at once", |w| {
        w.attempt("a", 4, 40);
        w.stopping("a", 98, 30);
        w.ended("a", 143, 99);
    }, &[
        "image nginx:1: stopped for a change that was taken back",
        "start a#5: stopped for a change that was taken back",
    ]),
    ("an image mended in a crash loop starts at once", |w| {
        w.attempt("a", 4, 40);
        w.ended("a", 1, 99);
        w.edit(|v| v["spec"]["containers"][0]["image"] = json!("nginx:2"));
    }, &[
        "update to 2: changed in place: spec.containers[0].image",
        "image nginx:2: exited with 1, restartPolicy Always", "start a#5: exited with 1, restartPolicy Always",
    ]),
    ("an old instance is forgotten", |w| {
        let mut older = w.latest("a").clone();
        older.state = ContainerState::Exited(exit(1, at(1), at(2)));
        let mut oldest = older.clone();
        older.record.attempt = 1;
        oldest.record.attempt = 0;
        w.attempt("a", 2, 10);
        w.pod.as_mut().unwrap().containers.extend([older, oldest]);
    }, &["forget a#0: superseded by newer instances"]),
    ("an older instance is live", |w| {
        let mut older = w.latest("a").clone();
        older.state = ContainerState::Lost;
        w.attempt("a", 1, 0);
        w.pod.as_mut().unwrap().containers.push(older);
    }, &["reap a#0: its monitor died"]),
    ("the infra process died", |w| w.sandbox(Sandbox::Dead { attempt: 0 }), &[
        "stop a#0 30s: the infra process died", "stop b#0 30s: the infra process died",
    ]),
    ("the infra process died and its containers with it", |w| {
        w.sandbox(Sandbox::Dead { attempt: 0 });
        w.ended("a", 137, 99);
        w.ended("b", 137, 99);
    }, &["stop sandbox: the infra process died", "sandbox#1: the infra process died"]),
    ("containers left in a sandbox that is gone", |w| { w.sandbox(Sandbox::Absent); w.ended("a", 137, 99); }, &[
        "stop b#0 30s: the infra process died",
    ]),
    ("a new sandbox runs everything again", |w| {
        w.ended("a", 137, 99);
        w.ended("b", 0, 99);
        w.sandbox(Sandbox::Ready { attempt: 1, pid: 9, started_at: at(99), ips: vec![] });
    }, &[
        "image nginx:1: first start", "start a#1: first start", "image redis:1: first start", "start b#1: first start",
    ]),
    ("a clock set back", |w| {
        w.attempt("a", 3, 20);
        w.latest("a").record.created_at = at(4998);
        w.ended("a", 1, 5000);
    }, &[
        "image nginx:1: exited with 1, restartPolicy Always", "start a#4 after 40s: exited with 1, restartPolicy Always",
    ]),
];

#[test]
fn the_next_steps_of_a_running_pod() {
    check(base, ROWS);
}

pub(super) const TABLES: &[Table] = &[(base, ROWS)];
