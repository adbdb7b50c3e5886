//! Pods with `hostUsers: false` as a person meets them: the commands that go into a container, its network and its streams.

use super::harness::World;
use crate::support::terminal::Terminal;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  hostUsers: false
  shareProcessNamespace: true
  terminationGracePeriodSeconds: 0
  volumes:
  - {name: disk, emptyDir: {}}
  containers:
  - name: a
    image: busybox
    command: [sh, -c, "echo served > /disk/index.html; httpd -p 8080 -h /disk; exec sleep 100000"]
    volumeMounts: [{name: disk, mountPath: /disk}]
  - name: b
    image: busybox
    command: [sh, -c, "echo told > /dev/stdout; exec sleep 100000"]
    securityContext: {runAsUser: 1234, runAsGroup: 2345}
    volumeMounts: [{name: disk, mountPath: /disk}]
  - name: c
    image: busybox
    tty: true
    stdin: true
    command: [sh, -c, "stat -c '%u %a' $(tty); echo terminal > /dev/tty; exec sleep 100000"]
    securityContext: {runAsUser: 1234}
"#;

#[test]
fn e2e_commands_go_into_pods_with_users_of_their_own() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    world.commit(&[("pod.yaml", POD)]);
    world.start();
    world.wait_row("web", "3/3", "Running");
    assert_eq!(world.ok(&["logs", "web", "-c", "b"]), "told\n");
    let terminal = world
        .wait("the terminal", || Some(world.ok(&["logs", "web", "-c", "c"])).filter(|log| log.contains("terminal")));
    assert_eq!(terminal.replace('\r', ""), "1234 620\nterminal\n");
    // Exec and cp need no agent.
    world.kill();
    let who = |container: &str| {
        let script =
            "echo again > /dev/stderr; id -u; id -g; cat /proc/1/comm; touch /tmp/mine && stat -c %u /tmp/mine";
        world.exec("web", container, &["sh", "-c", script])
    };
    assert_eq!(who("a"), "0\n0\npause\n0\n");
    assert_eq!(who("b"), "1234\n2345\npause\n1234\n");
    assert_eq!(world.exec("web", "b", &["wget", "-qO-", "http://127.0.0.1:8080/"]), "served\n");
    let mut tty = Terminal::new();
    let script = "stat -c %u $(tty); echo through > /dev/tty";
    let mut child = tty.spawn(&mut world.podwright(&["exec", "-it", "web", "-c", "b", "--", "sh", "-c", script]));
    tty.shows("1234\r\nthrough\r\n");
    assert!(child.wait().unwrap().success());
    // To a volume and to the root file system, for root and for another user, and out again.
    let file = world.scratch().join("file");
    std::fs::write(&file, "copied\n").unwrap();
    std::os::unix::fs::chown(&file, Some(77), Some(88)).unwrap();
    let file = file.to_str().unwrap();
    for (container, place, owner) in [
        ("a", "/disk/one", "77:88"),
        ("a", "/tmp/one", "77:88"),
        ("b", "/disk/two", "1234:2345"),
        ("b", "/tmp/two", "1234:2345"),
    ] {
        world.ok(&["cp", file, &format!("web:{place}"), "-c", container]);
        let seen = world.exec("web", container, &["sh", "-c", &format!("cat {place}; stat -c %u:%g {place}")]);
        assert_eq!(seen, format!("copied\n{owner}\n"), "{place}");
        let back = world.scratch().join("back");
        world.ok(&["cp", &format!("web:{place}"), back.to_str().unwrap(), "-c", container]);
        assert_eq!(std::fs::read_to_string(back).unwrap(), "copied\n");
    }
    world.start();
    world.wait_row("web", "3/3", "Running");
    world.commit(&[("pod.yaml", &POD.replace("hostUsers: false", "hostUsers: true"))]);
    world.wait("the pod anew", || {
        let map = world.output(&["exec", "web", "-c", "a", "--", "cat", "/proc/self/uid_map"]);
        String::from_utf8_lossy(&map.stdout).contains("4294967295").then_some(())
    });
}
