//! The downward API: fields of the pod and resources of its containers as text.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use super::go;
use crate::model::{AmountList, NodeInfo, OF_PODS, PodUid, quantity};

/// A pod as its containers may ask about it.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    /// With defaults.
    pub(super) pod: &'a Pod,
    pub(super) uid: &'a PodUid,
    pub(super) node: &'a NodeInfo,
    /// The pod's addresses, empty before the sandbox runs.
    pub(super) ips: &'a [IpAddr],
}

impl<'a> Fields<'a> {
    pub(super) fn namespace(&self) -> &'a str {
        self.pod.metadata.namespace.as_deref().unwrap_or("default")
    }

    /// The value of a `fieldPath` of a variable.
    pub(super) fn get(&self, path: &str) -> Result<String, String> {
        let account = self.pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        Ok(match path {
            "spec.nodeName" => self.node.name.clone(),
            "spec.serviceAccountName" => account.unwrap_or_default(),
            "status.hostIP" => first(&self.node.host_ips()),
            "status.hostIPs" => joined(&self.node.host_ips()),
            "status.podIP" => first(&self.pod_ips()),
            "status.podIPs" => joined(&self.pod_ips()),
            _ => return self.metadata(path),
        })
    }

    /// The value of a `fieldPath` of a file: what a pod is called and marked with, and nothing that is known only once it runs
    /// (pkg/fieldpath/fieldpath.go, `ExtractFieldPathAsString`).
    pub(super) fn metadata(&self, path: &str) -> Result<String, String> {
        let metadata = &self.pod.metadata;
        let (labels, annotations) = (metadata.labels.as_ref(), metadata.annotations.as_ref());
        let text = |value: Option<&String>| value.cloned().unwrap_or_default();
        if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
            let map = match map {
                "metadata.labels" => labels,
                "metadata.annotations" => annotations,
                "" => return Err(unsupported(path)),
                _ => return Err(format!("fieldPath {} does not support subscript", go::quoted(path))),
            };
            return Ok(text(map.and_then(|map| map.get(key))));
        }
        Ok(match path {
            "metadata.annotations" => lines(annotations),
            "metadata.labels" => lines(labels),
            "metadata.name" => text(metadata.name.as_ref()),
            "metadata.namespace" => self.namespace().to_owned(),
            "metadata.uid" => self.uid.0.clone(),
            _ => return Err(unsupported(path)),
        })
    }

    /// A pod on the machine's own network has the machine's addresses.
    fn pod_ips(&self) -> Vec<IpAddr> {
        let host_network = self.pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
        if host_network && self.ips.is_empty() { self.node.host_ips() } else { self.ips.to_vec() }
    }

    pub(super) fn container(&self, name: &str) -> Option<&'a Container> {
        let spec = self.pod.spec.as_ref()?;
        spec.init_containers.iter().flatten().chain(&spec.containers).find(|c| c.name == name)
    }

    /// The container of a `resourceFieldRef` that names one.
    pub(super) fn named(&self, name: &str) -> Result<&'a Container, String> {
        self.container(name).ok_or_else(|| format!("container {name} not found"))
    }

    /// A limit or request in units of the divisor, rounded up; nothing is 0. A limit of cpu, memory or disk that is not set, or is
    /// 0, is what the machine offers (pkg/api/v1/resource/helpers.go).
    pub(super) fn resource(&self, reference: &ResourceFieldSelector, container: &Container) -> Result<String, String> {
        let what = reference.resource.as_str();
        let refused = || format!("unsupported container resource : {what}");
        let (kind, name) = what.split_once('.').ok_or_else(refused)?;
        let resources = container.resources.as_ref();
        let amounts = match kind {
            "limits" => resources.and_then(|r| r.limits.as_ref()),
            "requests" => resources.and_then(|r| r.requests.as_ref()),
            _ => return Err(refused()),
        };
        let is_offered = OFFERED.contains(&name);
        if !is_offered && !name.starts_with("hugepages-") {
            return Err(refused());
        }
        let read = |text: &str| quantity::nanos(text).ok_or_else(|| format!("{text:?} is no quantity ({what})"));
        let own = amounts.and_then(|amounts| amounts.get(name)).map_or("0", |quantity| quantity.0.as_str());
        let amount = match read(own)? {
            0 if kind == "limits" && is_offered => read(self.offered(name))?,
            own => own,
        };
        // A divisor of 0 is how the API spells "not set".
        let divisor = match read(reference.divisor.as_ref().map_or("0", |divisor| divisor.0.as_str()))? {
            ..=0 => NANO,
            divisor => divisor,
        };
        // Processors are counted in thousandths, all else in whole numbers.
        let unit = if name == "cpu" { NANO / 1000 } else { NANO };
        Ok(up(up(amount, unit), up(divisor, unit)).to_string())
    }

    /// What a container without a limit may use: what its pod may as a whole, or what the machine offers
    /// (`defaultPodLimitsForDownwardAPI` of 1.36).
    fn offered(&self, name: &str) -> &str {
        let whole = self.pod.spec.as_ref().and_then(|spec| AmountList::Limits.of_pod(spec));
        let whole = whole.filter(|_| OF_PODS.contains(&name)).and_then(|limits| limits.get(name));
        let whole = whole.filter(|limit| quantity::nanos(&limit.0) != Some(0));
        let of_machine = || self.node.allocatable.get(name).map_or("0", String::as_str);
        whole.map_or_else(of_machine, |limit| limit.0.as_str())
    }
}

/// Of what a container may use all that the machine offers, unless it has a limit.
const OFFERED: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// Billionths, in which quantities are read.
const NANO: i128 = 1_000_000_000;

/// How many parts of this size it takes.
fn up(amount: i128, size: i128) -> i128 {
    (amount + size - 1).div_euclid(size)
}

/// A map as the kubelet writes it into a file: in the order of the keys, without a line end after the last one
/// (pkg/fieldpath/fieldpath.go, `FormatMap`).
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", go::quoted(value)));
    lines.collect::<Vec<_>>().join("\n")
}

fn unsupported(path: &str) -> String {
    format!("unsupported fieldPath: {path}")
}

fn first(ips: &[IpAddr]) -> String {
    ips.first().map(ToString::to_string).unwrap_or_default()
}

fn joined(ips: &[IpAddr]) -> String {
    ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
