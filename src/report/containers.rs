//! One container's status: state, last state, readiness and restart count out of its observed instances.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, PodSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::resize;
use crate::model::{
    ContainerState, ExitRecord, ObservedContainer, ObservedPod, Probed, ProbedContainers, Reason, is_sidecar,
};

/// How a container ended that was killed to restart all of its pod (pkg/kubelet/kubelet_pods.go of 1.36,
/// `convertToAPIContainerStatuses`).
const RESTARTING_ALL: (&str, &str) =
    ("RestartingAllContainers", "The container is removed because RestartAllContainers in place");

/// Bytes of all that the containers of a pod said last, an equal share for each (`MaxPodTerminationMessageLogLength` in
/// pkg/kubelet/container, `normalizeStatus` in pkg/kubelet/status).
const MESSAGES: usize = 12 << 10;

/// Waiting reason and message by container name; the empty name stands for the pod itself.
pub type Waiting = BTreeMap<String, (String, String)>;

/// The statuses of a pod's init containers (in spec order) and of its other containers (by name).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statuses {
    pub init: Vec<ContainerStatus>,
    pub app: Vec<ContainerStatus>,
}

impl Statuses {
    /// The status of a container, wherever it stands.
    pub fn get(&self, name: &str) -> Option<&ContainerStatus> {
        self.init.iter().chain(&self.app).find(|s| s.name == name)
    }
}

/// Derives every container's status, with why containers wait and what their probes say.
pub fn statuses(
    spec: &PodSpec,
    observed: Option<&ObservedPod>,
    (waiting, probed): (&Waiting, &ProbedContainers),
) -> Statuses {
    let init_containers = spec.init_containers.as_deref().unwrap_or_default();
    let app_seen = observed.is_some_and(|pod| spec.containers.iter().any(|c| pod.latest(&c.name).is_some()));
    let context = Context { observed, waiting, probed, has_init: !init_containers.is_empty(), app_seen };
    let mut init: Vec<_> = init_containers.iter().map(|c| context.status(c, Role::of_init(c))).collect();
    let mut app: Vec<_> = spec.containers.iter().map(|c| context.status(c, Role::App)).collect();
    let share = MESSAGES / (init.len() + app.len()).max(1);
    for status in init.iter_mut().chain(&mut app) {
        shorten(status.state.as_mut(), share);
        shorten(status.last_state.as_mut(), share);
    }
    app.sort_by(|a, b| a.name.cmp(&b.name));
    Statuses { init, app }
}

/// Cuts what a container said last to its share.
fn shorten(state: Option<&mut ApiState>, share: usize) {
    if let Some(message) = state.and_then(|state| state.terminated.as_mut()?.message.as_mut()) {
        message.truncate(message.floor_char_boundary(share));
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Init,
    Sidecar,
    App,
}

impl Role {
    fn of_init(container: &Container) -> Self {
        if is_sidecar(container) { Role::Sidecar } else { Role::Init }
    }
}

struct Context<'a> {
    observed: Option<&'a ObservedPod>,
    waiting: &'a Waiting,
    probed: &'a ProbedContainers,
    has_init: bool,
    /// An app container was started, so every init container has done its work even if its record is gone.
    app_seen: bool,
}

impl Context<'_> {
    fn status(&self, container: &Container, role: Role) -> ContainerStatus {
        let latest = self.observed.and_then(|pod| pod.latest(&container.name));
        let previous = self.observed.and_then(|pod| pod.previous(&container.name)).and_then(terminated);
        let (state, last) = match latest {
            Some(instance) => self.states(instance, previous, role),
            None if role == Role::Init && self.app_seen => (completed(), None),
            None => (self.waits(&container.name), None),
        };
        let (started, ready) = self.probed(container, state.running.is_some());
        let (resources, allocated_resources) = latest.map(|i| resize::of_status(container, i)).unwrap_or_default();
        let done = role == Role::Init && state.terminated.as_ref().is_some_and(|t| t.exit_code == 0);
        ContainerStatus {
            name: container.name.clone(),
            image: latest
                .map(|i| i.record.image.clone())
                .unwrap_or_else(|| container.image.clone().unwrap_or_default()),
            image_id: latest.map(|i| i.record.image_id.clone()).unwrap_or_default(),
            container_id: latest.map(|i| container_id(&i.record.id)),
            ready: if role == Role::Init { done } else { ready },
            started: Some(started),
            restart_count: latest.map_or(0, |i| i32::try_from(i.record.attempt).unwrap_or(i32::MAX)),
            state: Some(state),
            last_state: last.map(|t| ApiState { terminated: Some(t), ..ApiState::default() }),
            resources,
            allocated_resources,
            ..ContainerStatus::default()
        }
    }

    /// Whether a container has started and is ready: at once when it runs, unless a probe decides it (`UpdatePodStatus` in
    /// pkg/kubelet/prober/prober_manager.go). As long as nothing is known of its probe it has not, and is not.
    fn probed(&self, container: &Container, running: bool) -> (bool, bool) {
        match self.probed.get(&container.name) {
            _ if !running => (false, false),
            Some(Probed { started, ready, .. }) => (*started, *ready),
            None => {
                let started = container.startup_probe.is_none();
                (started, started && container.readiness_probe.is_none())
            }
        }
    }

    /// State and last state of a container whose newest instance is `instance`.
    fn states(
        &self,
        instance: &ObservedContainer,
        previous: Option<ContainerStateTerminated>,
        role: Role,
    ) -> (ApiState, Option<ContainerStateTerminated>) {
        let name = &instance.record.name;
        match &instance.state {
            // Its postStart hook is not done.
            ContainerState::Running { .. } if self.waiting.contains_key(name) => (self.waits(name), previous),
            ContainerState::Running { started_at, .. } => {
                let running = ContainerStateRunning { started_at: Some(Time(*started_at)) };
                (ApiState { running: Some(running), ..ApiState::default() }, previous)
            }
            ContainerState::Created => (self.waits(name), previous),
            ContainerState::Exited(_) | ContainerState::Lost => {
                let ended = terminated(instance);
                let finished_init = role == Role::Init && ended.as_ref().is_some_and(|t| t.exit_code == 0);
                if self.waiting.contains_key(name) && !finished_init {
                    (self.waits(name), ended)
                } else {
                    (ApiState { terminated: ended, ..ApiState::default() }, previous)
                }
            }
        }
    }

    fn waits(&self, name: &str) -> ApiState {
        let default = if self.has_init { "PodInitializing" } else { "ContainerCreating" };
        let (reason, message) = match (self.waiting.get(name), self.waiting.get("")) {
            (Some((reason, message)), _) => (reason.clone(), message.clone()),
            (None, Some((reason, message))) if message.is_empty() => (default.to_owned(), reason.clone()),
            (None, Some((reason, message))) => (default.to_owned(), format!("{reason}: {message}")),
            (None, None) => (default.to_owned(), String::new()),
        };
        let message = (!message.is_empty()).then_some(message);
        let waiting = ContainerStateWaiting { reason: Some(reason), message };
        ApiState { waiting: Some(waiting), ..ApiState::default() }
    }
}

fn container_id(id: &str) -> String {
    format!("podwright://{id}")
}

fn completed() -> ApiState {
    let terminated = ContainerStateTerminated { reason: Some("Completed".into()), ..Default::default() };
    ApiState { terminated: Some(terminated), ..ApiState::default() }
}

/// How an instance ended, as Kubernetes writes it; `None` while it may be alive.
fn terminated(instance: &ObservedContainer) -> Option<ContainerStateTerminated> {
    let stopping = instance.record.stopping.as_ref();
    let is_of_all = stopping.is_some_and(|stopping| stopping.is_for(&Reason::RestartingAll));
    match &instance.state {
        ContainerState::Exited(exit) => Some(ContainerStateTerminated {
            container_id: Some(container_id(&instance.record.id)),
            exit_code: exit.exit_code,
            finished_at: Some(Time(exit.finished_at)),
            started_at: exit.started_at.map(Time),
            reason: Some(if is_of_all { RESTARTING_ALL.0.to_owned() } else { exit_reason(exit) }),
            message: exit
                .message
                .clone()
                .filter(|m| !m.is_empty())
                .or_else(|| is_of_all.then(|| RESTARTING_ALL.1.to_owned())),
            signal: None,
        }),
        ContainerState::Lost => Some(ContainerStateTerminated {
            container_id: Some(container_id(&instance.record.id)),
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".into()),
            message: Some("The container's monitor is gone and left no exit record".into()),
            ..ContainerStateTerminated::default()
        }),
        ContainerState::Running { .. } | ContainerState::Created => None,
    }
}

/// The terminated reason: what the record says, else Completed, OOMKilled or Error.
pub fn exit_reason(exit: &ExitRecord) -> String {
    match &exit.reason {
        Some(reason) => reason.clone(),
        None if exit.oom_killed && exit.exit_code == 137 => "OOMKilled".into(),
        None if exit.exit_code == 0 => "Completed".into(),
        None => "Error".into(),
    }
}
