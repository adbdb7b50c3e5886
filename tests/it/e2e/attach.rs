//! `attach` to the containers of a pod, by the fields that say what there is.

use std::io::Write;
use std::process::{Output, Stdio};

use super::harness::{World, text};
use crate::support::terminal::Terminal;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
  - {name: shell, image: busybox, command: [sh], stdin: true, tty: true}
  - {name: once, image: busybox, command: [sh, -c, "while read line; do echo got $line; done; echo ended"], stdin: true, stdinOnce: true}
  - {name: open, image: busybox, command: [sh, -c, "while read line; do echo got $line; [ $line = quit ] && exit; done; echo ended"], stdin: true}
  - {name: none, image: busybox, command: [sh, -c, "cat; echo ended; sleep 100000"]}
"#;

fn type_into(world: &World, container: &str, words: &str) -> Output {
    let mut attach = world.podwright(&["attach", "web", "-c", container, "-i", "-q"]);
    let mut child = attach.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(words.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn e2e_the_streams_of_a_container_are_there_to_attach_to_without_an_agent() {
    let Some(mut world) = World::new() else { return };
    world.load("busybox");
    world.commit(&[("pod.yaml", POD)]);
    world.start();
    world.wait_row("web", "4/4", "Running");
    // Without `stdin` there is an end at once; with it nothing, until somebody writes.
    world.wait("the end of no input", || (world.ok(&["logs", "web", "-c", "none"]) == "ended\n").then_some(()));
    assert_eq!(world.ok(&["logs", "web", "-c", "once"]), "");
    world.kill();
    let once = type_into(&world, "once", "a\nb\n");
    assert_eq!((text(&once).as_str(), once.status.code()), ("got a\ngot b\nended\n", Some(0)));
    let open = type_into(&world, "open", "c\nquit\n");
    assert_eq!((text(&open).as_str(), open.status.code()), ("got c\ngot quit\n", Some(0)));

    let mut terminal = Terminal::new();
    terminal.resize(20, 70);
    let mut attach = terminal.spawn(&mut world.podwright(&["attach", "web", "-it"]));
    let said = terminal.shows_at_last("try pressing enter.\r\n");
    assert!(said.contains("Defaulted container \"shell\" out of: shell, once, open, none"), "{said}");
    world.wait("raw mode", || (!terminal.echoes()).then_some(()));
    terminal.types("stty size; tty; echo en''d\r");
    let said = terminal.shows_at_last("\nend\r\n");
    assert!(said.contains("20 70\r\n/dev/pts/0\r\n"), "{said}");
    terminal.types("exit 3\r");
    terminal.shows_at_last("Session ended, resume using 'podwright attach web -c shell -n default -i -t' command\r\n");
    assert_eq!((attach.wait().unwrap().code(), terminal.echoes()), (Some(0), true));
    // What was typed and said is in the log, and how it ended is known to the next agent.
    assert!(world.ok(&["logs", "web", "-c", "shell"]).contains("/dev/pts/0"));
    world.start();
    world.wait("how it ended", || {
        let described = text(&world.output(&["describe", "pod", "web"]));
        described.lines().any(|l| l.split_whitespace().eq(["Exit", "Code:", "3"])).then_some(())
    });
}
