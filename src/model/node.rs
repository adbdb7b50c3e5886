//! The machine as its pods see it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{EvictionSettings, ISSUER, LimitRangeItem, NodePressures, PodSecurityLevel};

/// A taint of the machine, from the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Taint {
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    pub effect: String,
}

/// What a node says of its kernel and programs: `status.nodeInfo`, without what follows from this program. What is not known is
/// empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSystem {
    #[serde(rename = "machineID")]
    pub machine_id: String,
    #[serde(rename = "systemUUID")]
    pub system_uuid: String,
    #[serde(rename = "bootID")]
    pub boot_id: String,
    pub kernel_version: String,
    pub os_image: String,
    pub architecture: String,
}

/// What this machine is called and offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeInfo {
    /// The node's name: the machine's host name in lower case unless configured.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    /// Addresses of the machine, the one of the default route first.
    pub ips: Vec<IpAddr>,
    /// Resource name → quantity, such as `cpu: "2"`, `memory: 24Gi`, `pods: "110"`.
    pub allocatable: BTreeMap<String, String>,
    /// The same of what the machine has at all.
    #[serde(default)]
    pub capacity: BTreeMap<String, String>,
    #[serde(default)]
    pub system: NodeSystem,
    /// It is one of a fleet with the same manifests: a pod that it does not fit is another machine's.
    pub fleet: bool,
    /// The level of the Pod Security Standards that no pod of it may exceed.
    #[serde(default)]
    pub pod_security: PodSecurityLevel,
    /// What its containers and pods are given and may ask for; empty for nothing and anything.
    #[serde(default)]
    pub limit_range: Vec<LimitRangeItem>,
    /// Settings of the kernel that pods may set besides the safe ones, with `*` at the end or not.
    #[serde(default)]
    pub allowed_unsafe_sysctls: Vec<String>,
    /// When pods are evicted for what it is low on.
    #[serde(skip)]
    pub eviction: EvictionSettings,
    /// What it is low on now, as far as somebody has looked.
    #[serde(skip)]
    pub pressures: NodePressures,
    /// Labels that every machine has and nobody told the values of: only where the machine itself is not asked.
    pub untold: BTreeSet<String>,
    /// Who issues the tokens of its service accounts; empty for the usual name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub issuer: String,
    /// The certificate in `kube-root-ca.crt`, as PEM; empty where no pod runs, or where it could not be had.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub root_ca: Arc<str>,
}

impl NodeInfo {
    /// Who issues the tokens of its service accounts.
    pub fn issuer(&self) -> &str {
        if self.issuer.is_empty() { ISSUER } else { &self.issuer }
    }

    /// The machine's addresses as a pod has them: the first of each family, in the order they come.
    pub fn host_ips(&self) -> Vec<IpAddr> {
        let mut chosen: Vec<IpAddr> = Vec::new();
        for ip in &self.ips {
            if !chosen.iter().any(|c| c.is_ipv4() == ip.is_ipv4()) {
                chosen.push(*ip);
            }
        }
        chosen
    }
}

/// Labels that the kubelet gives every node (`pkg/kubelet/kubelet_node_status.go`).
pub mod well_known {
    pub const HOSTNAME: &str = "kubernetes.io/hostname";
    pub const OS: &str = "kubernetes.io/os";
    pub const ARCH: &str = "kubernetes.io/arch";
    pub const OLD_OS: &str = "beta.kubernetes.io/os";
    pub const OLD_ARCH: &str = "beta.kubernetes.io/arch";
}

/// The architecture of this program as Go names it, whose names images and nodes have.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}
