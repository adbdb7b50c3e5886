//! Registries that give other bytes than they say, more than they say, or no end of them. Nothing of it is kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use podwright::port::ErrorKind;
use serde_json::{Value, json};

use super::pull::{Place, image};
use crate::support::images::{Layer, Layout, Packing, arch, digest};
use crate::support::is_root;
use crate::support::registry::{Asked, Reply, Server};

/// Where the test stops who is naive: far more than anything here should be.
const NAIVE_BYTES: u64 = 8 << 20;

/// Who takes a registry at its word: makes room for as much as it tells, reads whatever comes, and asks for no digest.
/// What it was made to believe.
fn pull_naively(address: &str) -> Vec<String> {
    let mut believed = Vec::new();
    let mut take = |path: &str, told: &Value| -> Value {
        let mut stream = BufReader::new(TcpStream::connect(address).unwrap());
        write!(stream.get_mut(), "GET /v2/app/{path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let (mut length, mut digest_told) = (told["size"].as_u64(), told["digest"].as_str().map(str::to_owned));
        for line in (&mut stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty()) {
            match line.split_once(": ") {
                Some(("Content-Length", value)) => length = length.max(value.parse().ok()),
                Some(("Docker-Content-Digest", value)) if digest_told.is_none() => digest_told = Some(value.to_owned()),
                _ => {}
            }
        }
        let mut bytes = Vec::new();
        let _ = stream.take(NAIVE_BYTES).read_to_end(&mut bytes);
        if length.is_some_and(|length| length > NAIVE_BYTES) {
            believed.push(format!("{path}: made room for {length:?} bytes"));
        }
        if bytes.len() as u64 == NAIVE_BYTES {
            believed.push(format!("{path}: read without end"));
        }
        if told["size"].as_u64().is_some_and(|size| size != bytes.len() as u64) {
            believed.push(format!("{path}: took {} bytes for {}", bytes.len(), told["size"]));
        }
        if digest_told.is_some_and(|told| told != digest(&bytes)) {
            believed.push(format!("{path}: took {} for what it asked for", digest(&bytes)));
        }
        serde_json::from_slice(&bytes).unwrap_or_default()
    };
    let mut manifest = take("manifests/latest", &Value::Null);
    if let Some(told) = manifest.pointer("/manifests/0").cloned() {
        manifest = take(&format!("manifests/{}", told["digest"].as_str().unwrap()), &told);
    }
    for told in manifest["layers"].as_array().into_iter().flatten().chain(manifest.get("config")) {
        take(&format!("blobs/{}", told["digest"].as_str().unwrap()), told);
    }
    believed
}

/// Pulls from a registry that is odd in one way, expects a refusal where who is naive believes it, and then from one that
/// is not odd.
fn refused(kind: ErrorKind, why: &str, odd: impl Fn(&Asked, &Layout) -> Option<Reply> + Send + Sync + 'static) {
    let place = Place::new();
    let (layout, image) = image();
    let files = layout.clone();
    let server = Server::of(&layout, &image, move |asked| odd(asked, &files));
    let name = format!("{}/app", server.address);
    let error = place.pull(&name).unwrap_err();
    assert!(error.message.contains(why), "expected {why:?} in: {error}");
    assert_eq!((error.kind, error.waiting_reason), (kind, Some("ErrImagePull")), "{error}");
    assert!(place.is_empty() && place.store.resolve(&name).unwrap().is_none(), "{why}");
    assert_ne!(pull_naively(&server.address), [""; 0], "{why}: harmless even to who is naive, so it proves nothing");
    let good = Server::of(&layout, &image, |_| None);
    place.pull(&format!("{}/app", good.address)).expect("what is left of it is in nobody's way");
    assert_eq!(pull_naively(&good.address), [""; 0]);
}

fn is_blob(asked: &Asked) -> bool {
    asked.path.contains("/blobs/")
}

/// The bytes a path asks for.
fn asked_for(asked: &Asked, layout: &Layout) -> Vec<u8> {
    layout.files[&format!("blobs/sha256/{}", asked.path.rsplit_once(':').unwrap().1)].clone()
}

/// Whether it is the large layer of [`image`].
fn is_large(asked: &Asked, layout: &Layout) -> bool {
    is_blob(asked) && asked_for(asked, layout).len() > 100_000
}

#[test]
fn a_manifest_that_is_not_the_one_of_its_digest_is_refused() {
    if !is_root() {
        return;
    }
    let claim = format!("sha256:{}", "0".repeat(64));
    refused(ErrorKind::Corrupt, "the manifest's digest should be", move |asked, layout| {
        let top = layout.files.values().find(|f| f.starts_with(b"{\"schemaVersion\"")).unwrap();
        asked.path.contains("/manifests/").then(|| Reply::ok(top.clone()).with("Docker-Content-Digest", claim.clone()))
    });
    // Pinned by the pod, whatever the registry claims.
    let place = Place::new();
    let (layout, image) = image();
    let pin = format!("sha256:{}", "1".repeat(64));
    let (files, top) = (layout.files.clone(), image["digest"].as_str().unwrap().to_owned());
    let server = Server::start(move |asked| {
        let told = Asked { path: asked.path.replace(&format!("sha256:{}", "1".repeat(64)), "latest"), ..asked.clone() };
        crate::support::registry::right(&files, &top, &told)
    });
    let error = place.pull(&format!("{}/app@{pin}", server.address)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
    place.pull(&format!("{}/app", server.address)).expect("the same bytes under a tag are fine");
}

#[test]
fn a_manifest_of_an_index_is_held_to_digest_and_size() {
    if !is_root() {
        return;
    }
    for (lie, why) in [("size", "where its index has"), ("digest", "the manifest's digest should be")] {
        let place = Place::new();
        let (mut layout, image) = image();
        let mut told = image.clone();
        match lie {
            "size" => told["size"] = json!(7),
            _ => {
                told["digest"] = json!(format!("sha256:{}", "2".repeat(64)));
                let bytes = layout.files[&format!("blobs/sha256/{}", &image["digest"].as_str().unwrap()[7..])].clone();
                layout.files.insert(format!("blobs/sha256/{}", "2".repeat(64)), bytes);
            }
        }
        let top = layout.multi(&[told]);
        let server = Server::of(&layout, &top, |_| None);
        let error = place.pull(&format!("{}/app", server.address)).unwrap_err();
        assert!(error.kind == ErrorKind::Corrupt && error.message.contains(why), "{error}");
        assert_ne!(pull_naively(&server.address), [""; 0], "{lie}");
    }
}

#[test]
fn other_bytes_than_the_digest_says_are_refused() {
    if !is_root() {
        return;
    }
    refused(ErrorKind::Corrupt, "the digest should be", |asked, layout| {
        is_blob(asked).then(|| {
            let mut bytes = asked_for(asked, layout);
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            Reply::ok(bytes)
        })
    });
    refused(ErrorKind::Corrupt, "the digest should be", |asked, layout| {
        is_large(asked, layout).then(|| {
            let mut bytes = asked_for(asked, layout);
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            Reply::ok(bytes)
        })
    });
}

#[test]
fn more_or_less_than_the_manifest_says_is_refused() {
    if !is_root() {
        return;
    }
    refused(ErrorKind::Invalid, "where the manifest has", |asked, layout| {
        is_large(asked, layout).then(|| Reply::ok([asked_for(asked, layout), vec![0; 10]].concat()))
    });
    refused(ErrorKind::Invalid, "where the manifest has", |asked, layout| {
        is_large(asked, layout).then(|| {
            let body = [asked_for(asked, layout), vec![0; 10]].concat();
            Reply { unmeasured: true, ..Reply::ok(body) }
        })
    });
    refused(ErrorKind::Invalid, "where the manifest has", |asked, layout| {
        is_large(asked, layout).then(|| Reply { endless: true, ..Reply::ok(asked_for(asked, layout)) })
    });
    refused(ErrorKind::Invalid, "where the manifest has", |asked, layout| {
        is_large(asked, layout).then(|| Reply::ok(asked_for(asked, layout)[..1000].to_vec()))
    });
}

#[test]
fn a_layer_that_never_comes_is_given_up() {
    if !is_root() {
        return;
    }
    let tries = std::sync::Arc::new(AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&tries);
    refused(ErrorKind::Unavailable, "broke off", move |asked, layout| {
        is_large(asked, layout).then(|| {
            count.fetch_add(1, Ordering::Relaxed);
            Reply { cut: Some(10), ..Reply::part(asked, &asked_for(asked, layout)) }
        })
    });
    assert_eq!(tries.load(Ordering::Relaxed), 5 + 1, "with that of who is naive");
}

#[test]
fn a_layer_that_begins_anew_each_time_is_given_up_wherever_it_breaks_off() {
    if !is_root() {
        return;
    }
    let tries = std::sync::Arc::new(AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&tries);
    refused(ErrorKind::Unavailable, "the layer sha256:", move |asked, layout| {
        // Each second time it comes farther than before. One that is asked too often tells what it has.
        let cut = match count.fetch_add(usize::from(is_large(asked, layout)), Ordering::Relaxed) {
            40.. => return None,
            even if even % 2 == 0 => 10_000,
            _ => 100_000,
        };
        is_large(asked, layout).then(|| Reply { cut: Some(cut), ..Reply::ok(asked_for(asked, layout)) })
    });
    assert!(tries.load(Ordering::Relaxed) <= 6 + 1, "{tries:?}, with that of who is naive");
}

#[test]
fn documents_without_end_are_not_read_to_it() {
    if !is_root() {
        return;
    }
    refused(ErrorKind::Invalid, "the manifest is larger than", |asked, _| {
        asked.path.contains("/manifests/").then(|| Reply { endless: true, ..Reply::ok(vec![b' '; 1 << 20]) })
    });
    refused(ErrorKind::Invalid, "the manifest is larger than", |asked, _| {
        let large = Reply { unmeasured: true, ..Reply::ok("{}") }.with("Content-Length", "99999999999");
        asked.path.contains("/manifests/").then_some(large)
    });
    refused(ErrorKind::Invalid, "configuration is larger than", |asked, layout| {
        let small = is_blob(asked) && asked_for(asked, layout).starts_with(b"{");
        small.then(|| Reply { endless: true, ..Reply::ok(vec![b' '; 1 << 20]) })
    });
}

/// A manifest as it is given, of an image that is right otherwise.
fn of_manifest(edit: impl Fn(&mut Value)) -> (Layout, Value) {
    let (mut layout, image) = image();
    let name = format!("blobs/sha256/{}", &image["digest"].as_str().unwrap()[7..]);
    let mut manifest: Value = serde_json::from_slice(&layout.files[&name]).unwrap();
    edit(&mut manifest);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let digest = digest(&bytes);
    layout.files.insert(format!("blobs/sha256/{}", &digest[7..]), bytes);
    (layout, json!({"digest": digest}))
}

#[test]
fn manifests_that_are_none_or_ask_for_too_much_are_refused_before_a_layer_is_fetched() {
    type Edit = fn(&mut Value);
    let rows: [(&str, Edit); 8] = [
        ("schemaVersion 1", |m| m["schemaVersion"] = json!(1)),
        ("unreadable", |m| m["layers"] = json!("x")),
        ("no configuration", |m| m["config"] = Value::Null),
        ("is no sha256 digest", |m| m["config"]["digest"] = json!("sha256:../../../etc/passwd")),
        ("is no sha256 digest", |m| m["layers"][0]["digest"] = json!("sha512:x")),
        ("layers; 256 are the limit", |m| m["layers"] = Value::Array(vec![m["layers"][0].clone(); 300])),
        ("larger than", |m| m["layers"][0]["size"] = json!(u64::MAX - 1)),
        ("larger than", |m| m["layers"][1]["size"] = json!(1_u64 << 40)),
    ];
    let place = Place::new();
    for (why, edit) in rows {
        let (layout, top) = of_manifest(edit);
        let server = Server::of(&layout, &top, |_| None);
        let error = place.pull(&format!("{}/app", server.address)).unwrap_err();
        assert!(error.kind == ErrorKind::Invalid && error.message.contains(why), "{why}: {error}");
        assert!(server.paths().iter().filter(|p| p.contains("/blobs/")).count() <= 1, "{why}: {:?}", server.paths());
        if why == "larger than" {
            let believed = pull_naively(&server.address);
            assert!(believed.iter().any(|what| what.contains("made room for")), "{believed:?}");
        }
    }
    let mut layout = Layout::new();
    let mut top = layout.image(&[(Layer::new().dir("x").tar(), Packing::Plain)], json!({}), arch());
    for _ in 0..6 {
        top = layout.multi(&[top]);
    }
    let server = Server::of(&layout, &top, |_| None);
    let error = place.pull(&format!("{}/app", server.address)).unwrap_err();
    assert!(error.message.contains("nested too deeply"), "{error}");
    assert!(place.is_empty());
}

#[test]
fn a_layer_made_to_get_out_gets_nowhere_when_it_is_pulled() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    std::fs::write(place.dir.path().join("secret"), "secret").unwrap();
    let outside = place.dir.path().display().to_string();
    let evil = Layer::new().link(tar::EntryType::Symlink, "out", &outside).file("out/secret", "changed").tar();
    let mut layout = Layout::new();
    let image = layout.image(&[(evil, Packing::Gzip)], json!({}), arch());
    let server = Server::of(&layout, &image, |_| None);
    let error = place.pull(&format!("{}/app", server.address)).unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Invalid | ErrorKind::Corrupt | ErrorKind::Internal), "{error}");
    assert_eq!(std::fs::read_to_string(place.dir.path().join("secret")).unwrap(), "secret");
    assert!(place.is_empty());
}
