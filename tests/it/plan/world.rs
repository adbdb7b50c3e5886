//! A world in memory that performs the steps of a plan: sandboxes run, containers do as they are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use podwright::model::{
    AdmittedPod, ContainerRecord, ContainerStart, ContainerState, DataObjects, ExitRecord, HookState, NodeInfo,
    ObservedContainer, ObservedPod, PodAction, PodKey, PodMemory, PodPlan, PodStep, Reason, ResizeOrder, Resources,
    Sandbox, Signal, Stopping, TerminalCause,
};
use podwright::plan::{self, PodInput, Target};

/// A moment, in seconds.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

pub(crate) fn node() -> NodeInfo {
    NodeInfo {
        name: "edge-1".into(),
        ips: ["192.0.2.7", "192.0.2.8", "fd00::7"].map(|ip| ip.parse().unwrap()).into(),
        allocatable: [("cpu".to_owned(), "2".to_owned())].into(),
        ..NodeInfo::default()
    }
}

pub(crate) fn exit(code: i32, started: Timestamp, finished: Timestamp) -> ExitRecord {
    ExitRecord {
        exit_code: code,
        signal: None,
        oom_killed: false,
        started_at: Some(started),
        finished_at: finished,
        reason: None,
        message: None,
    }
}

/// One pod's world.
pub(crate) struct World {
    pub(crate) key: PodKey,
    pub(crate) pod: Option<ObservedPod>,
    pub(crate) memory: PodMemory,
    pub(crate) data: DataObjects,
    /// Whether a revision could be read, so that data is known at all.
    pub(crate) known: bool,
    pub(crate) node: NodeInfo,
    pub(crate) now: Timestamp,
    /// What target the plans are made for.
    pub(crate) target: Option<Arc<AdmittedPod>>,
    /// Why it is that; the usual reason without one.
    pub(crate) reason: Option<Reason>,
    /// Images that are not there.
    pub(crate) missing: BTreeSet<String>,
    /// Containers that end by themselves with this code, at once.
    pub(crate) exits: BTreeMap<String, i32>,
    /// Containers that ignore the stop signal.
    pub(crate) stubborn: BTreeSet<String>,
    /// Every step performed, as words.
    pub(crate) log: Vec<String>,
    /// The same with second and reason.
    pub(crate) story: Vec<String>,
}

impl World {
    pub(crate) fn new(target: &Arc<AdmittedPod>, data: &DataObjects) -> Self {
        Self {
            key: target.key.clone(),
            pod: None,
            memory: PodMemory::default(),
            data: data.clone(),
            known: true,
            node: node(),
            now: at(0),
            target: Some(Arc::clone(target)),
            reason: None,
            missing: BTreeSet::new(),
            exits: BTreeMap::new(),
            stubborn: BTreeSet::new(),
            log: Vec::new(),
            story: Vec::new(),
        }
    }

    pub(crate) fn plan(&self) -> PodPlan {
        let target = match &self.target {
            Some(pod) => Target::Run { pod, revision: "r1", reason: self.reason.as_ref().unwrap_or(&Reason::PodAdded) },
            None => Target::Gone { reason: self.reason.as_ref().unwrap_or(&Reason::PodRemoved) },
        };
        plan::pod(&PodInput {
            key: &self.key,
            target,
            observed: self.pod.as_ref(),
            data: self.known.then_some(&self.data),
            memory: &self.memory,
            node: &self.node,
            instance: "root-1",
            now: self.now,
        })
    }

    /// Plans and performs until a plan has no steps; returns that plan. Time stands still.
    pub(crate) fn settle(&mut self) -> PodPlan {
        for _ in 0..200 {
            let plan = self.plan();
            if plan.steps.is_empty() {
                return plan;
            }
            self.perform_steps(&plan.steps);
        }
        panic!("no end of steps: {:?}", &self.log[self.log.len() - 20..]);
    }

    /// Performs steps as an executor does: what follows a failed image is skipped for that container.
    pub(crate) fn perform_steps(&mut self, steps: &[PodStep]) {
        let mut failed = BTreeSet::new();
        for step in steps {
            self.log.push(word(&step.action));
            let second = self.now.duration_since(at(0)).as_secs();
            self.story.push(format!("{second:>5}s  {}: {}", word(&step.action), step.reason));
            self.perform(&step.action, &step.reason, &mut failed);
        }
        self.run_out();
    }

    /// As [`World::settle`], and lets the time pass that the plan waits for, until it waits for nothing or `end` comes.
    pub(crate) fn settle_until(&mut self, end: Timestamp) -> PodPlan {
        loop {
            let plan = self.settle();
            match plan.wake_at {
                Some(wake) if wake <= end => {
                    assert!(wake > self.now, "a plan without steps wakes at once: {plan:?}");
                    self.now = wake;
                }
                _ => return plan,
            }
        }
    }

    fn observed(&mut self) -> &mut ObservedPod {
        self.pod.as_mut().expect("a step for a pod that is on record")
    }

    fn instance(&mut self, name: &str, attempt: u32) -> &mut ObservedContainer {
        let found =
            self.observed().containers.iter_mut().find(|c| c.record.name == name && c.record.attempt == attempt);
        found.expect("a step for an instance that is on record")
    }

    fn finish(&mut self, phase: &str, cause: Option<&TerminalCause>) {
        let record = &mut self.observed().record;
        (record.terminal, record.terminal_cause) = (Some(phase.to_owned()), cause.cloned());
    }

    fn perform(&mut self, action: &PodAction, reason: &Reason, failed: &mut BTreeSet<String>) {
        let now = self.now;
        match action {
            PodAction::CreatePod { record } => {
                assert!(self.pod.is_none(), "created over another");
                let record = (**record).clone();
                self.pod = Some(ObservedPod { record, sandbox: Sandbox::Absent, containers: vec![] });
            }
            PodAction::UpdatePod { record } => self.observed().record = (**record).clone(),
            PodAction::MarkDeleted { deletion } => self.observed().record.deletion = Some(deletion.clone()),
            PodAction::SyncVolumes { .. } => {}
            PodAction::RunSandbox { attempt } => {
                let pod = self.observed();
                assert!(!matches!(pod.sandbox, Sandbox::Ready { .. }), "a second sandbox");
                assert_eq!(*attempt, pod.record.sandbox_attempts);
                pod.record.sandbox_attempts += 1;
                let ips = vec!["10.0.0.5".parse().unwrap()];
                pod.sandbox = Sandbox::Ready { attempt: *attempt, pid: 1, started_at: now, ips };
            }
            PodAction::StopSandbox => {
                let pod = self.observed();
                assert!(pod.containers.iter().all(|c| !c.is_live()), "a sandbox stopped under a live container");
                pod.sandbox = Sandbox::Absent;
            }
            PodAction::EnsureImage(need) => {
                if self.missing.contains(&need.image) {
                    failed.insert(need.container.clone());
                    self.memory = plan::note_failed_pull(&self.memory, need, ("ErrImagePull", "no such image"), now);
                }
            }
            PodAction::StartContainer(start) if failed.contains(&start.name) => {}
            PodAction::StartContainer(start) => self.start(start),
            PodAction::SignalContainer { name, attempt, signal, grace_seconds } => {
                let stubborn = self.stubborn.contains(name) && *signal == Signal::Stop;
                tell(self.instance(name, *attempt), (*signal, *grace_seconds), (reason, now), stubborn);
            }
            PodAction::RunHook(run) => {
                let state = if run.handler.is_ok() { HookState::Succeeded } else { HookState::Failed };
                self.memory.hooks.insert(run.key.clone(), state);
            }
            PodAction::ResizeContainer(order) => resize(self.instance(&order.name, order.attempt), order),
            PodAction::ReapContainer { name, attempt } => {
                self.reap(name, *attempt);
            }
            PodAction::RemoveContainer { name, attempt } => {
                let at = |c: &ObservedContainer| c.record.name == *name && c.record.attempt == *attempt;
                assert!(self.instance(name, *attempt).exit().is_some(), "a live instance removed");
                self.observed().containers.retain(|c| !at(c));
            }
            PodAction::Finish { phase, cause } => self.finish(phase, cause.as_ref()),
            PodAction::RemovePod => {
                let pod = self.pod.take().expect("a pod to remove");
                assert!(pod.containers.iter().all(|c| !c.is_live()) && pod.sandbox == Sandbox::Absent);
            }
        }
        let skipped = matches!(action, PodAction::StartContainer(start) if failed.contains(&start.name));
        if !skipped {
            self.memory = plan::note_step(&self.memory, action);
        }
    }

    fn start(&mut self, start: &ContainerStart) {
        let now = self.now;
        let pod = self.observed();
        let Sandbox::Ready { attempt: sandbox_attempt, .. } = pod.sandbox else { panic!("started without a sandbox") };
        let latest = pod.latest(&start.name);
        assert!(!latest.is_some_and(ObservedContainer::is_live), "started twice: {}", start.name);
        assert_eq!(start.attempt, latest.map_or(0, |c| c.record.attempt + 1));
        let spec = pod.record.realised.effective.open().spec.unwrap();
        let all = spec.init_containers.iter().flatten().chain(&spec.containers);
        let container = all.into_iter().find(|c| c.name == start.name).unwrap();
        let (image, resources) = (container.image.clone().unwrap_or_default(), Some(Resources::of(container)));
        let record = ContainerRecord {
            name: start.name.clone(),
            kind: start.kind,
            attempt: start.attempt,
            id: format!("{}-{}", start.name, start.attempt),
            sandbox_attempt,
            round: pod.record.round(),
            image,
            image_id: String::new(),
            image_source: start.image_source.clone(),
            volume_images: BTreeMap::new(),
            created_at: now,
            boot_id: String::new(),
            backoff: start.backoff,
            log_path: String::new(),
            resources,
            data: start.data.clone(),
            stopping: None,
        };
        pod.containers.push(ObservedContainer {
            record,
            state: ContainerState::Running { pid: 2, started_at: now },
            earlier_boot: false,
        });
        pod.containers.sort_by(|a, b| (&a.record.name, a.record.attempt).cmp(&(&b.record.name, b.record.attempt)));
    }

    /// What never ran is removed.
    fn reap(&mut self, name: &str, attempt: u32) {
        let now = self.now;
        let container = self.instance(name, attempt);
        if matches!(container.state, ContainerState::Lost) {
            let mut exit = exit(137, now, now);
            exit.reason = Some("ContainerStatusUnknown".into());
            container.state = ContainerState::Exited(exit);
            return;
        }
        assert!(matches!(container.state, ContainerState::Created), "reaped what needs no reaping");
        self.observed().containers.retain(|c| c.record.name != name || c.record.attempt != attempt);
    }

    /// Containers that end by themselves do so.
    fn run_out(&mut self) {
        let now = self.now;
        let exits = self.exits.clone();
        for container in self.pod.iter_mut().flat_map(|pod| &mut pod.containers) {
            if let (ContainerState::Running { started_at, .. }, Some(code)) =
                (&container.state, exits.get(&container.record.name))
            {
                container.state = ContainerState::Exited(exit(*code, *started_at, now + SignedDuration::ZERO));
            }
        }
    }
}

/// Gives a container a signal, which ends it unless it is stubborn.
fn tell(
    container: &mut ObservedContainer,
    (signal, grace_seconds): (Signal, i64),
    (reason, now): (&Reason, Timestamp),
    stubborn: bool,
) {
    let ContainerState::Running { started_at, .. } = container.state else { panic!("signal to the dead") };
    let stopping = container.record.stopping.get_or_insert(Stopping {
        pre_stop: signal == Signal::PreStop,
        ..Stopping::new(now, grace_seconds, reason.to_string())
    });
    match signal {
        Signal::PreStop => return,
        Signal::Stop if std::mem::take(&mut stopping.pre_stop) => {
            stopping.hook_since = Some(stopping.since);
            stopping.since = now;
        }
        Signal::Stop => {}
        Signal::Kill => stopping.killed_at = Some(now),
    }
    if !stubborn {
        let code = if signal == Signal::Kill { 137 } else { 143 };
        container.state = ContainerState::Exited(exit(code, started_at, now));
    }
}

fn resize(container: &mut ObservedContainer, order: &ResizeOrder) {
    assert!(matches!(container.state, ContainerState::Running { .. }), "the dead resized");
    assert!(container.record.stopping.is_none(), "resized what is about to end");
    container.record.resources = Some(order.resources.clone());
}

/// A step as a word or two: `start web#0`.
pub(crate) fn word(action: &PodAction) -> String {
    match action {
        PodAction::CreatePod { .. } => "create".into(),
        PodAction::UpdatePod { record } => format!("update to {}", record.generation),
        PodAction::MarkDeleted { deletion } => format!("mark deleted {}s", deletion.grace_seconds),
        PodAction::SyncVolumes { volumes, .. } => {
            format!("volumes {}", volumes.iter().map(|v| v.name.as_str()).collect::<Vec<_>>().join(","))
        }
        PodAction::RunSandbox { attempt } => format!("sandbox#{attempt}"),
        PodAction::StopSandbox => "stop sandbox".into(),
        PodAction::EnsureImage(need) => format!("image {}", need.image),
        PodAction::StartContainer(start) => {
            let waited = start.backoff.as_secs();
            format!(
                "start {}#{}{}",
                start.name,
                start.attempt,
                if waited > 0 { format!(" after {waited}s") } else { String::new() }
            )
        }
        PodAction::SignalContainer { name, attempt, signal: Signal::Stop, grace_seconds } => {
            format!("stop {name}#{attempt} {grace_seconds}s")
        }
        PodAction::SignalContainer { name, attempt, signal: Signal::PreStop, grace_seconds } => {
            format!("begin to stop {name}#{attempt} {grace_seconds}s")
        }
        PodAction::SignalContainer { name, attempt, signal: Signal::Kill, .. } => format!("kill {name}#{attempt}"),
        PodAction::RunHook(run) => {
            let within = Some(run.timeout.as_secs()).filter(|seconds| *seconds < 3600);
            let within = within.map_or(String::new(), |seconds| format!(" within {seconds}s"));
            let bad = run.handler.as_ref().err().map_or(String::new(), |why| format!(" ({why})"));
            format!("{} {}#{}{within}{bad}", run.key.kind, run.key.container, run.key.attempt)
        }
        PodAction::ResizeContainer(order) => format!("resize {}#{}", order.name, order.attempt),
        PodAction::ReapContainer { name, attempt } => format!("reap {name}#{attempt}"),
        PodAction::RemoveContainer { name, attempt } => format!("forget {name}#{attempt}"),
        PodAction::Finish { phase, cause: None } => format!("finish {phase}"),
        PodAction::Finish { phase, cause: Some(cause) } => format!("finish {phase} ({})", cause.reason),
        PodAction::RemovePod => "remove".into(),
    }
}
