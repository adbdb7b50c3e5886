//! For which pods of the revision that counts there is room, as the loop found it last, and whether that may be another now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{
    Admitted, AdmittedPod, Diagnostics, NodeInfo, ObservedPod, Outcome, PodRecord, PodUid, Revision, RevisionKind,
    Unmet,
};
use crate::plan;

/// The revision that counts beside what was there.
pub(super) struct Placed {
    /// As it was admitted.
    of: Arc<Admitted>,
    /// The same where everything has room.
    pub(super) admitted: Arc<Admitted>,
    /// While a pod waits: those that had room, and came to have some since.
    holders: BTreeSet<(PodUid, i64)>,
    /// Whether a pod waits for room.
    pub(super) is_waiting: bool,
}

impl Placed {
    /// Judges the pods. One that is as `before` is the same, so that whatever was made of it is known to hold still.
    pub(super) fn new(
        of: &Arc<Admitted>,
        observed: &[Arc<ObservedPod>],
        node: &NodeInfo,
        before: Option<Self>,
    ) -> Self {
        let before = before.map(|before| before.admitted);
        let mut judged = plan::room(of, observed, node, before.as_deref());
        for (key, pod) in &mut judged.pods {
            let known = before.as_ref().and_then(|before| before.pods.get(key));
            if let Some(known) = known.filter(|known| ***known == **pod) {
                *pod = Arc::clone(known);
            }
        }
        let is_waiting = judged.is_waiting;
        let admitted = if judged.pods.is_empty() {
            Arc::clone(of)
        } else {
            let mut admitted = Admitted::clone(of);
            judged.put_into(&mut admitted);
            Arc::new(admitted)
        };
        let holders = if is_waiting { owned(&plan::holders(observed)) } else { BTreeSet::new() };
        Self { of: Arc::clone(of), admitted, holders, is_waiting }
    }

    /// Whether it is about this revision.
    pub(super) fn is_of(&self, admitted: &Arc<Admitted>) -> bool {
        Arc::ptr_eq(&self.of, admitted)
    }

    /// Whether a pod that had room has ended, gone or changed since the last time.
    pub(super) fn may_fit_more(&mut self, seen: &[Arc<ObservedPod>]) -> bool {
        let now = plan::holders(seen);
        let is_left = self.holders.iter().any(|(uid, generation)| !now.contains(&(uid, *generation)));
        if is_left || self.holders.len() != now.len() {
            self.holders = owned(&now);
        }
        is_left
    }
}

/// The pods of records as if a revision had them as they are. Those that wait for room are judged anew unless theirs is refused:
/// nothing is begun by it that never was.
pub(super) fn on_record(observed: &[Arc<ObservedPod>], is_refused: bool) -> Admitted {
    // One that has failed stays so: what is made anew without a revision could be lost on the way.
    let stays = |record: &&PodRecord| record.deletion.is_none() && record.terminal.is_none();
    let records = observed.iter().map(|pod| &pod.record).filter(stays);
    let pod = |realised: &Arc<AdmittedPod>| match realised.unplaced.as_deref() {
        Some(unplaced)
            if !is_refused && unplaced.unmet == Unmet::NodeResources && unplaced.outcome == Outcome::Pending =>
        {
            Arc::new(AdmittedPod { unplaced: None, ..AdmittedPod::clone(realised) })
        }
        _ => Arc::clone(realised),
    };
    Admitted {
        revision: Revision { kind: RevisionKind::Content, id: String::new(), subject: None, branch: None },
        pods: records.map(|record| (record.key.clone(), pod(&record.realised))).collect(),
        data: Arc::default(),
        objects: BTreeMap::new(),
        sources: BTreeMap::new(),
        unread: BTreeMap::new(),
        is_untold: false,
        audits: Diagnostics::default(),
        diagnostics: Diagnostics::default(),
    }
}

fn owned(holders: &BTreeSet<(&PodUid, i64)>) -> BTreeSet<(PodUid, i64)> {
    holders.iter().map(|(uid, generation)| (PodUid::clone(uid), *generation)).collect()
}
