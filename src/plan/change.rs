//! Two admitted states of one pod compared: what changed, and whether that happens in place or needs a new pod.
//!
//! Compared is what was written and merged (`spec`). A difference that the defaults level out (`effective` is equal on
//! both sides) is none: writing a default down restarts nothing, and neither does a default that a newer version changed.
//! Nor is a quantity in another notation one, and as with the API both may come together.
//! Where an object stands is no part of it: a file may be moved and renamed.

use super::data::View;
use super::{marks, placement, rules, walk};
use crate::model::{AdmittedPod, FieldChange, PodRecord, Verb};

/// What it takes to get from one state of a pod to another.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Nothing that matters differs.
    None,
    /// Everything that differs changes in place.
    InPlace(Vec<FieldChange>),
    /// At least one field needs a new pod; those fields, and with them what presets select by when others are merged now.
    Recreate(Vec<FieldChange>),
}

/// Compares a pod as it was realised with what it should be.
pub fn change(realised: &AdmittedPod, target: &AdmittedPod) -> Change {
    judge(fields(realised, target), others_are_merged(realised, target))
}

/// The same for a pod on record, with the data it uses. An ended pod never starts again: a change that would restart a
/// container of it needs a new pod, and data is of no interest to it.
pub(super) fn of_record(record: &PodRecord, target: &AdmittedPod, data: Option<&View<'_>>) -> Change {
    let mut found = fields(&record.realised, target);
    if record.terminal.is_some() {
        for change in found.iter_mut().filter(|change| change.effect == Verb::RestartContainer) {
            change.effect = Verb::Recreate;
        }
    } else {
        found.extend(data.into_iter().flat_map(|view| view.changes(record, target)));
        placement::note_ended(&mut found, &record.realised, target);
    }
    placement::note(&mut found, &record.realised, target);
    judge(found, others_are_merged(&record.realised, target))
}

/// What makes another machine's pod one of this machine.
pub(super) fn of_arrival(realised: &AdmittedPod, target: &AdmittedPod) -> Vec<FieldChange> {
    placement::arriving(realised, target, fields(realised, target))
}

fn fields(realised: &AdmittedPod, target: &AdmittedPod) -> Vec<FieldChange> {
    if realised.spec == target.spec {
        return Vec::new();
    }
    let mut found = walk::differences(realised, target);
    marks::note(&mut found, target);
    found
}

/// Whether not the same presets are merged into both, whatever they hold.
fn others_are_merged(realised: &AdmittedPod, target: &AdmittedPod) -> bool {
    let [before, after] = [realised, target].map(|pod| pod.applied.iter().map(|applied| &applied.name));
    before.ne(after)
}

fn judge(mut found: Vec<FieldChange>, others_are_merged: bool) -> Change {
    let is_heavy = |change: &FieldChange| change.effect >= Verb::Recreate;
    if !found.iter().any(is_heavy) {
        return if found.is_empty() { Change::None } else { Change::InPlace(found) };
    }
    found.retain(|change| is_heavy(change) || (others_are_merged && rules::selects_presets(&change.field)));
    Change::Recreate(found)
}
