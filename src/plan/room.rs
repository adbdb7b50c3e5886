//! For which pods there is room: who is there first stays, the others are let in as far as there is some left.
//!
//! | the pod | what is taken for it | what becomes of it |
//! |---|---|---|
//! | runs | what it was given | stays, whatever the machine has by now |
//! | runs, and is to have more | that, and for those that come what it waits for | is given it when it fits; it waits, and for good when the machine never has so much |
//! | is going | what it was given, until it is gone | its successor is judged as one that comes, with its room free, and only for what it asks for more of |
//! | was let in before and is on no record yet | what it asked for then, and asks for still | as a successor |
//! | comes, waits, or failed for want of room | what it asks for, once it fits | those that were let in before, then those of higher priority, then by name |
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
    Admitted, AdmittedPod, Asked, NOT_PLACED, NodeInfo, ObjectKey, ObservedPod, Packed, PendingResize, PodKey,
    PodRecord, PodUid, Requests, Room, Unmet, Unplaced, requests_of,
};

/// What room makes of admitted pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// Those that are others by it: without a place for want of room, with one although admission saw none, or with the cpu
    /// and memory of before.
    pub pods: BTreeMap<PodKey, Arc<AdmittedPod>>,
    /// A pod waits for room that this machine may come to have.
    pub is_waiting: bool,
}

impl Judged {
    /// Puts the pods where those of admission are. What admission said of those that have a place after all goes.
    pub fn put_into(self, admitted: &mut Admitted) {
        let had_none = |key: &PodKey| admitted.pods.get(key).is_some_and(|pod| pod.unplaced.is_some());
        let placed = self.pods.values().filter(|pod| pod.unplaced.is_none() && had_none(&pod.key));
        let placed: BTreeSet<ObjectKey> = placed.map(|pod| pod.key.object()).collect();
        if !placed.is_empty() {
            let is_of = |object: &Option<ObjectKey>| object.as_ref().is_some_and(|key| placed.contains(key));
            admitted.diagnostics.0.retain(|told| told.rule != NOT_PLACED || !is_of(&told.object));
        }
        admitted.pods.extend(self.pods);
    }
}

/// The incarnations of pods that have room, each with its generation. What is among them no more has left some.
pub fn holders<P: Borrow<ObservedPod>>(observed: &[P]) -> BTreeSet<(&PodUid, i64)> {
    let records = observed.iter().map(record_of).filter(|record| has_room(record));
    records.map(|record| (&record.uid, record.generation)).collect()
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
    judge(admitted, observed, node, &When::Now(before))
}

/// The same once what goes is gone and what changes is changed: which pods wait even then.
pub fn room_at_last<P: Borrow<ObservedPod>>(admitted: &Admitted, observed: &[P], node: &NodeInfo) -> Judged {
    judge(admitted, observed, node, &When::AtLast)
}

/// For when pods are judged.
enum When<'a> {
    /// With what was made of the revision the last time.
    Now(Option<&'a Admitted>),
    AtLast,
}

fn judge<P: Borrow<ObservedPod>>(admitted: &Admitted, observed: &[P], node: &NodeInfo, when: &When<'_>) -> Judged {
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
    let holders = records.iter().filter(|(_, record)| has_room(record));
    let mut held: Held<'_> = holders.map(|(key, record)| (*key, requests_of(&record.realised.effective))).collect();
    match when {
        When::Now(before) => {
            let unknown = coming.iter().filter(|pod| !records.contains_key(&pod.key));
            held.extend(unknown.filter_map(|pod| promised(pod, *before)));
        }
        When::AtLast => held.retain(|key, _| admitted.pods.get(*key).is_some_and(|pod| remains(pod, records[*key]))),
    }
    let mut candidate = |pod, effective: &Packed<Pod>| Candidate::new(pod, effective, &mut held, when);
    let mut resized: Vec<_> = resized
        .into_iter()
        .map(|(pod, realised)| (candidate(pod, &resize::settled(realised, pod)), realised))
        .collect();
    let mut coming: Vec<_> = coming.into_iter().map(|pod| candidate(pod, &pod.effective)).collect();
    // Stable: among equals by name.
    resized.sort_by_key(|(candidate, _)| Reverse(candidate.asked.priority));
    coming.sort_by_key(|candidate| (candidate.is_new, Reverse(candidate.asked.priority)));
    held.values().for_each(|requests| round.room.take(requests));
    let deferred = resized.iter().filter(|(candidate, realised)| round.resize(candidate, realised));
    let deferred: Vec<_> = deferred.map(|(candidate, _)| candidate).collect();
    deferred.into_iter().for_each(|candidate| round.room.exchange(&candidate.own, &candidate.asked.requests));
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
    fn new(pod: &'a Arc<AdmittedPod>, effective: &Packed<Pod>, held: &mut Held<'_>, when: &When<'_>) -> Self {
        let asked = Asked::of_packed(effective);
        let (known, own) = match when {
            When::Now(before) => (before.and_then(|before| before.pods.get(&pod.key)), held.get(&pod.key)),
            When::AtLast => {
                // What it asks for no more it has no more then.
                if let Some(own) = held.get_mut(&pod.key) {
                    *own = least(own, &asked.requests);
                }
                (None, held.get(&pod.key))
            }
        };
        Self {
            own: own.cloned().unwrap_or_default(),
            asked,
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

/// What both ask for.
fn least(a: &Requests, b: &Requests) -> Requests {
    let both = |(resource, amount): (&String, &i128)| Some((resource.clone(), *amount.min(b.get(resource)?)));
    a.iter().filter_map(both).collect()
}

/// What is taken, by pod.
type Held<'a> = BTreeMap<&'a PodKey, Requests>;

/// A pod on no record has the room that it had when it was judged last, as far as it asks for it still: a successor between
/// the end of the one before and its own beginning. Nothing on disk says so much: an agent that begins in that gap lets such
/// a pod in as any other that comes.
fn promised<'a>(pod: &'a AdmittedPod, before: Option<&Admitted>) -> Option<(&'a PodKey, Requests)> {
    let known = before?.pods.get(&pod.key).filter(|known| known.unplaced.is_none())?;
    Some((&pod.key, least(&requests_of(&known.effective), &requests_of(&pod.effective))))
}

/// Whether what is there of a pod, or a successor of it, has room at last.
fn remains(pod: &AdmittedPod, record: &PodRecord) -> bool {
    is_for_room(pod) || matches!(standing(pod, Some(record)), Standing::Stays | Standing::Resized(_))
}

struct Round {
    room: Room,
    is_fleet: bool,
    judged: Judged,
}

impl Round {
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
        // Admission tells of one that has none even when it is alone.
        self.judged.is_waiting |= unplaced.is_some() && pod.unplaced.is_none();
        if pod.unplaced.as_deref() != unplaced.as_ref() {
            self.put(AdmittedPod { unplaced: unplaced.map(Box::new), ..(***pod).clone() });
        }
    }

    /// Only what grows must be free: less of something is given whatever else there is. Returns whether it is waited for: that is
    /// not given to pods that come, as the scheduler counts it, but to others that run, as the kubelet does; and not kept when
    /// it is waited for in vain. In vain means of what grows here; the kubelet asks it of all that the pod has.
    fn resize(&mut self, candidate: &Candidate<'_>, realised: &AdmittedPod) -> bool {
        let Candidate { asked, own, pod, .. } = candidate;
        let Some(pending) = PendingResize::of(&self.room.lacks(&candidate.grown(), own)) else {
            self.room.exchange(own, &asked.requests);
            self.keep(pod);
            return false;
        };
        let is_deferred = !pending.is_infeasible;
        self.judged.is_waiting |= is_deferred;
        self.put(resize::held(realised, pod, pending));
        is_deferred
    }
}
