//! Where a pod has quantities, which say the same in many notations: `1000m` is `1`, `1Gi` is `1024Mi`.

use crate::model::{Json, quantity};

/// Every place of a quantity in a pod; `*` is any entry of a list or a map, and a list has no other step. Kubernetes compares
/// these by their value.
const TABLE: &[&str] = &[
    "spec/overhead/*",
    "spec/resources/limits/*",
    "spec/resources/requests/*",
    "spec/initContainers/*/resources/limits/*",
    "spec/initContainers/*/resources/requests/*",
    "spec/containers/*/resources/limits/*",
    "spec/containers/*/resources/requests/*",
    "spec/ephemeralContainers/*/resources/limits/*",
    "spec/ephemeralContainers/*/resources/requests/*",
    "spec/initContainers/*/env/*/valueFrom/resourceFieldRef/divisor",
    "spec/containers/*/env/*/valueFrom/resourceFieldRef/divisor",
    "spec/ephemeralContainers/*/env/*/valueFrom/resourceFieldRef/divisor",
    "spec/volumes/*/emptyDir/sizeLimit",
    "spec/volumes/*/downwardAPI/items/*/resourceFieldRef/divisor",
    "spec/volumes/*/projected/sources/*/downwardAPI/items/*/resourceFieldRef/divisor",
    "spec/volumes/*/ephemeral/volumeClaimTemplate/spec/resources/limits/*",
    "spec/volumes/*/ephemeral/volumeClaimTemplate/spec/resources/requests/*",
];

/// Writes every quantity of a pod in one notation, to be compared as text. What is none stays as it is.
pub(super) fn in_one_notation(pod: &mut Json<'_>) {
    for path in TABLE {
        each(pod, path);
    }
}

fn each(value: &mut Json<'_>, path: &str) {
    let (step, rest) = path.split_once('/').unwrap_or((path, ""));
    let go = |found: &mut Json<'_>| if rest.is_empty() { rewrite(found) } else { each(found, rest) };
    match value {
        Json::Array(items) => items.iter_mut().for_each(go),
        Json::Object(members) if step == "*" => members.values_mut().for_each(go),
        Json::Object(members) => members.get_mut(step).into_iter().for_each(go),
        _ => {}
    }
}

/// In billionths, the finest there is.
fn rewrite(value: &mut Json<'_>) {
    if let Some(nanos) = quantity::of_json(value) {
        *value = Json::String(format!("{nanos}n").into());
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::*;

    /// The pod with a text at one place of the table.
    fn with(path: &str, text: &str) -> Value {
        path.rsplit('/').fold(Value::from(text), |inner, step| match step {
            // The maps among the places are those of amounts, by resource.
            "*" if inner.is_string() => json!({"memory": inner}),
            "*" => json!([inner]),
            name => json!({name: inner}),
        })
    }

    fn rewritten(pod: &Value) -> Value {
        let mut json = Json::from(pod);
        in_one_notation(&mut json);
        serde_json::to_value(&json).unwrap()
    }

    #[test]
    fn every_place_is_one_of_a_pod_and_is_compared_by_value() {
        for path in TABLE {
            let seen = |text: &str| rewritten(&with(path, text));
            for (a, b) in [("1000m", "1"), ("1Gi", "1024Mi"), ("1.5k", "1500"), ("1e3", "1k"), ("0", "0m"), ("+1", "1")]
            {
                assert_eq!(seen(a), seen(b), "{path}: {a} {b}");
            }
            for (a, b) in [("1", "1m"), ("1G", "1Gi"), ("1", "1n"), ("-1", "1"), ("1", "one"), ("x", "y"), ("1", "")] {
                assert_ne!(seen(a), seen(b), "{path}: {a} {b}");
            }
            assert_eq!(seen("no quantity"), with(path, "no quantity"), "{path}");
            // Kubernetes' types have this place, and a quantity in it.
            let mut whole = with(path, "1");
            required(&mut whole);
            let pod: Pod = serde_json::from_value(whole.clone()).unwrap();
            let again = rewritten(&serde_json::to_value(pod).unwrap());
            assert!(again.to_string().contains("1000000000n"), "{path}: {again}");
        }
    }

    /// Adds the members without which the types do not read an object.
    fn required(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.values_mut().for_each(required);
                members.entry("name").or_insert_with(|| "n".into());
            }
            Value::Array(items) => items.iter_mut().for_each(required),
            _ => {}
        }
    }

    #[test]
    fn what_is_no_quantity_is_left_alone_wherever_it_is_called_like_one() {
        let pod = json!({
            "metadata": {"labels": {"limits": "1", "sizeLimit": "1"}, "annotations": {"overhead": "1"}},
            "spec": {
                "nodeSelector": {"limits": "1", "overhead": "1"},
                "containers": [{"name": "1", "args": ["1"], "env": [{"name": "divisor", "value": "1"}]}],
                "volumes": [{"name": "1", "emptyDir": null}, null, "1"],
                "overhead": "1",
            },
        });
        assert_eq!(rewritten(&pod), pod);
    }
}
