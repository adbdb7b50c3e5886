//! Host ports: what a pod asks for.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use k8s_openapi::api::core::v1::PodSpec;
use serde::{Deserialize, Serialize};

use crate::port::{ErrorKind, PortError};

/// A transport protocol, as manifests spell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// The name in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        }
    }
}

/// One port of the machine that leads to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostPort {
    pub host_port: u16,
    pub protocol: Protocol,
    /// Only at this address of the machine, with `0.0.0.0` or `::` at every one of that family, as the plugin portmap of
    /// CNI has it; at every address when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    pub container_port: u16,
}

impl HostPort {
    /// Whether both cannot be had at once.
    pub fn clashes(&self, other: &HostPort) -> bool {
        self.host_port == other.host_port
            && self.protocol == other.protocol
            && self.host_ip.zip(other.host_ip).is_none_or(|(a, b)| overlap(a, b))
    }

    /// Whether it is a port of the address's family.
    pub fn is_of(&self, address: &IpAddr) -> bool {
        self.host_ip.is_none_or(|ip| ip.is_ipv4() == address.is_ipv4())
    }
}

/// Whether a hostIP stands for an address that the other one stands for too.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
}

impl fmt::Display for HostPort {
    /// `8080/TCP`, or `127.0.0.1:8080/TCP` and `[fd00::1]:8080/TCP` with an address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            None => {}
        }
        write!(f, "{}/{}", self.host_port, self.protocol.as_str())
    }
}

/// The host ports of a pod's containers, init containers included: a sidecar is one. With hostNetwork every port
/// counts, since the container listens on the machine itself.
///
/// # Errors
/// `Invalid` when a number, protocol or hostIP is none, and for `::1` and fe80::/10, where a pod's port cannot be had.
pub fn host_ports(spec: &PodSpec) -> Result<Vec<HostPort>, PortError> {
    let host_network = spec.host_network.unwrap_or(false);
    let mut out = Vec::new();
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        for port in container.ports.iter().flatten() {
            let asked = port.host_port.filter(|p| *p != 0).or(host_network.then_some(port.container_port));
            let Some(asked) = asked else { continue };
            let bad = |what: String| {
                PortError::new(ErrorKind::Invalid, "use the ports of container", &container.name, what)
                    .waiting("CreatePodSandboxError")
            };
            let number = |n: i32| {
                u16::try_from(n).ok().filter(|n| *n != 0).ok_or_else(|| bad(format!("{n} is not a port number")))
            };
            let host = HostPort {
                host_port: number(asked)?,
                protocol: protocol(port.protocol.as_deref()).map_err(bad)?,
                host_ip: host_ip(port.host_ip.as_deref(), host_network).map_err(bad)?,
                container_port: number(port.container_port)?,
            };
            if !out.contains(&host) {
                out.push(host);
            }
        }
    }
    Ok(out)
}

fn protocol(name: Option<&str>) -> Result<Protocol, String> {
    match name {
        None | Some("" | "TCP") => Ok(Protocol::Tcp),
        Some("UDP") => Ok(Protocol::Udp),
        Some("SCTP") => Ok(Protocol::Sctp),
        Some(other) => Err(format!("{other:?} is not a protocol: TCP, UDP or SCTP")),
    }
}

fn host_ip(text: Option<&str>, host_network: bool) -> Result<Option<IpAddr>, String> {
    let Some(text) = text.filter(|t| !t.is_empty()) else { return Ok(None) };
    let ip = text.parse::<IpAddr>().map_err(|_| format!("hostIP {text:?} is not an IP address"))?.to_canonical();
    match ip {
        IpAddr::V6(Ipv6Addr::LOCALHOST) if !host_network => {
            Err("Linux leads nothing from ::1 to a pod: use hostIP 127.0.0.1".to_owned())
        }
        IpAddr::V6(own) if own.is_unicast_link_local() && !host_network => {
            Err(format!("Linux leads nothing from {ip}, an address of one link, to a pod: use another hostIP"))
        }
        _ => Ok(Some(ip)),
    }
}
