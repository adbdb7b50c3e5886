//! What becomes of a pod with volumes, a port and limits, in phases: each changes something and tells when it is done.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::harness::{World, run, signal};
use super::picture;

const PODS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {key: VALUE, of-VALUE: x}
---
apiVersion: v1
kind: Secret
metadata: {name: token}
stringData: {secret: hidden}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {label: VALUE}}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsUser: 0, fsGroup: 4321}
  volumes:
  - {name: config, configMap: {name: settings}}
  - {name: keys, secret: {secretName: token}}
  - {name: disk, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory}}
  - {name: made, hostPath: {path: SCRATCH/machine/made, type: DirectoryOrCreate}}
  - {name: file, hostPath: {path: SCRATCH/file, type: FileOrCreate}}
  initContainers:
  - name: first
    image: podwright.invalid/host
    command: [sh, -c, "echo made > /disk/made"]
    volumeMounts: [{name: disk, mountPath: /disk}]
  containers:
  - name: app
    image: podwright.invalid/host
    command: [sleep, "COMMAND"]
    resources: {limits: {cpu: CPU, memory: 64Mi}}
    ports: [{containerPort: 8080, hostPort: 8080}, {containerPort: 53, hostPort: 8053, protocol: UDP}]
    volumeMounts:
    - {name: config, mountPath: /config}
    - {name: config, mountPath: /key, subPath: key}
    - {name: keys, mountPath: /keys}
    - {name: disk, mountPath: /part, subPath: part}
    - {name: memory, mountPath: /memory}
    - {name: made, mountPath: /made}
    - {name: file, mountPath: /file}
"#;

/// A revision without the pod: one without any manifest is refused.
const OTHER: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {key: two}\n";

fn pods(world: &World, value: &str, command: &str, cpu: &str) -> String {
    let scratch = world.scratch().display().to_string();
    PODS.replace("VALUE", value).replace("COMMAND", command).replace("CPU", cpu).replace("SCRATCH", &scratch)
}

/// Begins a conversation with the pod's port of UDP that does not end by itself.
fn ask_by_udp(world: &World) {
    let ask = "echo 1000 > /proc/sys/net/netfilter/nf_conntrack_udp_timeout; echo > /dev/udp/127.0.0.1/8053";
    run(world.inside("bash").args(["-c", ask]));
    let is_told = Path::new("/proc/net/nf_conntrack").exists();
    assert!(!is_told || !picture::conversations(world).is_empty(), "the kernel knows of none");
}

/// What is changed, and what tells that the change has been made.
#[derive(Clone, Copy)]
pub struct Phase {
    pub name: &'static str,
    pub change: fn(&World),
    pub is_done: fn(&World) -> bool,
}

pub const CREATE: Phase = Phase {
    name: "create",
    change: |w| w.commit(&[("pods.yaml", &pods(w, "one", "100000", "500m"))]),
    is_done: is_ready,
};

pub const CREATE_WITH_USERS: Phase = Phase {
    name: "create with user ids of its own",
    change: |w| {
        let pods = pods(w, "one", "100000", "500m").replace("spec:\n  term", "spec:\n  hostUsers: false\n  term");
        w.commit(&[("pods.yaml", &pods)]);
    },
    is_done: is_ready,
};

pub const UPDATE: Phase = Phase {
    name: "update in place",
    change: |w| w.commit(&[("pods.yaml", &pods(w, "two", "100000", "250m"))]),
    is_done: |w| is_ready(w) && holds_value(w, "two") && has_quota(w, "25000"),
};

pub const RESTART: Phase =
    Phase { name: "restart", change: kill_app, is_done: |w| is_ready(w) && restarts(w) == Some(1) };

pub const RECREATE: Phase = Phase {
    name: "recreate",
    change: |w| {
        ask_by_udp(w);
        recreate(w);
    },
    is_done: |w| is_ready(w) && restarts(w) == Some(0),
};

/// The same where containers are restarted now and then.
pub const RECREATE_AMID_RESTARTS: Phase =
    Phase { change: recreate, is_done: |w| is_ready(w) && has_command(w, "200000"), ..RECREATE };

pub const REMOVE: Phase = Phase {
    name: "remove",
    change: |w| {
        ask_by_udp(w);
        remove(w);
    },
    is_done: |w| is_applied(w) && has_no_pod(w),
};

/// The same where the machine is started anew, which forgets all conversations: these machines are not in truth.
pub const REMOVE_AMID_RESTARTS: Phase = Phase { change: remove, ..REMOVE };

fn recreate(world: &World) {
    world.commit(&[("pods.yaml", &pods(world, "two", "200000", "250m"))]);
}

fn remove(world: &World) {
    world.commit(&[("pods.yaml", OTHER)]);
}

pub fn status(world: &World) -> String {
    std::fs::read_to_string(world.repo().join("status.yaml")).unwrap_or_default()
}

fn head(world: &World) -> String {
    std::fs::read_to_string(world.repo().join(".git/refs/heads/main")).unwrap().trim().to_owned()
}

fn is_applied(world: &World) -> bool {
    let status = status(world);
    status.contains(&format!("lastAppliedRevision: {}", head(world))) && status.contains("reason: Succeeded")
}

pub fn is_ready(world: &World) -> bool {
    is_applied(world) && status(world).contains("ready: 1/1") && world.identities().len() == 1
}

fn has_no_pod(world: &World) -> bool {
    std::fs::read_dir(world.root().join("pods")).is_ok_and(|mut pods| pods.next().is_none())
}

pub fn restarts(world: &World) -> Option<u32> {
    status(world).lines().find_map(|line| line.trim().strip_prefix("restarts: ")?.parse().ok())
}

/// The directory of the only pod below one of the root's.
pub fn only_pod(world: &World, place: &str) -> Option<PathBuf> {
    std::fs::read_dir(world.root().join(place)).ok()?.flatten().map(|e| e.path()).next()
}

fn holds_value(world: &World, value: &str) -> bool {
    let file = only_pod(world, "volumes").map(|pod| pod.join("config/key"));
    file.and_then(|file| std::fs::read_to_string(file).ok()).is_some_and(|text| text == value)
}

/// Whether the pod on record is the one with this command.
fn has_command(world: &World, command: &str) -> bool {
    let record = only_pod(world, "pods").map(|pod| pod.join("record.json"));
    record.and_then(|file| std::fs::read_to_string(file).ok()).is_some_and(|text| text.contains(command))
}

fn has_quota(world: &World, quota: &str) -> bool {
    let instance = instance(world);
    let cgroups = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let tops = cgroups.lines().filter(|l| l.contains(" - cgroup")).map(|l| l.split(' ').nth(4).unwrap());
    tops.flat_map(|top| super::harness::walk(&Path::new(top).join(format!("podwright-{instance}")))).any(|file| {
        let is_limit = ["cpu.cfs_quota_us", "cpu.max"].iter().any(|name| file.ends_with(name));
        is_limit && std::fs::read_to_string(&file).is_ok_and(|text| text.split_whitespace().next() == Some(quota))
    })
}

pub fn instance(world: &World) -> String {
    std::fs::read_to_string(world.root().join("instance")).unwrap().trim().to_owned()
}

fn kill_app(world: &World) {
    let identities = world.identities();
    let (pid, _) = identities.values().next().expect("a container that runs");
    signal(u32::try_from(*pid).unwrap(), Signal::KILL);
    world.wait("its end", || world.identities().is_empty().then_some(()));
}
