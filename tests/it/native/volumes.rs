//! Volumes of running containers: paths of the machine by their type, and data that changes while somebody reads it.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use podwright::model::{ContainerStart, LateValue, PayloadFile, SharedBytes, Signal, VolumeMaterial, VolumePayload};
use podwright::port::ContainerBackend;
use serde_json::{Value, json};
use tar::EntryType;

use super::fixture::{TestPod, on_root};
use crate::support;
use crate::support::images::{Layer, oci_archive};

#[test]
fn e2e_paths_of_the_machine_of_each_type_are_of_use_in_a_container() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let at = |name: &str| root.temp.path().join(name);
        fs::write(at("file"), "of the machine\n").unwrap();
        let listener = UnixListener::bind(at("socket")).unwrap();
        assert!(Command::new("mknod").arg(at("block")).args(["b", "7", "0"]).status().unwrap().success());
        let script = "cat /v/file; echo of the pod >> /v/file; stat -c %F /v/socket /v/device /v/block; \
                      perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(q(/v/socket))->print(q(hello))'; \
                      head -c 3 /v/device | od -An -tx1; ls /v/directory /v/made";
        fs::create_dir(at("directory")).unwrap();
        fs::write(at("directory/inside"), "").unwrap();
        let volumes = [
            ("file", at("file"), "File"),
            ("socket", at("socket"), "Socket"),
            ("device", Path::new("/dev/zero").to_owned(), "CharDevice"),
            ("block", at("block"), "BlockDevice"),
            ("directory", at("directory"), "Directory"),
            ("made", at("made"), "DirectoryOrCreate"),
            ("touched", at("touched"), "FileOrCreate"),
        ];
        let mounts: Vec<Value> =
            volumes.iter().map(|(name, ..)| json!({ "name": name, "mountPath": format!("/v/{name}") })).collect();
        let payloads = volumes.map(|(name, path, kind)| {
            let path = path.display().to_string();
            VolumePayload {
                name: name.into(),
                material: VolumeMaterial::HostPath { path, kind: kind.into() },
                group: None,
            }
        });
        let pod = TestPod::new(
            "typed",
            json!({ "containers": [{ "name": "app", "command": ["/bin/sh", "-c", script], "volumeMounts": mounts }] }),
        );
        let native = root.open();
        pod.create(&native).await;
        native.sync_volumes(pod.key(), &payloads).await.unwrap();
        pod.start(&native, "app", 0).await;
        pod.exit(&native, "app").await;
        assert_eq!(
            pod.log(&native, "app").await,
            "of the machine\nsocket\ncharacter special file\nblock special file\n 00 00 00\n\
             /v/directory:\ninside\n\n/v/made:\n"
        );
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "of the machine\nof the pod\n");
        listener.set_nonblocking(true).unwrap();
        let mut heard = String::new();
        listener.accept().unwrap().0.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "hello");
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

/// A directory of the machine with a tmpfs on it, which tells others of what is mounted below.
struct Shared {
    place: PathBuf,
}

fn mount(words: &[&str]) {
    let output = Command::new("mount").args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Shared {
    fn new(place: PathBuf, how: &str) -> Self {
        fs::create_dir(&place).unwrap();
        mount(&["-t", "tmpfs", "tmpfs", place.to_str().unwrap()]);
        mount(&[how, place.to_str().unwrap()]);
        Self { place }
    }

    /// A tmpfs with a file, below.
    fn add(&self, name: &str) {
        let place = self.place.join(name);
        fs::create_dir(&place).unwrap();
        mount(&["-t", "tmpfs", "tmpfs", place.to_str().unwrap()]);
        fs::write(place.join("file"), "").unwrap();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-R").arg("-l").arg(&self.place).status();
    }
}

/// Containers that see one directory, each in another way; the first two write where they can, and those that tell mount a
/// tmpfs in it.
fn passing() -> TestPod {
    let container = |name: &str, script: &str, mount: Value| {
        let mut volume = json!({ "name": "shared", "mountPath": "/v" });
        volume.as_object_mut().unwrap().extend(mount.as_object().unwrap().clone());
        let privileged = name.starts_with("tells");
        json!({ "name": name, "command": ["/bin/sh", "-c", format!("{script}; exec sleep 1000")],
            "securityContext": { "privileged": privileged }, "volumeMounts": [volume] })
    };
    let wait = "until [ -e /v/after/file ] || [ -e /v/deaf ]; do sleep 0.05; done; ls /v";
    let write = "for d in /v /v/before; do touch $d/x 2>/dev/null && echo $d; done; echo tried";
    let make = "mkdir -p /v/made && mount -t tmpfs tmpfs /v/made && touch /v/made/file && echo made";
    let both = json!({ "mountPropagation": "Bidirectional" });
    let part = json!({ "mountPropagation": "Bidirectional", "subPath": "part" });
    TestPod::new(
        "passing",
        json!({ "containers": [
            container("plain", write, json!({ "readOnly": true })),
            container("recursive", write, json!({ "readOnly": true, "recursiveReadOnly": "Enabled" })),
            container("hears", wait, json!({ "mountPropagation": "HostToContainer" })),
            container("deaf", wait, json!({})),
            container("tells", make, both.clone()),
            container("tells-of-a-part", make, part),
            container("alone", "true", json!({ "name": "private", "mountPropagation": "HostToContainer" })),
            container("tells-nobody", "true", json!({ "name": "private", "mountPropagation": "Bidirectional" })),
        ] }),
    )
}

#[test]
fn e2e_mounts_are_passed_on_and_read_only_as_a_container_asks() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let shared = Shared::new(root.temp.path().join("shared"), "--make-shared");
        let private = Shared::new(root.temp.path().join("private"), "--make-private");
        shared.add("before");
        fs::create_dir(shared.place.join("part")).unwrap();
        let pod = passing();
        let native = root.open();
        pod.create(&native).await;
        let payload = |name: &str, place: &Path| {
            let material = VolumeMaterial::HostPath { path: place.display().to_string(), kind: "Directory".into() };
            VolumePayload { name: name.into(), material, group: None }
        };
        let volumes = [payload("shared", &shared.place), payload("private", &private.place)];
        native.sync_volumes(pod.key(), &volumes).await.unwrap();
        for name in ["plain", "recursive", "hears", "deaf"] {
            pod.start(&native, name, 0).await;
        }
        // What is mounted below is as writable as it was, unless it is asked for.
        assert_eq!(pod.wait_log(&native, "plain", "tried").await, "/v/before\ntried\n");
        assert_eq!(pod.wait_log(&native, "recursive", "tried").await, "tried\n");

        shared.add("after");
        let heard = pod.wait_log(&native, "hears", "after").await;
        assert!(heard.contains("before"), "{heard}");
        fs::write(shared.place.join("deaf"), "").unwrap();
        pod.wait_log(&native, "deaf", "deaf").await;
        let inside = |pid: i32, path: &str| Path::new(&format!("/proc/{pid}/root")).join(path).exists();
        let [hears, deaf] = [pod.pid(&native, "hears").await, pod.pid(&native, "deaf").await];
        assert!(inside(hears, "v/after/file") && !inside(deaf, "v/after/file"));

        for (name, made) in [("tells", "made/file"), ("tells-of-a-part", "part/made/file")] {
            pod.start(&native, name, 0).await;
            pod.wait_log(&native, name, "made").await;
            assert!(shared.place.join(made).exists(), "{name}");
            assert!(inside(hears, &format!("v/{made}")) && !inside(deaf, &format!("v/{made}")), "{name}");
        }
        let run = root.state().join("run/pods").join(&pod.uid().0);
        let left: Vec<_> = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["shm"], "a part is held only while its container starts");

        // Where nobody is told of anything, that is said.
        for (name, what) in [("alone", "shared or slave"), ("tells-nobody", "shared")] {
            let error = native.start_container(pod.key(), &pod.plan(name, 0)).await.unwrap_err();
            let place = private.place.display();
            let told = format!("path \"{place}\" is mounted on \"{place}\" but it is not a {what} mount");
            assert!(error.message.contains(&told), "{error}");
        }
        // What a container has mounted on the machine outlives it, as with Kubernetes.
        pod.remove(&native).await;
        assert!(shared.place.join("made/file").exists() && shared.place.join("part/made/file").exists());
        drop((shared, private));
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_what_is_mounted_in_a_volume_of_the_pod_is_its_others_and_goes_with_it() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        fs::create_dir_all(root.state()).unwrap();
        let shared = Shared::new(root.state().join("volumes"), "--make-shared");
        let made = "mkdir /v/made && mount -t tmpfs tmpfs /v/made && touch /v/made/file && echo made; exec sleep 1000";
        let heard = "until [ -e /v/made/file ]; do sleep 0.05; done; echo heard; exec sleep 1000";
        let container = |name: &str, script: &str, how: &str| {
            json!({ "name": name, "command": ["/bin/sh", "-c", script],
                "securityContext": { "privileged": how == "Bidirectional" },
                "volumeMounts": [{ "name": "v", "mountPath": "/v", "mountPropagation": how }] })
        };
        let containers = [
            container("tells", made, "Bidirectional"),
            container("hears", heard, "HostToContainer"),
            container("takes", "true", "None"),
        ];
        let pod = TestPod::new("own", json!({ "containers": containers }));
        let native = root.open();
        pod.create(&native).await;
        let material = VolumeMaterial::EmptyDir { memory: false, size_limit: None };
        let volumes = [VolumePayload { name: "v".into(), material, group: None }];
        native.sync_volumes(pod.key(), &volumes).await.unwrap();
        pod.start(&native, "hears", 0).await;
        pod.start(&native, "tells", 0).await;
        pod.wait_log(&native, "tells", "made").await;
        pod.wait_log(&native, "hears", "heard").await;
        // Nobody is asked for variables who serves a mount.
        let late = ["made/file", "made/../made/none"].map(|path| {
            let (volume, key) = ("v".to_owned(), "K".to_owned());
            LateValue { name: "A".into(), volume, path: path.into(), key, optional: true, before: None }
        });
        for late in late {
            let plan = ContainerStart { late: vec![late], ..pod.plan("takes", 0) };
            let error = native.start_container(pod.key(), &plan).await.unwrap_err();
            assert!(error.message.ends_with("of volume v: something is mounted there"), "{error}");
            assert_eq!(error.waiting_reason, Some("CreateContainerConfigError"));
        }
        // It outlives the container that has mounted it, and the agent.
        pod.signal(&native, "tells", Signal::Kill).await;
        pod.exit(&native, "tells").await;
        drop(native);
        let place = root.state().join("volumes").join(&pod.uid().0).join("v/made");
        assert!(place.join("file").exists());
        let native = root.open();
        pod.remove(&native).await;
        assert!(!place.exists());
        root.check_pods_are_gone();
        drop(shared);
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_what_a_link_of_the_image_leads_to_a_place_that_is_told_of_is_not_mounted() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let shared = Shared::new(root.temp.path().join("shared"), "--make-shared");
        fs::create_dir(shared.place.join("below")).unwrap();
        let native = root.open();
        let (etc, bin) =
            (Layer::new().link(EntryType::Symlink, "link", "/v/below").tar(), Layer::new().dir("bin").tar());
        native.images().load(oci_archive("example.com/linked:1", &[etc, bin], json!({})).as_slice(), None).unwrap();
        let pod = TestPod::new(
            "linked",
            json!({ "containers": [{ "name": "app", "image": "example.com/linked:1", "command": ["/no/program"],
                "securityContext": { "privileged": true }, "volumeMounts": [
                    { "name": "shared", "mountPath": "/v", "mountPropagation": "Bidirectional" },
                    { "name": "other", "mountPath": "/link/x" },
                ] }] }),
        );
        pod.create(&native).await;
        let material = VolumeMaterial::HostPath { path: shared.place.display().to_string(), kind: "Directory".into() };
        let empty = VolumeMaterial::EmptyDir { memory: false, size_limit: None };
        let payload = |name: &str, material| VolumePayload { name: name.into(), material, group: None };
        native.sync_volumes(pod.key(), &[payload("shared", material), payload("other", empty)]).await.unwrap();
        let error = native.start_container(pod.key(), &pod.plan("app", 0)).await.unwrap_err();
        assert!(error.message.contains("it would be mounted on the machine as well"), "{error}");
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!table.contains("shared/below"), "{table}");
        pod.remove(&native).await;
        drop(shared);
        native.teardown_root().await.unwrap();
    });
}

/// Two files that always say the same: one letter, again and again.
const SIZE: usize = 100_000;

fn letters(number: u8) -> String {
    char::from(b'a' + number % 25).to_string().repeat(SIZE)
}

fn payload(number: u8) -> [VolumePayload; 1] {
    let file = |path: &str| PayloadFile {
        path: path.into(),
        bytes: SharedBytes::new(letters(number)),
        mode: 0o644,
        owner: None,
    };
    let files = vec![file("first"), file("second")];
    [VolumePayload { name: "config".into(), material: VolumeMaterial::Files { files, sensitive: false }, group: None }]
}

/// Reads one by its name, and both of one directory, which may go on the way there, as with the kubelet; says what it saw of two kinds at once, and
/// after some different letters that it has seen enough.
const READER: &str = "$| = 1; my %seen; sub of { open my $f, q(<), $_[0] or return undef; local $/; <$f> } chdir q(/config); \
     print qq(ready\\n); while (1) { my $whole = of(q(first)); \
     next if !defined $whole; print qq(torn\\n) if $whole ne substr($whole, 0, 1) x 100_000; \
     my $dir = readlink q(..data) or next; my ($one, $two) = (of(qq($dir/first)), of(qq($dir/second))); \
     next if !defined $one || !defined $two; print qq(mixed\\n) if $one ne $two; \
     $seen{substr $one, 0, 1} = 1; print qq(enough\\n) and last if keys %seen > 5 } sleep 1000";

#[test]
fn e2e_a_reader_never_sees_a_mix_of_old_and_new_data_where_a_naive_writer_shows_one() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let reader = |name: &str| {
            json!({ "name": name, "command": ["perl", "-e", READER],
                "volumeMounts": [{ "name": "config", "mountPath": "/config", "readOnly": true }] })
        };
        let pod = TestPod::new("reader", json!({ "containers": [reader("app"), reader("control")] }));
        let native = root.open();
        pod.create(&native).await;
        native.sync_volumes(pod.key(), &payload(0)).await.unwrap();
        pod.start(&native, "app", 0).await;
        pod.wait_log(&native, "app", "ready").await;
        let mut number = 0_u8;
        super::fixture::until("enough reads", async || {
            number = number.wrapping_add(1);
            native.sync_volumes(pod.key(), &payload(number)).await.unwrap();
            pod.log(&native, "app").await.contains("enough").then_some(())
        })
        .await;
        assert_eq!(pod.log(&native, "app").await, "ready\nenough\n");
        // The control: the same files, written one after the other where they are.
        pod.start(&native, "control", 0).await;
        pod.wait_log(&native, "control", "ready").await;
        let volume = root.state().join("volumes").join(&pod.uid().0).join("config");
        super::fixture::until("a mix", async || {
            number = number.wrapping_add(1);
            for name in ["first", "second"] {
                fs::write(volume.join("..data").join(name), letters(number)).unwrap();
                // Long enough for the reader to come by on a loaded machine.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            let log = pod.log(&native, "control").await;
            (log.contains("torn") || log.contains("mixed")).then_some(())
        })
        .await;
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}
