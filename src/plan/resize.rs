//! Other amounts of cpu and memory: what they take, and which containers have yet to be given them.
//!
//! The rules are those of the API (`ValidatePodResize`, pkg/apis/core/validation of 1.36) and of the kubelet
//! (`computePodResizeAction`, pkg/kubelet/kuberuntime): first the pod is given the amounts, which is on record, then its
//! containers are, each as it asks for.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use sha2::{Digest, Sha256};

use super::rules::Advice::{self, Instead, Note, Nothing};
use crate::model::Verb::{self, Recreate, RestartContainer, UpdateInPlace};
use crate::model::{
    AdmittedPod, AmountChange, ContainerRecord, FieldChange, LIMIT_RANGER, Packed, PendingResize, RESIZABLE, Resources,
    asks_for_restart, qos_class,
};

const KEPT: Advice = Instead("another amount is changed in place: only one that is removed takes a new pod");
const CLASS: Advice = Instead("the QoS class of the pod would be another: amounts that keep it are changed in place");
const NO_RESTART: Advice = Instead("an init container without resizePolicy RestartContainer is changed in place");
const POLICY: Advice = Instead("with resizePolicy NotRequired it changes without a restart");
const HAS_RUN: Advice = Note("an init container that has run does not run again");

/// One amount that differs, with what decides over it.
struct Amount<'a> {
    /// `limits` or `requests`, or whatever else there is of resources.
    list: &'a str,
    resource: &'a str,
    /// The container as it is to be.
    container: Option<&'a Container>,
    /// It stands among the init containers and is no sidecar.
    is_init: bool,
    is_removed: bool,
    /// What all amounts together make of the pod is another QoS class.
    changes_the_class: bool,
}

type Fits = fn(&Amount<'_>) -> bool;

/// What it takes; the first row that fits counts.
#[rustfmt::skip]
const TABLE: &[(Fits, Verb, Advice)] = &[
    (|own| !own.is_resizable(),                    Recreate,         Nothing),
    (|own| own.is_removed,                         Recreate,         KEPT),
    (|own| own.changes_the_class,                  Recreate,         CLASS),
    (|own| own.is_init && own.asks_for_restart(),  Recreate,         NO_RESTART),
    (|own| own.is_init,                            UpdateInPlace,    HAS_RUN),
    (|own| own.asks_for_restart(),                 RestartContainer, POLICY),
    (|_| true,                                     UpdateInPlace,    Nothing),
];

impl Amount<'_> {
    fn is_resizable(&self) -> bool {
        ["limits", "requests"].contains(&self.list) && RESIZABLE.contains(&self.resource)
    }

    fn asks_for_restart(&self) -> bool {
        self.container.is_some_and(|container| asks_for_restart(container, self.resource))
    }
}

/// The pod around the amounts that differ.
pub(super) struct Resize {
    target: PodSpec,
    changes_the_class: bool,
}

impl Resize {
    pub(super) fn new(realised: &AdmittedPod, target: &AdmittedPod) -> Self {
        // Its class is that of what it comes to be in place, without what the machine would give another one.
        let spec = |effective: &Packed<Pod>| effective.open().spec.unwrap_or_default();
        let [before, after] = [spec(&realised.effective), spec(&settled(realised, target))];
        Self { changes_the_class: qos_class(&before) != qos_class(&after), target: spec(&target.effective) }
    }

    /// What another amount takes: at `field`, given without keys and indexes, of a container, `is_removed` when there is
    /// none any more.
    pub(super) fn judge(&self, field: &str, container: Option<&str>, is_removed: bool) -> (Verb, Advice) {
        let (list, resource) =
            field.split_once("].resources.").map_or("", |(_, rest)| rest).split_once('.').unwrap_or_default();
        let amount = Amount {
            list,
            resource,
            container: container.and_then(|name| find(&self.target, name)),
            is_init: field.starts_with("spec.initContainers[]"),
            is_removed,
            changes_the_class: self.changes_the_class,
        };
        let row = TABLE.iter().find(|(fits, _, _)| fits(&amount));
        row.map_or((Recreate, Nothing), |(_, effect, advice)| (*effect, *advice))
    }
}

fn find<'a>(spec: &'a PodSpec, name: &str) -> Option<&'a Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers).find(|container| container.name == name)
}

/// Whether a field that changes in place is an amount of cpu or memory.
pub(super) fn is_amount(change: &FieldChange) -> bool {
    change.field.contains("].resources.")
}

/// The target with the cpu and memory of before, for there is no room for others: what else differs is done.
pub(super) fn held(realised: &AdmittedPod, target: &AdmittedPod, pending: PendingResize) -> AdmittedPod {
    let spec = given_back(&realised.spec, &target.spec);
    let digest = Sha256::digest(spec.text()).iter().map(|byte| format!("{byte:02x}")).collect();
    AdmittedPod {
        effective: given_back(&realised.effective, &target.effective),
        spec,
        digest,
        unplaced: None,
        pending_resize: Some(Box::new(pending)),
        ..target.clone()
    }
}

/// The effective pod of a target as a change in place realises it: what a container was given by the machine it keeps, but of a
/// resource of which it asks for another amount itself. What the machine gives is for pods that are begun.
pub(super) fn settled(realised: &AdmittedPod, target: &AdmittedPod) -> Packed<Pod> {
    let given = |pod: &AdmittedPod| pod.effective.text().contains(LIMIT_RANGER);
    if !given(realised) && !given(target) {
        return target.effective.clone();
    }
    let [before, after] = [realised, target].map(|pod| pod.spec.open().spec.unwrap_or_default());
    let (had, mut pod) = (realised.effective.open(), target.effective.open());
    if !target.spec.text().contains(LIMIT_RANGER) {
        let told = had.metadata.annotations.as_ref().and_then(|all| all.get(LIMIT_RANGER));
        let mut annotations = pod.metadata.annotations.take().unwrap_or_default();
        annotations.remove(LIMIT_RANGER);
        annotations.extend(told.map(|told| (LIMIT_RANGER.to_owned(), told.clone())));
        pod.metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    }
    let had = had.spec.unwrap_or_default();
    let containers = pod.spec.iter_mut().flat_map(|spec| {
        let init = spec.init_containers.iter_mut().flatten();
        init.chain(&mut spec.containers)
    });
    for container in containers {
        // Of anything but cpu and memory no other amount is asked for: that would be another pod.
        let others = find(&had, &container.name).and_then(|had| had.resources.clone()).unwrap_or_default();
        let [before, after, had] = [&before, &after, &had].map(|spec| find(spec, &container.name).map(Resources::of));
        let (Some(before), Some(after), Some(had)) = (before, after, had) else { continue };
        let changes = before.changes(&after);
        let mut amounts = had;
        for change in &changes {
            amounts.take(change.resource, &Resources::of(container));
        }
        container.resources = Some(amounts.within(&others));
    }
    Packed::new(&pod)
}

fn given_back(realised: &Packed<Pod>, target: &Packed<Pod>) -> Packed<Pod> {
    let (before, mut pod) = (realised.open().spec.unwrap_or_default(), target.open());
    let containers = pod.spec.iter_mut().flat_map(|spec| {
        let init = spec.init_containers.iter_mut().flatten();
        init.chain(&mut spec.containers)
    });
    for container in containers {
        let Some(before) = find(&before, &container.name) else { continue };
        let own = Resources::of(before).within(&container.resources.clone().unwrap_or_default());
        let says_nothing = before.resources.is_none() && own == ResourceRequirements::default();
        container.resources = (!says_nothing).then_some(own);
    }
    Packed::new(&pod)
}

/// What a container that was started may use other than its record says. What is not on record counts as nothing: to be
/// told the same again does it no harm.
pub(super) fn due(record: &ContainerRecord, container: &Container) -> Vec<AmountChange> {
    record.resources.clone().unwrap_or_default().changes(&Resources::of(container))
}

/// The same, if one of the amounts asks for a restart.
pub(super) fn restart_due(record: &ContainerRecord, container: &Container) -> Option<Vec<AmountChange>> {
    // A record of a version that kept no amounts does not say that they are others.
    let known = record.resources.as_ref()?;
    let changes = known.changes(&Resources::of(container));
    changes.iter().any(|change| asks_for_restart(container, change.resource)).then_some(changes)
}
