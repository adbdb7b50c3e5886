//! A clock that stands wherever tokio's time stands: paused and moved on by a test runtime, and set back by hand.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::port::Clock;

/// A farther sleep than this cannot be asked of tokio's timer wheel.
const FARTHEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Time that begins at a fixed moment and goes as tokio's does.
#[derive(Debug)]
pub struct VirtualClock {
    base: Mutex<Timestamp>,
    begun: Instant,
    was_set_back: Notify,
}

impl VirtualClock {
    /// A clock that shows `base` now.
    pub fn new(base: Timestamp) -> Self {
        Self { base: Mutex::new(base), begun: Instant::now(), was_set_back: Notify::new() }
    }

    /// Sets it back by so much; every sleep ends.
    pub fn set_back(&self, by: Duration) {
        let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        *base = base.checked_sub(by).unwrap_or(Timestamp::MIN);
        drop(base);
        self.was_set_back.notify_waiters();
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let gone = SignedDuration::try_from(self.begun.elapsed()).unwrap_or(SignedDuration::MAX);
        let base = *self.base.lock().unwrap_or_else(PoisonError::into_inner);
        base.checked_add(gone).unwrap_or(Timestamp::MAX)
    }

    fn sleep_until(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let left = Duration::try_from(deadline.duration_since(self.now())).unwrap_or_default();
            // Cancel-safe: a sleep holds nothing.
            tokio::select! {
                biased;
                () = self.was_set_back.notified() => return,
                () = tokio::time::sleep(left.min(FARTHEST)) => {}
            }
            // tokio's timers have a millisecond's grain and may fire within it.
            while self.now() < deadline && left <= FARTHEST {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    }
}
