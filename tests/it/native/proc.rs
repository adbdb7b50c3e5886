//! What volumes may lie over of `/proc`.

use std::os::unix::fs::symlink;

use podwright::model::{PayloadFile, SharedBytes, VolumeMaterial, VolumePayload};
use podwright::port::ContainerBackend;
use serde_json::json;

use super::fixture::{TestPod, on_root};
use crate::support;

#[test]
fn e2e_no_volume_lies_over_proc_but_over_the_files_that_lxcfs_makes_anew() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let container = |name: &str, mounts: serde_json::Value| json!({ "name": name, "command": ["cat", "/proc/loadavg"], "volumeMounts": mounts });
        let load = json!({ "name": "load", "mountPath": "/proc/loadavg", "subPath": "load" });
        let data = |path: &str| json!({ "name": "data", "mountPath": path });
        let refused = [
            ("whole", json!([data("/proc")]), "/proc: only the kernel's own /proc belongs there"),
            ("slash", json!([data("/proc/")]), "/proc: only the kernel's own /proc belongs there"),
            (
                "within",
                json!([data("/proc/sys/kernel")]),
                "/proc/sys/kernel: it is within /proc, which is the kernel's",
            ),
            (
                "file",
                json!([{ "name": "load", "mountPath": "/proc/version", "subPath": "load" }]),
                "/proc/version: it is within /proc, which is the kernel's",
            ),
            ("new", json!([data("/proc/new")]), "/proc/new: No such file or directory"),
            ("linked", json!([data("/data"), data("/data/link")]), "/data/link: a link in a volume leads out of it"),
        ];
        let mut containers: Vec<_> = refused.iter().map(|(name, mounts, _)| container(name, mounts.clone())).collect();
        let allowed =
            [("anew", json!([load]), "made anew\n"), ("host", json!([{ "name": "host", "mountPath": "/proc" }]), ".")];
        containers.extend(allowed.iter().map(|(name, mounts, _)| container(name, mounts.clone())));
        let pod = TestPod::new("proc", json!({ "containers": containers }));
        let bytes = SharedBytes::new("made anew\n");
        let file = PayloadFile { path: "load".to_owned(), bytes, mode: 0o644, owner: None };
        let volumes = [
            ("load", VolumeMaterial::Files { files: vec![file], sensitive: false }),
            ("data", VolumeMaterial::EmptyDir { memory: false, size_limit: None }),
            ("host", VolumeMaterial::HostPath { path: "/proc".to_owned(), kind: String::new() }),
        ]
        .map(|(name, material)| VolumePayload { name: name.to_owned(), material, group: None });
        pod.create(&native).await;
        native.sync_volumes(pod.key(), &volumes).await.unwrap();
        let data = root.state().join("volumes").join(&pod.uid().0).join("data");
        symlink("/proc/sys", data.join("link")).unwrap();
        let mut unexpected = Vec::new();
        for (name, _, expected) in refused {
            let error = native.start_container(pod.key(), &pod.plan(name, 0)).await.unwrap_err();
            unexpected.extend((!error.message.contains(expected)).then(|| format!("{name}: {error}")));
        }
        assert_eq!(unexpected, [""; 0]);
        for (name, _, expected) in allowed {
            pod.start(&native, name, 0).await;
            assert_eq!(pod.exit(&native, name).await.exit_code, 0, "{name}");
            let log = pod.log(&native, name).await;
            assert!(log.contains(expected), "{name}: {log}");
        }
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}
