//! Pods with `hostUsers: false`: who they are inside, who outside, and what that is good for.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount, umount};
use podwright::backend::native::Native;
use podwright::model::{PayloadFile, SharedBytes, Signal, VolumeMaterial, VolumePayload};
use podwright::port::ContainerBackend;
use podwright::sys::users::{IDS, first_id_of, ranges_in_use};
use serde_json::{Value, json};

use super::fixture::{Root, TestPod, on_root};
use crate::support;

/// A pod of one container that runs a script, with user ids of its own or the machine's.
fn pod(name: &str, own: bool, script: &str, more: Value) -> TestPod {
    let mut container = json!({ "name": "app", "command": ["/bin/sh", "-c", script] });
    container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    TestPod::new(name, json!({ "hostUsers": !own, "containers": [container] }))
}

async fn own_first_id(native: &Native, pod: &TestPod) -> u32 {
    first_id_of(pod.infra(native).await).unwrap().expect("the pod has user ids of its own")
}

/// The range on record.
fn recorded(root: &Root, pod: &TestPod) -> u32 {
    let text = std::fs::read(root.pod_dir(pod).join("users.json")).unwrap();
    let record: Value = serde_json::from_slice(&text).unwrap();
    u32::try_from(record["firstId"].as_u64().unwrap()).unwrap()
}

fn upper(root: &Root, pod: &TestPod) -> PathBuf {
    root.instance_dir(pod, "app", 0).join("upper")
}

/// Says whether something can be done.
const CAN: &str =
    "can() { name=$1; shift; if \"$@\" 2>/dev/null; then echo \"$name: yes\"; else echo \"$name: no\"; fi; }";
/// What root of the machine can do, each tried for real.
const TRIES: &str = "touch /made; can 'own id' chown 65535:65535 /made; can 'foreign id' chown 65536 /made; can node mknod /node b 8 0; \
    can 'kernel setting' sh -c 'echo 1 > /proc/sys/vm/drop_caches'; can mount mount -t tmpfs none /mnt; \
    can null sh -c 'echo > /dev/null'; can 'host name' hostname other; \
    can 'other user' perl -e '$( = 7; $) = \"7 7\"; $> = $< = 7; exit($> != 7)'; echo done; sleep 1000";

#[test]
fn e2e_a_pod_with_users_of_its_own_is_root_of_nothing_but_itself() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let script = format!(
            "id -u; id -G; cat /proc/self/uid_map; stat -c '%u:%g' / /etc/hosts /bin/sh /dev/shm /proc/1; \
             {CAN}; can uncover umount {}; {TRIES}",
            root.state().display()
        );
        let privileged = json!({ "securityContext": { "privileged": true } });
        for own in [false, true] {
            let pod = pod(if own { "own" } else { "control" }, own, &script, privileged.clone());
            pod.create(&native).await;
            pod.start(&native, "app", 0).await;
            let log = pod.wait_log(&native, "app", "done\n").await;
            // Whoever comes later, by exec, comes to the root file system too: nothing of the machine lies over it.
            let pid = pod.pid(&native, "app").await.to_string();
            let output = Command::new("nsenter").args(["-m", "-t", &pid, "--", "ls", "-d", "/made"]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), "/made\n", "{output:?}");
            let lines: Vec<&str> = log.lines().collect();
            let first = first_id_of(pod.infra(&native).await).unwrap();
            assert_eq!((lines[0], lines[1], &lines[3..8], first.is_some()), ("0", "0", &["0:0"; 5][..], own), "{log}");
            let cannot = if own { "no" } else { "yes" };
            let expected = [
                ("uncover", cannot),
                ("own id", "yes"),
                ("foreign id", cannot),
                ("node", cannot),
                ("kernel setting", cannot),
                ("mount", "yes"),
                ("null", "yes"),
                ("host name", "yes"),
                ("other user", "yes"),
            ];
            let expected: Vec<String> = expected.iter().map(|(what, can)| format!("{what}: {can}")).collect();
            assert_eq!(lines[8..lines.len() - 1], expected, "{log}");
            if let Some(first) = first {
                let map: Vec<u32> = lines[2].split_whitespace().map(|n| n.parse().unwrap()).collect();
                assert_eq!(map, [0, first, IDS], "{log}");
                assert!(first >= 1 << 30 && first.is_multiple_of(IDS), "{first}");
                // Outside it is all of somebody who is nobody.
                let owner = |path: &Path| {
                    let found = std::fs::metadata(path).unwrap();
                    (found.uid(), found.gid())
                };
                assert_eq!(owner(&upper(root, &pod).join("made")), (first + 65535, first + 65535));
                for (process, user) in
                    [(pod.pid(&native, "app").await, first), (pod.infra(&native).await, first + 65535)]
                {
                    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
                    assert!(status.contains(&format!("\nUid:\t{user}\t{user}\t{user}\t{user}\n")), "{status}");
                }
            }
            pod.remove(&native).await;
        }
        // What is below /proc is hidden, and kept from being written to, unless it is asked for.
        let look = "grep -c ' /proc/' /proc/self/mounts; test -f /proc/keys && echo keys; echo done; sleep 1000";
        for (kind, is_masked) in [("Default", true), ("Unmasked", false)] {
            let pod = pod(&kind.to_lowercase(), true, look, json!({ "securityContext": { "procMount": kind } }));
            pod.create(&native).await;
            pod.start(&native, "app", 0).await;
            let log = pod.wait_log(&native, "app", "done\n").await;
            let count: usize = log.lines().next().unwrap().parse().unwrap();
            assert_eq!((count > 0, log.contains("keys")), (is_masked, !is_masked), "{kind}: {log}");
            pod.remove(&native).await;
        }
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_pods_with_users_of_their_own_share_none_and_keep_them_for_life() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let mut native = root.open();
        let pods = ["a", "b", "c"].map(|name| pod(name, true, "echo up; exec sleep 1000", json!({})));
        let mut firsts = Vec::new();
        for pod in &pods {
            pod.create(&native).await;
            pod.start(&native, "app", 0).await;
            pod.wait_log(&native, "app", "up").await;
            firsts.push(own_first_id(&native, pod).await);
            assert_eq!(recorded(root, pod), firsts[firsts.len() - 1]);
        }
        firsts.sort_unstable();
        assert!(firsts.windows(2).all(|two| two[0] + IDS <= two[1]), "{firsts:?}");
        // A new agent finds them running as they were, and a new sandbox gets the same ids.
        let before = pods[1].look(&native).await;
        native = root.open();
        assert_eq!(pods[1].look(&native).await, before);
        let first = recorded(root, &pods[1]);
        pods[1].signal(&native, "app", Signal::Kill).await;
        pods[1].exit(&native, "app").await;
        native.stop_sandbox(pods[1].key()).await.unwrap();
        native.run_sandbox(pods[1].key(), 1).await.unwrap();
        assert_eq!(own_first_id(&native, &pods[1]).await, first);
        // Also the ids of a pod that is stopped are its own, and those of one that is gone are free.
        native.stop_sandbox(pods[1].key()).await.unwrap();
        pods[0].remove(&native).await;
        let gone = firsts.iter().find(|f| pods[1..].iter().all(|pod| recorded(root, pod) != **f)).copied().unwrap();
        assert!(!ranges_in_use().unwrap().iter().any(|(first, _)| *first == gone), "nobody has them any more");
        let mut later = Vec::new();
        for name in ["d", "e"] {
            let pod = pod(name, true, "exec sleep 1000", json!({}));
            pod.create(&native).await;
            assert!(![first, recorded(root, &pods[2])].contains(&own_first_id(&native, &pod).await));
            later.push(pod);
        }
        assert_eq!(later.iter().filter(|pod| recorded(root, pod) == gone).count(), 1, "they are given to the next one");
        // A record that says nothing costs the pod its old ids, and no more.
        std::fs::write(root.pod_dir(&pods[1]).join("users.json"), "{").unwrap();
        native.run_sandbox(pods[1].key(), 2).await.unwrap();
        assert_eq!(own_first_id(&native, &pods[1]).await, recorded(root, &pods[1]));
        for pod in later.iter().chain(&pods[1..]) {
            pod.remove(&native).await;
        }
        native.teardown_root().await.unwrap();
    });
}

/// Has a volume of each kind made, and one of a directory of this machine that root and another user have files in. Where that is.
async fn make_volumes(native: &Native, root: &Root, pod: &TestPod) -> PathBuf {
    let host = root.temp.path().join("host");
    std::fs::create_dir_all(&host).unwrap();
    std::fs::set_permissions(&host, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(host.join("other"), "").unwrap();
    std::os::unix::fs::chown(host.join("other"), Some(1234), Some(2345)).unwrap();
    std::fs::write(host.join("nobody"), "").unwrap();
    std::os::unix::fs::chown(host.join("nobody"), Some(70_000), Some(70_000)).unwrap();
    let file = PayloadFile { path: "text".into(), bytes: SharedBytes::new("hi"), mode: 0o640, owner: None };
    // The file of one user, as a token is that of the only user of its pod.
    let own = PayloadFile { path: "own".into(), mode: 0o600, owner: Some(7), ..file.clone() };
    let files = |sensitive| VolumeMaterial::Files { files: vec![file.clone(), own.clone()], sensitive };
    let empty = |memory| VolumeMaterial::EmptyDir { memory, size_limit: None };
    let host_path = VolumeMaterial::HostPath { path: host.display().to_string(), kind: String::new() };
    let all = [
        ("host", host_path),
        ("disk", empty(false)),
        ("memory", empty(true)),
        ("config", files(false)),
        ("secret", files(true)),
    ];
    let all: Vec<_> =
        all.into_iter().map(|(name, material)| VolumePayload { name: name.into(), material, group: None }).collect();
    native.sync_volumes(pod.key(), &all).await.unwrap();
    host
}

#[test]
fn e2e_volumes_are_shown_with_their_ids_to_pods_with_users_of_their_own() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let mounts: Vec<Value> = ["host", "disk", "memory", "config", "secret"]
            .iter()
            .map(|name| json!({ "name": name, "mountPath": format!("/v/{name}") }))
            .chain([json!({ "name": "disk", "subPath": "part", "mountPath": "/v/part" })])
            .collect();
        let script = "cd /v; for v in host disk memory part; do echo $v > $v/made; done; chown 33:44 disk/made; \
                      chown 1 host/nobody 2>/dev/null && echo chowned; \
                      stat -L -c '%n %u:%g %a' host host/* disk disk/made memory/made part/made config/text secret/text secret/own; echo done; \
                      exec sleep 1000";
        let pod = pod("volumes", true, script, json!({ "volumeMounts": mounts }));
        native.put_record(&pod.record).await.unwrap();
        let host = make_volumes(&native, root, &pod).await;
        native.run_sandbox(pod.key(), 0).await.unwrap();
        pod.start(&native, "app", 0).await;
        let log = pod.wait_log(&native, "app", "done\n").await;
        assert_eq!(
            log,
            "host 0:0 700\nhost/made 0:0 644\nhost/nobody 65534:65534 644\nhost/other 1234:2345 644\ndisk 0:0 777\n\
             disk/made 33:44 644\nmemory/made 0:0 644\npart/made 0:0 644\nconfig/text 0:0 640\nsecret/text 0:0 640\nsecret/own 7:0 600\ndone\n"
        );
        // As the kubelet has it: on the disk they are the ids that the pod sees.
        assert_eq!(std::fs::metadata(host.join("made")).unwrap().uid(), 0);
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_program_that_root_of_a_pod_leaves_behind_is_not_the_machine_s_root() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        for own in [false, true] {
            let script = "cp /usr/bin/id /id && chmod 4755 /id && echo done; sleep 1000";
            let pod = pod(if own { "attack" } else { "control" }, own, script, json!({}));
            pod.create(&native).await;
            pod.start(&native, "app", 0).await;
            pod.wait_log(&native, "app", "done\n").await;
            // Somebody of the machine who comes to it runs it: for that it is put where everybody may go.
            let open = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
            mount(Some(&upper(root, &pod)), open.path(), None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
            let output = Command::new(open.path().join("id")).arg("-u").uid(1234).gid(1234).output().unwrap();
            umount(open.path()).unwrap();
            let user: u32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
            let expected = if own { own_first_id(&native, &pod).await } else { 0 };
            assert_eq!(user, expected, "hostUsers: {}", !own);
            pod.remove(&native).await;
        }
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_ids_that_no_range_has_and_file_systems_that_cannot_are_said() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let beyond = pod("beyond", true, "true", json!({ "securityContext": { "runAsUser": 65536 } }));
        beyond.create(&native).await;
        let error = native.start_container(beyond.key(), &beyond.plan("app", 0)).await.unwrap_err();
        assert_eq!(error.waiting_reason, Some("CreateContainerConfigError"), "{error}");
        assert!(error.to_string().contains("end at 65535, and it has 65536"), "{error}");
        beyond.remove(&native).await;
        let mounts = json!([{ "name": "dev", "mountPath": "/d" }]);
        for (name, path, shown) in
            [("devices", "/dev", false), ("device", "/dev/null", true), ("kernel", "/proc/sys", true)]
        {
            let pod = pod(name, true, "true", json!({ "volumeMounts": mounts }));
            pod.create(&native).await;
            let material = VolumeMaterial::HostPath { path: path.into(), kind: String::new() };
            native
                .sync_volumes(pod.key(), &[VolumePayload { name: "dev".into(), material, group: None }])
                .await
                .unwrap();
            let started = native.start_container(pod.key(), &pod.plan("app", 0)).await;
            let exit = pod.exit(&native, "app").await;
            assert_eq!((started.is_ok(), exit.exit_code), (shown, if shown { 0 } else { 128 }), "{path}: {exit:?}");
            let message = exit.message.unwrap_or_default();
            assert!(
                shown || message.contains("mounting /dev at /d: its file system, or this kernel, cannot"),
                "{message}"
            );
            pod.remove(&native).await;
        }
        native.teardown_root().await.unwrap();
    });
}
