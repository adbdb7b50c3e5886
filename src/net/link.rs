//! Links, addresses and routes by rtnetlink. A connection lives as long as one operation.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use futures_util::TryStreamExt;
use futures_util::future::{join_all, try_join_all};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::task::AbortHandle;

use super::subnet::Taken;
use crate::sys::effect;
use crate::sys::netns::NetNs;

/// A link, as far as we look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub index: u32,
    pub name: String,
    pub mac: Vec<u8>,
    pub mtu: u32,
    pub up: bool,
    pub is_bridge: bool,
    /// Index of the other end of a veth pair, in the other end's namespace.
    pub peer: Option<u32>,
}

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub link: u32,
    pub ip: IpAddr,
    pub prefix: u8,
}

/// An end of a veth pair to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Veth<'a> {
    pub name: &'a str,
    /// The bridge's index.
    pub bridge: u32,
    pub mtu: u32,
    /// Where the other end is to appear, as `eth0`.
    pub peer: &'a NetNs,
    pub peer_mac: [u8; 6],
    /// What `ip link` shows as alias.
    pub alias: &'a str,
}

/// The name of a pod's link, as the pod sees it.
pub(super) const POD_LINK: &str = "eth0";

/// A netlink connection into one namespace.
pub(super) struct Links {
    handle: Handle,
    task: AbortHandle,
}

impl Drop for Links {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn failed(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

/// Sends a request that changes something.
#[track_caller]
fn change(
    name: &'static str,
    subject: &str,
    request: impl Future<Output = Result<(), rtnetlink::Error>>,
) -> impl Future<Output = io::Result<()>> {
    effect::during(name, subject, async { request.await.map_err(failed) })
}

/// Success when the thing is there already.
fn or_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::EXIST.raw_os_error()) => Ok(()),
        other => other,
    }
}

/// The link's own address: on a point-to-point link `Address` is the other side's.
fn local(attributes: &[AddressAttribute]) -> Option<IpAddr> {
    let own = attributes.iter().find_map(|a| if let AddressAttribute::Local(ip) = a { Some(*ip) } else { None });
    own.or(attributes.iter().find_map(|a| if let AddressAttribute::Address(ip) = a { Some(*ip) } else { None }))
}

/// Whether the error says that there is no such link.
fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

impl Links {
    /// Into the namespace of the calling thread. Needs a tokio runtime.
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Self { handle, task: tokio::spawn(connection).abort_handle() })
    }

    /// Into another namespace: the socket is opened there, after `prepare`, and used from here.
    pub(super) fn open_in(namespace: &NetNs, prepare: impl FnOnce() -> io::Result<()> + Send) -> io::Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        let (connection, handle, _) = namespace.enter(|| {
            prepare()?;
            let _inside = runtime.enter();
            rtnetlink::new_connection()
        })??;
        Ok(Self { handle, task: tokio::spawn(connection).abort_handle() })
    }

    /// Does something with a connection into the calling thread's namespace, without a runtime of the caller's: on a
    /// thread of its own, which is waited for.
    pub(super) fn blocking<T: Send>(work: impl AsyncFnOnce(&Links) -> io::Result<T> + Send) -> io::Result<T> {
        let inside = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
            runtime.block_on(async { work(&Links::open()?).await })
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("netlink".to_owned()).spawn_scoped(scope, inside)?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The link of that name.
    pub(super) async fn get(&self, name: &str) -> io::Result<Option<Link>> {
        let found = self.handle.link().get().match_name(name).execute().try_next().await.map_err(failed);
        match found {
            Ok(message) => Ok(message.as_ref().map(link)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every link.
    pub(super) async fn list(&self) -> io::Result<Vec<Link>> {
        let all: Vec<LinkMessage> = self.handle.link().get().execute().try_collect().await.map_err(failed)?;
        Ok(all.iter().map(link).collect())
    }

    /// Every address.
    pub(super) async fn addresses(&self) -> io::Result<Vec<Address>> {
        let all: Vec<_> = self.handle.address().get().execute().try_collect().await.map_err(failed)?;
        Ok(all
            .iter()
            .filter_map(|m| {
                Some(Address { link: m.header.index, ip: local(&m.attributes)?, prefix: m.header.prefix_len })
            })
            .collect())
    }

    /// Every IPv4 route.
    async fn routes(&self) -> io::Result<Vec<RouteMessage>> {
        self.routes_as(RouteMessageBuilder::<Ipv4Addr>::new().build()).await
    }

    async fn routes_as(&self, any: RouteMessage) -> io::Result<Vec<RouteMessage>> {
        self.handle.route().get(any).execute().try_collect().await.map_err(failed)
    }

    /// Whether all of them are the machine's own. An answer that does not come is none.
    pub(super) async fn are_own(&self, addresses: &[(IpAddr, u8)]) -> bool {
        let is_own = async |(ip, _): &(IpAddr, u8)| {
            let to = match ip {
                IpAddr::V4(ip) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(*ip, 32).build(),
                IpAddr::V6(ip) => RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(*ip, 128).build(),
            };
            let route = self.handle.route().get(to).execute().try_next().await;
            matches!(route, Ok(Some(route)) if route.header.kind == RouteType::Local)
        };
        join_all(addresses.iter().map(is_own)).await.into_iter().all(|own| own)
    }

    /// Index of the link that the default route leads through.
    pub(super) async fn default_link(&self) -> io::Result<Option<u32>> {
        let mut defaults: Vec<(u32, u32)> = self
            .routes()
            .await?
            .iter()
            .filter(|r| r.header.destination_prefix_length == 0)
            .filter_map(|r| Some((metric(r), outgoing(r)?)))
            .collect();
        defaults.sort_unstable();
        Ok(defaults.first().map(|(_, link)| *link))
    }

    /// What the machine uses of the addresses: routes of all tables, and addresses; without link `except`. The routes of IPv6
    /// are among them with `v6`.
    pub(super) async fn taken(&self, except: &str, v6: bool) -> io::Result<Vec<Taken>> {
        let names = self.list().await?;
        let name = |index: Option<u32>| {
            names.iter().find(|l| Some(l.index) == index).map(|l| l.name.clone()).unwrap_or_default()
        };
        let mut routes = self.routes().await?;
        if v6 {
            routes.extend(self.routes_as(RouteMessageBuilder::<Ipv6Addr>::new().build()).await?);
        }
        let routes = routes.iter().filter_map(|route| {
            let destination = route.attributes.iter().find_map(|a| match a {
                RouteAttribute::Destination(RouteAddress::Inet(ip)) => Some(IpAddr::from(*ip)),
                RouteAttribute::Destination(RouteAddress::Inet6(ip)) => Some(IpAddr::from(*ip)),
                _ => None,
            })?;
            let prefix = route.header.destination_prefix_length;
            Some(Taken { network: destination, prefix, link: name(outgoing(route)), is_address: false })
        });
        let addresses = self.addresses().await?;
        let addresses = addresses.iter().map(|Address { link, ip, prefix }| {
            let (network, prefix) = (*ip, *prefix);
            Taken { network, prefix, link: name(Some(*link)), is_address: true }
        });
        Ok(addresses.chain(routes).filter(|t| t.link != except).collect())
    }

    /// Makes a bridge that is up; one that is there stays.
    pub(super) async fn add_bridge(&self, name: &str, mac: [u8; 6], mtu: u32) -> io::Result<()> {
        let message = LinkBridge::new(name).address(mac.to_vec()).mtu(mtu).build();
        or_there(change("add link", name, self.handle.link().add(message).execute()).await)
    }

    /// Makes a pair whose near end is up, a port of the bridge and may send back where it came from (a pod that calls
    /// its own host port).
    pub(super) async fn add_veth(&self, veth: &Veth<'_>) -> io::Result<()> {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(POD_LINK)
            .address(veth.peer_mac.to_vec())
            .mtu(veth.mtu)
            .setns_by_fd(veth.peer.as_fd().as_raw_fd())
            .build();
        let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(veth.name)
            .mtu(veth.mtu)
            .controller(veth.bridge)
            .up()
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        change("add link", "veth", self.handle.link().add(pair).execute()).await
    }

    /// Brings the near end of a pair into the state [`Links::add_veth`] is to leave it in.
    pub(super) async fn join_bridge(&self, index: u32, veth: &Veth<'_>) -> io::Result<()> {
        let up = LinkUnspec::new_with_index(index).controller(veth.bridge).alias(veth.alias).up().build();
        change("set link", "veth", self.handle.link().change(up).execute()).await?;
        let hairpin = LinkBridgePort::new(index).hairpin(true).build();
        change("set port", "veth", self.handle.link().set_port(hairpin).execute()).await
    }

    /// Turns a link on.
    pub(super) async fn up(&self, index: u32, name: &str) -> io::Result<()> {
        let up = LinkUnspec::new_with_index(index).up().build();
        change("set link", name, self.handle.link().change(up).execute()).await
    }

    /// Gives a link these addresses and takes every other one away but those of the link alone (fe80::/10), which the kernel
    /// gives. They can be used at once: nobody is asked whether they are free, which takes IPv6 a second.
    pub(super) async fn set_addresses(&self, index: u32, wanted: &[(IpAddr, u8)]) -> io::Result<()> {
        let all: Vec<_> =
            self.handle.address().get().set_link_index_filter(index).execute().try_collect().await.map_err(failed)?;
        for message in all.into_iter().filter(|m| m.header.index == index) {
            let Some(ip) = local(&message.attributes) else { continue };
            let is_wanted = wanted.contains(&(ip, message.header.prefix_len));
            if !is_wanted && !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
                change("delete address", "link", self.handle.address().del(message).execute()).await?;
            }
        }
        let add = async |(ip, prefix): &(IpAddr, u8)| {
            let mut add = self.handle.address().add(index, *ip, *prefix);
            if ip.is_ipv6() {
                add.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            }
            or_there(change("add address", "link", add.execute()).await)
        };
        try_join_all(wanted.iter().map(add)).await.map(drop)
    }

    /// Sends everything else of the gateway's family through it, on this link.
    pub(super) async fn set_default_route(&self, index: u32, gateway: IpAddr) -> io::Result<()> {
        let route = match gateway {
            IpAddr::V4(ip) => RouteMessageBuilder::<Ipv4Addr>::new().gateway(ip).output_interface(index).build(),
            IpAddr::V6(ip) => RouteMessageBuilder::<Ipv6Addr>::new().gateway(ip).output_interface(index).build(),
        };
        or_there(change("add route", "default", self.handle.route().add(route).execute()).await)
    }

    /// Removes a link; one that is gone is fine.
    pub(super) async fn remove(&self, index: u32) -> io::Result<()> {
        match change("delete link", "link", self.handle.link().del(index).execute()).await {
            Err(error) if is_gone(&error) => Ok(()),
            other => other,
        }
    }
}

fn link(message: &LinkMessage) -> Link {
    let mut out =
        Link { index: message.header.index, up: message.header.flags.contains(LinkFlags::Up), ..Link::default() };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => out.name.clone_from(name),
            LinkAttribute::Address(mac) => out.mac.clone_from(mac),
            LinkAttribute::Mtu(mtu) => out.mtu = *mtu,
            LinkAttribute::Link(peer) => out.peer = Some(*peer),
            LinkAttribute::LinkInfo(info) => out.is_bridge = info.contains(&LinkInfo::Kind(InfoKind::Bridge)),
            _ => {}
        }
    }
    out
}

fn metric(route: &RouteMessage) -> u32 {
    route.attributes.iter().find_map(|a| if let RouteAttribute::Priority(p) = a { Some(*p) } else { None }).unwrap_or(0)
}

/// Index of the (first) link a route leads through.
fn outgoing(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|a| match a {
        RouteAttribute::Oif(index) => Some(*index),
        RouteAttribute::MultiPath(hops) => hops.first().map(|hop| hop.interface_index),
        _ => None,
    })
}
