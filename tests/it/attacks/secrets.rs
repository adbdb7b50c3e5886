//! What the root of a container does to Secrets and ConfigMaps under an agent: the links of its own, the memory that they are
//! in, and the tokens of other pods.

use std::fs;
use std::io::ErrorKind;

use podwright::sys::mount;

use crate::e2e::harness::World;

const PODS: &str = r#"apiVersion: v1
kind: Pod
metadata: {name: owner}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: busybox, command: [sleep, "100000"], volumeMounts: [{name: secret, mountPath: /secret}]}
  volumes: [{name: secret, secret: {secretName: secret}}]
---
apiVersion: v1
kind: Pod
metadata: {name: attacker}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: busybox
    command: [sleep, "100000"]
    volumeMounts:
    - {name: secret, mountPath: /secret}
    - {name: config, mountPath: /config}
    - {name: memory, mountPath: /memory}
  volumes:
  - {name: secret, secret: {secretName: secret}}
  - {name: config, configMap: {name: config}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: spy}
spec:
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  hostPID: true
  containers:
  - {name: c, image: busybox, command: [sleep, "100000"]}
"#;

fn data(text: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: secret}}\nstringData: {{key: {text}}}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config}}\ndata: {{key: {text}}}\n"
    )
}

const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Has the data of a volume come from elsewhere; tells whether it does.
const SWAP: &str = r#"swap() { mount -o remount,rw "$1"; mkdir /tmp/evil; echo evil >/tmp/evil/key; rm "$1/..data"; \
ln -s /tmp/evil "$1/..data"; ln -s /tmp/evil "$1/..data_tmp"; mv "$1/key" "$1/was"; }; swap PLACE 2>/dev/null; \
if [ "$(readlink PLACE/..data)" = /tmp/evil ]; then echo swapped; else echo kept; fi"#;

/// Fills a directory; tells whether anything got there.
const FILL: &str = "dd if=/dev/zero of=PLACE/full bs=64k count=1000 2>/dev/null; \
                    if [ -s PLACE/full ]; then echo filled; else echo empty; fi";

/// Reads the token of whatever process there is.
const READ: &str = "for p in /proc/[0-9]*; do cat $p/rootTOKEN 2>/dev/null && echo; done; true";

#[test]
fn e2e_the_root_of_a_container_swaps_no_data_fills_no_secrets_and_reads_no_other_pods_token() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    world.commit(&[("pods.yaml", PODS), ("data.yaml", &data("old"))]);
    world.start();
    for pod in ["owner", "attacker", "spy"] {
        world.wait_row(pod, "1/1", "Running");
    }
    let attack =
        |script: &str, place: &str| world.exec("attacker", "c", &["sh", "-c", &script.replace("PLACE", place)]);
    let read = |pod: &str, path: &str| world.exec(pod, "c", &["cat", path]);

    // The links of what it is given. The control is a copy in memory that is its own.
    attack("mkdir -p /tmp; cp -a /secret /memory/copy", "");
    for place in ["/secret", "/config", TOKEN.strip_suffix("/token").unwrap()] {
        assert_eq!(attack(SWAP, place), "kept\n", "{place}");
        assert_eq!(attack(FILL, place), "empty\n", "{place}");
    }
    assert_eq!(attack(SWAP, "/memory/copy"), "swapped\n");

    // As much memory as it gets: a Secret still changes, in its own volume too.
    assert_eq!(attack(FILL, "/memory"), "filled\n");
    assert_ne!(attack("echo more 2>&1 >/memory/more; true", ""), "", "it is full");
    world.commit(&[("data.yaml", &data("new"))]);
    for (pod, path) in [("owner", "/secret/key"), ("attacker", "/secret/key"), ("attacker", "/config/key")] {
        world.wait(path, || (read(pod, path) == "new").then_some(()));
    }
    // The control: where all are in one memory, nothing changes any more.
    let naive = world.scratch().join("naive");
    fs::create_dir(&naive).unwrap();
    mount::tmpfs(&naive, 1 << 20, 0o755).unwrap();
    let filled = fs::write(naive.join("full"), vec![0; 2 << 20]);
    let changed = fs::write(naive.join("key"), "new");
    mount::unmount(&naive).unwrap();
    assert_eq!([filled, changed].map(|done| done.unwrap_err().kind()), [ErrorKind::StorageFull; 2]);

    // The token of another pod, by the processes that have it. The control sees the machine's, as its manifest asks.
    let (own, other) = (read("attacker", TOKEN), read("owner", TOKEN));
    let script = READ.replace("TOKEN", TOKEN);
    let found = |pod: &str| world.exec(pod, "c", &["sh", "-c", &script]);
    let stolen = found("attacker");
    assert!(stolen.lines().all(|token| token == own) && stolen.contains(&own) && own != other, "{stolen}");
    assert!(found("spy").lines().any(|token| token == other));
}
