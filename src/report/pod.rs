//! The pod as Kubernetes would show it: effective spec and full status.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{ConditionInput, conditions};
use super::containers::statuses;
use super::part;
use super::phase::{PhaseInput, phase};
use super::resize;
use crate::model::{
    AdmittedPod, ContainerKind, Hold, NodeInfo, ObservedPod, Outcome, Packed, ProbedContainers, Sandbox, Unplaced,
    qos_class,
};

/// Everything known about one pod at one moment.
#[derive(Clone, Copy, Debug)]
pub struct PodView<'a> {
    /// What the manifests want; `None` for a pod that is going away.
    pub admitted: Option<&'a AdmittedPod>,
    /// What runs; `None` for a pod that was not begun yet.
    pub observed: Option<&'a ObservedPod>,
    /// Waiting reason and message by container, as the plan gives them.
    pub waiting: &'a BTreeMap<String, (String, String)>,
    /// What the plan waits for.
    pub holds: &'a [Hold],
    /// What the probes of running containers say.
    pub probed: &'a ProbedContainers,
    pub node: &'a NodeInfo,
    pub now: Timestamp,
}

impl<'a> PodView<'a> {
    /// The pod whose spec is shown.
    pub(super) fn wanted(&self) -> Option<&'a AdmittedPod> {
        self.observed.map(|observed| &*observed.record.realised).or(self.admitted)
    }

    /// The spec that is shown: what runs, but with the pull Secrets that its account has by now, for these count.
    pub(super) fn effective(&self) -> Option<Packed<Pod>> {
        let realised = self.wanted()?;
        let is_alike = |now: &&AdmittedPod| now.spec == realised.spec && now.effective != realised.effective;
        let Some(now) = self.admitted.filter(is_alike) else { return Some(realised.effective.clone()) };
        let of = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.image_pull_secrets.clone());
        let (mut pod, secrets) = (realised.effective.open(), of(&now.effective.open()));
        if of(&pod) == secrets {
            return Some(realised.effective.clone());
        }
        pod.spec.get_or_insert_default().image_pull_secrets = secrets;
        Some(Packed::new(&pod))
    }

    /// Why it does not run here, if it does not.
    fn absence(&self) -> Option<Absence<'a>> {
        let unplaced = self.wanted()?.unplaced.as_deref();
        let of_unplaced = |unplaced: &'a Unplaced| Absence {
            message: &unplaced.message,
            reason: unplaced.reason(),
            waits: unplaced.outcome == Outcome::Pending,
        };
        let waits = || self.observed?.record.waits.as_deref();
        unplaced.map(of_unplaced).or_else(|| Some(Absence { message: waits()?, reason: None, waits: true }))
    }
}

/// That no machine has a pod, or another one.
struct Absence<'a> {
    message: &'a str,
    /// Why it failed, or is another machine's.
    reason: Option<String>,
    /// It waits for this machine.
    waits: bool,
}

/// The pod object. What runs wins over what is wanted: a pod about to be recreated still shows its old spec.
/// The result depends on `now` in nothing, so an unchanged world gives an unchanged object.
pub fn pod_object(view: &PodView<'_>) -> Pod {
    shown_as(view, Packed::open)
}

/// The same with no more of its spec than its status depends on.
pub(super) fn pod_without_spec(view: &PodView<'_>) -> Pod {
    shown_as(view, part::open)
}

fn shown_as(view: &PodView<'_>, open: impl Fn(&Packed<Pod>) -> Pod) -> Pod {
    let wanted = view.wanted();
    let mut pod = view.effective().map(|effective| open(&effective)).unwrap_or_default();
    if let Some(wanted) = wanted {
        pod.metadata.namespace = Some(wanted.key.namespace.clone());
        pod.metadata.name = Some(wanted.key.name.clone());
    }
    let mut spec = pod.spec.take().unwrap_or_default();
    let has_no_node = spec.node_name.as_deref().unwrap_or_default().is_empty() && view.absence().is_none();
    if has_no_node && !view.node.name.is_empty() {
        spec.node_name = Some(view.node.name.clone());
    }
    if let Some(observed) = view.observed {
        put_record(&mut pod, observed);
    }
    pod.status = Some(status(view, &spec));
    pod.spec = Some(spec);
    pod
}

/// Whether an app container was begun in the sandbox that the pod has now: the kubelet's
/// `HasAnyActiveRegularContainerStarted` (pkg/kubelet/container/helpers.go).
fn is_initialized(pod: &ObservedPod) -> bool {
    let Sandbox::Ready { attempt, .. } = pod.sandbox else { return false };
    pod.containers.iter().any(|c| c.record.kind == ContainerKind::App && c.is_of(attempt, &pod.record))
}

fn put_record(pod: &mut Pod, observed: &ObservedPod) {
    let record = &observed.record;
    pod.metadata.uid = Some(record.uid.0.clone());
    pod.metadata.creation_timestamp = Some(Time(record.created_at));
    pod.metadata.generation = Some(record.generation);
    if let Some(deletion) = &record.deletion {
        let grace = SignedDuration::from_secs(deletion.grace_seconds.max(0));
        let at = deletion.requested_at.saturating_add(grace).unwrap_or(deletion.requested_at);
        pod.metadata.deletion_timestamp = Some(Time(at));
        pod.metadata.deletion_grace_period_seconds = Some(deletion.grace_seconds);
    }
}

fn status(view: &PodView<'_>, spec: &PodSpec) -> PodStatus {
    if let Some(absence) = view.absence() {
        return absent_status(view, absence, spec);
    }
    let statuses = statuses(spec, view.observed, (view.waiting, view.probed));
    let record = view.observed.map(|o| &o.record);
    let phase = phase(PhaseInput {
        spec,
        statuses: &statuses,
        initialized: view.observed.is_some_and(is_initialized),
        terminating: record.is_some_and(|r| r.deletion.is_some()),
        terminal: record.and_then(|r| r.terminal.as_deref()),
    });
    let conditions = conditions(ConditionInput {
        spec,
        statuses: &statuses,
        phase: &phase,
        observed: view.observed,
        probed: view.probed,
        resize_error: resize::error(view.holds),
        resize_pending: resize::pending(view.holds),
    });
    let host_ips = shown(&view.node.host_ips());
    let begun = view.observed.is_some();
    let pod_ips = pod_ips(view, spec);
    let cause = record.and_then(|r| r.terminal_cause.as_ref());
    PodStatus {
        phase: Some(phase),
        reason: cause.map(|c| c.reason.clone()),
        message: cause.map(|c| c.message.clone()),
        conditions: Some(conditions),
        host_ip: host_ips.first().filter(|_| begun).cloned(),
        host_ips: begun.then(|| host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
        pod_ip: pod_ips.first().cloned(),
        pod_ips: (!pod_ips.is_empty()).then(|| pod_ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect()),
        init_container_statuses: (!statuses.init.is_empty()).then_some(statuses.init),
        container_statuses: Some(statuses.app),
        qos_class: Some(qos_class(spec).to_owned()),
        start_time: record.map(|r| Time(r.begun_at())),
        observed_generation: record.map(|r| r.generation),
        ..PodStatus::default()
    }
}

/// The status of a pod that does not run here: no container was ever begun. One that waits tells the scheduler's condition,
/// one that failed has none, and neither has another machine's.
fn absent_status(view: &PodView<'_>, absence: Absence<'_>, spec: &PodSpec) -> PodStatus {
    let record = view.observed.map(|observed| &observed.record);
    let phase = record.and_then(|record| record.terminal.clone()).unwrap_or_else(|| "Pending".to_owned());
    let Absence { message, reason, waits } = absence;
    let condition = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("Unschedulable".to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: record.map(|record| Time(record.created_at)),
        observed_generation: record.map(|record| record.generation),
        last_probe_time: None,
    };
    PodStatus {
        phase: Some(phase),
        message: reason.as_ref().map(|_| message.to_owned()),
        reason,
        conditions: waits.then(|| vec![condition]),
        qos_class: Some(qos_class(spec).to_owned()),
        start_time: record.filter(|_| !waits).map(|record| Time(record.created_at)),
        observed_generation: record.map(|record| record.generation),
        ..PodStatus::default()
    }
}

/// The pod's own addresses, or the machine's for a pod in its network.
fn pod_ips(view: &PodView<'_>, spec: &PodSpec) -> Vec<String> {
    let Some(observed) = view.observed else { return Vec::new() };
    if !matches!(observed.sandbox, Sandbox::Ready { .. }) {
        return Vec::new();
    }
    if spec.host_network == Some(true) {
        return shown(&view.node.host_ips());
    }
    shown(observed.ips())
}

fn shown(ips: &[IpAddr]) -> Vec<String> {
    ips.iter().map(IpAddr::to_string).collect()
}
