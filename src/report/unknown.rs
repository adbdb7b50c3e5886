//! A pod nobody reports on any more: its last known object with everything that may have changed since taken back.

use k8s_openapi::api::core::v1::Pod;

/// The pod as it must be shown when its agent is gone: phase Unknown, nothing ready. A pod that had ended for good
/// stays as it was.
pub fn as_unknown(pod: &Pod) -> Pod {
    let mut pod = pod.clone();
    let Some(status) = pod.status.as_mut() else { return pod };
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return pod;
    }
    status.phase = Some("Unknown".into());
    status.reason = None;
    status.message = Some("The agent does not report any more; this is its last report".into());
    status.init_container_statuses = None;
    for container in status.container_statuses.iter_mut().flatten() {
        container.ready = false;
        container.started = None;
        container.state = None;
    }
    for condition in status.conditions.iter_mut().flatten() {
        if matches!(condition.type_.as_str(), "Ready" | "ContainersReady" | "PodReadyToStartContainers") {
            condition.status = "Unknown".into();
            condition.reason = Some("AgentStatusUnknown".into());
            condition.message = Some("The agent does not report any more".into());
        }
    }
    // A pod under way to its end would show as Terminating, which nobody can tell now.
    pod.metadata.deletion_timestamp = None;
    pod
}
