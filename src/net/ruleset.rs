//! The nftables table of a root, as text for `nft -f -`.
//!
//! One table of our own, replaced as a whole in one transaction: no rule of anybody else is touched, and no packet sees
//! half of it. A host port is one element of a map.
//!
//! - `prerouting` and `output`: what arrives for an address of the machine, from outside, from a pod or from the machine
//!   itself, is looked up in the maps; a hostIP comes before "any address". From outside `127.0.0.1` is no address of
//!   the machine: the kernel refuses such packets, but only after these rules, which would lead them to a pod.
//! - `postrouting`: pods leave with the machine's address. What a pod or `127.0.0.1` sends to a host port also comes
//!   from the machine, or the answer would go past it.
//! - `loopback`: with host ports the bridge routes `127.0.0.0/8` (`route_localnet`, without which `127.0.0.1:port`
//!   cannot lead to a pod). What pods send there is dropped before anything else looks at it; answers do not have such
//!   an address yet at this point.
//!
//! A machine whose own `forward` chain drops by default needs a rule that accepts the bridge there: no table can lift
//! what another one drops.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::subnet::Subnet;
use super::{HostPort, Protocol};

/// What a table is made of.
#[derive(Clone, Copy, Debug)]
pub struct Ruleset<'a> {
    pub table: &'a str,
    pub bridge: &'a str,
    pub subnet: Subnet,
    /// Host ports and the pod address each leads to.
    pub forwards: &'a [(HostPort, Ipv4Addr)],
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// Removes the table; also when there is none.
pub fn render_removal(table: &str) -> String {
    format!("table inet {table}\ndelete table inet {table}\n")
}

fn render_map(out: &mut String, name: &str, key: &str, elements: &[String]) {
    let _ = writeln!(out, "\tmap {name} {{\n\t\ttype {key} : ipv4_addr . inet_service");
    if !elements.is_empty() {
        let _ = writeln!(out, "\t\telements = {{\n\t\t\t{}\n\t\t}}", elements.join(",\n\t\t\t"));
    }
    out.push_str("\t}\n");
}

/// Replaces the table.
pub fn render(rules: &Ruleset<'_>) -> String {
    let Ruleset { table, bridge, subnet, .. } = rules;
    let (mut any, mut one) = (Vec::new(), Vec::new());
    for (port, address) in rules.forwards {
        let target = format!("{} . {} : {address} . {}", protocol(port.protocol), port.host_port, port.container_port);
        match port.host_ip {
            Some(ip) => one.push(format!("{ip} . {target}")),
            None => any.push(target),
        }
    }
    let mut out = render_removal(table);
    let _ = writeln!(out, "table inet {table} {{");
    render_map(&mut out, "ports", "inet_proto . inet_service", &any);
    render_map(&mut out, "address_ports", "ipv4_addr . inet_proto . inet_service", &one);
    let _ = write!(
        out,
        "\tchain loopback {{
\t\ttype filter hook prerouting priority raw; policy accept;
\t\tiifname \"{bridge}\" ip daddr 127.0.0.0/8 drop
\t}}
\tchain prerouting {{
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t\tip daddr != 127.0.0.0/8 fib daddr type local jump host_ports
\t}}
\tchain output {{
\t\ttype nat hook output priority -100; policy accept;
\t\tfib daddr type local jump host_ports
\t}}
\tchain host_ports {{
\t\tdnat ip to ip daddr . meta l4proto . th dport map @address_ports
\t\tdnat ip to meta l4proto . th dport map @ports
\t}}
\tchain postrouting {{
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\toifname \"{bridge}\" ip saddr 127.0.0.0/8 masquerade
\t\tip saddr {subnet} ip daddr {subnet} ct status dnat masquerade
\t\tip saddr {subnet} ip daddr != {subnet} masquerade
\t}}
}}
"
    );
    out
}
