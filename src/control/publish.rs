//! What people read: projection, progress and status document, out of one view of everything.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::event::Event;
use super::kubelet::{FleetState, PodState, after};
use super::often::{Difference, difference};
use super::progress::{PodProgress, PodStanding, Progress, Verdict};
use crate::model::{
    Admitted, AdmittedPod, Diagnostics, Durable, NodeInfo, PodKey, Projection, ShownPod, StatusDocument, Terminal,
};
use crate::port::StatusSink;
use crate::report::{self, PodView, ProjectInput, StatusInput, project, status_document};

/// A new agent knows why containers wait only after it has planned for them; this long it may take.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// A change waits this long for what comes with it: most states of a pod under way last no longer.
const TOGETHER: Duration = Duration::from_millis(250);
/// So many pods are made anew at a time, at most: of thousands that change together, those as they were before go before all
/// of those as they are now are there.
const AT_A_TIME: usize = 2000;
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
    state: Arc<PodState>,
    pod: Arc<ShownPod>,
    /// It is what its target says, with nothing to be done or waited for.
    settled: bool,
    progress: Arc<PodProgress>,
}

pub(super) struct Publisher {
    node: NodeInfo,
    /// By key.
    shown: Vec<Shown>,
    /// What is known of a pod that nobody looked after yet.
    unknown: Arc<PodState>,
    projection: watch::Sender<Arc<Projection>>,
    progress: watch::Sender<Arc<Progress>>,
    sink: Arc<dyn StatusSink>,
    begun: Timestamp,
    written: Option<Arc<StatusDocument>>,
    /// Since when the document differs from what was written.
    differs: Option<Timestamp>,
    /// When it was written, or when that was tried in vain.
    tried: Option<Timestamp>,
    /// When it was last written for nothing but what may change often.
    often: Option<Timestamp>,
    failure: Option<String>,
    due: Option<Timestamp>,
}

impl Publisher {
    pub(super) fn new(node: NodeInfo, sink: Arc<dyn StatusSink>, now: Timestamp) -> Self {
        Self {
            node,
            shown: Vec::new(),
            unknown: Arc::default(),
            projection: watch::Sender::default(),
            progress: watch::Sender::default(),
            sink,
            begun: now,
            written: None,
            differs: None,
            tried: None,
            often: None,
            failure: None,
            due: None,
        }
    }

    /// The machine, of which more is known than before.
    pub(super) fn set_node(&mut self, node: NodeInfo) {
        self.node = node;
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
        if self.node.pressures != view.fleet.pressures {
            self.node.pressures.clone_from(&view.fleet.pressures);
        }
        while !self.show(view) {
            self.project(view);
        }
        let pods = self.project(view);
        let unsettled = self.shown.iter().filter(|shown| !shown.settled).map(|shown| shown.pod.key.clone());
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
        let progress = self.tell(view);
        self.progress.send_if_modified(|current| {
            let changed = **current != progress;
            *current = Arc::new(progress);
            changed
        });
    }

    /// Makes the projection of the pods as they are shown now, and gives these.
    fn project(&self, view: &View<'_>) -> Vec<Arc<ShownPod>> {
        let pods: Vec<_> = self.shown.iter().map(|shown| Arc::clone(&shown.pod)).collect();
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
        pods
    }

    /// Every pod that is wanted or there, by name. One whose parts are the same as last time is the same. Returns whether
    /// all are as they are now; the others are as they were.
    fn show(&mut self, view: &View<'_>) -> bool {
        let (mut left, mut is_whole) = (AT_A_TIME, true);
        let wanted = view.admitted.iter().flat_map(|admitted| &admitted.pods);
        let known = view.fleet.pods.iter().map(|(key, state)| (&**key, state));
        let mut before = std::mem::take(&mut self.shown).into_iter().peekable();
        for (key, admitted, state) in side_by_side(wanted, known) {
            let state = state.unwrap_or(&self.unknown);
            if admitted.is_none() && state.observed.is_none() {
                continue;
            }
            while before.next_if(|shown| shown.pod.key < *key).is_some() {}
            let last = before.next_if(|shown| shown.pod.key == *key);
            if left == 0 && last.as_ref().is_none_or(|last| !last.is_of(admitted, state)) {
                self.shown.extend(last);
                is_whole = false;
                continue;
            }
            let before = last.as_ref().map(|last| Arc::clone(&last.pod));
            let next = Shown::after(last, (admitted, state), (&self.node, view.now));
            let is_new = before.is_none_or(|before| !Arc::ptr_eq(&before, &next.pod));
            left = left.saturating_sub(usize::from(is_new));
            self.shown.push(next);
        }
        is_whole
    }

    fn tell(&self, view: &View<'_>) -> Progress {
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
            pods: self.shown.iter().map(|shown| Arc::clone(&shown.progress)).collect(),
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
                let is_often = |written: &StatusDocument| difference(written, &document) != Difference::Much;
                if self.written.as_deref().is_some_and(is_often) {
                    self.often = Some(view.now);
                }
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
        let past = |at: Option<Timestamp>| at.filter(|at| *at <= view.now);
        let tried = past(self.tried);
        let written = self.written.as_ref().filter(|_| self.failure.is_none());
        let (apart, readiness) = match written.map(|written| difference(written, document)) {
            _ if self.failure.is_some() => (COUNTS_APART, None),
            Some(Difference::Often) => (COUNTS_APART, None),
            Some(Difference::Readiness) => (APART, past(self.often)),
            Some(Difference::Much) | None => (APART, None),
        };
        let readiness = readiness.map(|at| after(at, COUNTS_APART));
        let unknown = view.fleet.pods.values().any(|state| state.observed.is_some() && !state.planned);
        let first = (self.written.is_none() && unknown).then(|| after(self.begun, FIRST_LOOK));
        [Some(after(differs, TOGETHER)), tried.map(|tried| after(tried, apart)), readiness, first]
            .into_iter()
            .flatten()
            .max()
    }
}

impl Shown {
    /// Whether it was made of these very parts.
    fn is_of(&self, admitted: Option<&Arc<AdmittedPod>>, state: &Arc<PodState>) -> bool {
        same(self.admitted.as_ref(), admitted) && Arc::ptr_eq(&self.state, state)
    }

    /// The next one of a pod: what is made of the same as last time is not made again.
    fn after(
        last: Option<Shown>,
        (admitted, state): (Option<&Arc<AdmittedPod>>, &Arc<PodState>),
        at: (&NodeInfo, Timestamp),
    ) -> Self {
        let last = last.filter(|last| same(last.admitted.as_ref(), admitted));
        let last = match last {
            Some(last) if Arc::ptr_eq(&last.state, state) => return last,
            other => other.filter(|last| {
                same(last.state.observed.as_ref(), state.observed.as_ref())
                    && last.state.waiting == state.waiting
                    && last.state.holds == state.holds
                    && last.state.probed == state.probed
            }),
        };
        let pod = last.map_or_else(|| shown(admitted, state, at), |last| last.pod);
        let settled = is_settled(state);
        let progress = Arc::new(pod_progress(&pod, admitted.is_some(), state));
        Self { admitted: admitted.cloned(), state: Arc::clone(state), pod, settled, progress }
    }
}

fn same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    a.map(Arc::as_ptr) == b.map(Arc::as_ptr)
}

fn shown(admitted: Option<&Arc<AdmittedPod>>, state: &PodState, (node, now): (&NodeInfo, Timestamp)) -> Arc<ShownPod> {
    let (admitted, observed) = (admitted.map(|pod| &**pod), state.observed.as_deref());
    let PodState { waiting, holds, probed, .. } = state;
    let view = PodView { admitted, observed, waiting, holds, probed, node, now };
    Arc::new(report::shown(&view))
}

/// Whether a pod is what its target says, with nothing to be done or waited for.
fn is_settled(state: &PodState) -> bool {
    let stays = state.observed.as_ref().is_some_and(|pod| pod.record.deletion.is_none());
    state.settled && state.holds.is_empty() && stays
}

fn pod_progress(pod: &ShownPod, wanted: bool, state: &PodState) -> PodProgress {
    let standing = match pod.standing.terminal {
        _ if !wanted => PodStanding::Leaving,
        _ if pod.standing.elsewhere => PodStanding::Elsewhere,
        _ if !is_settled(state) => PodStanding::Progressing,
        Some(Terminal::Succeeded) => PodStanding::Succeeded,
        Some(Terminal::Failed) => PodStanding::Failed,
        None if pod.standing.ready => PodStanding::Ready,
        None => PodStanding::Progressing,
    };
    let message = if standing.is_done() { String::new() } else { state.why() };
    PodProgress {
        key: pod.key.clone(),
        standing,
        status: pod.standing.status.to_string(),
        message,
        stuck: state.is_stuck(),
        past: standing == PodStanding::Progressing && (state.is_outdated || pod.standing.terminal.is_some()),
    }
}

/// Two sequences by ascending keys as one: each key once, with what either has for it.
fn side_by_side<'a, A, B>(
    a: impl Iterator<Item = (&'a PodKey, A)>,
    b: impl Iterator<Item = (&'a PodKey, B)>,
) -> impl Iterator<Item = (&'a PodKey, Option<A>, Option<B>)> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    std::iter::from_fn(move || {
        let key = match (a.peek(), b.peek()) {
            (Some((a, _)), Some((b, _))) => *a.min(b),
            (Some((key, _)), None) | (None, Some((key, _))) => *key,
            (None, None) => return None,
        };
        let a = a.next_if(|(own, _)| *own == key).map(|(_, value)| value);
        let b = b.next_if(|(own, _)| *own == key).map(|(_, value)| value);
        Some((key, a, b))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use async_trait::async_trait;
    use k8s_openapi::api::core::v1::{Pod, PodSpec};

    use super::*;
    use crate::model::{DataObjects, Packed, Revision, RevisionKind, SourceRef};
    use crate::port::PortError;

    struct Nowhere;

    #[async_trait]
    impl StatusSink for Nowhere {
        async fn publish(&self, _: &Arc<StatusDocument>) -> Result<bool, PortError> {
            Ok(true)
        }
    }

    /// So many pods with this in their digests.
    fn admitted(count: usize, digest: &str) -> Admitted {
        let packed = Packed::new(&Pod { spec: Some(PodSpec::default()), ..Pod::default() });
        let pod = |n: usize| {
            let key = PodKey::new("default", format!("pod-{n:05}"));
            let source = SourceRef { path: "pods.yaml".into(), document: 0, line: 1, column: 1 };
            let pod = AdmittedPod {
                key: key.clone(),
                source,
                spec: packed.clone(),
                effective: packed.clone(),
                applied: vec![],
                skipped: vec![],
                provenance: vec![],
                digest: digest.to_owned(),
                unplaced: None,
                pending_resize: None,
            };
            (key, Arc::new(pod))
        };
        Admitted {
            revision: Revision { kind: RevisionKind::Content, id: digest.to_owned(), subject: None, branch: None },
            pods: (0..count).map(pod).collect(),
            data: Arc::new(DataObjects::default()),
            objects: [].into(),
            sources: [].into(),
            unread: [].into(),
            is_untold: false,
            audits: Diagnostics::default(),
            diagnostics: Diagnostics::default(),
        }
    }

    #[test]
    fn of_thousands_that_change_together_a_portion_at_a_time_is_made_anew() {
        let count = 2 * AT_A_TIME + 1;
        let mut publisher = Publisher::new(NodeInfo::default(), Arc::new(Nowhere), Timestamp::UNIX_EPOCH);
        let mut durable = Durable::default();
        // New pods, the same pods from other manifests, and fewer of them.
        for (wanted, portions) in [(admitted(count, "a"), 3), (admitted(count, "b"), 3), (admitted(AT_A_TIME, "c"), 1)]
        {
            durable.last_applied = Some(wanted.revision.clone());
            let (refused, fleet) = (Diagnostics::default(), FleetState::default());
            let view = View {
                admitted: Some(&wanted),
                durable: &durable,
                refused: &refused,
                failure: None,
                uncommitted: &[],
                fleet: &fleet,
                now: Timestamp::UNIX_EPOCH,
            };
            // Kept to the end, so that none of them comes back by its address alone.
            let before: Vec<Arc<ShownPod>> = publisher.shown.iter().map(|shown| Arc::clone(&shown.pod)).collect();
            let before: BTreeMap<_, _> = before.into_iter().map(|pod| (Arc::as_ptr(&pod), pod)).collect();
            let mut passes = 0;
            loop {
                let is_whole = publisher.show(&view);
                passes += 1;
                let new = publisher.shown.iter().filter(|shown| !before.contains_key(&Arc::as_ptr(&shown.pod))).count();
                assert_eq!(new, wanted.pods.len().min(passes * AT_A_TIME));
                if is_whole {
                    break;
                }
            }
            assert_eq!((passes, publisher.shown.len()), (portions, wanted.pods.len()));
            let keys: Vec<&PodKey> = publisher.shown.iter().map(|shown| &shown.pod.key).collect();
            assert!(keys.into_iter().eq(wanted.pods.keys()), "each of them once, by name");
            let of_these = |shown: &Shown| shown.is_of(wanted.pods.get(&shown.pod.key), &publisher.unknown);
            assert!(publisher.shown.iter().all(of_these), "as they are now");
        }
    }
}
