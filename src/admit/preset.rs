//! PodPresets: which ones match a pod, and all of them merged or none.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::merge::{self, Donor};
use super::{digest, place, selector, source_of};
use crate::model::{
    AppliedPreset, Desired, DesiredObject, Diagnostic, Diagnostics, FieldOrigin, Origin, PodKey, PodPreset,
    PresetConflict, Severity, SkippedPreset,
};

/// Put on a pod, one per preset that was merged; the preset's name follows.
const APPLIED_PREFIX: &str = "podpreset.admission.kubernetes.io/podpreset-";
/// A pod with this annotation set to exactly `true` gets no preset.
const EXCLUDE: &str = "podpreset.admission.kubernetes.io/exclude";
/// A pod with this annotation, whatever its value, mirrors a static pod and gets no preset.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// The name part of an annotation key has at most 63 characters, of which `podpreset-` takes 10.
const LONGEST_NAME: usize = 53;

/// A preset of a namespace, with its content's digest.
pub(super) struct Candidate<'a> {
    pub(super) object: &'a DesiredObject,
    pub(super) preset: &'a PodPreset,
    pub(super) version: String,
}

impl Candidate<'_> {
    fn name(&self) -> &str {
        &self.object.key.name
    }
}

/// What became of a pod.
pub(super) struct Outcome {
    pub(super) pod: Pod,
    pub(super) applied: Vec<AppliedPreset>,
    pub(super) skipped: Vec<SkippedPreset>,
    pub(super) provenance: Vec<FieldOrigin>,
}

/// The presets of each namespace, sorted by name. One whose selector cannot be parsed is an error: Kubernetes would
/// reject every pod of its namespace.
pub(super) fn candidates<'a>(
    desired: &'a Desired,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<&'a str, Vec<Candidate<'a>>> {
    let mut by_namespace: BTreeMap<&str, Vec<Candidate<'_>>> = BTreeMap::new();
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
        let version = digest::of(&preset.spec)[..16].to_owned();
        by_namespace.entry(&key.namespace).or_default().push(Candidate { object, preset, version });
    }
    for list in by_namespace.values_mut() {
        list.sort_by(|a, b| a.name().cmp(b.name()));
    }
    by_namespace
}

/// Merges every matching preset into the pod. With any conflict none is merged and the pod stays as it is.
pub(super) fn apply(pod: &Pod, candidates: &[Candidate<'_>]) -> Outcome {
    let matching: Vec<&Candidate<'_>> = candidates.iter().filter(|c| is_meant_for(c.preset, pod)).collect();
    let untouched = |skipped| Outcome { pod: pod.clone(), applied: vec![], skipped, provenance: vec![] };
    let Some(spec) = pod.spec.as_ref().filter(|_| !matching.is_empty() && takes_presets(pod)) else {
        return untouched(vec![]);
    };
    let donors: Vec<Donor<'_>> = matching.iter().map(|c| Donor { name: c.name(), spec: &c.preset.spec }).collect();
    let (spec, added) = match merge::merge(spec, &donors) {
        Ok(merged) => merged,
        Err(conflicts) => return untouched(skipped(&matching, &conflicts)),
    };
    let mut merged = Pod { spec: Some(spec), ..pod.clone() };
    let mut provenance: Vec<FieldOrigin> = added
        .into_iter()
        .map(|a| {
            let donor = matching[a.donor];
            let at = source_of(donor.object, &a.pointer);
            FieldOrigin { field: a.field, origin: Origin::Preset { name: donor.name().to_owned(), at } }
        })
        .collect();
    let annotations = merged.metadata.annotations.get_or_insert_default();
    let mut applied = Vec::new();
    for candidate in &matching {
        let annotation = format!("{APPLIED_PREFIX}{}", candidate.name());
        provenance
            .push(FieldOrigin { field: format!("metadata.annotations[{annotation}]"), origin: Origin::Admission });
        annotations.insert(annotation, candidate.version.clone());
        applied.push(AppliedPreset { name: candidate.name().to_owned(), version: candidate.version.clone() });
    }
    Outcome { pod: merged, applied, skipped: vec![], provenance }
}

fn takes_presets(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    let has = |key: &str| annotations.and_then(|a| a.get(key));
    has(MIRROR).is_none() && has(EXCLUDE).is_none_or(|v| v != "true")
}

fn is_meant_for(preset: &PodPreset, pod: &Pod) -> bool {
    let none = BTreeMap::new();
    selector::matches(&preset.spec.selector, pod.metadata.labels.as_ref().unwrap_or(&none))
}

/// Every matching preset with why it was not merged: its own conflicts, or those of the others.
fn skipped(matching: &[&Candidate<'_>], conflicts: &[PresetConflict]) -> Vec<SkippedPreset> {
    let mut culprits: Vec<&str> = conflicts.iter().map(|c| c.preset.as_str()).collect();
    culprits.dedup();
    culprits.sort_unstable();
    culprits.dedup();
    matching
        .iter()
        .map(|candidate| {
            let own: Vec<PresetConflict> = conflicts.iter().filter(|c| c.preset == candidate.name()).cloned().collect();
            let reason = match own.first() {
                Some(first) => format!("conflict on {}: {}", first.field, first.message),
                None => format!("PodPreset {} matches too and conflicts", culprits.join(", ")),
            };
            SkippedPreset { name: candidate.name().to_owned(), reason, conflicts: own }
        })
        .collect()
}

/// What the pod's author should hear: one warning per conflict, and an error for a preset whose annotation would not be
/// a valid one.
pub(super) fn diagnose(
    key: &PodKey,
    object: &DesiredObject,
    outcome: &Outcome,
    candidates: &[Candidate<'_>],
) -> Vec<Diagnostic> {
    let find = |name: &str| candidates.iter().find(|c| c.name() == name);
    let mut found = Vec::new();
    for conflict in outcome.skipped.iter().flat_map(|s| &s.conflicts) {
        found.push(Diagnostic {
            severity: Severity::Warning,
            rule: "preset-conflict",
            message: format!(
                "no PodPreset is merged into pod {key}: {} conflicts on {}: {}",
                conflict.preset, conflict.field, conflict.message
            ),
            help: Some(format!("make both sides equal, or exclude the pod with the annotation {EXCLUDE}: \"true\"")),
            place: Some(place(object, &pointer_of(&conflict.field))),
            object: Some(key.object()),
            field: Some(conflict.field.clone()),
        });
    }
    for applied in outcome.applied.iter().filter(|a| a.name.chars().count() > LONGEST_NAME) {
        let candidate = find(&applied.name);
        found.push(Diagnostic {
            severity: Severity::Error,
            rule: "preset-name-length",
            message: format!(
                "the name of PodPreset {} is longer than {LONGEST_NAME} characters: its annotation on pod {key} would be \
                 invalid",
                applied.name
            ),
            help: Some("give the preset a shorter name".to_owned()),
            place: candidate.map(|c| place(c.object, "/metadata/name")),
            object: candidate.map(|c| c.object.key.clone()),
            field: Some("metadata.name".to_owned()),
        });
    }
    found
}

/// The list a conflict is about as a JSON pointer: `spec.containers[0].env[X]` → `/spec/containers/0/env`.
fn pointer_of(field: &str) -> String {
    let lists = [".env[", ".envFrom[", ".volumeMounts[", ".volumes["];
    // The key in the brackets may hold anything, so the list's name is searched from the front.
    let end = lists.iter().filter_map(|list| field.find(list).map(|at| at + list.len() - 1)).min();
    let path = end.and_then(|end| field.get(..end)).unwrap_or(field);
    format!("/{}", path.replace(['.', '['], "/").replace(']', ""))
}
