//! What a container can try against the shim and the monitor, and that the same works on something less careful.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use podwright::shim::Shim;
use podwright::sys::infra::Infra;

use super::fixture::{Container, Place, exe, text};
use crate::support;

/// CVE-2019-5736: finds a process by two halves of a word in its command line, keeps the program it runs from, ends it, waits
/// by a command of the shell, and writes to the program once nobody runs it any more.
pub fn overwrite(halves: [&str; 2], wait: &str) -> String {
    let [head, tail] = halves;
    // One that has not become the program yet may not be looked into.
    format!(
        "while :; do for p in /proc/[0-9]*; do case \"$({{ tr '\\0' ' ' < $p/cmdline; }} 2>/dev/null)\" in *\"{head}\"\"{tail}\"*) \
         (: < $p/exe) 2>/dev/null && exec 3< $p/exe && pid=${{p#/proc/}} && break 2;; esac; done; sleep 0.05; done; \
         echo found; kill -9 $pid; {wait}; for i in $(seq 40); do (printf overwritten > /proc/self/fd/3) 2>/dev/null && echo written && break; sleep 0.05; done; \
         echo done"
    )
}

fn joined(place: &Place, infra: &Infra, name: &str, script: &str) -> Container {
    place.container(name, script).join(infra, &[("pid", "pid")])
}

#[test]
fn e2e_a_container_cannot_overwrite_the_runtime_where_it_can_a_plain_program() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let infra = place.infra(|s| s.pid = true);
    // The runtime, executed by a container of the same pod.
    let runtime = place.temp.path().join("runtime");
    fs::copy(exe(), &runtime).unwrap();
    let before = fs::metadata(&runtime).unwrap().len();
    let args = serde_json::json!(["/proc/self/exe", "--root", "/tmp/none", "image", "load"]);
    let mut victim = joined(&place, &infra, "victim", "").edit(|s| s["process"]["args"] = args);
    victim.request.stdin = true;
    Shim::begin(&runtime, &victim.monitors).start(&victim.request, || Ok(())).unwrap();
    let attacker = joined(&place, &infra, "attacker", &overwrite(["image ", "load"], ":"));
    let (_, log) = attacker.run();
    assert_eq!(log, "stdout F found\nstdout F done\n");
    assert_eq!(victim.end().exit_code, 137);
    assert_eq!(fs::metadata(&runtime).unwrap().len(), before);
    // The control: a program of the machine that runs from its own file, with no more rights than the container.
    let program = place.temp.path().join("program");
    fs::copy("/bin/sleep", &program).unwrap();
    let mut plain = Command::new("nsenter")
        .args([&format!("--pid=/proc/{}/ns/pid", infra.pid), "setpriv", "--bounding-set=-all"])
        .arg(&program)
        .arg("1000.25")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let attacker = joined(&place, &infra, "control", &overwrite(["1000", ".25"], ":"));
    let (_, log) = attacker.run();
    assert_eq!(log, "stdout F found\nstdout F written\nstdout F done\n");
    plain.wait().unwrap();
    assert_eq!(fs::read_to_string(&program).unwrap(), "overwritten");
}

/// A runtime that enters a container as an old one did: it joins its namespaces, and in a child gives up its rights and
/// executes what it is told to, which is itself.
const ENTER_NAIVELY: &str = "my ($pid, $setns, $prctl) = @ARGV; \
     my @spaces = map { open my $f, q(<), qq(/proc/$pid/ns/$_) or die; $f } qw(pid mnt); \
     syscall($setns, fileno $_, 0) and die for @spaces; \
     if (!fork) { syscall($prctl, 24, $_, 0, 0, 0) for 0..40; exec { q(/proc/self/exe) } q(image load), q(-e), q(sleep 1000); die } \
     wait";

#[test]
fn e2e_a_container_cannot_overwrite_the_runtime_that_enters_it_where_it_can_a_naive_one() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let runtime = place.temp.path().join("runtime");
    fs::copy(exe(), &runtime).unwrap();
    let before = fs::metadata(&runtime).unwrap().len();
    let shell = "rm /bin/sh; echo '#!/proc/self/exe --config' > /bin/sh; chmod 755 /bin/sh";
    for (name, prepare, program) in [("itself", ":", "/proc/self/exe"), ("interpreter", shell, "/bin/sh")] {
        let script = format!("{prepare}; echo armed; {}", overwrite(["image ", "load"], ":"));
        let attacker = place.container(name, &script);
        attacker.start();
        attacker.wait_log("armed");
        let exec = attacker.exec_command(&["-i"], &[program, "--root", "/tmp/none", "image", "load"]);
        let mut exec = Command::new(&runtime)
            .args(exec.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It waits for an archive that does not come.
        let stdin = exec.stdin.take();
        assert_eq!(exec.wait().unwrap().code(), Some(137), "{name}");
        drop(stdin);
        attacker.end();
        assert_eq!(attacker.log(), "stdout F armed\nstdout F found\nstdout F done\n", "{name}");
        assert_eq!(fs::metadata(&runtime).unwrap().len(), before, "{name}");
    }
    // The control.
    let program = place.temp.path().join("program");
    fs::copy("/usr/bin/perl", &program).unwrap();
    let attacker = place.container("control", &format!("echo armed; {}", overwrite(["image ", "load"], ":")));
    let pid = attacker.start().pid.to_string();
    attacker.wait_log("armed");
    let [setns, prctl] = if cfg!(target_arch = "aarch64") { ["268", "167"] } else { ["308", "157"] };
    let entered = Command::new(&program).args(["-e", ENTER_NAIVELY, &pid, setns, prctl]).status().unwrap();
    assert!(entered.success());
    attacker.end();
    assert_eq!(attacker.log(), "stdout F armed\nstdout F found\nstdout F written\nstdout F done\n");
    assert_eq!(fs::read_to_string(&program).unwrap(), "overwritten");
}

/// Looks for a directory that was left open, goes there, and leaves a mark beside it (CVE-2024-21626).
const THROUGH_DESCRIPTORS: &str = "for my $n (3..255) { my $link = readlink qq(/proc/self/fd/$n) // next; \
     next if $link =~ m{^/proc/}; print qq(open: $link\\n); \
     if (chdir qq(/proc/self/fd/$n)) { open my $f, q(>), q(escaped) and print qq(written\\n) } }";

#[test]
fn e2e_no_descriptor_of_the_shim_leads_out_of_a_container() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let marks = |place: &Place| {
        let mut found = Vec::new();
        look_for_marks(place.temp.path(), &mut found);
        found
    };
    let container = Container::new(&place, "fds", &["perl", "-e", THROUGH_DESCRIPTORS]);
    let (exit, log) = container.run();
    assert_eq!((exit.exit_code, log.as_str()), (0, ""));
    // As a working directory, while the shim's descriptors are still open.
    for number in 3..24 {
        let container = place
            .container(&format!("cwd{number}"), "touch escaped; echo here: $(pwd -P)")
            .edit(|s| s["process"]["cwd"] = format!("/proc/self/fd/{number}").into());
        match container.try_start() {
            Err(error) => {
                let steps = ["changing to", "making the working directory"];
                let is_step = |step: &&str| error.message.starts_with(&format!("{step} /proc/self/fd/"));
                assert!(steps.iter().any(is_step), "{error}");
            }
            Ok(_) => {
                container.end();
                assert!(container.log().contains("here: /"), "{}", container.log());
            }
        }
    }
    // In their own layers they may leave what they like.
    let outside: Vec<String> = marks(&place).into_iter().filter(|m| !m.contains("/upper/")).collect();
    assert_eq!(outside, Vec::<String>::new());
    assert!(!Path::new("/escaped").exists());
    // The control: a starter that leaves a directory open, and one that goes where it is told once it is in the jail.
    let outer = place.temp.path().join("outer");
    fs::create_dir(&outer).unwrap();
    let look = ["perl", "-e", THROUGH_DESCRIPTORS];
    let script = "cd /proc/self/fd/7 && touch escaped && echo written";
    for (name, command) in [("open", look), ("cwd", ["sh", "-c", script])] {
        let said = start_naively(&place.temp.path().join(name), &outer, &command);
        assert!(said.contains("written\n"), "{name}: {said}");
        fs::remove_file(outer.join("escaped")).unwrap();
    }
}

/// Runs a command in a jail that sees a part of the machine and its processes, with a directory of outside left open.
fn start_naively(jail: &Path, outer: &Path, command: &[&str]) -> String {
    let script = "for d in usr bin lib lib64 dev proc; do [ -e /$d ] || continue; mkdir -p $0/$d; mount --rbind /$d $0/$d || exit; done; \
                  outer=$1; jail=$0; shift; exec 7< $outer; exec chroot $jail \"$@\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .args([jail, outer])
        .args(command)
        .output()
        .unwrap();
    text(&output.stdout) + &text(&output.stderr)
}

fn look_for_marks(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.file_name() == "escaped" {
            found.push(entry.path().display().to_string());
        } else if entry.file_type().unwrap().is_dir() {
            look_for_marks(&entry.path(), found);
        }
    }
}

#[test]
fn e2e_a_container_that_sees_its_monitor_cannot_get_at_what_it_has_open() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    // In the machine's process namespace the monitor is in sight.
    let script = "while ! grep -q '^podwright-monitor' /proc/$PPID/cmdline; do sleep 0.05; done; \
                  for f in /proc/$PPID/fd/* /proc/$PPID/cwd; do readlink $f && cat $f; done 2>/dev/null | wc -l; \
                  ls /proc/$PPID/root/ 2>/dev/null | wc -l; \
                  (readlink /proc/$PPID/exe; cat /proc/$PPID/environ) 2>/dev/null; echo end";
    let in_the_machines = |s: &mut serde_json::Value| {
        let list = s["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|n| n["type"] != "pid");
    };
    let container = place.container("host-pid", script).edit(in_the_machines);
    assert_eq!(container.run().1, "stdout F 0\nstdout F 0\nstdout F end\n");
    // The control: a monitor that has no more rights than the container, and a file open.
    let careless = "open my $f, q(<), q(/etc/passwd) or die; if (!fork) { exec qw(sh -c), $ARGV[0] } \
                    close STDOUT; close STDERR; $0 = q(podwright-monitor); wait";
    let container = Container::new(&place, "careless", &["perl", "-e", careless, script]).edit(in_the_machines);
    let (_, log) = container.run();
    let lines: Vec<&str> = log.lines().map(|l| l.trim_start_matches("stdout F ")).collect();
    let [open, root, rest @ ..] = &lines[..] else { panic!("{log}") };
    assert!(open.parse::<u32>().unwrap() > 4 && root.parse::<u32>().unwrap() > 4, "{log}");
    assert!(rest.len() > 1 && rest[0].ends_with("/perl"), "{log}");
}
