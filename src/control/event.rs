//! What wakes the loop.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::kubelet::after;
use crate::port::Clock;

/// Pods that start together change many times a second; what is published is the whole each time.
const CHANGES_APART: Duration = Duration::from_millis(50);

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
    /// The next change of pods is not told before this.
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
        Self { cancel, clock, resync, next_resync: None, hints: Some(hints), pods, quiet_until: None }
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
            let quiet_until = self.quiet_until.filter(|until| *until <= after(self.clock.now(), CHANGES_APART));
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
                    self.quiet_until = Some(after(self.clock.now(), CHANGES_APART));
                    return Event::PodsChanged;
                }
                () = sleep(alarms.status) => return Event::StatusDue,
            }
        }
    }
}
