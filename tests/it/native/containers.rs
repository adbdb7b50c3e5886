//! What a container finds: its namespaces, names, users, limits, volumes and image.

use std::os::unix::fs::symlink;
use std::path::Path;

use podwright::backend::native::{Native, NativeOptions};
use podwright::model::{EnvValue, ImageNeed, Masked, PayloadFile, SharedBytes, Signal, VolumeMaterial, VolumePayload};
use podwright::port::{ContainerBackend, ErrorKind};
use serde_json::{Value, json};

use super::fixture::{HOST, TestPod, on_root, until};
use crate::support;
use crate::support::images;

/// Where this process is: the machine, as far as the test goes.
fn namespace(kind: &str) -> String {
    std::fs::read_link(format!("/proc/thread-self/ns/{kind}")).unwrap().display().to_string()
}

fn line<'a>(log: &'a str, name: &str) -> &'a str {
    log.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('=')).unwrap_or_else(|| panic!("no {name} in {log}"))
}

const LOOK: &str = "for n in net ipc uts pid mnt; do echo $n=$(readlink /proc/self/ns/$n); done; \
                    echo host=$(cat /proc/sys/kernel/hostname); \
                    echo shm=$(stat -f -c '%b %S' /dev/shm) $(ls /dev/shm); echo one=$(tr '\\0' ' ' </proc/1/cmdline); echo end; sleep 1000";

#[test]
fn e2e_namespaces_are_the_pod_s_or_the_machine_s() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let of_the_machine = tempfile::Builder::new().prefix("podwright-shm-").tempfile_in("/dev/shm").unwrap();
        let note = of_the_machine.path().file_name().unwrap().to_str().unwrap();
        let pod = |name: &str, extra: Value| {
            let mut spec = json!({ "containers": [
                { "name": "app", "command": ["/bin/sh", "-c", LOOK] },
                { "name": "other", "command": ["/bin/sh", "-c", LOOK] }
            ] });
            spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            TestPod::new(name, spec)
        };
        let rows: [(&str, Value, &[&str]); 5] = [
            ("plain", json!({}), &[]),
            ("net", json!({ "hostNetwork": true }), &["net", "uts"]),
            ("pid", json!({ "hostPID": true }), &["pid"]),
            ("ipc", json!({ "hostIPC": true }), &["ipc"]),
            ("shared", json!({ "shareProcessNamespace": true }), &[]),
        ];
        for (name, extra, of_the_machine) in rows {
            let pod = pod(name, extra);
            pod.create(&native).await;
            pod.start(&native, "app", 0).await;
            pod.start(&native, "other", 0).await;
            let log = pod.wait_log(&native, "app", "end").await;
            let other = pod.wait_log(&native, "other", "end").await;
            for kind in ["net", "ipc", "uts", "pid", "mnt"] {
                let machine = of_the_machine.contains(&kind);
                assert_eq!(line(&log, kind) == namespace(kind), machine, "{name}: {kind}");
                let shared = kind != "mnt" && (kind != "pid" || machine || name == "shared");
                assert_eq!(line(&log, kind) == line(&other, kind), shared, "{name}: {kind} of both containers");
            }
            let shm = line(&log, "shm");
            assert_eq!(shm.contains(note), name == "ipc", "{name}: {shm}");
            let size: Vec<u64> = shm.split(' ').take(2).map(|number| number.parse().unwrap()).collect();
            assert!(name == "ipc" || size[0] * size[1] == 64 << 20, "{name}: {shm}");
            let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
            assert_eq!(line(&log, "host"), if name == "net" { hostname.trim() } else { name });
            if name == "shared" {
                assert_eq!(line(&log, "one").trim(), "/pause");
            }
            let ips = pod.look(&native).await.ips().to_vec();
            assert_eq!(ips == ["192.0.2.7".parse::<std::net::IpAddr>().unwrap()], name == "net", "{ips:?}");
            pod.remove(&native).await;
        }
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_containers_of_a_pod_share_localhost_and_memory_and_know_their_names() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::new(
            "web",
            json!({
                "hostname": "front", "subdomain": "sub",
                "hostAliases": [{ "ip": "10.9.8.7", "hostnames": ["db", "database"] }],
                "dnsPolicy": "None", "dnsConfig": { "nameservers": ["192.0.2.53"], "searches": ["example"] },
                "containers": [
                    { "name": "app", "command": ["/bin/sh", "-c",
                        "echo shared >/dev/shm/note; cat /etc/hosts /etc/hostname /etc/resolv.conf; \
                         echo user=$HOSTNAME; stat -f -c shm=%T /dev/shm; echo done; sleep 1000"] },
                    { "name": "peer", "command": ["/bin/sh", "-c", "cat /dev/shm/note"] }
                ]
            }),
        );
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        let log = pod.wait_log(&native, "app", "done").await;
        let ip = pod.look(&native).await.ips()[0];
        for expected in [
            "# Kubernetes-managed hosts file.".to_owned(),
            format!("{ip}\tfront.sub.default.svc.cluster.local\tfront"),
            "10.9.8.7\tdb\tdatabase".to_owned(),
            "\nfront\n".to_owned(),
            "search example\nnameserver 192.0.2.53\n".to_owned(),
            "user=front".to_owned(),
            "shm=tmpfs".to_owned(),
        ] {
            assert!(log.contains(&expected), "{expected:?} in {log}");
        }
        pod.start(&native, "peer", 0).await;
        assert_eq!(pod.exit(&native, "peer").await.exit_code, 0);
        assert_eq!(pod.log(&native, "peer").await, "shared\n");
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_the_end_of_a_container_tells_why() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let container = |name: &str, script: &str, extra: Value| {
            let mut out = json!({ "name": name, "command": ["/bin/sh", "-c", script] });
            out.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            out
        };
        let fallback = json!({ "terminationMessagePolicy": "FallbackToLogsOnError" });
        let small = json!({ "resources": { "limits": { "memory": "16Mi" } } });
        let pod = TestPod::new(
            "ends",
            json!({ "containers": [
                container("file", "echo -n why >/dev/termination-log; echo log; exit 1", json!({})),
                container("path", "echo -n here >/tmp/why; exit 1", json!({ "terminationMessagePath": "/tmp/why" })),
                container("silent", "echo log; exit 1", json!({})),
                container("fallback", "echo last words >&2; exit 1", fallback.clone()),
                container("fine", "echo all is well", fallback),
                { "name": "missing", "command": ["/no/such/program"] },
                container("killed", "sleep 100000 & kill -9 $!; wait $!", small.clone()),
                container("parent", "tail /dev/zero; exit 3", small),
                container("memory", "exec dd if=/dev/zero of=/dev/null bs=64M count=1", json!({ "resources": { "limits": { "memory": "16Mi" } } }))
            ] }),
        );
        pod.create(&native).await;
        let rows = [
            ("file", 1, None, Some("why")),
            ("path", 1, None, Some("here")),
            ("silent", 1, None, None),
            ("fallback", 1, None, Some("last words\n")),
            ("fine", 0, None, None),
        ];
        for (name, code, reason, message) in rows {
            pod.start(&native, name, 0).await;
            let exit = pod.exit(&native, name).await;
            assert_eq!(
                (exit.exit_code, exit.reason.as_deref(), exit.message.as_deref()),
                (code, reason, message),
                "{name}"
            );
        }
        let error = native.start_container(pod.key(), &pod.plan("missing", 0)).await.unwrap_err();
        assert_eq!(error.waiting_reason, Some("RunContainerError"), "{error}");
        let exit = pod.exit(&native, "missing").await;
        assert_eq!((exit.exit_code, exit.reason.as_deref(), exit.started_at), (128, Some("StartError"), None));
        assert!(exit.message.unwrap().contains("/no/such/program"));
        pod.start(&native, "memory", 0).await;
        let exit = pod.exit(&native, "memory").await;
        assert_eq!((exit.exit_code, exit.oom_killed), (137, true), "{exit:?}");
        // Where one that is killed for want of memory takes all others with it, the container has not ended by itself.
        let parent = if Path::new("/sys/fs/cgroup/memory").exists() { (3, false) } else { (137, true) };
        for (name, expected) in [("killed", (137, false)), ("parent", parent)] {
            pod.start(&native, name, 0).await;
            let exit = pod.exit(&native, name).await;
            assert_eq!((exit.exit_code, exit.oom_killed), expected, "{name}: {exit:?}");
        }
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_sysctls_are_those_of_the_pod_and_of_nobody_else() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let files = ["net/ipv4/ip_unprivileged_port_start", "net/core/somaxconn", "kernel/shm_rmid_forced"];
        let machine = || files.map(|file| std::fs::read_to_string(Path::new("/proc/sys").join(file)).unwrap());
        let before = machine();
        let look = format!("cd /proc/sys; cat {}", files.join(" "));
        let pod = |name: &str, own_users: bool, sysctls: Value| {
            TestPod::new(
                name,
                json!({
                    "hostUsers": !own_users,
                    "securityContext": { "sysctls": sysctls },
                    "containers": [{ "name": "app", "command": ["/bin/sh", "-c", look] }]
                }),
            )
        };
        let set = |name: &str, value: &str| json!({ "name": name, "value": value });
        let port = set("net.ipv4.ip_unprivileged_port_start", "81");
        let all = json!([port, set("net/core/somaxconn", "321"), set("kernel.shm_rmid_forced", "1")]);
        for (name, own, sysctls, expected) in
            [("all", false, all.clone(), "81\n321\n1\n"), ("users", true, all, "81\n321\n1\n")]
        {
            let pod = pod(name, own, sysctls);
            let (exit, log) = pod.run(&native).await;
            assert_eq!((exit.exit_code, log.as_str()), (0, expected), "{name}");
            pod.remove(&native).await;
        }
        assert_eq!(machine(), before);
        // One that is not there, and a value that the kernel does not take: no sandbox, and nothing of one.
        for (sysctl, why) in [
            (set("net.ipv4.no_such_setting", "1"), "the sysctl \"net.ipv4.no_such_setting\" cannot be set to \"1\": "),
            (set("net.core.somaxconn", "many"), "the sysctl \"net.core.somaxconn\" cannot be set to \"many\": "),
            (set("vm.swappiness", "60"), "it is no namespace's"),
        ] {
            let pod = pod("wrong", false, json!([sysctl]));
            native.put_record(&pod.record).await.unwrap();
            let error = native.run_sandbox(pod.key(), 0).await.unwrap_err();
            assert_eq!(error.waiting_reason, Some("CreatePodSandboxError"), "{error}");
            assert!(error.to_string().contains(why), "{error}");
            pod.remove(&native).await;
        }
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_rights_are_those_of_the_pod() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let look = "grep -E '^(Uid|Gid|Groups|CapEff|CapBnd|NoNewPrivs):' /proc/self/status | tr '\\t' ' '; \
                    touch /probe 2>/dev/null && echo written; [ -b /dev/vda ] || [ -c /dev/kmsg ] && echo devices; \
                    (echo x >/proc/sys/kernel/domainname) 2>/dev/null && echo sysctl; \
                    (echo 5 >/sys/fs/cgroup/pids/pids.max || echo 5 >/sys/fs/cgroup/pids.max) 2>/dev/null && echo limits; \
                    cat /proc/keys 2>/dev/null | head -c 1; echo end";
        let pod = |name: &str, security: Value| {
            TestPod::new(
                name,
                json!({
                    "securityContext": { "supplementalGroups": [4711] },
                    "containers": [{ "name": "app", "command": ["/bin/sh", "-c", look], "securityContext": security }]
                }),
            )
        };
        let run = async |name: &str, security: Value| {
            let pod = pod(name, security);
            let (exit, log) = pod.run(&native).await;
            assert_eq!(exit.exit_code, 0, "{log} {exit:?}");
            pod.remove(&native).await;
            log
        };
        let log = run("plain", json!({})).await;
        assert!(log.contains("CapEff: 00000000a80425fb"), "{log}");
        assert!(log.contains("NoNewPrivs: 0") && log.contains("written"), "{log}");
        assert!(log.contains("4711") && !log.contains("sysctl") && !log.contains("devices"), "{log}");
        assert!(!log.contains("limits"), "{log}");
        let log = run(
            "nobody",
            json!({
                "runAsUser": 65534, "runAsGroup": 33, "allowPrivilegeEscalation": false, "runAsNonRoot": true,
                "capabilities": { "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] }
            }),
        )
        .await;
        assert!(log.contains("Uid: 65534 65534") && log.contains("Gid: 33 33"), "{log}");
        assert!(log.contains("Groups: 33 4711"), "{log}");
        assert!(log.contains("CapBnd: 0000000000000400") && log.contains("NoNewPrivs: 1"), "{log}");
        assert!(!log.contains("written"), "{log}");
        let log = run("read-only", json!({ "readOnlyRootFilesystem": true })).await;
        assert!(!log.contains("written"), "{log}");
        let log = run("privileged", json!({ "privileged": true })).await;
        assert!(log.contains("devices") && log.contains("sysctl") && log.contains("written"), "{log}");
        let root_user = pod("root", json!({ "runAsNonRoot": true }));
        root_user.create(&native).await;
        let error = native.start_container(root_user.key(), &root_user.plan("app", 0)).await.unwrap_err();
        assert_eq!(error.waiting_reason, Some("CreateContainerConfigError"));
        assert!(error.message.contains("container has runAsNonRoot and image will run as root"), "{error}");
        assert!(root_user.look(&native).await.containers.is_empty(), "nothing was made");
        root_user.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

fn files(name: &str, sensitive: bool, files: &[(&str, &str)]) -> VolumePayload {
    let files = files
        .iter()
        .map(|(path, text)| PayloadFile {
            path: (*path).to_owned(),
            bytes: SharedBytes::new(*text),
            mode: 0o644,
            owner: None,
        })
        .collect();
    VolumePayload { name: name.into(), material: VolumeMaterial::Files { files, sensitive }, group: None }
}

#[test]
fn e2e_volumes_and_parts_of_them() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let look = "cat /config/key /one-key /secret/password; echo data >/data/made; ls /part; \
                    stat -f -c %T /secret; (echo x >/config/new) 2>/dev/null || echo read-only; \
                    (echo x >/secret/new) 2>/dev/null && echo writable";
        let pod = TestPod::new(
            "volumes",
            json!({ "containers": [
                { "name": "app", "command": ["/bin/sh", "-c", look], "volumeMounts": [
                    { "name": "config", "mountPath": "/config", "readOnly": true },
                    { "name": "config", "mountPath": "/one-key", "subPath": "key" },
                    { "name": "secret", "mountPath": "/secret" },
                    { "name": "empty", "mountPath": "/data", "subPath": "deep/er" },
                    { "name": "empty", "mountPath": "/part", "subPath": "deep" }
                ] },
                { "name": "escape", "command": ["true"], "volumeMounts": [
                    { "name": "empty", "mountPath": "/x", "subPath": "away" }
                ] },
                { "name": "hidden", "command": ["true"], "volumeMounts": [
                    { "name": "empty", "mountPath": "/x", "subPath": "away", "subPathExpr": "$(P)" }
                ] }
            ] }),
        );
        let volumes = [
            files("config", false, &[("key", "value\n")]),
            files("secret", true, &[("password", "hunter2\n")]),
            VolumePayload {
                name: "empty".into(),
                material: VolumeMaterial::EmptyDir { memory: false, size_limit: None },
                group: None,
            },
        ];
        pod.create(&native).await;
        let error = native.start_container(pod.key(), &pod.plan("app", 0)).await.unwrap_err();
        assert!(error.message.contains("volume config was not made"), "{error}");
        native.sync_volumes(pod.key(), &volumes).await.unwrap();
        pod.start(&native, "app", 0).await;
        let exit = pod.exit(&native, "app").await;
        let log = pod.log(&native, "app").await;
        assert_eq!((log.as_str(), exit.exit_code), ("value\nvalue\nhunter2\ner\ntmpfs\nread-only\nwritable\n", 0));
        let empty = root.state().join("volumes").join(&pod.uid().0).join("empty");
        assert_eq!(std::fs::read_to_string(empty.join("deep/er/made")).unwrap(), "data\n");
        let run = root.state().join("run/pods").join(&pod.uid().0);
        let left: Vec<_> = std::fs::read_dir(&run).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["shm"], "parts are held only while the container starts");
        symlink("/etc", empty.join("away")).unwrap();
        let error = native.start_container(pod.key(), &pod.plan("escape", 0)).await.unwrap_err();
        assert_eq!(error.waiting_reason, Some("CreateContainerConfigError"));
        assert!(error.message.contains("subPath \"away\"") && error.message.contains("out of its volume"), "{error}");
        // What a variable stands for may be a Secret's.
        let error = native.start_container(pod.key(), &pod.plan("hidden", 0)).await.unwrap_err();
        assert!(error.message.contains("subPath \"$(P)\"") && !error.message.contains("away"), "{error}");
        pod.remove(&native).await;
        assert!(!empty.exists());
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_the_host_image_shows_the_machine_but_not_podwright() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let hidden = root.temp.path().join("hidden");
        std::fs::create_dir(&hidden).unwrap();
        std::fs::write(hidden.join("key"), "private").unwrap();
        let native = Native::open(NativeOptions { covered: vec![hidden.clone()], ..root.options() }).unwrap();
        std::fs::write(root.state().join("key"), "private").unwrap();
        let script = format!(
            "cat {state}/key {state}/pods/*/record.json {hidden}/key; ls {state} {hidden}; touch {state}/x; \
             touch /written; ls /bin/sh",
            state = root.state().display(),
            hidden = hidden.display()
        );
        let pod = TestPod::script("spy", &script);
        let (exit, log) = pod.run(&native).await;
        assert_eq!(exit.exit_code, 0, "{log}");
        assert!(log.contains("/bin/sh") && !log.contains("private") && !log.contains("realised"), "{log}");
        assert!(!root.state().join("x").exists() && !std::path::Path::new("/written").exists());
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_images_that_are_not_there_say_what_to_do() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = Native::open(NativeOptions { allow_host_image: false, ..root.options() }).unwrap();
        let ensure = async |image: &str, policy: &str| {
            let need = ImageNeed {
                container: "app".into(),
                volume: None,
                image: image.into(),
                policy: policy.into(),
                secrets: Vec::new(),
                missing_secrets: Vec::new(),
            };
            native.ensure_image(&need, &|| ()).await.unwrap_err()
        };
        let rows = [
            ("nginx", "Never", ErrorKind::NotFound, "ErrImageNeverPull", "podwright image load FILE"),
            ("nginx", "IfNotPresent", ErrorKind::Unavailable, "ErrImagePull", "podwright image load FILE"),
            ("nginx", "Always", ErrorKind::Unavailable, "ErrImagePull", "podwright image load FILE"),
            (HOST, "IfNotPresent", ErrorKind::Denied, "ErrImagePull", "--allow-host-image"),
            ("Bad Name", "IfNotPresent", ErrorKind::Invalid, "InvalidImageName", "remove them"),
        ];
        for (image, policy, kind, reason, help) in rows {
            let error = ensure(image, policy).await;
            assert_eq!((error.kind, error.waiting_reason), (kind, Some(reason)), "{image} {policy}");
            let text = error.to_string();
            assert!(text.contains(help) && text.contains(image), "{text}");
        }
    });
}

/// An image of busybox with this configuration and these layers on top.
fn load_image(native: &Native, name: &str, config: Value, layers: &[images::Layer]) {
    let mut base: Vec<Vec<u8>> = busybox_layers();
    base.extend(layers.iter().map(images::Layer::tar));
    let archive = images::oci_archive(name, &base, config);
    native.images().load(archive.as_slice(), None).unwrap();
}

/// The layers of the busybox image, as plain tar files.
fn busybox_layers() -> Vec<Vec<u8>> {
    use std::io::Read;
    let mut files = std::collections::BTreeMap::new();
    let mut archive = tar::Archive::new(std::fs::File::open(images::test_image("busybox")).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.insert(name.trim_start_matches("./").to_owned(), bytes);
    }
    let blob = |descriptor: &Value| {
        &files[&format!("blobs/sha256/{}", descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:"))]
    };
    let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let manifest: Value = serde_json::from_slice(blob(&index["manifests"][0])).unwrap();
    let unpacked = |layer: &Value| {
        let mut out = Vec::new();
        let bytes = blob(layer);
        match bytes.starts_with(&[0x1f, 0x8b]) {
            true => flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut out).map(|_| out).unwrap(),
            false => bytes.clone(),
        }
    };
    manifest["layers"].as_array().unwrap().iter().map(unpacked).collect()
}

#[test]
fn e2e_an_image_brings_command_user_directory_signal_and_volumes() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let script = "trap 'echo got quit; exit 7' QUIT; id; pwd; echo mode=$MODE home=$HOME; stat -c '%u %a' /srv/data; \
                      touch /srv/data/x && echo volume; touch /nope 2>/dev/null || echo read-only; echo ready; \
                      while :; do sleep 0.05; done";
        let accounts = images::Layer::new()
            .dir("srv")
            .entry(
                "srv/data",
                tar::EntryType::Directory,
                |h| {
                    h.set_uid(1234);
                    h.set_mode(0o750);
                },
                b"",
            )
            // The account file is a link that leads out of the image for whoever follows it blindly.
            .link(tar::EntryType::Symlink, "etc/passwd", "/../../../srv/accounts")
            .file("srv/accounts", "root:x:0:0::/root:/bin/sh\nworker:x:1234:1235::/home/worker:/bin/sh\n")
            .file("etc/group", "root:x:0:\nextra:x:1236:worker\n");
        let config = json!({
            "Entrypoint": ["/bin/sh", "-c"], "Cmd": [script], "User": "worker", "WorkingDir": "/srv",
            "Env": ["MODE=image", "OTHER=1"], "StopSignal": "SIGQUIT", "Volumes": { "/srv/data": {} }
        });
        load_image(&native, "local.test/worker:1", config, &[accounts]);
        let pod = TestPod::new(
            "worker",
            json!({ "containers": [{
            "name": "app", "image": "local.test/worker:1", "securityContext": { "readOnlyRootFilesystem": true }
        }] }),
        );
        pod.create(&native).await;
        let mut plan = pod.plan("app", 0);
        plan.env.push(EnvValue { name: "MODE".into(), value: Masked::new("pod".into()) });
        native.start_container(pod.key(), &plan).await.unwrap();
        let log = pod.wait_log(&native, "app", "ready").await;
        for expected in [
            "uid=1234(worker) gid=1235",
            "1236(extra)",
            "/srv\n",
            "mode=pod home=/home/worker",
            "1234 750",
            "volume",
            "read-only",
        ] {
            assert!(log.contains(expected), "{expected:?} in {log}");
        }
        assert!(!root.state().join("images").join("srv").exists());
        pod.signal(&native, "app", Signal::Stop).await;
        assert_eq!(pod.exit(&native, "app").await.exit_code, 7);
        assert!(pod.log(&native, "app").await.contains("got quit"));
        until("the pod to go", async || native.stop_sandbox(pod.key()).await.ok()).await;
        pod.remove(&native).await;
        // Strictly the groups of the pod: the image's file gives none.
        let strict = TestPod::new(
            "strict",
            json!({
                "securityContext": { "supplementalGroups": [1237], "supplementalGroupsPolicy": "Strict" },
                "containers": [{ "name": "app", "image": "local.test/worker:1" }]
            }),
        );
        strict.create(&native).await;
        strict.start(&native, "app", 0).await;
        let log = strict.wait_log(&native, "app", "ready").await;
        assert!(log.contains("gid=1235") && log.contains("1237") && !log.contains("1236"), "{log}");
        strict.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_what_a_layer_hides_is_not_seen_in_a_container() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let base = images::Layer::new()
            .dir("t/kept")
            .file("t/kept/a", "lower a")
            .file("t/kept/b", "lower b")
            .dir("t/old")
            .file("t/old/x", "x")
            .dir("t/gone")
            .file("t/gone/x", "x")
            .dir("t/hidden")
            .file("t/hidden/x", "x")
            .file("t/f", "f");
        let top = images::Layer::new()
            .file("t/kept/.wh.a", "")
            .file("t/.wh.f", "")
            .file("t/.wh.hidden", "")
            .dir("t/old")
            .file("t/old/.wh..wh..opq", "")
            .file("t/old/y", "y")
            .file("t/.wh.gone", "")
            .dir("t/gone")
            .file("t/gone/z", "z");
        let script = "cd /t; for name in * */*; do [ -e $name ] && echo $name; done; cat kept/b; echo; \
                      mkdir hidden f kept/a 2>/dev/null && echo free: hidden/* f/* kept/a/*";
        let config = json!({ "Entrypoint": ["/bin/sh", "-c"], "Cmd": [script] });
        load_image(&native, "local.test/base:1", config.clone(), std::slice::from_ref(&base));
        load_image(&native, "local.test/top:1", config, &[base, top]);
        let look = async |name: &str| {
            let image = format!("local.test/{name}:1");
            let pod = TestPod::new(name, json!({ "containers": [{ "name": "app", "image": image }] }));
            let (_, log) = pod.run(&native).await;
            pod.remove(&native).await;
            log
        };
        let all = "f\ngone\nhidden\nkept\nold\ngone/x\nhidden/x\nkept/a\nkept/b\nold/x\nlower b\n";
        assert_eq!(look("base").await, all, "what there is to hide");
        let seen = "gone\nkept\nold\ngone/z\nkept/b\nold/y\nlower b\nfree: hidden/* f/* kept/a/*\n";
        assert_eq!(look("top").await, seen, "nor do they get in the way of a name, or shine through");
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_places_to_mount_on_are_not_made_anew_for_each_container() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let script = "cat /etc/hostname; grep -q \"$(hostname)\" /etc/hosts && echo hosts; test -f /etc/resolv.conf && \
                      echo resolver; test -d /proc/1 && test -d /sys/kernel && test -c /dev/null && echo ready; sleep 1000";
        let images = [
            ("plain", images::Layer::new()),
            ("linked", images::Layer::new().dir("settings").link(tar::EntryType::Symlink, "etc", "settings")),
            ("opaque", images::Layer::new().file("etc/.wh..wh..opq", "").file("etc/own", "")),
        ];
        for (name, layer) in images {
            let image = format!("local.test/{name}:1");
            load_image(&native, &image, json!({ "Entrypoint": ["/bin/sh", "-c"], "Cmd": [script] }), &[layer]);
            let pod = TestPod::new(name, json!({ "containers": [{ "name": "app", "image": image }] }));
            pod.create(&native).await;
            native.start_container(pod.key(), &pod.plan("app", 0)).await.unwrap();
            let log = pod.wait_log(&native, "app", "ready").await;
            for expected in [&format!("{name}\n"), "hosts\n", "resolver\n"] {
                assert!(log.contains(expected), "{name}: {expected:?} in {log}");
            }
            let upper = root.instance_dir(&pod, "app", 0).join("upper");
            let made: Vec<_> = std::fs::read_dir(upper).unwrap().map(|e| e.unwrap().file_name()).collect();
            // What the image hides or has elsewhere is made in the container's own layer, as ever.
            let expected: &[&str] = match name {
                "plain" => &[],
                "linked" => &["settings"],
                _ => &["etc"],
            };
            assert_eq!(made, expected, "{name}");
            pod.signal(&native, "app", Signal::Kill).await;
            pod.exit(&native, "app").await;
            until("the pod to go", async || native.stop_sandbox(pod.key()).await.ok()).await;
            pod.remove(&native).await;
        }
        let points = root.state().join("mount-points");
        assert_eq!(std::fs::read(points.join("etc/hosts")).unwrap(), b"");
        native.teardown_root().await.unwrap();
        assert!(!points.exists());
    });
}
