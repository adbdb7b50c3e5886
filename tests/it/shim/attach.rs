//! `podwright attach`: the streams of a container's own process. No agent is part of it.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, Stdio};

use podwright::sys::pidfd;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType};

use super::fixture::{Container, Place, SIGTERM, text, until};
use crate::support;
use crate::support::terminal::Terminal;

const SIGWINCH: i32 = 28;
/// What `attach` says before a session, on standard error.
const SAID: &str = "All commands and output from this session will be recorded in container logs, including credentials and sensitive information passed through the command prompt.\nIf you don't see a command prompt, try pressing enter.\n";
const ECHOES: &str = "echo ready; while read line; do echo got $line; echo err $line >&2; done; echo end";

fn with_stdin(place: &Place, name: &str, script: &str, once: bool) -> Container {
    let mut container = place.container(name, script);
    (container.request.stdin, container.request.stdin_once) = (true, once);
    container.start();
    container.wait_log("ready");
    container
}

fn attached(container: &Container, flags: &[&str]) -> Child {
    let mut command = container.podwright("attach", flags);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn kill(child: &Child, signal: i32) {
    pidfd::kill(i32::try_from(child.id()).unwrap(), signal).unwrap();
}

/// Waits for a line of a child's output.
fn shows(child: &mut Child, expected: &str) {
    let mut seen = vec![0; expected.len()];
    child.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
    assert_eq!(text(&seen), expected);
}

/// Waits until so many have attached: each is a socket of the monitor's, beside the one where they come.
fn sessions(container: &Container, count: usize) {
    until("the session", || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", container.started().monitor_pid)).unwrap();
        let links = fds.filter_map(|e| std::fs::read_link(e.unwrap().path()).ok());
        let sockets = links.filter(|link| link.to_string_lossy().starts_with("socket:"));
        (sockets.count() == 1 + count).then_some(())
    });
}

#[test]
fn e2e_what_is_written_to_a_container_reaches_it_and_its_words_come_back() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = with_stdin(&place, "once", ECHOES, true);
    let mut child = attached(&container, &["-i"]);
    child.stdin.as_mut().unwrap().write_all(b"a\nb\n").unwrap();
    // With `stdinOnce` the end of what is written is the end of the container's input.
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "got a\ngot b\nend\n");
    assert_eq!((text(&output.stderr), output.status.code()), (format!("{SAID}err a\nerr b\n"), Some(0)));
    assert_eq!(container.end().exit_code, 0);
    let log = container.log();
    for line in ["stdout F got a\n", "stderr F err b\n", "stdout F end\n"] {
        assert!(log.contains(line), "{log}");
    }
}

#[test]
fn e2e_who_attaches_to_a_monitor_of_another_version_is_told_so() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = with_stdin(&place, "versions", ECHOES, false);
    let bundle = format!("/proc/{}/root{}/bundle", container.started().monitor_pid, container.dir.display());
    let bundle = std::fs::File::open(bundle).unwrap();
    let path = format!("/proc/self/fd/{}/attach.sock", bundle.as_raw_fd());
    // In the monitor's place somebody who greets, and who closes then: with this version's number that is a session's end.
    for (version, refused) in [(0, true), (1, false), (2, true)] {
        std::fs::remove_file(&path).unwrap();
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(path.as_str()).unwrap()).unwrap();
        rustix::net::listen(&socket, 1).unwrap();
        let child = attached(&container, &["-q"]);
        let client = rustix::net::accept(&socket).unwrap();
        rustix::net::send(&client, &[3, version, 0], SendFlags::empty()).unwrap();
        if !refused {
            rustix::net::send(&client, b"\x01hello\n", SendFlags::empty()).unwrap();
        }
        drop(client);
        let output = child.wait_with_output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(text(&output.stdout), if refused { "" } else { "hello\n" }, "{version}: {said}");
        if refused {
            assert_eq!(output.status.code(), Some(1), "{version}: {said}");
            let why = format!("its monitor speaks version {version}, and this program version 1");
            assert!(said.contains(&why) && said.contains("use the podwright that started it"), "{version}: {said}");
        }
    }
}

#[test]
fn e2e_the_input_of_a_container_outlives_a_session_unless_it_is_for_one_only() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = with_stdin(&place, "open", ECHOES, false);
    for word in ["a", "b"] {
        let mut child = attached(&container, &["-i", "-q"]);
        child.stdin.as_mut().unwrap().write_all(format!("{word}\n").as_bytes()).unwrap();
        drop(child.stdin.take());
        // The end of the words is not the end of the session.
        shows(&mut child, &format!("got {word}\n"));
        kill(&child, SIGTERM);
        assert_eq!(child.wait().unwrap().code(), Some(143));
    }
    assert!(!container.log().contains("end"));
    // With `stdinOnce` also whoever is killed takes the input along.
    let container = with_stdin(&place, "killed", ECHOES, true);
    let mut watching = attached(&container, &["-q"]);
    sessions(&container, 1);
    let mut child = attached(&container, &["-i"]);
    child.stdin.as_mut().unwrap().write_all(b"x\n").unwrap();
    shows(&mut child, "got x\n");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(container.end().exit_code, 0);
    // One that only looks on, meanwhile, sees everything.
    let mut seen = String::new();
    watching.stdout.as_mut().unwrap().read_to_string(&mut seen).unwrap();
    assert_eq!((seen.as_str(), watching.wait().unwrap().code()), ("got x\nend\n", Some(0)));
    let refused = container.podwright("attach", &[]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("does not run"), "{}", text(&refused.stderr));
}

#[test]
fn e2e_a_container_without_input_or_terminal_says_so_and_is_seen_all_the_same() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = place.container("plain", "echo ready; until [ -e /go ]; do sleep 0.05; done; echo seen");
    container.start();
    container.wait_log("ready");
    let mut child = attached(&container, &["-it"]);
    sessions(&container, 1);
    child.stdin.as_mut().unwrap().write_all(b"for nobody\n").unwrap();
    // The container, and with it this command, may end before it says how it went.
    container.exec(&[], &["touch", "/go"]);
    let output = child.wait_with_output().unwrap();
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("seen\n", Some(0)));
    let notes = "error: Unable to use a TTY - container main did not allocate one\nUnable to use standard input - container main takes none: `stdin: true` is not in its manifest, or `stdinOnce` has ended it\n";
    assert_eq!(text(&output.stderr), format!("{notes}{SAID}"));
}

#[test]
fn e2e_a_terminal_is_passed_on_with_its_size_and_left_by_its_keys() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let script =
        "echo ready; while read line; do case $line in size) stty size;; *) echo got $line;; esac; done; echo bye";
    let mut container = place.container("tty", script).edit(|s| s["process"]["terminal"] = true.into());
    container.request.stdin = true;
    container.start();
    container.wait_log("ready");
    let mut terminal = Terminal::new();
    terminal.resize(33, 99);
    let attach = |terminal: &mut Terminal| {
        let child = terminal.spawn(&mut container.podwright("attach", &["-it"]));
        terminal.shows_at_last("try pressing enter.\r\n");
        until("raw mode", || (!terminal.echoes()).then_some(()));
        child
    };
    let session_ended = "Session ended, resume using 'podwright attach tty -c main -n default -i -t' command\r\n";
    let mut child = attach(&mut terminal);
    terminal.types("size\r");
    terminal.shows("size\r\n33 99\r\n");
    terminal.resize(44, 88);
    kill(&child, SIGWINCH);
    terminal.types("size\r");
    terminal.shows("size\r\n44 88\r\n");
    // The first key alone is the container's, when another one follows. Its terminal shows it as ^P.
    terminal.types("a\x10b\r");
    terminal.shows("a^Pb\r\ngot a\x10b\r\n");
    terminal.types("\x10\x11");
    terminal.shows(session_ended);
    assert_eq!((child.wait().unwrap().code(), terminal.echoes()), (Some(0), true));
    // It runs on, and others may come: also with keys of their own.
    let mut child = terminal.spawn(&mut container.podwright("attach", &["-it", "-q", "--detach-keys", "x"]));
    until("raw mode", || (!terminal.echoes()).then_some(()));
    terminal.types("again\r");
    terminal.shows("again\r\ngot again\r\n");
    terminal.types("x");
    assert_eq!((child.wait().unwrap().code(), terminal.echoes()), (Some(0), true));
    // A signal ends the session, not the container.
    let mut child = attach(&mut terminal);
    kill(&child, SIGTERM);
    assert_eq!((child.wait().unwrap().code(), terminal.echoes()), (Some(143), true));
    // Ctrl-D is the end of the container's input, and that is its end.
    let mut child = attach(&mut terminal);
    terminal.types("\x04");
    terminal.shows(&format!("bye\r\n{session_ended}"));
    assert_eq!((child.wait().unwrap().code(), terminal.echoes()), (Some(0), true));
    assert_eq!(container.end().exit_code, 0);
}

#[test]
fn e2e_a_session_that_takes_nothing_holds_a_container_up_for_a_moment_only() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let script = "echo ready; read go; head -c 2000000 /dev/zero | tr '\\0' 'x'; echo; echo done";
    let container = with_stdin(&place, "slow", script, false);
    let mut deaf = attached(&container, &["-q"]);
    sessions(&container, 1);
    let mut child = attached(&container, &["-i", "-q"]);
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    drop(child.stdin.take());
    let mut seen = Vec::new();
    child.stdout.as_mut().unwrap().read_to_end(&mut seen).unwrap();
    assert_eq!((seen.len(), seen.ends_with(b"x\ndone\n")), (2_000_006, true), "whoever takes it gets all of it");
    assert_eq!((child.wait().unwrap().code(), container.end().exit_code), (Some(0), 0));
    let log = container.log();
    assert!(log.ends_with("stdout F done\n") && log.matches('x').count() >= 2_000_000);
    drop(deaf.stdout.take());
    assert_eq!(deaf.wait().unwrap().code(), Some(141), "nobody takes its output");
}

#[test]
fn e2e_only_so_many_attach_and_an_older_monitor_lets_nobody() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = with_stdin(&place, "many", "echo ready; cat", false);
    let mut sessions: Vec<Child> = Vec::new();
    for number in 0..4 {
        let mut child = attached(&container, &["-i", "-q"]);
        child.stdin.as_mut().unwrap().write_all(format!("{number}\n").as_bytes()).unwrap();
        shows(&mut child, &format!("{number}\n"));
        sessions.push(child);
    }
    let refused = container.podwright("attach", &[]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("as many as may have attached to it already"), "{}", text(&refused.stderr));
    let mut gone = sessions.pop().unwrap();
    gone.kill().unwrap();
    gone.wait().unwrap();
    let mut child = until("a free place", || {
        let mut child = attached(&container, &["-i", "-q"]);
        // It may have been refused already.
        let _ = child.stdin.as_mut().unwrap().write_all(b"5\n");
        let mut seen = [0; 2];
        match child.stdout.as_mut().unwrap().read_exact(&mut seen) {
            Ok(()) => Some(child),
            Err(_) => child.wait().map(|_| None).unwrap(),
        }
    });
    for session in sessions.iter_mut().chain([&mut child]) {
        session.kill().unwrap();
        session.wait().unwrap();
    }
    // As a monitor that was started before there was anything to attach to.
    let root = std::path::PathBuf::from(format!("/proc/{}/root", container.started().monitor_pid));
    std::fs::remove_file(root.join(container.dir.strip_prefix("/").unwrap()).join("bundle/attach.sock")).unwrap();
    let refused = container.podwright("attach", &[]).output().unwrap();
    assert!(text(&refused.stderr).contains("lets nobody attach"), "{}", text(&refused.stderr));
}

#[test]
fn e2e_sessions_that_leave_input_behind_keep_nobody_out() {
    if !support::e2e() {
        return;
    }
    let place = Place::new();
    let container = with_stdin(&place, "unread", "echo ready; exec sleep 1000", false);
    // More than the container's pipe holds, from more sessions than there are places.
    for session in 0..6 {
        let mut child = attached(&container, &["-i", "-q"]);
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || drop(stdin.write_all(&[b'x'; 300_000])));
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(child.try_wait().unwrap().is_none(), "session {session} was refused");
        child.kill().unwrap();
        child.wait().unwrap();
        writer.join().unwrap();
    }
}
