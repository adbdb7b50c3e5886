//! `imagePullPolicy` as a table: when a registry is asked for an image, and what is done without its answer. Every backend
//! of containers goes by it.
//!
//! | policy | not here | here | damaged |
//! |---|---|---|---|
//! | `Never` | refused | used | refused |
//! | `IfNotPresent` | pulled | used | pulled |
//! | `Always` | pulled | asked for again, and pulled if there is another one | pulled |
//!
//! What is here and is asked for again is used as it is while its registry is out of reach, unless the configuration is
//! strict about that (`offlinePull`). A registry that was out of reach a moment ago is not asked for it. The image that is
//! the machine's own root file system has no registry.

/// What a pod says of an image that may be here already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl PullPolicy {
    /// Reads the field. A word that no pod can have is as none.
    pub fn of(text: &str) -> Self {
        match text {
            "Always" => Self::Always,
            "Never" => Self::Never,
            _ => Self::IfNotPresent,
        }
    }
}

/// What there is of an image on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Nothing.
    Absent,
    /// All of it.
    Whole,
    /// The machine's own root file system.
    Host,
    /// Not what it should be.
    Damaged,
    /// That cannot be told, or its name is none.
    Unclear,
}

/// How an image is made present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullStep {
    /// What is here is used.
    Use,
    /// The same, and its registry is not asked, for it was out of reach a moment ago.
    UseStale,
    /// It is pulled. With `or_stale` what is here is used if its registry is out of reach.
    Pull { or_stale: bool },
    /// Nothing is pulled, and nothing is here.
    RefuseAbsent,
    /// What looking for it said is the answer.
    Refuse,
}

/// What is done for an image. `strict` is whether one that is here is not to do for one that has to be asked for again,
/// `out_of_reach` whether its registry was that a moment ago.
pub fn pull_step(policy: PullPolicy, stored: Stored, strict: bool, out_of_reach: bool) -> PullStep {
    use PullPolicy::{Always, IfNotPresent, Never};
    match (policy, stored) {
        (_, Stored::Unclear) | (Never, Stored::Damaged) => PullStep::Refuse,
        (_, Stored::Host) | (Never | IfNotPresent, Stored::Whole) => PullStep::Use,
        (Never, Stored::Absent) => PullStep::RefuseAbsent,
        (Always, Stored::Whole) if out_of_reach && !strict => PullStep::UseStale,
        (Always, Stored::Whole) => PullStep::Pull { or_stale: !strict },
        (Always | IfNotPresent, Stored::Absent | Stored::Damaged) => PullStep::Pull { or_stale: false },
    }
}

#[cfg(test)]
mod tests {
    use super::PullPolicy::{Always, IfNotPresent, Never};
    use super::PullStep::{Pull, Refuse, RefuseAbsent, Use, UseStale};
    use super::Stored::{Absent, Damaged, Host, Unclear, Whole};
    use super::*;

    #[test]
    fn every_row_of_the_table() {
        let pull = Pull { or_stale: false };
        // What is done with a registry in reach, out of reach, and the same two when that is strict.
        let rows = [
            (Never, Absent, [RefuseAbsent; 4]),
            (Never, Whole, [Use; 4]),
            (Never, Host, [Use; 4]),
            (Never, Damaged, [Refuse; 4]),
            (Never, Unclear, [Refuse; 4]),
            (IfNotPresent, Absent, [pull; 4]),
            (IfNotPresent, Whole, [Use; 4]),
            (IfNotPresent, Host, [Use; 4]),
            (IfNotPresent, Damaged, [pull; 4]),
            (IfNotPresent, Unclear, [Refuse; 4]),
            (Always, Absent, [pull; 4]),
            (Always, Whole, [Pull { or_stale: true }, UseStale, pull, pull]),
            (Always, Host, [Use; 4]),
            (Always, Damaged, [pull; 4]),
            (Always, Unclear, [Refuse; 4]),
        ];
        for (policy, stored, expected) in rows {
            for (at, (strict, away)) in
                [(false, false), (false, true), (true, false), (true, true)].into_iter().enumerate()
            {
                let step = pull_step(policy, stored, strict, away);
                assert_eq!(step, expected[at], "{policy:?}, {stored:?}, strict {strict}, out of reach {away}");
            }
        }
    }

    #[test]
    fn policies_are_read_as_a_pod_has_them() {
        for (text, policy) in [("Always", Always), ("IfNotPresent", IfNotPresent), ("Never", Never), ("", IfNotPresent)]
        {
            assert_eq!(PullPolicy::of(text), policy, "{text}");
        }
    }
}
