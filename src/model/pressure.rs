//! When a machine is low on something: the signals, thresholds and conditions of the kubelet (pkg/kubelet/eviction of 1.36), by
//! its names and with its defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::quantity;

/// The reason of a pod that is evicted, or not taken, for what there is too little of.
pub const EVICTED: &str = "Evicted";
/// The kubelet's `evictionPressureTransitionPeriod`: so long a condition stays after its threshold was last met.
const TRANSITION: Duration = Duration::from_secs(300);
/// Billionths per unit, as in [`quantity`].
const NANO: i128 = 1_000_000_000;

/// What is looked at; in the order in which it is made good, memory first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EvictionSignal {
    MemoryAvailable,
    NodefsAvailable,
    NodefsInodesFree,
    ImagefsAvailable,
    ImagefsInodesFree,
    PidAvailable,
}

impl EvictionSignal {
    /// Each of them, in that order.
    pub const ALL: [Self; 6] = [
        Self::MemoryAvailable,
        Self::NodefsAvailable,
        Self::NodefsInodesFree,
        Self::ImagefsAvailable,
        Self::ImagefsInodesFree,
        Self::PidAvailable,
    ];

    /// Its name in `evictionHard`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MemoryAvailable => "memory.available",
            Self::NodefsAvailable => "nodefs.available",
            Self::NodefsInodesFree => "nodefs.inodesFree",
            Self::ImagefsAvailable => "imagefs.available",
            Self::ImagefsInodesFree => "imagefs.inodesFree",
            Self::PidAvailable => "pid.available",
        }
    }

    /// What there is too little of when its threshold is met.
    pub fn starved(self) -> Starved {
        match self {
            Self::MemoryAvailable => Starved::Memory,
            Self::NodefsAvailable | Self::ImagefsAvailable => Starved::EphemeralStorage,
            Self::NodefsInodesFree | Self::ImagefsInodesFree => Starved::Inodes,
            Self::PidAvailable => Starved::Pids,
        }
    }

    /// The condition that the machine has then.
    pub fn pressure(self) -> NodePressure {
        self.starved().pressure()
    }
}

/// What a machine can have too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Starved {
    Memory,
    EphemeralStorage,
    Inodes,
    Pids,
}

impl Starved {
    /// Each of them, in the order in which they are made good.
    pub const ALL: [Self; 4] = [Self::Memory, Self::EphemeralStorage, Self::Inodes, Self::Pids];

    /// The condition that the machine has meanwhile.
    pub fn pressure(self) -> NodePressure {
        match self {
            Self::Memory => NodePressure::Memory,
            Self::EphemeralStorage | Self::Inodes => NodePressure::Disk,
            Self::Pids => NodePressure::Pid,
        }
    }

    /// As messages name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::EphemeralStorage => "ephemeral-storage",
            Self::Inodes => "inodes",
            Self::Pids => "pids",
        }
    }

    /// Whether it is something of the disk.
    pub fn is_of_disk(self) -> bool {
        matches!(self, Self::EphemeralStorage | Self::Inodes)
    }

    /// Whether amounts of it are bytes.
    pub fn is_bytes(self) -> bool {
        matches!(self, Self::Memory | Self::EphemeralStorage)
    }

    /// An amount of it as Kubernetes writes it.
    pub fn shown(self, amount: u64) -> String {
        quantity::written(i128::from(amount) * NANO, self.is_bytes())
    }
}

/// A condition of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodePressure {
    Memory,
    Disk,
    Pid,
}

impl NodePressure {
    /// Each of them, as nodes list them.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Disk, Self::Pid];

    /// Its type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "MemoryPressure",
            Self::Disk => "DiskPressure",
            Self::Pid => "PIDPressure",
        }
    }

    /// The key of the taint that nodes have meanwhile, of effect NoSchedule (staging/src/k8s.io/api/core/v1/well_known_taints.go).
    pub fn taint(self) -> &'static str {
        match self {
            Self::Memory => "node.kubernetes.io/memory-pressure",
            Self::Disk => "node.kubernetes.io/disk-pressure",
            Self::Pid => "node.kubernetes.io/pid-pressure",
        }
    }

    /// Reason and message of the condition (pkg/kubelet/nodestatus/setters.go).
    pub fn told(self, holds: bool) -> (&'static str, &'static str) {
        match (self, holds) {
            (Self::Memory, true) => ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            (Self::Memory, false) => ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            (Self::Disk, true) => ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            (Self::Disk, false) => ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            (Self::Pid, true) => ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            (Self::Pid, false) => ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        }
    }

    /// The reason of the event about a node that comes to it (the same file).
    pub fn event(self, holds: bool) -> &'static str {
        match (self, holds) {
            (Self::Memory, true) => "NodeHasInsufficientMemory",
            (Self::Memory, false) => "NodeHasSufficientMemory",
            (Self::Disk, true) => "NodeHasDiskPressure",
            (Self::Disk, false) => "NodeHasNoDiskPressure",
            (Self::Pid, true) => "NodeHasInsufficientPID",
            (Self::Pid, false) => "NodeHasSufficientPID",
        }
    }
}

/// Whether a condition holds, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PressureState {
    pub holds: bool,
    pub since: Timestamp,
}

/// The conditions of a machine; nothing as long as nobody has looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePressures(pub BTreeMap<NodePressure, PressureState>);

impl NodePressures {
    /// Those that hold.
    pub fn holding(&self) -> impl Iterator<Item = NodePressure> + '_ {
        self.0.iter().filter(|(_, state)| state.holds).map(|(pressure, _)| *pressure)
    }

    /// It was looked, and none holds.
    pub fn is_at_ease(&self) -> bool {
        !self.0.is_empty() && self.holding().next().is_none()
    }
}

/// How much there is of what a signal is about, and how much there is in all: bytes, files or processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalLevel {
    pub available: u64,
    pub capacity: u64,
    /// It is of a file system on which pods keep nothing: no eviction makes it good.
    pub is_apart: bool,
}

impl SignalLevel {
    /// One of which pods take something.
    pub fn new(available: u64, capacity: u64) -> Self {
        Self { available, capacity, is_apart: false }
    }
}

/// What was seen of signals; one that a machine does not tell is missing.
pub type SignalLevels = BTreeMap<EvictionSignal, SignalLevel>;

/// Below how much a threshold is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThresholdValue {
    Quantity {
        amount: u64,
        /// As Kubernetes writes it.
        shown: String,
    },
    /// Billionths of the whole.
    Part(u64),
}

impl ThresholdValue {
    /// Reads one as the kubelet does (`parseThresholdStatement`): a quantity above zero, or a percentage. `None` for 0% and 100%,
    /// which switch a signal off.
    ///
    /// # Errors
    /// What it should have been.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let wanted = || "a quantity above zero such as 100Mi, or a percentage from 0% to 100%".to_owned();
        if let Some(number) = text.strip_suffix('%') {
            let is_plain = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.');
            let billionths = quantity::nanos(number).filter(|_| is_plain).map(|nanos| nanos / 100);
            let part = billionths.and_then(|part| u64::try_from(part).ok()).filter(|part| *part <= 1_000_000_000);
            return match part.ok_or_else(wanted)? {
                0 | 1_000_000_000 => Ok(None),
                part => Ok(Some(Self::Part(part))),
            };
        }
        let amount = quantity::bytes(text).filter(|amount| *amount > 0);
        let (amount, shown) = amount.zip(quantity::shown(text)).ok_or_else(wanted)?;
        Ok(Some(Self::Quantity { amount, shown }))
    }

    /// How much that is of a whole.
    pub fn amount(&self, capacity: u64) -> u64 {
        match self {
            Self::Quantity { amount, .. } => *amount,
            Self::Part(part) => {
                let product = u128::from(capacity) * u128::from(*part) / 1_000_000_000;
                u64::try_from(product).unwrap_or(u64::MAX)
            }
        }
    }
}

/// A signal with the least there is to be of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvictionThreshold {
    pub signal: EvictionSignal,
    pub value: ThresholdValue,
}

/// When pods are evicted for what the machine is low on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvictionSettings {
    /// `evictionHard`, in the order of the signals. Without any nothing is looked at.
    pub hard: Vec<EvictionThreshold>,
    /// `evictionPressureTransitionPeriod`.
    pub transition: Duration,
}

impl Default for EvictionSettings {
    /// No threshold.
    fn default() -> Self {
        Self { hard: Vec::new(), transition: TRANSITION }
    }
}

impl EvictionSettings {
    /// The kubelet's on Linux: memory.available<100Mi, nodefs.available<10%, nodefs.inodesFree<5%, imagefs.available<15% and
    /// imagefs.inodesFree<5% (pkg/kubelet/eviction/defaults_linux.go, and the reference of `evictionHard`).
    pub fn of_the_kubelet() -> Self {
        let percent = |percent: u64| ThresholdValue::Part(percent * 10_000_000);
        let hard = [
            (
                EvictionSignal::MemoryAvailable,
                ThresholdValue::Quantity { amount: 100 << 20, shown: "100Mi".to_owned() },
            ),
            (EvictionSignal::NodefsAvailable, percent(10)),
            (EvictionSignal::NodefsInodesFree, percent(5)),
            (EvictionSignal::ImagefsAvailable, percent(15)),
            (EvictionSignal::ImagefsInodesFree, percent(5)),
        ];
        let hard = hard.map(|(signal, value)| EvictionThreshold { signal, value }).to_vec();
        Self { hard, ..Self::default() }
    }
}

/// What became of a pod for what the machine was low on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UnderPressure {
    /// It ran, and was ended.
    Evicted,
    /// It was not begun.
    Rejected,
}

/// What the processes of a pod use now. What nobody counts is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessUse {
    /// Bytes of the pod's working set: its memory without files that were not read lately.
    pub memory: Option<u64>,
    /// The same of its containers that run, by name.
    pub containers: BTreeMap<String, u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read_as_the_kubelet_reads_them() {
        let quantity = |amount, shown: &str| Ok(Some(ThresholdValue::Quantity { amount, shown: shown.into() }));
        for (text, expected) in [
            ("100Mi", quantity(100 << 20, "100Mi")),
            ("1024Mi", quantity(1 << 30, "1Gi")),
            ("1000", quantity(1000, "1k")),
            ("10%", Ok(Some(ThresholdValue::Part(100_000_000)))),
            ("0.5%", Ok(Some(ThresholdValue::Part(5_000_000)))),
            ("0%", Ok(None)),
            ("100%", Ok(None)),
        ] {
            assert_eq!(ThresholdValue::parse(text), expected, "{text}");
        }
        for wrong in ["", "%", "0", "-1", "-1%", "101%", "ten", "10 %", "1e1%", "5Mi%"] {
            assert!(ThresholdValue::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_percentage_is_of_the_whole_and_rounded_down() {
        let part = ThresholdValue::Part(150_000_000);
        assert_eq!([0, 6, 7, 100, u64::MAX].map(|whole| part.amount(whole)), [0, 0, 1, 15, 2_767_011_611_056_432_742]);
        let fixed = ThresholdValue::Quantity { amount: 5, shown: "5".into() };
        assert_eq!([0, 100].map(|whole| fixed.amount(whole)), [5, 5]);
    }

    #[test]
    fn nobody_is_at_ease_who_has_not_looked() {
        let state = |holds| PressureState { holds, since: Timestamp::UNIX_EPOCH };
        let of = |states: &[(NodePressure, bool)]| {
            NodePressures(states.iter().map(|(pressure, holds)| (*pressure, state(*holds))).collect())
        };
        assert!(!of(&[]).is_at_ease());
        assert!(of(&[(NodePressure::Memory, false), (NodePressure::Disk, false)]).is_at_ease());
        let one = of(&[(NodePressure::Memory, false), (NodePressure::Disk, true)]);
        assert!(!one.is_at_ease());
        assert_eq!(one.holding().collect::<Vec<_>>(), [NodePressure::Disk]);
    }

    #[test]
    fn every_signal_has_a_condition_and_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = EvictionSignal::ALL.map(EvictionSignal::as_str).into();
        assert_eq!(names.len(), EvictionSignal::ALL.len());
        for pressure in NodePressure::ALL {
            assert!(EvictionSignal::ALL.iter().any(|signal| signal.pressure() == pressure), "{pressure:?}");
            assert_ne!(pressure.told(true), pressure.told(false));
            assert_ne!(pressure.event(true), pressure.event(false));
        }
        assert!(EvictionSettings::of_the_kubelet().hard.is_sorted_by_key(|threshold| threshold.signal));
    }

    #[test]
    fn amounts_are_written_as_kubernetes_writes_them() {
        assert_eq!([100 << 20, 1500, 1024].map(|amount| Starved::Memory.shown(amount)), ["100Mi", "1500", "1Ki"]);
        assert_eq!([1000, 1500].map(|amount| Starved::Pids.shown(amount)), ["1k", "1500"]);
    }
}
