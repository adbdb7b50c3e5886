//! Where the cgroups of pods stand and what they weigh.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use podwright::backend::native::Native;
use podwright::model::{AdmittedPod, ResizeOrder, Resources, Signal};
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
    all_resized(pod, &[resources])
}

fn all_resized(pod: &TestPod, all: &[Value]) -> TestPod {
    let mut record = pod.record.clone();
    let mut value = record.realised.effective.value();
    for (number, resources) in all.iter().enumerate() {
        value["spec"]["containers"][number]["resources"] = resources.clone();
    }
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

/// A file of a cgroup, by its names in both versions.
fn limit_file(group: &str, (controller, old): (&str, &str), new: &str) -> std::path::PathBuf {
    let old = Path::new("/sys/fs/cgroup").join(controller).join(&group[1..]).join(old);
    if old.exists() { old } else { Path::new("/sys/fs/cgroup").join(&group[1..]).join(new) }
}

/// What a pod may use of the processor, in thousandths of a core, and of memory, in MiB.
fn may_use(group: &str) -> [Option<u64>; 2] {
    let files = [(("cpu", "cpu.cfs_quota_us"), "cpu.max"), (("memory", "memory.limit_in_bytes"), "memory.max")];
    let [cpu, memory] = files.map(|(old, new)| std::fs::read_to_string(limit_file(group, old, new)).unwrap());
    let number =
        |text: &str| text.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).filter(|n| *n < 1 << 62);
    [number(&cpu).map(|quota| quota / 100), number(&memory).map(|bytes| bytes >> 20)]
}

#[test]
fn e2e_a_pod_may_use_what_its_containers_may_together() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let amounts = |cpu: &str, memory: &str| json!({ "limits": { "cpu": cpu, "memory": memory } });
        let container = |name: &str| json!({ "name": name, "command": ["/bin/sleep", "1000"] });
        let made = |name: &str, all: &[Value]| {
            let pod = TestPod::new(name, json!({ "containers": [container("app"), container("more")] }));
            all_resized(&pod, all)
        };
        let pod = made("both", &[amounts("500m", "64Mi"), amounts("1", "32Mi")]);
        let half = made("half", &[amounts("500m", "64Mi"), json!({ "limits": { "memory": "32Mi" } })]);
        for pod in [&pod, &half] {
            pod.create(&native).await;
            pod.start(&native, "app", 0).await;
            pod.start(&native, "more", 0).await;
        }
        let group = root.cgroup_in("", &pod);
        assert_eq!(may_use(&group), [Some(1500), Some(96)]);
        assert_eq!(may_use(&root.cgroup_in("burstable/", &half)), [None, Some(96)]);

        // One container is given more, the other one less: the pod has the larger amounts until both are.
        let all = [amounts("2", "128Mi"), amounts("250m", "16Mi")];
        let pod = all_resized(&pod, &all);
        native.put_record(&pod.record).await.unwrap();
        assert_eq!(may_use(&group), [Some(3000), Some(160)]);
        let order = |number: usize| {
            let spec = pod.record.realised.effective.open().spec.unwrap();
            let container = &spec.containers[number];
            ResizeOrder { name: container.name.clone(), attempt: 0, resources: Resources::of(container) }
        };
        native.resize_container(pod.key(), &order(0)).await.unwrap();
        assert_eq!(may_use(&group), [Some(3000), Some(160)]);
        // The next agent finds it so, and rights what another one has left.
        std::fs::write(limit_file(&group, ("memory", "memory.limit_in_bytes"), "memory.max"), "1073741824").unwrap();
        let native = root.open();
        native.list().await.unwrap();
        assert_eq!(may_use(&group), [Some(3000), Some(160)]);
        native.resize_container(pod.key(), &order(1)).await.unwrap();
        assert_eq!(may_use(&group), [Some(2250), Some(144)]);
        assert_eq!(may_use(&format!("{group}/more-0")), [Some(250), Some(16)]);
        for pod in [pod, half] {
            pod.remove(&native).await;
        }
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
