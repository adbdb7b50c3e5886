//! What the authors of pods and presets hear of admission: each problem once at every place it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, PodSpec, VolumeMount};

use super::chain::Draft;
use super::merge::{Added, CONFLICTS};
use super::place;
use super::preset::Candidate;
use super::security::Mode;
use crate::model::{
    BIDIRECTIONAL, DesiredObject, Diagnostic, EXCLUDE_PRESETS, NodeInfo, ObjectKey, Place, PresetConflict, Severity,
    SourceRef, Unplaced, no_bidirectional,
};

/// The name part of an annotation key has at most 63 characters, of which `podpreset-` takes 10.
const LONGEST_NAME: usize = 53;
/// How many pods one problem of a preset names.
const NAMED: usize = 3;

/// Collected over all pods: a preset's problem with a thousand pods is one problem of the preset.
#[derive(Default)]
pub(super) struct Warnings<'a> {
    /// The machine is one of several for which the manifests are.
    is_fleet: bool,
    /// At the pods.
    found: Vec<Diagnostic>,
    /// For the log of an agent alone.
    audits: Vec<Diagnostic>,
    /// At the presets, by place and by the field: what each clashes with.
    clashes: BTreeMap<(SourceRef, String), Clash>,
    /// Presets whose annotation would not be valid, and the pods it would be put on.
    long_names: BTreeMap<&'a ObjectKey, (&'a DesiredObject, Vec<&'a ObjectKey>)>,
}

struct Clash {
    preset: ObjectKey,
    value: String,
    /// The first few, each as a sentence's part, and the number of all.
    with: Vec<String>,
    count: usize,
}

impl<'a> Warnings<'a> {
    /// None so far, for a machine.
    pub(super) fn on(node: Option<&NodeInfo>) -> Self {
        Self { is_fleet: node.is_some_and(|node| node.fleet), ..Self::default() }
    }

    /// Notes what became of one pod.
    pub(super) fn collect(&mut self, object: &'a DesiredObject, draft: &Draft<'a>, presets: &'a [Candidate<'a>]) {
        self.found.extend(draft.unplaced.as_ref().and_then(|unplaced| not_placed(object, unplaced, self.is_fleet)));
        for (mode, diagnostic) in &draft.security {
            let list = if *mode == Mode::Audit { &mut self.audits } else { &mut self.found };
            list.push(diagnostic.clone());
        }
        if draft.is_too_much {
            return;
        }
        draft.conflicts.iter().for_each(|conflict| self.conflict(&object.key, conflict));
        if draft.more_conflicts {
            self.found.push(more_conflicts(object));
        }
        let merged = if draft.conflicts.is_empty() { draft.matching.as_slice() } else { &[] };
        for candidate in merged.iter().filter(|c| c.name().chars().count() > LONGEST_NAME) {
            let (_, pods) =
                self.long_names.entry(&candidate.object.key).or_insert_with(|| (candidate.object, Vec::new()));
            pods.push(&object.key);
        }
        self.found.extend(lost_volumes(object, draft, presets));
        self.found.extend(odd_mounts(object, draft));
    }

    /// Notes what a pod may not be.
    pub(super) fn refuse(&mut self, found: Vec<Diagnostic>) {
        self.found.extend(found);
    }

    fn conflict(&mut self, pod: &ObjectKey, conflict: &PresetConflict) {
        let (existing, wanted) = (&conflict.existing, &conflict.wanted);
        let sides = [(existing, wanted), (wanted, existing)];
        for (side, other) in sides {
            match &side.preset {
                None => self.found.push(conflict_at_pod(pod, conflict)),
                Some(preset) => {
                    let list = list_of(&conflict.field);
                    let field = format!("spec.{list}[{}]", conflict.key);
                    let key = ObjectKey {
                        kind: crate::model::Kind::PodPreset,
                        namespace: pod.namespace.clone(),
                        name: preset.clone(),
                    };
                    let clash = self.clashes.entry((side.at.clone(), field)).or_insert_with(|| Clash {
                        preset: key,
                        value: side.value.clone(),
                        with: Vec::new(),
                        count: 0,
                    });
                    clash.count += 1;
                    if clash.with.len() < NAMED {
                        clash.with.push(match other.preset {
                            Some(_) => format!("{other} for {pod}"),
                            None => format!("{} in {pod} ({})", other.value, other.at),
                        });
                    }
                }
            }
        }
    }

    /// What was collected for the log of an agent.
    pub(super) fn audits(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.audits)
    }

    /// Everything else that was collected.
    pub(super) fn diagnostics(self) -> Vec<Diagnostic> {
        let mut found = self.found;
        for ((at, field), clash) in self.clashes {
            found.push(Diagnostic {
                severity: Severity::Warning,
                rule: "preset-conflict",
                message: format!(
                    "{field} is {} in this PodPreset and {}: no PodPreset is merged into what conflicts",
                    clash.value,
                    some_of(&clash.with, clash.count)
                ),
                help: Some(help()),
                place: Some(Place { at, text: Arc::from(""), width: 1 }),
                object: Some(clash.preset),
                field: Some(field),
            });
        }
        for (key, (preset, pods)) in self.long_names {
            let pods: Vec<String> = pods.iter().map(ToString::to_string).collect();
            found.push(Diagnostic {
                severity: Severity::Error,
                rule: "preset-name-length",
                message: format!(
                    "the name of {key} is longer than {LONGEST_NAME} characters: the annotation that names it on {} \
                     would be invalid",
                    some_of(&pods, pods.len())
                ),
                help: Some("give the preset a shorter name".to_owned()),
                place: Some(place(preset, "/metadata/name")),
                object: Some(key.clone()),
                field: Some("metadata.name".to_owned()),
            });
        }
        found
    }
}

/// A pod that does not run here: a slip may be behind it. In a fleet, one that names another machine is not told of.
fn not_placed(object: &DesiredObject, unplaced: &Unplaced, is_fleet: bool) -> Option<Diagnostic> {
    let (becomes, help) = unplaced.advice(is_fleet)?;
    let pointer = format!("/{}", unplaced.field.split('[').next().unwrap_or_default().replace('.', "/"));
    Some(Diagnostic {
        severity: Severity::Warning,
        rule: "not-placed",
        message: format!("the pod {becomes}: {}", unplaced.detail),
        help: Some(help.to_owned()),
        place: Some(place(object, &pointer)),
        object: Some(object.key.clone()),
        field: Some(unplaced.field.clone()),
    })
}

fn more_conflicts(object: &DesiredObject) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        rule: "preset-conflict",
        message: format!("the pod has more conflicts with PodPresets than the {CONFLICTS} that are told"),
        help: Some("resolve those first".to_owned()),
        place: Some(place(object, "")),
        object: Some(object.key.clone()),
        field: None,
    }
}

fn conflict_at_pod(pod: &ObjectKey, conflict: &PresetConflict) -> Diagnostic {
    let PresetConflict { field, existing, wanted, .. } = conflict;
    Diagnostic {
        severity: Severity::Warning,
        rule: "preset-conflict",
        message: format!("{field} is {} here and {wanted}: no PodPreset is merged into {pod}", existing.value),
        help: Some(help()),
        place: Some(Place { at: existing.at.clone(), text: Arc::from(""), width: 1 }),
        object: Some(pod.clone()),
        field: Some(field.clone()),
    }
}

fn help() -> String {
    format!("make both sides equal, or exclude the pod with the annotation {EXCLUDE_PRESETS}: \"true\"")
}

/// The list a conflict is about: `spec.containers[0].env[X]` → `env`. The key may hold anything, so it is searched from
/// the front.
fn list_of(field: &str) -> &str {
    let lists = ["envFrom", "env", "volumeMounts", "volumes"];
    let found = lists.iter().filter_map(|list| field.find(&format!(".{list}[")).map(|at| (at, *list))).min();
    found.map_or("", |(_, list)| list)
}

/// The first few and the number of the others, of so many in all.
fn some_of(list: &[String], count: usize) -> String {
    let named = list.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match count.saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Mounts of volumes that a matching preset would have brought, had it been merged: Kubernetes rejects such a pod.
fn lost_volumes(object: &DesiredObject, draft: &Draft<'_>, presets: &[Candidate<'_>]) -> Vec<Diagnostic> {
    let labels = draft.metadata.labels.as_ref();
    let spec = &draft.spec;
    let apps = spec.containers.iter().enumerate().map(|(index, c)| ("containers", index, c));
    let init = spec.init_containers.iter().flatten().enumerate().map(|(index, c)| ("initContainers", index, c));
    let mut found = Vec::new();
    for (list, index, container) in apps.chain(init) {
        for (number, name) in lost_mounts(container, spec.volumes.as_deref().unwrap_or_default()) {
            let brings = |c: &&Candidate<'_>| c.preset.spec.volumes.iter().flatten().any(|v| v.name == *name);
            let Some(giver) = presets.iter().filter(|c| c.selects(labels)).find(brings) else { continue };
            let why = match draft.conflicts.first() {
                Some(first) => format!("no PodPreset is merged, for {first}"),
                None => "the pod's annotations keep PodPresets out".to_owned(),
            };
            let pointer = format!("/spec/{list}/{index}/volumeMounts/{number}/name");
            found.push(Diagnostic {
                severity: Severity::Error,
                rule: "preset-volume",
                message: format!(
                    "the pod has no volume {name:?}: PodPreset {} would bring it, but {why}",
                    giver.name()
                ),
                help: Some("resolve that, or add the volume to the pod's own `volumes`".to_owned()),
                place: Some(place(object, &pointer)),
                object: Some(object.key.clone()),
                field: Some(format!("spec.{list}[{index}].volumeMounts[{number}].name")),
            });
        }
    }
    found
}

/// Mounts that would tell the machine of others, and cannot for what presets have brought, or for where they have brought it. What
/// a pod alone does wrong is refused before.
fn odd_mounts(object: &DesiredObject, draft: &Draft<'_>) -> Vec<Diagnostic> {
    if draft.added.is_empty() {
        return Vec::new();
    }
    let spec = &draft.spec;
    let apps = spec.containers.iter().enumerate().map(|(index, c)| ("containers", index, c));
    let init = spec.init_containers.iter().flatten().enumerate().map(|(index, c)| ("initContainers", index, c));
    let mut found = Vec::new();
    for (list, index, container) in apps.chain(init) {
        let pointer = format!("/spec/{list}/{index}");
        let own = format!("{pointer}/volumeMounts/");
        let tells = |mount: &&VolumeMount| mount.mount_propagation.as_deref() == Some(BIDIRECTIONAL);
        let mounts: Vec<&VolumeMount> = container.volume_mounts.iter().flatten().filter(tells).collect();
        let is_of_it = |added: &&Added| {
            let volume = volume_of(spec, &added.pointer);
            added.pointer.starts_with(&own) || volume.is_some_and(|name| mounts.iter().any(|m| m.name == name))
        };
        let brought = draft.added.iter().filter(is_of_it);
        let givers: BTreeSet<&str> = brought.map(|added| draft.matching[added.donor].name()).collect();
        let Some(why) = mounts.iter().find_map(|mount| no_bidirectional(spec, container, mount)) else { continue };
        if givers.is_empty() {
            continue;
        }
        let names = Vec::from_iter(givers).join(", ");
        found.push(Diagnostic {
            severity: Severity::Error,
            rule: "contradiction",
            message: format!(
                "container {:?} cannot have the mounts and volumes that PodPreset {names} brings: {why}",
                container.name
            ),
            help: Some(help()),
            place: Some(place(object, &pointer)),
            object: Some(object.key.clone()),
            field: Some(format!("spec.{list}[{index}].volumeMounts")),
        });
    }
    found
}

/// The name of the volume that a pointer leads to.
fn volume_of<'a>(spec: &'a PodSpec, pointer: &str) -> Option<&'a str> {
    let index = pointer.strip_prefix("/spec/volumes/")?.split('/').next()?;
    spec.volumes.as_ref()?.get(index.parse::<usize>().ok()?).map(|volume| volume.name.as_str())
}

/// The mounts of a container whose volume is not there: index and name.
fn lost_mounts<'a>(
    container: &'a Container,
    volumes: &'a [k8s_openapi::api::core::v1::Volume],
) -> impl Iterator<Item = (usize, &'a String)> {
    let mounts = container.volume_mounts.iter().flatten().enumerate();
    mounts.map(|(number, mount)| (number, &mount.name)).filter(|(_, name)| volumes.iter().all(|v| v.name != **name))
}
