//! The network as a whole: its subnet, its end, its neighbours.

use std::net::{IpAddr, Ipv4Addr};

use podwright::net::{Network, Wishes, node_ips};
use podwright::port::ErrorKind;

use super::machine::{MACHINE, OUTSIDE, Space, has_ipv6, on_a_machine, sh, tcp, uid};

#[test]
fn e2e_down_leaves_nothing_behind() {
    on_a_machine(|machine| {
        let before = machine.traces();
        for dead_first in [false, true] {
            let network = machine.open(None).unwrap();
            let a = machine.attach(&network, "a", &[tcp(8080, 80)]);
            let b = machine.attach(&network, "b", &[]);
            machine.wait(network.host_network_ports(&uid("c"), &[tcp(9090, 9090)])).unwrap();
            assert_ne!(machine.traces(), before);
            if dead_first {
                drop((a, b));
                machine.wait(network.detach(&uid("a"))).unwrap();
                machine.wait(network.detach(&uid("a"))).unwrap();
                machine.wait(network.down()).unwrap();
            } else {
                // Also from a process that knows the leases only.
                machine.wait(machine.open(None).unwrap().down()).unwrap();
            }
            machine.wait(network.down()).unwrap();
            assert_eq!(machine.traces(), before);
        }
    });
}

#[test]
fn e2e_forwarding_that_was_on_stays_on() {
    on_a_machine(|machine| {
        sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
        let before = machine.traces();
        let network = machine.open(None).unwrap();
        let _a = machine.attach(&network, "a", &[]);
        machine.wait(network.down()).unwrap();
        assert_eq!(machine.traces(), before);
    });
}

#[test]
fn e2e_forwarding_stays_on_for_another_bridge() {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let _a = machine.attach(&network, "a", &[]);
        sh("ip link add other0 type bridge");
        machine.wait(network.down()).unwrap();
        assert_eq!(sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "1");
    });
}

#[test]
fn e2e_a_subnet_that_the_machine_uses_is_refused_with_both_named() {
    on_a_machine(|machine| {
        sh("ip route add 10.50.0.0/16 via 192.0.2.1; ip route add unreachable 10.60.0.0/24; \
            ip route add 10.70.0.0/24 via 192.0.2.1 table 77");
        let before = machine.traces();
        for (wish, why) in [
            ("192.0.2.0/24", "cannot use subnet 192.0.2.0/24: it overlaps the address 192.0.2.2/24 of eth0"),
            ("10.50.3.0/24", "cannot use subnet 10.50.3.0/24: it overlaps the route 10.50.0.0/16 of eth0"),
            ("10.60.0.0/16", "cannot use subnet 10.60.0.0/16: it overlaps the route 10.60.0.0/24 without a link"),
            ("10.70.0.0/24", "cannot use subnet 10.70.0.0/24: it overlaps the route 10.70.0.0/24 of eth0"),
        ] {
            let error = machine.open(Some(wish)).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Conflict, "{wish}");
            assert!(error.to_string().starts_with(why), "{error}");
        }
        assert_eq!(machine.open(Some("10.1.2.3")).unwrap_err().kind, ErrorKind::Invalid);
        machine.open(Some("10.51.0.0/16")).unwrap();
        assert_eq!(machine.traces(), before);
    });
}

#[test]
fn e2e_without_a_wish_a_free_subnet_is_found_and_kept() {
    on_a_machine(|machine| {
        sh("ip route add 10.0.0.0/8 via 192.0.2.1; ip route add 172.29.0.0/23 via 192.0.2.1");
        let network = machine.open(None).unwrap();
        let a = machine.attach(&network, "a", &[]);
        assert_eq!(a.ip, Ipv4Addr::new(172, 29, 2, 2));
        // What was better once is free again: no reason to move.
        sh("ip route del 10.0.0.0/8");
        machine.wait(network.detach(&uid("a"))).unwrap();
        sh("ip link del pw0badcafe");
        let network = machine.open(None).unwrap();
        assert_eq!(machine.attach(&network, "b", &[]).ip, Ipv4Addr::new(172, 29, 2, 3));
        // After a reboot into another network it does move.
        machine.wait(network.detach(&uid("b"))).unwrap();
        sh("ip link del pw0badcafe; ip route add 172.29.2.0/24 via 192.0.2.1");
        let network = machine.open(None).unwrap();
        assert_eq!(machine.attach(&network, "c", &[]).ip, Ipv4Addr::new(10, 213, 0, 2));
    });
}

#[test]
fn e2e_another_subnet_waits_until_no_pod_is_connected() {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let _a = machine.attach(&network, "a", &[]);
        drop(network);
        let error = machine.open(Some("10.1.0.0/24")).unwrap_err();
        assert!(error.to_string().contains("1 pods of this root are connected to 10.213.0.0/24"), "{error}");
        machine.wait(machine.open(None).unwrap().detach(&uid("a"))).unwrap();
        let network = machine.open(Some("10.1.0.0/24")).unwrap();
        let b = machine.attach(&network, "b", &[tcp(8080, 80)]);
        assert_eq!(b.ip, Ipv4Addr::new(10, 1, 0, 2));
        let _server = b.space.serve("b", (b.ip, 80));
        assert_eq!(machine.outside.ask((MACHINE, 8080)).unwrap(), format!("b {OUTSIDE}"));
        assert_eq!(sh("ip -o -4 addr show dev pw0badcafe | wc -l").trim(), "1");
    });
}

#[test]
fn e2e_two_roots_live_side_by_side() {
    on_a_machine(|machine| {
        let before = machine.traces();
        let elsewhere = tempfile::tempdir().unwrap();
        let first = machine.open(None).unwrap();
        let second = Network::open("00c0ffee", elsewhere.path(), Wishes::default()).unwrap();
        let (one, two) = (Space::new(), Space::new());
        // Both at once: they must not choose the same subnet.
        let (a, b) = machine.wait(async {
            let (uid_a, uid_b) = (uid("a"), uid("b"));
            let ports = ([tcp(8001, 80)], [tcp(8002, 80)]);
            futures_util::future::join(
                first.attach(&uid_a, one.infra(), &ports.0),
                second.attach(&uid_b, two.infra(), &ports.1),
            )
            .await
        });
        let (IpAddr::V4(a), IpAddr::V4(b)) = (a.unwrap()[0], b.unwrap()[0]) else { panic!("IPv6") };
        assert_ne!(a.octets()[..3], b.octets()[..3]);
        let (_a, _b) = (one.serve("a", (a, 80)), two.serve("b", (b, 80)));
        assert_eq!(machine.outside.ask((MACHINE, 8001)).unwrap(), format!("a {OUTSIDE}"));
        assert_eq!(machine.outside.ask((MACHINE, 8002)).unwrap(), format!("b {OUTSIDE}"));
        machine.wait(first.down()).unwrap();
        assert_eq!(
            machine.outside.ask((MACHINE, 8002)).unwrap(),
            format!("b {OUTSIDE}"),
            "untouched by the other's end"
        );
        machine.wait(second.down()).unwrap();
        // Whoever came second found forwarding on, and leaves it on.
        sh("echo 0 > /proc/sys/net/ipv4/ip_forward");
        sh("cd /proc/sys/net/ipv6/conf || exit 0; echo 0 > all/forwarding; echo 1 > eth0/accept_ra");
        assert_eq!(machine.traces(), before);
    });
}

#[test]
fn e2e_what_belongs_to_no_pod_is_released() {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let (a, _b) =
            (machine.attach(&network, "a", &[tcp(8001, 80)]), machine.attach(&network, "b", &[tcp(8002, 80)]));
        sh("ip link add pw0badcafe00009 type veth peer name stray");
        sh("ip link add pw0badcafex type bridge");
        let network = machine.open(None).unwrap();
        let gone = machine.wait(network.strangers(&[uid("a")].into()));
        machine.wait(network.release(&gone)).unwrap();
        let links = sh("ip -o link | cut -d: -f2 | cut -d@ -f1");
        let links: Vec<&str> = links.split_whitespace().collect();
        assert_eq!(links, ["lo", "eth0", "pw0badcafe", "pw0badcafe00002", "pw0badcafex"]);
        let _server = a.space.serve("a", (a.ip, 80));
        assert_eq!(machine.outside.ask((MACHINE, 8001)).unwrap(), format!("a {OUTSIDE}"));
        assert!(!sh("nft list ruleset").contains("8002"));
    });
}

#[test]
fn e2e_a_damaged_lease_file_stops_nobody_after_a_reboot_and_the_subnet_stays() {
    on_a_machine(|machine| {
        let file = machine.state.path().join("network/leases.json");
        let _a = machine.attach(&machine.open(Some("10.99.0.0/24")).unwrap(), "a", &[]);
        for content in ["", "{", "{\"version\": 1, \"subnet\": \"300.0.0.0/8\"}"] {
            std::fs::write(&file, content).unwrap();
            let error = machine.open(None).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Corrupt, "{content}: pods may be connected");
            assert!(error.to_string().contains("network/leases.json"), "{error}");
        }
        for newer in ["{\"version\": 99}", "{\"version\": 99, \"subnet\": {}, \"pods\": [1]}"] {
            std::fs::write(&file, newer).unwrap();
            let error = machine.open(None).unwrap_err();
            assert!(error.to_string().contains("its version 99 is newer than this program's"), "{error}");
        }

        std::fs::write(&file, "{").unwrap();
        sh("ip link del pw0badcafe");
        let network = machine.open(None).unwrap();
        let kept: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&file).unwrap()).expect("whole again at once");
        assert_eq!((&kept["subnet"], &kept["pods"]), (&"10.99.0.0/24".into(), &serde_json::json!({})));
        // Or the file is gone.
        std::fs::remove_file(&file).unwrap();
        drop(network);
        let network = machine.open(None).unwrap();
        assert_eq!(machine.attach(&network, "a", &[]).ip, Ipv4Addr::new(10, 99, 0, 2));
        machine.open(None).unwrap();
    });
}

#[test]
fn e2e_a_full_or_read_only_state_directory_is_named_and_the_machine_left_alone() {
    on_a_machine(|machine| {
        let dir = machine.state.path().display().to_string();
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        sh(&format!("mount --make-rprivate /; mount -t tmpfs -o size=16k none {dir}"));
        let network = machine.open(None).unwrap();
        let space = Space::new();
        let attach = || machine.wait(network.attach(&uid("a"), space.infra(), &[tcp(8080, 80)]));
        let links = || sh("ip -o link | wc -l; nft list ruleset; cat /proc/sys/net/ipv4/ip_forward");
        let before = links();
        sh(&format!("head -c 16384 /dev/zero > {dir}/full; mount -o remount,ro {dir}"));
        for (kind, next) in [
            (ErrorKind::Denied, format!("mount -o remount,rw {dir}")),
            (ErrorKind::Exhausted, format!("rm {dir}/full")),
        ] {
            let error = attach().unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.to_string().starts_with(&format!("cannot write {dir}/network/")), "{error}");
            assert_eq!(links(), before);
            sh(&next);
        }
        attach().unwrap();
        machine.wait(network.down()).unwrap();
        sh(&format!("umount {dir}"));
    });
}

#[test]
fn e2e_a_pod_of_ipv4_alone_needs_no_setting_of_ipv6() {
    if !has_ipv6() {
        return;
    }
    on_a_machine(|machine| {
        let file = machine.state.path().join("unreadable");
        std::fs::write(&file, b"\xff").unwrap();
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        let space = Space::new();
        let setting = "/proc/sys/net/ipv6/conf/default/accept_ra";
        space.inside(|| sh(&format!("mount --make-rprivate /; mount --bind {} {setting}", file.display())));
        let attach = |wish| {
            let network = machine.open_with(Wishes { ipv6_subnet: wish, ..Wishes::default() }).unwrap();
            machine.wait(network.attach(&uid("a"), space.infra(), &[]))
        };
        assert_eq!(attach(Some("none")).unwrap(), [IpAddr::from(Ipv4Addr::new(10, 213, 0, 2))]);
        // The control: one that is to have an address of it needs them.
        let error = attach(None).unwrap_err();
        assert!(error.to_string().contains("enter its network namespace"), "{error}");
    });
}

#[test]
fn e2e_pods_send_packets_no_larger_than_the_way_out_takes() {
    on_a_machine(|machine| {
        sh("ip link set eth0 mtu 1400");
        let network = machine.open(None).unwrap();
        for name in ["a", "b"] {
            // Without a pod a bridge falls back to its own idea of a size.
            let pod = machine.attach(&network, name, &[]);
            assert!(pod.space.inside(|| sh("ip -o link show eth0")).contains("mtu 1400"));
            assert!(sh("ip -o link show pw0badcafe").contains("mtu 1400"));
            machine.wait(network.detach(&uid(name))).unwrap();
        }
    });
}

#[test]
fn e2e_the_machines_addresses_begin_with_the_default_routes() {
    on_a_machine(|machine| {
        sh("ip link add zero type bridge; ip addr add 198.51.100.1/24 dev zero; ip link set zero up");
        let network = machine.open(None).unwrap();
        let _a = machine.attach(&network, "a", &[]);
        let ips: Vec<String> = node_ips().iter().map(ToString::to_string).collect();
        assert_eq!(ips, ["192.0.2.2", "2001:db8::2", "198.51.100.1"]);
        assert_eq!(node_ips()[0], IpAddr::from(MACHINE));
    });
}
