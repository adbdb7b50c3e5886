//! Tables of `net::lease` and of the ports a pod asks for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::core::v1::PodSpec;
use podwright::net::lease::{Leases, Taken};
use podwright::net::{HostPort, Protocol, host_ports};
use serde_json::json;

use super::machine::{tcp, uid};

fn leases(subnet: &str) -> Leases {
    Leases { subnet: Some(subnet.parse().unwrap()), ..Leases::default() }
}

fn last_byte(address: Option<Ipv4Addr>) -> Option<u8> {
    address.map(|a| a.octets()[3])
}

fn of_any_v4(host: u16, container: u16) -> HostPort {
    HostPort { host_ip: Some(Ipv4Addr::UNSPECIFIED.into()), ..tcp(host, container) }
}

#[test]
fn addresses_go_round() {
    let mut leases = leases("10.1.0.0/29");
    let given: Vec<_> = ["a", "b", "c"].iter().map(|n| last_byte(leases.allocate(&uid(n)))).collect();
    assert_eq!(given, [Some(2), Some(3), Some(4)]);
    assert_eq!(last_byte(leases.allocate(&uid("b"))), Some(3), "the same pod, the same address");
    leases.pods.remove(&uid("b"));
    let given: Vec<_> = ["d", "e", "f", "g"].iter().map(|n| last_byte(leases.allocate(&uid(n)))).collect();
    assert_eq!(given, [Some(5), Some(6), Some(3), None], "a freed one last; then there is none");
    leases.pods.remove(&uid("a"));
    assert_eq!(last_byte(leases.allocate(&uid("g"))), Some(2));
}

#[test]
fn an_address_of_another_subnet_is_replaced() {
    let mut leases = leases("10.1.0.0/24");
    leases.allocate(&uid("a"));
    leases.subnet = Some("10.2.0.0/24".parse().unwrap());
    assert_eq!(leases.allocate(&uid("a")), Some(Ipv4Addr::new(10, 2, 0, 3)));
    leases.subnet = None;
    assert_eq!(leases.allocate(&uid("a")), None);
}

#[test]
fn a_port_belongs_to_one_pod() {
    let at = |ip: [u8; 4], port| HostPort { host_ip: Some(IpAddr::from(ip)), ..tcp(port, 80) };
    let all = |ip: &str, port| HostPort { host_ip: Some(ip.parse().unwrap()), ..tcp(port, 80) };
    let udp = HostPort { protocol: Protocol::Udp, ..tcp(80, 80) };
    let mut leases = leases("10.1.0.0/24");
    leases.claim(&uid("a"), &[tcp(80, 80), at([192, 0, 2, 1], 443), all("::", 22), all("0.0.0.0", 23)]);
    for (ports, expected) in [
        (vec![], None),
        (vec![tcp(81, 80)], None),
        (vec![udp], None),
        (vec![tcp(81, 80), tcp(80, 8080)], Some(Taken::ByPod(tcp(80, 8080), uid("a")))),
        (vec![at([192, 0, 2, 1], 80)], Some(Taken::ByPod(at([192, 0, 2, 1], 80), uid("a")))),
        (vec![at([192, 0, 2, 2], 443)], None),
        (vec![tcp(443, 80)], Some(Taken::ByPod(tcp(443, 80), uid("a")))),
        (vec![tcp(81, 80), tcp(81, 90)], Some(Taken::Twice(tcp(81, 90)))),
        (vec![tcp(81, 80), of_any_v4(81, 90)], Some(Taken::Twice(of_any_v4(81, 90)))),
        (vec![tcp(81, 80), at([192, 0, 2, 1], 81)], None),
        (vec![all("0.0.0.0", 443)], Some(Taken::ByPod(all("0.0.0.0", 443), uid("a")))),
        (vec![all("::", 443)], None),
        (vec![all("fd00::1", 22)], Some(Taken::ByPod(all("fd00::1", 22), uid("a")))),
        (vec![all("0.0.0.0", 22), all("::", 23)], None),
        (vec![tcp(22, 80)], Some(Taken::ByPod(tcp(22, 80), uid("a")))),
    ] {
        assert_eq!(leases.taken(&uid("b"), &ports), expected, "{ports:?}");
    }
    assert_eq!(leases.taken(&uid("a"), &[tcp(80, 80)]), None, "its own");
}

#[test]
fn leases_are_read_as_they_were_written() {
    let mut leases = leases("10.1.0.0/24");
    leases.allocate(&uid("a"));
    leases.claim(&uid("a"), &[HostPort { host_ip: Some(Ipv4Addr::LOCALHOST.into()), ..tcp(8080, 80) }]);
    leases.claim(&uid("host"), &[HostPort { protocol: Protocol::Udp, ..tcp(53, 53) }]);
    leases.restore_forwarding = true;
    let text = serde_json::to_string(&leases).unwrap();
    assert_eq!(
        text,
        r#"{"version":1,"subnet":"10.1.0.0/24","restoreForwarding":true,"next":3,"pods":{"a":{"address":"10.1.0.2","#
            .to_owned()
            + r#""ports":[{"hostPort":8080,"protocol":"TCP","hostIp":"127.0.0.1","containerPort":80}]},"#
            + r#""host":{"ports":[{"hostPort":53,"protocol":"UDP","containerPort":53}]}}}"#
    );
    assert_eq!(serde_json::from_str::<Leases>(&text).unwrap(), leases);
}

#[test]
fn an_address_of_ipv6_has_the_offset_of_the_other_one() {
    let subnet6 = Some("fd00:1::/64".parse().unwrap());
    let mut leases = Leases { subnet6, ..leases("10.1.2.8/29") };
    assert_eq!(leases.allocate6(&uid("a"), subnet6), None, "there is none yet");
    leases.allocate(&uid("a"));
    leases.allocate(&uid("b"));
    assert_eq!(leases.allocate6(&uid("b"), subnet6), Some("fd00:1::3".parse::<Ipv6Addr>().unwrap()));
    assert_eq!((leases.addresses(), leases.addresses6()), (2, 1));
    let all = |ip: &str, port| HostPort { host_ip: Some(ip.parse().unwrap()), ..tcp(port, 80) };
    leases.claim(&uid("a"), &[tcp(1, 80)]);
    leases.claim(&uid("b"), &[tcp(2, 80), all("0.0.0.0", 3), all("::", 4), all("fd00::9", 5)]);
    let shown: Vec<String> = leases.forwards().iter().map(|(port, to)| format!("{port} {to}")).collect();
    assert_eq!(
        shown,
        [
            "1/TCP 10.1.2.10",
            "2/TCP 10.1.2.11",
            "2/TCP fd00:1::3",
            "0.0.0.0:3/TCP 10.1.2.11",
            "[::]:4/TCP fd00:1::3",
            "[fd00::9]:5/TCP fd00:1::3"
        ]
    );
    assert_eq!(leases.allocate6(&uid("b"), None), None);
    assert_eq!(leases.addresses6(), 0);
}

#[test]
fn leases_say_which_program_reads_them() {
    let mut leases = leases("10.1.0.0/24");
    for (ip, version) in
        [(None, 1), (Some("127.0.0.1"), 1), (Some("0.0.0.0"), 2), (Some("::"), 2), (Some("fd00::1"), 2)]
    {
        leases.claim(&uid("a"), &[HostPort { host_ip: ip.map(|ip| ip.parse().unwrap()), ..tcp(1, 1) }]);
        assert_eq!(leases.needed_version(), version, "{ip:?}");
    }
}

fn ports(spec: serde_json::Value) -> Result<Vec<String>, String> {
    let spec: PodSpec = serde_json::from_value(spec).unwrap();
    let ports = host_ports(&spec).map_err(|e| e.message)?;
    Ok(ports.iter().map(|p| format!("{p}>{}", p.container_port)).collect())
}

#[test]
fn the_ports_a_pod_asks_for() {
    let with = |port: serde_json::Value| json!({"containers": [{"name": "c", "ports": [port]}]});
    let ok = |list: &[&str]| Ok(list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
    for (spec, expected) in [
        (with(json!({"containerPort": 80})), ok(&[])),
        (with(json!({"containerPort": 80, "hostPort": 0})), ok(&[])),
        (with(json!({"containerPort": 80, "hostPort": 8080})), ok(&["8080/TCP>80"])),
        (with(json!({"containerPort": 53, "hostPort": 53, "protocol": "UDP"})), ok(&["53/UDP>53"])),
        (with(json!({"containerPort": 9, "hostPort": 9, "protocol": "SCTP"})), ok(&["9/SCTP>9"])),
        (with(json!({"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.1"})), ok(&["127.0.0.1:80/TCP>80"])),
        (with(json!({"containerPort": 80, "hostPort": 80, "hostIP": "0.0.0.0"})), ok(&["0.0.0.0:80/TCP>80"])),
        (with(json!({"containerPort": 80, "hostPort": 80, "hostIP": "::"})), ok(&["[::]:80/TCP>80"])),
        (with(json!({"containerPort": 80, "hostPort": 80, "hostIP": "FD00::0:1"})), ok(&["[fd00::1]:80/TCP>80"])),
        (
            with(json!({"containerPort": 80, "hostPort": 80, "hostIP": "::ffff:192.0.2.1"})),
            ok(&["192.0.2.1:80/TCP>80"]),
        ),
        (
            with(json!({"containerPort": 80, "hostPort": 80, "hostIP": "::1"})),
            Err("Linux leads nothing from ::1 to a pod: use hostIP 127.0.0.1".to_owned()),
        ),
        (
            with(json!({"containerPort": 80, "hostPort": 80, "hostIP": "febf::1"})),
            Err("Linux leads nothing from febf::1, an address of one link, to a pod: use another hostIP".to_owned()),
        ),
        (
            with(json!({"containerPort": 80, "hostPort": 80, "hostIP": "localhost"})),
            Err("hostIP \"localhost\" is not an IP address".to_owned()),
        ),
        (with(json!({"containerPort": 80, "hostPort": 65536})), Err("65536 is not a port number".to_owned())),
        (with(json!({"containerPort": 80, "hostPort": -1})), Err("-1 is not a port number".to_owned())),
        (
            with(json!({"containerPort": 80, "hostPort": 80, "protocol": "tcp"})),
            Err("\"tcp\" is not a protocol: TCP, UDP or SCTP".to_owned()),
        ),
        (
            json!({"hostNetwork": true, "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostIP": "::1"}]}]}),
            ok(&["[::1]:80/TCP>80"]),
        ),
        (
            json!({"hostNetwork": true, "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostIP": "fe80::1"}]}]}),
            ok(&["[fe80::1]:80/TCP>80"]),
        ),
        (
            json!({"hostNetwork": true, "containers": [{"name": "c", "ports": [{"containerPort": 80}]}],
                "initContainers": [{"name": "s", "restartPolicy": "Always", "ports": [{"containerPort": 81}]}]}),
            ok(&["81/TCP>81", "80/TCP>80"]),
        ),
    ] {
        assert_eq!(ports(spec.clone()), expected, "{spec}");
    }
}
