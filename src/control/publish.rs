//! What people read: projection, progress and status document, out of one view of everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::event::Event;
use super::kubelet::{FleetState, PodState, after};
use super::progress::{PodProgress, PodStanding, Progress, Verdict};
use crate::model::{
    Admitted, AdmittedPod, Diagnostics, Durable, NodeInfo, ObservedPod, PodKey, Projection, ShownPod, StatusDocument,
};
use crate::port::StatusSink;
use crate::report::{PodView, ProjectInput, StatusInput, pod_object, project, shown_pod, status_document};

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

/// A pod as it was shown last, and what that was made of.
struct Shown {
    admitted: Option<Arc<AdmittedPod>>,
    observed: Option<Arc<ObservedPod>>,
    waiting: BTreeMap<String, (String, String)>,
    pod: Arc<ShownPod>,
}

pub(super) struct Publisher {
    node: NodeInfo,
    shown: BTreeMap<PodKey, Shown>,
    projection: watch::Sender<Arc<Projection>>,
    progress: watch::Sender<Arc<Progress>>,
    sink: Arc<dyn StatusSink>,
    begun: Timestamp,
    written: Option<Arc<StatusDocument>>,
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
            shown: BTreeMap::new(),
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
        let input = ProjectInput {
            admitted: view.admitted,
            pods: &pods,
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
        let unsettled = pods.iter().map(|pod| &pod.key).filter(|key| !settled(view, key)).cloned();
        let document = status_document(&StatusInput {
            node: &self.node,
            durable: view.durable,
            admitted: view.admitted,
            pods: &pods,
            unsettled: &unsettled.collect::<Vec<_>>(),
            refused: view.refused,
            failure: view.failure,
            uncommitted: view.uncommitted,
            actions: &view.fleet.actions,
        });
        self.write(document, view, occasion).await;
        let progress = self.tell(view, &pods);
        self.progress.send_if_modified(|current| {
            let changed = **current != progress;
            *current = Arc::new(progress);
            changed
        });
    }

    /// Every pod that is wanted or there, by name. One whose parts are the same as last time is the same.
    fn pods(&mut self, view: &View<'_>) -> Vec<Arc<ShownPod>> {
        let unknown = PodState::default();
        let there = view.fleet.pods.iter().filter(|(_, state)| state.observed.is_some()).map(|(key, _)| key);
        let wanted = view.admitted.iter().flat_map(|admitted| admitted.pods.keys());
        let keys: BTreeSet<&PodKey> = wanted.chain(there).collect();
        self.shown.retain(|key, _| keys.contains(key));
        let mut pods = Vec::with_capacity(keys.len());
        for key in keys {
            let state = view.fleet.pods.get(key).unwrap_or(&unknown);
            let admitted = view.admitted.and_then(|admitted| admitted.pods.get(key));
            let shown = match self.shown.get(key).filter(|shown| shown.is_of(admitted, state)) {
                Some(shown) => &shown.pod,
                None => {
                    let shown = Shown::new(admitted, state, (&self.node, view.now));
                    &self.shown.entry(key.clone()).insert_entry(shown).into_mut().pod
                }
            };
            pods.push(Arc::clone(shown));
        }
        pods
    }

    fn tell(&self, view: &View<'_>, pods: &[Arc<ShownPod>]) -> Progress {
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
            pods: pods.iter().map(|pod| pod_progress(view, pod)).collect(),
            warnings: view.admitted.map(|admitted| admitted.diagnostics.clone()).unwrap_or_default(),
            uncommitted: view.uncommitted.to_vec(),
            status_failure: self.failure.clone(),
        }
    }

    /// Writes the status document, or says when it may be written.
    async fn write(&mut self, document: StatusDocument, view: &View<'_>, occasion: Event) {
        self.due = self.wait(&document, view).filter(|due| *due > view.now && occasion != Event::Shutdown);
        let written = self.written.as_ref().filter(|written| ***written == document).cloned();
        let same = written.is_some();
        let document = written.unwrap_or_else(|| Arc::new(document));
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
        if self.written.as_deref() == Some(document) {
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

impl Shown {
    fn new(admitted: Option<&Arc<AdmittedPod>>, state: &PodState, (node, now): (&NodeInfo, Timestamp)) -> Self {
        let observed = state.observed.as_ref();
        let view = PodView {
            admitted: admitted.map(|pod| &**pod),
            observed: observed.map(|pod| &**pod),
            waiting: &state.waiting,
            node,
            now,
        };
        Self {
            admitted: admitted.cloned(),
            observed: observed.cloned(),
            waiting: state.waiting.clone(),
            pod: Arc::new(shown_pod(pod_object(&view), view.admitted)),
        }
    }

    fn is_of(&self, admitted: Option<&Arc<AdmittedPod>>, state: &PodState) -> bool {
        fn same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
            a.map(Arc::as_ptr) == b.map(Arc::as_ptr)
        }
        same(self.admitted.as_ref(), admitted)
            && same(self.observed.as_ref(), state.observed.as_ref())
            && self.waiting == state.waiting
    }
}

/// Whether a pod is what its target says, with nothing to be done or waited for.
fn settled(view: &View<'_>, key: &PodKey) -> bool {
    view.fleet.pods.get(key).is_some_and(|state| {
        let stays = state.observed.as_ref().is_some_and(|pod| pod.record.deletion.is_none());
        state.settled && state.holds.is_empty() && stays
    })
}

fn pod_progress(view: &View<'_>, pod: &ShownPod) -> PodProgress {
    let (key, entry) = (&pod.key, &pod.entry);
    let ready = entry.conditions.iter().any(|c| c.kind == "Ready" && c.status == "True");
    let standing = match entry.phase.as_str() {
        _ if !view.admitted.is_some_and(|admitted| admitted.pods.contains_key(key)) => PodStanding::Leaving,
        _ if !settled(view, key) => PodStanding::Progressing,
        "Succeeded" => PodStanding::Succeeded,
        "Failed" => PodStanding::Failed,
        _ if ready => PodStanding::Ready,
        _ => PodStanding::Progressing,
    };
    let done = matches!(standing, PodStanding::Ready | PodStanding::Succeeded);
    let message = if done { String::new() } else { view.fleet.why(key) };
    let stuck = view.fleet.pods.get(key).is_some_and(PodState::is_stuck);
    PodProgress { key: key.clone(), standing, status: entry.status.clone(), message, stuck }
}

/// A document without what may change often.
fn coarse(document: &StatusDocument) -> StatusDocument {
    let mut document = document.clone();
    document.last_actions.clear();
    for condition in &mut document.conditions {
        (condition.last_transition_time, condition.message) = (None, None);
    }
    for pod in document.pods.iter_mut().map(Arc::make_mut) {
        pod.restarts = 0;
        for condition in &mut pod.conditions {
            (condition.last_transition_time, condition.message) = (None, None);
        }
        for container in &mut pod.containers {
            container.restart_count = 0;
            for state in container.state.values_mut() {
                (state.started_at, state.finished_at, state.message) = (None, None, None);
            }
        }
    }
    document
}
