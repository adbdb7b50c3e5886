//! One world from its beginning to its end: commits, accidents, agents that die and others that take over; then quiet, and at
//! last a commit without pods.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use podwright::backend::fake::Fake;
use podwright::model::{ContainerEntry, MadeOf, ObservedPod, PodKey, Projection, Sandbox, ShownPod, VolumeMaterial};
use podwright::port::Clock as _;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::super::rig::{Rig, key};
use super::planted::Planted;
use super::pods::{GONE, IMAGES, Pod, REMOTE, TOKEN, container_names, objects};
use super::programs;
use super::trace::{Event, Moment, ShownEnd};
use super::wire::Wire;
use super::world::World;
use crate::dice::Dice;

/// How many pods are in a world.
pub(super) const PODS: usize = 4;
/// So long it is quiet at least, and so long pods may take to be as they are to be, and to be gone: seconds.
const QUIET: usize = 20;
const LONGEST: usize = 900;

/// What happens to a world from outside.
enum Act {
    Commit(Vec<Value>),
    KillSandbox(PodKey),
    LoseMonitor(PodKey, String),
    OutOfMemory(PodKey, String),
    /// It takes more of the disk than it may.
    Fill(PodKey),
    /// Whether an image is there, or can be had.
    Image(&'static str, bool),
    /// Whether a registry is reached.
    CutOff(bool),
    /// Whether hints get lost.
    Deafen(bool),
    Crash,
}

/// What came of a world.
pub(super) struct Life {
    pub(super) trace: Vec<(Moment, Event)>,
    /// The machine, which knows what it was asked.
    fake: Arc<Fake>,
}

impl Life {
    /// All that happened and all that was asked for, line by line.
    pub(super) fn told(&self) -> String {
        let events = self.trace.iter().map(|(at, event)| format!("{at} {event:?}\n"));
        events.chain(self.fake.calls().iter().map(|call| format!("{call}\n"))).collect()
    }
}

/// Lives through a world.
pub(super) fn live(seed: u64, planted: Option<Planted>) -> Life {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let life = runtime.block_on(async {
        let mut dice = Dice::of(seed, "story");
        let mut pods: Vec<Pod> = (0..PODS).map(|n| Pod::random(&format!("p{n}"), &mut dice)).collect();
        let mut rig = Rig::new(&objects(&pods, 0));
        let acts = acts(&mut pods, &mut dice);
        let is_deafened = acts.iter().any(|(_, act)| matches!(act, Act::Deafen(_)));
        rig.resync = Duration::from_secs(if is_deafened { 30 } else { dice.pick(&[0, 0, 60]) });
        rig.fake.set_image(GONE, false);
        rig.fake.set_remote(REMOTE);
        // Threads would have another order each time.
        rig.blocking = |work| work();
        let world = World::new(rig.fake.clone(), rig.clock.clone(), seed, planted);
        let story = Story { rig, world, hints: RefCell::default(), seed };
        tokio::select! {
            biased;
            () = story.keep_agents() => {}
            () = story.go(acts, &pods) => {}
        }
        Life { trace: story.world.trace(), fake: Arc::clone(&story.rig.fake) }
    });
    runtime.shutdown_background();
    life
}

/// What happens, and when in milliseconds. Leaves the pods as the last commit has them.
fn acts(pods: &mut [Pod], dice: &mut Dice) -> Vec<(u64, Act)> {
    let span = dice.pick(&[10_000, 20_000, 40_000, 80_000, 160_000]);
    let mut moments: Vec<(u64, usize)> =
        (0..4 + dice.below(10)).map(|_| (dice.below(span) as u64, dice.below(100))).collect();
    moments.sort_unstable();
    let mut acts = Vec::new();
    for (number, (at, what)) in moments.into_iter().enumerate() {
        let index = dice.below(pods.len());
        let act = match what {
            0..=49 => {
                for _ in 0..1 + dice.below(2) {
                    let index = dice.below(pods.len());
                    pods[index].change(dice);
                }
                Act::Commit(objects(pods, number))
            }
            50..=57 => Act::KillSandbox(key(&pods[index].name)),
            58..=71 => {
                let names = container_names(&pods[index]);
                let (pod, container) = (key(&pods[index].name), names[dice.below(names.len())].clone());
                if what < 65 { Act::LoseMonitor(pod, container) } else { Act::OutOfMemory(pod, container) }
            }
            72..=75 => Act::CutOff(dice.chance(50)),
            76..=79 => Act::Deafen(dice.chance(50)),
            80..=85 => Act::Fill(key(&pods[index].name)),
            86..=90 => Act::Image(dice.pick(&IMAGES), dice.chance(30)),
            _ => Act::Crash,
        };
        acts.push((at, act));
    }
    acts
}

struct Story {
    rig: Rig,
    world: Arc<World>,
    /// To the agent that lives.
    hints: RefCell<Option<mpsc::Sender<()>>>,
    seed: u64,
}

impl Story {
    /// One agent after the other.
    async fn keep_agents(&self) {
        for number in 0.. {
            let mut dice = Dice::of(self.seed, &format!("agent {number}"));
            let calls_left = dice.chance(60).then(|| (1 + dice.below(100), dice.chance(50)));
            let agent = self.world.begin_agent(calls_left);
            let running = self.rig.start_over(Arc::new(Wire::new(&self.world, agent)));
            self.hints.replace(Some(running.hints.clone()));
            let watching = tokio::spawn(watch(Arc::clone(&self.world), running.projection.clone()));
            self.world.died.notified().await;
            watching.abort();
            running.task.abort();
            drop(running);
            self.world.note(Event::AgentDied);
            if self.world.has(Planted::LosesInstances) {
                self.world.lose_some().await;
            }
            let outage = if dice.chance(70) { 1 + dice.below(1_000) } else { dice.below(30_000) + 1 };
            tokio::time::sleep(Duration::from_millis(outage as u64)).await;
        }
    }

    fn commit(&self, objects: &[Value]) {
        self.rig.directory.commit(objects);
        if let Some(hints) = &*self.hints.borrow() {
            // An agent that died looks at the directory no more; the next one does by itself.
            let _ = hints.try_send(());
        }
    }

    async fn go(&self, acts: Vec<(u64, Act)>, pods: &[Pod]) {
        let names = (0..PODS).flat_map(|pod| {
            ["side", "app"].into_iter().flat_map(move |kind| (0..3).map(move |n| format!("p{pod}-{kind}{n}")))
        });
        names.for_each(|name| self.rig.fake.answer(&name, programs::answers(self.seed, &name)));
        let mut now = 0;
        for (at, act) in acts {
            tokio::time::sleep(Duration::from_millis(at - now)).await;
            now = at;
            self.act(act);
        }
        self.world.calm();
        self.rig.fake.cut_off(false);
        self.rig.fake.lose_hints(false);
        IMAGES.iter().for_each(|image| self.rig.fake.set_image(image, true));
        self.pass(QUIET).await;
        let is_like = || self.unlike(pods).is_empty();
        self.until(is_like).await;
        self.unlike(pods).into_iter().for_each(|event| self.world.note(event));
        self.commit(&[]);
        self.until(|| self.rig.fake.keys().is_empty()).await;
        self.world.look_at_all();
        self.world.note(Event::Over);
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        for _ in 0..LONGEST {
            if is_so() {
                return;
            }
            self.pass(1).await;
        }
    }

    async fn pass(&self, seconds: usize) {
        tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
    }

    fn act(&self, act: Act) {
        let fake = &self.rig.fake;
        match act {
            Act::Commit(objects) => {
                self.world.happened(None, "a commit");
                self.commit(&objects);
            }
            Act::KillSandbox(key) => {
                self.world.happened(Some(&key), "an infra process that died");
                fake.kill_sandbox(&key);
                self.world.look(&key);
            }
            Act::LoseMonitor(key, container) => {
                self.world.happened(Some(&key), "a monitor that died");
                fake.lose_monitor(&key, &container);
                // Whoever looks next sees it, though nobody may ask for this pod until then.
                self.world.look(&key);
            }
            Act::OutOfMemory(key, container) => {
                self.world.happened(Some(&key), "a container out of memory");
                fake.oom_kill(&key, &container);
            }
            Act::Fill(key) => self.world.fill(&key),
            Act::Image(image, is_there) => {
                if !is_there {
                    self.world.happened(None, "an image that went for a while");
                }
                fake.set_image(image, is_there);
            }
            Act::CutOff(off) => {
                self.world.happened(None, "a registry out of reach");
                fake.cut_off(off);
            }
            Act::Deafen(deaf) => {
                self.world.happened(None, "hints that got lost");
                fake.lose_hints(deaf);
            }
            Act::Crash => {
                self.world.happened(None, "an agent that died between calls");
                self.world.kill_agent();
            }
        }
    }

    /// What is not as the last commit has it.
    fn unlike(&self, pods: &[Pod]) -> Vec<Event> {
        let unlike = |pod: &Pod| {
            let found = self.rig.fake.pod(&key(&pod.name));
            let what = match (pod.images(), found) {
                (None, None) => return None,
                (None, Some(_)) => "is still there".to_owned(),
                (Some(_), None) => "is not there".to_owned(),
                (Some(_), Some(found)) if found.record.deletion.is_some() => "is still being deleted".to_owned(),
                (Some(_), Some(found)) if self.world.is_full(&found) => "is not evicted".to_owned(),
                (Some(_), Some(found)) if self.has_bad_token(&found) => "has no token that anybody takes".to_owned(),
                (Some(_), Some(found)) if is_left(&found) => "still runs what was to be restarted".to_owned(),
                (Some(images), Some(found)) => {
                    let spec = found.record.realised.effective.open().spec.unwrap_or_default();
                    let realised = spec.containers.into_iter().map(|c| (c.name, c.image.unwrap_or_default()));
                    if realised.eq(images.clone()) {
                        return None;
                    }
                    format!("has not the images {images:?}")
                }
            };
            Some(Event::Unlike { pod: pod.name.clone(), what })
        };
        pods.iter().filter_map(unlike).collect()
    }

    /// Whether a pod has a sandbox, and a token that is none of now.
    fn has_bad_token(&self, pod: &ObservedPod) -> bool {
        let spec = pod.record.realised.effective.open().spec.unwrap_or_default();
        let asks = spec.volumes.iter().flatten().any(|volume| volume.name == TOKEN);
        let is_up = pod.record.terminal.is_none() && matches!(pod.sandbox, Sandbox::Ready { .. });
        if !asks || !is_up {
            return false;
        }
        let volumes = self.rig.fake.volumes(&pod.record.key);
        let files = volumes.iter().find(|volume| volume.name == TOKEN).map(|volume| &volume.material);
        let Some(VolumeMaterial::Files { files, .. }) = files else { return true };
        let claims = files[0].bytes.reveal().split(|byte| *byte == b'.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        let moment = |claim: &str| claims[claim].as_i64().unwrap();
        !(moment("iat")..moment("exp")).contains(&self.rig.clock.now().as_second())
    }
}

/// Whether something of a pod runs that began before all of it was restarted.
fn is_left(pod: &ObservedPod) -> bool {
    pod.containers.iter().any(|c| c.is_live() && c.record.round < pod.record.round())
}

fn shown_end(container: &ContainerEntry) -> Option<ShownEnd> {
    let (_, state) = container.state.as_ref().filter(|(kind, _)| kind == "terminated")?;
    Some(ShownEnd {
        container: container.name.clone(),
        attempt: container.restart_count,
        code: state.exit_code?,
        reason: state.reason.clone().unwrap_or_default(),
    })
}

/// Writes down how pods are shown, whenever that changes.
async fn watch(world: Arc<World>, mut projection: watch::Receiver<Arc<Projection>>) {
    let mut before: BTreeMap<PodKey, Arc<ShownPod>> = BTreeMap::new();
    while projection.changed().await.is_ok() {
        let objects = Arc::clone(&projection.borrow_and_update().objects);
        for object in objects.values() {
            let MadeOf::Pod(pod) = &object.made_of else { continue };
            let is_same = before.insert(pod.key.clone(), Arc::clone(pod)).is_some_and(|b| Arc::ptr_eq(&b, pod));
            if is_same || pod.uid.is_empty() {
                continue;
            }
            let entry = pod.entry.open();
            let ready = entry.containers.iter().filter(|c| c.ready).map(|c| (c.name.clone(), c.restart_count));
            let ready = ready.collect();
            let ended = entry.containers.iter().filter_map(shown_end).collect();
            world.note(Event::Shown { uid: pod.uid.clone(), phase: entry.phase, ready, ended });
        }
    }
}
