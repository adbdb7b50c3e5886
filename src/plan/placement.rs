//! What another placement makes of a pod that is there.
//!
//! | it was | it is | the pod |
//! |---|---|---|
//! | running | whatever the machine became | runs on (`IgnoredDuringExecution`); its successor is placed anew |
//! | running | repelled by a taint of effect NoExecute | ends; its successor waits, or is another machine's |
//! | running | another machine's by a `nodeName` of its own that changed | is removed |
//! | Pending | fitting | is created now |
//! | Pending, for another reason | Pending | tells the new reason |
//! | failed | anything but failed | makes way for a new one: a phase that is terminal never changes back |
//! | another machine's | this one's | is created |
//! | Pending or failed | another machine's | is removed |

use std::sync::Arc;

use super::change::Change;
use super::resize;
use super::rules::covers;
use crate::model::{AdmittedPod, FieldChange, Outcome, PodRecord, Unplaced, Verb};

/// The fields of a pod that decide where it runs.
const FIELDS: [&str; 4] = ["spec.nodeName", "spec.nodeSelector", "spec.affinity", "spec.tolerations"];

/// Adds to what differs between two states of a pod what became of its placement. Where a field of its own is behind it,
/// that field takes as much.
pub(super) fn note(found: &mut Vec<FieldChange>, realised: &AdmittedPod, target: &AdmittedPod) {
    let Some(before) = &realised.unplaced else { return };
    // Nothing of it runs that a change could restart.
    for change in found.iter_mut().filter(|change| change.effect == Verb::RestartContainer) {
        change.effect = Verb::UpdateInPlace;
    }
    let effect = match (before.outcome, target.unplaced.as_deref()) {
        (Outcome::Failed, None) => Verb::Recreate,
        // Without a field that needs a new pod it fails as before, or leaves.
        (Outcome::Failed, Some(_)) => return,
        (_, None) => Verb::Create,
        (_, Some(after)) if after == &**before => return,
        (_, Some(_)) => Verb::UpdateInPlace,
    };
    match found.iter_mut().find(|change| decides(&change.field)) {
        Some(own) => own.effect = own.effect.max(effect),
        None => found.push(by_node(before, effect, target.unplaced.as_deref())),
    }
}

/// Adds why a pod that runs does not stay where it is, if it does not. One that has ended is in nobody's way.
pub(super) fn note_ended(found: &mut Vec<FieldChange>, realised: &AdmittedPod, target: &AdmittedPod) {
    let unplaced = target.unplaced.as_deref().filter(|unplaced| unplaced.ends_what_runs);
    let Some(unplaced) = unplaced.filter(|_| realised.unplaced.is_none()) else { return };
    match found.iter_mut().find(|change| covers(&unplaced.field, &change.field)) {
        Some(own) => own.effect = own.effect.max(Verb::Recreate),
        None => found.push(by_node(unplaced, Verb::Recreate, Some(unplaced))),
    }
}

/// Why a pod that is there has to go for being another machine's, if it has to.
pub(super) fn leaving(record: &PodRecord, target: &AdmittedPod, change: &Change) -> Option<Vec<FieldChange>> {
    let unplaced = target.unplaced.as_ref().filter(|_| target.is_elsewhere())?;
    if let Change::Recreate(fields) = change {
        return Some(fields.clone());
    }
    // One that runs stays, also when it is the machine that has another name: for that a slip is enough.
    let goes = record.realised.unplaced.is_some() || record.deletion.is_some();
    goes.then(|| vec![by_node(unplaced, Verb::Delete, Some(unplaced))])
}

/// What makes another machine's pod one of this machine.
pub(super) fn arriving(realised: &AdmittedPod, target: &AdmittedPod, mut found: Vec<FieldChange>) -> Vec<FieldChange> {
    found.retain(|change| decides(&change.field));
    note(&mut found, realised, target);
    found.iter_mut().for_each(|change| change.effect = Verb::Create);
    found
}

/// A change behind which is the machine alone.
fn by_node(unplaced: &Unplaced, effect: Verb, now: Option<&Unplaced>) -> FieldChange {
    FieldChange {
        field: unplaced.field.clone(),
        before: None,
        after: None,
        effect,
        cause: unplaced.unmet.cause(),
        container: None,
        avoidable: None,
        note: now.map(|now| now.detail.clone()),
    }
}

/// Whether a field decides where a pod runs.
fn decides(field: &str) -> bool {
    FIELDS.iter().any(|own| covers(own, field))
}

/// The target as a change in place realises it: a pod that runs stays where it is, and what it waits for is on no record.
pub(super) fn kept(realised: &AdmittedPod, target: &Arc<AdmittedPod>) -> Arc<AdmittedPod> {
    let stays = realised.unplaced.is_none() && target.unplaced.is_some();
    let effective = match &realised.unplaced {
        None => resize::settled(realised, target),
        // Nothing of it was given anything.
        Some(_) => target.effective.clone(),
    };
    if !stays && target.pending_resize.is_none() && effective == target.effective {
        return Arc::clone(target);
    }
    let unplaced = target.unplaced.clone().filter(|_| !stays);
    Arc::new(AdmittedPod { unplaced, pending_resize: None, effective, ..(**target).clone() })
}
