//! The README is a promise: what it shows is run here as it stands.

use std::process::{Child, Command, Stdio};

use clap::Parser;
use podwright::cli::args::Cli;
use rustix::process::Signal;

use super::harness::{World, run, signal};

/// The lines of the `sh` blocks below a heading.
fn commands(heading: &str) -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let section =
        text.split("\n## ").find(|s| s.starts_with(heading)).unwrap_or_else(|| panic!("no heading {heading}"));
    let blocks = section.split("```sh\n").skip(1).filter_map(|b| b.split("```").next());
    blocks.flat_map(str::lines).filter(|l| !l.trim().is_empty()).map(str::to_owned).collect()
}

#[test]
fn exactly_two_commands_do_all_the_set_up() {
    assert_eq!(commands("Two commands\n"), ["cargo run --release -- demo", "tests/run.sh"]);
    assert!(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run.sh").is_file());
    assert!(Cli::try_parse_from(["podwright", "demo"]).is_ok());
    // The gate runs the second one, and nothing that it does not run.
    let gate = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/run")).unwrap();
    assert!(gate.contains("\nexec tests/run.sh --yes\n"), "{gate}");
}

#[test]
fn every_command_of_the_readme_is_one_that_exists() {
    let lines = commands("By hand\n");
    let ours: Vec<&String> = lines.iter().filter(|l| l.starts_with("podwright ")).collect();
    assert!(ours.len() >= 8, "{ours:?}");
    for line in ours {
        assert!(Cli::try_parse_from(line.split_whitespace()).is_ok(), "{line}");
    }
}

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn e2e_what_the_readme_does_by_hand_works_as_it_stands() {
    let Some(world) = World::new() else { return };
    let home = world.scratch().join("home");
    std::fs::create_dir_all(&home).unwrap();
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    run(Command::new("cp").arg("-r").arg(examples).arg(&home));
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_podwright")).parent().unwrap().display().to_string();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let shell = |line: &str| {
        let mut command = world.inside("bash");
        command.args(["-c", line]).current_dir(&home).stdin(Stdio::null());
        command.env("PATH", &path).env("PODWRIGHT_ROOT", world.root()).env("HOME", &home).env("NO_COLOR", "1");
        for name in ["GIT_AUTHOR", "GIT_COMMITTER"] {
            command.env(format!("{name}_NAME"), "reader").env(format!("{name}_EMAIL"), "reader@example.com");
        }
        command
    };
    let mut agent = None;
    for line in commands("By hand\n") {
        if line.starts_with("podwright run ") {
            let child = shell(&format!("exec {line}")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            agent = Some(Agent(child));
            world.wait_row("website", "1/1", "Running");
            continue;
        }
        if line == "podwright down" {
            let mut running = agent.take().expect("the agent was started");
            world.wait("the other port", || {
                // In between the old pod ends, and there is nothing to join.
                let env = world.output(&["exec", "website", "--", "env"]);
                super::harness::text(&env).contains("DB_PORT=6380").then_some(())
            });
            signal(running.0.id(), Signal::TERM);
            assert_eq!(running.0.wait().unwrap().code(), Some(0));
        }
        let output = shell(&line).output().unwrap();
        let said = super::harness::text(&output);
        // `diff` says with 1 that there is something to say.
        let expected = i32::from(line.starts_with("podwright diff "));
        assert_eq!(output.status.code(), Some(expected), "{line}: {said}");
        match line.as_str() {
            "podwright logs website" => assert!(said.contains("its database listens on port 6379"), "{said}"),
            "podwright exec website -- env" => assert!(said.contains("DB_PORT=6379"), "{said}"),
            "podwright describe pod website" => assert!(said.contains("podpreset-allow-database"), "{said}"),
            l if l.starts_with("podwright diff ") => assert!(said.contains("PodPreset allow-database"), "{said}"),
            _ => {}
        }
    }
    assert!(agent.is_none() && world.identities().is_empty());
}
