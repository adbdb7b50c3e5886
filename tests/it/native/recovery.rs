//! What a crash, a full disk or a bad block can leave behind: nothing is hidden, nothing leaks, nothing panics.

use std::collections::BTreeSet;
use std::time::Duration;

use podwright::model::{
    ContainerState, ExitRecord, PodRecord, Sandbox, Signal, SignalOrder, VolumeMaterial, VolumePayload,
};
use podwright::port::{ContainerBackend, ErrorKind};
use podwright::shim::Started;
use podwright::sys::{cgroup, lock, pidfd};
use serde_json::{Value, json};

use super::fixture::{TestPod, is_alive, on_root, until};
use crate::support;

fn json_of<T: serde::de::DeserializeOwned>(path: &std::path::Path) -> T {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn e2e_a_container_that_lost_its_monitor_is_lost_until_it_is_reaped() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::script("web", "echo up; sleep 1000");
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        let started: Started = json_of(&root.instance_dir(&pod, "app", 0).join("started.json"));
        let mut hints = native.hints();
        pidfd::kill(started.monitor_pid, 9).unwrap();
        assert_eq!(hints.recv().await.unwrap().0, *pod.key());
        assert_eq!(pod.container(&native, "app").await.state, ContainerState::Lost);
        assert!(is_alive(started.pid), "the container survives its monitor");
        for _ in 0..2 {
            native.reap_container(pod.key(), "app", 0).await.unwrap();
        }
        assert!(!is_alive(started.pid));
        let exit = pod.exit(&native, "app").await;
        assert_eq!((exit.exit_code, exit.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
        assert_eq!(exit.started_at, Some(started.started_at));
        // A pod that is removed takes the lost ones with it.
        pod.start(&native, "app", 1).await;
        let started: Started = json_of(&root.instance_dir(&pod, "app", 1).join("started.json"));
        assert_eq!(native.remove_pod(pod.key()).await.unwrap_err().kind, ErrorKind::Conflict);
        assert_eq!(native.stop_sandbox(pod.key()).await.unwrap_err().kind, ErrorKind::Conflict);
        pidfd::kill(started.monitor_pid, 9).unwrap();
        until("the pod to go", async || native.remove_pod(pod.key()).await.ok()).await;
        assert!(!is_alive(started.pid));
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_starts_that_were_cut_short_are_cleaned_up() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::script("web", "echo up; sleep 1000");
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        let dir = root.instance_dir(&pod, "app", 0);
        let started: Started = json_of(&dir.join("started.json"));
        // As if the machine had stopped right after the record was written.
        pidfd::kill(started.monitor_pid, 9).unwrap();
        until("the lock to be free", async || {
            (!podwright::sys::lock::is_held(&dir.join("lock")).unwrap()).then_some(())
        })
        .await;
        std::fs::remove_file(dir.join("started.json")).unwrap();
        assert_eq!(pod.container(&native, "app").await.state, ContainerState::Created);
        native.reap_container(pod.key(), "app", 0).await.unwrap();
        assert_eq!(pod.look(&native).await.latest("app"), None, "it counts as no start");
        assert!(!is_alive(started.pid), "what ran without a record is killed");
        assert!(!dir.exists() && !root.state().join("logs").join("default_web_uid-web/app/0.log").exists());
        native.reap_container(pod.key(), "app", 0).await.unwrap();
        // A directory without a record is no instance, and in nobody's way.
        std::fs::create_dir_all(root.instance_dir(&pod, "app", 1)).unwrap();
        std::fs::write(root.instance_dir(&pod, "app", 1).join(".record.json.tmp"), "{").unwrap();
        std::fs::create_dir_all(root.instance_dir(&pod, "app", 1).with_file_name("no-number")).unwrap();
        assert_eq!(pod.look(&native).await.containers, []);
        pod.start(&native, "app", 1).await;
        pod.wait_log(&native, "app", "up").await;
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_what_a_start_needs_is_cleared_away_once_that_has_ended() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::script("web", "sleep 1000");
        pod.create(&native).await;
        // As the agent leaves a start when it is killed: the shim goes on, and stands on parts of volumes.
        let dir = root.instance_dir(&pod, "app", 0);
        std::fs::create_dir_all(&dir).unwrap();
        let held = lock::acquire(&dir.join("lock")).unwrap().unwrap();
        let parts = root.state().join("run/pods").join(&pod.uid().0).join("subpaths-app-0");
        std::fs::create_dir(&parts).unwrap();
        let native = root.open();
        // A look waits for a start that goes on, for long. So may the next try to clear up: in this time, any number failed.
        tokio::time::pause();
        assert_eq!(native.list().await.unwrap().len(), 1);
        assert!(parts.exists(), "its shim needs them");
        drop(held);
        let cleared = async || {
            tokio::time::advance(Duration::from_secs(1)).await;
            (!parts.exists()).then_some(())
        };
        until("what it needed to go", cleared).await;
        tokio::time::resume();
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_what_was_being_written_when_the_agent_ended_is_removed() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::script("web", "echo up; exec sleep 1000");
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        let dir = root.instance_dir(&pod, "app", 0);
        let of_pod = dir.join("../../../.record.json");
        let (own, of_monitor) = (dir.join(".record.json"), dir.join(".exit.json"));
        for half in [&of_pod, &own, &of_monitor] {
            std::fs::write(half, "{").unwrap();
        }
        let again = root.open();
        assert_eq!(pod.container(&again, "app").await.state, pod.container(&native, "app").await.state);
        assert!(!of_pod.exists() && !own.exists());
        assert!(of_monitor.exists(), "its monitor is at work");
        pidfd::kill(json_of::<Started>(&dir.join("started.json")).pid, 9).unwrap();
        pod.exit(&again, "app").await;
        // The lock goes with the monitor, which ends after it has told the end.
        let free = async || (!lock::is_held(&dir.join("lock")).unwrap()).then_some(());
        until("the lock to be free", free).await;
        std::fs::write(&of_monitor, "{").unwrap();
        let last = root.open();
        assert!(last.list().await.unwrap().len() == 1 && !of_monitor.exists());
        pod.remove(&last).await;
        last.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_damaged_records_of_containers_are_made_good() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::script("web", "echo up; exec sleep 1000");
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        let before = pod.container(&native, "app").await;
        let dir = root.instance_dir(&pod, "app", 0);
        std::fs::write(dir.join("record.json"), "\0\0\0").unwrap();
        let after = pod.container(&native, "app").await;
        assert_eq!(after.state, before.state, "it runs on");
        assert_eq!((&after.record.id, &after.record.log_path), (&before.record.id, &before.record.log_path));
        assert_eq!(after.record.sandbox_attempt, before.record.sandbox_attempt);
        assert!(dir.join("record.json.damaged").exists());
        assert_eq!(pod.container(&native, "app").await, after);
        // With nobody to ask who it is, it is lost.
        std::fs::write(dir.join("started.json"), "[]").unwrap();
        assert_eq!(pod.container(&native, "app").await.state, ContainerState::Lost);
        native.reap_container(pod.key(), "app", 0).await.unwrap();
        pod.exit(&native, "app").await;
        // An exit record that cannot be read is written anew.
        std::fs::write(dir.join("exit.json"), "{\"exitCode\":").unwrap();
        assert_eq!(pod.container(&native, "app").await.state, ContainerState::Lost);
        native.reap_container(pod.key(), "app", 0).await.unwrap();
        let exit: ExitRecord = json_of(&dir.join("exit.json"));
        assert!(exit.started_at.is_some(), "it did run");
        // The sandbox: its process number is lost, so it is as good as dead, and goes.
        let infra = pod.infra(&native).await;
        std::fs::write(root.pod_dir(&pod).join("sandbox.json"), "").unwrap();
        assert_eq!(pod.look(&native).await.sandbox, Sandbox::Dead { attempt: 0 });
        native.stop_sandbox(pod.key()).await.unwrap();
        assert!(!is_alive(infra));
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_damaged_pod_is_ended_and_set_aside_and_hides_no_other() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let (bad, good) = (TestPod::script("bad", "sleep 1000"), TestPod::script("good", "sleep 1000"));
        for pod in [&bad, &good] {
            pod.create(&native).await;
            pod.start(&native, "app", 0).await;
        }
        let data = VolumeMaterial::EmptyDir { memory: false, size_limit: None };
        native
            .sync_volumes(bad.key(), &[VolumePayload { name: "data".into(), material: data, group: None }])
            .await
            .unwrap();
        std::fs::write(root.state().join("volumes").join(&bad.uid().0).join("data/precious"), "x").unwrap();
        // Others were set aside long ago.
        for second in 1..=12 {
            std::fs::create_dir_all(root.state().join(format!("damaged/0af3-{second}/volumes/data"))).unwrap();
        }
        let (pid, infra) = (bad.pid(&native, "app").await, bad.infra(&native).await);
        let record = root.pod_dir(&bad).join("record.json");
        for damage in ["", "{", "{\"version\":1}", "null"] {
            std::fs::write(&record, damage).unwrap();
            let native = root.open();
            let seen = native.list().await.unwrap();
            assert_eq!(seen.iter().map(|p| &p.record.key).collect::<Vec<_>>(), [good.key()], "{damage:?}");
            if !root.pod_dir(&bad).exists() {
                break;
            }
        }
        assert!(!is_alive(pid) && !is_alive(infra));
        let aside = std::fs::read_dir(root.state().join("damaged")).unwrap();
        let aside: BTreeSet<String> = aside.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(aside.len(), 10, "the newest are kept: {aside:?}");
        assert!(!aside.contains("0af3-3") && aside.contains("0af3-4"), "{aside:?}");
        let own = aside.iter().find(|name| name.starts_with(&bad.uid().0)).unwrap();
        let kept = root.state().join("damaged").join(own);
        assert!(kept.join("record.json").exists());
        assert_eq!(std::fs::read_to_string(kept.join("volumes/data/precious")).unwrap(), "x");
        let native = root.open();
        assert_eq!(native.observe(bad.key()).await.unwrap(), None);
        // Its name can be had again.
        bad.create(&native).await;
        bad.remove(&native).await;
        good.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_nothing_is_remembered_of_a_damaged_pod() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::script("bad", "sleep 1000");
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        let knows = || format!("{native:?}").contains(&pod.uid().0);
        assert!(knows());
        std::fs::write(root.pod_dir(&pod).join("record.json"), "{").unwrap();
        assert_eq!(native.list().await.unwrap(), []);
        // Whoever watched it hears that it ended.
        until("it to be forgotten", async || (!knows()).then_some(())).await;
        // One of the same uid waits for the disk as any new one.
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_what_a_power_cut_brought_back_of_removed_instances_goes_at_the_start() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::script("web", "echo up; exec sleep 1000");
        pod.create(&native).await;
        pod.start(&native, "app", 3).await;
        let (own, log) = (root.instance_dir(&pod, "app", 3), root.state().join("logs/default_web_uid-web/app/3.log"));
        // Its record, removed with the rest, is not back; of another one only the log is.
        let (back, lock_file) = (own.with_file_name("1"), own.with_file_name("2").join("lock"));
        std::fs::create_dir_all(back.join("upper/etc")).unwrap();
        std::fs::write(back.join("upper/etc/file"), "x").unwrap();
        std::fs::create_dir(own.with_file_name("2")).unwrap();
        let held = lock::acquire(&lock_file).unwrap().unwrap();
        let logs = ["0.log", "1.log", "1.log.20261127-000000"].map(|name| log.with_file_name(name));
        let foreign = log.with_file_name("notes");
        for file in logs.iter().chain([&foreign]) {
            std::fs::write(file, "x").unwrap();
        }
        let native = {
            drop(native);
            root.open()
        };
        // A look waits for the start that is under way.
        tokio::time::pause();
        native.list().await.unwrap();
        tokio::time::resume();
        assert!(!back.exists(), "{}", back.display());
        assert_eq!(logs.map(|log| log.exists()), [false; 3]);
        assert!(own.join("record.json").exists() && log.exists() && foreign.exists(), "what is not known stays");
        assert!(lock_file.exists(), "a start is under way");
        drop(held);
        pod.wait_log(&native, "app", "up").await;
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_records_of_a_newer_program_are_left_alone() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::script("web", "sleep 1000");
        native.put_record(&pod.record).await.unwrap();
        let path = root.pod_dir(&pod).join("record.json");
        let old = std::fs::read(&path).unwrap();
        let mut newer: Value = serde_json::from_slice(&old).unwrap();
        newer["version"] = json!(PodRecord::VERSION + 1);
        newer["realised"] = json!("something else");
        std::fs::write(&path, newer.to_string()).unwrap();
        let error = podwright::backend::native::Native::open(root.options()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.to_string().contains("run the newer podwright"), "{error}");
        assert_eq!(native.list().await.unwrap_err().kind, ErrorKind::Invalid);
        assert_eq!(std::fs::read(&path).unwrap(), newer.to_string().as_bytes());
        std::fs::write(&path, old).unwrap();
        native.remove_pod(pod.key()).await.unwrap();
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_records_of_a_newer_shim_are_left_alone() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::new(
            "web",
            json!({ "containers": [
                { "name": "app", "command": ["/bin/sh", "-c", "echo up; exec sleep 1000"] },
                { "name": "over", "command": ["true"] }
            ] }),
        );
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        pod.start(&native, "over", 0).await;
        pod.wait_log(&native, "app", "up").await;
        pod.exit(&native, "over").await;
        let before = pod.look(&native).await;
        let pid = pod.pid(&native, "app").await;
        for (container, name, needed) in [("app", "started.json", "pid"), ("over", "exit.json", "exitCode")] {
            let path = root.instance_dir(&pod, container, 0).join(name);
            let own = std::fs::read(&path).unwrap();
            let mut record: Value = serde_json::from_slice(&own).unwrap();
            assert_eq!(record["version"], 1, "{name}");
            // The first ones had no number.
            record.as_object_mut().unwrap().remove("version");
            std::fs::write(&path, record.to_string()).unwrap();
            assert_eq!(pod.look(&native).await, before, "{name}");
            record.as_object_mut().unwrap().remove(needed);
            record["version"] = json!(2);
            std::fs::write(&path, record.to_string()).unwrap();
            let opened = podwright::backend::native::Native::open(root.options()).unwrap_err();
            let looked = native.observe(pod.key()).await.unwrap_err();
            for error in [opened, looked] {
                assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
                let (place, text) = (path.display().to_string(), error.to_string());
                assert!(
                    text.contains(&format!("{place} has version 2")) && text.contains("run the newer podwright"),
                    "{text}"
                );
            }
            assert!(is_alive(pid), "{name}");
            assert_eq!(std::fs::read(&path).unwrap(), record.to_string().as_bytes());
            std::fs::write(&path, own).unwrap();
            assert_eq!(pod.look(&native).await, before, "{name}");
        }
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_an_infra_process_without_a_record_does_not_leak() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::script("web", "sleep 1000");
        pod.create(&native).await;
        let first = pod.infra(&native).await;
        let ips = pod.look(&native).await.ips().to_vec();
        // As if the agent had died just before it wrote the record.
        std::fs::remove_file(root.pod_dir(&pod).join("sandbox.json")).unwrap();
        let native = root.open();
        assert_eq!(pod.look(&native).await.sandbox, Sandbox::Absent);
        native.run_sandbox(pod.key(), 0).await.unwrap();
        assert!(!is_alive(first));
        assert_eq!(pod.look(&native).await.ips(), ips);
        let second = pod.infra(&native).await;
        // And when the pod is removed instead.
        std::fs::remove_file(root.pod_dir(&pod).join("sandbox.json")).unwrap();
        native.remove_pod(pod.key()).await.unwrap();
        assert!(!is_alive(second));
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_what_belongs_to_no_pod_is_cleared_away_at_the_start() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::script("web", "sleep 1000");
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        let (pid, infra) = (pod.pid(&native, "app").await, pod.infra(&native).await);
        // Somebody deleted the pod's directory: nothing on disk names its processes any more.
        std::fs::remove_dir_all(root.pod_dir(&pod)).unwrap();
        std::fs::create_dir_all(root.state().join("pods/.removing-other/x")).unwrap();
        let native = root.open();
        assert_eq!(native.list().await.unwrap(), []);
        assert!(!is_alive(pid) && !is_alive(infra));
        for place in ["pods", "logs", "run/pods"] {
            assert_eq!(std::fs::read_dir(root.state().join(place)).unwrap().count(), 0, "{place}");
        }
        let top = format!("/podwright-{}", root.instance);
        until("the monitor to go", async || cgroup::pids(&top).unwrap().is_empty().then_some(())).await;
        // Not even the run-time directory names it: only its cgroup does.
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        let pid = pod.pid(&native, "app").await;
        let run = root.state().join("run/pods").join(&pod.uid().0);
        podwright::sys::mount::unmount(&run.join("shm")).unwrap();
        std::fs::remove_dir_all(run).unwrap();
        std::fs::remove_dir_all(root.pod_dir(&pod)).unwrap();
        let native = root.open();
        assert_eq!(native.list().await.unwrap(), []);
        assert!(!is_alive(pid));
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_sandbox_that_cannot_be_connected_leaves_nothing() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let spec = json!({
            "hostNetwork": true,
            "containers": [{ "name": "app", "command": ["sleep", "1000"], "ports": [{ "containerPort": 8080 }] }]
        });
        let (one, two) = (TestPod::new("one", spec.clone()), TestPod::new("two", spec));
        one.create(&native).await;
        native.put_record(&two.record).await.unwrap();
        for _ in 0..2 {
            let error = native.run_sandbox(two.key(), 0).await.unwrap_err();
            assert_eq!((error.kind, error.waiting_reason), (ErrorKind::Conflict, Some("CreatePodSandboxError")));
            assert!(error.to_string().contains("8080"), "{error}");
            assert_eq!(two.look(&native).await.sandbox, Sandbox::Absent);
            let cgroup = root.cgroup(&two);
            assert!(cgroup::pids(&cgroup).unwrap().is_empty());
            assert!(!root.state().join("run/pods").join(&two.uid().0).exists());
        }
        one.remove(&native).await;
        native.run_sandbox(two.key(), 0).await.unwrap();
        two.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_container_is_killed_although_its_record_cannot_tell_so() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::script("web", "trap '' TERM; while :; do sleep 0.1; done");
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        // In the way of the next record, and not to be removed.
        let hindrance = root.instance_dir(&pod, "app", 0).join(".record.json");
        std::fs::create_dir(&hindrance).unwrap();
        podwright::sys::mount::tmpfs(&hindrance, 1 << 16, 0o700).unwrap();
        let order =
            |signal| SignalOrder { name: "app".into(), attempt: 0, signal, grace_seconds: 1, reason: "a test".into() };
        let stopped = native.signal_container(pod.key(), &order(Signal::Stop)).await;
        let killed = native.signal_container(pod.key(), &order(Signal::Kill)).await;
        podwright::sys::mount::unmount(&hindrance).unwrap();
        assert!(stopped.is_err(), "a stop has to be on record");
        // Told to whoever ordered it, who would order it again at once otherwise.
        assert!(killed.is_err(), "nothing tells of a record that is not written");
        assert_eq!(pod.exit(&native, "app").await.exit_code, 137);
        assert_eq!(pod.container(&native, "app").await.record.stopping, None);
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_root_that_cannot_be_used_is_refused_with_place_and_way_out() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        use podwright::backend::native::{Native, NativeOptions};
        use podwright::sys::mount;

        let refused = |options: NativeOptions| Native::open(options).unwrap_err();
        // Full: a file system without room.
        let small = root.temp.path().join("small");
        std::fs::create_dir(&small).unwrap();
        mount::tmpfs(&small, 16 << 10, 0o700).unwrap();
        let error = refused(NativeOptions { state: small.clone(), run: small.join("run"), ..root.options() });
        mount::unmount(&small).unwrap();
        assert_eq!(error.kind, ErrorKind::Exhausted);
        let text = error.to_string();
        assert!(text.contains(small.to_str().unwrap()) && text.contains("make room there"), "{text}");
        // Read-only.
        mount::tmpfs(&small, 1 << 20, 0o700).unwrap();
        let flags = rustix::mount::MountFlags::RDONLY;
        rustix::mount::mount_remount(&small, flags, c"").unwrap();
        let error = refused(NativeOptions { state: small.clone(), run: small.join("run"), ..root.options() });
        mount::unmount(&small).unwrap();
        assert_eq!(error.kind, ErrorKind::Denied);
        assert!(error.to_string().contains("for writing"), "{error}");
        // A file in the way.
        std::fs::write(root.temp.path().join("file"), "").unwrap();
        let error = refused(NativeOptions { state: root.temp.path().join("file"), ..root.options() });
        assert!(error.to_string().contains("a file is in the way"), "{error}");
        let error = refused(NativeOptions { state: "relative".into(), ..root.options() });
        assert_eq!(error.kind, ErrorKind::Invalid);
        let error = refused(NativeOptions { instance: "../x".into(), ..root.options() });
        assert_eq!(error.kind, ErrorKind::Invalid);
    });
}

#[test]
fn e2e_a_verb_may_be_the_first_call_of_an_agent() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::script("web", "sleep 1000");
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        let native = root.open();
        let first = tokio::time::timeout(std::time::Duration::from_secs(120), native.put_record(&pod.record));
        first.await.expect("it waits for itself").unwrap();
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}
