//! Layers that write where they do not belong, and images that are not what they say.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use podwright::image::{Limits, Store};
use serde_json::json;
use tar::EntryType;

use crate::support::images::{Layer, Layout, Packing, arch, digest, oci_archive};
use crate::support::is_root;

/// A store beside something that is none of its business.
struct Ground {
    dir: tempfile::TempDir,
    outside: String,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        for (path, mode) in [(outside.join("secret"), 0o640), (outside.clone(), 0o750)] {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        Self { outside: outside.display().to_string(), dir }
    }

    fn store(&self) -> Store {
        let limits = Limits { layer_bytes: 8 << 20, ..Limits::default() };
        Store::open(&self.dir.path().join("images"), None).unwrap().with_limits(limits)
    }

    fn is_untouched(&self) -> bool {
        let names: Vec<_> = fs::read_dir(&self.outside).unwrap().map(|e| e.unwrap().file_name()).collect();
        let secret = format!("{}/secret", self.outside);
        let own = |path: &str, mode: u32| {
            let it = fs::symlink_metadata(path).unwrap();
            let is_marked = rustix::fs::lgetxattr(path, "user.mark", &mut [0_u8; 8][..]).is_ok();
            (it.mode() & 0o7777, it.uid(), it.gid(), is_marked) == (mode, 0, 0, false)
        };
        names == ["secret"]
            && fs::read_to_string(&secret).unwrap() == "secret"
            && own(&secret, 0o640)
            && own(&self.outside, 0o750)
    }
}

/// Takes an archive at its word, as plain calls of the standard library do.
fn unpack_naively(layer: &[u8], into: &Path) -> io::Result<()> {
    for entry in tar::Archive::new(layer).entries()? {
        let mut entry = entry?;
        let attributes: Vec<(String, Vec<u8>)> = entry
            .pax_extensions()?
            .into_iter()
            .flatten()
            .flatten()
            .map(|it| (it.key().unwrap().replace("SCHILY.xattr.", ""), it.value_bytes().to_vec()))
            .collect();
        let place = into.join(entry.path()?);
        let target = entry.link_name()?.unwrap_or_default().into_owned();
        match entry.header().entry_type() {
            EntryType::Directory => fs::create_dir_all(&place)?,
            EntryType::Symlink => symlink(target, &place)?,
            EntryType::Link => fs::hard_link(into.join(target), &place)?,
            _ => drop(io::copy(&mut entry, &mut File::create(&place)?)?),
        }
        let header = entry.header();
        chown(&place, Some(header.uid()? as u32), Some(header.gid()? as u32))?;
        if header.entry_type() == EntryType::Directory {
            fs::set_permissions(&place, Permissions::from_mode(header.mode()?))?;
        }
        for (name, value) in attributes {
            rustix::fs::setxattr(&place, name, &value, rustix::fs::XattrFlags::empty())?;
        }
    }
    Ok(())
}

/// The layers of an attack on the directory that is given.
type Attack<'a> = &'a dyn Fn(&str) -> Vec<Layer>;

#[test]
fn no_layer_writes_outside_where_a_naive_unpacker_does() {
    if !is_root() {
        return;
    }
    let link = |path, target: &str| Layer::new().link(EntryType::Symlink, path, target);
    let owned = |h: &mut tar::Header, target: &str| {
        h.set_link_name_literal(target).unwrap();
        h.set_uid(1234);
    };
    let attacks: [(&str, Attack); 13] = [
        ("through a link to a directory", &|out| vec![link("l", out).file("l/x", "x")]),
        ("through a relative link", &|_| vec![link("l", "../outside").file("l/x", "x")]),
        ("over a link to a file", &|out| vec![link("f", &format!("{out}/secret")).file("f", "x")]),
        ("through a link of a lower layer", &|out| vec![link("l", out), Layer::new().file("l/x", "x")]),
        ("through a link of a link", &|out| vec![link("a", out).link(EntryType::Symlink, "b", "a").file("b/x", "x")]),
        ("over a hard link", &|_| vec![Layer::new().link(EntryType::Link, "h", "../outside/secret").file("h", "x")]),
        ("over a hard link through a link", &|out| {
            vec![link("l", out).link(EntryType::Link, "h", "l/secret").file("h", "x")]
        }),
        ("by an absolute path", &|out| vec![Layer::new().file(&format!("{out}/x"), "x")]),
        ("by dots", &|_| vec![Layer::new().file("../outside/x", "x")]),
        ("the mode of a directory through a link", &|out| {
            vec![link("l", out).entry("l", EntryType::Directory, |h| h.set_mode(0o777), b"")]
        }),
        ("an attribute of a directory through a link", &|out| {
            let marked = link("l", out).pax(&[("SCHILY.xattr.user.mark", b"x")]);
            vec![marked.entry("l", EntryType::Directory, |h| h.set_mode(0o750), b"")]
        }),
        ("the owner of a file through a link", &|out| {
            vec![Layer::new().entry("l", EntryType::Symlink, |h| owned(h, &format!("{out}/secret")), b"")]
        }),
        ("the owner of a file through a hard link", &|_| {
            vec![Layer::new().entry("h", EntryType::Link, |h| owned(h, "../outside/secret"), b"")]
        }),
    ];
    for (name, attack) in attacks {
        let ground = Ground::new();
        let layers: Vec<Vec<u8>> = attack(&ground.outside).iter().map(Layer::tar).collect();
        // Refused or made harmless, as image::hostile has it case by case; here only the outside counts.
        let _ = ground.store().load(&oci_archive("x", &layers, json!({}))[..], None);
        assert!(ground.is_untouched(), "{name}");
        let place = ground.dir.path().join("naive");
        fs::create_dir(&place).unwrap();
        for layer in &layers {
            unpack_naively(layer, &place).unwrap();
        }
        assert!(!ground.is_untouched(), "{name}: harmless even to the naive unpacker, so it proves nothing");
    }
}

/// The bytes of all files below a directory.
fn bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|e| if e.file_type().unwrap().is_dir() { bytes(&e.path()) } else { e.metadata().unwrap().len() }).sum()
}

#[test]
fn a_bomb_fills_no_disk_where_a_naive_unpacker_lets_it() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let zeros = Layer::new().entry("zeros", EntryType::Regular, |_| (), &vec![0; 64 << 20]);
    let mut layout = Layout::new();
    let image = layout.image(&[(zeros.tar(), Packing::Zstd)], json!({}), arch());
    let archive = layout.name(image, Some("x")).archive();
    assert!(archive.len() < 100_000, "{}", archive.len());
    ground.store().load(&archive[..], None).unwrap_err();
    assert!(bytes(&ground.dir.path().join("images")) < 1 << 20);
    let place = ground.dir.path().join("naive");
    fs::create_dir(&place).unwrap();
    unpack_naively(&zeros.tar(), &place).unwrap();
    assert_eq!(bytes(&place), 64 << 20);
}

/// Reads a blob under the name that a manifest gives it, and never asks whether it is that.
fn read_naively(archive: &[u8], digest: &str) -> Vec<u8> {
    let wanted = format!("blobs/{}", digest.replace(':', "/"));
    let mut archive = tar::Archive::new(archive);
    let mut entry =
        archive.entries().unwrap().map(Result::unwrap).find(|e| e.path().unwrap() == Path::new(&wanted)).unwrap();
    let mut found = Vec::new();
    entry.read_to_end(&mut found).unwrap();
    found
}

#[test]
fn a_blob_that_is_another_is_not_taken_where_somebody_naive_takes_it() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let (good, bad) = (Layer::new().file("f", "good").tar(), Layer::new().file("f", "evil").tar());
    assert_eq!(good.len(), bad.len());
    let mut layout = Layout::new();
    let image = layout.image(&[(good.clone(), Packing::Plain)], json!({}), arch());
    let mut archive = layout.name(image, Some("x")).archive();
    let at = archive.windows(good.len()).position(|window| window == good).unwrap();
    archive[at..at + bad.len()].copy_from_slice(&bad);
    ground.store().load(&archive[..], None).unwrap_err();
    assert_eq!(ground.store().list().unwrap(), []);
    let taken = read_naively(&archive, &digest(&good));
    assert!(taken == bad && digest(&taken) != digest(&good));
}
