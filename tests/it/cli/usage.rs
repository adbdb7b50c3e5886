//! Command lines that make no sense, help, colour, and output that nobody reads.

use std::process::Stdio;

use super::harness::Place;

#[test]
fn a_command_line_that_makes_no_sense_exits_with_64() {
    let place = Place::new();
    for args in [
        &["no-such-command"][..],
        &[],
        &["get"],
        &["get", "--no-such-flag"],
        &["validate"],
        &["validate", "pods", "--backend", "no-such"],
        &["run"],
        &["run", "pods", "--resync", "soon"],
        &["diff", "pods", "--head", "HEAD"],
        &["get", "pods", "web", "-l", "app=web"],
        &["get", "pods", "-l", "app in web"],
        &["get", "pods", "--field-selector", "spec.x=1"],
        &["get", "pods", "-A", "web"],
        &["get", "pod/"],
        &["exec", "web"],
        &["logs", "web", "--tail", "-2"],
        &["logs", "web", "a", "-c", "b"],
    ] {
        let said = place.run(args);
        assert_eq!(said.code, Some(64), "{args:?}: {said:?}");
        assert_eq!(said.out, "", "{args:?}");
        assert!(!said.err.is_empty(), "{args:?}");
    }
}

#[test]
fn an_unknown_backend_is_told_those_that_are_known() {
    let said = Place::new().run(&["validate", "pods", "--backend", "no-such"]);
    assert!(said.err.contains("'no-such'") && said.err.contains("[possible values: native]"), "{}", said.err);
}

#[test]
fn help_and_version_are_answers() {
    let place = Place::new();
    for args in [&["--help"][..], &["help", "run"], &["--version"], &["version"]] {
        let said = place.run(args);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{args:?}");
        assert!(said.out.contains("podwright"), "{args:?}: {}", said.out);
    }
    let hidden = place.run(&["--help"]);
    assert!(!hidden.out.contains("internal"), "{}", hidden.out);
}

#[test]
fn a_kind_nobody_knows_is_named() {
    let said = Place::new().run(&["get", "deployments"]);
    assert_eq!(said.code, Some(1));
    assert_eq!(said.err, "error: the server doesn't have a resource type \"deployments\"\n");
}

#[test]
fn output_that_goes_to_no_terminal_has_no_colour() {
    let place = Place::new();
    for colour in [None, Some(("NO_COLOR", "1"))] {
        let mut command = place.podwright(&["get", "deployments"]);
        command.envs(colour);
        let output = command.output().unwrap();
        assert!(!output.stderr.contains(&0x1b), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What a command writes to a terminal as its standard error.
#[cfg(target_os = "linux")]
fn on_a_terminal(mut command: std::process::Command) -> String {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::io::Read;
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let terminal = std::fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
    let mut child = command.env("TERM", "xterm").stdout(Stdio::null()).stderr(terminal).spawn().unwrap();
    child.wait().unwrap();
    drop(command);
    let mut said = Vec::new();
    // A terminal nobody holds any more ends with an error instead of an end of file.
    let _ = std::fs::File::from(master).read_to_end(&mut said);
    String::from_utf8(said).unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_gets_colour_unless_no_color_is_set() {
    let place = Place::new();
    let mut coloured = place.podwright(&["get", "deployments"]);
    coloured.env_remove("NO_COLOR");
    let said = on_a_terminal(coloured);
    assert!(said.contains('\u{1b}') && said.contains("deployments"), "{said:?}");
    let mut plain = place.podwright(&["get", "deployments"]);
    plain.env("NO_COLOR", "1");
    let said = on_a_terminal(plain);
    assert!(!said.contains('\u{1b}') && said.contains("deployments"), "{said:?}");
}

#[test]
fn a_closed_pipe_ends_a_command_without_a_word() {
    let place = Place::new();
    let mut child = place.podwright(&["help", "run"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(141));
}
