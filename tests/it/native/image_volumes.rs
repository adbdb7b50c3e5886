//! Images that containers have as volumes.

use std::fs;

use podwright::model::Starved;
use podwright::port::{ContainerBackend, ErrorKind};
use serde_json::{Value, json};
use tar::EntryType;

use super::fixture::{HOST, Root, TestPod, on_root};
use crate::support;
use crate::support::images::{Layer, oci_archive};

const FILES: &str = "example.com/files:1";

/// An image of two layers: what the upper one has removed, replaced and added is so for whoever mounts it.
fn image() -> Vec<u8> {
    let lower = Layer::new()
        .dir("etc/")
        .file("etc/name", "lower")
        .file("etc/gone", "lower")
        .file("plain", "lower")
        .link(EntryType::Symlink, "link", "/etc");
    let upper =
        Layer::new().dir("etc/").file("etc/name", "upper").file("etc/.wh.gone", "").dir("data/").file("data/x", "");
    oci_archive(FILES, &[lower.tar(), upper.tar()], json!({}))
}

fn pod(name: &str, own_users: bool, script: &str, mounts: &Value) -> TestPod {
    let volume = |name: &str, image: &str| json!({ "name": name, "image": { "reference": image } });
    TestPod::new(
        name,
        json!({
            "hostUsers": !own_users,
            "containers": [{ "name": "app", "command": ["/bin/sh", "-c", script], "volumeMounts": mounts }],
            "volumes": [volume("files", FILES), volume("host", HOST), volume("none", "example.com/none:1")],
        }),
    )
}

/// The mounts of the machine that have something to do with a container's own.
fn mounts(root: &Root) -> Vec<String> {
    let own = root.temp.path().to_str().unwrap();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let is_own = |line: &&str| line.contains(own) && line.contains("bundle");
    table.lines().filter(is_own).map(str::to_owned).collect()
}

#[test]
fn e2e_a_container_reads_the_files_of_an_image_and_can_change_none() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        native.images().load(image().as_slice(), None).unwrap();
        let podwright::image::Image { id, lower: layers, .. } = native.images().resolve(FILES).unwrap().unwrap();
        let script = "cat /whole/etc/name; echo; ls /whole /whole/etc; ls /part /linked; stat -c %u /whole/plain; \
                      for d in /whole /whole/etc /part; do touch $d/new 2>/dev/null && echo changed; done; \
                      rm /whole/plain 2>/dev/null && echo removed; echo tried; exec sleep 1000";
        let shown = json!([
            { "name": "files", "mountPath": "/whole", "readOnly": true },
            { "name": "files", "mountPath": "/part", "subPath": "data", "readOnly": true },
            { "name": "files", "mountPath": "/linked", "subPath": "link", "readOnly": true, "recursiveReadOnly": "Enabled" },
        ]);
        // They are root's, whoever that is on the machine.
        let whole = "upper\n/whole:\ndata\netc\nlink\nplain\n\n/whole/etc:\nname\n";
        let expected = format!("{whole}/linked:\nname\n\n/part:\nx\n0\ntried\n");
        for (name, own_users) in [("plain", false), ("users", true)] {
            let pod = pod(name, own_users, script, &shown);
            pod.create(&native).await;
            pod.start(&native, "app", 0).await;
            assert_eq!(pod.wait_log(&native, "app", "tried").await, expected, "{name}");
            let record = pod.container(&native, "app").await.record;
            assert_eq!(record.volume_images.get("files"), Some(&id));
            assert_eq!(mounts(root), [] as [String; 0], "they are the container's alone");
            // Its files stay where room is made, although the name has been given to another image.
            let other = oci_archive(FILES, &[Layer::new().file("other", "").tar()], json!({}));
            native.images().load(other.as_slice(), None).unwrap();
            native.reclaim(Starved::EphemeralStorage, &[]).await.unwrap();
            assert!(layers.iter().all(|layer| layer.is_dir()), "{name}");
            native.images().load(image().as_slice(), None).unwrap();
            pod.remove(&native).await;
            root.check_pods_are_gone();
        }
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_what_an_image_volume_cannot_show_is_said_before_anything_begins() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        native.images().load(image().as_slice(), None).unwrap();
        let refused = (ErrorKind::Invalid, Some("CreateContainerError"));
        for (number, (volume, part, told, why)) in [
            ("files", "none", refused, "subPath \"none\" is no directory of it"),
            ("files", "plain", refused, "subPath \"plain\" is no directory of it"),
            ("files", "etc/gone", refused, "subPath \"etc/gone\" is no directory of it"),
            ("host", "", refused, "it is the machine's own file system"),
            // As the image of a container.
            ("none", "", (ErrorKind::NotFound, Some("ErrImagePull")), "is not in the store any more"),
        ]
        .into_iter()
        .enumerate()
        {
            let mount = json!([{ "name": volume, "subPath": part, "mountPath": "/v" }]);
            let pod = pod(&format!("odd-{number}"), false, "true", &mount);
            pod.create(&native).await;
            let error = native.start_container(pod.key(), &pod.plan("app", 0)).await.unwrap_err();
            assert_eq!((error.kind, error.waiting_reason), told, "{error}");
            assert!(error.message.ends_with(why), "{error}");
            assert_eq!(error.message.starts_with("ImageVolumeMountFailed: "), told == refused, "{error}");
            assert!(pod.look(&native).await.containers.is_empty() && !root.instance_dir(&pod, "app", 0).exists());
            pod.remove(&native).await;
        }
        native.teardown_root().await.unwrap();
    });
}
