//! Keeps the events in the run-time directory, beside the loop: a new agent goes on from them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::{EventRecord, Projection};
use crate::report::event_subject;
use crate::serve::events;

/// How long an event that is not in the file may wait for others to be written with it.
const NEW: Duration = Duration::from_secs(5);
/// How long counts and times may: the directory may be on flash, which lasts for years.
const COUNTS: Duration = Duration::from_secs(60);

/// The events of the agent before this one. Without them it begins anew, and says why.
pub fn recall(path: &Path) -> Vec<Arc<EventRecord>> {
    events::load(path).unwrap_or_else(|error| {
        tracing::warn!("{error}; events are counted anew");
        Vec::new()
    })
}

/// Writes the projection's events when they change: new ones within [`NEW`], others within [`COUNTS`], and once more at the end.
/// `written` is what the file has.
pub async fn keep(
    path: PathBuf,
    written: Vec<Arc<EventRecord>>,
    mut projections: watch::Receiver<Arc<Projection>>,
    end: CancellationToken,
) {
    let mut keeper = Keeper { path, written, due: None, complained: false };
    loop {
        let due = keeper.due(&projections.borrow_and_update().events, Instant::now());
        // Cancel-safe: what is not written now is written at the next turn or at the end.
        tokio::select! {
            () = end.cancelled() => break,
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                let events = projections.borrow().events.clone();
                keeper.save(events).await;
            }
            changed = projections.changed() => if changed.is_err() { break },
        }
    }
    let last = projections.borrow().clone();
    // Nothing is known before the first round.
    if last.resource_version > 0 {
        keeper.save(last.events.clone()).await;
    }
}

struct Keeper {
    path: PathBuf,
    /// What was written last, or tried to be.
    written: Vec<Arc<EventRecord>>,
    /// When what is not written yet must be.
    due: Option<Instant>,
    complained: bool,
}

impl Keeper {
    /// When to write. Changes that keep coming do not put it off.
    fn due(&mut self, events: &[Arc<EventRecord>], now: Instant) -> Option<Instant> {
        let are_same = |(a, b): (&Arc<EventRecord>, &Arc<EventRecord>)| Arc::ptr_eq(a, b);
        if events.len() == self.written.len() && events.iter().zip(&self.written).all(are_same) {
            self.due = None;
            return None;
        }
        let known: BTreeSet<String> = self.written.iter().map(|event| event_subject(event)).collect();
        let is_new = events.iter().any(|event| !known.contains(&event_subject(event)));
        let due = now + if is_new { NEW } else { COUNTS };
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
        self.due
    }

    async fn save(&mut self, events: Vec<Arc<EventRecord>>) {
        let (path, saved) = (self.path.clone(), events.clone());
        let saved = tokio::task::spawn_blocking(move || events::save(&path, &saved)).await;
        (self.written, self.due) = (events, None);
        let failure = match saved {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        // Said once: a full disk fails at every change.
        if let Some(failure) = &failure
            && !self.complained
        {
            tracing::warn!("{failure}; the next agent will not know the newest events");
        }
        self.complained = failure.is_some();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventType, PodKey};

    fn event(reason: &str, count: u32) -> Arc<EventRecord> {
        let at = jiff::Timestamp::from_second(1_700_000_000 + i64::from(count)).unwrap();
        Arc::new(EventRecord {
            object: PodKey::new("default", "web").object(),
            uid: "u".into(),
            field_path: None,
            kind: EventType::Warning,
            reason: reason.into(),
            message: "m".into(),
            component: "kubelet".into(),
            first: jiff::Timestamp::from_second(1_700_000_000).unwrap(),
            last: at,
            count,
        })
    }

    #[tokio::test]
    async fn new_events_are_written_soon_and_counts_now_and_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.json");
        let restored = vec![event("Unhealthy", 1)];
        let mut keeper = Keeper { path: path.clone(), written: restored.clone(), due: None, complained: false };
        let now = Instant::now();
        let later = now + COUNTS / 2;
        assert_eq!(keeper.due(&restored, now), None, "it is in the file");
        let counted = vec![event("Unhealthy", 2)];
        assert_eq!(keeper.due(&counted, now), Some(now + COUNTS));
        assert_eq!(keeper.due(&[event("Unhealthy", 3)], later), Some(now + COUNTS), "it is not put off");
        let more = vec![event("Unhealthy", 4), event("Killing", 1)];
        assert_eq!(keeper.due(&more, later), Some(later + NEW));
        assert_eq!(keeper.due(&more, later + NEW / 2), Some(later + NEW), "it is not put off");
        keeper.save(more.clone()).await;
        assert_eq!(keeper.due(&more, later), None);
        assert_eq!(events::load(&path).unwrap(), more);
    }

    #[tokio::test]
    async fn the_end_writes_what_is_not_written_yet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.json");
        let end = CancellationToken::new();
        end.cancel();
        let nothing = watch::channel(Arc::new(Projection::default())).1;
        keep(path.clone(), vec![], nothing, end.clone()).await;
        assert!(!path.exists(), "nothing was known yet");
        let told = vec![event("Unhealthy", 5)];
        let projection = Projection { resource_version: 7, events: told.clone(), ..Projection::default() };
        keep(path.clone(), vec![event("Unhealthy", 2)], watch::channel(Arc::new(projection)).1, end).await;
        assert_eq!(events::load(&path).unwrap(), told);
    }
}
