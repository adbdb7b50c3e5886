//! Archives made to get out, to fill the disk or to confuse. Nothing of them may stay behind.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output};

use podwright::image::{Limits, PullOptions, Store};
use podwright::port::{ErrorKind, PortError};
use serde_json::{Value, json};
use tar::EntryType;

use crate::support::images::{Layer, Layout, Packing, arch, archive, digest, docker_archive, oci_archive};
use crate::support::is_root;
use crate::support::registry::Server;

/// What lies outside of the store and must stay as it is.
struct Ground {
    dir: tempfile::TempDir,
    store: Store,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(dir.path().join("outside/secret"), "secret").unwrap();
        let limits =
            Limits { layer_bytes: 8 << 20, archive_bytes: 32 << 20, entries: 2000, layers: 10, ..Limits::default() };
        let store = Store::open(&dir.path().join("images"), None).unwrap().with_limits(limits);
        Self { dir, store }
    }

    fn outside(&self) -> String {
        self.dir.path().join("outside").display().to_string()
    }

    /// Loads, expects a refusal, and looks at what is left.
    fn refuses(&self, archive: &[u8], why: &str) {
        let error = self.store.load(archive, None).unwrap_err();
        assert!(error.to_string().contains(why), "expected {why:?} in: {error}");
        assert!(matches!(error.kind, ErrorKind::Invalid | ErrorKind::Corrupt), "{:?}: {error}", error.kind);
        self.untouched();
    }

    fn untouched(&self) {
        let names = |path: &Path| std::fs::read_dir(path).unwrap().count();
        assert_eq!(names(&self.dir.path().join("outside")), 1);
        assert_eq!(std::fs::read_to_string(self.dir.path().join("outside/secret")).unwrap(), "secret");
        assert_eq!(names(&self.dir.path().join("images/layers")), 0);
        assert_eq!(names(&self.dir.path().join("images/tmp")), 0);
        assert_eq!(self.store.list().unwrap(), []);
    }
}

fn image(layer: &Layer) -> Vec<u8> {
    oci_archive("x", &[layer.tar()], json!({}))
}

#[test]
fn paths_that_lead_out_are_refused() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let out = ground.outside();
    let secret = format!("{out}/secret");
    let cases: [(&str, Layer, &str); 12] = [
        ("dots", Layer::new().file("../../outside/x", "x"), "leads out"),
        ("dots inside", Layer::new().dir("a").file("a/../../x", "x"), "leads out"),
        ("through a link", Layer::new().link(EntryType::Symlink, "l", &out).file("l/x", "x"), "no directory"),
        ("through a relative link", Layer::new().link(EntryType::Symlink, "l", "..").file("l/x", "x"), "no directory"),
        (
            "directory over a link, then in",
            Layer::new().link(EntryType::Symlink, "l", &out).file("l/deep/x", "x"),
            "no directory",
        ),
        ("hard link out", Layer::new().link(EntryType::Link, "h", &secret), "does not have"),
        ("hard link with dots", Layer::new().link(EntryType::Link, "h", "../outside/secret"), "leads out"),
        (
            "hard link through a link",
            Layer::new().link(EntryType::Symlink, "l", &out).link(EntryType::Link, "h", "l/secret"),
            "does not have",
        ),
        ("whiteout of dots", Layer::new().file(".wh...", "").file(".wh..", ""), "whiteout without a name"),
        (
            "whiteout through a link",
            Layer::new().link(EntryType::Symlink, "l", &out).file("l/.wh..wh..opq", ""),
            "no directory",
        ),
        ("file as root", Layer::new().file("./", "x"), "root of the layer"),
        ("through a file", Layer::new().file("f", "x").file("f/x", "x"), "no directory"),
    ];
    for (name, layer, why) in cases {
        eprintln!("{name}");
        ground.refuses(&image(&layer), why);
    }
}

#[test]
fn an_absolute_path_stays_inside_the_layer() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let name = format!("{}/planted", ground.outside());
    ground.store.load(&image(&Layer::new().file(&name, "x"))[..], None).unwrap();
    let image = ground.store.resolve("x").unwrap().unwrap();
    assert!(image.lower[0].join(name.trim_start_matches('/')).exists());
    assert!(!Path::new(&name).exists());
}

#[test]
fn a_link_is_replaced_and_never_written_through() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let secret = format!("{}/secret", ground.outside());
    let layer = Layer::new()
        .link(EntryType::Symlink, "f", &secret)
        .file("f", "own")
        .link(EntryType::Symlink, "d", &ground.outside())
        .dir("d")
        .file("d/x", "own");
    ground.store.load(&image(&layer)[..], None).unwrap();
    let image = ground.store.resolve("x").unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(image.lower[0].join("f")).unwrap(), "own");
    assert!(std::fs::symlink_metadata(image.lower[0].join("d")).unwrap().is_dir());
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
    assert_eq!(std::fs::read_dir(ground.outside()).unwrap().count(), 1);
}

#[test]
fn a_link_of_a_lower_layer_is_not_written_through_either() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let base = Layer::new().link(EntryType::Symlink, "l", &ground.outside()).tar();
    let error = ground
        .store
        .load(&oci_archive("x", &[base, Layer::new().file("l/x", "x").tar()], json!({}))[..], None)
        .unwrap_err();
    assert!(error.message.contains("symbolic link of a lower layer"), "{error}");
    assert_eq!(std::fs::read_dir(ground.outside()).unwrap().count(), 1);
}

#[test]
fn devices_and_attributes_that_steer_overlay_are_refused() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    for kind in [EntryType::Char, EntryType::Block] {
        let layer = Layer::new().entry(
            "dev/sda",
            kind,
            |h| {
                h.set_device_major(8).unwrap();
                h.set_device_minor(0).unwrap()
            },
            b"",
        );
        ground.refuses(&image(&layer), "entry /dev/sda: it is a device node");
    }
    // A whiteout's form, given directly.
    ground.refuses(&image(&Layer::new().entry("etc", EntryType::Char, |_| (), b"")), "device node");
    for name in ["trusted.overlay.redirect", "trusted.overlay.opaque", "security.whatever"] {
        let key = format!("SCHILY.xattr.{name}");
        ground.refuses(&image(&Layer::new().pax(&[(&key, b"/etc")]).dir("d")), name);
    }
}

/// What the machine's own `tar` makes of a layer, in a directory of its own.
fn unpack_naively(layer: &Layer) -> (Output, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (file, into) = (dir.path().join("layer.tar"), dir.path().join("into"));
    std::fs::write(&file, layer.tar()).unwrap();
    std::fs::create_dir(&into).unwrap();
    let output = Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(&into).output().unwrap();
    (output, dir)
}

#[test]
fn bombs_stop_at_the_bounds_where_tar_makes_all_of_them() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let zeros = Layer::new().entry("zeros", EntryType::Regular, |_| (), &vec![0; 9 << 20]);
    let mut layout = Layout::new();
    let bomb = layout.image(&[(zeros.tar(), Packing::Zstd)], json!({}), arch());
    let bomb = layout.name(bomb, Some("x")).archive();
    assert!(bomb.len() < 100_000);
    ground.refuses(&bomb, "larger than 8388608 bytes");
    let made = |layer: &Layer| {
        let (output, dir) = unpack_naively(layer);
        (output.status.success(), dir)
    };
    let (whole, dir) = made(&zeros);
    assert!(whole && std::fs::metadata(dir.path().join("into/zeros")).unwrap().len() == 9 << 20);
    let outer = zstd::encode_all(std::io::repeat(0).take(64 << 20), 1).unwrap();
    ground.refuses(&outer, "larger than 33554432 bytes");
    assert_eq!(zstd::decode_all(&outer[..]).unwrap().len(), 64 << 20);
    let many = (0..2001).fold(Layer::new(), |l, i| l.file(&format!("f{i}"), ""));
    ground.refuses(&image(&many), "more than 2000 entries");
    let (whole, dir) = made(&many);
    assert!(whole && std::fs::read_dir(dir.path().join("into")).unwrap().count() == 2001);
    let deep = "d/".repeat(300);
    let nested = Layer::new().pax(&[("path", deep.as_bytes())]).dir(&"d/".repeat(40));
    ground.refuses(&image(&nested), "nested deeper");
    let (whole, dir) = made(&nested);
    assert!(whole && dir.path().join("into").join(&deep).is_dir());
    // No file system has such a name: tar stops there, with what came before.
    let long = Layer::new().file("before", "").pax(&[("path", "n".repeat(256).as_bytes())]).file("x", "");
    ground.refuses(&image(&long), "longer than 255");
    let (whole, dir) = made(&long);
    assert!(!whole && dir.path().join("into/before").exists());
    let layers: Vec<Layer> = (0..11).map(|i| Layer::new().file(&format!("f{i}"), "")).collect();
    let of = |layers: &[Layer]| oci_archive("x", &layers.iter().map(Layer::tar).collect::<Vec<_>>(), json!({}));
    ground.refuses(&of(&layers), "11 layers; 10 are the limit");
    // Nothing else is wrong with them: tar unpacks each, ten are taken, and without the limit all of them.
    assert!(layers.iter().all(|layer| made(layer).0));
    let found = |store: &Store, layers: &[Layer]| {
        store.load(&of(layers)[..], None).unwrap();
        store.resolve("x").unwrap().unwrap().lower.len()
    };
    assert_eq!(found(&ground.store, &layers[..10]), 10);
    let unbounded = Ground::new();
    assert_eq!(found(&unbounded.store.with_limits(Limits::default()), &layers), 11);
}

#[test]
fn wrong_digests_are_corruption() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let mut layout = Layout::new();
    let image = layout.image(&[(Layer::new().file("f", "f").tar(), Packing::Plain)], json!({}), arch());
    let layout = layout.name(image, Some("x"));
    let blobs: Vec<String> = layout.files.keys().cloned().collect();
    assert_eq!(blobs.len(), 3);
    for blob in blobs {
        let mut damaged = layout.clone();
        let bytes = damaged.files.get_mut(&blob).unwrap();
        // Still JSON or a tar afterwards: only the digest can tell.
        if bytes[0] == b'{' {
            bytes.push(b' ')
        } else {
            bytes.extend([0; 512])
        }
        let error = ground.store.load(&damaged.archive()[..], None).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "{blob}: {error}");
        assert!(error.message.contains("digest should be"), "{error}");
        ground.untouched();
        let directory = tempfile::tempdir().unwrap();
        let error = ground.store.load_layout(&damaged.write(directory.path()), None).unwrap_err();
        assert!(error.kind == ErrorKind::Corrupt && error.message.contains("digest should be"), "{blob}: {error}");
        ground.untouched();
    }
    let mut missing = layout.clone();
    missing.files.pop_last();
    assert!(ground.store.load(&missing.archive()[..], None).is_err());
    // In a docker-archive only the diff id protects a layer.
    let mut docker = docker_archive(&["x"], &[Layer::new().file("f", "f").tar()], json!({}));
    let at = docker.windows(2).position(|w| w == b"f\0").unwrap();
    docker[at + 512] ^= 1;
    let error = ground.store.load(&docker[..], None).unwrap_err();
    assert!(error.kind == ErrorKind::Corrupt && error.message.contains("digest should be"), "{error}");
    ground.untouched();
}

/// Brings an image into a store as an archive, a directory, and from a registry: one outcome each.
fn bring(store: &Store, layout: &Layout, image: &Value) -> [Result<(), PortError>; 3] {
    let dir = tempfile::tempdir().unwrap();
    let named = layout.clone().name(image.clone(), Some("x"));
    let server = Server::of(layout, image, |_| None);
    let settings = super::pull::settings(dir.path());
    let options = PullOptions { settings: &settings, secrets: &[], patience: None, tell: &|_| () };
    [
        store.load(&named.archive()[..], None).map(drop),
        store.load_layout(&named.write(&dir.path().join("layout")), None).map(drop),
        store.pull(&format!("{}/x", server.address), options).map(drop),
    ]
}

#[test]
fn no_image_brings_other_bytes_under_the_layer_of_another_one() {
    if !is_root() {
        return;
    }
    let mut layout = Layout::new();
    let layer = |text: &str| (Layer::new().file("f", text).tar(), Packing::Gzip);
    let victim = layout.image(&[layer("own")], json!({}), arch());
    let own = layout.image(&[layer("planted")], json!({}), arch());
    let diff_ids = json!([digest(&layer("own").0)]);
    // Every blob is what its digest says, and the configuration names the layer of another image.
    let liar = layout.changed(&own, |_, config| config["rootfs"]["diff_ids"] = diff_ids.clone());
    let read = |store: &Store| {
        let image = store.resolve("victim").unwrap().unwrap();
        std::fs::read_to_string(image.lower[0].join("f")).unwrap()
    };
    let ground = Ground::new();
    for outcome in bring(&ground.store, &layout, &liar) {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
        assert!(error.message.contains(&format!("should be {}", diff_ids[0].as_str().unwrap())), "{error}");
        ground.untouched();
    }
    let archive = layout.clone().name(victim, Some("victim")).archive();
    ground.store.load(&archive[..], None).unwrap();
    assert_eq!(read(&ground.store), "own");
    // Where the layer is here already its own bytes stay, whatever becomes of the other image.
    let _ = bring(&ground.store, &layout, &liar);
    assert_eq!(read(&ground.store), "own");
}

#[test]
fn an_image_has_as_many_layers_as_its_configuration_names() {
    if !is_root() {
        return;
    }
    let mut layout = Layout::new();
    let layer = |name: &str| (Layer::new().file(name, "").tar(), Packing::Gzip);
    let image = layout.image(&[layer("a"), layer("b")], json!({}), arch());
    let fewer = layout.changed(&image, |_, config| {
        config["rootfs"]["diff_ids"].as_array_mut().unwrap().pop();
    });
    let more = layout.changed(&image, |manifest, _| {
        manifest["layers"].as_array_mut().unwrap().pop();
    });
    let ground = Ground::new();
    for (image, why) in [
        (fewer, "the configuration names 1 layers and the manifest 2"),
        (more, "the configuration names 2 layers and the manifest 1"),
    ] {
        for outcome in bring(&ground.store, &layout, &image) {
            let error = outcome.unwrap_err();
            assert!(error.kind == ErrorKind::Invalid && error.message.contains(why), "{error}");
            ground.untouched();
        }
    }
}

#[test]
fn of_an_image_that_is_refused_no_layer_stays() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let mut layout = Layout::new();
    let good = (Layer::new().file("good", "good").tar(), Packing::Gzip);
    let bad = (Layer::new().file("../bad", "bad").tar(), Packing::Gzip);
    let image = layout.image(&[good.clone(), bad], json!({}), arch());
    for outcome in bring(&ground.store, &layout, &image) {
        assert!(outcome.unwrap_err().message.contains("layer 2"));
        ground.untouched();
    }
    // What another image has too is not taken from it, even where it was brought anew.
    let whole = oci_archive("good", &[good.0], json!({}));
    ground.store.load(&whole[..], None).unwrap();
    let layer = ground.store.resolve("good").unwrap().unwrap().lower[0].clone();
    std::fs::write(layer.join("good"), "").unwrap();
    let again = Store::open(&ground.dir.path().join("images"), None).unwrap();
    for outcome in bring(&again, &layout, &image) {
        outcome.unwrap_err();
    }
    assert_eq!(std::fs::read_to_string(again.resolve("good").unwrap().unwrap().lower[0].join("good")).unwrap(), "good");
}

#[test]
fn things_that_are_no_images_are_named() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let file = |name: &str, text: &str| archive(&[(name.to_owned(), text.as_bytes().to_vec())]);
    ground.refuses(b"", "empty");
    ground.refuses(&[b'a'; 4096], "no tar archive");
    ground.refuses(&file("hello", "x"), "it is no image");
    ground.refuses(&file("manifest.json", "[]"), "lists no image");
    ground.refuses(&file("manifest.json", "{"), "unreadable");
    ground.refuses(&file("manifest.json", r#"[{"Config":"../../etc/passwd","Layers":[]}]"#), "leads out");
    ground.refuses(
        &file("index.json", r#"{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x"}]}"#),
        "no sha256 digest",
    );
    ground.refuses(&file("index.json", r#"{"schemaVersion":1,"manifests":[]}"#), "schemaVersion 1");
    ground.refuses(&file("index.json", &"[".repeat(10_000)), "unreadable");
    let whole = oci_archive("x", &[Layer::new().file("f", "f").tar()], json!({}));
    for at in [100, 600, whole.len() / 2, whole.len() - 1600] {
        assert!(ground.store.load(&whole[..at], None).is_err(), "cut at {at}");
        ground.untouched();
    }
}
