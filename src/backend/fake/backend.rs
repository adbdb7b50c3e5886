//! The verbs of the port, performed in memory.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::behaviour::{Answered, Call, Fault, Verb};
use super::machine::{End, Machine, Pod, find, finish, instance};
use super::{Fake, image};
use crate::model::{
    ContainerRecord, ContainerStart, ContainerState, Deletion, EvictionSignal, ExitRecord, ImageNeed,
    ObservedContainer, ObservedPod, PodKey, PodRecord, PodUid, ProbeVerdicts, ProcessUse, ResizeOrder, Resources,
    Sandbox, Signal, SignalLevels, SignalOrder, Starved, Stopping, VolumeLimit, VolumePayload, VolumeUse, late,
    quantity,
};
use crate::model::{Handler, HandlerAnswer, HandlerCall, HandlerOutcome};
use crate::port::{
    Capabilities, ContainerBackend, ErrorKind, HANDLER_BYTES, Hint, ImageStatus, PortError, memory_in_use, timed_out,
};

/// How many hints wait at most.
const HINTS: usize = 1024;

impl Fake {
    /// One call: what is to go wrong goes wrong around `work`.
    async fn perform<T>(
        &self,
        call: (Verb, Option<&PodKey>, String),
        work: impl FnOnce(&mut Machine, Timestamp) -> Result<T, PortError> + Send,
    ) -> Result<T, PortError> {
        // Whoever calls can be interleaved with others here, as with real work.
        tokio::task::yield_now().await;
        let (verb, pod, subject) = call;
        let fault = self.call(Call { verb, pod: pod.cloned(), subject });
        match fault {
            Some(Fault::Fail(error)) => return Err(error),
            Some(Fault::Hang) => return std::future::pending().await,
            Some(Fault::Slow(time)) => self.clock.sleep_until(self.ending(time)).await,
            Some(Fault::Panic) => panic!("told to"),
            Some(Fault::FailAfter(_) | Fault::HangAfter) | None => {}
        }
        let result = {
            let now = self.clock.now();
            let mut machine = self.machine();
            let result = work(&mut machine, now);
            if let (true, Some(pod)) = (verb.changes(), pod) {
                machine.hint(pod);
            }
            result
        };
        match fault {
            Some(Fault::FailAfter(error)) => Err(error),
            Some(Fault::HangAfter) => std::future::pending().await,
            _ => result,
        }
    }
}

fn pod<'a>(machine: &'a mut Machine, key: &PodKey, operation: &'static str) -> Result<&'a mut Pod, PortError> {
    let missing = || PortError::new(ErrorKind::NotFound, operation, key.to_string(), "the pod has no record");
    machine.pods.get_mut(key).ok_or_else(missing)
}

fn conflict(operation: &'static str, key: &PodKey, message: &str) -> PortError {
    PortError::new(ErrorKind::Conflict, operation, key.to_string(), message)
}

#[async_trait]
impl ContainerBackend for Fake {
    async fn list(&self) -> Result<Vec<Arc<ObservedPod>>, PortError> {
        let list = |machine: &mut Machine, _| Ok(machine.pods.values().map(|pod| Arc::clone(&pod.observed)).collect());
        self.perform((Verb::List, None, String::new()), list).await
    }

    async fn observe(&self, key: &PodKey) -> Result<Option<Arc<ObservedPod>>, PortError> {
        let look = |machine: &mut Machine, _| Ok(machine.pods.get(key).map(|pod| Arc::clone(&pod.observed)));
        self.perform((Verb::Observe, Some(key), String::new()), look).await
    }

    async fn put_record(&self, record: &PodRecord) -> Result<(), PortError> {
        let key = &record.key;
        let put = |machine: &mut Machine, _| {
            match machine.pods.get_mut(key) {
                Some(pod) if pod.observed.record.uid != record.uid => {
                    return Err(conflict("record pod", key, "another pod of this name is on record"));
                }
                Some(pod) => pod.change().record = record.clone(),
                None => {
                    let observed =
                        ObservedPod { record: record.clone(), sandbox: Sandbox::Absent, containers: Vec::new() };
                    machine.pods.insert(key.clone(), Pod::new(observed));
                }
            }
            Ok(())
        };
        self.perform((Verb::PutRecord, Some(key), String::new()), put).await
    }

    async fn mark_deleted(&self, key: &PodKey, deletion: &Deletion) -> Result<(), PortError> {
        let mark = |machine: &mut Machine, _| {
            pod(machine, key, "mark as deleted")?.change().record.deletion = Some(deletion.clone());
            Ok(())
        };
        self.perform((Verb::MarkDeleted, Some(key), format!("{}s", deletion.grace_seconds)), mark).await
    }

    async fn sync_volumes(&self, key: &PodKey, volumes: &[VolumePayload]) -> Result<(), PortError> {
        let sync = |machine: &mut Machine, _| {
            let volumes = machine.kept(key, volumes);
            pod(machine, key, "sync the volumes of")?.volumes = volumes;
            Ok(())
        };
        self.perform((Verb::SyncVolumes, Some(key), String::new()), sync).await
    }

    async fn volume_use(&self, key: &PodKey, limits: &[VolumeLimit]) -> Result<Vec<VolumeUse>, PortError> {
        let look = |machine: &mut Machine, _| {
            let pod = pod(machine, key, "look at the volumes of")?;
            Ok(limits.iter().map(|limit| pod.taken_by(limit)).collect())
        };
        self.perform((Verb::VolumeUse, Some(key), String::new()), look).await
    }

    async fn run_sandbox(&self, key: &PodKey, attempt: u32) -> Result<(), PortError> {
        let run = |machine: &mut Machine, now| {
            let (pid, ip) = (machine.pid(), machine.address());
            let observed = pod(machine, key, "start the sandbox of")?.change();
            match observed.sandbox {
                Sandbox::Ready { attempt: there, .. } if there == attempt => return Ok(()),
                Sandbox::Ready { .. } => return Err(conflict("start the sandbox of", key, "another sandbox runs")),
                Sandbox::Absent | Sandbox::Dead { .. } => {}
            }
            observed.sandbox = Sandbox::Ready { attempt, pid, started_at: now, ips: vec![ip] };
            observed.record.sandbox_attempts = observed.record.sandbox_attempts.max(attempt + 1);
            Ok(())
        };
        self.perform((Verb::RunSandbox, Some(key), format!("#{attempt}")), run).await
    }

    async fn stop_sandbox(&self, key: &PodKey) -> Result<(), PortError> {
        let stop = |machine: &mut Machine, _| {
            let Some(pod) = machine.pods.get_mut(key) else { return Ok(()) };
            if pod.observed.containers.iter().any(ObservedContainer::is_live) {
                return Err(conflict("stop the sandbox of", key, "containers run in it"));
            }
            pod.change().sandbox = Sandbox::Absent;
            Ok(())
        };
        self.perform((Verb::StopSandbox, Some(key), String::new()), stop).await
    }

    async fn ensure_image(
        &self,
        need: &ImageNeed,
        pulling: &(dyn Fn() + Send + Sync),
    ) -> Result<ImageStatus, PortError> {
        let ensure = |machine: &mut Machine, _| image::ensure(machine, need, pulling);
        self.perform((Verb::EnsureImage, None, need.image.clone()), ensure).await
    }

    async fn start_container(&self, key: &PodKey, start: &ContainerStart) -> Result<(), PortError> {
        let subject = format!("{}#{}", start.name, start.attempt);
        let run = |machine: &mut Machine, now| self.start(machine, key, start, now);
        self.perform((Verb::StartContainer, Some(key), subject), run).await
    }

    async fn signal_container(&self, key: &PodKey, order: &SignalOrder) -> Result<(), PortError> {
        let subject = format!("{}#{} {:?}", order.name, order.attempt, order.signal);
        let signal = |machine: &mut Machine, now| self.signal(machine, key, order, now);
        self.perform((Verb::SignalContainer, Some(key), subject), signal).await
    }

    async fn resize_container(&self, key: &PodKey, order: &ResizeOrder) -> Result<(), PortError> {
        let subject = format!("{}#{}", order.name, order.attempt);
        let resize = |machine: &mut Machine, _| resize(machine, key, order);
        self.perform((Verb::ResizeContainer, Some(key), subject), resize).await
    }

    async fn call_handler(&self, key: &PodKey, call: &HandlerCall) -> Result<HandlerAnswer, PortError> {
        let HandlerCall { container, attempt, handler, timeout, caller } = call;
        let subject = format!("{container}#{attempt} {caller:?} {}", kind_of(handler));
        let ask = |machine: &mut Machine, _| {
            running(machine, key, (container, *attempt))?;
            Ok(machine.answers.get_mut(container).map_or_else(Answered::success, |answer| answer(call)))
        };
        let Answered { answer, takes } = self.perform((Verb::CallHandler, Some(key), subject), ask).await?;
        self.clock.sleep_until(self.ending(takes.min(*timeout))).await;
        if let Handler::Exec { .. } = handler {
            // A command ends with its container.
            running(&mut self.machine(), key, (container, *attempt))?;
        }
        if takes > *timeout {
            let text = match handler {
                Handler::Exec { command } => timed_out(command),
                _ => "context deadline exceeded".to_owned(),
            };
            return Ok(HandlerAnswer { outcome: HandlerOutcome::Failure, text });
        }
        let refused = |why| PortError::new(ErrorKind::Unavailable, CALL, key.to_string(), why);
        let HandlerAnswer { outcome, text } = answer.map_err(refused)?;
        Ok(HandlerAnswer { outcome, text: text.chars().take(HANDLER_BYTES).collect() })
    }

    async fn keep_verdicts(&self, key: &PodKey, verdicts: &ProbeVerdicts) -> Result<(), PortError> {
        let keep = |machine: &mut Machine, _| {
            pod(machine, key, "keep the verdicts of")?.verdicts = verdicts.clone();
            Ok(())
        };
        self.perform((Verb::KeepVerdicts, Some(key), String::new()), keep).await
    }

    async fn kept_verdicts(&self, key: &PodKey) -> Result<ProbeVerdicts, PortError> {
        let kept =
            |machine: &mut Machine, _| Ok(machine.pods.get(key).map(|pod| pod.verdicts.clone()).unwrap_or_default());
        self.perform((Verb::KeptVerdicts, Some(key), String::new()), kept).await
    }

    async fn reap_container(&self, key: &PodKey, name: &str, attempt: u32) -> Result<(), PortError> {
        let reap = |machine: &mut Machine, now| {
            let pod = pod(machine, key, "clean up after a container of")?;
            let started = pod.start(name, attempt).map(|_| ());
            pod.ends.remove(&(name.to_owned(), attempt));
            let Some(container) = find(&mut pod.observed, name, attempt) else { return Ok(()) };
            let started_at = match container.state {
                ContainerState::Exited(_) => return Ok(()),
                ContainerState::Running { .. } => {
                    return Err(conflict("clean up after a container of", key, "its monitor is alive"));
                }
                ContainerState::Lost => started.map(|()| container.record.created_at),
                // It never ran: it is started as the one it was to be.
                ContainerState::Created => {
                    pod.change().containers.retain(|c| c.record.name != name || c.record.attempt != attempt);
                    pod.forget_start(name, attempt);
                    return Ok(());
                }
            };
            container.state = ContainerState::Exited(ExitRecord {
                exit_code: 137,
                signal: None,
                oom_killed: false,
                started_at,
                finished_at: now,
                reason: Some("ContainerStatusUnknown".to_owned()),
                message: Some("its monitor is gone".to_owned()),
            });
            Ok(())
        };
        self.perform((Verb::ReapContainer, Some(key), format!("{name}#{attempt}")), reap).await
    }

    async fn remove_container(&self, key: &PodKey, name: &str, attempt: u32) -> Result<(), PortError> {
        let remove = |machine: &mut Machine, _| {
            let Some(pod) = machine.pods.get_mut(key) else { return Ok(()) };
            if instance(&pod.observed, name, attempt).is_some_and(ObservedContainer::is_live) {
                return Err(conflict("remove a container of", key, "it runs"));
            }
            pod.change().containers.retain(|c| c.record.name != name || c.record.attempt != attempt);
            pod.forget_start(name, attempt);
            Ok(())
        };
        self.perform((Verb::RemoveContainer, Some(key), format!("{name}#{attempt}")), remove).await
    }

    async fn remove_pod(&self, key: &PodKey) -> Result<(), PortError> {
        let remove = |machine: &mut Machine, _| {
            let Some(pod) = machine.pods.get(key) else { return Ok(()) };
            let live = pod.observed.containers.iter().any(ObservedContainer::is_live);
            if live || matches!(pod.observed.sandbox, Sandbox::Ready { .. }) {
                return Err(conflict("remove pod", key, "processes of it run"));
            }
            machine.pods.remove(key);
            Ok(())
        };
        self.perform((Verb::RemovePod, Some(key), String::new()), remove).await
    }

    async fn signal_levels(&self, signals: &[EvictionSignal]) -> Result<SignalLevels, PortError> {
        let look = |machine: &mut Machine, _| {
            let levels = machine.levels.iter().filter(|(signal, _)| signals.contains(signal));
            Ok(levels.map(|(signal, level)| (*signal, *level)).collect())
        };
        self.perform((Verb::SignalLevels, None, String::new()), look).await
    }

    async fn process_use(&self, key: &PodKey) -> Result<ProcessUse, PortError> {
        let look = |machine: &mut Machine, _| Ok(machine.process_use(key));
        self.perform((Verb::ProcessUse, Some(key), String::new()), look).await
    }

    async fn reclaim(&self, starved: Starved, evicted: &[PodUid]) -> Result<(), PortError> {
        let reclaim = |machine: &mut Machine, _| {
            if starved.is_of_disk() {
                machine.reclaim_disk(evicted);
            }
            Ok(())
        };
        self.perform((Verb::Reclaim, None, starved.as_str().to_owned()), reclaim).await
    }

    fn hints(&self) -> mpsc::Receiver<Hint> {
        let (sender, receiver) = mpsc::channel(HINTS);
        self.machine().listeners.push(sender);
        receiver
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "fake".to_owned(), pod_network: true }
    }
}

impl Fake {
    fn start(
        &self,
        machine: &mut Machine,
        key: &PodKey,
        start: &ContainerStart,
        now: Timestamp,
    ) -> Result<(), PortError> {
        const OPERATION: &str = "start a container of";
        let behaviour = machine.behaviours.get(&start.name).cloned().unwrap_or_default();
        let pid = machine.pid();
        let pod = pod(machine, key, OPERATION)?;
        let at = (start.name.clone(), start.attempt);
        if instance(&pod.observed, &start.name, start.attempt).is_some() {
            return Ok(());
        }
        let Sandbox::Ready { attempt: sandbox_attempt, .. } = pod.observed.sandbox else {
            return Err(conflict(OPERATION, key, "it has no sandbox"));
        };
        if pod.observed.latest(&start.name).is_some_and(ObservedContainer::is_live) {
            return Err(conflict(OPERATION, key, "another instance of it runs"));
        }
        let bound = bound(pod, start).map_err(|why| {
            PortError::new(ErrorKind::Invalid, OPERATION, key.to_string(), why).waiting("CreateContainerConfigError")
        })?;
        let (image, resources) = made_of(&pod.observed, &start.name);
        let record = ContainerRecord {
            name: start.name.clone(),
            kind: start.kind,
            attempt: start.attempt,
            id: format!("{}-{}-{}", pod.observed.record.uid, start.name, start.attempt),
            sandbox_attempt,
            round: pod.observed.record.round(),
            image_id: image::id_of(&image),
            image_source: start.image_source.clone(),
            volume_images: image::of_volumes(start),
            image,
            created_at: now,
            boot_id: String::new(),
            backoff: start.backoff,
            log_path: format!("/logs/{key}/{}/{}.log", start.name, start.attempt),
            resources: Some(resources),
            data: start.data.clone(),
            stopping: None,
        };
        let state = match &behaviour.fails_to_start {
            None => ContainerState::Running { pid, started_at: now },
            Some(why) => ContainerState::Exited(ExitRecord {
                exit_code: 128,
                signal: None,
                oom_killed: false,
                started_at: None,
                finished_at: now,
                reason: Some("StartError".to_owned()),
                message: Some(why.clone()),
            }),
        };
        let containers = &mut pod.change().containers;
        // One more at a time: most pods have few.
        containers.reserve_exact(1);
        containers.push(ObservedContainer { record, state, earlier_boot: false });
        containers.sort_by(|a, b| (&a.record.name, a.record.attempt).cmp(&(&b.record.name, b.record.attempt)));
        pod.keep_start(&bound);
        if let Some(why) = behaviour.fails_to_start {
            return Err(
                PortError::new(ErrorKind::Invalid, OPERATION, key.to_string(), why).waiting("RunContainerError")
            );
        }
        if let Some((after, code)) = behaviour.exits {
            let ends = self.ending(after);
            let end = if behaviour.is_oom_killed { End::oom(ends) } else { End::exit(ends, code) };
            pod.ends.insert(at, end);
            self.announce_at(key, ends);
        }
        Ok(())
    }

    fn signal(
        &self,
        machine: &mut Machine,
        key: &PodKey,
        order: &SignalOrder,
        now: Timestamp,
    ) -> Result<(), PortError> {
        let behaviour = machine.behaviours.get(&order.name).cloned().unwrap_or_default();
        let pod = pod(machine, key, "signal a container of")?;
        let at = (order.name.clone(), order.attempt);
        let missing = || no_instance("signal a container of", key, (&order.name, order.attempt));
        let container = find(&mut pod.observed, &order.name, order.attempt).ok_or_else(missing)?;
        if !matches!(container.state, ContainerState::Running { .. }) {
            return Ok(());
        }
        let stopping = container.record.stopping.get_or_insert(Stopping {
            pre_stop: order.signal == Signal::PreStop,
            ..Stopping::new(now, order.grace_seconds, order.reason.clone())
        });
        match order.signal {
            Signal::PreStop => stopping.grace_seconds = stopping.grace_seconds.min(order.grace_seconds),
            Signal::Kill => {
                stopping.pre_stop = false;
                stopping.killed_at.get_or_insert(now);
                finish(container, End::signal(now, 9));
                pod.ends.remove(&at);
            }
            Signal::Stop => {
                stopping.grace_seconds = stopping.grace_seconds.min(order.grace_seconds);
                if std::mem::take(&mut stopping.pre_stop) {
                    stopping.hook_since = Some(stopping.since);
                    stopping.since = now;
                }
                if !behaviour.ignores_stop {
                    let ends = self.ending(behaviour.stops_after);
                    let end = End::signal(ends, 15);
                    let sooner = pod.ends.get(&at).is_some_and(|planned| planned.at <= ends);
                    if !sooner {
                        pod.ends.insert(at, end);
                        self.announce_at(key, ends);
                    }
                }
            }
        }
        Ok(())
    }
}

/// A start with the values that files of volumes have.
fn bound(pod: &Pod, start: &ContainerStart) -> Result<ContainerStart, String> {
    let values = late::read(&start.late, |volume, path| {
        let text = pod.files.get(&(volume.to_owned(), path.to_owned()));
        text.cloned().ok_or_else(|| "there is no such file".to_owned())
    });
    start.with_late(&values?)
}

const CALL: &str = "call a handler of";

/// How a kind of handler is called in a manifest.
fn kind_of(handler: &Handler) -> &'static str {
    match handler {
        Handler::Exec { .. } => "exec",
        Handler::HttpGet(_) => "httpGet",
        Handler::TcpSocket { .. } => "tcpSocket",
        Handler::Grpc { .. } => "grpc",
        Handler::Sleep { .. } => "sleep",
    }
}

/// Refuses a handler of an instance that does not run.
fn running(machine: &mut Machine, key: &PodKey, (name, attempt): (&str, u32)) -> Result<(), PortError> {
    let container = instance(&pod(machine, key, CALL)?.observed, name, attempt);
    let container = container.ok_or_else(|| no_instance(CALL, key, (name, attempt)))?;
    match container.state {
        ContainerState::Running { .. } => Ok(()),
        _ => Err(PortError::new(ErrorKind::NotFound, CALL, key.to_string(), "the container does not run")),
    }
}

fn no_instance(operation: &'static str, key: &PodKey, (name, attempt): (&str, u32)) -> PortError {
    let text = format!("{name}#{attempt} is not on record");
    PortError::new(ErrorKind::NotFound, operation, key.to_string(), text)
}

fn resize(machine: &mut Machine, key: &PodKey, order: &ResizeOrder) -> Result<(), PortError> {
    const OPERATION: &str = "resize a container of";
    let usage = machine.behaviours.get(&order.name).map_or(0, |behaviour| behaviour.memory);
    let pod = pod(machine, key, OPERATION)?;
    let missing = || no_instance(OPERATION, key, (&order.name, order.attempt));
    let container = find(&mut pod.observed, &order.name, order.attempt).ok_or_else(missing)?;
    if !matches!(container.state, ContainerState::Running { .. }) {
        return Ok(());
    }
    let limit = |resources: &Resources| resources.limits.get("memory").and_then(|text| quantity::bytes(text));
    let before = container.record.resources.as_ref().and_then(limit).unwrap_or(u64::MAX);
    if let Some(limit) = limit(&order.resources).filter(|limit| *limit < before && usage >= *limit) {
        return Err(memory_in_use(&order.name, limit, usage));
    }
    container.record.resources = Some(order.resources.clone());
    Ok(())
}

/// The image of a container and what it may use.
fn made_of(pod: &ObservedPod, container: &str) -> (String, Resources) {
    let effective = pod.record.realised.effective.open();
    let all = effective.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    let found = all.into_iter().find(|c| c.name == container);
    found.map(|c| (c.image.clone().unwrap_or_default(), Resources::of(c))).unwrap_or_default()
}
