//! Pods whose files the disk refuses to read or to write.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::mount::{MsFlags, mount, umount};
use podwright::backend::native::Native;
use podwright::port::ContainerBackend;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::fixture::{TestPod, is_alive, on_root};
use crate::support;

#[test]
fn e2e_a_pod_whose_containers_cannot_be_listed_keeps_no_other_from_being_looked_after() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let [pod, spoiled] = ["web", "spoiled"].map(|name| TestPod::script(name, "sleep 1000"));
        for pod in [&pod, &spoiled] {
            pod.create(&native).await;
            pod.start(&native, "app", 0).await;
        }
        let (pid, before) = (spoiled.pid(&native, "app").await, spoiled.look(&native).await);
        let containers = root.pod_dir(&spoiled).join("containers");
        let aside = root.pod_dir(&spoiled).join("aside");
        // At once: without the directory there are no containers, and what is found of them belongs to nobody.
        std::fs::write(&aside, "").unwrap();
        renameat_with(CWD, &aside, CWD, &containers, RenameFlags::EXCHANGE).unwrap();
        for native in [native, root.open()] {
            pod.pid(&native, "app").await;
            let names: Vec<String> =
                native.list().await.unwrap().iter().map(|pod| pod.record.key.name.clone()).collect();
            assert_eq!(names, ["spoiled", "web"]);
            let error = native.observe(spoiled.key()).await.unwrap_err().to_string();
            assert!(error.contains("read the record of pod") && error.contains("Not a directory"), "{error}");
            assert!(is_alive(pid));
        }
        renameat_with(CWD, &aside, CWD, &containers, RenameFlags::EXCHANGE).unwrap();
        std::fs::remove_file(&aside).unwrap();
        let again = root.open();
        assert_eq!(spoiled.look(&again).await, before);
        for pod in [&pod, &spoiled] {
            pod.remove(&again).await;
        }
        again.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_record_that_the_disk_refused_is_written_again_at_the_next_look() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::script("web", "sleep 1000");
        native.put_record(&pod.record).await.unwrap();
        let dir = root.pod_dir(&pod);
        let number = || std::fs::metadata(dir.join("record.json")).unwrap().ino();
        let first = number();
        refuse_writes(&dir);
        let mut newer = pod.record.clone();
        newer.generation += 1;
        native.put_record(&newer).await.unwrap_err();
        pod.look(&native).await;
        assert_eq!(number(), first);
        umount(&dir).unwrap();
        pod.look(&native).await;
        let second = number();
        assert_ne!(first, second);
        pod.look(&native).await;
        assert_eq!(number(), second);
        native.remove_pod(pod.key()).await.unwrap();
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_containers_record_that_could_not_be_made_good_is_once_the_disk_takes_it() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let pod = TestPod::script("web", "sleep 1000");
        pod.create(&native).await;
        pod.start(&native, "app", 0).await;
        let record = root.instance_dir(&pod, "app", 0).join("record.json");
        std::fs::write(&record, "{").unwrap();
        // Longer than files that have changed may change once more and look the same.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        refuse_writes(&root.pod_dir(&pod));
        for _ in 0..2 {
            pod.pid(&native, "app").await;
        }
        umount(&root.pod_dir(&pod)).unwrap();
        assert_eq!(std::fs::read_to_string(&record).unwrap(), "{");
        pod.pid(&native, "app").await;
        assert_ne!(std::fs::read_to_string(&record).unwrap(), "{");
        // It can be stopped again.
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

#[test]
fn e2e_a_damaged_pod_that_cannot_be_set_aside_keeps_no_other_from_being_looked_after() {
    if !support::e2e() {
        return;
    }
    on_root(async |root| {
        let native = root.open();
        let [pod, spoiled] = ["web", "spoiled"].map(|name| TestPod::script(name, "sleep 1000"));
        for pod in [&pod, &spoiled] {
            pod.create(&native).await;
            pod.start(&native, "app", 0).await;
        }
        let (record, damaged) = (root.pod_dir(&spoiled).join("record.json"), root.state().join("damaged"));
        std::fs::write(&record, "{").unwrap();
        std::fs::create_dir(&damaged).unwrap();
        refuse_writes(&damaged);
        let names = async |native: &Native| -> Vec<String> {
            native.list().await.unwrap().iter().map(|pod| pod.record.key.name.clone()).collect()
        };
        for native in [native, root.open()] {
            assert_eq!(names(&native).await, ["web"]);
            pod.pid(&native, "app").await;
            assert_eq!(std::fs::read_to_string(&record).unwrap(), "{", "its data is not what nobody knows");
        }
        umount(&damaged).unwrap();
        let native = root.open();
        assert_eq!(names(&native).await, ["web"]);
        assert!(!root.pod_dir(&spoiled).exists());
        assert_eq!(std::fs::read_dir(&damaged).unwrap().count(), 1);
        pod.remove(&native).await;
        native.teardown_root().await.unwrap();
    });
}

/// Has a directory take no more changes, as a file system with an error does, until it is unmounted.
fn refuse_writes(dir: &Path) {
    let none = None::<&str>;
    mount(Some(dir), dir, none, MsFlags::MS_BIND, none).unwrap();
    mount(none, dir, none, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none).unwrap();
}
