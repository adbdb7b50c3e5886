//! Kubernetes' own admission_test.go, case by case and by name; the merge functions' cases are in `merge`.

use k8s_openapi::api::core::v1::{EnvFromSource, Pod};
use podwright::model::AdmittedPod;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::merge::{admit_one, empty_dirs, env, from, full_preset, preset, spec, with};

/// What a case expects of the pod.
enum Expected {
    Identical,
    /// The first container's env and envFrom, and the volumes.
    Merged(Box<[Value; 3]>),
}

/// A preset that selects security=`value` by an expression.
fn selecting(value: &str, mut spec: Value) -> Value {
    spec["selector"] = json!({"matchExpressions": [{"key": "security", "operator": "In", "values": [value]}]});
    preset("hello", spec)
}

fn in_namespace(mut object: Value, namespace: &str) -> Value {
    object["metadata"]["namespace"] = json!(namespace);
    object
}

fn annotated(key: &str, value: &str) -> Value {
    let mut pod = with("env", &env(&[("abc", "value2"), ("ABCD", "value3")]));
    pod["metadata"]["annotations"] = json!({key: value});
    pod
}

fn cases() -> Vec<(&'static str, Value, Value, Expected)> {
    let plain = || with("env", &env(&[("abc", "value2"), ("ABC", "value3")]));
    let differs = || json!({"env": env(&[("abc", "value"), ("ABC", "value")])});
    let merged = Expected::Merged(Box::new([
        env(&[("abc", "value2"), ("ABCD", "value3"), ("abcd", "value"), ("ABC", "value")]),
        from(&[("", "abc"), ("pre_", "abc")]),
        empty_dirs(&["volume"]),
    ]));
    vec![
        (
            "AdmitConflictWithDifferentNamespaceShouldDoNothing",
            plain(),
            in_namespace(selecting("S2", differs()), "othernamespace"),
            Expected::Identical,
        ),
        ("AdmitConflictWithNonMatchingLabelsShouldNotError", plain(), selecting("S3", differs()), Expected::Identical),
        ("AdmitConflictShouldNotModifyPod", plain(), selecting("S2", differs()), Expected::Identical),
        ("Admit", with("env", &env(&[("abc", "value2"), ("ABCD", "value3")])), full_preset(), merged),
        ("AdmitMirrorPod", annotated("kubernetes.io/config.mirror", "mirror"), full_preset(), Expected::Identical),
        (
            "ExclusionNoAdmit",
            annotated("podpreset.admission.kubernetes.io/exclude", "true"),
            full_preset(),
            Expected::Identical,
        ),
        // A manifest without a namespace is one of the default one.
        (
            "AdmitEmptyPodNamespace",
            {
                let mut pod = with("env", &Value::Null);
                pod["metadata"].as_object_mut().unwrap().shift_remove("namespace");
                pod
            },
            in_namespace(full_preset(), "different"),
            Expected::Identical,
        ),
    ]
}

fn check(name: &str, before: &Value, result: &AdmittedPod, expected: &Expected) {
    match expected {
        Expected::Identical => {
            let mut pod: Pod = serde_json::from_value(before.clone()).unwrap();
            pod.metadata.namespace = result.spec.open().metadata.namespace;
            assert_eq!(result.spec.open(), pod, "{name}");
            assert!(result.applied.is_empty(), "{name}");
        }
        Expected::Merged(expected) => {
            let spec = spec(result);
            let container = &spec["containers"][0];
            assert_eq!([&container["env"], &container["envFrom"], &spec["volumes"]], expected.each_ref(), "{name}");
            assert_eq!(result.applied.len(), 1, "{name}");
        }
    }
}

#[test]
fn the_cases_of_the_upstream_admission_test() {
    for (name, pod, preset, expected) in cases() {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
        let admit = |objects: &[Value]| super::pod_of(&super::admitted(objects), &namespace, "p");
        let once = admit(&[pod.clone(), preset.clone()]);
        check(name, &pod, &once, &expected);
        // Since 1.15 every case is admitted a second time, and nothing may change.
        let again = admit(&[serde_json::to_value(&once.spec).unwrap(), preset]);
        assert_eq!(again.spec, once.spec, "{name}, admitted again");
        check(name, &pod, &again, &expected);
    }
}

fn source() -> impl Strategy<Value = Value> {
    let reference = || {
        let optional = prop::option::of(any::<bool>());
        prop::option::of((prop::sample::select(vec!["a", "b", "a\"/\"b"]), optional))
    };
    (prop::option::of(prop::sample::select(vec!["", "p_", "a\"/\""])), reference(), reference()).prop_map(
        |(prefix, map, secret)| {
            let mut source = json!({});
            if let Some(prefix) = prefix {
                source["prefix"] = json!(prefix);
            }
            for (field, reference) in [("configMapRef", map), ("secretRef", secret)] {
                if let Some((name, optional)) = reference {
                    source[field] = json!({ "name": name });
                    if let Some(optional) = optional {
                        source[field]["optional"] = json!(optional);
                    }
                }
            }
            source
        },
    )
}

/// Every field but `optional`; the pattern names them all.
fn key(source: &Value) -> (String, String, String) {
    let EnvFromSource { prefix, config_map_ref, secret_ref } = serde_json::from_value(source.clone()).unwrap();
    (
        prefix.unwrap_or_default(),
        config_map_ref.map(|r| r.name).unwrap_or_default(),
        secret_ref.map(|r| r.name).unwrap_or_default(),
    )
}

fn optional(source: &Value) -> [bool; 2] {
    ["configMapRef", "secretRef"].map(|field| source[field]["optional"] == true)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// EnvFromMergeKey: the key covers every field but `optional`.
    #[test]
    fn the_key_of_an_env_from_entry_covers_every_field_but_optional(ours in source(), theirs in source()) {
        let result = admit_one(&[with("envFrom", &json!([ours])), preset("a", json!({"envFrom": [theirs]}))]);
        let merged = spec(&result)["containers"][0]["envFrom"].clone();
        match (key(&ours) == key(&theirs), optional(&ours) == optional(&theirs)) {
            (false, _) => prop_assert_eq!(merged, json!([ours, theirs])),
            (true, equal) => {
                prop_assert_eq!(merged, json!([ours]));
                prop_assert_eq!(result.skipped.is_empty(), equal);
            }
        }
    }
}
