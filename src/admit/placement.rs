//! Placement: whether this machine fits a pod, as scheduler and kubelet decide it (`pkg/scheduler/framework/plugins` and
//! `pkg/kubelet/lifecycle/predicate.go` of Kubernetes 1.36, with the default plugins).
//!
//! | `nodeName` | the rest | the pod |
//! |---|---|---|
//! | another machine's | any | is another machine's |
//! | this machine's | labels do not match, or a taint of effect NoExecute is not tolerated | failed: the kubelet looks at nothing else, for the scheduler was not asked |
//! | none | a taint is not tolerated, or labels do not match | waits; is another machine's in a fleet |
//! | this machine's | asks for more than the machine has at all | failed, as when there is no room now |
//! | none | asks for more than the machine has at all | waits; is another machine's in a fleet |
//! | this machine's or none | matches | runs, when there is room (`plan/room`) |
//!
//! A pod that runs stays whatever the machine becomes, unless a taint of effect NoExecute is not tolerated (`plan/placement`). The
//! taints of a machine are there before its pods: who tolerates one for some time (`tolerationSeconds`) tolerates it.
//!
//! Preferences (`preferredDuringSchedulingIgnoredDuringExecution`, taints of effect PreferNoSchedule) choose between machines
//! that fit; of one they decide nothing. What no machine was asked about and a pod depends on counts as fitting.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Toleration};

use super::chain::{self, Draft, Subject};
use super::{limits, selector};
use crate::model::{Asked, NodeInfo, Outcome, Requests, Room, Taint, Unmet, Unplaced, no_node};

/// The one field of a node that terms may match.
const NAME: &str = "metadata.name";
/// `ErrReasonPod` of the plugin NodeAffinity.
const LABELS: &str = "node(s) didn't match Pod's node affinity/selector";
/// `ErrReasonNotMatch` of the plugin TaintToleration, which the kubelet says.
const NOT_TOLERATED: &str = "node(s) had taints that the pod didn't tolerate";
/// The one effect of a taint that is for pods that run, too.
const NO_EXECUTE: &str = "NoExecute";
/// What the scheduler says of nodes that the names of `matchFields` leave out, before it looks at any.
const NAMES: &str = "node(s) didn't satisfy plugin(s) [NodeAffinity]";
/// The plugin TaintToleration; before 1.34 it named the taint.
const TAINTS: &str = "node(s) had untolerated taint(s)";

/// The step of the chain.
pub(super) fn place<'a>(subject: &Subject<'_, 'a>, draft: &mut Draft<'a>) {
    draft.unplaced = subject.node.and_then(|node| unplaced(&draft.spec, node));
    draft.is_untold = match subject.node {
        Some(node) => depends_on_untold(&draft.spec, node),
        None => asks(&draft.spec),
    };
}

/// Why a pod does not run on a machine, if it does not.
pub(super) fn unplaced(spec: &PodSpec, node: &NodeInfo) -> Option<Unplaced> {
    let name = spec.node_name.as_deref().unwrap_or_default();
    if !name.is_empty() && !node.name.is_empty() && name != node.name {
        let detail = format!("`nodeName` is {name}, this machine is {}", node.name);
        let field = "spec.nodeName".to_owned();
        return Some(Lack { unmet: Unmet::NodeName, ..Lack::labels(field, detail) }.elsewhere());
    }
    if depends_on_untold(spec, node) {
        return None;
    }
    if !name.is_empty() {
        let lack = labels(spec, node).or_else(|| taint(spec, node, NO_EXECUTE));
        return lack.map(|lack| lack.on(spec, node).failed()).or_else(|| room(spec, node));
    }
    // Told first is what has a pod that runs leave.
    let taint = || taint(spec, node, NO_EXECUTE).or_else(|| taint(spec, node, "NoSchedule"));
    let lack = pinned_elsewhere(spec, node).or_else(taint).or_else(|| labels(spec, node));
    let lack = lack.map(|lack| lack.on(spec, node));
    let unplaced = lack.map(|lack| if node.fleet { lack.elsewhere() } else { lack.pending() });
    unplaced.or_else(|| room(spec, node))
}

/// A pod for which there is no room even when it is alone.
fn room(spec: &PodSpec, node: &NodeInfo) -> Option<Unplaced> {
    let room = Room::of(node);
    if room.is_endless() {
        return None;
    }
    let asked = match node.limit_range.as_slice() {
        [] => Asked::of(spec),
        items => {
            let mut whole = spec.clone();
            chain::fill(&mut whole);
            limits::fill(&mut whole, items);
            Asked::of(&whole)
        }
    };
    Unplaced::for_room(&asked, &room.lacks(&asked.requests, &Requests::new()), node.fleet)
}

/// What a machine lacks, and the scheduler's words for it.
struct Lack {
    unmet: Unmet,
    field: String,
    detail: String,
    why: &'static str,
    ends_what_runs: bool,
}

impl Lack {
    fn labels(field: String, detail: String) -> Self {
        Self { unmet: Unmet::NodeLabels, field, detail, why: LABELS, ends_what_runs: false }
    }

    /// The same, whichever lack is told first: with a taint that is for pods that run none stays.
    fn on(self, spec: &PodSpec, node: &NodeInfo) -> Self {
        Self { ends_what_runs: self.ends_what_runs || taint(spec, node, NO_EXECUTE).is_some(), ..self }
    }

    fn elsewhere(self) -> Unplaced {
        let message = self.detail.clone();
        self.told(Outcome::NotForThisMachine, message)
    }

    /// The scheduler's message.
    fn pending(self) -> Unplaced {
        let preemption = "0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
        let message = no_node(&[self.why.to_owned()], preemption);
        self.told(Outcome::Pending, message)
    }

    /// The kubelet's message.
    fn failed(self) -> Unplaced {
        let (plugin, why) = match self.unmet {
            Unmet::NodeTaints => ("TaintToleration", NOT_TOLERATED),
            _ => ("NodeAffinity", self.why),
        };
        let message = format!("Pod was rejected: Predicate {plugin} failed: {why}");
        self.told(Outcome::Failed, message)
    }

    fn told(self, outcome: Outcome, message: String) -> Unplaced {
        let Self { unmet, field, detail, ends_what_runs, .. } = self;
        Unplaced { outcome, unmet, field, detail, message, resource: None, ends_what_runs }
    }
}

/// The terms of the required node affinity: one of them must match.
fn terms(spec: &PodSpec) -> Option<&[NodeSelectorTerm]> {
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    Some(&affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms)
}

fn expressions(term: &NodeSelectorTerm) -> &[NodeSelectorRequirement] {
    term.match_expressions.as_deref().unwrap_or_default()
}

fn fields(term: &NodeSelectorTerm) -> &[NodeSelectorRequirement] {
    term.match_fields.as_deref().unwrap_or_default()
}

/// Whether a pod asks for anything of a machine.
fn asks(spec: &PodSpec) -> bool {
    let has_name = !spec.node_name.as_deref().unwrap_or_default().is_empty();
    has_name || spec.node_selector.iter().flatten().next().is_some() || terms(spec).is_some()
}

/// Whether a pod asks for something of the machine that nobody told.
fn depends_on_untold(spec: &PodSpec, node: &NodeInfo) -> bool {
    let terms = terms(spec).unwrap_or_default();
    let selected = spec.node_selector.iter().flatten().map(|(key, _)| key);
    let mut keys = selected.chain(terms.iter().flat_map(expressions).map(|expression| &expression.key));
    let by_name =
        !spec.node_name.as_deref().unwrap_or_default().is_empty() || terms.iter().any(|t| !fields(t).is_empty());
    keys.any(|key| node.untold.contains(key)) || (node.name.is_empty() && by_name)
}

/// Each term names machines, and none of them this one.
fn pinned_elsewhere(spec: &PodSpec, node: &NodeInfo) -> Option<Lack> {
    let terms = terms(spec).filter(|terms| !terms.is_empty())?;
    let pins = |field: &NodeSelectorRequirement| field.key == NAME && field.operator == "In";
    let is_named = |field: &&NodeSelectorRequirement| field.values.iter().flatten().any(|value| *value == node.name);
    let elsewhere = |term: &NodeSelectorTerm| {
        let mut pinning = fields(term).iter().filter(|field| pins(field)).peekable();
        pinning.peek().is_some() && !pinning.all(|field| is_named(&field))
    };
    terms.iter().all(elsewhere).then(|| Lack { why: NAMES, ..no_term() })
}

/// The first taint of an effect that a pod does not tolerate.
fn taint(spec: &PodSpec, node: &NodeInfo, effect: &str) -> Option<Lack> {
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let mut taints = node.taints.iter().filter(|taint| taint.effect == effect);
    let taint = taints.find(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))?;
    let value = taint.value.as_ref().map(|value| format!("={value}")).unwrap_or_default();
    let detail = format!("the taint {}{value}:{} of this machine is not tolerated", taint.key, taint.effect);
    let field = "spec.tolerations".to_owned();
    Some(Lack { unmet: Unmet::NodeTaints, field, detail, why: TAINTS, ends_what_runs: effect == NO_EXECUTE })
}

/// What is empty of a toleration stands for every key, or every effect; no operator is Equal.
fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let is = |own: &Option<String>, other: &str| own.as_deref().is_none_or(|own| own.is_empty() || own == other);
    let value = |own: &Option<String>| own.clone().unwrap_or_default();
    let of_value = match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => value(&toleration.value) == value(&taint.value),
        operator => operator == "Exists",
    };
    of_value && is(&toleration.effect, &taint.effect) && is(&toleration.key, &taint.key)
}

/// A label of `nodeSelector` that is another one, or terms of which none matches.
fn labels(spec: &PodSpec, node: &NodeInfo) -> Option<Lack> {
    let mut selected = spec.node_selector.iter().flatten();
    if let Some((key, value)) = selected.find(|(key, value)| node.labels.get(*key) != Some(*value)) {
        let has = match node.labels.get(key) {
            Some(other) => format!("has {other:?}"),
            None => "has no such label".to_owned(),
        };
        let detail = format!("`nodeSelector` asks for {key}={value}, this machine {has}");
        return Some(Lack::labels(format!("spec.nodeSelector[{key}]"), detail));
    }
    (!terms(spec)?.iter().any(|term| matches(term, node))).then(no_term)
}

fn no_term() -> Lack {
    let detail = "no term of the required `nodeAffinity` matches this machine".to_owned();
    Lack::labels("spec.affinity.nodeAffinity".to_owned(), detail)
}

/// Whether all of a term holds. An empty one matches nothing.
fn matches(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let name = BTreeMap::from([(NAME.to_owned(), node.name.clone())]);
    let holds = |requirement: &NodeSelectorRequirement, labels: &BTreeMap<String, String>| {
        let values = requirement.values.as_deref().unwrap_or_default();
        selector::holds(&requirement.operator, values, labels.get(&requirement.key))
    };
    let is_empty = expressions(term).is_empty() && fields(term).is_empty();
    !is_empty
        && expressions(term).iter().all(|expression| holds(expression, &node.labels))
        && fields(term).iter().all(|field| holds(field, &name))
}
