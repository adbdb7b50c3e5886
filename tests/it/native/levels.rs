//! Where the cgroups of pods stand and what they weigh.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use podwright::backend::native::Native;
use podwright::model::{AdmittedPod, Signal};
use podwright::port::ContainerBackend;
use podwright::sys::cgroup;
use serde_json::{Value, json};

use super::fixture::{Root, TestPod, is_alive, on_root, until};
use crate::support;

fn pod(name: &str, resources: Value) -> TestPod {
    let command = json!(["/bin/sh", "-c", "echo up; exec sleep 1000"]);
    TestPod::new(name, json!({ "containers": [{ "name": "app", "command": command, "resources": resources }] }))
}

/// Where the controller for weights has the cgroup, and whether it is of version 1.
fn weight_file(group: &str) -> (std::path::PathBuf, bool) {
    let old = Path::new("/sys/fs/cgroup/cpu").join(&group[1..]).join("cpu.shares");
    let new = Path::new("/sys/fs/cgroup").join(&group[1..]).join("cpu.weight");
    let is_old = Path::new("/sys/fs/cgroup/cpu").exists();
    (if is_old { old } else { new }, is_old)
}

/// Compares the weights of cgroups with these: in shares, and the same in the words of version 2.
fn check(root: &Root, expected: &[(&str, u64, u64)]) {
    for (group, shares, weight) in expected {
        let (file, is_old) = weight_file(&format!("/podwright-{}/{group}", root.instance));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert_eq!(text.trim(), (if is_old { shares } else { weight }).to_string(), "{group}");
    }
}

fn levels(root: &Root) -> Vec<String> {
    let all = cgroup::children(&format!("/podwright-{}", root.instance)).unwrap();
    all.into_iter().filter(|name| !name.starts_with("pod") && name != "monitors").collect()
}

/// The pod as it is after a change of its amounts.
fn resized(pod: &TestPod, resources: Value) -> TestPod {
    let mut record = pod.record.clone();
    let mut value = record.realised.effective.value();
    value["spec"]["containers"][0]["resources"] = resources;
    let effective = serde_json::from_value(value).unwrap();
    record.realised = Arc::new(AdmittedPod { effective, ..(*record.realised).clone() });
    record.generation += 1;
    TestPod { record }
}

/// Every hierarchy has the container of a pod here.
async fn check_place(root: &Root, native: &Native, pod: &TestPod, class: &str) {
    let pid = pod.pid(native, "app").await;
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let group = format!("{}/app-0", root.cgroup_in(class, pod));
    assert!(text.lines().count() > 0 && text.lines().all(|line| line.ends_with(&group)), "{group}: {text}");
}

#[test]
fn e2e_pods_stand_below_their_class_and_weigh_what_they_ask_for() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let sure = pod("sure", json!({ "limits": { "cpu": "500m", "memory": "64Mi" } }));
        let some = pod("some", json!({ "requests": { "cpu": "100m" } }));
        let more = pod("more", json!({ "requests": { "cpu": "300m" }, "limits": { "cpu": "1" } }));
        let free = pod("free", json!({}));
        for (pod, class) in [(&sure, ""), (&some, "burstable/"), (&more, "burstable/"), (&free, "besteffort/")] {
            pod.create(&native).await;
            pod.start(&native, "app", 0).await;
            check_place(root, &native, pod, class).await;
        }
        let pods = [("poduid-sure", 512, 59), ("burstable/poduid-more", 307, 40), ("besteffort/poduid-free", 2, 1)];
        check(root, &pods);
        check(root, &[("burstable/poduid-some", 102, 17), ("burstable", 409, 49), ("besteffort", 2, 1)]);
        assert_eq!(levels(root), ["besteffort", "burstable"]);

        let some = resized(&some, json!({ "requests": { "cpu": "1" } }));
        native.put_record(&some.record).await.unwrap();
        check(root, &[("burstable/poduid-some", 1024, 100), ("burstable", 1331, 123)]);
        // What an agent did not come to, the next one does.
        let (file, is_old) = weight_file(&format!("/podwright-{}/burstable", root.instance));
        std::fs::write(file, if is_old { "7" } else { "3" }).unwrap();
        cgroup::remove(&root.cgroup(&pod("none", json!({})))).unwrap();
        let native = root.open();
        native.list().await.unwrap();
        check(root, &[("burstable/poduid-some", 1024, 100), ("burstable", 1331, 123), ("besteffort", 2, 1)]);

        // Who has come to an end asks for nothing.
        more.signal(&native, "app", Signal::Kill).await;
        more.exit(&native, "app").await;
        let mut over = more.clone();
        over.record.terminal = Some("Failed".into());
        native.put_record(&over.record).await.unwrap();
        check(root, &[("burstable", 1024, 100)]);
        free.remove(&native).await;
        assert_eq!(levels(root), ["burstable"]);
        some.remove(&native).await;
        check(root, &[("burstable", 2, 1)]);
        more.remove(&native).await;
        assert_eq!(levels(root), [""; 0]);
        sure.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_pod_of_an_earlier_version_keeps_its_cgroup() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        // That had every pod right below the root's cgroup.
        let old = pod("old", json!({ "requests": { "cpu": "100m" } }));
        let native = root.open();
        native.put_record(&old.record).await.unwrap();
        cgroup::create(&root.cgroup_in("", &old)).unwrap();
        old.create(&native).await;
        old.start(&native, "app", 0).await;
        check_place(root, &native, &old, "").await;
        let native = root.open();
        native.list().await.unwrap();
        check(root, &[("poduid-old", 102, 17)]);
        assert_eq!(levels(root), [""; 0]);
        // It came back for a while, and knew nothing of the one that was there.
        let new = pod("new", json!({}));
        new.create(&native).await;
        let mut left = Command::new("sleep").arg("1000").spawn().unwrap();
        cgroup::enter(&root.cgroup_in("", &new), left.id().try_into().unwrap()).unwrap();
        let infra = new.infra(&native).await;
        new.remove(&native).await;
        assert!(!left.wait().unwrap().success() && !is_alive(infra));
        old.remove(&native).await;
        let left = cgroup::children(&format!("/podwright-{}", root.instance)).unwrap();
        assert_eq!(left.into_iter().filter(|name| name != "monitors").collect::<Vec<_>>(), [""; 0]);
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_level_that_was_left_without_pods_is_removed_by_the_next_agent() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let stray = pod("stray", json!({}));
        cgroup::create(&format!("/podwright-{}/burstable", root.instance)).unwrap();
        let mut left = Command::new("sleep").arg("1000").spawn().unwrap();
        cgroup::enter(&format!("{}/app-0", root.cgroup(&stray)), left.id().try_into().unwrap()).unwrap();
        let native = root.open();
        assert_eq!(native.list().await.unwrap(), []);
        assert!(!left.wait().unwrap().success());
        until("the levels to go", async || levels(root).is_empty().then_some(())).await;
        native.teardown_root().await.unwrap();
    });
}
