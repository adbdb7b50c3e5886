//! For which pods there is room: who is there first stays, the others are let in as far as there is some left.
//!
//! | the pod | what is taken for it | what becomes of it |
//! |---|---|---|
//! | runs | what it was given | stays, whatever the machine has by now |
//! | runs, and is to have more | that, and what it is to have while it waits for it | is given it when it fits; it waits, and for good when the machine never has so much |
//! | is going | what it was given, until it is gone | its successor is judged as one that comes, with its room free, and only for what it asks for more of |
//! | comes, waits, or failed for want of room | what it asks for, once it fits | those that were let in before and are on no record yet, then those of higher priority, then by name |
//! | has ended | nothing | stays ended |
//! | went for what the machine was low on, and comes back | what it was given | is not judged again |
//!
//! One that does not fit keeps out none that does, and nothing that runs has to make way, whatever its priority.

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::change::{self, Change};
use super::{pressure, resize};
use crate::model::{
    Admitted, AdmittedPod, Asked, NodeInfo, ObservedPod, Packed, PendingResize, PodKey, PodRecord, PodUid, Requests,
    Room, Unmet, Unplaced, requests_of,
};

/// What room makes of admitted pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// Those that are others by it: without a place for want of room, with one although admission saw none, or with the cpu
    /// and memory of before.
    pub pods: BTreeMap<PodKey, Arc<AdmittedPod>>,
}

impl Judged {
    /// Whether a pod waits for room.
    pub fn is_waiting(&self) -> bool {
        self.pods.values().any(|pod| pod.unplaced.is_some() || pod.pending_resize.is_some())
    }

    /// Puts the pods where those of admission are.
    pub fn put_into(self, admitted: &mut Admitted) {
        admitted.pods.extend(self.pods);
    }
}

/// The incarnations of pods that have room, each with its generation. What is among them no more has left some.
pub fn holders<P: Borrow<ObservedPod>>(observed: &[P]) -> BTreeSet<(PodUid, i64)> {
    let records = observed.iter().map(record_of).filter(|record| has_room(record));
    records.map(|record| (record.uid.clone(), record.generation)).collect()
}

fn record_of<P: Borrow<ObservedPod>>(pod: &P) -> &PodRecord {
    let pod: &ObservedPod = pod.borrow();
    &pod.record
}

/// Judges the pods of a revision beside what is there. `before` is what it was made of the last time.
pub fn room<P: Borrow<ObservedPod>>(
    admitted: &Admitted,
    observed: &[P],
    node: &NodeInfo,
    before: Option<&Admitted>,
) -> Judged {
    let mut round = Round { room: Room::of(node), is_fleet: node.fleet, judged: Judged::default() };
    if round.room.is_endless() {
        return round.judged;
    }
    let records: BTreeMap<&PodKey, &PodRecord> =
        observed.iter().map(record_of).map(|record| (&record.key, record)).collect();
    let (mut resized, mut coming) = (Vec::new(), Vec::new());
    for (key, pod) in admitted.pods.iter().filter(|(_, pod)| is_for_room(pod)) {
        match standing(pod, records.get(key).copied()) {
            Standing::Stays => round.keep(pod),
            Standing::Over => {}
            Standing::Comes => coming.push(pod),
            Standing::Resized(realised) => resized.push((pod, realised)),
        }
    }
    // What is taken is of no interest to what stays.
    if resized.is_empty() && coming.is_empty() {
        return round.judged;
    }
    let mut own = round.taken(&records);
    let mut candidate = |pod, effective: &Packed<Pod>| Candidate::new(pod, effective, &mut own, before);
    let mut resized: Vec<_> = resized
        .into_iter()
        .map(|(pod, realised)| (candidate(pod, &resize::settled(realised, pod)), realised))
        .collect();
    let mut coming: Vec<_> = coming.into_iter().map(|pod| candidate(pod, &pod.effective)).collect();
    // Stable: among equals by name.
    resized.sort_by_key(|(candidate, _)| Reverse(candidate.asked.priority));
    coming.sort_by_key(|candidate| (candidate.is_new, Reverse(candidate.asked.priority)));
    resized.iter().for_each(|(candidate, realised)| round.resize(candidate, realised));
    coming.iter().for_each(|candidate| round.come(candidate));
    round.judged
}

/// Whether a pod takes room.
fn has_room(record: &PodRecord) -> bool {
    (record.terminal.is_none() || pressure::comes_back(record)) && record.realised.unplaced.is_none()
}

/// Whether nothing but room decides over a pod.
fn is_for_room(pod: &AdmittedPod) -> bool {
    pod.unplaced.as_deref().is_none_or(|unplaced| unplaced.unmet == Unmet::NodeResources)
}

/// What a pod is to what is there of it.
enum Standing<'a> {
    /// It runs on, and asks for no more than before.
    Stays,
    /// It runs on, and is to have other amounts than as which it was realised.
    Resized(&'a AdmittedPod),
    /// It is begun.
    Comes,
    /// It has ended.
    Over,
}

fn standing<'a>(pod: &AdmittedPod, record: Option<&'a PodRecord>) -> Standing<'a> {
    let Some(record) = record else { return Standing::Comes };
    if record.deletion.is_some() || record.realised.unplaced.is_some() {
        return Standing::Comes;
    }
    match change::of_record(record, pod, None) {
        Change::Recreate(_) => Standing::Comes,
        Change::None | Change::InPlace(_) if !has_room(record) => Standing::Over,
        Change::InPlace(fields) if fields.iter().any(resize::is_amount) => Standing::Resized(&record.realised),
        Change::None | Change::InPlace(_) => Standing::Stays,
    }
}

/// A pod that is judged.
struct Candidate<'a> {
    asked: Asked,
    /// What is taken for what is there of it.
    own: Requests,
    /// It was not let in before.
    is_new: bool,
    pod: &'a Arc<AdmittedPod>,
}

impl<'a> Candidate<'a> {
    fn new(
        pod: &'a Arc<AdmittedPod>,
        effective: &Packed<Pod>,
        own: &mut BTreeMap<&PodKey, Requests>,
        before: Option<&Admitted>,
    ) -> Self {
        let known = before.and_then(|before| before.pods.get(&pod.key));
        Self {
            asked: Asked::of_packed(effective),
            own: own.remove(&pod.key).unwrap_or_default(),
            is_new: known.is_none_or(|known| known.unplaced.is_some()),
            pod,
        }
    }

    /// What it asks for more of than it has.
    fn grown(&self) -> Requests {
        let mut grown = self.asked.requests.clone();
        grown.retain(|resource, amount| self.own.get(resource).is_none_or(|own| *amount > *own));
        grown
    }
}

struct Round {
    room: Room,
    is_fleet: bool,
    judged: Judged,
}

impl Round {
    /// Gives what is there its room: what that is, by pod.
    fn taken<'a>(&mut self, records: &BTreeMap<&'a PodKey, &PodRecord>) -> BTreeMap<&'a PodKey, Requests> {
        let holders = records.iter().filter(|(_, record)| has_room(record));
        let own: BTreeMap<_, _> =
            holders.map(|(key, record)| (*key, requests_of(&record.realised.effective))).collect();
        own.values().for_each(|requests| self.room.take(requests));
        own
    }

    fn put(&mut self, pod: AdmittedPod) {
        self.judged.pods.insert(pod.key.clone(), Arc::new(pod));
    }

    /// It has its place, also where admission says that it has none.
    fn keep(&mut self, pod: &Arc<AdmittedPod>) {
        if pod.unplaced.is_some() {
            self.put(AdmittedPod { unplaced: None, ..(**pod).clone() });
        }
    }

    /// A successor that asks for no more has the place of the one before, also where more runs than the machine has room for.
    fn come(&mut self, candidate: &Candidate<'_>) {
        let Candidate { asked, own, pod, .. } = candidate;
        let unplaced = Unplaced::for_room(asked, &self.room.lacks(&candidate.grown(), own), self.is_fleet);
        if unplaced.is_none() {
            self.room.exchange(own, &asked.requests);
        }
        if pod.unplaced.as_deref() != unplaced.as_ref() {
            self.put(AdmittedPod { unplaced: unplaced.map(Box::new), ..(***pod).clone() });
        }
    }

    /// Only what grows must be free: less of something is given whatever else there is. What is waited for is not given to
    /// others, as the scheduler counts it, unless it is waited for in vain.
    fn resize(&mut self, candidate: &Candidate<'_>, realised: &AdmittedPod) {
        let Candidate { asked, own, pod, .. } = candidate;
        let pending = PendingResize::of(&self.room.lacks(&candidate.grown(), own));
        if pending.as_ref().is_none_or(|pending| !pending.is_infeasible) {
            self.room.exchange(own, &asked.requests);
        }
        match pending {
            None => self.keep(pod),
            Some(pending) => self.put(resize::held(realised, pod, pending)),
        }
    }
}
