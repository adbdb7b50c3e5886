//! The merge itself: one whole new spec, or every conflict and nothing else.
//!
//! Facts of the last PodPreset admission (Kubernetes 1.15 to 1.19): all presets are merged together, against the pod and
//! against each other; an entry whose key is free is appended, an equal one is there already, any other is a conflict.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, PodSpec, Volume, VolumeMount};
use serde::Serialize;

use super::defaults;
use crate::model::{PodPresetSpec, PresetConflict};

/// How much of a value a conflict's message shows, in characters.
const SHOWN: usize = 200;

/// A preset to be merged.
#[derive(Clone, Copy)]
pub(super) struct Donor<'a> {
    pub(super) name: &'a str,
    pub(super) spec: &'a PodPresetSpec,
}

/// A field a preset added.
pub(super) struct Added {
    /// In the pod, such as `spec.containers[0].env[2]`.
    pub(super) field: String,
    /// Index of the preset among the donors.
    pub(super) donor: usize,
    /// In the preset, such as `/spec/env/0`.
    pub(super) pointer: String,
}

/// A list of a container or a pod that presets add to, with what tells its entries apart.
struct ListRule<T> {
    /// The field's name in the pod's lists and in the preset alike.
    field: &'static str,
    /// Every key an entry occupies; an entry is appended when its first key is free.
    keys: fn(&T) -> Vec<String>,
    /// The entry with defaults, for the comparison: both sides alike.
    normalise: fn(&T) -> T,
    wanted: fn(&PodPresetSpec) -> Option<&Vec<T>>,
}

const ENV: ListRule<EnvVar> =
    ListRule { field: "env", keys: |v| vec![v.name.clone()], normalise: defaults::env_var, wanted: |p| p.env.as_ref() };

const ENV_FROM: ListRule<EnvFromSource> = ListRule {
    field: "envFrom",
    keys: |s| vec![env_from_key(s)],
    normalise: defaults::env_from,
    wanted: |p| p.env_from.as_ref(),
};

const VOLUME_MOUNTS: ListRule<VolumeMount> = ListRule {
    field: "volumeMounts",
    // A name has no `:`, so the two kinds of key cannot meet.
    keys: |m| vec![m.name.clone(), format!("mountPath:{}", m.mount_path)],
    normalise: defaults::volume_mount,
    wanted: |p| p.volume_mounts.as_ref(),
};

const VOLUMES: ListRule<Volume> = ListRule {
    field: "volumes",
    keys: |v| vec![v.name.clone()],
    normalise: defaults::volume,
    wanted: |p| p.volumes.as_ref(),
};

/// Every field of an envFrom entry but `optional`.
pub(super) fn env_from_key(source: &EnvFromSource) -> String {
    let prefix = source.prefix.as_deref().unwrap_or_default();
    let map = source.config_map_ref.as_ref().map_or("", |r| r.name.as_str());
    let secret = source.secret_ref.as_ref().map_or("", |r| r.name.as_str());
    // A prefix may hold any printable character; quoting keeps the parts apart.
    format!("{prefix:?}/{map:?}/{secret:?}")
}

/// Merges all of `donors` into `spec`, or returns every conflict.
pub(super) fn merge(spec: &PodSpec, donors: &[Donor<'_>]) -> Result<(PodSpec, Vec<Added>), Vec<PresetConflict>> {
    let mut merger = Merger { donors, added: Vec::new(), conflicts: Vec::new() };
    let mut merged = spec.clone();
    merger.list(&VOLUMES, "spec", &mut merged.volumes);
    for (index, container) in merged.containers.iter_mut().enumerate() {
        merger.container(&format!("spec.containers[{index}]"), container);
    }
    for (index, container) in merged.init_containers.iter_mut().flatten().enumerate() {
        merger.container(&format!("spec.initContainers[{index}]"), container);
    }
    if merger.conflicts.is_empty() { Ok((merged, merger.added)) } else { Err(merger.conflicts) }
}

struct Merger<'a> {
    donors: &'a [Donor<'a>],
    added: Vec<Added>,
    conflicts: Vec<PresetConflict>,
}

/// Who holds a key, and with what.
struct Holder<T> {
    donor: Option<usize>,
    entry: T,
}

impl Merger<'_> {
    fn container(&mut self, path: &str, container: &mut Container) {
        self.list(&ENV, path, &mut container.env);
        self.list(&ENV_FROM, path, &mut container.env_from);
        self.list(&VOLUME_MOUNTS, path, &mut container.volume_mounts);
    }

    fn list<T: Clone + PartialEq + Serialize>(&mut self, rule: &ListRule<T>, path: &str, list: &mut Option<Vec<T>>) {
        let mut held: BTreeMap<String, Holder<T>> = BTreeMap::new();
        for entry in list.iter().flatten() {
            for key in (rule.keys)(entry) {
                held.insert(key, Holder { donor: None, entry: (rule.normalise)(entry) });
            }
        }
        for (donor, preset) in self.donors.iter().enumerate() {
            for (index, wanted) in (rule.wanted)(preset.spec).into_iter().flatten().enumerate() {
                let entry = (rule.normalise)(wanted);
                for (position, key) in (rule.keys)(wanted).into_iter().enumerate() {
                    match held.get(&key) {
                        None if position == 0 => {
                            let list = list.get_or_insert_default();
                            let field = format!("{path}.{}[{}]", rule.field, list.len());
                            self.added.push(Added { field, donor, pointer: format!("/spec/{}/{index}", rule.field) });
                            list.push(wanted.clone());
                            held.insert(key, Holder { donor: Some(donor), entry: entry.clone() });
                        }
                        None => {
                            held.insert(key, Holder { donor: Some(donor), entry: entry.clone() });
                        }
                        Some(holder) if holder.entry == entry => {}
                        Some(holder) => {
                            let label = key.strip_prefix("mountPath:").unwrap_or(&key);
                            self.conflicts.push(PresetConflict {
                                preset: preset.name.to_owned(),
                                field: format!("{path}.{}[{label}]", rule.field),
                                message: self.describe(holder, &entry),
                            });
                        }
                    }
                }
            }
        }
    }

    fn describe<T: Serialize>(&self, holder: &Holder<T>, wanted: &T) -> String {
        let owner = match holder.donor.and_then(|index| self.donors.get(index)) {
            Some(donor) => format!("PodPreset {}", donor.name),
            None => "the pod".to_owned(),
        };
        format!("{owner} has {}, the preset wants {}", shown(&holder.entry), shown(wanted))
    }
}

/// Compact JSON, cut to [`SHOWN`] characters.
fn shown<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
