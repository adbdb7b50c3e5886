//! Scenarios: a pod's life as a text file that a reviewer can read. `> ` lines are what happens, `| ` lines manifests, the
//! rest is what the plans made of it. With `UPDATE_SCENARIOS=1` the files are written anew, to be read in the diff.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::SignedDuration;
use podwright::model::{AdmittedPod, ContainerState, DataObjects, PodMemory, PodPlan, Sandbox};
use serde::Deserialize as _;
use serde_json::Value;

use super::world::{World, at, exit};
use crate::admit::without_tokens::admitted;

struct Scenario {
    world: Option<World>,
    out: String,
}

impl Scenario {
    fn world(&mut self) -> &mut World {
        self.world.as_mut().expect("a scenario begins with a commit")
    }

    fn commit(&mut self, yaml: &str) {
        let objects: Vec<Value> =
            serde_yaml::Deserializer::from_str(yaml).map(|doc| Value::deserialize(doc).unwrap()).collect();
        let admitted = admitted(&objects);
        let target: Option<Arc<AdmittedPod>> = admitted.pods.values().next().cloned();
        let data: DataObjects = (*admitted.data).clone();
        match &mut self.world {
            None => self.world = Some(World::new(&target.expect("the first commit has a pod"), &data)),
            Some(world) => {
                world.target = target;
                world.data = data;
            }
        }
    }

    fn command(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let world = self.world();
        let now = world.now;
        match words[..] {
            ["pass", seconds] => {
                let end = now + SignedDuration::from_secs(seconds.parse().unwrap());
                let plan = world.settle_until(end);
                world.now = end;
                self.tell(&plan);
            }
            ["exit", name, code] => {
                let pod = world.pod.as_mut().unwrap();
                let latest = pod.latest(name).unwrap().record.attempt;
                let found = pod.containers.iter_mut().find(|c| c.record.name == name && c.record.attempt == latest);
                let container = found.unwrap();
                let ContainerState::Running { started_at, .. } = container.state else { panic!("{name} does not run") };
                container.state = ContainerState::Exited(exit(code.parse().unwrap(), started_at, now));
            }
            ["crashes", name, code] => drop(world.exits.insert(name.into(), code.parse().unwrap())),
            ["behaves", name] => drop(world.exits.remove(name)),
            ["ignores-stop", name] => drop(world.stubborn.insert(name.into())),
            ["missing", image] => drop(world.missing.insert(image.into())),
            ["present", image] => drop(world.missing.remove(image)),
            ["infra-dies"] => {
                let pod = world.pod.as_mut().unwrap();
                let Sandbox::Ready { attempt, .. } = pod.sandbox else { panic!("no sandbox") };
                pod.sandbox = Sandbox::Dead { attempt };
            }
            ["monitor-dies", name] => {
                let pod = world.pod.as_mut().unwrap();
                let found = pod.containers.iter_mut().find(|c| c.record.name == name && c.is_live());
                found.unwrap().state = ContainerState::Lost;
            }
            ["agent-restarts"] => world.memory = PodMemory::default(),
            _ => panic!("not a command: {line}"),
        }
    }

    fn tell(&mut self, plan: &PodPlan) {
        let second = |t: jiff::Timestamp| t.duration_since(at(0)).as_secs();
        for line in std::mem::take(&mut self.world().story) {
            self.out.push_str(&format!("{line}\n"));
        }
        for hold in &plan.holds {
            let until = hold.until.map_or(String::new(), |t| format!(" until {}s", second(t)));
            let name = if hold.container.is_empty() { "pod" } else { &hold.container };
            self.out.push_str(&format!("       {name} waits{until}: {}: {}\n", hold.reason, hold.message));
        }
    }
}

/// The file with its outputs as they are now.
fn play(text: &str) -> String {
    let mut scenario = Scenario { world: None, out: String::new() };
    let mut yaml = String::new();
    for line in text.lines() {
        if let Some(manifest) = line.strip_prefix('|') {
            yaml.push_str(manifest.strip_prefix(' ').unwrap_or(manifest));
            yaml.push('\n');
        } else if line.starts_with(['#', '>']) || line.is_empty() {
            if !yaml.is_empty() {
                scenario.commit(&std::mem::take(&mut yaml));
            }
        } else {
            continue;
        }
        scenario.out.push_str(&format!("{line}\n"));
        match line.strip_prefix("> ") {
            None | Some("commit") => {}
            Some(command) => scenario.command(command),
        }
    }
    scenario.out
}

fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/scenarios");
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_scenario_goes_as_written() {
    let update = std::env::var("UPDATE_SCENARIOS").is_ok();
    let files = files();
    assert!(files.len() >= 6, "scenarios are missing: {files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let played = play(&text);
        if update {
            std::fs::write(&file, &played).unwrap();
        } else {
            assert!(
                played == text,
                "{}:\n{}",
                file.display(),
                similar::TextDiff::from_lines(&text, &played).unified_diff()
            );
        }
    }
}
