//! The seed's website pod with its allow-database preset, field by field.

use podwright::model::{Origin, PodKey};
use serde_json::{Value, json};

use super::{admitted, pod_of};

fn website() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "website", "labels": {"app": "website", "role": "frontend"}},
        "spec": {"containers": [{"name": "website", "image": "nginx", "ports": [{"containerPort": 80}]}]},
    })
}

fn allow_database() -> Value {
    json!({
        "apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset", "metadata": {"name": "allow-database"},
        "spec": {
            "selector": {"matchLabels": {"role": "frontend"}},
            "env": [{"name": "DB_PORT", "value": "6379"}],
            "volumeMounts": [{"mountPath": "/cache", "name": "cache-volume"}],
            "volumes": [{"name": "cache-volume", "emptyDir": {}}],
        },
    })
}

#[test]
fn the_website_pod_gets_what_the_preset_gives() {
    let admitted = admitted(&[website(), allow_database()]);
    let pod = pod_of(&admitted, "default", "website");
    let version = pod.applied[0].version.clone();
    assert_eq!(
        serde_json::to_value(&pod.spec).unwrap(),
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "website", "namespace": "default",
                "labels": {"app": "website", "role": "frontend"},
                "annotations": {"podpreset.admission.kubernetes.io/podpreset-allow-database": version},
            },
            "spec": {
                "containers": [{
                    "name": "website", "image": "nginx",
                    "volumeMounts": [{"mountPath": "/cache", "name": "cache-volume"}],
                    "ports": [{"containerPort": 80}],
                    "env": [{"name": "DB_PORT", "value": "6379"}],
                }],
                "volumes": [{"name": "cache-volume", "emptyDir": {}}],
            },
        })
    );
    assert_eq!(pod.effective.open().spec.as_ref().unwrap().containers[0].image_pull_policy.as_deref(), Some("Always"));
    assert_eq!(pod.key, PodKey::new("default", "website"));
    assert!(pod.skipped.is_empty() && admitted.diagnostics.0.is_empty());
    assert_eq!(admitted.objects.len(), 1, "of a pod no second form is kept");
}

#[test]
fn every_merged_field_is_traced_to_the_line_of_the_preset() {
    let admitted = admitted(&[website(), allow_database()]);
    let pod = pod_of(&admitted, "default", "website");
    let places = super::desired(&[allow_database()]).presets.values().next().unwrap().0.places.clone();
    let expected = [
        ("spec.volumes[0]", Some("/spec/volumes/0")),
        ("spec.containers[0].env[0]", Some("/spec/env/0")),
        ("spec.containers[0].volumeMounts[0]", Some("/spec/volumeMounts/0")),
        ("metadata.annotations[podpreset.admission.kubernetes.io/podpreset-allow-database]", None),
    ];
    assert_eq!(pod.provenance.len(), expected.len());
    for ((field, pointer), origin) in expected.into_iter().zip(&pod.provenance) {
        assert_eq!(origin.field, field);
        match (&origin.origin, pointer) {
            (Origin::Preset { name, at }, Some(pointer)) => {
                assert_eq!((name.as_str(), &*at.path), ("allow-database", "1.yaml"), "{field}");
                assert_eq!((at.line, at.column), places.get(pointer).unwrap(), "{field}");
            }
            (Origin::Admission, None) => {}
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn the_version_follows_the_content_of_the_preset_alone() {
    let version =
        |preset: Value| pod_of(&admitted(&[website(), preset]), "default", "website").applied[0].version.clone();
    let base = version(allow_database());
    assert_eq!(base.len(), 16);
    let mut labelled = allow_database();
    labelled["metadata"]["labels"] = json!({"team": "a"});
    assert_eq!(version(labelled), base);
    let mut changed = allow_database();
    changed["spec"]["env"][0]["value"] = json!("6380");
    assert_ne!(version(changed), base);
    let mut selector = allow_database();
    selector["spec"]["selector"] = json!({"matchLabels": {"app": "website"}});
    assert_ne!(version(selector), base);
}

#[test]
fn the_digest_follows_the_spec_and_not_the_place() {
    let digest = |objects: &[Value]| pod_of(&admitted(objects), "default", "website").digest.clone();
    let alone = digest(&[website()]);
    assert_eq!(alone.len(), 64);
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    assert_eq!(digest(&[other, website()]), alone, "the pod moved to another file");
    assert_ne!(digest(&[website(), allow_database()]), alone);
}

#[test]
fn a_status_copied_out_of_a_cluster_is_no_part_of_the_pod() {
    let mut copied = website();
    copied["status"] = json!({"phase": "Running", "podIP": "192.0.2.7"});
    for more in [vec![], vec![allow_database()]] {
        let pod = |first: &Value| {
            let objects: Vec<Value> = std::iter::once(first).chain(&more).cloned().collect();
            pod_of(&admitted(&objects), "default", "website")
        };
        let (alone, copied) = (pod(&website()), pod(&copied));
        assert_eq!((&copied.spec, &copied.effective), (&alone.spec, &alone.effective));
        assert_eq!(copied.digest, alone.digest);
    }
}
