//! One pull for all who wait; what a power cut took is brought again; what nobody needs any more is pruned.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use podwright::image::{Puller, Store};
use podwright::port::ErrorKind;
use serde_json::{Value, json};

use super::pull::{Place, image, settings};
use crate::support::images::{Layer, Layout, Packing, arch, oci_archive};
use crate::support::registry::{Asked, Reply, Server};
use crate::support::{e2e, is_root};

fn puller(place: &Place) -> Arc<Puller> {
    let store = Store::open(&place.dir.path().join("images"), None).unwrap();
    Puller::new(Arc::new(store), settings(place.dir.path()))
}

/// Answers late, so that others come meanwhile.
fn slow(_: &Asked) -> Option<Reply> {
    std::thread::sleep(Duration::from_millis(300));
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_wait_an_image_is_pulled_once() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let (layout, image) = image();
    let server = Server::of(&layout, &image, slow);
    let puller = puller(&place);
    // Of one image under several spellings of its name.
    let names = [format!("{}/app", server.address), format!("{}/app:latest", server.address)];
    let waiting: Vec<_> = (0..20)
        .map(|n| {
            let (puller, name) = (Arc::clone(&puller), names[n % 2].clone());
            tokio::spawn(async move { puller.pull(&name, &[], None).await })
        })
        .collect();
    for pull in waiting {
        let waited = pull.await.unwrap().unwrap();
        assert!(waited.waited >= waited.took || waited.took < Duration::from_secs(60));
    }
    let manifests = server.paths().iter().filter(|p| p.contains("/manifests/")).count();
    assert_eq!(manifests, 1, "{:?}", server.paths());
    assert!(place.store.resolve(&names[0]).unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_fails_fails_for_all_and_the_next_one_begins_anew() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let server = Server::start(|asked| {
        let _ = slow(asked);
        Reply::status(404)
    });
    let puller = puller(&place);
    let name = format!("{}/app", server.address);
    let both = tokio::join!(puller.pull(&name, &[], None), puller.pull(&name, &[], None));
    assert_eq!((both.0.unwrap_err().kind, both.1.unwrap_err().kind), (ErrorKind::NotFound, ErrorKind::NotFound));
    assert_eq!(server.asked().len(), 1);
    puller.pull(&name, &[], None).await.unwrap_err();
    assert_eq!(server.asked().len(), 2);
    assert!(!puller.is_out_of_reach(&name), "it answers");
    assert_eq!(puller.pull("Bad Name", &[], None).await.unwrap_err().waiting_reason, Some("InvalidImageName"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_goes_on_when_the_one_who_asked_goes_away() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let (layout, image) = image();
    let server = Server::of(&layout, &image, slow);
    let puller = puller(&place);
    let name = format!("{}/app", server.address);
    tokio::time::timeout(Duration::from_millis(50), puller.pull(&name, &[], None)).await.expect_err("it takes longer");
    puller.pull(&name, &[], None).await.unwrap();
    assert_eq!(server.paths().iter().filter(|p| p.contains("/manifests/")).count(), 1, "the second joined the first");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_do_without_a_registry_does_not_wait_for_it_twice() {
    let place = Place::new();
    let server = Server::start(|_| {
        std::thread::sleep(Duration::from_secs(3));
        Reply::status(404)
    });
    let puller = puller(&place);
    let name = format!("{}/app", server.address);
    let error = puller.pull(&name, &[], Some(Duration::from_millis(100))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(puller.is_out_of_reach(&name) && puller.is_out_of_reach(&format!("{}/other:1", server.address)));
    assert!(!puller.is_out_of_reach("elsewhere.example/app"));
}

/// A registry of [`image`] whose large layer comes once it is let go, and of another image, `here/app`.
fn held() -> (Server, std::sync::mpsc::SyncSender<()>) {
    let (let_go, gate) = std::sync::mpsc::sync_channel(0);
    let gate = std::sync::Mutex::new(gate);
    let (mut layout, image) = image();
    let here = layout.image(&[(Layer::new().file("here", "here").tar(), Packing::Gzip)], json!({}), arch());
    let [slow, here] = [image, here].map(|image| image["digest"].as_str().unwrap().to_owned());
    let files = layout.files;
    let server = Server::start(move |asked| {
        let blob = asked.path.rsplit_once(':').and_then(|(_, hex)| files.get(&format!("blobs/sha256/{hex}")));
        if blob.is_some_and(|bytes| bytes.len() > 100_000) {
            // Until its other end is dropped.
            let _ = gate.lock().unwrap().recv();
        }
        let top = if asked.path.contains("/here/") { &here } else { &slow };
        crate::support::registry::right(&files, top, asked)
    });
    (server, let_go)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_an_image_does_not_wait_for_the_downloads_of_others() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let (server, let_go) = held();
    let here = format!("{}/here/app", server.address);
    tokio::task::block_in_place(|| place.pull(&here)).unwrap();
    let puller = puller(&place);
    let downloads: Vec<_> = (0..4)
        .map(|n| {
            let (puller, name) = (Arc::clone(&puller), format!("{}/slow{n}", server.address));
            tokio::spawn(async move { puller.pull(&name, &[], None).await })
        })
        .collect();
    let begun = || server.paths().iter().filter(|path| path.contains("/slow") && path.contains("/manifests/")).count();
    while begun() < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let asked = puller.pull(&here, &[], Some(Duration::from_secs(30)));
    tokio::time::timeout(Duration::from_secs(60), asked).await.expect("it is not behind them").unwrap();
    assert!(downloads.iter().all(|download| !download.is_finished()));
    drop(let_go);
    for download in downloads {
        download.await.unwrap().unwrap();
    }
}

#[test]
fn what_a_pull_has_downloaded_is_pruned_only_when_it_ends() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let (server, let_go) = held();
    let whole = place.dir.path().join("images/downloads/blobs/sha256");
    std::thread::scope(|scope| {
        let pull = scope.spawn(|| place.pull(&format!("{}/slow", server.address)).unwrap());
        let there = || std::fs::read_dir(&whole).map_or(0, Iterator::count);
        while there() == 0 {
            assert!(!pull.is_finished());
            std::thread::sleep(Duration::from_millis(10));
        }
        place.store.prune(&[], &[]).unwrap();
        assert_eq!(there(), 1);
        drop(let_go);
    });
    let blobs: Vec<String> = server.paths().into_iter().filter(|path| path.contains("/blobs/")).collect();
    assert_eq!(blobs.len(), 3, "configuration and layers, each once: {blobs:?}");
    assert_eq!(std::fs::read_dir(&whole).unwrap().count(), 0);
}

#[test]
fn what_an_old_pull_left_goes_with_the_next_one_and_what_is_young_or_held_stays() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let (layout, image) = image();
    let server = Server::of(&layout, &image, |_| None);
    place.pull(&format!("{}/app", server.address)).unwrap();
    let dir = place.dir.path().join("images/downloads");
    let hour = Duration::from_secs(3600);
    let left = [("a.part", 23), ("b.part", 25), ("blobs/sha256/c", 25), ("blobs/sha256/d", 23), ("held.part", 25)];
    let files = left.map(|(name, age)| {
        let file = std::fs::File::create(dir.join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - hour * age).unwrap();
        file
    });
    files[4].lock().unwrap();
    place.pull(&format!("{}/app", server.address)).unwrap();
    let stays = left.map(|(name, _)| dir.join(name).exists());
    assert_eq!(stays, [true, false, false, true, true]);
}

type Damage = fn(&Path, &Path);

/// Everything a power cut, or a disk, may do to a store: the topmost layer, and the store.
const DAMAGES: [(&str, Damage); 13] = [
    ("truncated file", |layer, _| std::fs::write(layer.join("etc/top"), "t").unwrap()),
    ("zeroed file", |layer, _| std::fs::write(layer.join("etc/top"), [0; 3]).unwrap()),
    ("missing file", |layer, _| std::fs::remove_file(layer.join("etc/top")).unwrap()),
    ("extra file", |layer, _| std::fs::write(layer.join("etc/more"), "x").unwrap()),
    ("other mode", |layer, _| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4777);
        std::fs::set_permissions(layer.join("etc/top"), mode).unwrap();
    }),
    ("missing layer", |layer, _| std::fs::remove_dir_all(layer).unwrap()),
    ("missing record", |layer, _| std::fs::remove_file(layer.with_extension("json")).unwrap()),
    ("truncated record", |layer, _| std::fs::write(layer.with_extension("json"), "{").unwrap()),
    ("zeroed record", |layer, _| std::fs::write(layer.with_extension("json"), [0; 300]).unwrap()),
    ("truncated blobs", |_, dir| blobs(dir).iter().for_each(|blob| std::fs::write(blob, "{").unwrap())),
    ("zeroed blobs", |_, dir| {
        for blob in blobs(dir) {
            let length = std::fs::metadata(&blob).unwrap().len();
            std::fs::write(blob, vec![0; length as usize]).unwrap();
        }
    }),
    ("missing blobs", |_, dir| std::fs::remove_dir_all(dir.join("blobs/sha256")).unwrap()),
    ("truncated index", |_, dir| std::fs::write(dir.join("index.json"), "{\"images\":").unwrap()),
];

fn blobs(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir.join("blobs/sha256")).unwrap().map(|b| b.unwrap().path()).collect()
}

#[test]
fn a_store_that_a_power_cut_damaged_is_noticed_and_mended_by_pulling_again() {
    if !is_root() {
        return;
    }
    let (layout, image) = image();
    for (what, damage) in DAMAGES {
        let place = Place::new();
        let server = Server::of(&layout, &image, |_| None);
        let name = format!("{}/app", server.address);
        place.pull(&name).unwrap();
        let layer = place.store.resolve(&name).unwrap().unwrap().lower[0].clone();
        let dir = place.dir.path().join("images");
        damage(&layer, &dir);
        // As a newly started agent has it.
        let store = Store::open(&dir, None).unwrap();
        let error = store.resolve(&name).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "{what}: {error}");
        assert_eq!(error.waiting_reason, Some("ImageInspectError"), "{what}");
        let again = Place { dir: place.dir, store };
        assert!(!again.pull(&name).unwrap().up_to_date, "{what}");
        let found = again.store.resolve(&name).unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(found.lower[0].join("etc/top")).unwrap(), "top", "{what}");
        assert!(!found.lower[0].join("etc/more").exists(), "{what}");
    }
}

#[test]
fn after_a_power_cut_what_files_hold_is_read_again_and_without_one_it_is_not() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let (layout, image) = image();
    let server = Server::of(&layout, &image, |_| None);
    let name = format!("{}/app", server.address);
    place.pull(&name).unwrap();
    let dir = place.dir.path().join("images");
    let layer = place.store.resolve(&name).unwrap().unwrap().lower[0].clone();
    let note = layer.with_extension("seen");
    let before = std::fs::read_to_string(&note).unwrap();
    // The note of another boot.
    let mut other: Value = serde_json::from_str(&before).unwrap();
    other["boot"] = json!("another");
    std::fs::write(&note, other.to_string()).unwrap();
    assert!(Store::open(&dir, None).unwrap().resolve(&name).unwrap().is_some());
    assert_eq!(std::fs::read_to_string(&note).unwrap(), before, "it was read, and found to be whole");
    // Damage that leaves no trace in any time: a note that says all is well is believed only until the next boot.
    std::fs::write(layer.join("etc/top"), [0; 3]).unwrap();
    std::fs::write(&note, other.to_string()).unwrap();
    let error = Store::open(&dir, None).unwrap().resolve(&name).unwrap_err();
    assert!(error.message.contains("do not hold what was unpacked"), "{error}");
    // A record of a version that kept no digest of contents is believed as it was.
    let record = layer.with_extension("json");
    let mut old: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    assert!(old.as_object_mut().unwrap().remove("contents").is_some());
    std::fs::write(&record, old.to_string()).unwrap();
    assert!(Store::open(&dir, None).unwrap().resolve(&name).unwrap().is_some());
}

#[test]
fn e2e_without_a_name_for_the_boot_images_are_used_and_read_each_time() {
    if !e2e() {
        return;
    }
    use nix::mount::{MsFlags, mount};
    // A thread may have mounts of its own.
    let work = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        mount(Some("none"), "/proc/sys/kernel/random", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let place = Place::new();
        let (layout, image) = image();
        let server = Server::of(&layout, &image, |_| None);
        let name = format!("{}/app", server.address);
        place.pull(&name).unwrap();
        let open = || Store::open(&place.dir.path().join("images"), None).unwrap();
        let layer = open().resolve(&name).unwrap().unwrap().lower[0].clone();
        assert!(open().resolve(&name).unwrap().is_some());
        assert!(!layer.with_extension("seen").exists(), "what cannot be told from another boot is not noted");
        std::fs::write(layer.join("etc/top"), [0; 3]).unwrap();
        assert_eq!(open().resolve(&name).unwrap_err().kind, ErrorKind::Corrupt);
    };
    std::thread::spawn(work).join().unwrap();
}

#[test]
fn pruning_leaves_what_runs_what_is_wanted_and_what_was_loaded() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let mut layout = Layout::new();
    let mut images = Vec::new();
    for name in ["runs", "wanted", "pinned", "nobody"] {
        let layers = [
            (Layer::new().dir("etc").file("etc/base", "base").tar(), Packing::Gzip),
            (Layer::new().file(name, name).tar(), Packing::Gzip),
        ];
        images.push((name, layout.image(&layers, json!({}), arch())));
    }
    let (files, tops) = (layout.files.clone(), images.clone());
    let server = Server::start(move |asked| {
        let top = tops.iter().find(|(name, _)| asked.path.contains(&format!("/{name}/"))).unwrap();
        crate::support::registry::right(&files, top.1["digest"].as_str().unwrap(), asked)
    });
    let name = |image: &str| format!("{}/{image}", server.address);
    for (image, _) in &images {
        place.pull(&name(image)).unwrap();
    }
    place.store.load(&oci_archive("loaded:1", &[Layer::new().file("l", "loaded").tar()], json!({}))[..], None).unwrap();
    let id = |at: usize| images[at].1["digest"].as_str().unwrap().to_owned();
    let pin = format!("{}@{}", name("pinned"), id(2));
    let left = place.dir.path().join("images/downloads").join(format!("{}.part", "0".repeat(64)));
    std::fs::write(&left, "x").unwrap();
    let pruned = place.store.prune(&[id(0)], &[name("wanted"), pin, "Bad Name".to_owned()]).unwrap();
    assert_eq!(pruned.references, [format!("{}:latest", name("nobody"))]);
    assert_eq!(pruned.bytes, 6, "the layer below is another image's too");
    assert!(!left.exists());
    for image in ["runs", "wanted", "pinned"] {
        assert!(place.store.resolve(&name(image)).unwrap().is_some(), "{image}");
    }
    assert!(place.store.resolve("loaded:1").unwrap().is_some());
    let pruned = place.store.prune(&[], &[]).unwrap();
    assert_eq!(pruned.references.len(), 3);
    assert_eq!(place.store.list().unwrap().len(), 1, "what was loaded");
    assert!(place.pull(&name("runs")).is_ok(), "what is wanted again is pulled again");
}
