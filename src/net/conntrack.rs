//! Making the kernel forget where it led a conversation.
//!
//! Rules decide about the first packet of a conversation only, and with UDP it never ends while a client goes on sending
//! from one port: such a client would talk to a pod that is gone, or past a pod that has come.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto};

use crate::sys::effect;

// From linux/netlink.h and linux/netfilter/nfnetlink_conntrack.h.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;
const GET: u16 = 0x0101;
const DELETE: u16 = 0x0102;
const REQUEST: u16 = 0x0001;
const ACK: u16 = 0x0004;
const DUMP: u16 = 0x0300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const TUPLE_ORIG: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const PROTO_NUM: u16 = 1;
const PROTO_DST_PORT: u16 = 3;
/// The bits of an attribute's type that are no flags.
const ATTRIBUTE_TYPE: u16 = 0x3fff;
/// More than the kernel sends at once.
const BUFFER: usize = 64 << 10;
/// The kernel answers at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Forgets every UDP conversation that was begun with one of these ports of the machine. A kernel without IPv6 knows none
/// of that family.
pub(super) fn forget_udp(ports: &BTreeSet<u16>) -> io::Result<()> {
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        forget_family(ports, family)?;
    }
    Ok(())
}

fn forget_family(ports: &BTreeSet<u16>, family: AddressFamily) -> io::Result<()> {
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    for tuple in conversations(&socket, ports, family)? {
        effect::effect("delete conntrack", "udp", || send(&socket, DELETE, REQUEST | ACK, (family, &tuple)))?;
        // One that has ended meanwhile is refused, which is as good.
        rustix::net::recv(&socket, &mut [0; 1024][..], RecvFlags::empty())?;
    }
    Ok(())
}

/// The attribute that names each conversation, as the kernel wrote it.
fn conversations(socket: &OwnedFd, ports: &BTreeSet<u16>, family: AddressFamily) -> io::Result<Vec<Vec<u8>>> {
    send(socket, GET, REQUEST | DUMP, (family, &[]))?;
    let mut buffer = vec![0; BUFFER];
    let mut found = Vec::new();
    loop {
        let (length, _) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((kind, message)) = next_message(&mut rest) {
            match kind {
                DONE => return Ok(found),
                ERROR => return Err(io::Error::other("the kernel does not list its connections")),
                _ => found.extend(udp_tuple(message.get(FAMILY_HEADER..).unwrap_or_default(), ports)),
            }
        }
    }
}

fn send(socket: &OwnedFd, kind: u16, flags: u16, (family, attributes): (AddressFamily, &[u8])) -> io::Result<()> {
    let length = u32::try_from(HEADER + FAMILY_HEADER + attributes.len()).map_err(io::Error::other)?;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    // Sequence number and sender: the kernel fills in the latter.
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[u8::try_from(family.as_raw()).map_err(io::Error::other)?, 0, 0, 0]);
    message.extend_from_slice(attributes);
    rustix::net::sendto(socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    Ok(())
}

/// Takes `length` bytes and what aligns them to four.
fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let taken = rest.get(..length)?;
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some(taken)
}

/// The next message: its type, and what follows its header.
fn next_message<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?);
    let message = take(rest, usize::try_from(length).ok()?.max(HEADER))?;
    Some((u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?), message.get(HEADER..)?))
}

/// The attribute of that type: all of it, header included.
fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?);
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let found = take(&mut rest, usize::from(length).max(4))?;
        if kind & ATTRIBUTE_TYPE == wanted {
            return Some(found);
        }
    }
}

/// The original tuple of a conversation, if it is one by UDP with one of the ports.
fn udp_tuple(message: &[u8], ports: &BTreeSet<u16>) -> Option<Vec<u8>> {
    let tuple = attribute(message, TUPLE_ORIG)?;
    let protocol = attribute(tuple.get(4..)?, TUPLE_PROTO)?.get(4..)?;
    let number = *attribute(protocol, PROTO_NUM)?.get(4)?;
    let port = u16::from_be_bytes(attribute(protocol, PROTO_DST_PORT)?.get(4..6)?.try_into().ok()?);
    let wanted = u32::from(number) == ipproto::UDP.as_raw().get() && ports.contains(&port);
    wanted.then(|| {
        let mut out = tuple.to_vec();
        out.resize(out.len().next_multiple_of(4), 0);
        out
    })
}
