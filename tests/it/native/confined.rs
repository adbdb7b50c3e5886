//! What a pod may do on this machine, and what it may not, beside what would happen without it.

use podwright::backend::native::{Native, NativeOptions};
use podwright::model::{Signal, VolumeMaterial, VolumePayload};
use podwright::port::ContainerBackend;
use podwright::sys::{cgroup, mount};
use serde_json::{Value, json};

use super::fixture::{TestPod, on_root};
use crate::support;

#[test]
fn e2e_a_pod_has_the_seccomp_profile_that_it_asks_for() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let container = |name: &str, security: Value| {
            let command = json!(["grep", "^Seccomp:", "/proc/self/status"]);
            json!({ "name": name, "command": command, "securityContext": security })
        };
        let of = |kind: &str| json!({ "seccompProfile": { "type": kind } });
        for (name, pod, expected) in [("plain", json!({}), "2"), ("open", of("Unconfined"), "0")] {
            let pod = TestPod::new(
                name,
                json!({ "securityContext": pod, "containers": [
                    container("silent", json!({})),
                    container("filtered", of("RuntimeDefault")),
                    container("free", of("Unconfined")),
                    container("privileged", json!({ "privileged": true }))
                ] }),
            );
            pod.create(&native).await;
            for (container, mode) in [("silent", expected), ("filtered", "2"), ("free", "0"), ("privileged", "0")] {
                pod.start(&native, container, 0).await;
                pod.exit(&native, container).await;
                assert_eq!(pod.log(&native, container).await, format!("Seccomp:\t{mode}\n"), "{container} of {name}");
            }
            pod.remove(&native).await;
        }
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_seccomp_profile_of_ones_own_is_applied_whole_or_the_container_does_not_start() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let dir = root.state().join("seccomp/team");
        std::fs::create_dir_all(&dir).unwrap();
        let profile = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
            "syscalls": [
                { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 },
                { "names": ["kill"], "action": "SCMP_ACT_ERRNO",
                  "args": [{ "index": 1, "value": 10, "op": "SCMP_CMP_EQ" }] }
            ]
        });
        std::fs::write(dir.join("own.json"), profile.to_string()).unwrap();
        let mut broken = profile.clone();
        broken["syscalls"][0]["includes"] = json!({ "caps": ["CAP_SYS_ADMIN"] });
        std::fs::write(dir.join("broken.json"), broken.to_string()).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.join("link.json")).unwrap();
        std::fs::write(dir.join("large.json"), profile.to_string() + &" ".repeat(1 << 20)).unwrap();
        let large = format!("it is of {} bytes, and no more than 1048576 are", profile.to_string().len() + (1 << 20));
        let script = "grep ^Seccomp: /proc/self/status; mkdir /new 2>&1 | sed 's/.*: //'; \
                      kill -12 1 && echo 12; kill -10 1 2>/dev/null || echo no 10; unshare -U true && echo free";
        let pod = |name: &str, file: &str| {
            TestPod::new(
                name,
                json!({
                    "securityContext": { "seccompProfile": { "type": "Localhost", "localhostProfile": file } },
                    "containers": [{ "name": "app", "command": ["/bin/sh", "-c", script] }]
                }),
            )
        };
        let own = pod("own", "team/own.json");
        let (_, log) = own.run(&native).await;
        assert_eq!(log, "Seccomp:\t2\nNo space left on device\n12\nno 10\nfree\n");
        own.remove(&native).await;
        for (name, file, message) in [
            ("missing", "team/none.json", "there is no such file"),
            ("broken", "team/broken.json", "unknown field `includes`"),
            ("linked", "team/link.json", "link.json: "),
            ("large", "team/large.json", large.as_str()),
            ("outside", "../record.json", "record.json: "),
        ] {
            let pod = pod(name, file);
            pod.create(&native).await;
            let error = native.start_container(pod.key(), &pod.plan("app", 0)).await.unwrap_err();
            assert_eq!(error.waiting_reason, Some("CreateContainerError"), "{name}: {error}");
            assert!(error.to_string().contains(message), "{name}: {error}");
            assert!(pod.look(&native).await.containers.is_empty(), "nothing was made");
            pod.remove(&native).await;
        }
        native.teardown_root().await.unwrap();
    });
}

/// A script that says of each path whether it can be opened for writing, and of each other how much can be read.
fn look(writable: &[&str], readable: &[&str]) -> String {
    format!(
        "for f in {}; do (true >> $f) 2>/dev/null && echo open $f || echo shut $f; done; \
         for f in {}; do echo $( (ls $f/ || head -c 64 $f) 2>/dev/null | wc -c) $f; done",
        writable.join(" "),
        readable.join(" ")
    )
}

#[test]
fn e2e_the_kernels_files_cannot_be_written_and_hidden_ones_not_read_but_by_a_privileged_container() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let there = |paths: &[&'static str]| -> Vec<&'static str> {
            paths.iter().copied().filter(|p| std::path::Path::new(p).exists()).collect()
        };
        // Opened only: a write to the control would change this machine.
        let writable = there(&[
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/modprobe",
            "/proc/sys/vm/overcommit_memory",
            "/proc/sysrq-trigger",
            "/proc/irq/default_smp_affinity",
            "/sys/kernel/uevent_helper",
            "/sys/kernel/mm/transparent_hugepage/enabled",
            "/sys/module/overlay/parameters/redirect_max",
            "/sys/power/state",
        ]);
        let hidden = there(&["/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/kcore", "/sys/firmware"]);
        // What would undo the protection does not help either.
        let attack = "for f in /proc/sys /proc/sysrq-trigger /sys; do mount -o remount,bind,rw $f; done 2>/dev/null; \
                      for f in /proc/keys /proc/timer_list /sys/firmware; do umount $f; done 2>/dev/null; \
                      mkdir -p /fresh; mount -t proc proc /fresh 2>/dev/null && echo mounted; \
                      mount -t sysfs sysfs /fresh 2>/dev/null && echo mounted";
        let script = format!("{attack}; {}", look(&writable, &hidden));
        let mut seen = Vec::new();
        for privileged in [false, true] {
            let pod = TestPod::new(
                if privileged { "control" } else { "attack" },
                json!({ "containers": [{
                    "name": "app", "command": ["/bin/sh", "-c", script], "securityContext": { "privileged": privileged }
                }] }),
            );
            seen.push(pod.run(&native).await.1);
            pod.remove(&native).await;
        }
        let machine = std::process::Command::new("sh").args(["-c", &look(&writable, &hidden)]).output().unwrap();
        let machine = String::from_utf8(machine.stdout).unwrap();
        let (attack, control) = (&seen[0], &seen[1]);
        let mounted = |log: &str| log.lines().filter(|l| *l == "mounted").count();
        assert_eq!((mounted(attack), mounted(control)), (0, 2), "{attack}{control}");
        // What is said of a path: that it is open, or that something of it can be read.
        let says = |log: &str, path: &str| {
            let line = log.lines().find_map(|l| l.split_once(' ').filter(|(_, name)| *name == path));
            line.is_some_and(|(word, _)| word == "open" || word.parse::<u32>().is_ok_and(|count| count > 0))
        };
        let all: Vec<&str> = writable.iter().chain(&hidden).copied().collect();
        let (proven, shut): (Vec<&str>, Vec<&str>) = all.iter().partition(|path| says(control, path));
        for path in &all {
            assert!(attack.contains(&format!(" {path}\n")) && !says(attack, path), "{path}: {attack}");
        }
        for path in &shut {
            assert!(
                !says(&machine, path),
                "{path} is shut to a privileged container, and not to the machine: {control}"
            );
            eprintln!("NOT TRIED: {path} is shut to everybody on this machine");
        }
        let is_hidden = |path: &&str| hidden.contains(path);
        let in_proc = |path: &&str| writable.contains(path) && path.starts_with("/proc/sys/");
        let in_sys = |path: &&str| writable.contains(path) && path.starts_with("/sys/");
        for (some, what) in [
            (proven.iter().any(is_hidden), "hidden"),
            (proven.iter().any(in_proc), "/proc/sys"),
            (proven.iter().any(in_sys), "/sys"),
        ] {
            assert!(some, "nothing of {what} is open to a privileged container: {control}");
        }
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_fork_bomb_ends_at_the_limit_of_its_pod_and_without_one_it_does_not() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        const LIMIT: u32 = 64;
        let bomb = "$| = 1; my $n = 0; for (1..300) { my $child = fork; \
                    if (!defined $child) { print qq(refused after $n\\n); sleep 1000 } \
                    if (!$child) { sleep 1000; exit } $n++ } print qq(forked $n\\n); sleep 1000";
        let pod = TestPod::new("bomb", json!({ "containers": [{ "name": "app", "command": ["perl", "-e", bomb] }] }));
        let cgroup = root.cgroup(&pod);
        let native = Native::open(NativeOptions { pod_pids_limit: Some(LIMIT), ..root.options() }).unwrap();
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        pod.wait_log(&native, "app", "refused after").await;
        assert!(cgroup::pids(&cgroup).unwrap().len() <= LIMIT as usize);
        let (exit, log) = TestPod::script("other", "seq 3").run(&native).await;
        assert_eq!((exit.exit_code, log.as_str()), (0, "1\n2\n3\n"), "others are not disturbed");
        TestPod::script("other", "").remove(&native).await;
        pod.remove(&native).await;
        let native = root.open();
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        pod.wait_log(&native, "app", "forked 300").await;
        assert!(cgroup::pids(&cgroup).unwrap().len() > 300);
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_termination_message_cannot_fill_the_disk_where_a_file_of_the_disk_does() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        std::fs::create_dir(root.state()).unwrap();
        mount::tmpfs(&root.state(), 8 << 20, 0o700).unwrap();
        let native = root.open();
        let script = "cat /dev/zero > /dev/termination-log; echo full; sleep 1000";
        let container = |mounts: Value| {
            json!({ "containers": [{
                "name": "app", "command": ["/bin/sh", "-c", script], "volumeMounts": mounts
            }] })
        };
        let free = || {
            let file = root.state().join("other");
            let written = std::fs::write(&file, vec![0; 2 << 20]);
            std::fs::remove_file(&file).unwrap();
            written
        };
        let pod = TestPod::new("attack", container(json!([])));
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        pod.wait_log(&native, "app", "full").await;
        free().unwrap();
        pod.signal(&native, "app", Signal::Kill).await;
        let message = pod.exit(&native, "app").await.message.unwrap();
        assert!(message == "\0".repeat(4096), "the end of what got there is kept");
        pod.remove(&native).await;
        let last = TestPod::script("last", "printf %5000s end > /dev/termination-log");
        let message = last.run(&native).await.0.message.unwrap();
        assert_eq!((message.len(), message.trim_start()), (4096, "end"));
        last.remove(&native).await;
        // The control: the same writes, to a file of that disk.
        let naive = root.state().join("naive");
        std::fs::write(&naive, "").unwrap();
        let mounts = json!([{ "name": "file", "mountPath": "/dev/termination-log" }]);
        let script = "cat /dev/zero > /dev/termination-log; echo full > /dev/null; exit 3";
        let mut spec = container(mounts);
        spec["containers"][0]["command"][2] = script.into();
        let pod = TestPod::new("control", spec);
        let material = VolumeMaterial::HostPath { path: naive.display().to_string(), kind: String::new() };
        pod.create(&native).await;
        native.sync_volumes(pod.key(), &[VolumePayload { name: "file".into(), material, group: None }]).await.unwrap();
        pod.start(&native, "app", 0).await;
        assert_eq!(pod.exit(&native, "app").await.exit_code, 3);
        assert_eq!(free().unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        std::fs::remove_file(&naive).unwrap();
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
        drop(native);
        mount::unmount(&root.state()).unwrap();
    });
}

#[test]
fn e2e_a_container_has_the_usual_devices_and_no_other() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let look = "cd /dev; for file in *; do [ -L $file ] && echo $file leads to $(readlink $file) || \
                    stat -c '%n %F %t:%T %a %u' $file; done";
        let pod = TestPod::script("devices", look);
        let (exit, log) = pod.run(&native).await;
        assert_eq!(exit.exit_code, 0, "{log}");
        let mut lines: Vec<&str> = log.lines().collect();
        lines.sort_unstable();
        // What every container has, in Kubernetes too: https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md
        // (default devices), with the directories and the file that are mounted there.
        let expected = [
            "fd leads to /proc/self/fd",
            "full character special file 1:7 666 0",
            "mqueue directory 0:0 1777 0",
            "null character special file 1:3 666 0",
            "ptmx leads to pts/ptmx",
            "pts directory 0:0 755 0",
            "random character special file 1:8 666 0",
            "shm directory 0:0 1777 0",
            "stderr leads to /proc/self/fd/2",
            "stdin leads to /proc/self/fd/0",
            "stdout leads to /proc/self/fd/1",
            "termination-log regular empty file 0:0 666 0",
            "tty character special file 5:0 666 0",
            "urandom character special file 1:9 666 0",
            "zero character special file 1:5 666 0",
        ];
        assert_eq!(lines, expected);
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_an_empty_dir_is_its_pods_alone() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = |name: &str| {
            let mounts =
                json!([{ "name": "disk", "mountPath": "/disk" }, { "name": "memory", "mountPath": "/memory" }]);
            let container = |container: &str, script: &str| json!({ "name": container, "command": ["/bin/sh", "-c", script], "volumeMounts": mounts });
            let write = format!("echo of {name} >/disk/{name}; echo of {name} >/memory/{name}");
            let look = container("look", "cd /; cat disk/* memory/*; ls -A disk memory | sort");
            TestPod::new(name, json!({ "containers": [container("write", &write), look] }))
        };
        let volumes = [("disk", false), ("memory", true)].map(|(name, memory)| {
            let material = VolumeMaterial::EmptyDir { memory, size_limit: None };
            VolumePayload { name: name.into(), material, group: None }
        });
        let pods = [pod("one"), pod("two")];
        for pod in &pods {
            pod.create(&native).await;
            native.sync_volumes(pod.key(), &volumes).await.unwrap();
            pod.start(&native, "write", 0).await;
            assert_eq!(pod.exit(&native, "write").await.exit_code, 0);
        }
        // Both have written: each sees what its own other container wrote, and nothing else.
        for (pod, name) in pods.iter().zip(["one", "two"]) {
            pod.start(&native, "look", 0).await;
            pod.exit(&native, "look").await;
            let log = pod.log(&native, "look").await;
            assert_eq!(log, format!("of {name}\nof {name}\n\ndisk:\nmemory:\n{name}\n{name}\n"), "{name}");
            pod.remove(&native).await;
        }
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_where_no_bridge_can_be_made_pods_on_the_machines_network_run_and_others_say_why() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let script = |name: &str, machine: bool| {
            let command = json!(["/bin/sh", "-c", "readlink /proc/self/ns/net"]);
            TestPod::new(name, json!({ "hostNetwork": machine, "containers": [{ "name": "app", "command": command }] }))
        };
        let ip = |arguments: &str| {
            let output = std::process::Command::new("ip").args(arguments.split(' ')).output().unwrap();
            assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let bridge = format!("pw{}", root.instance);
        ip(&format!("link add {bridge} type veth peer name other"));
        let own = script("own", false);
        native.put_record(&own.record).await.unwrap();
        let error = native.run_sandbox(own.key(), 0).await.unwrap_err();
        assert_eq!(error.waiting_reason, Some("CreatePodSandboxError"), "{error}");
        assert!(error.message.contains("is no bridge") && error.help.unwrap().contains("ip link del"));
        let machine = script("machine", true);
        let (exit, log) = machine.run(&native).await;
        let here = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        assert_eq!((exit.exit_code, log.trim()), (0, here.to_str().unwrap()));
        machine.remove(&native).await;
        // Mended, it is all that was missing.
        ip(&format!("link del {bridge}"));
        let (exit, log) = own.run(&native).await;
        assert!(exit.exit_code == 0 && log.trim() != here.to_str().unwrap(), "{log}");
        own.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}
