//! The events in the run-time directory: a new agent goes on from them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keeper::{Kept, Write};
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

/// The events in their file: new ones within [`NEW`], others within [`COUNTS`].
pub struct Events {
    path: PathBuf,
    /// What was written last, or tried to be.
    written: Vec<Arc<EventRecord>>,
    /// When what is not written yet must be.
    due: Option<Instant>,
}

impl Events {
    /// In the file at `path`, which has `written`.
    pub fn new(path: PathBuf, written: Vec<Arc<EventRecord>>) -> Self {
        Self { path, written, due: None }
    }
}

impl Kept for Events {
    const LACK: &str = "the next agent will not know the newest events";

    fn due(&mut self, projection: &Projection, now: Instant) -> Option<Instant> {
        let events = &projection.events;
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

    fn write(&mut self, projection: &Projection, _: bool) -> Option<Write> {
        let (path, events) = (self.path.clone(), projection.events.clone());
        (self.written, self.due) = (events.clone(), None);
        Some(Box::new(move || events::save(&path, &events)))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    use super::super::keeper::keep;
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

    fn of(events: &[Arc<EventRecord>]) -> Projection {
        Projection { resource_version: 7, events: events.to_vec(), ..Projection::default() }
    }

    #[test]
    fn new_events_are_written_soon_and_counts_now_and_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.json");
        let restored = vec![event("Unhealthy", 1)];
        let mut kept = Events::new(path.clone(), restored.clone());
        let now = Instant::now();
        let later = now + COUNTS / 2;
        let mut due = |events: &[Arc<EventRecord>], now| kept.due(&of(events), now);
        assert_eq!(due(&restored, now), None, "it is in the file");
        assert_eq!(due(&[event("Unhealthy", 2)], now), Some(now + COUNTS));
        assert_eq!(due(&[event("Unhealthy", 3)], later), Some(now + COUNTS), "it is not put off");
        let more = vec![event("Unhealthy", 4), event("Killing", 1)];
        assert_eq!(due(&more, later), Some(later + NEW));
        assert_eq!(due(&more, later + NEW / 2), Some(later + NEW), "it is not put off");
        kept.write(&of(&more), false).unwrap()().unwrap();
        assert_eq!(kept.due(&of(&more), later), None);
        assert_eq!(events::load(&path).unwrap(), more);
    }

    #[tokio::test]
    async fn the_end_writes_what_is_not_written_yet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.json");
        let end = CancellationToken::new();
        end.cancel();
        let nothing = watch::channel(Arc::new(Projection::default())).1;
        keep(Events::new(path.clone(), vec![]), nothing, end.clone()).await;
        assert!(!path.exists(), "nothing was known yet");
        let told = vec![event("Unhealthy", 5)];
        let kept = Events::new(path.clone(), vec![event("Unhealthy", 2)]);
        keep(kept, watch::channel(Arc::new(of(&told))).1, end).await;
        assert_eq!(events::load(&path).unwrap(), told);
    }
}
