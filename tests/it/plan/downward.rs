//! Files that show a pod itself: its name and marks, and what its containers may use.

use podwright::model::{ContainerState, PodAction, PodPlan, VolumeMaterial};
use podwright::plan::{Change, change};
use serde_json::{Value, json};

use super::world::{World, at, exit, word};
use crate::admit::without_tokens::{admitted, pod_of};

/// A pod with one volume of these items.
fn pod(labels: &Value, items: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "shop", "labels": labels, "annotations": {"a.b/Note": "two\nlines", "b": "say \"it\""}},
        "spec": {
            "containers": [
                {"name": "c", "image": "i:1", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}, "requests": {"cpu": "100m"}},
                    "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}, {"resourceName": "memory", "restartPolicy": "NotRequired"}],
                    "env": [{"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}}]},
                {"name": "d", "image": "i:1", "resources": {"limits": {"memory": "0"}}},
            ],
            "initContainers": [{"name": "init", "image": "i:1", "resources": {"limits": {"cpu": "3"}}}],
            "volumes": [{"name": "podinfo", "downwardAPI": {"items": items, "defaultMode": 0o640}}],
        },
    })
}

fn labels() -> Value {
    json!({"zone": "us-est-coast", "cluster": "test-cluster1", "rack": "rack-22"})
}

fn world(pod: Value) -> World {
    let admitted = admitted(&[pod]);
    let mut world = World::new(&pod_of(&admitted, "shop", "p"), &admitted.data);
    world.node.allocatable.insert("memory".into(), "3Gi".into());
    world
}

/// Path, text and mode of each file that a plan makes, and whether they are kept in memory.
type Files = Vec<(String, String, u32)>;

fn files(plan: &PodPlan) -> Option<(Files, bool)> {
    plan.steps.iter().find_map(|step| match &step.action {
        PodAction::SyncVolumes { volumes, .. } => match &volumes[0].material {
            VolumeMaterial::Files { files, sensitive } => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let files = files.iter().map(|f| (f.path.clone(), text(f.bytes.reveal()), f.mode)).collect();
                Some((files, *sensitive))
            }
            other => panic!("{other:?}"),
        },
        _ => None,
    })
}

/// The text of a file that shows this, or why the pod waits.
fn shown(source: &Value) -> Result<String, String> {
    let mut item = json!({"path": "f"});
    item.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
    let plan = world(pod(&labels(), &json!([item]))).plan();
    match files(&plan) {
        Some((files, _)) => Ok(files[0].1.clone()),
        None => {
            let message = plan.holds[0].message.clone();
            Err(message.strip_prefix("MountVolume.SetUp failed for volume \"podinfo\" : ").unwrap().to_owned())
        }
    }
}

fn field(path: &str) -> Value {
    json!({"fieldRef": {"fieldPath": path}})
}

fn resource(container: &str, resource: &str, divisor: &str) -> Value {
    json!({"resourceFieldRef": {"containerName": container, "resource": resource, "divisor": divisor}})
}

#[test]
fn each_field_is_written_as_the_kubelet_writes_it() {
    for (source, expected) in [
        (field("metadata.name"), "p"),
        (field("metadata.namespace"), "shop"),
        // The document's own.
        (field("metadata.labels"), "cluster=\"test-cluster1\"\nrack=\"rack-22\"\nzone=\"us-est-coast\""),
        (field("metadata.annotations"), "a.b/Note=\"two\\nlines\"\nb=\"say \\\"it\\\"\""),
        // One value alone is not quoted.
        (field("metadata.labels['rack']"), "rack-22"),
        (field("metadata.labels['none']"), ""),
        (field("metadata.annotations['a.b/Note']"), "two\nlines"),
        (resource("c", "limits.cpu", "1"), "2"),
        (resource("c", "limits.cpu", "1m"), "1500"),
        (resource("c", "limits.cpu", "0"), "2"),
        (resource("c", "limits.memory", "1"), "67108864"),
        (resource("c", "limits.memory", "1Mi"), "64"),
        (resource("c", "limits.memory", "1M"), "68"),
        (resource("c", "limits.memory", "1Gi"), "1"),
        (resource("c", "requests.cpu", "1m"), "100"),
        // A request that is not written is the limit.
        (resource("c", "requests.memory", "1Mi"), "64"),
        (resource("init", "limits.cpu", "1"), "3"),
        // Without a limit, or with one of nothing, what the machine offers.
        (resource("d", "limits.cpu", "1m"), "2000"),
        (resource("d", "limits.memory", "1Mi"), "3072"),
        (resource("d", "limits.ephemeral-storage", "1"), "0"),
        (resource("d", "requests.cpu", "1m"), "0"),
        (resource("d", "limits.hugepages-2Mi", "1Mi"), "0"),
        (resource("d", "requests.hugepages-2Mi", "1Mi"), "0"),
    ] {
        assert_eq!(shown(&source).as_deref(), Ok(expected), "{source}");
    }
    let mut made = world(pod(&labels(), &json!([{"path": "f", "fieldRef": {"fieldPath": "metadata.uid"}}])));
    let plan = made.plan();
    made.perform_steps(&plan.steps);
    assert_eq!(files(&plan).unwrap().0[0].1, made.pod.unwrap().record.uid.0);
    let none = world(pod(&json!({}), &json!([{"path": "f", "fieldRef": {"fieldPath": "metadata.labels"}}])));
    assert_eq!(files(&none.plan()).unwrap().0[0].1, "");
}

#[test]
fn what_a_file_cannot_show_is_told_in_the_words_of_the_kubelet() {
    for (source, expected) in [
        (field("status.podIP"), "unsupported fieldPath: status.podIP"),
        (field("spec.nodeName"), "unsupported fieldPath: spec.nodeName"),
        (field("['x']"), "unsupported fieldPath: ['x']"),
        (field("metadata.name['x']"), "fieldPath \"metadata.name['x']\" does not support subscript"),
        (resource("no", "limits.cpu", "1"), "container no not found"),
        (resource("", "limits.cpu", "1"), "container  not found"),
        (resource("c", "limits.disk", "1"), "unsupported container resource : limits.disk"),
        (resource("c", "cpu", "1"), "unsupported container resource : cpu"),
    ] {
        assert_eq!(shown(&source), Err(expected.to_owned()), "{source}");
    }
    let item = |path: &str, source: Value| {
        let mut item = json!({"path": path});
        item.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        item
    };
    let twice = json!([item("a", field("x")), item("b", field("x")), item("c", resource("no", "limits.cpu", "1"))]);
    let message = world(pod(&labels(), &twice)).plan().holds[0].message.clone();
    let each_once =
        "MountVolume.SetUp failed for volume \"podinfo\" : [unsupported fieldPath: x, container no not found]";
    assert_eq!(message, each_once);
}

#[test]
fn files_have_their_modes_and_stay_in_memory() {
    let items = json!([
        {"path": "z/./name", "fieldRef": {"fieldPath": "metadata.name"}},
        {"path": "./labels", "mode": 0o400, "fieldRef": {"fieldPath": "metadata.labels['rack']"}},
        {"path": "z//name", "mode": 0o444, "fieldRef": {"fieldPath": "metadata.namespace"}},
    ]);
    let (found, in_memory) = files(&world(pod(&labels(), &items)).plan()).unwrap();
    // The later one of two with one path.
    let expected = [("labels", "rack-22", 0o400), ("z/name", "shop", 0o444)];
    assert_eq!(found, expected.map(|(path, text, mode)| (path.to_owned(), text.to_owned(), mode)));
    assert!(in_memory, "as with the kubelet");
}

#[test]
fn a_projected_source_shows_the_pod_too() {
    let mut all = pod(&labels(), &json!([]));
    let items = json!([{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]);
    let map = json!({"configMap": {"name": "m", "optional": true}});
    all["spec"]["volumes"] = json!([{"name": "podinfo", "projected": {"defaultMode": 0o444, "sources": [{"downwardAPI": {"items": items}}, map]}}]);
    let (found, in_memory) = files(&world(all.clone()).plan()).unwrap();
    let text = "cluster=\"test-cluster1\"\nrack=\"rack-22\"\nzone=\"us-est-coast\"";
    assert_eq!(found, [("labels".to_owned(), text.to_owned(), 0o444)]);
    assert!(in_memory);
    // What is wrong with each source is told, each once.
    let bad = json!([{"path": "a", "fieldRef": {"fieldPath": "x"}}, {"path": "b", "fieldRef": {"fieldPath": "y"}}]);
    let source = json!({"downwardAPI": {"items": bad}});
    all["spec"]["volumes"][0]["projected"]["sources"] = json!([source, {"secret": {"name": "no"}}, source]);
    let message = world(all).plan().holds[0].message.clone();
    let told = "[unsupported fieldPath: x, unsupported fieldPath: y, secret \"no\" not found]";
    assert_eq!(message, format!("MountVolume.SetUp failed for volume \"podinfo\" : {told}"));
}

/// The steps as words, and the files that they make.
fn next(world: &World) -> (Vec<String>, Option<Files>) {
    let plan = world.plan();
    let words = plan.steps.iter().map(|step| word(&step.action)).collect();
    (words, files(&plan).map(|(files, _)| files))
}

#[test]
fn other_labels_and_amounts_reach_the_files_and_start_nothing() {
    let items = json!([
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu", "divisor": "1m"}},
    ]);
    let mut made = world(pod(&labels(), &items));
    made.exits.insert("init".into(), 0);
    made.settle();
    assert_eq!(next(&made), (vec![], None));

    let mut other = pod(&json!({"zone": "eu"}), &items);
    let target = |pod: Value| pod_of(&admitted(&[pod]), "shop", "p");
    made.target = Some(target(other.clone()));
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned(), 0o640);
    let expected = vec![file("cpu", "1500"), file("labels", "zone=\"eu\"")];
    assert_eq!(next(&made), (vec!["update to 2".to_owned(), "volumes podinfo".to_owned()], Some(expected)));
    made.settle();
    // Of one that is in a variable it is told when that follows.
    let mut named = other.clone();
    named["metadata"]["labels"]["rack"] = json!("23");
    let variable = json!({"name": "RACK", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['rack']"}}});
    let with = |mut pod: Value| {
        pod["spec"]["containers"][1]["env"] = json!([variable]);
        target(pod)
    };
    let Change::InPlace(changes) = change(&with(other.clone()), &with(named)) else { panic!("not in place") };
    let told: Vec<_> = changes.iter().map(|change| (change.field.as_str(), change.note.as_deref())).collect();
    assert_eq!(told, [("metadata.labels[rack]", Some("takes effect when container d starts again"))]);

    other["spec"]["containers"][0]["resources"]["limits"]["cpu"] = json!("1600m");
    made.target = Some(target(other));
    let steps = ["update to 3", "volumes podinfo", "resize c#0"].map(str::to_owned).to_vec();
    assert_eq!(next(&made), (steps, Some(vec![file("cpu", "1600"), file("labels", "zone=\"eu\"")])));
    made.settle();
    assert_eq!(next(&made), (vec![], None));

    // A variable has the new amount from the next instance on.
    let started = |plan: &PodPlan| {
        plan.steps.iter().find_map(|step| match &step.action {
            PodAction::StartContainer(start) => Some(start.env[0].value.reveal().clone()),
            _ => None,
        })
    };
    let ended = ContainerState::Exited(exit(1, at(0), at(0)));
    made.pod.as_mut().unwrap().containers.iter_mut().find(|c| c.record.name == "c").unwrap().state = ended;
    made.now = at(100);
    assert_eq!(started(&made.plan()).as_deref(), Some("1600"));
}
