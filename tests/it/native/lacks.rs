//! What is told where the machine lacks something: each error names the command that says what.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use podwright::backend::native::Native;
use podwright::port::{ContainerBackend, ErrorKind, PortError};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use serde_json::json;

use super::fixture::{TestPod, on_root};
use crate::support;
use crate::support::images::{Layer, oci_archive};

const NONE: Option<&str> = None;

/// Takes a right from this thread, and from what it starts.
fn without(right: CapabilitySet) {
    let mut all = capabilities(None).unwrap();
    all.effective.remove(right);
    set_capabilities(None, all).unwrap();
}

/// Mounts of this thread's own.
fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).unwrap();
}

/// Has this thread stand in a copy of its root directory.
fn within_another_root(place: &Path) {
    own_mounts();
    let copy = place.join("copy");
    std::fs::create_dir(&copy).unwrap();
    mount(Some("/"), &copy, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE).unwrap();
    nix::unistd::chroot(&copy).unwrap();
}

/// Of the network namespace that a thread stands in.
const DISABLED: &str = "/proc/sys/net/ipv6/conf/all/disable_ipv6";

/// A pod of one container that has a host port.
fn pod() -> TestPod {
    TestPod::new(
        "lacking",
        json!({ "hostIPC": true, "containers": [{ "name": "app", "command": ["true"],
            "ports": [{ "containerPort": 80, "hostPort": 8080 }] }] }),
    )
}

/// Its kind and waiting reason are these, and it says where to look.
fn names_doctor(what: &str, error: &PortError, kind: ErrorKind, words: &str) {
    assert_eq!(error.kind, kind, "{what}: {error}");
    let help = error.help.as_deref().unwrap_or_default();
    assert!(help.ends_with("`podwright doctor` says what this machine lacks"), "{what}: {error}");
    assert!(error.to_string().contains(words), "{what}: {error}");
}

/// Starts a pod where `lack` has taken something away, in a thread and so on a machine of its own.
fn on_an_unfit_machine(what: &'static str, (kind, words): (ErrorKind, &'static str), lack: fn(&Path)) {
    with_a_lack(what, pod(), lack, move |error| names_doctor(what, error, kind, words));
}

/// The same with this pod, which there is no lack for otherwise.
fn with_a_lack(what: &'static str, pod: TestPod, lack: fn(&Path), told: impl FnOnce(&PortError) + Send + 'static) {
    on_root(async move |root| {
        let native = root.open();
        let place = root.temp.path().to_owned();
        native.put_record(&pod.record).await.unwrap();
        let (unfit, key) = (native.clone(), pod.key().clone());
        let start = move || {
            lack(&place);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(unfit.run_sandbox(&key, 0)).unwrap_err()
        };
        let error = std::thread::spawn(start).join().unwrap();
        told(&error);
        assert_eq!(error.waiting_reason, Some("CreatePodSandboxError"), "{what}");
        native.run_sandbox(pod.key(), 0).await.unwrap_or_else(|e| panic!("{what}: it is the lack alone: {e}"));
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_the_errors_of_what_a_machine_lacks_name_doctor() {
    if !support::e2e() {
        return;
    }
    on_an_unfit_machine("links", (ErrorKind::Denied, "set up bridge"), |_| {
        without(CapabilitySet::NET_ADMIN);
    });
    on_an_unfit_machine("namespaces", (ErrorKind::Denied, "CAP_SYS_ADMIN"), |_| {
        without(CapabilitySet::SYS_ADMIN);
    });
    on_an_unfit_machine("nft", (ErrorKind::Denied, "host ports"), |place| {
        own_mounts();
        let program = place.join("nft");
        std::fs::write(&program, "#!/bin/sh\necho 'no NAT here' >&2\nexit 1\n").unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        for place in ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"].iter().filter(|place| Path::new(place).exists()) {
            mount(Some(&program), *place, NONE, MsFlags::MS_BIND, NONE).unwrap();
        }
    });
    on_an_unfit_machine("cgroups", (ErrorKind::Denied, "Read-only file system"), |_| {
        own_mounts();
        for line in std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap().lines() {
            if line.contains(" - cgroup") {
                let place = line.split(' ').nth(4).unwrap();
                let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
                mount(NONE, place, NONE, flags, NONE).unwrap();
            }
        }
    });
    let with_users = TestPod::new(
        "lacking",
        json!({ "hostUsers": false, "hostNetwork": false, "containers": [{ "name": "app", "command": ["true"] }] }),
    );
    let told = |error: &PortError| {
        let help = error.help.as_deref().unwrap_or_default();
        assert!(help.starts_with("`podwright doctor` says whether this machine makes user namespaces"), "{error}");
    };
    // A process in another root directory than its mounts have makes none (user_namespaces(7)).
    with_a_lack("user namespaces", with_users, within_another_root, told);
    let of_ipv6 = TestPod::new(
        "lacking",
        json!({ "containers": [{ "name": "app", "command": ["true"],
            "ports": [{ "containerPort": 80, "hostPort": 8080, "hostIP": "fd00::7" }] }] }),
    );
    let told = |error: &PortError| {
        let message = error.to_string();
        assert!(message.contains("host port [fd00::7]:8080") && message.contains("disable_ipv6 is 1"), "{message}");
        assert!(error.help.as_deref().is_some_and(|help| help.starts_with("`podwright doctor` says more")), "{error}");
        std::fs::write(DISABLED, "0").unwrap();
    };
    if Path::new("/proc/sys/net/ipv6").exists() {
        with_a_lack("IPv6", of_ipv6, |_| std::fs::write(DISABLED, "1").unwrap(), told);
    } else {
        support::skip("this kernel has no IPv6");
    }
    // As an agent that starts there.
    on_root(async |root| {
        own_mounts();
        let options = root.options();
        std::fs::create_dir(&options.state).unwrap();
        for (words, flags, size) in [
            ("Read-only file system", MsFlags::MS_RDONLY, "size=1m"),
            ("No space left on device", MsFlags::empty(), "size=16k"),
        ] {
            mount(Some("none"), &options.state, Some("tmpfs"), flags, Some(size)).unwrap();
            let error = Native::open(options.clone()).err().unwrap();
            let kind = if flags.is_empty() { ErrorKind::Exhausted } else { ErrorKind::Denied };
            names_doctor("space", &error, kind, words);
            nix::mount::umount(&options.state).unwrap();
        }
    });
}

#[test]
fn e2e_a_root_file_system_that_cannot_be_mounted_names_doctor_where_the_pod_is_looked_at() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let archive = oci_archive("local.test/x:1", &[Layer::new().file("f", "f").tar()], json!({"Cmd": ["/f"]}));
        native.images().load(archive.as_slice(), None).unwrap();
        let pod = TestPod::new("overlay", json!({ "containers": [{ "name": "app", "image": "local.test/x:1" }] }));
        pod.create(&native).await;
        // What the kernel takes for no layer stands for a kernel without overlays.
        let points = root.state().join("mount-points");
        std::fs::rename(&points, root.state().join("aside")).unwrap();
        std::fs::write(&points, "").unwrap();
        let error = native.start_container(pod.key(), &pod.plan("app", 0)).await.unwrap_err();
        let words = "; `podwright doctor` says what this machine lacks";
        let message = &error.message;
        assert!(message.contains("mounting the root file system: ") && message.ends_with(words), "{error}");
        let exit = pod.exit(&native, "app").await;
        assert!(exit.message.as_deref().is_some_and(|message| message.contains("podwright doctor")), "{exit:?}");
        std::fs::remove_file(&points).unwrap();
        std::fs::rename(root.state().join("aside"), &points).unwrap();
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}
