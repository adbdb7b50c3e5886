//! Monitors that die or fail at every effect they have while they watch: the log, its rotation, the last words, the exit record.

use std::sync::Arc;

use podwright::backend::native::{Native, NativeOptions};
use podwright::model::{ContainerState, ExitRecord};
use podwright::port::ContainerBackend;
use podwright::shim::LogLimits;
use podwright::sys::{cgroup, lock};
use serde_json::json;

use super::crash::{FAILS, POINTS, is_steered, steered_test};
use super::fixture::{Root, TestPod, on_root, until};
use crate::points;

/// What a monitor has to do at the least.
const EFFECTS: &[&str] = &[
    "write log",
    "create log.new",
    "link log.1",
    "rename log.new",
    "rename an older log",
    "unlink the oldest log",
    "kill a process",
    "create termination-log",
    "write termination-log",
    "sync termination-log",
    "rmdir cgroup",
    "create .exit.json",
    "write .exit.json",
    "truncate .exit.json",
    "sync .exit.json",
    "rename exit.json",
    "sync its directory",
];
const CODE: i32 = 7;

fn steered(name: &str, steering: &str, passed: &str) -> String {
    steered_test(&format!("native::monitor::{name}"), &format!("monitor:{steering}"), passed).0
}

/// A pod whose container logs more than is kept of it, leaves a process behind and last words.
fn pod() -> TestPod {
    let script = "sleep 1000 & for n in 1 2 3 4 5 6 7 8; do printf '%0700d\\n' $n; sleep 0.01; done; \
                  printf words > /dev/termination-log; echo done; exit 7";
    let app = json!({ "name": "app", "command": ["/bin/sh", "-c", script] });
    TestPod::new("web", json!({ "shareProcessNamespace": true, "containers": [app] }))
}

fn open(root: &Root) -> Arc<Native> {
    let log_limits = LogLimits { max_size: 600, max_files: 3 };
    Native::open(NativeOptions { log_limits, ..root.options() }).unwrap()
}

/// The points that were met in this process.
fn met() -> String {
    std::fs::read_to_string(std::env::var_os(POINTS).unwrap()).unwrap()
}

/// Starts an instance and waits until nobody watches it any more: how it ended. Nothing that runs is left of it.
async fn run(root: &Root, native: &Native, pod: &TestPod, attempt: u32) -> ExitRecord {
    pod.start(native, "app", attempt).await;
    let state = until("its end", async || {
        let container = pod.container(native, "app").await;
        assert_eq!(container.record.attempt, attempt);
        (!matches!(container.state, ContainerState::Running { .. })).then_some(container.state)
    });
    let state = state.await;
    // Its record has its name before its monitor has ended.
    let lock = root.instance_dir(pod, "app", attempt).join("lock");
    until("the end of its monitor", async || (!lock::is_held(&lock).unwrap()).then_some(())).await;
    if matches!(state, ContainerState::Lost) {
        native.reap_container(pod.key(), "app", attempt).await.unwrap();
    }
    assert!(
        cgroup::pids(&format!("{}/app-{attempt}", root.cgroup(pod))).unwrap().is_empty(),
        "something of it is left"
    );
    pod.exit(native, "app").await
}

/// Runs one instance after the other until a monitor met no point that was new: how each ended.
async fn through(root: &Root) -> Vec<ExitRecord> {
    let (native, pod) = (open(root), pod());
    pod.create(&native).await;
    let mut ends = Vec::new();
    loop {
        let before = met();
        ends.push(run(root, &native, &pod, u32::try_from(ends.len()).unwrap()).await);
        if met() == before {
            break;
        }
    }
    assert!(pod.log(&native, "app").await.ends_with("done\n"));
    pod.remove(&native).await;
    root.check_pods_are_gone();
    native.teardown_root().await.unwrap();
    ends
}

/// Whether this is the process of the test that is steered, after the other one has looked at what its monitors met.
fn in_processes_of_its_own(name: &str, steerings: &[&str], whens: &[&str]) -> bool {
    match is_steered() {
        Some(true) => return true,
        Some(false) => {}
        None => return false,
    }
    for steering in steerings {
        let met = steered(name, steering, "");
        println!("{steering}: {} points", met.lines().count());
        if *steering == "kill" {
            let name = |point: &str| format!("monitor {}", point.split_once(' ').unwrap().1);
            points::check("monitor", &met.lines().map(name).collect());
        }
        for point in whens.iter().flat_map(|when| EFFECTS.iter().map(move |effect| format!("{when} {effect}"))) {
            assert!(met.lines().any(|line| line == point), "{point} is not among {met}");
        }
    }
    false
}

#[test]
fn e2e_a_monitor_killed_at_every_effect_leaves_nothing_and_its_container_is_lost_or_ended() {
    const NAME: &str = "e2e_a_monitor_killed_at_every_effect_leaves_nothing_and_its_container_is_lost_or_ended";
    if !in_processes_of_its_own(NAME, &["kill"], &["before", "after"]) {
        return;
    }
    on_root(async |root| {
        let ends = through(root).await;
        let (lost, ended): (Vec<_>, Vec<_>) = ends.iter().partition(|exit| exit.exit_code != CODE);
        for exit in &lost {
            assert_eq!((exit.exit_code, exit.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
            assert!(exit.started_at.is_some());
        }
        // After its record has its name the end is known: killed then, or not any more.
        let known = ["after rename exit.json", "before sync its directory", "after sync its directory"];
        assert_eq!(ended.len(), known.iter().filter(|point| met().contains(*point)).count() + 1, "{ends:?}");
    });
}

#[test]
fn e2e_a_monitor_whose_effects_each_fail_once_tells_the_end_of_its_container() {
    const NAME: &str = "e2e_a_monitor_whose_effects_each_fail_once_tells_the_end_of_its_container";
    if !in_processes_of_its_own(NAME, &FAILS, &["before"]) {
        return;
    }
    on_root(async |root| {
        for exit in through(root).await {
            assert_eq!((exit.exit_code, exit.signal, exit.reason), (CODE, None, None));
        }
    });
}

#[test]
fn e2e_what_a_monitor_can_never_write_holds_nobody_up_for_ever() {
    const NAME: &str = "e2e_what_a_monitor_can_never_write_holds_nobody_up_for_ever";
    match is_steered() {
        None => {}
        Some(false) => {
            let all = steered(NAME, "record", "");
            // The exit record, with each error; and everything of the log.
            std::thread::scope(|scope| {
                for (refused, number) in [(".exit.json", 28), (".exit.json", 5), (".exit.json", 30), (" log", 28)] {
                    let passed: String = all
                        .lines()
                        .filter(|point| !point.contains(refused))
                        .map(|point| format!("{point}\n"))
                        .collect();
                    assert_ne!(passed, all);
                    scope.spawn(move || steered(NAME, &format!("refuse:{number}"), &passed));
                }
            });
        }
        Some(true) => on_root(async |root| {
            let (native, pod) = (open(root), pod());
            pod.create(&native).await;
            let exit = run(root, &native, &pod, 0).await;
            let is_refused = std::env::var("PODWRIGHT_FAULT").unwrap().contains("refuse");
            match is_refused && !met().contains(".exit.json") {
                true => {
                    assert_eq!((exit.exit_code, exit.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
                    let message = "The container's monitor is gone and left no exit record";
                    assert_eq!(exit.message.as_deref(), Some(message));
                }
                false => assert_eq!((exit.exit_code, exit.reason), (CODE, None)),
            }
            let is_logged = pod.log(&native, "app").await.ends_with("done\n");
            assert_eq!(is_logged, !is_refused || met().contains("write log"));
            pod.remove(&native).await;
            native.teardown_root().await.unwrap();
        }),
    }
}
