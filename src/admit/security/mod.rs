//! Pod Security: what pods may ask of the machine, by the standards of Kubernetes. [`controls`] is the table of what each
//! level forbids, `baseline` and `restricted` look at the fields.
//!
//! Two ask for a standard: the labels `pod-security.kubernetes.io/{enforce,audit,warn}` of a namespace (with `-version`), and
//! `podSecurity` in the configuration of the machine, a ceiling for the pods that are the machine's. A namespace without
//! labels asks for nothing. What is judged is what would run: presets merged and defaults filled in.
//!
//! - *enforce*, and the ceiling: an error. Kubernetes refuses the pod when it is created or changed, and leaves one alone that
//!   runs already when the label comes later. Here the revision that says so is refused whole, as for every error: none of it
//!   starts, what runs goes on as it was applied last and is healed. So a label never takes hold of a pod by stealth, at the
//!   next start of the machine. A ceiling that is lowered refuses the revision that was applied last as well, and then each
//!   pod is kept by its record.
//! - *warn*: a warning of `validate` and `diff`, and of the agent.
//! - *audit*: a line in the log of the agent, and nothing else.
//!
//! Kubernetes only warns of the template of a workload, and refuses its pods one by one while the workload seems fine. A
//! template that none of its pods could come from is an error here: the step is the same for both, and the root says which.
//!
//! Values that a label cannot have are errors of the manifest. Where such a revision is compared with, they count as Kubernetes
//! takes them: `restricted` for enforce, `privileged` for the others, the latest version.

mod baseline;
mod controls;
mod restricted;
mod setters;
mod sysctls;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::chain::{self, Draft, Subject};
use super::merge::dotted;
use super::source_of;
use crate::model::{
    Desired, DesiredObject, Diagnostic, Kind, NodeInfo, Outcome, POD_SECURITY, Place, PodSecurityLevel,
    PodSecurityStandard, PodSecurityVersion, Severity, SourceRef,
};
use controls::{CONTROLS, NEWEST, Violation};

pub use controls::Control;
pub(super) use sysctls::are_asked_for;

/// How many places of one violation are told besides the first.
const PLACES: usize = 3;

/// Every control of the standards, in the order in which they are told.
pub fn pod_security_controls() -> &'static [Control] {
    CONTROLS
}

/// What becomes of a pod that does what a standard forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Enforce,
    Audit,
    Warn,
}

impl Mode {
    fn label(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Audit => "audit",
            Mode::Warn => "warn",
        }
    }
}

/// What a namespace asks of its pods.
pub(super) struct Policy<'a> {
    /// The Namespace with the labels.
    object: Option<&'a DesiredObject>,
    enforce: PodSecurityStandard,
    audit: PodSecurityStandard,
    warn: PodSecurityStandard,
}

const ANYTHING: PodSecurityStandard =
    PodSecurityStandard { level: PodSecurityLevel::Privileged, version: PodSecurityVersion::Latest };

/// That of a namespace which says nothing.
pub(super) static NO_POLICY: Policy<'static> =
    Policy { object: None, enforce: ANYTHING, audit: ANYTHING, warn: ANYTHING };

/// What the namespaces ask that ask for something.
pub(super) fn policies(desired: &Desired) -> BTreeMap<&str, Policy<'_>> {
    let namespaces = desired.others.iter().filter(|(key, _)| key.kind == Kind::Namespace);
    let named = namespaces.map(|(key, object)| (key.name.as_str(), Policy::of(object)));
    named.filter(|(_, policy)| !policy.is_silent()).collect()
}

impl<'a> Policy<'a> {
    fn of(object: &'a DesiredObject) -> Self {
        let labels = object.value.as_ref().and_then(|value| value.pointer("/metadata/labels"));
        let text = |name: String| labels.and_then(|labels| labels.get(name)).and_then(Value::as_str);
        let standard = |mode: Mode, otherwise: PodSecurityLevel| {
            let label = format!("{POD_SECURITY}{}", mode.label());
            let version = text(format!("{label}-version")).and_then(PodSecurityVersion::parse).unwrap_or_default();
            let level = text(label).map(|text| PodSecurityLevel::parse(text).unwrap_or(otherwise));
            PodSecurityStandard { level: level.unwrap_or_default(), version }
        };
        Self {
            object: Some(object),
            enforce: standard(Mode::Enforce, PodSecurityLevel::Restricted),
            audit: standard(Mode::Audit, PodSecurityLevel::Privileged),
            warn: standard(Mode::Warn, PodSecurityLevel::Privileged),
        }
    }

    fn is_silent(&self) -> bool {
        let all = [self.enforce, self.audit, self.warn];
        all.iter().all(|standard| standard.level == PodSecurityLevel::Privileged)
    }

    /// Whether no pod of it can do what it may not on a machine.
    pub(super) fn allows_all(&self, node: Option<&NodeInfo>) -> bool {
        self.is_silent() && ceiling(node) == PodSecurityLevel::Privileged
    }
}

/// The level that no pod of a machine may exceed.
fn ceiling(node: Option<&NodeInfo>) -> PodSecurityLevel {
    node.map(|node| node.pod_security).unwrap_or_default()
}

/// Who asks for a standard.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Namespace,
    Machine,
}

/// The step of the chain.
pub(super) fn judge<'a>(subject: &Subject<'_, 'a>, draft: &mut Draft<'a>) {
    draft.security = sysctls::forbidden(subject, draft);
    if subject.policy.allows_all(subject.node) {
        return;
    }
    let policy = subject.policy;
    let mut spec = draft.spec.clone();
    chain::fill(&mut spec);
    let mut told = Vec::new();
    let seen = (&draft.metadata, &spec);
    let against = move |mode, by, standard: PodSecurityStandard| {
        let of_standard =
            CONTROLS.iter().filter_map(move |control| Some((control, control.violation(standard, seen)?)));
        of_standard.map(move |(control, violation)| Breach { mode, by, standard, control, violation })
    };
    let mut refused: Vec<Breach> = against(Mode::Enforce, By::Namespace, policy.enforce).collect();
    let is_elsewhere = draft.unplaced.as_ref().is_some_and(|unplaced| unplaced.outcome == Outcome::NotForThisMachine);
    let limit = PodSecurityStandard { level: ceiling(subject.node), version: PodSecurityVersion::Latest };
    if !is_elsewhere && !implies(policy.enforce, limit) {
        let named: Vec<&str> = refused.iter().map(|breach| breach.control.id).collect();
        let more = against(Mode::Enforce, By::Machine, limit).filter(|breach| !named.contains(&breach.control.id));
        refused.extend(more.collect::<Vec<_>>());
    }
    let audited = against(Mode::Audit, By::Namespace, policy.audit);
    // A pod that is refused is not warned of.
    let warned = refused.is_empty().then(|| against(Mode::Warn, By::Namespace, policy.warn));
    let breaches: Vec<Breach> = audited.chain(warned.into_iter().flatten()).collect();
    for breach in refused.iter().chain(&breaches) {
        told.push((breach.mode, breach.told(subject, draft)));
    }
    draft.security.extend(told);
}

/// Whether who keeps to the one standard keeps to the other.
fn implies(one: PodSecurityStandard, other: PodSecurityStandard) -> bool {
    one.level >= other.level && (one.version >= PodSecurityVersion::Minor(NEWEST) || other.level == ANYTHING.level)
}

/// A control that a pod does not keep to.
struct Breach {
    mode: Mode,
    by: By,
    standard: PodSecurityStandard,
    control: &'static Control,
    violation: Violation,
}

impl Breach {
    /// For the author of what is wrong, at its first place.
    fn told(&self, subject: &Subject<'_, '_>, draft: &Draft<'_>) -> Diagnostic {
        let Violation { reason, detail, at } = &self.violation;
        let verb = if self.mode == Mode::Enforce { "violates" } else { "would violate" };
        let pointer = at.first().map_or("", String::as_str);
        let places: Vec<(SourceRef, Option<&str>)> = at.iter().map(|at| written(subject, draft, at)).collect();
        let (first, preset) = places.first().cloned().unwrap_or_else(|| (subject.at(""), None));
        let mut others: Vec<&SourceRef> = places.iter().map(|(at, _)| at).filter(|at| **at != first).collect();
        others.dedup();
        let mut help = format!("allowed: {}", self.control.allowed);
        if let Some(preset) = preset {
            help.push_str(&format!("; PodPreset {preset} brings it"));
        }
        if !others.is_empty() {
            let shown: Vec<String> = others.iter().take(PLACES).map(ToString::to_string).collect();
            let more = if others.len() > PLACES { " and more" } else { "" };
            help.push_str(&format!("; also at {}{more}", shown.join(", ")));
        }
        help.push_str(&self.asked_for(subject));
        Diagnostic {
            severity: if self.mode == Mode::Enforce { Severity::Error } else { Severity::Warning },
            rule: "pod-security",
            message: format!("{verb} PodSecurity \"{}\": {reason} ({detail})", self.standard),
            help: Some(help),
            place: Some(Place { at: first, text: Arc::from(""), width: 1 }),
            object: Some(subject.object.key.clone()),
            field: Some(field(subject.root, pointer)),
        }
    }

    /// Who asks for the standard, and where.
    fn asked_for(&self, subject: &Subject<'_, '_>) -> String {
        let level = self.standard.level.as_str();
        match (self.by, subject.policy.object) {
            (By::Namespace, Some(object)) => {
                let label = format!("{POD_SECURITY}{}", self.mode.label());
                let at = source_of(object, &format!("/metadata/labels/{}", label.replace('/', "~1")));
                format!("; the namespace {} has the label {label}: {level} ({at})", object.key.name)
            }
            _ => format!("; the configuration of the machine says `podSecurity: {level}`"),
        }
    }
}

/// A field as Kubernetes writes paths.
fn field(root: &str, pointer: &str) -> String {
    match pointer.split_once("/annotations/") {
        Some((above, key)) => {
            let key = key.replace("~1", "/").replace("~0", "~");
            format!("{}[{key}]", dotted(&format!("{root}{above}/annotations")))
        }
        None => dotted(&format!("{root}{pointer}")),
    }
}

/// Where a field was written, and the preset that it came with.
fn written<'d>(subject: &Subject<'_, '_>, draft: &'d Draft<'_>, pointer: &str) -> (SourceRef, Option<&'d str>) {
    for added in &draft.added {
        let rest = pointer.strip_prefix(&added.pointer).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        if let Some(rest) = rest {
            let donor = draft.matching[added.donor];
            return (source_of(donor.object, &format!("{}{rest}", added.source)), Some(donor.name()));
        }
    }
    (subject.at(pointer), None)
}
