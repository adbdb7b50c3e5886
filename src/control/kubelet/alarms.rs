//! Moments that pods wait for long, such as the next token of each: one sleep for all of them.
//!
//! A clock notices that it was set by waking from time to time, and each sleep does so for itself: hundreds of pods with nothing
//! to do would wake the machine several times a second.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::port::Clock;

/// The bells that are to be rung, and when.
#[derive(Default)]
pub(super) struct Alarms {
    set: Mutex<Set>,
    /// The first moment is another one.
    changed: Notify,
}

#[derive(Default)]
struct Set {
    bells: BTreeMap<(Timestamp, u64), Arc<Notify>>,
    /// Tells those of one moment apart.
    next: u64,
}

/// A bell that will be rung, unless this is dropped before.
pub(super) struct Alarm<'a> {
    alarms: &'a Alarms,
    key: (Timestamp, u64),
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        // If it was the first one, the sleep for it goes on, and ends for nobody.
        self.alarms.lock().bells.remove(&self.key);
    }
}

impl Alarms {
    fn lock(&self) -> MutexGuard<'_, Set> {
        // Every change of the set is complete when its lock is given back.
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a bell rung at a moment, or before when the clock was set back.
    pub(super) fn set(&self, at: Timestamp, bell: &Arc<Notify>) -> Alarm<'_> {
        let mut set = self.lock();
        let key = (at, set.next);
        set.next = set.next.wrapping_add(1);
        let is_first = set.bells.keys().next().is_none_or(|first| key < *first);
        set.bells.insert(key, Arc::clone(bell));
        drop(set);
        if is_first {
            self.changed.notify_one();
        }
        Alarm { alarms: self, key }
    }

    /// Rings bells when their moments come, without end.
    pub(super) async fn ring(&self, clock: &dyn Clock) {
        loop {
            let first = self.lock().bells.keys().next().map(|(at, _)| *at);
            let sleep = async {
                match first {
                    Some(at) => clock.sleep_until(at).await,
                    None => pending().await,
                }
            };
            // Cancel-safe: a sleep holds nothing.
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = sleep => self.ring_until(first, clock.now()),
            }
        }
    }

    /// Rings what is due. A sleep that ended too early says that the clock was set back: then everybody looks anew what is.
    fn ring_until(&self, first: Option<Timestamp>, now: Timestamp) {
        let was_set_back = first.is_some_and(|first| now < first);
        let mut set = self.lock();
        let later = if was_set_back { BTreeMap::new() } else { set.bells.split_off(&(now, u64::MAX)) };
        let due = std::mem::replace(&mut set.bells, later);
        drop(set);
        due.values().for_each(|bell| bell.notify_one());
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};

    use super::*;

    /// A clock that is set by hand.
    struct Hands {
        now: Mutex<Timestamp>,
        moved: Notify,
    }

    impl Hands {
        fn set(&self, now: Timestamp) {
            *self.now.lock().unwrap() = now;
            self.moved.notify_waiters();
        }
    }

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            *self.now.lock().unwrap()
        }

        fn sleep_until(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(async move {
                loop {
                    let (before, moved) = (self.now(), self.moved.notified());
                    if before >= deadline {
                        return;
                    }
                    moved.await;
                    if self.now() < before {
                        return;
                    }
                }
            })
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    async fn was_rung(bell: &Notify) -> bool {
        tokio::select! {
            biased;
            () = bell.notified() => true,
            () = std::future::ready(()) => false,
        }
    }

    /// Which bells are rung once the clock shows this.
    async fn rung(
        clock: &Hands,
        now: i64,
        ringing: Pin<&mut impl Future<Output = ()>>,
        bells: &[Arc<Notify>],
    ) -> Vec<bool> {
        clock.set(at(now));
        tokio::select! {
            biased;
            () = ringing => unreachable!(),
            () = std::future::ready(()) => {}
        }
        let mut all = Vec::new();
        for bell in bells {
            all.push(was_rung(bell).await);
        }
        all
    }

    #[tokio::test]
    async fn each_bell_is_rung_once_at_its_moment_and_all_when_the_clock_is_set_back() {
        let (clock, alarms) = (Hands { now: Mutex::new(at(100)), moved: Notify::new() }, Alarms::default());
        let bells: Vec<Arc<Notify>> = (0..4).map(|_| Arc::default()).collect();
        let mut ringing = pin!(alarms.ring(&clock));
        let _later = alarms.set(at(300), &bells[0]);
        assert_eq!(rung(&clock, 110, ringing.as_mut(), &bells).await, [false; 4]);
        // An earlier one, one that nobody waits for any more, and two of one moment.
        drop(alarms.set(at(150), &bells[1]));
        let (_one, _other) = (alarms.set(at(200), &bells[2]), alarms.set(at(200), &bells[3]));
        assert_eq!(rung(&clock, 199, ringing.as_mut(), &bells).await, [false; 4]);
        assert_eq!(rung(&clock, 200, ringing.as_mut(), &bells).await, [false, false, true, true]);
        assert_eq!(rung(&clock, 201, ringing.as_mut(), &bells).await, [false; 4]);
        let _far = alarms.set(at(400), &bells[1]);
        assert_eq!(rung(&clock, 50, ringing.as_mut(), &bells).await, [true, true, false, false]);
        assert_eq!(rung(&clock, 1000, ringing.as_mut(), &bells).await, [false; 4]);
    }
}
