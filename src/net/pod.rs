//! One pod's end of the network: the pair of links, and what is inside the pod's namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::future::try_join_all;
use tracing::{debug, warn};

use super::base::Base;
use super::link::{Link, Links, POD_LINK, Veth};
use super::network::{Network, failed};
use super::{ipv6, subnet6};
use crate::model::PodUid;
use crate::port::{ErrorKind, PortError};
use crate::sys::infra::Infra;
use crate::sys::netns::NetNs;

/// What is to be connected.
#[derive(Debug)]
pub(super) struct Pod<'a> {
    pub(super) uid: &'a PodUid,
    pub(super) namespace: &'a NetNs,
    pub(super) base: Base,
    pub(super) address: Ipv4Addr,
    /// With a base that has a subnet of IPv6.
    pub(super) address6: Option<Ipv6Addr>,
}

impl Pod<'_> {
    /// Its addresses, each with the length of its prefix.
    fn addresses(&self) -> Vec<(IpAddr, u8)> {
        let v6 = self.address6.map(|ip| (IpAddr::from(ip), subnet6::PREFIX));
        [(IpAddr::from(self.address), self.base.subnet.prefix())].into_iter().chain(v6).collect()
    }

    /// The bridge's addresses of the same families.
    fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        let v6 = self.base.subnet6.filter(|_| self.address6.is_some()).map(|s| s.gateway().into());
        [IpAddr::from(self.base.subnet.gateway())].into_iter().chain(v6)
    }
}

/// The namespace of a pod's process. Refuses that of another process with its number, and the machine's own.
pub(super) fn namespace(uid: &PodUid, infra: Infra) -> Result<NetNs, PortError> {
    let pid = infra.pid;
    let at = |e: io::Error| failed("attach pod", uid, &format!("open /proc/{pid}/ns/net"), &e);
    let namespace = NetNs::of_process(pid).map_err(at)?;
    infra.check().map_err(at)?;
    if NetNs::own().and_then(|own| own.same(&namespace)).map_err(at)? {
        let message = format!("process {pid} has no network namespace of its own");
        return Err(PortError::new(ErrorKind::Internal, "attach pod", uid.to_string(), message)
            .waiting("CreatePodSandboxError"));
    }
    Ok(namespace)
}

/// A pod's hardware address: it belongs to the IP address, so that nobody's memory of who had it before matters.
fn mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// Whether the two are each other's ends, with the address the pod is to have.
fn is_pair(near: &Link, far: Option<&Link>, mac: [u8; 6]) -> bool {
    far.is_some_and(|far| near.peer == Some(far.index) && far.peer == Some(near.index) && far.mac == mac)
}

/// The link, which must be there.
async fn expect(links: &Links, name: &str) -> io::Result<Link> {
    links.get(name).await?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no such link"))
}

impl Network {
    /// Connects a pod. Every step may have been done by an earlier call. What does not wait for each other is asked for side by
    /// side: an answer takes longer to arrive than to be made.
    pub(super) async fn connect(&self, links: &Links, pod: &Pod<'_>) -> Result<(), PortError> {
        let at = |step: &'static str| move |e: io::Error| failed("attach pod", pod.uid, step, &e);
        let prepare = || {
            match ipv6::prepare_pod(pod.address6.is_some()) {
                // It needs nothing of IPv6: what is left is that another pod can announce itself to it as a router.
                Err(error) if pod.address6.is_none() => {
                    debug!(pod = %pod.uid, %error, "its namespace keeps its settings of IPv6");
                    Ok(())
                }
                // With IPv6 switched off its address is refused; else only another pod can announce itself as a router.
                Err(error) if ipv6::is_refused(&error) => {
                    warn!(pod = %pod.uid, %error, "its namespace is not prepared for IPv6");
                    Ok(())
                }
                other => other,
            }
        };
        let inside = Links::open_in(pod.namespace, prepare).map_err(at("enter its network namespace"))?;
        let name = self.link_name(pod.base.subnet, pod.address).expect("invariant: a lease is in its subnet");
        let veth = Veth {
            name: &name,
            bridge: pod.base.index,
            mtu: pod.base.mtu,
            peer: pod.namespace,
            peer_mac: mac(pod.address),
            alias: &pod.uid.0,
        };
        let loopback = async {
            let loopback = expect(&inside, "lo").await.map_err(at("look for lo"))?;
            inside.up(loopback.index, "lo").await.map_err(at("turn lo on"))
        };
        tokio::try_join!(pair(links, &inside, &veth, pod.uid), loopback)?;
        let near_end = async {
            let near = expect(links, &name).await.map_err(at("look for its link"))?;
            // Not while it is a port: it outlives a bridge that somebody removes.
            if let Err(error) = ipv6::listen_never(&name) {
                debug!(link = name, %error, "it keeps its settings of IPv6");
            }
            links.join_bridge(near.index, &veth).await.map_err(at("join the bridge"))
        };
        let far_end = async {
            let far = expect(&inside, POD_LINK).await.map_err(at("look for eth0"))?;
            inside.set_addresses(far.index, &pod.addresses()).await.map_err(at("give eth0 its addresses"))?;
            inside.up(far.index, "eth0").await.map_err(at("turn eth0 on"))?;
            let routes = pod.gateways().map(|gateway| inside.set_default_route(far.index, gateway));
            try_join_all(routes).await.map(drop).map_err(at("set the default route"))
        };
        tokio::try_join!(near_end, far_end).map(drop)
    }
}

/// Makes the pair of links, unless it is there.
async fn pair(links: &Links, inside: &Links, veth: &Veth<'_>, uid: &PodUid) -> Result<(), PortError> {
    let at = |step: &'static str| move |e: io::Error| failed("attach pod", uid, step, &e);
    let (near, far) = tokio::try_join!(async { links.get(veth.name).await.map_err(at("look for its link")) }, async {
        inside.get(POD_LINK).await.map_err(at("look for eth0"))
    },)?;
    if near.as_ref().is_some_and(|near| is_pair(near, far.as_ref(), veth.peer_mac)) {
        return Ok(());
    }
    if let Some(stale) = near {
        links.remove(stale.index).await.map_err(at("remove a stale link"))?;
    }
    links.add_veth(veth).await.map_err(at("make its link"))
}
