//! PodPresets: which ones match a pod, and all of them merged or none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use k8s_openapi::api::core::v1::PodSpec;

use super::chain::{Draft, Subject};
use super::merge::{self, Donor};
use super::{digest, place, selector, source_of};
use crate::model::{
    APPLIED_PRESET_PREFIX, AppliedPreset, ConflictSide, Desired, DesiredObject, Diagnostic, Diagnostics,
    EXCLUDE_PRESETS, FieldOrigin, MIRROR_POD, Origin, PodPreset, PodPresetSpec, Severity, SkippedPreset,
};

/// A preset of a namespace, with its content's digest.
pub(super) struct Candidate<'a> {
    pub(super) object: &'a DesiredObject,
    pub(super) preset: &'a PodPreset,
    pub(super) version: String,
}

impl Candidate<'_> {
    pub(super) fn name(&self) -> &str {
        &self.object.key.name
    }

    /// Whether its selector matches these labels.
    pub(super) fn selects(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        selector::matches(&self.preset.spec.selector, labels.unwrap_or(&BTreeMap::new()))
    }
}

/// The presets of a namespace, sorted by name.
#[derive(Default)]
pub(super) struct Presets<'a> {
    pub(super) all: Vec<Candidate<'a>>,
    /// By a label that pods must have, indexes into `all`: of many presets and pods most need not be compared.
    by_label: BTreeMap<(&'a str, &'a str), Vec<usize>>,
    /// Those without such a label.
    without_label: Vec<usize>,
}

/// Those of a namespace that has none.
pub(super) static NO_PRESETS: Presets<'static> =
    Presets { all: Vec::new(), by_label: BTreeMap::new(), without_label: Vec::new() };

impl<'a> Presets<'a> {
    /// Adds the next one by name.
    pub(super) fn push(&mut self, candidate: Candidate<'a>) {
        let label = candidate.preset.spec.selector.match_labels.iter().flatten().next();
        let indexes = match label {
            Some((key, value)) => self.by_label.entry((key, value)).or_default(),
            None => &mut self.without_label,
        };
        indexes.push(self.all.len());
        self.all.push(candidate);
    }

    /// Those whose selectors match these labels.
    pub(super) fn matching(&self, labels: Option<&BTreeMap<String, String>>) -> Vec<&Candidate<'a>> {
        let by_label = labels.into_iter().flatten().filter_map(|(key, value)| self.by_label.get(&(&**key, &**value)));
        let mut indexes: Vec<usize> = by_label.chain([&self.without_label]).flatten().copied().collect();
        indexes.sort_unstable();
        indexes.into_iter().map(|index| &self.all[index]).filter(|candidate| candidate.selects(labels)).collect()
    }
}

/// The presets of each namespace. One whose selector cannot be parsed is an error: Kubernetes would reject every pod of its
/// namespace.
pub(super) fn candidates<'a>(desired: &'a Desired, diagnostics: &mut Diagnostics) -> BTreeMap<&'a str, Presets<'a>> {
    let mut by_namespace: BTreeMap<&str, Presets<'_>> = BTreeMap::new();
    for (key, (object, preset)) in &desired.presets {
        for (index, message) in selector::problems(&preset.spec.selector) {
            let pointer = format!("/spec/selector/matchExpressions/{index}");
            diagnostics.0.push(Diagnostic {
                severity: Severity::Error,
                rule: "preset-selector",
                message,
                help: Some("while a selector cannot be read, no pod of its namespace can be admitted".to_owned()),
                place: Some(place(object, &pointer)),
                object: Some(key.clone()),
                field: Some(format!("spec.selector.matchExpressions[{index}]")),
            });
        }
        // The order of the map is that of kind, namespace and name.
        let version = digest::of(&preset.spec)[..16].to_owned();
        by_namespace.entry(&key.namespace).or_default().push(Candidate { object, preset, version });
    }
    by_namespace
}

/// How many entries presets may bring to the containers of all pods of a revision: a few lines can stand for any number, and
/// as many take seconds.
const ENTRIES: u64 = 2_000_000;

/// What merging may still cost in a revision.
pub(super) struct Budget {
    left: AtomicU64,
    is_spent: AtomicBool,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: AtomicU64::new(ENTRIES), is_spent: AtomicBool::new(false) }
    }
}

impl Budget {
    /// Whether these presets may be merged into a pod; what they bring is counted.
    fn allows(&self, presets: &[&Candidate<'_>], spec: &PodSpec) -> bool {
        let containers = (spec.containers.len() + spec.init_containers.iter().flatten().count()) as u64;
        let entries: u64 = presets.iter().map(|candidate| entries(&candidate.preset.spec, containers)).sum();
        let counted = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(entries));
        self.is_spent.fetch_or(counted.is_err(), Ordering::Relaxed);
        counted.is_ok()
    }

    /// Whether something was not allowed.
    pub(super) fn is_spent(&self) -> bool {
        self.is_spent.load(Ordering::Relaxed)
    }
}

/// How many entries a preset brings to a pod with so many containers.
fn entries(preset: &PodPresetSpec, containers: u64) -> u64 {
    let of_each = preset.env.iter().flatten().count()
        + preset.env_from.iter().flatten().count()
        + preset.volume_mounts.iter().flatten().count();
    preset.volumes.iter().flatten().count() as u64 + of_each as u64 * containers
}

/// The error of the first pod that is too much.
pub(super) fn too_much(object: &DesiredObject) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        rule: "too-large",
        message: format!("up to this pod PodPresets bring more than {ENTRIES} entries to containers"),
        help: Some("divide the pods among several directories, or make the selectors match fewer of them".to_owned()),
        place: Some(place(object, "")),
        object: Some(object.key.clone()),
        field: None,
    }
}

/// Step: the presets that match. A mirror pod and an excluded one get none.
pub(super) fn select<'a>(subject: &Subject<'_, 'a>, draft: &mut Draft<'a>) {
    let annotations = draft.metadata.annotations.as_ref();
    let annotation = |key: &str| annotations.and_then(|map| map.get(key));
    if annotation(MIRROR_POD).is_some() || annotation(EXCLUDE_PRESETS).is_some_and(|value| value == "true") {
        return;
    }
    let labels = draft.metadata.labels.as_ref();
    draft.matching = subject.presets.matching(labels);
}

/// Step: none of them where they bring more than a revision may take.
pub(super) fn bound<'a>(subject: &Subject<'_, 'a>, draft: &mut Draft<'a>) {
    draft.is_too_much = subject.budget.is_some_and(|budget| !budget.allows(&draft.matching, &draft.spec));
    if draft.is_too_much {
        draft.matching.clear();
    }
}

/// Step: every matching preset, or with any conflict none of them, and then the spec stays as it is.
pub(super) fn merge<'a>(subject: &Subject<'_, 'a>, draft: &mut Draft<'a>) {
    if draft.matching.is_empty() {
        return;
    }
    let donors: Vec<Donor<'_>> =
        draft.matching.iter().map(|c| Donor { name: c.name(), spec: &c.preset.spec, object: c.object }).collect();
    match merge::merge(&draft.spec, &donors, &|pointer| subject.at(pointer)) {
        Ok((spec, added)) => (draft.spec, draft.added) = (spec, added),
        Err(refused) => (draft.conflicts, draft.more_conflicts) = (refused.conflicts, refused.more),
    }
}

/// Step: an annotation for each preset that was merged.
pub(super) fn mark<'a>(_: &Subject<'_, 'a>, draft: &mut Draft<'a>) {
    if draft.conflicts.is_empty() && !draft.matching.is_empty() {
        let annotations = draft.metadata.annotations.get_or_insert_default();
        annotations.extend(draft.matching.iter().map(|c| (annotation_of(c.name()), c.version.clone())));
    }
}

/// The annotation that says that a preset was merged.
fn annotation_of(preset: &str) -> String {
    format!("{APPLIED_PRESET_PREFIX}{preset}")
}

impl Draft<'_> {
    /// The presets that were merged.
    pub(super) fn applied(&self) -> Vec<AppliedPreset> {
        let merged = if self.conflicts.is_empty() { self.matching.as_slice() } else { &[] };
        merged.iter().map(|c| AppliedPreset { name: c.name().to_owned(), version: c.version.clone() }).collect()
    }

    /// Whether a JSON pointer leads to the annotation of a preset that was merged.
    pub(super) fn is_mark(&self, pointer: &str) -> bool {
        let name =
            |annotation: &str| annotation.replace("~1", "/").strip_prefix(APPLIED_PRESET_PREFIX).map(str::to_owned);
        let name = pointer.strip_prefix("/metadata/annotations/").and_then(name);
        name.is_some_and(|name| self.conflicts.is_empty() && self.matching.iter().any(|c| c.name() == name))
    }

    /// Every matching preset with why it was not merged. A conflict is listed with the preset that could not be merged.
    pub(super) fn skipped(&self) -> Vec<SkippedPreset> {
        let told = if self.conflicts.is_empty() { &[] } else { self.matching.as_slice() };
        told.iter()
            .map(|candidate| {
                let name = candidate.name();
                let is = |side: &ConflictSide| side.preset.as_deref() == Some(name);
                let part = self.conflicts.iter().filter(|c| is(&c.wanted) || is(&c.existing));
                let reason = match (part.clone().next(), part.count()) {
                    (None, _) => format!("PodPreset {} matches too and conflicts", self.culprits().join(", ")),
                    (Some(first), count) if self.more_conflicts => {
                        format!("{count} conflicts or more, the first: {first}")
                    }
                    (Some(first), 1) => format!("conflict: {first}"),
                    (Some(first), count) => format!("{count} conflicts, the first: {first}"),
                };
                let conflicts = self.conflicts.iter().filter(|c| is(&c.wanted)).cloned().collect();
                SkippedPreset { name: name.to_owned(), reason, conflicts }
            })
            .collect()
    }

    /// The presets that could not be merged.
    fn culprits(&self) -> Vec<&str> {
        let names: BTreeSet<&str> = self.conflicts.iter().filter_map(|c| c.wanted.preset.as_deref()).collect();
        names.into_iter().collect()
    }

    /// Where every entry that was not authored comes from.
    pub(super) fn provenance(&self) -> Vec<FieldOrigin> {
        let added = self.added.iter().map(|added| {
            let donor = self.matching[added.donor];
            let at = source_of(donor.object, &added.source);
            FieldOrigin { field: added.field(), origin: Origin::Preset { name: donor.name().to_owned(), at } }
        });
        let marks = self.applied().into_iter().map(|applied| {
            let field = format!("metadata.annotations[{}]", annotation_of(&applied.name));
            FieldOrigin { field, origin: Origin::Admission }
        });
        added.chain(marks).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::model::{Kind, ObjectKey, SourceRef};

    #[test]
    fn what_presets_bring_is_counted_for_each_container() {
        let list = |count: usize| (0..count).map(|index| json!({"name": index.to_string()})).collect::<Vec<_>>();
        let preset: PodPresetSpec = serde_json::from_value(json!({
            "env": list(5), "envFrom": [{}, {}], "volumeMounts": [{"name": "v", "mountPath": "/v"}], "volumes": list(3),
        }))
        .unwrap();
        assert_eq!(entries(&preset, 0), 3);
        assert_eq!(entries(&preset, 4), 3 + 4 * (5 + 2 + 1));
    }
    #[test]
    fn presets_are_found_as_if_each_were_asked() {
        let selectors = [
            json!({}),
            json!({"matchLabels": {"a": "1"}}),
            json!({"matchLabels": {}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}),
            json!({"matchLabels": {"a": "1", "b": "2"}}),
            json!({"matchLabels": {"b": "2"}, "matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}),
            json!({"matchLabels": {"a": "2"}}),
        ];
        let preset = |selector: &serde_json::Value| -> PodPreset {
            serde_json::from_value(json!({"spec": {"selector": selector}})).unwrap()
        };
        let written: Vec<(DesiredObject, PodPreset)> = selectors.iter().map(|s| (object(), preset(s))).collect();
        let mut presets = Presets::default();
        for (object, preset) in &written {
            presets.push(Candidate { object, preset, version: String::new() });
        }
        let label_sets =
            [json!(null), json!({}), json!({"a": "1"}), json!({"b": "2"}), json!({"a": "1", "b": "2", "c": ""})];
        for (labels, expected) in label_sets.iter().zip([1, 1, 2, 3, 4]) {
            let labels: Option<BTreeMap<String, String>> = serde_json::from_value(labels.clone()).unwrap();
            let preset = |candidate: &Candidate<'_>| std::ptr::from_ref(candidate.preset);
            let asked: Vec<_> = presets.all.iter().filter(|c| c.selects(labels.as_ref())).map(preset).collect();
            let found: Vec<_> = presets.matching(labels.as_ref()).into_iter().map(preset).collect();
            assert_eq!((&found, found.len()), (&asked, expected), "{labels:?}");
        }
    }

    fn object() -> DesiredObject {
        let key = ObjectKey { kind: Kind::PodPreset, namespace: "default".into(), name: "p".into() };
        let source = SourceRef { path: Arc::from("p.yaml"), document: 0, line: 1, column: 1 };
        DesiredObject { key, source, value: None, places: Arc::default() }
    }
}
