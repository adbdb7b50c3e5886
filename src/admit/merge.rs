//! The merge itself: one whole new spec, or every conflict and nothing else.
//!
//! Facts of the last PodPreset admission (Kubernetes 1.15 to 1.19): all presets are merged together, against the pod and
//! against each other; an entry whose key is free is appended, an equal one is there already, any other is a conflict.
//! Containers, init containers and sidecars get everything, ephemeral containers nothing.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, PodSpec, Volume, VolumeMount};
use serde::Serialize;
use serde_json::Value;

use super::{defaults, source_of};
use crate::model::{ConflictSide, DesiredObject, PodPresetSpec, PresetConflict, SourceRef};

/// How much of a value a conflict shows, in characters.
const SHOWN: usize = 200;

/// How many conflicts of a pod are kept: one is enough for no preset to be merged, and a few lines of manifests can stand for
/// millions.
pub(super) const CONFLICTS: usize = 32;

/// Why nothing was merged.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) conflicts: Vec<PresetConflict>,
    /// There are more.
    pub(super) more: bool,
}

/// A preset to be merged.
#[derive(Clone, Copy)]
pub(super) struct Donor<'a> {
    pub(super) name: &'a str,
    pub(super) spec: &'a PodPresetSpec,
    pub(super) object: &'a DesiredObject,
}

/// An entry that a preset added.
pub(super) struct Added {
    /// In the pod, as a JSON pointer: `/spec/containers/0/env/2`.
    pub(super) pointer: String,
    /// Index of the preset among the donors.
    pub(super) donor: usize,
    /// In the preset, such as `/spec/env/0`.
    pub(super) source: String,
}

impl Added {
    /// The pointer as Kubernetes writes paths: `spec.containers[0].env[2]`.
    pub(super) fn field(&self) -> String {
        dotted(&self.pointer)
    }
}

/// A pointer of names and indexes as Kubernetes writes paths.
pub(super) fn dotted(pointer: &str) -> String {
    let mut field = String::with_capacity(pointer.len());
    for segment in pointer.split('/').filter(|segment| !segment.is_empty()) {
        if segment.bytes().all(|b| b.is_ascii_digit()) {
            field.extend(["[", segment, "]"]);
        } else {
            field.extend([if field.is_empty() { "" } else { "." }, segment]);
        }
    }
    field
}

/// A list of a container or a pod that presets add to, with what tells its entries apart.
struct ListRule<T> {
    /// The field's name in the pod's lists and in the preset alike.
    field: &'static str,
    /// Every key an entry occupies; an entry is appended when its first key is free.
    keys: fn(&T) -> Vec<Key>,
    /// The entry with defaults, for the comparison: both sides alike.
    normalise: fn(&T) -> T,
    wanted: fn(&PodPresetSpec) -> Option<&Vec<T>>,
    /// What a conflict shows of an entry as it was written: the members beside its name.
    shown: fn(&T) -> Value,
}

/// What an entry occupies. Keys of different kinds never meet.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Name(String),
    MountPath(String),
    /// Prefix, name of the ConfigMap and of the Secret: every field of an envFrom entry but `optional`.
    Source(String, String, String),
}

impl Key {
    /// As people read it.
    fn text(&self) -> String {
        match self {
            Key::Name(name) | Key::MountPath(name) => name.clone(),
            Key::Source(prefix, map, secret) => {
                let parts = [("prefix", prefix), ("configMapRef", map), ("secretRef", secret)];
                let told =
                    parts.iter().filter(|(_, text)| !text.is_empty()).map(|(what, text)| format!("{what} {text}"));
                told.collect::<Vec<_>>().join(", ")
            }
        }
    }
}

const ENV: ListRule<EnvVar> = ListRule {
    field: "env",
    keys: |v| vec![Key::Name(v.name.clone())],
    normalise: defaults::env_var,
    wanted: |p| p.env.as_ref(),
    shown: |v| v.value_from.as_ref().map_or_else(|| Value::from(v.value.as_deref().unwrap_or_default()), json),
};

const ENV_FROM: ListRule<EnvFromSource> = ListRule {
    field: "envFrom",
    keys: |s| vec![env_from_key(s)],
    normalise: defaults::env_from,
    wanted: |p| p.env_from.as_ref(),
    shown: json,
};

const VOLUME_MOUNTS: ListRule<VolumeMount> = ListRule {
    field: "volumeMounts",
    keys: |m| vec![Key::Name(m.name.clone()), Key::MountPath(m.mount_path.clone())],
    normalise: defaults::volume_mount,
    wanted: |p| p.volume_mounts.as_ref(),
    shown: json,
};

const VOLUMES: ListRule<Volume> = ListRule {
    field: "volumes",
    keys: |v| vec![Key::Name(v.name.clone())],
    normalise: defaults::volume,
    wanted: |p| p.volumes.as_ref(),
    shown: |v| {
        let mut value = json(v);
        value.as_object_mut().and_then(|members| members.shift_remove("name"));
        value
    },
};

fn env_from_key(source: &EnvFromSource) -> Key {
    let prefix = source.prefix.clone().unwrap_or_default();
    let map = source.config_map_ref.as_ref().map_or_else(String::new, |r| r.name.clone());
    let secret = source.secret_ref.as_ref().map_or_else(String::new, |r| r.name.clone());
    Key::Source(prefix, map, secret)
}

/// Serialising k8s-openapi types cannot fail: their maps have text keys.
fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// Merges all of `donors` into `spec`, or returns the conflicts. `at` says where a field of the pod was written.
pub(super) fn merge(
    spec: &PodSpec,
    donors: &[Donor<'_>],
    at: &dyn Fn(&str) -> SourceRef,
) -> Result<(PodSpec, Vec<Added>), Refused> {
    let mut merger = Merger { donors, at, added: Vec::new(), conflicts: Vec::new(), more: false };
    let mut merged = spec.clone();
    merger.list(&VOLUMES, "/spec", &mut merged.volumes);
    for (index, container) in merged.containers.iter_mut().enumerate() {
        merger.container(&format!("/spec/containers/{index}"), container);
    }
    for (index, container) in merged.init_containers.iter_mut().flatten().enumerate() {
        merger.container(&format!("/spec/initContainers/{index}"), container);
    }
    let Merger { added, conflicts, more, .. } = merger;
    if conflicts.is_empty() { Ok((merged, added)) } else { Err(Refused { conflicts, more }) }
}

struct Merger<'a> {
    donors: &'a [Donor<'a>],
    at: &'a dyn Fn(&str) -> SourceRef,
    added: Vec<Added>,
    conflicts: Vec<PresetConflict>,
    /// There are more conflicts than are kept, and nothing more is looked at.
    more: bool,
}

/// Who holds a key, and with what.
struct Holder<T> {
    /// A preset; the pod itself when there is none.
    donor: Option<usize>,
    /// Index of the entry in its owner's list.
    index: usize,
    entry: T,
}

impl Merger<'_> {
    fn container(&mut self, path: &str, container: &mut Container) {
        self.list(&ENV, path, &mut container.env);
        self.list(&ENV_FROM, path, &mut container.env_from);
        self.list(&VOLUME_MOUNTS, path, &mut container.volume_mounts);
    }

    fn list<T: Clone + PartialEq>(&mut self, rule: &ListRule<T>, path: &str, list: &mut Option<Vec<T>>) {
        if self.more {
            return;
        }
        let mut held: BTreeMap<Key, Holder<T>> = BTreeMap::new();
        for (index, entry) in list.iter().flatten().enumerate() {
            for key in (rule.keys)(entry) {
                held.insert(key, Holder { donor: None, index, entry: (rule.normalise)(entry) });
            }
        }
        let own = list.as_ref().map_or(0, Vec::len);
        for (donor, preset) in self.donors.iter().enumerate() {
            for (index, wanted) in (rule.wanted)(preset.spec).into_iter().flatten().enumerate() {
                let entry = (rule.normalise)(wanted);
                for (position, key) in (rule.keys)(wanted).into_iter().enumerate() {
                    let Some(holder) = held.get(&key) else {
                        if position == 0 {
                            let list = list.get_or_insert_default();
                            let pointer = format!("{path}/{}/{}", rule.field, list.len());
                            self.added.push(Added { pointer, donor, source: format!("/spec/{}/{index}", rule.field) });
                            list.push(wanted.clone());
                        }
                        held.insert(key, Holder { donor: Some(donor), index, entry: entry.clone() });
                        continue;
                    };
                    if holder.entry != entry {
                        if self.conflicts.len() == CONFLICTS {
                            self.more = true;
                            return;
                        }
                        let own = list.as_ref().and_then(|list| list.get(..own)).unwrap_or_default();
                        let existing = self.side(rule, (path, own), (holder.donor, holder.index));
                        let wanted = self.side(rule, (path, own), (Some(donor), index));
                        let field = format!("{}.{}[{}]", dotted(path), rule.field, key.text());
                        self.conflicts.push(PresetConflict { field, key: key.text(), existing, wanted });
                    }
                }
            }
        }
    }

    /// An entry of the pod's own list at `path`, or of a preset's, as one side of a conflict.
    fn side<T>(
        &self,
        rule: &ListRule<T>,
        (path, own): (&str, &[T]),
        (donor, index): (Option<usize>, usize),
    ) -> ConflictSide {
        let field = rule.field;
        let (preset, entry, at) = match donor.map(|index| &self.donors[index]) {
            Some(donor) => {
                let list = (rule.wanted)(donor.spec).map_or(&[][..], Vec::as_slice);
                let at = source_of(donor.object, &format!("/spec/{field}/{index}"));
                (Some(donor.name.to_owned()), list.get(index), at)
            }
            None => (None, own.get(index), (self.at)(&format!("{path}/{field}/{index}"))),
        };
        let value = shown(&entry.map_or(Value::Null, rule.shown));
        ConflictSide { preset, value, at }
    }
}

/// Compact JSON, cut to [`SHOWN`] characters.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
