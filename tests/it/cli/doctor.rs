//! `doctor` on this machine: what it says with rights and without, and that it leaves nothing.

use std::collections::BTreeMap;
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

/// What each check says, by its name, to a shell script's `$doctor`.
fn checks(place: &Place, unshare: &str, script: &str) -> BTreeMap<String, String> {
    let doctor = format!("{} doctor -o json", env!("CARGO_BIN_EXE_podwright"));
    let mut command = Command::new("unshare");
    command.args(unshare.split(' ')).args(["sh", "-ec", script]).current_dir(place.path("")).env("doctor", doctor);
    let said: Said = command.env_remove("PODWRIGHT_ROOT").output().unwrap().into();
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{script}: {e}: {said:?}"));
    let checks = json["checks"].as_array().unwrap();
    let text = |check: &serde_json::Value, key: &str| check[key].as_str().unwrap().to_owned();
    checks.iter().map(|check| (text(check, "check"), text(check, "health"))).collect()
}

/// The checks that say something else on a machine that lacks something than on the same one without the lack.
fn lacks(place: &Place, unshare: &str, (script, lack): (&str, &str)) -> String {
    let before = checks(place, unshare, &script.replace("LACK", "command"));
    let after = checks(place, unshare, &script.replace("LACK", lack));
    assert!(before.keys().eq(after.keys()));
    let other = after.iter().filter(|(check, health)| before[*check] != **health);
    other.map(|(check, health)| format!("{check}: {health}")).collect::<Vec<_>>().join(", ")
}

const ROOT: &str = "mkdir -p root; mount -t tmpfs OPTIONS none root; LACK; $doctor --root root";
const MACHINE: &str = "LACK; $doctor --root .";

#[test]
fn e2e_each_lack_of_a_machine_is_found() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let root = |options: &str| ROOT.replace("OPTIONS", options);
    let rows: [(&str, String, &str, &str); 16] = [
        (
            "-m",
            root("").replace("--root root", "--root root/$on"),
            "cd root; mkdir l u w m; mount -t overlay none -o lowerdir=l,upperdir=u,workdir=w m; on=m; cd ..",
            "overlay: lacking, user namespaces: lacking",
        ),
        ("-m", root(""), "mount -o remount,ro root", "overlay: blocking, space: blocking"),
        ("-m", root("-o size=8m"), "head -c 8300000 /dev/zero >root/file", "space: lacking"),
        ("-m", root("-o nr_inodes=10100"), "for n in $(seq 200); do : >root/$n; done", "space: lacking"),
        (
            "-m",
            MACHINE.into(),
            "for at in $(sed -n 's/^[^ ]* \\([^ ]*\\) cgroup.*/\\1/p' /proc/mounts); do mount -o remount,ro,bind $at; done",
            "cgroups: blocking",
        ),
        (
            "-Urm",
            MACHINE.into(),
            "echo 0 >/proc/sys/user/max_net_namespaces",
            "forwarding: lacking, links: lacking, namespaces: blocking, nftables: lacking",
        ),
        ("-m", MACHINE.into(), "mount --bind /bin/false $(readlink -f $(command -v nft))", "nftables: lacking"),
        (
            "-m",
            MACHINE.into(),
            "mount -t tmpfs none $(dirname $(readlink -f $(command -v nft))); PATH=/bin:/usr/bin",
            "nftables: lacking",
        ),
        (
            "-mn",
            "echo 0 >/proc/sys/net/ipv4/ip_forward; LACK $doctor --root .".into(),
            "exec setpriv --bounding-set -net_admin --inh-caps -net_admin",
            "forwarding: lacking, links: lacking, nftables: lacking",
        ),
        // Where it is on already nothing has to be turned on.
        (
            "-mn",
            "echo 1 >/proc/sys/net/ipv4/ip_forward; LACK $doctor --root .".into(),
            "exec setpriv --bounding-set -net_admin --inh-caps -net_admin",
            "links: lacking, nftables: lacking",
        ),
        ("-m", format!("ulimit -Sn 4096; {MACHINE}"), "ulimit -n 1024", "open files: lacking"),
        ("-m", MACHINE.into(), "mount --bind /dev/null /proc/sys/kernel/random/boot_id", "boot id: lacking"),
        ("-m", MACHINE.into(), "mount --bind /dev/null /proc/sys/kernel/seccomp/actions_avail", "seccomp: lacking"),
        (
            "-m",
            "echo Filename >swaps; LACK; mount --bind swaps /proc/swaps; $doctor --root .".into(),
            "echo /dev/sda2 >>swaps",
            "swap: lacking",
        ),
        ("-m", MACHINE.into(), WITHOUT_PIDS, "cgroup controllers: lacking"),
        (
            "-mn",
            "echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6; LACK; $doctor --root .".into(),
            "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6",
            "ipv6: lacking",
        ),
    ];
    let rows = rows.into_iter().chain(of_the_kernel());
    let wrong = rows.filter_map(|(unshare, script, lack, expected)| {
        let found = lacks(&place, unshare, (&script, lack));
        (found != expected).then(|| format!("{lack}: {found} and not {expected}"))
    });
    assert_eq!(wrong.collect::<Vec<_>>(), Vec::<String>::new());
}

/// Neither version of cgroups has the controller any more.
const WITHOUT_PIDS: &str = "\
    for at in $(sed -n 's/^[^ ]* \\([^ ]*\\) cgroup [^ ]*,pids[, ].*/\\1/p' /proc/mounts); do umount $at; done; \
    for at in $(sed -n 's/^[^ ]* \\([^ ]*\\) cgroup2 .*/\\1/p' /proc/mounts); do \
    sed s/pids// $at/cgroup.controllers >controllers; mount --bind controllers $at/cgroup.controllers; done";

/// What only the kernel itself can lack: limits of a namespace of its own, rights, and calls that are answered as by a kernel
/// that does not know them.
fn of_the_kernel() -> impl Iterator<Item = (&'static str, String, &'static str, &'static str)> {
    const CALL: &str = "strace -f -qq -o /dev/null -e signal=none -e inject=$call:error=ENOSYS";
    let calls = [
        ("call=openat2", "kernel: blocking"),
        ("call=pidfd_open", "kernel: blocking"),
        ("call=mount_setattr", "kernel: blocking, user namespaces: lacking"),
        ("call=close_range", "kernel: blocking"),
    ];
    let calls = calls.map(|(lack, found)| ("-m", format!("LACK; ${{call:+{CALL}}} $doctor --root ."), lack, found));
    let limits = ["echo 0 >/proc/sys/user/max_inotify_instances", "echo 0 >/proc/sys/user/max_inotify_watches"];
    let limits = limits.map(|lack| ("-Urm", MACHINE.to_owned(), lack, "watches: lacking"));
    let rights = [
        "exec setpriv --bounding-set -mknod --inh-caps -mknod",
        "exec setpriv --bounding-set -setfcap --inh-caps -setfcap",
    ];
    let rights = rights.map(|lack| ("-m", "LACK $doctor --root .".to_owned(), lack, "capabilities: lacking"));
    calls.into_iter().chain(limits).chain(rights)
}

/// Answers two questions about the clock in the place of the kernel.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int made = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME && getenv("NOW")) now->tv_sec = atol(getenv("NOW"));
    return made;
}
int adjtimex(struct timex *asked) {
    return getenv("STATE") ? atoi(getenv("STATE")) : syscall(SYS_adjtimex, asked);
}
"#;

#[test]
fn e2e_the_clock_is_what_the_kernel_says() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    place.write("clock.c", CLOCK);
    place.write("state.c", "#include <sys/timex.h>\nint main(void) { struct timex t = {0}; return adjtimex(&t); }\n");
    for args in [&["-shared", "-fPIC", "-o", "clock.so", "clock.c"][..], &["-o", "state", "state.c"]] {
        assert!(Command::new("cc").args(args).current_dir(place.path("")).status().unwrap().success());
    }
    let state = Command::new(place.path("state")).status().unwrap().code().unwrap();
    // TIME_ERROR of adjtimex(2); TIME_OK; TIME_INS.
    let health = |state| if state == 5 { "lacking" } else { "ok" };
    let clock = |script: &str| checks(&place, "-m", &format!("{script} $doctor --root ."))["clock"].clone();
    assert_eq!(clock(""), health(state), "the machine's own");
    for state in [0, 1, 5] {
        assert_eq!(clock(&format!("STATE={state} LD_PRELOAD=./clock.so")), health(state), "{state}");
    }
    // The last second of 2025, and the one after it.
    for (now, expected) in [(1_767_225_599, "lacking"), (1_767_225_600, "ok"), (0, "lacking")] {
        assert_eq!(clock(&format!("NOW={now} STATE=0 LD_PRELOAD=./clock.so")), expected, "{now}");
    }
}
