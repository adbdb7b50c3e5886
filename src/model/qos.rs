//! The quality-of-service class of a pod, and the processor time it asks for.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
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

/// Whether an init container is a sidecar: restarted always, it runs beside the others.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// How many thousandths of a core a pod asks for: what its containers and sidecars do together, or more while it starts. By
/// the formula of Kubernetes (`PodRequests` in k8s.io/component-helpers/resource).
pub fn cpu_request(spec: &PodSpec) -> i128 {
    let of = |container: &Container| {
        let resources = container.resources.as_ref();
        let [requests, limits] =
            [resources.and_then(|r| r.requests.as_ref()), resources.and_then(|r| r.limits.as_ref())];
        amount(requests, "cpu").or(amount(limits, "cpu")).unwrap_or(0).max(0)
    };
    let (mut sidecars, mut start) = (0_i128, 0);
    for container in spec.init_containers.iter().flatten() {
        let all = sidecars.saturating_add(of(container));
        if is_sidecar(container) {
            sidecars = all;
        }
        start = all.max(start);
    }
    spec.containers.iter().map(of).fold(sidecars, i128::saturating_add).max(start)
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

    #[test]
    fn a_pod_asks_for_what_runs_at_once() {
        let container = |cpu: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
        let sidecar =
            |cpu: &str| json!({"name": "s", "restartPolicy": "Always", "resources": {"limits": {"cpu": cpu}}});
        for (init, containers, expected) in [
            (vec![], vec![json!({"name": "c"})], 0),
            (vec![], vec![container("100m"), container("0.2")], 300),
            (vec![], vec![container("1n")], 1),
            (vec![container("500m"), container("700m")], vec![container("100m")], 700),
            (vec![container("50m")], vec![container("100m")], 100),
            (vec![sidecar("200m")], vec![container("100m")], 300),
            // What comes before a sidecar does not run beside it.
            (vec![container("400m"), sidecar("200m")], vec![container("100m")], 400),
            (vec![sidecar("200m"), container("400m"), sidecar("100m")], vec![container("100m")], 600),
        ] {
            let spec = json!({"initContainers": init, "containers": containers});
            assert_eq!(cpu_request(&serde_json::from_value(spec.clone()).unwrap()), expected, "{spec}");
        }
    }
}
