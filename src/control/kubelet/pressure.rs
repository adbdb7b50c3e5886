//! Whether the machine is low on something: one task looks from time to time, tells what it sees, makes room, and has one pod
//! after the other evicted as long as that is not enough. What is too little and who goes is the plan's to say.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Shared, after};
use crate::model::{
    EvictionSignal, NodePressure, ObservedContainer, ObservedPod, PodKey, PodUid, Sandbox, SignalLevels, Starved,
};
use crate::plan::{self, Met, PodUse, PressureWatch};
use crate::port::{ErrorKind, PortError};
use crate::report::{low_event, pressure_events};

/// So long a look may take: a file system that does not answer is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// So long it may take to make room on the disk.
const LONG: Duration = Duration::from_secs(60);
/// So long it may take to find what one pod takes of the disk: longer than a backend looks, which tells what it has found by then.
const MEASURED: Duration = Duration::from_secs(300);
/// While a pod is measured the machine is looked at again after this: its memory may run out meanwhile.
const GLANCE: Duration = Duration::from_secs(10);
/// A look that failed is tried again after this.
const AGAIN: Duration = Duration::from_secs(60);
/// While room is still being made on the disk nobody goes for it, as for a pull that holds the images' lock; for so long.
const MAKING: Duration = Duration::from_secs(600);
/// What freed nothing is not tried again for so long, unless something has changed: each try wears flash that is full.
const IN_VAIN: Duration = Duration::from_secs(300);
/// More of what was missing than this part of it is a change.
const TENTH: u64 = 10;
/// So long the next eviction waits for the end of the one before (`podCleanupTimeout` of the kubelet).
const CLEANED_UP: Duration = Duration::from_secs(30);

/// Looks until the agent ends.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut watch = Watch::default();
    loop {
        // Cancel-safe: whatever a look has begun is finished by somebody else, or is begun again by the next agent.
        let next = tokio::select! {
            biased;
            () = shared.cancel.cancelled() => return,
            next = watch.look(&shared) => next,
        };
        // Cancel-safe: a sleep holds nothing.
        tokio::select! {
            biased;
            () = shared.cancel.cancelled() => return,
            () = shared.parts.clock.sleep_until(next) => {}
        }
    }
}

/// What is remembered from look to look.
#[derive(Default)]
struct Watch {
    seen: PressureWatch,
    /// What an agent before has seen is known, too.
    recalled: bool,
    /// What is being made good, which is told once.
    low: BTreeSet<Starved>,
    /// The pod that was evicted last, and when.
    last: Option<(PodKey, PodUid, Timestamp)>,
    /// Why the last look failed: it is logged once.
    failed: Option<String>,
    /// What no eviction makes good, which is logged once.
    helpless: BTreeSet<Starved>,
    /// Since when room is being made that did not come to its end in time.
    making: BTreeMap<Starved, Timestamp>,
    /// The last time that room was made and that freed nothing.
    vain: BTreeMap<Starved, Vain>,
    /// It was logged that nobody counts what pods use.
    uncounted: bool,
}

/// A try to make room that freed nothing.
struct Vain {
    at: Timestamp,
    missing: u64,
    /// The pods there were, and which of them had ended.
    pods: Vec<(PodUid, bool)>,
}

impl Vain {
    /// Whether another try would come to the same.
    fn holds(&self, missing: u64, pods: &[(PodUid, bool)], now: Timestamp) -> bool {
        let is_over = now >= after(self.at, IN_VAIN) || now < self.at;
        !is_over && missing <= self.missing.saturating_add(self.missing / TENTH) && self.pods == pods
    }
}

impl Watch {
    /// One look, and what follows from it. When to look again.
    async fn look(&mut self, shared: &Shared) -> Timestamp {
        let settings = &shared.parts.node.eviction;
        let Some((levels, met)) = self.learn(shared).await else { return after(shared.now(), AGAIN) };
        let all = starved(&met);
        self.low.retain(|low| all.contains(low));
        self.helpless.retain(|low| all.contains(low));
        self.vain.retain(|low, _| all.contains(low));
        self.making.retain(|low, _| all.contains(low));
        if all.is_empty() {
            shared.lock().evicted.clear();
        }
        // One after the other; what nobody can make good keeps nothing else from being so.
        for low in &all {
            if self.relieve(shared, *low, &met).await {
                break;
            }
        }
        self.seen.next_look(settings, &levels, shared.now())
    }

    /// What the machine has left, and the thresholds that are met, which are told. `None` when a look fails.
    async fn learn(&mut self, shared: &Shared) -> Option<(SignalLevels, Vec<Met>)> {
        match levels(shared).await {
            Ok(levels) => {
                self.failed = None;
                self.recall(shared).await;
                let met = plan::thresholds_met(&shared.parts.node.eviction, &levels);
                self.tell(shared, &met);
                Some((levels, met))
            }
            Err(error) => {
                let text = error.to_string();
                if self.failed.as_ref() != Some(&text) {
                    tracing::warn!("{text}; whether the machine is low on something is not known");
                    self.failed = Some(text);
                }
                // What holds runs out, as for the kubelet; nothing begins to be known by it.
                if !self.seen.pressures.0.is_empty() {
                    self.tell(shared, &[]);
                }
                None
            }
        }
    }

    /// Goes on from what pods tell of an agent before, once.
    async fn recall(&mut self, shared: &Shared) {
        if std::mem::replace(&mut self.recalled, true) {
            return;
        }
        match within(shared, MEASURED, ("look at", "the machine"), shared.parts.backend.list()).await {
            Ok(pods) => {
                let pods = pods.iter().map(|pod| &**pod);
                self.seen = PressureWatch::recalled(pods, shared.now());
            }
            Err(error) => tracing::warn!("{error}; for what pods went before is not known"),
        }
    }

    /// Tells the conditions to the workers and to people, where they are others.
    fn tell(&mut self, shared: &Shared, met: &[Met]) {
        let (node, now) = (&shared.parts.node, shared.now());
        let next = self.seen.after(met, &node.eviction, now);
        let before = std::mem::replace(&mut self.seen, next).pressures;
        let pressures = &self.seen.pressures;
        if before == *pressures {
            return;
        }
        let names: Vec<&str> = pressures.holding().map(NodePressure::as_str).collect();
        match names.as_slice() {
            [] if before.holding().next().is_none() => {}
            [] => tracing::info!("the machine is no longer low on anything"),
            names => tracing::warn!("the machine has the conditions {}", names.join(", ")),
        }
        let events = pressure_events(&node.name, &before, pressures, now);
        {
            let mut state = shared.lock();
            state.history.tell(events);
            state.set_pressures(pressures.clone());
        }
        shared.announce();
    }

    /// Makes room where that takes nobody anything away; otherwise one pod goes. Whether that is all for this look: it is unless
    /// nobody can make this good.
    async fn relieve(&mut self, shared: &Shared, low: Starved, met: &[Met]) -> bool {
        if self.low.insert(low) {
            let event = low_event(&shared.parts.node.name, low, shared.now());
            tracing::warn!("{}", event.message);
            shared.lock().history.tell(vec![event]);
            shared.announce();
        }
        // No process is left of what has ended.
        let may_help = low != Starved::Pids;
        let (missing, pods, at) = (most_missing(low, met), ends(shared), shared.now());
        if may_help && !self.vain.get(&low).is_some_and(|vain| vain.holds(missing, &pods, at)) {
            self.vain.remove(&low);
            let made = made_room(shared, low).await;
            if !matches!(made, Made::NotYet) {
                self.making.remove(&low);
            }
            match made {
                Made::Left(left) if !starved(&left).contains(&low) => return true,
                Made::Left(left) if most_missing(low, &left) >= missing => {
                    self.vain.insert(low, Vain { at, missing, pods });
                }
                // What it will come to is not known; meanwhile something else may be made good.
                Made::NotYet if low.is_of_disk() && !self.is_made_long(low, at) => return false,
                Made::Left(_) | Made::NotYet | Made::Failed => {}
            }
        } else if self.helpless.contains(&low) && low.is_of_disk() {
            // Nor is it looked again what all pods keep there.
            return false;
        }
        self.is_one_ending(shared) || self.evict(shared, low, met).await
    }

    /// Whether room has been made for so long that nobody waits for its end any more.
    fn is_made_long(&mut self, low: Starved, now: Timestamp) -> bool {
        let since = self.making.entry(low).or_insert(now);
        // A clock that was set back measures from now on.
        *since = now.min(*since);
        now >= after(*since, MAKING)
    }

    /// Whether what the pod that was evicted last has is still to be given back.
    fn is_one_ending(&mut self, shared: &Shared) -> bool {
        let Some((key, uid, at)) = &self.last else { return false };
        let now = shared.now();
        // A clock that was set back measures nothing.
        let is_late = now >= after(*at, CLEANED_UP) || now < *at;
        let runs =
            |pod: Arc<ObservedPod>| pod.record.uid == *uid && pod.containers.iter().any(ObservedContainer::is_live);
        if !is_late && shared.lock().observed(key).is_some_and(runs) {
            return true;
        }
        self.last = None;
        false
    }

    /// Has the first of the plan's order evicted. Whether that is all for this look.
    async fn evict(&mut self, shared: &Shared, low: Starved, met: &[Met]) -> bool {
        if plan::is_out_of_reach(low, met) {
            return self.cannot_help(low, "pods keep nothing on the file system of the images");
        }
        let Some(mut pods) = self.measure(shared, low, &starved(met)).await else { return true };
        // That may have taken minutes: what was too little may be enough by now, and who was measured may have gone.
        let Some((_, met)) = self.learn(shared).await else { return true };
        if plan::is_out_of_reach(low, &met) {
            return true;
        }
        pods.retain(|(pod, _)| {
            let known = shared.lock().observed(&pod.record.key);
            known.is_some_and(|known| known.record.uid == pod.record.uid && plan::is_evictable(&known))
        });
        let candidates: Vec<(&ObservedPod, &PodUse)> = pods.iter().map(|(pod, used)| (&**pod, used)).collect();
        if plan::is_in_vain(low, &met, &candidates) {
            return self.cannot_help(low, "all pods together have less of it than is missing");
        }
        let Some((pod, used)) = plan::victim(low, &candidates).and_then(|index| candidates.get(index)) else {
            return self.cannot_help(low, "there is no pod to evict");
        };
        self.helpless.remove(&low);
        let (key, uid) = (pod.record.key.clone(), pod.record.uid.clone());
        let cause = plan::low_cause(low, &met, pod, used);
        shared.lock().evict(&key, (uid.clone(), cause));
        self.last = Some((key, uid, shared.now()));
        true
    }

    /// Nobody can make it good, which is logged once; something else may be low, too.
    fn cannot_help(&mut self, low: Starved, why: &str) -> bool {
        if self.helpless.insert(low) {
            tracing::warn!("the machine is low on {}, and nobody is evicted for that: {why}", low.as_str());
        }
        false
    }

    /// What each pod that may be evicted takes. The machine is looked at meanwhile: `None` when it is no longer low on this, or has
    /// come to be low on something that goes before. Of whom that cannot be found out is left out: who takes long to be looked
    /// at would go first.
    async fn measure(
        &mut self,
        shared: &Shared,
        low: Starved,
        before: &BTreeSet<Starved>,
    ) -> Option<Vec<(Arc<ObservedPod>, PodUse)>> {
        let seen = shared.lock().seen();
        let mut pods = Vec::new();
        let mut over = after(shared.now(), GLANCE);
        for pod in seen.into_iter().filter(|pod| plan::is_evictable(pod)) {
            let used = {
                let mut work = pin!(pod_use(shared, &pod, low));
                loop {
                    // Cancel-safe: what is measured goes on, or is given up and changes nothing.
                    tokio::select! {
                        biased;
                        used = &mut work => break used,
                        () = shared.parts.clock.sleep_until(over) => {}
                    }
                    let learnt = self.learn(shared).await;
                    over = after(shared.now(), GLANCE);
                    let Some((_, met)) = learnt else { continue };
                    let now = starved(&met);
                    if plan::is_out_of_reach(low, &met) || now.range(..low).any(|other| !before.contains(other)) {
                        return None;
                    }
                }
            };
            pods.extend(used.map(|used| (pod, used)));
        }
        let is_counted = low.is_of_disk() || pods.is_empty() || pods.iter().any(|(_, used)| used.total.is_some());
        if !is_counted && !std::mem::replace(&mut self.uncounted, true) {
            tracing::warn!(
                "nobody counts the {} of pods on this machine: who goes first is known by priority alone",
                low.as_str()
            );
        }
        Some(pods)
    }
}

/// What thresholds that are met are about, in the order in which it is made good.
fn starved(met: &[Met]) -> BTreeSet<Starved> {
    met.iter().map(|met| met.signal.starved()).collect()
}

/// What the machine has left of what has a threshold.
async fn levels(shared: &Shared) -> Result<SignalLevels, PortError> {
    let signals: Vec<EvictionSignal> = shared.parts.node.eviction.hard.iter().map(|hard| hard.signal).collect();
    within(shared, PATIENCE, ("look at", "the machine"), shared.parts.backend.signal_levels(&signals)).await
}

/// How much is missing, of that of which most is.
fn most_missing(low: Starved, met: &[Met]) -> u64 {
    met.iter().filter(|met| met.signal.starved() == low).map(|met| met.missing).max().unwrap_or(0)
}

/// The pods as they were seen last, and whether nothing of them is needed any more.
fn ends(shared: &Shared) -> Vec<(PodUid, bool)> {
    let state = shared.lock();
    let of = |pod: Arc<ObservedPod>| {
        let (uid, runs) = (pod.record.uid.clone(), pod.containers.iter().any(ObservedContainer::is_live));
        let is_over = pod.record.terminal.is_some() && pod.sandbox == Sandbox::Absent;
        let has_ended = !runs && (is_over || state.evicted.contains(&uid));
        (uid, has_ended)
    };
    state.seen().into_iter().map(of).collect()
}

/// What became of making room.
enum Made {
    /// These thresholds are met all the same.
    Left(Vec<Met>),
    /// It goes on.
    NotYet,
    Failed,
}

/// Gives back what the machine holds for nobody.
async fn made_room(shared: &Shared, starved: Starved) -> Made {
    let evicted: Vec<PodUid> = shared.lock().evicted.iter().cloned().collect();
    let reclaiming = shared.parts.backend.reclaim(starved, &evicted);
    let made = within(shared, LONG, ("make room on", "the machine"), reclaiming).await;
    let made = made.inspect_err(|error| tracing::warn!("{error}"));
    let left = levels(shared).await.map(|left| plan::thresholds_met(&shared.parts.node.eviction, &left));
    match (made, left) {
        (Ok(()), Ok(met)) => Made::Left(met),
        (Err(_), Ok(met)) if met.is_empty() => Made::Left(met),
        (Err(error), _) if error.kind == ErrorKind::Unavailable => Made::NotYet,
        (Ok(()) | Err(_), _) => Made::Failed,
    }
}

/// What a pod takes of what there is too little of; `None` where to look fails. That nobody counts it is no failure.
async fn pod_use(shared: &Shared, pod: &ObservedPod, starved: Starved) -> Option<PodUse> {
    let (backend, key) = (&shared.parts.backend, &pod.record.key);
    let name = key.to_string();
    let what = ("find what is taken by", name.as_str());
    let found = match starved {
        Starved::Memory | Starved::Pids => {
            let used = within(shared, PATIENCE, what, backend.process_use(key)).await;
            used.map(|used| match starved {
                Starved::Memory => PodUse { total: used.memory, containers: used.containers, is_part: false },
                _ => PodUse { total: used.processes, ..PodUse::default() },
            })
        }
        Starved::EphemeralStorage | Starved::Inodes => {
            let limits = plan::disk_parts(pod);
            let used = within(shared, MEASURED, what, backend.volume_use(key, &limits)).await;
            used.map(|used| plan::disk_use(&limits, &used, starved))
        }
    };
    found.inspect_err(|error| tracing::warn!(pod = %key, "{error}; it is not evicted now")).ok()
}

/// The work, or an error when it takes longer than that.
async fn within<T>(
    shared: &Shared,
    patience: Duration,
    (operation, subject): (&'static str, &str),
    work: impl Future<Output = Result<T, PortError>>,
) -> Result<T, PortError> {
    let over = after(shared.now(), patience);
    // Cancel-safe: what is given up changes nothing, or goes on by itself.
    tokio::select! {
        biased;
        done = work => done,
        () = shared.parts.clock.sleep_until(over) => {
            let message = format!("it takes longer than {} s", patience.as_secs());
            Err(PortError::new(ErrorKind::Unavailable, operation, subject, message))
        }
    }
}
