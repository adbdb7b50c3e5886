//! Events that are equal or similar as one, and no more of them than a source may tell, so that what a container says, which may be
//! different each time, leaves room for what else there is to tell. As client-go has it (tools/record/events_cache.go of 1.36,
//! `EventCorrelate`): first similar ones are combined, then equal ones counted, then those beyond the allowance are counted alone,
//! unless they are the first of their reason.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::model::{EventRecord, EventType};

/// So many events with different messages, one for a reason after the other, are combined, as long as no more time than this lies
/// between two (`defaultAggregateMaxEvents`, `defaultAggregateIntervalInSeconds`).
const MANY: usize = 10;
const TOGETHER: SignedDuration = SignedDuration::from_secs(600);
/// So many a source may tell of one object at once, and one more after each of these times (`defaultSpamBurst`, `defaultSpamQPS`).
const BURST: i64 = 25;
const ONE_MORE: i64 = 300_000;
/// So many similar ones are kept at all.
const KEPT: usize = 25;
/// So many sources with their objects are remembered (`maxLruCacheEntries`).
const SOURCES: usize = 4096;
/// How the message of one begins that stands for others (`EventAggregatorByReasonMessageFunc`).
const COMBINED: &str = "(combined from similar events): ";

/// The events that are told.
#[derive(Debug, Default)]
pub struct EventLog {
    told: Vec<Arc<EventRecord>>,
    /// By source and the object's uid.
    sources: BTreeMap<(String, String), Source>,
}

/// What is remembered of a source of events about an object.
#[derive(Debug)]
struct Source {
    allowance: Allowance,
    /// By reason, and whether it is a warning.
    groups: BTreeMap<(String, bool), Group>,
    /// What it was not told any more: it is counted, and told with the next equal one.
    untold: Vec<EventRecord>,
}

/// Which messages were told lately; of each a digest.
#[derive(Debug, Default)]
struct Group {
    messages: BTreeSet<u64>,
    last: Timestamp,
}

impl Group {
    /// Whether another event with this message is one of many.
    fn is_one_of_many(&mut self, message: &str, at: Timestamp) -> bool {
        if at.duration_since(self.last) > TOGETHER {
            self.messages.clear();
        }
        let mut hasher = DefaultHasher::new();
        message.hash(&mut hasher);
        self.messages.insert(hasher.finish());
        self.last = at;
        let is_one = self.messages.len() >= MANY;
        if is_one {
            self.messages.pop_first();
        }
        is_one
    }
}

/// What a source may still tell of an object.
#[derive(Debug)]
struct Allowance {
    /// Milliseconds of [`ONE_MORE`].
    credit: i64,
    at: Timestamp,
}

impl Allowance {
    fn new(at: Timestamp) -> Self {
        Self { credit: BURST * ONE_MORE, at }
    }

    /// Whether there may be one more. A clock that was set back brings nothing.
    fn take(&mut self, at: Timestamp) -> bool {
        let gained = i64::try_from(at.duration_since(self.at).as_millis()).unwrap_or(i64::MAX).max(0);
        self.credit = self.credit.saturating_add(gained).min(BURST * ONE_MORE);
        self.at = at;
        let may = self.credit >= ONE_MORE;
        if may {
            self.credit -= ONE_MORE;
        }
        may
    }
}

impl EventLog {
    /// One that goes on from these, the newest of them, with a whole allowance for each source. As with a kubelet that begins anew:
    /// what it may tell is nowhere on record. Neither is what was not told, and what is kept has the same bounds.
    pub fn after(mut told: Vec<Arc<EventRecord>>, bound: usize) -> Self {
        told.drain(..told.len().saturating_sub(bound));
        Self { told, sources: BTreeMap::new() }
    }

    /// What is told, the newest last to be new.
    pub fn told(&self) -> &[Arc<EventRecord>] {
        &self.told
    }

    /// Adds an event. An equal one (object, field path, reason, message) is counted instead, and of many similar ones, which differ
    /// in their message, one that tells the last. Beyond `bound` the one that was last seen longest ago goes.
    pub fn add(&mut self, mut new: EventRecord, bound: usize) {
        let key = (new.component.clone(), new.uid.clone());
        let mut source = self.sources.remove(&key).unwrap_or_else(|| Source {
            allowance: Allowance::new(new.last),
            groups: BTreeMap::new(),
            untold: Vec::new(),
        });
        let group = source.groups.entry((new.reason.clone(), new.kind == EventType::Warning)).or_default();
        if group.is_one_of_many(&new.message, new.last) {
            new.message.insert_str(0, COMBINED);
        }
        let place = source.untold.iter().position(|event| is_same(event, &new));
        if let Some(before) = place.map(|place| source.untold.remove(place)) {
            (new.count, new.first) = (new.count.saturating_add(before.count), new.first.min(before.first));
        }
        // There are few reasons: what a container ended for is not to be lost in what its probes say. (client-go loses it.)
        let is_first = !self.told.iter().any(|event| is_similar(event, &new) && event.field_path == new.field_path);
        if source.allowance.take(new.last) || is_first {
            self.tell(new, bound);
        } else {
            source.untold.push(new);
            while source.untold.len() > KEPT {
                source.untold.remove(0);
            }
        }
        if self.sources.len() >= SOURCES {
            let oldest = self.sources.iter().min_by_key(|(_, source)| source.allowance.at).map(|(key, _)| key.clone());
            oldest.map(|key| self.sources.remove(&key));
        }
        self.sources.insert(key, source);
    }

    fn tell(&mut self, new: EventRecord, bound: usize) {
        if let Some(known) = self.told.iter_mut().find(|event| is_same(event, &new)) {
            let known = Arc::make_mut(known);
            known.count = known.count.saturating_add(new.count);
            known.first = known.first.min(new.first);
            // The newest is the one that is told now, whatever the clock says.
            (known.last, known.message) = (known.last.max(new.last), new.message);
            return;
        }
        if self.told.iter().filter(|e| is_similar(e, &new)).count() >= KEPT {
            remove_oldest(&mut self.told, |e| is_similar(e, &new));
        }
        self.told.push(Arc::new(new));
        while self.told.len() > bound {
            remove_oldest(&mut self.told, |_| true);
        }
    }
}

/// Whether a known event tells this one, which began then: one in the same words that was seen since, or one that stands for
/// others, or one of the very same moment, which a program may have worded otherwise.
pub fn is_told(known: &[Arc<EventRecord>], event: &EventRecord, since: Timestamp) -> bool {
    let is_it = |e: &EventRecord| {
        let is_of_it = e.field_path == event.field_path;
        let is_worded_so = told_as(&e.message) == COMBINED || is_of_it && e.message == event.message;
        is_of_it && e.last == event.last || e.last >= since && is_worded_so
    };
    known.iter().any(|e| is_similar(e, event) && is_it(e))
}

/// Removes the one of these that was last seen longest ago.
fn remove_oldest(events: &mut Vec<Arc<EventRecord>>, which: impl Fn(&EventRecord) -> bool) {
    let these = events.iter().enumerate().filter(|(_, e)| which(e));
    if let Some(index) = these.min_by_key(|(_, e)| e.last).map(|(index, _)| index) {
        events.remove(index);
    }
}

/// What tells a message from others: one that stands for several is the same whichever it tells.
pub(super) fn told_as(message: &str) -> &str {
    if message.starts_with(COMBINED) { COMBINED } else { message }
}

/// Whether they differ in their message and their part of the object at most (`EventAggregatorByReasonFunc`).
fn is_similar(a: &EventRecord, b: &EventRecord) -> bool {
    (&a.component, &a.uid, &a.object, a.kind, &a.reason) == (&b.component, &b.uid, &b.object, b.kind, &b.reason)
}

/// Whether one counts the other: one that stands for several counts them of each part of the object.
fn is_same(a: &EventRecord, b: &EventRecord) -> bool {
    let is_told_alike = told_as(&a.message) == told_as(&b.message);
    is_similar(a, b) && is_told_alike && (told_as(&a.message) == COMBINED || a.field_path == b.field_path)
}
