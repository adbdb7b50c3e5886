//! What a pod asks for and may use as a whole (`validatePodResources` in pkg/apis/core/validation of Kubernetes 1.36).

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::container::whole_bytes;
use super::{Subject, View, quantity};
use crate::manifest::problem::Finding;
use crate::model::{self, AmountList, OF_PODS, containers_total};

/// Amounts that can be, and that have room for those of the containers.
pub(super) fn resources(subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(spec) = subject.root.get("spec") else { return };
    let Some(whole) = spec.get("resources") else { return };
    let (limits, requests) = (whole.get("limits"), whole.get("requests"));
    for list in [&limits, &requests].into_iter().flatten() {
        for (name, amount) in list.entries() {
            quantity::check(&amount, &format!("`{name}`"), out);
            whole_bytes(name, &amount, out);
            if !OF_PODS.contains(&name) && !name.starts_with("hugepages-") {
                let message = format!("`{name}` is no resource that a pod has as a whole");
                out.push(
                    amount
                        .error("resources", message)
                        .at_key()
                        .help("these are cpu and memory; set others of the containers"),
                );
            }
        }
    }
    // What is wrong elsewhere is told elsewhere.
    let Ok(typed) = serde_json::from_value::<PodSpec>(spec.value.clone()) else { return };
    let typed = with_requests(typed);
    for name in OF_PODS {
        let [limit, request] = [&limits, &requests].map(|list| list.as_ref().and_then(|list| list.get(name)));
        fits(name, (request, limit.as_ref()), &typed, out);
        if let Some(limit) = limit {
            smaller(name, &limit, subject, out);
        }
    }
}

/// The request of a pod has room for those of its containers, and is no larger than its limit.
fn fits(name: &str, (request, limit): (Option<View<'_>>, Option<&View<'_>>), spec: &PodSpec, out: &mut Vec<Finding>) {
    let together = containers_total(spec, AmountList::Requests, name);
    let value = |view: &View<'_>| quantity::of(view.value);
    let shown = || model::quantity::written(together, name == "memory");
    let most = limit.and_then(value);
    match &request {
        Some(request) => {
            let Some(asked) = value(request) else { return };
            if asked < together {
                let message = format!("the containers ask for {} of {name} together, more than their pod", shown());
                out.push(request.error("resources", message).help("raise the request of the pod, or lower theirs"));
            }
            if most.is_some_and(|most| asked > most) {
                let message = format!("the request of {name} is larger than its limit");
                out.push(request.error("resources", message).help("raise the limit, or lower the request"));
            }
        }
        // Then it is what the containers ask for.
        None if most.is_some_and(|most| together > most) => {
            let message = format!("the containers ask for {} of {name} together, more than their pod may use", shown());
            out.extend(limit.map(|limit| {
                limit.error("resources", message).help("raise the limit of the pod, or lower their requests")
            }));
        }
        None => {}
    }
}

/// No container may use more than its pod; init containers are not asked, as by Kubernetes.
fn smaller(name: &str, limit: &View<'_>, subject: Subject<'_, '_>, out: &mut Vec<Finding>) {
    let Some(most) = quantity::of(limit.value) else { return };
    let spec = subject.root.get("spec");
    for container in spec.iter().flat_map(|spec| spec.list("containers")) {
        let own = container.get("resources").and_then(|own| own.get("limits")).and_then(|limits| limits.get(name));
        if let Some(own) = own
            && quantity::of(own.value).is_some_and(|own| own > most)
        {
            let message = format!("the limit of {name} is larger than that of the pod");
            out.push(own.error("resources", message).help("raise the limit of the pod, or lower this one"));
        }
    }
}

/// A container that says only what it may use asks for as much.
fn with_requests(mut spec: PodSpec) -> PodSpec {
    let fill = |container: &mut Container| {
        let Some(resources) = &mut container.resources else { return };
        for (name, limit) in resources.limits.iter().flatten() {
            let requests = resources.requests.get_or_insert_default();
            requests.entry(name.clone()).or_insert_with(|| limit.clone());
        }
    };
    spec.init_containers.iter_mut().flatten().chain(&mut spec.containers).for_each(fill);
    spec
}
