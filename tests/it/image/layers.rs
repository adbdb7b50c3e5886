//! Sparse files and extended attributes, from a layer to the disk.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use podwright::image::Store;
use serde_json::json;
use tar::EntryType;

use crate::support::images::{Layer, oci_archive};
use crate::support::is_root;

/// A layer as it is unpacked.
fn unpacked(tar: Vec<u8>, look: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("images"), None).unwrap();
    store.load(&oci_archive("x", &[tar], json!({}))[..], None).unwrap();
    look(&store.resolve("x").unwrap().unwrap().lower[0]);
}

#[test]
fn sparse_files_as_tar_stores_them_keep_their_bytes_and_their_holes() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // With more pieces than fit into a header and into the first one that extends it, and a hole at the end.
    for (name, pieces) in [("few", 3_u64), ("some", 10), ("many", 60)] {
        let file = std::fs::File::create(dir.path().join(name)).unwrap();
        for n in 0..pieces {
            file.write_all_at(format!("piece {n}").repeat(500).as_bytes(), (n + 1) << 17).unwrap();
        }
        file.set_len((pieces + 3) << 17).unwrap();
    }
    for (format, mark) in [
        (&["--format=gnu"][..], &b"ustar  \0"[..]),
        (&["--format=posix", "--sparse-version=1.0"], b"GNU.sparse.major=1"),
    ] {
        let mut command = Command::new("tar");
        command.args(["-c", "--sparse"]).args(format).args(["few", "some", "many"]).current_dir(dir.path());
        let tar = command.output().unwrap().stdout;
        assert!(tar.len() < 1 << 20, "{format:?} stores the holes");
        assert!(tar.windows(mark.len()).any(|w| w == mark), "{format:?} is another one");
        unpacked(tar, |layer| {
            for name in ["few", "some", "many"] {
                let (given, made) = (dir.path().join(name), layer.join(name));
                assert!(std::fs::read(&given).unwrap() == std::fs::read(&made).unwrap(), "{format:?}: {name}");
                let taken = |path: &Path| std::fs::metadata(path).unwrap().blocks();
                // A file system may take a block more for where the pieces are.
                let (given, made) = (taken(&given), taken(&made));
                assert!(given > 0 && made.abs_diff(given) <= 16, "{format:?}: {name} takes {made} blocks of {given}");
            }
        });
    }
}

/// An access list as the kernel stores it (`linux/posix_acl_xattr.h`): what user 1000 may do, beside the mode 0640.
fn access_list() -> Vec<u8> {
    let anybody = u32::MAX;
    let entries = [(1_u16, 6_u16, anybody), (2, 4, 1000), (4, 4, anybody), (0x10, 4, anybody), (0x20, 0, anybody)];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, allowed, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(allowed.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = [0; 256];
    let read = rustix::fs::lgetxattr(path, name, &mut value);
    match read {
        Ok(length) => Some(value[..length].to_vec()),
        Err(rustix::io::Errno::NODATA) => None,
        Err(error) => panic!("{name} of {}: {error}", path.display()),
    }
}

#[test]
fn attributes_of_files_and_directories_are_kept_but_for_labels_of_a_machine() {
    if !is_root() {
        return;
    }
    let list = access_list();
    let key = |name: &str| format!("SCHILY.xattr.{name}");
    let names = ["user.note", "system.posix_acl_access", "security.selinux", "security.ima", "security.evm"].map(key);
    let values: [&[u8]; 5] = [b"a\0b=c\n", &list, b"system_u:object_r:x_t:s0", b"\x01x", b"\x02x"];
    let records: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(values).collect();
    let default = key("system.posix_acl_default");
    let mode = |h: &mut tar::Header| h.set_mode(0o640);
    let layer = Layer::new()
        .pax(&records)
        .entry("file", EntryType::Regular, mode, b"file")
        .pax(&[&records[..], &[(&default, &list)]].concat())
        .entry("dir", EntryType::Directory, mode, b"")
        .file("dir/below", "below")
        .pax(&records[2..])
        .link(EntryType::Symlink, "link", "file");
    unpacked(layer.tar(), |layer| {
        for name in ["file", "dir"] {
            let path = layer.join(name);
            assert_eq!(attribute(&path, "user.note").as_deref(), Some(values[0]), "{name}");
            assert_eq!(attribute(&path, "system.posix_acl_access").as_ref(), Some(&list), "{name}");
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o640, "{name}");
        }
        assert_eq!(attribute(&layer.join("dir"), "system.posix_acl_default").as_ref(), Some(&list));
        // What is made below a directory does not have what that passes on: its own entry says all of it.
        assert_eq!(attribute(&layer.join("dir/below"), "system.posix_acl_access"), None);
        assert_eq!(std::fs::metadata(layer.join("dir/below")).unwrap().mode() & 0o7777, 0o644);
        for name in ["file", "dir", "link"] {
            for label in ["security.selinux", "security.ima", "security.evm"] {
                assert_eq!(attribute(&layer.join(name), label), None, "{name}: {label}");
            }
        }
    });
    // Nor does anything of a layer have what the store's own directory passes on.
    let dir = tempfile::tempdir().unwrap();
    rustix::fs::setxattr(dir.path(), "system.posix_acl_default", &list, rustix::fs::XattrFlags::empty()).unwrap();
    let store = Store::open(&dir.path().join("images"), None).unwrap();
    let plain = Layer::new().dir("dir").file("dir/file", "file").tar();
    store.load(&oci_archive("x", &[plain], json!({}))[..], None).unwrap();
    let layer = &store.resolve("x").unwrap().unwrap().lower[0];
    for path in [layer.clone(), layer.join("dir"), layer.join("dir/file")] {
        for name in ["system.posix_acl_access", "system.posix_acl_default"] {
            assert_eq!(attribute(&path, name), None, "{name} of {}", path.display());
        }
    }
    // On another machine each of them could be set: it is left out, not refused.
    let file = tempfile::NamedTempFile::new().unwrap();
    rustix::fs::setxattr(file.path(), "security.selinux", values[2], rustix::fs::XattrFlags::empty()).unwrap();
}
