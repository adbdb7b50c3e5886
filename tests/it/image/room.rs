//! Images that the disk has no space for.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::mount::{MsFlags, mount, umount};
use podwright::image::Store;
use podwright::port::{ErrorKind, PortError};
use serde_json::{Value, json};

use super::pull::{Place, layer_digests};
use crate::support::images::{Layer, Layout, Packing, arch, digest, oci_archive, pack};
use crate::support::registry::{Gate, Server};
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
    let (layout, image) = said_to_be("x", 1 << 60);
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

/// An image whose one layer, of one directory, is said to be of a size.
fn said_to_be(directory: &str, size: u64) -> (Layout, Value) {
    let mut layout = Layout::new();
    let mut image = layout.image(&[(Layer::new().dir(directory).tar(), Packing::Gzip)], json!({}), arch());
    let old = layout.files.remove(&path_of(&image)).unwrap();
    let mut manifest: Value = serde_json::from_slice(&old).unwrap();
    manifest["layers"][0]["size"] = json!(size);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    image["digest"] = json!(digest(&bytes));
    image["size"] = json!(bytes.len());
    layout.files.insert(path_of(&image), bytes);
    (layout, image)
}

/// Where the layout of an image has what its descriptor names.
fn path_of(descriptor: &Value) -> String {
    format!("blobs/sha256/{}", &descriptor["digest"].as_str().unwrap()[7..])
}

/// Works with a store on a tmpfs of its own, made with these options.
fn on_tmpfs(options: &'static str, work: impl FnOnce(&Place, &Path) + Send + 'static) {
    // A thread may have mounts of its own.
    let run = move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path().join("images");
        std::fs::create_dir(&images).unwrap();
        mount(Some("none"), &images, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
        let place = Place { store: Store::open(&images, None).unwrap(), dir };
        work(&place, &images);
        drop(place.store);
        umount(&images).unwrap();
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

fn free(of: &Path) -> u64 {
    let system = nix::sys::statvfs::statvfs(of).unwrap();
    system.blocks_available() * system.fragment_size()
}

#[test]
fn e2e_a_pull_leaves_a_part_of_the_file_system_free() {
    if !e2e() {
        return;
    }
    on_tmpfs("size=100m", |place, images| {
        // A fiftieth of it.
        let reserve = 2 << 20;
        for (spare, kind) in [(reserve - (64 << 10), ErrorKind::Exhausted), (reserve + (64 << 10), ErrorKind::Invalid)]
        {
            let (layout, image) = said_to_be("x", free(images) - spare);
            let server = Server::of(&layout, &image, |_| None);
            let error = place.pull(&format!("{}/app", server.address)).unwrap_err();
            // With room enough it is asked for, and found to be of another size.
            assert_eq!(error.kind, kind, "{error}");
            let told = error.message.contains("of which 2097152 stay so");
            assert_eq!(told, kind == ErrorKind::Exhausted, "{error}");
        }
    });
}

#[test]
fn e2e_what_one_pull_is_promised_no_other_one_relies_on() {
    if !e2e() {
        return;
    }
    on_tmpfs("size=100m", |place, _| {
        let gate = Gate::default();
        let server = |directory: &str, gate: Gate| {
            let (layout, image) = said_to_be(directory, 60 << 20);
            let asked_for = layout.files[&path_of(&image)].clone();
            let manifest: Value = serde_json::from_slice(&asked_for).unwrap();
            let layer = manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
            Server::of(&layout, &image, move |asked| {
                if asked.path.ends_with(&layer) {
                    gate.wait();
                }
                None
            })
        };
        let (first, second) = (server("first", gate.clone()), server("second", gate.clone()));
        let pull = |server: &Server| place.pull(&format!("{}/app", server.address)).unwrap_err();
        std::thread::scope(|scope| {
            let begun = scope.spawn(|| pull(&first));
            // Manifest and configuration come first.
            while first.paths().iter().filter(|path| path.contains("/blobs/")).count() < 2 {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            let error = pull(&second);
            assert_eq!(error.kind, ErrorKind::Exhausted, "{error}");
            let told = "62914560 bytes are to be downloaded besides the 62914560 of other pulls";
            assert!(error.message.contains(told), "{error}");
            // What several pulls want comes once.
            let again = scope.spawn(|| pull(&first));
            while first.paths().iter().filter(|path| path.contains("/manifests/")).count() < 2 {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            gate.open();
            for pull in [begun, again] {
                let error = pull.join().unwrap();
                assert_eq!(error.kind, ErrorKind::Invalid, "it is asked for, and of another size: {error}");
            }
        });
        assert_eq!(pull(&second).kind, ErrorKind::Invalid, "nothing is promised any more");
    });
}

#[test]
fn e2e_what_a_pull_that_filled_the_disk_has_downloaded_is_thrown_away() {
    if !e2e() {
        return;
    }
    on_tmpfs("size=4m", |place, _| {
        let mut layout = Layout::new();
        let large = Layer::new().file("large", &"x".repeat(8 << 20)).tar();
        let image = layout.image(&[(large, Packing::Gzip)], json!({}), arch());
        let server = Server::of(&layout, &image, |_| None);
        let error = place.pull(&format!("{}/app", server.address)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Exhausted, "{error}");
        assert!(downloads(place).is_empty() && place.is_empty());
    });
}

#[test]
fn e2e_an_image_that_does_not_fit_is_downloaded_again_once_there_is_more_room() {
    if !e2e() {
        return;
    }
    for (name, packed, large, more) in [("large", 20 << 20, 30 << 20, 16 << 20), ("small", 1, 60 << 20, 1 << 20)] {
        let mut layout = Layout::new();
        // The blocks of what is downloaded are taken as long as it is open.
        let packed = (Layer::new().file("packed", &"x".repeat(packed)).tar(), Packing::Plain);
        let large = (Layer::new().file("large", &"x".repeat(large)).tar(), Packing::Gzip);
        let image = layout.image(&[packed, large], json!({}), arch());
        on_tmpfs("size=48m", move |place, images| {
            let server = Server::of(&layout, &image, |_| None);
            let layers = layer_digests(&layout, &image);
            let is_layer = |path: &String| layers.iter().any(|digest| path.ends_with(digest));
            let asked = || {
                let error = place.pull(&format!("{}/app", server.address)).unwrap_err();
                assert_eq!(error.kind, ErrorKind::Exhausted, "{name}: {error}");
                let asked = server.paths().iter().filter(|path| is_layer(path)).count();
                server.forget();
                asked
            };
            assert_eq!([asked(), asked()], [2, 0], "{name}");
            let larger = format!("size={}", (48 << 20) + more);
            mount(None::<&str>, images, None::<&str>, MsFlags::MS_REMOUNT, Some(&*larger)).unwrap();
            assert_eq!([asked(), asked()], [2, 0], "{name}");
        });
    }
}

/// Images of less than 100 kB that unpack to more than 16 MiB, each with the tars of its layers.
fn bombs() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let large = Layer::new().file("large", &"x".repeat(18 << 20)).tar();
    let layers = (0..10).map(|n| Layer::new().file(&format!("layer-{n}"), &"x".repeat(2 << 20)).tar()).collect();
    // Each of the smallest size that tar knows, and of one block on the disk.
    let pieces = 4_400;
    let mut map = format!("{pieces}\n");
    (0..pieces).for_each(|n| map.push_str(&format!("{}\n512\n", n * 4096)));
    let mut data = map.into_bytes();
    data.resize(data.len().next_multiple_of(512), 0);
    data.resize(data.len() + pieces * 512, b'x');
    let size = (pieces * 4096).to_string();
    let records: [(&str, &[u8]); 3] =
        [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", size.as_bytes())];
    // tar knows these records beside such a header alone.
    let posix = |header: &mut tar::Header| header.as_mut_bytes()[257..265].copy_from_slice(b"ustar\x0000");
    let sparse = Layer::new().pax(&records).entry("sparse", tar::EntryType::Regular, posix, &data).tar();
    vec![("one large file", vec![large]), ("many layers", layers), ("pieces of a sparse file", vec![sparse])]
}

/// The lowest free space of a file system while something is done.
fn lowest_free(images: &Path, work: impl FnOnce()) -> u64 {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut lowest = free(images);
            while !over.load(Ordering::Relaxed) {
                lowest = lowest.min(free(images));
                // Others have something to do, too.
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
            lowest
        });
        work();
        over.store(true, Ordering::Relaxed);
        watch.join().unwrap()
    })
}

#[test]
fn e2e_a_bomb_is_stopped_before_the_file_system_is_full_where_tar_fills_it() {
    if !e2e() {
        return;
    }
    for (name, layers) in bombs() {
        let mut layout = Layout::new();
        let packed: Vec<_> = layers.iter().map(|layer| (layer.clone(), Packing::Zstd)).collect();
        let image = layout.image(&packed, json!({}), arch());
        let archive = pack(&layout.clone().name(image.clone(), Some("bomb")).archive(), Packing::Zstd);
        assert!(archive.len() < 100_000, "{name}: {}", archive.len());
        on_tmpfs("size=16m", move |place, images| {
            // A fiftieth of it.
            let (empty, reserve) = (free(images), (16 << 20) / 50);
            let server = Server::of(&layout, &image, |_| None);
            let name = format!("{}/bomb", server.address);
            type Bring<'a> = &'a dyn Fn() -> Result<(), PortError>;
            let ways: [(&str, Bring<'_>); 2] = [
                ("load", &|| place.store.load(&archive[..], None).map(drop)),
                ("pull", &|| place.pull(&name).map(drop)),
            ];
            for (way, bring) in ways {
                let mut outcome = None;
                let lowest = lowest_free(images, || outcome = Some(bring()));
                let error = outcome.unwrap().unwrap_err();
                assert_eq!(error.kind, ErrorKind::Exhausted, "{way}: {error}");
                assert!(error.message.contains("bytes free, of which 335544 stay so"), "{way}: {error}");
                assert!(error.help.as_deref().is_some_and(|help| help.contains("make room")), "{way}: {error}");
                assert!(lowest >= reserve, "{way}: {lowest} bytes were left of {reserve}");
                assert!(place.is_empty() && free(images) + (256 << 10) > empty, "{way}: {} are left", free(images));
            }
            place.store.load(&oci_archive("small", &[Layer::new().file("f", "f").tar()], json!({}))[..], None).unwrap();
        });
        on_tmpfs("size=16m", move |_, images| {
            for (at, layer) in layers.iter().enumerate() {
                let into = images.join(at.to_string());
                std::fs::create_dir(&into).unwrap();
                let mut tar = Command::new("tar").arg("-x").current_dir(into).stdin(Stdio::piped()).spawn().unwrap();
                // It ends early where there is no space.
                let _ = tar.stdin.take().unwrap().write_all(layer);
                tar.wait().unwrap();
            }
            assert!(free(images) < 4096, "{name} is no bomb: {} bytes are left", free(images));
        });
    }
}

#[test]
fn e2e_a_file_system_that_tells_no_size_has_no_reserve() {
    if !e2e() {
        return;
    }
    on_tmpfs("size=0", |place, images| {
        assert_eq!(free(images), 0);
        let layer = Layer::new().file("f", &"x".repeat(5 << 20)).tar();
        let mut layout = Layout::new();
        let image = layout.image(&[(layer, Packing::Gzip)], json!({}), arch());
        let server = Server::of(&layout, &image, |_| None);
        place.pull(&format!("{}/app", server.address)).unwrap();
        place.store.load(&layout.name(image, Some("x")).archive()[..], None).unwrap();
    });
}
