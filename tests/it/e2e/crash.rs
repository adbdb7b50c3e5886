//! The agent killed at every effect it has on the machine: whatever was cut short, the next agent comes to the same end, and
//! nothing is left behind.
//!
//! A world goes through phases. In each, the agent is started again and again, and dies at the first fault point (see
//! src/sys/effect) that it has not died at in this phase, until there is none left. Then the machine must look as it looks
//! when nobody was killed. A point is an effect with its place, before or after; the second of two equal ones in a phase is
//! passed. All of it is in memory, so that a few hundred agents do not wait for a disk.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::harness::{World, signal};
use super::picture::picture;
use crate::support;

/// For one phase on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(400);
/// An agent that did nothing for so long waits for something.
const QUIET: Duration = Duration::from_millis(400);

const PODS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {key: VALUE}
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
  volumes:
  - {name: config, configMap: {name: settings}}
  - {name: keys, secret: {secretName: token}}
  - {name: disk, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory}}
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
    ports: [{containerPort: 8080, hostPort: 8080}]
    volumeMounts:
    - {name: config, mountPath: /config}
    - {name: keys, mountPath: /keys}
    - {name: disk, mountPath: /part, subPath: part}
    - {name: memory, mountPath: /memory}
"#;

/// A revision without the pod: one without any manifest is refused.
const OTHER: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {key: two}\n";

fn pods(value: &str, command: &str, cpu: &str) -> String {
    PODS.replace("VALUE", value).replace("COMMAND", command).replace("CPU", cpu)
}

/// What is changed, and what tells that the change has been made.
struct Phase {
    name: &'static str,
    change: fn(&World),
    is_done: fn(&World) -> bool,
}

const PHASES: &[Phase] = &[
    Phase { name: "create", change: |w| w.commit(&[("pods.yaml", &pods("one", "100000", "500m"))]), is_done: is_ready },
    Phase {
        name: "update in place",
        change: |w| w.commit(&[("pods.yaml", &pods("two", "100000", "250m"))]),
        is_done: |w| is_ready(w) && holds_value(w, "two") && has_quota(w, "25000"),
    },
    Phase { name: "restart", change: kill_app, is_done: |w| is_ready(w) && restarts(w) == Some(1) },
    Phase {
        name: "recreate",
        change: |w| w.commit(&[("pods.yaml", &pods("two", "200000", "250m"))]),
        is_done: |w| is_ready(w) && restarts(w) == Some(0),
    },
    Phase {
        name: "remove",
        change: |w| w.commit(&[("pods.yaml", OTHER)]),
        is_done: |w| is_applied(w) && has_no_pod(w),
    },
];

fn status(world: &World) -> String {
    std::fs::read_to_string(world.repo().join("status.yaml")).unwrap_or_default()
}

fn head(world: &World) -> String {
    std::fs::read_to_string(world.repo().join(".git/refs/heads/main")).unwrap().trim().to_owned()
}

fn is_applied(world: &World) -> bool {
    let status = status(world);
    status.contains(&format!("lastAppliedRevision: {}", head(world))) && status.contains("reason: Succeeded")
}

fn is_ready(world: &World) -> bool {
    is_applied(world) && status(world).contains("ready: 1/1") && world.identities().len() == 1
}

fn has_no_pod(world: &World) -> bool {
    std::fs::read_dir(world.root().join("pods")).is_ok_and(|mut pods| pods.next().is_none())
}

fn restarts(world: &World) -> Option<u32> {
    status(world).lines().find_map(|line| line.trim().strip_prefix("restarts: ")?.parse().ok())
}

/// The directory of the only pod below one of the root's.
fn only_pod(world: &World, place: &str) -> Option<PathBuf> {
    std::fs::read_dir(world.root().join(place)).ok()?.flatten().map(|e| e.path()).next()
}

fn holds_value(world: &World, value: &str) -> bool {
    let file = only_pod(world, "volumes").map(|pod| pod.join("config/key"));
    file.and_then(|file| std::fs::read_to_string(file).ok()).is_some_and(|text| text == value)
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

fn instance(world: &World) -> String {
    std::fs::read_to_string(world.root().join("instance")).unwrap().trim().to_owned()
}

fn kill_app(world: &World) {
    let identities = world.identities();
    let (pid, _) = identities.values().next().expect("a container that runs");
    signal(u32::try_from(*pid).unwrap(), Signal::KILL);
    world.wait("its end", || world.identities().is_empty().then_some(()));
}

fn points(world: &World) -> PathBuf {
    world.scratch().join("points")
}

fn count(world: &World) -> usize {
    std::fs::read_to_string(points(world)).unwrap_or_default().lines().count()
}

/// What happens to the agent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing, but its points are written down.
    Record,
    Kill,
}

impl Fault {
    fn value(self, points: &Path) -> String {
        let points = points.display();
        match self {
            Fault::Record => format!("agent:record:{points}"),
            Fault::Kill => format!("agent:kill:{points}"),
        }
    }
}

/// Brings a phase to its end. How many points there were.
fn settle(world: &mut World, phase: &Phase, fault: Fault) -> usize {
    let _ = std::fs::remove_file(points(world));
    (phase.change)(world);
    world.set_fault(Some(fault.value(&points(world))));
    let deadline = Instant::now() + PATIENCE;
    while !live(world, phase, deadline) {}
    count(world)
}

/// Whether the agent has begun.
fn answers(world: &World) -> bool {
    std::os::unix::net::UnixStream::connect(world.root().join("run/api.sock")).is_ok()
}

/// One agent: whether it brought the phase to its end and then ended in peace.
fn live(world: &mut World, phase: &Phase, deadline: Instant) -> bool {
    world.spawn();
    let mut done = None;
    loop {
        if let Some(status) = world.ended() {
            assert!(status.code().is_none(), "{}: {status}\n{}", phase.name, world.log());
            return false;
        }
        // What is done may have been done by an agent before: this one is to have looked at everything.
        if (phase.is_done)(world) && answers(world) {
            if done.get_or_insert_with(Instant::now).elapsed() > QUIET {
                return world.stop() == Some(0);
            }
        } else {
            done = None;
        }
        if Instant::now() > deadline {
            let last = std::fs::read_to_string(points(world)).unwrap_or_default();
            let last: Vec<&str> = last.lines().rev().take(5).collect();
            panic!("{} has no end; the last points: {last:?}\n{}\n{}", phase.name, status(world), world.log());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether this program has fault points, and the machine what the phases need.
fn can_run() -> bool {
    if !cfg!(debug_assertions) {
        support::skip("a release has no fault points");
        return false;
    }
    true
}

fn differences(expected: &BTreeSet<String>, found: &BTreeSet<String>) -> Vec<String> {
    let gone = expected.difference(found).map(|line| format!("- {line}"));
    gone.chain(found.difference(expected).map(|line| format!("+ {line}"))).collect()
}

#[test]
fn e2e_an_agent_killed_at_every_effect_comes_to_the_same_end() {
    if !can_run() {
        return;
    }
    let (Some(mut peaceful), Some(mut world)) = (World::in_memory(), World::in_memory()) else { return };
    for phase in PHASES {
        let before = (peaceful.identities(), world.identities());
        let all = settle(&mut peaceful, phase, Fault::Record);
        let began = Instant::now();
        let met = settle(&mut world, phase, Fault::Kill);
        println!("{}: {met} points of {all}, {} s", phase.name, began.elapsed().as_secs());
        let left = differences(&picture(&peaceful), &picture(&world));
        assert!(left.is_empty(), "after {}: {left:#?}\n{}", phase.name, world.log());
        if phase.name == "update in place" {
            assert_eq!(before, (peaceful.identities(), world.identities()), "a container was restarted");
        }
    }
}
