//! The machine as its pods see it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A taint of the machine, from the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Taint {
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    pub effect: String,
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
}
