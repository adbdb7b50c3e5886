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
    // 10,000 entries for each of 200 containers are as much as is merged, and one more preset's is too much.
    for (volumes, is_refused) in [(0, false), (1, true)] {
        let large = pod(json!({"containers": containers(200)}));
        let brought: Value = (0..volumes).map(|_| json!({"name": "v", "emptyDir": {}})).collect();
        let mut all = preset("a", json!({"env": names(10_000, "1"), "volumes": brought}));
        all["spec"]["selector"] = json!({});
        let objects = [large, small.clone(), all];
        if !is_refused {
            // The large pod alone fits; what the small one adds does not.
            let told = admit(&desired(&objects)).unwrap_err();
            assert_eq!(told.0.iter().map(|d| d.rule).collect::<Vec<_>>(), ["too-large"], "{told:?}");
            assert_eq!(told.0[0].object.as_ref().unwrap().name, "small");
            continue;
        }
        let admitted = admit_what_can_be(&desired(&objects));
        let error = admitted.diagnostics.0.iter().find(|d| d.severity == Severity::Error).unwrap();
        assert_eq!((error.rule, &*error.object.as_ref().unwrap().name), ("too-large", "p"));
        let applied = |name: &str| admitted.pods[&PodKey::new("namespace", name)].applied.len();
        assert_eq!((applied("p"), applied("small")), (0, 1), "what fits is merged");
    }
}
