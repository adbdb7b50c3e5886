//! A few lines of presets can stand for any number of entries and conflicts: what is kept, told and merged has bounds.

use podwright::admit::{admit, admit_what_can_be};
use podwright::model::{PodKey, Severity};
use serde_json::{Value, json};

use super::desired;
use super::merge::{pod, preset};

fn names(count: usize, value: &str) -> Value {
    (0..count).map(|index| json!({"name": format!("V{index}"), "value": value})).collect()
}

#[test]
fn of_many_conflicts_some_are_told_and_that_there_are_more() {
    for (count, kept, is_told) in [(32, 32, false), (33, 32, true), (500, 32, true)] {
        let objects = [
            pod(json!({"containers": [{"name": "c", "image": "i:1", "env": names(count, "pod")}]})),
            preset("a", json!({"env": names(count, "preset")})),
        ];
        let admitted = admit(&desired(&objects)).unwrap();
        let pod = admitted.pods.values().next().unwrap();
        assert_eq!(pod.skipped.iter().map(|skipped| skipped.conflicts.len()).sum::<usize>(), kept);
        let reason = if is_told { "32 conflicts or more, the first: " } else { "32 conflicts, the first: " };
        assert!(pod.skipped[0].reason.starts_with(reason), "{}", pod.skipped[0].reason);
        let told =
            admitted.diagnostics.0.iter().filter(|d| d.message.contains("more conflicts with PodPresets")).count();
        assert_eq!(told, usize::from(is_told));
        assert!(admitted.diagnostics.0.len() <= 2 * kept + 1, "{}", admitted.diagnostics.0.len());
    }
}

#[test]
fn presets_that_bring_too_much_to_a_revision_are_an_error_at_the_pod() {
    let containers = |name: &str, count: usize| -> Value {
        (0..count).map(|index| json!({"name": format!("{name}{index}"), "image": "i:1"})).collect()
    };
    let mut small = pod(json!({"containers": containers("c", 1)}));
    small["metadata"]["name"] = "small".into();
    // 10,000 entries for each container and one for the pod, where 2,000,000 are allowed.
    let mut all = preset("a", json!({"env": names(10_000, "1"), "volumes": [{"name": "v", "emptyDir": {}}]}));
    all["spec"]["selector"] = json!({});
    let too_large = [("too-large", "p")];
    for (main, init, errors) in [(200, 0, &too_large[..]), (100, 100, &too_large), (100, 98, &[])] {
        let mut large = pod(json!({"containers": containers("c", main), "initContainers": containers("i", init)}));
        // What conflicts is counted, and spares the merge of almost two million.
        large["spec"]["containers"][0]["env"] = names(40, "pod");
        let admitted = admit_what_can_be(&desired(&[large, small.clone(), all.clone()]), None);
        let found = admitted.diagnostics.0.iter().filter(|d| d.severity == Severity::Error);
        let found: Vec<_> = found.map(|d| (d.rule, &*d.object.as_ref().unwrap().name)).collect();
        assert_eq!(found, errors, "{main} and {init}");
        let applied = |name: &str| admitted.pods[&PodKey::new("namespace", name)].applied.len();
        assert_eq!((applied("p"), applied("small")), (0, 1), "{main} and {init}: what fits is merged");
    }
}

#[test]
fn what_presets_do_not_bring_is_not_counted() {
    let containers = |count: usize| -> Value {
        (0..count).map(|index| json!({"name": format!("c{index}"), "image": "i:1"})).collect()
    };
    let mut all = preset("a", json!({"env": names(10_000, "1")}));
    all["spec"]["selector"] = json!({});
    let annotated = |name: &str, count: usize, annotations: Value| {
        let mut pod = pod(json!({"containers": containers(count)}));
        pod["metadata"]["name"] = name.into();
        pod["metadata"]["annotations"] = annotations;
        pod
    };
    // Each but the last would take three quarters of what is allowed: two that are kept out in one way would be too much.
    let excluded = json!({"podpreset.admission.kubernetes.io/exclude": "true"});
    let mirror = json!({"kubernetes.io/config.mirror": "x"});
    let objects = [
        annotated("a", 150, excluded.clone()),
        annotated("b", 150, excluded),
        annotated("c", 150, mirror.clone()),
        annotated("d", 150, mirror),
        annotated("e", 1, json!({})),
        all,
    ];
    let admitted = admit(&desired(&objects)).unwrap();
    let applied: Vec<usize> = admitted.pods.values().map(|pod| pod.applied.len()).collect();
    assert_eq!(applied, [0, 0, 0, 0, 1]);
}
