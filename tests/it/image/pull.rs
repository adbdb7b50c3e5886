//! Pulling what a registry has: platforms, mirrors, what is here already, downloads that break off.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use podwright::image::{LayerProgress, LayerStage, PullOptions, PulledImage, Store};
use podwright::model::{Mirror, PullSettings, RegistryEntry};
use podwright::port::{ErrorKind, PortError};
use serde_json::{Value, json};

use crate::support::images::{Layer, Layout, Packing, arch};
use crate::support::is_root;
use crate::support::registry::{Asked, Reply, Server};

/// A store of its own.
pub(super) struct Place {
    pub(super) dir: tempfile::TempDir,
    pub(super) store: Store,
}

impl Place {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("images"), None).unwrap();
        Self { dir, store }
    }

    pub(super) fn pull(&self, name: &str) -> Result<PulledImage, PortError> {
        self.pull_with(name, &settings(self.dir.path()))
    }

    pub(super) fn pull_with(&self, name: &str, settings: &PullSettings) -> Result<PulledImage, PortError> {
        self.store.pull(name, PullOptions { settings, secrets: &[], patience: None, tell: &|_| () })
    }

    /// Nothing of a pull that failed can be taken for an image.
    pub(super) fn is_empty(&self) -> bool {
        let count = |dir: &str| std::fs::read_dir(self.dir.path().join("images").join(dir)).unwrap().count();
        self.store.list().unwrap().is_empty() && count("layers") == 0 && count("tmp") == 0
    }
}

/// Nobody's credentials but those of a test.
pub(super) fn settings(dir: &Path) -> PullSettings {
    let file = dir.join("docker.json");
    if !file.exists() {
        std::fs::write(&file, "{}").unwrap();
    }
    PullSettings { credentials: Some(file), ..PullSettings::default() }
}

/// An image of two layers, the second one of random-looking bytes that do not compress.
pub(super) fn image() -> (Layout, Value) {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'0' + (state >> 25) as u8 % 64)
    };
    let noise: String = (0..240_000).map(|_| next()).collect();
    let base = Layer::new().dir("etc").file("etc/name", "base").tar();
    let top = Layer::new().dir("etc").file("etc/top", "top").file("noise", &noise).tar();
    let mut layout = Layout::new();
    let layers = [(base, Packing::Gzip), (top, Packing::Zstd)];
    let image = layout.image(&layers, json!({"Cmd": ["/bin/app"]}), arch());
    (layout, image)
}

pub(super) fn layer_digests(layout: &Layout, image: &Value) -> Vec<String> {
    let manifest = &layout.files[&format!("blobs/sha256/{}", &image["digest"].as_str().unwrap()[7..])];
    let manifest: Value = serde_json::from_slice(manifest).unwrap();
    manifest["layers"].as_array().unwrap().iter().map(|l| l["digest"].as_str().unwrap().to_owned()).collect()
}

fn right(_: &Asked) -> Option<Reply> {
    None
}

#[test]
fn an_image_is_pulled_once_and_found_up_to_date_after_that() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let (mut layout, image) = image();
    let foreign = layout.image(&[(Layer::new().dir("x").tar(), Packing::Plain)], json!({}), "pdp11");
    let top = layout.multi(&[foreign, image.clone()]);
    let server = Server::of(&layout, &top, right);
    let name = format!("{}/team/app:1", server.address);
    let heard = Mutex::new(Vec::new());
    let tell = |layers: &[LayerProgress]| heard.lock().unwrap().push(layers.to_vec());
    let settings = settings(place.dir.path());
    let pulled = place
        .store
        .pull(&name, PullOptions { settings: &settings, secrets: &[], patience: None, tell: &tell })
        .unwrap();
    assert_eq!((pulled.image.reference.as_str(), pulled.up_to_date), (name.as_str(), false));
    assert_eq!(pulled.image.id, image["digest"].as_str().unwrap(), "the one for this machine");
    let found = place.store.resolve(&name).unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(found.lower[0].join("etc/top")).unwrap(), "top");
    assert_eq!(std::fs::read_to_string(found.lower[1].join("etc/name")).unwrap(), "base");
    assert_eq!(found.config.cmd, ["/bin/app"]);
    let by_index = format!("{}/team/app@{}", server.address, top["digest"].as_str().unwrap());
    assert_eq!(place.store.resolve(&by_index).unwrap().unwrap().id, found.id, "a pod may pin the index");
    let heard = heard.into_inner().unwrap();
    let last = heard.last().unwrap();
    let hexes: Vec<String> = last.iter().map(|layer| format!("sha256:{}", layer.hex)).collect();
    assert_eq!(hexes, layer_digests(&layout, &image), "lowest first");
    assert!(last.iter().all(|l| l.bytes == l.size && l.stage == LayerStage::Unpacked), "{last:?}");
    assert!(last.iter().map(|l| l.size).sum::<u64>() > 100_000, "{last:?}");
    for at in 0..2 {
        let mut stages: Vec<LayerStage> = heard.iter().map(|layers| layers[at].stage).collect();
        assert!(stages.is_sorted(), "{stages:?}");
        stages.dedup();
        assert!(stages.ends_with(&[LayerStage::Downloaded, LayerStage::Unpacking, LayerStage::Unpacked]), "{stages:?}");
        assert!(heard.iter().map(|layers| layers[at].bytes).is_sorted(), "{heard:?}");
    }
    let left = std::fs::read_dir(place.dir.path().join("images/downloads/blobs/sha256")).unwrap().count();
    assert_eq!(left, 0, "layers are kept unpacked alone");

    server.forget();
    let again = place.pull(&name).unwrap();
    assert!(again.up_to_date && again.image == pulled.image);
    assert!(!server.paths().iter().any(|p| layer_digests(&layout, &image).iter().any(|d| p.ends_with(d))));
}

#[test]
fn an_image_that_was_downloaded_in_vain_is_not_downloaded_again() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let mut layout = Layout::new();
    let good = (Layer::new().file("good", "good").tar(), Packing::Gzip);
    // The name of an entry is for no terminal.
    let bad = (Layer::new().file("\u{1b}[2J\r/../bad", "").tar(), Packing::Gzip);
    let image = layout.image(&[good, bad], json!({}), arch());
    let server = Server::of(&layout, &image, right);
    let name = format!("{}/team/app:1", server.address);
    let asked = || {
        let layers = layer_digests(&layout, &image);
        server.paths().iter().filter(|path| layers.iter().any(|digest| path.ends_with(digest))).count()
    };
    let first = place.pull(&name).unwrap_err();
    assert_eq!(asked(), 2);
    server.forget();
    let second = place.pull(&name).unwrap_err();
    assert_eq!(asked(), 0);
    for error in [first, second] {
        let text = error.to_string();
        assert!(error.kind == ErrorKind::Invalid && text.contains("leads out of the archive"), "{text}");
        assert!(!text.contains(char::is_control), "{text:?}");
    }
    // Another process does not know it.
    Store::open(&place.dir.path().join("images"), None)
        .unwrap()
        .pull(&name, PullOptions { settings: &settings(place.dir.path()), secrets: &[], patience: None, tell: &|_| () })
        .unwrap_err();
    assert_eq!(asked(), 2);
}

/// A registry that answers no layer until another one is asked for as well, or one after the other where that takes longer
/// than `patience`, with an error.
fn only_side_by_side(layout: &Layout, image: &Value, patience: Duration) -> Server {
    let layers = layer_digests(layout, image);
    let (under_way, more) = (Mutex::new(0), Condvar::new());
    Server::of(layout, image, move |asked| {
        if !layers.iter().any(|digest| asked.path.ends_with(digest)) {
            return None;
        }
        let mut count = under_way.lock().unwrap();
        *count += 1;
        more.notify_all();
        let (count, _) = more.wait_timeout_while(count, patience, |count| *count < 2).unwrap();
        (*count < 2).then(|| {
            drop(count);
            *under_way.lock().unwrap() = 0;
            Reply::status(404)
        })
    })
}

#[test]
fn layers_are_downloaded_side_by_side() {
    if !is_root() {
        return;
    }
    let (layout, image) = image();
    let server = only_side_by_side(&layout, &image, Duration::from_secs(20));
    Place::new().pull(&format!("{}/app", server.address)).unwrap();
    // Who asks for one after the other gets neither.
    let server = only_side_by_side(&layout, &image, Duration::from_millis(50));
    for digest in layer_digests(&layout, &image) {
        let mut stream = std::net::TcpStream::connect(&server.address).unwrap();
        std::io::Write::write_all(&mut stream, format!("GET /v2/app/blobs/{digest} HTTP/1.1\r\n\r\n").as_bytes())
            .unwrap();
        let mut answer = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 404 "), "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn an_image_that_moved_on_brings_only_the_layers_that_are_new() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let base = Layer::new().dir("etc").file("etc/name", "base").tar();
    let (mut first, mut second) = (Layout::new(), Layout::new());
    let old = first.image(&[(base.clone(), Packing::Gzip)], json!({}), arch());
    let news = Layer::new().file("news", "x").tar();
    let new = second.image(&[(base, Packing::Gzip), (news, Packing::Gzip)], json!({}), arch());
    let (old_files, old_top) = (first.files.clone(), old["digest"].as_str().unwrap().to_owned());
    let moved = std::sync::Arc::new(AtomicUsize::new(0));
    let state = std::sync::Arc::clone(&moved);
    let server = Server::of(&second, &new, move |asked| {
        (state.load(Ordering::Relaxed) == 0).then(|| crate::support::registry::right(&old_files, &old_top, asked))
    });
    let name = format!("{}/app", server.address);
    let before = place.pull(&name).unwrap().image.id;
    moved.store(1, Ordering::Relaxed);
    server.forget();
    let after = place.pull(&name).unwrap();
    assert!(!after.up_to_date && after.image.id != before);
    let digests = layer_digests(&second, &new);
    let asked = |digest: &String| server.paths().iter().filter(|p| p.ends_with(digest.as_str())).count();
    assert_eq!(digests.iter().map(asked).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(place.store.resolve(&name).unwrap().unwrap().lower.len(), 2);
}

#[test]
fn a_download_that_breaks_off_is_gone_on_with_where_it_stopped() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let (layout, image) = image();
    let large = layer_digests(&layout, &image)[1].clone();
    let bytes = layout.files[&format!("blobs/sha256/{}", &large[7..])].clone();
    let (ending, body) = (large.clone(), bytes.clone());
    let times = AtomicUsize::new(0);
    let server = Server::of(&layout, &image, move |asked| {
        let cut = asked.path.ends_with(&ending) && times.fetch_add(1, Ordering::Relaxed) < 2;
        cut.then(|| Reply { cut: Some(40_000), ..Reply::part(asked, &body) })
    });
    place.pull(&format!("{}/app", server.address)).unwrap();
    let from: Vec<usize> = server.asked().iter().filter(|a| a.path.ends_with(&large)).map(Asked::from).collect();
    assert_eq!(from, [0, 40_000, 80_000], "of {} bytes", bytes.len());
}

#[test]
fn what_an_earlier_process_got_is_gone_on_with_unless_a_power_cut_spoiled_it() {
    if !is_root() {
        return;
    }
    let (layout, image) = image();
    let large = layer_digests(&layout, &image)[1].clone();
    let bytes = layout.files[&format!("blobs/sha256/{}", &large[7..])].clone();
    let half = bytes.len() / 2;
    let mut longer = bytes.clone();
    longer.extend_from_slice(b"more");
    let rows: [(&str, Vec<u8>, &[usize]); 5] = [
        ("half of it", bytes[..half].to_vec(), &[half]),
        ("all of it", bytes.clone(), &[]),
        ("zeros", vec![0; half], &[half, 0]),
        ("more than all of it", longer, &[0]),
        ("all of it, and wrong", vec![1; bytes.len()], &[0]),
    ];
    for (what, left, expected) in rows {
        let place = Place::new();
        let downloads = place.dir.path().join("images/downloads");
        std::fs::create_dir_all(&downloads).unwrap();
        std::fs::write(downloads.join(format!("{}.part", &large[7..])), left).unwrap();
        let server = Server::of(&layout, &image, right);
        place.pull(&format!("{}/app", server.address)).unwrap();
        let from: Vec<usize> = server.asked().iter().filter(|a| a.path.ends_with(&large)).map(Asked::from).collect();
        assert_eq!(from, expected, "{what}");
    }
    // A whole blob is used, unless its bytes never reached the disk.
    for (left, expected) in [(bytes, &[][..]), (Vec::new(), &[0])] {
        let place = Place::new();
        let whole = place.dir.path().join("images/downloads/blobs/sha256");
        std::fs::create_dir_all(&whole).unwrap();
        std::fs::write(whole.join(&large[7..]), left).unwrap();
        let server = Server::of(&layout, &image, right);
        place.pull(&format!("{}/app", server.address)).unwrap();
        let from: Vec<usize> = server.asked().iter().filter(|a| a.path.ends_with(&large)).map(Asked::from).collect();
        assert_eq!(from, expected);
        assert_eq!(std::fs::read_dir(&whole).unwrap().count(), 0);
    }
}

#[test]
fn a_registry_that_knows_no_ranges_is_asked_for_all_of_it_again() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let (layout, image) = image();
    let large = layer_digests(&layout, &image)[1].clone();
    let body = layout.files[&format!("blobs/sha256/{}", &large[7..])].clone();
    let (ending, times) = (large.clone(), AtomicUsize::new(0));
    let server = Server::of(&layout, &image, move |asked| {
        let cut = (times.load(Ordering::Relaxed) == 0).then_some(100_000);
        asked.path.ends_with(&ending).then(|| {
            times.fetch_add(1, Ordering::Relaxed);
            Reply { cut, ..Reply::ok(body.clone()) }
        })
    });
    place.pull(&format!("{}/app", server.address)).unwrap();
    assert_eq!(server.paths().iter().filter(|p| p.ends_with(&large)).count(), 2);
}

/// Settings in which a registry has these mirrors and is not asked itself.
fn mirrored(place: &Place, name: &str, mirrors: &[String]) -> PullSettings {
    let mirrors = mirrors.iter().map(|m| Mirror::parse(m).unwrap()).collect();
    let entry = RegistryEntry { name: name.into(), mirrors, mirrors_only: true, ..RegistryEntry::default() };
    PullSettings { registries: vec![entry], ..settings(place.dir.path()) }
}

#[test]
fn mirrors_are_asked_in_their_order_until_one_has_the_image() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let (layout, image) = image();
    let empty = Server::start(|_| Reply::status(404));
    let ill = Server::start(|_| Reply::status(503));
    let good = Server::of(&layout, &image, right);
    let mirrors = [&empty, &ill, &good].map(|s| format!("http://{}/hub", s.address));
    let pulled = place.pull_with("nginx:1", &mirrored(&place, "docker.io", &mirrors)).unwrap();
    assert_eq!(pulled.image.reference, "docker.io/library/nginx:1", "it is known by its usual name");
    assert!(place.store.resolve("nginx:1").unwrap().is_some());
    for server in [&empty, &ill, &good] {
        let asked = server.asked();
        assert_eq!(asked[0].path, "/v2/hub/library/nginx/manifests/1?ns=docker.io");
    }
    assert_eq!(empty.asked().len(), 1, "who does not have the image is not asked for its layers");
    let every = mirrored(&place, "*", &mirrors[2..]);
    place.pull_with("quay.example/a/b", &every).unwrap();
    assert!(good.paths().contains(&"/v2/hub/a/b/manifests/latest".to_owned()));
}

#[test]
fn who_cannot_give_an_image_says_why() {
    let place = Place::new();
    let (layout, image) = image();
    let status = |code: u16| Server::start(move |_| Reply::status(code));
    for (code, kind, why) in [
        (404, ErrorKind::NotFound, "not found"),
        (403, ErrorKind::Denied, "access denied (403)"),
        (429, ErrorKind::Unavailable, "429"),
        (500, ErrorKind::Unavailable, "500"),
        (400, ErrorKind::Corrupt, "400"),
    ] {
        let server = status(code);
        let error = place.pull(&format!("{}/app", server.address)).unwrap_err();
        assert_eq!((error.kind, error.waiting_reason), (kind, Some("ErrImagePull")), "{error}");
        assert!(error.message.contains(why) && error.message.contains(&server.address), "{error}");
    }
    let gone = status(404).address.clone();
    let error = place.pull(&format!("{gone}/app")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    let error = place.pull_with("nginx", &mirrored(&place, "docker.io", &[])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("lets nobody be asked for images of docker.io"), "{error}");
    let empty = status(404);
    let both = [&gone, &empty.address].map(|address| format!("http://{address}"));
    let error = place.pull_with("nginx", &mirrored(&place, "docker.io", &both)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "the one that is out of reach may have it: {error}");
    assert!(both.iter().all(|m| error.message.contains(m.trim_start_matches("http://"))), "{error}");
    let mut foreign = Layout::new();
    let other = foreign.image(&[(Layer::new().dir("x").tar(), Packing::Plain)], json!({}), "pdp11");
    let top = foreign.multi(&[other]);
    let server = Server::of(&foreign, &top, right);
    let error = place.pull(&format!("{}/app", server.address)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("there is linux/pdp11"), "{error}");
    let server = Server::of(&layout, &image, right);
    for name in ["podwright.invalid/host", "Bad Name"] {
        assert_eq!(place.pull(name).unwrap_err().kind, ErrorKind::Invalid);
    }
    assert!(server.asked().is_empty() && place.is_empty());
}
