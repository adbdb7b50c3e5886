//! Where fields come from: every leaf has one origin, and the place it names holds the value.

use std::collections::BTreeMap;

use podwright::admit::{LeafOrigin, Origins, admit};
use podwright::model::{Desired, Kind, ObjectKey, Origin, PodKey, SourceRef};
use podwright::report::object_yaml;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::read;

/// Pointers and values of everything without fields of its own.
fn leaves(value: &Value, at: &str, out: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.iter().for_each(|(k, v)| leaves(v, &format!("{at}/{}", k.replace('/', "~1")), out));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(i, v)| leaves(v, &format!("{at}/{i}"), out));
        }
        leaf => {
            out.insert(at.to_owned(), leaf.clone());
        }
    }
}

fn env(letters: &'static str) -> impl Strategy<Value = Vec<Value>> {
    let value = prop_oneof![
        "[a-z]{6}".prop_map(|text| json!({ "value": text })),
        Just(json!({"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})),
        any::<bool>().prop_map(|optional| {
            json!({"valueFrom": {"configMapKeyRef": {"name": "map", "key": "k", "optional": optional}}})
        }),
    ];
    prop::collection::btree_map(letters, value, 0..4).prop_map(|map| {
        let named = |(name, mut value): (String, Value)| {
            value["name"] = json!(name);
            value
        };
        map.into_iter().map(named).collect()
    })
}

fn volumes(letters: &'static str) -> impl Strategy<Value = Vec<Value>> {
    let source = prop::sample::select(vec![
        json!({}),
        json!({"emptyDir": {}}),
        json!({"emptyDir": {"medium": "Memory"}}),
        json!({"hostPath": {"path": "/srv/data"}}),
        json!({"configMap": {"name": "map", "optional": true}}),
        json!({"secret": {"secretName": "keys", "optional": true, "defaultMode": 0o400}}),
    ]);
    prop::collection::btree_map(letters, source, 0..3).prop_map(|map| {
        let named = |(name, mut value): (String, Value)| {
            value["name"] = json!(name);
            value
        };
        map.into_iter().map(named).collect()
    })
}

fn mounts(volumes: &[Value]) -> Vec<Value> {
    let name = |v: &Value| v["name"].as_str().unwrap().to_owned();
    volumes.iter().map(|v| json!({"name": name(v), "mountPath": format!("/mnt/{}", name(v))})).collect()
}

fn container(name: &'static str, volumes: Vec<Value>) -> impl Strategy<Value = Value> {
    let probe = prop::option::of(prop::sample::select(vec![json!({"limits": {"cpu": "1"}}), json!({})]));
    (env("[A-D]"), probe, prop::option::of("[a-z]{4,9}")).prop_map(move |(env, resources, image)| {
        let mut container = json!({"name": name, "image": image.unwrap_or_else(|| "nginx:1".into())});
        container["volumeMounts"] = json!(mounts(&volumes));
        container["env"] = json!(env);
        container["ports"] = json!([{"containerPort": 8080}]);
        if let Some(resources) = resources {
            container["resources"] = resources;
        }
        container
    })
}

fn pod() -> impl Strategy<Value = Value> {
    let parts = volumes("[vw]").prop_flat_map(|volumes| {
        let containers = (container("app", volumes.clone()), prop::option::of(container("init", vec![])));
        (containers, Just(volumes), prop::option::of(Just(json!({"note/a.b": "text"}))))
    });
    parts.prop_map(|((app, init), volumes, annotations)| {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"app": "web"}},
            "spec": {"containers": [app], "volumes": volumes},
        });
        if let Some(init) = init {
            pod["spec"]["initContainers"] = json!([init]);
        }
        if let Some(annotations) = annotations {
            pod["metadata"]["annotations"] = annotations;
        }
        pod
    })
}

fn preset(name: &'static str, letters: &'static str, names: &'static str) -> impl Strategy<Value = Value> {
    (env(letters), volumes(names)).prop_map(move |(env, volumes)| {
        json!({
            "apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset", "metadata": {"name": name},
            "spec": {"selector": {}, "env": env, "volumeMounts": mounts(&volumes), "volumes": volumes},
        })
    })
}

/// Whether the value stands on this line, and its key, or an item of a list itself, at this column.
fn stands_at(files: &[(&str, String)], at: &SourceRef, pointer: &str, value: &str) -> bool {
    let (_, text) = files.iter().find(|(name, _)| **name == *at.path).unwrap();
    let line = text.lines().nth(at.line as usize - 1).unwrap();
    let key = pointer.rsplit('/').next().unwrap().replace("~1", "/");
    let at_column = line.get(at.column as usize - 1..).is_some_and(|rest| rest.starts_with(&format!("{key}:")));
    line.contains(value) && at_column
}

fn origins(desired: &Desired, key: &PodKey, shown: &Value) -> Vec<LeafOrigin> {
    let (object, pod) = &desired.pods[key];
    Origins::new(desired).of(object, Some(&pod.open()), shown)
}

fn check(pod: &Value, presets: &[Value]) -> Result<bool, TestCaseError> {
    let mut files = vec![("pod.yaml", object_yaml(pod))];
    files.extend(["a.yaml", "b.yaml"].into_iter().zip(presets.iter().map(object_yaml)));
    let desired = read(&files);
    let admitted = admit(&desired);
    prop_assert!(admitted.is_ok(), "{:?}", admitted);
    let admitted = admitted.unwrap();
    let admitted = &admitted.pods[&PodKey::new("default", "p")];
    let merged = serde_json::to_value(&admitted.spec).unwrap();
    for shown in [&admitted.spec, &admitted.effective] {
        let shown = serde_json::to_value(shown).unwrap();
        let mut expected = BTreeMap::new();
        leaves(&shown, "", &mut expected);
        let found = origins(&desired, &admitted.key, &shown);
        let pointers: Vec<&String> = found.iter().map(|leaf| &leaf.pointer).collect();
        let unique: std::collections::BTreeSet<&String> = pointers.iter().copied().collect();
        prop_assert_eq!(unique.len(), pointers.len());
        prop_assert!(unique.into_iter().eq(expected.keys()), "{:?}", pointers);
        for leaf in &found {
            let value = &expected[&leaf.pointer];
            let written = pod.pointer(&leaf.pointer);
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match &leaf.origin.origin {
                Origin::Authored(at) => {
                    prop_assert_eq!(&*at.path, "pod.yaml");
                    prop_assert!(stands_at(&files, at, &leaf.pointer, &text), "{}: {}", leaf.pointer, at);
                    prop_assert_eq!(written, Some(value));
                }
                Origin::Preset { name, at } => {
                    prop_assert_eq!(&*at.path, format!("{name}.yaml"));
                    prop_assert!(stands_at(&files, at, &leaf.pointer, &text), "{}: {}", leaf.pointer, at);
                    prop_assert!(written.is_none(), "{}", leaf.pointer);
                }
                // What is merged is not a default, but for the namespace that reading fills in.
                Origin::Default => prop_assert!(
                    merged.pointer(&leaf.pointer).is_none() || leaf.pointer == "/metadata/namespace",
                    "{}",
                    leaf.pointer
                ),
                Origin::Admission => {
                    let mark = "/metadata/annotations/podpreset.admission.kubernetes.io~1podpreset-";
                    // Or of the volume for the token, which is not merged.
                    let token = merged.pointer(&leaf.pointer).is_none()
                        && ["/spec/volumes/", "/spec/containers/", "/spec/initContainers/"]
                            .iter()
                            .any(|list| leaf.pointer.starts_with(list));
                    prop_assert!(token || leaf.pointer.starts_with(mark), "{}", leaf.pointer);
                }
            }
        }
    }
    Ok(!admitted.applied.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_leaf_has_one_origin_and_its_place_holds_the_value(
        pod in pod(), a in preset("a", "[E-G]", "[xy]"), b in preset("b", "[D-F]", "[yz]"),
    ) {
        // With an env variable or a volume on both sides they may conflict, and then there is no preset to trace.
        let nothing = |p: &Value| p["spec"]["env"] == json!([]) && p["spec"]["volumes"] == json!([]);
        prop_assume!(!nothing(&a) && !nothing(&b));
        check(&pod, &[a, b])?;
    }

    #[test]
    fn what_one_preset_gives_is_always_traced(pod in pod(), a in preset("a", "[E-G]", "[xy]")) {
        prop_assert!(check(&pod, &[a])?);
    }
}

#[test]
fn fields_are_called_as_kubernetes_calls_them() {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "labels": {"a/b": "c"}, "annotations": {"x.y": "z"}},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1"}}}]},
    });
    let desired = read(&[("pod.yaml", object_yaml(&pod))]);
    let admitted = admit(&desired).unwrap();
    let shown = serde_json::to_value(&admitted.pods[&PodKey::new("default", "p")].effective).unwrap();
    let found = origins(&desired, &PodKey::new("default", "p"), &shown);
    let fields: Vec<String> = found.into_iter().map(|leaf| leaf.origin.field).collect();
    for field in [
        "apiVersion",
        "metadata.labels[a/b]",
        "metadata.annotations[x.y]",
        "metadata.namespace",
        "spec.containers[0].resources.limits[cpu]",
        "spec.containers[0].resources.requests[cpu]",
        "spec.containers[0].imagePullPolicy",
        "spec.securityContext",
    ] {
        assert!(fields.iter().any(|f| f == field), "{field}: {fields:?}");
    }
}

#[test]
fn a_mark_is_admissions_only_while_its_preset_is_merged() {
    let mark = |name: &str| format!("podpreset.admission.kubernetes.io/podpreset-{name}");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "annotations": {mark("a"): "old", mark("gone"): "old"}},
        "spec": {"containers": [{"name": "c", "image": "i:1", "env": [{"name": "A", "value": "1"}]}]},
    });
    for (value, merged) in [("1", true), ("2", false)] {
        let preset = json!({
            "apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset", "metadata": {"name": "a"},
            "spec": {"selector": {}, "env": [{"name": "A", "value": value}]},
        });
        let desired = read(&[("pod.yaml", object_yaml(&pod)), ("preset.yaml", object_yaml(&preset))]);
        let admitted = admit(&desired).unwrap();
        let pod = &admitted.pods[&PodKey::new("default", "p")];
        let shown = serde_json::to_value(&pod.effective).unwrap();
        let origins = origins(&desired, &pod.key, &shown);
        let of = |name: &str| {
            let field = format!("metadata.annotations[{}]", mark(name));
            let leaf = origins.iter().find(|leaf| leaf.origin.field == field).unwrap();
            leaf.origin.origin == Origin::Admission
        };
        assert_eq!((of("a"), of("gone")), (merged, false), "{value}");
    }
}

#[test]
fn the_revision_says_where_its_other_objects_are_written() {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "v"}});
    let text = format!("---\n# nothing\n---\n{}", object_yaml(&map));
    let admitted = admit(&read(&[("map.yaml", text)])).unwrap();
    let key = ObjectKey { kind: Kind::ConfigMap, namespace: "default".into(), name: "m".into() };
    assert_eq!(admitted.sources.len(), 1);
    assert_eq!(admitted.sources[&key].to_string(), "map.yaml:4:1");
}

#[test]
fn only_the_namespace_of_an_object_that_is_no_pod_can_be_a_default() {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "v"}});
    let preset = json!({
        "apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset", "metadata": {"name": "a"},
        "spec": {"selector": {}, "env": [{"name": "A", "value": "1"}]},
    });
    let desired = read(&[("map.yaml", object_yaml(&map)), ("preset.yaml", object_yaml(&preset))]);
    let origins = Origins::new(&desired);
    let presets = desired.presets.iter().map(|(key, (object, _))| (key, object));
    let objects: Vec<_> = presets.chain(&desired.others).collect();
    assert_eq!(objects.len(), 2);
    for (key, object) in objects {
        for leaf in origins.of(object, None, object.value.as_ref().unwrap()) {
            let is_default = leaf.origin.origin == Origin::Default;
            assert_eq!(is_default, leaf.pointer == "/metadata/namespace", "{key} {leaf:?}");
            assert!(is_default || matches!(leaf.origin.origin, Origin::Authored(_)), "{key} {leaf:?}");
        }
    }
}
