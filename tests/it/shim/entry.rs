//! What a container's program finds when it begins, whatever its shim was started with.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;

use nix::unistd::Gid;
use rustix::fs::Mode;
use rustix::mount::{MountFlags, UnmountFlags};
use serde_json::{Value, json};

use super::fixture::{Container, Place};
use crate::e2e::harness::run;
use crate::support;

const USER: u32 = 1000;

/// A container of a user who is nobody on the machine.
fn of_user(place: &Place, name: &str, script: &str) -> Container {
    place.container(name, script).edit(|s| s["process"]["user"] = json!({"uid": USER, "gid": USER}))
}

/// Adds a mount.
fn mounted(container: Container, destination: &str, mount: Value) -> Container {
    container.edit(|s| {
        let mut mount = mount;
        mount["destination"] = destination.into();
        s["mounts"].as_array_mut().unwrap().push(mount);
    })
}

/// Does the rest of a test in a process of its own that `wrapper` begins: shims have what the first one of its process had.
fn apart(test: &str, wrapper: &[&str], rest: impl FnOnce()) {
    const APART: &str = "PODWRIGHT_TEST_APART";
    if std::env::var_os(APART).is_some() {
        return rest();
    }
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let said = run(command.env(APART, "1"));
    assert!(said.contains("1 passed"), "{said}");
}

fn bind(source: &Path) -> Value {
    json!({"type": "bind", "source": source, "options": ["rbind", "rprivate"]})
}

#[test]
fn e2e_a_program_begins_with_its_own_groups_umask_and_streams() {
    if !support::e2e() {
        return;
    }
    let wrapper = ["setpriv", "--groups", "4711", "sh", "-c", "umask 077; exec \"$0\" \"$@\""];
    apart("shim::entry::e2e_a_program_begins_with_its_own_groups_umask_and_streams", &wrapper, begin);
}

fn begin() {
    let groups: Vec<u32> = nix::unistd::getgroups().unwrap().into_iter().map(Gid::as_raw).collect();
    assert_eq!((groups, rustix::process::umask(Mode::from_raw_mode(0o077))), (vec![4711], Mode::from_raw_mode(0o077)));
    let place = Place::new();
    let script = "grep Groups: /proc/self/status; umask; stat -L -c '%F %u' /proc/self/fd/0 /proc/self/fd/1 \
                  /proc/self/fd/2; echo again > /dev/stdout";
    let mut container = of_user(&place, "own", script);
    container.request.stdin = true;
    let (exit, log) = container.run();
    let pipe = format!("stdout F fifo {USER}\n");
    assert_eq!(log, format!("stdout F Groups:\t \nstdout F 0022\n{}stdout F again\n", pipe.repeat(3)));
    assert_eq!(exit.exit_code, 0);
}

#[test]
fn e2e_a_volume_at_dev_is_left_as_it_is() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let volume = place.temp.path().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("own"), "").unwrap();
    let container = place.container("dev", "ls -A /dev").edit(|s| {
        s["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] == "/proc");
    });
    let mut container = mounted(container, "/dev/", bind(&volume));
    // Without one it is /dev/null, which this volume does not have.
    container.request.stdin = true;
    assert_eq!(container.run().1, "stdout F own\n");
    assert_eq!(fs::read_dir(&volume).unwrap().count(), 1);
}

#[test]
fn e2e_a_working_directory_may_be_one_that_its_user_alone_is_let_in_to() {
    if !support::e2e() {
        return;
    }
    let wrapper = ["unshare", "--mount", "--propagation", "private"];
    apart("shim::entry::e2e_a_working_directory_may_be_one_that_its_user_alone_is_let_in_to", &wrapper, work_within);
}

fn work_within() {
    let place = Place::new();
    let volume = place.temp.path().join("volume");
    fs::create_dir_all(volume.join("own")).unwrap();
    let at_work = |container: Container| {
        mounted(container, "/volume", bind(&volume)).edit(|s| s["process"]["cwd"] = "/volume/own".into())
    };
    mount_private(&volume.join("own"));
    let refused = at_work(place.container("root", "pwd")).try_start().unwrap_err();
    assert!(refused.message.starts_with("changing to /volume/own: Permission denied"), "{refused}");
    assert_eq!(at_work(of_user(&place, "user", "pwd")).run().1, "stdout F /volume/own\n");
    rustix::mount::unmount(volume.join("own"), UnmountFlags::DETACH).unwrap();
}

/// Mounts a file system that lets in one user and not even root beside it, until nobody has it mounted any more: FUSE
/// (include/uapi/linux/fuse.h), with a root directory and nothing else.
fn mount_private(at: &Path) {
    let mut device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
    let options = format!("fd={},rootmode=40755,user_id={USER},group_id={USER}", device.as_raw_fd());
    let options = std::ffi::CString::new(options).unwrap();
    rustix::mount::mount("fuse", at, "fuse", MountFlags::empty(), options.as_c_str()).unwrap();
    std::thread::spawn(move || {
        let mut request = vec![0; 1 << 18];
        while let Ok(length) = device.read(&mut request) {
            let number = |at: usize| u32::from_ne_bytes(request[..length][at..at + 4].try_into().unwrap());
            let answer = answer(number(4)).map(|(error, words)| {
                let body: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
                let size = u32::try_from(body.len() + 16).unwrap();
                [&size.to_ne_bytes()[..], &error.to_ne_bytes(), &request[8..16], &body].concat()
            });
            if answer.is_some_and(|bytes| device.write_all(&bytes).is_err()) {
                break;
            }
        }
    });
}

/// An error and what is answered, in words, to a request of this kind; nothing to one that waits for no answer.
fn answer(kind: u32) -> Option<(i32, Vec<u32>)> {
    const FORGET: u32 = 2;
    const GETATTR: u32 = 3;
    const INIT: u32 = 26;
    const INTERRUPT: u32 = 36;
    const BATCH_FORGET: u32 = 42;
    const ENOSYS: i32 = 38;
    match kind {
        FORGET | INTERRUPT | BATCH_FORGET => None,
        GETATTR => {
            let mut words = vec![0; 26];
            // The number of the root, its mode, its links, whose it is.
            (words[4], words[19], words[20], words[21], words[22]) = (1, 0o40755, 2, USER, USER);
            Some((0, words))
        }
        INIT => {
            let mut words = vec![0; 16];
            // The version, and the largest write.
            (words[0], words[1], words[5]) = (7, 31, 4096);
            Some((0, words))
        }
        _ => Some((-ENOSYS, Vec::new())),
    }
}
