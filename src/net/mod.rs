//! Floor 4: the pod network: a bridge, an address per pod, host ports.
//!
//! ```text
//!   pod: eth0 10.213.0.2 ──veth── pw<id>00002 ┐
//!                                             ├ pw<id> 10.213.0.1 ── machine ── outside
//!   pod: eth0 10.213.0.3 ──veth── pw<id>00003 ┘            nft: inet podwright-<id>
//! ```
//!
//! Where the machine has IPv6 ([`ipv6`]) each pod has an address of both families, that of IPv6 at the same offset in
//! [`subnet6`], and IPv4's is the first one.
//!
//! Names on the machine derive from the root's instance id, so two roots live side by side; [`subnet`] decides about
//! addresses, [`lease`] remembers them, [`ruleset`] writes the one nftables table, and [`Network`] acts. [`files`] writes
//! what a container finds below /etc.
//!
//! What it changes beyond its own bridge and table: IP forwarding is turned on with the first pod. `down` turns it off
//! again if it was off before, unless the machine has another bridge by then, whose owner may count on it. With IPv6 the same
//! of its forwarding, and `accept_ra` of links that listen to routers becomes 2, see [`ipv6`].
//!
//! As in every cluster, whoever has a route to a pod's address reaches the pod; nothing filters between pods.
//!
//! Without the program `nft` pods run and reach each other and the machine, but neither the outside nor host ports; a
//! pod that asks for a host port is refused.

mod base;
mod busy;
mod conntrack;
pub mod files;
pub mod ipv6;
pub mod lease;
mod link;
mod network;
mod nft;
mod pod;
mod port;
mod rules;
pub mod ruleset;
mod store;
pub mod subnet;
pub mod subnet6;
mod sysctl;
mod trial;

pub use network::{Network, Wishes, node_ips};
pub use port::{HostPort, Protocol, host_ports};
pub use trial::{forwards, has_ipv6, has_nft, try_forwarding, try_links, try_nft};
