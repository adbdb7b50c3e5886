//! The quality-of-service class of a pod, and what its containers ask for and may use together.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{Resources, quantity};

/// What an amount is rounded up to, as the API does: thousandths.
const MILLI: i128 = 1_000_000;

/// The resources that a pod may have as a whole (`supportedPodLevelResources` in k8s.io/component-helpers/resource of 1.36, which
/// has huge pages too).
pub const OF_PODS: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed`, `Burstable` or `BestEffort`: only cpu and memory count, init containers included. What the pod says of itself
/// as a whole counts alone, however little that is (`ComputePodQOS` in pkg/apis/core/v1/helper/qos of 1.36).
pub fn qos_class(spec: &PodSpec) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let of_containers = containers.filter(|_| spec.resources.is_none()).map(|container| container.resources.as_ref());
    for resources in spec.resources.as_ref().map(Some).into_iter().chain(of_containers) {
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
    milli(&list?.get(resource)?.0)
}

fn milli(text: &str) -> Option<i128> {
    let nanos = quantity::nanos(text).filter(|nanos| *nanos != 0)?;
    Some(nanos.div_euclid(MILLI) + i128::from(nanos.rem_euclid(MILLI) != 0))
}

/// Whether an init container is a sidecar: restarted always, it runs beside the others.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What the containers of a pod ask for, and may use, together: by the formulas of Kubernetes (`PodRequests` and `PodLimits` in
/// k8s.io/component-helpers/resource), in thousandths of a core and of a byte. A limit is one of the pod when all of its
/// containers have it, as for the kubelet (`ResourceConfigForPod` in pkg/kubelet/cm). What the pod has as a whole counts instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodAmounts {
    pub cpu_request: i128,
    pub cpu_limit: Option<i128>,
    pub memory_limit: Option<i128>,
}

impl PodAmounts {
    /// Those of a spec. `now` says what containers that run may use now: of a limit, the larger one counts.
    pub fn of(spec: &PodSpec, now: &BTreeMap<String, Resources>) -> Self {
        // Such a pod has the least there is, whatever its containers say (`resources: {}` of a pod as a whole).
        if qos_class(spec) == "BestEffort" {
            return Self::default();
        }
        let limit = |resource: &'static str| {
            let of = |container: &Container| {
                let wanted = amount(lists(container)[1], resource);
                match now.get(&container.name) {
                    Some(now) => {
                        let now = now.limits.get(resource).and_then(|text| milli(text));
                        wanted.zip(now).map(|(wanted, now)| wanted.max(now))
                    }
                    None => wanted,
                }
            };
            together(spec, of)
        };
        let request = |container: &Container| {
            let [requests, limits] = lists(container);
            Some(amount(requests, "cpu").or(amount(limits, "cpu")).unwrap_or(0).max(0))
        };
        let whole = |list: AmountList, resource| amount(list.of_pod(spec), resource);
        let limit = |resource| whole(AmountList::Limits, resource).or_else(|| limit(resource));
        let cpu_request = whole(AmountList::Requests, "cpu").or_else(|| together(spec, request)).unwrap_or(0);
        Self { cpu_request, cpu_limit: limit("cpu"), memory_limit: limit("memory") }
    }
}

/// Requests and limits.
fn lists(container: &Container) -> [Option<&BTreeMap<String, Quantity>>; 2] {
    let resources = container.resources.as_ref();
    [resources.and_then(|r| r.requests.as_ref()), resources.and_then(|r| r.limits.as_ref())]
}

/// What a pod asks for of a resource (`requests`) or may use of it (`limits`), in billionths, as `kubectl describe node` counts
/// it: nothing where a container says nothing, and what the pod says of itself as a whole instead of that.
pub fn pod_total(spec: &PodSpec, list: AmountList, resource: &str) -> i128 {
    let whole = list.of_pod(spec).filter(|_| OF_PODS.contains(&resource));
    let whole = whole.and_then(|amounts| quantity::nanos(&amounts.get(resource)?.0));
    whole.unwrap_or_else(|| containers_total(spec, list, resource))
}

/// The same of the containers alone.
pub fn containers_total(spec: &PodSpec, list: AmountList, resource: &str) -> i128 {
    let of = |container: &Container| {
        Some(list.of(container).and_then(|amounts| quantity::nanos(&amounts.get(resource)?.0)).unwrap_or(0))
    };
    together(spec, of).unwrap_or(0)
}

/// One of the two lists of amounts of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AmountList {
    Requests,
    Limits,
}

impl AmountList {
    pub const BOTH: [AmountList; 2] = [AmountList::Requests, AmountList::Limits];

    /// That of a container.
    pub fn of(self, container: &Container) -> Option<&BTreeMap<String, Quantity>> {
        let [requests, limits] = lists(container);
        match self {
            AmountList::Requests => requests,
            AmountList::Limits => limits,
        }
    }

    /// That of a pod as a whole.
    pub fn of_pod(self, spec: &PodSpec) -> Option<&BTreeMap<String, Quantity>> {
        let whole = spec.resources.as_ref()?;
        match self {
            AmountList::Requests => whole.requests.as_ref(),
            AmountList::Limits => whole.limits.as_ref(),
        }
    }
}

/// What containers and sidecars have together, or more while the pod starts; `None` when one of them has none. An init
/// container counts with the sidecars before it.
pub(super) fn together(spec: &PodSpec, of: impl Fn(&Container) -> Option<i128>) -> Option<i128> {
    let (mut sidecars, mut start) = (None, 0_i128);
    for container in spec.init_containers.iter().flatten() {
        let own = of(container);
        let all = match (sidecars, own) {
            (None, None) => return None,
            (before, own) => before.unwrap_or(0_i128).saturating_add(own.unwrap_or(0)),
        };
        if is_sidecar(container) {
            sidecars = Some(all);
        }
        start = all.max(start);
    }
    let mut running = sidecars.unwrap_or(0);
    for container in &spec.containers {
        running = running.saturating_add(of(container)?);
    }
    Some(running.max(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Amounts;
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

    /// A pod with these resources as a whole, and a container with those.
    fn whole(pod: &serde_json::Value, container: &serde_json::Value) -> PodSpec {
        let containers = json!([{"name": "a", "resources": container}]);
        serde_json::from_value(json!({"resources": pod, "containers": containers})).unwrap()
    }

    #[test]
    fn what_a_pod_says_of_itself_as_a_whole_counts_alone() {
        let all = json!({"cpu": "1", "memory": "1Gi"});
        let same = json!({"limits": all, "requests": all});
        for (pod, container, class) in [
            (same.clone(), json!({}), "Guaranteed"),
            (same.clone(), json!({"requests": {"cpu": "10m"}}), "Guaranteed"),
            (json!({"limits": all, "requests": {"cpu": "500m", "memory": "1Gi"}}), same.clone(), "Burstable"),
            (json!({"limits": {"cpu": "1"}}), same.clone(), "Burstable"),
            (json!({"requests": {"memory": "1Mi"}}), json!({}), "Burstable"),
            (json!({}), same, "BestEffort"),
        ] {
            assert_eq!(qos_class(&whole(&pod, &container)), class, "{pod} {container}");
        }
        let own = json!({"limits": {"cpu": "100m", "memory": "1Mi"}, "requests": {"cpu": "50m", "memory": "1Mi"}});
        for (pod, request, limits) in [
            (json!({"requests": {"cpu": "200m"}}), 200, (Some(100), Some(1000 << 20))),
            (json!({"limits": {"cpu": "2", "memory": "2Mi"}}), 50, (Some(2000), Some(2000 << 20))),
        ] {
            let spec = whole(&pod, &own);
            let amounts = PodAmounts::of(&spec, &BTreeMap::new());
            assert_eq!((amounts.cpu_request, (amounts.cpu_limit, amounts.memory_limit)), (request, limits), "{pod}");
            assert_eq!(pod_total(&spec, AmountList::Requests, "cpu"), request * MILLI, "{pod}");
        }
        assert_eq!(PodAmounts::of(&whole(&json!({}), &own), &BTreeMap::new()), PodAmounts::default());
        // A pod has a limit although its containers have none.
        let amounts = PodAmounts::of(&whole(&json!({"limits": {"memory": "1Mi"}}), &json!({})), &BTreeMap::new());
        assert_eq!((amounts.cpu_limit, amounts.memory_limit), (None, Some(1000 << 20)));
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
            let amounts = PodAmounts::of(&serde_json::from_value(spec.clone()).unwrap(), &BTreeMap::new());
            assert_eq!(amounts.cpu_request, expected, "{spec}");
        }
    }

    /// Containers with these limits of cpu and memory, each one of `app`, `init` and `sidecar`.
    fn pod(containers: &[(&str, Option<&str>, Option<&str>)]) -> PodSpec {
        let all = |wanted: &dyn Fn(&str) -> bool| {
            let of = |(kind, cpu, memory): &(&str, Option<&str>, Option<&str>)| {
                let policy = (*kind == "sidecar").then_some("Always");
                json!({"name": kind, "restartPolicy": policy, "resources": {"limits": {"cpu": cpu, "memory": memory}}})
            };
            containers.iter().filter(|(kind, ..)| wanted(kind)).map(of).collect::<Vec<_>>()
        };
        let spec = json!({"initContainers": all(&|kind| kind != "app"), "containers": all(&|kind| kind == "app")});
        let text = spec.to_string().replace("\"cpu\":null", "\"x\":\"1\"").replace("\"memory\":null", "\"y\":\"1\"");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_pod_may_use_what_all_of_its_containers_may() {
        const MI: i128 = 1000 << 20;
        let all = |kind, cpu, memory| (kind, Some(cpu), Some(memory));
        for (containers, cpu, memory) in [
            (vec![("app", None, None)], None, None),
            (vec![all("app", "500m", "64Mi")], Some(500), Some(64 * MI)),
            (vec![all("app", "500m", "64Mi"), all("app", "1", "32Mi")], Some(1500), Some(96 * MI)),
            // Who has no limit leaves the pod without one, a limit of 0 is none.
            (vec![all("app", "500m", "64Mi"), ("app", None, Some("1Mi"))], None, Some(65 * MI)),
            (vec![all("app", "500m", "64Mi"), all("app", "1", "0")], Some(1500), None),
            // What is less than a byte or a thousandth of a core is rounded up.
            (vec![all("app", "1n", "1n")], Some(1), Some(1)),
            // Init containers run one after the other, before the others.
            (
                vec![all("init", "2", "8Mi"), all("init", "1", "16Mi"), all("app", "500m", "64Mi")],
                Some(2000),
                Some(64 * MI),
            ),
            (vec![("init", Some("100m"), None), all("app", "500m", "64Mi")], Some(500), None),
            // Sidecars run beside those that come after them, and beside all the others.
            (vec![all("sidecar", "1", "8Mi"), all("app", "500m", "64Mi")], Some(1500), Some(72 * MI)),
            (
                vec![all("sidecar", "1", "8Mi"), all("init", "2", "16Mi"), all("app", "500m", "64Mi")],
                Some(3000),
                Some(72 * MI),
            ),
            (
                vec![all("init", "2", "99Mi"), all("sidecar", "1", "8Mi"), all("app", "500m", "64Mi")],
                Some(2000),
                Some(99 * MI),
            ),
            (vec![("sidecar", None, Some("8Mi")), all("app", "500m", "64Mi")], None, Some(72 * MI)),
            // Of an init container after a sidecar the kubelet sees the sum.
            (
                vec![all("sidecar", "1", "8Mi"), ("init", None, None), all("app", "500m", "64Mi")],
                Some(1500),
                Some(72 * MI),
            ),
            (
                vec![all("app", "9223372036854775807", "9223372036854775807"); 3],
                Some(3 * 1000 * i128::from(i64::MAX)),
                Some(3 * 1000 * i128::from(i64::MAX)),
            ),
        ] {
            let found = PodAmounts::of(&pod(&containers), &BTreeMap::new());
            assert_eq!((found.cpu_limit, found.memory_limit), (cpu, memory), "{containers:?}");
        }
    }

    #[test]
    fn until_all_containers_are_given_their_new_limits_the_larger_ones_count() {
        let spec = pod(&[("app", Some("500m"), Some("64Mi")), ("sidecar", Some("1"), Some("8Mi"))]);
        let limits = |cpu: Option<&str>, memory: Option<&str>| {
            let of = |text: Option<&str>| text.map(str::to_owned);
            Resources { limits: Amounts { cpu: of(cpu), memory: of(memory) }, ..Resources::default() }
        };
        for (now, cpu, memory) in [
            (limits(Some("2"), Some("32Mi")), Some(3000), Some(72_i128 * (1000 << 20))),
            (limits(Some("100m"), Some("1Gi")), Some(1500), Some(1032 * (1000 << 20))),
            (limits(None, Some("64Mi")), None, Some(72 * (1000 << 20))),
        ] {
            let found = PodAmounts::of(&spec, &[("app".to_owned(), now.clone())].into());
            assert_eq!((found.cpu_limit, found.memory_limit), (cpu, memory), "{now:?}");
        }
    }
}
