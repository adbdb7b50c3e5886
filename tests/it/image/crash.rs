//! Pulls that are killed at every effect, and of which each effect fails once: the store repairs itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use podwright::image::Store;
use serde_json::json;
use tar::EntryType;

use crate::points;
use crate::support::images::{Layer, Layout, Packing, arch};
use crate::support::registry::Server;
use crate::support::{self, is_root};

/// An image with whatever a layer may have.
fn server() -> Server {
    let base = Layer::new().dir("etc").file("etc/name", "base").file("etc/hidden", "x");
    // Attributes of a file and of a directory; a directory that no entry makes.
    let attribute: &[(&str, &[u8])] = &[("SCHILY.xattr.user.of", b"x")];
    let base = base.pax(attribute).file("etc/marked", "x").pax(attribute).dir("marked").file("implied/file", "x").tar();
    let top = Layer::new().file("etc/.wh.hidden", "").dir("new").file("new/.wh..wh..opq", "");
    let top = top.file("bin/tool", &"tool".repeat(50_000)).link(EntryType::Symlink, "bin/link", "tool");
    let top = top.link(EntryType::Link, "bin/same", "bin/tool").link(EntryType::Fifo, "fifo", "").tar();
    let mut layout = Layout::new();
    let layers = [(base, Packing::Gzip), (top, Packing::Zstd)];
    let image = layout.image(&layers, json!({"Cmd": ["/bin/tool"]}), arch());
    Server::of(&layout, &image, |_| None)
}

struct Root(tempfile::TempDir);

impl Root {
    fn images(&self) -> PathBuf {
        self.0.path().join("images")
    }

    fn points(&self) -> PathBuf {
        // Not below the root: it is part of no picture.
        self.0.path().join("points")
    }

    fn pull(&self, name: &str, fault: Option<&str>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podwright"));
        command.args(["image", "pull", name, "--root"]).arg(self.0.path()).env("HOME", self.0.path());
        command.envs(fault.map(|what| ("PODWRIGHT_FAULT", format!("agent:{what}:{}", self.points().display()))));
        command.output().unwrap()
    }

    /// Every file and directory of the store with its mode and owner.
    fn picture(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        look(&self.images(), Path::new(""), &mut found);
        found
    }
}

fn look(dir: &Path, at: &Path, found: &mut BTreeSet<String>) {
    use std::os::unix::fs::MetadataExt;
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let (place, of) = (at.join(entry.file_name()), entry.metadata().unwrap());
        found.insert(format!("{} {:o} {} {}", place.display(), of.mode(), of.uid(), of.rdev()));
        if of.is_dir() {
            look(&entry.path(), &place, found);
        }
    }
}

/// Pulls until it is done, and compares with a pull in peace. How many tries there were.
fn compare(fault: &str, ended: impl Fn(&Output)) {
    if !is_root() {
        return;
    }
    if !cfg!(debug_assertions) {
        return support::skip("a release has no fault points");
    }
    let server = server();
    let name = format!("{}/team/app:1", server.address);
    let (peaceful, root) = (Root(tempfile::tempdir().unwrap()), Root(tempfile::tempdir().unwrap()));
    assert!(peaceful.pull(&name, None).status.success());
    let mut tries = 1;
    loop {
        let output = root.pull(&name, Some(fault));
        if output.status.success() {
            break;
        }
        ended(&output);
        tries += 1;
    }
    println!("{tries} tries");
    let met = std::fs::read_to_string(root.points()).unwrap();
    if fault == "kill" {
        points::check("pull", &points::effects(&met));
    }
    let store = Store::open(&root.images(), None).unwrap();
    // A blob whose pull was killed just when its layer was unpacked stays for a day, or until the next `image prune`.
    store.prune(&[], std::slice::from_ref(&name)).unwrap();
    let left: Vec<String> = peaceful.picture().symmetric_difference(&root.picture()).cloned().collect();
    assert!(left.is_empty(), "{left:#?}");
    let image = store.resolve(&name).unwrap().expect("an image that was pulled");
    assert_eq!(std::fs::read_to_string(image.lower[0].join("bin/tool")).unwrap().len(), 200_000);
    for effect in ["write", "chown", "utimens", "mknod", "link", "symlink", "setxattr", "syncfs", "rename", "fsync"] {
        assert!(met.contains(&format!("before {effect} ")), "{effect} is not among {met}");
    }
}

#[test]
fn a_pull_that_is_killed_at_every_effect_comes_to_the_same_store() {
    compare("kill", |output| assert!(output.status.code().is_none(), "{output:?}"));
}

#[test]
fn a_pull_whose_effects_each_fail_once_comes_to_the_same_store() {
    for error in [28, 5, 30] {
        compare(&format!("fail:{error}"), |output| {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains(&format!("(os error {error})")), "{said}");
        });
    }
}
