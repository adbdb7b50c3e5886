//! Images of volumes: when they are asked for, what waits for them and for how long.

use std::collections::BTreeMap;

use podwright::model::{ImageNeed, PodAction, PodPlan};
use podwright::plan::note_step;
use serde_json::json;

use super::world::World;
use crate::admit::without_tokens::{admitted, pod_of};

/// A pod whose first container mounts an image; the one beside it does not.
fn world() -> World {
    let admitted = admitted(&[
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {".dockerconfigjson": "{}"}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
            "imagePullSecrets": [{"name": "s"}],
            "containers": [
                {"name": "a", "image": "a:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/w"}]},
                {"name": "b", "image": "b:1"},
            ],
            "volumes": [{"name": "v", "image": {"reference": "files"}}, {"name": "other", "image": {"reference": "other:1"}}],
        }}),
    ]);
    World::new(&pod_of(&admitted, "default", "p"), &admitted.data)
}

/// With its sandbox.
fn begun() -> World {
    let mut world = world();
    let first = world.plan();
    world.perform_steps(&first.steps);
    world
}

/// Its containers that are there, by name.
fn started(world: &World) -> Vec<&str> {
    let containers = world.pod.iter().flat_map(|pod| &pod.containers);
    let mut names: Vec<&str> = containers.map(|container| container.record.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn needs(plan: &PodPlan) -> Vec<&ImageNeed> {
    let needs = plan.steps.iter().filter_map(|step| match &step.action {
        PodAction::EnsureImage(need) => Some(need),
        _ => None,
    });
    needs.collect()
}

#[test]
fn the_images_of_volumes_are_made_present_before_that_of_their_container() {
    let mut world = world();
    world.settle();
    let expected = ["create", "sandbox#0", "image files", "image a:1", "start a#0", "image b:1", "start b#0"];
    assert_eq!(world.log, expected);
    let plan = begun().plan();
    let told: Vec<_> = needs(&plan)
        .iter()
        .map(|n| (n.container.as_str(), n.volume.as_deref(), n.image.as_str(), n.policy.as_str(), n.secrets.len()))
        .collect();
    let expected = [
        ("a", Some("v"), "files", "Always", 1),
        ("a", None, "a:1", "IfNotPresent", 1),
        ("b", None, "b:1", "IfNotPresent", 1),
    ];
    assert_eq!(told, expected);
}

#[test]
fn an_image_that_is_not_there_holds_up_the_containers_that_mount_it_alone() {
    let mut world = world();
    world.missing.insert("files".into());
    let plan = world.settle();
    assert_eq!(started(&world), ["b"]);
    let told = "Back-off pulling image \"files\": ErrImagePull: no such image";
    assert_eq!(plan.waiting["a"], ("ImagePullBackOff".to_owned(), told.to_owned()));
    assert_eq!(plan.holds.iter().map(|hold| hold.container.as_str()).collect::<Vec<_>>(), ["a"]);
    // Its wait is over.
    world.missing.clear();
    world.settle_until(super::world::at(60));
    assert_eq!(started(&world), ["a", "b"]);
}

#[test]
fn what_else_is_wrong_with_an_image_names_it() {
    let mut world = begun();
    let plan = world.plan();
    let need = needs(&plan)[0];
    world.memory = podwright::plan::note_failed_pull(&world.memory, need, ("ErrImageNeverPull", "why"), world.now);
    let told = world.plan().waiting["a"].clone();
    assert_eq!(told, ("ErrImageNeverPull".to_owned(), "image of a volume \"files\": why".to_owned()));
}

#[test]
fn while_an_image_is_pulled_its_container_waits_and_nothing_is_begun_twice() {
    let mut world = begun();
    world.memory.pulls = BTreeMap::from([("a".to_owned(), "files".to_owned())]);
    let plan = world.plan();
    assert!(needs(&plan).is_empty() && plan.steps.is_empty(), "{:?}", plan.steps);
    assert_eq!(plan.holds[0].message, "image \"files\" is being pulled");
    // One that it does not need holds nothing up.
    world.memory.pulls = BTreeMap::from([("a".to_owned(), "other:1".to_owned())]);
    assert_eq!(needs(&world.plan()).len(), 3);
}

#[test]
fn a_change_of_the_pod_ends_the_wait_for_an_image_only_when_it_is_not_asked_for_any_more() {
    let mut world = begun();
    let plan = world.plan();
    for (container, image) in [("a", "files"), ("b", "files"), ("b", "b:1")] {
        let need = ImageNeed { container: container.into(), image: image.into(), ..needs(&plan)[0].clone() };
        world.memory = podwright::plan::note_failed_pull(&world.memory, &need, ("ErrImagePull", "why"), world.now);
        let record = Box::new(world.pod.as_ref().unwrap().record.clone());
        let after = note_step(&world.memory, &PodAction::UpdatePod { record });
        let kept = after.failures.contains_key(container);
        assert_eq!(kept, (container, image) != ("b", "files"), "{image} of {container}");
    }
}
