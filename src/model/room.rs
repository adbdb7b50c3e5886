//! Room on a machine: what pods ask for, and whether so much is left, as the scheduler and the kubelet count it (`fitsRequest`
//! of the plugin NodeResourcesFit in pkg/scheduler and pkg/kubelet/lifecycle/predicate.go of Kubernetes 1.36).
//!
//! A pod takes what it asks for (`requests`), whatever it uses, and one of `pods`. There is no end of a resource that the
//! machine says nothing of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Serialize};

use super::placement::no_node;
use super::qos::together;
use super::{AmountList, NodeInfo, Outcome, Packed, Unmet, Unplaced, quantity};

/// How many pods there may be.
const PODS: &str = "pods";
/// What is looked at first, in this order; the rest by name.
const FIRST: [&str; 4] = [PODS, "cpu", "memory", "ephemeral-storage"];
/// The field of a pod that is behind what it asks for.
const FIELD: &str = "spec.containers";
/// Billionths of a thousandth of a core, and of a byte or a piece.
const MILLI: i128 = 1_000_000;
const UNIT: i128 = 1_000_000_000;

/// The classes that there are always, with their priorities (pkg/apis/scheduling/v1/helpers.go).
const CLASSES: [(&str, i32); 2] = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

/// The priority of a pod; that of a class nobody knows is that of none.
pub fn priority(spec: &PodSpec) -> i32 {
    let of_class = || {
        let class = spec.priority_class_name.as_deref()?;
        CLASSES.iter().find(|(name, _)| *name == class).map(|(_, priority)| *priority)
    };
    spec.priority.or_else(of_class).unwrap_or(0)
}

/// How much of each resource: thousandths of a core, bytes, pieces. What is not named is nothing.
pub type Requests = BTreeMap<String, i128>;

/// What of a pod decides whether there is room for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub requests: Requests,
    pub priority: i32,
    /// It names its machine: the kubelet alone is asked, and takes it or not.
    pub is_named: bool,
    /// `preemptionPolicy: Never`.
    pub never_preempts: bool,
}

impl Asked {
    /// Of a spec, with its defaults or without.
    pub fn of(spec: &PodSpec) -> Self {
        Self {
            requests: requests(spec),
            priority: priority(spec),
            is_named: !spec.node_name.as_deref().unwrap_or_default().is_empty(),
            never_preempts: spec.preemption_policy.as_deref() == Some("Never"),
        }
    }

    /// Of a pod of which no more is opened than that.
    pub fn of_packed(pod: &Packed<Pod>) -> Self {
        let part: PodPart = pod.part();
        Self::of(&part.spec.map(SpecPart::spec).unwrap_or_default())
    }
}

/// What a pod asks for. One that says nothing of amounts is not opened for that.
pub fn requests_of(pod: &Packed<Pod>) -> Requests {
    let says = |word: &str| pod.text().contains(word);
    if ["\"requests\"", "\"limits\"", "\"overhead\""].into_iter().any(says) {
        Asked::of_packed(pod).requests
    } else {
        Requests::from([(PODS.to_owned(), 1)])
    }
}

/// The part of a pod that its room depends on.
#[derive(Deserialize)]
struct PodPart {
    spec: Option<SpecPart>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecPart {
    #[serde(default)]
    containers: Vec<ContainerPart>,
    init_containers: Option<Vec<ContainerPart>>,
    node_name: Option<String>,
    overhead: Option<BTreeMap<String, Quantity>>,
    preemption_policy: Option<String>,
    priority: Option<i32>,
    priority_class_name: Option<String>,
    resources: Option<ResourceRequirements>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerPart {
    resources: Option<ResourceRequirements>,
    restart_policy: Option<String>,
}

impl SpecPart {
    fn spec(self) -> PodSpec {
        let container = |part: ContainerPart| Container {
            resources: part.resources,
            restart_policy: part.restart_policy,
            ..Container::default()
        };
        let containers = |list: Vec<ContainerPart>| list.into_iter().map(container).collect();
        PodSpec {
            containers: containers(self.containers),
            init_containers: self.init_containers.map(containers),
            node_name: self.node_name,
            overhead: self.overhead,
            preemption_policy: self.preemption_policy,
            priority: self.priority,
            priority_class_name: self.priority_class_name,
            resources: self.resources,
            ..PodSpec::default()
        }
    }
}

fn requests(spec: &PodSpec) -> Requests {
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let own = containers.flat_map(|container| AmountList::BOTH.map(|list| list.of(container)));
    let whole = AmountList::BOTH.map(|list| list.of_pod(spec));
    let lists = own.chain(whole).flatten().chain(&spec.overhead);
    let names: BTreeSet<&String> = lists.flat_map(|amounts| amounts.keys()).collect();
    let mut all: Requests = names.into_iter().map(|name| (name.clone(), units(name, requested(spec, name)))).collect();
    all.retain(|_, amount| *amount > 0);
    all.insert(PODS.to_owned(), 1);
    all
}

/// What a pod asks for of a resource, in billionths: what it says of itself as a whole, or what its containers ask for
/// together; a limit without a request is one.
fn requested(spec: &PodSpec, name: &str) -> i128 {
    let nanos = |amounts: &BTreeMap<String, Quantity>| quantity::nanos(&amounts.get(name)?.0);
    let own = |container: &Container| {
        let [request, limit] = AmountList::BOTH.map(|list| list.of(container).and_then(nanos));
        request.or(limit)
    };
    let of_containers = || together(spec, |container| Some(own(container).unwrap_or(0))).unwrap_or(0);
    let ask = || spec.init_containers.iter().flatten().chain(&spec.containers).any(|c| own(c).is_some());
    let [request, limit] = AmountList::BOTH.map(|list| list.of_pod(spec).and_then(nanos));
    let whole = request.or_else(|| limit.map(|limit| if ask() { of_containers() } else { limit }));
    let overhead = spec.overhead.as_ref().and_then(nanos).unwrap_or(0);
    whole.unwrap_or_else(of_containers).saturating_add(overhead)
}

/// Billionths of what a resource is counted in.
fn finest(resource: &str) -> i128 {
    if resource == "cpu" { MILLI } else { UNIT }
}

/// Billionths as they are counted, rounded up.
fn units(resource: &str, nanos: i128) -> i128 {
    let finest = finest(resource);
    nanos.div_euclid(finest) + i128::from(nanos.rem_euclid(finest) != 0)
}

/// What is counted, as a quantity.
fn shown(resource: &str, units: i128) -> String {
    quantity::written(units.saturating_mul(finest(resource)), resource != "cpu" && resource != PODS)
}

fn of(amounts: &Requests, resource: &str) -> i128 {
    amounts.get(resource).copied().unwrap_or(0)
}

/// What a machine has for pods, and what of it is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// In the order in which the kubelet looks at it.
    offered: Vec<(String, i128)>,
    taken: Requests,
}

impl Room {
    /// A machine without pods.
    pub fn of(node: &NodeInfo) -> Self {
        let offered = node.allocatable.iter().filter_map(|(name, text)| Some((name, quantity::nanos(text)?)));
        let mut offered: Vec<_> = offered.map(|(name, nanos)| (name.clone(), units(name, nanos))).collect();
        // Stable: the rest stays by name.
        offered.sort_by_key(|(name, _)| FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len()));
        Self { offered, taken: Requests::new() }
    }

    /// Whether there is room for whatever comes.
    pub fn is_endless(&self) -> bool {
        self.offered.is_empty()
    }

    /// A pod takes what it asks for.
    pub fn take(&mut self, wanted: &Requests) {
        self.exchange(&Requests::new(), wanted);
    }

    /// A pod that has taken `own` is to take `wanted` in its place: the larger of both is taken until it does.
    pub fn exchange(&mut self, own: &Requests, wanted: &Requests) {
        for (resource, wanted) in wanted {
            let more = wanted.saturating_sub(of(own, resource));
            if more > 0 {
                let taken = self.taken.entry(resource.clone()).or_default();
                *taken = taken.saturating_add(more);
            }
        }
    }

    /// What there is too little of for `wanted` when what was taken as `own` is free.
    pub fn lacks(&self, wanted: &Requests, own: &Requests) -> Vec<Shortage> {
        let lack = |(resource, capacity): &(String, i128)| {
            let (requested, used) = (of(wanted, resource), of(&self.taken, resource).saturating_sub(of(own, resource)));
            let is_lacking = requested > 0 && requested > capacity.saturating_sub(used);
            is_lacking.then(|| Shortage { resource: resource.clone(), requested, used, capacity: *capacity })
        };
        self.offered.iter().filter_map(lack).collect()
    }
}

/// A resource of which there is too little for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    pub resource: String,
    pub requested: i128,
    /// What others have taken.
    pub used: i128,
    pub capacity: i128,
}

impl fmt::Display for Shortage {
    /// In the kubelet's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, requested, used, capacity } = self;
        write!(
            f,
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
        )
    }
}

impl Shortage {
    /// Whether the machine has less than that even without other pods.
    fn is_for_good(&self) -> bool {
        self.resource != PODS && self.requested > self.capacity
    }

    /// The scheduler's words.
    fn reason(&self) -> String {
        if self.resource == PODS { "Too many pods".to_owned() } else { format!("Insufficient {}", self.resource) }
    }

    /// As part of a sentence that stays the same while others come and go.
    fn detail(&self) -> String {
        let [requested, capacity] = [self.requested, self.capacity].map(|units| shown(&self.resource, units));
        let resource = &self.resource;
        match (self.is_for_good(), resource.as_str()) {
            (_, PODS) => format!("this machine takes no more than {capacity} pods"),
            (true, _) => format!("it asks for {requested} of {resource}, and this machine has {capacity} for pods"),
            (false, _) => format!("it asks for {requested} of {resource}, and too much of {capacity} is taken"),
        }
    }
}

impl Unplaced {
    /// Of a pod for which a machine lacks room; `None` when it lacks nothing. In a fleet it is another machine's.
    pub fn for_room(asked: &Asked, lacks: &[Shortage], is_fleet: bool) -> Option<Self> {
        let first = lacks.first()?;
        let detail = lacks.iter().map(Shortage::detail).collect::<Vec<_>>().join("; ");
        let (outcome, message) = match (asked.is_named, is_fleet) {
            (true, _) => (Outcome::Failed, format!("Pod was rejected: {first}")),
            (false, true) => (Outcome::NotForThisMachine, detail.clone()),
            (false, false) => (Outcome::Pending, waiting(asked, lacks)),
        };
        let (unmet, field, resource) = (Unmet::NodeResources, FIELD.to_owned(), Some(first.resource.clone()));
        Some(Self { outcome, unmet, field, detail, message, resource, ends_what_runs: false })
    }
}

/// The scheduler's message. Nothing that runs has to make way here, whatever its priority.
fn waiting(asked: &Asked, lacks: &[Shortage]) -> String {
    let mut reasons: Vec<String> = lacks.iter().map(Shortage::reason).collect();
    reasons.sort();
    let preemption = match (asked.never_preempts, lacks.iter().any(Shortage::is_for_good)) {
        (true, _) => "not eligible due to preemptionPolicy=Never.",
        (false, true) => "0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        (false, false) => "0/1 nodes are available: 1 No preemption victims found for incoming pod.",
    };
    no_node(&reasons, preemption)
}

/// Why a pod that runs is not given other amounts (pkg/kubelet/allocation of Kubernetes 1.36).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingResize {
    /// The machine has less than that even without other pods.
    pub is_infeasible: bool,
    /// The kubelet's words.
    pub message: String,
}

impl PendingResize {
    /// How a step that waits for it is called, and the event that tells it.
    pub const DEFERRED: &'static str = "ResizeDeferred";
    pub const INFEASIBLE: &'static str = "ResizeInfeasible";

    /// For what is lacking, if something is.
    pub fn of(lacks: &[Shortage]) -> Option<Self> {
        let first = lacks.first()?;
        let of = |resource: &str| lacks.iter().find(|lack| lack.resource == resource && lack.is_for_good());
        let message = match of("memory").or_else(|| of("cpu")) {
            None => return Some(Self { is_infeasible: false, message: first.to_string() }),
            Some(Shortage { resource, requested, capacity, .. }) => {
                format!("Node didn't have enough capacity: {resource}, requested: {requested}, capacity: {capacity}")
            }
        };
        Some(Self { is_infeasible: true, message })
    }

    /// How what waits for it is called.
    pub fn reason(&self) -> &'static str {
        if self.is_infeasible { Self::INFEASIBLE } else { Self::DEFERRED }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn asked(spec: Value) -> Asked {
        let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
        let asked = Asked::of(pod.spec.as_ref().unwrap());
        let packed = Packed::new(&pod);
        assert_eq!(Asked::of_packed(&packed), asked, "{spec}");
        assert_eq!(requests_of(&packed), asked.requests, "{spec}");
        asked
    }

    fn requests(pairs: &[(&str, i128)]) -> Requests {
        pairs.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect()
    }

    fn with(resources: Value) -> Value {
        json!({"name": "c", "resources": resources})
    }

    fn machine(allocatable: &[(&str, &str)]) -> Room {
        let text = |(name, amount): &(&str, &str)| ((*name).to_owned(), (*amount).to_owned());
        Room::of(&NodeInfo { allocatable: allocatable.iter().map(text).collect(), ..NodeInfo::default() })
    }

    #[test]
    #[rustfmt::skip]
    fn each_way_to_ask_for_something() {
        let both = |cpu: &str, memory: &str| with(json!({"requests": {"cpu": cpu, "memory": memory}}));
        let sidecar = |cpu: &str| {
            json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}})
        };
        for (spec, expected) in [
            (json!({"containers": [with(json!({}))]}), vec![("pods", 1)]),
            (json!({"containers": [with(json!({"requests": {"cpu": "0"}}))]}), vec![("pods", 1)]),
            (json!({"containers": [both("100m", "1Ki"), both("1", "1")]}), vec![("cpu", 1100), ("memory", 1025), ("pods", 1)]),
            // Rounded up, all of it at once.
            (json!({"containers": [both("0.0004", "0.5"), both("0.0004", "0.25")]}), vec![("cpu", 1), ("memory", 1), ("pods", 1)]),
            // A limit is a request where there is none.
            (json!({"containers": [with(json!({"limits": {"cpu": "2"}, "requests": {"memory": "5"}}))]}),
                vec![("cpu", 2000), ("memory", 5), ("pods", 1)]),
            (json!({"containers": [with(json!({"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}))]}), vec![("cpu", 1000), ("pods", 1)]),
            // Init containers one by one, with the sidecars before them.
            (json!({"initContainers": [both("3", "1")], "containers": [both("1", "2")]}), vec![("cpu", 3000), ("memory", 2), ("pods", 1)]),
            (json!({"initContainers": [sidecar("1"), both("3", "1")], "containers": [both("1", "2")]}),
                vec![("cpu", 4000), ("memory", 2), ("pods", 1)]),
            (json!({"initContainers": [both("3", "1"), sidecar("1")], "containers": [both("2500m", "2")]}),
                vec![("cpu", 3500), ("memory", 2), ("pods", 1)]),
            // The pod as a whole counts instead.
            (json!({"resources": {"requests": {"cpu": "1"}}, "containers": [both("3", "1")]}), vec![("cpu", 1000), ("memory", 1), ("pods", 1)]),
            (json!({"resources": {"limits": {"cpu": "4"}}, "containers": [both("3", "1")]}), vec![("cpu", 3000), ("memory", 1), ("pods", 1)]),
            (json!({"resources": {"limits": {"cpu": "4"}}, "containers": [with(json!({}))]}), vec![("cpu", 4000), ("pods", 1)]),
            (json!({"overhead": {"cpu": "1"}, "containers": [both("3", "1")]}), vec![("cpu", 4000), ("memory", 1), ("pods", 1)]),
            (json!({"containers": [with(json!({"limits": {"example.com/x": "2"}}))]}), vec![("example.com/x", 2), ("pods", 1)]),
        ] {
            assert_eq!(asked(spec.clone()).requests, requests(&expected), "{spec}");
        }
        let spec = json!({"containers": [], "priority": 7, "nodeName": "a", "preemptionPolicy": "Never"});
        let all = Asked { requests: requests(&[("pods", 1)]), priority: 7, is_named: true, never_preempts: true };
        assert_eq!(asked(spec), all);
        let class = json!({"containers": [], "priorityClassName": "system-node-critical"});
        assert_eq!(asked(class).priority, 2_000_001_000);
    }

    #[test]
    fn what_is_lacking_is_told_in_the_order_of_the_kubelet() {
        let mut room = machine(&[("cpu", "1500m"), ("example.com/x", "1"), ("memory", "1Ki"), ("pods", "2")]);
        assert!(!room.is_endless() && machine(&[]).is_endless());
        let (none, small) = (Requests::new(), requests(&[("cpu", 100), ("pods", 1)]));
        assert_eq!(room.lacks(&small, &none), []);
        room.take(&small);
        let large = requests(&[("cpu", 1401), ("memory", 1025), ("pods", 1), ("unknown", 9)]);
        let told = |room: &Room, own: &Requests| -> Vec<String> {
            room.lacks(&large, own).iter().map(ToString::to_string).collect()
        };
        let memory = "Node didn't have enough resource: memory, requested: 1025, used: 0, capacity: 1024";
        let cpu = "Node didn't have enough resource: cpu, requested: 1401, used: 100, capacity: 1500";
        assert_eq!(told(&room, &none), [cpu, memory]);
        assert_eq!(told(&room, &small), [memory], "its own room is free");
        room.take(&small);
        let pods = "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2";
        let cpu = "Node didn't have enough resource: cpu, requested: 1401, used: 200, capacity: 1500";
        assert_eq!(told(&room, &none), [pods, cpu, memory]);
        // Nothing is asked for, nothing is lacking, however much is taken.
        assert_eq!(room.lacks(&none, &none), []);
    }

    #[test]
    fn what_takes_the_place_of_something_takes_the_larger_of_both() {
        let mut room = machine(&[("cpu", "2"), ("memory", "10")]);
        let (own, wanted) = (requests(&[("cpu", 1000), ("memory", 5)]), requests(&[("cpu", 1500), ("memory", 2)]));
        room.take(&own);
        room.exchange(&own, &wanted);
        assert_eq!(room.taken, requests(&[("cpu", 1500), ("memory", 5)]));
        let all = requests(&[("cpu", i128::MAX)]);
        room.take(&all);
        room.take(&all);
        assert_eq!(room.lacks(&wanted, &Requests::new()).len(), 1, "no amount is too large to be counted");
    }

    #[test]
    fn a_pod_that_does_not_fit_is_told_by_whom_it_is_for() {
        let mut room = machine(&[("cpu", "2"), ("memory", "4Gi"), ("pods", "1")]);
        let of = |room: &Room, spec: Value, is_fleet: bool| {
            let asked = asked(spec);
            Unplaced::for_room(&asked, &room.lacks(&asked.requests, &Requests::new()), is_fleet)
        };
        let cpu = |amount: &str, mut more: Value| {
            more["containers"] = json!([with(json!({"requests": {"cpu": amount}}))]);
            more
        };
        assert_eq!(of(&room, cpu("2", json!({})), false), None);
        let large = of(&room, cpu("2001m", json!({})), false).unwrap();
        assert_eq!((large.outcome, large.unmet), (Outcome::Pending, Unmet::NodeResources));
        let expected = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is \
                        not helpful for scheduling.";
        assert_eq!((large.message.as_str(), large.reason()), (expected, None));
        assert_eq!(large.detail, "it asks for 2001m of cpu, and this machine has 2 for pods");

        room.take(&requests(&[("cpu", 500), ("pods", 1)]));
        let second = of(&room, cpu("2", json!({})), false).unwrap();
        let expected = "0/1 nodes are available: 1 Insufficient cpu, 1 Too many pods. preemption: 0/1 nodes are available: 1 \
                        No preemption victims found for incoming pod.";
        assert_eq!(second.message, expected);
        let detail = "this machine takes no more than 1 pods; it asks for 2 of cpu, and too much of 2 is taken";
        assert_eq!(second.detail, detail);
        let never = of(&room, cpu("2", json!({"preemptionPolicy": "Never"})), false).unwrap();
        let expected = "0/1 nodes are available: 1 Insufficient cpu, 1 Too many pods. preemption: not eligible due to \
                        preemptionPolicy=Never.";
        assert_eq!(never.message, expected);
        let named = of(&room, cpu("2", json!({"nodeName": "edge-1"})), true).unwrap();
        let expected = "Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: 1, capacity: 1";
        assert_eq!((named.outcome, named.message.as_str()), (Outcome::Failed, expected));
        assert_eq!(named.reason().as_deref(), Some("OutOfpods"));
        let other = of(&room, cpu("2", json!({})), true).unwrap();
        assert_eq!((other.outcome, other.message.as_str()), (Outcome::NotForThisMachine, detail));
        let memory = json!({"nodeName": "a", "containers": [with(json!({"requests": {"memory": "5Gi"}}))]});
        let memory = of(&machine(&[("memory", "4Gi")]), memory, false).unwrap();
        assert_eq!(memory.reason().as_deref(), Some("OutOfmemory"));
        assert_eq!(memory.detail, "it asks for 5Gi of memory, and this machine has 4Gi for pods");
    }

    #[test]
    fn a_resize_waits_or_is_given_up_in_the_words_of_the_kubelet() {
        let mut room = machine(&[("cpu", "2"), ("memory", "1Ki")]);
        room.take(&requests(&[("cpu", 1500), ("memory", 1000)]));
        let of = |wanted: &[(&str, i128)]| {
            PendingResize::of(&room.lacks(&requests(wanted), &Requests::new())).map(|p| (p.reason(), p.message))
        };
        assert_eq!(of(&[("cpu", 500)]), None);
        let expected = "Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000";
        assert_eq!(of(&[("cpu", 501), ("memory", 500)]), Some(("ResizeDeferred", expected.to_owned())));
        let expected = "Node didn't have enough capacity: cpu, requested: 2001, capacity: 2000";
        assert_eq!(of(&[("cpu", 2001), ("memory", 500)]), Some(("ResizeInfeasible", expected.to_owned())));
        let expected = "Node didn't have enough capacity: memory, requested: 1025, capacity: 1024";
        assert_eq!(of(&[("cpu", 2001), ("memory", 1025)]), Some(("ResizeInfeasible", expected.to_owned())));
    }
}
