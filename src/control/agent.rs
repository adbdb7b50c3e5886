//! The loop: every event is a reason to look again, never a thing to react to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::event::{Alarms, Event, Events};
use super::publish::{Publisher, View};
use super::room::{self, Placed};
use super::round::{Blocking, Parse, Revisions};
use super::{Kubelet, Progress};
use crate::model::{
    Admitted, Failure, FleetAction, FleetPlan, NodeInfo, ObservedPod, PodKey, PodMemory, Projection, Reason,
};
use crate::plan;
use crate::port::{Clock, LedgerStore, PodBackend, PortError, Source, StatusSink};

/// How long the steps under way may take when the agent ends.
const LAST_STEPS: Duration = Duration::from_secs(10);

/// What an agent is made of.
pub struct Parts {
    pub source: Arc<dyn Source>,
    pub parse: Parse,
    /// Where that is done: [`on_a_thread`](super::on_a_thread), unless threads would make what happens another each time.
    pub blocking: Blocking,
    pub kubelet: Arc<Kubelet>,
    pub sink: Arc<dyn StatusSink>,
    pub ledger: Arc<dyn LedgerStore>,
    pub clock: Arc<dyn Clock>,
    pub node: NodeInfo,
    /// How often the directory and all pods are looked at although nothing hints at it; zero: never.
    pub resync: Duration,
}

/// Keeps the pods equal to the directory.
pub struct Agent {
    kubelet: Arc<Kubelet>,
    clock: Arc<dyn Clock>,
    resync: Duration,
    revisions: Revisions,
    publisher: Publisher,
    /// The machine as it was handed out.
    node: Arc<NodeInfo>,
    /// How often in a row a round failed, or its keys failed it.
    rounds: PodMemory,
    handed_out: Option<HandedOut>,
    placed: Option<Placed>,
    /// Every pod was seen once: each has a worker since.
    has_listed: bool,
}

/// What the targets were made of that the kubelet was given: of the same they would be the same, and it has them still.
struct HandedOut {
    admitted: Arc<Admitted>,
    observed: Vec<Arc<ObservedPod>>,
}

impl Agent {
    /// An agent that has done nothing yet; [`run`] makes it go.
    pub fn new(parts: Parts) -> Self {
        let Parts { source, parse, blocking, kubelet, sink, ledger, clock, node, resync } = parts;
        let revisions = Revisions::new(source, (parse, blocking), ledger, (&node, kubelet.tokens()));
        Self {
            node: Arc::clone(&revisions.node),
            revisions,
            kubelet,
            publisher: Publisher::new(node, sink, clock.now()),
            clock,
            resync,
            rounds: PodMemory::default(),
            handed_out: None,
            placed: None,
            has_listed: false,
        }
    }

    /// What the API serves.
    pub fn projection(&self) -> watch::Receiver<Arc<Projection>> {
        self.publisher.projection()
    }

    /// How far it is.
    pub fn progress(&self) -> watch::Receiver<Arc<Progress>> {
        self.publisher.progress()
    }

    /// Reads, admits and hands out targets. What fails is told and tried again. A hint tells of the directory alone: what is
    /// known about the pods is enough then, for each worker looks at its own before it does anything.
    async fn round(&mut self, occasion: Event) {
        let observed = if occasion == Event::SourceHint && self.has_listed {
            self.revisions.look().await;
            Ok(self.kubelet.seen())
        } else {
            // Neither needs the other.
            tokio::join!(self.kubelet.observe(), self.revisions.look()).0
        };
        self.has_listed |= observed.is_ok();
        self.tell_node();
        let acted = match observed {
            Ok(observed) => self.act(observed).await,
            Err(error) => Err(error),
        };
        let failure = match (self.revisions.failure.take(), acted) {
            (Some(failure), _) => Some(failure),
            (None, Err(error)) => Some(error.to_string()),
            (None, Ok(())) => None,
        };
        match &failure {
            None => self.rounds = plan::note_success(&self.rounds, ""),
            Some(message) => {
                if self.rounds.failures.get("").is_none_or(|before| before.message != *message) {
                    tracing::warn!("{message}; it is tried again, and the pods are kept");
                }
                self.rounds = plan::note_failure(&self.rounds, "", "Failed", message, self.clock.now());
            }
        }
        self.revisions.failure = failure;
    }

    /// Hands out what came to be known of the machine, and has what only its keys keep from being done tried again.
    fn tell_node(&mut self) {
        if !Arc::ptr_eq(&self.node, &self.revisions.node) {
            self.node = Arc::clone(&self.revisions.node);
            self.kubelet.set_node(&self.node);
            self.publisher.set_node(NodeInfo::clone(&self.node));
        }
        let message = "tokens cannot be signed, or the certificate cannot be had";
        self.rounds = match self.revisions.is_unsigned() {
            true => plan::note_failure(&self.rounds, plan::TOKENS, "Failed", message, self.clock.now()),
            false => plan::note_success(&self.rounds, plan::TOKENS),
        };
    }

    /// Makes the revision that counts the target of every pod.
    async fn act(&mut self, observed: Vec<Arc<ObservedPod>>) -> Result<(), PortError> {
        let Some(admitted) = &self.revisions.admitted else { return self.adopt(observed).await };
        let same = |before: &HandedOut| Arc::ptr_eq(&before.admitted, admitted) && before.observed == observed;
        if self.handed_out.as_ref().is_some_and(same) {
            tracing::debug!(revision = %admitted.revision.short(), "round: nothing changed");
            return Ok(());
        }
        let admitted = Arc::clone(admitted);
        // What is handed out in part is handed out whole the next time.
        self.handed_out = None;
        let placed = Placed::new(&admitted, &observed, &self.revisions.node, self.placed.take());
        let with_room = Arc::clone(&self.placed.insert(placed).admitted);
        self.target(&with_room, &plan::fleet(&with_room, &observed)).await?;
        self.handed_out = Some(HandedOut { admitted, observed });
        Ok(())
    }

    /// Plans the fleet anew for pods that wait for room, when there may be more of it by what the workers saw.
    async fn make_use_of_room(&mut self) {
        let Some(placed) = self.placed.as_mut().filter(|placed| placed.is_waiting) else { return };
        let seen = self.kubelet.seen();
        if !placed.may_fit_more(&seen) {
            return;
        }
        if let Err(error) = self.act(seen).await {
            tracing::warn!("{error}; pods that wait for room are looked at again in the next round");
        }
    }

    async fn target(&self, admitted: &Admitted, plan: &FleetPlan) -> Result<(), PortError> {
        self.kubelet.set_data(&admitted.data);
        let (actions, unchanged) = (plan.actions.len(), plan.unchanged.len());
        tracing::debug!(revision = %admitted.revision.short(), actions, unchanged, "round");
        let revision = &admitted.revision.id;
        let mut told: BTreeSet<&PodKey> = BTreeSet::new();
        for action in &plan.actions {
            told.insert(action.key());
            match action {
                FleetAction::Remove { key, reason } => self.kubelet.remove(key, reason).await?,
                FleetAction::Apply { pod, reason } => self.kubelet.apply(Arc::clone(pod), revision, reason).await?,
            }
        }
        // An older target may still be under way to a pod that is as it should be, or to one that has no record yet.
        let elsewhere: BTreeSet<&PodKey> = plan.elsewhere.iter().collect();
        let is_here = |key: &PodKey| !told.contains(key) && !elsewhere.contains(key);
        for pod in admitted.pods.values().filter(|pod| is_here(&pod.key)) {
            self.kubelet.apply(Arc::clone(pod), revision, &Reason::Unchanged).await?;
        }
        let is_wanted = |key: &PodKey| admitted.pods.contains_key(key) && !elsewhere.contains(key);
        for key in self.kubelet.fleet().pods.keys().filter(|key| !is_wanted(key)) {
            self.kubelet.remove(key, &Reason::PodRemoved).await?;
        }
        Ok(())
    }

    /// Without a valid revision every pod is kept as its record says, and one that waits for room has it when there is some; what
    /// was going away goes.
    async fn adopt(&mut self, observed: Vec<Arc<ObservedPod>>) -> Result<(), PortError> {
        let kept = Arc::new(room::on_record(&observed, self.revisions.is_last_refused));
        let placed = Placed::new(&kept, &observed, &self.revisions.node, self.placed.take());
        let with_room = Arc::clone(&self.placed.insert(placed).admitted);
        for pod in observed {
            let record = &pod.record;
            let pod = Arc::clone(with_room.pods.get(&record.key).unwrap_or(&record.realised));
            match &record.deletion {
                Some(gone) => self.kubelet.remove(&record.key, &Reason::Terminating(gone.reason.clone())).await?,
                None => self.kubelet.apply(pod, &record.revision, &Reason::Unchanged).await?,
            }
        }
        Ok(())
    }

    async fn publish(&mut self, occasion: Event) {
        let fleet = self.kubelet.fleet();
        let counts = self.revisions.admitted.as_ref();
        let placed = self.placed.as_ref().filter(|placed| counts.is_some_and(|counts| placed.is_of(counts)));
        let view = View {
            admitted: placed.map(|placed| &placed.admitted).or(counts).map(|admitted| &**admitted),
            durable: &self.revisions.durable,
            refused: &self.revisions.refused,
            failure: self.revisions.failure.as_deref(),
            uncommitted: &self.revisions.uncommitted,
            fleet: &fleet,
            now: self.clock.now(),
        };
        self.publisher.publish(&view, occasion).await;
    }

    fn alarms(&self) -> Alarms {
        // A failure in the future means the clock was set back: the wait cannot be measured.
        let now = self.clock.now();
        let until = |f: &Failure| match f.at.checked_add(f.backoff) {
            _ if f.at > now => now,
            Ok(until) => until,
            Err(_) => Timestamp::MAX,
        };
        let retry = self.rounds.failures.values().map(until).min();
        Alarms { retry, status: self.publisher.status_due() }
    }
}

/// Runs the agent until `cancel`. Steps under way are finished; the pods stay.
///
/// A hint says that the directory may have changed; how many there are does not matter.
pub async fn run(mut agent: Agent, hints: mpsc::Receiver<()>, cancel: CancellationToken) {
    let clock = (Arc::clone(&agent.clock), agent.resync);
    let mut events = Events::new(clock, hints, agent.kubelet.changes(), cancel.clone());
    agent.revisions.load().await;
    let mut event = Event::Resync;
    while event != Event::Shutdown {
        if matches!(event, Event::SourceHint | Event::Resync | Event::Retry) {
            events.begin_round();
            // A round that is cut short is a crash between two steps, which the ledger is made for.
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                () = agent.round(event) => {}
            }
        } else if event == Event::PodsChanged {
            agent.make_use_of_room().await;
        }
        let began = agent.clock.now();
        agent.publish(event).await;
        events.published_since(began);
        event = events.next(agent.alarms()).await;
    }
    agent.kubelet.shutdown(LAST_STEPS).await;
    agent.publish(Event::Shutdown).await;
}
