//! Admission is idempotent: what was admitted once is admitted unchanged.

use podwright::admit::admit;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{admitted, desired, pod_of};

fn env() -> impl Strategy<Value = Value> {
    prop::collection::vec(("[ABC]", "[12]"), 0..3)
        .prop_map(|pairs| pairs.into_iter().map(|(n, v)| json!({"name": n, "value": v})).collect())
}

fn env_from() -> impl Strategy<Value = Value> {
    prop::collection::vec(("(pre_)?", "[xy]", prop::option::of(any::<bool>()), any::<bool>()), 0..3).prop_map(
        |sources| {
            sources
                .into_iter()
                .map(|(prefix, name, optional, secret)| {
                    let mut reference = json!({"name": name});
                    if let Some(optional) = optional {
                        reference["optional"] = json!(optional);
                    }
                    let field = if secret { "secretRef" } else { "configMapRef" };
                    json!({"prefix": prefix, field: reference})
                })
                .collect()
        },
    )
}

fn mounts() -> impl Strategy<Value = Value> {
    prop::collection::vec(("[vw]", "/[ab]"), 0..2)
        .prop_map(|pairs| pairs.into_iter().map(|(n, p)| json!({"name": n, "mountPath": p})).collect())
}

fn volumes() -> impl Strategy<Value = Value> {
    prop::collection::vec(("[vw]", any::<bool>()), 0..2).prop_map(|list| {
        list.into_iter()
            .map(|(name, disk)| match disk {
                true => json!({"name": name, "emptyDir": {}}),
                false => json!({"name": name, "hostPath": {"path": "/x"}}),
            })
            .collect()
    })
}

fn container(name: &'static str) -> impl Strategy<Value = Value> {
    (env(), env_from(), mounts()).prop_map(move |(env, env_from, mounts)| {
        json!({"name": name, "image": "i", "env": env, "envFrom": env_from, "volumeMounts": mounts})
    })
}

fn preset(name: &'static str) -> impl Strategy<Value = Value> {
    (env(), env_from(), mounts(), volumes()).prop_map(move |(env, env_from, mounts, volumes)| {
        json!({
            "apiVersion": "settings.k8s.io/v1alpha1", "kind": "PodPreset", "metadata": {"name": name},
            "spec": {"selector": {}, "env": env, "envFrom": env_from, "volumeMounts": mounts, "volumes": volumes},
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn admitting_again_changes_nothing(app in container("c"), init in container("i"), volumes in volumes(),
                                       a in preset("a"), b in preset("b")) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": [app], "initContainers": [init], "volumes": volumes},
        });
        // A pod that mounts what a preset does not bring because of a conflict is refused.
        let first = admit(&desired(&[pod.clone(), a.clone(), b.clone()]));
        prop_assume!(first.is_ok());
        let once = pod_of(&first.unwrap(), "default", "p");
        let merged = serde_json::to_value(&once.spec).unwrap();
        let twice = pod_of(&admitted(&[merged, a.clone(), b.clone()]), "default", "p");
        prop_assert_eq!(&once.spec, &twice.spec);
        prop_assert_eq!(&once.digest, &twice.digest);
        prop_assert_eq!(&once.effective, &twice.effective);
        // What runs is admitted unchanged as well.
        let running = serde_json::to_value(&once.effective).unwrap();
        prop_assert_eq!(&pod_of(&admitted(&[running, a, b]), "default", "p").effective, &once.effective);
        // All or nothing.
        prop_assert!(once.applied.is_empty() || once.skipped.is_empty());
        prop_assert_eq!(once.applied.len() + once.skipped.len(), 2);
        if !once.skipped.is_empty() {
            let authored: k8s_openapi::api::core::v1::Pod = serde_json::from_value(pod).unwrap();
            prop_assert_eq!(&once.spec.open().spec, &authored.spec);
        }
    }
}
