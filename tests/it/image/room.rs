//! Images that the disk has no space for.

use podwright::image::Store;
use podwright::port::ErrorKind;
use serde_json::{Value, json};

use super::pull::Place;
use crate::support::images::{Layer, Layout, Packing, arch, digest};
use crate::support::registry::Server;
use crate::support::{e2e, is_root};

fn downloads(place: &Place) -> Vec<String> {
    let dir = place.dir.path().join("images/downloads");
    let names = |dir| std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names(dir.join("blobs/sha256")).chain(names(dir).filter(|name| name != "blobs")).collect()
}

#[test]
fn an_image_larger_than_the_disk_is_refused_before_its_layers_are_asked_for() {
    if !is_root() {
        return;
    }
    let (layout, image) = said_to_be(1 << 60);
    let server = Server::of(&layout, &image, |_| None);
    let Place { dir, store } = Place::new();
    let limits = podwright::image::Limits { archive_bytes: u64::MAX, ..Default::default() };
    let place = Place { dir, store: store.with_limits(limits) };
    let error = place.pull(&format!("{}/app", server.address)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exhausted, "{error}");
    assert!(error.message.contains("1152921504606846976 bytes are to be downloaded"), "{error}");
    assert!(error.help.as_deref().is_some_and(|help| help.contains("make room")), "{error}");
    assert_eq!(server.paths().iter().filter(|path| path.contains("/blobs/")).count(), 1, "the configuration");
    assert!(downloads(&place).is_empty() && place.is_empty());
}

/// An image whose one layer is said to be of a size.
fn said_to_be(size: u64) -> (Layout, Value) {
    let mut layout = Layout::new();
    let mut image = layout.image(&[(Layer::new().dir("x").tar(), Packing::Gzip)], json!({}), arch());
    let path = |digest: &str| format!("blobs/sha256/{}", &digest[7..]);
    let old = layout.files.remove(&path(image["digest"].as_str().unwrap())).unwrap();
    let mut manifest: Value = serde_json::from_slice(&old).unwrap();
    manifest["layers"][0]["size"] = json!(size);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    image["digest"] = json!(digest(&bytes));
    image["size"] = json!(bytes.len());
    layout.files.insert(path(&digest(&bytes)), bytes);
    (layout, image)
}

#[test]
fn e2e_a_pull_leaves_a_part_of_the_file_system_free() {
    if !e2e() {
        return;
    }
    use nix::mount::{MsFlags, mount, umount};
    // A thread may have mounts of its own.
    let work = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path().join("images");
        std::fs::create_dir(&images).unwrap();
        mount(Some("none"), &images, Some("tmpfs"), MsFlags::empty(), Some("size=100m")).unwrap();
        let place = Place { store: Store::open(&images, None).unwrap(), dir };
        // A fiftieth of it.
        let reserve = 2 << 20;
        for (spare, kind) in [(reserve - (64 << 10), ErrorKind::Exhausted), (reserve + (64 << 10), ErrorKind::Invalid)]
        {
            let system = nix::sys::statvfs::statvfs(&images).unwrap();
            let (layout, image) = said_to_be(system.blocks_available() * system.fragment_size() - spare);
            let server = Server::of(&layout, &image, |_| None);
            let error = place.pull(&format!("{}/app", server.address)).unwrap_err();
            // With room enough it is asked for, and found to be of another size.
            assert_eq!(error.kind, kind, "{error}");
            let told = error.message.contains("of which 2097152 stay so");
            assert_eq!(told, kind == ErrorKind::Exhausted, "{error}");
        }
        umount(&images).unwrap();
    };
    std::thread::spawn(work).join().unwrap();
}

#[test]
fn e2e_what_a_pull_that_filled_the_disk_has_downloaded_is_thrown_away() {
    if !e2e() {
        return;
    }
    use nix::mount::{MsFlags, mount, umount};
    // A thread may have mounts of its own.
    let work = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path().join("images");
        std::fs::create_dir(&images).unwrap();
        mount(Some("none"), &images, Some("tmpfs"), MsFlags::empty(), Some("size=4m")).unwrap();
        let place = Place { store: Store::open(&images, None).unwrap(), dir };
        let mut layout = Layout::new();
        let large = Layer::new().file("large", &"x".repeat(8 << 20)).tar();
        let image = layout.image(&[(large, Packing::Gzip)], json!({}), arch());
        let server = Server::of(&layout, &image, |_| None);
        let error = place.pull(&format!("{}/app", server.address)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Exhausted, "{error}");
        assert!(downloads(&place).is_empty() && place.is_empty());
        umount(&images).unwrap();
    };
    std::thread::spawn(work).join().unwrap();
}
