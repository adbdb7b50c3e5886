//! Keeps the last report on disk for commands that find no agent, and spares the flash it may be on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::Projection;
use crate::serve::snapshot::{self, Snapshot};

/// How long a change that is no change of phase may wait for others to be written with it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes the projection's pods when they change: at once when a pod comes, goes or changes its phase, else within
/// [`PATIENCE`], and once more at the end.
pub async fn keep(path: PathBuf, mut projections: watch::Receiver<Arc<Projection>>, end: CancellationToken) {
    let mut saver = Saver::new(path);
    loop {
        let due = saver.due(&projections.borrow_and_update(), Instant::now());
        // Cancel-safe: what is not written now is written at the next turn or at the end.
        tokio::select! {
            () = end.cancelled() => break,
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                let current = projections.borrow().clone();
                saver.save(&current).await;
            }
            changed = projections.changed() => if changed.is_err() { break },
        }
    }
    // Whatever was written before: the age of the report counts from now.
    saver.written = None;
    let last = projections.borrow().clone();
    saver.save(&last).await;
}

struct Saver {
    path: PathBuf,
    /// What was written last.
    written: Option<Vec<Value>>,
    /// When what is not written yet must be.
    due: Option<Instant>,
    complained: bool,
}

impl Saver {
    fn new(path: PathBuf) -> Self {
        Self { path, written: None, due: None, complained: false }
    }

    /// When to write. Changes that keep coming do not put it off.
    fn due(&mut self, projection: &Projection, now: Instant) -> Option<Instant> {
        let pods = pods(projection);
        // Nothing is known before the first round.
        self.due = if projection.resource_version == 0 || self.written.as_ref() == Some(&pods) {
            None
        } else if self.written.as_ref().is_none_or(|before| phases(before) != phases(&pods)) {
            Some(now)
        } else {
            Some(self.due.unwrap_or(now + PATIENCE))
        };
        self.due
    }

    async fn save(&mut self, projection: &Projection) {
        let pods = pods(projection);
        // Nothing is known before the first round: an older report is better than none.
        if projection.resource_version == 0 || self.written.as_ref() == Some(&pods) {
            return;
        }
        let (path, report) = (self.path.clone(), Snapshot::of(projection, Timestamp::now()));
        let saved = tokio::task::spawn_blocking(move || snapshot::save(&path, &report)).await;
        (self.written, self.due) = (Some(pods), None);
        let failure = match saved {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        // Said once: a full disk fails at every change.
        if let Some(failure) = &failure
            && !self.complained
        {
            tracing::warn!("{failure}; while no agent runs, `get` will show an older report");
        }
        self.complained = failure.is_some();
    }
}

fn pods(projection: &Projection) -> Vec<Value> {
    Snapshot::of(projection, Timestamp::UNIX_EPOCH).pods
}

/// Which pods there are, and the phase of each.
fn phases(pods: &[Value]) -> Vec<(&Value, &Value)> {
    pods.iter().map(|pod| (&pod["metadata"]["uid"], &pod["status"]["phase"])).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::model::{MadeOf, PodKey, Projected, Served};

    fn projection(version: u64, phase: &str, restarts: u32) -> Projection {
        let value = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u"},
            "status": {"phase": phase, "restarts": restarts},
        });
        let value = Served::when_asked(|| value);
        let key = PodKey::new("default", "web").object();
        let objects = BTreeMap::from([(key, Projected { value, resource_version: version, made_of: MadeOf::Own })]);
        Projection { resource_version: version, objects: Arc::new(objects), ..Projection::default() }
    }

    #[tokio::test]
    async fn a_phase_is_written_at_once_and_the_rest_together() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshot.json");
        let mut saver = Saver::new(path.clone());
        let now = Instant::now();
        assert_eq!(saver.due(&Projection::default(), now), None, "nothing is known before the first round");
        assert_eq!(saver.due(&projection(1, "Running", 0), now), Some(now));
        saver.save(&projection(1, "Running", 0)).await;
        assert_eq!(saver.due(&projection(2, "Running", 0), now), None, "nothing of a pod changed");
        let later = now + PATIENCE / 2;
        assert_eq!(saver.due(&projection(3, "Running", 1), now), Some(now + PATIENCE));
        assert_eq!(saver.due(&projection(4, "Running", 2), later), Some(now + PATIENCE), "it is not put off");
        assert_eq!(saver.due(&projection(5, "Failed", 2), later), Some(later));
        saver.save(&projection(5, "Failed", 2)).await;
        assert_eq!(saver.due(&projection(5, "Failed", 2), later), None);
        assert_eq!(snapshot::load(&path).unwrap().unwrap().pods[0]["status"]["phase"], "Failed");
    }

    #[tokio::test]
    async fn the_end_writes_what_is_not_written_yet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshot.json");
        let (_sender, receiver) = watch::channel(Arc::new(projection(1, "Running", 3)));
        let end = CancellationToken::new();
        end.cancel();
        keep(path.clone(), receiver, end).await;
        assert_eq!(snapshot::load(&path).unwrap().unwrap().pods[0]["status"]["restarts"], 3);
    }
}
