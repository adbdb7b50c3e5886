//! The part of a pod that its status depends on. Most of a pod are variables, mounts and volumes, and to open them takes
//! several times as long as to open the rest: of thousands of pods that are shown, only this part is.

use k8s_openapi::api::core::v1::{
    Container, ContainerRestartRule, Pod, PodReadinessGate, PodSpec, Probe, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use crate::model::Packed;

#[derive(Deserialize)]
struct PodPart {
    #[serde(default)]
    metadata: ObjectMeta,
    spec: Option<SpecPart>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecPart {
    #[serde(default)]
    containers: Vec<ContainerPart>,
    host_network: Option<bool>,
    init_containers: Option<Vec<ContainerPart>>,
    node_name: Option<String>,
    readiness_gates: Option<Vec<PodReadinessGate>>,
    resources: Option<ResourceRequirements>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerPart {
    #[serde(default)]
    name: String,
    image: Option<String>,
    resources: Option<ResourceRequirements>,
    restart_policy: Option<String>,
    restart_policy_rules: Option<Vec<ContainerRestartRule>>,
    startup_probe: Option<Probe>,
    readiness_probe: Option<Probe>,
}

/// The pod with its whole metadata, and of its spec what its status depends on.
pub(super) fn open(pod: &Packed<Pod>) -> Pod {
    let PodPart { metadata, spec } = pod.part();
    let containers = |list: Vec<ContainerPart>| list.into_iter().map(container).collect();
    let spec = spec.map(|spec| PodSpec {
        containers: containers(spec.containers),
        host_network: spec.host_network,
        init_containers: spec.init_containers.map(containers),
        node_name: spec.node_name,
        readiness_gates: spec.readiness_gates,
        resources: spec.resources,
        ..PodSpec::default()
    });
    Pod { metadata, spec, status: None }
}

fn container(part: ContainerPart) -> Container {
    Container {
        name: part.name,
        image: part.image,
        resources: part.resources,
        restart_policy: part.restart_policy,
        restart_policy_rules: part.restart_policy_rules,
        startup_probe: part.startup_probe,
        readiness_probe: part.readiness_probe,
        ..Container::default()
    }
}
