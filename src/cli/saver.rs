//! Keeps the last report on disk for commands that find no agent, and spares the flash it may be on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::{Kind, ObjectKey, Projected, Projection};
use crate::serve::snapshot::{self, Snapshot};

/// How long a change that is no change of phase may wait for others to be written with it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a change of phase may, after the last one: many pods that start at once are written together.
const APART: Duration = Duration::from_secs(1);

/// Writes the projection's pods when they change: when a pod comes, goes or changes its phase at once, or [`APART`] from the
/// last time, else within [`PATIENCE`], and once more at the end.
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

/// What is to be known of a pod.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    /// The version of its object.
    version: u64,
    uid: Value,
    phase: Value,
}

impl Seen {
    fn of(projected: &Projected) -> Self {
        let object = projected.value.once();
        Self {
            version: projected.resource_version,
            uid: object["metadata"]["uid"].clone(),
            phase: object["status"]["phase"].clone(),
        }
    }
}

type Pods = BTreeMap<ObjectKey, Seen>;

struct Saver {
    path: PathBuf,
    /// The pods of the projection that was looked at last.
    pods: Pods,
    /// Those that were written last, and when.
    written: Option<(Pods, Instant)>,
    /// When what is not written yet must be.
    due: Option<Instant>,
    complained: bool,
}

impl Saver {
    fn new(path: PathBuf) -> Self {
        Self { path, pods: Pods::new(), written: None, due: None, complained: false }
    }

    /// Looks at the pods that changed.
    fn look(&mut self, projection: &Projection) {
        let pods = projection.objects.iter().filter(|(key, _)| key.kind == Kind::Pod);
        let seen = |(key, projected): (&ObjectKey, &Projected)| {
            let before = self.pods.remove(key).filter(|before| before.version == projected.resource_version);
            (key.clone(), before.unwrap_or_else(|| Seen::of(projected)))
        };
        self.pods = pods.map(seen).collect();
    }

    /// When to write. Changes that keep coming do not put it off.
    fn due(&mut self, projection: &Projection, now: Instant) -> Option<Instant> {
        self.look(projection);
        // Nothing is known before the first round.
        self.due = match &self.written {
            _ if projection.resource_version == 0 => None,
            None => Some(now),
            Some((pods, _)) if *pods == self.pods => None,
            Some((pods, at)) if phases(pods) != phases(&self.pods) => Some(now.max(*at + APART)),
            Some(_) => Some(self.due.unwrap_or(now + PATIENCE)),
        };
        self.due
    }

    async fn save(&mut self, projection: &Projection) {
        self.look(projection);
        // Nothing is known before the first round: an older report is better than none.
        if projection.resource_version == 0 || self.written.as_ref().is_some_and(|(pods, _)| *pods == self.pods) {
            return;
        }
        let (path, report) = (self.path.clone(), Snapshot::of(projection, Timestamp::now()));
        let saved = tokio::task::spawn_blocking(move || snapshot::save(&path, &report)).await;
        (self.written, self.due) = (Some((self.pods.clone(), Instant::now())), None);
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

/// Which pods there are, and the phase of each.
fn phases(pods: &Pods) -> Vec<(&Value, &Value)> {
    pods.values().map(|pod| (&pod.uid, &pod.phase)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{MadeOf, PodKey, Served};

    fn projection(version: u64, phase: &str, restarts: u32) -> Projection {
        let value = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u"},
            "status": {"phase": phase, "restarts": restarts},
        });
        let value = Served::there(value);
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
        let same = Projection { resource_version: 2, ..projection(1, "Running", 0) };
        assert_eq!(saver.due(&same, now), None, "nothing of a pod changed");
        let later = now + PATIENCE / 2;
        assert_eq!(saver.due(&projection(3, "Running", 1), now), Some(now + PATIENCE));
        assert_eq!(saver.due(&projection(4, "Running", 2), later), Some(now + PATIENCE), "it is not put off");
        assert_eq!(saver.due(&projection(5, "Failed", 2), later), Some(later));
        let soon = saver.due(&projection(5, "Failed", 2), now).unwrap();
        assert!(soon > now && soon <= Instant::now() + APART, "many phases are written together");
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
