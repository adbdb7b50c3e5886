//! What a pod's volumes take of the disk: measured from time to time by a task beside the pod's worker, which takes the result
//! between its rounds. Whether the pod may is the plan's to say.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::task::AbortOnDropHandle;

use super::after;
use super::state::EvictionOrder;
use super::worker::Worker;
use crate::model::{
    Eviction, ObservedContainer, ObservedPod, PodRecord, PodUid, TerminalCause, VolumeLimit, VolumeUse,
};
use crate::plan;
use crate::port::{ErrorKind, PortError};
use crate::report::{eviction_event, exceeded_event, usage_event};

/// The volumes of so many pods are measured at the same time: more would only have the disk go to and fro.
pub(super) const PLACES: usize = 2;
/// So long it may take for one pod.
const PATIENCE: Duration = Duration::from_secs(300);
/// So long an eviction may take: the kubelet waits half as long again as the grace period, and no less than this (`killPodNow`).
const KILLED_WITHIN: Duration = Duration::from_secs(10);
/// What it is called among the steps that fail, and in errors.
const MEASURE: &str = "measure the volumes of";

type Measured = Result<Vec<VolumeUse>, PortError>;

/// The volumes of one incarnation of a pod.
pub(super) struct Usage {
    uid: PodUid,
    /// Those that have a limit.
    limits: Vec<VolumeLimit>,
    /// When they are measured next, and when that was said.
    due: Timestamp,
    said: Timestamp,
    /// Ends with this.
    task: Option<AbortOnDropHandle<Measured>>,
    /// What was measured last.
    last: Vec<VolumeUse>,
    /// Names of those that were told to be known in part.
    told: BTreeSet<String>,
}

impl Usage {
    fn new(uid: PodUid, limits: Vec<VolumeLimit>, now: Timestamp) -> Self {
        Self { uid, limits, due: now, said: now, task: None, last: Vec::new(), told: BTreeSet::new() }
    }

    /// Whether it is about these volumes of this pod: another one of its name begins anew.
    fn is_of(&self, uid: &PodUid, limits: &[VolumeLimit]) -> bool {
        self.uid == *uid && self.limits == limits
    }

    /// Whether to begin now. A clock that was set back cannot measure the wait.
    fn is_due(&self, now: Timestamp) -> bool {
        self.task.is_none() && (self.due <= now || now < self.said)
    }

    /// When to begin, unless it has begun.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.task.is_none().then_some(self.due)
    }

    /// What was measured, as soon as it is; never when nothing is being measured. Cancel-safe.
    pub(super) async fn measured(&mut self) -> Measured {
        let Some(task) = &mut self.task else { return pending().await };
        let measured = task.await;
        self.task = None;
        measured.unwrap_or_else(|error| {
            let message = format!("it ended early: {error}");
            Err(PortError::new(ErrorKind::Internal, MEASURE, self.uid.to_string(), message))
        })
    }
}

impl Worker {
    /// Has these volumes measured from now on, and no others.
    pub(super) fn watch_usage(&mut self, limits: Vec<VolumeLimit>, now: Timestamp) {
        let uid = self.observed.as_ref().map(|pod| &pod.record.uid).filter(|_| !limits.is_empty());
        match (&self.usage, uid) {
            (Some(usage), Some(uid)) if usage.is_of(uid, &limits) => {}
            (_, Some(uid)) => self.usage = Some(Box::new(Usage::new(uid.clone(), limits, now))),
            (_, None) => self.usage = None,
        }
    }

    /// Begins to measure when it is time. Nobody waits for it.
    pub(super) fn measure(&mut self) {
        let now = self.shared.now();
        let Some(usage) = self.usage.as_mut().filter(|usage| usage.is_due(now)) else { return };
        let (shared, key, limits) = (Arc::clone(&self.shared), Arc::clone(&self.key), usage.limits.clone());
        let work = async move {
            // Never closed.
            let _place = shared.measuring.acquire().await;
            let over = after(shared.now(), PATIENCE);
            // Cancel-safe: what is given up changes nothing.
            tokio::select! {
                biased;
                used = shared.parts.backend.volume_use(&key, &limits) => used,
                () = shared.parts.clock.sleep_until(over) => {
                    let message = format!("it takes longer than {} s", PATIENCE.as_secs());
                    Err(PortError::new(ErrorKind::Unavailable, MEASURE, key.to_string(), message))
                }
            }
        };
        usage.task = Some(AbortOnDropHandle::new(tokio::spawn(work)));
    }

    /// Judges what was measured. Whether the pod is to be evicted: then a round has to begin.
    pub(super) async fn judge_usage(&mut self, measured: Measured) -> bool {
        let now = self.shared.now();
        let Some(usage) = &mut self.usage else { return false };
        usage.said = now;
        let used = match measured {
            Ok(used) => used,
            Err(error) => {
                let until = self.memory.rest(MEASURE, ("FailedSync", &error.to_string()), now);
                tracing::warn!(pod = %self.key, "{error}; next try in {} s", until.duration_since(now).as_secs());
                usage.due = until;
                return false;
            }
        };
        self.memory.rested(MEASURE);
        usage.due = plan::next_look(&usage.limits, &used, &usage.last, now);
        usage.last.clone_from(&used);
        if let Some(cause) = plan::eviction(&usage.limits, &used) {
            let Some(pod) = self.measured_pod().await.transpose() else { return false };
            self.evict(pod, cause, now).await;
            return true;
        }
        if used.iter().any(|used| used.is_part) {
            self.tell_parts(&used, now).await;
        }
        false
    }

    /// The pod that was measured, if it is still there.
    async fn measured_pod(&self) -> Result<Option<Arc<ObservedPod>>, PortError> {
        let pod = self.shared.parts.backend.observe(&self.key).await?;
        Ok(pod.filter(|pod| self.usage.as_ref().is_some_and(|usage| usage.uid == pod.record.uid)))
    }

    /// Tells of volumes that are known in part, each once.
    async fn tell_parts(&mut self, used: &[VolumeUse], now: Timestamp) {
        let Ok(Some(pod)) = self.measured_pod().await else { return };
        let Some(usage) = &mut self.usage else { return };
        let mut events = Vec::new();
        for (limit, used) in usage.limits.iter().zip(used).filter(|(_, used)| used.is_part) {
            if usage.told.insert(limit.what()) {
                let event = usage_event(&pod, limit, *used, now);
                tracing::warn!(pod = %self.key, "{}", event.message);
                events.push(event);
            }
        }
        self.shared.lock().history.tell(events);
        self.shared.announce();
    }

    /// Goes on with an eviction that the record tells of: that it has an end needs a beginning.
    pub(super) fn take_over_eviction(&mut self, now: Timestamp) {
        let record = self.observed.as_ref().map(|pod| &pod.record).filter(|record| record.terminal.is_none());
        if let (Some(cause), None) = (record.and_then(|r| r.terminal_cause.as_ref()), &self.memory.plan.evicted) {
            self.memory.plan.evicted = Some(Eviction { cause: cause.clone(), since: now });
        }
    }

    /// Tells, once, of an eviction that takes longer than it should. When it will, if that is to come.
    pub(super) fn tell_exceeded(&mut self, now: Timestamp) -> Option<Timestamp> {
        let Some(eviction) = &self.memory.plan.evicted else {
            self.exceeded = false;
            return None;
        };
        let runs = |pod: &&Arc<ObservedPod>| pod.containers.iter().any(ObservedContainer::is_live);
        let pod = self.observed.as_ref().filter(runs).filter(|_| !self.exceeded)?;
        let until = after(eviction.since, KILLED_WITHIN);
        if now < until {
            return Some(until);
        }
        self.shared.lock().history.tell(vec![exceeded_event(pod, now)]);
        self.shared.announce();
        self.exceeded = true;
        None
    }

    /// Begins an eviction that was decided on elsewhere, if it is of the pod that is there. Whether it was begun.
    pub(super) async fn evict_as_told(&mut self, (uid, cause): EvictionOrder, now: Timestamp) -> bool {
        let lives = |record: &PodRecord| record.uid == uid && record.terminal.is_none() && record.deletion.is_none();
        let pod = self.observed.as_ref().filter(|pod| lives(&pod.record)).cloned();
        let Some(pod) = pod.filter(|_| self.memory.plan.evicted.is_none()) else { return false };
        let uid = pod.record.uid.clone();
        self.evict(Ok(pod), cause, now).await;
        self.shared.lock().evicted.insert(uid);
        true
    }

    /// Begins an eviction. An agent that begins anew goes on with it by the record, where that can be written.
    async fn evict(&mut self, pod: Result<Arc<ObservedPod>, PortError>, cause: TerminalCause, now: Timestamp) {
        let noted = match pod {
            Ok(pod) => {
                tracing::warn!(pod = %self.key, "evicted: {}", cause.message.trim_end());
                self.shared.lock().history.tell(vec![eviction_event(&pod, &cause, now)]);
                self.shared.announce();
                let record = PodRecord { terminal_cause: Some(cause.clone()), ..pod.record.clone() };
                self.shared.parts.backend.put_record(&record).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = noted {
            tracing::warn!(pod = %self.key, "{error}; it is evicted all the same");
        }
        self.memory.plan.evicted = Some(Eviction { cause, since: now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DiskPart;

    #[test]
    fn a_clock_that_is_set_back_stops_no_look() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut usage = Usage::new(PodUid("a".to_owned()), Vec::new(), at(1000));
        assert!(usage.is_due(at(1000)));
        (usage.due, usage.said) = (at(1010), at(1000));
        let due: Vec<i64> = [0, 999, 1000, 1009, 1010].into_iter().filter(|second| usage.is_due(at(*second))).collect();
        assert_eq!(due, [0, 999, 1010]);
    }

    #[test]
    fn a_pod_that_takes_the_place_of_another_is_looked_at_anew() {
        let limits =
            vec![VolumeLimit { of: DiskPart::EmptyDir, name: "data".to_owned(), bytes: 1, shown: "1".to_owned() }];
        let usage = Usage::new(PodUid("a".to_owned()), limits.clone(), Timestamp::UNIX_EPOCH);
        assert!(usage.is_of(&PodUid("a".to_owned()), &limits));
        assert!(!usage.is_of(&PodUid("b".to_owned()), &limits), "its successor has the same limits");
        assert!(!usage.is_of(&PodUid("a".to_owned()), &[]));
    }
}
