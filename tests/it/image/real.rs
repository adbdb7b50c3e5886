//! The images that the tests build from Debian packages, as an overlay on this kernel.

use std::process::Command;

use podwright::image::{Image, Store};

use crate::support::e2e;
use crate::support::images::test_image;

/// Runs a command in the image in a mount namespace of its own, and returns what it says.
fn run(image: &Image, script: &str) -> String {
    let lower: Vec<&str> = image.lower.iter().map(|l| l.to_str().unwrap()).collect();
    let dir = tempfile::tempdir().unwrap();
    // Everything is mounted below a tmpfs of the namespace: nothing is left when it ends.
    let setup = format!(
        "mount -t tmpfs t {0} && mkdir {0}/u {0}/w {0}/m && \
         mount -t overlay -o lowerdir={1},upperdir={0}/u,workdir={0}/w o {0}/m && exec chroot {0}/m /bin/sh -c '{script}' 2>&1",
        dir.path().display(),
        lower.join(":")
    );
    let output = Command::new("unshare").args(["-m", "sh", "-c", &setup]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {text}");
    text
}

#[test]
fn e2e_the_images_of_the_tests_load_and_run() {
    if !e2e() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), None).unwrap();
    for name in ["busybox", "debian", "nginx"] {
        store.load(std::fs::File::open(test_image(name)).unwrap(), None).unwrap();
    }
    let image = |name: &str| store.resolve(name).unwrap().unwrap();
    assert!(run(&image("busybox"), "echo $(id -u) $(ls / | grep -c tmp) && ps ax | head -1").contains("0 1\n"));
    assert!(
        run(&image("debian"), "id && hostname && env && sleep 0 && cat /etc/debian_version").contains("uid=0(root)")
    );
    let nginx = image("nginx");
    assert!(run(&nginx, "nginx -t").contains("test is successful"));
    assert_eq!(nginx.config.cmd, ["nginx", "-g", "daemon off;"]);
    assert_eq!(nginx.config.stop_signal.as_deref(), Some("SIGQUIT"));
    assert_eq!(nginx.lower.len(), 2);
    assert_eq!(nginx.lower[1], image("debian").lower[0], "nginx stands on debian: their common layer is there once");
    assert_eq!(store.list().unwrap().len(), 3);
}
