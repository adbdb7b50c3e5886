//! Records as other versions of this program write them, one directory of fixtures/records for each format: pods that run are
//! adopted by them. Where a record has `$live` stands what the machine decides; it is taken from the record in its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use podwright::model::{ContainerState, ObservedPod, Signal};
use podwright::port::{ContainerBackend, ErrorKind};
use serde_json::{Value, json};

use super::fixture::{Root, TestPod, is_alive, on_root};
use crate::support;

/// The first format, that of version 0.1.0, and what may come: the same with members that this program does not know.
const FORMATS: &[&str] = &["2026-11-25", "0.1.0", "next"];

fn pod() -> TestPod {
    let container = |name: &str, script: &str| json!({ "name": name, "command": ["/bin/sh", "-c", script] });
    let mut app = container("app", "echo up; exec sleep 1000");
    app["ports"] = json!([{ "containerPort": 8080, "hostPort": 18080 }]);
    TestPod::new("web", json!({ "containers": [app, container("done", "exit 7")] }))
}

/// Each record of the pod with its fixture.
fn places(root: &Root, pod: &TestPod) -> [(&'static str, PathBuf); 6] {
    let (of_pod, app) = (root.pod_dir(pod), root.instance_dir(pod, "app", 0));
    [
        ("pod", of_pod.join("record.json")),
        ("sandbox", of_pod.join("sandbox.json")),
        ("container", app.join("record.json")),
        ("started", app.join("started.json")),
        ("exit", root.instance_dir(pod, "done", 0).join("exit.json")),
        ("leases", root.state().join("network/leases.json")),
    ]
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Puts what is live in the place of `$live`.
fn fill(template: &mut Value, live: &Value) {
    match template {
        Value::String(text) if text == "$live" => *template = live.clone(),
        Value::Object(members) => members.iter_mut().for_each(|(name, value)| fill(value, &live[name.as_str()])),
        _ => {}
    }
}

/// Replaces a record by one of that format.
fn replace(format: &str, name: &str, place: &Path) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/records");
    let mut record = json_of(&fixtures.join(format).join(name).with_extension("json"));
    fill(&mut record, &json_of(place));
    assert!(!record.to_string().contains("$live"), "{record}");
    std::fs::write(place, record.to_string()).unwrap();
}

/// What must not change when another program looks at it: who runs, and how the others ended.
fn adopted(pod: &ObservedPod) -> (String, BTreeMap<String, String>) {
    let of = |container: &podwright::model::ObservedContainer| {
        let state = match &container.state {
            ContainerState::Exited(exit) => format!("{} {:?}", exit.exit_code, exit.finished_at),
            other => format!("{other:?}"),
        };
        let record = &container.record;
        (record.name.clone(), format!("{} {} {} {state}", record.attempt, record.id, record.log_path))
    };
    (format!("{:?}", pod.sandbox), pod.containers.iter().map(of).collect())
}

#[test]
fn e2e_pods_are_adopted_by_the_records_of_each_format() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        for format in FORMATS {
            let native = root.open();
            let pod = pod();
            pod.create(&native).await;
            pod.start(&native, "app", 0).await;
            pod.start(&native, "done", 0).await;
            pod.wait_log(&native, "app", "up").await;
            assert_eq!(pod.exit(&native, "done").await.exit_code, 7);
            let (before, pid) = (adopted(&pod.look(&native).await), pod.pid(&native, "app").await);
            drop(native);
            places(root, &pod).iter().for_each(|(name, place)| replace(format, name, place));
            let native = root.open();
            let seen = pod.look(&native).await;
            assert_eq!(adopted(&seen), before, "{format}");
            assert!(is_alive(pid));
            // It goes on as a pod of this version.
            native.put_record(&seen.record).await.unwrap();
            assert_eq!(adopted(&pod.look(&root.open()).await), before, "{format}");
            pod.signal(&native, "app", Signal::Kill).await;
            assert_eq!(pod.exit(&native, "app").await.exit_code, 137);
            pod.remove(&native).await;
            native.teardown_root().await.unwrap();
        }
    });
}

/// Every file of the root with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() && !path.ends_with("rootfs") {
            found.extend(files(&path));
        } else if kind.is_file() {
            found.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
    found
}

#[test]
fn e2e_records_of_an_unknown_version_are_refused_with_the_way_out_and_what_runs_goes_on() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = pod();
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        pod.wait_log(&native, "app", "up").await;
        let (pid, infra) = (pod.pid(&native, "app").await, pod.infra(&native).await);
        let before = adopted(&pod.look(&native).await);
        drop(native);
        let places = places(root, &pod);
        // Nothing of it but its version is as it was.
        for (name, help) in
            [("pod", "run the newer podwright that wrote it"), ("leases", "use the podwright that wrote it")]
        {
            let place = &places.iter().find(|(n, _)| *n == name).unwrap().1;
            let known = std::fs::read(place).unwrap();
            std::fs::write(place, json!({ "version": 99, "pods": ["a list"], "key": 1, "subnet": [] }).to_string())
                .unwrap();
            let left = files(&root.state());
            let error = podwright::backend::native::Native::open(root.options()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
            assert!(error.to_string().contains("version 99") && error.to_string().contains(help), "{error}");
            assert_eq!(files(&root.state()), left, "{name}");
            assert!(is_alive(pid) && is_alive(infra));
            std::fs::write(place, known).unwrap();
        }
        let native = root.open();
        assert_eq!(adopted(&pod.look(&native).await), before);
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}
