//! Floor 2: admission. Presets and defaults make `Admitted` out of `Desired`.
//!
//! [`chain`] lists what happens to a pod, step by step: [`preset`] finds the matching PodPresets and merges all of them or
//! none, [`placement`] says whether the machine fits the pod, [`security`] whether it may ask for what it asks for,
//! [`defaults`] makes the pod that runs out of the pod that was written, [`limits`] gives it what the machine gives who says
//! nothing, and [`account`] adds what its service account brings. [`digest`] names the result, [`warn`] tells
//! authors what became of their presets, and [`Origins`] says on demand where each field of a pod comes from.
//! [`Admitter`] admits one object at a time.
//!
//! A pod's digest covers its merged spec and the presets' marks. A changed preset therefore reaches exactly the pods
//! whose merged spec it changes; Kubernetes never touched a pod that was there. Of a preset whose content changes
//! without changing a merged spec (its selector is written in another way) only the mark differs, which is an
//! annotation, and annotations change in place.

mod account;
mod admitter;
mod chain;
mod defaults;
mod digest;
mod limits;
mod merge;
mod origin;
mod placement;
mod preset;
mod security;
mod selector;
mod warn;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use serde::de::DeserializeOwned;

use crate::model::{
    Account, Accounts, Admitted, AdmittedPod, DataObjects, Desired, DesiredObject, Diagnostic, Diagnostics, Kind,
    NodeInfo, ObjectKey, Outcome, Packed, Place, PodKey, Severity, SourceRef,
};

pub use admitter::Admitter;
pub use origin::{LeafOrigin, Origins};
pub use security::{Control, pod_security_controls};

use chain::Subject;
use preset::{Budget, NO_PRESETS};
use security::NO_POLICY;
use warn::Warnings;

/// Admits a whole revision where nothing is known of the machine: every pod counts as one that fits it. `Err` holds every
/// diagnostic when the revision has an error or admission finds one.
pub fn admit(desired: &Desired) -> Result<Admitted, Diagnostics> {
    admit_on(desired, None)
}

/// The same for a machine.
pub fn admit_on(desired: &Desired, node: Option<&NodeInfo>) -> Result<Admitted, Diagnostics> {
    if desired.diagnostics.has_errors() {
        return Err(desired.diagnostics.clone());
    }
    match admit_what_can_be(desired, node) {
        admitted if admitted.diagnostics.has_errors() => Err(admitted.diagnostics),
        admitted => Ok(admitted),
    }
}

/// Admits a revision that was admitted before, to go on with it: what is out of the bounds of `limitRange` by now is a warning, for
/// the machine may have been given other bounds since, and LimitRanger never looks at pods that exist. Without that nothing
/// of the revision would be begun after a boot that mounts a ConfigMap or a Secret.
///
/// Pod Security admission does not look at pods that exist, either; what it refuses is refused here all the same. The labels of
/// namespaces are of the revision itself, so that only another ceiling of the machine can refuse it. Such a ceiling says
/// what may run on the machine at all, and by this revision pods are begun.
pub fn admit_again_on(desired: &Desired, node: Option<&NodeInfo>) -> Result<Admitted, Diagnostics> {
    if desired.diagnostics.has_errors() {
        return Err(desired.diagnostics.clone());
    }
    let mut admitted = admit_what_can_be(desired, node);
    let bounds = admitted.diagnostics.0.iter_mut().filter(|told| told.rule == limits::LIMIT_RANGE);
    bounds.for_each(|told| told.severity = Severity::Warning);
    admitted.diagnostics.sort();
    if admitted.diagnostics.has_errors() { Err(admitted.diagnostics) } else { Ok(admitted) }
}

/// Admits what a revision holds whether or not it is valid, to compare another one with. Its errors are among the
/// diagnostics; an object that could not be read is not there. Nothing may run by this.
pub fn admit_what_can_be(desired: &Desired, node: Option<&NodeInfo>) -> Admitted {
    let mut diagnostics = desired.diagnostics.clone();
    let candidates = preset::candidates(desired, &mut diagnostics);
    let policies = security::policies(desired);
    let data = data_objects(desired, &mut diagnostics);
    let mut warnings = Warnings::on(node);
    let mut pods = Vec::with_capacity(desired.pods.len());
    let (budget, mut is_told, mut is_untold) = (Budget::default(), false, false);
    for (key, (object, pod)) in &desired.pods {
        // The namespace the pod is admitted to counts, whatever its metadata says.
        let presets = candidates.get(key.namespace.as_str()).unwrap_or(&NO_PRESETS);
        let written = Written { pod: pod.open(), packed: pod };
        let policy = policies.get(key.namespace.as_str()).unwrap_or(&NO_POLICY);
        let subject = Subject { object, root: "", presets, policy, budget: Some(&budget), node };
        let (admitted, rest) = admit_pod(key, (&subject, &data.accounts), written, &mut warnings);
        is_untold |= rest.is_untold;
        if rest.is_too_much && !std::mem::replace(&mut is_told, true) {
            diagnostics.0.push(preset::too_much(object));
        }
        pods.push((key.clone(), Arc::new(admitted)));
    }
    let mut audits = Diagnostics(warnings.audits());
    audits.sort();
    diagnostics.0.extend(warnings.diagnostics());
    diagnostics.sort();
    Admitted {
        revision: desired.revision.clone(),
        // All at once: a map that grows entry by entry is half empty.
        pods: pods.into_iter().collect(),
        data: Arc::new(data),
        objects: objects(desired),
        sources: sources(desired),
        unread: desired.unread.clone(),
        is_untold,
        audits,
        diagnostics,
    }
}

/// A pod as it was written, open and packed.
struct Written<'p> {
    pod: Pod,
    packed: &'p Packed<Pod>,
}

/// What concerns the revision as a whole.
struct Rest {
    /// Presets would have brought too much to the pod.
    is_too_much: bool,
    /// Where it runs depends on what nobody told of the machine.
    is_untold: bool,
}

/// The pod as admitted, and what else was found.
fn admit_pod<'a>(
    key: &PodKey,
    (subject, accounts): (&Subject<'_, 'a>, &Accounts),
    Written { pod, packed }: Written<'_>,
    warnings: &mut Warnings<'a>,
) -> (AdmittedPod, Rest) {
    let is_whole = pod.spec.is_some() && pod.status.is_none();
    let draft = chain::run(subject, pod.metadata, pod.spec.unwrap_or_default());
    warnings.collect(subject.object, &draft, &subject.presets.all);
    let rest = Rest { is_too_much: draft.is_too_much, is_untold: draft.is_untold };
    let (applied, skipped, provenance) = (draft.applied(), draft.skipped(), draft.provenance());
    let whole = |metadata, spec| Pod { metadata, spec: Some(spec), ..Pod::default() };
    let mut pod = whole(draft.metadata, draft.spec);
    // What no preset changed need not be kept twice.
    let spec = if applied.is_empty() && is_whole { packed.clone() } else { Packed::new(&pod) };
    pod.spec.iter_mut().for_each(chain::fill);
    // Another machine gives it what that one has to give.
    let is_here = draft.unplaced.as_ref().is_none_or(|unplaced| unplaced.outcome != Outcome::NotForThisMachine);
    if let Some(node) = subject.node.filter(|node| is_here && !node.limit_range.is_empty()) {
        warnings.refuse(limits::apply(subject, &mut pod, &node.limit_range));
    }
    if let Some(spec) = &mut pod.spec {
        account::give(key, &pod.metadata, accounts, spec);
    }
    let admitted = AdmittedPod {
        key: key.clone(),
        source: subject.object.source.clone(),
        effective: Packed::new(&pod),
        digest: digest::of_text(spec.text()),
        spec,
        applied,
        skipped,
        provenance,
        unplaced: draft.unplaced.map(Box::new),
        pending_resize: None,
    };
    (admitted, rest)
}

/// The ConfigMaps, Secrets and accounts of a revision.
fn data_objects(desired: &Desired, diagnostics: &mut Diagnostics) -> DataObjects {
    let mut data = DataObjects::default();
    for (key, object) in &desired.others {
        let name = (key.namespace.clone(), key.name.clone());
        match key.kind {
            Kind::ConfigMap => {
                if let Some(map) = typed::<ConfigMap>(object, diagnostics) {
                    data.config_maps.insert(name, Arc::new(map.into()));
                }
            }
            Kind::Secret => {
                if let Some(secret) = typed::<Secret>(object, diagnostics) {
                    data.secrets.insert(name, Arc::new(secret.into()));
                }
            }
            Kind::ServiceAccount => {
                if let Some(account) = typed::<ServiceAccount>(object, diagnostics) {
                    data.accounts.insert(name, account_of(account));
                }
            }
            Kind::Namespace | Kind::PodPreset | Kind::Pod | Kind::Node => {}
        }
    }
    data
}

fn account_of(account: ServiceAccount) -> Account {
    let secrets = account.image_pull_secrets.into_iter().flatten().map(|secret| secret.name);
    Account {
        uid: account.metadata.uid.filter(|uid| !uid.is_empty()),
        automount: account.automount_service_account_token,
        pull_secrets: secrets.collect(),
    }
}

/// The accounts alone, as far as they can be read.
fn accounts(desired: &Desired) -> Accounts {
    let all = desired.others.iter().filter(|(key, _)| key.kind == Kind::ServiceAccount);
    let read = all.filter_map(|(key, object)| {
        Some(((key.namespace.clone(), key.name.clone()), account_of(carried::<ServiceAccount>(object)?)))
    });
    read.collect()
}

/// The object as `T`. What does not fit is an error at the object; its text is not repeated, for it may be a Secret's.
fn typed<T: DeserializeOwned>(object: &DesiredObject, diagnostics: &mut Diagnostics) -> Option<T> {
    match carried::<T>(object) {
        Some(value) => Some(value),
        None => {
            diagnostics.0.push(Diagnostic {
                severity: Severity::Error,
                rule: "not-readable",
                message: format!("{} does not have the fields of its kind", object.key),
                help: Some("values of `data` in a Secret are base64; plain text goes into `stringData`".to_owned()),
                place: Some(place(object, "")),
                object: Some(object.key.clone()),
                field: None,
            });
            None
        }
    }
}

/// An object that is carried as JSON as `T`, if it fits.
fn carried<T: DeserializeOwned>(object: &DesiredObject) -> Option<T> {
    T::deserialize(object.value.as_deref()?).ok()
}

/// Every object of the revision that is no pod, as authored.
fn objects(desired: &Desired) -> BTreeMap<ObjectKey, Arc<serde_json::Value>> {
    let presets = desired.presets.values().map(|(object, _)| object);
    let named = |object: &DesiredObject| Some((object.key.clone(), Arc::clone(object.value.as_ref()?)));
    presets.chain(desired.others.values()).filter_map(named).collect()
}

/// Where every object that is no pod was written.
fn sources(desired: &Desired) -> BTreeMap<ObjectKey, SourceRef> {
    let presets = desired.presets.values().map(|(object, _)| object);
    presets.chain(desired.others.values()).map(|object| (object.key.clone(), object.source.clone())).collect()
}

/// Where a field of an object was written, by JSON pointer; the nearest place above it when it has none of its own.
fn source_of(object: &DesiredObject, pointer: &str) -> SourceRef {
    let mut pointer = pointer;
    while !pointer.is_empty() {
        if let Some((line, column)) = object.places.get(pointer) {
            return SourceRef { line, column, ..object.source.clone() };
        }
        pointer = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    object.source.clone()
}

/// The same as a place for a diagnostic. The text of the line is not known here: whoever shows it reads it by the place.
fn place(object: &DesiredObject, pointer: &str) -> Place {
    Place { at: source_of(object, pointer), text: Arc::from(""), width: 1 }
}
