//! Pods on the bridge: who reaches whom, what survives a restart of the agent, and what a crash leaves behind.

use std::net::{Ipv4Addr, Ipv6Addr};

use podwright::net::{HostPort, Network};
use podwright::sys::infra::Infra;
use podwright::sys::process;

use super::machine::{
    ID, MACHINE, MACHINE6, Machine, OUTSIDE, OUTSIDE6, Pod, Server, Space, ask, on_a_machine, sh, subnet6, tcp, uid,
};

#[test]
fn e2e_pods_reach_each_other_the_gateway_and_the_outside() {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let (a, b) = (machine.attach(&network, "a", &[]), machine.attach(&network, "b", &[]));
        assert_eq!([a.ip, b.ip], [Ipv4Addr::new(10, 213, 0, 2), Ipv4Addr::new(10, 213, 0, 3)]);
        let gateway = Ipv4Addr::new(10, 213, 0, 1);
        let _b = b.space.serve("b", (b.ip, 80));
        let _machine = Server::start("machine", (Ipv4Addr::UNSPECIFIED, 81));
        let _outside = machine.outside.serve("outside", (OUTSIDE, 82));
        let _own = a.space.serve("own", (Ipv4Addr::LOCALHOST, 83));

        assert_eq!(a.space.ask((b.ip, 80)).unwrap(), format!("b {}", a.ip), "pod to pod, with its own address");
        assert_eq!(ask((b.ip, 80)).unwrap(), format!("b {gateway}"), "machine to pod");
        assert_eq!(a.space.ask((gateway, 81)).unwrap(), format!("machine {}", a.ip));
        assert_eq!(a.space.ask((MACHINE, 81)).unwrap(), format!("machine {}", a.ip));
        assert_eq!(
            a.space.ask((OUTSIDE, 82)).unwrap(),
            format!("outside {MACHINE}"),
            "leaves with the machine's address"
        );
        assert_eq!(a.space.ask((Ipv4Addr::LOCALHOST, 83)).unwrap(), "own 127.0.0.1");
    });
}

#[test]
fn e2e_nothing_happens_before_the_first_pod() {
    on_a_machine(|machine| {
        let before = machine.traces();
        let network = machine.open(Some("10.1.0.0/24")).unwrap();
        machine.wait(network.detach(&uid("never"))).unwrap();
        machine.wait(network.release(&[uid("never")].into())).unwrap();
        machine.wait(network.host_network_ports(&uid("never"), &[])).unwrap();
        machine.wait(network.down()).unwrap();
        assert_eq!(machine.traces(), before);
    });
}

#[test]
fn e2e_a_process_that_has_the_number_of_another_one_is_not_connected() {
    on_a_machine(|machine| {
        let before = machine.traces();
        let (network, space) = (machine.open(None).unwrap(), Space::new());
        let own = space.infra();
        let other = Infra { start_ticks: own.start_ticks - 1, ..own };
        let error = machine.wait(network.attach(&uid("a"), other, &[])).unwrap_err();
        let (pid, tick) = (own.pid, own.start_ticks);
        let why = format!(
            "open /proc/{pid}/ns/net: the infra process {pid}, which started at tick {} of this boot, has ended: one of \
             tick {tick} has its number now",
            tick - 1
        );
        assert!(error.to_string().ends_with(&why), "{error}");
        assert_eq!(machine.traces(), before);
        machine.wait(network.attach(&uid("a"), own, &[])).unwrap();
        machine.wait(network.down()).unwrap();
    });
}

#[test]
fn e2e_a_pod_keeps_its_address_while_it_lives() {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let (a, _b) = (machine.attach(&network, "a", &[]), machine.attach(&network, "b", &[]));
        let again = |network: &Network| machine.wait(network.attach(&uid("a"), a.space.infra(), &[])).unwrap();
        assert_eq!(again(&network), a.ips);
        drop(network);
        let network = machine.open(None).unwrap();
        assert_eq!(again(&network), a.ips, "after a restart of the agent");

        machine.wait(network.detach(&uid("b"))).unwrap();
        let c = machine.attach(&network, "c", &[]);
        assert_eq!(c.ip, Ipv4Addr::new(10, 213, 0, 4), "an address is not given away again at once");
    });
}

#[test]
fn e2e_many_pods_at_once_get_different_addresses() {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let spaces: Vec<Space> = (0..12).map(|_| Space::new()).collect();
        let uids: Vec<_> = (0..12).map(|n| uid(&format!("pod-{n}"))).collect();
        let all = uids.iter().zip(&spaces).enumerate().map(|(n, (uid, space))| {
            let ports = [tcp(9000 + n as u16, 80)];
            let network = &network;
            async move { network.attach(uid, space.infra(), &ports).await.unwrap()[0] }
        });
        let addresses: std::collections::BTreeSet<_> =
            machine.wait(futures_util::future::join_all(all)).into_iter().collect();
        assert_eq!(addresses.len(), 12);
    });
}

#[test]
fn e2e_a_full_subnet_says_so_and_a_free_address_helps() {
    on_a_machine(|machine| {
        let network = machine.open(Some("10.1.0.8/29")).unwrap();
        let mut pods: Vec<Pod> = (0..5).map(|n| machine.attach(&network, &format!("pod-{n}"), &[])).collect();
        assert_eq!(pods.last().unwrap().ip, Ipv4Addr::new(10, 1, 0, 14));
        let late = Space::new();
        let error = machine.wait(network.attach(&uid("late"), late.infra(), &[])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot attach pod late: every address of 10.1.0.8/29 is in use, by 5 pods; remove pods, or choose a larger \
             `subnet` after `podwright down`"
        );
        machine.wait(network.detach(&uid("pod-3"))).unwrap();
        pods.remove(3);
        assert_eq!(machine.attach(&network, "late", &[]).ip, Ipv4Addr::new(10, 1, 0, 13));
    });
}

/// What may be missing or wrong when an agent is killed between two steps, or somebody meddles: each is a command in the
/// machine's (false) or the pod's (true) namespace.
const HALF_DONE: &[(bool, &str)] = &[
    (false, "true"),
    (false, "ip link set pw0badcafe down"),
    (false, "ip addr flush dev pw0badcafe"),
    (false, "ip addr add 10.9.9.9/24 dev pw0badcafe"),
    (false, "ip link del pw0badcafe"),
    (false, "ip link set pw0badcafe00002 nomaster"),
    (false, "ip link set pw0badcafe00002 down"),
    (false, "ip link set pw0badcafe00002 type bridge_slave hairpin off"),
    (false, "ip link del pw0badcafe00002"),
    (false, "ip link del pw0badcafe00002; ip link add pw0badcafe00002 type veth peer name stray"),
    (false, "nft delete table inet podwright-0badcafe"),
    (false, "echo 0 > /proc/sys/net/ipv4/ip_forward"),
    (false, "echo 0 > /proc/sys/net/ipv4/conf/pw0badcafe/route_localnet"),
    (true, "ip link set lo down"),
    (true, "ip link set eth0 down"),
    (true, "ip addr flush dev eth0"),
    (true, "ip addr add 10.9.9.9/24 dev eth0"),
    (true, "ip route del default"),
    (true, "ip link set eth0 address 02:00:00:00:00:01"),
    (false, "ip -6 addr flush dev pw0badcafe"),
    (false, "ip -6 addr add fd99::1/64 dev pw0badcafe"),
    (false, "echo 1 > /proc/sys/net/ipv6/conf/pw0badcafe/disable_ipv6"),
    (false, "echo 0 > /proc/sys/net/ipv6/conf/all/forwarding"),
    (true, "ip -6 addr flush dev eth0"),
    (true, "ip -6 addr add fd99::2/64 dev eth0"),
    (true, "ip -6 route del default"),
    (true, "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"),
    (true, "echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6"),
    (true, "echo 1 > /proc/sys/net/ipv6/conf/eth0/accept_ra"),
];

/// What of that a running agent notices when the next pod comes: its bridge as another one.
const BRIDGE_MEDDLED_WITH: &[&str] = &[
    "ip link set pw0badcafe down",
    "ip link set pw0badcafe down; ip link set pw0badcafe up",
    "ip -4 addr flush dev pw0badcafe",
    "ip -6 addr flush dev pw0badcafe",
    "cd /proc/sys/net/ipv6/conf/pw0badcafe; echo 1 > disable_ipv6; echo 0 > disable_ipv6",
    "echo 1 > /proc/sys/net/ipv6/conf/pw0badcafe/disable_ipv6",
];

/// What a pod that [`works`] asks for: a port for each family, since each is served by a listener of its own.
const PORTS: [HostPort; 2] = [tcp(8080, 80), tcp(8081, 81)];

fn works(machine: &Machine, pod: &Pod) {
    let _server = pod.space.serve("pod", (Ipv4Addr::UNSPECIFIED, 80));
    let _outside = machine.outside.serve("outside", (OUTSIDE, 82));
    assert_eq!(machine.outside.ask((MACHINE, 8080)).unwrap(), format!("pod {OUTSIDE}"));
    assert_eq!(ask((Ipv4Addr::LOCALHOST, 8080)).unwrap(), "pod 10.213.0.1");
    assert_eq!(pod.space.ask((Ipv4Addr::LOCALHOST, 80)).unwrap(), "pod 127.0.0.1");
    assert_eq!(pod.space.ask((MACHINE, 8080)).unwrap(), "pod 10.213.0.1");
    assert_eq!(pod.space.ask((OUTSIDE, 82)).unwrap(), format!("outside {MACHINE}"));
    let addresses = pod.space.inside(|| sh("ip -o -4 addr show dev eth0 | wc -l"));
    assert_eq!(addresses.trim(), "1");
    if pod.ips.len() == 2 {
        works_by_ipv6(machine, pod);
    }
}

fn works_by_ipv6(machine: &Machine, pod: &Pod) {
    let gateway = subnet6().gateway();
    let _server = pod.space.serve("pod", (Ipv6Addr::UNSPECIFIED, 81));
    let _outside = machine.outside.serve("outside", (OUTSIDE6, 83));
    assert_eq!(ask((pod.ip6(), 81)).unwrap(), format!("pod {gateway}"));
    assert_eq!(machine.outside.ask((MACHINE6, 8081)).unwrap(), format!("pod {OUTSIDE6}"));
    assert_eq!(pod.space.ask((MACHINE6, 8081)).unwrap(), format!("pod {gateway}"));
    assert_eq!(pod.space.ask((OUTSIDE6, 83)).unwrap(), format!("outside {MACHINE6}"));
    let addresses = pod.space.inside(|| sh("ip -o -6 addr show dev eth0 scope global | wc -l"));
    assert_eq!(addresses.trim(), "1");
    assert_eq!(pod.space.inside(|| sh("cat /proc/sys/net/ipv6/conf/eth0/accept_ra")).trim(), "0");
}

#[test]
fn e2e_an_agent_that_runs_mends_its_bridge_for_the_next_pod() {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let pod = machine.attach(&network, "a", &PORTS);
        for break_it in BRIDGE_MEDDLED_WITH {
            if break_it.contains("6") && pod.ips.len() < 2 {
                continue;
            }
            sh(break_it);
            let next = machine.attach(&network, "next", &[]);
            eprintln!("after: {break_it}");
            works(machine, &pod);
            assert_eq!(next.ips.len(), pod.ips.len());
            machine.wait(network.detach(&uid("next"))).unwrap();
        }
    });
}

#[test]
fn e2e_attaching_again_completes_whatever_was_half_done() {
    on_a_machine(|machine| {
        let pod = machine.attach(&machine.open(None).unwrap(), "a", &PORTS);
        works(machine, &pod);
        for (in_pod, break_it) in HALF_DONE {
            if (break_it.contains("-6") || break_it.contains("ipv6")) && pod.ips.len() < 2 {
                continue;
            }
            if *in_pod {
                pod.space.inside(|| sh(break_it))
            } else {
                sh(break_it)
            };
            let network = machine.open(None).unwrap();
            let again = machine.wait(network.attach(&uid("a"), pod.space.infra(), &PORTS));
            assert_eq!(again.unwrap_or_else(|e| panic!("{break_it}: {e}")), pod.ips, "{break_it}");
            eprintln!("after: {break_it}");
            works(machine, &pod);
        }
    });
}

#[test]
fn e2e_a_new_sandbox_of_the_same_pod_takes_over_its_address() {
    on_a_machine(|machine| {
        let network = machine.open(None).unwrap();
        let old = machine.attach(&network, "a", &PORTS);
        // The old process still has its link; the pod got a new one, as after a crash before `detach`.
        let new = machine.attach(&network, "a", &PORTS);
        assert_eq!(new.ips, old.ips);
        works(machine, &new);
        assert_eq!(old.space.inside(|| sh("ip -o link | grep -c eth0 || true")).trim(), "0");
    });
}

#[test]
fn e2e_the_machines_own_namespace_is_never_attached() {
    on_a_machine(|machine| {
        let before = machine.traces();
        let network = machine.open(None).unwrap();
        // A process without a namespace of its own, as a process id that was given away again might name.
        let mut stranger = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = stranger.id().try_into().unwrap();
        let infra = Infra { pid, start_ticks: process::start_ticks(pid).unwrap() };
        let error = machine.wait(network.attach(&uid("a"), infra, &[])).unwrap_err();
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        assert!(error.message.contains("has no network namespace of its own"), "{error}");
        assert_eq!(machine.traces(), before);
    });
}

#[test]
fn e2e_an_interface_that_is_no_bridge_is_left_alone() {
    on_a_machine(|machine| {
        sh(&format!("ip link add pw{ID} type veth peer name far"));
        let network = machine.open(None).unwrap();
        let space = Space::new();
        let error = machine.wait(network.attach(&uid("a"), space.infra(), &[])).unwrap_err();
        assert!(error.message.contains("is no bridge"), "{error}");
    });
}
