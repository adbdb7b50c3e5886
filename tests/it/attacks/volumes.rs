//! Links that a container plants in its volumes before somebody with more rights writes there, or mounts a part of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use podwright::model::{PayloadFile, PodUid, SharedBytes, Signal, VolumeMaterial, VolumePayload};
use podwright::port::{ContainerBackend, ErrorKind};
use podwright::volume::Volumes;
use serde_json::{Value, json};

use crate::native::fixture::{TestPod, on_root};
use crate::support;

fn payload(text: &str) -> VolumePayload {
    let file = PayloadFile { path: "key".into(), bytes: SharedBytes::new(text), mode: 0o644, owner: None };
    VolumePayload {
        name: "config".into(),
        material: VolumeMaterial::Files { files: vec![file], sensitive: false },
        group: None,
    }
}

/// Where a naive writer of a new value ends.
fn write_naively(volume: &Path, text: &str) {
    let _ = fs::create_dir_all(volume.join("..data"));
    let _ = fs::write(volume.join("..data").join("key"), text);
}

/// Plants something in a volume, the first path, that leads to the second.
type Plant<'a> = &'a dyn Fn(&Path, &Path);

#[test]
fn an_update_of_a_volume_follows_no_link_where_a_naive_writer_does() {
    // Everything a container that may write to the volume can put in the writer's way. The naive writer is met by those
    // that lie on its own way.
    let attacks: [(&str, bool, Plant); 5] = [
        ("the data directory is a link", true, &|volume, outside| {
            let _ = fs::remove_file(volume.join("..data"));
            symlink(outside, volume.join("..data")).unwrap();
        }),
        ("the file is a link", true, &|volume, outside| {
            let data = volume.join(fs::read_link(volume.join("..data")).unwrap());
            fs::remove_file(data.join("key")).unwrap();
            symlink(outside.join("key"), data.join("key")).unwrap();
        }),
        ("the file is a hard link", true, &|volume, outside| {
            let data = volume.join(fs::read_link(volume.join("..data")).unwrap());
            fs::remove_file(data.join("key")).unwrap();
            fs::hard_link(outside.join("key"), data.join("key")).unwrap();
        }),
        ("the next data directory is a link", false, &|volume, outside| {
            symlink(outside, volume.join("..data_tmp")).unwrap();
        }),
        ("the visible name is a link", false, &|volume, outside| {
            fs::remove_file(volume.join("key")).unwrap();
            symlink(outside.join("key"), volume.join("key")).unwrap();
        }),
    ];
    for (name, is_met_by_naive, plant) in attacks {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("key"), "of the machine").unwrap();
        let is_untouched = || {
            let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|e| e.unwrap().file_name()).collect();
            names == ["key"] && fs::read_to_string(outside.join("key")).unwrap() == "of the machine"
        };
        let volumes = Volumes::new(dir.path().join("pods"), dir.path().join("run/volumes"));
        let uid = PodUid("6d2f9a1e-0000-4000-8000-000000000002".into());
        volumes.sync(&uid, &[payload("old")]).unwrap();
        let volume = volumes.path(&uid, "config").unwrap();
        plant(&volume, &outside);
        volumes.sync(&uid, &[payload("new")]).unwrap();
        assert!(is_untouched(), "{name}");
        assert_eq!(fs::read_to_string(volume.join("key")).unwrap(), "new", "{name}");
        plant(&volume, &outside);
        write_naively(&volume, "new");
        assert_eq!(!is_untouched(), is_met_by_naive, "{name}");
    }
}

/// What the container of the next test does to its volumes; `OUTSIDE` is a directory of the machine.
const PLANT: &str = "plant() { rm -f /config/..data /config/key; ln -s OUTSIDE /config/..data; ln -s OUTSIDE/key /config/key; \
                     [ -L /config/..data_tmp ] || ln -s OUTSIDE /config/..data_tmp; \
                     [ -L /data/link ] || ln -s OUTSIDE /data/link; [ -L /part/deep ] || ln -s OUTSIDE /part/deep; \
                     [ -L /data/part ] || { mv /data/part /data/was; ln -s OUTSIDE /data/part; }; echo planted $1; }; \
                     plant once; until [ -e /data/again ]; do sleep 0.05; done; plant again; exec sleep 1000";

#[test]
fn e2e_links_that_a_container_plants_lead_no_update_and_no_mount_out_where_naive_ones_are_led() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let outside = root.temp.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("key"), "of the machine").unwrap();
        let is_untouched = || {
            let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|e| e.unwrap().file_name()).collect();
            names == ["key"] && fs::read_to_string(outside.join("key")).unwrap() == "of the machine"
        };
        let mount = |path: &str, part: &str| match part {
            "" => json!({ "name": path.trim_start_matches('/'), "mountPath": path }),
            part => json!({ "name": "data", "mountPath": path, "subPath": part }),
        };
        let victim = |name: &str, part: &str| {
            json!({ "name": name, "command": ["/bin/sh", "-c", "cat /x/key; echo mark >/x/mark"],
                    "volumeMounts": [mount("/x", part)] })
        };
        let plant = PLANT.replace("OUTSIDE", outside.to_str().unwrap());
        let parts = ["link", "part", "was/deep", "was/deep/new", "link/new"];
        let victims = parts.map(|part| victim(&part.replace('/', "-"), part));
        let attacker = json!({ "name": "attacker", "command": ["/bin/sh", "-c", plant],
            "volumeMounts": [mount("/config", ""), mount("/data", ""), mount("/part", "part")] });
        let containers: Vec<Value> = std::iter::once(attacker).chain(victims).collect();
        let pod = TestPod::new("plants", json!({ "containers": containers }));
        let native = root.open();
        pod.create(&native).await;
        let data = VolumeMaterial::EmptyDir { memory: false, size_limit: None };
        let data = VolumePayload { name: "data".into(), material: data, group: None };
        native.sync_volumes(pod.key(), &[payload("old"), data.clone()]).await.unwrap();
        pod.start(&native, "attacker", 0).await;
        pod.wait_log(&native, "attacker", "planted once").await;
        let volumes = root.state().join("volumes").join(&pod.uid().0);
        native.sync_volumes(pod.key(), &[payload("new"), data]).await.unwrap();
        assert_eq!(fs::read_to_string(volumes.join("config/key")).unwrap(), "new");
        assert!(is_untouched(), "by the update");
        for part in parts {
            let error = native.start_container(pod.key(), &pod.plan(&part.replace('/', "-"), 0)).await.unwrap_err();
            assert_eq!(error.waiting_reason, Some("CreateContainerConfigError"), "{part}: {error}");
            assert!(error.message.contains("out of its volume"), "{part}: {error}");
            assert!(is_untouched(), "by the mount of {part}");
        }
        // The control: the same links lead somebody naive out, in an update, in an emptyDir and below a subPath.
        fs::write(volumes.join("data/again"), "").unwrap();
        pod.wait_log(&native, "attacker", "planted again").await;
        let naive: [&dyn Fn(); 4] = [
            &|| write_naively(&volumes.join("config"), "new"),
            &|| fs::create_dir_all(volumes.join("data/link/new")).unwrap(),
            &|| fs::create_dir_all(volumes.join("data/was/deep/new")).unwrap(),
            &|| fs::write(volumes.join("data/part/mark"), "").unwrap(),
        ];
        for (number, naive) in naive.iter().enumerate() {
            naive();
            assert!(!is_untouched(), "naive writer {number}");
            fs::remove_dir_all(&outside).unwrap();
            fs::create_dir(&outside).unwrap();
            fs::write(outside.join("key"), "of the machine").unwrap();
        }
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

const READY: Duration = Duration::from_secs(60);

/// A path is looked at, and mounted or opened by another process a moment later, as a runtime does.
fn open_naively(volume: &Path, part: &str) -> Option<String> {
    let path = volume.join(part);
    let is_inside = fs::canonicalize(&path).is_ok_and(|found| found.starts_with(volume));
    let read = is_inside.then(|| Command::new("cat").arg(path.join("secret")).output().unwrap())?;
    Some(String::from_utf8(read.stdout).unwrap()).filter(|text| !text.is_empty())
}

#[test]
fn e2e_a_directory_that_becomes_a_link_while_it_is_mounted_leads_nowhere_where_a_naive_look_is_led_out() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let outside = root.temp.path().join("outside");
        fs::create_dir_all(outside.join("sub")).unwrap();
        fs::write(outside.join("sub/secret"), "of the machine").unwrap();
        let swap = format!(
            "cd /data; mkdir -p d/sub; echo ready; while :; do mv d e; ln -s {} d; rm d; mv e d; done",
            outside.display()
        );
        let pod = TestPod::new(
            "race",
            json!({ "containers": [
                { "name": "attacker", "command": ["/bin/sh", "-c", swap],
                  "volumeMounts": [{ "name": "data", "mountPath": "/data" }] },
                { "name": "victim", "command": ["/bin/sh", "-c", "echo mounted; cat /x/secret; echo mark >/x/mark"],
                  "volumeMounts": [{ "name": "data", "mountPath": "/x", "subPath": "d/sub" }] }
            ] }),
        );
        let native = root.open();
        pod.create(&native).await;
        let material = VolumeMaterial::EmptyDir { memory: false, size_limit: None };
        native.sync_volumes(pod.key(), &[VolumePayload { name: "data".into(), material, group: None }]).await.unwrap();
        pod.start(&native, "attacker", 0).await;
        pod.wait_log(&native, "attacker", "ready").await;
        let (mut mounted, mut refused) = (0, 0);
        for attempt in 0..200 {
            if attempt >= 20 && mounted > 0 && refused > 0 {
                break;
            }
            match native.start_container(pod.key(), &pod.plan("victim", attempt)).await {
                Ok(_) => {
                    pod.exit(&native, "victim").await;
                    let log = pod.log(&native, "victim").await;
                    assert!(!log.contains("of the machine"), "{log}");
                    mounted += 1;
                }
                Err(error) if error.message.contains("out of its volume") => refused += 1,
                // It was away.
                Err(error) => assert_ne!(error.kind, ErrorKind::Internal, "{error}"),
            }
            let left: Vec<_> = fs::read_dir(outside.join("sub")).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(left, ["secret"]);
        }
        assert!(mounted > 0 && refused > 0, "{mounted} were mounted, {refused} refused: there was no race");
        // The control.
        let volume: PathBuf = root.state().join("volumes").join(&pod.uid().0).join("data");
        let volume = fs::canonicalize(volume).unwrap();
        let end = Instant::now() + READY;
        let led_out = std::iter::repeat_with(|| open_naively(&volume, "d/sub")).take_while(|_| Instant::now() < end);
        assert_eq!(led_out.flatten().next().as_deref(), Some("of the machine"));
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

/// Changes everything on the way of a writer again and again: links that lead out and links that do not, in one step each.
const RACE: &str = "cd /config; mkdir own; echo racing; while :; do ln -s own a; mv -T a ..data; ln -s OUTSIDE b; \
                    mv -T b ..data; rm -rf key ..data_tmp; ln -s OUTSIDE/key key; ln -s OUTSIDE ..data_tmp; \
                    for d in ..2*; do mv $d gone && ln -s OUTSIDE $d; rm -rf gone; done; done 2>/dev/null";

/// Looks where the data is, and writes there a moment later.
fn write_after_a_look(volume: &Path, text: &str) {
    let data = volume.join("..data");
    if fs::canonicalize(&data).is_ok_and(|found| found.starts_with(volume)) {
        let _ = fs::write(data.join("key"), text);
    }
}

#[test]
fn e2e_an_update_in_a_race_with_its_container_writes_nothing_outside_where_one_after_a_look_does() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let outside = root.temp.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("key"), "of the machine").unwrap();
        let is_untouched = || {
            let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|e| e.unwrap().file_name()).collect();
            names == ["key"] && fs::read_to_string(outside.join("key")).unwrap() == "of the machine"
        };
        let race = RACE.replace("OUTSIDE", outside.to_str().unwrap());
        let mount = json!({ "name": "config", "mountPath": "/config" });
        let pod = TestPod::new(
            "races",
            json!({ "containers": [{ "name": "app", "command": ["/bin/sh", "-c", race], "volumeMounts": [mount] }] }),
        );
        let native = root.open();
        pod.create(&native).await;
        native.sync_volumes(pod.key(), &[payload("first")]).await.unwrap();
        pod.start(&native, "app", 0).await;
        pod.wait_log(&native, "app", "racing").await;
        let volume = fs::canonicalize(root.state().join("volumes").join(&pod.uid().0).join("config")).unwrap();
        let (mut updates, mut spoilt, mut lost, end) = (0, 0, 0, Instant::now() + READY);
        for number in 0.. {
            if (number >= 100 && lost > 0) || Instant::now() >= end {
                break;
            }
            // One that is spoilt under the writer's hands fails, and is tried again by the agent.
            match native.sync_volumes(pod.key(), &[payload(&number.to_string())]).await {
                Ok(()) => updates += 1,
                Err(_) => spoilt += 1,
            }
            lost += usize::from(fs::read_link(volume.join("..data")).is_ok_and(|target| target == outside));
            assert!(is_untouched(), "by update {number}");
        }
        assert!(lost > 0, "of {updates} updates, with {spoilt} spoilt, none was taken back: there was no race");
        // The control.
        let end = Instant::now() + READY;
        while is_untouched() && Instant::now() < end {
            write_after_a_look(&volume, "naive");
        }
        assert!(!is_untouched(), "whoever looks first is led out");
        fs::write(outside.join("key"), "of the machine").unwrap();
        // Once nobody is in the way the volume is mended.
        pod.signal(&native, "app", Signal::Kill).await;
        pod.exit(&native, "app").await;
        native.sync_volumes(pod.key(), &[payload("last")]).await.unwrap();
        assert_eq!(fs::read_to_string(volume.join("key")).unwrap(), "last");
        assert!(is_untouched());
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}
