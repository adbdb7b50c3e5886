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
    let containers = |count: usize| -> Value {
        (0..count).map(|index| json!({"name": format!("c{index}"), "image": "i:1"})).collect()
    };
    let mut small = pod(json!({"containers": containers(1)}));
    small["metadata"]["name"] = "small".into();
    // 10,000 entries for each of 200 containers and one for the pod.
    let mut all = preset("a", json!({"env": names(10_000, "1"), "volumes": [{"name": "v", "emptyDir": {}}]}));
    all["spec"]["selector"] = json!({});
    let admitted = admit_what_can_be(&desired(&[pod(json!({"containers": containers(200)})), small, all]));
    let errors: Vec<_> = admitted.diagnostics.0.iter().filter(|d| d.severity == Severity::Error).collect();
    assert_eq!(
        errors.iter().map(|d| (d.rule, &*d.object.as_ref().unwrap().name)).collect::<Vec<_>>(),
        [("too-large", "p")]
    );
    let applied = |name: &str| admitted.pods[&PodKey::new("namespace", name)].applied.len();
    assert_eq!((applied("p"), applied("small")), (0, 1), "what fits is merged");
}

#[test]
fn what_presets_do_not_bring_is_not_counted() {
    let containers: Value = (0..150).map(|index| json!({"name": format!("c{index}"), "image": "i:1"})).collect();
    let mut all = preset("a", json!({"env": names(10_000, "1")}));
    all["spec"]["selector"] = json!({});
    let annotated = |name: &str, annotations: Value| {
        let mut pod = pod(json!({"containers": containers}));
        pod["metadata"]["name"] = name.into();
        pod["metadata"]["annotations"] = annotations;
        pod
    };
    // Each of them alone would take three quarters of what is allowed.
    let objects = [
        annotated("a", json!({"podpreset.admission.kubernetes.io/exclude": "true"})),
        annotated("b", json!({"kubernetes.io/config.mirror": "x"})),
        annotated("c", json!({})),
        all,
    ];
    let admitted = admit(&desired(&objects)).unwrap();
    let applied: Vec<usize> = admitted.pods.values().map(|pod| pod.applied.len()).collect();
    assert_eq!(applied, [0, 0, 1]);
}
