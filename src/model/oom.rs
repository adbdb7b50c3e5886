//! How easily the kernel ends a container's processes when memory runs out: by the pod's class, as in the kubelet's
//! `pkg/kubelet/qos/policy.go`.

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::{AmountList, containers_total, is_sidecar, qos_class, quantity};

/// As the kernel takes it in `oom_score_adj`: from -1000, never, to 1000, first.
const GUARANTEED: i128 = -997;
const BEST_EFFORT: i128 = 1000;
/// Pods of this class are as guaranteed ones, whatever they ask for (`IsNodeCriticalPod`).
const NODE_CRITICAL: &str = "system-node-critical";

/// The `oom_score_adj` of a container on a machine with so many bytes of memory.
pub fn oom_score_adj(spec: &PodSpec, container: &Container, memory: u64) -> i32 {
    let score = match qos_class(spec) {
        _ if spec.priority_class_name.as_deref() == Some(NODE_CRITICAL) => GUARANTEED,
        "Guaranteed" => GUARANTEED,
        "BestEffort" => BEST_EFFORT,
        _ if is_sidecar(container) => {
            // The others need it: it does not go before the one of them that asked for least (`minRegularContainerMemory`).
            let others = spec.containers.iter().map(|other| burstable(spec, other, memory));
            let own = burstable(spec, container, memory);
            others.max().map_or(own, |first| first.min(own))
        }
        _ => burstable(spec, container, memory),
    };
    i32::try_from(score).unwrap_or(i32::MAX)
}

/// The more of the machine's memory a container has asked for, the later it goes: before those whose class is guaranteed,
/// after those that asked for nothing.
fn burstable(spec: &PodSpec, container: &Container, memory: u64) -> i128 {
    let resources = container.resources.as_ref();
    let lists = [resources.and_then(|r| r.requests.as_ref()), resources.and_then(|r| r.limits.as_ref())];
    let asked = lists.into_iter().flatten().find_map(|list| quantity::bytes(&list.get("memory")?.0)).unwrap_or(0);
    let asked = i128::from(asked).saturating_add(rest(spec));
    let score = BEST_EFFORT - 1000_i128.saturating_mul(asked) / i128::from(memory.max(1));
    score.clamp(1000 + GUARANTEED, BEST_EFFORT - 1)
}

/// What a pod asks for as a whole and its containers do not is each one's in equal parts, in bytes
/// (`remainingPodMemReqPerContainer`).
fn rest(spec: &PodSpec) -> i128 {
    const NANO: i128 = 1_000_000_000;
    let whole = AmountList::Requests.of_pod(spec).and_then(|amounts| quantity::bytes(&amounts.get("memory")?.0));
    let Some(whole) = whole.filter(|bytes| *bytes > 0) else { return 0 };
    let asked = containers_total(spec, AmountList::Requests, "memory") / NANO;
    let containers = spec.containers.len() + spec.init_containers.iter().flatten().count();
    (i128::from(whole) - asked) / i128::try_from(containers.max(1)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_pod_that_the_node_needs_goes_last() {
        let score = |class: &str| {
            let spec = json!({"containers": [{"name": "c"}], "priorityClassName": class});
            let spec: PodSpec = serde_json::from_value(spec).unwrap();
            oom_score_adj(&spec, &spec.containers[0], 1 << 30)
        };
        assert_eq!([score("system-node-critical"), score("system-cluster-critical"), score("")], [-997, 1000, 1000]);
    }

    #[test]
    fn the_score_follows_the_class_and_what_was_asked_for() {
        const MEMORY: u64 = 10 << 30;
        let score = |containers: Value, init: Value, index: usize| {
            let spec: PodSpec =
                serde_json::from_value(json!({"containers": containers, "initContainers": init})).unwrap();
            let all: Vec<&Container> = spec.init_containers.iter().flatten().chain(&spec.containers).collect();
            oom_score_adj(&spec, all[index], MEMORY)
        };
        let with = |resources: Value| json!({"name": "c", "resources": resources});
        let request = |memory: &str| with(json!({"requests": {"memory": memory}}));
        let all = json!({"cpu": "1", "memory": "1Gi"});
        for (containers, expected) in [
            (json!([with(json!({}))]), 1000),
            (json!([with(json!({"limits": all}))]), -997),
            (json!([request("1Gi")]), 900),
            (json!([request("5Gi")]), 500),
            // No less than what is guaranteed leaves, no more than what asks for nothing.
            (json!([request("10Gi")]), 3),
            (json!([request("1Ti")]), 3),
            (json!([request("1")]), 999),
            (json!([with(json!({"requests": {"cpu": "1"}}))]), 999),
            // A limit is a request, too.
            (json!([with(json!({"limits": {"memory": "2Gi"}}))]), 800),
        ] {
            assert_eq!(score(containers.clone(), json!([]), 0), expected, "{containers}");
        }
        let whole = |resources: Value, index: usize| {
            let containers = json!([request("1Gi"), with(json!({}))]);
            let spec: PodSpec =
                serde_json::from_value(json!({"resources": resources, "containers": containers})).unwrap();
            oom_score_adj(&spec, &spec.containers[index], MEMORY)
        };
        let five = json!({"requests": {"memory": "5Gi"}});
        assert_eq!((whole(five.clone(), 0), whole(five, 1)), (700, 800), "4Gi between the two");
        assert_eq!(whole(json!({"limits": {"memory": "5Gi"}}), 1), 999);
        let mut sidecar = request("1Gi");
        sidecar["restartPolicy"] = json!("Always");
        let both = json!([request("4Gi"), request("2Gi")]);
        assert_eq!(score(both.clone(), json!([sidecar]), 0), 800, "no sooner than the first of the others");
        assert_eq!(score(both.clone(), json!([request("1Gi")]), 0), 900, "an init container is gone before they run");
        assert_eq!(score(both, json!([sidecar]), 2), 800);
    }
}
