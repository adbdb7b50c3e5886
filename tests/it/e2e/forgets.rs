//! What the agent, its shims and monitors ask of a file system is asked of one that forgets whatever was not flushed, see
//! [`super::forgetful`]. With what a power cut would have left of it after each call an agent must be able to start, and from
//! some of it, others in each run, one comes to the end that is the same without a cut.
//!
//! The file systems of `vm::power` forget less: they write names in the order in which they were made.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::process::Command;

use podwright::backend::LedgerFile;
use podwright::backend::native::{Native, NativeOptions};
use podwright::port::{ContainerBackend, LedgerStore};
use rustix::process::Signal;
use serde_json::json;

use super::crash::{Fault, assert_same, reboot, settle, whichever_try};
use super::forgetful::{Loss, Model, State};
use super::harness::{World, run, signal};
use super::phases::{CREATE, RECREATE, REMOVE, UPDATE};
use super::strace::{self, Asked};
use crate::dice::{Dice, fresh_seed, setting};
use crate::native::fixture::{Root, on_root};
use crate::support::images::{Layer, docker_archive};
use crate::vm::kept;

/// How many agents start with what a cut has left.
const STARTS: usize = 6;
/// As much as anything here writes at once; strace takes its time for room that it does not need.
const BYTES: usize = 64 << 10;
const IMAGE: &str = "docker.io/library/tiny:latest";

/// An agent's work under `strace`, from the first start on, after an image was loaded: what was asked meanwhile.
fn traced(world: &mut World) -> [Vec<Asked>; 2] {
    let logs = ["load.trace", "run.trace"].map(|name| world.scratch().join(name));
    load(world, &strace::words(&logs[0], BYTES));
    let words = strace::words(&logs[1], BYTES);
    (CREATE.change)(world);
    world.spawn_under(&words.iter().map(String::as_str).collect::<Vec<_>>());
    for phase in [CREATE, UPDATE, RECREATE, REMOVE] {
        if phase.name != CREATE.name {
            (phase.change)(world);
        }
        world.wait(phase.name, || (phase.is_done)(world).then_some(()));
    }
    // The tracer ends when all that it follows has ended.
    let tracer = world.agent_pid();
    let children = std::fs::read_to_string(format!("/proc/{tracer}/task/{tracer}/children")).unwrap();
    signal(children.split_whitespace().next().unwrap().parse().unwrap(), Signal::TERM);
    let status = world.wait_end();
    assert!(status.success(), "{status}: {}", world.log());
    logs.map(|log| strace::asked(&String::from_utf8_lossy(&std::fs::read(log).unwrap())))
}

/// Loads a small image, by a program that becomes podwright.
fn load(world: &World, program: &[String]) {
    let archive = world.scratch().join("tiny.tar");
    let layers = [Layer::new().dir("etc").file("etc/name", "base"), Layer::new().file("bin/tool", &"x".repeat(9000))];
    let layers = layers.map(|layer| layer.tar());
    std::fs::write(&archive, docker_archive(&["tiny:latest"], &layers, json!({"Cmd": ["/bin/tool"]}))).unwrap();
    let podwright = env!("CARGO_BIN_EXE_podwright").to_owned();
    let mut words = program.iter().chain([&podwright]);
    let mut command = Command::new(words.next().unwrap());
    run(command.args(words).args(["image", "load"]).arg(archive).arg("--root").arg(world.root()));
}

/// What is wrong with what a cut has left, for an agent that starts with it.
async fn what_is_wrong(root: &Root, place: &Path, state: &State, last: &State) -> Vec<String> {
    state.write(place);
    let mut wrong = kept::wrong(place, &kept::Files::new());
    wrong.extend(state.damaged_layers(last).into_iter().map(|path| format!("{path} is not as it was unpacked")));
    let options = NativeOptions { state: place.to_owned(), run: place.join("run"), ..root.options() };
    let read = async {
        let ledger = LedgerFile::new(place.join("ledger.json"));
        ledger.load().await?;
        let native = Native::open(options)?;
        native.list().await?;
        native.images().list()?;
        native.images().resolve(IMAGE)
    };
    wrong.extend(read.await.err().map(|error| format!("{error:?}")));
    wrong
}

/// The picture of a world without the files of instances: of one that ended with the power the end is still told, and what
/// was removed of it may be back until its pod goes.
fn without_ends(world: &World) -> BTreeSet<String> {
    whichever_try(world).into_iter().filter(|line| !line.contains("pods/UID/containers/")).collect()
}

#[test]
fn e2e_whatever_a_file_system_forgets_an_agent_starts_with_the_rest() {
    let Some(mut world) = World::in_memory() else { return };
    let seed = setting("PODWRIGHT_POWER_SEED").unwrap_or_else(fresh_seed);
    println!("again with: PODWRIGHT_POWER_SEED={seed}");
    let mut dice = Dice::new(seed);
    let (root, mut model) = (world.root(), Model::of(&world.scratch()));
    let mut states: Vec<(String, State)> = Vec::new();
    let mut seen = HashSet::new();
    let mut last = State::default();
    for asked in traced(&mut world) {
        for (number, asked) in asked.iter().enumerate() {
            if model.take(asked).is_none() {
                continue;
            }
            for (name, loss) in [("all", Loss::All), ("bytes", Loss::Bytes), ("some", Loss::Some(&mut dice))] {
                let state = model.after_cut(&root, loss);
                if seen.insert(state.sum()) {
                    states.push((
                        format!("{number}, {} {:?}, loss of {name}", asked.name, asked.arguments.first()),
                        state,
                    ));
                }
            }
        }
        if last == State::default() {
            // What a command says that it has done is done.
            last = model.now(&root);
            assert_eq!(model.after_cut(&root, Loss::All).lost(&last), Vec::<&Path>::new());
        }
    }
    let all = model.after_cut(&root, Loss::All);
    let back = all.below("pods").into_iter().filter(|path| !path.to_string_lossy().contains("/.removing-"));
    assert_eq!(back.collect::<Vec<_>>(), Vec::<&Path>::new(), "the pod was removed, and comes back");
    assert_eq!(all.lost(&model.now(&root)), Vec::<&Path>::new());
    let place = world.scratch().join("state");
    let (starts, of) = ((0..STARTS).map(|_| dice.below(states.len())).collect::<Vec<_>>(), states.len());
    println!("{of} states");
    let samples: Vec<(String, State)> = starts.iter().map(|start| states[*start].clone()).collect();
    on_root(async move |own| {
        let mut wrong = BTreeMap::new();
        for (what, state) in &states {
            for line in what_is_wrong(own, &place, state, &last).await {
                wrong.entry(line).or_insert(what);
            }
        }
        assert!(wrong.is_empty(), "each with the first cut after which it is so: {wrong:#?}");
    });

    let Some(mut peaceful) = World::in_memory() else { return };
    load(&peaceful, &["env".to_owned()]);
    settle(&mut peaceful, &CREATE, Fault::Record);
    reboot(&peaceful);
    settle(&mut peaceful, &CREATE, Fault::Record);
    for (what, state) in samples {
        println!("an agent starts after {what}");
        reboot(&world);
        state.write(&root);
        load(&world, &["env".to_owned()]);
        settle(&mut world, &CREATE, Fault::Record);
        assert_same(&without_ends(&peaceful), &without_ends(&world), &CREATE, &world);
    }
}
