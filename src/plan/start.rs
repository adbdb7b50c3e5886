//! The containers of a pod whose sandbox runs: init containers in order, then the others side by side.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::data;
use super::draft::Draft;
use super::env::{self, Resolved};
use super::hook;
use super::images::{self, Wanted};
use super::opened::Opened;
use super::pod::Round;
use super::probe;
use super::resize;
use super::restart::{self, Next, Place, Policy, Terms, go_duration};
use super::teardown::{self, Grace, Stop, grace_of};
use super::together;
use crate::model::{
    ContainerKind, ContainerRecord, ContainerStart, ContainerState, DEFAULT_ACCOUNT, Failure, HookKind, HookState,
    ImageNeed, ImageSource, Masked, ObservedContainer, ObservedPod, PodAction, ProbeKind, Reason, ResizeOrder,
    Resources, Sandbox, Stopping, image_wait,
};

/// Where Secrets of the types kubernetes.io/dockerconfigjson and kubernetes.io/dockercfg have what they are for.
const PULL_SECRET_KEYS: [&str; 2] = [".dockerconfigjson", ".dockercfg"];

/// Why a container waits whose postStart hook failed, with nothing of what that has said
/// (pkg/kubelet/kuberuntime/kuberuntime_container.go, `ErrPostStartHook`).
const HOOK_FAILED: &str = "PostStartHookError";

/// What every container of a pod shares in one round.
struct Pod<'a> {
    round: &'a Round<'a>,
    observed: &'a Opened<'a>,
    spec: &'a PodSpec,
    /// The sandbox that runs now.
    sandbox: u32,
    /// Data is known, and the files of volumes are made of it.
    is_current: bool,
    policy: &'a str,
}

/// Plans every container of a pod with a running sandbox.
pub(super) fn containers(
    round: &Round<'_>,
    observed: &Opened<'_>,
    (sandbox, is_current): (u32, bool),
    draft: &mut Draft,
) {
    let Some(spec) = observed.effective.spec.as_ref() else { return };
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    let pod = Pod { round, observed, spec, sandbox, is_current, policy };
    let live: Vec<&ObservedContainer> = observed.containers.iter().filter(|c| c.is_live()).collect();
    teardown::reap(&live, draft);
    remove_old(observed, draft);
    let initialized = pod.init(draft);
    let (mut held, mut is_pulled) = (false, false);
    for container in &spec.containers {
        let is_first = is_pulled && !pod.has_run(container);
        if initialized && ((!held && !is_first) || pod.is_live(container)) {
            pod.plan(container, ContainerKind::App, draft);
            // As with the kubelet, the next one waits for the hook that follows its start, and for its image when it has not
            // run yet itself.
            held |= pod.is_held_by_hook(container, draft);
            is_pulled |= pod.pulled(container).is_some();
        } else if !pod.is_live(container) {
            // One left over from before keeps running; the rest waits.
            if !initialized {
                draft.waiting(&container.name, "PodInitializing", "");
            } else if observed.latest(&container.name).is_none() {
                draft.waiting(&container.name, creating(spec), "");
            }
            pod.hold(container, draft);
        }
    }
    // What takes long keeps nothing else of the pod waiting, a kill that is due least of all.
    draft.plan.steps.sort_by_key(|step| brings_up(&step.action));
}

/// Whether a step is one of those that start a container.
fn brings_up(action: &PodAction) -> bool {
    match action {
        PodAction::EnsureImage(_) | PodAction::StartContainer(_) => true,
        PodAction::RunHook(run) => run.key.kind == HookKind::PostStart,
        _ => false,
    }
}

/// Every container without a live instance waits for the sandbox.
pub(super) fn waiting_for_sandbox(spec: &PodSpec, pod: &ObservedPod, draft: &mut Draft) {
    let reason = creating(spec);
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        if pod.latest(&container.name).is_none() {
            draft.waiting(&container.name, reason, "");
        }
    }
}

/// The waiting reason and message of a step that failed. What follows a failed pull is its back-off. `own` is the image of the
/// container itself.
fn why_failed<'a>(failure: &'a Failure, own: &str) -> (&'a str, String) {
    let image = failure.image.as_deref().unwrap_or(own);
    match failure.reason.as_str() {
        "ErrImagePull" => {
            let why = format!("{}: {}", failure.reason, failure.message);
            ("ImagePullBackOff", image_wait::backing_off(image, &why))
        }
        other if image != own => (other, image_wait::of_volume(image, &failure.message)),
        other => (other, failure.message.clone()),
    }
}

/// Kubelet's waiting reason of a container that has not run.
fn creating(spec: &PodSpec) -> &'static str {
    if spec.init_containers.iter().flatten().next().is_some() { "PodInitializing" } else { "ContainerCreating" }
}

/// Whether an ended app container gets another instance, sooner or later.
pub(super) fn runs_again(latest: &ObservedContainer, policy: Policy<'_>) -> bool {
    let Some(exit) = latest.exit() else { return true };
    let has_failed = latest.record.stopping.as_ref().is_some_and(has_failed);
    policy.restarts(exit) || was_stopped(latest) || (has_failed && policy.restarts_what_failed())
}

/// When the next instance of a container that ended may start: what it is made of anew waits for nothing.
pub(super) fn next(
    container: &Container,
    latest: &ObservedContainer,
    pod: &Opened<'_>,
    now: Timestamp,
) -> Option<Next> {
    let is_fresh = latest.record.image != container.image.as_deref().unwrap_or_default()
        || !resize::due(&latest.record, container).is_empty()
        || data::restart_due(&latest.record, container, pod)
        || latest.earlier_boot;
    let place = pod.effective.spec.as_ref().map(|spec| Place::of(spec, &container.name)).unwrap_or_default();
    let sandbox = match pod.sandbox {
        Sandbox::Ready { attempt, .. } => Some(attempt),
        Sandbox::Absent | Sandbox::Dead { .. } => None,
    };
    let terms = Terms { is_fresh, place, sandbox };
    Some(restart::next((latest, latest.exit()?), pod.previous(&container.name), terms, now))
}

/// Whether it was stopped, for another image, other resources or other data, or since its sandbox died: it did not end by
/// itself, and starts again whatever the policy says. A pod that is to end has its phase instead. One whose probe or postStart
/// hook failed has failed itself.
pub(super) fn was_stopped(latest: &ObservedContainer) -> bool {
    latest.record.stopping.as_ref().is_some_and(|stopping| !has_failed(stopping))
}

/// Whether an instance was told to stop for what it failed to do.
fn has_failed(stopping: &Stopping) -> bool {
    ProbeKind::behind(stopping).is_some() || stopping.is_for(&Reason::PostStartFailed)
}

/// Whether an instance was told to stop for its postStart hook.
fn failed_to_start(record: &ContainerRecord) -> bool {
    record.stopping.as_ref().is_some_and(|stopping| stopping.is_for(&Reason::PostStartFailed))
}

/// Keeps the newest instance and one dead one before it.
fn remove_old(pod: &ObservedPod, draft: &mut Draft) {
    for instance in pod.containers.iter().filter(|c| c.exit().is_some()) {
        let name = &instance.record.name;
        let kept = [pod.latest(name), pod.previous(name)];
        if !kept.into_iter().flatten().any(|k| k.record.attempt == instance.record.attempt) {
            let action = PodAction::RemoveContainer { name: name.clone(), attempt: instance.record.attempt };
            draft.step(action, Reason::OldInstance);
        }
    }
}

/// Gives the running instance what its container may use now.
fn resize(container: &Container, record: &ContainerRecord, draft: &mut Draft) {
    let changes = resize::due(record, container);
    if !changes.is_empty() {
        let resources = Resources::of(container);
        let order = ResizeOrder { name: record.name.clone(), attempt: record.attempt, resources };
        draft.step(PodAction::ResizeContainer(order), Reason::ResourcesChanged(changes));
    }
}

impl Pod<'_> {
    fn is_live(&self, container: &Container) -> bool {
        self.observed.latest(&container.name).is_some_and(ObservedContainer::is_live)
    }

    /// Whether a container is started in this plan, or was, and its postStart hook is not done.
    fn is_held_by_hook(&self, container: &Container, draft: &Draft) -> bool {
        let name = &container.name;
        let starting = |c: &ObservedContainer| hook::is_starting(self.round.input.memory, name, c.record.attempt);
        let begins = draft.plan.steps.last().is_some_and(|step| match &step.action {
            PodAction::RunHook(run) => run.key.container == *name && run.key.kind == HookKind::PostStart,
            _ => false,
        });
        begins || self.observed.latest(name).is_some_and(starting)
    }

    /// The image that is being pulled of those that it needs now.
    fn pulled(&self, container: &Container) -> Option<&str> {
        let image = self.round.input.memory.pulls.get(&container.name)?;
        images::of(container, self.spec).any(|wanted| wanted.image == *image).then_some(image.as_str())
    }

    /// One that has to wait for others: what is being pulled for it meanwhile is not begun anew after them.
    fn hold(&self, container: &Container, draft: &mut Draft) {
        draft.held(&container.name);
        if let Some(image) = self.pulled(container) {
            draft.pulling(&container.name, image);
        }
    }

    /// Whether it was started in the sandbox that the pod has now, together with the others there are.
    fn has_run(&self, container: &Container) -> bool {
        let latest = self.observed.latest(&container.name);
        latest.is_some_and(|latest| latest.is_of(self.sandbox, &self.observed.record))
    }

    /// Plans the init containers strictly in order. Returns whether all are through, so that the others may start.
    fn init(&self, draft: &mut Draft) -> bool {
        let here = |c: &ObservedContainer| c.is_of(self.sandbox, &self.observed.record);
        // Once an app container was started in this sandbox the init containers are history.
        let started = self.observed.containers.iter().any(|c| c.record.kind == ContainerKind::App && here(c));
        let mut through = true;
        for container in self.spec.init_containers.iter().flatten() {
            let kind = restart::kind_of(container, true);
            if !through {
                if self.is_live(container) {
                    // One that came after them before ends as it has to, whatever those before it wait for.
                    self.plan(container, kind, draft);
                } else {
                    draft.waiting(&container.name, "PodInitializing", "");
                    self.hold(container, draft);
                }
                continue;
            }
            let latest = self.observed.latest(&container.name).filter(|c| here(c));
            match kind {
                ContainerKind::Sidecar => {
                    let running = self.plan(container, kind, draft);
                    let is_started =
                        |c: &ObservedContainer| probe::is_started(container, &c.record, self.round.input.memory);
                    through = started || (running && latest.is_some_and(is_started));
                }
                ContainerKind::Init | ContainerKind::App => {
                    let exit = latest.and_then(ObservedContainer::exit);
                    // One that has all restarted by its success is waited for.
                    let succeeded = exit.is_some_and(|exit| exit.exit_code == 0 && !together::asks(container, 0));
                    if !started && !succeeded {
                        self.plan(container, kind, draft);
                        through = false;
                    }
                }
            }
        }
        through
    }

    /// Plans one container. Returns whether it runs and stays.
    fn plan(&self, container: &Container, kind: ContainerKind, draft: &mut Draft) -> bool {
        let policy = Policy::of(container, kind, self.policy);
        let Some(latest) = self.observed.latest(&container.name) else {
            self.start(container, (kind, 0, SignedDuration::ZERO), Reason::FirstStart, draft);
            return false;
        };
        let record = &latest.record;
        match &latest.state {
            // Reaped in this round; what follows is decided when its exit is on record.
            ContainerState::Created | ContainerState::Lost => false,
            ContainerState::Running { .. } => {
                if let Some((reason, grace)) = self.why_to_stop(container, kind, record) {
                    if reason == Reason::PostStartFailed {
                        draft.waiting(&record.name, HOOK_FAILED, "");
                    }
                    let grace = Grace::Seconds(grace);
                    Stop { reason, grace, began: None }.one(self.round, self.observed, latest, draft);
                    return false;
                }
                if hook::is_starting(self.round.input.memory, &record.name, record.attempt) {
                    draft.waiting(&record.name, creating(self.spec), "");
                    return false;
                }
                resize(container, record, draft);
                true
            }
            ContainerState::Exited(exit) => {
                let (is_here, is_due) =
                    (record.sandbox_attempt == self.sandbox, together::is_due(self.observed, latest));
                let again = match is_here {
                    true => runs_again(latest, policy),
                    false => is_due || policy.runs_anew(exit) || was_stopped(latest),
                };
                let reason = if is_here && is_due {
                    Reason::RestartingAll
                } else if is_here && was_stopped(latest) {
                    self.another(container, kind, record).unwrap_or(Reason::ChangedBack)
                } else if kind != ContainerKind::Init && !again {
                    return false;
                } else if is_here {
                    Reason::Restart { policy: policy.told(exit), exit: exit.clone() }
                } else {
                    Reason::FirstStart
                };
                self.start_again(container, (kind, latest), reason, draft);
                false
            }
        }
    }

    /// Why an instance that runs is stopped, and the grace period in seconds.
    fn why_to_stop(
        &self,
        container: &Container,
        kind: ContainerKind,
        record: &ContainerRecord,
    ) -> Option<(Reason, i64)> {
        let grace = grace_of(self.observed);
        // Once told to stop it does, even if the change was taken back, and then starts again.
        if let Some(stopping) = &record.stopping {
            return Some(match ProbeKind::behind(stopping) {
                Some(kind) => (Reason::ProbeFailed { kind }, stopping.grace_seconds),
                None if has_failed(stopping) => (Reason::PostStartFailed, grace),
                None => (self.another(container, kind, record).unwrap_or(Reason::ChangedBack), grace),
            });
        }
        let post_start = hook::state(self.round.input.memory, &record.name, record.attempt, HookKind::PostStart);
        if post_start == Some(HookState::Failed) {
            return Some((Reason::PostStartFailed, grace));
        }
        let failed = || probe::failed(container, record, self.round.input.memory, grace);
        let another = self.another(container, kind, record).map(|reason| (reason, grace));
        another.or_else(|| failed().map(|(kind, grace)| (Reason::ProbeFailed { kind }, grace)))
    }

    /// Why a container needs another instance although this one runs.
    fn another(&self, container: &Container, kind: ContainerKind, record: &ContainerRecord) -> Option<Reason> {
        let image = container.image.as_deref().unwrap_or_default();
        if kind == ContainerKind::Init {
            return None;
        }
        if record.image != image {
            return Some(Reason::ImageChanged { before: record.image.clone(), after: image.to_owned() });
        }
        let resized = || resize::restart_due(record, container).map(Reason::ResourcesChanged);
        // What could not start with the data of now runs on with that of before.
        let is_due = || self.is_current && data::restart_due(record, container, self.observed);
        let data = || (is_due() && self.resolve(container).is_ok()).then_some(Reason::DataChanged);
        resized().or_else(data)
    }

    /// Variables, command and mounts of a container, or why it cannot have them.
    fn resolve(&self, container: &Container) -> Result<Resolved, String> {
        env::resolve(container, &self.round.scope(self.observed))
    }

    /// The names of the pod's pull Secrets: its own, or else those that its account has by now. What it had when the pod was
    /// admitted counts as long as no revision could be read.
    fn pull_secret_names(&self) -> Vec<String> {
        let of = |spec: Option<&PodSpec>| -> Vec<String> {
            spec.into_iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten()).map(|s| s.name.clone()).collect()
        };
        let record = &self.observed.record;
        let own = of(record.realised.spec.open().spec.as_ref());
        let Some(data) = self.round.input.data.filter(|_| own.is_empty()) else { return of(Some(self.spec)) };
        let account = self.spec.service_account_name.as_deref().filter(|name| !name.is_empty());
        let account = account.unwrap_or(DEFAULT_ACCOUNT);
        let known = data.accounts.get(&(record.key.namespace.clone(), account.to_owned()));
        known.map(|account| account.pull_secrets.clone()).unwrap_or_default()
    }

    /// An image of a container with the docker configurations in the pull Secrets. One that is not there is left out, as the
    /// kubelet does: the image may need none.
    fn need(&self, container: &Container, wanted: Wanted<'_>) -> ImageNeed {
        let (namespace, all) = (&self.observed.record.key.namespace, &self.round.data().secrets);
        let (mut secrets, mut missing_secrets) = (Vec::new(), Vec::new());
        for name in self.pull_secret_names() {
            match all.get(&(namespace.clone(), name.clone())) {
                None => missing_secrets.push(name),
                Some(secret) => {
                    let config = PULL_SECRET_KEYS.iter().find_map(|key| secret.bytes.get(*key));
                    secrets.extend(config.map(|bytes| Masked::new(bytes.reveal().to_vec())));
                }
            }
        }
        let (image, policy) = (wanted.image.to_owned(), wanted.policy.to_owned());
        let (container, volume) = (container.name.clone(), wanted.volume.map(str::to_owned));
        ImageNeed { container, volume, image, policy, secrets, missing_secrets }
    }

    /// The digest of the data that a container starts with. One that may be older than what its pod's record knows is like no
    /// other.
    fn data_of(&self, container: &Container) -> Option<String> {
        let digest = data::of_one(container, &self.observed.effective, &self.observed.record)?;
        Some(if self.is_current { digest } else { String::new() })
    }

    /// Starts the next instance, or waits for the crash back-off.
    fn start_again(
        &self,
        container: &Container,
        (kind, latest): (ContainerKind, &ObservedContainer),
        reason: Reason,
        draft: &mut Draft,
    ) {
        let Some(next) = next(container, latest, self.observed, self.round.input.now) else { return };
        let attempt = latest.record.attempt.saturating_add(1);
        let replaced = !matches!(reason, Reason::Restart { .. } | Reason::FirstStart);
        match next {
            Next::At { until, backoff } if !replaced => {
                let record = &self.observed.record;
                let message = format!(
                    "back-off {} restarting failed container={} pod={}_{}({})",
                    go_duration(backoff),
                    container.name,
                    record.key.name,
                    record.key.namespace,
                    record.uid
                );
                draft.waiting(&container.name, "CrashLoopBackOff", &message);
                draft.hold(&container.name, "CrashLoopBackOff", &message, Some(until));
            }
            // It has not changed itself: what it has waited for counts on.
            Next::At { backoff, .. } if reason == Reason::RestartingAll => {
                self.start(container, (kind, attempt, backoff), reason, draft);
            }
            Next::At { .. } => self.start(container, (kind, attempt, SignedDuration::ZERO), reason, draft),
            Next::Now { backoff } => self.start(container, (kind, attempt, backoff), reason, draft),
        }
    }

    fn start(
        &self,
        container: &Container,
        (kind, attempt, backoff): (ContainerKind, u32, SignedDuration),
        reason: Reason,
        draft: &mut Draft,
    ) {
        let input = self.round.input;
        let name = &container.name;
        let image = container.image.clone().unwrap_or_default();
        // What was changed is tried at once, but for an image that is the same.
        let begun = self.observed.record.created_at;
        let is_wanted = |image: &String| images::of(container, self.spec).any(|wanted| wanted.image == *image);
        let holds = |f: &&Failure| !self.round.fresh || (f.image.as_ref().is_some_and(is_wanted) && f.at >= begun);
        let failure = input.memory.failures.get(name).filter(holds);
        let told = failure.map(|failure| why_failed(failure, &image));
        if let (Some((reason, message)), Some(until)) = (&told, failure.and_then(|f| self.round.held_until(f))) {
            draft.waiting(name, reason, message);
            draft.hold(name, reason, message, Some(until));
            return;
        }
        let resolved = match self.resolve(container) {
            Ok(resolved) => resolved,
            Err(message) => {
                let message = self.round.about_data(message);
                draft.waiting(name, "CreateContainerConfigError", &message);
                draft.hold(name, "CreateContainerConfigError", &message, None);
                return;
            }
        };
        match told {
            // While it is tried again nothing is known that was not before.
            Some((reason, message)) => draft.waiting(name, reason, &message),
            None if attempt == 0 => draft.waiting(name, creating(self.spec), ""),
            None if self.observed.latest(name).is_some_and(|latest| failed_to_start(&latest.record)) => {
                draft.waiting(name, HOOK_FAILED, "");
            }
            None => {}
        }
        if let Some(image) = self.pulled(container) {
            return draft.pulling(name, image);
        }
        for wanted in images::of(container, self.spec) {
            draft.step(PodAction::EnsureImage(self.need(container, wanted)), reason.clone());
        }
        let start = ContainerStart {
            name: name.clone(),
            kind,
            attempt,
            backoff,
            command: resolved.command,
            args: resolved.args,
            env: resolved.env,
            late: resolved.late,
            mounts: resolved.mounts,
            data: self.data_of(container),
            image_source: ImageSource::Present,
        };
        draft.step(PodAction::StartContainer(Box::new(start)), reason.clone());
        hook::after_start(container, attempt, reason, draft);
    }
}
