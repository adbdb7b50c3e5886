//! Whether the machine lets us make what pods are connected by. Tried in the network namespace of the calling thread, which is
//! to be one that nobody else uses and that ends with it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::link::{Links, Veth};
use super::nft::{self, NftError};
use super::ruleset::{Ruleset, render_change};
use super::subnet::Subnet;
use super::{HostPort, Protocol, base, ipv6, sysctl};
use crate::sys::netns::NetNs;

const NAME: &str = "pwdoctor";
const MTU: u32 = 1500;

/// Makes a bridge, and a pair of links one of which is its port.
///
/// # Errors
/// What the kernel refuses.
pub fn try_links() -> io::Result<()> {
    let here = NetNs::own()?;
    Links::blocking(async |links| {
        links.add_bridge(NAME, [0x0a, 0x58, 10, 0, 0, 1], MTU).await?;
        let bridge = links.get(NAME).await?.ok_or(io::ErrorKind::NotFound)?.index;
        let peer_mac = [0x0a, 0x58, 10, 0, 0, 2];
        let veth = Veth { name: "pwdoctor2", bridge, mtu: MTU, peer: &here, peer_mac, alias: "" };
        links.add_veth(&veth).await
    })
}

/// Whether the program `nft` is there.
pub fn has_nft() -> bool {
    nft::find().is_some()
}

/// Puts a table as that of pods in place, with a host port.
///
/// # Errors
/// What `nft` says to it.
pub fn try_nft() -> Result<(), String> {
    let subnet: Subnet = "10.213.0.0/24".parse()?;
    let port = HostPort { host_port: 80, protocol: Protocol::Tcp, host_ip: None, container_port: 80 };
    let own6 = (port, Ipv6Addr::from_bits(0xfd << 120 | 2).into());
    let subnet6 = if ipv6::lack_here(MTU).is_none() { Some("fd00::/64".parse()?) } else { None };
    let forwards: Vec<_> =
        [(port, Ipv4Addr::new(10, 213, 0, 2).into())].into_iter().chain(subnet6.map(|_| own6)).collect();
    let rules = Ruleset { table: NAME, bridge: NAME, subnet, subnet6, forwards: &forwards };
    let script = render_change(&rules, None);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(nft::run(nft::find().as_deref(), &script)).map_err(|error| match error {
        NftError::Missing => "there is no program nft".to_owned(),
        NftError::Refused(why) | NftError::Failed(why) => why,
    })
}

/// Whether packets are passed on between the machine's links.
pub fn forwards() -> bool {
    sysctl::read(sysctl::IP_FORWARD).is_ok_and(|value| value == "1")
}

/// Whether pods can have addresses of IPv6 here.
///
/// # Errors
/// Why they cannot.
pub fn has_ipv6() -> Result<(), String> {
    // Without a netlink socket there are no pods on a bridge at all, which is another finding.
    let mtu = Links::blocking(async |links| base::default_mtu(links).await).unwrap_or(MTU);
    ipv6::lack_here(mtu).map_or(Ok(()), |why| Err(why.to_owned()))
}

/// Turns that on.
///
/// # Errors
/// What the kernel refuses.
pub fn try_forwarding() -> io::Result<()> {
    sysctl::set(sysctl::IP_FORWARD, "1")
}
