//! The life of pods, simulated: worlds of a few random pods on a virtual clock, whose machine fails and whose agents die between
//! any two steps. Of what really happened in a world everything is written down, and invariants hold it to what was promised.
//!
//! ```text
//!   seed ─▶ story: pods, commits, accidents ─────────────┐
//!                                                        ▼
//!   agent (control, plan, report) ◀─▶ wire ◀─▶ world (backend::fake) ──▶ trace ──▶ invariants
//!     │   one after the other          │ faults, crashes, planted bugs     ▲
//!     └─▶ projection ─────── what people see ──────────────────────────────┘
//! ```
//!
//! What the dice say of a thing depends on the seed and on its name, not on what else is asked for at the same time. Each run
//! has another seed, which it prints; `PODWRIGHT_SIM_SEED=N` throws the dice of another run again, and `PODWRIGHT_SIM_PODS=N` is
//! for more or fewer pods. A world is the same each time, to the order of what happens in one moment: one that did something
//! wrong is told with the command that lives through it alone.
//!
//! That the invariants find something is shown by bugs of the machine, each of which has to be found: see [`planted`]. That
//! nothing of what may go wrong has ceased to do so is shown by counts, which a run prints.

mod invariants;
mod planted;
mod pods;
mod policy;
mod programs;
mod story;
mod trace;
mod wire;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use planted::Planted;
use trace::{Event, Moment, Violation};

use crate::dice::{fresh_seed, setting};

/// Pods of a run. In so many every planted bug is found.
const PODS: u64 = 10_000;
/// In so many everything happens that may happen.
const PLENTY: u64 = 2_000;
/// So many worlds are lived through twice.
const TWICE: u64 = 25;

/// Runs tests of this file.
const TEST: &str = "cargo test --test it -- control::simulation";

type Counts = BTreeMap<&'static str, usize>;

/// A world in which something happened that may not.
struct Finding {
    seed: u64,
    /// How many pods had been made before.
    pods: u64,
    violations: Vec<Violation>,
    trace: Vec<(Moment, Event)>,
}

/// Lives through worlds until one has violations that `is_it` is for, or so many pods were made in them. What happened in all of
/// them comes second.
fn search(
    (seed, pods): (u64, u64),
    planted: Option<Planted>,
    is_it: impl Fn(&[Violation]) -> bool + Sync,
) -> (Option<Finding>, Counts) {
    let (next, made) = (AtomicU64::new(0), AtomicU64::new(0));
    let (found, counts) = (Mutex::new(None), Mutex::new(Counts::new()));
    let work = || {
        while found.lock().unwrap().is_none() && made.load(Ordering::Relaxed) < pods {
            let world = seed.wrapping_add(next.fetch_add(1, Ordering::Relaxed));
            let trace = story::live(world, planted).trace;
            let happened = trace::happenings(&trace);
            let pods = made.fetch_add(happened.get(trace::POD).copied().unwrap_or(0) as u64, Ordering::Relaxed);
            for (what, count) in happened {
                *counts.lock().unwrap().entry(what).or_default() += count;
            }
            let violations = invariants::violations(&trace);
            if is_it(&violations) {
                found.lock().unwrap().get_or_insert(Finding { seed: world, pods, violations, trace });
            }
        }
    };
    // One that lives through one world lives through no other.
    let worlds = usize::try_from(pods.div_ceil(story::PODS as u64)).unwrap_or(usize::MAX);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads.min(worlds)).for_each(|_| drop(scope.spawn(work))));
    (found.into_inner().unwrap(), counts.into_inner().unwrap())
}

/// Tells of a run also when it is a good one: what tests print is shown of failed ones alone.
fn tell(line: &str) {
    // Nobody has to hear of it.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn command(seed: u64, pods: u64) -> String {
    format!("PODWRIGHT_SIM_SEED={seed} PODWRIGHT_SIM_PODS={pods} {TEST}::random_pods --nocapture")
}

impl Finding {
    fn told(&self) -> String {
        let violations: Vec<String> = self.violations.iter().map(|v| format!("{}: {}", v.invariant, v.what)).collect();
        let violations = violations.join("\n");
        let named = (0..story::PODS).map(|n| format!("p{n}")).filter(|pod| {
            let of_it = |event: &Event| matches!(event, Event::Recorded { pod: own, uid, .. } if own == pod && violations.contains(uid));
            violations.contains(&format!("\"{pod}\"")) || self.trace.iter().any(|(_, event)| of_it(event))
        });
        let traces: Vec<String> = named.map(|pod| format!("{pod}:\n{}", trace::told(&self.trace, &pod))).collect();
        format!("{violations}\nagain with: {}\n{}", command(self.seed, 1), traces.join("\n"))
    }
}

#[test]
fn random_pods_live_as_they_were_promised() {
    let pods = setting("PODWRIGHT_SIM_PODS").unwrap_or(PODS);
    let seed = setting("PODWRIGHT_SIM_SEED").unwrap_or_else(fresh_seed);
    tell(&format!("{pods} pods are lived through; again with: {}", command(seed, pods)));
    let (found, counts) = search((seed, pods), None, |violations| !violations.is_empty());
    if let Some(found) = found {
        panic!("{}", found.told());
    }
    let lines = trace::HAPPENINGS.iter().map(|what| format!("{:>8}  {what}", counts.get(what).unwrap_or(&0)));
    println!("{pods} pods, and in their lives\n{}", lines.collect::<Vec<_>>().join("\n"));
    let missing: Vec<_> = trace::HAPPENINGS.iter().filter(|what| !counts.contains_key(*what)).collect();
    assert!(pods < PLENTY || missing.is_empty(), "in {pods} pods from seed {seed} there was not once {missing:?}");
}

#[test]
fn a_world_is_the_same_each_time() {
    let seed = setting("PODWRIGHT_SIM_SEED").unwrap_or_else(fresh_seed);
    tell(&format!("worlds are lived through twice; again with: PODWRIGHT_SIM_SEED={seed} {TEST}::a_world"));
    for world in (0..TWICE).map(|number| seed.wrapping_add(number)) {
        let (first, again) = (story::live(world, None).told(), story::live(world, None).told());
        let differ = first.lines().zip(again.lines()).find(|(first, again)| first != again);
        assert!(first == again, "world {world} is not the same again: {differ:#?}");
    }
}

#[test]
fn planted_bugs_are_found() {
    let seed = setting("PODWRIGHT_SIM_SEED").unwrap_or_else(fresh_seed);
    tell(&format!("bugs are planted; again with: PODWRIGHT_SIM_SEED={seed} {TEST}::planted"));
    for (bug, invariant) in planted::ALL {
        let is_it = |violations: &[Violation]| violations.iter().any(|v| v.invariant == invariant);
        let (found, _) = search((seed, PODS), Some(bug), is_it);
        let found = found.unwrap_or_else(|| panic!("{bug:?} is not found in {PODS} pods from seed {seed}"));
        println!("{bug:?} is found after {} pods", found.pods);
    }
}

#[test]
fn every_invariant_has_a_bug_to_find() {
    let bugs: BTreeSet<String> = planted::ALL.iter().map(|(bug, _)| format!("{bug:?}")).collect();
    assert!(bugs.len() == planted::ALL.len() && bugs.len() >= 10, "{bugs:?}");
    let found: BTreeSet<&str> = planted::ALL.iter().map(|(_, invariant)| *invariant).collect();
    assert_eq!(found, invariants::ALL.iter().map(|(name, _)| *name).collect());
}
