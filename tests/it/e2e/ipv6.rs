//! Pods with an address of each family, from manifest to status.

use super::harness::{World, run};

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: server}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: busybox
    command: [httpd, -f, -p, "[::]:8080", -h, /etc]
    ports: [{containerPort: 8080, hostPort: 18080}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: busybox
    command: [sleep, "100000"]
    env: [{name: IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}]
"#;

fn ips(world: &World, pod: &str) -> Vec<String> {
    let status = &world.pod(pod).unwrap()["status"];
    let all = status["podIPs"].as_array().unwrap().iter().map(|ip| ip["ip"].as_str().unwrap().to_owned());
    let all: Vec<String> = all.collect();
    assert_eq!(status["podIP"].as_str(), Some(all[0].as_str()));
    all
}

#[test]
fn e2e_pods_talk_by_ipv6_and_say_which_addresses_they_have() {
    if !std::path::Path::new("/proc/sys/net/ipv6").exists() {
        return crate::support::skip("the kernel has no IPv6");
    }
    let Some(mut world) = World::new() else { return };
    run(world.inside("ip").args(["link", "add", "uplink", "type", "veth", "peer", "name", "far"]));
    run(world.inside("ip").args(["-6", "addr", "add", "2001:db8::2/64", "dev", "uplink", "nodad"]));
    for end in ["uplink", "far"] {
        run(world.inside("ip").args(["link", "set", end, "up"]));
    }
    world.load("busybox");
    world.commit(&[("pods.yaml", PODS)]);
    world.start();
    world.wait_row("server", "1/1", "Running");
    world.wait_row("client", "1/1", "Running");
    let (server, client) = (ips(&world, "server"), ips(&world, "client"));
    assert!(server.len() == 2 && server[1].starts_with("fd"), "{server:?}");
    let fetch = |host: &str, port: u16| {
        let url = format!("http://{host}:{port}/hostname");
        world.exec("client", "c", &["wget", "-q", "-O", "-", &url])
    };
    world.wait("the server", || world.page(&server[1], 8080).starts_with("HTTP/").then_some(()));
    assert_eq!(fetch(&format!("[{}]", server[1]), 8080), "server\n");
    assert_eq!(fetch("[2001:db8::2]", 18080), "server\n");
    let said = world.page("2001:db8::2", 18080);
    assert!(said.starts_with("HTTP/"), "the machine itself: {said}");

    assert_eq!(world.exec("client", "c", &["sh", "-c", "echo $IPS"]), format!("{}\n", client.join(",")));
    let hosts = world.exec("client", "c", &["cat", "/etc/hosts"]);
    assert!(hosts.ends_with(&format!("{}\tclient\n{}\tclient\n", client[0], client[1])), "{hosts}");
    let wide = world.ok(&["get", "pod", "client", "-o", "wide"]);
    assert!(wide.contains(&client[0]) && !wide.contains(&client[1]), "{wide}");
    let told = world.ok(&["describe", "pod", "client"]);
    assert!(told.contains("IPs:\n") && client.iter().all(|ip| told.contains(&format!("  IP:  {ip}\n"))), "{told}");
}
