//! `podwright exec`: commands in running containers.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use podwright::sys::{cgroup, process};
use serde_json::json;

use super::fixture::{Container, Place, text, until};
use crate::support;
use crate::support::terminal::Terminal;

const SIGWINCH: i32 = 28;

fn running(place: &mut Place) -> Container {
    let infra = place.infra(|_| ());
    let all = [("network", "net"), ("ipc", "ipc"), ("uts", "uts")];
    let container = place.container("main", "echo marker > /marker; echo ready; sleep 1000").join(&infra, &all);
    container.start();
    container.wait_log("ready");
    container
}

#[test]
fn e2e_exec_runs_in_the_namespaces_the_cgroup_and_the_environment_of_the_container() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let container = running(&mut place);
    let script =
        "cat /marker; hostname; echo $GREETING; pwd; for n in mnt net ipc uts pid; do readlink /proc/self/ns/$n; done";
    let output = container.exec(&[], &["sh", "-c", script]);
    assert_eq!(text(&output.stderr), "");
    let started = container.started();
    let mut expected = "marker\npod-name\nhello world\n/\n".to_owned();
    for name in ["mnt", "net", "ipc", "uts", "pid"] {
        let link = std::fs::read_link(format!("/proc/{}/ns/{name}", started.pid)).unwrap();
        expected.push_str(&format!("{}\n", link.display()));
    }
    assert_eq!(text(&output.stdout), expected);
    let cgroups = text(&container.exec(&[], &["cat", "/proc/self/cgroup"]).stdout);
    assert!(cgroups.lines().all(|l| l.ends_with(&container.request.cgroup)), "in every hierarchy: {cgroups}");
    // Whatever the caller's own umask is.
    let caller = container.exec_command(&[], &["cat", "/proc/self/status"]);
    let mut strict = Command::new("sh");
    strict.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(caller.get_program()).args(caller.get_args());
    let status = text(&strict.stdin(Stdio::null()).output().unwrap().stdout);
    let init = std::fs::read_to_string(format!("/proc/{}/status", started.pid)).unwrap();
    for field in [
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp:",
        "SigBlk",
        "SigIgn",
        "Uid",
        "Groups",
        "Umask",
    ] {
        let line = |s: &str| s.lines().find(|l| l.starts_with(field)).unwrap().trim().to_owned();
        assert_eq!(line(&status), line(&init), "as the container's own process");
    }
    // Its stdin is the container's own file: with the machine's it could change that for everybody.
    let stdin = text(
        &container
            .exec(&[], &["sh", "-c", "stat -L -c '%d %t,%T' /proc/self/fd/0 /dev/null; chmod 600 /proc/self/fd/0"])
            .stdout,
    );
    let lines: Vec<&str> = stdin.lines().collect();
    assert!(lines.len() == 2 && lines[0] == lines[1] && lines[0].ends_with(" 1,3"), "{stdin}");
    assert_eq!(std::fs::metadata("/dev/null").unwrap().permissions().mode() & 0o777, 0o666);
    let fds = text(&container.exec(&[], &["ls", "/proc/self/fd"]).stdout);
    assert_eq!(fds, "0\n1\n2\n3\n", "no descriptor leaks");
}

#[test]
fn e2e_exec_ends_as_its_command_does() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let container = running(&mut place);
    for (command, code, error) in [
        (&["true"][..], 0, ""),
        (&["sh", "-c", "exit 42"], 42, ""),
        (&["sh", "-c", "kill -9 $$"], 137, ""),
        (&["xyz"], 127, "error: exec: \"xyz\": executable file not found in $PATH\n"),
        (&["/bin/xyz"], 127, "error: exec: \"/bin/xyz\": no such file or directory\n"),
        (&["/etc/passwd"], 126, "error: exec: \"/etc/passwd\": permission denied\n"),
    ] {
        let output = container.exec(&[], command);
        let last = if code == 0 { String::new() } else { format!("command terminated with exit code {code}\n") };
        assert_eq!(text(&output.stderr), format!("{error}{last}"));
        assert_eq!(output.status.code(), Some(code), "{command:?}");
    }
}

#[test]
fn e2e_a_container_that_a_newer_program_started_is_not_entered() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let container = running(&mut place);
    let path = container.dir.join("started.json");
    let own = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, own.replace("\"version\":1", "\"version\":2")).unwrap();
    let output = container.exec(&[], &["true"]);
    let said = text(&output.stderr);
    assert!(
        !output.status.success() && said.contains("has version 2") && said.contains("run the newer podwright"),
        "{said}"
    );
    std::fs::write(&path, own).unwrap();
    assert!(container.exec(&[], &["true"]).status.success());
}

#[test]
fn e2e_exec_passes_stdin_only_when_asked() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let container = running(&mut place);
    for (flags, expected) in [(&["-i"][..], "typed"), (&[], "")] {
        let mut command = container.exec_command(flags, &["cat"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(b"typed");
        let output = child.wait_with_output().unwrap();
        assert_eq!((text(&output.stdout).as_str(), output.status.code()), (expected, Some(0)), "{flags:?}");
    }
}

#[test]
fn e2e_exec_forwards_signals_to_the_command() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let container = running(&mut place);
    let script = "trap 'exit 5' TERM; echo up > /up; while :; do sleep 0.05; done";
    let mut child = container.exec_command(&[], &["sh", "-c", script]).stderr(Stdio::null()).spawn().unwrap();
    until("the trap", || std::fs::exists(format!("/proc/{}/root/up", container.started().pid)).unwrap().then_some(()));
    podwright::sys::pidfd::kill(i32::try_from(child.id()).unwrap(), 15).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

/// Starts `podwright exec` on a terminal.
fn exec(terminal: &Terminal, container: &Container, flags: &[&str], command: &[&str]) -> Child {
    terminal.spawn(container.exec_command(flags, command).env("TERM", "test-term"))
}

#[test]
fn e2e_exec_with_a_terminal_gives_one_of_the_container() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let container = running(&mut place);
    let mut terminal = Terminal::new();
    terminal.resize(33, 99);
    let script =
        "tty; stty size; echo $TERM; cat; trap 'stty size; exit 9' WINCH; echo now; while :; do sleep 0.05; done";
    let mut child = exec(&terminal, &container, &["-it"], &["sh", "-c", script]);
    terminal.shows("/dev/pts/0\r\n33 99\r\ntest-term\r\n");
    assert!(!terminal.echoes(), "in raw mode");
    terminal.types("typed\r");
    terminal.shows("typed\r\ntyped\r\n");
    terminal.types("\x04");
    terminal.shows("now\r\n");
    terminal.resize(44, 88);
    podwright::sys::pidfd::kill(i32::try_from(child.id()).unwrap(), SIGWINCH).unwrap();
    terminal.shows("44 88\r\ncommand terminated with exit code 9\r\n");
    assert_eq!(child.wait().unwrap().code(), Some(9));
    assert!(terminal.echoes(), "as it was before");
}

#[test]
fn e2e_exec_keeps_the_callers_terminal_from_a_command_without_one() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let container = running(&mut place);
    let mut terminal = Terminal::new();
    let script = "for n in 0 1 2; do test -t $n || echo no; done; cat; echo error >&2";
    let mut child = exec(&terminal, &container, &["-i"], &["sh", "-c", script]);
    terminal.shows("no\r\nno\r\nno\r\n");
    terminal.types("line\r\x04");
    terminal.shows("line\r\nline\r\nerror\r\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn e2e_exec_gives_a_terminal_only_when_there_is_one_to_pass_on() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let container = running(&mut place);
    for (flags, words) in [
        (&["-it"][..], "Unable to use a TTY - input is not a terminal or the right kind of file\n"),
        (&["-t"], "Unable to use a TTY - standard input is not passed on; add -i\n"),
        (&["-it", "-q"], ""),
        (&["-i"], ""),
    ] {
        let output = container.exec(flags, &["sh", "-c", "tty; echo end"]);
        assert_eq!(
            (text(&output.stdout).as_str(), text(&output.stderr).as_str()),
            ("not a tty\nend\n", words),
            "{flags:?}"
        );
    }
}

#[test]
fn e2e_exec_leaves_the_callers_terminal_as_it_was_however_it_ends() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let container = running(&mut place);
    let mut terminal = Terminal::new();
    // Ctrl-C is the container's: its terminal makes a signal of it.
    let mut child = exec(
        &terminal,
        &container,
        &["-it"],
        &["sh", "-c", "trap 'echo caught; exit 4' INT; echo up; while :; do sleep 0.05; done"],
    );
    terminal.shows("up\r\n");
    assert!(!terminal.echoes());
    terminal.types("\x03");
    terminal.shows("^Ccaught\r\ncommand terminated with exit code 4\r\n");
    assert_eq!((child.wait().unwrap().code(), terminal.echoes()), (Some(4), true));
    // A signal to the command itself, and a container that is killed under it.
    let mut child = exec(&terminal, &container, &["-it"], &["sh", "-c", "echo up; exec sleep 1000"]);
    terminal.shows("up\r\n");
    podwright::sys::pidfd::kill(i32::try_from(child.id()).unwrap(), 15).unwrap();
    assert_eq!((child.wait().unwrap().code(), terminal.echoes()), (Some(143), true));
    terminal.shows("command terminated with exit code 143\r\n");
    let mut child = exec(&terminal, &container, &["-it"], &["sh", "-c", "echo up; exec sleep 1000"]);
    terminal.shows("up\r\n");
    podwright::sys::pidfd::kill(container.started().pid, 9).unwrap();
    assert_eq!((child.wait().unwrap().code(), terminal.echoes()), (Some(137), true));
    terminal.shows("command terminated with exit code 137\r\n");
}

#[test]
fn e2e_exec_drops_to_the_containers_user() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = place.container("user", "echo ready; sleep 1000").edit(|s| {
        s["process"]["user"] = json!({"uid": 1234, "gid": 2345, "additionalGids": [3456]});
        s["process"]["noNewPrivileges"] = true.into();
        s["process"]["cwd"] = "/tmp".into();
        s["process"]["capabilities"] = json!({"bounding": ["CAP_CHOWN"]});
    });
    container.start();
    container.wait_log("ready");
    let script =
        "id -u; id -g; id -G; pwd; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; tty > /dev/null; echo $?";
    let expected =
        "1234\n2345\n2345 3456\n/tmp\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000001\nNoNewPrivs:\t1\n1\n";
    assert_eq!(text(&container.exec(&[], &["sh", "-c", script]).stdout), expected);
    // Its own terminal may be opened again.
    let mut terminal = Terminal::new();
    let mut child = exec(&terminal, &container, &["-it"], &["sh", "-c", "echo again > $(tty); exit 3"]);
    terminal.shows("again\r\ncommand terminated with exit code 3\r\n");
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn e2e_exec_in_a_container_that_ended_says_so() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = place.container("ended", "exit 0");
    container.run();
    let output = container.exec(&[], &["true"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("does not run"), "{}", text(&output.stderr));
}

#[test]
fn e2e_what_exec_leaves_behind_ends_with_the_container() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let container = running(&mut place);
    let output = container.exec(&[], &["sh", "-c", "sleep 1000 > /dev/null 2>&1 & echo started"]);
    assert_eq!(text(&output.stdout), "started\n");
    let started = container.started();
    let left: Vec<i32> =
        cgroup::pids(&container.request.cgroup).unwrap().into_iter().filter(|p| *p != started.pid).collect();
    assert!(!left.is_empty());
    podwright::sys::pidfd::kill(started.pid, 9).unwrap();
    container.end();
    assert!(left.iter().all(|p| process::start_ticks(*p).is_none()));
}

#[test]
fn e2e_exec_does_not_follow_a_working_directory_out_of_the_container() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let script = "echo first; rmdir /moved; ln -s /proc/1/root /moved; echo ready; sleep 1000";
    let container = place.container("cwd", script).edit(|s| s["process"]["cwd"] = "/moved".into());
    container.start();
    container.wait_log("ready");
    let output = container.exec(&[], &["pwd"]);
    let error = text(&output.stderr);
    assert!(error.starts_with("error: changing to /moved: "), "{error}");
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("", Some(126)));
}

#[test]
fn e2e_exec_waits_for_no_list_of_users_that_is_none() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = place.container("passwd", "rm /etc/passwd; mkfifo /etc/passwd; echo ready; sleep 1000");
    container.start();
    container.wait_log("ready");
    let output = container.exec(&[], &["echo", "entered"]);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("entered\n", Some(0)));
}

#[test]
fn e2e_exec_gives_a_command_pipes_and_passes_all_of_its_output_on() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let container = running(&mut place);
    let path = place.temp.path().join("output");
    let into = |flags: &[&str], command: &[&str]| {
        let file = || File::options().create(true).append(true).open(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        let mut exec = container.exec_command(flags, command);
        assert!(
            exec.stdin(File::open("/etc/passwd").unwrap()).stdout(file()).stderr(file()).status().unwrap().success()
        );
        std::fs::read(&path).unwrap()
    };
    let links = text(&into(&["-i"], &["readlink", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"]));
    assert_eq!(links.lines().filter(|l| l.starts_with("pipe:[")).count(), 3, "none of the caller's files: {links}");
    assert_eq!(into(&["-i"], &["cat"]), std::fs::read("/etc/passwd").unwrap());
    let script = "head -c 5000000 /dev/zero | tr '\\0' x; head -c 5000000 /dev/zero | tr '\\0' y >&2";
    let output = container.exec(&[], &["sh", "-c", script]);
    assert_eq!((output.stdout.len(), output.stderr.len()), (5_000_000, 5_000_000));
    assert!(output.stdout.iter().all(|b| *b == b'x') && output.stderr.iter().all(|b| *b == b'y'));
    assert_eq!(into(&[], &["sh", "-c", script]).len(), 10_000_000);
}

#[test]
fn e2e_exec_lets_a_command_without_privileges_open_its_streams_again() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = place.container("streams", "echo ready; sleep 1000").edit(|s| {
        s["process"]["user"] = json!({"uid": 1234, "gid": 2345});
        s["process"]["capabilities"] = json!({"bounding": []});
    });
    container.start();
    container.wait_log("ready");
    let output = container.exec(&[], &["sh", "-c", "echo out > /proc/self/fd/1; echo err > /proc/self/fd/2"]);
    assert_eq!((text(&output.stdout).as_str(), text(&output.stderr).as_str()), ("out\n", "err\n"));
}

#[test]
fn e2e_exec_that_nobody_reads_still_ends_on_a_signal() {
    if !support::e2e() {
        return;
    }
    let mut place = Place::new();
    let container = running(&mut place);
    let mut command = container.exec_command(&[], &["sh", "-c", "head -c 100000 /dev/zero; exit 3"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    // The caller's pipe takes less than that: the rest waits. The first signals may be the command's.
    let out = child.stdout.take().unwrap();
    until("a full pipe", || (rustix::io::ioctl_fionread(&out).unwrap() > 30_000).then_some(()));
    let status = until("its end", || {
        podwright::sys::pidfd::kill(i32::try_from(child.id()).unwrap(), 15).unwrap();
        child.try_wait().unwrap()
    });
    assert!([Some(3), Some(143)].contains(&status.code()), "{status:?}");
}

#[test]
fn e2e_a_container_and_a_command_in_it_have_keyrings_of_their_own() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    // The number of the session's keyring: "get keyring id", "of the session", "do not make one".
    let script = format!("print syscall({}, 0, -3, 0), qq(\\n)", nix::libc::SYS_keyctl);
    let machine = std::process::Command::new("perl").args(["-e", &script]).output().unwrap();
    let container = place.container("keys", &format!("perl -e '{script}'; echo ready; sleep 1000"));
    container.start();
    let log = container.wait_log("ready");
    let inside = container.exec(&[], &["perl", "-e", &script]);
    let ids = [text(&machine.stdout), log.lines().next().unwrap().replace("stdout F ", ""), text(&inside.stdout)];
    let ids: std::collections::BTreeSet<i64> = ids.iter().map(|id| id.trim().parse().unwrap()).collect();
    assert!(ids.len() == 3 && !ids.contains(&-1), "{ids:?}");
}

#[test]
fn e2e_exec_shows_the_container_no_process_that_may_do_more_than_its_own() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let watch = "print qq(ready\\n); while (!-e q(/stop)) { for (glob(q(/proc/[0-9]*/status))) { open(F, $_) or next; \
         for (<F>) { $seen{$_} = 1 if /^CapPrm/ } } } print(keys(%seen), qq(done\\n))";
    let container = place.container("watch", &format!("perl -e '$| = 1; {watch}'"));
    container.start();
    container.wait_log("ready");
    for _ in 0..20 {
        assert!(container.exec(&[], &["true"]).status.success());
    }
    // The container, and with it this command, may end before it says how it went.
    container.exec(&[], &["touch", "/stop"]);
    let log = container.wait_log("done");
    assert_eq!(log.lines().filter(|l| l.contains("CapPrm")).count(), 1, "{log}");
}
