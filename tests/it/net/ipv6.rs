//! Addresses of both families, and machines that have one only.

use std::collections::BTreeSet;
use std::io::ErrorKind as Io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6, TcpListener, UdpSocket};
use std::time::Duration;

use podwright::net::ipv6::lack;
use podwright::net::subnet::{Refusal, Taken};
use podwright::net::subnet6::{Situation6, Subnet6, Wish6, candidates, choose, clash};
use podwright::net::{HostPort, Wishes};
use podwright::port::ErrorKind;
use podwright::sys::process::boot_id;

use super::machine::{
    MACHINE, MACHINE6, OUTSIDE, OUTSIDE6, Pod, Server, Space, ask, has_ipv6, on_a_machine, sh, subnet6, tcp, uid,
};

fn subnet(text: &str) -> Subnet6 {
    text.parse().unwrap()
}

fn taken(text: &str) -> Taken {
    let (network, prefix) = text.split_once('/').unwrap();
    Taken { network: network.parse().unwrap(), prefix: prefix.parse().unwrap(), link: "eth0".into(), is_address: false }
}

#[test]
fn when_a_machine_has_ipv6() {
    for (disabled, mtu, expected) in [
        (None, 1500, Some("the kernel has no IPv6")),
        (Some("1"), 1500, Some("net.ipv6.conf.all.disable_ipv6 is 1")),
        (Some("0"), 1279, Some("the way out takes packets of less than 1280 bytes only")),
        (Some("0"), 1280, None),
        (Some("0"), 1500, None),
    ] {
        assert_eq!(lack(disabled, mtu), expected, "{disabled:?} {mtu}");
    }
}

#[test]
fn a_subnet_of_ipv6_is_read_or_refused_with_the_reason() {
    for good in ["fd3b:72c5:9e10::/64", "fd00::/64", "2001:db8:0:7::/64"] {
        assert_eq!(subnet(good).to_string(), good);
    }
    assert_eq!(subnet("fd00:1:2:3::/64").gateway().to_string(), "fd00:1:2:3::1");
    assert_eq!(subnet("fd00:1:2:3::/64").address(65_534).to_string(), "fd00:1:2:3::fffe");
    let form = |text: &str| format!("{text:?} is not an IPv6 subnet such as fd3b:72c5:9e10::/64");
    for (bad, why) in [
        ("", form("")),
        ("fd00::", form("fd00::")),
        ("fd00::/x", form("fd00::/x")),
        ("10.0.0.0/24", form("10.0.0.0/24")),
        ("fd00::/48", "the subnet fd00::/48 is not a /64".to_owned()),
        ("fd00::1/64", "fd00::1/64 names an address within a subnet, the subnet is fd00::/64".to_owned()),
        ("::/64", "no machine can have addresses of ::/64".to_owned()),
        ("fe80::/64", "no machine can have addresses of fe80::/64".to_owned()),
        ("ff02::/64", "no machine can have addresses of ff02::/64".to_owned()),
    ] {
        assert_eq!(bad.parse::<Subnet6>().unwrap_err(), why);
    }
    assert_eq!("none".parse(), Ok(Wish6::Off));
    assert_eq!("fd00::/64".parse(), Ok(Wish6::Subnet(subnet("fd00::/64"))));
    assert_eq!("off".parse::<Wish6>(), Err(form("off")));
}

#[test]
fn an_overlap_of_ipv6_is_seen_from_both_sides() {
    for (own, other, overlaps) in [
        ("fd00:1::/64", "fd00:1::/64", true),
        ("fd00:1::/64", "fd00:1::/48", true),
        ("fd00:1::/64", "fd00:1::7/128", true),
        ("fd00:1::/64", "fd00:1:0:1::/64", false),
        ("fd00:1::/64", "fd00::/16", true),
        // What stands for "everything else", or for all unique local addresses.
        ("fd00:1::/64", "fd00::/8", false),
        ("fd00:1::/64", "fc00::/7", false),
        ("2001:db8::/64", "2000::/3", false),
        ("fd00:1::/64", "::/0", false),
        ("fd00:1::/64", "10.0.0.0/16", false),
    ] {
        assert_eq!(clash(subnet(own), &[taken(other)]).is_some(), overlaps, "{own} {other}");
    }
}

#[test]
fn each_instance_has_prefixes_of_its_own() {
    let of = |instance: &str| candidates(instance).map(|s| s.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(candidates("0badcafe").next().unwrap(), candidates("0badcafe").next().unwrap());
    let (a, b) = (of("0badcafe"), of("00c0ffee"));
    assert_eq!((a.len(), b.len()), (16, 16));
    assert!(a.is_disjoint(&b));
    for candidate in candidates("0badcafe") {
        assert_eq!(candidate.to_string().parse(), Ok(candidate));
        let segments = candidate.address(0).segments();
        assert_eq!((segments[0] >> 8, segments[3]), (0xfd, 0), "{candidate}: unique local, subnet 0");
    }
}

#[test]
fn which_subnet_of_ipv6_is_chosen() {
    let (a, b) = (subnet("fd00:a::/64"), subnet("fd00:b::/64"));
    let all: Vec<Subnet6> = candidates("i").collect();
    let uses_a = [taken("fd00:a::/48")];
    let uses = |n: usize| all[..n].iter().map(|s| taken(&s.to_string())).collect::<Vec<_>>();
    let base = Situation6 { available: true, instance: "i", ..Situation6::default() };
    let wish = |s| Wish6::Subnet(s);
    let in_use = Refusal::InUse { wish: b, current: a, pods: 2 };
    let clash = Refusal::Clash(a, uses_a[0].clone());
    let connected = Situation6 { remembered: Some(a), bridge: true, pods: 2, ..base };
    for (what, situation, expected) in [
        ("nothing known", base, Ok(Some(all[0]))),
        ("no IPv6", Situation6 { available: false, ..base }, Ok(None)),
        ("no IPv6 any more", Situation6 { available: false, ..connected }, Ok(None)),
        ("not wanted", Situation6 { wish: Wish6::Off, ..base }, Ok(None)),
        ("not wanted any more", Situation6 { wish: Wish6::Off, ..connected }, Ok(None)),
        ("the first is taken", Situation6 { taken: &uses(1), ..base }, Ok(Some(all[1]))),
        ("all are taken", Situation6 { taken: &uses(16), ..base }, Err(Refusal::NoneLeft)),
        ("a wish", Situation6 { wish: wish(a), ..base }, Ok(Some(a))),
        ("a wish that clashes", Situation6 { wish: wish(a), taken: &uses_a, ..base }, Err(clash.clone())),
        ("remembered", Situation6 { remembered: Some(a), ..base }, Ok(Some(a))),
        ("remembered, clashes", Situation6 { remembered: Some(a), taken: &uses_a, ..base }, Ok(Some(all[0]))),
        ("pods connected", Situation6 { taken: &uses_a, ..connected }, Ok(Some(a))),
        ("after a reboot", Situation6 { taken: &uses_a, bridge: false, ..connected }, Ok(Some(all[0]))),
        ("another wish", Situation6 { wish: wish(b), remembered: Some(a), ..base }, Ok(Some(b))),
        ("another wish, connected", Situation6 { wish: wish(b), ..connected }, Err(in_use)),
        ("another wish, nobody connected", Situation6 { wish: wish(b), pods: 0, ..connected }, Ok(Some(b))),
        ("the same wish", Situation6 { wish: wish(a), taken: &uses_a, ..connected }, Ok(Some(a))),
        ("the same wish, gone", Situation6 { wish: wish(a), taken: &uses_a, bridge: false, ..connected }, Err(clash)),
    ] {
        assert_eq!(choose(&situation), expected, "{what}");
    }
}

#[test]
fn e2e_pods_have_an_address_of_each_family_that_works_at_once() {
    if !has_ipv6() {
        return;
    }
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let (a, b) = (machine.attach(&network, "a", &[]), machine.attach(&network, "b", &[]));
        // Before anything else happens: nobody waits for the kernel to ask whether they are free.
        assert_eq!(a.space.inside(|| sh("ip -o -6 addr show dev eth0 scope global tentative")), "");
        assert_eq!(a.ip6(), subnet6().address(2));
        assert_eq!(b.ip6(), subnet6().address(3));
        let gateway = subnet6().gateway();
        let _b = b.space.serve("b", (b.ip6(), 80));
        let _machine = Server::start("machine", (Ipv6Addr::UNSPECIFIED, 81));
        let _outside = machine.outside.serve("outside", (OUTSIDE6, 82));
        assert_eq!(a.space.ask((b.ip6(), 80)).unwrap(), format!("b {}", a.ip6()), "pod to pod, with its own address");
        assert_eq!(ask((b.ip6(), 80)).unwrap(), format!("b {gateway}"), "machine to pod");
        assert_eq!(a.space.ask((gateway, 81)).unwrap(), format!("machine {}", a.ip6()));
        assert_eq!(
            a.space.ask((OUTSIDE6, 82)).unwrap(),
            format!("outside {MACHINE6}"),
            "leaves with the machine's address"
        );
        // No pod becomes a router of the machine or of another pod by announcing itself as one.
        assert_eq!(sh("cd /proc/sys/net/ipv6/conf; cat pw0badcafe/accept_ra pw0badcafe00002/accept_ra"), "0\n0\n");
        assert_eq!(a.space.inside(|| sh("cat /proc/sys/net/ipv6/conf/eth0/accept_ra")).trim(), "0");
    });
}

/// Where a host port would be at the machine's eth0 by its address of that link, as its neighbour behind `link` calls it.
fn link_local(neighbour: &Space, link: &str) -> SocketAddrV6 {
    let wait = "for n in $(seq 100); do ip -o -6 addr show dev eth0 scope link -tentative | grep -q . && break; sleep 0.1; done";
    let address = sh(&format!("{wait}; ip -o -6 addr show dev eth0 scope link | awk '{{print $4}}' | cut -d/ -f1"));
    let scope = neighbour.inside(|| {
        sh(&wait.replace("eth0", link));
        sh(&format!("ip -o link show {link} | cut -d: -f1"))
    });
    SocketAddrV6::new(address.trim().parse().unwrap(), 8080, 0, scope.trim().parse().unwrap())
}

#[test]
fn e2e_a_host_port_answers_by_ipv6_wherever_linux_can() {
    if !has_ipv6() {
        return;
    }
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let (web, other) = (machine.attach(&network, "web", &[tcp(8080, 80)]), machine.attach(&network, "other", &[]));
        let gateway = subnet6().gateway();
        let server = web.space.serve("web", (web.ip6(), 80));
        assert_eq!(
            machine.outside.ask((MACHINE6, 8080)).unwrap(),
            format!("web {OUTSIDE6}"),
            "with the caller's address"
        );
        assert_eq!(other.space.ask((MACHINE6, 8080)).unwrap(), format!("web {gateway}"));
        assert_eq!(other.space.ask((gateway, 8080)).unwrap(), format!("web {gateway}"));
        assert_eq!(web.space.ask((MACHINE6, 8080)).unwrap(), format!("web {gateway}"), "a pod calls itself");
        assert_eq!(ask((MACHINE6, 8080)).unwrap(), format!("web {MACHINE6}"));
        // Refused at once: a packet that was led away from ::1 would get no answer.
        assert_eq!(ask((Ipv6Addr::LOCALHOST, 8080)).unwrap_err().kind(), Io::ConnectionRefused);
        // The same of an address of the link alone.
        let there = link_local(&machine.outside, "far");
        assert_eq!(machine.outside.ask(there).unwrap_err().kind(), Io::ConnectionRefused);
        assert!(machine.outside.ask((MACHINE6, 80)).is_err(), "the container's port is not the machine's");
        drop(server);

        machine.wait(network.detach(&uid("web"))).unwrap();
        assert_eq!(machine.outside.ask((MACHINE6, 8080)).unwrap_err().kind(), Io::ConnectionRefused);
    });
}

#[test]
fn e2e_a_host_ip_limits_a_host_port_to_its_family() {
    if !has_ipv6() {
        return;
    }
    on_a_machine(|machine| {
        sh("ip -6 addr add 2001:db8::3/64 dev eth0 nodad");
        let second: Ipv6Addr = "2001:db8::3".parse().unwrap();
        let network = machine.open(None).unwrap();
        let at = |ip: &str, port| HostPort { host_ip: Some(ip.parse().unwrap()), ..tcp(8080, port) };
        // One port of the machine, three pods.
        let four = machine.attach(&network, "four", &[at("0.0.0.0", 80)]);
        let one = machine.attach(&network, "one", &[at("2001:db8::3", 80)]);
        let _servers = (four.space.serve("four", (four.ip, 80)), one.space.serve("one", (one.ip6(), 80)));
        assert_eq!(machine.outside.ask((MACHINE, 8080)).unwrap(), format!("four {OUTSIDE}"));
        assert_eq!(machine.outside.ask((second, 8080)).unwrap(), format!("one {OUTSIDE6}"));
        assert_eq!(machine.outside.ask((MACHINE6, 8080)).unwrap_err().kind(), Io::ConnectionRefused);
        machine.wait(network.detach(&uid("one"))).unwrap();
        let six = machine.attach(&network, "six", &[at("::", 80)]);
        let _six = six.space.serve("six", (six.ip6(), 80));
        assert_eq!(machine.outside.ask((MACHINE6, 8080)).unwrap(), format!("six {OUTSIDE6}"));
        assert_eq!(machine.outside.ask((MACHINE, 8080)).unwrap(), format!("four {OUTSIDE}"));
        // A program before this one would not know what to do with them.
        let leases = std::fs::read_to_string(machine.state.path().join("network/leases.json")).unwrap();
        assert!(leases.contains("\"version\": 2"), "{leases}");
    });
}

#[test]
fn e2e_a_listener_of_ipv6_alone_makes_a_port_busy() {
    if !has_ipv6() {
        return;
    }
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let _busy = TcpListener::bind((MACHINE6, 8099)).unwrap();
        let space = Space::new();
        let error = machine.wait(network.attach(&uid("a"), space.infra(), &[tcp(8099, 80)])).unwrap_err();
        assert!(error.to_string().contains("host port 8099/TCP is in use by a process of this machine"), "{error}");
        let four = HostPort { host_ip: Some(Ipv4Addr::UNSPECIFIED.into()), ..tcp(8099, 80) };
        machine.wait(network.attach(&uid("a"), space.infra(), &[four])).unwrap();
    });
}

/// Whether a datagram that somebody with the right to change its own network sends to ::1 of the machine, at `gateway`, gets
/// to the victim.
fn attack(attacker: &Space, gateway: Ipv6Addr, victim: &UdpSocket) -> bool {
    let port = victim.local_addr().unwrap().port();
    attacker.inside(|| {
        sh(&format!(
            "ip -6 route del local ::1 table local 2>&1; ip -6 addr del ::1/128 dev lo 2>&1; \
             ip -6 route replace ::1/128 via {gateway}"
        ));
        UdpSocket::bind("[::]:0").unwrap().send_to(b"evil", (Ipv6Addr::LOCALHOST, port)).unwrap();
    });
    victim.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    victim.recv_from(&mut [0; 8]).is_ok()
}

#[test]
fn e2e_pods_do_not_reach_the_machines_loopback_by_ipv6() {
    if !has_ipv6() {
        return;
    }
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let (_web, evil) = (machine.attach(&network, "web", &[tcp(8080, 80)]), machine.attach(&network, "evil", &[]));
        let victim = UdpSocket::bind((Ipv6Addr::LOCALHOST, 9999)).unwrap();
        let gateway = subnet6().gateway();
        sh("nft add table netdev seen; \
            nft add chain netdev seen c '{ type filter hook ingress device pw0badcafe priority 0; }'; \
            nft add rule netdev seen c ip6 daddr ::1 counter");
        assert!(!attack(&evil.space, gateway, &victim));
        // The attack is a real one: the packet arrives, and one to another address of the machine gets through.
        assert!(sh("nft list table netdev seen").contains("counter packets 1 "));
        sh("nft add rule netdev seen c ip6 daddr ::1 ip6 daddr set 2001:db8::2");
        let all = UdpSocket::bind((MACHINE6, 9998)).unwrap();
        assert!(attack(&evil.space, gateway, &all));
    });
}

#[test]
fn e2e_without_ipv6_pods_have_ipv4_alone() {
    if !has_ipv6() {
        return;
    }
    on_a_machine(|machine| {
        let off = Wishes { ipv6_subnet: Some("none"), ..Wishes::default() };
        for (disabled, wishes, why) in
            [("0", off, "`ipv6Subnet` is none"), ("1", Wishes::default(), "disable_ipv6 is 1")]
        {
            sh(&format!("echo {disabled} > /proc/sys/net/ipv6/conf/all/disable_ipv6"));
            let network = machine.open_with(wishes).unwrap();
            let a = machine.attach(&network, "a", &[tcp(8080, 80)]);
            assert_eq!(a.ips, [a.ip]);
            // Nor does a pod become its router when somebody turns it on.
            assert_eq!(sh("cd /proc/sys/net/ipv6/conf/pw0badcafe; cat disable_ipv6 accept_ra"), "1\n0\n");
            assert_eq!(sh("ip -6 -o addr show dev pw0badcafe"), "");
            assert_eq!(
                sh("cat /proc/sys/net/ipv6/conf/all/forwarding /proc/sys/net/ipv6/conf/eth0/accept_ra"),
                "0\n1\n"
            );
            assert!(!sh("nft list ruleset").contains("ip6"));
            // No pod becomes its router all the same; what it has of its own works.
            let accepted = || sh("cd /proc/sys/net/ipv6/conf; cat default/accept_ra eth0/accept_ra");
            assert_eq!(a.space.inside(accepted), "0\n0\n");
            let _own = a.space.serve("own", (Ipv6Addr::LOCALHOST, 83));
            assert_eq!(a.space.ask((Ipv6Addr::LOCALHOST, 83)).unwrap(), "own ::1");
            let _server = a.space.serve("a", (a.ip, 80));
            assert_eq!(machine.outside.ask((MACHINE, 8080)).unwrap(), format!("a {OUTSIDE}"));
            let port = HostPort { host_ip: Some(MACHINE6.into()), ..tcp(8081, 80) };
            let space = Space::new();
            let error = machine.wait(network.attach(&uid("b"), space.infra(), &[port])).unwrap_err();
            assert_eq!((error.kind, error.waiting_reason), (ErrorKind::Denied, Some("CreatePodSandboxError")));
            let said = "host port [2001:db8::2]:8081/TCP is one of IPv6, which pods do not have here: ";
            assert!(error.message.starts_with(said) && error.message.contains(why), "{error}");
            machine.wait(network.down()).unwrap();
        }
        // An agent that began without it has it once it is turned on.
        let network = machine.open(None).unwrap();
        assert_eq!(machine.attach(&network, "a", &[]).ips.len(), 1);
        sh("echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
        assert_eq!(machine.attach(&network, "b", &[]).ip6(), subnet6().address(3));
    });
}

#[test]
fn e2e_a_pod_that_was_connected_without_ipv6_runs_on_as_it_is() {
    if !has_ipv6() {
        return;
    }
    on_a_machine(|machine| {
        // As a program before this one leaves bridge and leases, which know of no IPv6.
        let before = machine.open_with(Wishes { ipv6_subnet: Some("none"), ..Wishes::default() }).unwrap();
        let old = machine.attach(&before, "old", &[tcp(8080, 80)]);
        drop(before);
        let network = machine.open(None).unwrap();
        machine.wait(network.release(&BTreeSet::new())).unwrap();
        let new = machine.attach(&network, "new", &[tcp(8081, 80)]);
        assert_eq!(new.ip6(), subnet6().address(3));
        let _old = old.space.serve("old", (old.ip, 80));
        let new_server = new.space.serve("new", (new.ip6(), 80));
        assert_eq!(new.space.ask((old.ip, 80)).unwrap(), format!("old {}", new.ip));
        assert_eq!(machine.outside.ask((MACHINE, 8080)).unwrap(), format!("old {OUTSIDE}"));
        assert_eq!(machine.outside.ask((MACHINE6, 8081)).unwrap(), format!("new {OUTSIDE6}"));
        assert_eq!(old.space.inside(|| sh("ip -o -6 addr show dev eth0 scope global")), "");
        drop(new_server);
        // And the other way round: who has an address keeps it when new ones get none.
        drop(network);
        let network = machine.open_with(Wishes { ipv6_subnet: Some("none"), ..Wishes::default() }).unwrap();
        let late = machine.attach(&network, "late", &[]);
        assert_eq!(late.ips, [late.ip]);
        let _new = new.space.serve("new", (new.ip6(), 80));
        assert_eq!(machine.outside.ask((MACHINE6, 8081)).unwrap(), format!("new {OUTSIDE6}"));
    });
}

#[test]
fn e2e_a_machine_that_listens_to_routers_goes_on_listening() {
    if !has_ipv6() {
        return;
    }
    on_a_machine(|machine| {
        let settings = || {
            sh("cd /proc/sys/net/ipv6/conf; \
                cat all/forwarding eth0/accept_ra lo/accept_ra default/accept_ra still/accept_ra")
        };
        sh("ip link add still type veth peer name far; echo 0 > /proc/sys/net/ipv6/conf/still/accept_ra");
        assert_eq!(settings(), "0\n1\n1\n1\n0\n");
        let before = machine.traces();
        let network = machine.open(None).unwrap();
        let _a = machine.attach(&network, "a", &[]);
        assert_eq!(settings(), "1\n2\n1\n2\n0\n");
        // So does a link that comes later.
        sh("ip link add late type veth peer name later");
        assert_eq!(sh("cat /proc/sys/net/ipv6/conf/late/accept_ra").trim(), "2");
        sh("ip link del late");
        // Also from a process that knows the leases only.
        machine.wait(machine.open(None).unwrap().down()).unwrap();
        assert_eq!(machine.traces(), before);
        assert_eq!(settings(), "0\n1\n1\n1\n0\n");
        // What somebody else has set since stays.
        let network = machine.open(None).unwrap();
        let _a = machine.attach(&network, "a", &[]);
        sh("echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_ra");
        machine.wait(network.down()).unwrap();
        assert_eq!(settings(), "0\n0\n1\n1\n0\n");
        sh("echo 1 > /proc/sys/net/ipv6/conf/eth0/accept_ra");
        // What passes packets on already is left as it is.
        sh("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
        let network = machine.open(None).unwrap();
        let _b = machine.attach(&network, "b", &[]);
        machine.wait(network.down()).unwrap();
        assert_eq!(settings(), "1\n1\n1\n1\n0\n");
    });
}

#[test]
fn e2e_settings_of_a_boot_before_this_one_are_left_alone() {
    on_a_machine(|machine| {
        let settings = || {
            sh("cat /proc/sys/net/ipv4/ip_forward; cd /proc/sys/net/ipv6/conf || exit 0; \
                cat all/forwarding eth0/accept_ra default/accept_ra")
        };
        // What the administrator has set since looks like what an agent sets.
        for attached_since in [false, true] {
            let _a = machine.attach(&machine.open(None).unwrap(), "a", &[]);
            let set = settings();
            let file = machine.state.path().join("network/leases.json");
            let mut leases: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            assert_eq!((&leases["restoreForwarding"], &leases["bootId"]), (&true.into(), &boot_id().into()));
            leases["bootId"] = "00000000-0000-0000-0000-000000000000".into();
            std::fs::write(&file, leases.to_string()).unwrap();
            let network = machine.open(None).unwrap();
            if attached_since {
                machine.attach(&network, "b", &[]);
            }
            machine.wait(network.down()).unwrap();
            assert_eq!(settings(), set, "{attached_since}");
            sh("echo 0 > /proc/sys/net/ipv4/ip_forward; cd /proc/sys/net/ipv6/conf || exit 0; \
                echo 0 > all/forwarding; echo 1 > eth0/accept_ra; echo 1 > default/accept_ra");
        }
    });
}

#[test]
fn e2e_an_attach_that_is_repeated_with_ipv6_looks_at_its_ports_again() {
    if !has_ipv6() {
        return;
    }
    on_a_machine(|machine| {
        let off = Wishes { ipv6_subnet: Some("none"), ..Wishes::default() };
        let pod = machine.attach(&machine.open_with(off).unwrap(), "a", &[tcp(8099, 80)]);
        let attach = || {
            let network = machine.open(None).unwrap();
            machine.wait(network.attach(&uid("a"), pod.space.infra(), &[tcp(8099, 80)]))
        };
        let busy = TcpListener::bind((MACHINE6, 8099)).unwrap();
        let error = attach().unwrap_err();
        assert!(error.to_string().contains("host port 8099/TCP is in use by a process of this machine"), "{error}");
        drop(busy);
        // As a program before this one leaves it.
        pod.space.inside(|| sh("cd /proc/sys/net/ipv6/conf/eth0; echo 1 > accept_ra; echo 1 > disable_ipv6"));
        let both = Pod { ips: attach().unwrap(), ..pod };
        assert_eq!(both.space.inside(|| sh("cat /proc/sys/net/ipv6/conf/eth0/accept_ra")).trim(), "0");
        let _server = both.space.serve("a", (both.ip6(), 80));
        assert_eq!(machine.outside.ask((MACHINE6, 8099)).unwrap(), format!("a {OUTSIDE6}"));
    });
}

#[test]
fn e2e_a_subnet_of_ipv6_that_the_machine_uses_is_refused_with_both_named() {
    if !has_ipv6() {
        return;
    }
    on_a_machine(|machine| {
        sh("ip -6 route add fd50::/32 via 2001:db8::1; ip -6 route add fd70:1::/64 via 2001:db8::1 table 77");
        let open = |wish| machine.open_with(Wishes { ipv6_subnet: Some(wish), ..Wishes::default() });
        for (wish, why) in [
            ("2001:db8::/64", "cannot use subnet 2001:db8::/64: it overlaps the address 2001:db8::2/64 of eth0"),
            ("fd50:0:7::/64", "cannot use subnet fd50:0:7::/64: it overlaps the route fd50::/32 of eth0"),
            ("fd70:1::/64", "cannot use subnet fd70:1::/64: it overlaps the route fd70:1::/64 of eth0"),
        ] {
            let error = open(wish).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Conflict, "{wish}");
            assert!(error.to_string().starts_with(why) && error.to_string().contains("`ipv6Subnet`"), "{error}");
        }
        assert_eq!(open("fd00::1/64").unwrap_err().kind, ErrorKind::Invalid);
        let network = open("fd60::/64").unwrap();
        let a = machine.attach(&network, "a", &[]);
        assert_eq!(a.ip6().to_string(), "fd60::2");
        drop(network);
        let error = open("fd61::/64").unwrap_err();
        assert!(error.to_string().contains("1 pods of this root are connected to fd60::/64"), "{error}");
        // Without a wish what pods are connected to is kept.
        let network = machine.open(None).unwrap();
        assert_eq!(machine.attach(&network, "b", &[]).ip6().to_string(), "fd60::3");
        machine.wait(network.release(&[uid("a"), uid("b")].into())).unwrap();
        let network = open("fd61::/64").unwrap();
        assert_eq!(machine.attach(&network, "c", &[]).ip6().segments()[0], 0xfd61);
    });
}
