//! What follows from a machine that is low on something: its conditions, which pods it does not take, and who is evicted, as by
//! the kubelet (pkg/kubelet/eviction of 1.36).
//!
//! | it is low on | first of all go | then those of the lower priority | then those that take most |
//! |---|---|---|---|
//! | memory | pods that take more than they ask for | yes | above what they ask for |
//! | ephemeral-storage | the same | yes | the same |
//! | inodes | pods that have any | yes | of all |
//! | pids | | yes | of all |
//!
//! Pods of which it is not known what they take come before the others. One whose priority is that of the system never goes. Of
//! pods that are equal in all that the first by name goes.
//!
//! The manifests ask for a pod as a controller of Kubernetes does, which has another one in the place of one that was evicted;
//! the kubelet itself never has. Here that is once no condition holds any more, and not for a pod that is never to be restarted and
//! was begun: it may have done its work by half.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, PodSpec, Toleration};

use crate::model::{
    AmountList, EVICTED, EvictionSettings, EvictionSignal, NodeInfo, NodePressure, NodePressures, ObservedContainer,
    ObservedPod, PodRecord, PressureState, Sandbox, SignalLevels, Starved, TerminalCause, ThresholdValue,
    UnderPressure, no_node, pod_total, priority, qos_class, quantity,
};

/// From here on pods are the system's own (`SystemCriticalPriority` in pkg/apis/scheduling/types.go).
const CRITICAL: i32 = 2_000_000_000;
/// The kubelet's time between two looks (`evictionMonitoringPeriod`).
const PERIOD: SignedDuration = SignedDuration::from_secs(10);
/// The same where nothing is within a tenth of its whole of its threshold: each look wakes a machine at rest.
const AT_EASE: SignedDuration = SignedDuration::from_secs(30);
const TENTH: u64 = 10;
/// What the scheduler says of a node with the taint of a condition (its plugin TaintToleration), and of other pods that might go.
const TAINTS: &str = "node(s) had untolerated taint(s)";
const NO_PREEMPTION: &str = "0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
const NANO: i128 = 1_000_000_000;

/// A threshold that is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    pub signal: EvictionSignal,
    /// What there is to be at least, and what there is, as messages tell it.
    threshold: String,
    available: String,
    /// How much is missing.
    pub missing: u64,
    /// Pods have nothing of it.
    is_apart: bool,
}

/// The thresholds that are met, in the order of their signals. One whose signal is not known is not.
pub fn thresholds_met(settings: &EvictionSettings, levels: &SignalLevels) -> Vec<Met> {
    let of = |(signal, value): (EvictionSignal, &ThresholdValue)| {
        let level = levels.get(&signal)?;
        let (least, starved) = (value.amount(level.capacity), signal.starved());
        let threshold = match value {
            ThresholdValue::Quantity { shown, .. } => shown.clone(),
            ThresholdValue::Part(_) => starved.shown(least),
        };
        let (available, missing) = (starved.shown(level.available), least.saturating_sub(level.available));
        let is_apart = level.is_apart;
        (missing > 0).then_some(Met { signal, threshold, available, missing, is_apart })
    };
    let mut found: Vec<Met> = settings.hard.iter().filter_map(|hard| of((hard.signal, &hard.value))).collect();
    found.sort_by_key(|met| met.signal);
    found
}

/// What the looks at a machine have come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PressureWatch {
    pub pressures: NodePressures,
    /// When a threshold of a condition that holds was met last.
    met_at: BTreeMap<NodePressure, Timestamp>,
}

impl PressureWatch {
    /// What the looks of an agent before have come to, as far as pods tell that went for it: a condition holds for the time of
    /// transition after the last of them, also where this agent finds nothing low.
    pub fn recalled<'a>(pods: impl IntoIterator<Item = &'a ObservedPod>, now: Timestamp) -> Self {
        let mut met_at: BTreeMap<NodePressure, Timestamp> = BTreeMap::new();
        for (pressure, at) in pods.into_iter().filter_map(|pod| went_for(pod, now)) {
            let last = met_at.entry(pressure).or_insert(at);
            *last = at.max(*last);
        }
        Self { met_at, ..Self::default() }
    }

    /// The same after one more look: a condition holds as long as its threshold is met and for the time of transition after.
    #[must_use]
    pub fn after(&self, met: &[Met], settings: &EvictionSettings, now: Timestamp) -> Self {
        let transition = SignedDuration::try_from(settings.transition).unwrap_or(SignedDuration::MAX);
        let mut met_at = self.met_at.clone();
        met_at.extend(met.iter().map(|met| (met.signal.pressure(), now)));
        // A clock that was set back measures from now on.
        met_at.values_mut().for_each(|at| *at = (*at).min(now));
        met_at.retain(|_, at| *at == now || now.duration_since(*at) < transition);
        let state = |pressure: NodePressure| {
            let holds = met_at.contains_key(&pressure);
            let same = self.pressures.0.get(&pressure).filter(|before| before.holds == holds);
            (pressure, PressureState { holds, since: same.map_or(now, |before| before.since) })
        };
        let pressures = NodePressures(NodePressure::ALL.into_iter().map(state).collect());
        Self { pressures, met_at }
    }

    /// When to look again.
    pub fn next_look(&self, settings: &EvictionSettings, levels: &SignalLevels, now: Timestamp) -> Timestamp {
        let is_near = settings.hard.iter().any(|hard| {
            levels.get(&hard.signal).is_some_and(|level| {
                let near = hard.value.amount(level.capacity).saturating_add(level.capacity / TENTH);
                level.available < near
            })
        });
        let period = if is_near || self.pressures.holding().next().is_some() { PERIOD } else { AT_EASE };
        now.checked_add(period).unwrap_or(Timestamp::MAX)
    }
}

/// What a pod takes of what there is too little of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodUse {
    /// All of it; `None` when that is not known.
    pub total: Option<u64>,
    /// That of its containers, by name, as far as it is known: of memory and of the disk.
    pub containers: BTreeMap<String, u64>,
    /// It is more than that: all of it was not found in time.
    pub is_part: bool,
}

/// Whether a pod may be evicted: it has something that runs, does not end already, and is not the system's.
pub fn is_evictable(pod: &ObservedPod) -> bool {
    let runs = matches!(pod.sandbox, Sandbox::Ready { .. }) || pod.containers.iter().any(ObservedContainer::is_live);
    let record = &pod.record;
    let ends = record.terminal.is_some() || record.terminal_cause.is_some() || record.deletion.is_some();
    runs && !ends && record.realised.effective.open().spec.is_some_and(|spec| !is_critical(&spec))
}

/// Which of these pods goes, by its index.
pub fn victim(starved: Starved, pods: &[(&ObservedPod, &PodUse)]) -> Option<usize> {
    let rank = |(pod, used): &(&ObservedPod, &PodUse)| {
        let spec = pod.record.realised.effective.open().spec.unwrap_or_default();
        let asked = match starved {
            Starved::Memory | Starved::EphemeralStorage => pod_total(&spec, AmountList::Requests, starved.as_str()),
            Starved::Inodes | Starved::Pids => 0,
        };
        let above = used.total.map(|used| i128::from(used) * NANO - asked);
        let is_modest = above.is_some_and(|above| above <= 0);
        // A priority counts before what processes a pod has.
        let (known, modest) = if starved == Starved::Pids { (false, false) } else { (above.is_some(), is_modest) };
        (known, modest, priority(&spec), above.is_some(), Reverse(above), pod.record.key.clone())
    };
    pods.iter().enumerate().min_by_key(|(_, pod)| rank(pod)).map(|(index, _)| index)
}

/// Whether pods have nothing of what there is too little of: it is made good by images alone.
pub fn is_out_of_reach(starved: Starved, met: &[Met]) -> bool {
    of_pods(starved, met).next().is_none()
}

/// The thresholds of this that are met and that pods have something of.
fn of_pods(starved: Starved, met: &[Met]) -> impl Iterator<Item = &Met> {
    met.iter().filter(move |met| met.signal.starved() == starved && !met.is_apart)
}

/// Whether it would be in vain to evict any of these pods: all of them together keep less on the disk than is missing there. The
/// kubelet evicts them nevertheless, and has none of them come back.
pub fn is_in_vain(starved: Starved, met: &[Met], pods: &[(&ObservedPod, &PodUse)]) -> bool {
    let missing = of_pods(starved, met).map(|met| met.missing).min();
    let is_known = pods.iter().all(|(_, used)| used.total.is_some() && !used.is_part);
    let all = pods.iter().filter_map(|(_, used)| used.total).fold(0_u64, u64::saturating_add);
    starved.is_of_disk() && !pods.is_empty() && is_known && missing.is_some_and(|missing| all < missing)
}

/// The condition for which a pod went, and when it did: now, as long as it is going.
fn went_for(pod: &ObservedPod, now: Timestamp) -> Option<(NodePressure, Timestamp)> {
    let cause = pod.record.terminal_cause.as_ref().filter(|cause| cause.pressure == Some(UnderPressure::Evicted))?;
    let starved = Starved::ALL.into_iter().find(|starved| cause.message.starts_with(&low_on(*starved)))?;
    let is_going = pod.record.terminal.is_none();
    let ended = pod.containers.iter().filter_map(|container| Some(container.exit()?.finished_at)).max();
    let at = if is_going { now } else { ended? };
    (at <= now).then_some((starved.pressure(), at))
}

/// How the message of an eviction begins.
fn low_on(starved: Starved) -> String {
    format!("The node was low on resource: {}. ", starved.as_str())
}

/// Why a pod is evicted, in the kubelet's words (`evictionMessage` of helpers.go).
pub fn low_cause(starved: Starved, met: &[Met], pod: &ObservedPod, used: &PodUse) -> TerminalCause {
    let mut message = low_on(starved);
    if let Some(Met { threshold, available, .. }) = of_pods(starved, met).next() {
        message.push_str(&format!("Threshold quantity: {threshold}, available: {available}. "));
    }
    if starved.is_bytes() {
        let spec = pod.record.realised.effective.open().spec.unwrap_or_default();
        message.push_str(&of_the_pod(starved, &spec, pod, used));
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        message.extend(containers.filter_map(|container| of_a_container(starved, container, used)));
    }
    TerminalCause { reason: EVICTED.to_owned(), message, pressure: Some(UnderPressure::Evicted) }
}

/// What is told of a pod that asks for memory as a whole.
fn of_the_pod(starved: Starved, spec: &PodSpec, pod: &ObservedPod, used: &PodUse) -> String {
    let asked = AmountList::Requests.of_pod(spec).filter(|_| starved == Starved::Memory);
    let asked = asked.and_then(|requests| quantity::shown(&requests.get(starved.as_str())?.0));
    let told = |(total, asked): (u64, String)| larger("Pod", &pod.record.key.name, (starved, total), &asked);
    used.total.zip(asked).map(told).unwrap_or_default()
}

/// What is told of a container that takes more than it asks for.
fn of_a_container(starved: Starved, container: &Container, used: &PodUse) -> Option<String> {
    let total = *used.containers.get(&container.name)?;
    let asked = AmountList::Requests.of(container).and_then(|requests| requests.get(starved.as_str()));
    let asked = asked.map_or("0", |asked| asked.0.as_str());
    let takes_more = i128::from(total) * NANO > quantity::nanos(asked).unwrap_or(0);
    let asked = quantity::shown(asked).unwrap_or_else(|| "0".to_owned());
    takes_more.then(|| larger("Container", &container.name, (starved, total), &asked))
}

fn larger(what: &str, name: &str, (starved, total): (Starved, u64), asked: &str) -> String {
    let (total, resource) = (starved.shown(total), starved.as_str());
    format!("{what} {name} was using {total}, request is {asked}, has larger consumption of {resource}. ")
}

/// Why a pod that was not begun yet waits, in the scheduler's words: it finds no machine for a pod that names none while this one
/// has the taint of a condition.
pub(super) fn waits(node: &NodeInfo, pod: &ObservedPod) -> Option<String> {
    let realised = &pod.record.realised;
    if pod.record.terminal.is_some() || realised.unplaced.is_some() || !is_asked(node, pod) {
        return None;
    }
    let spec = realised.effective.open().spec?;
    let is_named = !spec.node_name.as_deref().unwrap_or_default().is_empty();
    (!is_named && is_kept_out(node, &spec)).then(|| no_node(&[TAINTS.to_owned()], NO_PREEMPTION))
}

/// Why a pod that names the machine and was not begun yet is not taken now, in the kubelet's words (`Admit` of
/// eviction_manager.go).
pub(super) fn rejection(node: &NodeInfo, spec: &PodSpec, pod: &ObservedPod) -> Option<TerminalCause> {
    if !is_asked(node, pod) || !is_kept_out(node, spec) {
        return None;
    }
    let names: Vec<&str> = node.pressures.holding().map(NodePressure::as_str).collect();
    let message = format!("Pod was rejected: The node had condition: [{}]. ", names.join(" "));
    Some(TerminalCause { reason: EVICTED.to_owned(), message, pressure: Some(UnderPressure::Rejected) })
}

/// Whether it is a question if a pod is begun: the machine is low on something, and nothing of the pod was begun.
fn is_asked(node: &NodeInfo, pod: &ObservedPod) -> bool {
    let was_begun = pod.record.sandbox_attempts > 0 || pod.sandbox != Sandbox::Absent || !pod.containers.is_empty();
    !was_begun && node.pressures.holding().next().is_some()
}

/// Whether a machine that is low on something takes no such pod.
fn is_kept_out(node: &NodeInfo, spec: &PodSpec) -> bool {
    let copes = || qos_class(spec) != "BestEffort" || tolerates(spec, NodePressure::Memory);
    let is_tolerable = || node.pressures.holding().eq([NodePressure::Memory]) && copes();
    !(is_critical(spec) || is_tolerable())
}

/// Whether a pod that has ended is to make way for another one: it went for what the machine was low on.
pub(super) fn comes_back(record: &PodRecord) -> bool {
    let cause = record.terminal_cause.as_ref().filter(|_| record.terminal.is_some());
    let is_restarted = || {
        let spec = record.realised.effective.open().spec;
        spec.is_none_or(|spec| spec.restart_policy.as_deref() != Some("Never"))
    };
    match cause.and_then(|cause| cause.pressure) {
        None => false,
        Some(UnderPressure::Rejected) => true,
        Some(UnderPressure::Evicted) => is_restarted(),
    }
}

/// Whether such a pod makes way now: the machine is no longer low on anything.
pub(super) fn has_successor(node: &NodeInfo, record: &PodRecord) -> bool {
    // Without a threshold nobody looks, and there is nothing to wait for.
    (node.pressures.is_at_ease() || node.eviction.hard.is_empty()) && comes_back(record)
}

pub(super) fn is_critical(spec: &PodSpec) -> bool {
    priority(spec) >= CRITICAL
}

/// Whether a pod tolerates the taint that a condition puts on a node.
fn tolerates(spec: &PodSpec, pressure: NodePressure) -> bool {
    let covers = |toleration: &Toleration| {
        let is =
            |text: &Option<String>, wanted: &str| text.as_deref().is_none_or(|text| text.is_empty() || text == wanted);
        // Without a key it is for every taint, as `Exists` alone can be.
        let by_value = match toleration.operator.as_deref() {
            Some("Exists") => is(&toleration.key, pressure.taint()),
            Some("Equal" | "") | None => {
                toleration.key.as_deref() == Some(pressure.taint()) && is(&toleration.value, "")
            }
            Some(_) => false,
        };
        by_value && is(&toleration.effect, "NoSchedule")
    };
    spec.tolerations.iter().flatten().any(covers)
}
