//! The filter of system calls: what it refuses, to whom, and that the same calls succeed without it.

use nix::libc;
use serde_json::json;

use super::fixture::{Place, text};
use crate::support;

const EPERM: i32 = 1;
const EINVAL: i32 = 22;
const ENOSYS: i32 = 38;
const EAFNOSUPPORT: i32 = 97;

const CLONE_NEWUSER: i64 = 0x1000_0000;
const KEY_SPEC_SESSION_KEYRING: i64 = -3;
const AF_VSOCK: i64 = 40;
const SOCK_STREAM: i64 = 1;

/// A script that makes each of these calls and says what came of it: `name error`, 0 for none.
fn script(calls: &[(&str, i64, [i64; 2])]) -> String {
    let calls: Vec<String> = calls.iter().map(|(name, number, [a, b])| format!("{name},{number},{a},{b}")).collect();
    format!(
        "grep -E '^(Seccomp|NoNewPrivs|Uid):' /proc/self/status | tr '\\t' ' '; \
         exec perl -e 'for (@ARGV) {{ my ($name, @a) = split /,/; $! = 0; \
         my $r = syscall($a[0] + 0, $a[1] + 0, $a[2] + 0, 0); print \"$name \", $r < 0 ? $! + 0 : 0, \"\\n\" }}' {}",
        calls.join(" ")
    )
}

fn calls() -> [(&'static str, i64, [i64; 2]); 5] {
    [
        ("getpid", libc::SYS_getpid, [0, 0]),
        ("keyctl", libc::SYS_keyctl, [0, KEY_SPEC_SESSION_KEYRING]),
        ("clone3", libc::SYS_clone3, [0, 0]),
        ("vsock", libc::SYS_socket, [AF_VSOCK, SOCK_STREAM]),
        ("unshare", libc::SYS_unshare, [CLONE_NEWUSER, 0]),
    ]
}

/// The error of a call in what [`script`] prints.
fn error_of(log: &str, name: &str) -> i32 {
    let line = log.lines().find_map(|l| l.strip_prefix("stdout F ").unwrap_or(l).strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} in {log}")).parse().unwrap()
}

#[test]
fn e2e_a_forbidden_call_fails_with_and_without_no_new_privileges_and_for_any_user() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    for (sealed, uid) in [(false, 0), (true, 0), (false, 101), (true, 101)] {
        for profile in ["RuntimeDefault", "Unconfined"] {
            let name = format!("{sealed}-{uid}-{profile}");
            let container = place.container(&name, &script(&calls())).edit(|s| {
                s["annotations"] = json!({ "podwright.dev/seccomp": profile });
                s["process"]["user"] = json!({ "uid": uid, "gid": uid });
                if sealed {
                    s["process"]["noNewPrivileges"] = true.into();
                }
            });
            let (exit, log) = container.run();
            assert_eq!(exit.exit_code, 0, "{name}: {log}");
            assert!(log.contains(&format!("NoNewPrivs: {}\n", i32::from(sealed))), "{name}: {log}");
            assert!(log.contains(&format!("Uid: {uid} {uid}")), "{name}: {log}");
            let filtered = profile == "RuntimeDefault";
            assert!(log.contains(&format!("Seccomp: {}\n", if filtered { 2 } else { 0 })), "{name}: {log}");
            assert_eq!(error_of(&log, "getpid"), 0, "{name}");
            for (call, refused, control) in [
                ("keyctl", EPERM, &[0][..]),
                ("unshare", EPERM, &[0]),
                ("clone3", ENOSYS, &[EINVAL]),
                // Not every kernel has these sockets.
                ("vsock", EPERM, &[0, EAFNOSUPPORT]),
            ] {
                let error = error_of(&log, call);
                match filtered {
                    true => assert_eq!(error, refused, "{call} of {name}"),
                    false => assert!(control.contains(&error), "{call} of {name}: {error}"),
                }
            }
        }
    }
}

#[test]
fn e2e_a_command_in_a_container_gets_the_containers_filter() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    for (sealed, uid, profile) in [
        (false, 0, "RuntimeDefault"),
        (true, 101, "RuntimeDefault"),
        (false, 101, "RuntimeDefault"),
        (false, 0, "Unconfined"),
    ] {
        let name = format!("exec-{sealed}-{uid}-{profile}");
        let container = place.container(&name, "echo ready; exec sleep 1000").edit(|s| {
            s["annotations"] = json!({ "podwright.dev/seccomp": profile });
            s["process"]["user"] = json!({ "uid": uid, "gid": uid });
            if sealed {
                s["process"]["noNewPrivileges"] = true.into();
            }
        });
        let started = container.start();
        container.wait_log("ready");
        let output = container.exec(&[], &["sh", "-c", &script(&calls())]);
        let (out, expected) = (text(&output.stdout), if profile == "Unconfined" { 0 } else { EPERM });
        assert_eq!(text(&output.stderr), "", "{name}");
        assert_eq!((error_of(&out, "keyctl"), error_of(&out, "unshare")), (expected, expected), "{name}: {out}");
        let of = |status: &str, field: &str| {
            let line = status.lines().find(|l| l.starts_with(field)).map(|l| l.replace('\t', " "));
            line.unwrap_or_else(|| panic!("{field} in {status}"))
        };
        let init = std::fs::read_to_string(format!("/proc/{}/status", started.pid)).unwrap();
        for field in ["Seccomp:", "NoNewPrivs:"] {
            assert_eq!(of(&out, field), of(&init, field), "{name}");
        }
    }
}

#[test]
fn e2e_a_program_that_gains_privileges_still_does_under_the_filter() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    // A copy that belongs to root and lends its user. The directories below are the container's own.
    let script = "cp \"$(command -v id)\" /own-id; chmod 4755 /own-id; \
                  exec perl -e '$( = $) = \"101 101\"; $< = $> = 101; exec \"/own-id\", \"-u\"'";
    for (sealed, expected) in [(false, "stdout F 0\n"), (true, "stdout F 101\n")] {
        let container = place.container(&format!("setuid-{sealed}"), script).edit(|s| {
            s["annotations"] = json!({ "podwright.dev/seccomp": "RuntimeDefault" });
            if sealed {
                s["process"]["noNewPrivileges"] = true.into();
            }
        });
        assert_eq!(container.run().1, expected, "{sealed}");
    }
}

#[test]
fn e2e_a_container_whose_filter_is_not_known_does_not_start() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = place
        .container("unknown", "echo it runs")
        .edit(|s| s["annotations"] = json!({ "podwright.dev/seccomp": "Custom" }));
    let error = container.try_start().unwrap_err();
    assert_eq!(error.message, "the seccomp profile \"Custom\" is not known");
    let exit = container.end();
    assert_eq!((exit.exit_code, exit.reason.as_deref()), (128, Some("StartError")));
    assert_eq!(container.log(), "");
}

/// `keyctl` by its number on i386, from a program of the other kind; ends with its error.
#[cfg(target_arch = "x86_64")]
const BY_OLD_NUMBER: &str = "
.globl _start
_start:
    mov $288, %eax
    xor %ebx, %ebx
    mov $-3, %ecx
    xor %edx, %edx
    int $0x80
    xor %edi, %edi
    test %eax, %eax
    jns end
    sub %eax, %edi
end:
    mov $60, %eax
    syscall
";

#[cfg(target_arch = "x86_64")]
#[test]
fn e2e_the_numbers_of_32_bit_programs_are_no_way_around_the_filter() {
    if !support::e2e() {
        return;
    }
    use std::io::Write;
    let place = Place::new();
    let program = place.temp.path().join("old");
    let mut cc = std::process::Command::new("cc")
        .args(["-nostdlib", "-static", "-x", "assembler", "-", "-o"])
        .arg(&program)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    cc.stdin.take().unwrap().write_all(BY_OLD_NUMBER.as_bytes()).unwrap();
    assert!(cc.wait().unwrap().success());
    let run = |profile: &str| {
        let container = place.container(profile, "").edit(|s| {
            s["process"]["args"] = json!([program]);
            s["annotations"] = json!({ "podwright.dev/seccomp": profile });
        });
        container.run().0.exit_code
    };
    // A kernel without such programs ends the attempt itself.
    match run("Unconfined") {
        0 => assert_eq!(run("RuntimeDefault"), EPERM),
        other => assert!([139, ENOSYS].contains(&other), "{other}"),
    }
}
