//! The machine's clock.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::port::Clock;

/// Sleeping is done in slices of this length at most, so that a clock that is set is noticed.
const SLICE: Duration = Duration::from_secs(30);
/// Clocks that drift apart by less than this were not set.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// Wall-clock time: records, back-offs and deadlines outlive the process, so they are in it.
///
/// A sleep over which the clock is set back ends early: its deadline may be a year away now, and whoever waits has to look
/// again.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep_until(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                let begun = (Timestamp::now(), Instant::now());
                // Negative once the deadline has passed.
                let Ok(left) = Duration::try_from(deadline.duration_since(begun.0)) else { return };
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(SLICE)).await;
                if was_set_back(Timestamp::now().duration_since(begun.0), begun.1.elapsed()) {
                    return;
                }
            }
        })
    }
}

/// Whether the clock shows less time than has gone by.
fn was_set_back(shown: SignedDuration, gone: Duration) -> bool {
    SignedDuration::try_from(gone).is_ok_and(|gone| gone.saturating_sub(shown) > TOLERANCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_is_noticed_and_one_that_is_set_forward_is_not() {
        let seconds = SignedDuration::from_secs;
        for (shown, expected) in [(30, false), (29, false), (27, true), (-86_400, true), (4_000_000, false)] {
            assert_eq!(was_set_back(seconds(shown), Duration::from_secs(30)), expected, "{shown}");
        }
    }

    #[tokio::test]
    async fn a_deadline_in_the_past_is_over_at_once() {
        SystemClock.sleep_until(Timestamp::UNIX_EPOCH).await;
        let begun = SystemClock.now();
        SystemClock.sleep_until(begun + SignedDuration::from_millis(20)).await;
        assert!(SystemClock.now() >= begun + SignedDuration::from_millis(20));
    }
}
