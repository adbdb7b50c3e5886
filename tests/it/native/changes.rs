//! Shims and monitors that die or fail at every effect that they have while a pod is updated in place, and while it is removed.

use std::sync::Arc;

use podwright::backend::native::Native;
use podwright::model::{ContainerState, Packed, Signal};
use podwright::port::ContainerBackend;
use podwright::sys::cgroup;
use serde_json::json;

use super::crash::{FAILS, POINTS, is_steered, start_until_it_runs, steered_test};
use super::fixture::{HOST, Root, TestPod, on_root, until};
use crate::points;

fn steered(name: &str, steering: &str, passed: &str) -> String {
    steered_test(&format!("native::changes::{name}"), steering, passed).0
}

/// Death and each error, and how many points are met at the least.
fn faults(who: &str, [deaths, errors]: [usize; 2]) -> Vec<(String, usize)> {
    let fails = FAILS.map(|what| (format!("{who}:{what}"), errors));
    [(format!("{who}:kill"), deaths)].into_iter().chain(fails).collect()
}

/// Runs a test in processes of its own that are steered so, with these points met already.
fn side_by_side(name: &str, passed: &str, faults: &[(String, usize)]) {
    std::thread::scope(|scope| {
        for (what, least) in faults {
            scope.spawn(move || {
                let met = steered(name, what, passed);
                println!("{what}: {} points", met.lines().count());
                assert!(met.lines().count() > *least, "{met}");
            });
        }
    });
}

/// The points that were met in this process.
fn met() -> String {
    points::plain(&std::fs::read_to_string(std::env::var_os(POINTS).unwrap()).unwrap())
}

/// Whether points are not only written down.
fn is_faulty() -> bool {
    !std::env::var("PODWRIGHT_FAULT").unwrap().contains(":record")
}

fn pod() -> TestPod {
    let container =
        |name, ports| json!({ "name": name, "command": ["/bin/sh", "-c", "echo up; exec sleep 1000"], "ports": ports });
    let port = json!([{ "containerPort": 80, "hostPort": 8080 }]);
    TestPod::new("web", json!({ "containers": [container("app", port), container("side", json!([]))] }))
}

/// The pod with another image of one container: the machine's own root, by this name.
fn with_image(pod: &TestPod, image: &str) -> TestPod {
    let mut new = pod.clone();
    let mut realised = (*pod.record.realised).clone();
    let mut effective = realised.effective.open().clone();
    effective.spec.as_mut().unwrap().containers[0].image = Some(image.to_owned());
    realised.effective = Packed::new(&effective);
    new.record.realised = Arc::new(realised);
    new.record.generation += 1;
    new
}

#[test]
fn e2e_a_shim_that_dies_or_fails_at_any_effect_of_an_update_leaves_nothing_and_the_new_image_runs() {
    const NAME: &str = "e2e_a_shim_that_dies_or_fails_at_any_effect_of_an_update_leaves_nothing_and_the_new_image_runs";
    match is_steered() {
        None => {}
        Some(false) => {
            let all = steered(NAME, "shim:record", "");
            side_by_side(NAME, &all, &faults("shim", [50, 25]));
        }
        Some(true) => on_root(async |root| {
            let (native, pod) = (root.open(), pod());
            pod.create(&native).await;
            pod.start(&native, "side", 0).await;
            let first = start_until_it_runs(root, &native, &pod, 0).await;
            assert!(first.is_empty(), "these points had been met: {first:?}");
            let side = pod.container(&native, "side").await;
            if is_faulty() {
                std::fs::write(std::env::var_os(POINTS).unwrap(), "").unwrap();
            }
            let pod = with_image(&pod, &format!("{HOST}:two"));
            native.put_record(&pod.record).await.unwrap();
            pod.signal(&native, "app", Signal::Kill).await;
            pod.exit(&native, "app").await;
            let lost = start_until_it_runs(root, &native, &pod, 1).await;
            assert!(lost.len() < met().lines().count().max(1), "{lost:?}");
            let app = pod.container(&native, "app").await;
            assert_eq!(app.record.image, format!("{HOST}:two"));
            pod.wait_log(&native, "app", "up").await;
            assert_eq!(pod.container(&native, "side").await, side, "the other one runs on");
            pod.remove(&native).await;
            root.check_pods_are_gone();
            native.teardown_root().await.unwrap();
        }),
    }
}

/// Updates a container again and again, whatever became of its monitors, until none died or failed any more.
async fn updated_again_and_again(root: &Root) {
    let (native, mut pod) = (root.open(), pod());
    pod.create(&native).await;
    for name in ["side", "app"] {
        pod.start(&native, name, 0).await;
        pod.wait_log(&native, name, "up").await;
    }
    let side = pod.container(&native, "side").await;
    if is_faulty() {
        std::fs::write(std::env::var_os(POINTS).unwrap(), "").unwrap();
    }
    // Of two without a point, since the one before them may have died when nobody looked any more.
    let mut quiet = 0;
    for attempt in 1.. {
        let (before, image) = (met(), format!("{HOST}:{attempt}"));
        pod = with_image(&pod, &image);
        native.put_record(&pod.record).await.unwrap();
        end(&native, &pod, &["app"]).await;
        assert!(cgroup::pids(&format!("{}/app-{}", root.cgroup(&pod), attempt - 1)).unwrap().is_empty());
        pod.start(&native, "app", attempt).await;
        let app = until("the new one to be up, or its monitor to be gone", async || {
            let app = pod.container(&native, "app").await;
            let is_over = !matches!(app.state, ContainerState::Running { .. });
            (is_over || met() != before || pod.log(&native, "app").await.contains("up")).then_some(app)
        });
        assert_eq!(app.await.record.image, image);
        assert_eq!(pod.container(&native, "side").await, side, "the other one runs on");
        quiet = if met() == before { quiet + 1 } else { 0 };
        if quiet == 2 {
            break;
        }
    }
    assert!(matches!(pod.container(&native, "app").await.state, ContainerState::Running { .. }));
    remove(&native, &pod).await;
    root.check_pods_are_gone();
    native.teardown_root().await.unwrap();
}

#[test]
fn e2e_a_monitor_that_dies_or_fails_at_any_effect_of_an_update_leaves_nothing_and_the_new_image_runs() {
    const NAME: &str =
        "e2e_a_monitor_that_dies_or_fails_at_any_effect_of_an_update_leaves_nothing_and_the_new_image_runs";
    match is_steered() {
        None => {}
        Some(false) => {
            let all = steered(NAME, "monitor:record", "");
            side_by_side(NAME, &all, &faults("monitor", [10, 5]));
        }
        Some(true) => on_root(async |root| updated_again_and_again(root).await),
    }
}

/// Ends containers of a pod that may be in any state.
async fn end(native: &Native, pod: &TestPod, names: &[&str]) {
    until("the end of its containers", async || {
        let mut seen = pod.look(native).await;
        seen.containers.retain(|c| c.is_live() && names.contains(&c.record.name.as_str()));
        for container in &seen.containers {
            let (name, attempt) = (&container.record.name, container.record.attempt);
            match container.state {
                ContainerState::Running { .. } => pod.signal(native, name, Signal::Kill).await,
                _ => native.reap_container(pod.key(), name, attempt).await.unwrap(),
            }
        }
        seen.containers.is_empty().then_some(())
    })
    .await;
}

/// Removes a pod whose containers may be in any state.
async fn remove(native: &Native, pod: &TestPod) {
    end(native, pod, &["app", "side"]).await;
    native.stop_sandbox(pod.key()).await.unwrap();
    until("the pod to go", async || native.remove_pod(pod.key()).await.ok()).await;
}

/// Starts a container and removes its pod, whatever became of the start, until nobody died of it.
async fn removed_again_and_again(root: &Root) {
    let (native, pod) = (root.open(), pod());
    loop {
        let before = met();
        pod.create(&native).await;
        // Its shim may be killed before it is a monitor.
        let _ = native.start_container(pod.key(), &pod.plan("app", 0)).await;
        remove(&native, &pod).await;
        assert!(!root.pod_dir(&pod).exists());
        assert!(cgroup::pids(&root.cgroup(&pod)).unwrap().is_empty(), "something of it is left");
        if met() == before {
            break;
        }
    }
    root.check_pods_are_gone();
    native.teardown_root().await.unwrap();
}

#[test]
fn e2e_a_pod_whose_shim_or_monitor_dies_or_fails_at_any_effect_is_removed_and_leaves_nothing() {
    const NAME: &str = "e2e_a_pod_whose_shim_or_monitor_dies_or_fails_at_any_effect_is_removed_and_leaves_nothing";
    match is_steered() {
        None => {}
        Some(false) => {
            side_by_side(NAME, "", &[faults("shim", [50, 25]), faults("monitor", [10, 5])].concat());
        }
        Some(true) => on_root(async |root| removed_again_and_again(root).await),
    }
}
