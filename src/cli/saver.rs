//! The last report on disk, for commands that find no agent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use super::keeper::{Kept, Write};
use crate::model::{Kind, ObjectKey, Projected, Projection};
use crate::serve::snapshot::{self, Snapshot};

/// How long a change that is no change of phase may wait for others to be written with it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a change of phase may, after the last one: many pods that start at once are written together.
const APART: Duration = Duration::from_secs(1);

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

/// The report in its file: written when a pod comes, goes or changes its phase at once, or [`APART`] from the last time, else
/// within [`PATIENCE`].
pub struct Saver {
    path: PathBuf,
    /// The pods of the projection that was looked at last.
    pods: Pods,
    /// Those that were written last, and when.
    written: Option<(Pods, Instant)>,
    /// When what is not written yet must be.
    due: Option<Instant>,
}

impl Saver {
    /// In the file at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path, pods: Pods::new(), written: None, due: None }
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
}

impl Kept for Saver {
    const LACK: &str = "while no agent runs, `get` will show an older report";

    fn due(&mut self, projection: &Projection, now: Instant) -> Option<Instant> {
        self.look(projection);
        self.due = match &self.written {
            None => Some(now),
            Some((pods, _)) if *pods == self.pods => None,
            Some((pods, at)) if phases(pods) != phases(&self.pods) => Some(now.max(*at + APART)),
            Some(_) => Some(self.due.unwrap_or(now + PATIENCE)),
        };
        self.due
    }

    /// At the end whatever was written before: the age of the report counts from now.
    fn write(&mut self, projection: &Projection, is_last: bool) -> Option<Write> {
        self.look(projection);
        if !is_last && self.written.as_ref().is_some_and(|(pods, _)| *pods == self.pods) {
            return None;
        }
        let (path, report) = (self.path.clone(), Snapshot::of(projection, Timestamp::now()));
        (self.written, self.due) = (Some((self.pods.clone(), Instant::now())), None);
        Some(Box::new(move || snapshot::save(&path, &report)))
    }
}

/// Which pods there are, and the phase of each.
fn phases(pods: &Pods) -> Vec<(&Value, &Value)> {
    pods.values().map(|pod| (&pod.uid, &pod.phase)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    use super::super::keeper::keep;
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

    #[test]
    fn a_phase_is_written_at_once_and_the_rest_together() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshot.json");
        let mut saver = Saver::new(path.clone());
        let now = Instant::now();
        assert_eq!(saver.due(&projection(1, "Running", 0), now), Some(now));
        saver.write(&projection(1, "Running", 0), false).unwrap()().unwrap();
        let same = Projection { resource_version: 2, ..projection(1, "Running", 0) };
        assert_eq!(saver.due(&same, now), None, "nothing of a pod changed");
        let later = now + PATIENCE / 2;
        assert_eq!(saver.due(&projection(3, "Running", 1), now), Some(now + PATIENCE));
        assert_eq!(saver.due(&projection(4, "Running", 2), later), Some(now + PATIENCE), "it is not put off");
        assert_eq!(saver.due(&projection(5, "Failed", 2), later), Some(later));
        let soon = saver.due(&projection(5, "Failed", 2), now).unwrap();
        assert!(soon > now && soon <= Instant::now() + APART, "many phases are written together");
        saver.write(&projection(5, "Failed", 2), false).unwrap()().unwrap();
        assert!(saver.write(&projection(5, "Failed", 2), false).is_none());
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
        keep(Saver::new(path.clone()), receiver, end).await;
        assert_eq!(snapshot::load(&path).unwrap().unwrap().pods[0]["status"]["restarts"], 3);
    }
}
