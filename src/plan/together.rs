//! All containers of a pod restarted together, as one of them asks for by how it ended: the action `RestartAllContainers` of its
//! rules. As in a new pod but for what lasts: uid, sandbox, address and volumes.
//!
//! ```text
//!   one ended as its rule says, its back-off is over ──▶ on record: another round
//!   what runs of the rounds before ───────────────────▶ SIGKILL, without hook and grace period
//!   nothing runs any more ────────────────────────────▶ init containers in order, then the others
//! ```
//!
//! Which container decides and what is killed: pkg/kubelet/container/helpers.go, `ShouldAllContainersRestart`, and
//! pkg/kubelet/kuberuntime/kuberuntime_manager.go, `getContainersToReset`, of 1.36; that the back-off counts: KEP-5532.

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::draft::Draft;
use super::opened::Opened;
use super::pod::Round;
use super::probe;
use super::restart::{self, Next};
use super::start;
use super::teardown::{Grace, Stop};
use crate::model::{AllRestarted, ObservedContainer, ObservedPod, PodAction, PodRecord, Reason, Sandbox};

/// The action of a rule.
const ACTION: &str = "RestartAllContainers";
/// Why containers wait meanwhile, and what is said of them (pkg/kubelet/kubelet_pods.go, `convertToAPIContainerStatuses`).
const WAITING: &str = "RestartingAllContainers";
const MESSAGE: &str = "The container is removed because RestartAllContainers in place";

/// The container that asks for it: the first that ended so by itself or for its probe, init containers before the others. What
/// was told to stop, such as the sidecars of a pod that ends, asks for nothing.
pub(super) fn asked<'a>(
    spec: &'a PodSpec,
    pod: &'a ObservedPod,
) -> Option<(&'a Container, &'a ObservedContainer, i32)> {
    let Sandbox::Ready { attempt, .. } = pod.sandbox else { return None };
    let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
    all.find_map(|container| {
        let latest = pod.latest(&container.name).filter(|latest| latest.is_of(attempt, &pod.record))?;
        let latest = Some(latest).filter(|latest| !start::was_stopped(latest))?;
        let exit_code = latest.exit()?.exit_code;
        asks(container, exit_code).then_some((container, latest, exit_code))
    })
}

/// Whether one that ended so has all restarted.
pub(super) fn asks(container: &Container, exit_code: i32) -> bool {
    restart::rule(container, exit_code).is_some_and(|(_, rule)| rule.action == ACTION)
}

/// Whether a container that ended in an earlier round is to run again.
pub(super) fn is_due(pod: &ObservedPod, latest: &ObservedContainer) -> bool {
    latest.record.round < pod.record.round()
}

/// Begins it, or goes on with it. Returns whether nothing else is to be planned meanwhile.
pub(super) fn restart(round: &Round<'_>, spec: &PodSpec, pod: &Opened<'_>, draft: &mut Draft) -> bool {
    let now = round.input.now;
    if let Some((container, latest, exit_code)) = asked(spec, pod)
        && let Some(Next::Now { .. }) = start::next(container, latest, pod, now)
    {
        let all_restarted = Some(AllRestarted { count: pod.record.round().saturating_add(1), at: now });
        let record = Box::new(PodRecord { all_restarted, ..pod.record.clone() });
        let reason = Reason::RestartAll { container: container.name.clone(), exit_code };
        draft.step(PodAction::UpdatePod { record }, reason);
    } else if !pod.containers.iter().any(|c| c.is_live() && is_due(pod, c)) {
        return false;
    } else {
        Stop { reason: Reason::RestartingAll, grace: Grace::None, began: None }.all(round, pod, draft);
    }
    probe::probes(pod, round.input.memory, true, draft);
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        if !pod.latest(&container.name).is_some_and(ObservedContainer::is_live) {
            draft.waiting(&container.name, WAITING, MESSAGE);
        }
    }
    true
}
