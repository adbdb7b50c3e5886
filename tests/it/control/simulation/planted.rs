//! Bugs of the machine, each of them one that a runtime could have: it does what it may not, or says what is not so. They
//! show that the invariants find what they are there for.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planted {
    /// A stop is said to have begun earlier than it did.
    ShortensGrace,
    /// SIGKILL reaches nobody, and the machine says that it did.
    ForgetsKill,
    /// It comes a few seconds late.
    KillsLate,
    /// The answer to a start is lost, and with it what the machine knew: it starts another one.
    StartsTwice,
    /// Init containers are said to have ended well as soon as they run.
    StartsEarly,
    /// A readiness probe that failed is said to have succeeded.
    LiesAboutProbes,
    /// A readiness probe is answered with what the first instance answered first.
    AnswersForAnother,
    /// The end of an instance is said to have been earlier than it was.
    ShortensBackOff,
    /// What the machine knew of instances is lost when the agent dies.
    LosesInstances,
    /// A sandbox that is stopped stays.
    LeaksSandbox,
    /// The end of a pod is forgotten, with all that led to it.
    ForgetsTheEnd,
    /// An end for want of memory is told as any other one.
    ForgetsOom,
    /// Volumes are said to take more than they do.
    InflatesUse,
    /// Those that ended well are said to have failed.
    MistakesSuccess,
    /// What runs is said to have begun with the last restart of all.
    ForgetsRounds,
    /// Now and then a call never returns.
    NeverAnswers,
}

/// Each of them, with the invariant that has to find it.
pub(super) const ALL: [(Planted, &str); 16] = [
    (Planted::ShortensGrace, "patience"),
    (Planted::ForgetsKill, "grace"),
    (Planted::KillsLate, "grace"),
    (Planted::StartsTwice, "one instance"),
    (Planted::StartsEarly, "init order"),
    (Planted::LiesAboutProbes, "readiness"),
    (Planted::AnswersForAnother, "readiness"),
    (Planted::ShortensBackOff, "back-off"),
    (Planted::LosesInstances, "one instance"),
    (Planted::LeaksSandbox, "nothing leaked"),
    (Planted::ForgetsTheEnd, "phases"),
    (Planted::ForgetsOom, "ends"),
    (Planted::InflatesUse, "evictions"),
    (Planted::MistakesSuccess, "restarts"),
    (Planted::ForgetsRounds, "together"),
    (Planted::NeverAnswers, "carried through"),
];
