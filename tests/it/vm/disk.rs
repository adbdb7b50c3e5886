//! The disks of the virtual machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::e2e::harness::{run, text};
use crate::support;

/// Whether there is such a machine here; skips the test otherwise.
pub fn can_run() -> bool {
    if !cfg!(target_arch = "x86_64") {
        support::skip("the virtual machine is an amd64 one");
        return false;
    }
    support::e2e()
}

/// Where cargo builds, and the scripts of the tests too.
pub fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Path::new(env!("CARGO_MANIFEST_DIR")).join(target)
}

/// Makes the root file system with this podwright, the scripts of tests/vm and the image `busybox`.
pub fn root(dir: &Path) -> PathBuf {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm");
    let image = dir.join("root.img");
    let mut make = Command::new(scripts.join("disk.sh"));
    make.arg(&image).arg(env!("CARGO_BIN_EXE_podwright")).arg(crate::e2e::harness::archive("busybox"));
    run(make.arg(scripts.join("functions")));
    image
}

/// Makes an ext4 file system of a directory's files.
fn ext4(image: &Path, files: &Path, megabytes: u32) {
    // Nothing is left to be written later, by the kernel, which would be among what the tests count.
    let options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-t", "ext4", "-m", "0", "-E", options, "-d"]).arg(files).arg(image);
    run(make.arg(format!("{megabytes}M")));
}

/// Makes a disk for `/var` with a repository of these commits, each of one file. The commits' ids.
pub fn var(dir: &Path, commits: &[String], megabytes: u32) -> (PathBuf, Vec<String>) {
    let files = dir.join("var");
    let repo = files.join("repo");
    std::fs::create_dir_all(&repo).unwrap();
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(&repo).args(["-c", "user.name=tester", "-c", "user.email=tester@example.com"]);
        run(git.args(args))
    };
    git(&["init", "-q", "-b", "main"]);
    let mut ids = Vec::new();
    for text in commits {
        std::fs::write(repo.join("pods.yaml"), text).unwrap();
        git(&["add", "-A"]);
        git(&["commit", "-q", "-m", "change"]);
        ids.push(git(&["rev-parse", "HEAD"]).trim().to_owned());
    }
    let image = dir.join("var.img");
    ext4(&image, &files, megabytes);
    (image, ids)
}

/// Copies the files of a directory of a file system that nothing has mounted.
pub fn copy_out(image: &Path, from: &str, to: &Path) {
    // What is not there is not copied; the program says so, and ends well.
    run(Command::new("debugfs").args(["-R", &format!("rdump {from} {}", to.display())]).arg(image));
}

/// Replays the journal of a file system, as the next mount does, and has fsck look at the rest: it must be in order.
pub fn check(image: &Path) {
    for (flags, fine) in [(&["-p"][..], &[0, 1][..]), (&["-f", "-n"], &[0])] {
        let output = Command::new("e2fsck").args(flags).arg(image).output().unwrap();
        assert!(fine.contains(&output.status.code().unwrap()), "{}: {flags:?}: {}", image.display(), text(&output));
    }
}
