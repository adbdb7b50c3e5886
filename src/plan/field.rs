//! The downward API: fields of the pod and resources of its containers as text.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use crate::model::quantity;
use crate::model::{NodeInfo, PodUid};

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

    /// The value of a `fieldPath`.
    pub(super) fn get(&self, path: &str) -> Result<String, String> {
        let metadata = &self.pod.metadata;
        let spec = self.pod.spec.as_ref();
        let text = |value: Option<&String>| value.cloned().unwrap_or_default();
        if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
            let map = match map {
                "metadata.labels" => metadata.labels.as_ref(),
                "metadata.annotations" => metadata.annotations.as_ref(),
                _ => return Err(unsupported(path)),
            };
            return Ok(text(map.and_then(|map| map.get(key))));
        }
        Ok(match path {
            "metadata.name" => text(metadata.name.as_ref()),
            "metadata.namespace" => self.namespace().to_owned(),
            "metadata.uid" => self.uid.0.clone(),
            "spec.nodeName" => self.node.name.clone(),
            "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
            "status.hostIP" => first(&self.node.host_ips()),
            "status.hostIPs" => joined(&self.node.host_ips()),
            "status.podIP" => first(&self.pod_ips()),
            "status.podIPs" => joined(&self.pod_ips()),
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

    /// A limit or request in units of the divisor, rounded up. A limit that is not set is what the machine offers.
    pub(super) fn resource(&self, reference: &ResourceFieldSelector, container: &Container) -> Result<String, String> {
        let what = &reference.resource;
        let (kind, name) = what.split_once('.').ok_or_else(|| format!("unsupported container resource : {what}"))?;
        let resources = container.resources.as_ref();
        let amount = match kind {
            "limits" => resources.and_then(|r| r.limits.as_ref()).and_then(|limits| limits.get(name)),
            "requests" => resources.and_then(|r| r.requests.as_ref()).and_then(|requests| requests.get(name)),
            _ => return Err(format!("unsupported container resource : {what}")),
        };
        let fallback = match kind {
            "limits" => self.node.allocatable.get(name).map_or("0", String::as_str),
            _ => "0",
        };
        let amount = amount.map_or(fallback, |quantity| quantity.0.as_str());
        let divisor = reference.divisor.as_ref().map_or("1", |divisor| divisor.0.as_str());
        let read = |text: &str| quantity::nanos(text).ok_or_else(|| format!("{text:?} is no quantity ({what})"));
        let (amount, divisor) = (read(amount)?, read(divisor)?);
        // A divisor of 0 is how the API spells "not set".
        let divisor = if divisor <= 0 { 1_000_000_000 } else { divisor };
        Ok(((amount + divisor - 1) / divisor).to_string())
    }
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
