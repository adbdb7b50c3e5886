//! Whether a port of the machine is free: found out by taking it for a moment.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use super::{HostPort, Protocol};

/// Whether some process of the machine listens there; `v6` says whether every address means those of IPv6 too.
pub(super) fn is_busy(port: &HostPort, v6: bool) -> bool {
    let all6 = v6.then_some(IpAddr::from(Ipv6Addr::UNSPECIFIED));
    match port.host_ip {
        Some(ip) => is_busy_at(port, ip),
        None => [IpAddr::from(Ipv4Addr::UNSPECIFIED)].into_iter().chain(all6).any(|ip| is_busy_at(port, ip)),
    }
}

/// What cannot be found out counts as free: the address may come later, or this process may not bind low ports.
fn is_busy_at(port: &HostPort, ip: IpAddr) -> bool {
    let (kind, protocol) = match port.protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let bind = || -> io::Result<()> {
        let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol))?;
        if ip.is_ipv6() {
            // Its IPv4 counterpart is another address.
            rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
        }
        if port.protocol != Protocol::Udp {
            // Connections that have ended hold the port for a while; only a listener counts. The socket never listens.
            rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
        }
        Ok(rustix::net::bind(&socket, &SocketAddr::new(ip, port.host_port))?)
    };
    bind().is_err_and(|e| e.kind() == io::ErrorKind::AddrInUse)
}
