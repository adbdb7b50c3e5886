//! The machine's clock.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;

use crate::port::Clock;

/// Sleeping is done in slices of this length at most, so that a clock that is set is noticed.
const SLICE: Duration = Duration::from_secs(30);

/// Wall-clock time: records, back-offs and deadlines outlive the process, so they are in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep_until(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                // Negative once the deadline has passed.
                let Ok(left) = Duration::try_from(deadline.duration_since(Timestamp::now())) else { return };
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(SLICE)).await;
            }
        })
    }
}
