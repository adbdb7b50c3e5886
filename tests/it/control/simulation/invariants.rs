//! What must hold in every world, whatever the pods do and whatever goes wrong: pure functions over its trace.

mod backoff;
mod ends;
mod evictions;
mod grace;
mod init;
mod instances;
mod leaks;
mod phases;
mod readiness;
mod restarts;
mod tests;
mod together;

use super::trace::{Trace, Violation};

type Check = fn(&Trace) -> Result<(), String>;

/// By the name that a violation is told with.
pub(super) const ALL: [(&str, Check); 13] = [
    ("one instance", instances::one),
    ("init order", init::order),
    ("grace", grace::kept),
    ("patience", grace::granted),
    ("back-off", backoff::kept),
    ("restarts", restarts::asked_for),
    ("together", together::restarted),
    ("phases", phases::moves),
    ("readiness", readiness::after_probes),
    ("ends", ends::shown),
    ("evictions", evictions::had_a_cause),
    ("nothing leaked", leaks::none),
    ("carried through", leaks::carried_through),
];

/// What a world did wrong.
pub(super) fn violations(trace: &Trace) -> Vec<Violation> {
    let broken = ALL.iter().filter_map(|(invariant, check)| Some((*invariant, check(trace).err()?)));
    broken.map(|(invariant, what)| Violation { invariant, what }).collect()
}
