//! Tables of `net::subnet`.

use std::net::Ipv4Addr;

use podwright::net::subnet::{Refusal, Situation, Subnet, Taken, candidates, choose, clash};

fn subnet(text: &str) -> Subnet {
    text.parse().unwrap()
}

fn taken(text: &str, link: &str) -> Taken {
    let (network, prefix) = text.split_once('/').unwrap();
    Taken { network: network.parse().unwrap(), prefix: prefix.parse().unwrap(), link: link.into(), is_address: false }
}

#[test]
fn a_subnet_is_read_or_refused_with_the_reason() {
    for good in ["10.0.0.0/16", "10.213.7.0/24", "192.168.1.8/29", "8.8.8.0/24", "223.255.255.248/29"] {
        assert_eq!(subnet(good).to_string(), good);
    }
    for (bad, why) in [
        ("", "\"\" is not an IPv4 subnet such as 10.213.0.0/24"),
        ("10.0.0.0", "\"10.0.0.0\" is not an IPv4 subnet such as 10.213.0.0/24"),
        ("10.0.0.0/", "\"10.0.0.0/\" is not an IPv4 subnet such as 10.213.0.0/24"),
        ("10.0.0.0/256", "\"10.0.0.0/256\" is not an IPv4 subnet such as 10.213.0.0/24"),
        ("10.0.0.0/-1", "\"10.0.0.0/-1\" is not an IPv4 subnet such as 10.213.0.0/24"),
        ("fd00::/64", "\"fd00::/64\" is not an IPv4 subnet such as 10.213.0.0/24"),
        ("10.0.0.0/8", "the subnet 10.0.0.0/8 is not between /16 and /29"),
        ("10.0.0.0/30", "the subnet 10.0.0.0/30 is not between /16 and /29"),
        ("10.0.0.0/33", "the subnet 10.0.0.0/33 is not between /16 and /29"),
        ("10.0.0.1/24", "10.0.0.1/24 names an address within a subnet, the subnet is 10.0.0.0/24"),
        ("0.0.0.0/16", "no machine can have addresses of 0.0.0.0/16"),
        ("127.0.0.0/24", "no machine can have addresses of 127.0.0.0/24"),
        ("224.0.0.0/24", "no machine can have addresses of 224.0.0.0/24"),
        ("255.255.255.0/24", "no machine can have addresses of 255.255.255.0/24"),
    ] {
        assert_eq!(bad.parse::<Subnet>().unwrap_err(), why);
    }
}

#[test]
fn addresses_are_counted_from_the_subnets_own() {
    for (text, gateway, first, last, count) in [
        ("10.1.0.0/16", "10.1.0.1", "10.1.0.2", "10.1.255.254", 65_533),
        ("10.1.2.0/24", "10.1.2.1", "10.1.2.2", "10.1.2.254", 253),
        ("10.1.2.8/29", "10.1.2.9", "10.1.2.10", "10.1.2.14", 5),
    ] {
        let subnet = subnet(text);
        assert_eq!(subnet.gateway().to_string(), gateway);
        assert_eq!(subnet.address(*subnet.offsets().start()).to_string(), first);
        assert_eq!(subnet.address(*subnet.offsets().end()).to_string(), last);
        assert_eq!(subnet.offsets().count(), count);
        for offset in [0, 1, 2, *subnet.offsets().end() + 1] {
            assert_eq!(subnet.offset(subnet.address(offset)), Some(offset), "{text}");
        }
        assert_eq!(subnet.offset(Ipv4Addr::new(10, 2, 0, 0)), None);
    }
}

#[test]
fn an_overlap_is_seen_from_both_sides() {
    for (a, other, overlaps) in [
        ("10.1.2.0/24", "10.1.2.0/24", true),
        ("10.1.2.0/24", "10.0.0.0/8", true),
        ("10.1.2.0/24", "10.1.2.128/25", true),
        ("10.1.2.0/24", "10.1.2.7/32", true),
        ("10.1.2.0/24", "10.1.3.0/24", false),
        ("10.1.2.0/29", "10.1.2.8/29", false),
        ("10.1.2.0/24", "11.1.2.0/24", false),
        // What stands for "everything else" overlaps nothing: the default route and the halves that VPNs use.
        ("10.1.2.0/24", "0.0.0.0/0", false),
        ("10.1.2.0/24", "0.0.0.0/1", false),
        ("130.1.2.0/24", "128.0.0.0/1", false),
    ] {
        assert_eq!(clash(subnet(a), &[taken(other, "eth0")]).is_some(), overlaps, "{a} {other}");
    }
}

#[test]
fn the_candidates_are_a_fixed_list() {
    let all: Vec<String> = candidates().map(|c| c.to_string()).collect();
    assert_eq!(all.len(), 160);
    let ends = [0, 63, 64, 127, 128, 159].map(|n| all[n].as_str());
    assert_eq!(
        ends,
        ["10.213.0.0/24", "10.213.63.0/24", "172.29.0.0/24", "172.29.63.0/24", "192.168.64.0/24", "192.168.95.0/24"]
    );
    for c in candidates() {
        assert_eq!(c.to_string().parse(), Ok(c));
    }
}

#[test]
fn which_subnet_is_chosen() {
    let (a, b) = (Some(subnet("10.1.0.0/24")), Some(subnet("10.2.0.0/24")));
    let first = subnet("10.213.0.0/24");
    let uses_a = [taken("10.1.0.0/16", "eth0")];
    let base = Situation::default();
    let everything = [taken("10.0.0.0/8", "x"), taken("172.16.0.0/12", "x"), taken("192.168.0.0/16", "x")];
    let in_use = Refusal::InUse { wish: b.unwrap(), current: a.unwrap(), pods: 2 };
    let clash = Refusal::Clash(a.unwrap(), uses_a[0].clone());
    for (what, situation, expected) in [
        ("nothing known", base, Ok(first)),
        (
            "the first is taken",
            Situation { taken: &[taken("10.213.0.128/25", "x")], ..base },
            Ok(subnet("10.213.1.0/24")),
        ),
        ("all are taken", Situation { taken: &everything, ..base }, Err(Refusal::NoneLeft)),
        ("a wish", Situation { wish: a, ..base }, Ok(a.unwrap())),
        ("a wish that clashes", Situation { wish: a, taken: &uses_a, ..base }, Err(clash.clone())),
        ("remembered", Situation { remembered: a, ..base }, Ok(a.unwrap())),
        ("remembered, clashes", Situation { remembered: a, taken: &uses_a, ..base }, Ok(first)),
        ("after a reboot, clashes", Situation { remembered: a, pods: 2, taken: &uses_a, ..base }, Ok(first)),
        ("pods connected", Situation { remembered: a, bridge: true, pods: 2, taken: &uses_a, ..base }, Ok(a.unwrap())),
        ("another wish", Situation { wish: b, remembered: a, ..base }, Ok(b.unwrap())),
        ("after a reboot, another wish", Situation { wish: b, remembered: a, pods: 2, ..base }, Ok(b.unwrap())),
        ("pods connected", Situation { wish: b, remembered: a, bridge: true, pods: 2, ..base }, Err(in_use)),
        ("nobody connected", Situation { wish: b, remembered: a, bridge: true, ..base }, Ok(b.unwrap())),
        ("the same wish", Situation { wish: a, remembered: a, bridge: true, taken: &uses_a, ..base }, Ok(a.unwrap())),
        ("the same wish, gone", Situation { wish: a, remembered: a, taken: &uses_a, ..base }, Err(clash)),
    ] {
        assert_eq!(choose(&situation), expected, "{what}");
    }
}
