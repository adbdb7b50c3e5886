//! Pods that ask to be restarted when data that they use changes.

use podwright::model::{FieldChange, PodMemory, Verb};
use podwright::plan::{converged, fleet};
use serde_json::{Value, json};

use super::world::{World, at};
use crate::admit::without_tokens::{admitted, pod_of};

const ASKS: &str = "podwright.dev/restart-on-data-change";

fn map(value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": value, "b": "2"}})
}

fn pod(asks: &str, spec: Value) -> Value {
    let metadata = json!({"name": "p", "annotations": {ASKS: asks}});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

fn variable(name: &str) -> Value {
    let from = json!([{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "a"}}}]);
    json!({"name": name, "image": "i", "env": from})
}

fn mount(name: &str) -> Value {
    json!({"name": name, "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/x"}]})
}

fn bare(name: &str) -> Value {
    json!({"name": name, "image": "i"})
}

fn volumes() -> Value {
    json!([{"name": "v", "configMap": {"name": "m"}}])
}

fn sidecar(mut container: Value) -> Value {
    container["restartPolicy"] = json!("Always");
    container
}

fn line(change: &FieldChange) -> String {
    let told =
        |text: &Option<String>, word: &str| text.as_ref().map_or(String::new(), |text| format!("; {word}{text}"));
    let (note, instead) = (told(&change.note, ""), told(&change.avoidable, "avoidable: "));
    format!("{} {}{note}{instead}", change.effect.as_str(), change.field)
}

#[test]
fn only_what_takes_the_data_is_restarted_and_only_for_a_pod_that_asks() {
    const VARIABLE: &str = "restart container spec.containers[0].env[V]; avoidable: without the annotation \
        podwright.dev/restart-on-data-change variables keep their values until the container starts again";
    const FILES: &str =
        "avoidable: without the annotation podwright.dev/restart-on-data-change files follow without a restart";
    let rows: Vec<(&str, Value, Vec<String>)> = vec![
        ("a variable", pod("true", json!({"containers": [variable("c"), bare("d")]})), vec![VARIABLE.to_owned()]),
        (
            "a variable of a pod that does not ask",
            pod("false", json!({"containers": [variable("c")]})),
            vec!["update in place spec.containers[0].env[V]; takes effect when container c starts again".to_owned()],
        ),
        (
            "files of one container",
            pod("true", json!({"containers": [bare("c"), mount("d")], "volumes": volumes()})),
            vec![format!("restart container spec.volumes[v]; restarts container d; {FILES}")],
        ),
        (
            "files of several",
            pod(
                "true",
                json!({"initContainers": [mount("i"), sidecar(mount("s"))], "containers": [mount("c"), bare("d")],
                    "volumes": volumes()}),
            ),
            vec![format!("restart container spec.volumes[v]; restarts containers c and s; {FILES}")],
        ),
        (
            "files that nobody mounts",
            pod("true", json!({"containers": [bare("c")], "volumes": volumes()})),
            vec!["update in place spec.volumes[v]".to_owned()],
        ),
        (
            "an init container, which has run",
            pod("true", json!({"initContainers": [variable("i")], "containers": [bare("c")]})),
            vec![
                "update in place spec.initContainers[0].env[V]; takes effect when container i starts again".to_owned(),
            ],
        ),
        ("data that is not used", pod("true", json!({"containers": [bare("c")]})), vec![]),
    ];
    for (name, pod, expected) in rows {
        let all = |value: &str| admitted(&[pod.clone(), map(value)]);
        let plan = fleet(&all("9"), &converged(&all("1"), at(0)));
        let changes: Vec<String> = plan.actions.iter().flat_map(|action| action.changes()).map(line).collect();
        assert_eq!(changes, expected, "{name}");
        let restarts = expected.iter().any(|line| line.starts_with("restart"));
        assert_eq!(plan.actions.iter().any(|action| action.verb() == Verb::RestartContainer), restarts, "{name}");
    }
}

/// A pod in which `c` and the sidecar take the data and `d` does not.
fn running(asks: &str) -> (World, impl Fn(&str, &str) -> podwright::model::Admitted) {
    let spec = json!({
        "initContainers": [sidecar(mount("s"))], "containers": [variable("c"), bare("d")], "volumes": volumes(),
    });
    let admit = move |asks: &str, value: &str| admitted(&[pod(asks, spec.clone()), map(value)]);
    let first = admit(asks, "1");
    let mut world = World::new(&pod_of(&first, "default", "p"), &first.data);
    world.settle();
    world.log.clear();
    (world, admit)
}

fn follow(world: &mut World, admitted: &podwright::model::Admitted) {
    world.target = Some(pod_of(admitted, "default", "p"));
    world.data = (*admitted.data).clone();
    world.settle();
}

const RESTARTED: [&str; 6] = ["stop s#0 30s", "stop c#0 30s", "image i", "start s#1", "image i", "start c#1"];

#[test]
fn the_containers_that_take_the_data_are_stopped_and_started_once() {
    let (mut world, admit) = running("true");
    follow(&mut world, &admit("true", "9"));
    assert_eq!(world.log, [&["update to 1", "volumes v"][..], &RESTARTED].concat());
    assert!(world.story.iter().any(|line| line.ends_with("start c#1: data of a ConfigMap or Secret changed")));
    assert!(fleet(&admit("true", "9"), &[world.pod.clone().unwrap()]).actions.is_empty());
}

#[test]
fn an_agent_that_dies_before_the_restart_makes_up_for_it() {
    let (mut world, admit) = running("true");
    let after = admit("true", "9");
    world.data = (*after.data).clone();
    let steps = world.plan().steps;
    world.perform_steps(&steps[..1]);
    world.memory = PodMemory::default();
    world.log.clear();
    world.settle();
    assert_eq!(world.log, [&["volumes v"][..], &RESTARTED].concat());
}

#[test]
fn who_asks_later_is_restarted_for_what_changed_since_its_start() {
    let (mut world, admit) = running("false");
    follow(&mut world, &admit("false", "9"));
    assert_eq!(world.log, ["update to 1", "volumes v"]);
    world.log.clear();
    follow(&mut world, &admit("true", "9"));
    assert_eq!(world.log, [&["update to 2"][..], &RESTARTED].concat());
}

#[test]
fn what_cannot_be_known_restarts_nothing() {
    let (mut world, admit) = running("true");
    // A record of a version that kept none of this.
    for container in &mut world.pod.as_mut().unwrap().containers {
        container.record.data = None;
    }
    follow(&mut world, &admit("true", "9"));
    assert_eq!(world.log, ["update to 1", "volumes v"]);
    // No revision can be read.
    let (mut world, _) = running("true");
    world.known = false;
    world.memory = PodMemory::default();
    world.settle();
    assert!(world.log.is_empty(), "{:?}", world.log);
}

#[test]
fn what_could_not_start_with_the_data_of_now_runs_on() {
    let (mut world, admit) = running("true");
    let mut gone = admit("true", "9");
    gone.data = std::sync::Arc::new(podwright::model::DataObjects::default());
    follow(&mut world, &gone);
    assert_eq!(world.log, ["update to 1"]);
    // It comes back, with another value: that is what they are restarted for.
    world.log.clear();
    follow(&mut world, &admit("true", "9"));
    assert_eq!(world.log, [&["update to 1", "volumes v"][..], &RESTARTED].concat());
}

#[test]
fn a_variable_that_cannot_be_had_any_more_stops_nothing() {
    let all = |map: Value| admitted(&[pod("true", json!({"containers": [variable("c")]})), map]);
    let first = all(map("1"));
    let mut world = World::new(&pod_of(&first, "default", "p"), &first.data);
    world.settle();
    world.log.clear();
    // The key that it needs is gone.
    follow(
        &mut world,
        &all(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"b": "2"}})),
    );
    assert_eq!(world.log, ["update to 1"]);
    world.log.clear();
    follow(&mut world, &all(map("9")));
    assert_eq!(world.log, ["update to 1", "stop c#0 30s", "image i", "start c#1"]);
}

#[test]
fn what_crashes_while_its_files_are_of_before_is_restarted_when_they_are_not() {
    let (mut world, admit) = running("true");
    let after = admit("true", "9");
    world.target = Some(pod_of(&after, "default", "p"));
    world.data = (*after.data).clone();
    let steps = world.plan().steps;
    // The record is written, the files cannot be.
    world.perform_steps(&steps[..1]);
    world.memory = podwright::plan::note_failure(&world.memory, "", "FailedMount", "no space left", world.now);
    world.log.clear();
    world.settle();
    assert!(world.log.is_empty(), "{:?}", world.log);
    let containers = &mut world.pod.as_mut().unwrap().containers;
    let sidecar = containers.iter_mut().find(|container| container.record.name == "s").unwrap();
    sidecar.state = podwright::model::ContainerState::Exited(super::world::exit(1, at(0), at(0)));
    world.settle();
    assert_eq!(world.log, ["image i", "start s#1"]);
    world.memory = PodMemory::default();
    world.log.clear();
    world.settle();
    assert_eq!(
        world.log,
        ["volumes v", "stop s#1 30s", "stop c#0 30s", "image i", "start s#2", "image i", "start c#1", "forget s#0"]
    );
}
