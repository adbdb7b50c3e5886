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
//! What the dice say of a thing depends on the seed and on its name, not on what else is asked for at the same time. A run that is
//! asked for a number of pods has another seed each time, which it prints. `PODWRIGHT_SIM_SEED=N` throws the dice of another run again, `PODWRIGHT_SIM_PODS=10000` is for
//! as many pods, which without optimisation take minutes. Of what happens at the same moment the order is not always the same.
//! A world that did something wrong is told with the command that lives through it alone.
//!
//! That the invariants find something is shown by bugs of the machine, each of which has to be found: see [`planted`].

mod invariants;
mod planted;
mod pods;
mod programs;
mod story;
mod trace;
mod wire;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use planted::Planted;
use trace::{Event, Moment, Violation};

use crate::dice::{fresh_seed, setting};

/// Pods, unless the environment asks for others.
const SAMPLE: u64 = 120;
const SEED: u64 = 1;
/// In so many every planted bug is found.
const PODS: u64 = 10_000;

/// A world in which something happened that may not.
struct Finding {
    seed: u64,
    /// How many pods had lived by then.
    pods: u64,
    violations: Vec<Violation>,
    trace: Vec<(Moment, Event)>,
}

/// Lives through worlds until one has violations that `counts` is for.
fn search(
    (seed, pods): (u64, u64),
    planted: Option<Planted>,
    counts: impl Fn(&[Violation]) -> bool + Sync,
) -> Option<Finding> {
    let worlds = pods.div_ceil(story::PODS as u64);
    let (next, found) = (AtomicU64::new(0), Mutex::new(None));
    let work = || {
        while found.lock().unwrap().is_none() {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= worlds {
                return;
            }
            let world = seed.wrapping_add(number);
            let trace = story::live(world, planted);
            let violations = invariants::violations(&trace);
            if counts(&violations) {
                let pods = (number + 1) * story::PODS as u64;
                found.lock().unwrap().get_or_insert(Finding { seed: world, pods, violations, trace });
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    found.into_inner().unwrap()
}

fn command(seed: u64, pods: u64) -> String {
    format!(
        "PODWRIGHT_SIM_SEED={seed} PODWRIGHT_SIM_PODS={pods} cargo test --test it -- control::simulation::random_pods --nocapture"
    )
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
    let wanted = setting("PODWRIGHT_SIM_PODS");
    let seed = setting("PODWRIGHT_SIM_SEED").unwrap_or_else(|| wanted.map_or(SEED, |_| fresh_seed()));
    let pods = wanted.unwrap_or(SAMPLE);
    println!("again with: {}", command(seed, pods));
    if let Some(found) = search((seed, pods), None, |violations| !violations.is_empty()) {
        panic!("{}", found.told());
    }
}

#[test]
fn planted_bugs_are_found() {
    let seed = setting("PODWRIGHT_SIM_SEED").unwrap_or_else(fresh_seed);
    println!("with PODWRIGHT_SIM_SEED={seed}");
    for (bug, invariant) in planted::ALL {
        let found = search((seed, PODS), Some(bug), |violations| violations.iter().any(|v| v.invariant == invariant));
        let found = found.unwrap_or_else(|| panic!("{bug:?} is not found in {PODS} pods from seed {seed}"));
        println!("{bug:?} is found within {} pods", found.pods);
    }
}
