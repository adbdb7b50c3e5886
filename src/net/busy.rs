//! Whether a port of the machine is free: found out by taking it for a moment.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use super::{HostPort, Protocol};

/// Whether some process of the machine listens there. What cannot be found out counts as free: the address may come
/// later, or this process may not bind low ports.
pub(super) fn is_busy(port: &HostPort) -> bool {
    let (kind, protocol) = match port.protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let bind = || -> io::Result<()> {
        let socket = rustix::net::socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, Some(protocol))?;
        if port.protocol != Protocol::Udp {
            // Connections that have ended hold the port for a while; only a listener counts. The socket never listens.
            rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
        }
        let address = SocketAddrV4::new(port.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED), port.host_port);
        Ok(rustix::net::bind(&socket, &address)?)
    };
    bind().is_err_and(|e| e.kind() == io::ErrorKind::AddrInUse)
}
