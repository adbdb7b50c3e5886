//! The diff of a pull request needs nothing: no rights, no network, no directory it may write to.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use super::harness::{Place, Repo, Said};
use super::manifests::POD;
use crate::support;

const NOBODY: u32 = 65_534;

fn give_away(path: &Path) {
    std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        std::fs::read_dir(path).unwrap().for_each(|entry| give_away(&entry.unwrap().path()));
    }
}

#[test]
fn e2e_two_revisions_are_compared_without_root_and_without_a_network() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let repo = Repo::create(&place.path("m"));
    place.write("m/pod.yaml", POD);
    repo.commit("first");
    place.write("m/pod.yaml", &POD.replace("nginx:1.29", "nginx:1.30"));
    repo.commit("second");
    // Where the program was built may be closed to nobody.
    let program = place.path("podwright");
    std::fs::copy(env!("CARGO_BIN_EXE_podwright"), &program).unwrap();
    std::fs::set_permissions(place.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let expected = place.run(&["diff", "m", "--base", "HEAD~1"]);
    assert_eq!(expected.code, Some(1), "{expected:?}");
    give_away(&place.path("m"));

    let directory = place.path("");
    let alone = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let links = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        assert_eq!(links.lines().count(), 3, "two lines of heading and the loopback: {links}");
        let run = |program: &Path, args: &[&str]| -> Said {
            let mut command = Command::new(program);
            command.args(args).current_dir(&directory).env_clear().uid(NOBODY).gid(NOBODY);
            command.output().unwrap().into()
        };
        let who = run(Path::new("/bin/sh"), &["-c", "echo $(id -u) $(id -G); touch x 2>/dev/null || echo no"]);
        assert_eq!(who.out, "65534 65534\nno\n", "{who:?}");
        run(&program, &["diff", "m", "--base", "HEAD~1"])
    });
    assert_eq!(alone.join().unwrap(), expected);
}
