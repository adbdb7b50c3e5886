//! Other cpu and memory for a pod that runs.

use podwright::model::{ContainerState, PodMemory, Resources};
use serde_json::{Value, json};

use super::super::world::{World, at};
use super::{Row, Table, check, settled};

/// `a` takes memory only with a restart; `b` and the sidecar take both as they are.
fn base() -> World {
    let resources = json!({"limits": {"cpu": "1", "memory": "64Mi"}});
    let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    settled(
        json!({
            "initContainers": [
                {"name": "init", "image": "i:1", "resources": resources},
                {"name": "side", "image": "s:1", "restartPolicy": "Always", "resources": resources},
            ],
            "containers": [
                {"name": "a", "image": "a:1", "resources": resources, "resizePolicy": policy},
                {"name": "b", "image": "b:1", "resources": resources},
            ],
        }),
        &[],
    )
}

/// Sets a limit of a container: of the list, at the index.
fn limit(w: &mut World, list: &str, at: usize, resource: &str, amount: &str) {
    w.edit(|v| v["spec"][list][at]["resources"]["limits"][resource] = json!(amount));
}

fn apps(w: &mut World, at: usize, resource: &str, amount: &str) {
    limit(w, "containers", at, resource, amount);
}

/// The record of the pod has what is wanted: the containers have yet to be given it.
fn recorded(w: &mut World) {
    w.pod.as_mut().unwrap().record.realised = w.target.clone().unwrap();
}

fn unknown(w: &mut World, name: &str) {
    w.latest(name).record.resources = None;
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("nothing differs", |_| {}, &[]),
    ("a crash loop waits", |w| { w.attempt("b", 4, 40); w.ended("b", 1, 99); }, &[
        "hold b CrashLoopBackOff until 179: back-off 1m20s restarting failed container=b pod=p_default(UID)", "wake 179",
        "b waits: CrashLoopBackOff back-off 1m20s restarting failed container=b pod=p_default(UID)",
    ]),
    ("with other resources it starts at once",
        |w| { w.attempt("b", 4, 40); w.ended("b", 1, 99); apps(w, 1, "memory", "128Mi"); }, &[
        "update to 2: changed in place: spec.containers[1].resources.limits.memory",
        "image b:1: exited with 1, restartPolicy Always", "start b#5: exited with 1, restartPolicy Always",
    ]),
    ("more memory", |w| apps(w, 1, "memory", "128Mi"), &[
        "update to 2: changed in place: spec.containers[1].resources.limits.memory",
        "resize b#0: resources changed: limits.memory from 64Mi to 128Mi, requests.memory from 64Mi to 128Mi",
    ]),
    ("the same in other words", |w| apps(w, 1, "memory", "65536Ki"), &[]),
    ("a request alone", |w| w.edit(|v| v["spec"]["containers"][1]["resources"]["limits"]["cpu"] = json!("1")), &[]),
    ("cpu of the one that takes memory only with a restart", |w| apps(w, 0, "cpu", "2"), &[
        "update to 2: changed in place: spec.containers[0].resources.limits.cpu",
        "resize a#0: resources changed: limits.cpu from 1 to 2, requests.cpu from 1 to 2",
    ]),
    ("memory with a restart", |w| { w.stubborn.insert("a".into()); apps(w, 0, "memory", "128Mi"); }, &[
        "update to 2: changed in place: spec.containers[0].resources.limits.memory",
        "stop a#0 30s: resources changed: limits.memory from 64Mi to 128Mi, requests.memory from 64Mi to 128Mi",
    ]),
    ("both of them, and of another container, too", |w| {
        apps(w, 0, "memory", "128Mi");
        apps(w, 0, "cpu", "500m");
        apps(w, 1, "cpu", "2");
    }, &[
        "update to 2: changed in place: spec.containers[0].resources.limits.cpu, spec.containers[0].resources.limits.memory, spec.containers[1].resources.limits.cpu",
        "stop a#0 30s: resources changed: limits.cpu from 1 to 500m, limits.memory from 64Mi to 128Mi, requests.cpu from 1 to 500m, requests.memory from 64Mi to 128Mi",
        "resize b#0: resources changed: limits.cpu from 1 to 2, requests.cpu from 1 to 2",
    ]),
    ("of the sidecar", |w| limit(w, "initContainers", 1, "cpu", "2"), &[
        "update to 2: changed in place: spec.initContainers[1].resources.limits.cpu",
        "resize side#0: resources changed: limits.cpu from 1 to 2, requests.cpu from 1 to 2",
    ]),
    ("of an init container that has run", |w| limit(w, "initContainers", 0, "cpu", "2"), &[
        "update to 2: changed in place: spec.initContainers[0].resources.limits.cpu; an init container that has run does not run again",
    ]),
    ("the agent died between record and container", |w| { apps(w, 1, "cpu", "2"); recorded(w); w.memory = PodMemory::default(); }, &[
        "resize b#0: resources changed: limits.cpu from 1 to 2, requests.cpu from 1 to 2",
    ]),
    ("the agent died before the restart", |w| { apps(w, 0, "memory", "1Gi"); recorded(w); w.memory = PodMemory::default(); }, &[
        "stop a#0 30s: resources changed: limits.memory from 64Mi to 1Gi, requests.memory from 64Mi to 1Gi",
    ]),
    ("stopped for it, it starts whatever the policy", |w| {
        apps(w, 0, "memory", "128Mi");
        recorded(w);
        w.stopping("a", 99, 30);
        w.ended("a", 0, 100);
    }, &[
        "image a:1: resources changed: limits.memory from 64Mi to 128Mi, requests.memory from 64Mi to 128Mi",
        "start a#1: resources changed: limits.memory from 64Mi to 128Mi, requests.memory from 64Mi to 128Mi",
    ]),
    ("taken back while it stops", |w| { w.stopping("a", 99, 30); w.ended("a", 143, 100); }, &[
        "image a:1: stopped for a change that was taken back", "start a#1: stopped for a change that was taken back",
    ]),
    ("changed again while it stops", |w| {
        w.stubborn.insert("a".into());
        apps(w, 0, "memory", "128Mi");
        w.settle();
        apps(w, 0, "cpu", "2");
        recorded(w);
        w.now = at(110);
    }, &["hold a Terminating until 130: told to stop, waiting for its end", "wake 130"]),
    ("more memory in a crash loop starts at once", |w| {
        w.attempt("b", 4, 40);
        w.ended("b", 137, 99);
        apps(w, 1, "memory", "128Mi");
    }, &[
        "update to 2: changed in place: spec.containers[1].resources.limits.memory",
        "image b:1: exited with 137, restartPolicy Always", "start b#5: exited with 137, restartPolicy Always",
    ]),
    ("a label in a crash loop mends nothing", |w| {
        w.attempt("b", 4, 40);
        w.ended("b", 137, 99);
        w.edit(|v| v["metadata"]["labels"]["app"] = json!("y"));
    }, &[
        "update to 2: changed in place: metadata.labels[app]",
        "hold b CrashLoopBackOff until 179: back-off 1m20s restarting failed container=b pod=p_default(UID)", "wake 179",
        "b waits: CrashLoopBackOff back-off 1m20s restarting failed container=b pod=p_default(UID)",
    ]),
    ("with another image it is a restart for that", |w| {
        w.stubborn.insert("b".into());
        apps(w, 1, "cpu", "2");
        w.edit(|v| v["spec"]["containers"][1]["image"] = json!("b:2"));
    }, &[
        "update to 2: changed in place: spec.containers[1].image, spec.containers[1].resources.limits.cpu",
        "stop b#0 30s: image changed from b:1 to b:2",
    ]),
    ("a record that does not say is told once", |w| unknown(w, "b"), &[
        "resize b#0: resources changed: limits.cpu from none to 1, limits.memory from none to 64Mi, requests.cpu from none to 1, requests.memory from none to 64Mi",
    ]),
    ("and restarts nothing", |w| unknown(w, "a"), &[
        "resize a#0: resources changed: limits.cpu from none to 1, limits.memory from none to 64Mi, requests.cpu from none to 1, requests.memory from none to 64Mi",
    ]),
    ("one that was lost is reaped first", |w| { apps(w, 1, "cpu", "2"); recorded(w); w.state("b", ContainerState::Lost); }, &[
        "reap b#0: its monitor died",
    ]),
    ("a pod that goes is not resized", |w| { apps(w, 1, "cpu", "2"); recorded(w); w.stubborn.insert("a".into()); w.target = None; }, &[
        "mark deleted 30s: removed from the manifests", "stop a#0 30s: removed from the manifests", "stop b#0 30s: removed from the manifests",
        "wake 130",
    ]),
];

#[test]
fn cpu_and_memory_reach_what_runs() {
    check(base, ROWS);
}

#[test]
fn an_init_container_that_runs_is_resized_and_starts_anew_with_what_it_was_given() {
    let spec = |cpu: &str| -> Value {
        json!({"initContainers": [{"name": "slow", "image": "i:1", "resources": {"limits": {"cpu": cpu, "memory": "1Mi"}}}],
            "containers": [{"name": "a", "image": "a:1"}]})
    };
    let mut world = settled(spec("1"), &[]);
    world.edit(|v| v["spec"] = spec("2"));
    world.settle();
    assert_eq!(world.log, ["update to 2", "resize slow#0"]);
    let cpu = |resources: &Option<Resources>| resources.as_ref().unwrap().limits.cpu.clone().unwrap();
    assert_eq!(cpu(&world.latest("slow").record.resources), "2");
    world.ended("slow", 1, 100);
    world.settle();
    assert_eq!(cpu(&world.latest("slow").record.resources), "2");
    assert_eq!(world.latest("slow").record.attempt, 1);
}

pub(super) const TABLES: &[Table] = &[(base, ROWS)];
