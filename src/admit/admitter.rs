//! Admission of one object at a time, for who keeps no revision: what the pod becomes, and whether [`super::admit`] would
//! say something about the object. A check that keeps only those objects hears the same as one that keeps all.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};

use super::chain::{self, Subject};
use super::placement;
use super::preset::{self, Budget, NO_PRESETS, Presets};
use super::security::{self, NO_POLICY, Policy};
use super::warn::Warnings;
use super::{Written, carried};
use crate::model::{Accounts, AdmittedPod, Desired, DesiredObject, Diagnostics, Kind, NodeInfo, Packed, PodKey};

/// Admits one object at a time.
pub struct Admitter<'a> {
    candidates: BTreeMap<&'a str, Presets<'a>>,
    policies: BTreeMap<&'a str, Policy<'a>>,
    accounts: Accounts,
    budget: Budget,
    node: Option<NodeInfo>,
}

impl<'a> Admitter<'a> {
    /// For revisions with these presets, namespaces and service accounts, and for a machine where it is known; nothing else of
    /// `desired` is
    /// looked at.
    pub fn new(desired: &'a Desired, node: Option<&NodeInfo>) -> Self {
        // What is wrong with presets themselves, admission says when they are admitted.
        let candidates = preset::candidates(desired, &mut Diagnostics::default());
        let (policies, accounts) = (security::policies(desired), super::accounts(desired));
        Self { candidates, policies, accounts, budget: Budget::default(), node: node.cloned() }
    }

    /// The pod as admission leaves it.
    pub fn admitted(&self, object: &DesiredObject, pod: &Pod) -> AdmittedPod {
        let key = PodKey::new(object.key.namespace.as_str(), object.key.name.as_str());
        let written = Written { pod: pod.clone(), packed: &Packed::new(pod) };
        super::admit_pod(&key, (&self.subject(object), &self.accounts), written, &mut Warnings::default()).0
    }

    fn subject<'s>(&'s self, object: &'s DesiredObject) -> Subject<'s, 's> {
        let namespace = object.key.namespace.as_str();
        Subject {
            object,
            root: "",
            presets: self.candidates.get(namespace).unwrap_or(&NO_PRESETS),
            policy: self.policies.get(namespace).unwrap_or(&NO_POLICY),
            budget: Some(&self.budget),
            node: self.node.as_ref(),
        }
    }

    /// Whether presets bring more to the pods so far than is merged: then only [`super::admit`] of all says which is too much.
    pub fn is_spent(&self) -> bool {
        self.budget.is_spent()
    }

    /// Whether admission would say nothing about this object; `pod` is the pod it is, if it is one.
    pub fn says_nothing(&self, object: &DesiredObject, pod: Option<&Pod>) -> bool {
        match (object.key.kind, pod) {
            (Kind::Pod, Some(pod)) => self.admits_quietly(object, pod),
            (Kind::ConfigMap, _) => carried::<ConfigMap>(object).is_some(),
            (Kind::Secret, _) => carried::<Secret>(object).is_some(),
            (Kind::Pod, None) | (Kind::PodPreset, _) => false,
            (Kind::Namespace | Kind::ServiceAccount | Kind::Node, _) => true,
        }
    }

    fn admits_quietly(&self, object: &DesiredObject, pod: &Pod) -> bool {
        // What it is given and may ask for is known of the pod that runs alone.
        if self.node.as_ref().is_some_and(|node| !node.limit_range.is_empty()) {
            return false;
        }
        if self
            .node
            .as_ref()
            .zip(pod.spec.as_ref())
            .is_some_and(|(node, spec)| placement::unplaced(spec, node).is_some())
        {
            return false;
        }
        let subject = self.subject(object);
        let has_presets = || !subject.presets.matching(pod.metadata.labels.as_ref()).is_empty();
        let has_settings = pod.spec.as_ref().is_some_and(security::are_asked_for);
        if subject.policy.allows_all(subject.node) && !has_settings && !has_presets() {
            return true;
        }
        let draft = chain::run(&subject, pod.metadata.clone(), pod.spec.clone().unwrap_or_default());
        let mut warnings = Warnings::default();
        warnings.collect(object, &draft, &subject.presets.all);
        !draft.is_too_much && warnings.diagnostics().is_empty()
    }
}
