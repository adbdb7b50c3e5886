//! The nftables table, word for word.

use std::net::{IpAddr, Ipv4Addr};

use podwright::net::ruleset::{Ruleset, render, render_change, render_removal};
use podwright::net::{HostPort, Protocol};

use super::machine::tcp;

const HEAD: &str = "table inet podwright-0badcafe {\n";
/// Without elements.
const MAPS: &str = "\
\tmap ports {
\t\ttype inet_proto . inet_service : ipv4_addr . inet_service
\t}
\tmap address_ports {
\t\ttype ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
\t}
";
const MAPS6: &str = "\
\tmap ports6 {
\t\ttype inet_proto . inet_service : ipv6_addr . inet_service
\t}
\tmap address_ports6 {
\t\ttype ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
\t}
";
const CHAINS: &str = "\
\tchain loopback {
\t\ttype filter hook prerouting priority raw; policy accept;
\t\tiifname \"pw0badcafe\" ip daddr 127.0.0.0/8 drop
\t}
\tchain prerouting {
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t\tip daddr != 127.0.0.0/8 fib daddr type local jump host_ports
\t}
\tchain output {
\t\ttype nat hook output priority -100; policy accept;
\t\tfib daddr type local jump host_ports
\t}
\tchain host_ports {
\t\tdnat ip to ip daddr . meta l4proto . th dport map @address_ports
\t\tdnat ip to meta l4proto . th dport map @ports
\t}
\tchain postrouting {
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\toifname \"pw0badcafe\" ip saddr 127.0.0.0/8 masquerade
\t\tip saddr 10.213.0.0/24 ip daddr 10.213.0.0/24 ct status dnat masquerade
\t\tip saddr 10.213.0.0/24 ip daddr != 10.213.0.0/24 masquerade
\t}
}
";

fn rendered(forwards: &[(HostPort, IpAddr)]) -> String {
    rendered_with(None, forwards)
}

fn rendered_with(subnet6: Option<&str>, forwards: &[(HostPort, IpAddr)]) -> String {
    render(&Ruleset { subnet6: subnet6.map(|s| s.parse().unwrap()), ..rules(forwards) })
}

fn rules(forwards: &[(HostPort, IpAddr)]) -> Ruleset<'_> {
    let subnet = "10.213.0.0/24".parse().unwrap();
    Ruleset { table: "podwright-0badcafe", bridge: "pw0badcafe", subnet, subnet6: None, forwards }
}

#[test]
fn without_host_ports_the_maps_are_empty() {
    assert_eq!(rendered(&[]), format!("{HEAD}{MAPS}{MAPS6}{CHAINS}"));
}

#[test]
fn a_host_port_is_one_element() {
    let (a, b) = (Ipv4Addr::new(10, 213, 0, 2).into(), Ipv4Addr::new(10, 213, 0, 3).into());
    let maps = "\
\tmap ports {
\t\ttype inet_proto . inet_service : ipv4_addr . inet_service
\t\telements = {
\t\t\ttcp . 8080 : 10.213.0.2 . 80,
\t\t\tudp . 53 : 10.213.0.3 . 5353
\t\t}
\t}
\tmap address_ports {
\t\ttype ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
\t\telements = {
\t\t\t127.0.0.1 . sctp . 9 : 10.213.0.3 . 9
\t\t}
\t}
";
    let udp = HostPort { protocol: Protocol::Udp, ..tcp(53, 5353) };
    let sctp = HostPort { protocol: Protocol::Sctp, host_ip: Some(Ipv4Addr::LOCALHOST.into()), ..tcp(9, 9) };
    assert_eq!(rendered(&[(tcp(8080, 80), a), (udp, b), (sctp, b)]), format!("{HEAD}{maps}{MAPS6}{CHAINS}"));
}

#[test]
fn with_ipv6_each_map_and_rule_has_its_twin() {
    let (a, a6): (IpAddr, IpAddr) = ("10.213.0.2".parse().unwrap(), "fd00:1::2".parse().unwrap());
    let at = |ip: &str, port| HostPort { host_ip: Some(ip.parse().unwrap()), ..tcp(port, 80) };
    let forwards = [
        (tcp(8080, 80), a),
        (tcp(8080, 80), a6),
        (at("0.0.0.0", 81), a),
        (at("::", 82), a6),
        (at("2001:db8::2", 83), a6),
    ];
    let maps = "\
\tmap ports {
\t\ttype inet_proto . inet_service : ipv4_addr . inet_service
\t\telements = {
\t\t\ttcp . 8080 : 10.213.0.2 . 80,
\t\t\ttcp . 81 : 10.213.0.2 . 80
\t\t}
\t}
\tmap address_ports {
\t\ttype ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
\t}
\tmap ports6 {
\t\ttype inet_proto . inet_service : ipv6_addr . inet_service
\t\telements = {
\t\t\ttcp . 8080 : fd00:1::2 . 80,
\t\t\ttcp . 82 : fd00:1::2 . 80
\t\t}
\t}
\tmap address_ports6 {
\t\ttype ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
\t\telements = {
\t\t\t2001:db8::2 . tcp . 83 : fd00:1::2 . 80
\t\t}
\t}
";
    let mut chains = CHAINS.to_owned();
    for (after, more) in [
        (
            "\t\tip daddr != 127.0.0.0/8 fib daddr type local jump host_ports\n",
            "\t\tip6 daddr != ::1 fib daddr type local jump host_ports\n",
        ),
        (
            "\t\tdnat ip to meta l4proto . th dport map @ports\n",
            "\t\tip6 daddr ::1 return
\t\tip6 daddr fe80::/10 return
\t\tdnat ip6 to ip6 daddr . meta l4proto . th dport map @address_ports6
\t\tdnat ip6 to meta l4proto . th dport map @ports6\n",
        ),
        (
            "\t\tip saddr 10.213.0.0/24 ip daddr != 10.213.0.0/24 masquerade\n",
            "\t\tip6 saddr fd00:1::/64 ip6 daddr fd00:1::/64 ct status dnat masquerade
\t\tip6 saddr fd00:1::/64 ip6 daddr != fd00:1::/64 masquerade\n",
        ),
    ] {
        let at = chains.find(after).unwrap() + after.len();
        chains.insert_str(at, more);
    }
    assert_eq!(rendered_with(Some("fd00:1::/64"), &forwards), format!("{HEAD}{maps}{chains}"));
}

#[test]
fn a_change_leaves_what_stays_in_place() {
    let (a, b): (IpAddr, IpAddr) = ("10.213.0.2".parse().unwrap(), "fd00:1::3".parse().unwrap());
    let at = |ip: &str| HostPort { host_ip: Some(ip.parse().unwrap()), ..tcp(8081, 80) };
    let stays = [(tcp(8080, 80), a)];
    let declared = format!("{HEAD}{MAPS}{MAPS6}}}\nflush table inet podwright-0badcafe\n");
    let table = rendered(&stays);
    let change = |before| render_change(&rules(&stays), before);
    assert_eq!(change(Some(&stays[..])), format!("{declared}{table}"));
    let gone = "\
delete element inet podwright-0badcafe ports { tcp . 8080 }
delete element inet podwright-0badcafe ports6 { tcp . 9 }
delete element inet podwright-0badcafe address_ports { 192.0.2.1 . tcp . 8081 }
delete element inet podwright-0badcafe address_ports6 { fd00::1 . tcp . 8081 }
";
    // The first one leads elsewhere.
    let before = [(tcp(8080, 81), a), (tcp(9, 80), b), (at("192.0.2.1"), a), (at("fd00::1"), b)];
    assert_eq!(change(Some(&before[..])), format!("{declared}{gone}{table}"));
    let all = "\
flush map inet podwright-0badcafe ports
flush map inet podwright-0badcafe address_ports
flush map inet podwright-0badcafe ports6
flush map inet podwright-0badcafe address_ports6
";
    assert_eq!(change(None), format!("{declared}{all}{table}"));
}

#[test]
fn the_removal_works_with_and_without_a_table() {
    assert_eq!(
        render_removal("podwright-0badcafe"),
        "table inet podwright-0badcafe\ndelete table inet podwright-0badcafe\n"
    );
}
