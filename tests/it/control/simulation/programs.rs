//! What runs in the containers of a simulation: how it ends, what it makes of a stop signal, what it answers.

use std::collections::BTreeMap;
use std::time::Duration;

use podwright::backend::fake::{Answered, Behaviour};
use podwright::model::{ContainerKind, Handler, HandlerCall, ProbeKind};

use crate::dice::Dice;

/// What one instance does.
pub(super) fn program(name: &str, kind: ContainerKind, dice: &mut Dice) -> Behaviour {
    let millis = |dice: &mut Dice, seconds: usize| Duration::from_millis(dice.below(seconds * 1000) as u64);
    let exits = match (kind, dice.below(100)) {
        (ContainerKind::Init, 0..=94) => Some((millis(dice, 6), i32::from(dice.chance(20)))),
        (ContainerKind::Init, _) | (ContainerKind::Sidecar, 0..=79) | (ContainerKind::App, 0..=34) => None,
        // Now and then it lives so long that a back-off begins anew.
        (_, 97..) => Some((Duration::from_secs(595) + millis(dice, 20), 1)),
        (_, 90..) => Some((millis(dice, 90), dice.pick(&[0, 1, 137]))),
        _ => Some((millis(dice, 20), dice.pick(&[0, 1, 137]))),
    };
    let stops_after = if dice.chance(80) { millis(dice, 3) } else { millis(dice, 40) };
    let is_oom_killed = exits.is_some_and(|(_, code)| code == 137) && dice.chance(50);
    // So that less cannot be given to some of them.
    let memory = dice.pick(&[0, 24 << 20, 48 << 20]);
    let fails_to_start = dice.chance(3).then(|| format!("{name}: no such file"));
    Behaviour { exits, ignores_stop: dice.chance(25), stops_after, memory, is_oom_killed, fails_to_start }
}

/// How the answers to one question go.
enum Mood {
    Good,
    Flaky,
    /// From this one on it fails.
    Fails(usize),
    /// Until this one it fails.
    Comes(usize),
}

/// What the handlers of a container answer, the same whenever they are asked in the same order.
pub(super) fn answers(seed: u64, name: &str) -> impl FnMut(&HandlerCall) -> Answered + Send + 'static {
    let (name, mut counts) = (name.to_owned(), BTreeMap::<String, usize>::new());
    move |call| {
        let question = format!("{name} {} {}", call.attempt, word(&call.handler));
        let count = counts.entry(question.clone()).or_default();
        *count += 1;
        let mut dice = Dice::of(seed, &question);
        let mood = match dice.below(100) {
            0..=49 => Mood::Good,
            50..=64 => Mood::Flaky,
            65..=79 => Mood::Fails(dice.below(8)),
            _ => Mood::Comes(dice.below(6)),
        };
        let mut dice = Dice::of(seed, &format!("{question} {count}"));
        let passes = match mood {
            Mood::Good => true,
            Mood::Flaky => dice.chance(70),
            Mood::Fails(from) => *count <= from,
            Mood::Comes(until) => *count > until,
        };
        let answer = match (passes, dice.below(100)) {
            (_, 0..=2) => Answered::error("told to"),
            (true, 3..=5) => Answered::warning("elsewhere"),
            (true, _) => Answered::success(),
            (false, _) => Answered::failure("told to"),
        };
        let longest = usize::try_from(call.timeout.as_millis().min(8_000)).unwrap();
        let takes = if dice.chance(10) { dice.below(longest * 3 / 2 + 1) } else { dice.below(50) };
        answer.after(Duration::from_millis(takes as u64))
    }
}

/// What a handler of a simulation asks for: its probe, or a hook.
fn word(handler: &Handler) -> &str {
    match handler {
        Handler::Exec { command } => &command[0],
        Handler::HttpGet(get) => get.path.trim_start_matches('/'),
        Handler::Grpc { service, .. } => service,
        // Ports are all that it has.
        Handler::TcpSocket { port, .. } => ProbeKind::ALL[usize::from(port % 3)].word(),
        Handler::Sleep { .. } => "sleep",
    }
}

/// Which probe it is that asks.
pub(super) fn kind_of(handler: &Handler) -> Option<ProbeKind> {
    ProbeKind::ALL.into_iter().find(|kind| kind.word() == word(handler))
}
