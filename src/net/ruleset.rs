//! The nftables table of a root, as text for `nft -f -`.
//!
//! One table of our own, changed in one transaction: no rule of anybody else is touched. A host port is one element of a
//! map. Chains stay and get all their rules anew, and elements that are to stay are left alone. A table that is removed and
//! made in one transaction is no match for that: a packet passes the chains of a hook one by one, so while the kernel goes
//! over from one table to the other it may find the new one not in force yet and the old one no longer, and a connection to
//! a host port is refused.
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
//! Each map has its twin for IPv6, and with IPv6 for pods each rule, but for the way from the machine's loopback to a pod: Linux has no
//! `route_localnet` for `::1`, so a host port does not answer there, and nothing that a pod sends to `::1` gets past the
//! kernel's first look at it. Nor does one answer at an address of a link alone (fe80::/10): whoever asks there has such an
//! address too, and no answer to it leaves the link that a pod is on. An element with `0.0.0.0` or `::` is one for every address of its family.
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

/// The suffix of a family's maps, and its type of addresses.
const FAMILIES: [(&str, &str); 2] = [("", "ipv4_addr"), ("6", "ipv6_addr")];
/// The maps of a family: ports at any address, and at one.
const PORTS: &str = "ports";
const ADDRESS_PORTS: &str = "address_ports";

fn suffix(address: &IpAddr) -> &'static str {
    FAMILIES[usize::from(address.is_ipv6())].0
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

type Forward = (HostPort, IpAddr);

/// The map that a port's element is in, without the suffix of its family, and the element's key.
fn element(port: &HostPort) -> (&'static str, String) {
    let key = format!("{} . {}", protocol(port.protocol), port.host_port);
    match port.host_ip.filter(|ip| !ip.is_unspecified()) {
        Some(ip) => (ADDRESS_PORTS, format!("{ip} . {key}")),
        None => (PORTS, key),
    }
}

/// Removes the table; also when there is none.
pub fn render_removal(table: &str) -> String {
    format!("table inet {table}\ndelete table inet {table}\n")
}

/// The maps of both families.
fn render_maps(out: &mut String, forwards: &[Forward]) {
    for (suffix, kind) in FAMILIES {
        for (map, key) in [(PORTS, String::new()), (ADDRESS_PORTS, format!("{kind} . "))] {
            let of = forwards.iter().filter(|(_, address)| self::suffix(address) == suffix);
            let elements: Vec<String> = of
                .filter_map(|(port, address)| {
                    let (its, key) = element(port);
                    (its == map).then(|| format!("{key} : {address} . {}", port.container_port))
                })
                .collect();
            let types = format!("{key}inet_proto . inet_service : {kind}");
            render_map(out, &format!("{map}{suffix}"), &types, &elements);
        }
    }
}

fn render_map(out: &mut String, name: &str, types: &str, elements: &[String]) {
    let _ = writeln!(out, "\tmap {name} {{\n\t\ttype {types} . inet_service");
    if !elements.is_empty() {
        let _ = writeln!(out, "\t\telements = {{\n\t\t\t{}\n\t\t}}", elements.join(",\n\t\t\t"));
    }
    out.push_str("\t}\n");
}

/// Brings a table that has these maps and chains, or is not there, into the state that [`render`] shows. `before` are the ports
/// that it has by now, `None` when nobody knows. The kernel refuses it where maps or chains of these names are of other types,
/// where a port of `before` is missing, and where a port that `before` does not name leads elsewhere than it is to. Chains of
/// other names stay, empty, and so do other ports that `before` does not name.
pub fn render_change(rules: &Ruleset<'_>, before: Option<&[Forward]>) -> String {
    let table = rules.table;
    let mut out = format!("table inet {table} {{\n");
    render_maps(&mut out, &[]);
    let _ = writeln!(out, "}}\nflush table inet {table}");
    match before {
        Some(before) => {
            for (port, address) in before.iter().filter(|f| !rules.forwards.contains(f)) {
                let ((map, key), suffix) = (element(port), suffix(address));
                let _ = writeln!(out, "delete element inet {table} {map}{suffix} {{ {key} }}");
            }
        }
        None => {
            for (suffix, _) in FAMILIES {
                let _ = writeln!(out, "flush map inet {table} {PORTS}{suffix}");
                let _ = writeln!(out, "flush map inet {table} {ADDRESS_PORTS}{suffix}");
            }
        }
    }
    out + &render(rules)
}

/// The table.
pub fn render(rules: &Ruleset<'_>) -> String {
    let Ruleset { table, bridge, subnet, subnet6, forwards } = rules;
    let mut out = format!("table inet {table} {{\n");
    render_maps(&mut out, forwards);
    let (mut prerouting, mut host_ports, mut postrouting) = (String::new(), String::new(), String::new());
    if let Some(subnet6) = subnet6 {
        prerouting.push_str("\t\tip6 daddr != ::1 fib daddr type local jump host_ports\n");
        host_ports.push_str(
            "\t\tip6 daddr ::1 return
\t\tip6 daddr fe80::/10 return
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
