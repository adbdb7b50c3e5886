//! Events that are equal or similar as one, so that what a container says, which may be different each time, leaves room for what
//! else there is to tell. Much as client-go has it (tools/record/events_cache.go, `EventAggregate`); equal ones are counted
//! without a bound, for they take no room.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::model::EventRecord;

/// So many events with different messages about one thing are told one by one, as long as no more time than this lies between
/// one and the next (`defaultAggregateMaxEvents`, less the one that stands for the others, `defaultAggregateIntervalInSeconds`).
const APART: usize = 9;
const TOGETHER: SignedDuration = SignedDuration::from_secs(600);
/// So many about one thing are kept at all (`defaultSpamBurst`).
const KEPT: usize = 25;
/// How the message of one begins that stands for others (`EventAggregatorByReasonMessageFunc`).
const COMBINED: &str = "(combined from similar events): ";

/// Adds an event. An equal one (object, field path, reason, message) is counted instead, and of many similar ones, which differ in
/// their message, one that tells the last. Beyond `bound` the one that was last seen longest ago goes.
pub fn aggregate(events: &mut Vec<Arc<EventRecord>>, mut new: EventRecord, bound: usize) {
    let is_known = events.iter().any(|e| is_similar(e, &new) && e.message == new.message);
    if !is_known && is_one_of_many(events, &new) {
        new.message.insert_str(0, COMBINED);
    }
    let is_same = |e: &EventRecord| is_similar(e, &new) && told_as(&e.message) == told_as(&new.message);
    if let Some(known) = events.iter_mut().find(|e| is_same(e)) {
        let known = Arc::make_mut(known);
        known.count = known.count.saturating_add(new.count);
        known.first = known.first.min(new.first);
        // The newest is the one that is told now, whatever the clock says.
        (known.last, known.message) = (known.last.max(new.last), new.message);
        return;
    }
    if events.iter().filter(|e| is_similar(e, &new)).count() >= KEPT {
        remove_oldest(events, |e| is_similar(e, &new));
    }
    events.push(Arc::new(new));
    while events.len() > bound {
        remove_oldest(events, |_| true);
    }
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

/// Whether they differ in their message at most.
fn is_similar(a: &EventRecord, b: &EventRecord) -> bool {
    (&a.uid, &a.object, &a.field_path, &a.reason) == (&b.uid, &b.object, &b.field_path, &b.reason)
}

/// Whether as many similar ones were told shortly before as are told one by one, or one that stands for others.
fn is_one_of_many(events: &[Arc<EventRecord>], new: &EventRecord) -> bool {
    // A clock may have been set back.
    let lately = |e: &EventRecord| new.last.duration_since(e.last).abs() <= TOGETHER;
    let mut before = events.iter().filter(|e| is_similar(e, new) && lately(e));
    before.clone().count() >= APART || before.any(|e| told_as(&e.message) == COMBINED)
}
