//! Which pods to touch: the whole fleet against what is observed.

use jiff::Timestamp;

use crate::model::{Admitted, FleetPlan, ObservedPod};

/// What happens to each pod: removals first, then the others, each by name.
pub fn fleet(admitted: &Admitted, observed: &[ObservedPod]) -> FleetPlan {
    let _ = (admitted, observed);
    FleetPlan::default()
}

/// The fleet as if everything of `admitted` ran: the base of the offline diff.
pub fn converged(admitted: &Admitted, now: Timestamp) -> Vec<ObservedPod> {
    let _ = (admitted, now);
    Vec::new()
}
