//! Floor 4: the pod network: a bridge, an address per pod, host ports.

pub mod files;
mod network;
mod port;

pub use network::{Network, node_ips};
pub use port::{HostPort, Protocol, host_ports};
