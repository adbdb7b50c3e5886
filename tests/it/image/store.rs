//! Loading, finding, removing, and noticing damage.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

use podwright::image::{HostImage, Store};
use podwright::port::ErrorKind;
use serde_json::json;
use tar::EntryType;

use crate::support::images::{Layer, Layout, Packing, arch, docker_archive, oci_archive, pack};
use crate::support::is_root;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("images"), None).unwrap();
    (dir, store)
}

fn simple() -> Vec<u8> {
    Layer::new().dir("./").dir("etc").file("etc/name", "simple").tar()
}

#[test]
fn an_archive_in_any_shape_becomes_the_same_image() {
    if !is_root() {
        return;
    }
    let config = json!({"Cmd": ["/bin/app"], "Env": ["A=1"], "StopSignal": "SIGQUIT"});
    let oci = oci_archive("nginx:latest", &[simple()], config.clone());
    let docker = docker_archive(&["nginx:latest", "example.org/web:2"], &[simple()], config);
    let mut docker_ids = Vec::new();
    for (archive, count) in [
        (oci.clone(), 1),
        (pack(&oci, Packing::Gzip), 1),
        (pack(&oci, Packing::Zstd), 1),
        (docker.clone(), 2),
        (pack(&docker, Packing::Gzip), 2),
    ] {
        let (_dir, store) = store();
        assert_eq!(store.resolve("nginx").unwrap(), None);
        let loaded = store.load(&archive[..], None).unwrap();
        assert_eq!(loaded.len(), count);
        assert!(loaded.iter().any(|l| l.reference == "docker.io/library/nginx:latest"));
        let image = store.resolve("nginx").unwrap().unwrap();
        assert_eq!(image.reference, "docker.io/library/nginx:latest");
        assert_eq!(
            (image.config.cmd.as_slice(), image.config.stop_signal.as_deref()),
            (&["/bin/app".to_owned()][..], Some("SIGQUIT"))
        );
        assert_eq!(std::fs::read_to_string(image.lower[0].join("etc/name")).unwrap(), "simple");
        assert_eq!(image.size, 6);
        let pinned = format!("nginx@{}", image.id);
        assert_eq!(store.resolve(&pinned).unwrap().unwrap().id, image.id);
        assert_eq!(store.resolve(&format!("other@{}", image.id)).unwrap(), None);
        if count == 2 {
            docker_ids.push(image.id);
        }
    }
    assert_eq!(docker_ids[0], docker_ids[1]);
}

#[test]
fn a_layout_directory_with_platforms_gives_this_machines_image() {
    if !is_root() {
        return;
    }
    let (dir, store) = store();
    let mut layout = Layout::new();
    let ours = layout.image(&[(simple(), Packing::Zstd)], json!({}), arch());
    let other = layout.image(&[(simple(), Packing::Plain)], json!({}), "s390x");
    let index = layout.multi(&[other.clone(), ours.clone()]);
    let index_digest = index["digest"].as_str().unwrap().to_owned();
    let path = layout.clone().name(index, Some("k8s.gcr.io/app:1")).write(&dir.path().join("layout"));
    let loaded = store.load_layout(&path, None).unwrap();
    assert_eq!(
        (loaded[0].reference.as_str(), loaded[0].id.as_str()),
        ("k8s.gcr.io/app:1", ours["digest"].as_str().unwrap())
    );
    // A pod may pin the digest of the index as well as that of the manifest.
    assert!(store.resolve(&format!("k8s.gcr.io/app@{index_digest}")).unwrap().is_some());

    let only = layout.multi(&[other]);
    let error = store.load(&layout.name(only, Some("x")).archive()[..], None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains(&format!("no image for linux/{}; there is linux/s390x", arch())), "{error}");
}

#[test]
fn an_image_without_a_name_needs_one() {
    if !is_root() {
        return;
    }
    let (_dir, store) = store();
    let mut layout = Layout::new();
    let image = layout.image(&[(simple(), Packing::Plain)], json!({}), arch());
    for bare in [None, Some("latest"), Some("1.2"), Some("v3")] {
        let archive = layout.clone().name(image.clone(), bare).archive();
        assert!(store.load(&archive[..], None).unwrap_err().message.contains("give it a name"), "{bare:?}");
        assert_eq!(store.load(&archive[..], Some("web:5")).unwrap()[0].reference, "docker.io/library/web:5");
    }
    let archive = layout.name(image, None).archive();
    for bad in ["Web", "podwright.invalid/host", &format!("web@sha256:{}", "a".repeat(64))] {
        assert_eq!(store.load(&archive[..], Some(bad)).unwrap_err().kind, ErrorKind::Invalid, "{bad}");
    }
}

/// A capability set as the kernel stores it.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Two layers with one of everything.
fn rich_layers() -> (Vec<u8>, Vec<u8>) {
    let base = Layer::new()
        .entry(
            "etc/",
            EntryType::Directory,
            |h| {
                h.set_mode(0o2750);
                h.set_uid(7);
                h.set_gid(8);
                h.set_mtime(4242)
            },
            b"",
        )
        .file("etc/a", "a")
        .file("etc/b", "b")
        .dir("old")
        .file("old/x", "x")
        .dir("gone")
        .file("gone/x", "x")
        .file("f", "f")
        .tar();
    let zeros = vec![0_u8; 1 << 20];
    let top = Layer::new()
        .file("etc/.wh.a", "")
        .file(".wh.f", "")
        .file(".wh.never-there", "")
        .dir("old")
        .file("old/.wh..wh..opq", "")
        .file("old/y", "y")
        // A whiteout and a directory of one name: the lower directory must not shine through, in either order.
        .file(".wh.gone", "")
        .dir("gone")
        .file("gone/z", "z")
        .entry(
            "bin/tool",
            EntryType::Regular,
            |h| {
                h.set_mode(0o4755);
                h.set_uid(101);
                h.set_gid(102)
            },
            b"tool",
        )
        .pax(&[("SCHILY.xattr.security.capability", CAPABILITY)])
        .file("bin/ping", "ping")
        .link(EntryType::Link, "bin/hard", "/bin/tool")
        .link(EntryType::Symlink, "bin/soft", "/nowhere/else")
        .entry("fifo", EntryType::Fifo, |h| h.set_mode(0o622), b"")
        .entry("zeros", EntryType::Regular, |_| (), &zeros)
        .tar();
    (base, top)
}

#[test]
fn layers_keep_everything_that_overlay_needs() {
    if !is_root() {
        return;
    }
    let (_dir, store) = store();
    let (base, top) = rich_layers();
    store.load(&oci_archive("x", &[base, top], json!({}))[..], None).unwrap();
    let image = store.resolve("x").unwrap().unwrap();
    let [top, base] = <[PathBuf; 2]>::try_from(image.lower).unwrap();
    let whiteout = |path: &str| {
        let meta = std::fs::symlink_metadata(top.join(path)).unwrap();
        meta.file_type().is_char_device() && meta.rdev() == 0
    };
    assert!(whiteout("etc/a") && whiteout("f"));
    assert!(!top.join("never-there").exists());
    let opaque = |path: &str| {
        let mut value = [0; 8];
        let read = rustix::fs::getxattr(top.join(path), "trusted.overlay.opaque", &mut value);
        read.is_ok_and(|n| &value[..n] == b"y")
    };
    assert!(opaque("old") && opaque("gone") && !opaque("etc"));
    assert!(top.join("gone/z").exists() && !top.join("gone/x").exists());
    // `etc` has no entry of its own in the upper layer: it looks as it does below.
    let etc = std::fs::metadata(top.join("etc")).unwrap();
    assert_eq!((etc.mode() & 0o7777, etc.uid(), etc.gid(), etc.mtime()), (0o2750, 7, 8, 4242));
    assert_eq!(std::fs::metadata(base.join("etc")).unwrap().mtime(), 4242);
    let tool = std::fs::metadata(top.join("bin/tool")).unwrap();
    assert_eq!(
        (tool.mode() & 0o7777, tool.uid(), tool.gid(), tool.mtime(), tool.nlink()),
        (0o4755, 101, 102, 1_000_000, 2)
    );
    assert_eq!(std::fs::metadata(top.join("bin/hard")).unwrap().ino(), tool.ino());
    assert_eq!(std::fs::read_link(top.join("bin/soft")).unwrap(), PathBuf::from("/nowhere/else"));
    let mut value = [0; 64];
    let read = rustix::fs::getxattr(top.join("bin/ping"), "security.capability", &mut value).unwrap();
    assert_eq!(&value[..read], CAPABILITY);
    let fifo = std::fs::symlink_metadata(top.join("fifo")).unwrap();
    assert!(fifo.file_type().is_fifo() && fifo.permissions().mode() & 0o777 == 0o622);
    let holes = std::fs::metadata(top.join("zeros")).unwrap();
    assert_eq!(holes.len(), 1 << 20);
    assert!(holes.blocks() * 512 < 1 << 18, "a file of zeros takes {} blocks", holes.blocks());
}

#[test]
fn removing_the_last_name_frees_what_nothing_else_needs() {
    if !is_root() {
        return;
    }
    let (dir, store) = store();
    let shared = simple();
    let own = Layer::new().file("own", "own").tar();
    store.load(&docker_archive(&["a:1", "a:2"], &[shared.clone(), own], json!({}))[..], None).unwrap();
    store.load(&oci_archive("b:1", &[shared], json!({}))[..], None).unwrap();
    let layers = || std::fs::read_dir(dir.path().join("images/layers")).unwrap().count();
    assert_eq!(layers(), 6, "two layers, each with a record and a note");
    let id = store.resolve("a:1").unwrap().unwrap().id;
    store.remove("a:1", std::slice::from_ref(&id)).unwrap();
    assert_eq!(store.remove("a:1", &[]).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(store.remove("a:2", std::slice::from_ref(&id)).unwrap_err().kind, ErrorKind::Conflict);
    assert!(store.resolve("a:2").unwrap().is_some());
    store.remove("a:2", &[]).unwrap();
    assert_eq!(layers(), 3);
    assert_eq!(store.resolve("a:2").unwrap(), None);
    assert!(store.resolve("b:1").unwrap().is_some());
    store.remove("b:1", &[]).unwrap();
    assert_eq!((layers(), std::fs::read_dir(dir.path().join("images/blobs/sha256")).unwrap().count()), (0, 0));
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn an_image_that_lost_its_name_stays_while_containers_need_it() {
    if !is_root() {
        return;
    }
    let (_dir, store) = store();
    store.load(&oci_archive("a", &[simple()], json!({}))[..], None).unwrap();
    let old = store.resolve("a").unwrap().unwrap();
    let new = Layer::new().file("new", "new").tar();
    store.load(&oci_archive("a", &[new], json!({}))[..], None).unwrap();
    store.load(&oci_archive("b", &[Layer::new().file("b", "").tar()], json!({}))[..], None).unwrap();
    store.remove("b", &[old.id]).unwrap();
    assert!(old.lower[0].join("etc/name").exists());
}

#[test]
fn damage_is_noticed_and_loading_again_repairs_it() {
    if !is_root() {
        return;
    }
    let archive = oci_archive("a", &[simple()], json!({}));
    type Damage = fn(&std::path::Path, &std::path::Path);
    let cases: [(&str, Damage); 6] = [
        ("truncated file", |layer, _| std::fs::write(layer.join("etc/name"), "sim").unwrap()),
        ("missing file", |layer, _| std::fs::remove_file(layer.join("etc/name")).unwrap()),
        ("missing layer", |layer, _| std::fs::remove_dir_all(layer).unwrap()),
        ("missing record", |layer, _| std::fs::remove_file(layer.with_extension("json")).unwrap()),
        ("truncated blob", |_, dir| {
            for blob in std::fs::read_dir(dir.join("blobs/sha256")).unwrap() {
                std::fs::write(blob.unwrap().path(), "{").unwrap();
            }
        }),
        ("missing blobs", |_, dir| std::fs::remove_dir_all(dir.join("blobs/sha256")).unwrap()),
    ];
    for (name, damage) in cases {
        let (dir, store) = store();
        store.load(&archive[..], None).unwrap();
        let layer = store.resolve("a").unwrap().unwrap().lower[0].clone();
        damage(&layer, &dir.path().join("images"));
        let again = Store::open(&dir.path().join("images"), None).unwrap();
        let error = again.resolve("a").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "{name}: {error}");
        assert!(error.help.as_deref().unwrap().contains("bring the image again"), "{name}: {error}");
        again.load(&archive[..], None).unwrap();
        assert!(again.resolve("a").unwrap().is_some(), "{name}");
        assert!(again.list().unwrap()[0].damage.is_none(), "{name}");
    }
}

#[test]
fn what_cannot_be_looked_at_is_not_taken_for_damage() {
    if !is_root() {
        return;
    }
    let archive = oci_archive("a", &[simple()], json!({}));
    let (dir, store) = store();
    store.load(&archive[..], None).unwrap();
    let image = store.resolve("a").unwrap().unwrap();
    let (layer, record) = (&image.lower[0], image.lower[0].with_extension("json"));
    let inode = std::fs::metadata(layer).unwrap().ino();
    let bytes = std::fs::read(&record).unwrap();
    // A link to itself stands for whatever keeps a file from being opened for a while.
    std::fs::remove_file(&record).unwrap();
    std::os::unix::fs::symlink(&record, &record).unwrap();
    let again = Store::open(&dir.path().join("images"), None).unwrap();
    let error = again.resolve("a").unwrap_err();
    assert_eq!(error.waiting_reason, Some("ImageInspectError"), "{error}");
    assert!(error.kind != ErrorKind::Corrupt && error.message.contains("cannot be looked at"), "{error}");
    assert!(again.load(&archive[..], None).is_err());
    assert_eq!(std::fs::metadata(layer).unwrap().ino(), inode, "nothing was replaced");
    std::fs::remove_file(&record).unwrap();
    std::fs::write(&record, bytes).unwrap();
    assert_eq!(again.resolve("a").unwrap().unwrap(), image);
}

#[test]
fn a_layer_that_is_replaced_stays_under_the_containers_that_run_on_it() {
    if !is_root() {
        return;
    }
    let layer = Layer::new().file("whole", "whole").file("spoiled", "spoiled").tar();
    let archive = oci_archive("a", &[layer], json!({}));
    let (dir, store) = store();
    store.load(&archive[..], None).unwrap();
    store.load(&oci_archive("b", &[simple()], json!({}))[..], None).unwrap();
    let image = store.resolve("a").unwrap().unwrap();
    let lower = &image.lower[0];
    let replaced = || {
        let names = std::fs::read_dir(lower.parent().unwrap()).unwrap().map(|e| e.unwrap().path());
        names.filter(|path| path.extension().is_some_and(|e| e.to_string_lossy().starts_with("old-"))).collect()
    };
    let damage = || {
        std::fs::write(lower.join("spoiled"), "").unwrap();
        let again = Store::open(&dir.path().join("images"), None).unwrap();
        again.load(&archive[..], None).unwrap();
        assert_eq!(std::fs::read_to_string(lower.join("spoiled")).unwrap(), "spoiled");
    };
    damage();
    damage();
    let old: Vec<PathBuf> = replaced();
    assert_eq!(old.len(), 2);
    let in_use = [image.id.clone()];
    store.remove("b", &in_use).unwrap();
    store.prune(&in_use, &[]).unwrap();
    for old in &old {
        assert_eq!(std::fs::read_to_string(old.join("whole")).unwrap(), "whole");
    }
    store.prune(&[], &[]).unwrap();
    assert_eq!(replaced(), Vec::<PathBuf>::new());
    assert!(store.resolve("a").unwrap().is_some(), "what was loaded stays");
    for _ in 0..8 {
        damage();
    }
    std::fs::write(lower.join("spoiled"), "").unwrap();
    let error = Store::open(&dir.path().join("images"), None).unwrap().load(&archive[..], None).unwrap_err();
    assert!(error.message.contains("image prune"), "{error}");
    assert_eq!((replaced().len(), lower.join("whole").exists()), (8, true));
}

#[test]
fn layers_of_containers_stay_when_their_image_cannot_say_which_they_are() {
    if !is_root() {
        return;
    }
    let (dir, store) = store();
    store.load(&oci_archive("a", &[simple()], json!({}))[..], None).unwrap();
    let image = store.resolve("a").unwrap().unwrap();
    std::fs::write(dir.path().join("images/blobs/sha256").join(&image.id[7..]), "{").unwrap();
    let other = Layer::new().file("b", "").tar();
    store.load(&oci_archive("b", &[other], json!({}))[..], None).unwrap();
    let in_use = [image.id.clone(), "podwright.invalid/host".to_owned()];
    store.remove("b", &in_use).unwrap();
    assert!(image.lower[0].join("etc/name").exists());
    store.prune(&in_use[1..], &[]).unwrap();
    assert!(!image.lower[0].exists());
}

#[test]
fn a_damaged_index_says_so_and_gives_way_to_a_new_one() {
    if !is_root() {
        return;
    }
    let (dir, store) = store();
    let archive = oci_archive("a", &[simple()], json!({}));
    store.load(&archive[..], None).unwrap();
    let image = store.resolve("a").unwrap().unwrap();
    let inode = || std::fs::metadata(&image.lower[0]).unwrap().ino();
    let (unpacked, index) = (inode(), dir.path().join("images/index.json"));
    let whole = std::fs::read(&index).unwrap();
    // Cut short, of zeros as a power cut leaves it, and empty.
    for damaged in ["{\"images\":".as_bytes().to_vec(), vec![0; whole.len()], Vec::new()] {
        std::fs::write(&index, damaged).unwrap();
        let store = Store::open(&dir.path().join("images"), None).unwrap();
        let error = store.resolve("a").unwrap_err();
        assert_eq!((error.kind, error.waiting_reason), (ErrorKind::Corrupt, Some("ImageInspectError")), "{error}");
        assert!(error.help.unwrap().contains("bring the image again"));
        assert_eq!(store.list().unwrap_err().kind, ErrorKind::Corrupt);
        // Nothing is thrown away by what cannot be read.
        assert_eq!(store.prune(&[], &[]).unwrap_err().kind, ErrorKind::Corrupt);
        store.load(&archive[..], None).unwrap();
        assert_eq!(
            (store.resolve("a").unwrap().unwrap(), inode()),
            (image.clone(), unpacked),
            "its layer is used again"
        );
        assert!(dir.path().join("images/index.json.damaged").exists());
    }
}

#[test]
fn an_index_that_is_gone_takes_names_with_it_and_no_layer_that_containers_run_on() {
    if !is_root() {
        return;
    }
    let (dir, store) = store();
    let archive = oci_archive("a", &[simple()], json!({}));
    store.load(&archive[..], None).unwrap();
    let image = store.resolve("a").unwrap().unwrap();
    let unpacked = std::fs::metadata(&image.lower[0]).unwrap().ino();
    std::fs::remove_file(dir.path().join("images/index.json")).unwrap();
    let again = Store::open(&dir.path().join("images"), None).unwrap();
    assert_eq!((again.resolve("a").unwrap(), again.list().unwrap()), (None, vec![]), "a pull brings it again");
    again.prune(std::slice::from_ref(&image.id), &[]).unwrap();
    again.load(&archive[..], None).unwrap();
    assert_eq!(again.resolve("a").unwrap().unwrap(), image);
    assert_eq!(std::fs::metadata(&image.lower[0]).unwrap().ino(), unpacked);
}

#[test]
fn what_belongs_to_no_image_is_in_nobodys_way_and_goes_with_the_next_prune() {
    if !is_root() {
        return;
    }
    let (dir, store) = store();
    store.load(&oci_archive("a", &[simple()], json!({}))[..], None).unwrap();
    let image = store.resolve("a").unwrap().unwrap();
    let at = |name: &str| dir.path().join("images").join(name);
    let other = Layer::new().file("half", "half").tar();
    let hex = "7".repeat(32);
    // A layer before its record was written, a record without a layer, a blob of no manifest, work that was cut short.
    let strays = [
        at(&format!("layers/{hex}")),
        at(&format!("layers/{}.json", "8".repeat(32))),
        at(&format!("blobs/sha256/{}", "9".repeat(64))),
        at("tmp/unpacking"),
    ];
    std::fs::create_dir(&strays[0]).unwrap();
    std::fs::write(strays[0].join("half"), "half").unwrap();
    for file in &strays[1..] {
        std::fs::write(file, &other).unwrap();
    }
    let again = Store::open(&dir.path().join("images"), None).unwrap();
    assert_eq!(again.resolve("a").unwrap().unwrap(), image);
    assert_eq!(again.list().unwrap().len(), 1, "none of it is taken for an image");
    again.prune(&[], &[]).unwrap();
    let left: Vec<_> = strays.iter().filter(|stray| stray.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(again.resolve("a").unwrap().unwrap(), image);
    // One that stands where a layer is to be is not taken for that layer.
    let image = {
        again.load(&oci_archive("b", &[other], json!({}))[..], None).unwrap();
        again.resolve("b").unwrap().unwrap()
    };
    again.remove("b", &[]).unwrap();
    std::fs::create_dir(&image.lower[0]).unwrap();
    std::fs::write(image.lower[0].join("half"), "ha").unwrap();
    again.load(&oci_archive("b", &[Layer::new().file("half", "half").tar()], json!({}))[..], None).unwrap();
    assert_eq!(std::fs::read_to_string(image.lower[0].join("half")).unwrap(), "half");
}

#[test]
fn two_processes_load_at_a_time() {
    if !is_root() {
        return;
    }
    let (dir, _) = store();
    let path = dir.path().join("images");
    let names: Vec<String> = (0..6).map(|i| format!("img{i}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            // A store of its own has a lock of its own, as another process has.
            let path = &path;
            scope.spawn(move || {
                let layer = Layer::new().file("name", name).tar();
                Store::open(path, None)
                    .unwrap()
                    .load(&oci_archive(name, &[simple(), layer], json!({}))[..], None)
                    .unwrap();
            });
        }
    });
    let store = Store::open(&path, None).unwrap();
    for name in &names {
        let image = store.resolve(name).unwrap().unwrap();
        assert_eq!(&std::fs::read_to_string(image.lower[0].join("name")).unwrap(), name);
    }
    assert_eq!(std::fs::read_dir(path.join("tmp")).unwrap().count(), 0);
}

#[test]
fn the_host_image_is_there_only_when_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), None).unwrap();
    let error = store.resolve("podwright.invalid/host").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.to_string().contains("--allow-host-image"), "{error}");
    let covered = vec![PathBuf::from("/var/lib/podwright")];
    let store = Store::open(dir.path(), Some(HostImage { covered: covered.clone() })).unwrap();
    let image = store.resolve("podwright.invalid/host").unwrap().unwrap();
    assert_eq!((image.host, image.lower, image.covered), (true, vec![PathBuf::from("/")], covered));
}

#[test]
fn a_bad_name_is_an_invalid_image_name() {
    let dir = tempfile::tempdir().unwrap();
    let error = Store::open(dir.path(), None).unwrap().resolve("Nginx").unwrap_err();
    assert_eq!((error.kind, error.waiting_reason), (ErrorKind::Invalid, Some("InvalidImageName")));
}
