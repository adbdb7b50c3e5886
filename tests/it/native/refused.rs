//! Pods whose files the disk refuses to read or to write.

use std::os::unix::fs::MetadataExt;

use nix::mount::{MsFlags, mount, umount};
use podwright::port::ContainerBackend;

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
        std::fs::rename(&containers, &aside).unwrap();
        std::fs::write(&containers, "").unwrap();
        for native in [native, root.open()] {
            pod.pid(&native, "app").await;
            let names: Vec<String> =
                native.list().await.unwrap().iter().map(|pod| pod.record.key.name.clone()).collect();
            assert_eq!(names, ["spoiled", "web"]);
            let error = native.observe(spoiled.key()).await.unwrap_err().to_string();
            assert!(error.contains("read the record of pod") && error.contains("Not a directory"), "{error}");
            assert!(is_alive(pid));
        }
        std::fs::remove_file(&containers).unwrap();
        std::fs::rename(&aside, &containers).unwrap();
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
        let none = None::<&str>;
        mount(Some(&dir), &dir, none, MsFlags::MS_BIND, none).unwrap();
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, &dir, none, read_only, none).unwrap();
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
