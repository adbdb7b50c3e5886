//! Which pods to touch: the whole fleet against what is observed.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::change::{self, Change};
use super::data::View;
use super::pairs::Act;
use super::placement;
use super::rename;
use super::restart;
use crate::model::{
    Admitted, AdmittedPod, ContainerKind, ContainerRecord, ContainerState, ExitRecord, FleetAction, FleetPlan,
    ObservedContainer, ObservedPod, Outcome, PodKey, PodRecord, PodUid, Reason, Resources, Sandbox, spread,
};

/// What happens to each pod: removals first, then the others, each by name.
pub fn fleet<P: Borrow<ObservedPod>>(admitted: &Admitted, observed: &[P]) -> FleetPlan {
    fleet_on(1, admitted, observed)
}

/// The same on several threads. The plan does not depend on their number.
pub fn fleet_on<P: Borrow<ObservedPod>>(threads: usize, admitted: &Admitted, observed: &[P]) -> FleetPlan {
    let observed: BTreeMap<&PodKey, &ObservedPod> =
        observed.iter().map(Borrow::borrow).map(|pod| (&pod.record.key, pod)).collect();
    let mut plan = FleetPlan::default();
    let data = View::new(&admitted.data);
    let is_here = |pod: &ObservedPod| !pod.record.realised.is_elsewhere();
    for (key, _) in observed.iter().filter(|(key, pod)| !admitted.pods.contains_key(**key) && is_here(pod)) {
        plan.actions.push(FleetAction::Remove { key: (*key).clone(), reason: Reason::PodRemoved });
    }
    let pods: Vec<(&Arc<AdmittedPod>, Option<&ObservedPod>)> =
        admitted.pods.iter().map(|(key, pod)| (pod, observed.get(key).copied())).collect();
    let reasons = spread::map(threads, &pods, |(pod, old)| reason(pod, *old, &data));
    let mut applied = Vec::new();
    for ((key, pod), reason) in admitted.pods.iter().zip(reasons) {
        match reason {
            None if is_elsewhere(pod, observed.get(key).copied()) => plan.elsewhere.push(key.clone()),
            None => plan.unchanged.push(key.clone()),
            Some(reason @ Reason::NotForThisMachine(_)) => {
                plan.actions.push(FleetAction::Remove { key: key.clone(), reason });
            }
            Some(reason) => applied.push(FleetAction::Apply { pod: Arc::clone(pod), reason }),
        }
    }
    plan.actions.sort_by(|a, b| a.key().cmp(b.key()));
    plan.actions.extend(applied);
    debug_assert!(plan.actions.iter().all(|action| Act::of_fleet(action).is_for(action.reason())));
    plan.renames = rename::pair(&plan.actions, &observed);
    plan
}

/// Whether a pod is another machine's and nothing of it is here.
fn is_elsewhere(pod: &AdmittedPod, observed: Option<&ObservedPod>) -> bool {
    pod.is_elsewhere() && observed.is_none_or(|old| old.record.realised.is_elsewhere())
}

/// Why a pod is to be touched; `None` for one that is as it should be, if only by not being here.
fn reason(pod: &AdmittedPod, observed: Option<&ObservedPod>, data: &View<'_>) -> Option<Reason> {
    let Some(old) = observed else { return (!pod.is_elsewhere()).then_some(Reason::PodAdded) };
    let record = &old.record;
    if record.realised.is_elsewhere() {
        return (!pod.is_elsewhere()).then(|| Reason::Placed(change::of_arrival(&record.realised, pod)));
    }
    let change = change::of_record(record, pod, Some(data));
    if let Some(fields) = placement::leaving(record, pod, &change) {
        return Some(Reason::NotForThisMachine(fields));
    }
    if record.deletion.is_some() {
        // The one that is going has no future: this is another pod of its name.
        return Some(Reason::PodAdded);
    }
    match change {
        Change::None => None,
        Change::InPlace(fields) => Some(Reason::UpdatedInPlace(fields)),
        Change::Recreate(fields) => Some(Reason::Recreated(fields)),
    }
}

/// The fleet as if everything of `admitted` ran: the base of the offline diff.
pub fn converged(admitted: &Admitted, now: Timestamp) -> Vec<ObservedPod> {
    converged_on(1, admitted, now)
}

/// The same on several threads.
pub fn converged_on(threads: usize, admitted: &Admitted, now: Timestamp) -> Vec<ObservedPod> {
    let data = View::new(&admitted.data);
    let running = |pod: &&Arc<AdmittedPod>| {
        let effective = pod.effective.open();
        let mut running = running(pod, &effective, &admitted.revision.id, now);
        running.record.data_digests = Some(data.digests(&effective, &running.record.uid));
        running
    };
    spread::map(threads, &admitted.pods.values().collect::<Vec<_>>(), running)
}

fn running(pod: &Arc<AdmittedPod>, effective: &Pod, revision: &str, now: Timestamp) -> ObservedPod {
    let empty = PodSpec::default();
    // Of a pod that does not run here there is its record at most.
    let spec = effective.spec.as_ref().filter(|_| pod.unplaced.is_none()).unwrap_or(&empty);
    let failed = pod.unplaced.as_ref().is_some_and(|unplaced| unplaced.outcome == Outcome::Failed);
    let init = spec.init_containers.iter().flatten().map(|c| (c, restart::kind_of(c, true)));
    let apps = spec.containers.iter().map(|c| (c, ContainerKind::App));
    let mut containers: Vec<ObservedContainer> = init.chain(apps).map(|(c, kind)| instance(c, kind, now)).collect();
    containers.sort_by(|a, b| a.record.name.cmp(&b.record.name));
    ObservedPod {
        record: PodRecord {
            version: PodRecord::VERSION,
            key: pod.key.clone(),
            uid: PodUid(String::new()),
            created_at: now,
            placed_at: None,
            revision: revision.to_owned(),
            realised: Arc::clone(pod),
            generation: 1,
            resized_at: None,
            sandbox_attempts: 1,
            deletion: None,
            terminal: failed.then(|| "Failed".to_owned()),
            terminal_cause: None,
            data_digests: None,
            all_restarted: None,
            bounds_storage: true,
            waits: None,
        },
        sandbox: match pod.unplaced {
            None => Sandbox::Ready { attempt: 0, pid: 0, started_at: now, ips: Vec::new() },
            Some(_) => Sandbox::Absent,
        },
        containers,
    }
}

fn instance(container: &Container, kind: ContainerKind, now: Timestamp) -> ObservedContainer {
    let state = match kind {
        ContainerKind::Init => ContainerState::Exited(ExitRecord {
            exit_code: 0,
            signal: None,
            oom_killed: false,
            started_at: Some(now),
            finished_at: now,
            reason: None,
            message: None,
        }),
        ContainerKind::Sidecar | ContainerKind::App => ContainerState::Running { pid: 0, started_at: now },
    };
    ObservedContainer {
        record: ContainerRecord {
            name: container.name.clone(),
            kind,
            attempt: 0,
            id: String::new(),
            sandbox_attempt: 0,
            round: 0,
            image: container.image.clone().unwrap_or_default(),
            image_id: String::new(),
            image_source: crate::model::ImageSource::Present,
            volume_images: BTreeMap::new(),
            created_at: now,
            boot_id: String::new(),
            backoff: SignedDuration::ZERO,
            log_path: String::new(),
            resources: Some(Resources::of(container)),
            data: None,
            stopping: None,
        },
        state,
        earlier_boot: false,
    }
}
