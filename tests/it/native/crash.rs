//! Shims that die or fail at every effect they have, and records of other versions.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount, umount};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use podwright::backend::native::{Native, NativeOptions};
use podwright::model::{ContainerState, ExitRecord, Signal, SignalOrder};
use podwright::port::{ContainerBackend, ErrorKind};
use podwright::sys::{cgroup, lock};
use serde_json::{Value, json};

use super::fixture::{Root, TestPod, on_root, until};
use crate::e2e::harness::walk;
use crate::support::images::{Layer, oci_archive};
use crate::{points, support};

/// Where the shims of a test write their fault points: set for the process that starts them.
pub const POINTS: &str = "PODWRIGHT_TEST_POINTS";

/// Whether this is the process of a test that is steered, or none can be.
pub fn is_steered() -> Option<bool> {
    if std::env::var_os(POINTS).is_some() {
        return Some(true);
    }
    if !support::e2e() {
        return None;
    }
    if !cfg!(debug_assertions) {
        support::skip("a release has no fault points");
        return None;
    }
    Some(false)
}

/// Runs a test again in a process of its own that is steered so (src/sys/effect/fault.rs), with these points met already.
/// Which ones are then, and the effects that they are points of.
pub fn steered_test(name: &str, steering: &str, passed: &str) -> (String, BTreeSet<String>) {
    let temp = tempfile::tempdir().unwrap();
    let points = temp.path().join("points");
    std::fs::write(&points, passed).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env(POINTS, &points);
    command.env("PODWRIGHT_FAULT", format!("{steering}:{}", points.display()));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let met = std::fs::read_to_string(&points).unwrap();
    (points::plain(&met), points::effects(&met))
}

fn steered(name: &str, steering: &str, passed: &str) -> String {
    steered_test(&format!("native::crash::{name}"), steering, passed).0
}

/// Every effect failing once, with each of these errors: ENOSPC, EIO and EROFS.
pub const FAILS: [&str; 3] = ["fail:28", "fail:5", "fail:30"];

/// Runs a test again in processes of its own, side by side, whose shims are steered so. `false` in those processes.
/// Those that are killed are at every effect of this list.
fn in_processes_of_its_own(name: &str, steerings: &[&str], list: &str) -> bool {
    match is_steered() {
        Some(true) => return false,
        Some(false) => {}
        None => return true,
    }
    let go = |steering: &str| {
        let (met, effects) = steered_test(&format!("native::crash::{name}"), &format!("shim:{steering}"), "");
        println!("{steering}: {} points", met.lines().count());
        if steering == "kill" {
            points::check(list, &effects);
        }
        for one in [
            "mount #/bundle/rootfs",
            "place mount rootfs/dev/shm",
            "create container",
            "rename app/#/started.json",
            "start container",
            "exec monitor",
        ] {
            assert!(met.contains(&format!("before {one}\n")), "{one} is not among {met}");
        }
    };
    std::thread::scope(|scope| {
        for steering in steerings {
            scope.spawn(move || go(steering));
        }
    });
    true
}

/// Starts the container, from this attempt on, until it runs and its shim has become a monitor. How each instance before ended.
pub async fn start_until_it_runs(
    root: &Root,
    native: &podwright::backend::native::Native,
    pod: &TestPod,
    first: usize,
) -> Vec<ExitRecord> {
    let mut ends = Vec::new();
    loop {
        let attempt = u32::try_from(first + ends.len()).unwrap();
        let started = native.start_container(pod.key(), &pod.plan("app", attempt)).await;
        // Started, and then what started it may still have died before it was a monitor.
        let container = until("the start to be over", async || {
            let container = pod.container(native, "app").await;
            match container.state {
                ContainerState::Running { .. } => is_watched(root, pod, attempt).then_some(container),
                _ => Some(container),
            }
        });
        let container = container.await;
        let group = format!("{}/app-{attempt}", root.cgroup(pod));
        match container.state {
            ContainerState::Running { .. } => {
                started.unwrap();
                return ends;
            }
            ContainerState::Exited(exit) => ends.push(exit),
            ContainerState::Created => {
                assert_eq!(started.unwrap_err().kind, ErrorKind::Unavailable);
                assert!(cgroup::pids(&group).unwrap().is_empty(), "something of it is left");
                native.reap_container(pod.key(), "app", attempt).await.unwrap();
                assert_eq!(pod.look(native).await.latest("app").filter(|c| c.record.attempt == attempt), None);
            }
            ContainerState::Lost => {
                native.reap_container(pod.key(), "app", attempt).await.unwrap();
                ends.push(pod.exit(native, "app").await);
            }
        }
        assert!(cgroup::pids(&group).unwrap().is_empty(), "something of it is left");
    }
}

/// Whether the monitor of an instance is the program it is to be.
fn is_watched(root: &Root, pod: &TestPod, attempt: u32) -> bool {
    let started = std::fs::read(root.instance_dir(pod, "app", attempt).join("started.json")).unwrap_or_default();
    let started: Value = serde_json::from_slice(&started).unwrap_or_default();
    let name = std::fs::read_to_string(format!("/proc/{}/comm", started["monitorPid"])).unwrap_or_default();
    name.trim() == "podwright-mon"
}

const SCRIPT: &str = "env; echo up; exec sleep 1000";

/// The pod of these tests: files are bound, and the environment is told.
fn pod() -> TestPod {
    TestPod::script("web", SCRIPT)
}

/// The image that a pod has as a volume.
const FILES: &str = "example.com/files:1";

/// The same pod with that volume in its container.
fn with_files(mut spec: Value) -> Value {
    spec["volumes"] = json!([{ "name": "files", "image": { "reference": FILES } }]);
    spec["containers"][0]["volumeMounts"] =
        json!([{ "name": "files", "mountPath": "/files", "subPath": "dir", "readOnly": true }]);
    spec
}

/// Pods that differ in what a shim does for them: nothing but what all have; a terminal, and a root file system that is
/// read-only; streams that are a user's, and the machine's devices; an image as a volume.
fn pods() -> [TestPod; 4] {
    let command = ["/bin/sh", "-c", SCRIPT];
    let terminal = json!({
        "name": "app", "command": command, "stdin": true, "tty": true,
        "securityContext": { "readOnlyRootFilesystem": true }
    });
    let user = json!({
        "name": "app", "command": command, "stdin": true,
        "securityContext": { "runAsUser": 1, "privileged": true }
    });
    [
        pod(),
        TestPod::new("web", json!({ "containers": [terminal] })),
        TestPod::new("web", json!({ "containers": [user] })),
        TestPod::new("web", with_files(json!({ "containers": [{ "name": "app", "command": command }] }))),
    ]
}

/// What is left when the shims of these pods, one after the other, were through with their points.
async fn through(root: &Root, pods: &[TestPod]) -> Vec<ExitRecord> {
    // A directory and a file that containers do not get to see.
    let covered = ["covered", "hidden"].map(|name| root.temp.path().join(name));
    std::fs::create_dir_all(&covered[0]).unwrap();
    std::fs::write(&covered[1], "").unwrap();
    let native = Native::open(NativeOptions { covered: covered.to_vec(), ..root.options() }).unwrap();
    let archive = oci_archive(FILES, &[Layer::new().dir("dir/").file("dir/file", "of the image").tar()], json!({}));
    native.images().load(archive.as_slice(), None).unwrap();
    let mut all = Vec::new();
    for pod in pods {
        pod.create(&native).await;
        let ends = start_until_it_runs(root, &native, pod, 0).await;
        let log = pod.wait_log(&native, "app", "up").await;
        assert!(!log.contains("PODWRIGHT"), "the container is told what steers its shim: {log}");
        let infra = format!("/podwright-{}/monitors", root.instance);
        assert_eq!(cgroup::pids(&infra).unwrap().len(), 1, "one monitor, and no shim");
        pod.remove(&native).await;
        root.check_pods_are_gone();
        all.extend(ends);
    }
    native.teardown_root().await.unwrap();
    all
}

/// No container ran without a mount that could not be placed within its root: each such failure is told of a start.
fn check_mounts(ends: &[ExitRecord]) {
    const STEPS: [&str; 4] = ["mounting ", "making read-only ", "hiding ", "showing the device "];
    let met = points::plain(&std::fs::read_to_string(std::env::var_os(POINTS).unwrap()).unwrap());
    let starts = ["before place mount rootfs/", "before place mount bundle/rootfs/", "before place mount fs/cgroup/"];
    let failed = met.lines().filter(|point| starts.iter().any(|start| point.starts_with(start))).count();
    let is_told = |exit: &&ExitRecord| exit.message.as_ref().is_some_and(|m| STEPS.iter().any(|step| m.contains(step)));
    let told = ends.iter().filter(is_told).count();
    assert!(failed > 20 && told >= failed, "{told} starts failed at {failed} mounts: {ends:#?}");
}

#[test]
fn e2e_a_shim_killed_at_every_effect_leaves_nothing_and_is_tried_again() {
    const NAME: &str = "e2e_a_shim_killed_at_every_effect_leaves_nothing_and_is_tried_again";
    if in_processes_of_its_own(NAME, &["kill"], "shim") {
        return;
    }
    on_root(async |root| {
        for exit in through(root, &pods()).await {
            if exit.reason.as_deref() == Some("StartError") {
                // Not the shim: the container's first process, before it became the program. The shim says so.
                assert!(exit.message.unwrap().contains("ended before it could run its program"));
                continue;
            }
            // The program may have run: that is a restart. Nothing is, as long as it cannot have.
            assert_eq!(exit.reason.as_deref(), Some("ContainerStatusUnknown"));
            assert!(exit.started_at.is_some());
        }
    });
}

/// Where the kernel writes the memory of a process that crashes, by its `core_pattern`: the directory of that process. A shim's is
/// `/`; that of a container's first process is within the container.
fn images_of_memory(root: &Path) -> Vec<PathBuf> {
    let is_one =
        |path: &PathBuf| path.file_name().is_some_and(|name| name == "core" || name.as_bytes().starts_with(b"core."));
    let machine = std::fs::read_dir("/").unwrap().map(|entry| entry.unwrap().path());
    machine.chain(walk(root)).filter(is_one).collect()
}

/// What a container is told is in a shim's memory, and in that of the container's first process.
#[test]
fn e2e_a_shim_that_crashes_leaves_no_image_of_its_memory() {
    const NAME: &str = "e2e_a_shim_that_crashes_leaves_no_image_of_its_memory";
    match is_steered() {
        None => return,
        Some(false) => {
            let (met, _) = steered_test(&format!("native::crash::{NAME}"), "shim:abort%7", "");
            assert!(met.lines().count() > 10, "{met}");
            return;
        }
        Some(true) => {}
    }
    setrlimit(Resource::RLIMIT_CORE, RLIM_INFINITY, RLIM_INFINITY).unwrap();
    on_root(async |root| {
        let before = images_of_memory(root.temp.path());
        let pod = pod();
        let native = root.open();
        pod.create(&native).await;
        let ends = start_until_it_runs(root, &native, &pod, 0).await;
        let after = images_of_memory(root.temp.path());
        after.iter().filter(|path| !before.contains(path)).for_each(|path| std::fs::remove_file(path).unwrap());
        assert_eq!(after, before);
        assert!(!ends.is_empty(), "no start has crashed");
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_shim_whose_effects_each_fail_once_says_so_and_leaves_nothing() {
    const NAME: &str = "e2e_a_shim_whose_effects_each_fail_once_says_so_and_leaves_nothing";
    if in_processes_of_its_own(NAME, &FAILS, "") {
        return;
    }
    on_root(async |root| {
        let ends = through(root, &pods()).await;
        check_mounts(&ends);
        for exit in ends {
            let reason = exit.reason.as_deref();
            assert!(matches!(reason, Some("StartError" | "ContainerStatusUnknown")), "{exit:?}");
            let message = exit.message.unwrap_or_default();
            assert!(reason != Some("StartError") || message.contains("(os error "), "{message}");
        }
    });
}

/// The pod of these tests with user ids of its own: one more process comes before the container's.
fn pod_with_users() -> TestPod {
    let command = json!(["/bin/sh", "-c", "env; echo up; exec sleep 1000"]);
    let spec = json!({ "hostUsers": false, "containers": [{ "name": "app", "command": command }] });
    TestPod::new("web", with_files(spec))
}

#[test]
fn e2e_a_shim_of_a_pod_with_users_of_its_own_killed_at_every_effect_leaves_nothing() {
    const NAME: &str = "e2e_a_shim_of_a_pod_with_users_of_its_own_killed_at_every_effect_leaves_nothing";
    if in_processes_of_its_own(NAME, &["kill"], "shim-with-users") {
        return;
    }
    on_root(async |root| {
        for exit in through(root, &[pod_with_users()]).await {
            assert!(matches!(exit.reason.as_deref(), Some("StartError" | "ContainerStatusUnknown")), "{exit:?}");
        }
    });
}

#[test]
fn e2e_a_shim_of_a_pod_with_users_of_its_own_whose_effects_each_fail_once_says_so() {
    const NAME: &str = "e2e_a_shim_of_a_pod_with_users_of_its_own_whose_effects_each_fail_once_says_so";
    if in_processes_of_its_own(NAME, &FAILS, "") {
        return;
    }
    on_root(async |root| {
        let ends = through(root, &[pod_with_users()]).await;
        check_mounts(&ends);
        for exit in ends {
            let message = exit.message.unwrap_or_default();
            assert!(exit.reason.as_deref() != Some("StartError") || message.contains("(os error "), "{message}");
        }
    });
}

/// Every record below a directory.
fn records(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        match entry.file_type().unwrap().is_dir() {
            true if path.ends_with("upper") || path.ends_with("rootfs") || path.ends_with("volumes") => {}
            true => found.extend(records(&path)),
            // With a dot it is room that is kept for a record.
            false if path.extension().is_some_and(|e| e == "json") && !is_hidden(&path) => found.push(path),
            false => {}
        }
    }
    found
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().unwrap().as_encoded_bytes().starts_with(b".")
}

fn edit(path: &Path, change: impl Fn(&mut serde_json::Map<String, Value>)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(value.as_object_mut().unwrap());
    std::fs::write(path, value.to_string()).unwrap();
}

#[test]
fn e2e_agents_of_the_version_before_and_of_the_next_adopt_the_same_pods() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = pod();
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        pod.wait_log(&native, "app", "up").await;
        let before = pod.look(&native).await;
        drop(native);
        let all = records(&root.state());
        for name in ["record.json", "sandbox.json", "started.json", "leases.json"] {
            assert!(all.iter().any(|path| path.ends_with(name)), "{name} is not among {all:?}");
        }
        // The next version writes more than this one knows.
        for path in &all {
            edit(path, |record| drop(record.insert("ofTheNextVersion".into(), json!({"some": ["thing"]}))));
        }
        assert_eq!(pod.look(&root.open()).await, before);
        // The first one wrote less: what is optional was not there.
        for path in all.iter().filter(|path| path.ends_with("app/0/record.json")) {
            edit(path, |record| {
                for member in ["data", "stopping", "imageSource", "volumeImages"] {
                    record.remove(member);
                }
            });
        }
        let native = root.open();
        assert_eq!(pod.look(&native).await, before);
        // What says that it cannot be understood is left as it is.
        let record = root.pod_dir(&pod).join("record.json");
        edit(&record, |record| drop(record.insert("version".into(), json!(99))));
        let error = podwright::backend::native::Native::open(root.options()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        edit(&record, |record| drop(record.insert("version".into(), json!(podwright::model::PodRecord::VERSION))));
        assert_eq!(pod.look(&native).await, before);
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_signal_that_could_not_be_sent_is_sent_at_a_later_try() {
    const NAME: &str = "e2e_a_signal_that_could_not_be_sent_is_sent_at_a_later_try";
    const KILL: &str = "before kill a process";
    match is_steered() {
        None => {}
        Some(false) => {
            let all = steered(NAME, "agent:record", "");
            assert!(all.contains(KILL), "{all}");
            let others: String = all.lines().filter(|point| *point != KILL).map(|point| format!("{point}\n")).collect();
            assert!(steered(NAME, "agent:fail:5", &others).contains(KILL), "it was sent at once");
        }
        Some(true) => on_root(async |root| {
            let native = root.open();
            let pod = TestPod::script("web", "trap 'exit 7' TERM; echo up; while true; do sleep 0.05; done");
            pod.create(&native).await;
            pod.start(&native, "app", 0).await;
            pod.wait_log(&native, "app", "up").await;
            let order = SignalOrder {
                name: "app".into(),
                attempt: 0,
                signal: Signal::Stop,
                grace_seconds: 100,
                reason: "a test".into(),
            };
            // What is planned for a container that was told is to wait for its end.
            let _ = native.signal_container(pod.key(), &order).await;
            assert_eq!(pod.exit(&native, "app").await.exit_code, 7);
            pod.remove(&native).await;
            native.teardown_root().await.unwrap();
        }),
    }
}

#[test]
fn e2e_only_the_container_that_a_signal_could_not_be_sent_to_is_told_again() {
    const NAME: &str = "e2e_only_the_container_that_a_signal_could_not_be_sent_to_is_told_again";
    match is_steered() {
        None => {}
        Some(false) => {
            let all = steered(NAME, "agent:record", "");
            let others = all.replace("before kill a process\n", "");
            assert!(others != all && steered(NAME, "agent:fail:5", &others) != others, "it was sent at once");
        }
        Some(true) => on_root(async |root| {
            let native = root.open();
            let script = |end| format!("trap '{end}' TERM; echo up; while true; do sleep 0.05; done");
            let container = |name, end| json!({"name": name, "command": ["/bin/sh", "-c", script(end)]});
            let pod =
                TestPod::new("web", json!({"containers": [container("a", "echo told"), container("b", "exit 7")]}));
            pod.create(&native).await;
            let order = |name: &str| SignalOrder {
                name: name.into(),
                attempt: 0,
                signal: Signal::Stop,
                grace_seconds: 100,
                reason: "a test".into(),
            };
            for name in ["a", "b"] {
                pod.start(&native, name, 0).await;
                pod.wait_log(&native, name, "up").await;
            }
            let _ = native.signal_container(pod.key(), &order("b")).await;
            native.signal_container(pod.key(), &order("a")).await.unwrap();
            pod.wait_log(&native, "a", "told").await;
            assert_eq!(pod.exit(&native, "b").await.exit_code, 7);
            assert_eq!(pod.log(&native, "a").await.matches("told").count(), 1);
            pod.remove(&native).await;
            native.teardown_root().await.unwrap();
        }),
    }
}

#[test]
fn e2e_a_signal_that_was_noted_and_not_sent_is_sent_by_the_next_agent() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let mut native = root.open();
        let pod = TestPod::script("web", "trap 'exit 7' TERM; echo up; while true; do sleep 0.05; done");
        pod.create(&native).await;
        for (attempt, killed_at, code) in [(0, None, 7), (1, Some(jiff::Timestamp::now()), 137)] {
            pod.start(&native, "app", attempt).await;
            pod.wait_log(&native, "app", "up").await;
            let stopping = json!({
                "since": jiff::Timestamp::now(), "graceSeconds": 100, "killedAt": killed_at, "reason": "a test"
            });
            let record = root.instance_dir(&pod, "app", attempt).join("record.json");
            edit(&record, |record| drop(record.insert("stopping".into(), stopping.clone())));
            native = root.open();
            assert_eq!(pod.exit(&native, "app").await.exit_code, code);
        }
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

/// What a power cut leaves of a container that runs: no process, and no more on the disk than was waited for.
fn cut_power(root: &Root, pod: &TestPod, boot: Option<&str>) {
    cgroup::kill_all(&format!("/podwright-{}/monitors", root.instance)).unwrap();
    cgroup::kill_all(&group(root, pod)).unwrap();
    let dir = root.instance_dir(pod, "app", 0);
    std::fs::remove_file(dir.join("started.json")).unwrap();
    if let Some(boot) = boot {
        edit(&dir.join("record.json"), |record| drop(record.insert("bootId".into(), json!(boot))));
    }
}

#[test]
fn e2e_an_instance_of_an_earlier_boot_may_have_run() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = pod();
        pod.create(&native).await;
        for boot in [None, Some("00000000-0000-0000-0000-000000000000")] {
            pod.start(&native, "app", 0).await;
            pod.wait_log(&native, "app", "up").await;
            cut_power(root, &pod, boot);
            let state = pod.container(&native, "app").await.state;
            native.reap_container(pod.key(), "app", 0).await.unwrap();
            if boot.is_none() {
                // Of this boot the start would be on record.
                assert!(matches!(state, ContainerState::Created), "{state:?}");
                assert_eq!(pod.look(&native).await.latest("app"), None);
            } else {
                assert!(matches!(state, ContainerState::Lost), "{state:?}");
                let exit = pod.exit(&native, "app").await;
                assert_eq!(
                    (exit.exit_code, exit.started_at.is_some()),
                    (137, true),
                    "it runs again as its policy says"
                );
            }
        }
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_an_instance_whose_records_a_power_cut_took_may_have_run() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = pod();
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        cut_power(root, &pod, None);
        std::fs::write(root.instance_dir(&pod, "app", 0).join("record.json"), "").unwrap();
        // Also when the record was written anew.
        for _ in 0..2 {
            assert_eq!(pod.container(&native, "app").await.state, ContainerState::Lost);
        }
        native.reap_container(pod.key(), "app", 0).await.unwrap();
        assert_eq!(pod.exit(&native, "app").await.exit_code, 137);
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_start_whose_agent_and_shim_are_gone_before_its_record_is_reaped() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = pod();
        pod.create(&native).await;
        // As the first process of a container is left behind: it waits to be started, and has the lock as its shim had it.
        let (dir, group) = (root.instance_dir(&pod, "app", 0), group(root, &pod));
        std::fs::create_dir_all(&dir).unwrap();
        let held = lock::acquire(&dir.join("lock")).unwrap().unwrap();
        let mut left = Command::new("sleep").arg("1000").stdin(held).spawn().unwrap();
        cgroup::create(&group).unwrap();
        cgroup::enter(&group, left.id().try_into().unwrap()).unwrap();
        // It may be a start that goes on; that is waited for.
        tokio::time::pause();
        assert_eq!(pod.container(&native, "app").await.state, ContainerState::Created);
        tokio::time::resume();
        native.reap_container(pod.key(), "app", 0).await.unwrap();
        assert!(!left.wait().unwrap().success());
        assert_eq!(pod.look(&native).await.latest("app"), None);
        pod.start(&native, "app", 0).await;
        pod.wait_log(&native, "app", "up").await;
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

/// The cgroup of the first instance.
fn group(root: &Root, pod: &TestPod) -> String {
    format!("{}/app-0", root.cgroup(pod))
}

/// Lets the record of an instance not be written: the file where its bytes go first is always full.
fn block_record(dir: &Path) -> PathBuf {
    let place = dir.join(".record.json");
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(&place, "").unwrap();
    mount(Some("/dev/full"), &place, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    place
}

#[test]
fn e2e_a_start_that_cannot_be_recorded_has_not_failed_and_leaves_nothing() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = pod();
        pod.create(&native).await;
        let dir = root.instance_dir(&pod, "app", 0);
        let blocked = block_record(&dir);
        let error = native.start_container(pod.key(), &pod.plan("app", 0)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Exhausted, "{error}");
        assert!(!lock::is_held(&dir.join("lock")).unwrap(), "its shim has not ended");
        assert!(cgroup::pids(&group(root, &pod)).unwrap().is_empty());
        assert!(!dir.join("exit.json").exists(), "it is tried again");
        assert_eq!(pod.look(&native).await.containers, []);
        umount(&blocked).unwrap();
        pod.start(&native, "app", 0).await;
        pod.wait_log(&native, "app", "up").await;
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_record_that_cannot_be_written_anew_hides_nothing() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::script("web", "exit 7");
        pod.run(&native).await;
        let dir = root.instance_dir(&pod, "app", 0);
        let blocked = block_record(&dir);
        for damage in [Some("{"), None] {
            match damage {
                Some(text) => std::fs::write(dir.join("record.json"), text).unwrap(),
                None => assert!(!dir.join("record.json").exists()),
            }
            assert_eq!(native.list().await.unwrap().len(), 1, "one record stops no round");
            assert_eq!(pod.exit(&native, "app").await.exit_code, 7);
        }
        umount(&blocked).unwrap();
        pod.look(&native).await;
        assert!(dir.join("record.json").exists());
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}
