//! What wakes the loop.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::kubelet::after;
use crate::port::Clock;

/// Pods that start together change many times a second; what is published is the whole each time. So it is published no more
/// often than that, and takes no more than this part of the time as long as that is often enough.
const CHANGES_APART: Duration = Duration::from_millis(50);
const PART: u32 = 30;
const AT_MOST_APART: Duration = Duration::from_millis(500);

/// Everything that may happen to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The agent is to end.
    Shutdown,
    /// Something may have changed in the directory.
    SourceHint,
    /// It is time to look although nothing hints at it.
    Resync,
    /// What failed may be tried again.
    Retry,
    /// A pod changed.
    PodsChanged,
    /// The status document may be written now.
    StatusDue,
}

/// Where the events come from.
pub(super) struct Events {
    pub(super) cancel: CancellationToken,
    pub(super) clock: Arc<dyn Clock>,
    /// Zero: no resync.
    pub(super) resync: Duration,
    next_resync: Option<Timestamp>,
    hints: Option<mpsc::Receiver<()>>,
    pods: watch::Receiver<u64>,
    /// How long it is quiet after a change of pods was told, and until when.
    quiet: Duration,
    quiet_until: Option<Timestamp>,
}

/// When the loop wants to be woken even if nothing happens.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Alarms {
    pub(super) retry: Option<Timestamp>,
    pub(super) status: Option<Timestamp>,
}

impl Events {
    pub(super) fn new(
        (clock, resync): (Arc<dyn Clock>, Duration),
        hints: mpsc::Receiver<()>,
        pods: watch::Receiver<u64>,
        cancel: CancellationToken,
    ) -> Self {
        let quiet = CHANGES_APART;
        Self { cancel, clock, resync, next_resync: None, hints: Some(hints), pods, quiet, quiet_until: None }
    }

    /// Publishing began then, and is over.
    pub(super) fn published_since(&mut self, began: Timestamp) {
        // A clock that was set back measures nothing.
        let took = Duration::try_from(self.clock.now().duration_since(began)).unwrap_or_default();
        self.quiet = took.saturating_mul(PART).clamp(CHANGES_APART, AT_MOST_APART);
    }

    /// The next resync is a whole period from now: a round just began.
    pub(super) fn begin_round(&mut self) {
        self.next_resync = (!self.resync.is_zero()).then(|| after(self.clock.now(), self.resync));
        // Whatever was hinted at until now is seen by the round that begins.
        while self.hints.as_mut().is_some_and(|hints| hints.try_recv().is_ok()) {}
    }

    /// The next event, the most urgent of those that are due.
    pub(super) async fn next(&mut self, alarms: Alarms) -> Event {
        loop {
            let sleep = async |deadline: Option<Timestamp>| match deadline {
                Some(deadline) => self.clock.sleep_until(deadline).await,
                None => std::future::pending().await,
            };
            let quiet_until = self.quiet_until.filter(|until| *until <= after(self.clock.now(), AT_MOST_APART));
            let change = async {
                if let Some(until) = quiet_until {
                    self.clock.sleep_until(until).await;
                }
                // The kubelet lives as long as the agent, so its side is never gone.
                let _ = self.pods.changed().await;
            };
            let hint = async {
                match &mut self.hints {
                    Some(hints) => hints.recv().await,
                    None => std::future::pending().await,
                }
            };
            // Cancel-safe: sleeps hold nothing; `recv` and `changed` take nothing when they lose.
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Event::Shutdown,
                hint = hint => match hint {
                    Some(()) => return Event::SourceHint,
                    None => {
                        tracing::warn!("nobody watches the directory any more; the resync finds what changes");
                        self.hints = None;
                    }
                },
                () = sleep(self.next_resync) => return Event::Resync,
                () = sleep(alarms.retry) => return Event::Retry,
                () = change => {
                    self.quiet_until = Some(after(self.clock.now(), self.quiet));
                    return Event::PodsChanged;
                }
                () = sleep(alarms.status) => return Event::StatusDue,
            }
        }
    }
}
