//! Who has which address and which host ports: a value that is kept on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::HostPort;
use super::subnet::Subnet;
use super::subnet6::Subnet6;
use crate::model::PodUid;

/// What one pod holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// `None` for a pod on the machine's own network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// `None` also for a pod that was connected when there was no IPv6 for pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address6: Option<Ipv6Addr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<HostPort>,
}

impl Lease {
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.address.map(IpAddr::from).into_iter().chain(self.address6.map(IpAddr::from))
    }
}

/// Everything the network of a root remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leases {
    /// Of this format.
    pub version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<Subnet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet6: Option<Subnet6>,
    /// The boot of the machine in which its settings were changed; with another one they are its own again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// IP forwarding was off before the first pod, and is to be off again after the last one.
    #[serde(default)]
    pub restore_forwarding: bool,
    /// The same of IPv6.
    #[serde(default, skip_serializing_if = "is_false")]
    pub restore_forwarding6: bool,
    /// Links whose `accept_ra` was 1 before; `default` is that of links to come.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub restore_accept_ra: BTreeSet<String>,
    /// Where the search for the next address begins: an address is not given away again at once, since others may
    /// still believe it to be the pod they knew.
    #[serde(default)]
    pub next: u32,
    #[serde(default)]
    pub pods: BTreeMap<PodUid, Lease>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            version: Self::OLDEST,
            subnet: None,
            subnet6: None,
            boot_id: None,
            restore_forwarding: false,
            restore_forwarding6: false,
            restore_accept_ra: BTreeSet::new(),
            next: 0,
            pods: BTreeMap::new(),
        }
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
    /// The newest version this program reads. It has host ports at addresses of IPv6, or of one family only.
    pub const VERSION: u32 = 2;
    /// What is written as long as programs from before can read it.
    const OLDEST: u32 = 1;

    /// What of it still means something after the machine was started again.
    #[must_use]
    pub fn lasting(&self) -> Self {
        Self { subnet: self.subnet, subnet6: self.subnet6, ..Self::default() }
    }

    /// Forgets what was changed of the machine's settings in another boot than this one. What says nothing of a boot is of
    /// a program before this one, and kept.
    pub fn begin_boot(&mut self, boot: &str) {
        if self.boot_id.as_deref().is_some_and(|id| id != boot) {
            (self.restore_forwarding, self.restore_forwarding6) = (false, false);
            self.restore_accept_ra.clear();
        }
        self.boot_id = Some(boot.to_owned());
    }

    /// The version that what is in it needs.
    pub fn needed_version(&self) -> u32 {
        let is_new = |port: &HostPort| port.host_ip.is_some_and(|ip| ip.is_ipv6() || ip.is_unspecified());
        if self.pods.values().any(|l| l.ports.iter().any(is_new)) { Self::VERSION } else { Self::OLDEST }
    }

    /// The pod's IPv6 address in this subnet, or none without one. It has an IPv4 address.
    pub fn allocate6(&mut self, uid: &PodUid, subnet: Option<Subnet6>) -> Option<Ipv6Addr> {
        let offset = self.address(uid).zip(self.subnet).and_then(|(address, subnet)| subnet.offset(address))?;
        let address = subnet.map(|subnet| subnet.address(offset));
        self.pods.entry(uid.clone()).or_default().address6 = address;
        address
    }

    /// The pod's IPv4 address, a new one unless it has one of this subnet. `None` when every address is in use, or there
    /// is no subnet.
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

    /// The IPv4 address a pod has.
    pub fn address(&self, uid: &PodUid) -> Option<Ipv4Addr> {
        self.pods.get(uid)?.address
    }

    /// How many pods have an address.
    pub fn addresses(&self) -> usize {
        self.pods.values().filter(|l| l.address.is_some()).count()
    }

    /// How many pods have an address of IPv6.
    pub fn addresses6(&self) -> usize {
        self.pods.values().filter(|l| l.address6.is_some()).count()
    }

    /// Whether the pod holds exactly these ports; with `v6` also where they are served by IPv6.
    pub fn holds(&self, uid: &PodUid, ports: &[HostPort], v6: bool) -> bool {
        self.pods.get(uid).is_some_and(|l| l.ports == ports && (!v6 || l.address6.is_some()))
    }

    /// Why a pod cannot have these ports.
    pub fn taken(&self, uid: &PodUid, ports: &[HostPort]) -> Option<Taken> {
        for (n, port) in ports.iter().enumerate() {
            // Two that have one key in the rules: of any address and of any of one family too.
            let same = |p: &HostPort| {
                (p.host_port, p.protocol) == (port.host_port, port.protocol)
                    && match (p.host_ip, port.host_ip) {
                        (None, Some(ip)) | (Some(ip), None) => ip.is_unspecified(),
                        (one, other) => one == other,
                    }
            };
            if ports[..n].iter().any(same) {
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

    /// Host ports and the addresses each leads to, in a fixed order.
    pub fn forwards(&self) -> Vec<(HostPort, IpAddr)> {
        let of = |l: &Lease| -> Vec<(HostPort, IpAddr)> {
            let ports = l.ports.iter().flat_map(|port| l.addresses().map(move |address| (*port, address)));
            ports.filter(|(port, address)| port.is_of(address)).collect()
        };
        let mut out: Vec<(HostPort, IpAddr)> = self.pods.values().flat_map(of).collect();
        out.sort();
        out
    }
}
