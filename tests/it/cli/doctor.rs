//! `doctor` on this machine: what it says with rights and without, and that it leaves nothing.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::harness::{Place, Said};
use crate::support;

const NOBODY: u32 = 65_534;

/// What it could leave: mounts, cgroups, links and files.
fn traces(place: &Place) -> Vec<String> {
    let lines = |path: &str| std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    let names = |path: std::path::PathBuf| {
        let entries = std::fs::read_dir(path).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path().display().to_string()).collect::<Vec<_>>()
    };
    let mut all: Vec<String> = lines("/proc/self/mountinfo").into_iter().filter(|l| l.contains("probe")).collect();
    let tops = names("/sys/fs/cgroup".into());
    all.extend(tops.iter().chain(&["/sys/fs/cgroup".to_owned()]).flat_map(|top| names(top.into())));
    all.retain(|name| name.contains("doctor") || name.contains("probe"));
    all.extend(names("/sys/class/net".into()).into_iter().filter(|link| link.contains("doctor")));
    all.extend(names(place.path("")));
    all
}

#[test]
fn e2e_a_machine_on_which_pods_run_is_told_so_and_left_as_it_was() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let before = traces(&place);
    let said = place.run(&["doctor"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.out.starts_with("CHECK "), "{}", said.out);
    for check in ["kernel", "capabilities", "namespaces", "overlay", "cgroups", "links", "nftables"] {
        let line = said.out.lines().find(|line| line.starts_with(&format!("{check}  "))).unwrap();
        assert_eq!(line.trim_start_matches(check).split_whitespace().next(), Some("ok"), "{line}");
    }
    let json: serde_json::Value = serde_json::from_str(&place.run(&["doctor", "-o", "json"]).out).unwrap();
    assert_ne!(json["health"], "blocking");
    assert_eq!(traces(&place), before);
    // Without the program, what it costs.
    let empty = tempfile::tempdir().unwrap();
    let namespace =
        format!("mount --bind {0} /usr/sbin && {1} doctor", empty.path().display(), env!("CARGO_BIN_EXE_podwright"),);
    let said: Said = Command::new("unshare")
        .args(["-m", "sh", "-c", &namespace])
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap()
        .into();
    assert!(said.out.contains("there is no program nft"), "{said:?}");
    assert!(said.out.contains("a pod with a host port is refused"), "{said:?}");
    assert_eq!(said.code, Some(0));
}

#[test]
fn e2e_who_has_no_rights_is_told_what_to_do() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    // Where the program was built may be closed to nobody.
    let program = place.path("podwright");
    std::fs::copy(env!("CARGO_BIN_EXE_podwright"), &program).unwrap();
    std::fs::set_permissions(place.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let run = |args: &[&str]| -> Said {
        let mut command = Command::new(&program);
        command.args(args).current_dir(place.path("")).env_clear().uid(NOBODY).gid(NOBODY);
        command.output().unwrap().into()
    };
    let said = run(&["doctor"]);
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.out.contains("capabilities") && said.out.contains("SYS_ADMIN"), "{}", said.out);
    assert!(said.out.ends_with("No pod can run here.\n"), "{}", said.out);
    // Whoever wants to run pods is sent here.
    let said = run(&["run", "."]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("`podwright doctor` says what else is lacking"), "{}", said.err);
}
