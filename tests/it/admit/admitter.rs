//! Who admits one object at a time makes and hears what admission of all does.

use podwright::admit::{Admitter, admit_what_can_be};
use podwright::model::{Desired, DesiredObject};
use serde_json::{Value, json};

use super::desired;
use super::merge::{empty_dirs, env, full_preset, pod, preset, with};

/// The objects of a revision in the order they were given, each with the pod it is.
fn objects(desired: &Desired) -> Vec<(&DesiredObject, Option<k8s_openapi::api::core::v1::Pod>)> {
    let pods = desired.pods.values().map(|(object, pod)| (object, Some(pod.open())));
    let presets = desired.presets.values().map(|(object, _)| object);
    let mut all: Vec<_> = pods.chain(presets.chain(desired.others.values()).map(|object| (object, None))).collect();
    all.sort_by(|(a, _), (b, _)| a.source.path.cmp(&b.source.path));
    all
}

fn other(kind: &str, more: Value) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "o", "namespace": "namespace"}});
    object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object
}

#[test]
fn what_admission_would_say_nothing_about_need_not_be_kept() {
    let plain = || with("env", &Value::Null);
    let elsewhere = || {
        let mut other = preset("a", json!({"env": env(&[("A", "1")])}));
        other["metadata"]["namespace"] = "other".into();
        other
    };
    let unmatched = || preset("a", json!({"selector": {"matchLabels": {"no": "1"}}, "env": env(&[("A", "2")])}));
    let conflicting = || with("env", &env(&[("abcd", "other")]));
    let losing = || {
        let mut pod = plain();
        pod["metadata"]["annotations"] = json!({"podpreset.admission.kubernetes.io/exclude": "true"});
        pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "volume", "mountPath": "/v"}]);
        pod
    };
    let long = || preset(&"x".repeat(54), json!({"volumes": empty_dirs(&["v"])}));
    // What it is about, the objects, of which the first counts, and whether nothing is said about it.
    let rows = [
        ("a pod without presets", vec![plain()], true),
        ("presets of another namespace", vec![plain(), elsewhere()], true),
        ("a preset that does not match", vec![conflicting(), unmatched()], true),
        ("a preset that is merged", vec![plain(), full_preset()], true),
        ("a conflict", vec![conflicting(), full_preset()], false),
        ("a volume that is not brought", vec![losing(), full_preset()], false),
        ("a preset with a name too long", vec![plain(), long()], false),
        ("the preset itself", vec![unmatched()], false),
        ("a ConfigMap", vec![other("ConfigMap", json!({"data": {"k": "1"}}))], true),
        ("a ConfigMap of other fields", vec![other("ConfigMap", json!({"data": ["1"]}))], false),
        ("a Secret", vec![other("Secret", json!({"data": {"k": "MQ=="}}))], true),
        ("a Secret that is not base64", vec![other("Secret", json!({"data": {"k": "!"}}))], false),
        ("a Namespace", vec![other("Namespace", json!({}))], true),
        ("a ServiceAccount", vec![other("ServiceAccount", json!({}))], true),
    ];
    for (name, values, quiet) in rows {
        let desired = desired(&values);
        let admitter = Admitter::new(&desired, None);
        let (object, pod) = &objects(&desired)[0];
        assert_eq!(admitter.says_nothing(object, pod.as_ref()), quiet, "{name}");
        if pod.is_some() {
            assert!(!admitter.says_nothing(object, None), "{name}: one that could not be read is kept");
        }
    }
}

#[test]
fn a_pod_admitted_alone_is_the_one_of_the_revision() {
    let mut bare = with("env", &Value::Null);
    bare["metadata"]["name"] = "bare".into();
    bare["metadata"]["labels"] = json!({"security": "none"});
    let mut away = with("env", &Value::Null);
    away["metadata"]["namespace"] = "other".into();
    let desired = desired(&[with("env", &env(&[("own", "1")])), bare, away, full_preset()]);
    let (whole, admitter) = (admit_what_can_be(&desired, None), Admitter::new(&desired, None));
    for (key, (object, pod)) in &desired.pods {
        assert_eq!(admitter.admitted(object, &pod.open()), *whole.pods[key], "{key}");
    }
    let applied: Vec<usize> = whole.pods.values().map(|pod| pod.applied.len()).collect();
    assert_eq!(applied, [0, 1, 0]);
}

#[test]
fn who_admits_one_at_a_time_knows_when_presets_bring_too_much() {
    let containers: Value = (0..201).map(|index| json!({"name": format!("c{index}"), "image": "i:1"})).collect();
    let entries: Vec<(String, &str)> = (0..10_000).map(|index| (format!("V{index}"), "1")).collect();
    let entries: Vec<(&str, &str)> = entries.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let desired = desired(&[with("env", &Value::Null), preset("a", json!({"env": env(&entries)})), {
        let mut large = pod(json!({"containers": containers}));
        large["metadata"]["name"] = "z".into();
        large
    }]);
    let admitter = Admitter::new(&desired, None);
    let told: Vec<(bool, usize, bool)> = desired
        .pods
        .values()
        .map(|(object, pod)| {
            let pod = pod.open();
            let applied = admitter.admitted(object, &pod).applied.len();
            (admitter.says_nothing(object, Some(&pod)), applied, admitter.is_spent())
        })
        .collect();
    assert_eq!(told, [(true, 1, false), (false, 0, true)]);
}
