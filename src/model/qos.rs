//! The quality-of-service class of a pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::quantity;

/// What an amount is rounded up to, as the API does: thousandths.
const MILLI: i128 = 1_000_000;

/// `Guaranteed`, `Burstable` or `BestEffort`: only cpu and memory count, init containers included.
pub fn qos_class(spec: &PodSpec) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        let resources = container.resources.as_ref();
        let limits = resources.and_then(|r| r.limits.as_ref());
        let requests = resources.and_then(|r| r.requests.as_ref());
        for resource in ["cpu", "memory"] {
            let limit = amount(limits, resource);
            // A missing request is taken from the limit, as defaulting does.
            let request = amount(requests, resource).or(limit);
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && limit == request;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// A quantity that is there and not zero, in thousandths.
fn amount(list: Option<&BTreeMap<String, Quantity>>, resource: &str) -> Option<i128> {
    let nanos = quantity::nanos(&list?.get(resource)?.0).filter(|nanos| *nanos != 0)?;
    Some(nanos.div_euclid(MILLI) + i128::from(nanos.rem_euclid(MILLI) != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_class_follows_requests_and_limits() {
        for (resources, expected) in [
            (json!({}), "BestEffort"),
            (json!({"requests": {"cpu": "0"}}), "BestEffort"),
            (json!({"requests": {"cpu": "100m"}}), "Burstable"),
            (json!({"requests": {"cpu": "1n"}}), "Burstable"),
            (json!({"limits": {"cpu": "1"}}), "Burstable"),
            (json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed"),
            (
                json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}),
                "Guaranteed",
            ),
            (
                json!({"limits": {"cpu": "100m", "memory": "1Gi"}, "requests": {"cpu": "0.0995", "memory": "1Gi"}}),
                "Guaranteed",
            ),
            (json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "999m"}}), "Burstable"),
            (json!({"limits": {"nvidia.com/gpu": "1"}}), "BestEffort"),
        ] {
            let spec: PodSpec =
                serde_json::from_value(json!({"containers": [{"name": "a", "resources": resources}]})).unwrap();
            assert_eq!(qos_class(&spec), expected, "{resources}");
        }
    }
}
