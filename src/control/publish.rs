//! What people read: projection, progress and status document, out of one view of everything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use super::event::Event;
use super::kubelet::{FleetState, PodState, after};
use super::progress::{PodProgress, PodStanding, Progress, Verdict};
use crate::model::{Admitted, Diagnostics, Durable, NodeInfo, PodKey, Projection, StatusDocument};
use crate::port::StatusSink;
use crate::report::{PodView, ProjectInput, StatusInput, pod_object, pod_row, project, status_document};

/// A new agent knows why containers wait only after it has planned for them; this long it may take.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// A change waits this long for what comes with it: most states of a pod under way last no longer.
const TOGETHER: Duration = Duration::from_millis(250);
/// Between two writes of the status document.
const APART: Duration = Duration::from_secs(1);
/// The same when nothing differs but counts, times and messages: flash lasts for years.
const COUNTS_APART: Duration = Duration::from_secs(60);

/// Everything there is to tell.
pub(super) struct View<'a> {
    pub(super) admitted: Option<&'a Admitted>,
    pub(super) durable: &'a Durable,
    pub(super) refused: &'a Diagnostics,
    pub(super) failure: Option<&'a str>,
    pub(super) uncommitted: &'a [String],
    pub(super) fleet: &'a FleetState,
    pub(super) now: Timestamp,
}

pub(super) struct Publisher {
    node: NodeInfo,
    projection: watch::Sender<Arc<Projection>>,
    progress: watch::Sender<Arc<Progress>>,
    sink: Arc<dyn StatusSink>,
    begun: Timestamp,
    written: Option<StatusDocument>,
    /// Since when the document differs from what was written.
    differs: Option<Timestamp>,
    /// When it was written, or when that was tried in vain.
    tried: Option<Timestamp>,
    failure: Option<String>,
    due: Option<Timestamp>,
}

impl Publisher {
    pub(super) fn new(node: NodeInfo, sink: Arc<dyn StatusSink>, now: Timestamp) -> Self {
        Self {
            node,
            projection: watch::Sender::default(),
            progress: watch::Sender::default(),
            sink,
            begun: now,
            written: None,
            differs: None,
            tried: None,
            failure: None,
            due: None,
        }
    }

    pub(super) fn projection(&self) -> watch::Receiver<Arc<Projection>> {
        self.projection.subscribe()
    }

    pub(super) fn progress(&self) -> watch::Receiver<Arc<Progress>> {
        self.progress.subscribe()
    }

    /// When the status document may be written, if it has to be.
    pub(super) fn status_due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Tells everything anew; who looks on is woken only by what differs.
    pub(super) async fn publish(&mut self, view: &View<'_>, occasion: Event) {
        let pods = self.pods(view);
        let objects: Vec<Pod> = pods.values().cloned().collect();
        let input = ProjectInput {
            admitted: view.admitted,
            pods: &objects,
            events: &view.fleet.events,
            node: &self.node,
            now: view.now,
        };
        let next = project(&input, &self.projection.borrow());
        self.projection.send_if_modified(|current| {
            let changed = current.resource_version != next.resource_version || current.node.is_none();
            *current = Arc::new(next);
            changed
        });
        let unsettled: Vec<PodKey> = pods.keys().filter(|key| !settled(view, key)).cloned().collect();
        let document = status_document(&StatusInput {
            node: &self.node,
            durable: view.durable,
            admitted: view.admitted,
            pods: &objects,
            unsettled: &unsettled,
            refused: view.refused,
            failure: view.failure,
            uncommitted: view.uncommitted,
            actions: &view.fleet.actions,
            now: view.now,
        });
        self.write(document, view, occasion).await;
        let progress = self.tell(view, &pods);
        self.progress.send_if_modified(|current| {
            let changed = **current != progress;
            *current = Arc::new(progress);
            changed
        });
    }

    /// Every pod that is wanted or there.
    fn pods(&self, view: &View<'_>) -> BTreeMap<PodKey, Pod> {
        let unknown = PodState::default();
        let there = view.fleet.pods.iter().filter(|(_, state)| state.observed.is_some()).map(|(key, _)| key);
        let wanted = view.admitted.iter().flat_map(|admitted| admitted.pods.keys());
        let object = |key: &PodKey| {
            let state = view.fleet.pods.get(key).unwrap_or(&unknown);
            pod_object(&PodView {
                admitted: view.admitted.and_then(|admitted| admitted.pods.get(key)).map(|pod| &**pod),
                observed: state.observed.as_deref(),
                waiting: &state.waiting,
                node: &self.node,
                now: view.now,
            })
        };
        wanted.chain(there).map(|key| (key.clone(), object(key))).collect()
    }

    fn tell(&self, view: &View<'_>, pods: &BTreeMap<PodKey, Pod>) -> Progress {
        let verdict = match (view.failure, view.admitted) {
            (Some(failure), _) => Verdict::Failed(failure.to_owned()),
            (None, _) if view.refused.has_errors() => Verdict::Refused(view.refused.clone()),
            (None, Some(_)) => Verdict::Applied,
            (None, None) => Verdict::Pending,
        };
        Progress {
            attempted: view.durable.last_attempted.clone(),
            applied: view.durable.last_applied.clone(),
            verdict,
            pods: pods.iter().map(|(key, pod)| pod_progress(view, key, pod)).collect(),
            warnings: view.admitted.map(|admitted| admitted.diagnostics.clone()).unwrap_or_default(),
            uncommitted: view.uncommitted.to_vec(),
            status_failure: self.failure.clone(),
        }
    }

    /// Writes the status document, or says when it may be written.
    async fn write(&mut self, document: StatusDocument, view: &View<'_>, occasion: Event) {
        self.due = self.wait(&document, view).filter(|due| *due > view.now && occasion != Event::Shutdown);
        let same = self.written.as_ref() == Some(&document);
        // A file that somebody removed or changed is written again with the next round.
        let checked = !same || matches!(occasion, Event::SourceHint | Event::Resync | Event::Retry);
        if self.due.is_some() || !checked {
            return;
        }
        match self.sink.publish(&document).await {
            Ok(wrote) => {
                self.failure = None;
                self.differs = None;
                self.written = Some(document);
                if wrote {
                    self.tried = Some(view.now);
                }
            }
            Err(error) => {
                let text = error.to_string();
                if self.failure.as_ref() != Some(&text) {
                    tracing::warn!("{text}; the pods do not depend on it");
                }
                self.failure = Some(text);
                self.tried = Some(view.now);
                self.due = Some(after(view.now, COUNTS_APART));
            }
        }
    }

    /// Until when a document has to wait; `None` when it need not.
    fn wait(&mut self, document: &StatusDocument, view: &View<'_>) -> Option<Timestamp> {
        if self.written.as_ref() == Some(document) {
            self.differs = None;
            return None;
        }
        // A clock that was set back cannot measure a wait.
        let differs = self.differs.filter(|since| *since <= view.now).unwrap_or(view.now);
        self.differs = Some(differs);
        let tried = self.tried.filter(|tried| *tried <= view.now);
        let apart = match &self.written {
            _ if self.failure.is_some() => COUNTS_APART,
            Some(written) if coarse(written) == coarse(document) => COUNTS_APART,
            _ => APART,
        };
        let unknown = view.fleet.pods.values().any(|state| state.observed.is_some() && !state.planned);
        let first = (self.written.is_none() && unknown).then(|| after(self.begun, FIRST_LOOK));
        [Some(after(differs, TOGETHER)), tried.map(|tried| after(tried, apart)), first].into_iter().flatten().max()
    }
}

/// Whether a pod is what its target says, with nothing to be done or waited for.
fn settled(view: &View<'_>, key: &PodKey) -> bool {
    view.fleet.pods.get(key).is_some_and(|state| {
        let stays = state.observed.as_ref().is_some_and(|pod| pod.record.deletion.is_none());
        state.settled && state.holds.is_empty() && stays
    })
}

fn pod_progress(view: &View<'_>, key: &PodKey, pod: &Pod) -> PodProgress {
    let status = pod.status.as_ref();
    let ready = status
        .and_then(|status| status.conditions.as_ref())
        .is_some_and(|conditions| conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    let standing = match status.and_then(|status| status.phase.as_deref()) {
        _ if !view.admitted.is_some_and(|admitted| admitted.pods.contains_key(key)) => PodStanding::Leaving,
        _ if !settled(view, key) => PodStanding::Progressing,
        Some("Succeeded") => PodStanding::Succeeded,
        Some("Failed") => PodStanding::Failed,
        _ if ready => PodStanding::Ready,
        _ => PodStanding::Progressing,
    };
    let done = matches!(standing, PodStanding::Ready | PodStanding::Succeeded);
    let message = if done { String::new() } else { view.fleet.why(key) };
    let stuck = view.fleet.pods.get(key).is_some_and(PodState::is_stuck);
    PodProgress { key: key.clone(), standing, status: pod_row(pod, view.now).status, message, stuck }
}

/// A document without what may change often.
fn coarse(document: &StatusDocument) -> StatusDocument {
    let mut document = document.clone();
    document.last_actions.clear();
    let conditions = document.pods.iter_mut().flat_map(|pod| &mut pod.conditions);
    for condition in document.conditions.iter_mut().chain(conditions) {
        condition.last_transition_time = None;
        condition.message = None;
    }
    for pod in &mut document.pods {
        pod.restarts = 0;
        for container in &mut pod.containers {
            container.restart_count = 0;
            for state in container.state.values_mut() {
                (state.started_at, state.finished_at, state.message) = (None, None, None);
            }
        }
    }
    document
}
