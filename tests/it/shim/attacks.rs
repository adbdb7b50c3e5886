//! What a container can try against the shim and the monitor, and that the same works on something less careful.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use podwright::shim::Shim;
use podwright::sys::infra::Infra;

use super::fixture::{Container, Place, exe, until};
use crate::support;

/// CVE-2019-5736: finds a process by two halves of a word in its command line, keeps the program it runs from, ends it, and
/// writes to the program once nobody runs it any more.
fn overwrite(halves: [&str; 2]) -> String {
    let [head, tail] = halves;
    format!(
        "while :; do for p in /proc/[0-9]*; do case \"$({{ tr '\\0' ' ' < $p/cmdline; }} 2>/dev/null)\" in *\"{head}\"\"{tail}\"*) \
         exec 3< $p/exe && pid=${{p#/proc/}} && break 2;; esac; done; sleep 0.05; done; echo found; kill -9 $pid; \
         for i in $(seq 40); do (printf overwritten > /proc/self/fd/3) 2>/dev/null && echo written && break; sleep 0.05; done; \
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
    let attacker = joined(&place, &infra, "attacker", &overwrite(["image ", "load"]));
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
    let attacker = joined(&place, &infra, "control", &overwrite(["1000", ".25"]));
    let (_, log) = attacker.run();
    assert_eq!(log, "stdout F found\nstdout F written\nstdout F done\n");
    plain.wait().unwrap();
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
    // The control: a jail whose maker has left a directory open.
    let (jail, outer) = (place.temp.path().join("jail"), place.temp.path().join("outer"));
    fs::create_dir_all(jail.join("proc")).unwrap();
    fs::create_dir(&outer).unwrap();
    let script = format!(
        "opendir my $d, q({}) or die; chroot q({}) or die; chdir q(/); \
         chdir $d or die; open my $f, q(>), q(escaped) or die; print qq(written\\n)",
        outer.display(),
        jail.display()
    );
    let output = Command::new("perl").args(["-e", &script]).output().unwrap();
    assert_eq!(super::fixture::text(&output.stdout), "written\n", "{}", super::fixture::text(&output.stderr));
    assert!(outer.join("escaped").exists());
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
    let container = place.container("host-pid", script).edit(|s| {
        let list = s["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|n| n["type"] != "pid");
    });
    assert_eq!(container.run().1, "stdout F 0\nstdout F 0\nstdout F end\n");
    // The control: to this process, which has the rights for it, a monitor shows all of that.
    let container = place.container("other", "sleep 1000");
    let started = container.start();
    until("the monitor", || {
        let line = fs::read(format!("/proc/{}/cmdline", started.monitor_pid)).ok()?;
        line.starts_with(b"podwright-monitor\0").then_some(())
    });
    let open = fs::read_dir(format!("/proc/{}/fd", started.monitor_pid)).unwrap();
    assert!(open.filter(|fd| fs::read_link(fd.as_ref().unwrap().path()).is_ok()).count() > 4);
    assert!(fs::read_dir(format!("/proc/{}/root/", started.monitor_pid)).unwrap().count() > 4);
}
