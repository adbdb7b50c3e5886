//! A clock that stands wherever tokio's time stands: paused and moved on by a test runtime.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::port::Clock;

/// A farther sleep than this cannot be asked of tokio's timer wheel.
const FARTHEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Time that begins at a fixed moment and goes as tokio's does.
#[derive(Clone, Copy, Debug)]
pub struct VirtualClock {
    base: Timestamp,
    begun: Instant,
}

impl VirtualClock {
    /// A clock that shows `base` now.
    pub fn new(base: Timestamp) -> Self {
        Self { base, begun: Instant::now() }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let gone = SignedDuration::try_from(self.begun.elapsed()).unwrap_or(SignedDuration::MAX);
        self.base.checked_add(gone).unwrap_or(Timestamp::MAX)
    }

    fn sleep_until(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let left = Duration::try_from(deadline.duration_since(self.now())).unwrap_or_default();
            tokio::time::sleep(left.min(FARTHEST)).await;
            // tokio's timers have a millisecond's grain and may fire within it.
            while self.now() < deadline && left <= FARTHEST {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    }
}
