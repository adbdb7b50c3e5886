//! The world of the fake: what runs, and what time does to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::AnswerOf;
use super::behaviour::Behaviour;
use crate::model::{
    ContainerStart, ContainerState, DiskPart, ExitRecord, ObservedContainer, ObservedPod, PodKey, PodUid,
    ProbeVerdicts, ProcessUse, Sandbox, SignalLevels, Starved, VolumeLimit, VolumePayload, VolumeUse,
};
use crate::port::Hint;

/// How an instance will end, unless something comes in between.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) at: Timestamp,
    pub(super) code: i32,
    pub(super) signal: Option<i32>,
    /// The kernel ended it, for want of memory.
    pub(super) oom_killed: bool,
}

impl End {
    /// By itself.
    pub(super) fn exit(at: Timestamp, code: i32) -> Self {
        Self { at, code, signal: None, oom_killed: false }
    }

    /// By a signal, of somebody.
    pub(super) fn signal(at: Timestamp, signal: i32) -> Self {
        Self { at, code: 128 + signal, signal: Some(signal), oom_killed: false }
    }

    /// By the kernel, for want of memory.
    pub(super) fn oom(at: Timestamp) -> Self {
        Self { oom_killed: true, ..Self::signal(at, 9) }
    }
}

#[derive(Debug)]
pub(super) struct Pod {
    /// Shared with whoever listed it, until it changes.
    pub(super) observed: Arc<ObservedPod>,
    pub(super) volumes: Arc<[VolumePayload]>,
    /// What volumes and containers take of the disk, by name; of those alone that take some.
    pub(super) taken: BTreeMap<String, VolumeUse>,
    /// Files that its containers have written, by volume and path.
    pub(super) files: BTreeMap<(String, String), String>,
    /// What its probes were last said to say.
    pub(super) verdicts: ProbeVerdicts,
    /// What its instances were started with.
    starts: Vec<ContainerStart>,
    /// By name and attempt; those alone that will end by themselves.
    pub(super) ends: BTreeMap<(String, u32), End>,
}

impl Pod {
    pub(super) fn new(observed: ObservedPod) -> Self {
        Self {
            observed: Arc::new(observed),
            volumes: Arc::default(),
            taken: BTreeMap::new(),
            files: BTreeMap::new(),
            verdicts: ProbeVerdicts::new(),
            starts: Vec::new(),
            ends: BTreeMap::new(),
        }
    }

    /// The pod, to be changed.
    pub(super) fn change(&mut self) -> &mut ObservedPod {
        Arc::make_mut(&mut self.observed)
    }

    /// What an instance was started with, if it was.
    pub(super) fn start(&self, name: &str, attempt: u32) -> Option<&ContainerStart> {
        self.starts.iter().find(|start| start.name == name && start.attempt == attempt)
    }

    pub(super) fn keep_start(&mut self, start: &ContainerStart) {
        // One more at a time: most pods have few.
        self.starts.reserve_exact(1);
        self.starts.push(start.clone());
    }

    /// What something of it takes of the disk.
    pub(super) fn taken_by(&self, limit: &VolumeLimit) -> VolumeUse {
        let nothing = VolumeUse { entries: 1, ..VolumeUse::default() };
        match limit.of {
            DiskPart::EmptyDir | DiskPart::Container => self.taken.get(&limit.name).copied().unwrap_or(nothing),
            DiskPart::Pod => self.taken.values().fold(nothing, |sum, used| VolumeUse {
                bytes: sum.bytes + used.bytes,
                entries: sum.entries + used.entries,
                is_part: sum.is_part || used.is_part,
            }),
        }
    }

    pub(super) fn forget_start(&mut self, name: &str, attempt: u32) {
        self.starts.retain(|start| start.name != name || start.attempt != attempt);
    }
}

#[derive(Default)]
pub(super) struct Machine {
    pub(super) pods: BTreeMap<PodKey, Pod>,
    pub(super) behaviours: BTreeMap<String, Behaviour>,
    /// What handlers answer, by the container's name.
    pub(super) answers: BTreeMap<String, AnswerOf>,
    /// Images that are not there.
    pub(super) missing: BTreeSet<String>,
    /// Images that a registry has, and this machine not yet.
    pub(super) remote: BTreeSet<String>,
    /// No registry is reached.
    pub(super) cut_off: bool,
    /// What is here is not to do for what has to be asked for again.
    pub(super) strict_offline: bool,
    /// What it has left of what signals are about.
    pub(super) levels: SignalLevels,
    /// Bytes of images that no pod needs.
    pub(super) unused_images: u64,
    /// Hints get lost.
    pub(super) deaf: bool,
    pub(super) listeners: Vec<mpsc::Sender<Hint>>,
    /// The last process id given.
    pids: i32,
    /// The last address given, as the last byte of it.
    addresses: u8,
}

impl Machine {
    pub(super) fn pid(&mut self) -> i32 {
        self.pids += 1;
        1000 + self.pids
    }

    pub(super) fn address(&mut self) -> std::net::IpAddr {
        self.addresses = self.addresses.wrapping_add(1);
        std::net::Ipv4Addr::new(10, 88, 0, self.addresses).into()
    }

    /// What time has done until now.
    pub(super) fn run_until(&mut self, now: Timestamp) {
        for pod in self.pods.values_mut() {
            let due: Vec<_> =
                pod.ends.iter().filter(|(_, end)| end.at <= now).map(|(at, end)| (at.clone(), *end)).collect();
            for (instance, end) in due {
                pod.ends.remove(&instance);
                if let Some(container) = find(&mut pod.observed, &instance.0, instance.1) {
                    finish(container, end);
                }
            }
        }
    }

    /// What the processes of a pod use: as much memory as is told of their containers, and one process each.
    pub(super) fn process_use(&self, key: &PodKey) -> ProcessUse {
        let Some(pod) = self.pods.get(key) else { return ProcessUse::default() };
        let live = pod.observed.containers.iter().filter(|container| container.is_live());
        let memory = |name: &str| self.behaviours.get(name).map_or(0, |behaviour| behaviour.memory);
        let containers: BTreeMap<String, u64> =
            live.map(|container| (container.record.name.clone(), memory(&container.record.name))).collect();
        let processes = u64::try_from(containers.len()).ok();
        ProcessUse { memory: Some(containers.values().sum()), containers, processes }
    }

    /// Gives back what images take that no pod needs, and what is kept for pods that have ended for good or are evicted.
    pub(super) fn reclaim_disk(&mut self, evicted: &[PodUid]) {
        let mut bytes = std::mem::take(&mut self.unused_images);
        let is_given_back = |pod: &&mut Pod| {
            let (record, runs) = (&pod.observed.record, pod.observed.containers.iter().any(ObservedContainer::is_live));
            let is_over = record.terminal.is_some() && pod.observed.sandbox == Sandbox::Absent;
            !runs && (is_over || evicted.contains(&record.uid))
        };
        for pod in self.pods.values_mut().filter(is_given_back) {
            bytes += std::mem::take(&mut pod.taken).values().map(|used| used.bytes).sum::<u64>();
        }
        let of_disk = self.levels.iter_mut().filter(|(signal, _)| signal.starved() == Starved::EphemeralStorage);
        of_disk.for_each(|(_, level)| level.available += bytes);
    }

    /// Tells everyone that listens; a full channel drops the hint.
    pub(super) fn hint(&mut self, key: &PodKey) {
        if !self.deaf {
            self.listeners.retain(|listener| !listener.is_closed());
            for listener in &self.listeners {
                // A hint that finds no room is dropped, as the port says.
                let _ = listener.try_send(Hint(key.clone()));
            }
        }
    }

    /// Volumes of a pod as they are from now on: those that are not renewed stay. Pods beside each other often have the same ones,
    /// and share them then.
    pub(super) fn kept(&self, key: &PodKey, renewed: &[VolumePayload]) -> Arc<[VolumePayload]> {
        let mut volumes: Vec<VolumePayload> = self.pods.get(key).map(|pod| pod.volumes.to_vec()).unwrap_or_default();
        for volume in renewed {
            match volumes.iter_mut().find(|own| own.name == volume.name) {
                Some(own) => own.clone_from(volume),
                None => volumes.push(volume.clone()),
            }
        }
        let beside = self.pods.range(..key).next_back().map(|(_, pod)| &pod.volumes);
        beside.filter(|beside| ***beside == *volumes).map_or_else(|| volumes.into(), Arc::clone)
    }

    fn newest(&mut self, key: &PodKey, container: &str) -> Option<&mut ObservedContainer> {
        let pod = &mut self.pods.get_mut(key)?.observed;
        let attempt = pod.latest(container)?.record.attempt;
        find(pod, container, attempt)
    }

    pub(super) fn end(&mut self, key: &PodKey, container: &str, end: End) {
        if let Some(container) = self.newest(key, container) {
            finish(container, end);
        }
        self.hint(key);
    }

    pub(super) fn lose_monitor(&mut self, key: &PodKey, container: &str) {
        if let Some(container) = self.newest(key, container).filter(|c| c.is_live()) {
            container.state = ContainerState::Lost;
        }
        self.hint(key);
    }

    pub(super) fn kill_sandbox(&mut self, key: &PodKey) {
        if let Some(pod) = self.pods.get_mut(key)
            && let Sandbox::Ready { attempt, .. } = pod.observed.sandbox
        {
            pod.change().sandbox = Sandbox::Dead { attempt };
        }
        self.hint(key);
    }

    pub(super) fn processes(&self) -> BTreeMap<String, (i32, Timestamp)> {
        let mut found = BTreeMap::new();
        for (key, pod) in &self.pods {
            if let Sandbox::Ready { pid, started_at, .. } = pod.observed.sandbox {
                found.insert(key.to_string(), (pid, started_at));
            }
            for container in &pod.observed.containers {
                if let ContainerState::Running { pid, started_at } = container.state {
                    found.insert(format!("{key}/{}", container.record.name), (pid, started_at));
                }
            }
        }
        found
    }
}

/// One instance of a pod.
pub(super) fn instance<'a>(pod: &'a ObservedPod, name: &str, attempt: u32) -> Option<&'a ObservedContainer> {
    pod.containers.iter().find(|c| c.record.name == name && c.record.attempt == attempt)
}

/// The same, to be changed.
pub(super) fn find<'a>(pod: &'a mut Arc<ObservedPod>, name: &str, attempt: u32) -> Option<&'a mut ObservedContainer> {
    Arc::make_mut(pod).containers.iter_mut().find(|c| c.record.name == name && c.record.attempt == attempt)
}

/// Ends an instance that runs.
pub(super) fn finish(container: &mut ObservedContainer, end: End) {
    if let ContainerState::Running { started_at, .. } = container.state {
        container.state = ContainerState::Exited(ExitRecord {
            exit_code: end.code,
            signal: end.signal,
            oom_killed: end.oom_killed,
            started_at: Some(started_at),
            finished_at: end.at,
            reason: None,
            message: None,
        });
    }
}
