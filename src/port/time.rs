//! The clock.

use std::future::Future;
use std::pin::Pin;

use jiff::Timestamp;

/// Time as the control loop sees it; virtual in simulations.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Resolves at `deadline`, at once if it has passed; earlier when the clock was set back: whoever waits looks again.
    fn sleep_until(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}
