//! What an agent has of the world: every call can fail, take long, lose its answer or be its last. Planted bugs are here, too:
//! between what is so and what is told.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use podwright::model::{
    Caller, ContainerKind, ContainerStart, ContainerState, Deletion, ExitRecord, HandlerAnswer, HandlerCall,
    HandlerOutcome, ImageNeed, ObservedPod, PodKey, PodRecord, ProbeKind, ProbeVerdicts, ResizeOrder, Signal,
    SignalOrder, VolumeLimit, VolumePayload, VolumeUse,
};
use podwright::port::{Capabilities, Clock, ContainerBackend, Hint, ImageStatus, PortError};
use tokio::sync::mpsc;

use super::planted::Planted;
use super::pods::{ROOM, TOKEN};
use super::programs;
use super::trace::{Event, Instance};
use super::world::{Fault, World};

pub(super) struct Wire {
    world: Arc<World>,
    /// The number of the agent.
    agent: u32,
}

/// How much later a kill comes.
const LATE: Duration = Duration::from_secs(4);
/// So long a handler that hangs does so when its timeout is over, and what counts of one that has none.
const HANGS: Duration = Duration::from_secs(20);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How much earlier stops are said to have begun.
const SOONER: SignedDuration = SignedDuration::from_secs(3);
/// How much earlier ends are said to have been.
const EARLIER: SignedDuration = SignedDuration::from_secs(8);

impl Wire {
    pub(super) fn new(world: &Arc<World>, agent: u32) -> Self {
        Self { world: Arc::clone(world), agent }
    }

    /// The calls of a dead agent never return.
    async fn alive(&self) {
        if !self.world.is_alive(self.agent) {
            std::future::pending::<()>().await;
        }
    }

    async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
        self.alive().await;
    }

    /// One call: `what` names it.
    async fn call<T>(
        &self,
        (pod, what): (Option<&PodKey>, &str),
        may_wait: bool,
        work: impl Future<Output = Result<T, PortError>> + Send,
    ) -> Result<T, PortError> {
        self.alive().await;
        let world = &self.world;
        let subject = pod.map_or_else(|| what.to_owned(), |pod| format!("{what} {}", pod.name));
        let fault = world.fault(pod, &subject, may_wait);
        match fault {
            Fault::Fails => return Err(world.told_to_fail()),
            Fault::Slow(time) => self.wait(if may_wait { time * 4 } else { time }).await,
            Fault::Hangs { time, is_done: false } => {
                self.wait(time).await;
                return Err(world.told_to_fail());
            }
            Fault::Hangs { is_done: true, .. } | Fault::LosesAnswer | Fault::None => {}
        }
        let dies = world.count_call();
        if world.has(Planted::NeverAnswers) && world.dice("answer").chance(1) {
            std::future::pending::<()>().await;
        }
        if dies == Some(false) {
            world.happened(pod, "an agent that died before a call was done");
            world.kill_agent();
            self.alive().await;
        }
        if let Some(pod) = pod {
            world.look(pod);
        }
        let result = work.await;
        if let Some(pod) = pod {
            world.look(pod);
        }
        if dies == Some(true) {
            world.happened(pod, "an agent that died after one was done");
            world.kill_agent();
        }
        self.alive().await;
        match fault {
            Fault::LosesAnswer => Err(world.told_to_fail()),
            Fault::Hangs { time, .. } => {
                self.wait(time).await;
                Err(world.told_to_fail())
            }
            Fault::None | Fault::Fails | Fault::Slow(_) => result,
        }
    }

    /// A pod as it is told.
    fn told(&self, pod: Arc<ObservedPod>) -> Arc<ObservedPod> {
        let has = |planted| self.world.has(planted);
        let (early, earlier) = (has(Planted::StartsEarly), has(Planted::ShortensBackOff));
        let of_records = has(Planted::ShortensGrace) || has(Planted::ForgetsRounds);
        if !(early || earlier || of_records || has(Planted::ForgetsOom) || has(Planted::MistakesSuccess)) {
            return pod;
        }
        let (mut pod, now) = (ObservedPod::clone(&pod), self.world.clock.now());
        let round = pod.record.round();
        for container in &mut pod.containers {
            if container.exit().is_none() && has(Planted::ForgetsRounds) {
                container.record.round = round;
            }
            if let Some(stopping) = container.record.stopping.as_mut().filter(|_| has(Planted::ShortensGrace)) {
                stopping.since -= SOONER;
            }
            match &mut container.state {
                ContainerState::Running { started_at, .. } if early && container.record.kind == ContainerKind::Init => {
                    container.state = ContainerState::Exited(ExitRecord {
                        exit_code: 0,
                        signal: None,
                        oom_killed: false,
                        started_at: Some(*started_at),
                        finished_at: now,
                        reason: None,
                        message: None,
                    });
                }
                ContainerState::Exited(exit) if earlier => exit.finished_at -= EARLIER,
                ContainerState::Exited(exit) if has(Planted::ForgetsOom) => exit.oom_killed = false,
                ContainerState::Exited(exit) if has(Planted::MistakesSuccess) => exit.exit_code = exit.exit_code.max(1),
                _ => {}
            }
        }
        Arc::new(pod)
    }

    async fn start(&self, key: &PodKey, start: &ContainerStart) -> Result<(), PortError> {
        let world = &self.world;
        let is_there = |pod: Arc<ObservedPod>| {
            pod.containers.iter().any(|c| c.record.name == start.name && c.record.attempt == start.attempt)
        };
        if !world.fake.observed(key).is_some_and(is_there) {
            let program = programs::program(&start.name, start.kind, &mut world.dice(&start.name));
            world.fake.behave(&start.name, program);
        }
        let started = world.fake.start_container(key, start).await;
        if started.is_err() {
            world.happened(Some(key), "a start that failed");
        }
        started?;
        if world.has(Planted::StartsTwice) && world.dice("start twice").chance(20) {
            world.lose(key, &start.name, start.attempt).await;
            return Err(world.told_to_fail());
        }
        Ok(())
    }

    async fn signal(&self, key: &PodKey, order: &SignalOrder) -> Result<(), PortError> {
        let world = &self.world;
        let pod = world.fake.observed(key);
        let runs = pod.into_iter().find_map(|pod| {
            let found = |c: &&podwright::model::ObservedContainer| {
                c.record.name == order.name
                    && c.record.attempt == order.attempt
                    && matches!(c.state, ContainerState::Running { .. })
            };
            pod.containers.iter().find(found).map(|_| pod.record.uid.0.clone())
        });
        let Some(uid) = runs else { return world.fake.signal_container(key, order).await };
        let of = Instance { pod: key.name.clone(), uid, container: order.name.clone(), attempt: order.attempt };
        if order.signal == Signal::Kill && world.has(Planted::ForgetsKill) {
            world.state().ghosts.insert(of.clone());
        }
        world.note(Event::Told { of, signal: order.signal, why: order.reason.clone() });
        if order.signal == Signal::Kill && world.has(Planted::KillsLate) {
            self.wait(LATE).await;
        }
        world.fake.signal_container(key, order).await
    }

    async fn finish(&self, record: &PodRecord, phase: &str) -> Result<(), PortError> {
        let world = &self.world;
        if !world.has(Planted::ForgetsTheEnd) || !world.state().done.insert(record.uid.0.clone()) {
            return world.fake.put_record(record).await;
        }
        world.note(Event::Finished { uid: record.uid.0.clone(), phase: phase.to_owned(), cause: None });
        for container in world.fake.pod(&record.key).into_iter().flat_map(|pod| pod.containers) {
            world.lose(&record.key, &container.record.name, container.record.attempt).await;
        }
        Ok(())
    }

    async fn ask(&self, key: &PodKey, call: &HandlerCall) -> Result<HandlerAnswer, PortError> {
        let world = &self.world;
        let kind = programs::kind_of(&call.handler).filter(|_| call.caller == Caller::Probe);
        let of_first = format!("first answer of {}", call.container);
        let success = HandlerAnswer { outcome: HandlerOutcome::Success, text: String::new() };
        if kind == Some(ProbeKind::Readiness)
            && call.attempt > 0
            && world.has(Planted::AnswersForAnother)
            && world.state().done.contains(&of_first)
        {
            return Ok(success);
        }
        let uid = world.fake.observed(key).map(|pod| pod.record.uid.0.clone()).unwrap_or_default();
        let answer = world.fake.call_handler(key, call).await?;
        // An answer that nobody waits for any more is none.
        self.alive().await;
        let Some(kind) = kind else { return Ok(answer) };
        let passed = answer.outcome != HandlerOutcome::Failure;
        if kind == ProbeKind::Readiness && passed {
            world.state().done.insert(of_first);
        }
        let of = Instance { pod: key.name.clone(), uid, container: call.container.clone(), attempt: call.attempt };
        world.note(Event::Answered { of, kind, passed });
        let lies = kind == ProbeKind::Readiness && world.has(Planted::LiesAboutProbes);
        Ok(if lies { success } else { answer })
    }
}

#[async_trait]
impl ContainerBackend for Wire {
    async fn list(&self) -> Result<Vec<Arc<ObservedPod>>, PortError> {
        let pods = self.call((None, "list"), false, self.world.fake.list()).await?;
        Ok(pods.into_iter().map(|pod| self.told(pod)).collect())
    }

    async fn observe(&self, key: &PodKey) -> Result<Option<Arc<ObservedPod>>, PortError> {
        let pod = self.call((Some(key), "observe"), false, self.world.fake.observe(key)).await?;
        Ok(pod.map(|pod| self.told(pod)))
    }

    async fn put_record(&self, record: &PodRecord) -> Result<(), PortError> {
        let work = async {
            match &record.terminal {
                Some(phase) => self.finish(record, phase).await,
                None => self.world.fake.put_record(record).await,
            }
        };
        self.call((Some(&record.key), "record"), false, work).await
    }

    async fn mark_deleted(&self, key: &PodKey, deletion: &Deletion) -> Result<(), PortError> {
        self.call((Some(key), "mark"), false, self.world.fake.mark_deleted(key, deletion)).await
    }

    async fn sync_volumes(&self, key: &PodKey, volumes: &[VolumePayload]) -> Result<(), PortError> {
        let has_token = |volumes: &[VolumePayload]| volumes.iter().any(|volume| volume.name == TOKEN);
        let is_renewed = has_token(volumes) && has_token(&self.world.fake.volumes(key));
        let synced = self.call((Some(key), "sync"), false, self.world.fake.sync_volumes(key, volumes)).await;
        if is_renewed && synced.is_ok() {
            self.world.happened(Some(key), "a token that was made anew");
        }
        synced
    }

    async fn volume_use(&self, key: &PodKey, limits: &[VolumeLimit]) -> Result<Vec<VolumeUse>, PortError> {
        let mut used = self.call((Some(key), "use"), true, self.world.fake.volume_use(key, limits)).await?;
        if self.world.has(Planted::InflatesUse) {
            used.iter_mut().for_each(|used| used.bytes += ROOM + 1);
        }
        Ok(used)
    }

    async fn run_sandbox(&self, key: &PodKey, attempt: u32) -> Result<(), PortError> {
        self.call((Some(key), "sandbox"), false, self.world.fake.run_sandbox(key, attempt)).await
    }

    async fn stop_sandbox(&self, key: &PodKey) -> Result<(), PortError> {
        self.call((Some(key), "end of sandbox"), false, self.world.fake.stop_sandbox(key)).await
    }

    async fn ensure_image(
        &self,
        need: &ImageNeed,
        pulling: &(dyn Fn() + Send + Sync),
    ) -> Result<ImageStatus, PortError> {
        let what = format!("image {}", need.container);
        let image = self.call((None, &what), true, self.world.fake.ensure_image(need, pulling)).await;
        if image.is_err() {
            self.world.happened(None, "an image that could not be had");
        }
        image
    }

    async fn start_container(&self, key: &PodKey, start: &ContainerStart) -> Result<(), PortError> {
        let what = format!("start {}", start.name);
        self.call((Some(key), &what), false, self.start(key, start)).await
    }

    async fn signal_container(&self, key: &PodKey, order: &SignalOrder) -> Result<(), PortError> {
        let what = format!("{:?} {}", order.signal, order.name);
        self.call((Some(key), &what), false, self.signal(key, order)).await
    }

    async fn resize_container(&self, key: &PodKey, order: &ResizeOrder) -> Result<(), PortError> {
        let work = async {
            let resized = self.world.fake.resize_container(key, order).await;
            if resized.is_err() {
                self.world.happened(Some(key), "other amounts that were refused");
            }
            resized
        };
        self.call((Some(key), "resize"), false, work).await
    }

    /// Faults of its own come with the answers.
    async fn call_handler(&self, key: &PodKey, call: &HandlerCall) -> Result<HandlerAnswer, PortError> {
        self.alive().await;
        let (word, happening, hangs) = match call.caller {
            Caller::Probe => ("probe", "a probe that hung", 5),
            Caller::Hook => ("hook", "a hook that hung", 30),
        };
        let subject = format!("{word} of {} hangs", call.container);
        if self.world.may_fail() && self.world.dice(&subject).below(1000) < hangs {
            self.world.happened(Some(key), happening);
            self.wait(call.timeout.min(LONGEST_WAIT) + HANGS).await;
            return Err(self.world.told_to_fail());
        }
        let answer = self.ask(key, call).await;
        self.alive().await;
        answer
    }

    async fn keep_verdicts(&self, key: &PodKey, verdicts: &ProbeVerdicts) -> Result<(), PortError> {
        self.call((Some(key), "keep"), false, self.world.fake.keep_verdicts(key, verdicts)).await
    }

    async fn kept_verdicts(&self, key: &PodKey) -> Result<ProbeVerdicts, PortError> {
        self.call((Some(key), "kept"), false, self.world.fake.kept_verdicts(key)).await
    }

    async fn reap_container(&self, key: &PodKey, name: &str, attempt: u32) -> Result<(), PortError> {
        self.call((Some(key), "reap"), false, self.world.fake.reap_container(key, name, attempt)).await
    }

    async fn remove_container(&self, key: &PodKey, name: &str, attempt: u32) -> Result<(), PortError> {
        self.call((Some(key), "forget"), false, self.world.fake.remove_container(key, name, attempt)).await
    }

    async fn remove_pod(&self, key: &PodKey) -> Result<(), PortError> {
        let work = async {
            self.world.fake.remove_pod(key).await?;
            // Nothing happens at one moment with what follows it: a uid is made of the moment.
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(())
        };
        self.call((Some(key), "remove"), false, work).await
    }

    fn hints(&self) -> mpsc::Receiver<Hint> {
        self.world.fake.hints()
    }

    fn capabilities(&self) -> Capabilities {
        self.world.fake.capabilities()
    }
}
