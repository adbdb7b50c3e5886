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
//! With IPv6 for pods each map and rule has its twin, but for the way from the machine's loopback to a pod: Linux has no
//! `route_localnet` for `::1`, so a host port does not answer there, and nothing that a pod sends to `::1` gets past the
//! kernel's first look at it. An element with `0.0.0.0` or `::` is one for every address of its family.
//!
//! A machine whose own `forward` chain drops by default needs a rule that accepts the bridge there: no table can lift
//! what another one drops.

use std::fmt::Write;
use std::net::IpAddr;

use super::subnet::Subnet;
use super::subnet6::Subnet6;
use super::{HostPort, Protocol};

/// What a table is made of.
#[derive(Clone, Copy, Debug)]
pub struct Ruleset<'a> {
    pub table: &'a str,
    pub bridge: &'a str,
    pub subnet: Subnet,
    /// `None` where pods have IPv4 alone.
    pub subnet6: Option<Subnet6>,
    /// Host ports and the pod address each leads to.
    pub forwards: &'a [(HostPort, IpAddr)],
}

/// The types of addresses.
const V4: &str = "ipv4_addr";
const V6: &str = "ipv6_addr";

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

/// The two maps of a family: ports at any address, and at one.
fn render_maps(out: &mut String, rules: &Ruleset<'_>, (suffix, kind): (&str, &str)) {
    let (mut any, mut one) = (Vec::new(), Vec::new());
    for (port, address) in rules.forwards.iter().filter(|(_, address)| address.is_ipv6() == (kind == V6)) {
        let target = format!("{} . {} : {address} . {}", protocol(port.protocol), port.host_port, port.container_port);
        match port.host_ip.filter(|ip| !ip.is_unspecified()) {
            Some(ip) => one.push(format!("{ip} . {target}")),
            None => any.push(target),
        }
    }
    render_map(out, &format!("ports{suffix}"), &format!("inet_proto . inet_service : {kind}"), &any);
    render_map(out, &format!("address_ports{suffix}"), &format!("{kind} . inet_proto . inet_service : {kind}"), &one);
}

fn render_map(out: &mut String, name: &str, types: &str, elements: &[String]) {
    let _ = writeln!(out, "\tmap {name} {{\n\t\ttype {types} . inet_service");
    if !elements.is_empty() {
        let _ = writeln!(out, "\t\telements = {{\n\t\t\t{}\n\t\t}}", elements.join(",\n\t\t\t"));
    }
    out.push_str("\t}\n");
}

/// Replaces the table.
pub fn render(rules: &Ruleset<'_>) -> String {
    let Ruleset { table, bridge, subnet, subnet6, .. } = rules;
    let mut out = render_removal(table);
    let _ = writeln!(out, "table inet {table} {{");
    render_maps(&mut out, rules, ("", V4));
    let (mut prerouting, mut host_ports, mut postrouting) = (String::new(), String::new(), String::new());
    if let Some(subnet6) = subnet6 {
        render_maps(&mut out, rules, ("6", V6));
        prerouting.push_str("\t\tip6 daddr != ::1 fib daddr type local jump host_ports\n");
        host_ports.push_str(
            "\t\tip6 daddr ::1 return
\t\tdnat ip6 to ip6 daddr . meta l4proto . th dport map @address_ports6
\t\tdnat ip6 to meta l4proto . th dport map @ports6
",
        );
        let _ = write!(
            postrouting,
            "\t\tip6 saddr {subnet6} ip6 daddr {subnet6} ct status dnat masquerade
\t\tip6 saddr {subnet6} ip6 daddr != {subnet6} masquerade
"
        );
    }
    let _ = write!(
        out,
        "\tchain loopback {{
\t\ttype filter hook prerouting priority raw; policy accept;
\t\tiifname \"{bridge}\" ip daddr 127.0.0.0/8 drop
\t}}
\tchain prerouting {{
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t\tip daddr != 127.0.0.0/8 fib daddr type local jump host_ports
{prerouting}\t}}
\tchain output {{
\t\ttype nat hook output priority -100; policy accept;
\t\tfib daddr type local jump host_ports
\t}}
\tchain host_ports {{
\t\tdnat ip to ip daddr . meta l4proto . th dport map @address_ports
\t\tdnat ip to meta l4proto . th dport map @ports
{host_ports}\t}}
\tchain postrouting {{
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\toifname \"{bridge}\" ip saddr 127.0.0.0/8 masquerade
\t\tip saddr {subnet} ip daddr {subnet} ct status dnat masquerade
\t\tip saddr {subnet} ip daddr != {subnet} masquerade
{postrouting}\t}}
}}
"
    );
    out
}
