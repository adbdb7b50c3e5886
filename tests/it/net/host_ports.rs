//! Host ports, from everywhere, and what must not come with them.

use std::collections::BTreeSet;
use std::io::ErrorKind as Io;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use podwright::net::{HostPort, Protocol};
use podwright::port::ErrorKind;

use super::machine::{
    LOCALHOST, MACHINE, MACHINE6, OUTSIDE, Space, ask, echo, echo_to, has_ipv6, on_a_machine, sh, tcp, uid,
};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 1);

#[test]
fn e2e_a_host_port_answers_outside_pods_itself_and_loopback() {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let (web, other) = (machine.attach(&network, "web", &[tcp(8080, 80)]), machine.attach(&network, "other", &[]));
        let _server = web.space.serve("web", (web.ip, 80));
        assert_eq!(
            machine.outside.ask((MACHINE, 8080)).unwrap(),
            format!("web {OUTSIDE}"),
            "with the caller's address"
        );
        assert_eq!(other.space.ask((MACHINE, 8080)).unwrap(), format!("web {GATEWAY}"));
        assert_eq!(other.space.ask((GATEWAY, 8080)).unwrap(), format!("web {GATEWAY}"));
        assert_eq!(web.space.ask((MACHINE, 8080)).unwrap(), format!("web {GATEWAY}"), "a pod calls itself");
        assert_eq!(ask((LOCALHOST, 8080)).unwrap(), format!("web {GATEWAY}"));
        assert_eq!(ask((MACHINE, 8080)).unwrap(), format!("web {MACHINE}"));
        assert!(machine.outside.ask((MACHINE, 80)).is_err(), "the container's port is not the machine's");

        machine.wait(network.detach(&uid("web"))).unwrap();
        assert!(machine.outside.ask((MACHINE, 8080)).is_err(), "gone with the pod");
    });
}

#[test]
fn e2e_udp_and_tcp_on_one_number_lead_to_different_pods() {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let udp = HostPort { protocol: Protocol::Udp, ..tcp(5353, 53) };
        let (a, b) = (machine.attach(&network, "a", &[udp]), machine.attach(&network, "b", &[tcp(5353, 53)]));
        let socket = a.space.inside(|| UdpSocket::bind("0.0.0.0:53")).unwrap();
        let _server = b.space.serve("b", (b.ip, 53));
        assert_eq!(echo(&machine.outside, (MACHINE, 5353), &socket).unwrap(), "pong");
        assert_eq!(echo(&b.space, (MACHINE, 5353), &socket).unwrap(), "pong");
        assert_eq!(echo(&a.space, (MACHINE, 5353), &socket).unwrap(), "pong", "a pod calls itself");
        for at in [LOCALHOST, MACHINE] {
            let client = UdpSocket::bind("0.0.0.0:0").unwrap();
            assert_eq!(echo_to(client, (at, 5353), &socket).unwrap(), "pong", "at {at} of the machine");
        }
        assert_eq!(machine.outside.ask((MACHINE, 5353)).unwrap(), format!("b {OUTSIDE}"));
    });
}

#[test]
fn e2e_a_client_that_goes_on_sending_by_udp_finds_the_next_pod() {
    finds_the_next_pod("0.0.0.0", MACHINE.into());
}

#[test]
fn e2e_a_client_that_goes_on_sending_by_udp_and_ipv6_finds_the_next_pod() {
    if has_ipv6() {
        finds_the_next_pod("[::]", MACHINE6.into());
    }
}

fn finds_the_next_pod(any: &str, to: IpAddr) {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let udp = HostPort { protocol: Protocol::Udp, ..tcp(5353, 53) };
        let client = machine.outside.inside(|| UdpSocket::bind(format!("{any}:4444"))).unwrap();
        // Nobody is there yet: the kernel remembers a conversation with the machine itself.
        client.send_to(b"0", (to, 5353)).unwrap();
        for name in ["a", "b"] {
            let pod = machine.attach(&network, name, &[udp]);
            let server = pod.space.inside(|| UdpSocket::bind(format!("{any}:53"))).unwrap();
            server.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
            let _refused_before = client.take_error();
            client.send_to(name.as_bytes(), (to, 5353)).unwrap();
            let mut buffer = [0; 8];
            let receive = |buffer: &mut [u8]| server.recv(buffer).unwrap_or_else(|e| panic!("{name}: {e}"));
            let mut n = receive(&mut buffer);
            // That from before may still have been on its way, on a machine with much to do.
            if buffer[0] == b'0' {
                n = receive(&mut buffer);
            }
            assert_eq!(&buffer[..n], name.as_bytes());
            machine.wait(network.detach(&uid(name))).unwrap();
        }
    });
}

#[test]
fn e2e_a_host_ip_limits_a_host_port_to_that_address() {
    on_a_machine(|machine| {
        sh("ip addr add 192.0.2.3/24 dev eth0");
        let second = Ipv4Addr::new(192, 0, 2, 3);
        let network = machine.open(None).unwrap();
        let at = |ip: Ipv4Addr| HostPort { host_ip: Some(ip.into()), ..tcp(8080, 80) };
        let a = machine.attach(&network, "a", &[at(LOCALHOST)]);
        let b = machine.attach(&network, "b", &[at(second)]);
        let (_a, _b) = (a.space.serve("a", (a.ip, 80)), b.space.serve("b", (b.ip, 80)));
        assert_eq!(ask((LOCALHOST, 8080)).unwrap(), "a 10.213.0.1");
        assert_eq!(machine.outside.ask((second, 8080)).unwrap(), format!("b {OUTSIDE}"));
        assert!(machine.outside.ask((MACHINE, 8080)).is_err());
    });
}

/// Whether a datagram that somebody with the right to change its own network sends to 127.0.0.1 of the machine, at
/// `gateway`, gets to the victim.
fn attack(attacker: &Space, gateway: Ipv4Addr, port: u16, victim: &UdpSocket) -> bool {
    attacker.inside(|| {
        sh(&format!(
            "ip route del local 127.0.0.1 table local 2>&1; ip route del local 127.0.0.0/8 table local 2>&1; \
             ip route replace 127.0.0.0/8 via {gateway}"
        ));
        UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"evil", (LOCALHOST, port)).unwrap();
    });
    victim.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    victim.recv_from(&mut [0; 8]).is_ok()
}

#[test]
fn e2e_pods_do_not_reach_the_machines_loopback() {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let (_web, evil) = (machine.attach(&network, "web", &[tcp(8080, 80)]), machine.attach(&network, "evil", &[]));
        let victim = UdpSocket::bind((LOCALHOST, 9999)).unwrap();
        assert_eq!(sh("cat /proc/sys/net/ipv4/conf/pw0badcafe/route_localnet").trim(), "1");
        assert!(!attack(&evil.space, GATEWAY, 9999, &victim));
        // The attack is a real one: without our rule it succeeds.
        sh("nft flush chain inet podwright-0badcafe loopback");
        assert!(attack(&evil.space, GATEWAY, 9999, &victim));
        // An agent that looks after its rules ends it.
        machine.wait(network.release(&BTreeSet::new())).unwrap();
        assert!(!attack(&evil.space, GATEWAY, 9999, &victim));
        // Without host ports the bridge does not even route such packets.
        machine.wait(network.detach(&uid("web"))).unwrap();
        assert_eq!(sh("cat /proc/sys/net/ipv4/conf/pw0badcafe/route_localnet").trim(), "0");
        sh("nft flush chain inet podwright-0badcafe loopback");
        assert!(!attack(&evil.space, GATEWAY, 9999, &victim));
    });
}

#[test]
fn e2e_a_neighbour_does_not_reach_a_host_port_at_loopback() {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let port = HostPort { protocol: Protocol::Udp, host_ip: Some(LOCALHOST.into()), ..tcp(5353, 53) };
        let pod = machine.attach(&network, "a", &[port]);
        let victim = pod.space.inside(|| UdpSocket::bind("0.0.0.0:53")).unwrap();
        assert!(!attack(&machine.outside, MACHINE, 5353, &victim));
        // The attack is a real one: it succeeds once the rules take what comes from outside to 127.0.0.1.
        sh("nft insert rule inet podwright-0badcafe prerouting fib daddr type local jump host_ports");
        assert!(attack(&machine.outside, MACHINE, 5353, &victim));
    });
}

#[test]
fn e2e_a_busy_host_port_is_refused_and_nothing_is_touched() {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let busy = TcpListener::bind((LOCALHOST, 8099)).unwrap();
        // What another test forks has every descriptor until it executes its program: closing this one ends nothing.
        let _forked = busy.try_clone().unwrap();
        let before = machine.traces();
        let space = Space::new();
        let attach = |name: &str| machine.wait(network.attach(&uid(name), space.infra(), &[tcp(8099, 80)]));
        let error = attach("a").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert_eq!(error.waiting_reason, Some("CreatePodSandboxError"));
        assert!(error.to_string().contains("host port 8099/TCP is in use by a process of this machine"), "{error}");
        assert_eq!(machine.traces(), before);

        rustix::net::shutdown(&busy, rustix::net::Shutdown::Read).unwrap();
        attach("a").unwrap();
        let error = attach("b").unwrap_err();
        assert!(error.to_string().contains("host port 8099/TCP is in use by another pod of this root, a"), "{error}");
        machine.wait(network.detach(&uid("a"))).unwrap();
        attach("b").unwrap();
    });
}

#[test]
fn e2e_the_ports_of_a_host_network_pod_are_claimed_too() {
    on_a_machine(|machine| {
        let before = machine.traces();
        let network = machine.open(None).unwrap();
        let claim = |name: &str, port| machine.wait(network.host_network_ports(&uid(name), &[tcp(port, port)]));
        claim("a", 8080).unwrap();
        let _its_container = TcpListener::bind(("0.0.0.0", 8080)).unwrap();
        claim("a", 8080).unwrap();
        assert!(claim("b", 8080).unwrap_err().to_string().contains("8080/TCP is in use by another pod"));
        let space = Space::new();
        let error = machine.wait(network.attach(&uid("c"), space.infra(), &[tcp(8080, 80)])).unwrap_err();
        assert!(error.to_string().contains("8080/TCP is in use by another pod"), "{error}");

        machine.wait(network.detach(&uid("a"))).unwrap();
        assert!(claim("b", 8080).unwrap_err().to_string().contains("8080/TCP is in use by a process"));
        machine.wait(network.down()).unwrap();
        assert_eq!(machine.traces(), before, "such pods need neither bridge nor rules");
    });
}

#[test]
fn e2e_udp_and_ipv6_listeners_make_a_port_busy_too() {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let _udp = UdpSocket::bind("0.0.0.0:5300").unwrap();
        let _both = TcpListener::bind("[::]:5301").unwrap();
        let udp = HostPort { protocol: Protocol::Udp, ..tcp(5300, 53) };
        for (port, busy) in [(udp, true), (tcp(5300, 53), false), (tcp(5301, 53), true)] {
            let result = machine.wait(network.host_network_ports(&uid(&port.to_string()), &[port]));
            assert_eq!(result.is_err(), busy, "{port}");
        }
    });
}

#[test]
fn e2e_without_nft_only_pods_with_host_ports_are_refused() {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap().with_nft("/nonexistent/nft".into());
        let (a, b) = (machine.attach(&network, "a", &[]), machine.attach(&network, "b", &[]));
        let _b = b.space.serve("b", (b.ip, 80));
        assert_eq!(a.space.ask((b.ip, 80)).unwrap(), format!("b {}", a.ip));
        let space = Space::new();
        let error = machine.wait(network.attach(&uid("web"), space.infra(), &[tcp(8080, 80)])).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied);
        assert!(
            error.to_string().contains("needs the program nft") || error.to_string().contains("need the program nft")
        );
        assert!(error.help.unwrap().contains("apt-get install nftables"));
        machine.wait(network.detach(&uid("web"))).unwrap();
        machine.wait(network.down()).unwrap();
    });
}

#[test]
fn e2e_rules_that_are_refused_leave_those_before_in_place() {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let web = machine.attach(&network, "web", &[tcp(8080, 80)]);
        let _server = web.space.serve("web", (web.ip, 80));
        drop(network);
        let rules = sh("nft list ruleset");
        // One statement more, which the kernel does not take, at the end of the script.
        let nft = machine.state.path().join("nft");
        let bad = "table ip other { chain c { type nat hook forward priority 0; } }";
        let script = format!("#!/bin/sh\n{{ /bin/cat; echo '{bad}'; }} | {} -f -\n", sh("command -v nft").trim());
        std::fs::write(&nft, script).unwrap();
        std::fs::set_permissions(&nft, std::fs::Permissions::from_mode(0o755)).unwrap();
        let network = machine.open(None).unwrap().with_nft(nft);
        let space = Space::new();
        let error = machine.wait(network.attach(&uid("other"), space.infra(), &[tcp(8081, 80)])).unwrap_err();
        assert_eq!((error.kind, error.waiting_reason), (ErrorKind::Denied, Some("CreatePodSandboxError")), "{error}");
        assert!(error.message.contains("nft refused the rules: "), "{error}");
        assert_eq!(sh("nft list ruleset"), rules);
        assert_eq!(machine.outside.ask((MACHINE, 8080)).unwrap(), format!("web {OUTSIDE}"));
        // What ends by a signal, or cannot be run, has refused nothing: no second try.
        let (broken, tries) = (machine.state.path().join("broken"), machine.state.path().join("tries"));
        std::fs::write(&broken, format!("#!/bin/sh\necho try >> {}\nkill -9 $$\n", tries.display())).unwrap();
        for (mode, said) in [(0o755, "broken ended by a signal: 9"), (0o644, "cannot run ")] {
            std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(mode)).unwrap();
            let network = machine.open(None).unwrap().with_nft(broken.clone());
            let error = machine.wait(network.attach(&uid("other"), space.infra(), &[tcp(8081, 80)])).unwrap_err();
            assert!(error.message.contains("nft did not run to its end: ") && error.message.contains(said), "{error}");
            assert_eq!(std::fs::read_to_string(&tries).unwrap(), "try\n");
        }
        // An agent whose nft works puts both in place.
        let network = machine.open(None).unwrap();
        machine.wait(network.attach(&uid("other"), space.infra(), &[tcp(8081, 80)])).unwrap();
        assert!(sh("nft list ruleset").contains("8081"));
        assert_eq!(machine.outside.ask((MACHINE, 8080)).unwrap(), format!("web {OUTSIDE}"));
        // The control: who clears the table and then brings the rules has none when they are refused.
        sh(&format!("nft flush table inet podwright-0badcafe; ! echo '{bad}' | nft -f - 2>&1"));
        assert!(machine.outside.ask((MACHINE, 8080)).is_err());
    });
}

/// What names the table and its chains for the kernel, as long as they are not made anew.
fn handles() -> Vec<String> {
    let lines = sh("nft -a list table inet podwright-0badcafe");
    let of = |line: &&str| line.contains("table ") || line.contains("chain ");
    lines.lines().filter(of).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn e2e_a_host_port_answers_while_the_rules_are_replaced() {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let web = machine.attach(&network, "web", &[tcp(8080, 80)]);
        let _server = web.space.serve("web", (web.ip, 80));
        let (space, over) = (Space::new(), AtomicBool::new(false));
        let asked = AtomicUsize::new(0);
        let before = handles();
        assert_eq!(before.len(), 1 + 5, "{before:?}");
        let replaced = std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                machine.outside.inside(|| {
                    let mut unanswered = 0;
                    while !over.load(Ordering::Relaxed) {
                        match ask((MACHINE, 8080)) {
                            // A machine with much to do; who is led astray is refused.
                            Err(error) if matches!(error.kind(), Io::TimedOut | Io::WouldBlock) => {
                                unanswered += 1;
                                assert!(unanswered < 5, "nobody answers: {error}");
                                continue;
                            }
                            answer => assert_eq!(answer.unwrap(), format!("web {OUTSIDE}")),
                        }
                        unanswered = 0;
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                });
            });
            let mut rules = BTreeSet::new();
            for port in 9000..9025 {
                machine.wait(network.attach(&uid("other"), space.infra(), &[tcp(port, 80)])).unwrap();
                rules.insert(sh("nft list table inet podwright-0badcafe"));
                let before = asked.load(Ordering::Relaxed);
                machine.wait(network.detach(&uid("other"))).unwrap();
                rules.insert(sh("nft list table inet podwright-0badcafe"));
                // As an agent does that is started again, and knows nothing of the rules.
                machine.wait(network.release(&BTreeSet::new())).unwrap();
                rules.insert(sh("nft list table inet podwright-0badcafe"));
                // An answer each time, unless the other thread has failed.
                while asked.load(Ordering::Relaxed) == before && !asking.is_finished() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            over.store(true, Ordering::Relaxed);
            asking.join().unwrap();
            rules.len()
        });
        assert_eq!(replaced, 25 + 1, "with the other port and without it");
        // Between chains that go and those that come there is a moment without any, too short to be met at will.
        assert_eq!(handles(), before);
        // The control: between removal and new rules nobody answers.
        sh("nft delete table inet podwright-0badcafe");
        assert!(machine.outside.ask((MACHINE, 8080)).is_err());
    });
}

#[test]
fn e2e_rules_that_somebody_has_changed_are_made_anew() {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let web = machine.attach(&network, "web", &[tcp(8080, 80)]);
        let _other = machine.attach(&network, "other", &[tcp(9000, 80)]);
        let _server = web.space.serve("web", (web.ip, 80));
        let table = "inet podwright-0badcafe";
        let rules = || sh(&format!("nft list table {table}"));
        machine.wait(network.detach(&uid("other"))).unwrap();
        let expected = rules();
        for meddle in [
            // What the next change takes out, or adds with another target.
            format!("delete element {table} ports {{ tcp . 9000 }}"),
            format!(
                "delete element {table} ports {{ tcp . 8080 }}; add element {table} ports {{ tcp . 8080 : 10.213.0.99 . 1 }}"
            ),
            // As a program that makes its table otherwise.
            format!(
                "delete table {table}; table {table} {{ map ports {{ type inet_service : ipv4_addr; }}; \
                     chain prerouting {{ type filter hook input priority 7; }}; }}"
            ),
            format!("delete table {table}"),
        ] {
            let space = Space::new();
            machine.wait(network.attach(&uid("other"), space.infra(), &[tcp(9000, 80)])).unwrap();
            sh(&format!("nft '{meddle}'"));
            machine.wait(network.detach(&uid("other"))).unwrap();
            assert_eq!(rules(), expected, "{meddle}");
            assert_eq!(machine.outside.ask((MACHINE, 8080)).unwrap(), format!("web {OUTSIDE}"), "{meddle}");
        }
    });
}
