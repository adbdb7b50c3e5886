//! Pods that only changed their name: one that goes and one that comes with the same content.
//!
//! To Kubernetes a name is all a pod is known by, so a rename is a deletion and a creation; telling that they belong
//! together spares the reader of a plan the search. Paired are pods of one namespace
//! 1. that are equal but for the name,
//! 2. whose specs are equal: labels or annotations were renamed along,
//! 3. whose containers have the same names and images, when no third pod has them too.
//!
//! Equal candidates are paired in the order of their names, so the same two revisions always give the same pairs.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::model::{AdmittedPod, FleetAction, ObservedPod, PodKey, Reason, Rename};

/// What is compared: a text that is equal for pods of one kind, and whether it must belong to one pair alone.
type Likeness = (fn(Pod) -> String, bool);

const LIKENESSES: [Likeness; 3] = [(without_name, false), (spec_alone, false), (containers_alone, true)];

/// The removals and additions that belong together, by the old name.
pub(super) fn pair(actions: &[FleetAction], observed: &BTreeMap<&PodKey, &ObservedPod>) -> Vec<Rename> {
    let mut gone: Vec<&AdmittedPod> = Vec::new();
    let mut new: Vec<&AdmittedPod> = Vec::new();
    for action in actions {
        match action {
            FleetAction::Remove { key, reason: Reason::PodRemoved } => {
                gone.extend(observed.get(key).map(|pod| &*pod.record.realised))
            }
            FleetAction::Apply { pod, reason: Reason::PodAdded } if !observed.contains_key(&pod.key) => new.push(pod),
            // One that goes for being another machine's is still in the manifests.
            FleetAction::Apply { .. } | FleetAction::Remove { .. } => {}
        }
    }
    let mut renames = Vec::new();
    for likeness in LIKENESSES {
        if gone.is_empty() || new.is_empty() {
            break;
        }
        round(likeness, (&mut gone, &mut new), &mut renames);
    }
    renames.sort();
    renames
}

fn round((likeness, alone): Likeness, sides: (&mut Vec<&AdmittedPod>, &mut Vec<&AdmittedPod>), out: &mut Vec<Rename>) {
    let (gone, new) = sides;
    let mut groups: BTreeMap<(&str, String), [Vec<&PodKey>; 2]> = BTreeMap::new();
    for (side, pods) in [&*gone, &*new].into_iter().enumerate() {
        for pod in pods {
            groups.entry((&pod.key.namespace, likeness(pod.spec.open()))).or_default()[side].push(&pod.key);
        }
    }
    let pairs = |[from, to]: [Vec<&PodKey>; 2]| -> Vec<Rename> {
        if alone && (from.len() > 1 || to.len() > 1) {
            return Vec::new();
        }
        from.into_iter().zip(to).map(|(from, to)| Rename { from: from.clone(), to: to.clone() }).collect()
    };
    let found: Vec<Rename> = groups.into_values().flat_map(pairs).collect();
    let paired: BTreeSet<&PodKey> = found.iter().flat_map(|rename| [&rename.from, &rename.to]).collect();
    gone.retain(|pod| !paired.contains(&pod.key));
    new.retain(|pod| !paired.contains(&pod.key));
    out.extend(found);
}

fn without_name(mut pod: Pod) -> String {
    pod.metadata.name = None;
    text(&pod)
}

fn spec_alone(pod: Pod) -> String {
    text(&pod.spec)
}

fn containers_alone(pod: Pod) -> String {
    let spec = pod.spec.iter();
    let containers = spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    text(&containers.map(|c| (&c.name, &c.image)).collect::<Vec<_>>())
}

/// Maps of k8s-openapi are sorted, so equal values have equal texts.
fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).as_ref().map_or_else(|_| String::new(), Value::to_string)
}
