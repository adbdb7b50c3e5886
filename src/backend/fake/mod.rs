//! A complete backend of containers in memory: pods, sandboxes and containers behave as they are told, on a virtual clock.
//!
//! It is no mock: every verb of the port works, is idempotent and reports what it did. What a container does is told by its
//! name ([`Fake::behave`]), what goes wrong by a function over the calls ([`Fake::on_call`]). The world in it outlives
//! whoever drives it, as a machine outlives an agent.

mod backend;
mod behaviour;
mod calls;
mod clock;
mod image;
mod machine;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::model::{
    ContainerStart, EvictionSignal, HandlerCall, ObservedPod, PodKey, SignalLevel, VolumePayload, VolumeUse,
};
use crate::port::Clock;

pub use behaviour::{Answered, Behaviour, Call, Fault, Verb};
use calls::Calls;
pub use clock::VirtualClock;
use machine::{End, Machine};
pub use tokens::FakeTokens;

/// The backend. Clones of its `Arc` share one world.
pub struct Fake {
    clock: Arc<dyn Clock>,
    machine: Arc<Mutex<Machine>>,
    script: Mutex<Script>,
}

/// What the handlers of a container answer.
type AnswerOf = Box<dyn FnMut(&HandlerCall) -> Answered + Send>;
type FaultOf = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

/// What was asked, and what is to go wrong.
#[derive(Default)]
struct Script {
    calls: Calls,
    fault: Option<FaultOf>,
}

impl Fake {
    /// An empty machine that knows every image. Its time is the clock's.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, machine: Arc::default(), script: Mutex::default() })
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        machine.run_until(self.clock.now());
        machine
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What every later instance of containers with this name does.
    pub fn behave(&self, container: &str, behaviour: Behaviour) {
        self.machine().behaviours.insert(container.to_owned(), behaviour);
    }

    /// What the handlers of containers with this name answer from now on; those of the others succeed at once. Asked once for
    /// each call, in their order.
    pub fn answer(&self, container: &str, answer: impl FnMut(&HandlerCall) -> Answered + Send + 'static) {
        self.machine().answers.insert(container.to_owned(), Box::new(answer));
    }

    /// Takes an image away, or brings it back.
    pub fn set_image(&self, image: &str, present: bool) {
        let mut machine = self.machine();
        if present {
            machine.missing.remove(image);
        } else {
            machine.missing.insert(image.to_owned());
        }
    }

    /// Leaves an image to its registry: it is pulled when it is needed.
    pub fn set_remote(&self, image: &str) {
        self.machine().remote.insert(image.to_owned());
    }

    /// Takes the machine off the network, or brings it back.
    pub fn cut_off(&self, off: bool) {
        self.machine().cut_off = off;
    }

    /// Whether what is here is not to do for what has to be asked for again (`offlinePull: strict`).
    pub fn set_strict_offline(&self, strict: bool) {
        self.machine().strict_offline = strict;
    }

    /// Asked before every call what is to go wrong with it. Replaces the one before.
    pub fn on_call(&self, fault: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        self.script().fault = Some(Box::new(fault));
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.script().fault = None;
    }

    /// Hints get lost, or no longer.
    pub fn lose_hints(&self, lost: bool) {
        self.machine().deaf = lost;
    }

    /// Every call so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.script().calls.all()
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) {
        self.script().calls = Calls::default();
    }

    /// The newest instance of a container ends now, by itself.
    pub fn exit(&self, key: &PodKey, container: &str, code: i32) {
        let now = self.clock.now();
        self.machine().end(key, container, End::exit(now, code));
    }

    /// The kernel ends it now, for want of memory.
    pub fn oom_kill(&self, key: &PodKey, container: &str) {
        let now = self.clock.now();
        self.machine().end(key, container, End::oom(now));
    }

    /// The monitor of a container's newest instance dies.
    pub fn lose_monitor(&self, key: &PodKey, container: &str) {
        self.machine().lose_monitor(key, container);
    }

    /// The infra process of a pod dies.
    pub fn kill_sandbox(&self, key: &PodKey) {
        self.machine().kill_sandbox(key);
    }

    /// A pod as it is, without asking through the port.
    pub fn pod(&self, key: &PodKey) -> Option<ObservedPod> {
        self.machine().pods.get(key).map(|pod| (*pod.observed).clone())
    }

    /// The same, shared: the very same value as long as nothing of it changes.
    pub fn observed(&self, key: &PodKey) -> Option<Arc<ObservedPod>> {
        self.machine().pods.get(key).map(|pod| Arc::clone(&pod.observed))
    }

    /// The pods there are.
    pub fn keys(&self) -> BTreeSet<PodKey> {
        self.machine().pods.keys().cloned().collect()
    }

    /// The volumes as they were synced last.
    pub fn volumes(&self, key: &PodKey) -> Vec<VolumePayload> {
        self.machine().pods.get(key).map(|pod| pod.volumes.to_vec()).unwrap_or_default()
    }

    /// A volume or a container of a pod takes so many bytes of the disk from now on.
    pub fn fill(&self, key: &PodKey, volume: &str, bytes: u64) {
        self.fill_with(key, volume, VolumeUse { bytes, entries: 1, is_part: false });
    }

    /// As [`Fake::fill`], with all that is told of it.
    pub fn fill_with(&self, key: &PodKey, volume: &str, usage: VolumeUse) {
        if let Some(pod) = self.machine().pods.get_mut(key) {
            pod.taken.insert(volume.to_owned(), usage);
        }
    }

    /// The machine has so much left of so much from now on of what a signal is about.
    pub fn set_level(&self, signal: EvictionSignal, available: u64, capacity: u64) {
        self.machine().levels.insert(signal, SignalLevel::new(available, capacity));
    }

    /// What a signal is about is on a file system where pods keep nothing.
    pub fn set_apart(&self, signal: EvictionSignal) {
        if let Some(level) = self.machine().levels.get_mut(&signal) {
            level.is_apart = true;
        }
    }

    /// So many bytes of the disk are of images that no pod needs.
    pub fn set_unused_images(&self, bytes: u64) {
        self.machine().unused_images = bytes;
    }

    /// A container of a pod has written a file into a volume.
    pub fn write_file(&self, key: &PodKey, volume: &str, path: &str, text: &str) {
        if let Some(pod) = self.machine().pods.get_mut(key) {
            pod.files.insert((volume.to_owned(), path.to_owned()), text.to_owned());
        }
    }

    /// What the newest instance of a container was started with.
    pub fn started(&self, key: &PodKey, container: &str) -> Option<ContainerStart> {
        let machine = self.machine();
        let pod = machine.pods.get(key)?;
        let attempt = pod.observed.latest(container)?.record.attempt;
        pod.start(container, attempt).cloned()
    }

    /// Process id and start time of everything that runs, by `pod/container` and `pod` for its infra process.
    pub fn processes(&self) -> BTreeMap<String, (i32, Timestamp)> {
        self.machine().processes()
    }

    /// Waits until a change of the world is due to be hinted at, and hints at it.
    fn announce_at(&self, key: &PodKey, ends: Timestamp) {
        let (machine, clock, key) = (Arc::clone(&self.machine), Arc::clone(&self.clock), key.clone());
        tokio::spawn(async move {
            clock.sleep_until(ends).await;
            let mut machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
            machine.run_until(clock.now());
            machine.hint(&key);
        });
    }

    /// Notes a call and says what is to go wrong with it.
    fn call(&self, call: Call) -> Option<Fault> {
        let mut script = self.script();
        let fault = script.fault.as_mut().and_then(|fault| fault(&call));
        script.calls.note(&call);
        fault
    }

    fn ending(&self, after: Duration) -> Timestamp {
        let now = self.clock.now();
        jiff::SignedDuration::try_from(after).ok().and_then(|d| now.checked_add(d).ok()).unwrap_or(Timestamp::MAX)
    }
}
