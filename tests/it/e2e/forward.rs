//! `port-forward`: what listens in a pod, reached from outside of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use rustix::process::Signal;

use super::harness::{World, run, signal, text};

/// Listens on its loopback only, for one of the ports of IPv6 alone.
const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: a
    image: busybox
    command: [sh, -c, "echo four > /index.html; httpd -p 127.0.0.1:8000 -h /; mkdir /six; echo six > /six/index.html; httpd -p '[::1]:8001' -h /six; echo up; sleep 100000"]
    ports: [{name: http, containerPort: 8000}, {name: dns, containerPort: 5353, protocol: UDP}]
"#;

/// A `port-forward` that runs, and what it says.
struct Forward {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Forward {
    fn start(world: &World, args: &[&str]) -> Self {
        let mut all = vec!["port-forward", "web"];
        all.extend(args);
        let mut child = world.podwright(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn says(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// The port of `Forwarding from <address>:<port> -> <remote>`.
    fn port(&mut self, address: &str, remote: u16) -> u16 {
        let line = self.says();
        let inner = line.strip_prefix(&format!("Forwarding from {address}:")).unwrap_or_else(|| panic!("{line}"));
        let (port, to) = inner.split_once(" -> ").unwrap();
        assert_eq!(to, remote.to_string());
        port.parse().unwrap()
    }

    fn end(self) -> (Option<i32>, String) {
        let output = self.child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn e2e_ports_of_this_machine_lead_into_the_network_of_a_pod() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    world.commit(&[("pod.yaml", POD)]);
    world.start();
    world.wait_row("web", "1/1", "Running");
    world.wait("its servers", || world.ok(&["logs", "web"]).contains("up").then_some(()));
    // A forward needs no agent.
    world.kill();
    let mut forward = Forward::start(&world, &["18000:http", ":8001"]);
    assert_eq!(forward.port("127.0.0.1", 8000), 18000);
    assert_eq!(forward.port("[::1]", 8000), 18000);
    let free = forward.port("127.0.0.1", 8001);
    assert_eq!(forward.port("[::1]", 8001), free);
    for (ip, port, page) in
        [("127.0.0.1", 18000, "four"), ("::1", 18000, "four"), ("127.0.0.1", free, "six"), ("::1", free, "six")]
    {
        let answer = world.page(ip, port);
        assert!(answer.ends_with(&format!("{page}\n")), "{ip} {port}: {answer}");
        assert_eq!(forward.says(), format!("Handling connection for {port}"));
    }
    // Taken ports: one of several is told, all are an error.
    let taken = world.output(&["port-forward", "web", "18000:8000"]);
    let said = text(&taken);
    assert_eq!(taken.status.code(), Some(1), "{said}");
    assert!(said.contains("Unable to listen on port 18000: Listeners failed to create with the following errors: [unable to create listener: Error listen tcp4 127.0.0.1:18000: bind: address already in use unable to create listener: Error listen tcp6 [::1]:18000: bind: address already in use]\n"), "{said}");
    assert!(said.contains("error: unable to listen on any of the requested ports: [{18000 8000}]\n"), "{said}");
    signal(forward.child.id(), Signal::INT);
    assert_eq!(forward.end(), (Some(0), String::new()));
}

#[test]
fn e2e_a_forward_tells_of_what_does_not_answer_and_ends_with_the_pod() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    world.commit(&[("pod.yaml", POD)]);
    world.start();
    world.wait_row("web", "1/1", "Running");
    for (args, words) in [
        (&["port-forward", "web", "dns"][..], "error: UDP protocol is not supported for dns\n"),
        (&["port-forward", "web", "no-such"], "error: Pod 'web' does not have a named port 'no-such'\n"),
        (&["port-forward", "nope", "80"], "Error from server (NotFound): pods \"nope\" not found\n"),
        (&["port-forward", "web", "80", "--address", "example.org"], "error: example.org is not a valid IP\n"),
    ] {
        let said = world.output(args);
        assert_eq!((said.status.code(), text(&said).as_str()), (Some(1), words), "{args:?}");
    }
    let mut forward = Forward::start(&world, &["--address=127.0.0.1", "0:7"]);
    let port = forward.port("127.0.0.1", 7);
    assert_eq!(world.page("127.0.0.1", port), "", "nothing listens there");
    assert_eq!(forward.says(), format!("Handling connection for {port}"));
    run(world.git().args(["rm", "-q", "pod.yaml"]));
    world.commit(&[("other.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n")]);
    let (code, said) = forward.end();
    assert_eq!(code, Some(1), "{said}");
    let refused = format!(
        "error: an error occurred forwarding {port} -> 7: failed to connect to localhost:7 inside the network of pod web, IPv4: connection refused, IPv6: connection refused\n"
    );
    assert_eq!(said, format!("{refused}error: lost connection to pod\n"));
}
