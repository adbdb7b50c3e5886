//! Who has which address and which host ports: a value that is kept on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::HostPort;
use super::subnet::Subnet;
use crate::model::PodUid;

/// What one pod holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// `None` for a pod on the machine's own network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<HostPort>,
}

/// Everything the network of a root remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leases {
    /// Of this format.
    pub version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<Subnet>,
    /// IP forwarding was off before the first pod, and is to be off again after the last one.
    #[serde(default)]
    pub restore_forwarding: bool,
    /// Where the search for the next address begins: an address is not given away again at once, since others may
    /// still believe it to be the pod they knew.
    #[serde(default)]
    pub next: u32,
    #[serde(default)]
    pub pods: BTreeMap<PodUid, Lease>,
}

impl Default for Leases {
    fn default() -> Self {
        Self { version: Self::VERSION, subnet: None, restore_forwarding: false, next: 0, pods: BTreeMap::new() }
    }
}

/// Why a host port cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Another pod of this root holds it.
    ByPod(HostPort, PodUid),
    /// The pod itself asks for it twice, with different ports behind it.
    Twice(HostPort),
}

impl Leases {
    /// The version this program writes, and the newest it reads.
    pub const VERSION: u32 = 1;

    /// What of it still means something after the machine was started again.
    #[must_use]
    pub fn lasting(&self) -> Self {
        Self { version: self.version, subnet: self.subnet, ..Self::default() }
    }

    /// The pod's address, a new one unless it has one of this subnet. `None` when every address is in use, or there is
    /// no subnet.
    pub fn allocate(&mut self, uid: &PodUid) -> Option<Ipv4Addr> {
        let subnet = self.subnet?;
        if let Some(address) = self.address(uid)
            && subnet.offset(address).is_some_and(|o| subnet.offsets().contains(&o))
        {
            return Some(address);
        }
        let used: BTreeSet<Ipv4Addr> = self.pods.values().filter_map(|l| l.address).collect();
        let all = subnet.offsets();
        let from = if all.contains(&self.next) { self.next } else { *all.start() };
        let address =
            (from..=*all.end()).chain(*all.start()..from).map(|o| subnet.address(o)).find(|a| !used.contains(a))?;
        self.next = subnet.offset(address).unwrap_or_default() + 1;
        self.pods.entry(uid.clone()).or_default().address = Some(address);
        Some(address)
    }

    /// The address a pod has.
    pub fn address(&self, uid: &PodUid) -> Option<Ipv4Addr> {
        self.pods.get(uid)?.address
    }

    /// How many pods have an address.
    pub fn addresses(&self) -> usize {
        self.pods.values().filter(|l| l.address.is_some()).count()
    }

    /// Whether the pod holds exactly these ports.
    pub fn holds(&self, uid: &PodUid, ports: &[HostPort]) -> bool {
        self.pods.get(uid).is_some_and(|l| l.ports == ports)
    }

    /// Why a pod cannot have these ports.
    pub fn taken(&self, uid: &PodUid, ports: &[HostPort]) -> Option<Taken> {
        for (n, port) in ports.iter().enumerate() {
            let same =
                |p: &&HostPort| (p.host_port, p.protocol, p.host_ip) == (port.host_port, port.protocol, port.host_ip);
            if ports[..n].iter().any(|p| same(&p)) {
                return Some(Taken::Twice(*port));
            }
            for (other, lease) in &self.pods {
                if other != uid && lease.ports.iter().any(|p| p.clashes(port)) {
                    return Some(Taken::ByPod(*port, other.clone()));
                }
            }
        }
        None
    }

    /// Gives the pod these ports instead of those it had.
    pub fn claim(&mut self, uid: &PodUid, ports: &[HostPort]) {
        self.pods.entry(uid.clone()).or_default().ports = ports.to_vec();
    }

    /// Host ports that lead to an address, in a fixed order.
    pub fn forwards(&self) -> Vec<(HostPort, Ipv4Addr)> {
        let mut out: Vec<(HostPort, Ipv4Addr)> = self
            .pods
            .values()
            .filter_map(|l| l.address.map(|a| (a, &l.ports)))
            .flat_map(|(address, ports)| ports.iter().map(move |p| (*p, address)))
            .collect();
        out.sort();
        out
    }
}
