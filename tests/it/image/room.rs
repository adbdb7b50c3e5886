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
    let mut layout = Layout::new();
    let mut image = layout.image(&[(Layer::new().dir("x").tar(), Packing::Gzip)], json!({}), arch());
    let path = |digest: &str| format!("blobs/sha256/{}", &digest[7..]);
    let old = layout.files.remove(&path(image["digest"].as_str().unwrap())).unwrap();
    let mut manifest: Value = serde_json::from_slice(&old).unwrap();
    manifest["layers"][0]["size"] = json!(1_u64 << 60);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    image["digest"] = json!(digest(&bytes));
    image["size"] = json!(bytes.len());
    layout.files.insert(path(&digest(&bytes)), bytes);
    let server = Server::of(&layout, &image, |_| None);
    let Place { dir, store } = Place::new();
    let limits = podwright::image::Limits { archive_bytes: u64::MAX, ..Default::default() };
    let place = Place { dir, store: store.with_limits(limits) };
    let error = place.pull(&format!("{}/app", server.address)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exhausted, "{error}");
    assert!(error.message.contains("1152921504606846976 bytes are to be downloaded"), "{error}");
    assert!(error.help.as_deref().is_some_and(|help| help.contains("make room")), "{error}");
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    assert!(!server.paths().iter().any(|path| path.ends_with(layer)));
    assert!(downloads(&place).is_empty() && place.is_empty());
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
