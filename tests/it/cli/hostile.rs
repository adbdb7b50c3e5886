//! Inputs that would eat a machine, given to the program under a ceiling: it says what is wrong, and is not killed.
//!
//! The ceilings are not what the program takes. They are far below what an input would cost that goes off: a thousand
//! million values, a stack of 20,000 calls, a file read to its end.

use std::process::Command;

use super::harness::{Place, Repo, Said};
use super::manifests::POD;
use crate::manifest::hostile::billion;

/// Address space, in KiB; a third of it is the program itself, its stacks and what heaps reserve, used or not.
const MEMORY: u32 = 256 << 10;
/// CPU time, in seconds.
const TIME: u32 = 60;

/// A command that the kernel ends at the ceilings.
fn under_ceilings(place: &Place, args: &[&str]) -> Said {
    let limited = place.podwright(args);
    let script = format!("ulimit -v {MEMORY} && ulimit -t {TIME} && ulimit -c 0 && exec \"$0\" \"$@\"");
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(script).arg(limited.get_program()).args(limited.get_args());
    shell.current_dir(limited.get_current_dir().unwrap()).env_clear();
    shell.envs(limited.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.output().unwrap().into()
}

/// What it is, and a file that would do harm.
fn inputs() -> Vec<(&'static str, Vec<u8>)> {
    let deep = 20_000;
    vec![
        ("a billion items", billion(false).into()),
        ("a billion keys", billion(true).into()),
        ("brackets 20,000 deep", format!("a: {}{}\n", "[".repeat(deep), "]".repeat(deep)).into()),
        ("braces 20,000 deep", format!("a: {}1{}\n", "{a: ".repeat(deep), "}".repeat(deep)).into()),
        ("dashes 20,000 deep", format!("{}a\n", "- ".repeat(deep)).into()),
        ("keys 20,000 deep", format!("{}a\n", "? ".repeat(deep)).into()),
        ("blocks 2,000 deep", (0..2_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>().into()),
        ("a hundred megabytes", vec![b'#'; 100 << 20]),
        ("a million documents", "---\na: b\n".repeat(1_000_000).into()),
        ("a million empty documents", "---\n".repeat(1_000_000).into()),
        ("a million dividers with a comment", "a\n---#\n".repeat(1_000_000).into()),
        ("a million files that were joined", format!("{}\n---#\n", "---\n\u{feff}a\n".repeat(1_000_000)).into()),
        (
            "many block texts before two million blank lines",
            format!("{}{}\t\n", "|\nx\n---\n".repeat(19_000), "\n".repeat(2_000_000)).into(),
        ),
        ("block texts on lines that end in \\r", format!("{}\t\n", "- |1\r \tx\r".repeat(400_000)).into()),
    ]
}

fn told(what: &str, said: &Said, code: i32) {
    let start = |text: &str| text.chars().take(2_000).collect::<String>();
    assert_eq!(said.code, Some(code), "{what}: {} {}", start(&said.out), start(&said.err));
    let text = [&*said.out, &*said.err].concat();
    assert!(text.contains("f.yaml:"), "{what}: no place: {}", start(&text));
    assert!(text.contains("help: "), "{what}: no way out: {}", start(&text));
    assert!(text.len() < 1 << 20, "{what}: {} bytes are told", text.len());
}

#[test]
fn what_would_eat_the_machine_is_told_under_a_ceiling_of_memory_and_time() {
    let place = Place::new();
    let repo = Repo::create(&place.path("m"));
    place.write("m/pod.yaml", POD);
    repo.commit("first");
    for (what, bytes) in inputs() {
        std::fs::write(place.path("m/f.yaml"), &bytes).unwrap();
        told(what, &under_ceilings(&place, &["validate", "m"]), 1);
        told(what, &under_ceilings(&place, &["render", "m/f.yaml"]), 1);
        told(what, &under_ceilings(&place, &["diff", "m", "--base", "HEAD", "--worktree"]), 2);
    }
}

#[test]
fn a_base_that_would_eat_the_machine_is_told_and_left_out() {
    for (what, bytes) in inputs() {
        let place = Place::new();
        let repo = Repo::create(&place.path("m"));
        place.write("m/pod.yaml", POD);
        std::fs::write(place.path("m/f.yaml"), &bytes).unwrap();
        repo.commit("broken");
        std::fs::remove_file(place.path("m/f.yaml")).unwrap();
        repo.commit("mended");
        let said = under_ceilings(&place, &["diff", "m", "--base", "HEAD~1"]);
        told(what, &said, 0);
        assert!(said.out.contains("! invalid base: f.yaml:"), "{what}: {}", said.out);
        assert!(said.out.contains("1 unchanged"), "{what}: {}", said.out);
        told(what, &under_ceilings(&place, &["diff", "m", "--base", "HEAD", "--head", "HEAD~1"]), 2);
    }
}

#[test]
fn the_ceilings_hold() {
    let place = Place::new();
    place.write("m/pod.yaml", POD);
    let limited = |script: &str| {
        let said = Command::new("/bin/sh").arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_podwright")).output();
        said.unwrap().status.success()
    };
    assert_eq!(under_ceilings(&place, &["validate", "m"]).code, Some(0), "an ordinary input has room");
    assert!(!limited("ulimit -v 1024 && exec \"$0\" --version"), "a ceiling that is too low is noticed");
}
